//! `x + h`: the product that computes h adds x.

use super::epilogue::{Flow, plain};
use crate::engine::draft::Draft;
use crate::engine::plan::{Combine, Gemm, Map, Op, Place, PlannedOp, Source, ValueId};

pub(super) fn residual(draft: &mut Draft) {
    let flow = Flow::of(draft);
    for at in 0..draft.ops.len() {
        let Some((x, h, output)) = addition(&draft.ops[at].op) else { continue };
        let folded = [(x, h), (h, x)].into_iter().find_map(|(x, h)| {
            let (name, product) = flow.sum(draft, h).filter(|_| x != h)?;
            let residual = Some(Source::of(x));
            let op = Op::Gemm(Gemm { residual, output, ..product.clone() });
            Some(PlannedOp { name: name.to_owned(), op })
        });
        if let Some(folded) = folded {
            draft.ops[at] = folded;
        }
    }
    draft.sweep();
}

/// What is added to what, and where the sum goes.
pub(super) fn addition(op: &Op) -> Option<(ValueId, ValueId, ValueId)> {
    match op {
        Op::Map(Map {
            source: Some(source),
            load,
            operand: Some((Combine::Add, Place::Value(h))),
            output,
        }) if load.is_plain() => Some((plain(source)?, *h, *output)),
        _ => None,
    }
}
