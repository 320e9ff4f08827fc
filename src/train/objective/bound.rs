//! The variational bound of the 2015 paper, with all its terms analytic and β learned (Sohl-Dickstein et al. 2015).

use std::f64::consts::{LN_2, TAU};

use burn::tensor::activation::{log_sigmoid, sigmoid};
use burn::tensor::{Device, Tensor, TensorData};

use super::examples::{Denoised, Examples, mean};
use crate::denoiser::Level;
use crate::error::Result;
use crate::network::on_burn::{Parameter, Parameters};
use crate::schedule::Schedule;

/// The key of what is learned about β.
pub(super) const OFFSETS: &str = "betas.offset";

/// The paper's β as `g_t = ln((1-ᾱ_t)/ᾱ_t)`, which begins at β₁'s and grows by `exp(offset)` times the growth of the
/// schedule's. It is the same family, β₂ to β_T free in (0, 1), in numbers that lose no digits where ᾱ is near 0 or 1.
struct Levels {
    first: f64,
    /// ln of each step's growth in the schedule.
    log_growth: Vec<f64>,
}

impl Levels {
    fn new(schedule: &Schedule) -> Self {
        let g: Vec<f64> = schedule.alpha_bar().iter().map(|a| ((1.0 - a) / a).ln()).collect();
        Self { first: g[0], log_growth: g.windows(2).map(|w| (w[1] - w[0]).ln()).collect() }
    }

    /// g of timesteps, `[batch, 1, 1, 1]`, through which gradients reach the offsets.
    fn at(&self, offsets: Tensor<1>, timesteps: &[usize], device: &Device) -> Tensor<4> {
        let steps = self.log_growth.len();
        let logs: Vec<f32> = self.log_growth.iter().map(|v| *v as f32).collect();
        let growth = (offsets + Tensor::<1>::from_data(TensorData::new(logs, [steps]), device)).exp();
        let passed = |t: &usize| {
            let t = *t;
            (0..steps).map(move |s| if s < t { 1.0f32 } else { 0.0 })
        };
        let mask: Vec<f32> = timesteps.iter().flat_map(passed).collect();
        let mask = Tensor::<2>::from_data(TensorData::new(mask, [timesteps.len(), steps]), device);
        let g = mask.matmul(growth.reshape([steps, 1])) + self.first;
        g.reshape([timesteps.len(), 1, 1, 1])
    }
}

fn offsets(learned: &Parameters) -> Tensor<1> {
    match &learned[OFFSETS] {
        Parameter::Vector(v) => v.clone(),
        _ => unreachable!("the offsets are a vector"),
    }
}

/// The level of a timestep.
pub(super) fn level(schedule: &Schedule, learned: &[f32], timestep: usize) -> Level {
    let levels = Levels::new(schedule);
    let growth = levels.log_growth.iter().zip(learned).map(|(log, offset)| (log + f64::from(*offset)).exp());
    let g = levels.first + growth.take(timestep).sum::<f64>();
    let share = |g: f64| (1.0 / (1.0 + (-g).exp())).sqrt();
    Level { alpha: share(-g), sigma: share(g) }
}

/// Half of the network's answer is ε̂, and so x̂₀, which makes the reverse kernel's mean by the posterior's formula (Ho et
/// al. 2020, equation 7). It is the paper's "mean" but for a linear map, after which all timesteps' terms are of one size.
/// The other half is f, which makes its variance `β̃ (β/β̃)^((f+1)/2)` (Nichol and Dhariwal 2021, equation 15): here
/// `ln(σ²/β̃)`. `log_ratio` is ln(β̃/β) = ln((1-ᾱ_{t-1})/(1-ᾱ_t)).
fn read(output: Tensor<4>, log_ratio: Tensor<4>) -> (Tensor<4>, Tensor<4>) {
    let channels = output.dims()[1] / 2;
    let f = output.clone().narrow(1, channels, channels);
    (output.narrow(1, 0, channels), (f + 1.0) * -0.5 * log_ratio)
}

