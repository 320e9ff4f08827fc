//! The squared error of the prediction (Ho et al. 2020, equation 14), with diffusers' weights.

use super::examples::Question;
use crate::prediction::Prediction;
use crate::schedule::Schedule;

/// ε and v have weight 1. x₀ has the signal-to-noise ratio, which makes it the error of ε, as in diffusers' training
/// script. With `gamma` the ratio, in the error of x₀, is at most that (Hang et al. 2023).
pub(super) fn question(schedule: &Schedule, timestep: usize, gamma: Option<f64>) -> Question {
    let level = schedule.level(timestep);
    let (of_x0, of_epsilon) = schedule.prediction.target(level);
    let snr = (level.alpha / level.sigma).powi(2);
    let wanted = gamma.map_or(snr, |gamma| snr.min(gamma));
    // The squared error of m as one of x₀ is `1/weight_of_x0` of it; min-SNR replaces the ratio in front of the latter.
    let weight = match schedule.prediction {
        Prediction::Epsilon if gamma.is_none() => 1.0,
        Prediction::VPrediction if gamma.is_none() => 1.0,
        Prediction::Epsilon => wanted / snr.max(f64::MIN_POSITIVE),
        Prediction::Sample => wanted,
        Prediction::VPrediction => wanted / (snr + 1.0),
    };
    Question { level, input: 1.0, c_noise: timestep as f64, of_x0, of_epsilon, weight }
}
