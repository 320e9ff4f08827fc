//! The calls that text encoders, transformers and autoencoders have besides, as operations.

use super::Drafter;
use crate::engine::parameters::VectorPart;
use crate::engine::plan::{Gate, Gather, LayerNorm, Nearest, Op, Rearrange, Table, ValueId};
use crate::network::trace::{Call, TransformerCall};

impl Drafter<'_> {
    pub(super) fn transformer(&mut self, call: &TransformerCall, read: &[ValueId], output: ValueId) {
        let [height, width, channels] = self.draft.values[output.0].shape;
        match call {
            TransformerCall::Positions { name, rows } => {
                self.gather(name, None, [*rows, channels], output);
            }
            TransformerCall::LayerNorm { name, eps } => {
                self.layer_norm(name.as_deref(), read[0], *eps, output);
            }
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
                    self.load(&Call::UpsampleNearest, read, output);
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
