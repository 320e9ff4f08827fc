//! AdamW, its learning rate, and gradient clipping, on the vector of all parameters.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::engine::kernels::adam::{Adam, State, adam as kernel, squares};
use crate::engine::threads;

/// AdamW (Loshchilov and Hutter 2019, algorithm 2) with diffusers' defaults, after a warm-up along a cosine to zero.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Optimiser {
    /// The peak learning rate, above 0.
    pub learning_rate: f64,
    /// Steps over which the rate grows linearly from 0.
    pub warmup: u64,
    /// Decay of the gradient's and the squared gradient's averages, each in [0, 1).
    pub betas: [f64; 2],
    /// What each weight loses a step, in units of the learning rate.
    pub weight_decay: f64,
    /// Added to the root of the squared gradient's average.
    pub epsilon: f64,
    /// The gradient's largest Euclidean norm over all parameters.
    pub clip: f64,
}

impl Default for Optimiser {
    fn default() -> Self {
        Self {
            learning_rate: 1e-4,
            warmup: 500,
            betas: [0.95, 0.999],
            weight_decay: 1e-6,
            epsilon: 1e-8,
            clip: 1.0,
        }
    }
}

/// The parameters and their gradient's averages, one number each a parameter.
#[derive(Clone, Debug)]
pub(super) struct Moments {
    pub(super) first: Tensor<1>,
    pub(super) second: Tensor<1>,
}

impl Optimiser {
    /// The learning rate of step `step` of `steps`, from 0: diffusers' `cosine` schedule, so the first is 0 where there
    /// is a warm-up.
    #[must_use]
    pub fn rate(&self, step: u64, steps: u64) -> f64 {
        if step < self.warmup {
            return self.learning_rate * step as f64 / self.warmup as f64;
        }
        let progress = (step - self.warmup) as f64 / steps.saturating_sub(self.warmup).max(1) as f64;
        self.learning_rate * 0.5 * (1.0 + (std::f64::consts::PI * progress.min(1.0)).cos())
    }

    /// The parameters after step number `step`, from 0, of `steps`.
    pub(super) fn step(
        &self,
        weights: Tensor<1>,
        gradient: Tensor<1>,
        moments: &mut Moments,
        step: u64,
        steps: u64,
    ) -> Tensor<1> {
        let rate = self.rate(step, steps);
        let [beta1, beta2] = self.betas;
        let norm = gradient.clone().square().sum().sqrt();
        // As torch.nn.utils.clip_grad_norm_ has it.
        let factor = ((norm + 1e-6).recip() * self.clip).clamp_max(1.0);
        let gradient = gradient * factor;
        moments.first = moments.first.clone() * beta1 + gradient.clone() * (1.0 - beta1);
        moments.second = moments.second.clone() * beta2 + gradient.square() * (1.0 - beta2);
        let correction = |beta: f64| 1.0 - beta.powf((step + 1) as f64);
        let root = moments.second.clone().sqrt() / correction(beta2).sqrt() + self.epsilon;
        weights * (1.0 - rate * self.weight_decay) - moments.first.clone() / root * (rate / correction(beta1))
    }

    /// The same in the processor's memory, in one pass, with the weights' average, of which so much stays.
    pub(super) fn step_here(&self, state: State, gradient: &[f32], (step, steps): (u64, u64), decay: f64) {
        /// Numbers of a task. The sums of their squares are added in order, so that it is the same for any number of threads.
        const PIECE: usize = 1 << 14;
        let mut sums = vec![0.0; gradient.len().div_ceil(PIECE)];
        threads::chunks(&mut sums, 1, &|piece, sum| {
            let piece = piece * PIECE..gradient.len().min((piece + 1) * PIECE);
            squares(&gradient[piece], &mut sum[0]);
        });
        let norm = sums.iter().map(|sum| f64::from(*sum)).sum::<f64>().sqrt();
        let rate = self.rate(step, steps);
        let correction = |beta: f64| 1.0 - beta.powf((step + 1) as f64);
        let shares = |old: f64| [old as f32, (1.0 - old) as f32];
        let [one, two] = self.betas;
        let adam = Adam {
            // As torch.nn.utils.clip_grad_norm_ has it.
            clip: (self.clip / (norm + 1e-6)).min(1.0) as f32,
            first: shares(one),
            second: shares(two),
            keep: (1.0 - rate * self.weight_decay) as f32,
            rate: (rate / correction(one)) as f32,
            root: (1.0 / correction(two).sqrt()) as f32,
            epsilon: self.epsilon as f32,
            average: shares(decay),
        };
        let State { weights, first, second, averaged } = state;
        let pieces = weights.chunks_mut(PIECE).zip(first.chunks_mut(PIECE));
        let pieces = pieces.zip(second.chunks_mut(PIECE).zip(averaged.chunks_mut(PIECE)));
        let pieces = pieces.zip(gradient.chunks(PIECE));
        threads::items(pieces.collect(), |(((weights, first), (second, averaged)), gradient)| {
            kernel(adam, gradient, State { weights, first, second, averaged });
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_diffusers_cosine() {
        let o = Optimiser { learning_rate: 2.0, warmup: 10, ..Optimiser::default() };
        assert_eq!([o.rate(0, 110), o.rate(5, 110), o.rate(10, 110)], [0.0, 1.0, 2.0]);
        assert!((o.rate(60, 110) - 1.0).abs() < 1e-12);
        assert!(o.rate(110, 110).abs() < 1e-12 && o.rate(500, 110).abs() < 1e-12);
    }
}
