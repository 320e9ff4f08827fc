//! The third stage on a GPU: replays a plan with the shaders of its operations.
//!
//! [`Gpu`] is a device, [`Weights`] a network's parameters there, and [`Replay`] a plan with everything that it needs made
//! beforehand: an evaluation is one command buffer. [`Replays`] keeps a plan for each size that was used lately, and
//! [`GpuExecutor`] is all of that behind the interface that the processor has too. Nothing blocks in a browser; natively,
//! waiting for a result waits in the calling thread.
//!
//! A file uses only those that stand before it: adapter, signal, combine, lowered, `compiled`; device; weights; replay; trial; replays,
//! profile; run; executor.
//!
//! ```no_run
//! use noiseball::engine::gpu::{Gpu, GpuNetwork};
//! use noiseball::engine::parameters::Storage;
//! # fn tensor(_: &str, _: &[usize]) -> noiseball::Result<Vec<f32>> { unimplemented!() }
//! # async fn example() -> noiseball::Result<()> {
//! # let config: noiseball::network::unet::UNet2DConfig = unimplemented!();
//! let gpu = Gpu::new().await?;
//! let mut network = GpuNetwork::new(&gpu, std::sync::Arc::new(config), Storage::F32, |key, shape| tensor(key, shape)).await?;
//! let noise = vec![0.0; 3 * 16 * 16];
//! let epsilon = network.evaluate(&noise, [1, 3, 16, 16], &[999.0], None).await?;
//! # Ok(())
//! # }
//! ```

mod adapter;
mod combine;
mod compiled;
mod device;
mod executor;
mod lowered;
#[cfg(not(target_arch = "wasm32"))]
mod profile;
mod replay;
mod replays;
mod run;
mod signal;
#[cfg(not(target_arch = "wasm32"))]
mod trial;
mod weights;

pub use super::lower::{Choice, ShardLayout, Tuning};
pub use device::{Counters, Gpu};
pub use executor::{GpuExecutor, GpuNetwork};
pub use lowered::Lowered;
#[cfg(not(target_arch = "wasm32"))]
pub use profile::{Peak, Timing, timings};
pub use replay::Replay;
pub use replays::Replays;
#[cfg(feature = "text")]
pub use weights::IncomingWeights;
pub use weights::Weights;
