//! What a network's output says about the clean image: noise levels, and the way from ε, x₀ or v to x̂₀ and ε̂.

/// How noisy an image is: `x = alpha · x₀ + sigma · ε`, with ε of unit variance. The pair, and not σ/α, because that
/// ratio is infinite at zero terminal SNR.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Level {
    /// The clean image's share, 0 or more.
    pub alpha: f64,
    /// The noise's share, 0 or more.
    pub sigma: f64,
}

impl Level {
    /// No noise at all.
    pub const CLEAN: Self = Self { alpha: 1.0, sigma: 0.0 };

    /// The noise's share of the variance, 0 (none) to 1 (nothing else), for images of variance 1.
    #[must_use]
    pub fn noise_share(self) -> f64 {
        let noise = self.sigma.powi(2);
        noise / (self.alpha.powi(2) + noise)
    }

    /// The variance-preserving level of DDPM's ᾱ: `alpha² = ᾱ`, `sigma² = 1 - ᾱ`.
    #[must_use]
    pub fn from_alpha_bar(alpha_bar: f64) -> Self {
        Self { alpha: alpha_bar.sqrt(), sigma: (1.0 - alpha_bar).sqrt() }
    }

    /// `sqrt(alpha² + sigma²)`: 1 for a variance-preserving level.
    #[must_use]
    pub fn norm(self) -> f64 {
        self.alpha.hypot(self.sigma)
    }
}

/// Divisors smaller than this one are replaced by it. At zero terminal SNR ε says nothing about x₀: diffusers divides
/// by zero there and lets the clip turn ±∞ into ±1. A power of two does the same with finite numbers: its products
/// are exact, so `x/2⁻⁶⁴ - m/2⁻⁶⁴` keeps the sign of `x - m`.
const SMALLEST_DIVISOR: f64 = 1.0 / (1u128 << 64) as f64;

/// What the network was trained to say (`prediction_type`). Its output `m` and its input `x` determine both the clean
/// image and the noise, linearly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prediction {
    /// The noise ε.
    Epsilon,
    /// The clean image x₀.
    Sample,
    /// The velocity `v = alpha · ε - sigma · x₀` of a variance-preserving level (Salimans and Ho 2022, appendix D).
    VPrediction,
}

impl Prediction {
    /// The names that `prediction_type` takes in a `scheduler_config.json`.
    pub const NAMES: [(&'static str, Self); 3] =
        [("epsilon", Self::Epsilon), ("sample", Self::Sample), ("v_prediction", Self::VPrediction)];

    /// `(a, b)` of the output that training asks for, `a x₀ + b ε`, at a variance-preserving level.
    #[must_use]
    pub fn target(self, level: Level) -> (f64, f64) {
        match self {
            Self::Epsilon => (0.0, 1.0),
            Self::Sample => (1.0, 0.0),
            Self::VPrediction => (-level.sigma, level.alpha),
        }
    }

    /// What `x` is multiplied with before the network sees it: these networks know variance-preserving levels only.
    #[must_use]
    pub fn input_scale(self, level: Level) -> f64 {
        let norm = level.norm();
        // A level that comes from ᾱ has norm 1 but for rounding; its image goes to the network as it is.
        if (norm - 1.0).abs() < 1e-12 { 1.0 } else { 1.0 / norm.max(SMALLEST_DIVISOR) }
    }

    /// `(a, b)` of `x̂₀ = a x + b m`, for `x` at `level` before [`input_scale`](Self::input_scale).
    /// Huge, and of use only under a clip, for ε at `alpha = 0`.
    #[must_use]
    pub fn x0(self, level: Level) -> (f64, f64) {
        let Level { alpha, sigma } = level;
        match self {
            Self::Epsilon => (1.0 / alpha.max(SMALLEST_DIVISOR), -sigma / alpha.max(SMALLEST_DIVISOR)),
            Self::Sample => (0.0, 1.0),
            Self::VPrediction => {
                let norm = level.norm().max(SMALLEST_DIVISOR);
                (alpha / (norm * norm), -sigma / norm)
            }
        }
    }

    /// `(c, d)` of `ε̂ = c x + d m`, for `x` at `level` before [`input_scale`](Self::input_scale).
    #[must_use]
    pub fn epsilon(self, level: Level) -> (f64, f64) {
        let Level { alpha, sigma } = level;
        match self {
            Self::Epsilon => (0.0, 1.0),
            Self::Sample => (1.0 / sigma.max(SMALLEST_DIVISOR), -alpha / sigma.max(SMALLEST_DIVISOR)),
            Self::VPrediction => {
                let norm = level.norm().max(SMALLEST_DIVISOR);
                (sigma / (norm * norm), alpha / norm)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The output of a network that knows the answer.
    fn perfect(prediction: Prediction, level: Level, x0: f64, epsilon: f64) -> f64 {
        match prediction {
            Prediction::Epsilon => epsilon,
            Prediction::Sample => x0,
            Prediction::VPrediction => (level.alpha * epsilon - level.sigma * x0) / level.norm(),
        }
    }

    #[test]
    fn a_perfect_network_gives_back_image_and_noise() {
        let levels = [(0.999, 0.04), (0.7, 0.714), (1e-3, 1.0), (1.0, 80.0), (1.0, 0.01), (0.3, 0.7)];
        for (_, prediction) in Prediction::NAMES {
            for (alpha, sigma) in levels {
                let level = Level { alpha, sigma };
                for (x0, epsilon) in [(0.5, -1.2), (-1.0, 0.3), (0.0, 2.0)] {
                    let x = alpha * x0 + sigma * epsilon;
                    let m = perfect(prediction, level, x0, epsilon);
                    let ((a, b), (c, d)) = (prediction.x0(level), prediction.epsilon(level));
                    assert!((a * x + b * m - x0).abs() < 1e-9, "{prediction:?} {level:?}");
                    assert!((c * x + d * m - epsilon).abs() < 1e-9, "{prediction:?} {level:?}");
                }
            }
        }
    }

    #[test]
    fn zero_signal_and_zero_noise_stay_finite() {
        for (_, prediction) in Prediction::NAMES {
            for level in [Level { alpha: 0.0, sigma: 1.0 }, Level::CLEAN, Level { alpha: 0.0, sigma: 0.0 }] {
                let ((a, b), (c, d)) = (prediction.x0(level), prediction.epsilon(level));
                for v in [a, b, c, d, prediction.input_scale(level)] {
                    assert!((v as f32).is_finite(), "{prediction:?} {level:?}");
                }
            }
        }
        let (a, b) = Prediction::Epsilon.x0(Level { alpha: 0.0, sigma: 1.0 });
        let x0 = |x: f32, m: f32| (a as f32 * x + b as f32 * m).clamp(-1.0, 1.0);
        assert_eq!([x0(1.0, 0.999_999_9), x0(0.3, 0.3), x0(0.3, 0.300_000_03)], [1.0, 0.0, -1.0]);
    }

    #[test]
    fn the_network_sees_a_variance_preserving_image() {
        let scale = |alpha, sigma| Prediction::Epsilon.input_scale(Level { alpha, sigma });
        assert_eq!(scale(0.6, 0.8), 1.0);
        assert_eq!(scale(3.0, 4.0), 0.2);
        for i in 0..1000 {
            let level = Level::from_alpha_bar(f64::from(i) / 1000.0);
            assert_eq!(Prediction::VPrediction.input_scale(level), 1.0);
        }
    }
}
