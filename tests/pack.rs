//! Weights of eight bits: `noiseball pack`, and how they are read.

#![cfg(all(feature = "cli", not(target_arch = "wasm32")))]

mod golden;

use std::path::{Path, PathBuf};
use std::process::Command;

use golden::scaled;
use half::f16;
use noiseball::checkpoint::WeightsReader;
use noiseball::checkpoint::save::safetensors;
use noiseball::checkpoint::weights::{Dtype, Tensor, Weights};
use noiseball::{Checkpoint, Error, Result};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("noiseball-pack-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    folder
}

fn pack(from: &Path, to: &Path) -> (bool, String) {
    let out = Command::new(env!("CARGO_BIN_EXE_noiseball"))
        .arg("pack")
        .arg(from)
        .arg("--out")
        .arg(to)
        .output()
        .unwrap();
    let text = [out.stdout, out.stderr].concat();
    (out.status.success(), String::from_utf8(text).unwrap())
}

fn read(bytes: &[u8]) -> Result<Weights> {
    let mut reader = WeightsReader::new("model.safetensors");
    reader.push(bytes)?;
    reader.finish()
}

/// Each weight is the nearest of 255 steps of its group's scale, which is a 127th of the group's largest in f16.
#[test]
fn packed_weights_are_the_nearest_of_their_groups_steps() {
    // Rows of 160 end in a group of 32, and those of the convolution in one of 8.
    let shapes: [(&str, &[usize]); 5] = [
        ("even", &[3, 128]),
        ("uneven", &[5, 160]),
        ("conv", &[4, 8, 3, 3]),
        ("short", &[9, 63]),
        ("bias", &[200]),
    ];
    let (mut weights, mut given) = (Weights::default(), Vec::new());
    for (name, shape) in shapes {
        let values = scaled(name, shape.iter().product(), 0.3);
        weights.insert(name, Tensor::from_f32(shape, &values));
        given.push(values);
    }
    // Rows of zeros, and a row of one large weight.
    let mut edge = vec![0.0; 128];
    edge[70] = -60_000.0;
    weights.insert("edge", Tensor::from_f32(&[2, 64], &edge));
    let cost = weights.pack().unwrap();
    assert_eq!(cost.packed, 4);
    assert!((1e-3..6e-3).contains(&cost.worst.1) && cost.worst.0 != "edge", "{cost:?}");

    let file = safetensors(&weights);
    let header = String::from_utf8_lossy(&file);
    for part in [
        r#""noiseball.weights":"int8-64""#,
        r#""uneven.scale":{"#,
        r#""shape":[5,3]"#,
        r#""shape":[4,2]"#,
        r#""shape":[4,8,3,3]"#,
    ] {
        assert!(header.contains(part), "{part}");
    }
    let mut found = read(&file).unwrap();
    assert_eq!(found, weights);
    let edge = found.take("edge").unwrap().to_f32("edge").unwrap();
    assert!(
        (edge[70] + 60_000.0).abs() < 30.0 && edge.iter().filter(|value| **value != 0.0).count() == 1,
        "{}",
        edge[70]
    );
    for ((name, shape), values) in shapes.iter().zip(&given) {
        let tensor = found.take(name).unwrap();
        assert_eq!(tensor.shape, *shape);
        let packed = !["short", "bias"].contains(name);
        assert_eq!(tensor.dtype, if packed { Dtype::Int8 } else { Dtype::F16 }, "{name}");
        let read = tensor.to_f32(name).unwrap();
        let row: usize = if packed { shape[1..].iter().product() } else { values.len() };
        for (values, read) in values.chunks(row).zip(read.chunks(row)) {
            for (values, read) in values.chunks(64).zip(read.chunks(64)) {
                let scale = f16::from_f32(values.iter().fold(0f32, |m, v| m.max(v.abs())) / 127.0).to_f32();
                for (value, read) in values.iter().zip(read) {
                    let expected = if packed {
                        (value / scale).round().clamp(-127.0, 127.0) * scale
                    } else {
                        f16::from_f32(*value).to_f32()
                    };
                    assert!((read - expected).abs() <= 1e-6, "{name}: {value} became {read}, not {expected}");
                }
            }
        }
    }
}

