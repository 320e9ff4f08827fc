//! [`TransformerOps`] on burn's tensors, and passes with their inputs and results on the host.

use burn::tensor::activation::{gelu, softmax};
use burn::tensor::module::{attention, conv2d, linear};
use burn::tensor::ops::{AttentionModuleOptions, ConvOptions};
use burn::tensor::{Device, Int, Tensor, TensorData};

use super::{BurnOps, Parameters, Value};
use crate::error::{Error, Result};
pub use crate::network::array::Array;
use crate::network::ops::{Attend, Convolution, Padding, Pass, TransformerOps};

/// Parameters on a device: `take` is asked for each key with its shape, and gives its numbers in row-major order.
///
/// # Errors
/// Those of `take`.
pub fn upload(
    parameters: &[(String, Vec<usize>)],
    device: &Device,
    mut take: impl FnMut(&str, &[usize]) -> Result<Vec<f32>>,
) -> Result<Parameters> {
    let one = |(key, shape): &(String, Vec<usize>)| {
        let data = TensorData::new(take(key, shape)?, [shape.iter().product::<usize>()]);
        Ok((key.clone(), super::Parameter::new(Tensor::from_data(data, device), shape)))
    };
    parameters.iter().map(one).collect()
}

/// One evaluation of a pass: its results, from its inputs in order.
///
/// # Errors
/// [`Error::DeviceLost`] where the device does not answer.
pub async fn evaluate(
    pass: &impl Pass,
    parameters: &Parameters,
    device: &Device,
    inputs: &[Array],
) -> Result<Vec<Array>> {
    let inputs: Vec<_> = inputs.iter().map(|input| on_device(input, device)).collect();
    let mut results = Vec::new();
    for result in pass.run(&mut BurnOps { parameters }, &inputs) {
        let lost = |problem: String| Error::DeviceLost { problem };
        let (shape, data) = match result {
            Value::Image(x) => (x.dims().to_vec(), x.into_data_async().await),
            Value::Vector(v) => (v.dims().to_vec(), v.into_data_async().await),
        };
        let data = data.map_err(|e| lost(e.to_string()))?;
        let values = data.try_into_vec::<f32>().map_err(|e| lost(e.to_string()))?;
        results.push(Array { shape, values });
    }
    Ok(results)
}

/// An input on a device.
fn on_device(array: &Array, device: &Device) -> Value {
    let data = TensorData::new(array.values.clone(), [array.values.len()]);
    let numbers = Tensor::<1>::from_data(data, device);
    match array.shape[..] {
        [batch, width] => Value::Vector(numbers.reshape([batch, width])),
        [batch, channels, height, width] => Value::Image(numbers.reshape([batch, channels, height, width])),
        _ => unreachable!("no input of a network has {} dimensions", array.shape.len()),
    }
}

