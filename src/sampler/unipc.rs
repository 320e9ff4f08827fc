//! UniPC, a unified predictor and corrector: Zhao et al. 2023.

use super::dpm::Exponential;
use super::options::{LOWER_ORDER_FINAL, PREDICT_X0, SOLVER_ORDER, SOLVER_TYPE};
use super::program::{Expr, Slot};
use super::record::Recorder;
use super::setup::{End, Setup, log_ratio};
use crate::denoiser::Level;
use crate::error::Result;

/// As diffusers' `UniPCMultistepScheduler` does it: what the network says at the predicted point corrects that point, and is
/// kept as what it says at the corrected one. Of order 1 where it arrives at σ = 0, where diffusers gets NaN from `bh1`.
pub(super) fn unipc(run: &mut Recorder<'_>, setup: &Setup<'_>) -> Result<()> {
    let points = setup.preserving(End::LastOfGrid)?;
    let (data, most) = (setup.is(&PREDICT_X0), setup.get(&SOLVER_ORDER) as usize);
    setup.refuse_zero_end(&points, data)?;
    let bh1 = setup.get(&SOLVER_TYPE) == 0.0;
    let steps = points.len() - 1;
    let mut known: Vec<(Level, Slot)> = Vec::new();
    // Where the last prediction came from, and its order.
    let mut before = None;
    let mut x = run.start(setup.start(&points));
    for (i, pair) in points.windows(2).enumerate() {
        let (at, next) = (pair[0], pair[1].level);
        let denoised = run.denoise(x, at);
        let x0 = run.clip(denoised.x0, setup.schedule.threshold());
        let m = if data { x0 } else { run.combine(denoised.epsilon) };
        if let Some((from, order)) = before
            && !setup.schedule.disable_corrector.contains(&(i - 1 + setup.skipped))
            && !setup.comes_back_to(i, steps)
        {
            x = run.combine(update(from, &known, at.level, order, Some(m), data, bh1));
        }
        known.push((at.level, m));
        let left = if setup.is(&LOWER_ORDER_FINAL) { steps - i } else { most };
        let order = if next.sigma == 0.0 { 1 } else { most.min(left).min(i + 1) };
        before = Some((x, order));
        x = run.combine(update(x, &known, next, order, None, data, bh1));
        run.end_step(at, next, x, x0);
    }
    Ok(())
}

/// UniP (equation 9 with its coefficients of equation 11), and UniC with `newest`, what the network says at `to`.
fn update(
    x: Slot,
    known: &[(Level, Slot)],
    to: Level,
    order: usize,
    newest: Option<Slot>,
    data: bool,
    bh1: bool,
) -> Expr {
    let (from, m) = known[known.len() - 1];
    let step = Exponential::new(from, to, data, false);
    let h = log_ratio(to) - log_ratio(from);
    let (z, phi) = (step.z, step.z.exp_m1());
    let size = if bh1 { z } else { phi };
    // Differences D/r of the past, and of what is newest, whose r is 1.
    let (mut ratios, mut differences) = (Vec::new(), Vec::new());
    for back in 1..order {
        let (level, past) = known[known.len() - 1 - back];
        let r = (log_ratio(level) - log_ratio(from)) / h;
        ratios.push(r);
        differences.push((past - m) / r);
    }
    if let Some(newest) = newest {
        ratios.push(1.0);
        differences.push(newest - m);
    }
    let count = ratios.len();
    // Σ ρ_k r_k^i = b_i, with b_i = i! φ_{i+1}(z) z^i / B.
    let mut rho = Vec::new();
    let (mut phi_k, mut factorial) = (phi / z - 1.0, 1.0);
    for i in 1..=count {
        rho.push(phi_k * factorial / size);
        factorial *= (i + 1) as f64;
        phi_k = phi_k / z - 1.0 / factorial;
    }
    if count == 1 {
        // Half is of the order that it has to be.
        rho[0] = 0.5;
    } else {
        solve_vandermonde(&ratios, &mut rho);
    }
    let mut sum = phi * m;
    for (rho, difference) in rho.into_iter().zip(differences) {
        sum = sum + size * rho * difference;
    }
    step.scale * x - step.size * sum
}

/// Solves `Σ_k ρ_k r_k^i = b_i`, i from 0, in place (Björck and Pereyra 1970).
fn solve_vandermonde(r: &[f64], b: &mut [f64]) {
    let n = r.len();
    for (k, ratio) in r.iter().enumerate() {
        for i in (k + 1..n).rev() {
            b[i] -= ratio * b[i - 1];
        }
    }
    for k in (0..n).rev() {
        for i in k + 1..n {
            b[i] /= r[i] - r[i - k - 1];
        }
        for i in k..n - 1 {
            b[i] -= b[i + 1];
        }
    }
}
