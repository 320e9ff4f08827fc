//! Low-rank updates against diffusers': the files of `lora.json`, merged into weights.

#![cfg(not(target_arch = "wasm32"))]

mod golden;

use golden::{f64s, floats, relative_error, scaled, weight};
use noiseball::checkpoint::WeightsReader;
use noiseball::checkpoint::lora::Lora;
use noiseball::checkpoint::save::safetensors;
use noiseball::checkpoint::weights::{Dtype, Tensor, Weights};
use noiseball::{Error, Result};
use serde_json::{Value, json};

fn shape(list: &Value) -> Vec<usize> {
    f64s(list).into_iter().map(|size| size as usize).collect()
}

/// The tensors of a file as it says of itself.
fn file(tensors: &Weights, metadata: &Value) -> Weights {
    let bytes = safetensors(tensors);
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let mut header: Value = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    if metadata.as_object().is_some_and(|metadata| !metadata.is_empty()) {
        header["__metadata__"]["lora_adapter_metadata"] = metadata.to_string().into();
    }
    let header = header.to_string();
    let mut reader = WeightsReader::new("lora.safetensors");
    for part in [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &bytes[8 + length..]] {
        reader.push(part).unwrap();
    }
    reader.finish().unwrap()
}

fn updates(tensors: &Value) -> Weights {
    let mut weights = Weights::default();
    for (key, shape) in tensors.as_object().unwrap() {
        let tensor = match shape {
            Value::Number(alpha) => Tensor::from_f32(&[], &[alpha.as_f64().unwrap() as f32]),
            list => {
                let shape = self::shape(list);
                Tensor::from_f32(&shape, &scaled(&format!("lora.{key}"), shape.iter().product(), 0.3))
            }
        };
        weights.insert(key.clone(), tensor);
    }
    weights
}

fn model(shapes: &Value) -> Weights {
    let mut weights = Weights::default();
    for (name, list) in shapes.as_object().unwrap() {
        let shape = shape(list);
        weights.insert(name.clone(), Tensor::from_f32(&shape, &weight(&format!("unet.{name}"), &shape)));
    }
    weights
}

#[test]
fn weights_are_what_diffusers_fuses() {
    let fixture: Value = serde_json::from_str(include_str!("fixtures/lora.json")).unwrap();
    let mut worst = 0f32;
    for case in fixture["cases"].as_array().unwrap() {
        let name = case["name"].as_str().unwrap();
        let lora = Lora::read(file(&updates(&case["tensors"]), &case["metadata"]), 1).unwrap();
        assert!(lora.has("unet") && !lora.has("text_encoder"), "{name}");
        let before = model(&case["weights"]);
        let mut after = before.clone();
        let fused = case["fused"].as_object().unwrap();
        assert_eq!(
            lora.merge("unet", &mut after, case["scale"].as_f64().unwrap()).unwrap(),
            fused.len(),
            "{name}"
        );
        for key in before.names() {
            let Some(expected) = fused.get(key) else {
                assert_eq!(before.get(key), after.get(key), "{name}: {key}");
                continue;
            };
            let values = after.get(key).unwrap().to_f32(key).unwrap();
            let ends = [&values[..4], &values[values.len() - 4..]].concat();
            let expected = [floats(&expected["first"]), floats(&expected["last"])].concat();
            let error = relative_error(&ends, &expected);
            assert!(error < 2e-6, "{name}: {key}: {error:e}");
            worst = worst.max(error);
        }
    }
    assert!(worst > 0.0);
}

fn one(names: [&str; 2], alpha: Option<(&str, f32)>) -> Weights {
    let mut weights = Weights::default();
    weights.insert(names[0], Tensor::from_f32(&[2, 3], &[1.0, 0.0, 0.0, 0.0, 1.0, 0.0]));
    weights.insert(names[1], Tensor::from_f32(&[2, 2], &[1.0, 2.0, 3.0, 4.0]));
    if let Some((name, alpha)) = alpha {
        weights.insert(name, Tensor::from_f32(&[], &[alpha]));
    }
    weights
}

/// A text encoder's weight is found by each of its names, with and without the prefix that older files have.
#[test]
fn text_encoders_are_updated_by_all_names() {
    const MODULE: &str = "text_model.encoder.layers.0.self_attn";
    let names = [
        (
            format!("text_encoder.{MODULE}.q_proj.lora_A.weight"),
            format!("text_encoder.{MODULE}.q_proj.lora_B.weight"),
        ),
        (
            format!("text_encoder.{MODULE}.q_proj.lora_linear_layer.down.weight"),
            format!("text_encoder.{MODULE}.q_proj.lora_linear_layer.up.weight"),
        ),
        (
            format!("text_encoder.{MODULE}.to_q_lora.down.weight"),
            format!("text_encoder.{MODULE}.to_q_lora.up.weight"),
        ),
        (
            "lora_te_text_model_encoder_layers_0_self_attn_q_proj.lora_down.weight".to_owned(),
            "lora_te_text_model_encoder_layers_0_self_attn_q_proj.lora_up.weight".to_owned(),
        ),
        (
            "lora_te1_text_model_encoder_layers_0_self_attn_q_proj.lora_down.weight".to_owned(),
            "lora_te1_text_model_encoder_layers_0_self_attn_q_proj.lora_up.weight".to_owned(),
        ),
    ];
    for (down, up) in &names {
        for prefix in ["text_model.", ""] {
            let key = format!("{prefix}encoder.layers.0.self_attn.q_proj.weight");
            let mut weights = Weights::default();
            weights.insert(key.clone(), Tensor::from_f32(&[2, 3], &[0.0; 6]));
            let lora = Lora::read(one([down, up], None), 2).unwrap();
            assert_eq!(lora.merge("text_encoder", &mut weights, 2.0).unwrap(), 1, "{down}");
            assert_eq!(weights.get(&key).unwrap().to_f32(&key).unwrap(), [2.0, 4.0, 0.0, 6.0, 8.0, 0.0]);
        }
    }
}

