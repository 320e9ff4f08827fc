//! Networks for points and bit strings: a multilayer perceptron and a radial-basis-function network, told the noise level
//! by its timestep, and written once over [`Ops`]. Data are "images" of one pixel, `[batch, channels, 1, 1]`.
//!
//! They are this project's own and no class of diffusers.

use serde_json::{Map, Value};

use super::architecture::{Architecture, Input, Network, Rate, Shape};
use super::ops::{Activation, Ops};
use crate::checkpoint::json::Fields;
use crate::error::{Error, Result};

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
    /// Reads and checks a config: `_class_name`, `in_channels`, `out_channels`, `width` and, for an MLP, `layers`.
    ///
    /// # Errors
    /// [`Error::Config`] on a value that no network can have.
    pub fn parse(file: &str, object: &Map<String, Value>) -> Result<(Self, Vec<String>)> {
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
        let out_channels = within("out_channels", in_channels, 2048)?;
        let width = within("width", 128, 1 << 14)?;
        Ok((Self { in_channels, out_channels, width, hidden }, f.unknown()))
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

impl Network for MlpConfig {
    fn in_channels(&self) -> usize {
        self.in_channels
    }

    fn out_channels(&self) -> usize {
        self.out_channels
    }

    fn sample_size(&self) -> Option<[usize; 2]> {
        Some([1, 1])
    }

    fn check_size(&self, height: usize, width: usize) -> Result<()> {
        if (height, width) == (1, 1) {
            return Ok(());
        }
        Err(Error::Option {
            option: "size",
            found: format!("{height}×{width}"),
            expected: "1×1, as an MLP takes points, whose numbers are channels".to_owned(),
        })
    }

    fn inputs(&self, height: usize, width: usize) -> Vec<Input> {
        let shape = Shape { height, width, channels: self.in_channels };
        let point = Input { name: "input", rate: Rate::Evaluation, shape };
        vec![point, Input::vector("time", Rate::Timestep, TIME_FEATURES)]
    }

    fn features(
        &self,
        timesteps: &[f32],
        labels: Option<&[f32]>,
        _frequencies: &[f32],
    ) -> Result<Vec<Vec<f32>>> {
        timesteps.iter().try_for_each(|t| self.check_timestep(*t))?;
        self.check_labels(timesteps.len(), labels)?;
        Ok(vec![Self::time_features(timesteps)])
    }
}

impl Architecture for MlpConfig {
    const CLASSES: &'static [&'static str] = &["MLP", "RBFNetwork"];

    fn parse(file: &str, object: &Map<String, Value>) -> Result<(Self, Vec<String>)> {
        Self::parse(file, object)
    }

    fn forward<O: Ops + ?Sized>(&self, ops: &mut O, inputs: &[O::Tensor]) -> O::Tensor {
        let (x, time) = (&inputs[0], &inputs[1]);
        let time = ops.linear(time, "time_embedding", self.width);
        let time = &ops.activation(&time, Activation::Silu);
        // Every hidden unit has a scale and a shift for each timestep: the "temporal readout" of the 2015 paper.
        let timed = |ops: &mut O, h: &O::Tensor, path: &str| {
            let v = ops.linear(time, &format!("{path}.time"), 2 * self.width);
            ops.scale_shift(h, &v)
        };
        let h = match self.hidden {
            Hidden::Bumps => {
                let h = ops.radial_basis(x, "bumps", self.width);
                timed(ops, &h, "bumps")
            }
            Hidden::Layers(layers) => {
                let mut h = ops.linear(x, "input", self.width);
                for i in 0..layers {
                    let path = format!("layers.{i}");
                    let mut r = timed(ops, &h, &path);
                    r = ops.activation(&r, Activation::Silu);
                    r = ops.linear(&r, &path, self.width);
                    h = ops.add(&h, &r);
                }
                ops.activation(&h, Activation::Silu)
            }
        };
        ops.linear(&h, "output", self.out_channels)
    }
}
