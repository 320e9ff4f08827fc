//! The way back over a tape: from the gradient of each call's result to those of its arguments and parameters.

use super::{
    Made, Matrices, Node, NodeId, Padded, Tape, add_to, filtered, plain, rows_of, spread, squares, transposed,
};
use crate::engine::kernels::gradient::{
    GroupNorm, Head, MatrixGradient, activation_gradient, add_matrix_gradient, group_norm_gradient, head,
    head_gradient,
};
use crate::engine::kernels::product::{Panels, Product, multiply};
use crate::network::ops::Conv;
use crate::train::parameters::Layout;

/// What is known of the gradients while the tape is walked back.
struct Gradients<'a> {
    samples: usize,
    matrices: &'a Matrices<'a>,
    nodes: &'a [Node],
    layout: &'a Layout,
    /// Of each node's result, until it is used.
    of: Vec<Option<Vec<f32>>>,
    /// Of the parameters, matrices as `[taps · inputs][outputs]`.
    parameters: &'a mut [f32],
}

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
    }
}

impl Gradients<'_> {
    /// Adds to the gradient of a node's result. Inputs have none: nobody asks for it.
    fn give(&mut self, id: NodeId, gradient: Vec<f32>) {
        if matches!(self.nodes[id].made, Made::Input) {
            return;
        }
        match &mut self.of[id] {
            Some(sum) => add_to(sum, &gradient),
            none => *none = Some(gradient),
        }
    }

    fn parameter(&mut self, name: &str, part: &str) -> &mut [f32] {
        &mut self.parameters[self.layout.range(&format!("{name}.{part}"))]
    }

    fn step(&mut self, node: &Node, mut gradient: Vec<f32>) {
        let nodes = self.nodes;
        match &node.made {
            Made::Input => {}
            Made::Product { x, name, conv } => {
                let bias = self.parameter(name, "bias");
                for pixel in gradient.chunks_exact(node.channels) {
                    add_to(bias, pixel);
                }
                match conv {
                    Some(conv) => self.convolution(*x, name, *conv, node, &gradient),
                    None => self.product(*x, name, node, &gradient),
                }
            }
            Made::Row { indices, name } => {
                let table = self.parameter(name, "weight");
                for (index, row) in nodes[*indices].values.iter().zip(gradient.chunks_exact(node.channels)) {
                    add_to(&mut table[*index as usize * row.len()..][..row.len()], row);
                }
            }
            Made::Norm { x, name, groups, eps, moments } => {
                self.norm(*x, name, (*groups, *eps), moments, &mut gradient);
                self.give(*x, gradient);
            }
            Made::Activation { x, activation } => {
                activation_gradient(*activation, &nodes[*x].values, &mut gradient);
                self.give(*x, gradient);
            }
            Made::Add { a, b } => {
                self.give(*a, gradient.clone());
                self.give(*b, gradient);
            }
            Made::Affine { x, scale } => {
                gradient.iter_mut().for_each(|g| *g *= scale);
                self.give(*x, gradient);
            }
            Made::AddPerChannel { x, v } => {
                self.give(*v, sums(&gradient, node.sample_len(), node.channels));
                self.give(*x, gradient);
            }
            Made::ScaleShift { x, v } => self.scale_shift(*x, *v, node, gradient),
            Made::ScaleSamples { x, v } => {
                let samples = gradient.chunks_exact_mut(node.sample_len()).zip(&nodes[*v].values);
                samples.for_each(|(g, v)| g.iter_mut().for_each(|g| *g *= v));
                self.give(*x, gradient);
            }
            Made::Attention { qkv, heads } => self.attention(*qkv, *heads, node, &gradient),
            Made::Concat { a, b } => {
                let first = nodes[*a].channels;
                let pixels = || gradient.chunks_exact(node.channels);
                let (to_a, to_b) = (
                    pixels().flat_map(|p| &p[..first]).copied().collect(),
                    pixels().flat_map(|p| &p[first..]).copied().collect(),
                );
                self.give(*a, to_a);
                self.give(*b, to_b);
            }
            Made::Upsample { x } => {
                let summed = squares(&gradient, node, 1.0);
                self.give(*x, summed);
            }
            Made::Pool { x } => {
                let spread = spread(&gradient, node, 0.25);
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
        let matrix = MatrixGradient {
            image: &input.values,
            row: 0,
            pixel: inputs,
            step: pixels * inputs,
            run: inputs,
            runs: 1,
            gradient,
            size: (1, pixels),
            columns,
        };
        add_matrix_gradient(&matrix, self.parameter(name, "weight"));
        if matches!(input.made, Made::Input) {
            return;
        }
        let product = Product {
            inputs: &[rows_of(gradient, columns)],
            panels: Panels::new(&self.matrices.get(name, 1).backward, columns, inputs),
            width: pixels,
            epilogue: plain(),
        };
        let mut to_x = vec![0.0; pixels * inputs];
        multiply(&product, 0..pixels, &mut to_x, inputs);
        self.give(x, to_x);
    }

    fn convolution(&mut self, x: NodeId, name: &str, conv: Conv, node: &Node, gradient: &[f32]) {
        let input = &self.nodes[x];
        let padded = Padded::of(conv, input.size, input.channels);
        let mut scratch = padded.zeros();
        let samples =
            || input.values.chunks_exact(input.sample_len()).zip(gradient.chunks_exact(node.sample_len()));
        for (image, gradient) in samples() {
            padded.fill(image, &mut scratch);
            let matrix = MatrixGradient {
                image: &scratch,
                row: padded.line(),
                pixel: padded.stride * input.channels,
                step: padded.stride * padded.line(),
                run: 3 * input.channels,
                runs: 3,
                gradient,
                size: node.size,
                columns: node.channels,
            };
            add_matrix_gradient(&matrix, self.parameter(name, "weight"));
        }
        if matches!(input.made, Made::Input) {
            return;
        }
        let padded = Padded::of_gradient(conv, input.size, node.size, node.channels);
        let panels = Panels::new(&self.matrices.get(name, 9).backward, 9 * node.channels, input.channels);
        let mut scratch = padded.zeros();
        let mut to_x = vec![0.0; input.values.len()];
        for ((_, gradient), to_x) in samples().zip(to_x.chunks_exact_mut(input.sample_len())) {
            padded.fill(gradient, &mut scratch);
            padded.convolve(&scratch, panels, plain(), to_x);
        }
        self.give(x, to_x);
    }

    fn norm(
        &mut self,
        x: NodeId,
        name: &str,
        (groups, eps): (usize, f32),
        moments: &[f32],
        gradient: &mut [f32],
    ) {
        let (input, matrices) = (&self.nodes[x], self.matrices);
        let (weight, bias) = (matrices.vector(name, "weight"), matrices.vector(name, "bias"));
        let channels = input.channels;
        let mut scratch = vec![0.0; 2 * channels];
        let (mut to_weight, mut to_bias) = (vec![0.0; channels], vec![0.0; channels]);
        let samples = input.values.chunks_exact(input.sample_len());
        let samples = samples.zip(gradient.chunks_exact_mut(input.sample_len()));
        for ((x, gradient), moments) in samples.zip(moments.chunks_exact(2 * channels)) {
            let norm = GroupNorm { x, weight, bias, groups, eps };
            group_norm_gradient(&norm, moments, gradient, &mut to_weight, &mut to_bias, &mut scratch);
        }
        add_to(self.parameter(name, "weight"), &to_weight);
        add_to(self.parameter(name, "bias"), &to_bias);
    }

    /// `x · (1 + s) + b`.
    fn scale_shift(&mut self, x: NodeId, v: NodeId, node: &Node, mut gradient: Vec<f32>) {
        let channels = node.channels;
        let shift = sums(&gradient, node.sample_len(), channels);
        let products: Vec<f32> = gradient.iter().zip(&self.nodes[x].values).map(|(g, x)| g * x).collect();
        let scale = sums(&products, node.sample_len(), channels);
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
        let len = tokens * channels / heads;
        let mut weights = vec![0.0; tokens * tokens];
        let (mut out, mut scratch) = (vec![0.0; len], vec![0.0; tokens]);
        let mut to = [(); 3].map(|()| Vec::with_capacity(gradient.len()));
        for (sample, gradient) in gradient.chunks_exact(tokens * channels).enumerate() {
            let gradient = transposed(gradient, tokens, channels);
            let [q, k, v] = qkv.map(|id| self.nodes[id].by_channel(sample));
            let mut sums = [(); 3].map(|()| vec![0.0; tokens * channels]);
            for (at, gradient) in
                gradient.chunks_exact(len).enumerate().map(|(i, g)| (i * len..(i + 1) * len, g))
            {
                let this = Head { q: &q[at.clone()], k: &k[at.clone()], v: &v[at.clone()], tokens };
                head(&this, &mut weights, &mut out);
                let to = sums.each_mut().map(|sum| &mut sum[at.clone()]);
                head_gradient(&this, &weights, &out, gradient, to, &mut scratch);
            }
            for (to, sum) in to.iter_mut().zip(&sums) {
                to.extend(transposed(sum, channels, tokens));
            }
        }
        for (id, to) in qkv.into_iter().zip(to) {
            self.give(id, to);
        }
    }
}

/// The sum over each sample's pixels, `[samples, channels]`.
fn sums(values: &[f32], sample: usize, channels: usize) -> Vec<f32> {
    let sum = |sample: &[f32]| {
        let mut sum = vec![0.0; channels];
        sample.chunks_exact(channels).for_each(|pixel| add_to(&mut sum, pixel));
        sum
    };
    values.chunks_exact(sample).flat_map(sum).collect()
}
