//! The sampling engine: a network's forward pass is recorded, planned, and then replayed for every step.
//!
//! A network's forward pass runs once over an interpreter that records the calls ([`trace`](crate::network::trace)). Each call
//! becomes an operation of a [`draft`], and [`passes`] make of these few: a [`plan`], which says how the checkpoint's tensors are
//! packed ([`parameters`]) and where every activation lies in one buffer ([`arena`]). An [`executor`] replays the plan: [`cpu`] in
//! Rust, from the [`kernels`] that are also the reference of the GPU's shaders, or `gpu`.
//!
//! A file uses only those that stand before it: kernels, threads; arena, parameters; packed, `value`; `stage`, `lower`; `ops`; plan;
//! draft, execute; drafter; passes, prelude, order; filling; executor; cpu and gpu, which do not know each other.
//!
//! ```no_run
//! use noiseball::engine::cpu::CpuNetwork;
//! # fn tensor(_: &str, _: &[usize]) -> noiseball::Result<Vec<f32>> { unimplemented!() }
//! # async fn example() -> noiseball::Result<()> {
//! # let config: noiseball::network::unet::UNet2DConfig = unimplemented!();
//! let mut network = CpuNetwork::new(std::sync::Arc::new(config), |key, shape| tensor(key, shape))?;
//! let noise = vec![0.0; 3 * 16 * 16];
//! let epsilon = network.evaluate(&noise, [1, 3, 16, 16], &[999.0], None).await?;
//! # Ok(())
//! # }
//! ```

#![warn(clippy::too_many_lines)]

pub mod arena;
pub mod cpu;
pub mod draft;
mod drafter;
pub mod execute;
pub mod executor;
#[cfg(feature = "text")]
pub mod filling;
#[cfg(feature = "gpu")]
pub mod gpu;
#[cfg_attr(not(feature = "gpu"), allow(dead_code, reason = "a GPU's half of the operations"))]
mod lower;
#[cfg_attr(not(feature = "gpu"), allow(dead_code, reason = "a GPU's half of the operations"))]
mod ops;
pub mod order;
pub mod packed;
pub mod parameters;
pub mod passes;
pub mod plan;
pub mod prelude;
mod stage;
pub(crate) mod threads;
mod value;

#[doc(inline)]
pub use noiseball_kernels as kernels;
pub use plan::Plan;
