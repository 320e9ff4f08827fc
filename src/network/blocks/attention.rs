//! diffusers' `Attention` of an image to itself.

use super::resnet::residual;
use crate::network::ops::Ops;

/// Self-attention over the pixels, added to them.
pub(crate) struct SelfAttention {
    pub(crate) channels: usize,
    /// Channels of a head.
    pub(crate) head_dim: usize,
    /// `None`: no normalisation before the projections.
    pub(crate) groups: Option<usize>,
    pub(crate) eps: f64,
    /// Multiplies the sum at the end.
    pub(crate) output_scale: f64,
}

impl SelfAttention {
    pub(crate) fn forward<O: Ops + ?Sized>(&self, ops: &mut O, path: &str, x: &O::Tensor) -> O::Tensor {
        let h = match self.groups {
            Some(groups) => ops.group_norm(x, &format!("{path}.group_norm"), groups, self.eps),
            None => x.clone(),
        };
        let heads = self.channels / self.head_dim;
        // Narrower than the image where the head width does not divide it.
        let inner = heads * self.head_dim;
        let q = ops.pointwise(&h, &format!("{path}.to_q"), inner);
        let k = ops.pointwise(&h, &format!("{path}.to_k"), inner);
        let v = ops.pointwise(&h, &format!("{path}.to_v"), inner);
        let y = ops.attention(&q, &k, &v, heads);
        let y = ops.pointwise(&y, &format!("{path}.to_out.0"), self.channels);
        residual(ops, x, &y, self.output_scale)
    }
}
