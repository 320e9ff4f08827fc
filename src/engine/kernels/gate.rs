//! A gated unit: half of a pixel's channels, each times the GELU of one of the other half.

use super::activation::gelu;
use super::vector::simd;

/// One sample `[pixels, 2 channels]` to `[pixels, channels]`.
pub fn gate(image: &[f32], channels: usize, out: &mut [f32]) {
    simd!(gate_in(image: &[f32], channels: usize, out: &mut [f32]));
}

#[inline(always)]
fn gate_in(image: &[f32], channels: usize, out: &mut [f32]) {
    for (pixel, out) in image.chunks_exact(2 * channels).zip(out.chunks_exact_mut(channels)) {
        let (units, gates) = pixel.split_at(channels);
        for ((out, unit), gate) in out.iter_mut().zip(units).zip(gates) {
            *out = unit * gelu(*gate);
        }
    }
}
