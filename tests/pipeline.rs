//! Whole pipelines against Python's: a checkpoint that Python saved, a PyTorch seed, and the picture.

#![cfg(not(target_arch = "wasm32"))]
#![allow(clippy::print_stdout, reason = "tests say how close they came")]

mod golden;

use golden::floats;
use noiseball::sampler::Guidance;
use noiseball::{Checkpoint, Device, DeviceKind, Error, Model, Rng, SampleOptions, SamplerKind, Settings};
use serde_json::{Value, json};

const PIPELINE: &str = include_str!("fixtures/pipeline.json");

fn model(name: &str, device: &Device) -> Model {
    let folder = format!("{}/tests/fixtures/checkpoints/{name}", env!("CARGO_MANIFEST_DIR"));
    Model::load_blocking(Checkpoint::open(&folder).unwrap(), device).unwrap()
}

fn pictures(model: &Model, options: &SampleOptions) -> Vec<f32> {
    let mut run = model.sample(options).unwrap();
    let mut last = Vec::new();
    while let Some(step) = run.step_blocking().unwrap() {
        last = step.x.to_vec();
    }
    last
}

/// The cases that one run can reproduce: a list of seeds is several generators.
fn cases() -> Vec<(String, String, SampleOptions, Vec<f32>)> {
    let file: Value = serde_json::from_str(PIPELINE).unwrap();
    let cases = file["cases"].as_array().unwrap().iter();
    let single = cases.filter(|c| c["seed"].is_u64());
    let options = |c: &Value| {
        SampleOptions::default()
            .sampler(c["sampler"].as_str().unwrap().to_lowercase().parse::<SamplerKind>().unwrap())
            .steps(c["steps"].as_u64().unwrap() as usize)
            .settings(
                c["eta"].as_f64().map_or_else(Settings::default, |eta| Settings::default().with("eta", eta)),
            )
            .seed(c["seed"].as_u64().unwrap())
            .rng(Rng::Torch)
            .batch(c["batch"].as_u64().unwrap() as usize)
            .labels((!c["labels"].is_null()).then(|| floats(&c["labels"])))
            .guidance(Guidance::default().scale(c["guidance_scale"].as_f64().unwrap_or(1.0)))
    };
    let text = |c: &Value, key| c[key].as_str().unwrap().to_owned();
    single.map(|c| (text(c, "name"), text(c, "checkpoint"), options(c), floats(&c["output"]))).collect()
}

fn pictures_are_pythons(device: &Device) {
    let mut worst = 0f32;
    let cases = cases();
    assert!(cases.len() >= 15, "{}", cases.len());
    for (name, checkpoint, options, expected) in cases {
        let found = pictures(&model(&checkpoint, device), &options);
        assert_eq!(found.len(), expected.len(), "{name}");
        let error = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(error <= 1e-3, "{name}: {error:e}");
        worst = worst.max(error);
    }
    println!("largest difference on {}: {worst:.1e}", device.name());
}

#[test]
fn pictures_on_the_cpu_are_pythons() {
    pictures_are_pythons(&Device::cpu());
}

#[cfg(feature = "gpu")]
#[test]
fn pictures_on_webgpu_are_pythons() {
    pictures_are_pythons(&pollster::block_on(Device::gpu()).unwrap());
}

#[test]
fn a_picture_does_not_depend_on_its_batch() {
    let model = model("layout-a", &Device::cpu());
    for kind in SamplerKind::ALL.iter().filter(|kind| !kind.name().starts_with("flow-")) {
        let has = |name| kind.entry().options.iter().any(|row| row.name == name);
        let mut settings = Settings::default();
        if has("langevin_steps") {
            settings.set("langevin_steps", 3.0.into());
        }
        let options = SampleOptions::default().sampler(*kind).steps(4).seed(11).settings(settings);
        let one = pictures(&model, &options);
        let three = pictures(&model, &options.batch(3));
        assert_eq!(one, three[..one.len()], "{kind}");
    }
}

