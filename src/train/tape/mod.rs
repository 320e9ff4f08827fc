//! Gradients of a U-Net on the processor, by the engine's kernels: a third interpreter of [`Ops`] beside burn's, which takes
//! some three times as long there for a convolution and its gradient.
//!
//! [`Tape`] computes a forward pass and keeps what each call made; [`Tape::backward`] walks back over it. Images are NHWC. A
//! batch is cut into parts of a fixed size, small enough for a core's cache, and the parts are shared among threads in a
//! fixed way: the numbers are the same for any number of threads.

mod backward;
mod matrices;
#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests;

use std::ops::Range;

use super::parameters::Layout;
use crate::engine::kernels::activation::activate;
use crate::engine::kernels::fir::fir;
use crate::engine::kernels::gradient::{GroupNorm, Head, group_norm, head};
use crate::engine::kernels::product::{Epilogue, Panels, PixelRuns, Product, multiply};
use crate::error::Result;
use crate::network::ops::{Activation, Conv, Ops, Padding};
use crate::network::unet::UNet2DConfig;
use crate::network::{Architecture as _, Network as _};
pub(super) use matrices::Matrices;

/// Samples of a part have about so many pixels together: their activations then stay in a core's second-level cache, and a
/// matrix's gradient is summed over enough pixels to be worth its write.
const PART_PIXELS: usize = 1024;

/// Parts of a batch whose gradients are summed one after the other, apart from other such rows of parts: as many threads can
/// have work.
const ROWS_OF_PARTS: usize = if cfg!(target_arch = "wasm32") { 1 } else { 8 };

/// A position in the tape.
pub(super) type NodeId = usize;

/// What made a node, with what its gradient needs.
enum Made {
    Input,
    Product { x: NodeId, name: String, conv: Option<Conv> },
    Row { indices: NodeId, name: String },
    Norm { x: NodeId, name: String, groups: usize, eps: f32, moments: Vec<f32> },
    Activation { x: NodeId, activation: Activation },
    Add { a: NodeId, b: NodeId },
    Affine { x: NodeId, scale: f32 },
    AddPerChannel { x: NodeId, v: NodeId },
    ScaleShift { x: NodeId, v: NodeId },
    ScaleSamples { x: NodeId, v: NodeId },
    Attention { qkv: [NodeId; 3], heads: usize },
    Concat { a: NodeId, b: NodeId },
    Upsample { x: NodeId },
    Pool { x: NodeId },
    Fir { x: NodeId, up: bool },
}

/// A call's result, `[samples, height, width, channels]`; a vector has one pixel.
struct Node {
    values: Vec<f32>,
    size: (usize, usize),
    channels: usize,
    made: Made,
}

impl Node {
    fn pixels(&self) -> usize {
        self.size.0 * self.size.1
    }

    /// Numbers of one sample.
    fn sample_len(&self) -> usize {
        self.pixels() * self.channels
    }

    /// A sample, `[channels, pixels]`.
    fn by_channel(&self, sample: usize) -> Vec<f32> {
        let len = self.sample_len();
        transposed(&self.values[sample * len..][..len], self.pixels(), self.channels)
    }
}

/// A forward pass on some samples, kept for its gradient.
pub(super) struct Tape<'a> {
    samples: usize,
    matrices: &'a Matrices<'a>,
    nodes: Vec<Node>,
}

/// A batch's forward pass in parts.
pub(super) struct Pass<'a> {
    parts: Vec<Tape<'a>>,
    shape: [usize; 4],
}

