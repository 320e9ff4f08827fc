//! Runs networks on burn's tensors: on WebGPU through burn-wgpu, on the CPU through burn's flex, and with gradients on
//! an autodiff device.

#[cfg(feature = "text")]
pub mod transformer;
mod value;

use std::collections::HashMap;
use std::sync::Arc;

use burn::tensor::activation::{gelu, mish, relu, silu};
#[cfg(feature = "text")]
use burn::tensor::activation::{gelu_approximate, sigmoid, tanh};
use burn::tensor::module::{attention, avg_pool2d, conv_transpose2d, conv2d, interpolate, linear};
use burn::tensor::ops::{
    AttentionModuleOptions, AvgPoolOptions, ConvOptions, ConvTransposeOptions, InterpolateMode,
    InterpolateOptions,
};
use burn::tensor::{Device, Gradients, Tensor, TensorData};

pub use self::value::Value;
use super::architecture::Network;
use super::ops::{Activation, Conv, Ops, Padding};
use crate::error::{Error, Result};

/// A network with its parameters on a device.
pub struct BurnNetwork {
    network: Arc<dyn Network>,
    device: Device,
    parameters: Parameters,
    frequencies: Vec<f32>,
}

/// Parameters by their keys.
pub type Parameters = HashMap<String, Parameter>;

/// A parameter by its number of dimensions.
#[derive(Clone, Debug)]
pub enum Parameter {
    /// Biases and the weights of normalisations.
    Vector(Tensor<1>),
    /// Linear maps `[out, in]` and tables.
    Matrix(Tensor<2>),
    /// Convolutions `[out, in, height, width]`.
    Kernel(Tensor<4>),
}

impl BurnNetwork {
    /// Uploads the parameters: `take` is asked for each key of
    /// [`describe`](crate::network::describe::describe), once, with its shape, and gives its numbers in row-major order.
    ///
    /// On an autodiff device every parameter collects gradients.
    ///
    /// # Errors
    /// Those of `take`.
    pub fn new(
        network: Arc<dyn Network>,
        parameters: &[(String, Vec<usize>)],
        device: &Device,
        mut take: impl FnMut(&str, &[usize]) -> Result<Vec<f32>>,
    ) -> Result<Self> {
        let mut frequencies = Vec::new();
        let mut uploaded = HashMap::new();
        for (key, shape) in parameters {
            let values = take(key, shape)?;
            if network.frequencies().is_some_and(|(known, _)| known == key) {
                frequencies = values;
                continue;
            }
            let numbers =
                Tensor::from_data(TensorData::new(values, [shape.iter().product::<usize>()]), device);
            let parameter = Parameter::new(numbers, shape);
            uploaded.insert(key.clone(), if device.is_autodiff() { parameter.leaf() } else { parameter });
        }
        Ok(Self { network, device: device.clone(), parameters: uploaded, frequencies })
    }

    /// The parameters by their keys; the Fourier frequencies, which are not trained, are not among them.
    #[must_use]
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// One evaluation as a tensor `[batch, out_channels, height, width]`, which gradients can start from. `x` holds
    /// `shape = [batch, in_channels, height, width]` numbers, `timesteps` one for each sample, and `labels` is as for
    /// [`Network::features`].
    ///
    /// # Errors
    /// [`Error::Option`] where a size, timestep or label does not suit the network.
    pub fn forward(
        &self,
        x: &[f32],
        shape: [usize; 4],
        timesteps: &[f32],
        labels: Option<&[f32]>,
    ) -> Result<Tensor<4>> {
        let x = Tensor::<1>::from_data(TensorData::new(x.to_vec(), [x.len()]), &self.device).reshape(shape);
        forward(&*self.network, &self.parameters, &self.frequencies, x, timesteps, labels)
    }

    /// One evaluation, read back: [`Self::forward`]'s numbers in row-major order.
    ///
    /// # Errors
    /// As [`Self::forward`], and [`Error::DeviceLost`] where the device does not answer.
    pub async fn evaluate(
        &self,
        x: &[f32],
        shape: [usize; 4],
        timesteps: &[f32],
        labels: Option<&[f32]>,
    ) -> Result<Vec<f32>> {
        let y = self.forward(x, shape, timesteps, labels)?;
        let lost = |problem: String| Error::DeviceLost { problem };
        let data = y.into_data_async().await.map_err(|e| lost(e.to_string()))?;
        data.try_into_vec::<f32>().map_err(|e| lost(e.to_string()))
    }
}

