//! Gradients of a U-Net on the processor, by the engine's kernels: a third interpreter of [`Ops`] beside burn's, which takes
//! some six times as long there for a convolution and its gradient.
//!
//! [`Tape`] computes a forward pass and keeps what each call made; [`Tape::backward`] walks back over it. Images are NHWC. A
//! batch is cut into parts of a fixed size, one after the other, and the threads share the work of each call. No sum is over numbers of
//! two tasks, so that all numbers are the same for any number of threads.
//!
//! A normalisation is computed when something reads it. Mostly that is a nonlinearity, perhaps after a modulation by the time: all of
//! it is then one pass over the image, and one on the way back.

mod backward;
mod matrices;
mod spare;
#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests;

use std::ops::Range;

use super::parameters::Layout;
use crate::engine::kernels::activation::activate;
use crate::engine::kernels::fir::fir;
use crate::engine::kernels::gemm::{self, GemmInput, gemm};
use crate::engine::kernels::gradient::{Head, Normalised, add, head, normalise};
use crate::engine::kernels::load::{Loaded, Scale};
use crate::engine::kernels::map::{self, Operand};
use crate::engine::kernels::{Image, Window, winograd};
use crate::engine::threads;
use crate::error::Result;
use crate::network::ops::{Activation, Conv, Ops, Padding};
use crate::network::unet::UNet2DConfig;
use crate::network::{Architecture as _, Network as _};
pub(super) use matrices::Matrices;
use matrices::Way;
pub(super) use spare::Spare;

/// Samples of a part have about so many pixels together. In a page their activations then stay in a usual second-level cache;
/// natively that is larger, and threads share the work.
const PART_PIXELS: usize = if cfg!(target_arch = "wasm32") { 1024 } else { 8192 };

/// Numbers of a task that goes over all of them.
const PIECE: usize = 1 << 14;

/// A position in the tape.
pub(super) type NodeId = usize;

/// A normalisation, what modulates it and the nonlinearity after it.
#[derive(Clone)]
struct Norm {
    x: NodeId,
    name: String,
    groups: usize,
    eps: f32,
    modulation: Option<NodeId>,
    activation: Option<Activation>,
}

/// What made a node, with what its gradient needs.
enum Made {
    Input,
    Product { x: NodeId, name: String, conv: Option<Conv> },
    Row { indices: NodeId, name: String },
    Norm { norm: Norm, moments: Vec<f32> },
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

/// A call's result, `[samples, height, width, channels]`; a vector has one pixel. A normalisation's is empty until it is read.
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

    fn image(&self) -> Image<'_> {
        image_of(&self.values, self.size, self.channels)
    }
}

fn image_of(first: &[f32], (height, width): (usize, usize), channels: usize) -> Image<'_> {
    Image { first, second: &[], channels: (channels, 0), height, width, upsample: false }
}

