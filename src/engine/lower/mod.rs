//! What [`ops`](super::ops) are lowered with: from a plan to dispatches, all of which is known before there is a device.
//!
//! A file uses only those that stand before it: tuning, unroll, uniform, shards; shader; lowering.

mod lowering;
mod shader;
mod shards;
#[cfg(all(test, not(target_arch = "wasm32")))]
mod testing;
mod tuning;
mod uniform;
mod unroll;

#[cfg(not(target_arch = "wasm32"))]
pub(super) use lowering::Costs;
#[cfg(feature = "text")]
pub(super) use lowering::Sliced;
pub(super) use lowering::{Dispatch, Lowering, grid, word, words};
pub(super) use shader::{File, Shader, constants, declarations, strip, wgsl};
pub use shards::ShardLayout;
pub(super) use shards::{MatrixPlace, bytes_of_four};
#[cfg(all(feature = "gpu", feature = "text"))]
pub(super) use shards::{SHARD, bytes_of};
#[cfg(all(test, not(target_arch = "wasm32")))]
pub(super) use testing::{check, compare, valid};
pub(super) use tuning::chosen;
pub use tuning::{Choice, Tuning};
pub(super) use uniform::{EvaluationParams, UNIFORM_BYTES, Uniform, append, uniform};
#[cfg(all(test, not(target_arch = "wasm32")))]
pub(super) use uniform::{Member, Members};
#[cfg(not(target_arch = "wasm32"))]
pub(super) use unroll::unroll;
