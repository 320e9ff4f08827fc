//! Flow matching along straight lines, also called rectified flow (Lipman et al. 2023; Liu et al. 2023).

use super::examples::Task;
use crate::denoiser::{Level, Point, Prediction};

/// The network is the velocity `dx/dt = ε - x₀` of `x = (1 - t) x₀ + t ε`, from data at 0 to noise at 1 as diffusers has
/// it, not the papers' other way round. Timestep i of `total` is `t = (i + 1)/total`; the network is given 1000 t.
pub(super) fn task(timestep: usize, total: usize) -> Task {
    let t = (timestep + 1) as f64 / total as f64;
    let level = Level { alpha: 1.0 - t, sigma: t };
    Task::new(Prediction::Flow, Point { level, timestep: 1000.0 * t }, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_is_the_velocity_of_the_path() {
        let (early, late) = (task(499, 1000), task(500, 1000));
        let velocity = |from: f64, to: f64| (to - from) * 1000.0;
        assert!((velocity(early.at.level.alpha, late.at.level.alpha) - early.question.of_x0).abs() < 1e-9);
        assert!(
            (velocity(early.at.level.sigma, late.at.level.sigma) - early.question.of_epsilon).abs() < 1e-9
        );
        assert_eq!(task(999, 1000).at.level, Level { alpha: 0.0, sigma: 1.0 });
    }
}