/// A forward pass on some samples, kept for its gradient.
pub(super) struct Tape<'a> {
    samples: usize,
    matrices: &'a Matrices<'a>,
    spare: &'a Spare,
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
        spare: &'a Spare,
        (x, shape): (&[f32], [usize; 4]),
        features: &[Vec<f32>],
    ) -> Result<(Vec<f32>, Self)> {
        let [batch, channels, height, width] = shape;
        config.check_size(height, width)?;
        let each = (PART_PIXELS / (height * width)).clamp(1, batch.max(1));
        let image = channels * height * width;
        let mut parts = Vec::new();
        let part = |samples: Range<usize>| {
            let mut tape = Tape { samples: samples.len(), matrices, spare, nodes: Vec::new() };
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
            tape.read(output);
            tape
        };
        threads::enter(|| {
            for first in (0..batch).step_by(each) {
                parts.push(part(first..batch.min(first + each)));
            }
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
        let mut sum = vec![0.0; layout.len()];
        threads::enter(|| {
            let mut rest = gradient;
            for tape in self.parts {
                let (seed, after) = rest.split_at(tape.samples * image);
                rest = after;
                tape.backward(layout, to_nhwc(seed, channels, height * width), &mut sum);
            }
        });
        matrices::to_checkpoint(layout, &sum)
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

    /// A node whose values are there.
    fn read(&mut self, id: NodeId) -> &Node {
        if let Node { values, made: Made::Norm { norm, .. }, .. } = &self.nodes[id]
            && values.is_empty()
        {
            let (values, moments) = self.normalised(norm);
            let norm = norm.clone();
            let node = &mut self.nodes[id];
            (node.values, node.made) = (values, Made::Norm { norm, moments });
        }
        &self.nodes[id]
    }

    /// Has the values of these nodes there.
    fn compute(&mut self, ids: &[NodeId]) {
        for id in ids {
            self.read(*id);
        }
    }

    /// The normalisation's result and moments.
    fn normalised(&self, norm: &Norm) -> (Vec<f32>, Vec<f32>) {
        let node = &self.nodes[norm.x];
        let (len, channels) = (node.sample_len(), node.channels);
        let mut values = self.spare.take(node.values.len());
        let mut moments = self.spare.take(self.samples * 2 * channels);
        let samples = values.chunks_exact_mut(len).zip(moments.chunks_exact_mut(2 * channels)).enumerate();
        threads::items(samples.collect(), |(sample, (out, moments))| {
            let sample = sample_of(&self.nodes, self.matrices, norm, sample);
            normalise(&sample, moments, &mut vec![0.0; 3 * channels], out);
        });
        (values, moments)
    }

    /// A normalisation of `x` that nothing has read, so that more can be made of it.
    fn unread(&self, x: NodeId) -> Option<&Norm> {
        match &self.nodes[x] {
            Node { values, made: Made::Norm { norm, .. }, .. } if values.is_empty() => Some(norm),
            _ => None,
        }
    }

    fn filtered(&mut self, x: NodeId, up: bool) -> NodeId {
        let Node { size: (height, width), channels, values, .. } = self.read(x);
        let (size, channels) = ((*height, *width), *channels);
        let values = filtered(values, [size.0, size.1, channels], up, 1.0);
        let size = if up { (2 * size.0, 2 * size.1) } else { (size.0 / 2, size.1 / 2) };
        self.push(values, size, channels, Made::Fir { x, up })
    }

    /// Every number of `x`, with an operand for each sample.
    fn mapped<'t>(
        &'t self,
        x: NodeId,
        scale: Scale,
        activation: Option<Activation>,
        operand: &(dyn Fn(usize) -> Operand<'t> + Sync),
    ) -> Vec<f32> {
        let node = &self.nodes[x];
        let mut values = self.spare.take(node.values.len());
        threads::chunks(&mut values, node.sample_len(), &|sample, out| {
            let loaded = Loaded { image: node.image().sample(sample), scale, activation };
            map::map(Some(&loaded), operand(sample), 0..node.size.0, node.channels, out);
        });
        values
    }

    /// One sample's vector.
    fn vector(&self, v: NodeId, sample: usize) -> &[f32] {
        let node = &self.nodes[v];
        &node.values[sample * node.channels..][..node.channels]
    }

    fn pointwise_product(&mut self, x: NodeId, name: &str, columns: usize) -> NodeId {
        self.read(x);
        let node = &self.nodes[x];
        let (size, rows) = (node.size, self.samples * node.pixels());
        let image = image_of(&node.values, (rows, 1), node.channels);
        let bias = self.matrices.vector(name, "bias");
        let values = product(self.matrices, self.spare, image, Window::Pointwise, (name, Way::Forward), bias);
        self.push(values, size, columns, Made::Product { x, name: name.to_owned(), conv: None })
    }
}

/// A sample of a normalisation.
fn sample_of<'t>(nodes: &'t [Node], matrices: &'t Matrices, norm: &'t Norm, sample: usize) -> Normalised<'t> {
    let Norm { x, name, groups, eps, modulation, activation } = norm;
    let len = nodes[*x].sample_len();
    let modulation =
        modulation.map_or(&[][..], |v| &nodes[v].values[sample * nodes[v].channels..][..nodes[v].channels]);
    Normalised {
        x: &nodes[*x].values[sample * len..][..len],
        weight: matrices.vector(name, "weight"),
        bias: matrices.vector(name, "bias"),
        modulation,
        groups: *groups,
        eps: *eps,
        activation: *activation,
    }
}

