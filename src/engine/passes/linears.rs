//! All linear maps of one vector of the prelude that operations outside it read become one product: above all those of the time
//! embedding, one in each residual block.

use super::epilogue::is_sum;
use crate::engine::draft::Draft;
use crate::engine::parameters::{MatrixPart, VectorPart};
use crate::engine::plan::{Gemm, Op, RowId, Slot, Window};

pub(super) fn linears(draft: &mut Draft) {
    let groups = groups(draft);
    // For each value that becomes a part of another: which, and from where.
    let mut part_of = vec![None; draft.values.len()];
    for group in groups.iter().filter(|group| group.len() > 1) {
        merge(draft, group, &mut part_of);
    }
    for step in &mut draft.ops {
        step.op.slots(&mut |slot| {
            if let Slot::Rows(slice) = slot
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
        step.op.refers(&mut |slot| {
            if let Slot::Rows(slice) = slot {
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
    let (mut matrix, mut bias, mut width) = (Vec::new(), Vec::new(), 0_usize);
    let mut outputs = Vec::new();
    for at in group {
        let Op::Gemm(g) = &draft.ops[*at].op else { continue };
        let start = width.next_multiple_of(4);
        let parameters = &draft.parameters;
        let parts = parameters.matrices[g.matrix.0].parts.iter().cloned();
        matrix.extend(parts.map(|p| MatrixPart { column: start + p.column, ..p }));
        let parts = parameters.vectors[g.bias.0].parts.iter().cloned();
        bias.extend(parts.map(|p| VectorPart { at: start + p.at, ..p }));
        width = start + parameters.matrices[g.matrix.0].columns;
        outputs.push((g.output, start));
    }
    let output = draft.value([1, 1, width], false);
    for (part, start) in outputs {
        part_of[part.0] = Some((RowId(output.0), start));
    }
    if let Op::Gemm(first) = &mut draft.ops[group[0]].op {
        first.output = output;
        draft.parameters.matrices[first.matrix.0].parts = matrix;
        draft.parameters.vectors[first.bias.0].parts = bias;
    }
}
