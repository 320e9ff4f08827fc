//! Training against PyTorch's and diffusers' own steps, and what must hold of any run.
#![cfg(all(feature = "burn", not(target_arch = "wasm32")))]

mod golden;

use std::sync::Arc;

use burn::tensor::Device;
use golden::{floats, scaled, stream, weight};
use noiseball::checkpoint::weights::{Tensor, Weights};
use noiseball::checkpoint::{Checkpoint, WeightsReader};
use noiseball::network::describe::describe;
use noiseball::network::unet::UNet2DConfig;
use noiseball::train::dataset::Pixels;
use noiseball::train::{Average, Batch, Dataset, Objective, Optimiser, Preset, Recipe, Trainer, inspect};
use noiseball::{Error, Model, SampleOptions};
use pollster::block_on;
use serde_json::{Map, Value};

fn cases() -> Vec<Value> {
    let file: Value = serde_json::from_str(include_str!("fixtures/training.json")).unwrap();
    file["cases"].as_array().unwrap().clone()
}

fn object(value: &Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

/// One image, so that a recipe has data; the cases bring their own batches.
fn stand_in(shape: [usize; 3], classes: usize) -> Arc<Dataset> {
    Arc::new(Dataset {
        shape,
        pixels: Pixels::Bytes(vec![0; shape.iter().product()]),
        labels: (classes > 0).then(|| vec![0]),
        names: (0..classes).map(|c| c.to_string()).collect(),
    })
}

fn start(case: &Value, device: &Device) -> (Trainer, [usize; 4]) {
    let (config, _) = UNet2DConfig::parse("config", case["config"].as_object().unwrap()).unwrap();
    let shape: Vec<usize> = serde_json::from_value(case["sample_shape"].clone()).unwrap();
    let shape = <[usize; 4]>::try_from(shape).unwrap();
    let mut weights = Weights::default();
    for (key, shape) in describe(&config, 1, shape[2], shape[3]).parameters {
        weights.insert(key.as_str(), Tensor::from_f32(&shape, &weight(&key, &shape)));
    }
    let checkpoint = Checkpoint {
        model_index: None,
        unet_config: object(&case["config"]),
        scheduler_config: Some(object(&case["scheduler"])),
        labels: None,
        weights,
    };
    let objective = match (case["gamma"].as_f64(), case["name"].as_str()) {
        (Some(gamma), _) => Objective::MinSnr { gamma },
        (_, Some("hybrid")) => Objective::Hybrid,
        _ => Objective::Simple,
    };
    let recipe = Recipe {
        unet: Map::new(),
        scheduler: Map::new(),
        objective,
        seed: 0,
        steps: case["total"].as_u64().unwrap(),
        batch: shape[0],
        accumulate: 1,
        optimiser: Optimiser {
            learning_rate: case["rate"].as_f64().unwrap(),
            warmup: case["warmup"].as_u64().unwrap(),
            weight_decay: 1e-2,
            ..Optimiser::default()
        },
        average: Average::Diffusers { power: 0.75, max_decay: 0.9999 },
        label_dropout: 0.0,
        flip: false,
    };
    let classes = if case["labels"].is_null() { 0 } else { 4 };
    let data = stand_in([shape[1], shape[2], shape[3]], classes);
    (Trainer::fine_tune(checkpoint, recipe, data, device).unwrap(), shape)
}

fn batch(case: &Value, shape: [usize; 4], step: usize) -> Batch {
    let len = shape.iter().product();
    Batch {
        images: scaled(&format!("images:{step}"), len, 1.25).iter().map(|v| v.clamp(-1.0, 1.0)).collect(),
        noise: scaled(&format!("noise:{step}"), len, 1.75),
        timesteps: serde_json::from_value(case["timesteps"][step].clone()).unwrap(),
        labels: (!case["labels"].is_null()).then(|| floats(&case["labels"][step])),
    }
}

/// Compares a parameter's numbers with PyTorch's by their norm and their product with a fixed direction.
fn sketch_agrees(what: &str, key: &str, values: &[f32], expected: &Value, bound: f64, floor: f64) -> f64 {
    let norm = values.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
    let product: f64 = values
        .iter()
        .zip(stream(&format!("probe:{key}"), values.len()))
        .map(|(v, p)| f64::from(*v) * p)
        .sum();
    let (n, p) = (expected[0].as_f64().unwrap(), expected[1].as_f64().unwrap());
    let error = (norm - n).abs().max((product - p).abs());
    assert!(error <= bound * n + floor, "{what} of {key}: norm {norm}, not {n}; product {product}, not {p}");
    error / n.max(floor)
}

fn weights_of(bytes: &[u8]) -> Weights {
    let mut reader = WeightsReader::new("state");
    reader.push(bytes).unwrap();
    reader.finish().unwrap()
}

fn ten_steps_agree(device: &Device, bound: f64) {
    for case in cases() {
        let name = case["name"].as_str().unwrap();
        let (mut trainer, shape) = start(&case, device);
        let config = UNet2DConfig::parse("config", case["config"].as_object().unwrap()).unwrap().0;
        let keys = describe(&config, 1, shape[2], shape[3]).parameters;
        let gradients = case["gradients"].as_object().unwrap();
        let largest = gradients.values().map(|v| v[0].as_f64().unwrap()).fold(0.0, f64::max);
        // Where the gradient is zero but for rounding (an attention's key bias shifts all scores alike), AdamW makes
        // steps of that rounding.
        let trained = |key: &str| gradients[key][0].as_f64().unwrap() > 1e-5 * largest;

        let first = block_on(trainer.gradient_of(&batch(&case, shape, 0))).unwrap();
        assert_eq!(first.len(), gradients.len());
        for (key, values) in &first {
            sketch_agrees(&format!("{name}: gradient"), key, values, &gradients[key], bound, 1e-6 * largest);
        }
        for (step, expected) in case["losses"].as_array().unwrap().iter().enumerate() {
            trainer.step_on(&batch(&case, shape, step)).unwrap();
            let loss = block_on(trainer.losses()).unwrap().remove(0);
            assert_eq!(loss.step, step as u64);
            for ((_, found), expected) in loss.examples.iter().zip(floats(expected)) {
                let error = (found - expected).abs();
                assert!(
                    f64::from(error) <= bound * f64::from(expected),
                    "{name}, step {step}: loss {found}, not {expected}"
                );
            }
        }
        let state = weights_of(&block_on(trainer.save()).unwrap());
        let mut worst = [0.0f64; 2];
        for (part, (tensor, expected)) in
            [("weights", "weights"), ("averaged", "averages")].into_iter().enumerate()
        {
            let mut rest = &state.get(tensor).unwrap().to_f32(tensor).unwrap()[..];
            for (key, shape) in &keys {
                let piece = rest.split_off(..shape.iter().product()).unwrap();
                let change: Vec<f32> = piece.iter().zip(weight(key, shape)).map(|(a, b)| a - b).collect();
                if trained(key) {
                    let of = piece.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
                    let error = sketch_agrees(
                        &format!("{name}: {tensor}"),
                        key,
                        &change,
                        &case[expected][key],
                        0.0,
                        bound * of,
                    );
                    worst[part] = worst[part].max(error);
                }
            }
        }
        eprintln!(
            "{name}: weights {:.1e}, averages {:.1e} of their norm",
            worst[0] * bound,
            worst[1] * bound
        );
    }
}

#[test]
fn ten_steps_on_the_cpu_are_pytorchs() {
    ten_steps_agree(&Device::flex(), 1e-4);
}

#[test]
fn ten_steps_on_webgpu_are_pytorchs() {
    ten_steps_agree(&Device::wgpu_options().init().unwrap(), 1e-3);
}

/// Stripes and squares, two classes of 8×8.
fn data() -> Arc<Dataset> {
    let count = 40;
    let pixel = |i: usize, p: usize| -> u8 {
        let (row, column) = (p / 8, p % 8);
        let lit = if i.is_multiple_of(2) {
            (row + i / 2).is_multiple_of(3)
        } else {
            row.max(column) < 3 + i / 2 % 4
        };
        if lit { 255 } else { 10 }
    };
    Arc::new(Dataset {
        shape: [1, 8, 8],
        pixels: Pixels::Bytes((0..count).flat_map(|i| (0..64).map(move |p| pixel(i, p))).collect()),
        labels: Some((0..count as u32).map(|i| i % 2).collect()),
        names: vec!["stripes".to_owned(), "squares".to_owned()],
    })
}

fn recipe(steps: u64) -> Recipe {
    let mut recipe = Recipe::preset(Preset::Tiny, &data()).unwrap();
    recipe.steps = steps;
    recipe.batch = 8;
    recipe.optimiser.warmup = 2;
    recipe.flip = true;
    recipe
}

#[test]
fn a_resumed_run_ends_in_the_same_bytes() {
    let device = Device::flex();
    let new = || Trainer::new(recipe(12), data(), &device).unwrap();
    let finish = |mut trainer: Trainer| {
        while trainer.step_number() < trainer.recipe().steps {
            trainer.step().unwrap();
        }
        block_on(trainer.save()).unwrap()
    };
    let whole = finish(new());
    assert_eq!(whole, finish(new()), "the same run twice");
    // After 5 steps the second epoch begins.
    for stop in [0, 1, 4, 5, 6, 11, 12] {
        let mut trainer = new();
        (0..stop).for_each(|_| trainer.step().unwrap());
        let state = block_on(trainer.save()).unwrap();
        assert_eq!(inspect("state", &state).unwrap(), (recipe(12), stop));
        assert_eq!(
            whole,
            finish(Trainer::resume("state", &state, data(), &device).unwrap()),
            "stopped at {stop}"
        );
    }
}

#[test]
fn numbers_of_seventeen_digits_are_resumed_as_they_are() {
    let mut long = recipe(4);
    let betas: Vec<f64> = (1..=1000).map(|t| 1.0 / (1003.0 - f64::from(t)).powf(1.01)).collect();
    long.scheduler.insert("trained_betas".to_owned(), betas.into());
    long.optimiser.learning_rate = 1.0 / 426.3;
    let trainer = Trainer::new(long, data(), &Device::flex()).unwrap();
    let state = block_on(trainer.save()).unwrap();
    assert_eq!(&inspect("state", &state).unwrap().0, trainer.recipe());
}

#[test]
fn a_state_and_its_checkpoint_are_those_that_are_read_apart() {
    let mut trainer = Trainer::new(recipe(4), data(), &Device::flex()).unwrap();
    trainer.step().unwrap();
    let (state, checkpoint) = block_on(trainer.save_with_checkpoint()).unwrap();
    assert!(state == block_on(trainer.save()).unwrap());
    assert!(checkpoint.files() == block_on(trainer.checkpoint()).unwrap().files());
}

#[test]
fn parts_of_a_batch_add_up_to_it() {
    let device = Device::flex();
    let mut whole = Trainer::new(recipe(4), data(), &device).unwrap();
    let mut parts = Trainer::new(Recipe { accumulate: 4, ..recipe(4) }, data(), &device).unwrap();
    for _ in 0..3 {
        whole.step().unwrap();
        parts.step().unwrap();
    }
    let (whole, parts) = (block_on(whole.losses()).unwrap(), block_on(parts.losses()).unwrap());
    for (a, b) in whole.iter().zip(&parts) {
        assert!((a.mean - b.mean).abs() < 1e-5 * a.mean, "{} and {}", a.mean, b.mean);
    }
}

#[test]
fn training_lowers_the_loss_and_its_checkpoint_samples() {
    let device = Device::flex();
    let mut trainer = Trainer::new(recipe(60), data(), &device).unwrap();
    (0..60).for_each(|_| trainer.step().unwrap());
    let losses = block_on(trainer.losses()).unwrap();
    let mean = |part: &[noiseball::train::Loss]| part.iter().map(|l| l.mean).sum::<f32>() / part.len() as f32;
    assert!(
        mean(&losses[50..]) < 0.75 * mean(&losses[..10]),
        "{} to {}",
        mean(&losses[..10]),
        mean(&losses[50..])
    );

    let checkpoint = block_on(trainer.checkpoint()).unwrap();
    assert_eq!(checkpoint.labels.as_ref().unwrap().null_label, Some(2));
    let model = Model::load_blocking(checkpoint, &noiseball::Device::cpu()).unwrap();
    let options = SampleOptions::default().steps(3).labels(vec![1.0]);
    let mut run = model.sample(&options).unwrap();
    let mut steps = 0;
    while run.step_blocking().unwrap().is_some() {
        steps += 1;
    }
    assert_eq!(steps, 3);
}

#[test]
fn a_checkpoint_is_written_as_it_is_read() {
    let trainer = Trainer::new(recipe(1), data(), &Device::flex()).unwrap();
    let checkpoint = block_on(trainer.checkpoint()).unwrap();
    let folder = tempfile(&checkpoint);
    let read = Checkpoint::open(folder.to_str().unwrap()).unwrap();
    assert_eq!(read.weights, checkpoint.weights);
    assert_eq!(read.unet_config, checkpoint.unet_config);
    assert_eq!(read.scheduler_config, checkpoint.scheduler_config);
    assert_eq!(read.labels, checkpoint.labels);
    std::fs::remove_dir_all(folder).unwrap();
}

fn tempfile(checkpoint: &Checkpoint) -> std::path::PathBuf {
    let folder = std::env::temp_dir().join(format!("noiseball-train-{}", std::process::id()));
    for (path, bytes) in checkpoint.files() {
        let path = folder.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
    folder
}

#[test]
fn a_diverging_run_is_told_and_not_saved() {
    let mut bad = recipe(10);
    bad.optimiser =
        Optimiser { learning_rate: 1.0, warmup: 0, clip: 1e9, betas: [0.0, 0.0], ..bad.optimiser };
    let mut trainer = Trainer::new(bad, data(), &Device::flex()).unwrap();
    let mut batch = trainer.batch(0);
    batch.images[0] = f32::NAN;
    trainer.step_on(&batch).unwrap();
    assert!(matches!(block_on(trainer.losses()), Err(Error::Diverged { step: 0, .. })));
    assert!(matches!(block_on(trainer.save()), Err(Error::Diverged { .. })));
}

#[test]
fn what_is_no_state_of_this_run_is_refused() {
    let device = Device::flex();
    let state = block_on(Trainer::new(recipe(3), data(), &device).unwrap().save()).unwrap();
    let refused = |bytes: &[u8], data: Arc<Dataset>| {
        matches!(Trainer::resume("state", bytes, data, &device), Err(Error::Resume { .. }))
    };
    assert!(!refused(&state, data()));
    let mut other = Dataset::clone(&data());
    other.labels.as_mut().unwrap()[0] = 1;
    assert!(refused(&state, Arc::new(other)), "other data");
    assert!(refused(&state[..state.len() - 4], data()), "truncated");
    assert!(refused(b"", data()), "empty");
    for at in [state.len() - 400, state.len() / 2] {
        let mut damaged = state.clone();
        damaged[at] ^= 1;
        assert!(refused(&damaged, data()), "damaged at {at}");
    }
    let foreign = noiseball::checkpoint::save::safetensors(&weights_of(include_bytes!(
        "fixtures/checkpoints/layout-a/unet/diffusion_pytorch_model.safetensors"
    )));
    assert!(refused(&foreign, data()), "a checkpoint");
}

#[test]
fn settings_that_make_no_run_are_refused() {
    let good = recipe(10);
    let refused = |change: fn(&mut Recipe)| {
        let mut recipe = good.clone();
        change(&mut recipe);
        recipe.check(&data()).is_err()
    };
    assert!(!refused(|_| ()));
    assert!(refused(|r| r.batch = 0));
    assert!(refused(|r| r.accumulate = 3));
    assert!(refused(|r| r.steps = 0));
    assert!(refused(|r| r.seed = 1 << 53));
    assert!(refused(|r| r.label_dropout = 1.5));
    assert!(refused(|r| r.optimiser.learning_rate = f64::NAN));
    assert!(refused(|r| r.optimiser.betas = [1.0, 0.9]));
    assert!(refused(|r| r.average = Average::HalfLife { steps: 0.0 }));
    assert!(refused(|r| r.objective = Objective::Hybrid));
    assert!(refused(|r| r.objective = Objective::MinSnr { gamma: -1.0 }));
    assert!(refused(|r| {
        r.unet.insert("in_channels".to_owned(), 3.into());
    }));
    assert!(refused(|r| {
        r.unet.insert("num_class_embeds".to_owned(), 1.into());
    }));
    let empty = Dataset { pixels: Pixels::Bytes(Vec::new()), labels: None, ..Dataset::clone(&data()) };
    assert!(matches!(good.check(&empty), Err(Error::Dataset { .. })));
    let odd = Dataset { shape: [1, 8, 5], labels: None, ..Dataset::clone(&data()) };
    assert!(good.check(&odd).is_err());
}
