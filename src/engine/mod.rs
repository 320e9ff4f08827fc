//! The sampling engine: a network's forward pass is recorded, planned, and then replayed for every step.
//!
//! [`trace`] runs [`unet::forward`](crate::network::unet::forward) once over an interpreter that writes the calls
//! down. [`plan`] fuses them into few operations, says how the checkpoint's tensors are packed ([`parameters`]), and gives
//! every activation its place in one buffer ([`arena`]). An executor replays the plan: [`cpu`] in Rust, from the
//! [`kernels`] that are also the reference of the GPU's shaders.
//!
//! ```no_run
//! use noiseball::engine::cpu::CpuNetwork;
//! # fn tensor(_: &str, _: &[usize]) -> noiseball::Result<Vec<f32>> { unimplemented!() }
//! # fn main() -> noiseball::Result<()> {
//! # let config: noiseball::network::unet::UNet2DConfig = unimplemented!();
//! let mut network = CpuNetwork::new(config, |key, shape| tensor(key, shape))?;
//! let noise = vec![0.0; 3 * 16 * 16];
//! let epsilon = network.evaluate(&noise, [1, 3, 16, 16], &[999.0], None)?;
//! # Ok(())
//! # }
//! ```

pub mod arena;
pub mod cpu;
mod fuse;
#[cfg(feature = "gpu")]
pub mod gpu;
pub mod kernels;
pub mod order;
pub mod packed;
pub mod parameters;
pub mod plan;
pub mod prelude;
pub mod trace;

pub use plan::Plan;
