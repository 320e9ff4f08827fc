//! The first of the engine's three stages: a network's forward pass, written down instead of computed.
//!
//! [`Tracer`] is an interpreter of [`Ops`] whose tensors are positions in a list. Running a forward pass over it
//! leaves a [`Graph`]: every call in its order, with the shapes and the names of the parameters, and nothing decided yet.

use crate::network::ops::{Activation, Conv, Ops, Padding};
use crate::network::unet::{self, Conditioning, UNet2DConfig};

/// A position in [`Graph::nodes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub usize);

/// One sample's part of a recorded tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// An image of this many channels, rows and columns.
    Image {
        /// Channels.
        channels: usize,
        /// Rows of pixels.
        height: usize,
        /// Pixels of a row.
        width: usize,
    },
    /// A per-sample vector. It depends only on timestep and label, so it is computed once per run (the prelude).
    Vector(usize),
}

impl Extent {
    /// Channels of an image, numbers of a vector.
    #[must_use]
    pub fn channels(self) -> usize {
        match self {
            Extent::Image { channels, .. } | Extent::Vector(channels) => channels,
        }
    }

    fn with_channels(self, channels: usize) -> Self {
        match self {
            Extent::Image { height, width, .. } => Extent::Image { channels, height, width },
            Extent::Vector(_) => Extent::Vector(channels),
        }
    }

    fn with_size(self, size: impl Fn(usize) -> usize) -> Self {
        match self {
            Extent::Image { channels, height, width } => {
                Extent::Image { channels, height: size(height), width: size(width) }
            }
            vector @ Extent::Vector(_) => vector,
        }
    }
}

/// What the network is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// The noisy images.
    Image,
    /// Features of the timestep.
    Time,
    /// The class, as a row number or a vector.
    Class,
    /// 1/t.
    InverseTime,
}

/// A recorded call; each stands for the method of [`Ops`] of its name.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "the variants and fields are those of the trait's methods")]
pub enum Call {
    Input(Input),
    Conv2d { name: String, conv: Conv },
    Pointwise { name: String },
    Linear { name: String },
    Embedding { name: String, rows: usize },
    GroupNorm { name: String, groups: usize, eps: f64 },
    Activation(Activation),
    Add,
    Affine { scale: f64, shift: f64 },
    AddPerChannel,
    ScaleShift,
    ScaleSamples,
    Attention { heads: usize },
    Concat,
    UpsampleNearest,
    DownsampleMean,
}

/// A call, what it was called on, and what it returns.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// The call.
    pub call: Call,
    /// Its tensors, in the order of the method's arguments.
    pub arguments: Vec<NodeId>,
    /// One sample's part of its result.
    pub extent: Extent,
}

/// A forward pass as it was called: arguments stand before the calls that use them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Graph {
    /// Every input and call in order.
    pub nodes: Vec<Node>,
    /// What the forward pass returned.
    pub output: Option<NodeId>,
}

impl Graph {
    /// Records the U-Net's forward pass on images of `height` × `width`.
    #[must_use]
    pub fn of_unet(net: &UNet2DConfig, height: usize, width: usize) -> Self {
        let mut tracer = Tracer::default();
        let image = Extent::Image { channels: net.in_channels, height, width };
        let x = tracer.input(Input::Image, image);
        let conditioning = Conditioning {
            time: tracer.input(Input::Time, Extent::Vector(net.time_width())),
            class: net.class_width().map(|w| tracer.input(Input::Class, Extent::Vector(w))),
            inverse_time: net.divides_by_time().then(|| tracer.input(Input::InverseTime, Extent::Vector(1))),
        };
        let output = unet::forward(&mut tracer, net, &x, &conditioning);
        Self { output: Some(output), ..tracer.graph }
    }

    /// Channels of the widest image, q, k and v counted together.
    pub(super) fn most_channels(&self) -> usize {
        let of = |node: &Node| match (&node.call, node.extent) {
            (Call::Attention { .. }, Extent::Image { channels, .. }) => 3 * channels,
            (_, Extent::Image { channels, .. }) => channels,
            (_, Extent::Vector(_)) => 0,
        };
        self.nodes.iter().map(of).max().unwrap_or(0)
    }

    /// How often each node's result is used, the graph's output counting as one use.
    #[must_use]
    pub fn uses(&self) -> Vec<usize> {
        let mut uses = vec![0; self.nodes.len()];
        for id in self.nodes.iter().flat_map(|n| &n.arguments).chain(&self.output) {
            uses[id.0] += 1;
        }
        uses
    }
}

