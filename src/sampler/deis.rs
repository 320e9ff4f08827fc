//! DEIS, an exponential integrator with extrapolated ε̂: Zhang and Chen 2023 (2204.13902).

use super::options::{LOWER_ORDER_FINAL, SOLVER_ORDER};
use super::program::{Expr, Slot};
use super::record::Recorder;
use super::setup::{End, Setup};
use crate::denoiser::Level;
use crate::error::Result;

/// The ρAB variant with polynomials in ln ρ, ρ = σ/α, as diffusers' `DEISMultistepScheduler` does it:
/// `x'/α' = x/α + Σ_k ε̂_k ∫ L_k(ln ρ) dρ` (equation 15 and its multistep form). It ends at the least level, not at 0.
pub(super) fn deis(run: &mut Recorder<'_>, setup: &Setup<'_>) -> Result<()> {
    let points = setup.preserving(End::Least)?;
    let most = setup.get(&SOLVER_ORDER) as usize;
    let (last, few) = (points.len() - 2, setup.is(&LOWER_ORDER_FINAL) && points.len() + setup.skipped < 16);
    let mut known: Vec<(f64, Slot)> = Vec::new();
    let mut x = run.start(setup.start(&points));
    for (i, pair) in points.windows(2).enumerate() {
        let (at, next) = (pair[0], pair[1].level);
        let (x0, m) = setup.ask(run, x, at, false);
        let log_rho = |level: Level| (level.sigma / level.alpha).ln();
        known.push((log_rho(at.level), m));
        let order = if few { most.min(last + 1 - i) } else { most }.min(i + 1);
        let past = &known[known.len() - order..];
        let mut sum: Expr = (1.0 / at.level.alpha) * x;
        for (k, (_, m)) in past.iter().enumerate() {
            sum = sum + integral(past, k, log_rho(at.level), log_rho(next)) * *m;
        }
        x = run.combine(next.alpha * sum);
        run.end_step(at, next, x, x0);
    }
    Ok(())
}

/// ∫ L_k(u) e^u du, L_k being 1 at the k-th node and 0 at the others: `∫ p e^u = e^u (p - p' + p'')`.
fn integral(nodes: &[(f64, Slot)], k: usize, from: f64, to: f64) -> f64 {
    let (mut roots, mut scale) = ([0.0; 2], 1.0);
    let mut count = 0;
    for (j, (node, _)) in nodes.iter().enumerate() {
        if j != k {
            scale *= nodes[k].0 - node;
            roots[count] = *node;
            count += 1;
        }
    }
    let [a, b] = roots;
    let primitive = |u: f64| {
        u.exp()
            * match count {
                0 => 1.0,
                1 => u - a - 1.0,
                _ => (u - a) * (u - b) - (2.0 * u - a - b) + 2.0,
            }
    };
    (primitive(to) - primitive(from)) / scale
}
