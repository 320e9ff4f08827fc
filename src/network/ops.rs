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

    /// Twice the height and width, between whose pixels a filter goes over: along each axis, pixel 2i is
    /// `(x[i - 1] + 3 x[i]) / 4`, and 2i + 1 is `(3 x[i] + x[i + 1]) / 4`, with zeros around the image.
    fn upsample_fir(&mut self, x: &Self::Tensor) -> Self::Tensor;

    /// Half the height and width by the same filter: along each axis, `(x[2i - 1] + 3 x[2i] + 3 x[2i + 1] + x[2i + 2]) / 8`.
    fn downsample_fir(&mut self, x: &Self::Tensor) -> Self::Tensor;

    /// `exp(-½ p² ‖v - c‖²)` for each of `units` centres c with inverse widths p, `[batch, units]`. The parameters are
    /// `NAME.weight`, c as `[units, width]`, and `NAME.width.weight`, p in units of ½ √units: bumps that overlap where
    /// the centres are spread over a few units of a plane.
    fn radial_basis(&mut self, v: &Self::Tensor, name: &str, units: usize) -> Self::Tensor;
}

/// The shape of the weight of [`Ops::pointwise`]: some are stored as convolutions.
#[must_use]
pub fn pointwise_shape(name: &str, out_channels: usize, in_channels: usize) -> Vec<usize> {
    let as_convolution = name.ends_with("conv_shortcut") || name.ends_with("skip_conv");
    if as_convolution { vec![out_channels, in_channels, 1, 1] } else { vec![out_channels, in_channels] }
}

/// A square convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Convolution {
    /// Channels of the output.
    pub out_channels: usize,
    /// Height and width of the kernel.
    pub kernel: usize,
    /// In both directions; as large as the kernel where an image is cut into patches.
    pub stride: usize,
    /// Zeros around the input.
    pub padding: Padding,
    /// Whether a number is added to each channel.
    pub bias: bool,
}

impl Convolution {
    /// Stride 1 and as many zeros as keep height and width, for an odd kernel, with bias.
    #[must_use]
    pub fn same(out_channels: usize, kernel: usize) -> Self {
        Self { out_channels, kernel, stride: 1, padding: Padding::All(kernel / 2), bias: true }
    }
}

/// How tokens look at each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attend {
    /// Slices of the channels, each with a softmax of its own.
    pub heads: usize,
    /// Whether token i sees tokens 0 to i alone.
    pub causal: bool,
}

/// What text encoders, transformers and autoencoders need beside [`Ops`].
///
/// Tokens are images `[batch, width, tokens, 1]`; an image's pixels are tokens as they are, row after row.
pub trait TransformerOps: Ops {
    /// Convolution with a weight `[out, in, kernel, kernel]`.
    fn conv(&mut self, x: &Self::Tensor, name: &str, conv: Convolution) -> Self::Tensor;

    /// The linear map `[out, in]` without bias at every pixel, or of a vector.
    fn unbiased(&mut self, x: &Self::Tensor, name: &str, out: usize) -> Self::Tensor;

    /// Normalisation over the channels of each pixel, then the per-channel weight and bias, where there is a name.
    fn layer_norm(&mut self, x: &Self::Tensor, name: Option<&str>, eps: f64) -> Self::Tensor;

    /// `a · gelu(b)`, where a and b are the halves of x's channels and GELU is the exact one.
    fn gated_gelu(&mut self, x: &Self::Tensor) -> Self::Tensor;

    /// `softmax(q kᵀ / √d) v` for each of the heads of `d = channels / heads` channels. `k` and `v` have the same pixels,
    /// which may be others than `q`'s; not where it is causal.
    fn attend(
        &mut self,
        q: &Self::Tensor,
        k: &Self::Tensor,
        v: &Self::Tensor,
        attend: Attend,
    ) -> Self::Tensor;

    /// How much each pixel of `q` looks at each of `k`: `softmax(q kᵀ / √d)` for each of the heads of `d = channels / heads` channels,
    /// averaged over these; of `q`'s height and width, with a channel for each pixel of `k`.
    fn attention_map(&mut self, q: &Self::Tensor, k: &Self::Tensor, heads: usize) -> Self::Tensor;

    /// Rows of the table `[rows, width]` as tokens; `ids` is `[batch, tokens]`, whole numbers stored as floats.
    fn token_embedding(&mut self, ids: &Self::Tensor, name: &str, rows: usize, width: usize) -> Self::Tensor;

    /// Adds row i of the table `[rows, width]` to token i; it has at least as many rows as there are tokens.
    fn add_positions(&mut self, x: &Self::Tensor, name: &str, rows: usize) -> Self::Tensor;

    /// The token `index[b]` of each sample, a vector `[batch, width]`; `index` is `[batch, 1]`.
    fn token_at(&mut self, x: &Self::Tensor, index: &Self::Tensor) -> Self::Tensor;

    /// `x[b, c, ·, ·] · v[b, c]`.
    fn scale_per_channel(&mut self, x: &Self::Tensor, v: &Self::Tensor) -> Self::Tensor;

    /// Numbers `start` to `start + width` of each sample's vector.
    fn slice(&mut self, v: &Self::Tensor, start: usize, width: usize) -> Self::Tensor;

    /// Enlarges to the height and width of `like` by the nearest pixel: row i is the source's `⌊i · (from / to)⌋`, with
    /// the quotient in f32, as PyTorch has it. Of `like`, nothing but its shape counts.
    fn upsample_to(&mut self, x: &Self::Tensor, like: &Self::Tensor) -> Self::Tensor;

    /// Each pixel becomes the row of the table `[rows, channels]` that is nearest to it, the first of equals.
    fn nearest_row(&mut self, x: &Self::Tensor, name: &str, rows: usize) -> Self::Tensor;

    /// Channels `(row in patch, column in patch, channel)` become the pixels of a patch: `[batch, channels, patch·height,
    /// patch·width]`.
    fn unpatchify(&mut self, x: &Self::Tensor, patch: usize) -> Self::Tensor;
}

/// A forward pass with everything chosen but its inputs, for whoever interprets it.
pub trait Pass {
    /// Its results, from the inputs in the order that the implementation tells.
    fn run<O: TransformerOps + ?Sized>(&self, ops: &mut O, inputs: &[O::Tensor]) -> Vec<O::Tensor>;
}