/// Where a convolution's window is.
fn window(conv: Conv) -> Window {
    Window::Square { kernel: 3, stride: conv.stride, padding: conv.padding }
}

/// Tiles of all samples together, and channels, from which products of tiles pay: there are 36 of them, and their matrices have to be
/// made anew for each step.
const LEAST_TILES: usize = 32;
const LEAST_CHANNELS: usize = 32;

/// Whether a convolution of some samples, or a gradient of it, is computed by products of tiles.
fn is_by_tiles(window: Window, samples: usize, size: (usize, usize), inputs: usize, outputs: usize) -> bool {
    cfg!(not(target_arch = "wasm32"))
        && winograd::suits(window, inputs, outputs)
        && inputs.min(outputs) >= LEAST_CHANNELS
        && samples * winograd::tiles(size) >= LEAST_TILES
}

/// The product of an image's windows and a matrix, for all samples.
fn product(
    matrices: &Matrices,
    spare: &Spare,
    image: Image,
    window: Window,
    (name, way): (&str, Way),
    bias: &[f32],
) -> Vec<f32> {
    let panels = matrices.panels(name, window.taps(), way);
    let channels = image.all_channels();
    let samples = image.first.len() / (image.height * image.width * channels);
    let size = output_size(window, (image.height, image.width));
    let g = GemmInput {
        source: image,
        scale_shift: Scale::None,
        activation: None,
        window,
        shortcut: None,
        panels,
        bias,
        time: None,
        residual: None,
        scale: 1.0,
        sample_scale: None,
        size,
    };
    let mut values = spare.take(samples * size.0 * size.1 * panels.columns);
    // What is false in a page leaves the kernel out of it.
    if cfg!(not(target_arch = "wasm32")) && is_by_tiles(window, samples, size, channels, panels.columns) {
        let mut scratch = spare.take(winograd::scratch_len(size, channels, panels.columns, samples));
        winograd::convolve(&g, Some(matrices.tiles(name, way)), &mut scratch, &mut values, &threads::each);
        spare.give(scratch);
    } else {
        let mut scratch = spare.take(gemm::scratch_len(window, size, channels, samples));
        gemm(&g, &mut scratch, &mut values, &threads::each);
        spare.give(scratch);
    }
    values
}

/// Rows and columns of a convolution's result.
fn output_size(window: Window, (height, width): (usize, usize)) -> (usize, usize) {
    let more = match window {
        Window::Pointwise => 0,
        Window::Square { padding, .. } => padding.added(),
    };
    let output = |n: usize| (n + more).saturating_sub(window.kernel()) / window.stride() + 1;
    (output(height), output(width))
}

