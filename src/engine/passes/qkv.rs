//! Queries, keys and values that are linear maps of one image become one product, with the columns of all three.

use super::epilogue::{Flow, is_sum};
use crate::engine::draft::Draft;
use crate::engine::plan::{Channels, Gemm, Op, PlannedOp, Window};

pub(super) fn qkv(draft: &mut Draft) {
    let flow = Flow::of(draft);
    let uses = draft.matrix_uses();
    for at in 0..draft.ops.len() {
        let Op::Attention(attention) = &draft.ops[at].op else { continue };
        let parts = [attention.q, attention.k, attention.v];
        let mut found: Vec<(usize, String, Gemm)> = Vec::new();
        for part in parts {
            if let Some((at, PlannedOp { name, op: Op::Gemm(g) })) = flow.only(draft, part.value)
                && part.start == 0
                && is_sum(g)
                && g.window == Window::Pointwise
                && uses[g.matrix.0] == 1
                && found.iter().all(|(_, _, other)| other.source == g.source && other.load == g.load)
            {
                found.push((at, name.clone(), g.clone()));
            }
        }
        if found.len() == parts.len() {
            merge(draft, at, &found);
        }
    }
    draft.sweep();
}

/// Puts the columns of the products side by side, and has the attention read its parts of the one result.
fn merge(draft: &mut Draft, attention: usize, products: &[(usize, String, Gemm)]) {
    let (first, module) = (&products[0].2, &products[0].1);
    let (mut width, mut starts) = (0, [0; 3]);
    for ((_, _, g), start) in products.iter().zip(&mut starts) {
        *start = width;
        width += draft.values[g.output.0].shape[2];
        if *start > 0 {
            draft.parameters.paste((first.matrix, first.bias), (g.matrix, g.bias), 0, *start);
        }
    }
    let value = &draft.values[first.output.0];
    let ([height, pixels, _], when) = (value.shape, value.when);
    let output = draft.value([height, pixels, width], when);
    let name = format!("{}.to_qkv", module.strip_suffix(".to_q").unwrap_or(module));
    let last = products.iter().map(|p| p.0).max().unwrap_or(attention);
    draft.ops[last] = PlannedOp { name, op: Op::Gemm(Gemm { output, ..first.clone() }) };
    if let Op::Attention(a) = &mut draft.ops[attention].op {
        for (part, start) in [&mut a.q, &mut a.k, &mut a.v].into_iter().zip(starts) {
            *part = Channels { value: output, start };
        }
    }
}
