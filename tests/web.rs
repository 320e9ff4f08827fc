//! In real browsers, on WebGPU and on the CPU: the U-Net against Python's, a sampling run, and the errors that
//! JavaScript sees. `npm test -- web` runs it in Chromium and in Firefox.

#![cfg(target_arch = "wasm32")]

mod golden;

use std::sync::Arc;

use golden::text::{self, Array, Case, Replayer};
use golden::{cases, floats, relative_error, weight};
use js_sys::{Object, Reflect};
use noiseball::checkpoint::WeightsReader;
use noiseball::checkpoint::json::parse_object;
use noiseball::engine::cpu::CpuNetwork;
use noiseball::engine::gpu::{Gpu, GpuNetwork, Tuning};
use noiseball::engine::kernels::relaxed;
use noiseball::engine::parameters::Storage;
use noiseball::network::autoencoder::Decode;
use noiseball::network::autoencoder_kl::AutoencoderKlConfig;
use noiseball::network::clip_text::{ClipText, ClipTextConfig, EmbeddedText};
use noiseball::network::dit::DitConfig;
use noiseball::network::unet::UNet2DConfig;
use noiseball::network::unet_condition::UNet2DConditionConfig;
use noiseball::{Checkpoint, Device, Model, Rng, SampleOptions, SamplerKind, web};
use serde_json::Value;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_test::{console_log, wasm_bindgen_test, wasm_bindgen_test_configure};

wasm_bindgen_test_configure!(run_in_dedicated_worker);

const CONFIG: &[u8] = include_bytes!("fixtures/checkpoints/layout-a/unet/config.json");
const SCHEDULER: &[u8] = include_bytes!("fixtures/checkpoints/layout-a/scheduler/scheduler_config.json");
const WEIGHTS: &[u8] =
    include_bytes!("fixtures/checkpoints/layout-a/unet/diffusion_pytorch_model.safetensors");

async fn gpu() -> Device {
    web::start();
    Device::gpu().await.unwrap()
}

#[wasm_bindgen_test]
async fn the_unet_on_the_cpu_is_pythons() {
    web::start();
    // With relaxed SIMD where the browser has it, and without.
    let known = relaxed::is_chosen();
    console_log!("relaxed SIMD: {known}");
    for used in [known, false] {
        relaxed::choose(used);
        for case in cases(golden::UNET) {
            let (x, [batch, channels, height, width]) = (case.input(), case.shape);
            let mut net = CpuNetwork::new(case.config(), |key, shape| Ok(weight(key, shape))).unwrap();
            let y = net.evaluate(&x, case.shape, &case.timesteps, case.labels.as_deref()).await.unwrap();
            let error = relative_error(&y, &floats(&case.json["output"]));
            assert!(error <= 2e-5, "{}, relaxed {used}: {error:e}", case.name);
            // A picture's numbers are the same by itself.
            let shape = [1, channels, height, width];
            let labels = case.labels.as_ref().map(|labels| &labels[..labels.len() / batch]);
            let one = net.evaluate(&x[..x.len() / batch], shape, &case.timesteps[..1], labels).await.unwrap();
            assert!(one == y[..one.len()], "{}, relaxed {used}", case.name);
        }
    }
    relaxed::choose(known);
}

async fn the_unet_is_pythons(tuning: Tuning, storage: Storage, bar: f32) {
    web::start();
    let gpu = Gpu::tuned(tuning).await.unwrap();
    console_log!("WebGPU on {}, kernels for {tuning:?}, weights as {storage:?}", gpu.name());
    for case in cases(golden::UNET) {
        let take = |key: &str, shape: &[usize]| Ok(weight(key, shape));
        let mut net = GpuNetwork::new(&gpu, case.config(), storage, take).await.unwrap();
        let y =
            net.evaluate(&case.input(), case.shape, &case.timesteps, case.labels.as_deref()).await.unwrap();
        let error = relative_error(&y, &floats(&case.json["output"]));
        assert!(error <= bar, "{}: {error:e}", case.name);
    }
}

#[wasm_bindgen_test]
async fn the_unet_on_webgpu_is_pythons() {
    the_unet_is_pythons(Tuning::Hardware, Storage::F32, 2e-4).await;
}

#[wasm_bindgen_test]
async fn the_unet_on_webgpu_in_software_is_pythons() {
    the_unet_is_pythons(Tuning::Software, Storage::F32, 2e-4).await;
}

#[wasm_bindgen_test]
async fn the_unet_on_webgpu_with_16_bit_weights_is_pythons() {
    the_unet_is_pythons(Tuning::Software, Storage::F16, 2e-2).await;
}

