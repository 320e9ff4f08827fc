//! Annealed Langevin dynamics: Song and Ermon 2019 (1907.05600) and 2020 (2006.09011).

use super::options::{LANGEVIN_STEPS, STEP_RATIO};
use super::record::Recorder;
use super::setup::Setup;
use crate::denoiser::Level;
use crate::error::Result;

/// Algorithm 1: at each level, from the most noise to the least, steps of `x + α/2 ∇ ln p_σ(x) + sqrt(α) z` with `α = r σ²`,
/// the paper's r being ε/σ_L²; in the end the mean of the data, as the second paper adds.
pub(super) fn annealed_langevin(run: &mut Recorder<'_>, setup: &Setup<'_>) -> Result<()> {
    let points = setup.exploding()?;
    let (ratio, inner) = (setup.get(&STEP_RATIO), setup.get(&LANGEVIN_STEPS) as usize);
    let mut x = run.start(setup.start(&points));
    for (i, pair) in points.windows(2).enumerate() {
        let (at, next) = (pair[0], pair[1].level);
        let sigma = at.level.sigma;
        for _ in 0..inner {
            let denoised = run.denoise(x, at);
            // σ ∇ ln p_σ(x) is -ε̂.
            x = run.add_noise(x - ratio / 2.0 * sigma * denoised.epsilon, ratio.sqrt() * sigma);
        }
        let denoised = run.denoise(x, at);
        let x0 = run.combine(denoised.x0);
        let last = i + 2 == points.len();
        if last {
            x = x0;
        }
        run.end_step(at, if last { Level::CLEAN } else { next }, x, x0);
    }
    Ok(())
}
