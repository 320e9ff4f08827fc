//! DPM-Solver and DPM-Solver++, multistep: Lu et al. 2022 (2206.00927, 2211.01095).

use super::options::{ALGORITHM, EULER_AT_FINAL, LOWER_ORDER_FINAL, SOLVER_ORDER, SOLVER_TYPE};
use super::program::{Expr, Slot};
use super::record::Recorder;
use super::setup::{End, Setup, log_ratio};
use crate::denoiser::Level;
use crate::error::{Error, Result};

/// The exact solution of the linear part of the ODE (or SDE) from `from` to `to`, where x̂₀ or ε̂ stays what it is:
/// `x' = scale · x - size · (e^z - 1) · m`, and fresh noise.
pub(super) struct Exponential {
    pub(super) scale: f64,
    pub(super) size: f64,
    pub(super) z: f64,
    pub(super) noise: f64,
}

impl Exponential {
    /// In terms of x̂₀ (`data`, 2211.01095 equation 9) or of ε̂ (2206.00927 equation 3.4), with h = λ' - λ and λ = ln(α/σ).
    pub(super) fn new(from: Level, to: Level, data: bool, sde: bool) -> Self {
        let h = log_ratio(to) - log_ratio(from);
        let (of_noise, of_signal) = (to.sigma / from.sigma, to.alpha / from.alpha);
        let noise = |power: f64| to.sigma * power.exp_m1().abs().sqrt();
        let (scale, size, z, noise) = match (data, sde) {
            (true, false) => (of_noise, to.alpha, -h, 0.0),
            (false, false) => (of_signal, to.sigma, h, 0.0),
            (true, true) => (of_noise * (-h).exp(), to.alpha, -2.0 * h, noise(-2.0 * h)),
            (false, true) => (of_signal, 2.0 * to.sigma, h, noise(2.0 * h)),
        };
        Self { scale, size, z, noise }
    }
}

/// As diffusers' `DPMSolverMultistepScheduler` does it: of order 1 in the first step, one more in each, and of order 1 again in
/// the last where that arrives at σ = 0.
pub(super) fn dpm_multistep(run: &mut Recorder<'_>, setup: &Setup<'_>) -> Result<()> {
    let algorithm = setup.get(&ALGORITHM) as usize;
    let (data, sde) = (algorithm.is_multiple_of(2), algorithm >= 2);
    let most = setup.get(&SOLVER_ORDER) as usize;
    if most == 3 && sde && !data {
        let expected = "1 or 2 for sde-dpmsolver, which has no third order".to_owned();
        return Err(Error::Option { option: "solver_order", found: "3".to_owned(), expected });
    }
    let points = setup.preserving(End::OfTable)?;
    setup.refuse_zero_end(&points, data)?;
    let (last, few) = (points.len() - 2, setup.is(&LOWER_ORDER_FINAL) && points.len() + setup.skipped < 16);
    // λ and x̂₀ or ε̂ of the points visited.
    let mut known: Vec<(f64, Slot)> = Vec::new();
    let mut x = run.start(setup.start(&points));
    for (i, pair) in points.windows(2).enumerate() {
        let (at, next) = (pair[0], pair[1].level);
        let (x0, m) = setup.ask(run, x, at, data);
        known.push((log_ratio(at.level), m));
        let order = match i {
            _ if i == last && (few || setup.is(&EULER_AT_FINAL) || next.sigma == 0.0) => 1,
            _ if i + 1 == last && few => most.min(2),
            _ => most,
        };
        let step = Exponential::new(at.level, next, data, sde);
        let h = log_ratio(next) - log_ratio(at.level);
        let heun = setup.get(&SOLVER_TYPE) == 1.0;
        let sum = multistep(&step, x, &known, h, order.min(i + 1), heun, sde);
        x = if sde { run.add_noise(sum, step.noise) } else { run.combine(sum) };
        run.end_step(at, next, x, x0);
    }
    Ok(())
}

/// `x'` without its noise: the finite differences of what is known, each times the integral of its power of λ.
fn multistep(
    step: &Exponential,
    x: Slot,
    known: &[(f64, Slot)],
    h: f64,
    order: usize,
    heun: bool,
    sde: bool,
) -> Expr {
    let (newest, z) = (known.len() - 1, step.z);
    let phi = z.exp_m1();
    let m = |back: usize| known[newest - back].1;
    // r_k: a past step's length as a share of this one's.
    let r = |back: usize| (known[newest - back].0 - known[newest - back - 1].0) / h;
    let mut sum = phi * m(0);
    if order == 2 {
        let first = (m(0) - m(1)) / r(0);
        sum = sum + if heun { phi / z - 1.0 } else { phi / 2.0 } * first;
    } else if order == 3 {
        let (r0, r1) = (r(0), r(1));
        let (first, before) = ((m(0) - m(1)) / r0, (m(1) - m(2)) / r1);
        let second = (first.clone() - before) / (r0 + r1);
        // For the SDE the sign of the half is diffusers' own.
        let half = if sde { 0.5 } else { -0.5 };
        sum = sum + (phi / z - 1.0) * (first + r0 * second.clone()) + ((phi - z) / (z * z) + half) * second;
    }
    step.scale * x - step.size * sum
}
