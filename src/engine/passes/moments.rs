//! The moments of a product's result are taken by the product.

use crate::engine::draft::Draft;
use crate::engine::plan::{Moments, Op};

pub(super) fn moments(draft: &mut Draft) {
    let producers = draft.producers();
    let mut taken = vec![false; draft.ops.len()];
    for (at, taken) in taken.iter_mut().enumerate() {
        let Op::Moments(Moments { source, output }) = draft.ops[at].op else { continue };
        if let Some(Op::Gemm(product)) = producers[source.0].map(|p| &mut draft.ops[p].op)
            && product.moments.is_none()
        {
            product.moments = Some(output);
            *taken = true;
        }
    }
    draft.remove(&taken);
}
