//! Denoising diffusion implicit models: Song, Meng and Ermon 2021.

use super::options::{ALPHA_TO_ONE, ETA, USE_CLIPPED};
use super::record::Recorder;
use super::setup::Setup;
use crate::denoiser::Level;
use crate::error::Result;

/// Equation 12, as diffusers' `DDIMScheduler` does it: deterministic at `eta` 0, as noisy as DDPM at 1. Each step goes
/// to `t - T div N` even where the list's next timestep is another one (`linspace`).
pub(super) fn ddim(run: &mut Recorder<'_>, setup: &Setup<'_>) -> Result<()> {
    let (schedule, eta) = (setup.schedule, setup.get(&ETA));
    let timesteps = setup.timesteps()?;
    let stride = schedule.train_timesteps() / setup.steps;
    let end = if setup.is(&ALPHA_TO_ONE) { Level::CLEAN } else { schedule.level(0) };
    let mut x = run.start(1.0);
    for t in timesteps {
        let t = t as usize;
        let at = schedule.point(t);
        let now = at.level;
        let next = if t >= stride { schedule.level(t - stride) } else { end };

        let denoised = run.denoise(x, at);
        let x0 = run.clip(denoised.x0, schedule.clip);
        let epsilon =
            if setup.is(&USE_CLIPPED) { (x - now.alpha * x0) / now.sigma } else { denoised.epsilon };
        // Equation 16.
        let alpha = (now.alpha / next.alpha).powi(2);
        let deviation = eta * next.sigma / now.sigma * (1.0 - alpha).max(0.0).sqrt();
        // Below zero only by rounding, from which diffusers gets NaN at zero terminal SNR and eta 1.
        let direction = (next.sigma.powi(2) - deviation.powi(2)).max(0.0).sqrt();
        let mean = next.alpha * x0 + direction * epsilon;
        x = if eta > 0.0 { run.add_noise(mean, deviation) } else { run.combine(mean) };
        run.end_step(at, next, x, x0);
    }
    Ok(())
}
