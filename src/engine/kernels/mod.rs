//! The plan's operations in Rust: what each of the GPU's shaders must compute, and what the CPU runs.
//!
//! Every kernel is a function of slices and allocates nothing. Images are NHWC.

pub mod activation;
pub mod attention;
pub mod gemm;
pub mod load;
pub mod norm;
pub mod pool;
pub mod product;
mod vector;

/// The images of a [`Source`](super::plan::Source), for a batch or, after [`Image::sample`], for one sample.
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
