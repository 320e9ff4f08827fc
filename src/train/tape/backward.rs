//! The way back over a tape: from the gradient of each call's result to those of its arguments and parameters.

use super::{
    Made, Matrices, Node, NodeId, Norm, PIECE, Padded, Spare, Tape, Way, filtered, image_of, is_by_tiles,
    product, sample_of, spread, squares, transposed, window,
};
use crate::engine::kernels::gradient::{
    Head, MatrixGradient, activation_gradient, add, add_matrix_gradient, head, head_gradient,
    normalise_gradient, pixel_sums,
};
use crate::engine::kernels::product::{Epilogue, PixelRuns, Product, multiply};
use crate::engine::kernels::{Padding, Window, winograd};
use crate::engine::threads;
use crate::network::ops::Conv;
use crate::train::parameters::Layout;

/// What is known of the gradients while the tape is walked back.
struct Gradients<'a> {
    samples: usize,
    matrices: &'a Matrices<'a>,
    spare: &'a Spare,
    nodes: &'a [Node],
    layout: &'a Layout,
    /// Of each node's result, until it is used.
    of: Vec<Option<Vec<f32>>>,
    /// Of the parameters, matrices as `[taps · inputs][outputs]`.
    parameters: &'a mut [f32],
}

/// Rows of a matrix whose gradient is a task, where it has no taps.
const ROWS: usize = 48;

/// Floats of the images that are padded at a time for a matrix's gradient: half of a usual second-level cache.
const PADDED: usize = 1 << 17;

impl Tape<'_> {
    /// Adds the parameters' gradients to `parameters`; `seed` is that of the last node.
    pub(super) fn backward(self, layout: &Layout, seed: Vec<f32>, parameters: &mut [f32]) {
        let mut of: Vec<Option<Vec<f32>>> = self.nodes.iter().map(|_| None).collect();
        if let Some(last) = of.last_mut() {
            *last = Some(seed);
        }
        let mut gradients = Gradients {
            samples: self.samples,
            matrices: self.matrices,
            spare: self.spare,
            nodes: &self.nodes,
            layout,
            of,
            parameters,
        };
        for id in (0..self.nodes.len()).rev() {
            if let Some(gradient) = gradients.of[id].take() {
                gradients.step(&self.nodes[id], gradient);
            }
        }
        for Node { values, made, .. } in self.nodes {
            self.spare.give(values);
            if let Made::Norm { moments, .. } = made {
                self.spare.give(moments);
            }
        }
    }
}

