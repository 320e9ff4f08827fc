//! What a network is asked at a noise level, and what its answer says about the clean image: the one place where ε, x₀, v,
//! EDM, flow matching and the score differ, for sampling and for training.

use std::f64::consts::FRAC_PI_2;
use std::pin::Pin;

use crate::error::Result;

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

    /// The variance-preserving level of iPNDM's time, 0 (clean) to 1 (no signal): `sigma = sin²(π t/2)`.
    #[must_use]
    pub fn of_sine(t: f64) -> Self {
        let sigma = (FRAC_PI_2 * t).sin().powi(2);
        Self { alpha: (1.0 - sigma * sigma).sqrt(), sigma }
    }

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
        let norm = self.alpha.hypot(self.sigma);
        // A level that comes from ᾱ has norm 1 but for rounding; its image goes to the network as it is.
        if (norm - 1.0).abs() < 1e-12 { 1.0 } else { norm.max(SMALLEST_DIVISOR) }
    }
}

/// Divisors smaller than this one are replaced by it. At zero terminal SNR ε says nothing about x₀: diffusers divides
/// by zero there and lets the clip turn ±∞ into ±1. A power of two does the same with finite numbers: its products
/// are exact, so `x/2⁻⁶⁴ - m/2⁻⁶⁴` keeps the sign of `x - m`.
const SMALLEST_DIVISOR: f64 = 1.0 / (1u128 << 64) as f64;

/// What a network F is asked about an image `x` at a level: `F(input · x, c_noise)` should answer
/// `of_x0 · x₀ + of_epsilon · ε`. That is the target of training; an answer and `x` together determine x̂₀ and ε̂.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Question {
    /// What `x` is multiplied with before the network sees it.
    pub input: f64,
    /// The number that tells the network the level, in the unit that it was trained with: mostly a timestep.
    pub c_noise: f64,
    /// The share of x₀ in the answer.
    pub of_x0: f64,
    /// The share of ε in the answer.
    pub of_epsilon: f64,
}

impl Question {
    /// `(a, b)` of `x̂₀ = a x + b F`, for `x` at `level` and F the answer. Huge, and of use only under a clip, where the
    /// answer says nothing about x₀: for ε at `alpha = 0`.
    #[must_use]
    pub fn x0(&self, level: Level) -> (f64, f64) {
        let (_, sigma, determinant) = self.solve(level);
        (-self.of_epsilon / determinant, sigma / determinant)
    }

    /// `(c, d)` of `ε̂ = c x + d F`, for `x` at `level` and F the answer.
    #[must_use]
    pub fn epsilon(&self, level: Level) -> (f64, f64) {
        let (alpha, _, determinant) = self.solve(level);
        (self.of_x0 / determinant, -alpha / determinant)
    }

    /// The level, kept away from zero, and the determinant of the two equations in x₀ and ε: `x = alpha x₀ + sigma ε` and
    /// `F = of_x0 x₀ + of_epsilon ε`.
    fn solve(&self, level: Level) -> (f64, f64, f64) {
        let (alpha, sigma) = (level.alpha.max(SMALLEST_DIVISOR), level.sigma.max(SMALLEST_DIVISOR));
        (alpha, sigma, self.of_x0 * sigma - self.of_epsilon * alpha)
    }
}

/// A level, and the number by which the network knows it: for most networks the timestep, whole or between two.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// The level.
    pub level: Level,
    /// The number.
    pub timestep: f64,
}

/// What a sampler has to know of a network: the question that it answers at any level.
pub trait Denoiser {
    /// The question at a point, the level's norm being any.
    fn ask(&self, at: Point) -> Question;
}

/// Says what the clean images are that noisy ones come from.
pub trait Formula {
    /// x̂₀, as many numbers, of images `x`, `[batch, channels, height, width]`. Each is `x = α x₀ + σ ε` of a level with α² + σ² = 1, whose
    /// angle in radians is given: α is its cosine, and σ its sine.
    fn denoise<'a>(
        &'a mut self,
        x: &'a [f32],
        shape: [usize; 4],
        angles: &'a [f32],
    ) -> Pin<Box<dyn Future<Output = Result<Vec<f32>>> + 'a>>;
}

