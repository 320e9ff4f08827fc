//! Writes what [`Checkpoint`] reads: diffusers' folder layout A, which `DDPMPipeline.from_pretrained` opens.

use serde_json::{Map, Value, json};

use super::Checkpoint;
use super::labels::Labels;
use super::weights::Weights;

/// A file of a checkpoint: its path in the folder and its bytes.
pub type File = (String, Vec<u8>);

impl Checkpoint {
    /// The folder's files; the weights are the last, so that a folder with weights is whole.
    #[must_use]
    pub fn files(&self) -> Vec<File> {
        let empty = Map::new();
        let scheduler = self.scheduler_config.as_ref().unwrap_or(&empty);
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
