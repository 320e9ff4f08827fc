//! Layer normalisation: over the channels of each pixel.

use super::attention::fold;
use super::vector::simd;

/// `((x - mean) / √(variance + ε) · γ + β) · factor + shift`, of which each but the first two may be left out.
#[derive(Clone, Copy, Debug)]
pub struct LayerNormTerms<'a> {
    /// ε.
    pub eps: f32,
    /// γ; empty for 1.
    pub weight: &'a [f32],
    /// β; empty for 0.
    pub bias: &'a [f32],
    /// One number a channel; empty for 1.
    pub factor: &'a [f32],
    /// One number a channel; empty for 0.
    pub shift: &'a [f32],
}

/// One sample `[pixels, channels]` to another.
pub fn layer_norm(norm: &LayerNormTerms, image: &[f32], channels: usize, out: &mut [f32]) {
    simd!(pixels(norm: &LayerNormTerms, image: &[f32], channels: usize, out: &mut [f32]));
}

#[inline(always)]
fn pixels(norm: &LayerNormTerms, image: &[f32], channels: usize, out: &mut [f32]) {
    let count = channels as f32;
    for (x, out) in image.chunks_exact(channels).zip(out.chunks_exact_mut(channels)) {
        let mean = fold(x, 0.0, |a, b| a + b) / count;
        for (out, x) in out.iter_mut().zip(x) {
            *out = (x - mean) * (x - mean);
        }
        let inverse = 1.0 / (fold(out, 0.0, |a, b| a + b) / count + norm.eps).sqrt();
        for (out, x) in out.iter_mut().zip(x) {
            *out = (x - mean) * inverse;
        }
        for (factors, terms) in [(norm.weight, norm.bias), (norm.factor, norm.shift)] {
            out.iter_mut().zip(factors).for_each(|(out, factor)| *out *= factor);
            out.iter_mut().zip(terms).for_each(|(out, term)| *out += term);
        }
    }
}