/// A network of each family of latent and text pipelines.
async fn parts_of_pipelines_are_pythons(on: Replayer<'_>, bar: f32) {
    let check = |case: &Case, field: &str, found: &Array| {
        let error = relative_error(&found.values, &case.floats(field));
        console_log!("{} {field}: {error:.1e}", case.name());
        assert!(error <= bar, "{} {field}: {error:e}", case.name());
    };
    let case = &text::cases(text::UNET_CONDITION, 1)[0];
    let (net, _) = UNet2DConditionConfig::parse("config.json", case.config()).unwrap();
    let inputs = text::unet_inputs(case, &net);
    let take = |key: &str, shape: &[usize]| Ok(case.weight(key, shape));
    check(case, "output", &text::replay(on, &net, &inputs, take).await[0]);

    let all = text::cases(text::AUTOENCODERS, 1);
    let case = all.iter().find(|case| case.0["kind"] == "kl").unwrap();
    let (net, _) = AutoencoderKlConfig::parse("config.json", case.config()).unwrap();
    let take = |key: &str, shape: &[usize]| Ok(case.weight(key, shape));
    check(case, "decoded", &text::replay(on, &Decode(&net), &[text::latents(case)], take).await[0]);

    let case = &text::cases(text::CLIP_TEXT, 1)[0];
    let class = case.0["kind"].as_str().unwrap();
    let (net, _) = ClipTextConfig::parse("config.json", class, case.config()).unwrap();
    let [ids, places] = text::text_inputs(case, &net);
    let pass = ClipText { config: &net, skip: 0, normalise: true, pooled: true };
    let take = |key: &str, shape: &[usize]| Ok(case.weight(key, shape));
    let tokens = text::embedded(case, &net, &ids);
    let results = text::replay(on, &EmbeddedText(pass), &[tokens, places], take).await;
    check(case, "last", &text::transposed(&results[0]));
    check(case, "pooled", &results[1]);

    let case = &text::cases(text::DIT, 1)[0];
    let (net, _) = DitConfig::parse("config.json", case.config()).unwrap();
    let take = |key: &str, shape: &[usize]| Ok(case.weight(key, shape));
    check(case, "output", &text::replay(on, &net, &text::dit_inputs(case, &net), take).await[0]);
}

#[wasm_bindgen_test]
async fn parts_of_pipelines_on_the_cpu_are_pythons() {
    web::start();
    parts_of_pipelines_are_pythons(Replayer::Cpu, 2e-5).await;
}

#[wasm_bindgen_test]
async fn parts_of_pipelines_on_webgpu_are_pythons() {
    web::start();
    let gpu = Gpu::tuned(Tuning::Software).await.unwrap();
    parts_of_pipelines_are_pythons(Replayer::Gpu(&gpu), 2e-4).await;
}

/// Heads of 96 channels and more keys than the kernel takes at a time, with which one browser once began each time from the
/// scores of the time before.
#[wasm_bindgen_test]
async fn wide_attention_on_webgpu_is_the_cpus() {
    web::start();
    let config = br#"{"sample_size": 8, "in_channels": 1, "out_channels": 1, "block_out_channels": [96],
        "layers_per_block": 1, "norm_num_groups": 8, "attention_head_dim": null,
        "down_block_types": ["AttnDownBlock2D"], "up_block_types": ["AttnUpBlock2D"]}"#;
    let (config, _) =
        UNet2DConfig::parse("config.json", &parse_object("config.json", config).unwrap()).unwrap();
    let take = |key: &str, shape: &[usize]| Ok(weight(key, shape));
    let x: Vec<f32> = (0..64_u8).map(|i| f32::from(i % 7) - 3.0).collect();
    let shape = [1, 1, 8, 8];
    let mut cpu = CpuNetwork::new(Arc::new(config.clone()), take).unwrap();
    let expected = cpu.evaluate(&x, shape, &[500.0], None).await.unwrap();
    let gpu = Gpu::new().await.unwrap();
    let mut gpu = GpuNetwork::new(&gpu, Arc::new(config), Storage::F32, take).await.unwrap();
    let found = gpu.evaluate(&x, shape, &[500.0], None).await.unwrap();
    let error = relative_error(&found, &expected);
    assert!(error <= 1e-5, "{error:e}");
}

