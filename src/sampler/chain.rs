//! The generative chain of Sohl-Dickstein, Weiss, Maheswaranathan and Ganguli 2015 (1503.03585), for Gaussian noise.

use super::program::NoiseScale;
use super::record::Recorder;
use super::setup::Setup;
use crate::denoiser::Level;
use crate::error::Result;
use crate::schedule::Variance;

/// Section 2.2: from pure noise, each step is a Gaussian of the mean that the network's x̂₀ makes and of the posterior's variance, or of
/// the one that the network learned, and the last is the forward kernel. Nothing is clipped.
pub(super) fn gaussian_chain(run: &mut Recorder<'_>, setup: &Setup<'_>) -> Result<()> {
    let schedule = setup.schedule;
    let timesteps = setup.timesteps()?;
    let mut x = run.start(1.0);
    for (i, &t) in timesteps.iter().enumerate() {
        let at = schedule.point(t as usize);
        let now = at.level;
        let next = timesteps.get(i + 1).map_or(Level::CLEAN, |&p| schedule.level(p as usize));
        let denoised = run.denoise(x, at);
        let x0 = run.combine(denoised.x0);
        let alpha = now.alpha / next.alpha;
        let beta = 1.0 - alpha * alpha;
        x = if i + 1 == timesteps.len() {
            run.add_noise(alpha * x, beta.sqrt())
        } else {
            // The mean and variance of q(x' | x, x₀).
            let square = now.sigma * now.sigma;
            let mean = next.alpha * beta / square * x0 + alpha * next.sigma * next.sigma / square * x;
            let deviation = next.sigma / now.sigma * beta.sqrt();
            let output = denoised.variance;
            let deviation = match schedule.variance {
                Variance::Learned => NoiseScale::Learned { output },
                Variance::LearnedRange => {
                    NoiseScale::LearnedRange { output, log_min: 2.0 * deviation.ln(), log_max: beta.ln() }
                }
                _ => NoiseScale::Constant(deviation),
            };
            run.add_noise(mean, deviation)
        };
        run.end_step(at, next, x, x0);
    }
    Ok(())
}