impl TransformerOps for BurnOps<'_> {
    fn conv(&mut self, x: &Value, name: &str, conv: Convolution) -> Value {
        let (x, padding) = match conv.padding {
            Padding::All(p) => (x.image(), [p; 2]),
            Padding::RightBottom => (x.image().pad((0, 1, 0, 1), 0.0), [0; 2]),
        };
        let bias = conv.bias.then(|| self.vector(name, "bias"));
        let options = ConvOptions::new([conv.stride; 2], padding, [1; 2], 1);
        Value::Image(conv2d(x, self.kernel(name), bias, options))
    }

    fn unbiased(&mut self, x: &Value, name: &str, _out: usize) -> Value {
        if let Value::Vector(v) = x {
            return Value::Vector(linear(v.clone(), self.matrix(name).transpose(), None));
        }
        let options = ConvOptions::new([1; 2], [0; 2], [1; 2], 1);
        Value::Image(conv2d(x.image(), self.kernel(name), None, options))
    }

    fn layer_norm(&mut self, x: &Value, name: Option<&str>, eps: f64) -> Value {
        let x = x.image();
        let channels = x.dims()[1];
        let centred = x.clone() - x.mean_dim(1);
        let variance = centred.clone().square().mean_dim(1);
        let y = centred / (variance + eps).sqrt();
        let Some(name) = name else { return Value::Image(y) };
        let per_channel = |v: Tensor<1>| v.reshape([1, channels, 1, 1]);
        Value::Image(y * per_channel(self.vector(name, "weight")) + per_channel(self.vector(name, "bias")))
    }

    fn gated_gelu(&mut self, x: &Value) -> Value {
        let x = x.image();
        let half = x.dims()[1] / 2;
        Value::Image(x.clone().narrow(1, 0, half) * gelu(x.narrow(1, half, half)))
    }

    fn attend(&mut self, q: &Value, k: &Value, v: &Value, attend: Attend) -> Value {
        let [batch, channels, height, width] = q.image().dims();
        let heads = attend.heads;
        let tokens = |x: &Value| {
            x.image().reshape([batch as i32, heads as i32, (channels / heads) as i32, -1]).swap_dims(2, 3)
        };
        let options = AttentionModuleOptions { is_causal: attend.causal, ..Default::default() };
        let y = attention(tokens(q), tokens(k), tokens(v), None, None, options);
        Value::Image(y.swap_dims(2, 3).reshape([batch, channels, height, width]))
    }

    fn attention_map(&mut self, q: &Value, k: &Value, heads: usize) -> Value {
        let [batch, channels, height, width] = q.image().dims();
        let width_of_head = channels / heads;
        let tokens = |x: &Value| {
            x.image().reshape([batch as i32, heads as i32, width_of_head as i32, -1]).swap_dims(2, 3)
        };
        let scores = tokens(q).matmul(tokens(k).swap_dims(2, 3)) / (width_of_head as f64).sqrt();
        let weights = softmax(scores, 3).mean_dim(1).swap_dims(2, 3);
        Value::Image(weights.reshape([batch as i32, -1, height as i32, width as i32]))
    }

    fn token_embedding(&mut self, ids: &Value, name: &str, _rows: usize, width: usize) -> Value {
        let ids = ids.vector();
        let [batch, tokens] = ids.dims();
        let rows = self.matrix(name).select(0, ids.flatten::<1>(0, 1).int());
        Value::Image(rows.reshape([batch, tokens, width, 1]).swap_dims(1, 2))
    }

    fn add_positions(&mut self, x: &Value, name: &str, _rows: usize) -> Value {
        let x = x.image();
        let [_, width, tokens, _] = x.dims();
        let table = self.matrix(name).narrow(0, 0, tokens).transpose();
        Value::Image(x + table.reshape([1, width, tokens, 1]))
    }

    fn token_at(&mut self, x: &Value, index: &Value) -> Value {
        let x = x.image();
        let [batch, width, ..] = x.dims();
        let index = index.vector().int().reshape([batch, 1, 1, 1]).repeat_dim(1, width);
        Value::Vector(x.gather(2, index).reshape([batch, width]))
    }

    fn scale_per_channel(&mut self, x: &Value, v: &Value) -> Value {
        Value::Image(x.image() * Value::Vector(v.vector()).image())
    }

    fn slice(&mut self, v: &Value, start: usize, width: usize) -> Value {
        Value::Vector(v.vector().narrow(1, start, width))
    }

    fn upsample_to(&mut self, x: &Value, like: &Value) -> Value {
        let (x, [.., height, width]) = (x.image(), like.image().dims());
        let [.., from_height, from_width] = x.dims();
        let device = x.device();
        let nearest = |from: usize, to: usize| {
            let scale = from as f32 / to as f32;
            let source = |i: usize| ((i as f32 * scale) as usize).min(from - 1) as i32;
            let rows: Vec<i32> = (0..to).map(source).collect();
            Tensor::<1, Int>::from_data(TensorData::new(rows, [to]), &device)
        };
        let x = x.select(2, nearest(from_height, height));
        Value::Image(x.select(3, nearest(from_width, width)))
    }

    fn nearest_row(&mut self, x: &Value, name: &str, _rows: usize) -> Value {
        let (x, table) = (x.image(), self.matrix(name));
        let [batch, channels, height, width] = x.dims();
        let pixels = x.permute([0, 2, 3, 1]).reshape([batch * height * width, channels]);
        // Channel by channel: a difference of squares would lose the digits that tell near rows apart.
        let square =
            |c: usize| (pixels.clone().narrow(1, c, 1) - table.clone().narrow(1, c, 1).transpose()).square();
        let distances = (1..channels).fold(square(0), |sum, c| sum + square(c));
        let nearest = distances.argmin(1).flatten::<1>(0, 1);
        let rows = table.select(0, nearest).reshape([batch, height, width, channels]);
        Value::Image(rows.permute([0, 3, 1, 2]))
    }

    fn unpatchify(&mut self, x: &Value, patch: usize) -> Value {
        let x = x.image();
        let [batch, channels, height, width] = x.dims();
        let out = channels / (patch * patch);
        let x = x.reshape([batch, patch, patch, out, height, width]).permute([0, 3, 4, 1, 5, 2]);
        Value::Image(x.reshape([batch, out, height * patch, width * patch]))
    }
}