impl<'a> Pass<'a> {
    /// The network on `x`, `[batch, in_channels, height, width]`: its prediction `[batch, out_channels, height, width]`, and the
    /// pass for [`Self::backward`]. `features` are the network's.
    ///
    /// # Errors
    /// Those of [`Network::check_size`](crate::network::Network::check_size).
    pub(super) fn forward(
        config: &UNet2DConfig,
        matrices: &'a Matrices<'a>,
        (x, shape): (&[f32], [usize; 4]),
        features: &[Vec<f32>],
    ) -> Result<(Vec<f32>, Self)> {
        let [batch, channels, height, width] = shape;
        config.check_size(height, width)?;
        let each = (PART_PIXELS / (height * width)).clamp(1, batch.max(1));
        let ranges: Vec<Range<usize>> =
            (0..batch).step_by(each).map(|first| first..batch.min(first + each)).collect();
        let image = channels * height * width;
        let parts = map(&ranges, |samples| {
            let mut tape = Tape { samples: samples.len(), matrices, nodes: Vec::new() };
            let x = &x[samples.start * image..samples.end * image];
            let x = tape.input(to_nhwc(x, channels, height * width), (height, width), channels);
            let vector = |tape: &mut Tape, values: &Vec<f32>| {
                let len = values.len() / batch;
                tape.input(values[samples.start * len..samples.end * len].to_vec(), (1, 1), len)
            };
            let mut inputs = vec![x];
            inputs.extend(features.iter().map(|values| vector(&mut tape, values)));
            // The result is the last node, whatever the network.
            let output = config.forward(&mut tape, &inputs);
            debug_assert_eq!(output + 1, tape.nodes.len());
            tape
        });
        let mut prediction = Vec::with_capacity(batch * config.out_channels * height * width);
        for tape in &parts {
            let last = &tape.nodes[tape.nodes.len() - 1];
            prediction.extend(to_nchw(&last.values, config.out_channels, height * width));
        }
        Ok((prediction, Self { parts, shape: [batch, config.out_channels, height, width] }))
    }

    /// The gradient of every parameter, as `layout` has them, from that of the prediction.
    pub(super) fn backward(self, layout: &Layout, gradient: &[f32]) -> Vec<f32> {
        let [_, channels, height, width] = self.shape;
        let image = channels * height * width;
        let mut first = 0;
        let mut rows: Vec<Vec<(Tape, Vec<f32>)>> = Vec::new();
        let in_row = self.parts.len().div_ceil(ROWS_OF_PARTS).max(1);
        for (i, tape) in self.parts.into_iter().enumerate() {
            let len = tape.samples * image;
            let seed = to_nhwc(&gradient[first..first + len], channels, height * width);
            first += len;
            if i % in_row == 0 {
                rows.push(Vec::new());
            }
            if let Some(row) = rows.last_mut() {
                row.push((tape, seed));
            }
        }
        let sums = map_owned(rows, |row| {
            let mut sum = vec![0.0; layout.len()];
            for (tape, seed) in row {
                tape.backward(layout, seed, &mut sum);
            }
            sum
        });
        let mut sums = sums.into_iter();
        let mut total = sums.next().unwrap_or_else(|| vec![0.0; layout.len()]);
        for sum in sums {
            add_to(&mut total, &sum);
        }
        matrices::to_checkpoint(layout, &total)
    }
}

impl Tape<'_> {
    fn input(&mut self, values: Vec<f32>, size: (usize, usize), channels: usize) -> NodeId {
        self.push(values, size, channels, Made::Input)
    }

    fn push(&mut self, values: Vec<f32>, size: (usize, usize), channels: usize, made: Made) -> NodeId {
        self.nodes.push(Node { values, size, channels, made });
        self.nodes.len() - 1
    }

    /// A node with the size and channels of `x`.
    fn like(&mut self, x: NodeId, values: Vec<f32>, made: Made) -> NodeId {
        let Node { size, channels, .. } = self.nodes[x];
        self.push(values, size, channels, made)
    }

    fn filtered(&mut self, x: NodeId, up: bool) -> NodeId {
        let Node { size: (height, width), channels, .. } = self.nodes[x];
        let values = filtered(&self.nodes[x].values, [height, width, channels], up, 1.0);
        let size = if up { (2 * height, 2 * width) } else { (height / 2, width / 2) };
        self.push(values, size, channels, Made::Fir { x, up })
    }

    fn zeros_like(&self, x: NodeId) -> Vec<f32> {
        vec![0.0; self.nodes[x].values.len()]
    }

    fn pointwise_product(&mut self, x: NodeId, name: &str, columns: usize) -> NodeId {
        let node = &self.nodes[x];
        let pixels = self.samples * node.pixels();
        let matrix = self.matrices.get(name, 1);
        let product = Product {
            inputs: &[rows_of(&node.values, node.channels)],
            panels: Panels::new(&matrix.forward, node.channels, columns),
            width: pixels,
            epilogue: Epilogue { bias: self.matrices.vector(name, "bias"), ..plain() },
        };
        let mut values = vec![0.0; pixels * columns];
        multiply(&product, 0..pixels, &mut values, columns);
        let size = node.size;
        self.push(values, size, columns, Made::Product { x, name: name.to_owned(), conv: None })
    }
}

