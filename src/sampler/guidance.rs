//! Classifier-free guidance (Ho and Salimans 2022): `D = D(∅) + g · (D(c) - D(∅))`, in an interval of levels (Kynkäänniemi et al. 2024), and
//! with the deviation of what is wanted (Lin et al. 2023, section 3.4). Every sampler can be guided: [`Recorder::denoise`] asks twice.
//!
//! [`Recorder::denoise`]: super::Recorder::denoise

use super::program::Guided;
use crate::denoiser::Level;
use crate::error::{Error, Result};
use crate::text::number;

/// How strongly a run keeps to its labels.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Guidance {
    /// g, 0 to 100. At 1 the network is asked once, as without guidance.
    pub scale: f64,
    /// φ, 0 to 1: how far the guided answer's deviation is brought back to that of the answer for what is wanted.
    pub rescale: f64,
    /// The levels to guide at, both included, by their σ/α from 0 on. At others the network is asked once, for what is wanted.
    pub interval: [f64; 2],
}

impl Default for Guidance {
    fn default() -> Self {
        Self { scale: 1.0, rescale: 0.0, interval: [0.0, f64::INFINITY] }
    }
}

impl Guidance {
    /// With this g, 0 to 100.
    #[must_use]
    pub fn scale(self, scale: f64) -> Self {
        Self { scale, ..self }
    }

    /// With this φ, 0 to 1.
    #[must_use]
    pub fn rescale(self, rescale: f64) -> Self {
        Self { rescale, ..self }
    }

    /// At these levels alone, from the lower to the higher.
    #[must_use]
    pub fn interval(self, interval: [f64; 2]) -> Self {
        Self { interval, ..self }
    }

    /// # Errors
    /// [`Error::Option`] for numbers out of their range.
    pub fn check(&self) -> Result<()> {
        let within = |option, value: f64, most: f64| {
            if (0.0..=most).contains(&value) {
                return Ok(());
            }
            Err(Error::Option {
                option,
                found: number(value),
                expected: format!("from 0 to {}", number(most)),
            })
        };
        within("guidance", self.scale, 100.0)?;
        within("guidance_rescale", self.rescale, 1.0)?;
        let [least, most] = self.interval;
        if least >= 0.0 && least <= most {
            return Ok(());
        }
        Err(Error::Option {
            option: "guidance_interval",
            found: format!("{} to {}", number(least), number(most)),
            expected: "two levels sigma/alpha, 0 or more and the lower one first".to_owned(),
        })
    }

    /// How to mix at a level; `None` where the network is asked once.
    pub(super) fn at(&self, level: Level) -> Option<Guided> {
        let [least, most] = self.interval;
        let guides = self.scale != 1.0 && (least..=most).contains(&(level.sigma / level.alpha));
        guides.then_some(Guided { scale: self.scale, rescale: self.rescale })
    }
}

impl Guided {
    /// Mixes answers, those for what is wanted and then as many for what is not, `images` of each; `len` numbers of an image's are what the
    /// network says of the image. What it says of the variance is taken from the first.
    pub(super) fn mix(self, mut answers: Vec<f32>, images: usize, len: usize) -> Vec<f32> {
        let half = answers.len() / 2;
        let (given, empty) = answers.split_at_mut(half);
        let stride = given.len() / images;
        let (g, rest) = (self.scale as f32, (1.0 - self.scale) as f32);
        for (given, empty) in given.chunks_exact_mut(stride).zip(empty.chunks_exact(stride)) {
            let given = &mut given[..len];
            let wanted = deviation(given);
            for (given, empty) in given.iter_mut().zip(empty) {
                *given = g * *given + rest * empty;
            }
            if self.rescale > 0.0 {
                // A picture of one value has no deviation to bring back.
                let found = deviation(given).max(f64::MIN_POSITIVE);
                let factor = (self.rescale * wanted / found + 1.0 - self.rescale) as f32;
                given.iter_mut().for_each(|v| *v *= factor);
            }
        }
        answers.truncate(stride * images);
        answers
    }
}

fn deviation(values: &[f32]) -> f64 {
    let count = values.len() as f64;
    let mean = values.iter().map(|v| f64::from(*v)).sum::<f64>() / count;
    (values.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>() / count).sqrt()
}
