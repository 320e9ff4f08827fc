//! What a `UNet2DModel` is given beside the image: timesteps and labels, checked and made into vectors.

use super::config::{TimeEmbedding, UNet2DConfig};
use crate::error::{Error, Result};
use crate::network::architecture::ClassEmbedding;
use crate::network::sinusoid::Sinusoid;
use crate::text::number;

impl UNet2DConfig {
    pub(super) fn time_width(&self) -> usize {
        match self.time_embedding_type {
            TimeEmbedding::Positional => self.block_out_channels[0],
            TimeEmbedding::Fourier => 2 * self.block_out_channels[0],
            TimeEmbedding::Learned => 1,
        }
    }

    /// The positional embedding.
    pub(super) fn sinusoid(&self) -> Sinusoid {
        let (freq_shift, flip_sin_to_cos) = (self.freq_shift, self.flip_sin_to_cos);
        Sinusoid { width: self.block_out_channels[0], freq_shift, flip_sin_to_cos }
    }

    pub(super) fn class_width(&self) -> Option<usize> {
        match self.class_embedding {
            ClassEmbedding::None => None,
            ClassEmbedding::Table(_) => Some(1),
            ClassEmbedding::Timestep => Some(self.time_width()),
            ClassEmbedding::Identity(width) => Some(width),
        }
    }

    pub(super) fn divides_by_time(&self) -> bool {
        self.time_embedding_type == TimeEmbedding::Fourier
    }

    pub(super) fn labels_suit(&self, samples: usize, labels: Option<&[f32]>) -> Result<()> {
        let wrong =
            |found: String| Error::Option { option: "labels", found, expected: self.expected_labels() };
        let labels = match (self.class_embedding, labels) {
            (ClassEmbedding::None, None) => return Ok(()),
            (ClassEmbedding::None, Some(_)) => return Err(wrong("given".to_owned())),
            (_, None) => return Err(wrong("missing".to_owned())),
            (_, Some(labels)) => labels,
        };
        let each = if let ClassEmbedding::Identity(width) = self.class_embedding { width } else { 1 };
        if samples.checked_mul(each) != Some(labels.len()) {
            return Err(wrong(format!("{} numbers for {samples} samples", labels.len())));
        }
        for label in labels {
            match self.class_embedding {
                ClassEmbedding::Table(rows) if !is_row(*label, rows) => {
                    return Err(wrong(number(f64::from(*label))));
                }
                ClassEmbedding::Timestep => self.check_embedded("labels", *label)?,
                _ if !label.is_finite() => return Err(wrong(number(f64::from(*label)))),
                _ => {}
            }
        }
        Ok(())
    }

    /// Whether a timestep, or a label that is embedded as one, is one.
    pub(super) fn check_embedded(&self, option: &'static str, number: f32) -> Result<()> {
        let expected = match (self.time_embedding_type, self.num_train_timesteps) {
            (TimeEmbedding::Learned, Some(rows)) if !is_row(number, rows) => {
                format!("a row of the learned table, 0 to {}", rows - 1)
            }
            (TimeEmbedding::Fourier, _) if !(number > 0.0 && number.is_finite()) => {
                "above 0, as its logarithm is taken".to_owned()
            }
            _ if !number.is_finite() => "a finite number".to_owned(),
            _ => return Ok(()),
        };
        Err(Error::Option { option, found: crate::text::number(number.into()), expected })
    }

    fn expected_labels(&self) -> String {
        match self.class_embedding {
            ClassEmbedding::None => "left out: this network knows no classes".to_owned(),
            ClassEmbedding::Table(rows) => format!("a whole number from 0 to {} for each sample", rows - 1),
            ClassEmbedding::Timestep => "a number for each sample".to_owned(),
            ClassEmbedding::Identity(width) => format!("a vector of {width} numbers for each sample"),
        }
    }

    /// The vector that stands for `timestep` at the network's input: [`Self::time_width`] numbers. `frequencies` are
    /// the checkpoint's `time_proj.weight` where the embedding is of the Fourier kind, and unused otherwise.
    pub(super) fn time_features(&self, timestep: f32, frequencies: &[f32]) -> Vec<f32> {
        match self.time_embedding_type {
            TimeEmbedding::Learned => vec![timestep],
            TimeEmbedding::Positional => self.sinusoid().features(timestep),
            TimeEmbedding::Fourier => {
                let angles: Vec<f32> =
                    frequencies.iter().map(|w| timestep.ln() * w * 2.0 * std::f32::consts::PI).collect();
                angles.iter().map(|a| a.sin()).chain(angles.iter().map(|a| a.cos())).collect()
            }
        }
    }
}

/// Whether a number names a row of a table.
fn is_row(number: f32, rows: usize) -> bool {
    number.fract() == 0.0 && (0.0..rows as f32).contains(&number)
}
