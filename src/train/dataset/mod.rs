//! What a network is trained on: images of one size, and their labels.

mod archive;
mod array;
mod builder;
mod decode;
mod exif;
#[cfg(not(target_arch = "wasm32"))]
mod files;
mod names;
#[cfg(not(target_arch = "wasm32"))]
mod one;
mod problem;
mod reader;
mod source;
#[cfg(feature = "burn")]
mod stored;
pub mod toy;

pub use builder::{Builder, Class, Options, Picture, Skipped};
pub use exif::Orientation;
#[cfg(not(target_arch = "wasm32"))]
pub use files::open;
#[cfg(not(target_arch = "wasm32"))]
pub use one::{Given, read_one};
pub use reader::{Reader, Reading, Step};
pub use source::Source;

use crate::error::{Error, Result};

/// Images of one size with labels.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Dataset {
    /// Channels, height and width.
    pub shape: [usize; 3],
    /// The images, `[count, channels, height, width]`.
    pub pixels: Pixels,
    /// Each image's class, where there are classes.
    pub labels: Option<Vec<u32>>,
    /// The classes' names.
    pub names: Vec<String>,
}

/// The numbers of a [`Dataset`].
#[derive(Clone, Debug, PartialEq)]
pub enum Pixels {
    /// Bytes that stand for -1 (0) to 1 (255).
    Bytes(Vec<u8>),
    /// Numbers as the network sees them.
    Floats(Vec<f32>),
}

impl Default for Pixels {
    fn default() -> Self {
        Self::Bytes(Vec::new())
    }
}

impl Pixels {
    /// How many numbers there are.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::Floats(floats) => floats.len(),
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The most images of a data set.
pub const MAX_IMAGES: usize = 1 << 24;

impl Dataset {
    /// Number of images.
    #[must_use]
    pub fn len(&self) -> usize {
        self.pixels.len() / self.image_len().max(1)
    }

    /// Whether there are no images.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Numbers of one image.
    #[must_use]
    pub fn image_len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether every number is -1 or 1.
    #[must_use]
    pub fn is_bits(&self) -> bool {
        matches!(&self.pixels, Pixels::Floats(floats) if floats.iter().all(|v| v.abs() == 1.0))
    }

    /// Whether items are points or bits, lists of numbers that no `UNet2DModel` takes, and not images.
    #[must_use]
    pub fn is_list(&self) -> bool {
        self.shape[1..] == [1, 1]
    }

    /// Number of classes, 0 where there are none.
    #[must_use]
    pub fn classes(&self) -> usize {
        self.labels.as_ref().map_or(0, |_| self.names.len())
    }

    /// Writes image `index` as the network sees it, `[channels, height, width]`, mirrored left to right if asked.
    pub fn image(&self, index: usize, flip: bool, out: &mut [f32]) {
        let range = index * self.image_len()..(index + 1) * self.image_len();
        match &self.pixels {
            Pixels::Bytes(bytes) => {
                for (to, from) in out.iter_mut().zip(&bytes[range]) {
                    *to = f32::from(*from) / 127.5 - 1.0;
                }
            }
            Pixels::Floats(floats) => out.copy_from_slice(&floats[range]),
        }
        if flip {
            out.chunks_mut(self.shape[2]).for_each(<[f32]>::reverse);
        }
    }

    /// Checks that images, labels and names belong together.
    ///
    /// # Errors
    /// [`Error::Dataset`] where there is nothing to train on, or something does not fit.
    pub fn check(&self) -> Result<()> {
        let refuse = |problem: String| Err(Error::Dataset { problem });
        if self.is_empty() {
            return refuse("there are no images in it".to_owned());
        }
        if self.len() > MAX_IMAGES {
            return refuse(format!("{} images are more than {MAX_IMAGES}", self.len()));
        }
        if self.pixels.len() != self.len() * self.image_len() {
            return refuse(format!("{} numbers are no whole images of {:?}", self.pixels.len(), self.shape));
        }
        if let Pixels::Floats(floats) = &self.pixels
            && let Some(at) = floats.iter().position(|v| !v.is_finite())
        {
            return refuse(format!("image {} holds {}", at / self.image_len(), floats[at]));
        }
        if let Some(labels) = &self.labels {
            if labels.len() != self.len() {
                return refuse(format!("{} labels for {} images", labels.len(), self.len()));
            }
            if let Some(label) = labels.iter().find(|l| **l as usize >= self.names.len()) {
                return refuse(format!("label {label} of {} classes", self.names.len()));
            }
        }
        Ok(())
    }

    /// Makes one channel of three, by the luma of Rec. 601, as pictures in grey usually are.
    pub fn make_grey(&mut self) {
        let [channels, height, width] = self.shape;
        let Pixels::Bytes(bytes) = &self.pixels else { return };
        if channels < 3 {
            return;
        }
        let plane = height * width;
        let mut grey = Vec::with_capacity(self.len() * plane);
        for image in bytes.chunks_exact(channels * plane) {
            let value = |p: usize| {
                let [r, g, b] = [0, 1, 2].map(|c| u32::from(image[c * plane + p]));
                ((299 * r + 587 * g + 114 * b + 500) / 1000) as u8
            };
            grey.extend((0..plane).map(value));
        }
        self.shape[0] = 1;
        self.pixels = Pixels::Bytes(grey);
    }
}