#[test]
fn precisions_and_layouts_of_one_network_agree() {
    let options = SampleOptions::default().steps(4).seed(3);
    let reference = pictures(&model("layout-a", &Device::cpu()), &options);
    for (name, bound) in [("f16-variant", 2e-2), ("bf16", 1e-1)] {
        let found = pictures(&model(name, &Device::cpu()), &options);
        let error = found.iter().zip(&reference).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(error > 0.0 && error < bound, "{name}: {error:e}");
    }
}

#[test]
fn a_model_runs_once_at_a_time() {
    let model = model("layout-a", &Device::cpu());
    let options = SampleOptions::default().steps(2);
    let mut first = model.sample(&options).unwrap();
    first.step_blocking().unwrap();
    assert!(matches!(model.sample(&options), Err(Error::Busy)));
    drop(first);
    let mut second = model.sample(&options).unwrap();
    while second.step_blocking().unwrap().is_some() {}
    model.sample(&options).unwrap();
}

#[test]
fn options_out_of_range_are_refused_before_any_work() {
    let plain = model("layout-a", &Device::cpu());
    let classes = model("class-conditional", &Device::cpu());
    let default = SampleOptions::default;
    let refused = |model: &Model, options: SampleOptions, named: &str| {
        let Err(error) = model.sample(&options) else { panic!("{named}: {options:?} was taken") };
        assert_eq!(error.kind(), "invalid-option", "{error}");
        assert!(error.to_string().contains(named), "{error}");
    };
    refused(&plain, default().steps(0), "steps");
    refused(&plain, default().steps(1001), "steps");
    refused(&plain, default().batch(0), "batch");
    refused(&plain, default().batch(usize::MAX), "batch");
    refused(&plain, default().seed(1 << 53), "seed");
    let eta = |eta: f64| Settings::default().with("eta", eta);
    let ddim = Some(SamplerKind::Ddim);
    refused(&plain, default().sampler(ddim).settings(eta(f64::NAN)), "eta");
    refused(&plain, default().settings(eta(0.5)), "ddpm");
    refused(&plain, default().labels(vec![0.0]), "labels");
    for label in [-1.0, 6.0, 0.5, f32::NAN] {
        refused(&classes, default().labels(vec![label]), "labels");
    }
    refused(&classes, default().batch(3).labels(vec![0.0, 1.0]), "labels");
}

#[test]
fn who_asks_for_no_class_gets_the_null_label() {
    let options = |labels| SampleOptions::default().steps(2).batch(2).labels(labels);
    let classes = model("class-conditional", &Device::cpu());
    let any = pictures(&classes, &options(None));
    assert_eq!(any, pictures(&classes, &options(Some(vec![5.0]))));
    assert_ne!(any, pictures(&classes, &options(Some(vec![4.0]))));

    let folder = format!("{}/tests/fixtures/checkpoints/class-conditional", env!("CARGO_MANIFEST_DIR"));
    let nameless = Checkpoint { labels: None, ..Checkpoint::open(&folder).unwrap() };
    let nameless = Model::load_blocking(nameless, &Device::cpu()).unwrap();
    let Err(error) = nameless.sample(&options(None)) else { panic!("which class?") };
    assert!(error.to_string().contains("labels"), "{error}");
}

#[test]
fn the_model_says_what_it_is() {
    let model = model("class-conditional", &Device::cpu());
    let info = model.info();
    assert_eq!((info.channels, info.height, info.width), (3, 8, 8));
    assert_eq!((info.classes, info.null_label), (Some(6), Some(5)));
    assert_eq!(info.labels.as_ref().unwrap()[0], "zero");
    assert_eq!(info.scheduler, "DDPMScheduler");
    assert_eq!(info.device.kind, DeviceKind::Cpu);
}

