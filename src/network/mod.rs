//! Networks: their configuration, their forward pass, and the operations it is written in.

#![warn(clippy::too_many_lines)]

pub mod architecture;
#[cfg(feature = "text")]
pub mod array;
#[cfg(feature = "text")]
pub mod autoencoder;
#[cfg(feature = "text")]
pub mod autoencoder_kl;
#[cfg(feature = "text")]
pub mod autoencoder_tiny;
#[cfg_attr(not(feature = "text"), allow(dead_code, reason = "networks of text and latents need the rest"))]
mod blocks;
#[cfg(feature = "text")]
pub mod clip_text;
pub mod describe;
#[cfg(feature = "text")]
pub mod dit;
#[cfg_attr(not(feature = "text"), allow(dead_code, reason = "networks of text and latents need the rest"))]
mod fields;
pub mod mlp;
#[cfg(feature = "burn")]
pub mod on_burn;
pub mod ops;
#[cfg_attr(not(feature = "text"), allow(dead_code, reason = "networks of text and latents need the rest"))]
pub mod sinusoid;
pub mod trace;
pub mod unet;
#[cfg(feature = "text")]
pub mod unet_condition;
#[cfg(feature = "text")]
pub mod vq;

use std::sync::Arc;

use serde_json::{Map, Value};

pub use architecture::{Architecture, Network};
use unet::UNet2DConfig;

use crate::error::Result;

type Read = fn(&str, &Map<String, Value>) -> Result<(Arc<dyn Network>, Vec<String>)>;

/// Every architecture: the classes whose configs it reads, and how. Pages that only sample download no network of points.
const ARCHITECTURES: &[(&[&str], Read)] = &[
    (UNet2DConfig::CLASSES, read::<UNet2DConfig>),
    #[cfg(any(feature = "burn", not(target_arch = "wasm32")))]
    (mlp::MlpConfig::CLASSES, read::<mlp::MlpConfig>),
];

fn read<A: Architecture + 'static>(
    file: &str,
    object: &Map<String, Value>,
) -> Result<(Arc<dyn Network>, Vec<String>)> {
    let (network, unknown) = A::parse(file, object)?;
    Ok((Arc::new(network), unknown))
}

/// Reads and checks a network's config, which errors call `file`; also returns the keys that mean nothing to it. Its
/// `_class_name` says whose it is; a config without one is a `UNet2DModel`'s.
///
/// # Errors
/// [`Error::Config`](crate::Error::Config) on a value that no network can have,
/// [`Error::Unsupported`](crate::Error::Unsupported) on what is not implemented, by its name.
pub fn parse(file: &str, object: &Map<String, Value>) -> Result<(Arc<dyn Network>, Vec<String>)> {
    let class = object.get("_class_name").and_then(Value::as_str).unwrap_or_default();
    let (_, read) =
        ARCHITECTURES.iter().find(|(classes, _)| classes.contains(&class)).unwrap_or(&ARCHITECTURES[0]);
    read(file, object)
}

/// Whether [`parse`] reads configs of this class.
#[must_use]
pub fn is_known(class: &str) -> bool {
    ARCHITECTURES.iter().any(|(classes, _)| classes.contains(&class))
}
