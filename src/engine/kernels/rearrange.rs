//! Some channels of each pixel, of an image enlarged by its nearest pixels, or of patches laid out.

/// The pixel that the nearest one of a longer or shorter line is: `⌊i · (from / to)⌋`, with the quotient in f32, as PyTorch
/// has it.
#[inline(always)]
fn nearest(i: usize, from: usize, to: usize) -> usize {
    ((i as f32 * (from as f32 / to as f32)) as usize).min(from - 1)
}

/// One sample of `[height, width, channels]` to `size`, which is another such. Each pixel of the source becomes `patch` × `patch`
/// pixels, of whose channels the first pixel's begin at `start`, and those of the others, in reading order, one after the
/// other; what that makes is enlarged by its nearest pixels, or not at all, to `size`.
pub fn rearrange(
    image: &[f32],
    [height, width, channels]: [usize; 3],
    (start, patch): (usize, usize),
    [to_height, to_width, to_channels]: [usize; 3],
    out: &mut [f32],
) {
    for (i, out) in out.chunks_exact_mut(to_channels).enumerate() {
        let (y, x) = (i / to_width, i % to_width);
        let row = nearest(y / patch, height, to_height / patch);
        let column = nearest(x / patch, width, to_width / patch);
        let first = start + (y % patch * patch + x % patch) * to_channels;
        out.copy_from_slice(&image[(row * width + column) * channels + first..][..to_channels]);
    }
}
