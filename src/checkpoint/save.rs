//! Writes what [`Checkpoint`] reads: diffusers' folder layout A, which `DDPMPipeline.from_pretrained` opens.

#[cfg(not(target_arch = "wasm32"))]
use std::path::Path;

use half::f16;
use serde_json::{Map, Value, json};

use super::Checkpoint;
use super::labels::Labels;
use super::weights::{Dtype, Weights};
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
    let mut header = Map::new();
    header.insert("__metadata__".to_owned(), json!({ "format": "pt" }));
    let mut offset = 0;
    let tensors = || weights.names().filter_map(|name| weights.get(name).map(|tensor| (name, tensor)));
    for (name, tensor) in tensors() {
        let end = offset + tensor.bytes.len();
        let entry =
            json!({ "dtype": tensor.dtype.name(), "shape": tensor.shape, "data_offsets": [offset, end] });
        header.insert(name.to_owned(), entry);
        offset = end;
    }
    let mut text = serde_json::to_vec(&header).unwrap_or_default();
    // The data start at a multiple of eight.
    text.resize(text.len().next_multiple_of(8), b' ');
    let mut file = Vec::with_capacity(8 + text.len() + offset);
    file.extend((text.len() as u64).to_le_bytes());
    file.extend(text);
    for (_, tensor) in tensors() {
        file.extend(&tensor.bytes);
    }
    file
}
