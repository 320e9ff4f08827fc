//! Flow matching along straight lines, also called rectified flow (Lipman et al. 2023; Liu et al. 2023).

use super::examples::Question;
use crate::prediction::Level;

/// The network is the velocity `dx/dt = ε - x₀` of `x = (1 - t) x₀ + t ε`, from data at 0 to noise at 1 as diffusers has
/// it, not the papers' other way round. Timestep i of `total` is `t = (i + 1)/total`; the network is given 1000 t.
pub(super) fn question(timestep: usize, total: usize) -> Question {
    let t = (timestep + 1) as f64 / total as f64;
    Question {
        level: Level { alpha: 1.0 - t, sigma: t },
        input: 1.0,
        c_noise: 1000.0 * t,
        of_x0: -1.0,
        of_epsilon: 1.0,
        weight: 1.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_is_the_velocity_of_the_path() {
        let (early, late) = (question(499, 1000), question(500, 1000));
        let velocity = |from: f64, to: f64| (to - from) * 1000.0;
        assert!((velocity(early.level.alpha, late.level.alpha) - early.of_x0).abs() < 1e-9);
        assert!((velocity(early.level.sigma, late.level.sigma) - early.of_epsilon).abs() < 1e-9);
        assert_eq!(question(999, 1000).level, Level { alpha: 0.0, sigma: 1.0 });
    }
}
