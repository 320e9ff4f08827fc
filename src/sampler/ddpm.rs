//! Denoising diffusion probabilistic models: Ho, Jain and Abbeel 2020.

use super::program::NoiseScale;
use super::record::Recorder;
use super::setup::Setup;
use crate::denoiser::Level;
use crate::error::Result;
use crate::schedule::Variance;

/// Ancestral sampling (algorithm 2) as diffusers' `DDPMScheduler` does it: a run that skips timesteps takes β of the
/// whole stride, from each timestep of its list to the next.
pub(super) fn ddpm(run: &mut Recorder<'_>, setup: &Setup<'_>) -> Result<()> {
    let schedule = setup.schedule;
    let timesteps = setup.timesteps()?;
    let mut x = run.start(1.0);
    for (i, &t) in timesteps.iter().enumerate() {
        let at = schedule.point(t as usize);
        let now = at.level;
        let next = timesteps.get(i + 1).map_or(Level::CLEAN, |&p| schedule.level(p as usize));
        let alpha = (now.alpha / next.alpha).powi(2);
        let beta = 1.0 - alpha;

        let denoised = run.denoise(x, at);
        let x0 = run.clip(denoised.x0, schedule.clip);
        // Equation 7: the mean and variance of q(x_{t-1} | x_t, x_0).
        let mean = next.alpha * beta / now.sigma.powi(2) * x0
            + alpha.sqrt() * next.sigma.powi(2) / now.sigma.powi(2) * x;
        let beta_tilde = (next.sigma.powi(2) / now.sigma.powi(2) * beta).max(1e-20);
        let output = denoised.variance;
        let deviation = match schedule.variance {
            Variance::FixedSmall => NoiseScale::Constant(beta_tilde.sqrt()),
            Variance::FixedLarge => NoiseScale::Constant(beta.sqrt()),
            Variance::Learned => NoiseScale::Learned { output },
            Variance::LearnedRange => {
                NoiseScale::LearnedRange { output, log_min: beta_tilde.ln(), log_max: beta.ln() }
            }
        };
        // As in diffusers, only timestep 0 adds no noise: a list that ends above 0 ends with noise.
        x = if t > 0.0 { run.add_noise(mean, deviation) } else { run.combine(mean) };
        run.end_step(at, next, x, x0);
    }
    Ok(())
}
