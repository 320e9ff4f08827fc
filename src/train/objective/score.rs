//! Denoising score matching over a ladder of noise levels (Song and Ermon 2019).

use super::Question;
use crate::prediction::Level;

/// The network F gives the score as `s(x, σ) = ∇ ln p_σ(x) = F/σ` (Song and Ermon 2020, technique 3), which should be
/// `-ε/σ`. λ = σ² makes the terms of all levels as large: `½ ‖σ s(x₀ + σε, σ) + ε‖²` (equations 5 and 6). Rung i of `total`
/// is `σ_min (σ_max/σ_min)^(i/(total-1))`; the paper counts from the other end.
pub(super) fn question(rung: usize, total: usize, sigma_min: f64, sigma_max: f64) -> Question {
    let sigma = sigma_min * (sigma_max / sigma_min).powf(rung as f64 / (total - 1).max(1) as f64);
    Question {
        level: Level { alpha: 1.0, sigma },
        input: 1.0,
        told: rung as f64,
        of_x0: 0.0,
        of_epsilon: -1.0,
        weight: 0.5,
    }
}
