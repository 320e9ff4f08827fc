//! An interpreter that computes nothing but shapes: it tells which parameters a forward pass looks up, what it costs,
//! and how much memory its activations take at once.

use std::cell::RefCell;
use std::rc::Rc;

use super::mlp::{self, MlpConfig};
use super::ops::{
    Activation, Attend, Conv, Convolution, Curve, Ops, Padding, Pass, RadialBasis, TransformerOps,
};
use super::unet::{self, Conditioning, TimeEmbedding, UNet2DConfig};

/// What a forward pass needs. Counts end at `u64::MAX`, which stands for more than can be counted.
#[derive(Clone, Debug, Default)]
pub struct Inventory {
    /// Every parameter's key and shape, in the order of first use.
    pub parameters: Vec<(String, Vec<usize>)>,
    /// Floating-point operations of the convolutions, linear maps and attention: two for each multiply-add.
    pub flops: u64,
    /// The largest sum of activations alive at one time, in f32 bytes.
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

/// Describes one evaluation of `net` on a batch of images of `height` × `width`.
#[must_use]
pub fn describe(net: &UNet2DConfig, batch: usize, height: usize, width: usize) -> Inventory {
    let mut ops = Describe::default();
    let inputs = Conditioning {
        time: ops.tensor(vec![batch, net.time_width()]),
        class: net.class_width().map(|w| ops.tensor(vec![batch, w])),
        inverse_time: net.divides_by_time().then(|| ops.tensor(vec![batch, 1])),
    };
    if net.time_embedding_type == TimeEmbedding::Fourier {
        // Its frequencies are parameters, though the features are worked out before the forward pass.
        ops.parameter("time_proj.weight".to_owned(), vec![net.block_out_channels[0]]);
    }
    let x = ops.tensor(vec![batch, net.in_channels, height, width]);
    let y = unet::forward(&mut ops, net, &x, &inputs);
    ops.finish(&y)
}

/// Describes one evaluation of an MLP or RBF network on a batch of points.
#[must_use]
pub fn describe_mlp(net: &MlpConfig, batch: usize) -> Inventory {
    let mut ops = Describe::default();
    let time = ops.tensor(vec![batch, mlp::TIME_FEATURES]);
    let x = ops.tensor(vec![batch, net.in_channels, 1, 1]);
    let y = mlp::forward(&mut ops, net, &x, &time);
    ops.finish(&y)
}

/// Describes one evaluation on inputs of these shapes; `output` is the first result's.
#[must_use]
pub fn describe_pass(pass: &impl Pass, inputs: &[Vec<usize>]) -> Inventory {
    let mut ops = Describe::default();
    let inputs: Vec<_> = inputs.iter().map(|shape| ops.tensor(shape.clone())).collect();
    let results = pass.run(&mut ops, &inputs);
    ops.finish(&results[0])
}

#[derive(Default)]
struct Memory {
    live: u64,
    peak: u64,
}

struct Allocation {
    shape: Vec<usize>,
    memory: Rc<RefCell<Memory>>,
}

impl Drop for Allocation {
    fn drop(&mut self) {
        let mut memory = self.memory.borrow_mut();
        memory.live = memory.live.saturating_sub(volume(&self.shape));
    }
}

/// A shape that counts as live memory until its last clone is dropped.
#[derive(Clone)]
struct Shape(Rc<Allocation>);

#[derive(Default)]
struct Describe {
    found: Inventory,
    memory: Rc<RefCell<Memory>>,
}

impl Describe {
    fn tensor(&mut self, shape: Vec<usize>) -> Shape {
        self.note_size(&shape);
        self.found.activation_bytes = self.found.activation_bytes.saturating_add(bytes(&shape));
        let mut memory = self.memory.borrow_mut();
        memory.live = memory.live.saturating_add(volume(&shape));
        memory.peak = memory.peak.max(memory.live);
        drop(memory);
        Shape(Rc::new(Allocation { shape, memory: self.memory.clone() }))
    }

    fn finish(self, y: &Shape) -> Inventory {
        let output = y.0.shape.clone();
        Inventory { output, peak_activation_bytes: self.memory.borrow().peak.saturating_mul(4), ..self.found }
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

    fn with_channels(&mut self, x: &Shape, channels: usize) -> Shape {
        let mut shape = x.0.shape.clone();
        shape[1] = channels;
        self.tensor(shape)
    }

    fn like(&mut self, x: &Shape) -> Shape {
        self.tensor(x.0.shape.clone())
    }
}

impl Ops for Describe {
    type Tensor = Shape;

