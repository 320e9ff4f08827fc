//! Noiseball samples diffusion models that Python's `diffusers` saved, in a browser tab or natively.

pub mod budget;
pub mod checkpoint;
pub mod denoiser;
pub mod device;
pub mod engine;
pub mod error;
pub mod levels;
pub mod model;
pub mod network;
pub mod npy;
pub mod picture;
#[cfg(not(target_arch = "wasm32"))]
pub mod read;
pub mod rng;
pub mod sampler;
pub mod sampling;
pub mod schedule;
mod sort;
#[cfg(not(target_arch = "wasm32"))]
pub mod store;
pub mod text;
#[cfg(feature = "data")]
pub mod train;
#[cfg(target_arch = "wasm32")]
pub mod web;

pub use checkpoint::Checkpoint;
pub use device::{Device, DeviceKind};
pub use error::{Error, Result};
pub use model::{Model, Rng, SampleOptions};
pub use sampler::{SamplerKind, Settings};
pub use sampling::Sampling;
