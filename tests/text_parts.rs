//! Parts of pipelines whose weights have 16 bits or 8, and stay so in memory.

#![cfg(all(feature = "gpu", feature = "text", not(target_arch = "wasm32")))]
#![allow(clippy::print_stdout, reason = "tests say how close they came")]

mod golden;

use std::sync::Arc;

use golden::{floats, relative_error, scaled, weight};
use noiseball::checkpoint::weights::{Dtype, Tensor, Weights};
use noiseball::engine::filling::Numbers;
use noiseball::engine::gpu::{Choice, Gpu, Tuning};
use noiseball::network::array::Array;
use noiseball::network::autoencoder_kl::AutoencoderKlConfig;
use noiseball::network::clip_text::ClipTextConfig;
use noiseball::network::dit::DitConfig;
use noiseball::network::unet_condition::UNet2DConditionConfig;
use noiseball::pipeline::{Coder, Loader, Part, Tiling};
use noiseball::{Device, Error};
use pollster::block_on;
use serde_json::{Map, Value, json};

fn object(json: Value) -> Map<String, Value> {
    json.as_object().unwrap().clone()
}

/// Networks wide enough that most of their matrices are packed, with inputs for two samples.
fn parts() -> Vec<(Part, Vec<Array>)> {
    let array = |key: &str, shape: &[usize]| Array {
        shape: shape.to_vec(),
        values: scaled(key, shape.iter().product(), 1.0),
    };
    let unet = object(json!({
        "_class_name": "UNet2DConditionModel", "sample_size": 8, "block_out_channels": [64, 80],
        "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"], "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"],
        "layers_per_block": 1, "norm_num_groups": 8, "cross_attention_dim": 72, "attention_head_dim": 2,
        "time_cond_proj_dim": 64,
    }));
    let unet = Part::UNet(Arc::new(UNet2DConditionConfig::parse("unet", &unet).unwrap().0));
    let kl = object(json!({
        "_class_name": "AutoencoderKL", "block_out_channels": [64, 96], "norm_num_groups": 8, "sample_size": 16,
        "down_block_types": ["DownEncoderBlock2D", "DownEncoderBlock2D"],
        "up_block_types": ["UpDecoderBlock2D", "UpDecoderBlock2D"],
    }));
    let kl = Arc::new(AutoencoderKlConfig::parse("vae", &kl).unwrap().0);
    let clip = object(json!({
        "vocab_size": 60, "hidden_size": 96, "intermediate_size": 192, "num_hidden_layers": 2, "num_attention_heads": 3,
        "max_position_embeddings": 16, "projection_dim": 80,
    }));
    let config = ClipTextConfig::parse("text", "CLIPTextModelWithProjection", &clip).unwrap().0;
    let text = Part::Text { config: Arc::new(config), skip: 1, normalise: false, pooled: true };
    let dit = object(json!({
        "_class_name": "DiTTransformer2DModel", "sample_size": 4, "num_attention_heads": 2, "attention_head_dim": 48,
        "num_layers": 1, "in_channels": 4, "out_channels": 8, "patch_size": 2, "norm_type": "ada_norm_zero",
        "num_embeds_ada_norm": 10,
    }));
    let dit = DitConfig::parse("dit", &dit).unwrap().0;
    let positions = Array { shape: vec![1, dit.width(), 2, 2], values: dit.positions(4) };
    let positions = Array { shape: vec![2, dit.width(), 2, 2], values: positions.values.repeat(2) };
    let ids = (0..32).map(|at| ((at * 7) % 60) as f32).collect();
    vec![
        (
            unet,
            vec![
                array("x", &[2, 4, 8, 8]),
                array("timestep", &[2, 64]),
                array("text", &[2, 72, 5, 1]),
                array("guidance", &[2, 64]),
            ],
        ),
        (Part::Decoder(Coder::Kl(Arc::clone(&kl))), vec![array("z", &[2, 4, 8, 8])]),
        (Part::Encoder(Coder::Kl(kl)), vec![array("picture", &[2, 3, 16, 16])]),
        (
            text,
            vec![
                Array { shape: vec![2, 16], values: ids },
                Array { shape: vec![2, 1], values: vec![3.0, 15.0] },
            ],
        ),
        (
            Part::Dit(Arc::new(dit)),
            vec![
                array("x", &[2, 4, 4, 4]),
                array("timestep", &[2, 256]),
                Array { shape: vec![2, 1], values: vec![3.0, 7.0] },
                positions,
            ],
        ),
    ]
}

fn weights(part: &Part) -> Weights {
    let mut weights = Weights::default();
    for (key, shape) in part.parameters() {
        weights.insert(key.clone(), Tensor::from_f32(&shape, &weight(&key, &shape)));
    }
    weights
}

/// As they are stored.
fn numbers(key: &str, tensor: &Tensor) -> Numbers {
    let halves = |bytes: &[u8]| bytes.as_chunks().0.iter().map(|pair| u16::from_le_bytes(*pair)).collect();
    match tensor.dtype {
        Dtype::F16 => Numbers::F16(halves(&tensor.bytes)),
        Dtype::Int8 => {
            let (numbers, scales) = tensor.bytes.split_at(tensor.shape.iter().product());
            Numbers::Int8 {
                numbers: numbers.iter().map(|byte| byte.cast_signed()).collect(),
                scales: halves(scales),
            }
        }
        _ => Numbers::F32(tensor.to_f32(key).unwrap()),
    }
}

