//! Denoising score matching over a ladder of noise levels (Song and Ermon 2019).

use super::examples::Task;
use crate::denoiser::{Level, Point, Prediction};

/// The network F gives the score as `s(x, σ) = ∇ ln p_σ(x) = F/σ` (Song and Ermon 2020, technique 3), which should be
/// `-ε/σ`. λ = σ² makes the terms of all levels as large: `½ ‖σ s(x₀ + σε, σ) + ε‖²` (equations 5 and 6). Rung i of `total`
/// is `σ_min (σ_max/σ_min)^(i/(total-1))`; the paper counts from the other end.
pub(super) fn task(rung: usize, total: usize, sigma_min: f64, sigma_max: f64) -> Task {
    let sigma = sigma_min * (sigma_max / sigma_min).powf(rung as f64 / (total - 1).max(1) as f64);
    let level = Level { alpha: 1.0, sigma };
    Task::new(Prediction::Score, Point { level, timestep: rung as f64 }, 0.5)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With all data at 0 the score is `-x/σ²`, and the terms of all rungs are as large.
    #[test]
    fn the_answer_is_the_score_on_a_geometric_ladder() {
        let ladder: Vec<Task> = (0..10).map(|i| task(i, 10, 0.01, 1.0)).collect();
        let sigma = |i: usize| ladder[i].at.level.sigma;
        assert!((sigma(0) - 0.01).abs() < 1e-12 && (sigma(9) - 1.0).abs() < 1e-12);
        for (i, q) in ladder.iter().enumerate() {
            assert!(i == 0 || (sigma(i) / sigma(i - 1) - 100f64.powf(1.0 / 9.0)).abs() < 1e-9);
            let (epsilon, x) = (0.3, 0.3 * sigma(i));
            let score = q.question.of_epsilon * epsilon / sigma(i);
            assert!((score + x / sigma(i).powi(2)).abs() < 1e-9);
            // ½ λ ‖s‖² = ½ ‖ε‖².
            let cost = q.weight * (q.question.of_epsilon * epsilon).powi(2);
            assert!((cost - 0.5 * epsilon * epsilon).abs() < 1e-12);
        }
    }
}
