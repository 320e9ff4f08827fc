//! Pseudo numerical methods: Liu et al. 2022 (2202.09778).

use super::options::{ALPHA_TO_ONE, SKIP_PRK};
use super::program::{Expr, Slot};
use super::record::Recorder;
use super::setup::Setup;
use crate::denoiser::{Denoiser, Level};
use crate::error::{Error, Result};

/// Adams and Bashforth's weights of the last evaluations, in 24ths.
const WEIGHTS: [&[f64]; 4] = [&[24.0], &[36.0, -12.0], &[46.0, -32.0, 10.0], &[55.0, -59.0, 37.0, -9.0]];

/// Adams and Bashforth's method of order 4 (PLMS) after three steps of Runge and Kutta's (PRK), or after a step of Heun's
/// where those are skipped, as diffusers' `PNDMScheduler` does it. What it averages is what the network says, ε or v.
pub(super) fn pndm(run: &mut Recorder<'_>, setup: &Setup<'_>) -> Result<()> {
    let (schedule, skip) = (setup.schedule, setup.is(&SKIP_PRK));
    let timesteps = setup.timesteps()?;
    if !skip && timesteps.len() < 4 {
        let expected =
            "4 or more, or skip_prk_steps true: three steps come before the method's first".to_owned();
        return Err(Error::Option { option: "steps", found: timesteps.len().to_string(), expected });
    }
    let stride = (schedule.train_timesteps() / setup.steps) as f64;
    let end = if setup.is(&ALPHA_TO_ONE) { Level::CLEAN } else { schedule.level(0) };
    let level = |t: f64| if t < 0.0 { end } else { schedule.level(t as usize) };
    // Equation 11, the step of DDIM from t to `to` with what the network says, or an average of it, in `m`.
    let transfer = |x: Slot, t: f64, to: f64, m: Expr| {
        let (now, next) = (level(t), level(to));
        let (c, d) = schedule.prediction.ask(schedule.point(t as usize)).epsilon(now);
        let epsilon = c * x + d * m;
        next.alpha / now.alpha * x + (next.sigma - next.alpha * now.sigma / now.alpha) * epsilon
    };
    let mut known: Vec<Slot> = Vec::new();
    let mut x = run.start(1.0);
    if skip && setup.edit.is_some_and(|edit| edit.is_as_pipelines()) {
        // diffusers' list of evaluations, of which Heun's step has two, and its counting, which begins anew wherever the list is cut: in
        // the middle of a run the second evaluation takes the image back to where it was asked, and from then on it has more noise than
        // the network is told.
        let mut list = setup.all_timesteps()?;
        if let Some(second) = list.get(1).copied() {
            list.insert(1, second);
        }
        let mut begun = x;
        for (i, &t) in list[setup.skipped.min(list.len() - 1)..].iter().enumerate() {
            let at = schedule.point(t as usize);
            let denoised = run.denoise(x, at);
            let (from, to) = if i == 1 { (t + stride, t) } else { (t, t - stride) };
            let m = if i == 1 {
                (known[0] + denoised.output) / 2.0
            } else {
                known.push(denoised.output);
                adams_bashforth(&known)
            };
            begun = if i == 1 { begun } else { x };
            x = run.combine(transfer(begun, from, to, m));
            let x0 = run.combine(denoised.x0);
            run.end_step(at, level(to), x, x0);
        }
        return Ok(());
    }
    for (i, &t) in timesteps.iter().enumerate() {
        let at = schedule.point(t as usize);
        let first = run.denoise(x, at);
        let (mut x0, mut to) = (first.x0, t - stride);
        known.push(first.output);
        if !skip && i < 3 {
            // Equation 13: slopes at t, twice halfway, and at the end.
            let (half, end) = ((stride / 2.0).floor(), timesteps[i + 1]);
            let (mut slopes, mut last): (Expr, Slot) = (first.output.into(), first.output);
            // Where the stride is odd, the network is told a timestep beside the image's.
            for (weight, there, told) in
                [(2.0, t - half, end + half), (2.0, end + half, end + half), (1.0, end, end)]
            {
                let y = run.combine(transfer(x, t, there, last.into()));
                let denoised = run.denoise(y, schedule.point(told as usize));
                slopes = slopes + weight * denoised.output;
                (last, x0) = (denoised.output, denoised.x0);
            }
            x = run.combine(transfer(x, t, end, slopes / 6.0));
            to = end;
        } else if skip && i == 0 && timesteps.len() > 1 {
            let y = run.combine(transfer(x, t, to, first.output.into()));
            to = timesteps[1];
            let denoised = run.denoise(y, schedule.point(to as usize));
            x0 = denoised.x0;
            x = run.combine(transfer(x, to + stride, to, (first.output + denoised.output) / 2.0));
        } else {
            // Equation 12, and its forms of lower order.
            x = run.combine(transfer(x, t, to, adams_bashforth(&known)));
        }
        let x0 = run.combine(x0);
        run.end_step(at, level(to), x, x0);
    }
    Ok(())
}

/// The mean of the last four of these, or of as many as there are, by the weights of Adams and Bashforth.
pub(super) fn adams_bashforth(known: &[Slot]) -> Expr {
    let mut mean = Expr::default();
    for (weight, slot) in WEIGHTS[known.len().min(4) - 1].iter().zip(known.iter().rev()) {
        mean = mean + *weight / 24.0 * *slot;
    }
    mean
}
