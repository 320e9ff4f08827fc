//! An interpreter that computes nothing but shapes: it tells which parameters a forward pass looks up, what it costs,
//! and how much memory its activations take at once.

use super::architecture::{Input, Network, NodeId, Shape};
use super::ops::{
    Activation, Attend, Conv, Convolution, Ops, Padding, Pass, TransformerOps, pointwise_shape,
};

/// What a forward pass needs. Counts end at `u64::MAX`, which stands for more than can be counted.
#[derive(Clone, Debug, Default)]
pub struct Inventory {
    /// Every parameter's key and shape, in the order of first use.
    pub parameters: Vec<(String, Vec<usize>)>,
    /// Floating-point operations of the convolutions, linear maps and attention: two for each multiply-add.
    pub flops: u64,
    /// The largest sum of activations that are alive at one time, from their making to their last use, in f32 bytes.
    pub peak_activation_bytes: u64,
    /// The sum of all activations, which training keeps for the backward pass, in f32 bytes.
    pub activation_bytes: u64,
    /// The largest single parameter or activation, in f32 bytes.
    pub largest_tensor_bytes: u64,
    /// Shape of the result, `[batch, channels, height, width]`.
    pub output: Vec<usize>,
}

impl Inventory {
    /// Number of scalar parameters.
    #[must_use]
    pub fn parameter_count(&self) -> u64 {
        self.parameters.iter().fold(0, |sum, (_, shape)| sum.saturating_add(volume(shape)))
    }
}

/// Describes one evaluation of a network on a batch of images of `height` × `width`.
#[must_use]
pub fn describe(network: &dyn Network, batch: usize, height: usize, width: usize) -> Inventory {
    let mut ops = Describe::default();
    let vector = |shape: Shape| vec![batch, shape.channels];
    let inputs = network.inputs(height, width).into_iter().enumerate().map(|(i, Input { shape, .. })| {
        let image = vec![batch, shape.channels, shape.height, shape.width];
        ops.tensor(if i == 0 { image } else { vector(shape) }, &[])
    });
    let inputs: Vec<NodeId> = inputs.collect();
    if let Some((key, length)) = network.frequencies() {
        ops.parameter(key.to_owned(), vec![length]);
    }
    let y = network.record(&mut ops, &inputs);
    ops.finish(y)
}

/// Describes one evaluation on inputs of these shapes; `output` is the first result's.
#[must_use]
pub fn describe_pass(pass: &impl Pass, inputs: &[Vec<usize>]) -> Inventory {
    let mut ops = Describe::default();
    let inputs: Vec<_> = inputs.iter().map(|shape| ops.tensor(shape.clone(), &[])).collect();
    let results = pass.run(&mut ops, &inputs);
    ops.finish(results[0])
}

/// A tensor, alive from the call that makes it to the last that uses it.
struct Value {
    shape: Vec<usize>,
    last: usize,
}

#[derive(Default)]
struct Describe {
    found: Inventory,
    values: Vec<Value>,
}

impl Describe {
    /// What a call on `used` makes.
    fn tensor(&mut self, shape: Vec<usize>, used: &[&NodeId]) -> NodeId {
        self.note_size(&shape);
        self.found.activation_bytes = self.found.activation_bytes.saturating_add(bytes(&shape));
        let last = self.values.len();
        for id in used {
            self.values[id.0].last = last;
        }
        self.values.push(Value { shape, last });
        NodeId(last)
    }

    fn finish(mut self, y: NodeId) -> Inventory {
        self.values[y.0].last = self.values.len();
        let (mut live, mut peak) = (0u64, 0u64);
        // What is used last by each call.
        let mut ends = vec![0u64; self.values.len() + 1];
        for (at, value) in self.values.iter().enumerate() {
            live = live.saturating_add(volume(&value.shape));
            ends[value.last] = ends[value.last].saturating_add(volume(&value.shape));
            peak = peak.max(live);
            live = live.saturating_sub(ends[at]);
        }
        let output = std::mem::take(&mut self.values[y.0].shape);
        Inventory { output, peak_activation_bytes: peak.saturating_mul(4), ..self.found }
    }

    fn shape(&self, x: &NodeId) -> &[usize] {
        &self.values[x.0].shape
    }

    fn image(&self, x: &NodeId) -> [usize; 4] {
        match *self.shape(x) {
            [b, c] => [b, c, 1, 1],
            [b, c, h, w] => [b, c, h, w],
            _ => unreachable!("tensors are images or vectors"),
        }
    }

    fn note_size(&mut self, shape: &[usize]) {
        self.found.largest_tensor_bytes = self.found.largest_tensor_bytes.max(bytes(shape));
    }

    /// Counts as many operations for each of a product's terms.
    fn count(&mut self, operations: u64, terms: &[usize]) {
        let more = volume(terms).saturating_mul(operations);
        self.found.flops = self.found.flops.saturating_add(more);
    }

    fn parameter(&mut self, key: String, shape: Vec<usize>) {
        self.note_size(&shape);
        self.found.parameters.push((key, shape));
    }

