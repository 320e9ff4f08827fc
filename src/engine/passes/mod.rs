//! What makes a plan fast: passes, each of which rewrites a [`Draft`] to one of fewer operations that gives the same numbers.
//!
//! A pass is a function in a file of its own and a line in [`PASSES`]. None needs another: with any of them left out, in any
//! order, a plan gives the same numbers but for rounding, which is tested on random graphs. It takes what it recognises and
//! leaves the rest, and what it decides about parameters must not depend on the size or number of images, since these are
//! packed once for all.
//!
//! An operation that takes another into itself stands where the later of the two stood: there, all that it reads is there.

mod concat;
mod epilogue;
mod fold;
mod inline;
#[cfg(feature = "text")]
mod layer_norm;
mod linears;
mod loads;
mod modulation;
mod moments;
mod per_channel;
mod qkv;
mod residual;
mod sample_scale;
mod scale;
mod shortcut;
#[cfg(feature = "text")]
mod slices;
mod upsample;

use super::draft::Draft;
use super::plan::Plan;
use crate::error::{Error, Result};
use crate::network::architecture::Network;
use crate::network::trace::Graph;

/// A rewriting of a draft.
pub type Pass = fn(&mut Draft);

/// All passes by name, in the order in which they pay most.
pub const PASSES: &[(&str, Pass)] = &[
    #[cfg(feature = "text")]
    ("slices", slices::slices),
    #[cfg(feature = "text")]
    ("layer_norm", layer_norm::layer_norm),
    ("shortcut", shortcut::shortcut),
    ("residual", residual::residual),
    ("per_channel", per_channel::per_channel),
    ("scale", scale::scale),
    ("sample_scale", sample_scale::sample_scale),
    ("modulation", modulation::modulation),
    ("loads", loads::loads),
    ("upsample", upsample::upsample),
    ("concat", concat::concat),
    ("moments", moments::moments),
    ("qkv", qkv::qkv),
    ("linears", linears::linears),
    ("inline", inline::inline),
];

/// Plans a recorded forward pass for `batch` samples, each with a prompt of its own, with the passes of [`PASSES`] that `wanted`
/// says yes to.
///
/// # Errors
/// Those of [`Draft::of`] and [`Draft::finish`].
pub fn plan(graph: &Graph, batch: usize, wanted: impl Fn(&str) -> bool) -> Result<Plan> {
    plan_prompts(graph, batch, batch, wanted)
}

/// The same for samples that share so many prompts.
///
/// # Errors
/// Those of [`Draft::of`] and [`Draft::finish`].
pub fn plan_prompts(
    graph: &Graph,
    batch: usize,
    prompts: usize,
    wanted: impl Fn(&str) -> bool,
) -> Result<Plan> {
    let mut draft = Draft::of(graph, batch, prompts)?;
    for (name, pass) in PASSES {
        if wanted(name) {
            pass(&mut draft);
        }
    }
    draft.finish()
}

impl Plan {
    /// The smallest plan of a network, which is enough to pack its parameters: they are packed alike for every size.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn least(network: &dyn Network) -> Result<Self> {
        let [height, width] = network.least_size();
        Self::new(network, 1, height, width)
    }

    /// Plans a network on `batch` images of `height` × `width`.
    ///
    /// # Errors
    /// [`Error::Option`] where the size does not suit the network or there is no image, [`Error::OutOfMemory`] where
    /// no address space holds one of its activations.
    pub fn new(network: &dyn Network, batch: usize, height: usize, width: usize) -> Result<Self> {
        network.check_size(height, width)?;
        if batch == 0 {
            return Err(Error::Option {
                option: "batch",
                found: "0".to_owned(),
                expected: "1 or more".to_owned(),
            });
        }
        let graph = Graph::of(network, height, width);
        let bytes = [height, width, graph.most_channels(), 4]
            .into_iter()
            .try_fold(batch, usize::checked_mul)
            .filter(|bytes| isize::try_from(*bytes).is_ok());
        if bytes.is_none() {
            let problem = format!("activations of {batch} images of {height}×{width} pixels");
            return Err(Error::OutOfMemory { problem });
        }
        plan(&graph, batch, |_| true)
    }
}
