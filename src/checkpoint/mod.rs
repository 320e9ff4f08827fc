//! diffusers' checkpoint folders: configuration, weights, and the two layouts they come in.

pub mod json;