fn checkpoint() -> Checkpoint {
    let mut reader = WeightsReader::new("model.safetensors");
    WEIGHTS.chunks(1000).for_each(|chunk| reader.push(chunk).unwrap());
    Checkpoint {
        model_index: None,
        unet_config: parse_object("config.json", CONFIG).unwrap(),
        scheduler_config: Some(parse_object("scheduler_config.json", SCHEDULER).unwrap()),
        labels: None,
        weights: reader.finish().unwrap(),
    }
}

/// The case of the pipeline fixtures that this checkpoint's DDIM run at batch 3 is.
fn pipeline() -> (SampleOptions, Vec<f32>) {
    let file: Value = serde_json::from_str(include_str!("fixtures/pipeline.json")).unwrap();
    let wanted = |c: &&Value| {
        c["checkpoint"] == "layout-a"
            && c["sampler"] == "DDIM"
            && c["batch"] == 3
            && c["eta"] == 0.0
            && c["seed"].is_u64()
    };
    let case = file["cases"].as_array().unwrap().iter().find(wanted).unwrap();
    let options = SampleOptions::default()
        .sampler(SamplerKind::Ddim)
        .steps(case["steps"].as_u64().unwrap() as usize)
        .seed(case["seed"].as_u64().unwrap())
        .rng(Rng::Torch)
        .batch(3);
    (options, floats(&case["output"]))
}

async fn pictures(device: &Device) -> Vec<f32> {
    let model = Model::load(checkpoint(), device).await.unwrap();
    let mut run = model.sample(&pipeline().0).unwrap();
    let mut last = Vec::new();
    while let Some(step) = run.step().await.unwrap() {
        last = step.x.to_vec();
    }
    last
}

fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// 1/255 of the range [-1, 1].
const ONE_LEVEL: f32 = 2.0 / 255.0;

#[wasm_bindgen_test]
async fn one_seed_gives_pythons_pictures_on_both_devices() {
    let expected = pipeline().1;
    let on_gpu = pictures(&gpu().await).await;
    let on_cpu = pictures(&Device::cpu()).await;
    assert!(largest_difference(&on_cpu, &expected) <= 1e-3);
    assert!(largest_difference(&on_gpu, &expected) <= 1e-3);
    assert!(largest_difference(&on_gpu, &on_cpu) <= ONE_LEVEL);
}

#[wasm_bindgen_test]
async fn a_lost_device_ends_the_run_and_the_next_build_has_another() {
    let gpu1 = Gpu::new().await.unwrap();
    let model = Model::load(checkpoint(), &Device::from(gpu1.clone())).await.unwrap();
    let mut run = model.sample(&pipeline().0).unwrap();
    run.step().await.unwrap();
    gpu1.destroy();
    let error = loop {
        match run.step().await {
            Ok(step) => assert!(step.is_some(), "the run came to its end"),
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), "device-lost");
    assert!(model.check().is_err());
    let again = pictures(&gpu().await).await;
    assert!(largest_difference(&again, &pipeline().1) <= 1e-3);
}

fn object(fields: &[(&str, JsValue)]) -> JsValue {
    let object = Object::new();
    for (name, value) in fields {
        Reflect::set(&object, &(*name).into(), value).unwrap();
    }
    object.into()
}

/// Gives an opening these files; all others are absent.
fn pump(opening: &mut web::Opening, files: &[(&str, &[u8])]) -> Result<(), JsValue> {
    loop {
        let wanted = opening.wanted();
        if wanted.length() == 0 {
            return Ok(());
        }
        for file in wanted.iter() {
            let path = Reflect::get(&file, &"path".into())?.as_string().unwrap();
            let weights = Reflect::get(&file, &"weights".into())?.is_truthy();
            match files.iter().find(|(name, _)| *name == path) {
                None => opening.absent(&path, false)?,
                Some((_, bytes)) if weights => {
                    opening.begin(&path, None)?;
                    opening.push(bytes)?;
                    opening.end()?;
                }
                Some((_, bytes)) => opening.give(&path, bytes)?,
            }
        }
    }
}

async fn build(config: &[u8], weights: &[u8], device: &str) -> Result<web::Model, JsValue> {
    web::start();
    let mut opening = web::Opening::new("https://example.com/", None, None)?;
    let files = [
        ("unet/config.json", config),
        ("scheduler/scheduler_config.json", SCHEDULER),
        ("unet/diffusion_pytorch_model.safetensors", weights),
    ];
    pump(&mut opening, &files)?;
    web::Model::build(opening, device.to_owned()).await
}