    fn conv2d(&mut self, x: &Shape, name: &str, conv: Conv) -> Shape {
        let [b, c, h, w] = image(x);
        self.weight_and_bias(name, vec![conv.out_channels, c, 3, 3]);
        let size = |n| convolved(n, 3, conv.stride, conv.padding);
        let (h, w) = (size(h), size(w));
        self.count(18, &[b, c, conv.out_channels, h, w]);
        self.tensor(vec![b, conv.out_channels, h, w])
    }

    fn pointwise(&mut self, x: &Shape, name: &str, out_channels: usize) -> Shape {
        let [b, c, h, w] = image(x);
        self.weight_and_bias(
            name,
            if name.ends_with("conv_shortcut") { vec![out_channels, c, 1, 1] } else { vec![out_channels, c] },
        );
        self.count(2, &[b, c, out_channels, h, w]);
        self.with_channels(x, out_channels)
    }

    fn linear(&mut self, v: &Shape, name: &str, out: usize) -> Shape {
        let (b, width) = (v.0.shape[0], v.0.shape[1]);
        self.weight_and_bias(name, vec![out, width]);
        self.count(2, &[b, width, out]);
        self.with_channels(v, out)
    }

    fn embedding(&mut self, indices: &Shape, name: &str, rows: usize, width: usize) -> Shape {
        let table = (format!("{name}.weight"), vec![rows, width]);
        // A learned time table embeds labels too where `class_embed_type` is "timestep": one tensor, looked up twice.
        if !self.found.parameters.contains(&table) {
            self.parameter(table.0, table.1);
        }
        self.with_channels(indices, width)
    }

    fn group_norm(&mut self, x: &Shape, name: &str, _groups: usize, _eps: f64) -> Shape {
        let channels = x.0.shape[1];
        self.weight_and_bias(name, vec![channels]);
        self.like(x)
    }

    fn activation(&mut self, x: &Shape, _activation: Activation) -> Shape {
        self.like(x)
    }

    fn add(&mut self, a: &Shape, b: &Shape) -> Shape {
        debug_assert_eq!(a.0.shape, b.0.shape);
        self.like(a)
    }

    fn affine(&mut self, x: &Shape, _scale: f64, _shift: f64) -> Shape {
        self.like(x)
    }

    fn add_per_channel(&mut self, x: &Shape, v: &Shape) -> Shape {
        debug_assert_eq!(x.0.shape[..2], v.0.shape[..]);
        self.like(x)
    }

    fn scale_shift(&mut self, x: &Shape, v: &Shape) -> Shape {
        debug_assert_eq!(2 * x.0.shape[1], v.0.shape[1]);
        self.like(x)
    }

    fn scale_samples(&mut self, x: &Shape, _v: &Shape) -> Shape {
        self.like(x)
    }

    fn attention(&mut self, q: &Shape, _k: &Shape, _v: &Shape, _heads: usize) -> Shape {
        let [b, c, h, w] = image(q);
        self.count(4, &[b, c, h, w, h, w]);
        self.like(q)
    }

    fn concat(&mut self, a: &Shape, b: &Shape) -> Shape {
        let channels = a.0.shape[1] + b.0.shape[1];
        debug_assert_eq!(a.0.shape[2..], b.0.shape[2..]);
        self.with_channels(a, channels)
    }

    fn upsample_nearest(&mut self, x: &Shape) -> Shape {
        let [b, c, h, w] = image(x);
        self.tensor(vec![b, c, 2 * h, 2 * w])
    }

    fn downsample_mean(&mut self, x: &Shape) -> Shape {
        let [b, c, h, w] = image(x);
        self.tensor(vec![b, c, h / 2, w / 2])
    }
}

impl RadialBasis for Describe {
    fn radial_basis(&mut self, v: &Shape, name: &str, units: usize) -> Shape {
        let (batch, width) = (v.0.shape[0], v.0.shape[1]);
        self.parameter(format!("{name}.weight"), vec![units, width]);
        self.parameter(format!("{name}.width.weight"), vec![units]);
        self.count(4, &[batch, width, units]);
        self.with_channels(v, units)
    }
}

impl TransformerOps for Describe {
    fn conv(&mut self, x: &Shape, name: &str, conv: Convolution) -> Shape {
        let [b, c, h, w] = image(x);
        let Convolution { out_channels, kernel, .. } = conv;
        self.parameter(format!("{name}.weight"), vec![out_channels, c, kernel, kernel]);
        if conv.bias {
            self.parameter(format!("{name}.bias"), vec![out_channels]);
        }
        let size = |n| convolved(n, kernel, conv.stride, conv.padding);
        let (h, w) = (size(h), size(w));
        self.count(2, &[b, c, kernel, kernel, out_channels, h, w]);
        self.tensor(vec![b, out_channels, h, w])
    }

