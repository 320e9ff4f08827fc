//! A part of a vector of the prelude is read where it lies.

use crate::engine::draft::{Draft, When};
use crate::engine::plan::{Op, Rearrange, Reference, RowId};

pub(super) fn slices(draft: &mut Draft) {
    // For each value that is a part of another: of which, and from where.
    let mut part_of = vec![None; draft.values.len()];
    for step in &draft.ops {
        let Op::Rearrange(Rearrange { source, start, patch: 1, output }) = step.op else { continue };
        let [from, to] = [source, output].map(|id| &draft.values[id.0]);
        let vectors = [from, to].iter().all(|v| v.shape[..2] == [1, 1] && v.when == When::Prelude);
        // Parts of parts are parts of the whole.
        let (source, start) = part_of[source.0].map_or((source, start), |(of, more)| (of, start + more));
        if vectors && start.is_multiple_of(4) {
            part_of[output.0] = Some((source, start));
        }
    }
    for step in &mut draft.ops {
        step.op.references_mut(&mut |reference| {
            if let Reference::Rows(slice) = reference
                && let Some((of, start)) = part_of[slice.row.0]
            {
                (slice.row, slice.start) = (RowId(of.0), slice.start + start);
            }
        });
    }
    draft.sweep();
}
