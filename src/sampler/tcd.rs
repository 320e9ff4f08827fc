//! Trajectory consistency distillation: Zheng et al. 2024 (2402.19159).

use super::lcm::distilled;
use super::options::ETA;
use super::record::Recorder;
use super::setup::Setup;
use crate::error::Result;

/// Strategic stochastic sampling (algorithm 4) as diffusers' `TCDScheduler` does it: in one step to a level below the next one,
/// the lower the greater `eta` (the paper's γ) is, and back up to the next with fresh noise.
pub(super) fn tcd(run: &mut Recorder<'_>, setup: &Setup<'_>) -> Result<()> {
    let (schedule, eta) = (setup.schedule, setup.get(&ETA));
    let timesteps = distilled(setup)?;
    let mut x = run.start(1.0);
    for (i, &t) in timesteps.iter().enumerate() {
        let at = schedule.point(t as usize);
        let next = timesteps.get(i + 1).copied().unwrap_or(0.0);
        let (below, level) =
            (schedule.level(((1.0 - eta) * next).floor() as usize), schedule.level(next as usize));
        let denoised = run.denoise(x, at);
        let x0 = run.combine(denoised.x0);
        let y = run.combine(below.alpha * x0 + below.sigma * denoised.epsilon);
        let kept = level.alpha / below.alpha;
        x = if eta > 0.0 && i + 1 < timesteps.len() {
            run.add_noise(kept * y, (1.0 - kept * kept).max(0.0).sqrt())
        } else {
            y
        };
        run.end_step(at, if i + 1 < timesteps.len() { level } else { below }, x, x0);
    }
    Ok(())
}
