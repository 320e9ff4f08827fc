//! From pictures of any size, or arrays, to a data set of one size.

use std::collections::BTreeMap;

use super::{Dataset, Pixels};
use crate::error::{Error, Result};

/// A decoded picture: RGBA bytes, `[height, width, 4]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
    /// The pixels, row by row.
    pub rgba: Vec<u8>,
}

/// What of some input was left out, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// The file, or the part of one.
    pub name: String,
    /// Why it is no picture.
    pub why: String,
}

/// Collects pictures and makes them alike: the middle square of each, shrunk by averaging or enlarged by repeating, over
/// white where it is transparent; grey if all are.
#[derive(Clone, Debug, Default)]
pub struct Builder {
    size: Option<usize>,
    rgb: Vec<u8>,
    classes: Vec<String>,
    skipped: Vec<Skipped>,
}

/// The sizes that a data set's pictures have unless the caller names one.
const SIZES: std::ops::RangeInclusive<usize> = 8..=32;
/// The largest picture that is read, in pixels.
pub(super) const MAX_PIXELS: usize = 1 << 26;

impl Builder {
    /// `size` is the height and width of the data set's pictures. Without one it is that of the first picture, down to a
    /// multiple of 8, from 8 to 32.
    ///
    /// # Errors
    /// [`Error::Option`] unless it is from 4 to 256.
    pub fn new(size: Option<usize>) -> Result<Self> {
        if let Some(found) = size.filter(|s| !(4..=256).contains(s)) {
            let (found, expected) = (found.to_string(), "4 to 256 pixels".to_owned());
            return Err(Error::Option { option: "size", found, expected });
        }
        Ok(Self { size, ..Self::default() })
    }

    /// Adds a picture of a class; an empty name is no class.
    pub fn add(&mut self, class: &str, picture: &Picture) {
        let Picture { width, height, rgba } = picture;
        let side = (*width).min(*height);
        if side == 0 || rgba.len() != 4 * width * height {
            return self.skip(class, "it has no pixels");
        }
        let size = *self.size.get_or_insert((side / 8 * 8).clamp(*SIZES.start(), *SIZES.end()));
        let (left, top) = ((width - side) / 2, (height - side) / 2);
        let pixel = |x: usize, y: usize| {
            let at = 4 * ((top + y) * width + left + x);
            let alpha = u32::from(rgba[at + 3]);
            [0, 1, 2].map(|c| (u32::from(rgba[at + c]) * alpha + 255 * (255 - alpha)) as f32 / 255.0)
        };
        let spans = spans(side, size);
        for rows in &spans {
            for columns in &spans {
                let mut sum = [0.0; 3];
                for (y, wy) in rows {
                    for (x, wx) in columns {
                        let p = pixel(*x, *y);
                        (0..3).for_each(|c| sum[c] += wy * wx * p[c]);
                    }
                }
                self.rgb.extend(sum.map(|v| v.round().clamp(0.0, 255.0) as u8));
            }
        }
        self.classes.push(class.to_owned());
    }

    /// Notes what was left out.
    pub fn skip(&mut self, name: &str, why: &str) {
        self.skipped.push(Skipped { name: name.to_owned(), why: why.to_owned() });
    }

