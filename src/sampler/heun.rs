//! Heun's method of second order in `x = x₀ + σ ε`: Karras et al. 2022.

use super::record::Recorder;
use super::setup::Setup;
use crate::error::Result;
use crate::schedule::Clip;

/// Algorithm 1, as diffusers' `HeunDiscreteScheduler` does it: two evaluations a step, and one in the last, which arrives at
/// σ = 0.
pub(super) fn heun(run: &mut Recorder<'_>, setup: &Setup<'_>) -> Result<()> {
    let points = setup.exploding()?;
    let clip = setup.schedule.asked_clip;
    let mut x = run.start(setup.start(&points));
    for pair in points.windows(2) {
        let (at, next) = (pair[0], pair[1]);
        let step = next.level.sigma - at.level.sigma;
        let denoised = run.denoise(x, at);
        let mut x0 = run.clip(denoised.x0, clip);
        let unclipped = clip == Clip::None;
        let slope = if unclipped { denoised.epsilon } else { (x - x0) / at.level.sigma };
        let mut end = run.combine(x + step * slope.clone());
        if next.level.sigma > 0.0 {
            let denoised = run.denoise(end, next);
            x0 = run.clip(denoised.x0, clip);
            let second = if unclipped { denoised.epsilon } else { (end - x0) / next.level.sigma };
            // Line 8: the mean of both slopes.
            end = run.combine(x + step / 2.0 * (slope + second));
        }
        x = end;
        run.end_step(at, next.level, x, x0);
    }
    Ok(())
}
