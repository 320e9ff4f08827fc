//! EDM's preconditioning and weighting (Karras et al. 2022, table 1 and equations 7 and 8).

use super::Question;
use crate::prediction::Level;
use crate::train::draws::normal_quantile;

/// The denoiser is `D(x; σ) = c_skip x + c_out F(c_in x; c_noise)` with `λ(σ) = 1/c_out²`, so that F's squared error
/// counts 1 and its target, `(x₀ - c_skip x) / c_out`, has unit variance. ln σ is normal: timestep i of `total` stands for
/// the middle of its i-th quantile.
pub(super) fn question(
    timestep: usize,
    total: usize,
    sigma_data: f64,
    mean: f64,
    deviation: f64,
) -> Question {
    let log_sigma = mean + deviation * normal_quantile((timestep as f64 + 0.5) / total as f64);
    let sigma = log_sigma.exp();
    let norm = sigma.hypot(sigma_data);
    let skip = (sigma_data / norm).powi(2);
    let out = sigma * sigma_data / norm;
    Question {
        level: Level { alpha: 1.0, sigma },
        input: 1.0 / norm,
        told: log_sigma / 4.0,
        of_x0: (1.0 - skip) / out,
        of_epsilon: -skip * sigma / out,
        weight: 1.0,
    }
}
