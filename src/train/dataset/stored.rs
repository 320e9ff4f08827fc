//! A data set as the bytes of one file, and parts of it.

use super::{Dataset, Pixels};
use crate::checkpoint::WeightsReader;
use crate::checkpoint::save::safetensors;
use crate::checkpoint::weights::{Dtype, Tensor, Weights};
use crate::error::{Error, Result};

const PIXELS: &str = "pixels";
const LABELS: &str = "labels";
const NAMES: &str = "names.json";
/// What errors call the file.
const FILE: &str = "the stored data set";

impl Dataset {
    /// The data set as a safetensors file, which [`Self::load`] reads.
    #[must_use]
    pub fn save(&self) -> Vec<u8> {
        let shape = [vec![self.len()], self.shape.to_vec()].concat();
        let mut file = Weights::default();
        let mut insert = |name: &str, dtype, shape, bytes| file.insert(name, Tensor { dtype, shape, bytes });
        match &self.pixels {
            Pixels::Bytes(bytes) => insert(PIXELS, Dtype::Other("U8"), shape, bytes.clone()),
            Pixels::Floats(floats) => {
                insert(PIXELS, Dtype::F32, shape, floats.iter().flat_map(|v| v.to_le_bytes()).collect());
            }
        }
        if let Some(labels) = &self.labels {
            let bytes = labels.iter().flat_map(|l| l.to_le_bytes()).collect();
            insert(LABELS, Dtype::Other("U32"), vec![labels.len()], bytes);
        }
        // A list of strings always serialises.
        let names = serde_json::to_vec(&self.names).unwrap_or_default();
        insert(NAMES, Dtype::Other("U8"), vec![names.len()], names);
        safetensors(&file)
    }

    /// The data set that [`Self::save`] wrote.
    ///
    /// # Errors
    /// [`Error::Safetensors`] and [`Error::Dataset`] where the bytes are none.
    pub fn load(bytes: &[u8]) -> Result<Self> {
        let refuse = |problem: &str| Error::Dataset { problem: format!("{FILE} {problem}") };
        let mut reader = WeightsReader::new(FILE);
        reader.push(bytes)?;
        let mut file = reader.finish()?;
        let pixels = file.take(PIXELS).ok_or_else(|| refuse("holds no pixels"))?;
        let [_, channels, height, width] = pixels.shape[..] else { return Err(refuse("holds no images")) };
        let names = file.take(NAMES).map(|t| serde_json::from_slice(&t.bytes)).transpose();
        let data = Self {
            shape: [channels, height, width],
            pixels: match pixels.dtype {
                Dtype::F32 => Pixels::Floats(pixels.to_f32(PIXELS)?),
                _ => Pixels::Bytes(pixels.bytes),
            },
            labels: file
                .take(LABELS)
                .map(|t| t.bytes.as_chunks().0.iter().map(|b| u32::from_le_bytes(*b)).collect()),
            names: names.map_err(|e| refuse(&e.to_string()))?.unwrap_or_default(),
        };
        data.check()?;
        Ok(data)
    }

    /// Items as the network sees them, `[count, channels, height, width]`. A position beyond the last is the last.
    #[must_use]
    pub fn items(&self, positions: &[u32], flip: bool) -> Vec<f32> {
        let len = self.image_len();
        let mut items = vec![0.0; positions.len() * len];
        for (item, position) in items.chunks_mut(len).zip(positions) {
            self.image((*position as usize).min(self.len() - 1), flip, item);
        }
        items
    }

    /// The items of these positions, with the names of all classes.
    pub(in crate::train) fn subset(&self, positions: &[usize]) -> Self {
        let len = self.image_len();
        let range = |i: usize| i * len..(i + 1) * len;
        let pixels = match &self.pixels {
            Pixels::Bytes(bytes) => {
                Pixels::Bytes(positions.iter().flat_map(|i| bytes[range(*i)].iter().copied()).collect())
            }
            Pixels::Floats(floats) => {
                Pixels::Floats(positions.iter().flat_map(|i| floats[range(*i)].iter().copied()).collect())
            }
        };
        let labels = self.labels.as_ref().map(|labels| positions.iter().map(|i| labels[*i]).collect());
        Self { shape: self.shape, pixels, labels, names: self.names.clone() }
    }
}
