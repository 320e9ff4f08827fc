//! A run's state as one file, from which it goes on exactly.

use std::sync::Arc;

use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use super::dataset::{Dataset, Pixels};
use super::recipe::Recipe;
use super::trainer::{Numbers, Trainer};
use crate::checkpoint::save::safetensors;
use crate::checkpoint::weights::{Dtype, Tensor, Weights};
use crate::checkpoint::{Checkpoint, WeightsReader};
use crate::error::{Error, Result};

/// What the file holds beside the numbers.
#[derive(Serialize, Deserialize)]
struct Record {
    /// Counts the incompatible changes of this format.
    version: u32,
    recipe: Recipe,
    step: u64,
    /// The fingerprint of the data trained on.
    data: u64,
    /// Channels, height and width of the data; states of before do not tell.
    #[serde(default)]
    shape: Option<[usize; 3]>,
}

const VERSION: u32 = 1;
const RECORD: &str = "run.json";
/// Of all the other tensors' bytes, in the order of their names.
const CHECKSUM: &str = "~checksum";
const NUMBERS: [&str; 5] = ["weights", "first_moment", "second_moment", "averaged", "frequencies"];

impl Trainer {
    /// The run's state after its last step: a safetensors file with the trained and averaged weights, AdamW's averages, the recipe and
    /// the step. Random numbers and the order of the data follow from these.
    ///
    /// # Errors
    /// [`Error::Diverged`] where a loss was not finite, so that no state is saved that is of no use;
    /// [`Error::DeviceLost`].
    pub async fn save(&self) -> Result<Vec<u8>> {
        self.state_of(&self.numbers().await?)
    }

    /// The state and the checkpoint of the averaged weights, which are read back once for both.
    ///
    /// # Errors
    /// As [`Self::save`] and [`Self::checkpoint`].
    pub async fn save_with_checkpoint(&self) -> Result<(Vec<u8>, Checkpoint)> {
        let numbers = self.numbers().await?;
        Ok((self.state_of(&numbers)?, self.checkpoint_of(&numbers.averaged)?))
    }

    fn state_of(&self, numbers: &Numbers) -> Result<Vec<u8>> {
        let parts =
            [&numbers.weights, &numbers.first, &numbers.second, &numbers.averaged, &numbers.frequencies];
        if let Some(bad) = parts.iter().flat_map(|p| p.iter()).find(|v| !v.is_finite()) {
            let step = numbers.step.saturating_sub(1);
            let learning_rate = self.recipe().optimiser.rate(step, self.recipe().steps);
            return Err(Error::Diverged { step, loss: *bad, learning_rate });
        }
        let mut weights = Weights::default();
        for (name, values) in NUMBERS.iter().zip(parts) {
            weights.insert(*name, Tensor::from_f32(&[values.len()], values));
        }
        let record = Record {
            version: VERSION,
            recipe: self.recipe().clone(),
            step: numbers.step,
            data: fingerprint(self.data()),
            shape: Some(self.data().shape),
        };
        // A record of numbers and strings always serialises.
        let bytes = serde_json::to_vec(&record).unwrap_or_default();
        weights.insert(RECORD, Tensor { dtype: Dtype::Other("U8"), shape: vec![bytes.len()], bytes });
        let bytes = checksum(&weights).to_le_bytes().to_vec();
        weights.insert(CHECKSUM, Tensor { dtype: Dtype::Other("U64"), shape: vec![1], bytes });
        Ok(safetensors(&weights))
    }

    /// The run that [`Self::save`] wrote `bytes` of, on the same data. `file` names them in errors.
    ///
    /// # Errors
    /// [`Error::Resume`] where the bytes are no such file, damaged, or of a run on other data.
    pub fn resume(file: &str, bytes: &[u8], data: Arc<Dataset>, device: &Device) -> Result<Self> {
        SavedRun::read(file, bytes)?.resume(data, device)
    }
}

/// A run's state, read: what it says of itself before there are data to go on with.
pub struct SavedRun {
    file: String,
    record: Record,
    numbers: Weights,
}

impl SavedRun {
    /// Reads what [`Trainer::save`] wrote. `file` names it in errors.
    ///
    /// # Errors
    /// [`Error::Resume`] where the bytes are no such file, or damaged.
    pub fn read(file: &str, bytes: &[u8]) -> Result<Self> {
        let numbers = read(file, bytes)?;
        Ok(Self { file: file.to_owned(), record: record(file, &numbers)?, numbers })
    }

    /// Number of optimiser steps done.
    #[must_use]
    pub fn step(&self) -> u64 {
        self.record.step
    }

