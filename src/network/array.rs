//! Numbers with their shape, between networks and whoever asks them.

/// Numbers in row-major order with their shape: two dimensions for a vector of each sample, four for an image.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// Every dimension.
    pub shape: Vec<usize>,
    /// The numbers.
    pub values: Vec<f32>,
}