#[test]
fn alpha_is_the_files_the_metadatas_or_the_rank() {
    let names = ["lora_unet_conv_in.lora_down.weight", "lora_unet_conv_in.lora_up.weight"];
    let peft = ["unet.conv_in.lora_A.weight", "unet.conv_in.lora_B.weight"];
    let first = |tensors: Weights, metadata: Value| -> Result<f32> {
        let mut weights = Weights::default();
        weights.insert("conv_in.weight", Tensor::from_f32(&[2, 3], &[0.0; 6]));
        Lora::read(file(&tensors, &metadata), 2)?.merge("unet", &mut weights, 1.0)?;
        Ok(weights.get("conv_in.weight").unwrap().to_f32("")?[0])
    };
    assert_eq!(first(one(names, None), json!({})).unwrap(), 1.0);
    assert_eq!(first(one(names, Some(("lora_unet_conv_in.alpha", 1.0))), json!({})).unwrap(), 0.5);
    assert_eq!(first(one(peft, None), json!({ "unet.lora_alpha": 8 })).unwrap(), 4.0);
    assert_eq!(first(one(peft, None), json!({ "text_encoder.lora_alpha": 8 })).unwrap(), 1.0);
    let pattern = json!({ "unet.lora_alpha": 8, "unet.alpha_pattern": { "conv_in": 2 } });
    assert_eq!(first(one(peft, None), pattern).unwrap(), 1.0);
    let root = first(one(peft, None), json!({ "unet.lora_alpha": 8, "unet.use_rslora": true })).unwrap();
    assert!((root - 8.0 / 2f32.sqrt()).abs() < 1e-6);
    let dora = first(one(peft, None), json!({ "unet.use_dora": true, "unet.lora_alpha": 8 }));
    assert!(matches!(dora, Err(Error::Unsupported { .. })));
}

#[test]
fn the_format_of_f16_weights_stays() {
    let mut weights = Weights::default();
    weights.insert("conv_in.weight", Tensor::from_f32(&[2, 3], &[0.0; 6]));
    weights.convert(Dtype::F16).unwrap();
    let lora = Lora::read(one(["conv_in.lora.down.weight", "conv_in.lora.up.weight"], None), 2).unwrap();
    lora.merge("unet", &mut weights, 1.0).unwrap();
    assert_eq!(weights.get("conv_in.weight").unwrap().dtype, Dtype::F16);
}

#[test]
fn updates_of_another_model_change_nothing() {
    let refused = |result: Result<usize>, says: &str| {
        let error = result.unwrap_err();
        assert_eq!(error.kind(), "checkpoint", "{error}");
        assert!(error.to_string().contains(says), "{error}");
    };
    let mut tensors = one(["unet.a.lora_A.weight", "unet.a.lora_B.weight"], None);
    for (name, tensor) in [("unet.b.lora_A.weight", [2, 5]), ("unet.b.lora_B.weight", [2, 2])] {
        tensors.insert(name, Tensor::from_f32(&tensor, &vec![1.0; tensor[0] * tensor[1]]));
    }
    let lora = Lora::read(tensors, 2).unwrap();
    let mut weights = Weights::default();
    weights.insert("a.weight", Tensor::from_f32(&[2, 3], &[0.0; 6]));
    let before = weights.clone();
    refused(lora.merge("unet", &mut weights, 1.0), "no weight `b`");
    assert_eq!(weights, before);
    weights.insert("b.weight", Tensor::from_f32(&[2, 4], &[0.0; 8]));
    let before = weights.clone();
    refused(lora.merge("unet", &mut weights, 1.0), "`b.weight` has shape [2, 4]");
    assert_eq!(weights, before);
    assert_eq!(lora.merge("text_encoder", &mut weights, 1.0).unwrap(), 0);

    let read = |names: &[&str]| {
        let mut tensors = Weights::default();
        names.iter().for_each(|name| tensors.insert(*name, Tensor::from_f32(&[1, 1], &[1.0])));
        Lora::read(tensors, 2).map(|_| 0)
    };
    refused(read(&[]), "no updates");
    refused(read(&["conv_in.weight"]), "`conv_in.weight` is no factor");
    refused(read(&["unet.a.lora_A.weight"]), "one of both factors of `a`");
    refused(read(&["lora_unet_a.alpha"]), "one of both factors of `a`");
    assert_eq!(read(&["lora_unet_a.dora_scale"]).unwrap_err().kind(), "unsupported-architecture");
}