impl Ops for Tape<'_> {
    type Tensor = NodeId;

    fn conv2d(&mut self, x: &NodeId, name: &str, conv: Conv) -> NodeId {
        let node = &self.nodes[*x];
        let columns = conv.out_channels;
        let padded = Padded::of(conv, node.size, node.channels);
        let (height, width) = padded.output;
        let matrix = self.matrices.get(name, 9);
        let panels = Panels::new(&matrix.forward, 9 * node.channels, columns);
        let epilogue = Epilogue { bias: self.matrices.vector(name, "bias"), ..plain() };
        let mut scratch = padded.zeros();
        let mut values = vec![0.0; self.samples * height * width * columns];
        let samples = node.values.chunks_exact(node.sample_len());
        for (image, out) in samples.zip(values.chunks_exact_mut(height * width * columns)) {
            padded.fill(image, &mut scratch);
            padded.convolve(&scratch, panels, epilogue, out);
        }
        let made = Made::Product { x: *x, name: name.to_owned(), conv: Some(conv) };
        self.push(values, (height, width), columns, made)
    }

    fn pointwise(&mut self, x: &NodeId, name: &str, out_channels: usize) -> NodeId {
        self.pointwise_product(*x, name, out_channels)
    }

    fn linear(&mut self, v: &NodeId, name: &str, out: usize) -> NodeId {
        self.pointwise_product(*v, name, out)
    }

    fn embedding(&mut self, indices: &NodeId, name: &str, _rows: usize, width: usize) -> NodeId {
        let table = self.matrices.vector(name, "weight");
        let values = self.nodes[*indices].values.iter();
        let values = values.flat_map(|row| &table[*row as usize * width..][..width]).copied().collect();
        self.push(values, (1, 1), width, Made::Row { indices: *indices, name: name.to_owned() })
    }

    fn group_norm(&mut self, x: &NodeId, name: &str, groups: usize, eps: f64) -> NodeId {
        let node = &self.nodes[*x];
        let mut values = self.zeros_like(*x);
        let mut moments = vec![0.0; self.samples * 2 * node.channels];
        let samples =
            node.values.chunks_exact(node.sample_len()).zip(values.chunks_exact_mut(node.sample_len()));
        for ((x, out), moments) in samples.zip(moments.chunks_exact_mut(2 * node.channels)) {
            let (weight, bias) = (self.matrices.vector(name, "weight"), self.matrices.vector(name, "bias"));
            group_norm(&GroupNorm { x, weight, bias, groups, eps: eps as f32 }, moments, out);
        }
        let made = Made::Norm { x: *x, name: name.to_owned(), groups, eps: eps as f32, moments };
        self.like(*x, values, made)
    }

    fn activation(&mut self, x: &NodeId, activation: Activation) -> NodeId {
        let mut values = self.nodes[*x].values.clone();
        activate(activation, &mut values);
        self.like(*x, values, Made::Activation { x: *x, activation })
    }

    fn add(&mut self, a: &NodeId, b: &NodeId) -> NodeId {
        let sums = self.nodes[*a].values.iter().zip(&self.nodes[*b].values);
        let values = sums.map(|(a, b)| a + b).collect();
        self.like(*a, values, Made::Add { a: *a, b: *b })
    }

    fn affine(&mut self, x: &NodeId, scale: f64, shift: f64) -> NodeId {
        let (scale, shift) = (scale as f32, shift as f32);
        let values = self.nodes[*x].values.iter().map(|x| x * scale + shift).collect();
        self.like(*x, values, Made::Affine { x: *x, scale })
    }

    fn add_per_channel(&mut self, x: &NodeId, v: &NodeId) -> NodeId {
        let values = self.per_channel(*x, *v, 1, |x, v, _| x + v);
        self.like(*x, values, Made::AddPerChannel { x: *x, v: *v })
    }

    fn scale_shift(&mut self, x: &NodeId, v: &NodeId) -> NodeId {
        let values = self.per_channel(*x, *v, 2, |x, scale, shift| x * (1.0 + scale) + shift);
        self.like(*x, values, Made::ScaleShift { x: *x, v: *v })
    }

    fn scale_samples(&mut self, x: &NodeId, v: &NodeId) -> NodeId {
        let node = &self.nodes[*x];
        let samples = node.values.chunks_exact(node.sample_len()).zip(&self.nodes[*v].values);
        let values = samples.flat_map(|(x, v)| x.iter().map(move |x| x * v)).collect();
        self.like(*x, values, Made::ScaleSamples { x: *x, v: *v })
    }

    fn attention(&mut self, q: &NodeId, k: &NodeId, v: &NodeId, heads: usize) -> NodeId {
        let node = &self.nodes[*q];
        let (tokens, channels) = (node.pixels(), node.channels);
        let mut weights = vec![0.0; tokens * tokens];
        let mut values = Vec::with_capacity(node.values.len());
        let mut result = vec![0.0; tokens * channels];
        for sample in 0..self.samples {
            let [q, k, v] = [*q, *k, *v].map(|id| self.nodes[id].by_channel(sample));
            let head_len = tokens * channels / heads;
            let parts = q.chunks_exact(head_len).zip(k.chunks_exact(head_len)).zip(v.chunks_exact(head_len));
            for (((q, k), v), out) in parts.zip(result.chunks_exact_mut(head_len)) {
                head(&Head { q, k, v, tokens }, &mut weights, out);
            }
            values.extend(transposed(&result, channels, tokens));
        }
        self.like(*q, values, Made::Attention { qkv: [*q, *k, *v], heads })
    }

    fn concat(&mut self, a: &NodeId, b: &NodeId) -> NodeId {
        let (first, second) = (&self.nodes[*a], &self.nodes[*b]);
        let channels = first.channels + second.channels;
        let mut values = Vec::with_capacity(first.values.len() + second.values.len());
        let pixels =
            first.values.chunks_exact(first.channels).zip(second.values.chunks_exact(second.channels));
        for (a, b) in pixels {
            values.extend_from_slice(a);
            values.extend_from_slice(b);
        }
        let size = first.size;
        self.push(values, size, channels, Made::Concat { a: *a, b: *b })
    }

    fn upsample_nearest(&mut self, x: &NodeId) -> NodeId {
        let node = &self.nodes[*x];
        let size = (2 * node.size.0, 2 * node.size.1);
        let (values, channels) = (spread(&node.values, node, 1.0), node.channels);
        self.push(values, size, channels, Made::Upsample { x: *x })
    }

    fn downsample_mean(&mut self, x: &NodeId) -> NodeId {
        let node = &self.nodes[*x];
        let size = (node.size.0 / 2, node.size.1 / 2);
        let (values, channels) = (squares(&node.values, node, 0.25), node.channels);
        self.push(values, size, channels, Made::Pool { x: *x })
    }

    fn upsample_fir(&mut self, x: &NodeId) -> NodeId {
        self.filtered(*x, true)
    }

    fn downsample_fir(&mut self, x: &NodeId) -> NodeId {
        self.filtered(*x, false)
    }

    fn radial_basis(&mut self, _: &NodeId, _: &str, _: usize) -> NodeId {
        unreachable!("a U-Net has none")
    }
}