    /// How many pictures there are so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.classes.len()
    }

    /// Whether there are none so far.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.classes.is_empty()
    }

    /// The data set, with classes where there is more than one, and what was left out.
    ///
    /// # Errors
    /// [`Error::Dataset`] where there are no pictures, which names the first of what was left out.
    pub fn finish(self) -> Result<(Dataset, Vec<Skipped>)> {
        let Some(size) = self.size.filter(|_| !self.is_empty()) else {
            let problem = match self.skipped.first() {
                None => "there are no pictures in it".to_owned(),
                Some(Skipped { name, why }) => format!(
                    "there are no pictures in it. {} files were left out, first of all {name}: {why}",
                    self.skipped.len()
                ),
            };
            return Err(Error::Dataset { problem });
        };
        let grey = self.rgb.chunks_exact(3).all(|p| p[0] == p[1] && p[1] == p[2]);
        let channels = if grey { 1 } else { 3 };
        let plane = size * size;
        let mut bytes = Vec::with_capacity(self.len() * channels * plane);
        for image in self.rgb.chunks_exact(3 * plane) {
            for channel in 0..channels {
                bytes.extend(image.iter().skip(channel).step_by(3));
            }
        }
        let numbers: BTreeMap<&str, u32> = {
            let mut names: Vec<&str> = self.classes.iter().map(String::as_str).collect();
            names.sort_unstable();
            names.dedup();
            names.into_iter().zip(0..).collect()
        };
        let labels = (numbers.len() > 1).then(|| self.classes.iter().map(|c| numbers[c.as_str()]).collect());
        let names =
            if labels.is_some() { numbers.keys().map(|n| (*n).to_owned()).collect() } else { Vec::new() };
        let data = Dataset { shape: [channels, size, size], pixels: Pixels::Bytes(bytes), labels, names };
        data.check()?;
        Ok((data, self.skipped))
    }
}

/// For each pixel of a line shrunk or enlarged from `from` to `to` pixels, the pixels it is made of with their weights.
fn spans(from: usize, to: usize) -> Vec<Vec<(usize, f32)>> {
    let ratio = from as f32 / to as f32;
    let span = |i: usize| {
        if from <= to {
            return vec![(i * from / to, 1.0)];
        }
        let (start, end) = (i as f32 * ratio, (i + 1) as f32 * ratio);
        let covered = |p: usize| ((p + 1) as f32).min(end) - (p as f32).max(start);
        (start as usize..(end.ceil() as usize).min(from)).map(|p| (p, covered(p) / ratio)).collect()
    };
    (0..to).map(span).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(width: usize, height: usize, colour: impl Fn(usize, usize) -> [u8; 4]) -> Picture {
        let rgba = (0..width * height).flat_map(|p| colour(p % width, p / width)).collect();
        Picture { width, height, rgba }
    }

    #[test]
    fn the_middle_square_is_averaged() {
        let mut builder = Builder::new(Some(4)).unwrap();
        // Left and right are cut off; each 2×2 is black and white.
        let board = |x: usize, y: usize| {
            let grey = (x + y) as u8 % 2 * 255;
            if (2..10).contains(&x) { [grey, grey, grey, 255] } else { [9, 0, 0, 255] }
        };
        builder.add("", &picture(12, 8, board));
        let (data, _) = builder.finish().unwrap();
        assert_eq!((data.shape, data.pixels), ([1, 4, 4], Pixels::Bytes(vec![128; 16])));
        assert_eq!(data.labels, None);
    }

    #[test]
    fn transparent_is_white_and_classes_are_sorted() {
        let mut builder = Builder::new(None).unwrap();
        builder.add("b", &picture(9, 8, |_, _| [200, 0, 0, 0]));
        builder.add("a", &picture(4, 4, |_, _| [0, 255, 0, 255]));
        let (data, _) = builder.finish().unwrap();
        assert_eq!(data.shape, [3, 8, 8]);
        assert_eq!(
            (data.labels.clone(), data.names.clone()),
            (Some(vec![1, 0]), vec!["a".to_owned(), "b".to_owned()])
        );
        let mut image = [0.0; 192];
        data.image(0, false, &mut image);
        assert_eq!(image, [1.0; 192]);
        data.image(1, false, &mut image);
        assert_eq!([image[0], image[64], image[128]], [-1.0, 1.0, -1.0]);
    }

    #[test]
    fn nothing_is_no_data_set() {
        assert!(matches!(Builder::new(None).unwrap().finish(), Err(Error::Dataset { .. })));
        assert!(Builder::new(Some(0)).is_err() && Builder::new(Some(100_000)).is_err());
        let mut builder = Builder::new(None).unwrap();
        builder.skip("notes.txt", "it is text");
        let Err(error) = builder.finish() else { panic!("there is nothing in it") };
        assert!(error.to_string().contains("notes.txt: it is text"));
    }
}
