//! An image written out, element by element: loaded, and combined with an operand.

use std::ops::Range;

use super::load::Loaded;

/// What some rows of a sample are combined with, number by number; y is a loaded number of channel c.
#[derive(Clone, Copy, Debug)]
pub enum Operand<'a> {
    /// Nothing.
    None,
    /// `y +` the number in its place.
    Image(&'a [f32]),
    /// `y + v[c]`.
    PerChannel(&'a [f32]),
    #[cfg(feature = "text")]
    /// `y · v[c]`.
    ScalePerChannel(&'a [f32]),
    /// `y · (1 + v[c]) + v[channels + c]`.
    ScaleShift(&'a [f32]),
    /// `y · v`.
    Scale(f32),
}

/// Some `rows` of one sample to `out`, `[rows, width, channels]`; the height and width are twice the image's where it is doubled. Without an
/// image, all y are 0.
pub fn map(loaded: Option<&Loaded>, operand: Operand, rows: Range<usize>, channels: usize, out: &mut [f32]) {
    match loaded {
        None => out.fill(0.0),
        Some(loaded) => {
            let width = loaded.image.width << u32::from(loaded.image.upsample);
            loaded.write(rows.start as isize..rows.end as isize, 0..width as isize, out);
        }
    }
    match operand {
        Operand::None => {}
        Operand::Image(image) => out.iter_mut().zip(image).for_each(|(y, x)| *y += x),
        Operand::PerChannel(v) => {
            for pixel in out.chunks_exact_mut(channels) {
                pixel.iter_mut().zip(v).for_each(|(y, v)| *y += v);
            }
        }
        #[cfg(feature = "text")]
        Operand::ScalePerChannel(v) => {
            for pixel in out.chunks_exact_mut(channels) {
                pixel.iter_mut().zip(v).for_each(|(y, v)| *y *= v);
            }
        }
        Operand::ScaleShift(v) => {
            let (s, b) = v.split_at(channels);
            for pixel in out.chunks_exact_mut(channels) {
                pixel.iter_mut().zip(s).zip(b).for_each(|((y, s), b)| *y = *y * (1.0 + s) + b);
            }
        }
        Operand::Scale(factor) => out.iter_mut().for_each(|y| *y *= factor),
    }
}
