//! What every kind of operation knows of itself.

use crate::engine::lower::Lowering;
use crate::engine::parameters::Parameters;
use crate::engine::stage::{Memory, Stage};
use crate::engine::value::{Reference, Value};
use crate::error::Result;

/// Floats that an operation's twin uses besides the arena.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::engine) struct Room {
    /// Of scratch.
    pub(in crate::engine) scratch: usize,
    /// Of scale and shift that its load works out for itself.
    pub(in crate::engine) scaling: usize,
}

/// What every kind of operation knows of itself: one structure with this trait, in a file of its own, is an operation.
pub(in crate::engine) trait Operation {
    /// Calls `f` with all that it refers to. Moments stand first among the values that are read.
    fn references_mut(&mut self, f: &mut dyn FnMut(Reference));

    /// What it computes, of values that are called `kind` and a number: `r` in the prelude, `v` in a step.
    fn text(&self, kind: char, parameters: &Parameters) -> String;

    /// What its twin needs besides the arena.
    fn room(&self, _values: &[Value]) -> Room {
        Room::default()
    }

    /// Computes it with its twin.
    fn run(&self, stage: &Stage, memory: &mut Memory);

    /// Makes dispatches of it.
    ///
    /// # Errors
    /// [`Error::Unsupported`](crate::Error::Unsupported) where kernels have a limit that it exceeds.
    fn lower(&self, to: &mut Lowering) -> Result<()>;
}
