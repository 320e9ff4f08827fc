//! What several networks are made of.

pub(super) mod attention;
pub(super) mod resnet;
pub(super) mod transformer;
