//! The squared error of the prediction (Ho et al. 2020, equation 14), with diffusers' weights.

use burn::tensor::Tensor;

use super::{Noised, each, mean};
use crate::prediction::{Level, Prediction};

/// `w ‖m - target‖²` a pixel for each image. ε and v have w = 1. x₀ has the signal-to-noise ratio, which makes it the error
/// of ε, as in diffusers' training script. With `gamma` the ratio, in the error of x₀, is at most that (Hang et al. 2023).
pub(super) fn loss(
    prediction: Prediction,
    output: Tensor<4>,
    batch: &Noised,
    gamma: Option<f64>,
) -> Tensor<1> {
    let device = batch.x0.device();
    let (a, b) = (|l: &Level| prediction.target(*l).0, |l: &Level| prediction.target(*l).1);
    let target = match prediction {
        Prediction::Epsilon => batch.epsilon.clone(),
        Prediction::Sample => batch.x0.clone(),
        Prediction::VPrediction => {
            batch.x0.clone() * each(&batch.levels, a, &device)
                + batch.epsilon.clone() * each(&batch.levels, b, &device)
        }
    };
    let error = mean((output - target).square());
    if prediction != Prediction::Sample && gamma.is_none() {
        return error;
    }
    let weights = each(&batch.levels, |l| weight(prediction, *l, gamma), &device);
    error * weights.flatten(0, 3)
}

/// The squared error of m as one of x₀ is `1/weight_of_x0` of it; min-SNR replaces the ratio in front of the latter.
fn weight(prediction: Prediction, level: Level, gamma: Option<f64>) -> f64 {
    let snr = (level.alpha / level.sigma).powi(2);
    let wanted = gamma.map_or(snr, |gamma| snr.min(gamma));
    match prediction {
        Prediction::Epsilon => wanted / snr.max(f64::MIN_POSITIVE),
        Prediction::Sample => wanted,
        Prediction::VPrediction => wanted / (snr + 1.0),
    }
}
