//! Noiseball samples diffusion models that Python's `diffusers` saved, in a browser tab or natively.

pub mod checkpoint;
pub mod error;
pub mod network;

pub use error::{Error, Result};