    fn unbiased(&mut self, x: &Shape, name: &str, out: usize) -> Shape {
        self.parameter(format!("{name}.weight"), vec![out, x.0.shape[1]]);
        let terms: Vec<usize> = x.0.shape.iter().copied().chain([out]).collect();
        self.count(2, &terms);
        self.with_channels(x, out)
    }

    fn layer_norm(&mut self, x: &Shape, name: Option<&str>, _eps: f64) -> Shape {
        // CLIP's last normalisation is of two layers' results where the pooled vector is wanted beside earlier ones.
        let known = |name: &&str| {
            self.found.parameters.iter().any(|(key, _)| key.strip_suffix(".weight") == Some(name))
        };
        if let Some(name) = name.filter(|name| !known(name)) {
            self.weight_and_bias(name, vec![x.0.shape[1]]);
        }
        self.like(x)
    }

    fn gated_gelu(&mut self, x: &Shape) -> Shape {
        self.with_channels(x, x.0.shape[1] / 2)
    }

    fn curve(&mut self, x: &Shape, _curve: Curve) -> Shape {
        self.like(x)
    }

    fn attend(&mut self, q: &Shape, k: &Shape, v: &Shape, _attend: Attend) -> Shape {
        debug_assert_eq!(k.0.shape, v.0.shape);
        let ([b, c, h, w], [_, _, kh, kw]) = (image(q), image(k));
        self.count(4, &[b, c, h, w, kh, kw]);
        self.like(q)
    }

    fn token_embedding(&mut self, ids: &Shape, name: &str, rows: usize, width: usize) -> Shape {
        self.parameter(format!("{name}.weight"), vec![rows, width]);
        self.tensor(vec![ids.0.shape[0], width, ids.0.shape[1], 1])
    }

    fn add_positions(&mut self, x: &Shape, name: &str, rows: usize) -> Shape {
        debug_assert!(x.0.shape[2] <= rows);
        self.parameter(format!("{name}.weight"), vec![rows, x.0.shape[1]]);
        self.like(x)
    }

    fn token_at(&mut self, x: &Shape, _index: &Shape) -> Shape {
        self.tensor(x.0.shape[..2].to_vec())
    }

    fn scale_per_channel(&mut self, x: &Shape, v: &Shape) -> Shape {
        debug_assert_eq!(x.0.shape[..2], v.0.shape[..2]);
        self.like(x)
    }

    fn slice(&mut self, v: &Shape, start: usize, width: usize) -> Shape {
        debug_assert!(start + width <= v.0.shape[1]);
        self.with_channels(v, width)
    }

    fn upsample_to(&mut self, x: &Shape, like: &Shape) -> Shape {
        let ([b, c, ..], [_, _, h, w]) = (image(x), image(like));
        self.tensor(vec![b, c, h, w])
    }

    fn nearest_row(&mut self, x: &Shape, name: &str, rows: usize) -> Shape {
        let [b, c, h, w] = image(x);
        self.parameter(format!("{name}.weight"), vec![rows, c]);
        self.count(3, &[b, c, h, w, rows]);
        self.like(x)
    }

    fn unpatchify(&mut self, x: &Shape, patch: usize) -> Shape {
        let [b, c, h, w] = image(x);
        self.tensor(vec![b, c / (patch * patch), patch * h, patch * w])
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

fn image(x: &Shape) -> [usize; 4] {
    let s = &x.0.shape;
    [s[0], s[1], s[2], s[3]]
}

/// In 64 bits, as a product can exceed the 32 of wasm, and no more than they hold.
fn volume(shape: &[usize]) -> u64 {
    shape.iter().fold(1, |product: u64, n| product.saturating_mul(*n as u64))
}

/// As f32.
fn bytes(shape: &[usize]) -> u64 {
    volume(shape).saturating_mul(4)
}
