//! The variational bound for bits (Sohl-Dickstein et al. 2015, table App.1). Bits are -1 and 1.

use std::f64::consts::LN_2;

use burn::tensor::Tensor;
use burn::tensor::activation::sigmoid;

use super::examples::{Examples, each, mean};
use crate::denoiser::Level;
use crate::error::Result;
use crate::train::draws::normal_quantile;

/// What is left of a bit's mean before step `step` from 1: `Π (1 - β)` with `β_t = 1/(T - t + 1)` is `(T - t)/T`.
fn kept(total: usize, steps: usize) -> f64 {
    (total - steps) as f64 / total as f64
}

/// The level of a timestep: E x = alpha x₀, and x has variance 1 all the same.
pub(super) fn level(total: usize, timestep: usize) -> Level {
    let alpha = kept(total, timestep + 1);
    Level { alpha, sigma: (1.0 - alpha * alpha).sqrt() }
}

/// The standard normal beyond which the forward process has flipped a bit.
pub(super) fn flips_beyond(total: usize, timestep: usize) -> f64 {
    normal_quantile((1.0 + kept(total, timestep + 1)) / 2.0)
}

/// The chances of `q(x_{t-1} ≠ x_t | x_t, x₀)` where x₀ is x_t, and where it is not.
pub(in crate::train) fn changes(total: usize, timestep: usize) -> [f64; 2] {
    let (before, now) = (kept(total, timestep), kept(total, timestep + 1));
    let stays = now / before;
    // E[x_{t-1} x_t | x_t, x₀] for bits of means `before x₀` and `stays x_{t-1}`.
    let (same, other) = ((before + stays) / (1.0 + now), (stays - before) / (1.0 - now));
    [(1.0 - same) / 2.0, (1.0 - other) / 2.0]
}

/// -K in bits for each example: T times its timestep's divergence of the reverse kernel from the posterior, and the
/// divergence of q(x_T|x₀) from even bits, which is zero here.
///
/// The network's answer is a bit's log odds before the bit itself is seen, which [`evidence`] is then added for: with 0 for
/// an answer the reverse kernel is the forward one. It is the mixture of the two posteriors, by the odds of x₀, so nothing
/// is lost against an answer about x_{t-1}. The sum begins with the step to x₀ itself, where the
/// paper has `p(x₀|x₁) = q(x₁|x₀)`: that costs `H(x₁|x₀)`, 0.067 bits for 20 bits and T = 2000.
pub(super) fn losses(
    total: usize,
    examples: &Examples,
    network: impl FnOnce(Tensor<4>, &[f32]) -> Result<Tensor<4>>,
) -> Result<Tensor<1>> {
    let device = examples.x0.device();
    let at = |number: &dyn Fn(usize) -> f64| each(&examples.timesteps, |t| number(*t), &device);
    let flips = (examples.epsilon.clone() - at(&|t| flips_beyond(total, t))).sign();
    let x = examples.x0.clone() * flips * -1.0;
    let c_noise: Vec<f32> = examples.timesteps.iter().map(|t| *t as f32).collect();
    let agreement = network(x.clone(), &c_noise)? * x.clone() + at(&|t| evidence(total, t));

    // Chances of what may be rare are never taken as 1 minus another, which has not the digits.
    let (is_same, is_other) = (sigmoid(agreement.clone()), sigmoid(-agreement));
    let mixed = |of: &dyn Fn(f64) -> f64| {
        let [same, other] = [0, 1].map(|i| at(&|t| of(changes(total, t)[i])));
        is_same.clone() * same + is_other.clone() * other
    };
    let log = |p: Tensor<4>| p.clamp_min(1e-30).log();
    let (log_change, log_stay) = (log(mixed(&|c| c)), log(mixed(&|c| 1.0 - c)));
    let same = (x * examples.x0.clone() + 1.0) * 0.5;
    let truly = |of: &dyn Fn(f64) -> f64| {
        let [on_same, on_other] = [0, 1].map(|i| at(&|t| of(changes(total, t)[i])));
        same.clone() * (on_same - on_other.clone()) + on_other
    };
    let divergence = -(truly(&entropy) + truly(&|c| c) * log_change + truly(&|c| 1.0 - c) * log_stay);
    let bits = examples.x0.dims()[1..].iter().product::<usize>() as f64;
    Ok(mean(divergence) * (bits * total as f64 / LN_2))
}

