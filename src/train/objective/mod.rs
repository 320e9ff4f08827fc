//! What a network is trained for: how an example is noised, and what its answer costs.

mod hybrid;
mod simple;

use burn::tensor::{Device, Tensor, TensorData};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::network::unet::UNet2DConfig;
use crate::prediction::Level;
use crate::schedule::{Schedule, Variance};

/// A training objective.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Objective {
    /// DDPM's `L_simple`, the squared error of what the schedule says is predicted (Ho et al. 2020, equation 14).
    #[default]
    Simple,
    /// `L_simple` weighted by min(SNR, γ) as an error of x₀ (Hang et al. 2023).
    MinSnr {
        /// γ, above 0; 5 in the paper.
        gamma: f64,
    },
    /// `L_simple` and, for a network that learns its variance, the variational bound for that variance (Nichol and
    /// Dhariwal 2021, equation 16).
    Hybrid,
}

/// A batch on the device, noised: all images are `[batch, channels, height, width]`.
pub(super) struct Noised {
    /// The clean images, in [-1, 1].
    pub(super) x0: Tensor<4>,
    /// The noise, of unit variance.
    pub(super) epsilon: Tensor<4>,
    /// `alpha x0 + sigma epsilon`.
    pub(super) x: Tensor<4>,
    /// Each image's timestep.
    pub(super) timesteps: Vec<usize>,
    /// Each image's level.
    pub(super) levels: Vec<Level>,
}

impl Noised {
    /// Noises `x0` to the levels of `timesteps`.
    pub(super) fn new(schedule: &Schedule, x0: Tensor<4>, epsilon: Tensor<4>, timesteps: Vec<usize>) -> Self {
        let levels: Vec<Level> = timesteps.iter().map(|t| schedule.level(*t)).collect();
        let device = x0.device();
        let alpha = each(&levels, |l| l.alpha, &device);
        let sigma = each(&levels, |l| l.sigma, &device);
        let x = x0.clone() * alpha + epsilon.clone() * sigma;
        Self { x0, epsilon, x, timesteps, levels }
    }
}

impl Objective {
    /// Whether this network can be trained for it.
    ///
    /// # Errors
    /// [`Error::Option`] that says what does not fit.
    pub(super) fn check(self, config: &UNet2DConfig, schedule: &Schedule) -> Result<()> {
        let refuse = |found: &str, expected: &str| {
            Err(Error::Option { option: "objective", found: found.to_owned(), expected: expected.to_owned() })
        };
        let learned = schedule.variance == Variance::LearnedRange;
        match self {
            Self::Hybrid if !config.learns_variance() || !learned => refuse(
                "hybrid",
                "one for this network: hybrid needs twice as many out_channels as in_channels and variance_type learned_range",
            ),
            Self::Simple | Self::MinSnr { .. } if config.out_channels != config.in_channels => {
                refuse("simple", "hybrid, as this network learns a variance")
            }
            Self::MinSnr { gamma } if !(gamma > 0.0 && gamma.is_finite()) => {
                refuse(&format!("min-SNR with gamma {gamma}"), "min-SNR with gamma above 0")
            }
            _ => Ok(()),
        }
    }

    /// The cost of the network's output for each example of a batch, `[batch]`.
    pub(super) fn loss(self, schedule: &Schedule, output: Tensor<4>, batch: &Noised) -> Tensor<1> {
        match self {
            Self::Simple => simple::loss(schedule.prediction, output, batch, None),
            Self::MinSnr { gamma } => simple::loss(schedule.prediction, output, batch, Some(gamma)),
            Self::Hybrid => hybrid::loss(schedule, output, batch),
        }
    }
}

/// One number for each image, to be broadcast over it.
fn each<T>(items: &[T], number: impl Fn(&T) -> f64, device: &Device) -> Tensor<4> {
    let numbers: Vec<f32> = items.iter().map(|item| number(item) as f32).collect();
    Tensor::from_data(TensorData::new(numbers, [items.len(), 1, 1, 1]), device)
}

/// The mean over each image, `[batch]`.
fn mean(x: Tensor<4>) -> Tensor<1> {
    let batch = x.dims()[0];
    x.reshape([batch as i32, -1]).mean_dim(1).flatten(0, 1)
}
