//! What several networks are made of.

pub(super) mod attention;
pub(super) mod resnet;
#[cfg(feature = "text")]
pub(super) mod transformer;
