//! The sum of two products, one of them a linear map of each pixel, is one product: the inputs of both stand one after the
//! other, and so do the rows of their matrices.

use super::epilogue::{Flow, is_sum};
use super::residual::addition;
use crate::engine::draft::Draft;
use crate::engine::plan::{Gemm, Op, PlannedOp, Window};

pub(super) fn shortcut(draft: &mut Draft) {
    let flow = Flow::of(draft);
    let uses = draft.matrix_uses();
    for at in 0..draft.ops.len() {
        let Some((x, h, output)) = addition(&draft.ops[at].op) else { continue };
        let pair = [(x, h), (h, x)].into_iter().find_map(|(x, h)| {
            let (_, linear) = flow.sum(draft, x).filter(|_| x != h)?;
            let (name, product) = flow.sum(draft, h)?;
            let suits = linear.window == Window::Pointwise && linear.load.is_plain() && is_sum(linear);
            let own = [linear, product].iter().all(|g| uses[g.matrix.0] == 1);
            (suits && own).then(|| (name.to_owned(), linear.clone(), product.clone()))
        });
        if let Some((name, linear, product)) = pair {
            let ids = |g: &Gemm| (g.matrix, g.bias);
            let (below, more) =
                [product.matrix, linear.matrix].map(|m| draft.parameters.matrices[m.0].rows).into();
            draft.parameters.paste(ids(&product), ids(&linear), below, 0);
            draft.parameters.matrices[product.matrix.0].rows = below + more;
            let op = Op::Gemm(Gemm { shortcut: Some(linear.source), output, ..product });
            draft.ops[at] = PlannedOp { name, op };
        }
    }
    draft.sweep();
}
