//! All linear maps of one vector of the prelude that operations outside it read become one product: above all those of the time
//! embedding, one in each residual block.

use super::epilogue::is_sum;
use crate::engine::draft::{Draft, When};
use crate::engine::plan::{Gemm, Op, Reference, RowId, ValueId, Window};

pub(super) fn linears(draft: &mut Draft) {
    let groups = groups(draft);
    // For each value that becomes a part of another: which, and from where.
    let mut part_of = vec![None; draft.values.len()];
    for group in groups.iter().filter(|group| group.len() > 1) {
        merge(draft, group, &mut part_of);
    }
    for step in &mut draft.ops {
        step.op.references_mut(&mut |reference| {
            if let Reference::Rows(slice) = reference
                && let Some((row, start)) = part_of[slice.row.0]
            {
                (slice.row, slice.start) = (row, slice.start + start);
            }
        });
    }
    draft.sweep();
}

/// The positions of linear maps that read the same vector in the same way.
fn groups(draft: &Draft) -> Vec<Vec<usize>> {
    let (uses, matrix_uses) = (draft.uses(), draft.matrix_uses());
    let mut read_as_rows = vec![0; draft.values.len()];
    for step in &draft.ops {
        step.op.references(&mut |reference| {
            if let Reference::Rows(slice) = reference {
                read_as_rows[slice.row.0] += 1;
            }
        });
    }
    let mut groups: Vec<(&Gemm, Vec<usize>)> = Vec::new();
    for (at, step) in draft.ops.iter().enumerate() {
        let Op::Gemm(g) = &step.op else { continue };
        let ([height, width, _], used) = (draft.values[g.output.0].shape, uses[g.output.0]);
        let suits = g.window == Window::Pointwise && is_sum(g) && height * width == 1;
        if !suits || used == 0 || read_as_rows[g.output.0] != used || matrix_uses[g.matrix.0] != 1 {
            continue;
        }
        match groups.iter_mut().find(|(first, _)| first.source == g.source && first.load == g.load) {
            Some((_, group)) => group.push(at),
            None => groups.push((g, vec![at])),
        }
    }
    groups.into_iter().map(|(_, group)| group).collect()
}

/// Puts the columns of the products side by side, each from a multiple of four, and the result in the first one's place.
fn merge(draft: &mut Draft, group: &[usize], part_of: &mut [Option<(RowId, usize)>]) {
    let row = RowId(draft.values.len());
    let (mut width, mut first) = (0_usize, None);
    for at in group {
        let Op::Gemm(g) = &mut draft.ops[*at].op else { continue };
        let (start, ids) = (width.next_multiple_of(4), (g.matrix, g.bias));
        part_of[g.output.0] = Some((row, start));
        width = start + draft.values[g.output.0].shape[2];
        match first {
            Some(first) => draft.parameters.paste(first, ids, 0, start),
            None => (first, g.output) = (Some(ids), ValueId(row.0)),
        }
    }
    draft.value([1, 1, width], When::Prelude);
}
