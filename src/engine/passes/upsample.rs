//! An image of twice the size is not written out: its readers read each pixel as a 2×2 square.

use super::fold::fold;
use crate::engine::draft::Draft;

pub(super) fn upsample(draft: &mut Draft) {
    fold(draft, &|map| map.source.is_some_and(|source| source.upsample));
}