impl Tape<'_> {
    /// `f(x, v[c], v[channels + c])` for every number of `x`; the last is `v[c]` again where `v` has `parts` of one.
    fn per_channel(&self, x: NodeId, v: NodeId, parts: usize, f: impl Fn(f32, f32, f32) -> f32) -> Vec<f32> {
        let (node, vector) = (&self.nodes[x], &self.nodes[v]);
        let channels = node.channels;
        let mut values = Vec::with_capacity(node.values.len());
        let samples =
            node.values.chunks_exact(node.sample_len()).zip(vector.values.chunks_exact(parts * channels));
        for (x, v) in samples {
            let (first, last) = (&v[..channels], &v[(parts - 1) * channels..]);
            for pixel in x.chunks_exact(channels) {
                values.extend(pixel.iter().zip(first).zip(last).map(|((x, v), w)| f(*x, *v, *w)));
            }
        }
        values
    }
}

/// Samples of a shape, at twice or half the size by the filter, times a factor.
fn filtered(values: &[f32], shape: [usize; 3], up: bool, factor: f32) -> Vec<f32> {
    let len: usize = shape.iter().product();
    let out_len = if up { 4 * len } else { len / 4 };
    let mut out = vec![0.0; values.len() / len * out_len];
    for (image, out) in values.chunks_exact(len).zip(out.chunks_exact_mut(out_len)) {
        fir(image, shape, up, 0, out);
        out.iter_mut().for_each(|v| *v *= factor);
    }
    out
}

