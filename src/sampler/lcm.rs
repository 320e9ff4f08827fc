//! Latent consistency models: Luo et al. 2023 (2310.04378).

use super::options::{ORIGINAL_STEPS, TIMESTEP_SCALING};
use super::record::Recorder;
use super::setup::Setup;
use crate::denoiser::Level;
use crate::error::{Error, Result};
use crate::levels::list;
use crate::schedule::Clip;
use crate::text::number;

/// Multistep sampling (algorithm 3) as diffusers' `LCMScheduler` does it: to the clean image in one step, and back to the next
/// level with fresh noise.
pub(super) fn lcm(run: &mut Recorder<'_>, setup: &Setup<'_>) -> Result<()> {
    let schedule = setup.schedule;
    let clip = if schedule.threshold() == Clip::None { schedule.asked_clip } else { schedule.clip };
    let timesteps = distilled(setup)?;
    let mut x = run.start(1.0);
    for (i, &t) in timesteps.iter().enumerate() {
        let at = schedule.point(t as usize);
        let denoised = run.denoise(x, at);
        let x0 = run.clip(denoised.x0, clip);
        // Equation 9's boundary condition: at t = 0 the answer is the image itself.
        let scaled = t * setup.get(&TIMESTEP_SCALING);
        let square = scaled * scaled + 0.25;
        let answer = run.combine(scaled / square.sqrt() * x0 + 0.25 / square * x);
        let (next, end) = match timesteps.get(i + 1) {
            Some(next) => {
                let next = schedule.level(*next as usize);
                (next, run.add_noise(next.alpha * answer, next.sigma))
            }
            None => (Level::CLEAN, answer),
        };
        x = end;
        run.end_step(at, next, x, answer);
    }
    Ok(())
}

/// The timesteps of a run, among those that the model was distilled at: the last of each of `original_inference_steps` equal
/// parts of all.
pub(super) fn distilled(setup: &Setup<'_>) -> Result<Vec<f64>> {
    setup.refuse_flow()?;
    if let Some(list) = setup.listed()? {
        return Ok(setup.kept(list));
    }
    let (original, steps) = (setup.get(&ORIGINAL_STEPS), setup.steps as f64);
    let total = setup.schedule.train_timesteps() as f64;
    if steps < 1.0 || steps > original.min(total) {
        return Err(Error::Option {
            option: "steps",
            found: setup.steps.to_string(),
            expected: format!(
                "from 1 to {}, the steps that the model was distilled for",
                number(original.min(total))
            ),
        });
    }
    let part = (total / original.min(total)).floor();
    Ok(setup.kept(list(setup.steps, &|i| (original - (i as f64 * (original / steps)).floor()) * part - 1.0)))
}
