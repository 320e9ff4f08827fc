//! Half the resolution: each output pixel is the mean of 2×2 input pixels, loaded.

use super::load::Loaded;

/// One sample to `[height / 2, width / 2, channels]`; a last odd row or column is left out. `scratch` holds two rows of
/// the input.
pub fn pool(loaded: &Loaded, scratch: &mut [f32], out: &mut [f32]) {
    let (width, channels) = (loaded.image.width, loaded.image.all_channels());
    let line = width * channels;
    for (y, out) in out.chunks_exact_mut(width / 2 * channels).enumerate() {
        let top = 2 * y as isize;
        loaded.write(top..top + 2, 0..width as isize, scratch);
        let (upper, lower) = scratch[..2 * line].split_at(line);
        for (x, out) in out.chunks_exact_mut(channels).enumerate() {
            let (left, right) = (2 * x * channels, (2 * x + 1) * channels);
            for (c, out) in out.iter_mut().enumerate() {
                let sum = upper[left + c] + upper[right + c] + lower[left + c] + lower[right + c];
                *out = sum * 0.25;
            }
        }
    }
}

/// Floats of [`pool`]'s scratch.
#[must_use]
pub fn scratch_len(width: usize, channels: usize) -> usize {
    2 * width * channels
}