/// An epilogue that does nothing.
fn plain<'a>() -> Epilogue<'a> {
    Epilogue { bias: &[], time: &[], residual: None, scale: 1.0 }
}

/// Pixels that lie one after the other, as one row.
fn rows_of(data: &[f32], channels: usize) -> PixelRuns<'_> {
    PixelRuns { data, start: 0, top: 0, row: 0, pixel: channels, shift: 0, len: channels }
}

/// Where an image lies among the zeros that a 3×3 convolution reads around it.
#[derive(Clone, Copy)]
struct Padded {
    channels: usize,
    /// Rows and columns of the image.
    image: (usize, usize),
    /// Rows and columns of the result.
    output: (usize, usize),
    /// Rows and columns with the zeros.
    all: (usize, usize),
    /// Zeros above and left of the image.
    before: usize,
    /// Places from one pixel of the image to the next: 2 where zeros stand between them.
    spread: usize,
    /// Pixels from one window to the next.
    stride: usize,
}

impl Padded {
    /// The input of a convolution.
    fn of(conv: Conv, image: (usize, usize), channels: usize) -> Self {
        let (before, both) = match conv.padding {
            Padding::All(p) => (p, 2 * p),
            Padding::RightBottom => (0, 1),
        };
        let all = (image.0 + both, image.1 + both);
        let output = |n: usize| n.saturating_sub(3) / conv.stride + 1;
        let output = (output(all.0), output(all.1));
        Self { channels, image, output, all, before, spread: 1, stride: conv.stride }
    }

    /// The gradient of its result, of `channels`, as what a convolution makes the gradient of its input from.
    fn of_gradient(conv: Conv, input: (usize, usize), gradient: (usize, usize), channels: usize) -> Self {
        let before = match conv.padding {
            Padding::All(p) => 2 - p.min(2),
            Padding::RightBottom => 2,
        };
        let all = (input.0 + 2, input.1 + 2);
        Self { channels, image: gradient, output: input, all, before, spread: conv.stride, stride: 1 }
    }

    fn line(&self) -> usize {
        self.all.1 * self.channels
    }

    fn zeros(&self) -> Vec<f32> {
        vec![0.0; self.all.0 * self.line()]
    }

    /// Copies an image to its place; the zeros are there already.
    fn fill(&self, image: &[f32], to: &mut [f32]) {
        let (channels, spread) = (self.channels, self.spread);
        for (y, row) in image.chunks_exact(self.image.1 * channels).enumerate() {
            let start = (self.before + y * spread) * self.line() + self.before * channels;
            if spread == 1 {
                to[start..start + row.len()].copy_from_slice(row);
                continue;
            }
            for (x, pixel) in row.chunks_exact(channels).enumerate() {
                to[start + x * spread * channels..][..channels].copy_from_slice(pixel);
            }
        }
    }

