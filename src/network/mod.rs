//! Networks: their configuration, their forward pass, and the operations it is written in.

pub mod describe;
pub mod mlp;
#[cfg(feature = "burn")]
pub mod on_burn;
pub mod ops;
pub mod unet;