impl Parameter {
    /// `numbers`, row-major, in a parameter's shape.
    #[must_use]
    pub fn new(numbers: Tensor<1>, shape: &[usize]) -> Self {
        match *shape {
            [_] => Self::Vector(numbers),
            [out, input] => Self::Matrix(numbers.reshape([out, input])),
            [out, input, height, width] => Self::Kernel(numbers.reshape([out, input, height, width])),
            _ => unreachable!("no parameter of a network has {} dimensions", shape.len()),
        }
    }

    /// The parameter as one that collects gradients.
    #[must_use]
    pub fn leaf(self) -> Self {
        match self {
            Self::Vector(p) => Self::Vector(p.autodiff().require_grad()),
            Self::Matrix(p) => Self::Matrix(p.autodiff().require_grad()),
            Self::Kernel(p) => Self::Kernel(p.autodiff().require_grad()),
        }
    }

    /// Whether it collects gradients.
    #[must_use]
    pub fn is_autodiff(&self) -> bool {
        match self {
            Self::Vector(p) => p.is_autodiff(),
            Self::Matrix(p) => p.is_autodiff(),
            Self::Kernel(p) => p.is_autodiff(),
        }
    }

    /// Takes the parameter's gradient, row-major; `None` where the loss does not depend on it.
    #[must_use]
    pub fn take_gradient(&self, gradients: &mut Gradients) -> Option<Tensor<1>> {
        match self {
            Self::Vector(p) => p.grad_remove(gradients),
            Self::Matrix(p) => p.grad_remove(gradients).map(|g| g.flatten(0, 1)),
            Self::Kernel(p) => p.grad_remove(gradients).map(|g| g.flatten(0, 3)),
        }
    }
}

/// One evaluation of a network on `x`, `[batch, in_channels, height, width]`, with a timestep for each sample and labels
/// and frequencies as for [`Network::features`]: `[batch, out_channels, height, width]`.
///
/// # Errors
/// [`Error::Option`] where a size, timestep or label does not suit the network.
pub fn forward(
    network: &dyn Network,
    parameters: &Parameters,
    frequencies: &[f32],
    x: Tensor<4>,
    timesteps: &[f32],
    labels: Option<&[f32]>,
) -> Result<Tensor<4>> {
    let [batch, channels, height, width] = x.dims();
    network.check_size(height, width)?;
    if channels != network.in_channels() || timesteps.len() != batch {
        return Err(Error::Option {
            option: "x",
            found: format!("of shape {:?} with {} timesteps", x.dims(), timesteps.len()),
            expected: format!(
                "[batch, {}, height, width] with a timestep for each sample",
                network.in_channels()
            ),
        });
    }
    let device = x.device();
    let vector = |values: Vec<f32>| {
        let width = values.len() / batch;
        Value::Vector(Tensor::from_data(TensorData::new(values, [batch, width]), &device))
    };
    let features = network.features(timesteps, labels, frequencies)?;
    let mut inputs = vec![Value::Image(x)];
    inputs.extend(features.into_iter().map(vector));
    Ok(network.compute(&mut BurnOps { parameters }, &inputs).image())
}

struct BurnOps<'a> {
    parameters: &'a Parameters,
}

