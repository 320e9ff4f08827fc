//! EDM's preconditioning and weighting (Karras et al. 2022, table 1 and equations 7 and 8).

use super::examples::Task;
use crate::denoiser::{Level, Point, Prediction};
use crate::train::draws::normal_quantile;

/// The denoiser is `D(x; σ) = c_skip x + c_out F(c_in x; c_noise)` with `λ(σ) = 1/c_out²`, so that F's squared error
/// counts 1 and its target, `(x₀ - c_skip x) / c_out`, has unit variance. ln σ is normal: timestep i of `total` stands for
/// the middle of its i-th quantile.
pub(super) fn task(timestep: usize, total: usize, sigma_data: f64, mean: f64, deviation: f64) -> Task {
    let log_sigma = mean + deviation * normal_quantile((timestep as f64 + 0.5) / total as f64);
    let level = Level { alpha: 1.0, sigma: log_sigma.exp() };
    Task::new(Prediction::Edm { sigma_data }, Point { level, timestep: timestep as f64 }, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Inputs and targets of unit variance at every level (appendix B.6), and `D = c_skip x + c_out F` with
    /// `c_out² = σ² σ_data² / (σ² + σ_data²)`.
    #[test]
    fn the_network_sees_and_answers_unit_variance() {
        let data = 0.7f64;
        for timestep in [0, 300, 500, 999] {
            let Task { at: Point { level, .. }, question: q, .. } = task(timestep, 1000, data, -1.2, 1.2);
            let sigma = level.sigma;
            let variance = |of_x0: f64, of_epsilon: f64| (of_x0 * data).powi(2) + of_epsilon.powi(2);
            assert!((variance(q.input, q.input * sigma) - 1.0).abs() < 1e-9);
            assert!((variance(q.of_x0, q.of_epsilon) - 1.0).abs() < 1e-9);
            let (skip, out) = q.x0(level);
            assert!((skip - data * data / (sigma * sigma + data * data)).abs() < 1e-9, "{skip}");
            assert!((out - sigma * data / sigma.hypot(data)).abs() < 1e-9, "{out}");
            assert!((q.c_noise - sigma.ln() / 4.0).abs() < 1e-12);
        }
    }

    #[test]
    fn the_logarithms_of_sigma_are_normal() {
        let logs: Vec<f64> = (0..1000).map(|t| task(t, 1000, 1.0, -1.2, 1.2).at.level.sigma.ln()).collect();
        let mean = logs.iter().sum::<f64>() / 1000.0;
        let variance = logs.iter().map(|l| (l - mean).powi(2)).sum::<f64>() / 1000.0;
        assert!((mean + 1.2).abs() < 1e-6 && (variance.sqrt() - 1.2).abs() < 0.01, "{mean} {variance}");
    }
}
