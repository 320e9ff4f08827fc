//! The operations a network is written in. A forward pass is one function, generic over [`Ops`]; an interpreter
//! decides what a call does: work out shapes, compute on a device, or record for a plan.

pub use noiseball_kernels::{Activation, Padding};

/// A 3×3 convolution with bias.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conv {
    /// Channels of the output.
    pub out_channels: usize,
    /// 1 or 2, in both directions.
    pub stride: usize,
    /// Zeros around the input.
    pub padding: Padding,
}

impl Conv {
    /// Stride 1 and one zero on each side: height and width stay.
    #[must_use]
    pub fn same(out_channels: usize) -> Self {
        Self { out_channels, stride: 1, padding: Padding::All(1) }
    }
}

/// What a network is made of. Images are `[batch, channels, height, width]`, vectors `[batch, width]`.
///
/// Parameters are looked up by the name their module has in the checkpoint: `"conv_in"` stands for `conv_in.weight`
/// and `conv_in.bias`. Weights have PyTorch's layout: convolutions `[out, in, 3, 3]`, linear maps `[out, in]`.
///
/// The calls return no errors: an interpreter has the parameters and their shapes checked before the first one.
pub trait Ops {
    /// An image or a vector of this interpreter. Cloning is cheap.
    type Tensor: Clone;

    /// 3×3 convolution with bias.
    fn conv2d(&mut self, x: &Self::Tensor, name: &str, conv: Conv) -> Self::Tensor;

    /// The linear map `[out, in]` with bias at every pixel, a 1×1 convolution.
    fn pointwise(&mut self, x: &Self::Tensor, name: &str, out_channels: usize) -> Self::Tensor;

    /// Linear map with bias on vectors.
    fn linear(&mut self, v: &Self::Tensor, name: &str, out: usize) -> Self::Tensor;

    /// Rows of the table `[rows, width]`; `indices` is `[batch, 1]`, whole numbers stored as floats.
    fn embedding(&mut self, indices: &Self::Tensor, name: &str, rows: usize, width: usize) -> Self::Tensor;

    /// Group normalisation over `channels / groups` channels × all pixels, then the per-channel weight and bias.
    fn group_norm(&mut self, x: &Self::Tensor, name: &str, groups: usize, eps: f64) -> Self::Tensor;

    /// Element-wise nonlinearity on an image or a vector.
    fn activation(&mut self, x: &Self::Tensor, activation: Activation) -> Self::Tensor;

    /// `a + b`, of equal shape.
    fn add(&mut self, a: &Self::Tensor, b: &Self::Tensor) -> Self::Tensor;

    /// `scale · x + shift`.
    fn affine(&mut self, x: &Self::Tensor, scale: f64, shift: f64) -> Self::Tensor;

    /// `x[b, c, ·, ·] + v[b, c]`.
    fn add_per_channel(&mut self, x: &Self::Tensor, v: &Self::Tensor) -> Self::Tensor;

    /// `x · (1 + s) + b` per channel, where `v` is `[batch, 2·channels]`, s then b.
    fn scale_shift(&mut self, x: &Self::Tensor, v: &Self::Tensor) -> Self::Tensor;

    /// `x[b, …] · v[b]`, where `v` is `[batch, 1]`.
    fn scale_samples(&mut self, x: &Self::Tensor, v: &Self::Tensor) -> Self::Tensor;

    /// `softmax(q kᵀ / √d) v` over the pixels, for each of `heads` heads of `d = channels / heads` channels.
    fn attention(
        &mut self,
        q: &Self::Tensor,
        k: &Self::Tensor,
        v: &Self::Tensor,
        heads: usize,
    ) -> Self::Tensor;

    /// The channels of `a`, then those of `b`.
    fn concat(&mut self, a: &Self::Tensor, b: &Self::Tensor) -> Self::Tensor;

    /// Each pixel becomes a 2×2 square.
    fn upsample_nearest(&mut self, x: &Self::Tensor) -> Self::Tensor;

    /// Each 2×2 square becomes its mean.
    fn downsample_mean(&mut self, x: &Self::Tensor) -> Self::Tensor;
}

/// What [`mlp`](super::mlp) needs beside [`Ops`]. Apart from it, because the engine's plans have no such operation.
pub trait RadialBasis: Ops {
    /// `exp(-½ p² ‖v - c‖²)` for each of `units` centres c with inverse widths p, `[batch, units]`. The parameters are
    /// `NAME.weight`, c as `[units, width]`, and `NAME.width.weight`, p in units of ½ √units: bumps that overlap where
    /// the centres are spread over a few units of a plane.
    fn radial_basis(&mut self, v: &Self::Tensor, name: &str, units: usize) -> Self::Tensor;
}