impl BurnOps<'_> {
    /// Every key was uploaded by [`BurnNetwork::new`], from the same forward pass.
    fn parameter(&self, name: &str, part: &str) -> &Parameter {
        &self.parameters[&format!("{name}.{part}")]
    }

    fn vector(&self, name: &str, part: &str) -> Tensor<1> {
        match self.parameter(name, part) {
            Parameter::Vector(v) => v.clone(),
            Parameter::Matrix(m) => m.clone().flatten(0, 1),
            Parameter::Kernel(k) => k.clone().flatten(0, 3),
        }
    }

    fn matrix(&self, name: &str) -> Tensor<2> {
        match self.parameter(name, "weight") {
            Parameter::Matrix(m) => m.clone(),
            Parameter::Vector(v) => v.clone().reshape([1, -1]),
            Parameter::Kernel(k) => k.clone().flatten(1, 3),
        }
    }

    fn kernel(&self, name: &str) -> Tensor<4> {
        match self.parameter(name, "weight") {
            Parameter::Kernel(k) => k.clone(),
            Parameter::Vector(v) => v.clone().reshape([-1, 1, 1, 1]),
            Parameter::Matrix(m) => {
                let [out, input] = m.dims();
                m.clone().reshape([out, input, 1, 1])
            }
        }
    }
}