fn run(device: &Device, part: &Part, weights: &Weights, inputs: &[Array], backwards: bool) -> Vec<Array> {
    let mut loading = device.begin(part.clone(), false).unwrap();
    let mut names: Vec<&str> = weights.names().collect();
    if backwards {
        names.reverse();
        // After a broken connection a file begins once more.
        names.insert(0, names[1]);
    }
    for name in names {
        loading.put(name, numbers(name, weights.get(name).unwrap())).unwrap();
    }
    block_on(async { loading.finish().await.unwrap().ask(inputs, false).await.unwrap() })
}

/// The same numbers come out as of the same weights in f32: on the processor to the last bit.
fn compare(device: &Device, bound: f32, parts: &[(Part, Vec<Array>)]) {
    for (part, inputs) in parts {
        let mut packed = weights(part);
        let cost = packed.pack().unwrap();
        assert!(cost.packed > 2, "{cost:?}");
        let mut halves = weights(part);
        halves.convert(Dtype::F16).unwrap();
        for stored in [packed, halves] {
            let mut widened = stored.clone();
            widened.convert(Dtype::F32).unwrap();
            let expected = run(device, part, &widened, inputs, false);
            let found = run(device, part, &stored, inputs, true);
            let errors = found.iter().zip(&expected).map(|(a, b)| relative_error(&a.values, &b.values));
            let error = errors.fold(0f32, f32::max);
            println!("{error:e}");
            assert!(error <= bound && expected[0].values.iter().any(|value| *value != 0.0), "{error:e}");
        }
    }
}

#[test]
fn weights_that_stay_packed_give_the_same_numbers() {
    compare(&Device::cpu(), 0.0, &parts());
}

#[test]
fn weights_that_stay_packed_on_a_gpu_give_the_same_numbers() {
    compare(&Device::from(block_on(Gpu::tuned(Tuning::Software)).unwrap()), 1e-6, &parts());
}

/// With the kernels of hardware, which take long to compile: a network that has little beside a convolution with a shortcut, and that by
/// transformed filters too.
#[test]
fn weights_that_stay_packed_give_the_same_numbers_to_the_kernels_of_hardware() {
    let choice = Choice { winograd: Some(true), measure: Some(false), ..Choice::default() };
    for choice in [Choice::default(), choice] {
        let gpu = block_on(Gpu::chosen(Some(Tuning::Hardware), choice)).unwrap();
        compare(&Device::from(gpu), 1e-6, &[small()]);
    }
}

fn small() -> (Part, Vec<Array>) {
    let config = object(json!({
        "_class_name": "AutoencoderKL", "block_out_channels": [64, 96], "norm_num_groups": 8, "layers_per_block": 1,
        "down_block_types": ["DownEncoderBlock2D", "DownEncoderBlock2D"], "mid_block_add_attention": false,
        "up_block_types": ["UpDecoderBlock2D", "UpDecoderBlock2D"],
    }));
    let net = AutoencoderKlConfig::parse("vae", &config).unwrap().0;
    let values = scaled("z", 4 * 64, 1.0);
    (Part::Decoder(Coder::Kl(Arc::new(net))), vec![Array { shape: vec![1, 4, 8, 8], values }])
}

#[test]
fn weights_that_do_not_come_or_do_not_fit_are_named() {
    let (part, _) = parts().swap_remove(1);
    let weights = weights(&part);
    let mut loading = Device::cpu().begin(part.clone(), false).unwrap();
    let error = loading.put("decoder.conv_in.bias", Numbers::F32(vec![0.0; 3])).unwrap_err();
    assert!(matches!(&error, Error::WrongShape { key, .. } if key == "decoder.conv_in.bias"), "{error}");
    for name in weights.names().filter(|name| *name != "decoder.conv_in.weight") {
        loading.put(name, numbers(name, weights.get(name).unwrap())).unwrap();
    }
    loading.put("encoder.conv_in.weight", Numbers::F32(Vec::new())).unwrap();
    let error = block_on(loading.finish()).err().unwrap();
    assert!(
        matches!(&error, Error::MissingKey { key, more: 0, .. } if key == "decoder.conv_in.weight"),
        "{error}"
    );
}

/// An autoencoder's halves in tiles, on images that are no whole number of them.
#[test]
fn tiles_are_pythons() {
    let fixture: Value = serde_json::from_str(include_str!("fixtures/tiles.json")).unwrap();
    let net = AutoencoderKlConfig::parse("vae", fixture["config"].as_object().unwrap()).unwrap().0;
    let net = Coder::Kl(Arc::new(net));
    let images = [
        (Part::Decoder(net.clone()), "latents", [1, 4, 13, 20], "decoded"),
        (Part::Encoder(net), "picture", [1, 3, 26, 12], "encoded"),
    ];
    for (part, name, shape, result) in images {
        let mut loading = Device::cpu().begin(part.clone(), false).unwrap();
        for (key, shape) in part.parameters() {
            loading.put(&key, Numbers::F32(weight(&format!("vae.{key}"), &shape))).unwrap();
        }
        let values = scaled(&format!("tiles:{name}"), shape.iter().product(), 1.0);
        let image = Array { shape: shape.to_vec(), values };
        let tiling = Tiling::new(8, 2, result == "encoded");
        let found = block_on(async {
            let mut ready = loading.finish().await.unwrap();
            tiling.run(&mut *ready, &image).await.unwrap()
        });
        let expected: Vec<usize> = serde_json::from_value(fixture[result]["shape"].clone()).unwrap();
        assert_eq!(found.shape, expected);
        let error = relative_error(&found.values, &floats(&fixture[result]["values"]));
        println!("{result}: {error:e}");
        assert!(error < 2e-5, "{result}: {error:e}");
    }
}
