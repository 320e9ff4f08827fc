//! What several networks are made of.

pub(super) mod residual;
pub(super) mod transformer;
