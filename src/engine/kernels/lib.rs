//! The plan's operations in Rust: what each of the GPU's shaders must compute, and what the CPU runs.
//!
//! Every kernel is a function of slices and allocates nothing. Images are NHWC.
//!
//! This is a crate of its own so that it alone is compiled for speed where a page downloads it: the rest of
//! [noiseball](https://docs.rs/noiseball) is compiled for size.

#![warn(clippy::too_many_lines)]

pub mod activation;
pub mod adam;
pub mod attention;
#[cfg(feature = "text")]
pub mod compact;
pub mod fir;
#[cfg(feature = "text")]
pub mod gate;
pub mod gemm;
pub mod gradient;
#[cfg(feature = "text")]
pub mod layer_norm;
pub mod load;
pub mod map;
#[cfg(feature = "text")]
pub mod nearest;
pub mod norm;
pub mod panels;
pub mod pool;
pub mod product;
pub mod radial;
#[cfg(feature = "text")]
pub mod rearrange;
#[cfg(target_arch = "wasm32")]
pub mod relaxed;
pub mod shared;
mod vector;
pub mod winograd;

/// Pixels whose moments are taken together. The last tile of a sample may be smaller; no tile spans two samples.
pub const TILE_PIXELS: usize = 32;

/// An element-wise nonlinearity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// `x · sigmoid(x)`, also called swish.
    Silu,
    /// `x · tanh(ln(1 + eˣ))`.
    Mish,
    /// `x · Φ(x)` with the exact error function.
    Gelu,
    /// `max(x, 0)`.
    Relu,
    #[cfg(feature = "text")]
    /// `½ x (1 + tanh(√(2/π) (x + 0.044715 x³)))`, an approximation of [`Self::Gelu`].
    GeluTanh,
    #[cfg(feature = "text")]
    /// `x · sigmoid(1.702 x)`, another.
    QuickGelu,
    #[cfg(feature = "text")]
    /// The hyperbolic tangent.
    Tanh,
}

/// Where a convolution puts its zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Padding {
    /// The same number of rows and columns on all four sides.
    All(usize),
    /// One column on the right and one row at the bottom, TensorFlow's "SAME" for stride 2.
    RightBottom,
}

impl Padding {
    /// How many rows, and as many columns, there are of zeros.
    #[must_use]
    pub fn added(self) -> usize {
        match self {
            Self::All(p) => 2 * p,
            Self::RightBottom => 1,
        }
    }
}

/// The pixels that one output pixel is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// The same pixel: a linear map.
    Pointwise,
    /// A square of pixels.
    Square {
        /// Its height and width.
        kernel: usize,
        /// Pixels from one to the next, in both directions.
        stride: usize,
        /// The zeros around the image.
        padding: Padding,
    },
}

impl Window {
    /// Height and width of the window.
    #[must_use]
    pub fn kernel(self) -> usize {
        match self {
            Window::Pointwise => 1,
            Window::Square { kernel, .. } => kernel,
        }
    }

    /// Pixels in the window.
    #[must_use]
    pub fn taps(self) -> usize {
        self.kernel() * self.kernel()
    }

    /// Zeros above and to the left of the image.
    #[must_use]
    pub fn before(self) -> usize {
        match self {
            Window::Square { padding: Padding::All(p), .. } => p,
            Window::Square { padding: Padding::RightBottom, .. } | Window::Pointwise => 0,
        }
    }

    /// Pixels from one output pixel's window to the next.
    #[must_use]
    pub fn stride(self) -> usize {
        match self {
            Window::Pointwise => 1,
            Window::Square { stride, .. } => stride,
        }
    }
}

/// The images that an operation reads, for a batch or, after [`Image::sample`], for one sample.
#[derive(Clone, Copy, Debug)]
pub struct Image<'a> {
    /// The first channels, `[…, height, width, channels.0]`.
    pub first: &'a [f32],
    /// The channels after them, `[…, height, width, channels.1]`; empty where there are none.
    pub second: &'a [f32],
    /// Channels of the two.
    pub channels: (usize, usize),
    /// Rows, before they are doubled.
    pub height: usize,
    /// Columns, before they are doubled.
    pub width: usize,
    /// Whether readers see each pixel as a 2×2 square.
    pub upsample: bool,
}

impl<'a> Image<'a> {
    /// One sample of a batch.
    #[must_use]
    pub fn sample(self, index: usize) -> Self {
        let pixels = self.height * self.width;
        let part = |data: &'a [f32], channels: usize| &data[index * pixels * channels..][..pixels * channels];
        Self { first: part(self.first, self.channels.0), second: part(self.second, self.channels.1), ..self }
    }

    /// Channels of both images.
    #[must_use]
    pub fn all_channels(&self) -> usize {
        self.channels.0 + self.channels.1
    }
}

/// A vector for each sample: sample b's is row `first + b · stride` of `[rows, width]`, from `start`.
#[derive(Clone, Copy, Debug)]
pub struct PerSample<'a> {
    /// `[rows, width]`.
    pub rows: &'a [f32],
    /// Width of a row.
    pub width: usize,
    /// First number of the row that is meant.
    pub start: usize,
    /// How many.
    pub len: usize,
    /// The first sample's row.
    pub first: usize,
    /// Rows from one sample to the next; 0 where all share one.
    pub stride: usize,
}

impl<'a> PerSample<'a> {
    /// One sample's vector.
    #[must_use]
    pub fn sample(&self, index: usize) -> &'a [f32] {
        &self.rows[(self.first + index * self.stride) * self.width + self.start..][..self.len]
    }
}
