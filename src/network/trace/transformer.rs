//! What [`TransformerOps`] has beside [`Ops`], written down.

use super::{Call, Graph, Input, NodeId, Shape, Tracer, TransformerCall};
use crate::network::ops::{Attend, Convolution, Ops, Pass, TransformerOps};

impl Graph {
    /// Records a forward pass on these inputs.
    #[must_use]
    pub fn of_pass(pass: &impl Pass, inputs: &[Input]) -> Self {
        let mut tracer = Tracer::default();
        let inputs: Vec<NodeId> = inputs.iter().map(|i| tracer.input(i.name, i.rate, i.shape)).collect();
        let outputs = pass.run(&mut tracer, &inputs);
        tracer.finish(outputs)
    }
}

impl Tracer {
    fn transformer(&mut self, call: TransformerCall, arguments: &[NodeId], shape: Shape) -> NodeId {
        self.push(Call::Transformer(call), arguments, shape)
    }
}

impl TransformerOps for Tracer {
    fn conv(&mut self, x: &NodeId, name: &str, conv: Convolution) -> NodeId {
        self.convolve(x, name, conv)
    }

    fn unbiased(&mut self, x: &NodeId, name: &str, out: usize) -> NodeId {
        let shape = self.shape(*x).with_channels(out);
        self.push(Call::Pointwise { name: name.to_owned(), bias: false }, &[*x], shape)
    }

    fn layer_norm(&mut self, x: &NodeId, name: Option<&str>, eps: f64) -> NodeId {
        self.transformer(
            TransformerCall::LayerNorm { name: name.map(str::to_owned), eps },
            &[*x],
            self.shape(*x),
        )
    }

    fn gated_gelu(&mut self, x: &NodeId) -> NodeId {
        let shape = self.shape(*x);
        self.transformer(TransformerCall::GatedGelu, &[*x], shape.with_channels(shape.channels / 2))
    }

    fn attend(&mut self, q: &NodeId, k: &NodeId, v: &NodeId, attend: Attend) -> NodeId {
        debug_assert_eq!(self.shape(*k), self.shape(*v));
        self.like(Call::Attention(attend), &[*q, *k, *v])
    }

    fn attention_map(&mut self, q: &NodeId, k: &NodeId, heads: usize) -> NodeId {
        let shape = self.shape(*q).with_channels(self.shape(*k).pixels());
        self.transformer(TransformerCall::AttentionMap { heads }, &[*q, *k], shape)
    }

    fn token_embedding(&mut self, ids: &NodeId, name: &str, rows: usize, width: usize) -> NodeId {
        let shape = Shape { height: self.shape(*ids).channels, width: 1, channels: width };
        self.push(Call::Embedding { name: name.to_owned(), rows }, &[*ids], shape)
    }

    fn add_positions(&mut self, x: &NodeId, name: &str, rows: usize) -> NodeId {
        debug_assert!(self.shape(*x).height <= rows);
        let positions =
            self.transformer(TransformerCall::Positions { name: name.to_owned(), rows }, &[], self.shape(*x));
        self.add(x, &positions)
    }

    fn token_at(&mut self, x: &NodeId, index: &NodeId) -> NodeId {
        let shape = self.shape(*index).with_channels(self.shape(*x).channels);
        self.transformer(TransformerCall::TokenAt, &[*x, *index], shape)
    }

    fn scale_per_channel(&mut self, x: &NodeId, v: &NodeId) -> NodeId {
        debug_assert_eq!(self.shape(*x).channels, self.shape(*v).channels);
        self.like(Call::ScalePerChannel, &[*x, *v])
    }

    fn slice(&mut self, v: &NodeId, start: usize, width: usize) -> NodeId {
        debug_assert!(start + width <= self.shape(*v).channels);
        self.transformer(TransformerCall::Slice { start }, &[*v], self.shape(*v).with_channels(width))
    }

    fn upsample_to(&mut self, x: &NodeId, like: &NodeId) -> NodeId {
        let shape = self.shape(*like).with_channels(self.shape(*x).channels);
        if shape == self.shape(*x) {
            return *x;
        }
        self.transformer(TransformerCall::UpsampleTo, &[*x], shape)
    }

    fn nearest_row(&mut self, x: &NodeId, name: &str, rows: usize) -> NodeId {
        self.transformer(TransformerCall::NearestRow { name: name.to_owned(), rows }, &[*x], self.shape(*x))
    }

    fn unpatchify(&mut self, x: &NodeId, patch: usize) -> NodeId {
        let shape = self.shape(*x);
        let shape = shape.with_channels(shape.channels / (patch * patch)).with_size(|n| n * patch);
        self.transformer(TransformerCall::Unpatchify { patch }, &[*x], shape)
    }
}