/// What a network was trained to say. Its output and its input determine both the clean image and the noise, linearly.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Prediction {
    /// The noise ε (Ho et al. 2020).
    Epsilon,
    /// The clean image x₀.
    Sample,
    /// The velocity `v = alpha · ε - sigma · x₀` of a variance-preserving level (Salimans and Ho 2022, appendix D).
    VPrediction,
    /// F of `D(x; σ) = c_skip x + c_out F(c_in x; ln σ / 4)` at `alpha = 1` (Karras et al. 2022, table 1).
    Edm {
        /// The data's deviation; 0.5 in the paper. A negative one means that F has the other sign, as diffusers has it for
        /// EDM's networks for v.
        sigma_data: f64,
    },
    /// The velocity `dx/dt = ε - x₀` of `x = (1 - t) x₀ + t ε` (Lipman et al. 2023; Liu et al. 2023).
    Flow,
    /// `σ ∇ ln p_σ(x)` at `alpha = 1`, which is -ε (Song and Ermon 2020, technique 3).
    Score,
    /// `∇ ln p_σ(x)` itself at `alpha = 1`, which is -ε/σ, of a network that is told σ (Song et al. 2021's VE SDE).
    Gradient,
    /// v, of a network that is told the level's angle as a share of a right one: 0 for no noise, 1 for nothing else.
    VByAngle,
    /// F of `f(x, σ) = c_skip x + c_out F(c_in x; 250 ln σ)` at `alpha = 1`, which is x itself at `sigma_min` (Song et al. 2023, appendix C).
    Consistency {
        /// The data's deviation; 0.5 in the paper.
        sigma_data: f64,
        /// The least level.
        sigma_min: f64,
    },
    /// The clean image x₀, of a formula that is told the level's angle in radians, `atan2(σ, α)`, of images of norm 1: see
    /// [`trait@Formula`].
    Formula,
}

