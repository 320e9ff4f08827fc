//! What a forward pass needs, by its [`Graph`]: which parameters it looks up, what it costs, and how much memory its activations take
//! at once.

use super::architecture::{Network, NodeId};
#[cfg(feature = "text")]
use super::ops::Pass;
use super::ops::{Convolution, pointwise_shape};
use super::trace::{Call, Graph, Node};
#[cfg(feature = "text")]
use super::trace::{Input, TransformerCall};

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
    /// Shape of the result, `[batch, channels, height, width]`; a vector is one pixel.
    pub output: [usize; 4],
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
    let graph = Graph::of(network, height, width);
    let frequencies = network.frequencies().map(|(key, length)| (key.to_owned(), vec![length]));
    inventory(&graph, batch, frequencies)
}

/// Describes one evaluation of a pass on a batch of these inputs; `output` is the first result's.
#[cfg(feature = "text")]
#[must_use]
pub fn describe_pass(pass: &impl Pass, inputs: &[Input], batch: usize) -> Inventory {
    inventory(&Graph::of_pass(pass, inputs), batch, None)
}

fn inventory(graph: &Graph, batch: usize, first: Option<(String, Vec<usize>)>) -> Inventory {
    let mut description = Description { graph, batch, found: Inventory::default() };
    first.into_iter().for_each(|(key, shape)| description.parameter(key, shape));
    graph.nodes.iter().for_each(|node| description.count(node));
    description.found.peak_activation_bytes = description.peak();
    let output = graph.outputs[0];
    let [batch, pixels @ .., channels] = description.shape(output);
    Inventory { output: [batch, channels, pixels[0], pixels[1]], ..description.found }
}

struct Description<'a> {
    graph: &'a Graph,
    batch: usize,
    found: Inventory,
}

impl Description<'_> {
    /// Batch, height, width and channels.
    fn shape(&self, id: NodeId) -> [usize; 4] {
        self.size(&self.graph.nodes[id.0])
    }

    fn size(&self, node: &Node) -> [usize; 4] {
        // A table's rows, which are no activations.
        #[cfg(feature = "text")]
        if let Call::Transformer(TransformerCall::Positions { .. }) = node.call {
            return [0; 4];
        }
        [self.batch, node.shape.height, node.shape.width, node.shape.channels]
    }

    /// What a call adds.
    fn count(&mut self, node: &Node) {
        let size = self.size(node);
        self.note_size(&size);
        self.found.activation_bytes = self.found.activation_bytes.saturating_add(bytes(&size));
        let out = node.shape.channels;
        let inputs = node.arguments.first().map_or(0, |id| self.graph.nodes[id.0].shape.channels);
        match &node.call {
            Call::Conv { name, conv: Convolution { kernel, bias, .. } } => {
                self.weight(name, vec![out, inputs, *kernel, *kernel], *bias);
                self.add_flops(2, &size, &[inputs, *kernel, *kernel]);
            }
            Call::Pointwise { name, bias } => {
                let shape = if *bias { pointwise_shape(name, out, inputs) } else { vec![out, inputs] };
                self.weight(name, shape, *bias);
                self.add_flops(2, &size, &[inputs]);
            }
            Call::Linear { name } => {
                self.weight(name, vec![out, inputs], true);
                self.add_flops(2, &size, &[inputs]);
            }
            Call::Embedding { name, rows } => self.once(name, vec![*rows, out], false),
            Call::GroupNorm { name, .. } => self.weight(name, vec![out], true),
            Call::Attention(_) => {
                let keys = self.graph.nodes[node.arguments[1].0].shape.pixels();
                self.add_flops(4, &size, &[keys]);
            }
            Call::RadialBasis { name } => {
                self.weight(name, vec![out, inputs], false);
                self.parameter(format!("{name}.width.weight"), vec![out]);
                self.add_flops(4, &size, &[inputs]);
            }
            #[cfg(feature = "text")]
            Call::Transformer(TransformerCall::AttentionMap { .. }) => self.add_flops(2, &size, &[inputs]),
            #[cfg(feature = "text")]
            Call::Transformer(call) => self.count_transformer(call, out, &size),
            _ => {}
        }
    }

    #[cfg(feature = "text")]
    fn count_transformer(&mut self, call: &TransformerCall, out: usize, size: &[usize]) {
        match call {
            TransformerCall::LayerNorm { name: Some(name), .. } => self.once(name, vec![out], true),
            TransformerCall::Positions { name, rows } => self.weight(name, vec![*rows, out], false),
            TransformerCall::NearestRow { name, rows } => {
                self.weight(name, vec![*rows, out], false);
                self.add_flops(3, size, &[*rows]);
            }
            _ => {}
        }
    }

    /// A weight, and a bias for each of its outputs.
    fn weight(&mut self, name: &str, shape: Vec<usize>, bias: bool) {
        let out = shape[0];
        self.parameter(format!("{name}.weight"), shape);
        if bias {
            self.parameter(format!("{name}.bias"), vec![out]);
        }
    }

    /// The same of a module that may be asked twice: a learned table of timesteps that embeds labels too, and CLIP's last
    /// normalisation where the pooled vector is wanted beside earlier results.
    fn once(&mut self, name: &str, shape: Vec<usize>, bias: bool) {
        let known = |(key, _): &(String, _)| key.strip_suffix(".weight") == Some(name);
        if !self.found.parameters.iter().any(known) {
            self.weight(name, shape, bias);
        }
    }

    fn parameter(&mut self, key: String, shape: Vec<usize>) {
        self.note_size(&shape);
        self.found.parameters.push((key, shape));
    }

    fn note_size(&mut self, shape: &[usize]) {
        self.found.largest_tensor_bytes = self.found.largest_tensor_bytes.max(bytes(shape));
    }

    /// So many operations for each number of a result, and each of the terms that it is a sum of.
    fn add_flops(&mut self, operations: u64, result: &[usize], terms: &[usize]) {
        let more = volume(result).saturating_mul(volume(terms)).saturating_mul(operations);
        self.found.flops = self.found.flops.saturating_add(more);
    }

    /// Bytes of the most activations that are alive at one time.
    fn peak(&self) -> u64 {
        let nodes = &self.graph.nodes;
        let mut last: Vec<usize> = (0..nodes.len()).collect();
        for (at, node) in nodes.iter().enumerate() {
            node.arguments.iter().for_each(|id| last[id.0] = at);
        }
        last[self.graph.outputs[0].0] = nodes.len();
        // What is used last by each call.
        let mut ends = vec![0u64; nodes.len() + 1];
        let (mut live, mut peak) = (0u64, 0u64);
        for (at, node) in nodes.iter().enumerate() {
            let numbers = volume(&self.size(node));
            live = live.saturating_add(numbers);
            ends[last[at]] = ends[last[at]].saturating_add(numbers);
            peak = peak.max(live);
            live = live.saturating_sub(ends[at]);
        }
        peak.saturating_mul(4)
    }
}

/// In 64 bits, as a product can exceed the 32 of wasm, and no more than they hold.
fn volume(shape: &[usize]) -> u64 {
    shape.iter().fold(1, |product: u64, n| product.saturating_mul(*n as u64))
}

/// As f32.
fn bytes(shape: &[usize]) -> u64 {
    volume(shape).saturating_mul(4)
}
