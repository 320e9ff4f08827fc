//! DPM-Solver-2 in `x = x₀ + σ ε`, and its ancestral form: Karras et al. 2022 (algorithm 2 with its midpoint), Lu et al. 2022.

use super::euler::ancestral;
use super::record::Recorder;
use super::setup::Setup;
use crate::denoiser::{Level, Point};
use crate::error::Result;
use crate::levels::Grid;

/// As diffusers' `KDPM2DiscreteScheduler` does it.
pub(super) fn kdpm2(run: &mut Recorder<'_>, setup: &Setup<'_>) -> Result<()> {
    midpoint(run, setup, false)
}

/// As diffusers' `KDPM2AncestralDiscreteScheduler` does it: down to less noise than is wanted, and fresh noise for the rest.
pub(super) fn kdpm2_ancestral(run: &mut Recorder<'_>, setup: &Setup<'_>) -> Result<()> {
    midpoint(run, setup, true)
}

/// Each step goes by the slope at the level that halves the way in ln σ; the last one, to σ = 0, by that at its beginning.
fn midpoint(run: &mut Recorder<'_>, setup: &Setup<'_>, random: bool) -> Result<()> {
    let mut points = setup.exploding()?;
    if setup.grid() == Grid::Karras {
        points.iter_mut().for_each(|p| p.timestep = p.timestep.round_ties_even());
    }
    let sigmas = setup.schedule.sigmas();
    let mut x = run.start(setup.start(&points));
    for pair in points.windows(2) {
        let (at, next) = (pair[0], pair[1].level);
        let sigma = at.level.sigma;
        let (up, down) = if random { ancestral(sigma, next.sigma) } else { (0.0, next.sigma) };
        let middle = (sigma * down).sqrt();
        let denoised = run.denoise(x, at);
        let mut x0 = run.combine(denoised.x0);
        let halfway = run.combine(x + (middle - sigma) * denoised.epsilon);
        if middle > 0.0 {
            let level = Level { alpha: 1.0, sigma: middle };
            let denoised = run.denoise(halfway, Point { level, timestep: sigmas.timestep(middle) });
            x0 = run.combine(denoised.x0);
            let mean = x + (down - sigma) * denoised.epsilon;
            x = if random { run.add_noise(mean, up) } else { run.combine(mean) };
        } else {
            x = halfway;
        }
        run.end_step(at, next, x, x0);
    }
    Ok(())
}
