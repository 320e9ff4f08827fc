//! Networks for points and bit strings: a multilayer perceptron and a radial-basis-function network, told the noise level
//! by its timestep, and written once over [`Ops`](super::ops::Ops). Data are "images" of one pixel, `[batch, channels, 1, 1]`.
//!
//! They are this project's own and no class of diffusers.

use serde_json::{Map, Value};

use super::ops::{Activation, RadialBasis};
use crate::checkpoint::json::Fields;
use crate::error::Result;

/// What is between a point and the last linear map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hidden {
    /// This many residual layers (`"_class_name": "MLP"`).
    Layers(usize),
    /// Gaussian bumps (`"_class_name": "RBFNetwork"`), as the 2015 paper has them for the swiss roll.
    Bumps,
}

/// An MLP's or an RBF network's config, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct MlpConfig {
    /// Numbers of a point.
    pub in_channels: usize,
    /// Numbers of the prediction; twice `in_channels` where the variance is learned too.
    pub out_channels: usize,
    /// Units of a hidden layer, or bumps.
    pub width: usize,
    /// What is hidden.
    pub hidden: Hidden,
}

/// Width of the features that a timestep becomes.
pub const TIME_FEATURES: usize = 32;

impl MlpConfig {
    /// The values of `_class_name` that [`Self::parse`] reads.
    pub const CLASSES: [&'static str; 2] = ["MLP", "RBFNetwork"];

    /// Reads and checks a config: `_class_name`, `in_channels`, `out_channels`, `width` and, for an MLP, `layers`.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) on a value that no network can have.
    pub fn parse(file: &str, object: &Map<String, Value>) -> Result<Self> {
        let f = Fields::new(file, object);
        let within = |field: &str, default: usize, most: usize| {
            let value = f.usize(field, default)?;
            if (1..=most).contains(&value) {
                Ok(value)
            } else {
                Err(f.error(field, value, format!("1 to {most}")))
            }
        };
        let in_channels = within("in_channels", 2, 1024)?;
        let hidden = match f.string("_class_name", "MLP")?.as_str() {
            "MLP" => Hidden::Layers(within("layers", 3, 64)?),
            "RBFNetwork" => Hidden::Bumps,
            other => return Err(f.error("_class_name", other, "MLP or RBFNetwork")),
        };
        Ok(Self {
            in_channels,
            out_channels: within("out_channels", in_channels, 2048)?,
            width: within("width", 128, 1 << 14)?,
            hidden,
        })
    }

    /// The features of timesteps, `[batch, TIME_FEATURES]`: sines and cosines of 16 frequencies from 1 down to 10⁻⁴,
    /// spread geometrically.
    #[must_use]
    pub fn time_features(timesteps: &[f32]) -> Vec<f32> {
        let half = TIME_FEATURES / 2;
        let angle = |t: f32, i: usize| t * 10_000f32.powf(-(i as f32) / (half - 1) as f32);
        let features = |t: &f32| {
            let t = *t;
            (0..half).map(move |i| angle(t, i).sin()).chain((0..half).map(move |i| angle(t, i).cos()))
        };
        timesteps.iter().flat_map(features).collect()
    }
}

/// The network: noisy points `[batch, in_channels, 1, 1]` to raw predictions of `out_channels`, with `time` the
/// [`MlpConfig::time_features`] of their timesteps.
pub fn forward<O: RadialBasis>(ops: &mut O, net: &MlpConfig, x: &O::Tensor, time: &O::Tensor) -> O::Tensor {
    let time = ops.linear(time, "time_embedding", net.width);
    let time = &ops.activation(&time, Activation::Silu);
    // Every hidden unit has a scale and a shift for each timestep: the "temporal readout" of the 2015 paper.
    let timed = |ops: &mut O, h: &O::Tensor, path: &str| {
        let v = ops.linear(time, &format!("{path}.time"), 2 * net.width);
        ops.scale_shift(h, &v)
    };
    let h = match net.hidden {
        Hidden::Bumps => {
            let h = ops.radial_basis(x, "bumps", net.width);
            timed(ops, &h, "bumps")
        }
        Hidden::Layers(layers) => {
            let mut h = ops.linear(x, "input", net.width);
            for i in 0..layers {
                let path = format!("layers.{i}");
                let mut r = timed(ops, &h, &path);
                r = ops.activation(&r, Activation::Silu);
                r = ops.linear(&r, &path, net.width);
                h = ops.add(&h, &r);
            }
            ops.activation(&h, Activation::Silu)
        }
    };
    ops.linear(&h, "output", net.out_channels)
}
