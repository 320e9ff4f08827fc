//! The two orders of an image's numbers: PyTorch's NCHW, which callers and samplers use, and the engine's NHWC.

/// `[batch, channels, pixels]` to `[batch, pixels, channels]`, PyTorch's order to the engine's.
pub fn to_nhwc(nchw: &[f32], channels: usize, pixels: usize, nhwc: &mut [f32]) {
    for (from, to) in nchw.chunks_exact(channels * pixels).zip(nhwc.chunks_exact_mut(channels * pixels)) {
        for (c, plane) in from.chunks_exact(pixels).enumerate() {
            for (pixel, value) in to.chunks_exact_mut(channels).zip(plane) {
                pixel[c] = *value;
            }
        }
    }
}

/// `[batch, pixels, channels]` to `[batch, channels, pixels]`, the engine's order to PyTorch's.
pub fn to_nchw(nhwc: &[f32], channels: usize, pixels: usize, nchw: &mut [f32]) {
    to_nhwc(nhwc, pixels, channels, nchw);
}
