//! A network's forward pass, written down instead of computed: what [`describe`](super::describe) counts, and the first of the
//! engine's three stages.
//!
//! [`Tracer`] is an interpreter of [`Ops`] whose tensors are positions in a list. Running a forward pass over it
//! leaves a [`Graph`]: every call in its order, with the shapes and the names of the parameters, and nothing decided yet.

#[cfg(feature = "text")]
mod transformer;
#[cfg(feature = "text")]
mod transformer_call;

use super::architecture::Network;
pub use super::architecture::{Input, NodeId, Rate, Shape};
use super::ops::{Activation, Attend, Conv, Convolution, Ops};

impl Shape {
    fn with_channels(self, channels: usize) -> Self {
        Self { channels, ..self }
    }

    fn with_size(self, size: impl Fn(usize) -> usize) -> Self {
        Self { height: size(self.height), width: size(self.width), ..self }
    }
}

#[cfg(feature = "text")]
pub use transformer_call::TransformerCall;

/// A recorded call; each stands for the method of [`Ops`] of its name, or for those of
/// [`TransformerOps`](crate::network::ops::TransformerOps) besides that differ in nothing else than what it tells apart.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "the variants and fields are those of the trait's methods")]
pub enum Call {
    Input(Input),
    Conv {
        name: String,
        conv: Convolution,
    },
    Pointwise {
        name: String,
        bias: bool,
    },
    Linear {
        name: String,
    },
    Embedding {
        name: String,
        rows: usize,
    },
    GroupNorm {
        name: String,
        groups: usize,
        eps: f64,
    },
    Activation(Activation),
    Add,
    Affine {
        scale: f64,
        shift: f64,
    },
    AddPerChannel,
    ScaleShift,
    ScaleSamples,
    Attention(Attend),
    Concat,
    UpsampleNearest,
    DownsampleMean,
    UpsampleFir,
    DownsampleFir,
    RadialBasis {
        name: String,
    },
    #[cfg(feature = "text")]
    ScalePerChannel,
    #[cfg(feature = "text")]
    Transformer(TransformerCall),
}

/// A call, what it was called on, and what it returns.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// The call.
    pub call: Call,
    /// Its tensors, in the order of the method's arguments.
    pub arguments: Vec<NodeId>,
    /// One sample's part of its result.
    pub shape: Shape,
    /// How often its result changes.
    pub rate: Rate,
}

/// A forward pass as it was called: arguments stand before the calls that use them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Graph {
    /// Every input and call in order.
    pub nodes: Vec<Node>,
    /// What the forward pass returned, the most important first.
    pub outputs: Vec<NodeId>,
}

impl Graph {
    /// Records a network's forward pass on images of `height` × `width`.
    #[must_use]
    pub fn of(network: &dyn Network, height: usize, width: usize) -> Self {
        let mut tracer = Tracer::default();
        let inputs = network.inputs(height, width).into_iter();
        let inputs: Vec<NodeId> = inputs.map(|i| tracer.input(i.name, i.rate, i.shape)).collect();
        let output = network.record(&mut tracer, &inputs);
        tracer.finish(vec![output])
    }

    /// Channels of the widest image, q, k and v counted together.
    pub(crate) fn most_channels(&self) -> usize {
        let of = |node: &Node| match (&node.call, node.shape.channels) {
            (Call::Attention(_), channels) => 3 * channels,
            (_, channels) => channels,
        };
        self.nodes.iter().filter(|node| node.rate == Rate::Evaluation).map(of).max().unwrap_or(0)
    }
}

/// The interpreter that records a forward pass.
#[derive(Debug, Default)]
pub struct Tracer {
    graph: Graph,
}

impl Tracer {
    /// Records an input of the network.
    pub fn input(&mut self, name: &'static str, rate: Rate, shape: Shape) -> NodeId {
        self.node(Node { call: Call::Input(Input { name, rate, shape }), arguments: Vec::new(), shape, rate })
    }

    /// What was recorded of a forward pass that returned `outputs`.
    #[must_use]
    pub fn finish(self, outputs: Vec<NodeId>) -> Graph {
        Graph { outputs, ..self.graph }
    }

    fn push(&mut self, call: Call, arguments: &[NodeId], shape: Shape) -> NodeId {
        let rates = arguments.iter().map(|id| self.graph.nodes[id.0].rate);
        let rate = rates.max().unwrap_or(Rate::Model);
        self.node(Node { call, arguments: arguments.to_vec(), shape, rate })
    }

    fn node(&mut self, node: Node) -> NodeId {
        self.graph.nodes.push(node);
        NodeId(self.graph.nodes.len() - 1)
    }

    /// One sample's part of a recorded tensor.
    #[must_use]
    pub fn shape(&self, id: NodeId) -> Shape {
        self.graph.nodes[id.0].shape
    }

