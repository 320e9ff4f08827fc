//! A product of pixels and a matrix, which [`gemm`](super::gemm) and [`winograd`](super::winograd) compute.

use super::load::{Load, Scaling};
use crate::engine::kernels::{gemm as twin, winograd};
use crate::engine::parameters::{MatrixId, VectorId};
use crate::engine::value::{RowSlice, Source, Value, ValueId, Window};
use crate::network::ops::Padding;

/// A convolution or linear map as a product of pixels and a matrix:
/// `(Σ load(source) · matrix + Σ shortcut · matrix + bias + time + residual) · scale · sample_scale`.
#[derive(Clone, Debug, PartialEq)]
pub struct Gemm {
    /// The image.
    pub source: Source,
    /// What is applied while it is read.
    pub load: Load,
    /// The pixels that one output pixel is made of.
    pub window: Window,
    /// Another image, as large as the output and read as it is, whose channels are further inputs of the product: the
    /// 1×1 convolution that a residual block's input goes through. Its rows stand at the end of the matrix.
    pub shortcut: Option<Source>,
    /// `[taps · channels (+ channels of the shortcut)][output channels]`.
    pub matrix: MatrixId,
    /// Added to every pixel.
    pub bias: VectorId,
    /// Added to every pixel of a sample.
    pub time: Option<RowSlice>,
    /// Added, of the output's size and channels. Never two images.
    pub residual: Option<Source>,
    /// Multiplies the sum.
    pub scale: f32,
    /// One number that multiplies a sample.
    pub sample_scale: Option<RowSlice>,
    /// The result.
    pub output: ValueId,
    /// The moments of the result.
    pub moments: Option<ValueId>,
}

impl Gemm {
    /// Whether a GPU's kernel can put slices of its image together that attention leaves.
    #[cfg(feature = "text")]
    pub(in crate::engine) fn can_merge(&self, values: &[Value]) -> bool {
        let channels = [self.source.first, self.output].map(|id| values[id.0].shape[3]);
        self.window == Window::Pointwise
            && self.load.is_plain()
            && self.source == Source::of(self.source.first)
            && self.shortcut.is_none()
            && channels.iter().all(|c| c.is_multiple_of(4))
    }

    /// Whether its samples are single pixels that it treats alike: then they are one image's rows, so that the matrix is
    /// read for many of them at once.
    pub(super) fn is_one_image(&self, values: &[Value]) -> bool {
        let [_, height, width, _] = values[self.output.0].shape;
        let alike = matches!(self.load.scaling, None | Some(Scaling::Constant { .. }))
            && self.time.is_none()
            && self.sample_scale.is_none();
        let sources = [Some(self.source), self.shortcut, self.residual];
        alike
            && height * width == 1
            && self.window == Window::Pointwise
            && sources.iter().flatten().all(|source| !source.upsample)
    }

    /// Rows and columns of its output.
    pub(super) fn output_size(&self, values: &[Value]) -> (usize, usize) {
        let [batch, height, width, _] = values[self.output.0].shape;
        if self.is_one_image(values) { (batch, 1) } else { (height, width) }
    }

    /// Whether the processor computes it by products of tiles. That depends on its shape alone, so that a sample's numbers are the
    /// same in any batch.
    pub(in crate::engine) fn is_winograd(&self, values: &[Value]) -> bool {
        let columns = values[self.output.0].shape[3];
        winograd::pays(self.window, self.output_size(values), self.source.channels(values), columns)
    }

    pub(super) fn scratch_len(&self, values: &[Value], channels: usize) -> usize {
        let size = self.output_size(values);
        let [samples, _, _, columns] = values[self.output.0].shape;
        let batch = if self.is_one_image(values) { 1 } else { samples };
        let len = twin::scratch_len(self.window, size, channels, batch);
        if self.is_winograd(values) {
            return len.max(winograd::scratch_len(size, channels, columns, batch));
        }
        len
    }

    pub(super) fn window_text(&self) -> String {
        match self.window {
            Window::Pointwise => "1×1".to_owned(),
            Window::Square { kernel, stride, padding } => {
                let stride = if stride == 1 { String::new() } else { format!("/{stride}") };
                let padding = match padding {
                    Padding::All(p) if p == kernel / 2 => "",
                    Padding::All(_) => " unpadded",
                    Padding::RightBottom => " right-bottom",
                };
                format!("{kernel}×{kernel}{stride}{padding}")
            }
        }
    }
}

/// The bits of [`parts`].
pub(super) const PART_TIME: u32 = 1;
pub(super) const PART_RESIDUAL: u32 = 2;
pub(super) const PART_SAMPLE_SCALE: u32 = 4;
pub(super) const PART_MOMENTS: u32 = 8;

/// What an epilogue does besides adding the bias.
pub(super) fn parts(g: &Gemm) -> u32 {
    let part = |there: bool, bit: u32| if there { bit } else { 0 };
    part(g.time.is_some(), PART_TIME)
        | part(g.residual.is_some(), PART_RESIDUAL)
        | part(g.sample_scale.is_some(), PART_SAMPLE_SCALE)
        | part(g.moments.is_some(), PART_MOMENTS)
}
