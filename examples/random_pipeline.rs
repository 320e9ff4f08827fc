//! Random weights, F16, for a pipeline's folder that has configs and a tokenizer alone, to measure what a model of that shape takes:
//! `cargo run --release --example random_pipeline FOLDER`. `bench/models/sd-1.5` has the configs of a large one.

use std::collections::BTreeMap;
use std::path::Path;

use half::f16;
use noiseball::checkpoint::weights::{Dtype, Tensor, Weights};
use noiseball::checkpoint::{Folder, save};
use noiseball::pipeline::{Description, Part};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let place = std::env::args().nth(1).ok_or("name a folder")?;
    let folder = Folder::open(&place, None)?.ok_or("this is no pipeline of several networks")?;
    let Description { pipeline, text, network, coder, .. } = Description::read(&folder.parts)?;
    let autoencoder = pipeline.kind.autoencoder();
    let mut parts: Vec<(&str, Part)> = text.iter().map(|text| (text.name, text.part.clone())).collect();
    parts.push((pipeline.kind.network(), network));
    parts.push((autoencoder, Part::Encoder(coder.clone())));
    parts.push((autoencoder, Part::Decoder(coder)));

    // Of an autoencoder both halves are in one file.
    let mut files: BTreeMap<&str, BTreeMap<String, Vec<usize>>> = BTreeMap::new();
    for (name, part) in parts {
        let named = part.parameters().into_iter();
        let named = named.map(|(key, shape)| (part.key_in_file(&key).into_owned(), shape));
        files.entry(name).or_default().extend(named);
    }
    let mut state = 1_u32;
    for (name, tensors) in files {
        let mut weights = Weights::default();
        for (key, shape) in tensors {
            let tensor = random(&key, shape, &mut state);
            weights.insert(key, tensor);
        }
        let stem = if name.starts_with("text") { "model" } else { "diffusion_pytorch_model" };
        let path = Path::new(&place).join(name).join(format!("{stem}.safetensors"));
        std::fs::write(path, save::safetensors(&weights))?;
    }
    Ok(())
}

/// Matrices of which a product is as large as what is multiplied; vectors that change nothing.
fn random(key: &str, shape: Vec<usize>, state: &mut u32) -> Tensor {
    let count: usize = shape.iter().product();
    let inputs = count / shape[0].max(1);
    let range = (3.0 / inputs as f32).sqrt();
    let mut value = || match shape.len() {
        1 if key.ends_with("bias") => 0.0,
        1 => 1.0,
        _ => {
            *state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            range * (*state as f32 / 2.0_f32.powi(31) - 1.0)
        }
    };
    let bytes = (0..count).flat_map(|_| f16::from_f32(value()).to_le_bytes()).collect();
    Tensor { dtype: Dtype::F16, shape, bytes }
}
