//! Denoising diffusion implicit models: Song, Meng and Ermon 2021.

use super::options::{ALPHA_TO_ONE, ETA, USE_CLIPPED};
use super::program::Slot;
use super::record::Recorder;
use super::setup::Setup;
use crate::denoiser::{Level, Point};
use crate::error::Result;

/// Equation 12, as diffusers' `DDIMScheduler` does it: deterministic at `eta` 0, as noisy as DDPM at 1. Each step goes
/// to `t - T div N` even where the next timestep is another one (`linspace`), unless the caller lists the timesteps.
pub(super) fn ddim(run: &mut Recorder<'_>, setup: &Setup<'_>) -> Result<()> {
    let (schedule, eta) = (setup.schedule, setup.get(&ETA));
    let timesteps = setup.timesteps()?;
    let stride = schedule.train_timesteps() / setup.steps;
    let listed = setup.listed()?.is_some();
    let end = if setup.is(&ALPHA_TO_ONE) { Level::CLEAN } else { schedule.level(0) };
    let mut x = run.start(1.0);
    for (i, t) in timesteps.iter().enumerate() {
        let t = *t as usize;
        let at = schedule.point(t);
        let now = at.level;
        let next = match timesteps.get(i + 1) {
            next if listed => next.map_or(end, |next| schedule.level(*next as usize)),
            _ if t >= stride => schedule.level(t - stride),
            _ => end,
        };

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

/// The way back, from a picture to the noise that it comes from (section 4.3): the steps of [`ddim`] at η 0 solved for where each began. What
/// the network says there is asked at a guess, made with what it said at the step's other end, so that a step takes one evaluation.
pub(super) fn invert(run: &mut Recorder<'_>, setup: &Setup<'_>, picture: Slot) -> Result<()> {
    let schedule = setup.schedule;
    let mut timesteps = setup.timesteps()?;
    timesteps.reverse();
    let end = if setup.is(&ALPHA_TO_ONE) { Level::CLEAN } else { schedule.level(0) };
    let (mut x, mut at) = (picture, Point { level: end, ..schedule.point(0) });
    // A picture without noise is shown to the network as one of the least.
    let mut epsilon = run.denoise(picture, schedule.point(0)).epsilon;
    for t in timesteps {
        let next = schedule.point(t as usize);
        let (now, kept) = (next.level, next.level.alpha / at.level.alpha);
        // `x_t = α/α' x' + (σ - α/α' σ') ε̂` of `x' = α' x̂₀ + σ' ε̂`.
        let of_epsilon = now.sigma - kept * at.level.sigma;
        let guess = run.combine(kept * x + of_epsilon * epsilon);
        let denoised = run.denoise(guess, next);
        epsilon = denoised.epsilon;
        let x0 = run.combine(denoised.x0);
        x = run.combine(kept * x + of_epsilon * epsilon.clone());
        run.end_step(at, now, x, x0);
        at = next;
    }
    Ok(())
}
