//! Networks: their configuration, their forward pass, and the operations it is written in.

pub mod describe;
#[cfg(feature = "burn")]
pub mod on_burn;
pub mod ops;
pub mod unet;