    fn weight_and_bias(&mut self, name: &str, weight: Vec<usize>) {
        let out = weight[0];
        self.parameter(format!("{name}.weight"), weight);
        self.parameter(format!("{name}.bias"), vec![out]);
    }

    fn with_channels(&mut self, x: &NodeId, channels: usize) -> NodeId {
        let mut shape = self.shape(x).to_vec();
        shape[1] = channels;
        self.tensor(shape, &[x])
    }

    /// A result of the shape of the first argument.
    fn like(&mut self, used: &[&NodeId]) -> NodeId {
        self.tensor(self.shape(used[0]).to_vec(), used)
    }
}

impl Ops for Describe {
    type Tensor = NodeId;

    fn conv2d(&mut self, x: &NodeId, name: &str, conv: Conv) -> NodeId {
        let [b, c, h, w] = self.image(x);
        self.weight_and_bias(name, vec![conv.out_channels, c, 3, 3]);
        let size = |n| convolved(n, 3, conv.stride, conv.padding);
        let (h, w) = (size(h), size(w));
        self.count(18, &[b, c, conv.out_channels, h, w]);
        self.tensor(vec![b, conv.out_channels, h, w], &[x])
    }

    fn pointwise(&mut self, x: &NodeId, name: &str, out_channels: usize) -> NodeId {
        let [b, c, h, w] = self.image(x);
        self.weight_and_bias(name, pointwise_shape(name, out_channels, c));
        self.count(2, &[b, c, out_channels, h, w]);
        self.with_channels(x, out_channels)
    }

    fn linear(&mut self, v: &NodeId, name: &str, out: usize) -> NodeId {
        let [b, width, ..] = self.image(v);
        self.weight_and_bias(name, vec![out, width]);
        self.count(2, &[b, width, out]);
        self.with_channels(v, out)
    }

    fn embedding(&mut self, indices: &NodeId, name: &str, rows: usize, width: usize) -> NodeId {
        let table = (format!("{name}.weight"), vec![rows, width]);
        // A learned time table embeds labels too where `class_embed_type` is "timestep": one tensor, looked up twice.
        if !self.found.parameters.contains(&table) {
            self.parameter(table.0, table.1);
        }
        self.with_channels(indices, width)
    }

    fn group_norm(&mut self, x: &NodeId, name: &str, _groups: usize, _eps: f64) -> NodeId {
        let [_, channels, ..] = self.image(x);
        self.weight_and_bias(name, vec![channels]);
        self.like(&[x])
    }

    fn activation(&mut self, x: &NodeId, _activation: Activation) -> NodeId {
        self.like(&[x])
    }

    fn add(&mut self, a: &NodeId, b: &NodeId) -> NodeId {
        debug_assert_eq!(self.shape(a), self.shape(b));
        self.like(&[a, b])
    }

    fn affine(&mut self, x: &NodeId, _scale: f64, _shift: f64) -> NodeId {
        self.like(&[x])
    }

    fn add_per_channel(&mut self, x: &NodeId, v: &NodeId) -> NodeId {
        debug_assert_eq!(self.shape(x)[..2], self.shape(v)[..2]);
        self.like(&[x, v])
    }

    fn scale_shift(&mut self, x: &NodeId, v: &NodeId) -> NodeId {
        debug_assert_eq!(2 * self.shape(x)[1], self.shape(v)[1]);
        self.like(&[x, v])
    }

    fn scale_samples(&mut self, x: &NodeId, v: &NodeId) -> NodeId {
        self.like(&[x, v])
    }

    fn attention(&mut self, q: &NodeId, k: &NodeId, v: &NodeId, _heads: usize) -> NodeId {
        let [b, c, h, w] = self.image(q);
        self.count(4, &[b, c, h, w, h, w]);
        self.like(&[q, k, v])
    }

    fn concat(&mut self, a: &NodeId, b: &NodeId) -> NodeId {
        debug_assert_eq!(self.shape(a)[2..], self.shape(b)[2..]);
        let mut shape = self.shape(a).to_vec();
        shape[1] += self.shape(b)[1];
        self.tensor(shape, &[a, b])
    }

    fn upsample_nearest(&mut self, x: &NodeId) -> NodeId {
        let [b, c, h, w] = self.image(x);
        self.tensor(vec![b, c, 2 * h, 2 * w], &[x])
    }

    fn downsample_mean(&mut self, x: &NodeId) -> NodeId {
        let [b, c, h, w] = self.image(x);
        self.tensor(vec![b, c, h / 2, w / 2], &[x])
    }

    fn upsample_fir(&mut self, x: &NodeId) -> NodeId {
        self.upsample_nearest(x)
    }

    fn downsample_fir(&mut self, x: &NodeId) -> NodeId {
        self.downsample_mean(x)
    }

    fn radial_basis(&mut self, v: &NodeId, name: &str, units: usize) -> NodeId {
        let [batch, width, ..] = self.image(v);
        self.parameter(format!("{name}.weight"), vec![units, width]);
        self.parameter(format!("{name}.width.weight"), vec![units]);
        self.count(4, &[batch, width, units]);
        self.with_channels(v, units)
    }
}

