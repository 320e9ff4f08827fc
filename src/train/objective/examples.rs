//! A batch of examples: what a network is asked about them, and what its answer costs.

use burn::tensor::{Device, Tensor, TensorData};

use crate::denoiser::{Denoiser, Point, Prediction, Question};

/// A batch on the device: images are `[batch, channels, height, width]`.
pub(in crate::train) struct Examples {
    /// The clean images.
    pub(in crate::train) x0: Tensor<4>,
    /// The noise, of unit variance.
    pub(in crate::train) epsilon: Tensor<4>,
    /// Each image's timestep.
    pub(in crate::train) timesteps: Vec<usize>,
}

/// What an example of a timestep trains: the level that it is noised to, what the network is asked there, and how often the
/// squared error of its answer counts.
pub(super) struct Task {
    pub(super) at: Point,
    pub(super) question: Question,
    pub(super) weight: f64,
}

impl Task {
    pub(super) fn new(prediction: Prediction, at: Point, weight: f64) -> Self {
        Self { at, question: prediction.ask(at), weight }
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
    pub(super) fn new(tasks: &[Task], examples: &Examples) -> Self {
        let of = |number: fn(&Task) -> f64| each(tasks, number, &examples.x0.device());
        let x = examples.x0.clone() * of(|t| t.at.level.alpha)
            + examples.epsilon.clone() * of(|t| t.at.level.sigma);
        let input = if tasks.iter().all(|t| t.question.input == 1.0) {
            x.clone()
        } else {
            x.clone() * of(|t| t.question.input)
        };
        Self { x, input }
    }
}

/// `weight ‖F - (of_x0 x₀ + of_epsilon ε)‖²` a number, for each image.
pub(super) fn squared_error(output: Tensor<4>, tasks: &[Task], examples: &Examples) -> Tensor<1> {
    let of = |number: fn(&Task) -> f64| each(tasks, number, &examples.x0.device());
    let target = examples.x0.clone() * of(|t| t.question.of_x0)
        + examples.epsilon.clone() * of(|t| t.question.of_epsilon);
    mean((output - target).square()) * of(|t| t.weight).flatten(0, 3)
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
