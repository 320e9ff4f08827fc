//! Writes what [`Checkpoint`] reads: diffusers' folder layout A, which `DDPMPipeline.from_pretrained` opens.

#[cfg(not(target_arch = "wasm32"))]
use std::path::Path;

use half::f16;
use serde_json::{Map, Value, json};

use super::labels::Labels;
#[cfg(not(target_arch = "wasm32"))]
use super::weights::Tensor;
use super::weights::{Dtype, Weights};
use super::{Checkpoint, packed};
use crate::error::{Error, Result};
use crate::text;

/// A file of a checkpoint: its path in the folder and its bytes.
pub type File = (String, Vec<u8>);

impl Checkpoint {
    /// The folder's files; the weights are the last, so that a folder with weights is whole.
    #[must_use]
    pub fn files(&self) -> Vec<File> {
        // Its defaults are what a checkpoint without this file is sampled with.
        let default = || match self.scheduler().0 {
            config if config.is_empty() => {
                Map::from_iter([("_class_name".to_owned(), json!("DDPMScheduler"))])
            }
            config => config,
        };
        let scheduler = &self.scheduler_config.clone().unwrap_or_else(default);
        let class = |object: &Map<String, Value>, default: &str| {
            object.get("_class_name").and_then(Value::as_str).unwrap_or(default).to_owned()
        };
        let index = self.model_index.clone().unwrap_or_else(|| {
            let scheduler = class(scheduler, "DDPMScheduler");
            let pipeline = if scheduler == "DDIMScheduler" { "DDIMPipeline" } else { "DDPMPipeline" };
            let index = json!({
                "_class_name": pipeline,
                "_diffusers_version": VERSION,
                "scheduler": ["diffusers", scheduler],
                "unet": ["diffusers", "UNet2DModel"],
            });
            if let Value::Object(map) = index { map } else { Map::new() }
        });
        let mut files = vec![
            ("model_index.json".to_owned(), pretty(&index)),
            ("unet/config.json".to_owned(), pretty(&self.unet_config)),
            ("scheduler/scheduler_config.json".to_owned(), pretty(scheduler)),
        ];
        if let Some(Labels { names, null_label }) = &self.labels {
            let labels = json!({ "labels": names, "null_label": null_label });
            files.push(("labels.json".to_owned(), pretty(&labels)));
        }
        files.push(("unet/diffusion_pytorch_model.safetensors".to_owned(), safetensors(&self.weights)));
        files
    }

    /// Writes the checkpoint into a new folder, which is there as a whole in the end or not at all.
    ///
    /// # Errors
    /// [`Error::Option`] where the folder has files in it, which are left alone; [`Error::Io`], [`Error::InUse`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn save(&self, folder: &Path) -> Result<()> {
        crate::store::make_whole(folder, |folder| {
            self.files().iter().try_for_each(|(name, bytes)| folder.write(name, bytes))
        })
    }
}

impl Weights {
    /// Gives every tensor the number format `dtype`: [`Dtype::F16`] or [`Dtype::F32`].
    ///
    /// # Errors
    /// [`Error::Option`] where a value is too large for the format, or for another format; [`Error::Dtype`] for tensors that
    /// are no floats, [`Error::NotFiniteWeight`].
    pub fn convert(&mut self, dtype: Dtype) -> Result<()> {
        let refused =
            |expected: String| Error::Option { option: "dtype", found: dtype.name().to_owned(), expected };
        let names: Vec<String> = self.names().map(str::to_owned).collect();
        for name in names {
            // One at a time, so that the memory of the old ones is free again.
            let Some(mut tensor) = self.take(&name) else { continue };
            if tensor.dtype != dtype {
                let values = tensor.to_f32(&name)?;
                tensor.bytes = match dtype {
                    Dtype::F32 => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
                    Dtype::F16 => {
                        if let Some(value) = values.iter().find(|value| !f16::from_f32(**value).is_finite()) {
                            return Err(refused(format!(
                                "F32 for these weights: `{}` holds {value}, and F16 ends at 65504",
                                text::name(&name)
                            )));
                        }
                        values.iter().flat_map(|value| f16::from_f32(*value).to_le_bytes()).collect()
                    }
                    _ => return Err(refused("F16 or F32".to_owned())),
                };
                tensor.dtype = dtype;
            }
            self.insert(name, tensor);
        }
        Ok(())
    }
}

/// What packing has cost.
#[cfg(not(target_arch = "wasm32"))]
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PackingError {
    /// How many tensors are packed now.
    pub packed: usize,
    /// The sum of the weights' squares in these.
    pub squares: f64,
    /// The sum of the squares of what was added to them.
    pub error: f64,
    /// The tensor with the greatest error in proportion to its deviation from zero, and that error.
    pub worst: (String, f64),
}

#[cfg(not(target_arch = "wasm32"))]
impl PackingError {
    /// `√(Σ(packed - weight)² / Σ weight²)`.
    #[must_use]
    pub fn relative(&self) -> f64 {
        if self.squares > 0.0 { (self.error / self.squares).sqrt() } else { 0.0 }
    }
}

