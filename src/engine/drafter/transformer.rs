//! The calls that text encoders, transformers and autoencoders have besides, as operations.

use super::{DraftValue, Drafter, When};
use crate::engine::parameters::VectorPart;
use crate::engine::plan::{AttentionMap, Gate, Gather, LayerNorm, Nearest, Op, Rearrange, Table, ValueId};
use crate::network::trace::{Call, NodeId, TransformerCall};

impl Drafter<'_> {
    pub(super) fn transformer(
        &mut self,
        id: NodeId,
        call: &TransformerCall,
        arguments: &[ValueId],
        output: ValueId,
    ) {
        let DraftValue { shape: [height, width, channels], when } = self.draft.values[output.0];
        if let TransformerCall::AttentionMap { heads } = call {
            self.attention_map(self.attention_name(id), [arguments[0], arguments[1]], *heads, output);
            return;
        }
        let read: Vec<ValueId> = arguments.iter().map(|a| self.copied(*a, when)).collect();
        match call {
            TransformerCall::Positions { name, rows } => {
                self.gather(name, None, [*rows, channels], output);
            }
            TransformerCall::LayerNorm { name, eps } => {
                self.layer_norm(name.as_deref(), read[0], *eps, output);
            }
            // Done above.
            TransformerCall::AttentionMap { .. } => {}
            TransformerCall::GatedGelu => self.emit("gated_gelu", Op::Gate(Gate { source: read[0], output })),
            TransformerCall::TokenAt => {
                let gather = Gather { indices: Some(read[1]), table: Table::Pixels(read[0]), output };
                self.emit("token_at", Op::Gather(gather));
            }
            TransformerCall::Slice { start } => self.rearrange("slice", read[0], (*start, 1), output),
            TransformerCall::Unpatchify { patch } => {
                self.rearrange("unpatchify", read[0], (0, *patch), output);
            }
            TransformerCall::UpsampleTo => {
                let [from_height, from_width, _] = self.draft.values[read[0].0].shape;
                if [2 * from_height, 2 * from_width] == [height, width] {
                    self.load(&Call::UpsampleNearest, &read, output);
                } else {
                    self.rearrange("upsample_to", read[0], (0, 1), output);
                }
            }
            TransformerCall::NearestRow { name, rows } => {
                let table = self.table(name, [*rows, channels]);
                self.emit(name, Op::Nearest(Nearest { source: read[0], table, output }));
            }
        }
    }

    /// Keys of prompts are read where they lie.
    fn attention_map(&mut self, name: &str, [q, k]: [ValueId; 2], heads: usize, output: ValueId) {
        let when = self.draft.values[output.0].when;
        let of_prompts = when == When::Evaluation && self.draft.values[k.0].when == When::Prompts;
        let of_sample = of_prompts.then(|| self.prompt_of());
        let k = if of_prompts { k } else { self.copied(k, when) };
        let q = self.copied(q, when);
        self.emit(name, Op::AttentionMap(AttentionMap { q, k, of_sample, heads, output }));
    }

    fn rearrange(&mut self, name: &str, source: ValueId, (start, patch): (usize, usize), output: ValueId) {
        self.emit(name, Op::Rearrange(Rearrange { source, start, patch, output }));
    }

    fn layer_norm(&mut self, name: Option<&str>, source: ValueId, eps: f64, output: ValueId) {
        let len = self.draft.values[source.0].shape[2];
        let affine = name.map(|name| {
            let vector = |part: &str| VectorPart { key: format!("{name}.{part}"), len, at: 0 };
            let [weight, bias] = ["weight", "bias"].map(|part| self.draft.parameters.vector(vector(part)));
            (weight, bias)
        });
        let norm = LayerNorm { source, eps: eps as f32, affine, factor: None, shift: None, output };
        self.emit(name.unwrap_or("layer_norm"), Op::LayerNorm(norm));
    }
}