/// -K in bits for each example, K being equation 14: T - 1 times its timestep's divergence of the reverse kernel from the
/// posterior, and the entropies. Timesteps are from 1; the step from timestep 0 to the data is fixed, as in appendix B.2.
///
/// The paper's terms suppose data with second moment 1, whose cross entropy to N(0, 1) no step changes. Here each example
/// has its own cross entropies, so that this is a bound on `ln p(x₀)` for any data.
pub(super) fn losses(
    schedule: &Schedule,
    learned: &Parameters,
    examples: &Examples,
    network: impl FnOnce(Tensor<4>, &[f32]) -> Result<Tensor<4>>,
) -> Result<Tensor<1>> {
    let device = examples.x0.device();
    let levels = Levels::new(schedule);
    let at = |timesteps: &[usize]| levels.at(offsets(learned), timesteps, &device);
    let before: Vec<usize> = examples.timesteps.iter().map(|t| t - 1).collect();
    let (now, before) = (at(&examples.timesteps), at(&before));
    // ᾱ is sigmoid(-g).
    let x = examples.x0.clone() * sigmoid(-now.clone()).sqrt()
        + examples.epsilon.clone() * sigmoid(now.clone()).sqrt();
    let c_noise: Vec<f32> = examples.timesteps.iter().map(|t| *t as f32).collect();
    let output = network(x, &c_noise)?;
    let (epsilon, widening) = read(output, log_sigmoid(before.clone()) - log_sigmoid(now.clone()));

    // KL(N(μ, β̃) ‖ N(μ̂, σ²)), where ‖μ - μ̂‖²/β̃ is (SNR_{t-1} - SNR_t) ‖x₀ - x̂₀‖² = (SNR_{t-1}/SNR_t - 1) ‖ε - ε̂‖².
    let gain = (now - before).exp() - 1.0;
    let error = (examples.epsilon.clone() - epsilon).square() * gain;
    let divergence = (widening.clone() + (-widening).exp() * (error + 1.0) - 1.0) * 0.5;

    let dimensions = examples.x0.dims()[1..].iter().product::<usize>() as f64;
    let steps = levels.log_growth.len();
    let last = at(&vec![steps; examples.timesteps.len()]);
    let first = levels.first;
    let first_variance = 1.0 / (1.0 + (-first).exp());
    // H_q(x_T|x₀) - H_q(x_1|x₀), E ln p(x_T), and E ln p(x₀|x₁) - ln q(x₁|x₀), each a dimension.
    let square = mean(examples.x0.clone().square());
    let flat = |x: Tensor<4>| x.flatten::<1>(0, 3);
    let entropies = (flat(log_sigmoid(last.clone())) - first_variance.ln()) * 0.5;
    let end = (square.clone() * flat(sigmoid(-last.clone())) + flat(sigmoid(last)) + TAU.ln()) * -0.5;
    let edge = (-square + 1.0) * (0.5 * first_variance);
    let nats = mean(divergence) * steps as f64 - entropies - end - edge;
    Ok(nats * (dimensions / LN_2))
}

/// x̂₀, and the log-variance of the reverse kernel from `timestep`, from 1, to the one before.
pub(super) fn denoise(
    schedule: &Schedule,
    learned: &Parameters,
    x: Tensor<4>,
    timestep: usize,
    network: impl FnOnce(Tensor<4>, f32) -> Result<Tensor<4>>,
) -> Result<Denoised> {
    let device = x.device();
    let at = |t: usize| Levels::new(schedule).at(offsets(learned), &[t], &device);
    let (now, before) = (at(timestep), at(timestep.saturating_sub(1)));
    let log_ratio = log_sigmoid(before.clone()) - log_sigmoid(now.clone());
    let (epsilon, widening) = read(network(x.clone(), timestep as f32)?, log_ratio.clone());
    let x0 = (x - epsilon * sigmoid(now.clone()).sqrt()) / sigmoid(-now.clone()).sqrt();
    // β = (1-ᾱ_t)(1 - ratio)/ᾱ_{t-1}, and β̃ = ratio β.
    let log_beta = log_sigmoid(now) + (-log_ratio.clone().exp() + 1.0).log() - log_sigmoid(-before);
    Ok(Denoised { x0, log_variance: Some(widening + log_beta + log_ratio) })
}

