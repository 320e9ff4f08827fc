//! diffusers' `Transformer2DModel` on an image, with attention to a text.

use crate::network::ops::{Attend, Convolution, TransformerOps};

/// Its normalisations have these whatever the network's `norm_eps` is.
const GROUP_EPS: f64 = 1e-6;
const LAYER_EPS: f64 = 1e-5;

/// A transformer between two projections.
pub(crate) struct Transformer {
    /// Channels of the image.
    pub(crate) channels: usize,
    pub(crate) heads: usize,
    /// Blocks one after the other.
    pub(crate) depth: usize,
    /// Groups of the normalisation at its entry.
    pub(crate) groups: usize,
    /// Whether the projections' weights are stored as linear maps, or as convolutions.
    pub(crate) linear: bool,
    /// Whether the first attention of each block looks at the text too.
    pub(crate) only_cross: bool,
}

impl Transformer {
    /// Channels inside: less than the image's where the heads do not divide it.
    fn inner(&self) -> usize {
        self.channels / self.heads * self.heads
    }
}

/// Where attention to the text is noted, for whoever asks.
pub(crate) struct Seen<T> {
    /// The image whose size maps are brought to; none where nobody asks.
    pub(crate) like: Option<T>,
    sum: Option<T>,
    count: usize,
}

impl<T: Clone> Seen<T> {
    pub(crate) fn new(like: Option<T>) -> Self {
        Self { like, sum: None, count: 0 }
    }

    fn note<O: TransformerOps<Tensor = T> + ?Sized>(&mut self, ops: &mut O, q: &T, k: &T, heads: usize) {
        let Some(like) = &self.like else { return };
        let map = ops.attention_map(q, k, heads);
        let map = ops.upsample_to(&map, like);
        self.count += 1;
        self.sum = Some(match &self.sum {
            Some(sum) => ops.add(sum, &map),
            None => map,
        });
    }

    /// The mean of all that was noted.
    pub(crate) fn mean<O: TransformerOps<Tensor = T> + ?Sized>(&self, ops: &mut O) -> Option<T> {
        self.sum.as_ref().map(|sum| ops.affine(sum, 1.0 / self.count as f64, 0.0))
    }
}

/// `x` plus what the transformer makes of it and of the text's tokens.
pub(crate) fn transformer<O: TransformerOps + ?Sized>(
    ops: &mut O,
    path: &str,
    x: &O::Tensor,
    text: &O::Tensor,
    t: &Transformer,
    seen: &mut Seen<O::Tensor>,
) -> O::Tensor {
    let h = ops.group_norm(x, &format!("{path}.norm"), t.groups, GROUP_EPS);
    let mut h = project(ops, &format!("{path}.proj_in"), &h, t.inner(), t.linear);
    for i in 0..t.depth {
        h = block(ops, &format!("{path}.transformer_blocks.{i}"), &h, text, t, seen);
    }
    let h = project(ops, &format!("{path}.proj_out"), &h, t.channels, t.linear);
    ops.add(x, &h)
}

fn project<O: TransformerOps + ?Sized>(
    ops: &mut O,
    name: &str,
    x: &O::Tensor,
    out: usize,
    linear: bool,
) -> O::Tensor {
    if linear { ops.pointwise(x, name, out) } else { ops.conv(x, name, Convolution::same(out, 1)) }
}

fn block<O: TransformerOps + ?Sized>(
    ops: &mut O,
    path: &str,
    x: &O::Tensor,
    text: &O::Tensor,
    t: &Transformer,
    seen: &mut Seen<O::Tensor>,
) -> O::Tensor {
    let h = ops.layer_norm(x, Some(&format!("{path}.norm1")), LAYER_EPS);
    let (source, first_seen) = if t.only_cross { (text, Some(&mut *seen)) } else { (&h, None) };
    let y = attention(ops, &format!("{path}.attn1"), &h, source, t, first_seen);
    let x = ops.add(x, &y);

    let h = ops.layer_norm(&x, Some(&format!("{path}.norm2")), LAYER_EPS);
    let y = attention(ops, &format!("{path}.attn2"), &h, text, t, Some(seen));
    let x = ops.add(&x, &y);

    let h = ops.layer_norm(&x, Some(&format!("{path}.norm3")), LAYER_EPS);
    let h = ops.pointwise(&h, &format!("{path}.ff.net.0.proj"), 8 * t.inner());
    let h = ops.gated_gelu(&h);
    let y = ops.pointwise(&h, &format!("{path}.ff.net.2"), t.inner());
    ops.add(&x, &y)
}

/// No mask: a prompt's padding counts as its words do.
fn attention<O: TransformerOps + ?Sized>(
    ops: &mut O,
    path: &str,
    x: &O::Tensor,
    source: &O::Tensor,
    t: &Transformer,
    seen: Option<&mut Seen<O::Tensor>>,
) -> O::Tensor {
    let q = ops.unbiased(x, &format!("{path}.to_q"), t.inner());
    let k = ops.unbiased(source, &format!("{path}.to_k"), t.inner());
    let v = ops.unbiased(source, &format!("{path}.to_v"), t.inner());
    if let Some(seen) = seen {
        seen.note(ops, &q, &k, t.heads);
    }
    let y = ops.attend(&q, &k, &v, Attend { heads: t.heads, causal: false });
    ops.pointwise(&y, &format!("{path}.to_out.0"), t.inner())
}