    /// The convolution of what [`Self::fill`] made.
    fn convolve(&self, image: &[f32], panels: Panels, epilogue: Epilogue, out: &mut [f32]) {
        let (height, width) = self.output;
        let run = |window: usize| PixelRuns {
            data: image,
            start: window * self.line(),
            top: 0,
            row: self.stride * self.line(),
            pixel: self.stride * self.channels,
            shift: 0,
            len: 3 * self.channels,
        };
        let inputs = [run(0), run(1), run(2)];
        let columns = panels.columns;
        multiply(&Product { inputs: &inputs, panels, width, epilogue }, 0..height * width, out, columns);
    }
}

/// The sum of each 2×2 square of `values`, which are of `node`'s size, times `scale`.
fn squares(values: &[f32], node: &Node, scale: f32) -> Vec<f32> {
    let channels = node.channels;
    let line = node.size.1 * channels;
    let mut out = Vec::with_capacity(values.len() / 4);
    for rows in values.chunks_exact(2 * line) {
        let (upper, lower) = rows.split_at(line);
        for at in (0..line).step_by(2 * channels) {
            for c in at..at + channels {
                out.push(scale * (upper[c] + upper[c + channels] + lower[c] + lower[c + channels]));
            }
        }
    }
    out
}

/// Each pixel of `values`, which are of `node`'s size, as a 2×2 square, times `scale`.
fn spread(values: &[f32], node: &Node, scale: f32) -> Vec<f32> {
    let channels = node.channels;
    let mut out = Vec::with_capacity(4 * values.len());
    for row in values.chunks_exact(node.size.1 * channels) {
        for _ in 0..2 {
            for pixel in row.chunks_exact(channels) {
                for _ in 0..2 {
                    out.extend(pixel.iter().map(|g| g * scale));
                }
            }
        }
    }
    out
}

/// `[rows, columns]` to `[columns, rows]`.
fn transposed(values: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    let mut out = vec![0.0; values.len()];
    for (r, row) in values.chunks_exact(columns).enumerate() {
        for (c, value) in row.iter().enumerate() {
            out[c * rows + r] = *value;
        }
    }
    out
}

fn to_nhwc(x: &[f32], channels: usize, pixels: usize) -> Vec<f32> {
    x.chunks_exact(channels * pixels).flat_map(|image| transposed(image, channels, pixels)).collect()
}

fn to_nchw(x: &[f32], channels: usize, pixels: usize) -> Vec<f32> {
    x.chunks_exact(channels * pixels).flat_map(|image| transposed(image, pixels, channels)).collect()
}

fn add_to(sum: &mut [f32], values: &[f32]) {
    for (sum, value) in sum.iter_mut().zip(values) {
        *sum += value;
    }
}

/// `f` of each, on as many threads as there are.
#[cfg(not(target_arch = "wasm32"))]
fn map<T: Sync, R: Send>(items: &[T], f: impl Fn(&T) -> R + Sync + Send) -> Vec<R> {
    use rayon::prelude::*;
    items.par_iter().map(f).collect()
}

#[cfg(not(target_arch = "wasm32"))]
fn map_owned<T: Send, R: Send>(items: Vec<T>, f: impl Fn(T) -> R + Sync + Send) -> Vec<R> {
    use rayon::prelude::*;
    items.into_par_iter().map(f).collect()
}

/// `f` of each.
#[cfg(target_arch = "wasm32")]
fn map<T, R>(items: &[T], f: impl Fn(&T) -> R) -> Vec<R> {
    items.iter().map(f).collect()
}

#[cfg(target_arch = "wasm32")]
fn map_owned<T, R>(items: Vec<T>, f: impl Fn(T) -> R) -> Vec<R> {
    items.into_iter().map(f).collect()
}
