//! Scale and shift by a vector of the prelude, right after a normalisation, become part of the normalisation's own.

use super::epilogue::{Flow, plain};
use crate::engine::draft::Draft;
use crate::engine::plan::{Combine, Load, Map, Op, Place, PlannedOp, ReadyNorm, Scaling};

pub(super) fn modulation(draft: &mut Draft) {
    let flow = Flow::of(draft);
    for at in 0..draft.ops.len() {
        let Op::Map(Map { source: Some(source), load, operand, output }) = &draft.ops[at].op else {
            continue;
        };
        let Some((Combine::ScaleShift, Place::Rows(slice))) = *operand else { continue };
        let Some(x) = plain(source).filter(|_| load.is_plain()) else { continue };
        let Some((_, PlannedOp { name, op: Op::Map(normalised) })) = flow.only(draft, x) else { continue };
        let Load { scaling: Some(Scaling::Ready(ready)), activation: None } = normalised.load else {
            continue;
        };
        let Some((before, _)) = flow.only(draft, ready).filter(|_| normalised.operand.is_none()) else {
            continue;
        };
        let step =
            PlannedOp { name: name.clone(), op: Op::Map(Map { output: *output, ..normalised.clone() }) };
        if let Op::ReadyNorm(ReadyNorm { norm, .. }) = &mut draft.ops[before].op
            && norm.modulation.is_none()
        {
            norm.modulation = Some(slice);
            draft.ops[at] = step;
        }
    }
    draft.sweep();
}