/// The error's `type`, if it is an `Error` with a message.
fn kind<T>(result: Result<T, JsValue>) -> String {
    let Err(error) = result else { return "no error".to_owned() };
    let error: js_sys::Error = error.dyn_into().unwrap();
    assert!(String::from(error.message()).len() > 20);
    Reflect::get(&error, &"type".into()).unwrap().as_string().unwrap()
}

#[wasm_bindgen_test]
async fn bad_checkpoints_throw_typed_errors() {
    let skip =
        String::from_utf8(CONFIG.to_vec()).unwrap().replace("\"DownBlock2D\"", "\"CrossAttnDownBlock2D\"");
    let wide = String::from_utf8(CONFIG.to_vec())
        .unwrap()
        .replace("\"in_channels\": 3", "\"in_channels\": 1000000000");
    assert_eq!(kind(build(CONFIG, &WEIGHTS[..WEIGHTS.len() - 1], "cpu").await), "checkpoint");
    assert_eq!(kind(build(CONFIG, b"<!doctype html>", "cpu").await), "checkpoint");
    assert_eq!(kind(build(CONFIG, b"", "cpu").await), "checkpoint");
    assert_eq!(kind(build(b"[]", WEIGHTS, "cpu").await), "checkpoint");
    assert_eq!(kind(build(wide.as_bytes(), WEIGHTS, "cpu").await), "checkpoint");
    assert_eq!(kind(build(skip.as_bytes(), WEIGHTS, "cpu").await), "unsupported-architecture");
    assert_eq!(kind(build(CONFIG, WEIGHTS, "quantum").await), "invalid-option");
    assert_eq!(kind(build(CONFIG, WEIGHTS, "cpu").await), "no error");
}

#[wasm_bindgen_test]
async fn bad_options_throw_typed_errors_and_the_model_goes_on() {
    let model = build(CONFIG, WEIGHTS, "cpu").await.unwrap();
    // Neither guided nor edited.
    let sample = |options: JsValue| model.sample(options, Vec::new(), None, None, None, None);
    let bad: [(&str, JsValue); 12] = [
        ("steps", 0.into()),
        ("steps", 1001.into()),
        ("steps", (-1).into()),
        ("steps", f64::NAN.into()),
        ("steps", "ten".into()),
        ("seed", 9_007_199_254_740_992.0.into()),
        ("seed", 0.5.into()),
        ("batch", 0.into()),
        ("eta", 2.into()),
        ("labels", js_sys::Array::of1(&1.into()).into()),
        ("sampler", "eular".into()),
        ("smapler", "ddim".into()),
    ];
    for (name, value) in bad {
        assert_eq!(kind(sample(object(&[(name, value)]))), "invalid-option", "{name}");
    }
    let mut run = sample(object(&[("steps", 2.into()), ("sampler", "ddim".into())])).unwrap();
    assert_eq!(kind(sample(JsValue::UNDEFINED)), "busy");
    let first = run.next().await.unwrap();
    let field = |step: &JsValue, name: &str| Reflect::get(step, &name.into()).unwrap();
    assert_eq!(field(&first, "total"), 2);
    let noise = field(&first, "noise").as_f64().unwrap();
    assert!(0.5 < noise && noise <= 1.0, "{noise}");
    assert_eq!(field(&first, "pictures").unchecked_into::<js_sys::Uint8ClampedArray>().length(), 8 * 8 * 4);
    assert!(field(&first, "latents").is_undefined());
    let last = run.next().await.unwrap();
    assert_eq!(field(&last, "latents").unchecked_into::<js_sys::Float32Array>().length(), 3 * 8 * 8);
    assert!(run.next().await.unwrap().is_undefined());
    assert_eq!(kind(sample(JsValue::UNDEFINED)), "no error");
}

#[wasm_bindgen_test]
fn listed_files_are_wanted_by_name() {
    let names = ["x/unet/config.json", "x/unet/diffusion_pytorch_model.safetensors"].map(str::to_owned);
    let mut opening = web::Opening::new("", Some(names.to_vec()), None).unwrap();
    let wanted = js_sys::JSON::stringify(&opening.wanted()).unwrap();
    assert_eq!(wanted, r#"[{"path":"x/unet/config.json","weights":false,"limit":4194304}]"#);
    opening.give("x/unet/config.json", CONFIG).unwrap();
    let wanted = js_sys::JSON::stringify(&opening.wanted()).unwrap();
    assert!(String::from(wanted).contains(r#"_model.safetensors","weights":true"#));
    assert_eq!(kind(web::Opening::new("", Some(vec!["README.md".to_owned()]), None)), "checkpoint");
}
