//! The hybrid objective for learned variances (Nichol and Dhariwal 2021, equations 15 and 16).

use std::f64::consts::{LN_2, PI};

use burn::tensor::Tensor;

use super::examples::{Examples, Noised, Task, each, mean, squared_error};
use crate::denoiser::Denoiser;
use crate::schedule::Schedule;

/// What a timestep's reverse kernel is made of.
struct Step {
    /// Whether it is the last, to the data themselves.
    last: bool,
    /// The posterior's mean is `of_x0 x₀ + of_x x` (Ho et al. 2020, equation 7).
    of_x0: f64,
    of_x: f64,
    /// ln β̃, with β̃ of the first step in place of the last one's 0.
    small: f64,
    /// ln β.
    large: f64,
    /// `x̂₀ = a x + b m`.
    a: f64,
    b: f64,
}

impl Step {
    fn new(schedule: &Schedule, timestep: usize) -> Self {
        let alpha_bar = |t: Option<usize>| t.map_or(1.0, |t| schedule.alpha_bar()[t]);
        let kernel = |t: usize| {
            let (now, before) = (alpha_bar(Some(t)), alpha_bar(t.checked_sub(1)));
            let beta = 1.0 - now / before;
            (now, before, beta, (1.0 - before) / (1.0 - now) * beta)
        };
        let (now, before, beta, small) = kernel(timestep);
        let small = if timestep == 0 { kernel(1.min(schedule.train_timesteps() - 1)).3 } else { small };
        let at = schedule.point(timestep);
        let (a, b) = schedule.prediction.ask(at).x0(at.level);
        Self {
            last: timestep == 0,
            of_x0: before.sqrt() * beta / (1.0 - now),
            of_x: (1.0 - beta).sqrt() * (1.0 - before) / (1.0 - now),
            small: small.max(1e-20).ln(),
            large: beta.ln(),
            a,
            b,
        }
    }
}

/// `L_simple + T/1000 · L_t` for each image, `L_t` being the bound's term of its timestep in bits a dimension. As in the
/// paper the bound trains the variance only: the mean is held fixed in it. (0.001 T terms are expected for each sampled
/// one, hence the factor.)
pub(super) fn loss(
    schedule: &Schedule,
    output: Tensor<4>,
    noised: &Noised,
    tasks: &[Task],
    examples: &Examples,
) -> Tensor<1> {
    let channels = examples.x0.dims()[1];
    let m = output.clone().narrow(1, 0, channels);
    let fraction = (output.narrow(1, channels, channels) + 1.0) * 0.5;
    let error = squared_error(m.clone(), tasks, examples);
    let bound = bound(schedule, m.detach(), fraction, noised, examples);
    error + bound * (schedule.train_timesteps() as f64 / 1000.0)
}

/// The bound's term for each image, in bits a dimension.
fn bound(
    schedule: &Schedule,
    m: Tensor<4>,
    fraction: Tensor<4>,
    noised: &Noised,
    examples: &Examples,
) -> Tensor<1> {
    let device = examples.x0.device();
    let steps: Vec<Step> = examples.timesteps.iter().map(|t| Step::new(schedule, *t)).collect();
    let of = |number: fn(&Step) -> f64| each(&steps, number, &device);
    let (small, large) = (of(|s| s.small), of(|s| s.large));
    let log_variance = fraction.clone() * large + (-fraction + 1.0) * small.clone();
    let x0 = noised.x.clone() * of(|s| s.a) + m * of(|s| s.b);
    let mean_from = |x0: Tensor<4>| x0 * of(|s| s.of_x0) + noised.x.clone() * of(|s| s.of_x);
    let (model_mean, true_mean) = (mean_from(x0), mean_from(examples.x0.clone()));

    // KL(N(μ₁, σ₁²) ‖ N(μ₂, σ₂²)), the data's posterior first.
    let distance = (true_mean - model_mean.clone()).square();
    let divergence = (log_variance.clone() - small.clone()
        + (small - log_variance.clone()).exp()
        + distance * (-log_variance.clone()).exp()
        - 1.0)
        * 0.5;
    let likelihood = discretised(examples.x0.clone(), model_mean, log_variance * 0.5);
    let last = of(|s| f64::from(s.last));
    let nats = likelihood * last.clone() * -1.0 + divergence * (-last + 1.0);
    mean(nats) / LN_2
}

/// The logarithm of the probability of a byte's interval around `x` (Ho et al. 2020, equation 13), with the tanh
/// approximation of the normal distribution function.
fn discretised(x: Tensor<4>, mean: Tensor<4>, log_deviation: Tensor<4>) -> Tensor<4> {
    const HALF: f64 = 1.0 / 255.0;
    let below = |z: Tensor<4>| {
        let cubic = z.clone() + z.clone() * z.clone().square() * 0.044_715;
        ((cubic * (2.0 / PI).sqrt()).tanh() + 1.0) * 0.5
    };
    let inverse = (-log_deviation).exp();
    let centred = x.clone() - mean;
    let upper = below((centred.clone() + HALF) * inverse.clone());
    let lower = below((centred - HALF) * inverse);
    let log = |p: Tensor<4>| p.clamp_min(1e-12).log();
    let between = log(upper.clone() - lower.clone());
    // The outermost bytes' intervals go to infinity.
    let darkest = x.clone().lower_elem(-0.999);
    let lightest = x.greater_elem(0.999);
    between.mask_where(darkest, log(upper)).mask_where(lightest, log(-lower + 1.0))
}