/// Python's pictures with ddim, of a checkpoint whose scheduler's file is ddpm's.
#[test]
fn the_pipeline_names_the_sampler_that_nobody_asks_for() {
    let (mut compared, folder) = (0, format!("{}/tests/fixtures/checkpoints", env!("CARGO_MANIFEST_DIR")));
    for (name, checkpoint, options, expected) in cases() {
        if options.sampler != Some("ddim".parse().unwrap()) {
            continue;
        }
        let mut checkpoint = Checkpoint::open(&format!("{folder}/{checkpoint}")).unwrap();
        assert_eq!(checkpoint.scheduler_config.as_ref().unwrap()["_class_name"], "DDPMScheduler", "{name}");
        for index in [
            json!({ "_class_name": "DDIMPipeline", "scheduler": ["diffusers", "DDPMScheduler"] }),
            json!({ "_class_name": "DDPMPipeline", "scheduler": ["diffusers", "DDIMScheduler"] }),
        ] {
            checkpoint.model_index = index.as_object().cloned();
            let model = Model::load_blocking(checkpoint.clone(), &Device::cpu()).unwrap();
            assert_eq!((model.info().sampler, model.info().notes.len()), ("ddim", 1), "{name}");
            let found = pictures(&model, &options.clone().sampler(None));
            let error = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(error <= 1e-3, "{name}: {error:e}");
        }
        compared += 1;
    }
    assert!(compared >= 3, "{compared}");
}

/// Every scheduler that diffusers has, made of a checkpoint's own file as `from_pretrained` does it, on checkpoints that Python saved:
/// `fixtures/pipelines.json`.
fn pictures_of_every_scheduler_are_pythons(device: &Device, wanted: impl Fn(&str) -> bool) {
    let folder = format!("{}/tests/fixtures", env!("CARGO_MANIFEST_DIR"));
    let file: Value =
        serde_json::from_str(&std::fs::read_to_string(format!("{folder}/pipelines.json")).unwrap()).unwrap();
    let mut failures = Vec::new();
    let mut worst = 0f32;
    for case in file["cases"].as_array().unwrap() {
        let name = format!("{} {} {}", case["checkpoint"], case["config"], case["options"]);
        let checkpoint = case["checkpoint"].as_str().unwrap();
        if !wanted(checkpoint) {
            continue;
        }
        let mut checkpoint = Checkpoint::open(&format!("{folder}/checkpoints/{checkpoint}")).unwrap();
        // As a scheduler of another class that a program makes of the file, and so without the pipeline's word.
        let added = case["config"].as_object().unwrap();
        if !added.is_empty() {
            checkpoint.model_index = None;
            checkpoint.scheduler_config.as_mut().unwrap().extend(added.clone());
        }
        let mut settings = Settings::default();
        for (name, value) in case["options"].as_object().unwrap() {
            match value.as_str() {
                Some(text) => settings.set(name, text.into()),
                None => settings.set(name, value.as_f64().unwrap().into()),
            }
        }
        let options = SampleOptions::default()
            .sampler(None)
            .steps(case["steps"].as_u64().unwrap() as usize)
            .settings(settings)
            .seed(case["seed"].as_u64().unwrap())
            .rng(Rng::Torch)
            .batch(case["batch"].as_u64().unwrap() as usize)
            .labels((!case["labels"].is_null()).then(|| floats(&case["labels"])));
        let found = pictures(&Model::load_blocking(checkpoint, device).unwrap(), &options);
        let expected = floats(&case["output"]);
        assert_eq!(found.len(), expected.len(), "{name}");
        let size = expected.iter().fold(1f32, |size, v| size.max(v.abs()));
        let error = found.iter().zip(&expected).map(|(a, b)| (a - b).abs() / size).fold(0.0, f32::max);
        if error.is_nan() || error > 1e-3 {
            failures.push(format!("{error:.1e} {name}"));
        }
        worst = worst.max(error);
    }
    println!("largest difference: {worst:.1e}");
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn pictures_of_every_scheduler_on_the_cpu_are_pythons() {
    pictures_of_every_scheduler_are_pythons(&Device::cpu(), |_| true);
}

/// Those whose pipelines are their own: one takes a step, the other looks at whole pictures, which the host does.
#[cfg(feature = "gpu")]
#[test]
fn pictures_of_consistency_and_score_models_on_webgpu_are_pythons() {
    let device = pollster::block_on(Device::gpu()).unwrap();
    pictures_of_every_scheduler_are_pythons(&device, |checkpoint| {
        ["consistency", "score-sde", "ncsnpp"].contains(&checkpoint)
    });
}
