//! diffusers' `ResnetBlock2D`.

use crate::network::ops::{Activation, Conv, Ops};

/// How a time embedding enters a residual block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeScaleShift {
    /// Added to every pixel before the second normalisation.
    Default,
    /// Scale and shift after the second normalisation.
    ScaleShift,
}

/// How the resolution changes inside a residual block.
#[derive(Clone, Copy)]
pub(crate) enum Resample {
    /// To the mean of 2×2 pixels.
    DownMean,
    /// By nearest neighbour.
    UpNearest,
    /// Down by the filter of NCSN++.
    DownFir,
    /// Up by the same.
    UpFir,
}

/// A residual block: two convolutions with a normalisation before each.
#[derive(Clone)]
pub(crate) struct Resnet {
    pub(crate) out_channels: usize,
    /// Groups of the two normalisations.
    pub(crate) groups: [usize; 2],
    pub(crate) eps: f64,
    pub(crate) activation: Activation,
    pub(crate) time_scale_shift: TimeScaleShift,
    pub(crate) resample: Option<Resample>,
    /// Whether the sum's other part goes through a 1×1 convolution.
    pub(crate) shortcut: bool,
    /// Multiplies the sum at the end.
    pub(crate) output_scale: f64,
}

impl Resnet {
    /// `time` is the embedding after the nonlinearity, where there is one.
    pub(crate) fn forward<O: Ops + ?Sized>(
        &self,
        ops: &mut O,
        path: &str,
        x: &O::Tensor,
        time: Option<&O::Tensor>,
    ) -> O::Tensor {
        let out = self.out_channels;
        let mut h = ops.group_norm(x, &format!("{path}.norm1"), self.groups[0], self.eps);
        h = ops.activation(&h, self.activation);
        let mut x = x.clone();
        if let Some(resample) = self.resample {
            h = resample.forward(ops, &h);
            x = resample.forward(ops, &x);
        }
        h = ops.conv2d(&h, &format!("{path}.conv1"), Conv::same(out));
        let shifts = self.time_scale_shift == TimeScaleShift::ScaleShift;
        let width = if shifts { 2 * out } else { out };
        let vector = time.map(|time| ops.linear(time, &format!("{path}.time_emb_proj"), width));
        if let (Some(v), false) = (&vector, shifts) {
            h = ops.add_per_channel(&h, v);
        }
        h = ops.group_norm(&h, &format!("{path}.norm2"), self.groups[1], self.eps);
        if let (Some(v), true) = (&vector, shifts) {
            h = ops.scale_shift(&h, v);
        }
        h = ops.activation(&h, self.activation);
        h = ops.conv2d(&h, &format!("{path}.conv2"), Conv::same(out));
        if self.shortcut {
            x = ops.pointwise(&x, &format!("{path}.conv_shortcut"), out);
        }
        residual(ops, &x, &h, self.output_scale)
    }
}

impl Resample {
    fn forward<O: Ops + ?Sized>(self, ops: &mut O, x: &O::Tensor) -> O::Tensor {
        match self {
            Self::DownMean => ops.downsample_mean(x),
            Self::UpNearest => ops.upsample_nearest(x),
            Self::DownFir => ops.downsample_fir(x),
            Self::UpFir => ops.upsample_fir(x),
        }
    }
}

/// `scale · (x + h)`.
pub(super) fn residual<O: Ops + ?Sized>(ops: &mut O, x: &O::Tensor, h: &O::Tensor, scale: f64) -> O::Tensor {
    let sum = ops.add(x, h);
    if scale == 1.0 { sum } else { ops.affine(&sum, scale, 0.0) }
}
