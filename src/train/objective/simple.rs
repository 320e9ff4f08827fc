//! The squared error of the prediction (Ho et al. 2020, equation 14), with diffusers' weights.

use super::examples::Task;
use crate::denoiser::{Denoiser, Prediction};
use crate::schedule::Schedule;

/// ε and v have weight 1. x₀ has the signal-to-noise ratio, which makes it the error of ε, as in diffusers' training
/// script. With `gamma` the ratio, in the error of x₀, is at most that (Hang et al. 2023).
pub(super) fn task(schedule: &Schedule, timestep: usize, gamma: Option<f64>) -> Task {
    let at = schedule.point(timestep);
    let snr = (at.level.alpha / at.level.sigma).powi(2);
    let weight = match (schedule.prediction, gamma) {
        (Prediction::Sample, None) => snr,
        (_, None) => 1.0,
        // x̂₀ = a x + b F: an error of the answer is b times one of x₀.
        (prediction, Some(gamma)) => snr.min(gamma) * prediction.ask(at).x0(at.level).1.powi(2),
    };
    Task::new(schedule.prediction, at, weight)
}