#[cfg(not(target_arch = "wasm32"))]
impl Weights {
    /// Packs weights into [`Dtype::Int8`], as the format `int8-64` has it: matrices and convolutions whose rows have 64 weights or
    /// more. The others become F16.
    ///
    /// # Errors
    /// [`Error::NotFiniteWeight`].
    pub fn pack(&mut self) -> Result<PackingError> {
        let mut cost = PackingError::default();
        let names: Vec<String> = self.names().map(str::to_owned).collect();
        for name in names {
            let Some(tensor) = self.take(&name) else { continue };
            let packed = pack(&name, &tensor)?;
            if packed.dtype == Dtype::Int8 && tensor.dtype != Dtype::Int8 {
                let (before, after) = (tensor.to_f32(&name)?, packed.to_f32(&name)?);
                let squares: f64 = before.iter().map(|v| f64::from(*v).powi(2)).sum();
                let error: f64 = before.iter().zip(&after).map(|(a, b)| f64::from(a - b).powi(2)).sum();
                let relative = if squares > 0.0 { (error / squares).sqrt() } else { 0.0 };
                if relative > cost.worst.1 {
                    cost.worst = (name.clone(), relative);
                }
                cost.packed += 1;
                cost.squares += squares;
                cost.error += error;
            }
            self.insert(name, packed);
        }
        Ok(cost)
    }
}

/// Packs a tensor where that makes it smaller; else gives it F16, or leaves it where it has no floats or F16 is too small for it.
/// `key` names it in errors.
///
/// # Errors
/// As [`Tensor::to_f32`].
#[cfg(not(target_arch = "wasm32"))]
fn pack(key: &str, tensor: &Tensor) -> Result<Tensor> {
    if matches!(tensor.dtype, Dtype::Other(_) | Dtype::Int8) {
        return Ok(tensor.clone());
    }
    let (shape, values) = (tensor.shape.clone(), tensor.to_f32(key)?);
    let row: usize = shape.iter().skip(1).product();
    // Scales of F16 have no room for weights that are larger than any.
    let largest = values.iter().fold(0f32, |most, value| most.max(value.abs()));
    if shape.len() < 2 || row < packed::GROUP || largest >= 65_504.0 {
        let bytes: Vec<u8> = values.iter().flat_map(|value| f16::from_f32(*value).to_le_bytes()).collect();
        let fits = largest < 65_504.0;
        return Ok(if fits { Tensor { dtype: Dtype::F16, shape, bytes } } else { tensor.clone() });
    }
    let mut numbers = Vec::with_capacity(values.len());
    let mut scales = Vec::new();
    for group in values.chunks_exact(row).flat_map(|row| row.chunks(packed::GROUP)) {
        let largest = group.iter().fold(0f32, |most, value| most.max(value.abs()));
        let scale = f16::from_f32(largest / 127.0);
        // Of nothing but zeros any scale makes zeros.
        let inverse = if scale.to_f32() > 0.0 { 1.0 / scale.to_f32() } else { 0.0 };
        numbers.extend(
            group.iter().map(|value| ((value * inverse).round().clamp(-127.0, 127.0) as i8).cast_unsigned()),
        );
        scales.extend(scale.to_le_bytes());
    }
    numbers.extend(scales);
    Ok(Tensor { dtype: Dtype::Int8, shape, bytes: numbers })
}

/// The version of diffusers whose configuration files these are.
pub(crate) const VERSION: &str = "0.30.0";

fn pretty(value: &impl serde::Serialize) -> Vec<u8> {
    // Maps of strings and numbers always serialise.
    let mut text = serde_json::to_vec_pretty(value).unwrap_or_default();
    text.push(b'\n');
    text
}

/// A safetensors file.
#[must_use]
pub fn safetensors(weights: &Weights) -> Vec<u8> {
    // Each part of the file: a tensor, or the scales of a packed one.
    let mut parts: Vec<(String, &str, Vec<usize>, &[u8])> = Vec::new();
    let mut metadata = json!({ "format": "pt" });
    for (name, tensor) in weights.names().filter_map(|name| weights.get(name).map(|tensor| (name, tensor))) {
        let numbers = match tensor.dtype {
            Dtype::Int8 => tensor.shape.iter().product(),
            _ => tensor.bytes.len(),
        };
        let (numbers, scales) = tensor.bytes.split_at(numbers);
        parts.push((name.to_owned(), tensor.dtype.name(), tensor.shape.clone(), numbers));
        if tensor.dtype == Dtype::Int8 {
            let shape = packed::scale_shape(&tensor.shape).to_vec();
            parts.push((format!("{name}.scale"), Dtype::F16.name(), shape, scales));
            metadata[packed::FORMAT[0]] = packed::FORMAT[1].into();
        }
    }
    let mut header = Map::new();
    header.insert("__metadata__".to_owned(), metadata);
    let mut offset = 0;
    for (name, dtype, shape, bytes) in &parts {
        let end = offset + bytes.len();
        header.insert(name.clone(), json!({ "dtype": dtype, "shape": shape, "data_offsets": [offset, end] }));
        offset = end;
    }
    let mut text = serde_json::to_vec(&header).unwrap_or_default();
    // The data start at a multiple of eight.
    text.resize(text.len().next_multiple_of(8), b' ');
    let mut file = Vec::with_capacity(8 + text.len() + offset);
    file.extend((text.len() as u64).to_le_bytes());
    file.extend(text);
    for (.., bytes) in parts {
        file.extend(bytes);
    }
    file
}
