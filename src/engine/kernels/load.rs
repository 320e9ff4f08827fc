//! Reading an image for a window: normalised, through the nonlinearity, doubled, and with zeros around it.
//!
//! `activation(x · scale + shift)` for each pixel of the image, and zeros outside: the zeros are those of the normalised
//! image, so they come last. On a GPU this happens while a tile is loaded; here a band of rows at a time is written out.

use std::ops::Range;

use super::Image;
use super::activation::activate;
use crate::Activation;

/// Scale and shift of each channel of one sample.
#[derive(Clone, Copy, Debug)]
pub enum Scale<'a> {
    /// x stays.
    None,
    /// The same for all.
    Constant(f32, f32),
    /// `[2, channels]`: scales, then shifts.
    PerChannel(&'a [f32]),
}

impl Scale<'_> {
    /// One sample's, where `PerChannel` holds `[batch, 2, channels]`.
    #[must_use]
    pub fn sample(self, index: usize, channels: usize) -> Self {
        match self {
            Scale::PerChannel(all) => Scale::PerChannel(&all[index * 2 * channels..][..2 * channels]),
            other => other,
        }
    }
}

/// A sample, and what is applied to its numbers while they are read.
#[derive(Clone, Copy, Debug)]
pub struct Loaded<'a> {
    /// One sample.
    pub image: Image<'a>,
    /// Scale and shift.
    pub scale: Scale<'a>,
    /// The nonlinearity.
    pub activation: Option<Activation>,
}

impl Loaded<'_> {
    /// Writes the image's `rows` and `columns` as its reader counts them, both of which may reach outside, to `out`,
    /// `[rows, columns, channels]`.
    pub fn write(&self, rows: Range<isize>, columns: Range<isize>, out: &mut [f32]) {
        let Image { height, width, upsample, .. } = self.image;
        let channels = self.image.all_channels();
        let shift = u32::from(upsample);
        let (tall, wide) = ((height << shift) as isize, (width << shift) as isize);
        let line = columns.len() * channels;
        // The pixels inside, and the zeros before and after them.
        let inside = columns.start.clamp(0, wide)..columns.end.clamp(0, wide);
        let before = (inside.start - columns.start) as usize * channels;
        let after = before + (inside.end - inside.start) as usize * channels;
        let mut written: Option<(isize, usize)> = None;
        for (i, y) in rows.enumerate() {
            let start = i * line;
            if y < 0 || y >= tall || inside.is_empty() {
                out[start..start + line].fill(0.0);
                continue;
            }
            if let Some((_, same)) = written.filter(|(source, _)| *source == y >> shift) {
                out.copy_within(same..same + line, start);
                continue;
            }
            written = Some((y >> shift, start));
            let row = &mut out[start..start + line];
            row[..before].fill(0.0);
            row[after..].fill(0.0);
            let row = &mut row[before..after];
            let y = (y >> shift) as usize * width;
            if !upsample {
                let pixels = y + inside.start as usize..y + inside.end as usize;
                self.pixels(pixels, row);
                continue;
            }
            // The pixels go to the end of the row first, and are then doubled from there, from left to right.
            let (first, last) = (inside.start as usize >> 1, (inside.end as usize).div_ceil(2));
            let tail = row.len() - (last - first) * channels;
            self.pixels(y + first..y + last, &mut row[tail..]);
            for (i, x) in (inside.start as usize..inside.end as usize).enumerate() {
                let from = tail + ((x >> 1) - first) * channels;
                row.copy_within(from..from + channels, i * channels);
            }
        }
    }

    /// Pixels of the image, counted in reading order.
    fn pixels(&self, pixels: Range<usize>, out: &mut [f32]) {
        let (a, b) = self.image.channels;
        let first = &self.image.first[pixels.start * a..pixels.end * a];
        if b == 0 {
            self.scale(first, a, 0, out, a);
        } else {
            self.scale(first, a, 0, out, a + b);
            let second = &self.image.second[pixels.start * b..pixels.end * b];
            self.scale(second, b, a, &mut out[a..], a + b);
        }
        if let Some(activation) = self.activation {
            activate(activation, out);
        }
    }

    /// Pixels of one image, the channels from `at`, each to the start of `stride` floats.
    fn scale(&self, pixels: &[f32], channels: usize, at: usize, out: &mut [f32], stride: usize) {
        let pairs = pixels.chunks_exact(channels).zip(out.chunks_mut(stride));
        match self.scale {
            Scale::None => pairs.for_each(|(x, out)| out[..channels].copy_from_slice(x)),
            Scale::Constant(scale, shift) => {
                pairs.for_each(|(x, out)| {
                    for (out, x) in out.iter_mut().zip(x) {
                        *out = x * scale + shift;
                    }
                });
            }
            Scale::PerChannel(both) => {
                let (scales, shifts) = both.split_at(both.len() / 2);
                let (scales, shifts) = (&scales[at..at + channels], &shifts[at..at + channels]);
                pairs.for_each(|(x, out)| {
                    for (((out, x), scale), shift) in
                        out[..channels].iter_mut().zip(x).zip(scales).zip(shifts)
                    {
                        *out = x * scale + shift;
                    }
                });
            }
        }
    }
}
