//! DPM-Solver-2 for the SDE in `x = x₀ + σ ε`, as k-diffusion has it: Lu et al. 2022, Karras et al. 2022.

use super::euler::ancestral;
use super::options::S_NOISE;
use super::program::Expr;
use super::record::Recorder;
use super::setup::Setup;
use crate::denoiser::{Level, Point};
use crate::error::Result;

/// As diffusers' `DPMSolverSDEScheduler` does it, but for where its noise comes from: the increments of a Brownian motion in σ,
/// so that a whole step's noise is that of its halves.
pub(super) fn dpm_sde(run: &mut Recorder<'_>, setup: &Setup<'_>) -> Result<()> {
    let points = setup.exploding()?;
    let sigmas = setup.schedule.sigmas();
    let mut x = run.start(setup.start(&points));
    for pair in points.windows(2) {
        let (at, next) = (pair[0], pair[1].level);
        let sigma = at.level.sigma;
        let denoised = run.denoise(x, at);
        let mut x0 = run.combine(denoised.x0);
        if next.sigma == 0.0 {
            x = x0;
            run.end_step(at, next, x, x0);
            continue;
        }
        let middle = (sigma * next.sigma).sqrt();
        // The exact solution down to less noise than is wanted, x̂₀ staying what it is, and noise for the rest.
        let step = |x0, to: f64, noise: Expr| {
            let (up, down) = ancestral(sigma, to);
            down / sigma * x + (1.0 - down / sigma) * x0 + setup.get(&S_NOISE) * up * noise
        };
        let [first, second] = [(); 2].map(|()| run.add_noise(Expr::default(), 1.0));
        let halfway = run.combine(step(x0, middle, first.into()));
        let level = Level { alpha: 1.0, sigma: middle };
        let denoised = run.denoise(halfway, Point { level, timestep: sigmas.timestep(middle) });
        x0 = run.combine(denoised.x0);
        let share = (sigma - middle) / (sigma - next.sigma);
        let noise = share.sqrt() * first + (1.0 - share).sqrt() * second;
        x = run.combine(step(x0, next.sigma, noise));
        run.end_step(at, next, x, x0);
    }
    Ok(())
}
