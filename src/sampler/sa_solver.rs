//! SA-Solver, a stochastic Adams method: Xue et al. 2023 (2309.05019).

use super::options::{ALGORITHM, CORRECTOR_ORDER, LOWER_ORDER_FINAL, PREDICTOR_ORDER, TAU};
use super::program::{Expr, Slot};
use super::record::Recorder;
use super::setup::{End, Setup, log_ratio};
use crate::denoiser::Level;
use crate::error::Result;
use crate::levels::list;

/// As diffusers' `SASolverScheduler` does it: the predictor of equation 14, whose step the corrector of equation 17 takes again, with the same
/// noise, once the network has looked at its end. Noise of τ is added from timestep 200 to 800, and none elsewhere.
pub(super) fn sa_solver(run: &mut Recorder<'_>, setup: &Setup<'_>) -> Result<()> {
    let data = setup.get(&ALGORITHM) == DATA;
    let points = setup.preserving(End::Least)?;
    let steps = points.len() - 1;
    let lowers = setup.is(&LOWER_ORDER_FINAL);
    let order = |option, i: usize, more: usize| {
        let most = setup.get(option) as usize;
        if lowers { most.min(steps - i + more) } else { most }
    };
    // λ and x̂₀ or ε̂ of the points visited, the newest first.
    let mut known: Vec<(f64, Slot)> = Vec::new();
    let mut x = run.start(setup.start(&points));
    let mut before: Option<(Adams, Slot, Slot)> = None;
    for (i, pair) in points.windows(2).enumerate() {
        let (at, next) = (pair[0], pair[1].level);
        let (x0, m) = setup.ask(run, x, at, data);
        if setup.comes_back_to(i, steps) {
            // The image is another one than that which these belong to.
            known.clear();
            before = None;
        }
        known.insert(0, (log_ratio(at.level), m));
        if let Some((step, from, noise)) = before {
            x = run.combine(step.to(from, &known[..order(&CORRECTOR_ORDER, i, 2).min(known.len())]) + noise);
        }
        let noisy = (200.0..=800.0).contains(&at.timestep);
        let step = Adams::new(at.level, next, data, if noisy { setup.get(&TAU) } else { 0.0 });
        let noise = run.add_noise(Expr::default(), step.noise);
        let predicted =
            run.combine(step.to(x, &known[..order(&PREDICTOR_ORDER, i, 0).min(known.len())]) + noise);
        before = Some((step, x, noise));
        x = predicted;
        run.end_step(at, next, x, x0);
    }
    Ok(())
}

/// The position of `data_prediction` among the sampler's own names.
const DATA: f64 = 0.0;

/// The exact solution of the linear part of equation 8 from one level to another: `x' = scale · x + weight · ∫ e^(rate (λ - λ')) m dλ`, and
/// noise.
#[derive(Clone, Copy)]
struct Adams {
    data: bool,
    h: f64,
    end: f64,
    rate: f64,
    scale: f64,
    weight: f64,
    noise: f64,
}

impl Adams {
    fn new(from: Level, to: Level, data: bool, tau: f64) -> Self {
        let (end, square) = (log_ratio(to), tau * tau);
        let h = end - log_ratio(from);
        let (rate, scale, weight, noise) = if data {
            let noise = (-(-2.0 * square * h).exp_m1()).sqrt();
            (1.0 + square, (-square * h).exp() * to.sigma / from.sigma, to.alpha, noise)
        } else {
            (-1.0, to.alpha / from.alpha, -to.sigma, tau * (2.0 * h).exp_m1().sqrt())
        };
        Self { data, h, end, rate, scale, weight: (1.0 + square) * weight, noise: to.sigma * noise }
    }

    /// `x'` without its noise, m being the polynomial in λ through the known.
    fn to(&self, x: Slot, known: &[(f64, Slot)]) -> Expr {
        let mut weights = list(known.len(), &|k| self.integral(known, k));
        if self.data && known.len() == 2 {
            // As UniPC's B(h), of no weight in the order: for few steps, diffusers says.
            let (h, k) = (self.h, self.rate);
            let more = h * h / 2.0 - (h * k + (-h * k).exp_m1()) / (k * k);
            let more = more / (known[0].0 - known[1].0);
            weights[0] += more;
            weights[1] -= more;
        }
        let mut sum = self.scale * x;
        for (weight, (_, m)) in weights.iter().zip(known) {
            sum = sum + self.weight * weight * *m;
        }
        sum
    }

    /// ∫ L_k(u) e^(rate u) du from -h to 0, u = λ - λ' and L_k being 1 at the k-th node and 0 at the others:
    /// `∫ p e^(ru) = e^(ru) (p/r - p'/r² + p''/r³ - …)`.
    fn integral(&self, nodes: &[(f64, Slot)], k: usize) -> f64 {
        // L_k by its coefficients.
        let mut p = [1.0, 0.0, 0.0, 0.0];
        for (j, (node, _)) in nodes.iter().enumerate() {
            if j == k {
                continue;
            }
            let (root, scale) = (node - self.end, nodes[k].0 - node);
            for i in (0..4).rev() {
                let below = if i > 0 { p[i - 1] } else { 0.0 };
                p[i] = (below - root * p[i]) / scale;
            }
        }
        let primitive = |u: f64| {
            let (mut sum, mut p, mut factor) = (0.0, p, 1.0 / self.rate);
            for _ in 0..4 {
                sum += factor * (p[0] + u * (p[1] + u * (p[2] + u * p[3])));
                p = [p[1], 2.0 * p[2], 3.0 * p[3], 0.0];
                factor /= -self.rate;
            }
            (self.rate * u).exp() * sum
        };
        primitive(0.0) - primitive(-self.h)
    }
}