impl Prediction {
    /// The names that `prediction_type` takes in a `scheduler_config.json`.
    pub const NAMES: [(&'static str, Self); 4] = [
        ("epsilon", Self::Epsilon),
        ("sample", Self::Sample),
        ("v_prediction", Self::VPrediction),
        ("flow_prediction", Self::Flow),
    ];
}

impl Denoiser for Prediction {
    /// ε, x₀ and v know variance-preserving levels only, EDM those of α = 1 and flows those of α + σ = 1, so that other images are
    /// scaled for them. EDM's number is its own.
    fn ask(&self, Point { level, timestep }: Point) -> Question {
        let Level { alpha, sigma } = level;
        let norm = level.norm();
        let ask = |input, of_x0, of_epsilon| Question { input, c_noise: timestep, of_x0, of_epsilon };
        match *self {
            Self::Epsilon => ask(1.0 / norm, 0.0, 1.0),
            Self::Sample => ask(1.0 / norm, 1.0, 0.0),
            Self::VPrediction => ask(1.0 / norm, -sigma / norm, alpha / norm),
            Self::Edm { sigma_data } => {
                // At other levels, of x/α.
                let ratio = sigma / alpha;
                let norm = ratio.hypot(sigma_data);
                let skip = (sigma_data / norm).powi(2);
                let out = ratio * sigma_data / norm;
                let question = ask(1.0 / norm / alpha, (1.0 - skip) / out, -skip * ratio / out);
                Question { c_noise: ratio.ln() / 4.0, ..question }
            }
            // On the path α + σ = 1.
            Self::Flow => ask(1.0 / (alpha + sigma), -1.0, 1.0),
            Self::Score => ask(1.0, 0.0, -1.0),
            Self::Gradient => {
                let ratio = sigma / alpha;
                Question { c_noise: ratio, ..ask(1.0 / alpha, 0.0, -1.0 / ratio) }
            }
            Self::VByAngle => {
                let v = Self::VPrediction.ask(Point { level, timestep });
                Question { c_noise: sigma.atan2(alpha) / FRAC_PI_2, ..v }
            }
            Self::Formula => Question { c_noise: sigma.atan2(alpha), ..ask(1.0 / norm, 1.0, 0.0) },
            Self::Consistency { sigma_data, sigma_min } => {
                let ratio = sigma / alpha;
                let norm = ratio.hypot(sigma_data);
                // At the least level x̂₀ is x; a billionth above it, so that both parts of the answer stay finite.
                let above = (ratio - sigma_min).max(1e-9);
                let skip = (sigma_data / above.hypot(sigma_data)).powi(2);
                let out = above * sigma_data / norm;
                let question = ask(1.0 / norm / alpha, (1.0 - skip) / out, -skip * ratio / out);
                Question { c_noise: 250.0 * ratio.ln(), ..question }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The output of a network that knows the answer, by each parameterisation's own definition.
    fn perfect(prediction: Prediction, Level { alpha, sigma }: Level, x0: f64, epsilon: f64) -> f64 {
        match prediction {
            Prediction::Epsilon => epsilon,
            Prediction::Sample | Prediction::Formula => x0,
            Prediction::VPrediction => (alpha * epsilon - sigma * x0) / alpha.hypot(sigma),
            Prediction::Edm { sigma_data } => {
                let ratio = sigma / alpha;
                let square = ratio * ratio + sigma_data * sigma_data;
                let skip = sigma_data * sigma_data / square;
                (x0 - skip * (x0 + ratio * epsilon)) / (ratio * sigma_data / square.sqrt())
            }
            Prediction::Flow => epsilon - x0,
            Prediction::Score => -epsilon,
            Prediction::Gradient => -epsilon * alpha / sigma,
            Prediction::VByAngle => perfect(Prediction::VPrediction, Level { alpha, sigma }, x0, epsilon),
            Prediction::Consistency { sigma_data, sigma_min } => {
                let ratio = sigma / alpha;
                let skip = sigma_data.powi(2) / ((ratio - sigma_min).powi(2) + sigma_data.powi(2));
                let out = (ratio - sigma_min) * sigma_data / ratio.hypot(sigma_data);
                (x0 - skip * (x0 + ratio * epsilon)) / out
            }
        }
    }

    const LEVELS: [(f64, f64); 6] =
        [(0.999, 0.04), (0.7, 0.714), (1e-3, 1.0), (1.0, 80.0), (1.0, 0.01), (0.3, 0.7)];

    #[test]
    fn a_perfect_network_gives_back_image_and_noise() {
        let all = [
            Prediction::Epsilon,
            Prediction::Sample,
            Prediction::VPrediction,
            Prediction::Edm { sigma_data: 0.5 },
            Prediction::Edm { sigma_data: -0.7 },
            Prediction::Flow,
            Prediction::Score,
            Prediction::Gradient,
            Prediction::VByAngle,
            Prediction::Consistency { sigma_data: 0.5, sigma_min: 0.002 },
            Prediction::Formula,
        ];
        let pairs = all.iter().flat_map(|p| LEVELS.map(|l| (*p, l)));
        for (prediction, (alpha, sigma)) in pairs {
            let level = Level { alpha, sigma };
            for (x0, epsilon) in [(0.5, -1.2), (-1.0, 0.3), (0.0, 2.0)] {
                let x = alpha * x0 + sigma * epsilon;
                let m = perfect(prediction, level, x0, epsilon);
                let question = prediction.ask(Point { level, timestep: 9.0 });
                let target = question.of_x0 * x0 + question.of_epsilon * epsilon;
                assert!((target - m).abs() < 1e-9, "{prediction:?} {level:?}");
                let ((a, b), (c, d)) = (question.x0(level), question.epsilon(level));
                assert!((a * x + b * m - x0).abs() < 1e-9, "{prediction:?} {level:?}");
                assert!((c * x + d * m - epsilon).abs() < 1e-9, "{prediction:?} {level:?}");
            }
        }
    }

    #[test]
    fn zero_signal_and_zero_noise_stay_finite() {
        for (_, prediction) in Prediction::NAMES {
            for level in [Level { alpha: 0.0, sigma: 1.0 }, Level::CLEAN] {
                let question = prediction.ask(Point { level, timestep: 9.0 });
                let ((a, b), (c, d)) = (question.x0(level), question.epsilon(level));
                for v in [a, b, c, d, question.input] {
                    assert!((v as f32).is_finite(), "{prediction:?} {level:?}");
                }
            }
        }
        let level = Level { alpha: 0.0, sigma: 1.0 };
        let (a, b) = Prediction::Epsilon.ask(Point { level, timestep: 9.0 }).x0(level);
        let x0 = |x: f32, m: f32| (a as f32 * x + b as f32 * m).clamp(-1.0, 1.0);
        assert_eq!([x0(1.0, 0.999_999_9), x0(0.3, 0.3), x0(0.3, 0.300_000_03)], [1.0, 0.0, -1.0]);
        // An image without noise is what a network for x₀ says.
        let (a, b) = Prediction::Sample.ask(Point { level: Level::CLEAN, timestep: 0.0 }).x0(Level::CLEAN);
        assert_eq!((a, b), (0.0, 1.0));
    }

    #[test]
    fn the_network_sees_a_variance_preserving_image() {
        let input = |prediction: Prediction, level| prediction.ask(Point { level, timestep: 9.0 }).input;
        let scale = |alpha, sigma| input(Prediction::Epsilon, Level { alpha, sigma });
        assert_eq!(scale(0.6, 0.8), 1.0);
        assert_eq!(scale(3.0, 4.0), 0.2);
        for i in 0..1000 {
            let level = Level::from_alpha_bar(f64::from(i) / 1000.0);
            assert_eq!(input(Prediction::VPrediction, level), 1.0);
        }
    }
}
