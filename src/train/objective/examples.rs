//! A batch of examples: what a network is asked about them, and what its answer costs.

use burn::tensor::{Device, Tensor, TensorData};

use crate::prediction::Level;

/// A batch on the device: images are `[batch, channels, height, width]`.
pub(in crate::train) struct Examples {
    /// The clean images.
    pub(in crate::train) x0: Tensor<4>,
    /// The noise, of unit variance.
    pub(in crate::train) epsilon: Tensor<4>,
    /// Each image's timestep.
    pub(in crate::train) timesteps: Vec<usize>,
}

/// What a network is asked at a level: given `input · x` and `c_noise`, it should answer `of_x0 x₀ + of_epsilon ε`, and
/// the squared error of its answer counts `weight` times.
pub(super) struct Question {
    pub(super) level: Level,
    pub(super) input: f64,
    pub(super) c_noise: f64,
    pub(super) of_x0: f64,
    pub(super) of_epsilon: f64,
    pub(super) weight: f64,
}

impl Question {
    /// `(a, b)` of `x̂₀ = a x + b F` for the network's answer F.
    pub(super) fn x0(&self) -> (f64, f64) {
        let Level { alpha, sigma } = self.level;
        let determinant = self.of_x0 * sigma - self.of_epsilon * alpha;
        (-self.of_epsilon / determinant, sigma / determinant)
    }
}

/// What a trained network says about the clean image.
#[derive(Clone, Debug)]
pub(in crate::train) struct Denoised {
    pub(in crate::train) x0: Tensor<4>,
    /// ln of the variance of the reverse kernel, where the network learned one.
    pub(in crate::train) log_variance: Option<Tensor<4>>,
}

/// A batch's noisy images.
pub(super) struct Noised {
    /// `alpha x0 + sigma epsilon`.
    pub(super) x: Tensor<4>,
    /// What the network is shown of them.
    pub(super) input: Tensor<4>,
}

impl Noised {
    pub(super) fn new(questions: &[Question], examples: &Examples) -> Self {
        let of = |number: fn(&Question) -> f64| each(questions, number, &examples.x0.device());
        let x =
            examples.x0.clone() * of(|q| q.level.alpha) + examples.epsilon.clone() * of(|q| q.level.sigma);
        let input =
            if questions.iter().all(|q| q.input == 1.0) { x.clone() } else { x.clone() * of(|q| q.input) };
        Self { x, input }
    }
}

/// `weight ‖F - (of_x0 x₀ + of_epsilon ε)‖²` a number, for each image.
pub(super) fn squared_error(output: Tensor<4>, questions: &[Question], examples: &Examples) -> Tensor<1> {
    let of = |number: fn(&Question) -> f64| each(questions, number, &examples.x0.device());
    let target = examples.x0.clone() * of(|q| q.of_x0) + examples.epsilon.clone() * of(|q| q.of_epsilon);
    mean((output - target).square()) * of(|q| q.weight).flatten(0, 3)
}

/// One number for each image, to be broadcast over it.
pub(super) fn each<T>(items: &[T], number: impl Fn(&T) -> f64, device: &Device) -> Tensor<4> {
    let numbers: Vec<f32> = items.iter().map(|item| number(item) as f32).collect();
    Tensor::from_data(TensorData::new(numbers, [items.len(), 1, 1, 1]), device)
}

/// The mean over each image, `[batch]`.
pub(super) fn mean(x: Tensor<4>) -> Tensor<1> {
    let batch = x.dims()[0];
    x.reshape([batch as i32, -1]).mean_dim(1).flatten(0, 1)
}
