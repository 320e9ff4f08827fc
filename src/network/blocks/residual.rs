//! diffusers' `ResnetBlock2D` without resampling, and self-attention over pixels with biases.

use crate::network::ops::{Activation, Conv, Ops};

/// A residual block: two convolutions with a normalisation before each.
pub(crate) struct Residual {
    pub(crate) in_channels: usize,
    pub(crate) out_channels: usize,
    pub(crate) groups: usize,
    pub(crate) eps: f64,
    pub(crate) activation: Activation,
    /// Whether the time vector scales and shifts after the second normalisation, or is added before it.
    pub(crate) scale_shift: bool,
    /// Multiplies the sum at the end.
    pub(crate) output_scale: f64,
}

/// `time` is the time embedding after the nonlinearity, where there is one.
pub(crate) fn residual<O: Ops + ?Sized>(
    ops: &mut O,
    path: &str,
    x: &O::Tensor,
    time: Option<&O::Tensor>,
    r: &Residual,
) -> O::Tensor {
    let out = r.out_channels;
    let mut h = ops.group_norm(x, &format!("{path}.norm1"), r.groups, r.eps);
    h = ops.activation(&h, r.activation);
    h = ops.conv2d(&h, &format!("{path}.conv1"), Conv::same(out));
    let width = if r.scale_shift { 2 * out } else { out };
    let vector = time.map(|time| ops.linear(time, &format!("{path}.time_emb_proj"), width));
    if let (Some(v), false) = (&vector, r.scale_shift) {
        h = ops.add_per_channel(&h, v);
    }
    h = ops.group_norm(&h, &format!("{path}.norm2"), r.groups, r.eps);
    if let (Some(v), true) = (&vector, r.scale_shift) {
        h = ops.scale_shift(&h, v);
    }
    h = ops.activation(&h, r.activation);
    h = ops.conv2d(&h, &format!("{path}.conv2"), Conv::same(out));
    let sum = if r.in_channels == out {
        ops.add(x, &h)
    } else {
        let shortcut = ops.pointwise(x, &format!("{path}.conv_shortcut"), out);
        ops.add(&shortcut, &h)
    };
    if r.output_scale == 1.0 { sum } else { ops.affine(&sum, r.output_scale, 0.0) }
}

/// `x` plus its normalised pixels' attention to each other, in one head as wide as the image.
pub(crate) fn self_attention<O: Ops + ?Sized>(
    ops: &mut O,
    path: &str,
    x: &O::Tensor,
    channels: usize,
    groups: usize,
    eps: f64,
) -> O::Tensor {
    let h = ops.group_norm(x, &format!("{path}.group_norm"), groups, eps);
    let q = ops.pointwise(&h, &format!("{path}.to_q"), channels);
    let k = ops.pointwise(&h, &format!("{path}.to_k"), channels);
    let v = ops.pointwise(&h, &format!("{path}.to_v"), channels);
    let y = ops.attention(&q, &k, &v, 1);
    let y = ops.pointwise(&y, &format!("{path}.to_out.0"), channels);
    ops.add(x, &y)
}
