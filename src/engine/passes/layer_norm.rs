//! A vector of the prelude by which each channel is scaled or shifted right after a layer normalisation becomes a part of it.

use super::epilogue::{Flow, plain};
use crate::engine::draft::Draft;
use crate::engine::plan::{Combine, LayerNorm, Map, Op, Place, PlannedOp};

pub(super) fn layer_norm(draft: &mut Draft) {
    let flow = Flow::of(draft);
    for at in 0..draft.ops.len() {
        let Op::Map(Map { source: Some(source), load, operand, output }) = &draft.ops[at].op else {
            continue;
        };
        let Some((combine, Place::Rows(slice))) = *operand else { continue };
        let Some(x) = plain(source).filter(|_| load.is_plain()) else { continue };
        let Some((_, PlannedOp { name, op: Op::LayerNorm(norm) })) = flow.only(draft, x) else { continue };
        let norm = LayerNorm { output: *output, ..norm.clone() };
        let norm = match combine {
            Combine::ScalePerChannel if norm.factor.is_none() && norm.shift.is_none() => {
                LayerNorm { factor: Some(slice), ..norm }
            }
            Combine::AddPerChannel if norm.shift.is_none() => LayerNorm { shift: Some(slice), ..norm },
            _ => continue,
        };
        draft.ops[at] = PlannedOp { name: name.clone(), op: Op::LayerNorm(norm) };
    }
    draft.sweep();
}
