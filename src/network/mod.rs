//! Networks: their configuration, their forward pass, and the operations it is written in.

pub mod autoencoder;
pub mod autoencoder_kl;
pub mod autoencoder_tiny;
mod blocks;
pub mod clip_text;
pub mod describe;
pub mod dit;
mod fields;
pub mod mlp;
#[cfg(feature = "burn")]
pub mod on_burn;
pub mod ops;
pub mod sinusoid;
pub mod unet;
pub mod unet_condition;
pub mod vq;
