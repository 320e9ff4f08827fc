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

use super::PerSample;
use crate::engine::plan::TILE_PIXELS;

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

/// Scale and shift for each sample and channel, `[batch, 2, channels]`.
pub fn normalise(norm: &Normalise, out: &mut [f32]) {
    let (a, b) = norm.channels;
    let channels = a + b;
    let in_group = channels / norm.groups;
    let tiles = norm.pixels.div_ceil(TILE_PIXELS);
    for (sample, out) in out.chunks_exact_mut(2 * channels).enumerate() {
        // (pixels, mean, squares) of a tile's channel.
        let moment = |tile: usize, channel: usize| {
            let (data, channels, channel) =
                if channel < a { (norm.first, a, channel) } else { (norm.second, b, channel - a) };
            let at = ((sample * tiles + tile) * 2) * channels + channel;
            let pixels = TILE_PIXELS.min(norm.pixels - tile * TILE_PIXELS) as f32;
            (pixels, data[at], data[at + channels])
        };
        let (scales, shifts) = out.split_at_mut(channels);
        for group in 0..norm.groups {
            let members = group * in_group..(group + 1) * in_group;
            let each = || members.clone().flat_map(|c| (0..tiles).map(move |t| moment(t, c)));
            let count = (norm.pixels * in_group) as f32;
            let mean = each().map(|(n, mean, _)| n * mean).sum::<f32>() / count;
            let squares: f32 = each().map(|(n, m, squares)| squares + n * (m - mean) * (m - mean)).sum();
            let inverse = 1.0 / (squares / count + norm.eps).sqrt();
            for c in members {
                scales[c] = norm.weight[c] * inverse;
                shifts[c] = norm.bias[c] - mean * scales[c];
            }
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
