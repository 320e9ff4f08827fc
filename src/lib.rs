//! Noiseball samples diffusion models that Python's `diffusers` saved, in a browser tab or natively: on WebGPU, or on the CPU. The
//! same checkpoint and seed give the same picture as in Python.
//!
//! A [`Checkpoint`] is opened, a [`Model`] made of it on a [`Device`], and a run asked for with [`SampleOptions`]. A run is a
//! [`Sampling`]: each of its steps gives x_t, a batch of pictures between -1 and 1, from noise to the finished ones.
//!
//! ```no_run
//! use noiseball::{Checkpoint, Device, Model, SampleOptions, SamplerKind};
//!
//! let model = Model::load_blocking(Checkpoint::open("my-model")?, &Device::cpu())?;
//! let mut run = model.sample(&SampleOptions::default().sampler(SamplerKind::Ddim).steps(20).seed(7))?;
//! while let Some(step) = run.step_blocking()? {
//!     println!("step {} of {}: {} numbers", step.index + 1, step.total, step.x.len());
//! }
//! # Ok::<(), noiseball::Error>(())
//! ```
//!
//! Parts can be had alone. Noise schedules and samplers need no network: a [`denoiser::Denoiser`] of one's own is sampled by the same
//! solvers.
//!
//! ```
//! use noiseball::SamplerKind;
//!
//! // Every solver that there is, by the name that it goes by in the terminal and in JavaScript.
//! let names: Vec<&str> = SamplerKind::ALL.iter().map(|kind| kind.name()).collect();
//! assert!(names.contains(&"ddim"));
//! ```
//!
//! | Feature | What it brings |
//! |---|---|
//! | `gpu` (default) | sampling on WebGPU, Vulkan, Metal and Direct3D 12 through `wgpu` |
//! | `text` (default) | pipelines of several networks: from words to pictures, by way of latents |
//! | `fetch` | checkpoints from an address or the Hugging Face hub |
//! | `data` | reading pictures, archives and arrays to train on |
//! | `burn` | training; some ten minutes to build |
//! | `cli` | the command `noiseball` |
//!
//! For pages there is a package for npm, which has this crate compiled to WebAssembly and an element, `<diffusion-sampler>`, that puts
//! a model into a page by two lines.

pub mod budget;
pub mod checkpoint;
pub mod denoiser;
pub mod device;
pub mod engine;
pub mod error;
pub mod formula;
pub mod levels;
pub mod likelihood;
pub mod model;
pub mod network;
pub mod npy;
pub mod picture;
pub mod pipeline;
pub mod prompt;
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
