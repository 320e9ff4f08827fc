//! DPM-Solver and DPM-Solver++, singlestep: Lu et al. 2022 (2206.00927 algorithms 1 and 2, 2211.01095 algorithm 1).

use super::dpm::Exponential;
use super::options::{ALGORITHM, FINAL, LOWER_ORDER_FINAL, SOLVER_ORDER, SOLVER_TYPE};
use super::program::{Expr, Slot};
use super::record::Recorder;
use super::setup::{End, Setup, log_ratio};
use crate::error::Result;

/// As diffusers' `DPMSolverSinglestepScheduler` does it: in turns of steps of order 1, 2 and 3, each of which begins where its
/// turn began and knows what the network said since.
pub(super) fn dpm_singlestep(run: &mut Recorder<'_>, setup: &Setup<'_>) -> Result<()> {
    let algorithm = setup.get(&ALGORITHM) as usize;
    let (data, sde) = (algorithm.is_multiple_of(2), algorithm >= 2);
    let points = setup.preserving(End::Rounded)?;
    setup.refuse_zero_end(&points, data)?;
    let steps = points.len() - 1;
    let most = setup.get(&SOLVER_ORDER) as usize;
    let ends_at_zero = setup.get(&FINAL) == 0.0;
    let lowers =
        setup.is(&LOWER_ORDER_FINAL) || !(steps + setup.skipped).is_multiple_of(most) || ends_at_zero;
    // What the network said in this turn, and where it began.
    let mut known: Vec<(f64, Slot)> = Vec::new();
    let mut x = run.start(1.0);
    let mut base = (x, points[0].level);
    for (i, pair) in points.windows(2).enumerate() {
        let (at, next) = (pair[0], pair[1].level);
        let (x0, m) = setup.ask(run, x, at, data);
        // Turns are those of the whole run, but a run begins with one.
        let anew = i == 0 || setup.comes_back_to(i, steps);
        let mut order = if anew { 1 } else { (i + setup.skipped) % most + 1 };
        // A turn that would end the run is cut: 1, 2, 1 or 1, 1 at the end, so that the last step is of order 1 but for two
        // that are left of turns of three.
        let left = steps - i;
        if lowers && left == 1 && (order == most || ends_at_zero) {
            order = 1;
        }
        if order == 1 {
            known.clear();
            base = (x, at.level);
        }
        known.push((log_ratio(at.level), m));
        let step = Exponential::new(base.1, next, data, sde);
        let h = log_ratio(next) - log_ratio(base.1);
        let sum = turn(&step, base.0, &known, h, setup.get(&SOLVER_TYPE) == 1.0, sde);
        x = if sde { run.add_noise(sum, step.noise) } else { run.combine(sum) };
        run.end_step(at, next, x, x0);
    }
    Ok(())
}

/// `x'` without its noise, of the order of what is known of this turn.
fn turn(step: &Exponential, x: Slot, known: &[(f64, Slot)], h: f64, heun: bool, sde: bool) -> Expr {
    let (z, phi, m) = (step.z, step.z.exp_m1(), known[0].1);
    let mut sum = phi * m;
    // Differences from the turn's beginning, by the share of the way to where they are.
    let share = |k: usize| (known[k].0 - known[0].0) / h;
    let difference = |k: usize| (known[k].1 - m) / share(k);
    if known.len() == 2 {
        sum = sum + if heun { phi / z - 1.0 } else { phi / 2.0 } * difference(1);
    } else if known.len() == 3 && !heun {
        sum = sum + (phi / z - 1.0) * difference(2);
    } else if known.len() == 3 {
        let (near, far) = (share(1), share(2));
        let first = (far * difference(1) - near * difference(2)) / (far - near);
        let second = 2.0 * (difference(2) - difference(1)) / (far - near);
        // For the SDE the sign of the half is diffusers' own.
        let half = if sde { 0.5 } else { -0.5 };
        sum = sum + (phi / z - 1.0) * first + ((phi - z) / (z * z) + half) * second;
    }
    step.scale * x - step.size * sum
}
