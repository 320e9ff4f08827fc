//! Solvers along the straight paths of flow matching, `x = (1 - σ) x₀ + σ ε`: Lipman et al. 2023, Liu et al. 2023, and Esser et
//! al. 2024 for the shift of their times.

use super::options::STOCHASTIC;
use super::record::Recorder;
use super::setup::Setup;
use crate::denoiser::{Level, Point, Prediction};
use crate::error::{Error, Result};
use crate::levels::{Grid, list};

/// Euler's method, as diffusers' `FlowMatchEulerDiscreteScheduler` does it: the network says the slope. Random, it goes to the
/// data in each step, and back with fresh noise.
pub(super) fn flow_euler(run: &mut Recorder<'_>, setup: &Setup<'_>) -> Result<()> {
    let points = points(setup)?;
    let mut x = run.start(1.0);
    for pair in points.windows(2) {
        let (at, next) = (pair[0], pair[1].level);
        let denoised = run.denoise(x, at);
        let x0 = run.combine(denoised.x0);
        x = if setup.is(&STOCHASTIC) {
            run.add_noise(next.alpha * x0, next.sigma)
        } else {
            run.combine(x + (next.sigma - at.level.sigma) * denoised.output)
        };
        run.end_step(at, next, x, x0);
    }
    Ok(())
}

/// Heun's method, as diffusers' `FlowMatchHeunDiscreteScheduler` does it: two evaluations a step, and one in the last.
pub(super) fn flow_heun(run: &mut Recorder<'_>, setup: &Setup<'_>) -> Result<()> {
    let points = points(setup)?;
    let mut x = run.start(1.0);
    for pair in points.windows(2) {
        let (at, next) = (pair[0], pair[1]);
        let step = next.level.sigma - at.level.sigma;
        let first = run.denoise(x, at);
        let mut x0 = run.combine(first.x0);
        let mut end = run.combine(x + step * first.output);
        if next.level.sigma > 0.0 {
            let second = run.denoise(end, next);
            x0 = run.combine(second.x0);
            end = run.combine(x + step / 2.0 * (first.output + second.output));
        }
        x = end;
        run.end_step(at, next.level, x, x0);
    }
    Ok(())
}

/// σ from 1 down, evenly spread and shifted, and the end at 0; the network is told T σ. As in diffusers, the lower end was
/// shifted when the schedule was made, and is once more here.
fn points(setup: &Setup<'_>) -> Result<Vec<Point>> {
    let schedule = setup.schedule;
    let total = schedule.train_timesteps();
    if schedule.prediction != Prediction::Flow {
        return Err(Error::Option {
            option: "sampler",
            found: "one for flows".to_owned(),
            expected: "another, such as euler or heun, for a network that does not predict the flow"
                .to_owned(),
        });
    }
    setup.refuse_steps()?;
    let shift = |t: f64| schedule.flow_shift * t / (1.0 + (schedule.flow_shift - 1.0) * t);
    let least = shift(1.0 / total as f64);
    let last = (setup.steps - 1).max(1) as f64;
    let mut sigmas = list(setup.steps, &|i| shift(1.0 - i as f64 / last * (1.0 - least)));
    setup.stretch(&mut sigmas);
    if setup.grid() != Grid::Timesteps {
        sigmas = setup.grid().between(sigmas[0], sigmas[setup.steps - 1], setup.steps);
    }
    sigmas.push(0.0);
    let point = |sigma: &f64| Point {
        level: Level { alpha: 1.0 - sigma, sigma: *sigma },
        timestep: sigma * total as f64,
    };
    Ok(setup.kept(sigmas.iter().map(point).collect()))
}