    /// Height and width of the pictures that it was trained on; none where the state does not tell.
    #[must_use]
    pub fn picture_size(&self) -> Option<usize> {
        let of_network = || self.record.recipe.unet.get("sample_size")?.as_u64().map(|size| size as usize);
        self.record.shape.map(|[_, height, _]| height).or_else(of_network)
    }

    /// Whether it was trained on these data.
    #[must_use]
    pub fn is_of(&self, data: &Dataset) -> bool {
        self.record.data == fingerprint(data)
    }

    /// The run, on the same data.
    ///
    /// # Errors
    /// [`Error::Resume`] for other data.
    pub fn resume(mut self, data: Arc<Dataset>, device: &Device) -> Result<Trainer> {
        let file = self.file.clone();
        let refuse = |problem: String| Error::Resume { file: file.clone(), problem };
        if !self.is_of(&data) {
            return Err(refuse(
                "it was trained on other images. Give the same ones, or start a new run from its model"
                    .to_owned(),
            ));
        }
        let mut take = |name: &str| {
            let tensor = self.numbers.take(name).ok_or_else(|| refuse(format!("it lacks `{name}`")))?;
            tensor.to_f32(name).map_err(|e| refuse(e.to_string()))
        };
        let numbers = Numbers {
            weights: take(NUMBERS[0])?,
            first: take(NUMBERS[1])?,
            second: take(NUMBERS[2])?,
            averaged: take(NUMBERS[3])?,
            frequencies: take(NUMBERS[4])?,
            step: self.record.step,
        };
        let lengths = [&numbers.weights, &numbers.first, &numbers.second, &numbers.averaged].map(Vec::len);
        let trainer = Trainer::from_numbers(self.record.recipe, data, device, numbers)?;
        if lengths.iter().any(|l| *l != trainer.parameter_count()) {
            return Err(refuse(format!(
                "it holds {lengths:?} numbers for a network of {}",
                trainer.parameter_count()
            )));
        }
        Ok(trainer)
    }
}

/// The recipe and the step of a run's state.
///
/// # Errors
/// [`Error::Resume`] where the bytes are no such file.
pub fn inspect(file: &str, bytes: &[u8]) -> Result<(Recipe, u64)> {
    let SavedRun { record, .. } = SavedRun::read(file, bytes)?;
    Ok((record.recipe, record.step))
}

fn read(file: &str, bytes: &[u8]) -> Result<Weights> {
    let refuse = |e: Error| Error::Resume { file: file.to_owned(), problem: e.to_string() };
    let mut reader = WeightsReader::new(file);
    reader.push(bytes).map_err(refuse)?;
    let mut weights = reader.finish().map_err(refuse)?;
    let problem = match weights.take(CHECKSUM) {
        None => "it is not the state of a training run".to_owned(),
        Some(stored) if stored.bytes != checksum(&weights).to_le_bytes() => {
            "its bytes have changed since it was written. Use an earlier one".to_owned()
        }
        Some(_) => return Ok(weights),
    };
    Err(Error::Resume { file: file.to_owned(), problem })
}

fn record(file: &str, weights: &Weights) -> Result<Record> {
    let refuse = |problem: String| Error::Resume { file: file.to_owned(), problem };
    let tensor =
        weights.get(RECORD).ok_or_else(|| refuse("it is not the state of a training run".to_owned()))?;
    let record: Record = serde_json::from_slice(&tensor.bytes).map_err(|e| refuse(e.to_string()))?;
    if record.version != VERSION {
        return Err(refuse(format!("it has version {}, but this program reads {VERSION}", record.version)));
    }
    Ok(record)
}

/// 64-bit FNV-1a: it tells damage, not malice.
struct Checksum(u64);

impl Default for Checksum {
    fn default() -> Self {
        Self(0xCBF2_9CE4_8422_2325)
    }
}

fn checksum(weights: &Weights) -> u64 {
    let mut checksum = Checksum::default();
    for tensor in weights.names().filter_map(|name| weights.get(name)) {
        checksum.add(&tensor.bytes);
    }
    checksum.0
}

impl Checksum {
    fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3);
        }
    }
}

fn fingerprint(data: &Dataset) -> u64 {
    let mut checksum = Checksum::default();
    data.shape.iter().for_each(|n| checksum.add(&(*n as u64).to_le_bytes()));
    match &data.pixels {
        Pixels::Bytes(bytes) => checksum.add(bytes),
        Pixels::Floats(floats) => floats.iter().for_each(|v| checksum.add(&v.to_le_bytes())),
    }
    data.labels.iter().flatten().for_each(|l| checksum.add(&l.to_le_bytes()));
    checksum.0
}