impl Ops for BurnOps<'_> {
    type Tensor = Value;

    fn conv2d(&mut self, x: &Value, name: &str, conv: Conv) -> Value {
        let stride = [conv.stride; 2];
        let (x, padding) = match conv.padding {
            Padding::All(p) => (x.image(), [p; 2]),
            Padding::RightBottom => (x.image().pad((0, 1, 0, 1), 0.0), [0; 2]),
        };
        let options = ConvOptions::new(stride, padding, [1; 2], 1);
        Value::Image(conv2d(x, self.kernel(name), Some(self.vector(name, "bias")), options))
    }

    fn pointwise(&mut self, x: &Value, name: &str, _out_channels: usize) -> Value {
        let options = ConvOptions::new([1; 2], [0; 2], [1; 2], 1);
        Value::Image(conv2d(x.image(), self.kernel(name), Some(self.vector(name, "bias")), options))
    }

    fn linear(&mut self, v: &Value, name: &str, _out: usize) -> Value {
        Value::Vector(linear(v.vector(), self.matrix(name).transpose(), Some(self.vector(name, "bias"))))
    }

    fn embedding(&mut self, indices: &Value, name: &str, _rows: usize, _width: usize) -> Value {
        let rows = indices.vector().flatten::<1>(0, 1).int();
        Value::Vector(self.matrix(name).select(0, rows))
    }

    fn group_norm(&mut self, x: &Value, name: &str, groups: usize, eps: f64) -> Value {
        let x = x.image();
        let [batch, channels, height, width] = x.dims();
        let grouped = x.reshape([batch, groups, channels / groups * height * width]);
        let centred = grouped.clone() - grouped.mean_dim(2);
        let variance = centred.clone().square().mean_dim(2);
        let normal = centred / (variance + eps).sqrt();
        let per_channel = |v: Tensor<1>| v.reshape([1, channels, 1, 1]);
        let y = normal.reshape([batch, channels, height, width]);
        Value::Image(y * per_channel(self.vector(name, "weight")) + per_channel(self.vector(name, "bias")))
    }

    fn activation(&mut self, x: &Value, activation: Activation) -> Value {
        match x {
            Value::Image(x) => Value::Image(activate(x.clone(), activation)),
            Value::Vector(v) => Value::Vector(activate(v.clone(), activation)),
        }
    }

    fn add(&mut self, a: &Value, b: &Value) -> Value {
        match (a, b) {
            (Value::Vector(a), Value::Vector(b)) => Value::Vector(a.clone() + b.clone()),
            _ => Value::Image(a.image() + b.image()),
        }
    }

    fn affine(&mut self, x: &Value, scale: f64, shift: f64) -> Value {
        let scaled = x.image() * scale;
        Value::Image(if shift == 0.0 { scaled } else { scaled + shift })
    }

    fn add_per_channel(&mut self, x: &Value, v: &Value) -> Value {
        // As an image, a vector has one pixel, which is broadcast.
        Value::Image(x.image() + Value::Vector(v.vector()).image())
    }

    fn scale_shift(&mut self, x: &Value, v: &Value) -> Value {
        if let Value::Vector(x) = x {
            let halves = v.vector().chunk(2, 1);
            return Value::Vector(x.clone() * (halves[0].clone() + 1.0) + halves[1].clone());
        }
        let v = Value::Vector(v.vector()).image();
        let channels = v.dims()[1] / 2;
        let scale = v.clone().narrow(1, 0, channels);
        let shift = v.narrow(1, channels, channels);
        Value::Image(x.image() * (scale + 1.0) + shift)
    }

    fn scale_samples(&mut self, x: &Value, v: &Value) -> Value {
        Value::Image(x.image() * Value::Vector(v.vector()).image())
    }

    fn attention(&mut self, q: &Value, k: &Value, v: &Value, heads: usize) -> Value {
        let [batch, channels, height, width] = q.image().dims();
        let tokens =
            |x: &Value| x.image().reshape([batch, heads, channels / heads, height * width]).swap_dims(2, 3);
        let y = attention(tokens(q), tokens(k), tokens(v), None, None, AttentionModuleOptions::default());
        Value::Image(y.swap_dims(2, 3).reshape([batch, channels, height, width]))
    }

    fn concat(&mut self, a: &Value, b: &Value) -> Value {
        Value::Image(Tensor::cat(vec![a.image(), b.image()], 1))
    }

    fn upsample_nearest(&mut self, x: &Value) -> Value {
        let x = x.image();
        let [_, _, height, width] = x.dims();
        let options =
            InterpolateOptions::new(InterpolateMode::Nearest).with_output_size([2 * height, 2 * width]);
        Value::Image(interpolate(x, options))
    }

    fn downsample_mean(&mut self, x: &Value) -> Value {
        Value::Image(avg_pool2d(x.image(), AvgPoolOptions::new([2, 2])))
    }

    fn upsample_fir(&mut self, x: &Value) -> Value {
        let x = x.image();
        let options = ConvTransposeOptions::new([2; 2], [1; 2], [0; 2], [1; 2], x.dims()[1]);
        let kernel = fir(&x, 4.0);
        Value::Image(conv_transpose2d(x, kernel, None, options))
    }

    fn downsample_fir(&mut self, x: &Value) -> Value {
        let x = x.image();
        let options = ConvOptions::new([2; 2], [1; 2], [1; 2], x.dims()[1]);
        let kernel = fir(&x, 8.0);
        Value::Image(conv2d(x, kernel, None, options))
    }

    fn radial_basis(&mut self, v: &Value, name: &str, units: usize) -> Value {
        let v = v.vector();
        let (centres, inverse) = (self.matrix(name), self.vector(&format!("{name}.width"), "weight"));
        let inverse = (inverse * (0.5 * (units as f64).sqrt())).unsqueeze::<2>();
        // Not ‖v‖² - 2 v·c + ‖c‖²: narrow bumps need the digits that it loses.
        let mut exponent = None;
        for axis in 0..v.dims()[1] {
            let distance = v.clone().narrow(1, axis, 1) - centres.clone().narrow(1, axis, 1).transpose();
            let part = (distance * inverse.clone()).square();
            exponent = Some(match exponent {
                Some(sum) => sum + part,
                None => part,
            });
        }
        Value::Vector(exponent.map_or(v, |sum: Tensor<2>| (sum * -0.5).exp()))
    }
}

fn activate<const D: usize>(x: Tensor<D>, activation: Activation) -> Tensor<D> {
    match activation {
        Activation::Silu => silu(x),
        Activation::Mish => mish(x),
        Activation::Gelu => gelu(x),
        Activation::Relu => relu(x),
        #[cfg(feature = "text")]
        Activation::GeluTanh => gelu_approximate(x),
        #[cfg(feature = "text")]
        Activation::QuickGelu => x.clone() * sigmoid(x * 1.702),
        #[cfg(feature = "text")]
        Activation::Tanh => tanh(x),
    }
}

/// The filter `(1, 3, 3, 1) / total` along both axes, for each channel.
fn fir(x: &Tensor<4>, total: f32) -> Tensor<4> {
    let channels = x.dims()[1];
    let axis = [1.0, 3.0, 3.0, 1.0].map(|v: f32| v / total);
    let kernel: Vec<f32> = axis.iter().flat_map(|a| axis.map(|b| a * b)).collect();
    let data = TensorData::new(kernel.repeat(channels), [channels, 1, 4, 4]);
    Tensor::from_data(data, &x.device())
}