impl Gradients<'_> {
    fn has_gradient(&self, id: NodeId) -> bool {
        !matches!(self.nodes[id].made, Made::Input)
    }

    /// Adds to the gradient of a node's result. Inputs have none: nobody asks for it.
    fn give(&mut self, id: NodeId, gradient: Vec<f32>) {
        let has_gradient = self.has_gradient(id);
        match &mut self.of[id] {
            Some(sum) if has_gradient => threads::chunks(sum, PIECE, &|piece, sum| {
                add(sum, &gradient[piece * PIECE..][..sum.len()]);
            }),
            none if has_gradient => {
                *none = Some(gradient);
                return;
            }
            _ => {}
        }
        self.spare.give(gradient);
    }

    fn parameter(&mut self, name: &str, part: &str) -> &mut [f32] {
        &mut self.parameters[self.layout.range(&format!("{name}.{part}"))]
    }

    fn step(&mut self, node: &Node, mut gradient: Vec<f32>) {
        let nodes = self.nodes;
        let len = node.sample_len();
        match &node.made {
            Made::Input => {}
            Made::Product { x, name, conv } => {
                let sums = self.sums(&gradient, len, node.channels);
                let bias = self.parameter(name, "bias");
                sums.chunks_exact(node.channels).for_each(|sum| add(bias, sum));
                self.spare.give(sums);
                match conv {
                    Some(conv) => self.convolution(*x, name, *conv, node, &gradient),
                    None => self.product(*x, name, node, &gradient),
                }
                self.spare.give(gradient);
            }
            Made::Row { indices, name } => {
                let table = self.parameter(name, "weight");
                for (index, row) in nodes[*indices].values.iter().zip(gradient.chunks_exact(node.channels)) {
                    add(&mut table[*index as usize * row.len()..][..row.len()], row);
                }
            }
            Made::Norm { norm, moments } => {
                self.norm(norm, moments, &mut gradient);
                self.give(norm.x, gradient);
            }
            Made::Activation { x, activation } => {
                threads::chunks(&mut gradient, PIECE, &|piece, gradient| {
                    let x = &nodes[*x].values[piece * PIECE..][..gradient.len()];
                    activation_gradient(*activation, x, gradient);
                });
                self.give(*x, gradient);
            }
            Made::Add { a, b } => {
                let mut copy = self.spare.take(gradient.len());
                threads::chunks(&mut copy, PIECE, &|piece, copy| {
                    copy.copy_from_slice(&gradient[piece * PIECE..][..copy.len()]);
                });
                self.give(*a, copy);
                self.give(*b, gradient);
            }
            Made::Affine { x, scale } => {
                gradient.iter_mut().for_each(|g| *g *= scale);
                self.give(*x, gradient);
            }
            Made::AddPerChannel { x, v } => {
                let sums = self.sums(&gradient, len, node.channels);
                self.give(*v, sums);
                self.give(*x, gradient);
            }
            Made::ScaleShift { x, v } => self.scale_shift(*x, *v, node, gradient),
            Made::ScaleSamples { x, v } => {
                let samples = gradient.chunks_exact_mut(len).zip(&nodes[*v].values);
                samples.for_each(|(g, v)| g.iter_mut().for_each(|g| *g *= v));
                self.give(*x, gradient);
            }
            Made::Attention { qkv, heads } => self.attention(*qkv, *heads, node, &gradient),
            Made::Concat { a, b } => {
                let mut first = 0;
                for id in [*a, *b] {
                    let channels = nodes[id].channels;
                    let mut to = self.spare.take(nodes[id].values.len());
                    threads::chunks(&mut to, nodes[id].sample_len(), &|sample, to| {
                        let from = gradient[sample * len..][..len].chunks_exact(node.channels);
                        for (to, from) in to.chunks_exact_mut(channels).zip(from) {
                            to.copy_from_slice(&from[first..first + channels]);
                        }
                    });
                    first += channels;
                    self.give(id, to);
                }
                self.spare.give(gradient);
            }
            Made::Upsample { x } => {
                let summed = squares(self.spare, &gradient, node, 1.0);
                self.spare.give(gradient);
                self.give(*x, summed);
            }
            Made::Pool { x } => {
                let spread = spread(self.spare, &gradient, node, 0.25);
                self.spare.give(gradient);
                self.give(*x, spread);
            }
            // Up and down are each other's transpose but for a factor.
            Made::Fir { x, up } => {
                let shape = [node.size.0, node.size.1, node.channels];
                let filtered = filtered(&gradient, shape, !up, if *up { 4.0 } else { 0.25 });
                self.give(*x, filtered);
            }
        }
    }

    /// A linear map of all pixels of all samples.
    fn product(&mut self, x: NodeId, name: &str, node: &Node, gradient: &[f32]) {
        let input = &self.nodes[x];
        let (inputs, columns) = (input.channels, node.channels);
        let pixels = self.samples * node.pixels();
        let to = self.parameter(name, "weight");
        threads::chunks(to, ROWS * columns, &|piece, to| {
            let matrix = MatrixGradient {
                image: &input.values[piece * ROWS..],
                row: 0,
                pixel: inputs,
                step: 0,
                sample: 0,
                run: to.len() / columns,
                runs: 1,
                gradient,
                size: (1, pixels),
                columns,
            };
            add_matrix_gradient(&matrix, to);
        });
        if self.has_gradient(x) {
            let image = image_of(gradient, (pixels, 1), columns);
            let to_x =
                product(self.matrices, self.spare, image, Window::Pointwise, (name, Way::Backward), &[]);
            self.give(x, to_x);
        }
    }

    fn convolution(&mut self, x: NodeId, name: &str, conv: Conv, node: &Node, gradient: &[f32]) {
        let input = &self.nodes[x];
        let (inputs, outputs) = (input.channels, node.channels);
        let window = window(conv);
        // What is false in a page leaves the kernel out of it.
        if cfg!(not(target_arch = "wasm32")) && is_by_tiles(window, self.samples, input.size, inputs, outputs)
        {
            let len = winograd::gradient_scratch_len(input.size, inputs, outputs, self.samples);
            let mut scratch = self.spare.take(len);
            let of_matrix = winograd::Gradient { image: input.image(), gradient, outputs };
            let to = self.parameter(name, "weight");
            winograd::add_gradient(&of_matrix, &mut scratch, to, &threads::each);
            self.spare.give(scratch);
        } else {
            self.matrix(input, conv, node, gradient, name);
        }
        if !self.has_gradient(x) {
            return;
        }
        let same = Window::Square { kernel: 3, stride: 1, padding: Padding::All(1) };
        let to_x = if window == same {
            let image = image_of(gradient, node.size, outputs);
            product(self.matrices, self.spare, image, window, (name, Way::Backward), &[])
        } else {
            self.strided(input, conv, node, gradient, name)
        };
        self.give(x, to_x);
    }

    /// The matrix's gradient, tap by tap.
    fn matrix(&mut self, input: &Node, conv: Conv, node: &Node, gradient: &[f32], name: &str) {
        let padded = Padded::of(conv, input.size, input.channels);
        let (line, columns) = (padded.line(), node.channels);
        let len = padded.len();
        let together = (PADDED / len).clamp(1, self.samples);
        let mut scratch = self.spare.take(together * len);
        let images = input.values.chunks(together * input.sample_len());
        for (images, gradient) in images.zip(gradient.chunks(together * node.sample_len())) {
            let samples = images.len() / input.sample_len();
            threads::chunks(&mut scratch[..samples * len], len, &|sample, to| {
                padded.fill(&images[sample * input.sample_len()..][..input.sample_len()], to);
            });
            let to = &mut self.parameters[self.layout.range(&format!("{name}.weight"))];
            threads::chunks(to, input.channels * columns, &|tap, to| {
                let matrix = MatrixGradient {
                    image: &scratch[tap / 3 * line + tap % 3 * input.channels..],
                    row: 0,
                    pixel: padded.stride * input.channels,
                    step: padded.stride * line,
                    sample: len,
                    run: input.channels,
                    runs: 1,
                    gradient,
                    size: node.size,
                    columns,
                };
                add_matrix_gradient(&matrix, to);
            });
        }
        self.spare.give(scratch);
    }

    /// The gradient of a convolution's input where windows do not stand at every pixel: a convolution of the result's gradient with
    /// zeros in between.
    fn strided(&self, input: &Node, conv: Conv, node: &Node, gradient: &[f32], name: &str) -> Vec<f32> {
        let padded = Padded::of_gradient(conv, input.size, node.size, node.channels);
        let panels = self.matrices.panels(name, 9, Way::Backward);
        let mut to_x = self.spare.take(input.values.len());
        threads::chunks(&mut to_x, input.sample_len(), &|sample, to_x| {
            let mut scratch = vec![0.0; padded.len()];
            padded.fill(&gradient[sample * node.sample_len()..][..node.sample_len()], &mut scratch);
            let run = |row: usize| PixelRuns {
                data: &scratch,
                start: row * padded.line(),
                top: 0,
                row: padded.line(),
                pixel: node.channels,
                shift: 0,
                len: 3 * node.channels,
            };
            let inputs = [run(0), run(1), run(2)];
            let epilogue = Epilogue { bias: &[], time: &[], residual: None, scale: 1.0 };
            let (height, width) = input.size;
            let product = Product { inputs: &inputs, panels, width, epilogue };
            multiply(&product, 0..height * width, to_x, input.channels);
        });
        to_x
    }

    fn norm(&mut self, norm: &Norm, moments: &[f32], gradient: &mut [f32]) {
        let (nodes, matrices) = (self.nodes, self.matrices);
        let (len, channels) = (nodes[norm.x].sample_len(), nodes[norm.x].channels);
        // Of each sample: the gradients of the weights, and of the modulation.
        let mut to = self.spare.take(self.samples * 4 * channels);
        let samples = gradient.chunks_exact_mut(len).zip(to.chunks_exact_mut(4 * channels)).enumerate();
        threads::items(samples.collect(), |(sample, (gradient, to))| {
            let moments = &moments[sample * 2 * channels..][..2 * channels];
            let (to_weights, to_modulation) = to.split_at_mut(2 * channels);
            let normalised = sample_of(nodes, matrices, norm, sample);
            let scratch = &mut vec![0.0; 3 * channels];
            normalise_gradient(&normalised, moments, gradient, to_weights, to_modulation, scratch);
        });
        for to in to.chunks_exact(4 * channels) {
            add(self.parameter(&norm.name, "weight"), &to[..channels]);
            add(self.parameter(&norm.name, "bias"), &to[channels..2 * channels]);
        }
        if let Some(v) = norm.modulation {
            let mut to_v = self.spare.take(self.samples * 2 * channels);
            for (to_v, to) in to_v.chunks_exact_mut(2 * channels).zip(to.chunks_exact(4 * channels)) {
                to_v.copy_from_slice(&to[2 * channels..]);
            }
            self.give(v, to_v);
        }
        self.spare.give(to);
    }

    /// `x · (1 + s) + b`.
    fn scale_shift(&mut self, x: NodeId, v: NodeId, node: &Node, mut gradient: Vec<f32>) {
        let channels = node.channels;
        let shift = self.sums(&gradient, node.sample_len(), channels);
        let products: Vec<f32> = gradient.iter().zip(&self.nodes[x].values).map(|(g, x)| g * x).collect();
        let scale = self.sums(&products, node.sample_len(), channels);
        let to_v = scale.chunks_exact(channels).zip(shift.chunks_exact(channels));
        let to_v = to_v.flat_map(|(scale, shift)| scale.iter().chain(shift)).copied().collect();
        let vectors = self.nodes[v].values.chunks_exact(2 * channels);
        for (sample, vector) in gradient.chunks_exact_mut(node.sample_len()).zip(vectors) {
            for pixel in sample.chunks_exact_mut(channels) {
                pixel.iter_mut().zip(vector).for_each(|(g, scale)| *g *= 1.0 + scale);
            }
        }
        self.give(v, to_v);
        self.give(x, gradient);
    }

    /// Each head's weights are worked out again: to keep them takes the square of the pixels.
    fn attention(&mut self, qkv: [NodeId; 3], heads: usize, node: &Node, gradient: &[f32]) {
        let (tokens, channels) = (node.pixels(), node.channels);
        let (all, len) = (tokens * channels, tokens * channels / heads);
        let nodes = self.nodes;
        // Of each sample, those of queries, keys and values.
        let mut sums = self.spare.take(3 * gradient.len());
        threads::chunks(&mut sums, 3 * all, &|sample, sums| {
            sums.fill(0.0);
            let (to_q, rest) = sums.split_at_mut(all);
            let (to_k, to_v) = rest.split_at_mut(all);
            let mut to = [to_q, to_k, to_v];
            let mut weights = vec![0.0; tokens * tokens];
            let (mut out, mut scratch) = (vec![0.0; len], vec![0.0; tokens]);
            let gradient = transposed(&gradient[sample * all..][..all], tokens, channels);
            let [q, k, v] = qkv.map(|id| nodes[id].by_channel(sample));
            for (i, gradient) in gradient.chunks_exact(len).enumerate() {
                let at = i * len..(i + 1) * len;
                let this = Head { q: &q[at.clone()], k: &k[at.clone()], v: &v[at.clone()], tokens };
                head(&this, &mut weights, &mut out);
                let to = to.each_mut().map(|sum| &mut sum[at.clone()]);
                head_gradient(&this, &weights, &out, gradient, to, &mut scratch);
            }
        });
        for (i, id) in qkv.into_iter().enumerate() {
            let mut to = self.spare.take(gradient.len());
            threads::chunks(&mut to, all, &|sample, to| {
                to.copy_from_slice(&transposed(&sums[(3 * sample + i) * all..][..all], channels, tokens));
            });
            self.give(id, to);
        }
        self.spare.give(sums);
    }

    /// The sum over each sample's pixels, `[samples, channels]`.
    fn sums(&self, values: &[f32], sample: usize, channels: usize) -> Vec<f32> {
        let mut sums = self.spare.take(values.len() / sample * channels);
        threads::chunks(&mut sums, channels, &|i, sum| pixel_sums(&values[i * sample..][..sample], sum));
        sums
    }
}
