//! Consistency models: Song, Dhariwal, Chen and Sutskever 2023 (2303.01469).

use super::options::S_NOISE;
use super::record::Recorder;
use super::setup::Setup;
use crate::denoiser::{Denoiser, Level, Point, Prediction};
use crate::error::Result;
use crate::levels::Grid;
use crate::schedule::Clip;

/// Multistep sampling (algorithm 1) as diffusers' `CMStochasticIterativeScheduler` does it: to the clean image in one step,
/// and back to the next level with fresh noise of variance `σ'² - σ_min²`.
pub(super) fn consistency(run: &mut Recorder<'_>, setup: &Setup<'_>) -> Result<()> {
    let schedule = setup.schedule;
    let (points, clip) = if let Prediction::Consistency { .. } = schedule.prediction {
        (points_of_training(setup)?, schedule.clip)
    } else {
        (setup.exploding()?, Clip::None)
    };
    let (least, _) = schedule.ends();
    let mut x = run.start(setup.start(&points));
    for (i, pair) in points.windows(2).enumerate() {
        let (at, next) = (pair[0], pair[1].level);
        let denoised = run.denoise(x, at);
        // f(x, σ), whose boundary condition is in what the network is asked.
        let x0 = run.clip(denoised.x0, clip);
        let noise = (next.sigma * next.sigma - least * least).max(0.0).sqrt();
        x = if points.len() > 2 { run.add_noise(x0.into(), setup.get(&S_NOISE) * noise) } else { x0 };
        let to = if i + 2 == points.len() { Level::CLEAN } else { next };
        run.end_step(at, to, x, x0);
    }
    Ok(())
}

/// Every (T div N)th of the levels that the model was trained at, from the greatest, and the least.
fn points_of_training(setup: &Setup<'_>) -> Result<Vec<Point>> {
    setup.refuse_steps()?;
    let (least, greatest) = setup.schedule.ends();
    let total = setup.schedule.train_timesteps();
    let stride = total / setup.steps;
    // diffusers counts these from the greatest level on, and visits the list from its end.
    let listed = setup.listed()?;
    let mut points = Vec::with_capacity(setup.steps + 1);
    for i in 0..=setup.steps {
        let place = listed.as_ref().map(|list| list[setup.steps.saturating_sub(i + 1)]);
        let place = place.unwrap_or((i * stride) as f64);
        let share = if i < setup.steps { place / (total - 1).max(1) as f64 } else { 1.0 };
        let level = Level { alpha: 1.0, sigma: Grid::Karras.at(greatest, least, share) };
        let timestep = setup.schedule.prediction.ask(Point { level, timestep: 0.0 }).c_noise;
        points.push(Point { level, timestep });
    }
    Ok(setup.kept(points))
}