impl TransformerOps for Describe {
    fn conv(&mut self, x: &NodeId, name: &str, conv: Convolution) -> NodeId {
        let [b, c, h, w] = self.image(x);
        let Convolution { out_channels, kernel, .. } = conv;
        self.parameter(format!("{name}.weight"), vec![out_channels, c, kernel, kernel]);
        if conv.bias {
            self.parameter(format!("{name}.bias"), vec![out_channels]);
        }
        let size = |n| convolved(n, kernel, conv.stride, conv.padding);
        let (h, w) = (size(h), size(w));
        self.count(2, &[b, c, kernel, kernel, out_channels, h, w]);
        self.tensor(vec![b, out_channels, h, w], &[x])
    }

    fn unbiased(&mut self, x: &NodeId, name: &str, out: usize) -> NodeId {
        let channels = self.shape(x)[1];
        self.parameter(format!("{name}.weight"), vec![out, channels]);
        let terms: Vec<usize> = self.shape(x).iter().copied().chain([out]).collect();
        self.count(2, &terms);
        self.with_channels(x, out)
    }

    fn layer_norm(&mut self, x: &NodeId, name: Option<&str>, _eps: f64) -> NodeId {
        // CLIP's last normalisation is of two layers' results where the pooled vector is wanted beside earlier ones.
        let known = |name: &&str| {
            self.found.parameters.iter().any(|(key, _)| key.strip_suffix(".weight") == Some(name))
        };
        if let Some(name) = name.filter(|name| !known(name)) {
            let channels = self.shape(x)[1];
            self.weight_and_bias(name, vec![channels]);
        }
        self.like(&[x])
    }

    fn gated_gelu(&mut self, x: &NodeId) -> NodeId {
        let channels = self.shape(x)[1] / 2;
        self.with_channels(x, channels)
    }

    fn attend(&mut self, q: &NodeId, k: &NodeId, v: &NodeId, _attend: Attend) -> NodeId {
        debug_assert_eq!(self.shape(k), self.shape(v));
        let ([b, c, h, w], [_, _, kh, kw]) = (self.image(q), self.image(k));
        self.count(4, &[b, c, h, w, kh, kw]);
        self.like(&[q, k, v])
    }

    fn token_embedding(&mut self, ids: &NodeId, name: &str, rows: usize, width: usize) -> NodeId {
        self.parameter(format!("{name}.weight"), vec![rows, width]);
        let [batch, tokens, ..] = self.image(ids);
        self.tensor(vec![batch, width, tokens, 1], &[ids])
    }

    fn add_positions(&mut self, x: &NodeId, name: &str, rows: usize) -> NodeId {
        debug_assert!(self.shape(x)[2] <= rows);
        let channels = self.shape(x)[1];
        self.parameter(format!("{name}.weight"), vec![rows, channels]);
        self.like(&[x])
    }

    fn token_at(&mut self, x: &NodeId, index: &NodeId) -> NodeId {
        self.tensor(self.shape(x)[..2].to_vec(), &[x, index])
    }

    fn scale_per_channel(&mut self, x: &NodeId, v: &NodeId) -> NodeId {
        debug_assert_eq!(self.shape(x)[..2], self.shape(v)[..2]);
        self.like(&[x, v])
    }

    fn slice(&mut self, v: &NodeId, start: usize, width: usize) -> NodeId {
        debug_assert!(start + width <= self.shape(v)[1]);
        self.with_channels(v, width)
    }

    fn upsample_to(&mut self, x: &NodeId, like: &NodeId) -> NodeId {
        let ([b, c, ..], [_, _, h, w]) = (self.image(x), self.image(like));
        self.tensor(vec![b, c, h, w], &[x])
    }

    fn nearest_row(&mut self, x: &NodeId, name: &str, rows: usize) -> NodeId {
        let [b, c, h, w] = self.image(x);
        self.parameter(format!("{name}.weight"), vec![rows, c]);
        self.count(3, &[b, c, h, w, rows]);
        self.like(&[x])
    }

    fn unpatchify(&mut self, x: &NodeId, patch: usize) -> NodeId {
        let [b, c, h, w] = self.image(x);
        self.tensor(vec![b, c / (patch * patch), patch * h, patch * w], &[x])
    }
}

/// Height or width after a convolution.
fn convolved(size: usize, kernel: usize, stride: usize, padding: Padding) -> usize {
    let padded = match padding {
        Padding::All(p) => size + 2 * p,
        Padding::RightBottom => size + 1,
    };
    padded.saturating_sub(kernel) / stride + 1
}

/// In 64 bits, as a product can exceed the 32 of wasm, and no more than they hold.
fn volume(shape: &[usize]) -> u64 {
    shape.iter().fold(1, |product: u64, n| product.saturating_mul(*n as u64))
}

/// As f32.
fn bytes(shape: &[usize]) -> u64 {
    volume(shape).saturating_mul(4)
}
