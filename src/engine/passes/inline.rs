//! Where an image has few tiles, the operations that read it normalised work out scale and shift themselves: each workgroup reads a
//! few kilobytes more, which costs less than another dispatch.

use crate::engine::draft::Draft;
use crate::engine::plan::{Gemm, Load, MAX_INLINE_TILES, Map, Op, Pool, ReadyNorm, Scaling, TILE_PIXELS};

pub(super) fn inline(draft: &mut Draft) {
    let readers = draft.readers();
    for at in 0..draft.ops.len() {
        let Op::ReadyNorm(ReadyNorm { norm, output }) = draft.ops[at].op.clone() else { continue };
        if norm.pixels.div_ceil(TILE_PIXELS) > MAX_INLINE_TILES {
            continue;
        }
        for reader in &readers[output.0] {
            match &mut draft.ops[*reader].op {
                Op::Gemm(Gemm { load: Load { scaling, .. }, .. })
                | Op::Pool(Pool { load: Load { scaling, .. }, .. })
                | Op::Map(Map { load: Load { scaling, .. }, .. })
                    if *scaling == Some(Scaling::Ready(output)) =>
                {
                    *scaling = Some(Scaling::Inline(norm.clone()));
                }
                _ => {}
            }
        }
    }
    draft.sweep();
}
