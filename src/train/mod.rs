//! Trains networks on burn's tensors, on the CPU or a GPU: a [`Dataset`] and a [`Recipe`] make a [`Trainer`], whose state
//! can be saved after any step and whose averaged weights are a [`Checkpoint`](crate::Checkpoint).

mod accelerate;
mod average;
mod card;
pub mod dataset;
mod draws;
mod likelihood;
mod lineage;
mod network;
mod objective;
mod optimiser;
mod parameters;
mod recipe;
mod sample;
mod state;
mod trainer;

pub use accelerate::zip;
pub use average::Average;
pub use card::card;
pub use dataset::Dataset;
pub use likelihood::Bound;
pub use network::Network;
pub use objective::Objective;
pub use optimiser::Optimiser;
pub use recipe::{Preset, Recipe};
pub use state::inspect;
pub use trainer::{Averaged, Batch, Estimate, Loss, Trainer};