impl Ops for Tape<'_> {
    type Tensor = NodeId;

    fn conv2d(&mut self, x: &NodeId, name: &str, conv: Conv) -> NodeId {
        self.read(*x);
        let node = &self.nodes[*x];
        let bias = self.matrices.vector(name, "bias");
        let window = window(conv);
        let values = product(self.matrices, self.spare, node.image(), window, (name, Way::Forward), bias);
        let size = output_size(window, node.size);
        let made = Made::Product { x: *x, name: name.to_owned(), conv: Some(conv) };
        self.push(values, size, conv.out_channels, made)
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
        self.read(*x);
        let norm = Norm {
            x: *x,
            name: name.to_owned(),
            groups,
            eps: eps as f32,
            modulation: None,
            activation: None,
        };
        self.like(*x, Vec::new(), Made::Norm { norm, moments: Vec::new() })
    }

    fn activation(&mut self, x: &NodeId, activation: Activation) -> NodeId {
        if let Some(norm) = self.unread(*x) {
            let norm = Norm { activation: Some(activation), ..norm.clone() };
            let (values, moments) = self.normalised(&norm);
            return self.like(*x, values, Made::Norm { norm, moments });
        }
        let mut values = self.spare.take(self.nodes[*x].values.len());
        let from = &self.nodes[*x].values;
        threads::chunks(&mut values, PIECE, &|piece, out| {
            out.copy_from_slice(&from[piece * PIECE..][..out.len()]);
            activate(activation, out);
        });
        self.like(*x, values, Made::Activation { x: *x, activation })
    }

    fn add(&mut self, a: &NodeId, b: &NodeId) -> NodeId {
        self.compute(&[*a, *b]);
        let mut values = self.spare.take(self.nodes[*a].values.len());
        let [first, second] = [*a, *b].map(|id| &self.nodes[id].values);
        threads::chunks(&mut values, PIECE, &|piece, out| {
            out.copy_from_slice(&first[piece * PIECE..][..out.len()]);
            add(out, &second[piece * PIECE..][..out.len()]);
        });
        self.like(*a, values, Made::Add { a: *a, b: *b })
    }

    fn affine(&mut self, x: &NodeId, scale: f64, shift: f64) -> NodeId {
        self.read(*x);
        let (scale, shift) = (scale as f32, shift as f32);
        let values = self.mapped(*x, Scale::Constant(scale, shift), None, &|_| Operand::None);
        self.like(*x, values, Made::Affine { x: *x, scale })
    }

    fn add_per_channel(&mut self, x: &NodeId, v: &NodeId) -> NodeId {
        self.compute(&[*x, *v]);
        let values =
            self.mapped(*x, Scale::None, None, &|sample| Operand::PerChannel(self.vector(*v, sample)));
        self.like(*x, values, Made::AddPerChannel { x: *x, v: *v })
    }

    fn scale_shift(&mut self, x: &NodeId, v: &NodeId) -> NodeId {
        self.read(*v);
        if let Some(norm) = self.unread(*x).filter(|norm| norm.modulation.is_none()) {
            let norm = Norm { modulation: Some(*v), ..norm.clone() };
            return self.like(*x, Vec::new(), Made::Norm { norm, moments: Vec::new() });
        }
        self.read(*x);
        let values =
            self.mapped(*x, Scale::None, None, &|sample| Operand::ScaleShift(self.vector(*v, sample)));
        self.like(*x, values, Made::ScaleShift { x: *x, v: *v })
    }

    fn scale_samples(&mut self, x: &NodeId, v: &NodeId) -> NodeId {
        self.read(*x);
        let values =
            self.mapped(*x, Scale::None, None, &|sample| Operand::Scale(self.nodes[*v].values[sample]));
        self.like(*x, values, Made::ScaleSamples { x: *x, v: *v })
    }

    fn attention(&mut self, q: &NodeId, k: &NodeId, v: &NodeId, heads: usize) -> NodeId {
        self.compute(&[*q, *k, *v]);
        let node = &self.nodes[*q];
        let (tokens, channels) = (node.pixels(), node.channels);
        let mut values = self.spare.take(node.values.len());
        threads::chunks(&mut values, tokens * channels, &|sample, out| {
            let mut weights = vec![0.0; tokens * tokens];
            let mut result = vec![0.0; tokens * channels];
            let [q, k, v] = [*q, *k, *v].map(|id| self.nodes[id].by_channel(sample));
            let head_len = tokens * channels / heads;
            let parts = q.chunks_exact(head_len).zip(k.chunks_exact(head_len)).zip(v.chunks_exact(head_len));
            for (((q, k), v), out) in parts.zip(result.chunks_exact_mut(head_len)) {
                head(&Head { q, k, v, tokens }, &mut weights, out);
            }
            out.copy_from_slice(&transposed(&result, channels, tokens));
        });
        self.like(*q, values, Made::Attention { qkv: [*q, *k, *v], heads })
    }

    fn concat(&mut self, a: &NodeId, b: &NodeId) -> NodeId {
        self.compute(&[*a, *b]);
        let (first, second) = (&self.nodes[*a], &self.nodes[*b]);
        let channels = first.channels + second.channels;
        let mut values = self.spare.take(first.values.len() + second.values.len());
        threads::chunks(&mut values, first.pixels() * channels, &|sample, out| {
            let pixels = |node: &Node| sample * node.sample_len()..(sample + 1) * node.sample_len();
            let a = first.values[pixels(first)].chunks_exact(first.channels);
            let b = second.values[pixels(second)].chunks_exact(second.channels);
            for (out, (a, b)) in out.chunks_exact_mut(channels).zip(a.zip(b)) {
                out[..a.len()].copy_from_slice(a);
                out[a.len()..].copy_from_slice(b);
            }
        });
        let size = first.size;
        self.push(values, size, channels, Made::Concat { a: *a, b: *b })
    }

    fn upsample_nearest(&mut self, x: &NodeId) -> NodeId {
        self.read(*x);
        let node = &self.nodes[*x];
        let size = (2 * node.size.0, 2 * node.size.1);
        let (values, channels) = (spread(self.spare, &node.values, node, 1.0), node.channels);
        self.push(values, size, channels, Made::Upsample { x: *x })
    }

    fn downsample_mean(&mut self, x: &NodeId) -> NodeId {
        self.read(*x);
        let node = &self.nodes[*x];
        let size = (node.size.0 / 2, node.size.1 / 2);
        let (values, channels) = (squares(self.spare, &node.values, node, 0.25), node.channels);
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

/// Where an image lies among the zeros that a 3×3 convolution reads around it.
#[derive(Clone, Copy)]
struct Padded {
    channels: usize,
    /// Rows and columns of the image.
    image: (usize, usize),
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
        let (before, both) = (window(conv).before(), conv.padding.added());
        let all = (image.0 + both, image.1 + both);
        Self { channels, image, all, before, spread: 1, stride: conv.stride }
    }

    /// The gradient of its result, of `channels`, as what a convolution makes the gradient of its input from.
    fn of_gradient(conv: Conv, input: (usize, usize), gradient: (usize, usize), channels: usize) -> Self {
        let before = match conv.padding {
            Padding::All(p) => 2 - p.min(2),
            Padding::RightBottom => 2,
        };
        let all = (input.0 + 2, input.1 + 2);
        Self { channels, image: gradient, all, before, spread: conv.stride, stride: 1 }
    }

    fn line(&self) -> usize {
        self.all.1 * self.channels
    }

    fn len(&self) -> usize {
        self.all.0 * self.line()
    }

    /// Copies an image to its place among zeros.
    fn fill(&self, image: &[f32], to: &mut [f32]) {
        let (channels, spread) = (self.channels, self.spread);
        to.fill(0.0);
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
}

/// The sum of each 2×2 square of `values`, which are of `node`'s size, times `scale`.
fn squares(spare: &Spare, values: &[f32], node: &Node, scale: f32) -> Vec<f32> {
    let channels = node.channels;
    let line = node.size.1 * channels;
    let mut out = spare.take(values.len() / 4);
    threads::chunks(&mut out, node.sample_len() / 4, &|sample, out| {
        let values = &values[sample * node.sample_len()..][..node.sample_len()];
        for (rows, out) in values.chunks_exact(2 * line).zip(out.chunks_exact_mut(line / 2)) {
            let (upper, lower) = rows.split_at(line);
            let pixels = upper.chunks_exact(2 * channels).zip(lower.chunks_exact(2 * channels));
            for (out, (upper, lower)) in out.chunks_exact_mut(channels).zip(pixels) {
                for c in 0..channels {
                    out[c] = scale * (upper[c] + upper[c + channels] + lower[c] + lower[c + channels]);
                }
            }
        }
    });
    out
}

/// Each pixel of `values`, which are of `node`'s size, as a 2×2 square, times `scale`.
fn spread(spare: &Spare, values: &[f32], node: &Node, scale: f32) -> Vec<f32> {
    let channels = node.channels;
    let mut out = spare.take(4 * values.len());
    threads::chunks(&mut out, 4 * node.sample_len(), &|sample, out| {
        let image = image_of(&values[sample * node.sample_len()..][..node.sample_len()], node.size, channels);
        let scale = if scale == 1.0 { Scale::None } else { Scale::Constant(scale, 0.0) };
        let loaded = Loaded { image: Image { upsample: true, ..image }, scale, activation: None };
        map::map(Some(&loaded), Operand::None, 0..2 * node.size.0, channels, out);
    });
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