#[test]
fn packing_twice_changes_nothing_and_f32_comes_back() {
    let mut weights = Weights::default();
    weights.insert("a", Tensor::from_f32(&[2, 100], &scaled("a", 200, 1.0)));
    weights.pack().unwrap();
    let once = weights.clone();
    assert_eq!(weights.pack().unwrap().packed, 0);
    assert_eq!(weights, once);
    weights.convert(Dtype::F32).unwrap();
    assert_eq!(weights.get("a").unwrap().to_f32("a").unwrap(), once.get("a").unwrap().to_f32("a").unwrap());
}

#[test]
fn scales_that_are_missing_or_of_another_tensor_are_refused() {
    let mut weights = Weights::default();
    weights.insert("a", Tensor::from_f32(&[2, 100], &scaled("a", 200, 1.0)));
    weights.pack().unwrap();
    let file = safetensors(&weights);
    let changed = |from: &str, to: &str| {
        assert_eq!(from.len(), to.len());
        let at = file.windows(from.len()).position(|part| part == from.as_bytes()).unwrap();
        let mut file = file.clone();
        file[at..at + to.len()].copy_from_slice(to.as_bytes());
        read(&file)
    };
    assert!(matches!(changed("a.scale", "b.scale"), Err(Error::MissingKey { key, .. }) if key == "a.scale"));
    assert!(matches!(changed("[2,2]", "[4,1]"), Err(Error::WrongShape { key, .. }) if key == "a.scale"));
    let error = changed("int8-64", "int4-32").unwrap_err();
    assert!(matches!(&error, Error::Safetensors { problem, .. } if problem.contains("int4-32")), "{error}");
    // Without the metadata they are whole numbers of whoever wrote them.
    let foreign = changed("noiseball.weights", "something.weights").unwrap().take("a").unwrap();
    assert!(matches!(foreign.to_f32("a"), Err(Error::Dtype { .. })));
    // A scale that is no number.
    let mut broken = file.clone();
    let end = broken.len();
    broken[end - 2..].copy_from_slice(&f16::NAN.to_le_bytes());
    let tensor = read(&broken).unwrap().take("a").unwrap();
    assert!(matches!(tensor.to_f32("a"), Err(Error::NotFiniteWeight { .. })));
}

#[test]
fn a_packed_network_is_opened_like_any_other() {
    let to = folder("unet");
    let (done, report) = pack(&root().join("www/models/pixel-faces-16"), &to);
    assert!(done, "{report}");
    let packed = Checkpoint::open(to.to_str().unwrap()).unwrap();
    let plain = Checkpoint::open(root().join("www/models/pixel-faces-16").to_str().unwrap()).unwrap();
    assert_eq!(packed.unet_config, plain.unet_config);
    assert_eq!(packed.weights.names().collect::<Vec<_>>(), plain.weights.names().collect::<Vec<_>>());
    let (mut error, mut squares) = (0.0, 0.0);
    for name in plain.weights.names() {
        let [before, after] = [&plain, &packed].map(|c| c.weights.get(name).unwrap().to_f32(name).unwrap());
        squares += before.iter().map(|v| v * v).sum::<f32>();
        error += before.iter().zip(&after).map(|(a, b)| (a - b).powi(2)).sum::<f32>();
    }
    let relative = (error / squares).sqrt();
    assert!((1e-4..1e-2).contains(&relative), "{relative}");
    // It is whole, so it is not written over; and what is no checkpoint is named.
    let (done, report) = pack(&root().join("www/models/pixel-faces-16"), &to);
    assert!(!done && report.contains("is empty"), "{report}");
    let (done, report) = pack(&root().join("docs"), &folder("docs"));
    assert!(!done && report.contains("safetensors"), "{report}");
    std::fs::remove_dir_all(&to).unwrap();
}

#[test]
fn emoji_64_takes_at_most_twelve_megabytes() {
    let to = folder("emoji");
    let (done, report) = pack(&root().join("tools/models/emoji-64/model"), &to);
    assert!(done, "{report}");
    let parts = ["unet/diffusion_pytorch_model", "vae/diffusion_pytorch_model", "text_encoder/model"];
    let size = |name: &str| std::fs::metadata(to.join(format!("{name}.safetensors"))).unwrap().len();
    let total: u64 = parts.iter().map(|part| size(part)).sum();
    assert!(total <= 12_000_000, "{total}");
    for file in
        ["model_index.json", "tokenizer/merges.txt", "scheduler/scheduler_config.json", "unet/config.json"]
    {
        assert!(to.join(file).exists(), "{file}");
    }
    std::fs::remove_dir_all(&to).unwrap();
}