/// The interpreter that records a forward pass.
#[derive(Debug, Default)]
pub struct Tracer {
    graph: Graph,
}

impl Tracer {
    /// Records an input of the network.
    pub fn input(&mut self, input: Input, extent: Extent) -> NodeId {
        self.push(Call::Input(input), &[], extent)
    }

    fn push(&mut self, call: Call, arguments: &[NodeId], extent: Extent) -> NodeId {
        self.graph.nodes.push(Node { call, arguments: arguments.to_vec(), extent });
        NodeId(self.graph.nodes.len() - 1)
    }

    fn extent(&self, id: NodeId) -> Extent {
        self.graph.nodes[id.0].extent
    }

    /// Records a call whose result has the extent of its first argument.
    fn like(&mut self, call: Call, arguments: &[NodeId]) -> NodeId {
        self.push(call, arguments, self.extent(arguments[0]))
    }
}

/// Rows of the result of a 3×3 convolution over `n` rows, and the same for columns.
pub(super) fn convolved(n: usize, conv: Conv) -> usize {
    let padded = match conv.padding {
        Padding::All(p) => n + 2 * p,
        Padding::RightBottom => n + 1,
    };
    padded.saturating_sub(3) / conv.stride + 1
}

impl Ops for Tracer {
    type Tensor = NodeId;

    fn conv2d(&mut self, x: &NodeId, name: &str, conv: Conv) -> NodeId {
        let extent = self.extent(*x).with_channels(conv.out_channels).with_size(|n| convolved(n, conv));
        self.push(Call::Conv2d { name: name.to_owned(), conv }, &[*x], extent)
    }

    fn pointwise(&mut self, x: &NodeId, name: &str, out_channels: usize) -> NodeId {
        let extent = self.extent(*x).with_channels(out_channels);
        self.push(Call::Pointwise { name: name.to_owned() }, &[*x], extent)
    }

    fn linear(&mut self, v: &NodeId, name: &str, out: usize) -> NodeId {
        self.push(Call::Linear { name: name.to_owned() }, &[*v], Extent::Vector(out))
    }

    fn embedding(&mut self, indices: &NodeId, name: &str, rows: usize, width: usize) -> NodeId {
        self.push(Call::Embedding { name: name.to_owned(), rows }, &[*indices], Extent::Vector(width))
    }

    fn group_norm(&mut self, x: &NodeId, name: &str, groups: usize, eps: f64) -> NodeId {
        self.like(Call::GroupNorm { name: name.to_owned(), groups, eps }, &[*x])
    }

    fn activation(&mut self, x: &NodeId, activation: Activation) -> NodeId {
        self.like(Call::Activation(activation), &[*x])
    }

    fn add(&mut self, a: &NodeId, b: &NodeId) -> NodeId {
        self.like(Call::Add, &[*a, *b])
    }

    fn affine(&mut self, x: &NodeId, scale: f64, shift: f64) -> NodeId {
        self.like(Call::Affine { scale, shift }, &[*x])
    }

    fn add_per_channel(&mut self, x: &NodeId, v: &NodeId) -> NodeId {
        self.like(Call::AddPerChannel, &[*x, *v])
    }

    fn scale_shift(&mut self, x: &NodeId, v: &NodeId) -> NodeId {
        self.like(Call::ScaleShift, &[*x, *v])
    }

    fn scale_samples(&mut self, x: &NodeId, v: &NodeId) -> NodeId {
        self.like(Call::ScaleSamples, &[*x, *v])
    }

    fn attention(&mut self, q: &NodeId, k: &NodeId, v: &NodeId, heads: usize) -> NodeId {
        self.like(Call::Attention { heads }, &[*q, *k, *v])
    }

    fn concat(&mut self, a: &NodeId, b: &NodeId) -> NodeId {
        let (first, second) = (self.extent(*a), self.extent(*b));
        self.push(Call::Concat, &[*a, *b], first.with_channels(first.channels() + second.channels()))
    }

    fn upsample_nearest(&mut self, x: &NodeId) -> NodeId {
        self.push(Call::UpsampleNearest, &[*x], self.extent(*x).with_size(|n| 2 * n))
    }

    fn downsample_mean(&mut self, x: &NodeId) -> NodeId {
        self.push(Call::DownsampleMean, &[*x], self.extent(*x).with_size(|n| n / 2))
    }
}