/// The log odds that x₀ is x_t, of bits that are even otherwise.
fn evidence(total: usize, timestep: usize) -> f64 {
    2.0 * kept(total, timestep + 1).atanh()
}

/// The mean of x₀ by a network's answer about `x`.
pub(super) fn x0(total: usize, timestep: usize, x: Tensor<4>, answer: Tensor<4>) -> Tensor<4> {
    ((answer + x * evidence(total, timestep)) * 0.5).tanh()
}

/// Of a bit that is 1 with chance p, in nats.
fn entropy(p: f64) -> f64 {
    let part = |p: f64| if p > 0.0 { -p * p.ln() } else { 0.0 };
    part(p) + part(1.0 - p)
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, TensorData};

    use super::*;
    use crate::train::draws::Draws;

    const BITS: usize = 20;

    fn string(phase: usize) -> impl Iterator<Item = f32> {
        (0..BITS).map(move |i| if i % 5 == phase { 1.0 } else { -1.0 })
    }

    fn values<const D: usize>(x: Tensor<D>) -> Vec<f32> {
        x.into_data().try_into_vec().unwrap()
    }

    fn upload(values: Vec<f32>) -> Tensor<4> {
        let batch = values.len() / BITS;
        Tensor::from_data(TensorData::new(values, [batch, BITS, 1, 1]), &Device::flex())
    }

    /// Each bit's log odds given the others, for heartbeats of five phases.
    fn exact(total: usize, x: Tensor<4>, c_noise: &[f32]) -> Tensor<4> {
        let mut logits = Vec::new();
        for (x, t) in values(x).chunks(BITS).zip(c_noise) {
            let kept = kept(total, *t as usize + 1);
            let chance = |phase| -> f64 {
                string(phase).zip(x).map(|(s, x)| (1.0 + kept * f64::from(s * x)) / 2.0).product()
            };
            let chances: Vec<f64> = (0..5).map(chance).collect();
            logits.extend((0..BITS).map(|i| {
                let on = chances[i % 5];
                let odds = (on / (chances.iter().sum::<f64>() - on)).ln();
                (odds - f64::from(x[i]) * evidence(total, *t as usize)).clamp(-80.0, 80.0) as f32
            }));
        }
        upload(logits)
    }

    fn bound(total: usize, each: usize, network: impl FnOnce(Tensor<4>, &[f32]) -> Tensor<4>) -> f64 {
        let timesteps: Vec<usize> = (0..total * each).map(|i| i % total).collect();
        let x0 = (0..timesteps.len()).flat_map(|i| string(i / total % 5)).collect();
        let mut epsilon = vec![0.0; BITS * timesteps.len()];
        Draws::new(3).noise(0, 0, &mut epsilon);
        let examples = Examples { x0: upload(x0), epsilon: upload(epsilon), timesteps };
        let found = values(losses(total, &examples, |x, c_noise| Ok(network(x, c_noise))).unwrap());
        found.iter().map(|v| f64::from(*v)).sum::<f64>() / found.len() as f64
    }

    /// With the exact posterior all that is lost is what the bits of one step know of each other: less with more steps,
    /// and never below the entropy of five strings.
    #[test]
    fn the_bound_nears_the_entropy_from_above() {
        let entropy = 5f64.log2();
        let [few, many] = [(20, 400), (400, 20)]
            .map(|(total, each)| bound(total, each, |x, c_noise| exact(total, x, c_noise)));
        assert!(many > entropy - 0.05 && many < entropy + 0.1, "{many} bits");
        assert!(few > many + 0.05, "{few} bits with fewer steps");
    }

    /// A network that knows nothing of the other bits has the bound of even bits.
    #[test]
    fn ignorance_costs_a_bit_a_bit() {
        let found = bound(50, 1000, |x, _| x.zeros_like());
        assert!((found - 20.0).abs() < 0.6, "{found} bits");
    }
}
