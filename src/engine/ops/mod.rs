//! A plan's operations, each a pair of files: what it is, how its twin in Rust is called and how it is lowered, with the uniform
//! that its shader reads; and the shader.
//!
//! - [`Gemm`], a convolution as matrix product. Its load applies the normalisation and nonlinearity before it, reads
//!   two images as if they were concatenated, and doubles the resolution; its epilogue adds bias, time vector and
//!   residual, and leaves the moments of its result for the normalisation after it.
//! - [`Moments`], the moments of an image that no product leaves.
//! - [`ReadyNorm`], from moments to a scale and a shift for each sample and channel.
//! - [`Attention`], over the pixels of an image.
//! - [`Pool`], which halves the resolution, and [`Fir`], which halves or doubles it by a filter.
//! - [`Map`], element by element: what loads and epilogues do, where nothing takes it into them.
//! - [`Gather`], rows of a table.
//! - [`RadialBasis`], Gaussian bumps, for networks of points.
//!
//! Text encoders, transformers and autoencoders have besides (feature `text`):
//!
//! - [`AttentionMap`], how much each pixel looks at each token.
//! - [`LayerNorm`], a normalisation of each pixel.
//! - [`Gate`], half of the channels times the GELU of the other half.
//! - [`Rearrange`], some of the channels, patches laid out, and images enlarged by their nearest pixels.
//! - [`Nearest`], the nearest row of a table.
//!
//! A file uses only those that stand before it: operation, activation, tile; load; norm, moments, product; cut; attention; the other
//! operations.

mod activation;
mod attention;
#[cfg(feature = "text")]
mod attention_map;
mod cut;
mod fir;
#[cfg(feature = "text")]
mod gate;
mod gather;
mod gemm;
#[cfg(feature = "text")]
mod layer_norm;
mod load;
mod map;
mod moments;
#[cfg(feature = "text")]
mod nearest;
mod norm;
mod operation;
mod pool;
mod product;
#[cfg(any(feature = "burn", not(target_arch = "wasm32")))]
mod radial;
#[cfg(feature = "text")]
mod rearrange;
mod tile;
#[cfg(not(target_arch = "wasm32"))]
mod winograd;

use super::lower::Lowering;
use super::parameters::Parameters;
use super::stage::{Memory, Stage};
use super::value::{Reference, Value, ValueId};
use crate::error::Result;
use operation::{Operation, Room};

pub use attention::Channels;
pub use gather::Table;
pub use load::{Load, Norm, Scaling};
pub use map::{Combine, Place};

/// Makes [`Op`] of a list of what there is: file and structure.
macro_rules! operations {
    ($($(#[$attribute:meta])* $file:ident::$name:ident,)*) => {
        $($(#[$attribute])* pub use $file::$name;)*

        /// An operation.
        #[derive(Clone, Debug, PartialEq)]
        #[allow(missing_docs, reason = "the structures say what they are")]
        pub enum Op {
            $($(#[$attribute])* $name($name),)*
        }

        impl Op {
            /// Calls `f` with all that it refers to, for changing it. Moments stand first among the values that are read.
            pub(super) fn references_mut(&mut self, f: &mut dyn FnMut(Reference)) {
                match self {
                    $($(#[$attribute])* Op::$name(op) => op.references_mut(f),)*
                }
            }

            /// What it computes, of values that are called `kind` and a number.
            pub(super) fn text(&self, kind: char, parameters: &Parameters) -> String {
                match self {
                    $($(#[$attribute])* Op::$name(op) => op.text(kind, parameters),)*
                }
            }

            /// What its twin needs besides the arena.
            pub(super) fn room(&self, values: &[Value]) -> Room {
                match self {
                    $($(#[$attribute])* Op::$name(op) => op.room(values),)*
                }
            }

            /// Computes it with its twin.
            pub(super) fn run(&self, stage: &Stage, memory: &mut Memory) {
                match self {
                    $($(#[$attribute])* Op::$name(op) => op.run(stage, memory),)*
                }
            }

            /// Makes dispatches of it.
            ///
            /// # Errors
            /// [`Error::Unsupported`](crate::Error::Unsupported) where attention's heads are too wide.
            pub(super) fn lower(&self, to: &mut Lowering) -> Result<()> {
                match self {
                    $($(#[$attribute])* Op::$name(op) => op.lower(to),)*
                }
            }
        }
    };
}

operations! {
    attention::Attention,
    fir::Fir,
    gather::Gather,
    gemm::Gemm,
    map::Map,
    moments::Moments,
    norm::ReadyNorm,
    pool::Pool,
    #[cfg(feature = "text")]
    attention_map::AttentionMap,
    #[cfg(feature = "text")]
    gate::Gate,
    #[cfg(feature = "text")]
    layer_norm::LayerNorm,
    #[cfg(feature = "text")]
    nearest::Nearest,
    #[cfg(feature = "text")]
    rearrange::Rearrange,
    // Networks of points are sampled where they are trained, and natively.
    #[cfg(any(feature = "burn", not(target_arch = "wasm32")))]
    radial::RadialBasis,
}

impl Op {
    /// What it reads of its part of the plan.
    #[must_use]
    pub fn reads(&self) -> Vec<ValueId> {
        let mut reads = Vec::new();
        self.references(&mut |reference| {
            if let Reference::Read(id) = reference {
                reads.push(*id);
            }
        });
        reads
    }

    /// What it writes.
    #[must_use]
    pub fn writes(&self) -> Vec<ValueId> {
        let mut writes = Vec::new();
        self.references(&mut |reference| {
            if let Reference::Write(id) = reference {
                writes.push(*id);
            }
        });
        writes
    }

    /// Calls `f` with all that it refers to.
    pub(super) fn references(&self, f: &mut dyn FnMut(Reference)) {
        self.clone().references_mut(f);
    }
}