#[cfg(test)]
mod tests {
    use super::super::examples::each as per_image;
    use super::*;
    use crate::train::draws::Draws;

    /// 40 steps whose noise-to-signal ratio grows evenly from 10⁻⁵ to 30.
    fn schedule() -> Schedule {
        let ratio = |t: i32| if t < 0 { 0.0 } else { 1e-5 * 3e6f64.powf(f64::from(t) / 39.0) };
        let betas: Vec<f64> = (0..40).map(|t| 1.0 - (1.0 + ratio(t - 1)) / (1.0 + ratio(t))).collect();
        let json = serde_json::json!({"num_train_timesteps": 40, "trained_betas": betas});
        Schedule::from_json("schedule", json.to_string().as_bytes()).unwrap()
    }

    fn images(values: Vec<f32>) -> Tensor<4> {
        let batch = values.len() / 2;
        Tensor::from_data(TensorData::new(values, [batch, 2, 1, 1]), &Device::flex())
    }

    /// Points of deviation `deviation`, as many at each timestep.
    fn examples(deviation: f32, each: usize) -> Examples {
        let timesteps: Vec<usize> = (0..39 * each).map(|i| 1 + i % 39).collect();
        let normal = |step| {
            let mut values = vec![0.0; 2 * timesteps.len()];
            Draws::new(5).noise(step, 0, &mut values);
            values
        };
        let x0 = normal(0).iter().map(|v| v * deviation).collect();
        Examples { x0: images(x0), epsilon: images(normal(1)), timesteps }
    }

    fn learned(offsets: Tensor<1>) -> Parameters {
        [(OFFSETS.to_owned(), Parameter::Vector(offsets))].into()
    }

    fn zeros() -> Parameters {
        learned(Tensor::zeros([39], &Device::flex()))
    }

    fn values<const D: usize>(x: Tensor<D>) -> Vec<f32> {
        x.without_autodiff().into_data().try_into_vec().unwrap()
    }

    fn mean(x: Vec<f32>) -> f64 {
        x.iter().map(|v| f64::from(*v)).sum::<f64>() / x.len() as f64
    }

    /// Each reverse step of a Gaussian is a Gaussian, so a network that knows it makes the bound the likelihood itself.
    #[test]
    fn the_bound_of_a_gaussian_is_its_likelihood() {
        let schedule = schedule();
        for deviation in [1.0, 0.5f64] {
            let examples = examples(deviation as f32, 3000);
            let timesteps = examples.timesteps.clone();
            let device = Device::flex();
            let exact = |x: Tensor<4>, _: &[f32]| {
                let level = |t: usize| schedule.level(t);
                let variance = |l: Level| (l.alpha * deviation).powi(2) + l.sigma.powi(2);
                let gain = |t: &usize| level(*t).sigma / variance(level(*t));
                let fraction = |t: &usize| {
                    let (now, before) = (level(*t), level(t - 1));
                    let ratio = (before.sigma / now.sigma).powi(2);
                    let beta = 1.0 - (now.alpha / before.alpha).powi(2);
                    let of_x0 = before.alpha * beta / now.sigma.powi(2);
                    let left = (deviation * now.sigma).powi(2) / variance(now);
                    2.0 * (1.0 + of_x0 * of_x0 * left / (ratio * beta)).ln() / -ratio.ln() - 1.0
                };
                let f = x.zeros_like() + per_image(&timesteps, fraction, &device);
                Ok(Tensor::cat(vec![x * per_image(&timesteps, gain, &device), f], 1))
            };
            let found = mean(values(losses(&schedule, &zeros(), &examples, exact).unwrap()));
            let square = 2.0 * mean(values(examples.x0.square())) / deviation.powi(2);
            let truth = (TAU * deviation.powi(2)).log2() + 0.5 * square / LN_2;
            assert!((found - truth).abs() < 0.15, "deviation {deviation}: {found} bits, not {truth}");
        }
    }

