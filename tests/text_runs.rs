//! Whole pipelines that Python saved, from a folder to a picture: the runs in `text_pipelines.json`, by the library and by the command.

#![cfg(all(feature = "burn", not(target_arch = "wasm32")))]
#![allow(clippy::print_stdout, reason = "tests say how close they came")]

mod golden;

use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use golden::{f64s, floats, relative_error, weight};
use noiseball::checkpoint::save::safetensors;
use noiseball::checkpoint::weights::{Tensor, Weights};
use noiseball::pipeline::{Executor, Image, Made, OnBurn, Request, Runner};
use noiseball::{Result, Rng};
use serde_json::{Value, json};

const BOUND: f32 = 1e-4;

fn fixture() -> Value {
    serde_json::from_str(include_str!("fixtures/text_pipelines.json")).unwrap()
}

fn shape(tensor: &Value) -> Vec<usize> {
    f64s(&tensor["shape"]).into_iter().map(|size| size as usize).collect()
}

/// A pipeline's folder, as `save_pretrained` wrote it; it is gone when this is dropped.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Folder {
    fn of(case: &Value, parts: &Value) -> Self {
        static COUNT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let root =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("text-{}-{number}", std::process::id()));
        let folder = Self(root);
        folder.write("model_index.json", &case["model_index"]);
        folder.write("scheduler/scheduler_config.json", &case["scheduler"]);
        for (name, key) in case["parts"].as_object().unwrap() {
            let part = &parts[key.as_str().unwrap()];
            folder.write(&format!("{name}/config.json"), &part["config"]);
            let mut tensors = Weights::default();
            // Those of an autoencoder are called by what it is.
            let class = part["config"]["_class_name"].as_str().unwrap_or_default();
            let stream = if class == "AutoencoderKL" { "vae" } else { name };
            for (key, shape) in part["tensors"].as_object().unwrap() {
                let shape: Vec<usize> = serde_json::from_value(shape.clone()).unwrap();
                let values = weight(&format!("{stream}.{key}"), &shape);
                tensors.insert(key.clone(), Tensor::from_f32(&shape, &values));
            }
            let stem = if name.starts_with("text") { "model" } else { "diffusion_pytorch_model" };
            fs::write(folder.0.join(format!("{name}/{stem}.safetensors")), safetensors(&tensors)).unwrap();
        }
        let words = Path::new(env!("CARGO_MANIFEST_DIR")).join("tools/models/emoji-64/model/tokenizer");
        for (name, pad) in case["pads"].as_object().unwrap() {
            for file in ["vocab.json", "merges.txt", "tokenizer_config.json"] {
                let to = folder.0.join(name);
                fs::create_dir_all(&to).unwrap();
                fs::copy(words.join(file), to.join(file)).unwrap();
            }
            folder.write(&format!("{name}/special_tokens_map.json"), &json!({ "pad_token": pad }));
        }
        folder
    }

    fn write(&self, name: &str, json: &Value) {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, json.to_string()).unwrap();
    }

    fn open(&self, executor: Box<dyn Executor>) -> Result<Runner> {
        Runner::open(self.0.to_str().unwrap(), None, executor)
    }
}

fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::Array(list) => list.iter().map(|text| text.as_str().unwrap().to_owned()).collect(),
        Value::String(text) => vec![text.clone()],
        _ => Vec::new(),
    }
}

fn image(value: &Value) -> Option<Image> {
    if let Some(size) = value.get("picture") {
        let rgb = f64s(&value["bytes"]).into_iter().map(|byte| byte as u8).collect();
        let size = [0, 1].map(|at| size[at].as_u64().unwrap() as usize);
        return Some(Image::Picture { rgb, size });
    }
    let values = floats(value.get("values")?);
    Some(Image::Numbers { values, shape: shape(value).try_into().unwrap() })
}

/// What Python's call was given.
fn request(case: &Value) -> Request {
    let arguments = &case["arguments"];
    let whole = |name: &str| arguments[name].as_u64().map(|number| number as usize);
    let mut request = Request {
        prompts: texts(&arguments["prompt"]),
        prompts_2: texts(&arguments["prompt_2"]),
        negative_prompts: texts(&arguments["negative_prompt"]),
        guidance: arguments["guidance_scale"].as_f64(),
        labels: serde_json::from_value(arguments["class_labels"].clone()).unwrap_or_default(),
        steps: whole("num_inference_steps"),
        size: [whole("height"), whole("width")],
        batch: whole("num_images_per_prompt").or(whole("batch_size")),
        init: image(&arguments["image"]),
        strength: arguments["strength"].as_f64(),
        mask: image(&arguments["mask_image"]),
        seeds: match &case["seed"] {
            Value::Array(seeds) => seeds.iter().map(|seed| seed.as_u64().unwrap()).collect(),
            seed => vec![seed.as_u64().unwrap()],
        },
        rng: Rng::Torch,
        ..Request::default()
    };
    request.guided.rescale = arguments["guidance_rescale"].as_f64().unwrap_or(0.0);
    if let Some(eta) = arguments["eta"].as_f64() {
        request.settings = request.settings.with("eta", eta);
    }
    request
}

fn executor() -> Box<dyn Executor> {
    Box::new(OnBurn(Device::flex()))
}

fn run(case: &Value, parts: &Value) -> Made {
    let folder = Folder::of(case, parts);
    let mut runner = folder.open(executor()).unwrap();
    runner.sample_blocking(&request(case), &mut |_| Ok(())).unwrap()
}

#[test]
fn pictures_are_pythons() {
    let fixture = fixture();
    let cases = fixture["cases"].as_array().unwrap();
    assert!(cases.len() >= 31);
    let mut worst = 0f32;
    let mut wrong = Vec::new();
    for case in cases {
        let name = case["name"].as_str().unwrap();
        let made = run(case, &fixture["parts"]);
        assert_eq!(made.latents.shape, shape(&case["latents"]), "{name}");
        assert_eq!(made.pictures.shape, shape(&case["picture"]), "{name}");
        let latents = relative_error(&made.latents.values, &floats(&case["latents"]["values"]));
        let pictures = relative_error(&made.pictures.values, &floats(&case["picture"]["values"]));
        println!("{name}: latents {latents:.1e}, pictures {pictures:.1e}");
        worst = worst.max(latents).max(pictures);
        if !(latents.max(pictures) <= BOUND) {
            wrong.push(name);
        }
    }
    println!("{} pipelines, worst relative error {worst:.1e}", cases.len());
    assert!(wrong.is_empty(), "{wrong:?}");
}
