//! iPNDM, PNDM's method without its first steps of Runge and Kutta: Zhang and Chen 2023 (2204.13902, section H.2), after Liu et al. 2022.

use super::pndm::adams_bashforth;
use super::program::Slot;
use super::record::Recorder;
use super::setup::Setup;
use crate::denoiser::{Level, Point, Prediction};
use crate::error::Result;
use crate::levels::list;

/// As diffusers' `IPNDMScheduler` does it: `ε̄` of the last four evaluations by Adams and Bashforth's weights, fewer in the
/// first steps, and DDIM's step with it.
pub(super) fn ipndm(run: &mut Recorder<'_>, setup: &Setup<'_>) -> Result<()> {
    let schedule = setup.schedule;
    let mut points = Vec::with_capacity(setup.steps + 1);
    if schedule.prediction == Prediction::VByAngle {
        setup.refuse_steps()?;
        for timestep in setup.kept(list(setup.steps, &|i| 1.0 - i as f64 / setup.steps as f64)) {
            points.push(Point { level: Level::of_sine(timestep), timestep });
        }
    } else {
        for t in setup.timesteps()? {
            points.push(schedule.point(t as usize));
        }
    }
    points.push(Point { level: Level::CLEAN, timestep: 0.0 });
    let mut known: Vec<Slot> = Vec::new();
    let mut x = run.start(1.0);
    for pair in points.windows(2) {
        let (at, next) = (pair[0], pair[1].level);
        let denoised = run.denoise(x, at);
        let x0 = run.combine(denoised.x0);
        known.push(run.combine(denoised.epsilon));
        let epsilon = adams_bashforth(&known);
        // x' = α' (x - σ ε̄)/α + σ' ε̄, the difference first: it is nothing where no signal is left.
        let signal = run.combine(x - at.level.sigma * epsilon.clone());
        x = run.combine(next.alpha / at.level.alpha.max(1e-8) * signal + next.sigma * epsilon);
        run.end_step(at, next, x, x0);
    }
    Ok(())
}
