//! Normalisations, factors and nonlinearities are applied by who reads the result, while it is read.

use super::fold::fold;
use crate::engine::draft::Draft;

pub(super) fn loads(draft: &mut Draft) {
    fold(draft, &|map| !map.load.is_plain());
}
