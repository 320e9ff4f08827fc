//! Group normalisation in two halves: the moments of tiles of pixels, taken where an image is written, and what they
//! come to for each channel, where it is read.
//!
//! A tile's moments are, for each channel, the mean m and the sum M of squared differences from it. A group's are merged
//! from those of its n tiles and channels, each of pᵢ pixels (Chan, Golub and LeVeque, 1983):
//!
//! ```text
//! mean = Σ pᵢ mᵢ / Σ pᵢ        variance = (Σ Mᵢ + Σ pᵢ (mᵢ - mean)²) / Σ pᵢ
//! scale = γ / √(variance + ε)   shift = β - mean · scale
//! ```
//!
//! No difference of large squares is taken, so a mean far from zero costs no accuracy. As moments are kept by channel,
//! groups may straddle the seam of two images that are read as one.

use std::ops::Range;

use super::PerSample;
use crate::TILE_PIXELS;

/// Moments of one sample `[pixels, channels]` to `[tiles, 2, channels]`.
pub fn moments(image: &[f32], channels: usize, out: &mut [f32]) {
    let tiles = image.chunks(TILE_PIXELS * channels).zip(out.chunks_exact_mut(2 * channels));
    for (tile, out) in tiles {
        let (mean, squares) = out.split_at_mut(channels);
        let count = (tile.len() / channels) as f32;
        mean.fill(0.0);
        squares.fill(0.0);
        for pixel in tile.chunks_exact(channels) {
            for (sum, x) in mean.iter_mut().zip(pixel) {
                *sum += x;
            }
        }
        for sum in mean.iter_mut() {
            *sum /= count;
        }
        for pixel in tile.chunks_exact(channels) {
            for ((sum, mean), x) in squares.iter_mut().zip(&*mean).zip(pixel) {
                *sum += (x - mean) * (x - mean);
            }
        }
    }
}

/// A normalisation of one or two images.
#[derive(Clone, Copy, Debug)]
pub struct Normalise<'a> {
    /// Moments of the first channels, `[batch, tiles, 2, channels.0]`.
    pub first: &'a [f32],
    /// Moments of those after them, `[batch, tiles, 2, channels.1]`; empty where there are none.
    pub second: &'a [f32],
    /// Channels of the two.
    pub channels: (usize, usize),
    /// Pixels of the images.
    pub pixels: usize,
    /// Groups of all channels together.
    pub groups: usize,
    /// ε.
    pub eps: f32,
    /// γ.
    pub weight: &'a [f32],
    /// β.
    pub bias: &'a [f32],
    /// s and b for each sample: scale and shift times `1 + s`, and b added to the shift.
    pub modulation: Option<PerSample<'a>>,
}

impl Normalise<'_> {
    /// Calls `f` with each tile of one sample: its channels, its number of pixels, and the channels' means and squares.
    #[inline(always)]
    fn tiles(&self, sample: usize, mut f: impl FnMut(Range<usize>, f32, &[f32], &[f32])) {
        let tiles = self.pixels.div_ceil(TILE_PIXELS);
        let (a, b) = self.channels;
        for (data, channels) in [(self.first, 0..a), (self.second, a..a + b)] {
            let len = 2 * channels.len();
            for tile in 0..if channels.is_empty() { 0 } else { tiles } {
                let pixels = TILE_PIXELS.min(self.pixels - tile * TILE_PIXELS) as f32;
                let (means, squares) = data[(sample * tiles + tile) * len..][..len].split_at(len / 2);
                f(channels.clone(), pixels, means, squares);
            }
        }
    }
}

/// Scale and shift for each sample and channel, `[batch, 2, channels]`.
pub fn normalise(norm: &Normalise, out: &mut [f32]) {
    let channels = norm.channels.0 + norm.channels.1;
    let in_group = channels / norm.groups;
    let count = (norm.pixels * in_group) as f32;
    for (sample, out) in out.chunks_exact_mut(2 * channels).enumerate() {
        let (scales, shifts) = out.split_at_mut(channels);
        // `shifts` temporarily holds the group mean and `scales` 1/√(variance + ε); both are finalised below.
        shifts.fill(0.0);
        norm.tiles(sample, |channels, pixels, means, _| {
            for (sum, mean) in shifts[channels].iter_mut().zip(means) {
                *sum += pixels * mean;
            }
        });
        for group in shifts.chunks_exact_mut(in_group) {
            group.fill(group.iter().sum::<f32>() / count);
        }
        scales.fill(0.0);
        norm.tiles(sample, |channels, pixels, means, squares| {
            let sums = scales[channels.clone()].iter_mut().zip(&shifts[channels]);
            for ((sum, group), (mean, squares)) in sums.zip(means.iter().zip(squares)) {
                *sum += squares + pixels * (mean - group) * (mean - group);
            }
        });
        for group in scales.chunks_exact_mut(in_group) {
            group.fill(1.0 / (group.iter().sum::<f32>() / count + norm.eps).sqrt());
        }
        for c in 0..channels {
            scales[c] *= norm.weight[c];
            shifts[c] = norm.bias[c] - shifts[c] * scales[c];
        }
        if let Some(modulation) = norm.modulation {
            let (s, b) = modulation.sample(sample).split_at(channels);
            for c in 0..channels {
                scales[c] *= 1.0 + s[c];
                shifts[c] = shifts[c] * (1.0 + s[c]) + b[c];
            }
        }
    }
}
