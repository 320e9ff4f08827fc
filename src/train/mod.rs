//! Trains networks on burn's tensors, on the CPU or a GPU: a `Dataset` and a `Recipe` make a `Trainer`, whose state
//! can be saved after any step and whose averaged weights are a [`Checkpoint`](crate::Checkpoint).

#[cfg(feature = "burn")]
mod accelerate;
#[cfg(feature = "burn")]
mod average;
#[cfg(feature = "burn")]
mod card;
pub mod dataset;
#[cfg_attr(
    not(feature = "burn"),
    expect(dead_code, reason = "a run draws more than the data of known distributions")
)]
pub(crate) mod draws;
#[cfg(feature = "burn")]
mod film;
#[cfg(feature = "burn")]
mod held_out;
#[cfg(feature = "burn")]
mod likelihood;
#[cfg(feature = "burn")]
mod lineage;
#[cfg(feature = "burn")]
mod network;
#[cfg(feature = "burn")]
mod objective;
#[cfg(feature = "burn")]
mod optimiser;
#[cfg(feature = "burn")]
mod parameters;
#[cfg(feature = "burn")]
mod recipe;
#[cfg(feature = "burn")]
mod sample;
#[cfg(feature = "burn")]
mod state;
#[cfg(feature = "burn")]
mod tape;
#[cfg(feature = "burn")]
mod trainer;
#[cfg(feature = "burn")]
mod training_loop;

#[cfg(feature = "burn")]
pub use accelerate::zip;
#[cfg(feature = "burn")]
pub use average::Average;
#[cfg(feature = "burn")]
pub use card::card;
pub use dataset::Dataset;
#[cfg(feature = "burn")]
pub use film::Frame;
#[cfg(feature = "burn")]
pub use held_out::HeldOut;
#[cfg(feature = "burn")]
pub use likelihood::Bound;
#[cfg(feature = "burn")]
pub use network::TrainableNetwork;
#[cfg(feature = "burn")]
pub use objective::Objective;
#[cfg(feature = "burn")]
pub use optimiser::Optimiser;
#[cfg(feature = "burn")]
pub use recipe::{Changes, Cost, Preset, Recipe, usual_memory};
#[cfg(feature = "burn")]
pub use state::{SavedRun, inspect};
#[cfg(feature = "burn")]
pub use trainer::{Averaged, Batch, Estimate, Loss, Trainer};
#[cfg(feature = "burn")]
pub use training_loop::{Event, Loop, Places, Work};