    /// The gradient of the bound with respect to β by differences, noise held fixed.
    #[test]
    fn betas_are_learned_by_the_reparameterised_bound() {
        let (schedule, examples) = (schedule(), examples(0.7, 1));
        let network = |x: Tensor<4>, _: &[f32]| {
            Ok(Tensor::cat(vec![x.clone() * 0.7, x.clone().sin() * 0.1 + x.square() * 0.1], 1))
        };
        let start: Vec<f32> = (0..39).map(|i| 0.3 * (i as f32).sin()).collect();
        let upload = |v: &[f32]| Tensor::<1>::from_data(TensorData::new(v.to_vec(), [39]), &Device::flex());
        let loss =
            |v: &[f32]| mean(values(losses(&schedule, &learned(upload(v)), &examples, network).unwrap()));
        let leaf = upload(&start).autodiff().require_grad();
        let of_leaf = losses(&schedule, &learned(leaf.clone()), &examples, network).unwrap();
        let gradient = values(leaf.grad(&of_leaf.mean().backward()).unwrap());
        let scale = gradient.iter().fold(0.0f32, |a, v| a.max(v.abs()));
        for at in [0, 1, 20, 37, 38] {
            let moved = |by: f32| {
                let mut v = start.clone();
                v[at] += by;
                loss(&v)
            };
            let difference = (moved(0.01) - moved(-0.01)) / 0.02;
            let error = (difference - f64::from(gradient[at])).abs();
            assert!(error < 2e-3 * f64::from(scale), "{at}: {} by differences {difference}", gradient[at]);
        }
    }

    #[test]
    fn levels_begin_at_the_schedules_and_stay_its_first() {
        let schedule = schedule();
        for t in [0, 1, 20, 39] {
            let (found, expected) = (level(&schedule, &[0.0; 39], t), schedule.level(t));
            assert!((found.sigma / expected.sigma - 1.0).abs() < 1e-6, "{found:?} {expected:?}");
            assert!((found.alpha / expected.alpha - 1.0).abs() < 1e-6, "{found:?} {expected:?}");
        }
        let noisier = [1.0; 39];
        assert!(level(&schedule, &noisier, 1).sigma > schedule.level(1).sigma);
        assert_eq!(level(&schedule, &noisier, 0), level(&schedule, &[0.0; 39], 0));
    }

    /// The reverse kernel of `denoise` is the one that `losses` measures: β̃ where f says -1, β where it says 1.
    #[test]
    fn variances_are_between_the_posteriors_and_the_forward_steps() {
        let schedule = schedule();
        for t in [1, 20, 39] {
            let (now, before) = (schedule.level(t), schedule.level(t - 1));
            let beta = 1.0 - (now.alpha / before.alpha).powi(2);
            let small = (before.sigma / now.sigma).powi(2) * beta;
            for (f, expected) in [(-1.0, small), (1.0, beta)] {
                let network = |x: Tensor<4>, _: f32| Ok(Tensor::cat(vec![x.clone(), x.zeros_like() + f], 1));
                let found = denoise(&schedule, &zeros(), images(vec![0.5, 1.0]), t, network).unwrap();
                let found = values(found.log_variance.unwrap())[0];
                assert!((f64::from(found) - expected.ln()).abs() < 1e-3, "{t}, {f}: {found}");
            }
        }
    }
}
