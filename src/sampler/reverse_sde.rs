//! The reverse-time SDE, with a corrector of Langevin dynamics: Song et al. 2021 (2011.13456), algorithms 1 to 3.

use super::options::{CORRECT_STEPS, NORMS, SAMPLING_EPS, SDE, SNR};
use super::record::Recorder;
use super::setup::Setup;
use crate::denoiser::{Level, Point};
use crate::error::Result;

/// One of a run's steps: the point, and what the SDE `dx = -b/2 x + g dw` does until the next.
struct Step {
    at: Point,
    to: Level,
    /// b: how much of the signal the SDE takes, and the share of the step's size that VP's corrector keeps.
    drift: f64,
    /// g²: how much noise it adds.
    diffusion: f64,
}

/// As diffusers' `ScoreSdeVeScheduler` and its pipeline do it, and its `ScoreSdeVpScheduler`: at each level, first the corrector, then the
/// predictor. The last step adds no noise.
pub(super) fn reverse_sde(run: &mut Recorder<'_>, setup: &Setup<'_>) -> Result<()> {
    let (snr, corrections) = (setup.get(&SNR), setup.get(&CORRECT_STEPS) as usize);
    let steps = if setup.get(&SDE) == VE { exploding(setup)? } else { preserving(setup)? };
    let start = if setup.get(&SDE) == VE { setup.schedule.ends().1 } else { 1.0 };
    let mut x = run.start(start);
    for (i, Step { at, to, drift, diffusion }) in steps.iter().enumerate() {
        let sigma = at.level.sigma;
        for _ in 0..corrections {
            let denoised = run.denoise(x, *at);
            let score = run.combine(-1.0 / sigma * denoised.epsilon);
            let z = run.add_noise(Default::default(), 1.0);
            // Algorithms 4 and 5: ε = 2 α (r |z|/|g|)², x + ε g + sqrt(2 ε) z.
            let factor = 2.0 * (1.0 - drift).max(0.0) * snr * snr;
            let gradient = run.rescale(score, [z, score], 2, setup.is(&NORMS));
            let noise = run.rescale(z, [z, score], 1, setup.is(&NORMS));
            x = run.combine(x + factor * gradient + (2.0 * factor).sqrt() * noise);
        }
        let denoised = run.denoise(x, *at);
        let x0 = run.combine(denoised.x0);
        // Equation 46 and its like: x + b/2 x + g² s, and g z.
        let mean = (1.0 + drift / 2.0) * x - diffusion / sigma * denoised.epsilon;
        x = if i + 1 < steps.len() { run.add_noise(mean, diffusion.sqrt()) } else { run.combine(mean) };
        run.end_step(*at, *to, x, x0);
    }
    Ok(())
}

/// The position of `ve` among the names of [`SDE`].
const VE: f64 = 2.0;
/// That of `sub-vp`.
const SUB_VP: f64 = 1.0;

/// The time of a step, from 1 to `sampling_eps`.
fn time(setup: &Setup<'_>, i: usize) -> f64 {
    1.0 - i as f64 / (setup.steps - 1).max(1) as f64 * (1.0 - setup.get(&SAMPLING_EPS))
}

/// σ on a geometric ladder, and `g² = σ² - σ'²`. As in diffusers, the network is told the level of the time, which differs from the
/// ladder's in `sampling_eps`.
fn exploding(setup: &Setup<'_>) -> Result<Vec<Step>> {
    setup.refuse_flow()?;
    setup.refuse_steps()?;
    let sigmas = setup.schedule.sigmas();
    let (least, greatest) = sigmas.ends();
    let at = |time: f64| least * ((greatest / least).ln() * time).exp();
    let rung = |left: usize| {
        if left == 0 { 0.0 } else { at((left - 1) as f64 / (setup.steps - 1).max(1) as f64) }
    };
    let mut steps = Vec::with_capacity(setup.steps);
    for i in 0..setup.steps {
        let sigma = at(time(setup, i));
        let (now, next) = (rung(setup.steps - i), rung(setup.steps - i - 1));
        steps.push(Step {
            at: Point { level: Level { alpha: 1.0, sigma }, timestep: sigmas.timestep(sigma) },
            to: Level { alpha: 1.0, sigma: next },
            drift: 0.0,
            diffusion: now * now - next * next,
        });
    }
    Ok(setup.kept(steps))
}

/// `b` of a step is β(t)/N where the checkpoint says β(t), and `2 ln(α'/α)` elsewhere; `g² = b`, or `b (1 - α⁴)` for sub-VP, whose noise is
/// `σ = 1 - α²`.
fn preserving(setup: &Setup<'_>) -> Result<Vec<Step>> {
    let schedule = setup.schedule;
    let sub = setup.get(&SDE) == SUB_VP;
    let sigmas = schedule.sigmas();
    // From the end, as each step is told where it arrives.
    let mut steps = Vec::with_capacity(setup.steps);
    let mut to = Level::CLEAN;
    let timesteps = setup.timesteps()?;
    for i in (0..timesteps.len()).rev() {
        let (timestep, alpha, drift) = if let Some((least, greatest)) = schedule.betas_of_time {
            let t = time(setup, i + setup.steps - timesteps.len());
            let log_alpha = -0.25 * t * t * (greatest - least) - 0.5 * t * least;
            let told = t * (schedule.train_timesteps() - 1) as f64;
            (told, log_alpha.exp(), (least + t * (greatest - least)) / setup.steps as f64)
        } else {
            let alpha = schedule.level(timesteps[i] as usize).alpha;
            // Where no signal is left, a ten thousandth is.
            (timesteps[i], alpha, 2.0 * (to.alpha / alpha.max(1e-4)).ln())
        };
        let square = alpha * alpha;
        let level = if sub { Level { alpha, sigma: 1.0 - square } } else { Level::from_alpha_bar(square) };
        let timestep = if sub { sigmas.timestep(level.sigma / alpha) } else { timestep };
        let diffusion = if sub { drift * (1.0 - square * square) } else { drift };
        steps.push(Step { at: Point { level, timestep }, to, drift, diffusion });
        to = level;
    }
    steps.reverse();
    Ok(steps)
}