    fn convolve(&mut self, x: &NodeId, name: &str, conv: Convolution) -> NodeId {
        let shape = self.shape(*x).with_channels(conv.out_channels).with_size(|n| convolved(n, conv));
        self.push(Call::Conv { name: name.to_owned(), conv }, &[*x], shape)
    }

    /// Records a call whose result has the shape of its first argument.
    fn like(&mut self, call: Call, arguments: &[NodeId]) -> NodeId {
        self.push(call, arguments, self.shape(arguments[0]))
    }
}

/// Rows of the result of a convolution over `n` rows, and the same for columns.
fn convolved(n: usize, conv: Convolution) -> usize {
    (n + conv.padding.added()).saturating_sub(conv.kernel) / conv.stride + 1
}

impl Ops for Tracer {
    type Tensor = NodeId;

    fn conv2d(&mut self, x: &NodeId, name: &str, conv: Conv) -> NodeId {
        let Conv { out_channels, stride, padding } = conv;
        self.convolve(x, name, Convolution { out_channels, kernel: 3, stride, padding, bias: true })
    }

    fn pointwise(&mut self, x: &NodeId, name: &str, out_channels: usize) -> NodeId {
        let shape = self.shape(*x).with_channels(out_channels);
        self.push(Call::Pointwise { name: name.to_owned(), bias: true }, &[*x], shape)
    }

    fn linear(&mut self, v: &NodeId, name: &str, out: usize) -> NodeId {
        let shape = self.shape(*v).with_channels(out);
        self.push(Call::Linear { name: name.to_owned() }, &[*v], shape)
    }

    fn embedding(&mut self, indices: &NodeId, name: &str, rows: usize, width: usize) -> NodeId {
        let shape = self.shape(*indices).with_channels(width);
        self.push(Call::Embedding { name: name.to_owned(), rows }, &[*indices], shape)
    }

    fn group_norm(&mut self, x: &NodeId, name: &str, groups: usize, eps: f64) -> NodeId {
        self.like(Call::GroupNorm { name: name.to_owned(), groups, eps }, &[*x])
    }

    fn activation(&mut self, x: &NodeId, activation: Activation) -> NodeId {
        self.like(Call::Activation(activation), &[*x])
    }

    fn add(&mut self, a: &NodeId, b: &NodeId) -> NodeId {
        debug_assert_eq!(self.shape(*a), self.shape(*b));
        self.like(Call::Add, &[*a, *b])
    }

    fn affine(&mut self, x: &NodeId, scale: f64, shift: f64) -> NodeId {
        self.like(Call::Affine { scale, shift }, &[*x])
    }

    fn add_per_channel(&mut self, x: &NodeId, v: &NodeId) -> NodeId {
        debug_assert_eq!(self.shape(*x).channels, self.shape(*v).channels);
        self.like(Call::AddPerChannel, &[*x, *v])
    }

    fn scale_shift(&mut self, x: &NodeId, v: &NodeId) -> NodeId {
        debug_assert_eq!(2 * self.shape(*x).channels, self.shape(*v).channels);
        self.like(Call::ScaleShift, &[*x, *v])
    }

    fn scale_samples(&mut self, x: &NodeId, v: &NodeId) -> NodeId {
        self.like(Call::ScaleSamples, &[*x, *v])
    }

    fn attention(&mut self, q: &NodeId, k: &NodeId, v: &NodeId, heads: usize) -> NodeId {
        self.like(Call::Attention(Attend { heads, causal: false }), &[*q, *k, *v])
    }

    fn concat(&mut self, a: &NodeId, b: &NodeId) -> NodeId {
        let (first, second) = (self.shape(*a), self.shape(*b));
        debug_assert_eq!(first, second.with_channels(first.channels));
        self.push(Call::Concat, &[*a, *b], first.with_channels(first.channels + second.channels))
    }

    fn upsample_nearest(&mut self, x: &NodeId) -> NodeId {
        self.push(Call::UpsampleNearest, &[*x], self.shape(*x).with_size(|n| 2 * n))
    }

    fn downsample_mean(&mut self, x: &NodeId) -> NodeId {
        self.push(Call::DownsampleMean, &[*x], self.shape(*x).with_size(|n| n / 2))
    }

    fn upsample_fir(&mut self, x: &NodeId) -> NodeId {
        self.push(Call::UpsampleFir, &[*x], self.shape(*x).with_size(|n| 2 * n))
    }

    fn downsample_fir(&mut self, x: &NodeId) -> NodeId {
        self.push(Call::DownsampleFir, &[*x], self.shape(*x).with_size(|n| n / 2))
    }

    fn radial_basis(&mut self, v: &NodeId, name: &str, units: usize) -> NodeId {
        let shape = self.shape(*v).with_channels(units);
        self.push(Call::RadialBasis { name: name.to_owned() }, &[*v], shape)
    }
}
