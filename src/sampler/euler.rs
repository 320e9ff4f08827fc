//! First-order solvers of the probability-flow ODE in `x = x₀ + σ ε`: Euler's method and its ancestral form.

use super::options::{S_CHURN, S_NOISE, S_TMAX, S_TMIN};
use super::record::Recorder;
use super::setup::Setup;
use crate::denoiser::{Denoiser, Point, Prediction};
use crate::error::Result;

/// Euler's method (Karras et al. 2022, algorithm 2 without its lines 6 to 8), as diffusers' `EulerDiscreteScheduler` and `EDMEulerScheduler` do it:
/// with churn it adds the noise after the network has looked, and takes a network for v at the level before.
pub(super) fn euler(run: &mut Recorder<'_>, setup: &Setup<'_>) -> Result<()> {
    let points = setup.exploding()?;
    let prediction = setup.schedule.prediction;
    // γ = min(S_churn/N, √2 - 1) where S_tmin ≤ σ ≤ S_tmax.
    let churn = (setup.get(&S_CHURN) / setup.steps as f64).min(2f64.sqrt() - 1.0);
    let churned = setup.get(&S_TMIN)..=setup.get(&S_TMAX);
    let mut x = run.start(setup.start(&points));
    for pair in points.windows(2) {
        let (at, next) = (pair[0], pair[1].level);
        let sigma = at.level.sigma;
        let gamma = if churned.contains(&sigma) { churn } else { 0.0 };
        let denoised = run.denoise(x, at);
        let (mut x0, mut epsilon, mut hat) = (denoised.x0, denoised.epsilon, sigma);
        if gamma > 0.0 {
            hat = sigma * (1.0 + gamma);
            x = run.add_noise(x.into(), setup.get(&S_NOISE) * (hat * hat - sigma * sigma).sqrt());
            let level = crate::denoiser::Level { sigma: hat, ..at.level };
            let asked = if prediction == Prediction::VPrediction { at } else { Point { level, ..at } };
            let (a, b) = prediction.ask(asked).x0(asked.level);
            x0 = a * x + b * denoised.output;
            epsilon = (x - x0.clone()) / hat;
        }
        let x0 = run.combine(x0);
        // dx/dσ = (x - D(x; σ))/σ (equation 3), which is ε̂.
        x = run.combine(x + (next.sigma - hat) * epsilon);
        run.end_step(at, next, x, x0);
    }
    Ok(())
}

/// A step of the ODE down to less noise than is wanted, and fresh noise for the rest, so that the variance is that of DDPM's
/// posterior (Song et al. 2021, equation 47), as diffusers' `EulerAncestralDiscreteScheduler` does it.
pub(super) fn euler_ancestral(run: &mut Recorder<'_>, setup: &Setup<'_>) -> Result<()> {
    let points = setup.exploding()?;
    let mut x = run.start(setup.start(&points));
    for pair in points.windows(2) {
        let (at, next) = (pair[0], pair[1].level);
        let (up, down) = ancestral(at.level.sigma, next.sigma);
        let denoised = run.denoise(x, at);
        let x0 = run.combine(denoised.x0);
        x = run.add_noise(x + (down - at.level.sigma) * denoised.epsilon, up);
        run.end_step(at, next, x, x0);
    }
    Ok(())
}

/// `(up, down)` with `up² + down² = σ'²` and `up² = σ'² (σ² - σ'²)/σ²`.
pub(super) fn ancestral(sigma: f64, next: f64) -> (f64, f64) {
    let up = (next * next * (sigma * sigma - next * next) / (sigma * sigma)).max(0.0).sqrt();
    (up, (next * next - up * up).max(0.0).sqrt())
}
