//! Whole pipelines that Python saved, from a folder to a picture: the runs in `text_pipelines.json`, by the library and by the command.

#![cfg(all(feature = "burn", feature = "cli", not(target_arch = "wasm32")))]
#![allow(clippy::print_stdout, reason = "tests say how close they came")]

mod golden;

use std::cell::RefCell;
use std::fs;
use std::future::poll_fn;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::task::Poll;

use burn::tensor::Device;
use golden::{f64s, floats, relative_error, weight};
use noiseball::checkpoint::WeightsReader;
use noiseball::checkpoint::save::safetensors;
use noiseball::checkpoint::weights::{Dtype, Tensor, Weights};
use noiseball::engine::filling::Numbers;
use noiseball::network::array::Array;
use noiseball::pipeline::{
    Image, Loader, Loading, Made, OnBurn, Part, Pending, Progress, Ready, Request, Runner, WordMaps,
};
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

    fn open(&self, loader: Box<dyn Loader>) -> Result<Runner> {
        Runner::open(self.0.to_str().unwrap(), None, loader)
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

fn loader() -> Box<dyn Loader> {
    Box::new(noiseball::Device::cpu())
}

fn run(case: &Value, parts: &Value, loader: Box<dyn Loader>) -> Made {
    let folder = Folder::of(case, parts);
    let mut runner = folder.open(loader).unwrap();
    runner.sample_blocking(&request(case), &mut |_| Ok(())).unwrap()
}

/// All runs but those that are skipped, on an loader.
fn compare(loader: &dyn Fn() -> Box<dyn Loader>, bound: f32, wanted: &dyn Fn(&str) -> bool) {
    let fixture = fixture();
    let cases = fixture["cases"].as_array().unwrap();
    assert!(cases.len() >= 35);
    let (mut worst, mut count) = (0f32, 0);
    let mut wrong = Vec::new();
    for case in cases {
        let name = case["name"].as_str().unwrap();
        if !wanted(name) {
            continue;
        }
        let made = run(case, &fixture["parts"], loader());
        assert_eq!(made.latents.shape, shape(&case["latents"]), "{name}");
        assert_eq!(made.pictures.shape, shape(&case["picture"]), "{name}");
        let latents = relative_error(&made.latents.values, &floats(&case["latents"]["values"]));
        let pictures = relative_error(&made.pictures.values, &floats(&case["picture"]["values"]));
        println!("{name}: latents {latents:.1e}, pictures {pictures:.1e}");
        (worst, count) = (worst.max(latents).max(pictures), count + 1);
        if latents.max(pictures) > bound {
            wrong.push(name);
        }
    }
    println!("{count} pipelines, worst relative error {worst:.1e}");
    assert!(count > 0 && wrong.is_empty(), "{wrong:?}");
}

#[test]
fn pictures_are_pythons() {
    compare(&loader, BOUND, &|_| true);
}

/// An independent opinion, of one pipeline of each kind.
#[test]
fn pictures_on_burn_are_pythons() {
    let some = ["sd1", "xl", "lcm", "to_image_tiny", "inpaint", "dit", "ldm_vq"];
    compare(&|| Box::new(OnBurn(Device::flex())), BOUND, &|name| some.contains(&name));
}

/// On a software adapter, whose shaders take long to compile: one pipeline of each kind.
#[test]
fn pictures_on_a_gpu_are_pythons() {
    use noiseball::engine::gpu::{Gpu, Tuning};
    let gpu = pollster::block_on(Gpu::tuned(Tuning::Software)).unwrap();
    let some = ["sd1", "xl", "to_image_tiny", "inpaint_four_weak", "dit", "ldm_vq"];
    compare(&|| Box::new(noiseball::Device::from(gpu.clone())), 1e-3, &|name| some.contains(&name));
}

/// The maps of each step of the runs in `attention.json`, and that asking for them changes no picture.
fn compare_maps(
    loader: &dyn Fn() -> Box<dyn Loader>,
    [picture, map]: [f32; 2],
    wanted: &dyn Fn(&str) -> bool,
) {
    let (pipelines, maps) = (fixture(), include_str!("fixtures/attention.json"));
    let maps: Value = serde_json::from_str(maps).unwrap();
    let mut worst = 0f32;
    for expected in maps["cases"].as_array().unwrap() {
        let name = expected["name"].as_str().unwrap();
        if !wanted(name) {
            continue;
        }
        let case = case(&pipelines, name);
        let folder = Folder::of(&case, &pipelines["parts"]);
        let mut steps: Vec<Vec<WordMaps>> = Vec::new();
        let mut note = |progress: Progress<'_>| {
            if let Progress::Attention(maps) = progress {
                steps.push(maps.to_vec());
            }
            Ok(())
        };
        let request = Request { attention: true, ..request(&case) };
        let made = folder.open(loader()).unwrap().sample_blocking(&request, &mut note).unwrap();
        let error = relative_error(&made.pictures.values, &floats(&case["picture"]["values"]));
        assert!(error <= picture, "{name}: pictures {error:e}");
        let all = expected["steps"].as_array().unwrap();
        assert_eq!(steps.len(), all.len(), "{name}");
        let mut sums: Vec<Vec<f32>> = vec![Vec::new(); steps[0].len()];
        for (step, expected_step) in steps.iter().zip(all) {
            for (i, (maps, expected_maps)) in step.iter().zip(expected_step.as_array().unwrap()).enumerate() {
                assert_eq!(maps.words, texts(&expected["words"][i]), "{name}");
                let [count, height, width] = shape(expected_maps)[..] else { panic!("{name}") };
                assert_eq!((maps.words.len(), maps.size), (count, [height, width]), "{name}");
                let values = floats(&expected_maps["values"]);
                sums[i].resize(values.len(), 0.0);
                sums[i].iter_mut().zip(&values).for_each(|(sum, value)| *sum += value);
                worst = worst.max(relative_error(&maps.now, &values));
            }
        }
        for (maps, sum) in steps.last().unwrap().iter().zip(&sums) {
            let mean: Vec<f32> = sum.iter().map(|sum| sum / all.len() as f32).collect();
            worst = worst.max(relative_error(&maps.mean, &mean));
        }
        println!("{name}: pictures {error:.1e}");
    }
    println!("worst relative error of a map {worst:.1e}");
    assert!(worst > 0.0 && worst <= map, "{worst:e}");
}

#[test]
fn words_act_where_pythons_do() {
    compare_maps(&loader, [BOUND, 2e-5], &|_| true);
}

#[test]
fn words_act_where_pythons_do_on_burn() {
    compare_maps(&|| Box::new(OnBurn(Device::flex())), [BOUND, 2e-5], &|name| name == "xl_negative");
}

#[test]
fn words_act_where_pythons_do_on_a_gpu() {
    use noiseball::engine::gpu::{Gpu, Tuning};
    let gpu = pollster::block_on(Gpu::tuned(Tuning::Software)).unwrap();
    let on_gpu = || Box::new(noiseball::Device::from(gpu.clone())) as Box<dyn Loader>;
    compare_maps(&on_gpu, [1e-3, 2e-4], &|name| name == "sd1_several");
}

/// A case with its parts.
fn case(fixture: &Value, name: &str) -> Value {
    let cases = fixture["cases"].as_array().unwrap();
    cases.iter().find(|case| case["name"] == name).unwrap().clone()
}

/// The arguments of the command that stand for those of Python's call; pictures are written into the folder.
fn arguments(case: &Value, folder: &Folder) -> Vec<String> {
    let mut list = vec!["sample".to_owned(), folder.0.to_str().unwrap().to_owned()];
    let mut add = |name: &str, value: String| list.extend([format!("--{name}"), value]);
    let request = request(case);
    request.prompts.into_iter().for_each(|text| add("prompt", text));
    request.prompts_2.into_iter().for_each(|text| add("prompt-2", text));
    request.negative_prompts.into_iter().for_each(|text| add("negative-prompt", text));
    let joined =
        |list: &mut dyn Iterator<Item = u64>| list.map(|n| n.to_string()).collect::<Vec<_>>().join(",");
    add("seed", joined(&mut request.seeds.into_iter()));
    if !request.labels.is_empty() {
        add("labels", joined(&mut request.labels.into_iter().map(u64::from)));
    }
    let [height, width] = request.size;
    for (name, number) in
        [("steps", request.steps), ("height", height), ("width", width), ("batch", request.batch)]
    {
        number.into_iter().for_each(|number| add(name, number.to_string()));
    }
    let numbers = [("guidance", request.guidance), ("strength", request.strength)];
    for (name, number) in numbers.into_iter().chain([("eta", case["arguments"]["eta"].as_f64())]) {
        number.into_iter().for_each(|number| add(name, number.to_string()));
    }
    if request.guided.rescale != 0.0 {
        add("guidance-rescale", request.guided.rescale.to_string());
    }
    for (name, given) in [("init", request.init), ("mask", request.mask)] {
        let Some(given) = given else { continue };
        let path = folder.0.join(name);
        match given {
            Image::Numbers { values, shape } => {
                let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
                fs::write(&path, noiseball::npy::encode("<f4", &shape, &bytes)).unwrap();
            }
            Image::Picture { rgb, size: [height, width] } => {
                let file = fs::File::create(&path).unwrap();
                let mut encoder = png::Encoder::new(file, width as u32, height as u32);
                encoder.set_color(png::ColorType::Rgb);
                encoder.write_header().unwrap().write_image_data(&rgb).unwrap();
            }
        }
        add(name, path.to_str().unwrap().to_owned());
    }
    list
}

/// The numbers of a file in NumPy's format, of which the header is not looked at.
fn numbers(path: &Path) -> Vec<f32> {
    let bytes = fs::read(path).unwrap();
    let start = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    bytes[start..].as_chunks::<4>().0.iter().map(|four| f32::from_le_bytes(*four)).collect()
}

fn noiseball(arguments: &[String]) -> (bool, String) {
    let output =
        std::process::Command::new(env!("CARGO_BIN_EXE_noiseball")).args(arguments).output().unwrap();
    (output.status.success(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn the_command_makes_pythons_pictures() {
    let fixture = fixture();
    for name in [
        "sd1_several",
        "sd1_several_seeds",
        "xl_negative",
        "to_image_resized",
        "inpaint_weak",
        "dit",
        "ldm_kl",
    ] {
        let case = case(&fixture, name);
        let folder = Folder::of(&case, &fixture["parts"]);
        let [pictures, latents] = ["pictures.npy", "latents.npy"].map(|file| folder.0.join(file));
        let mut arguments = arguments(&case, &folder);
        for text in
            ["--rng", "torch", "--device", "cpu", "--npy", pictures.to_str().unwrap(), "--npy-latents"]
        {
            arguments.push(text.to_owned());
        }
        arguments.push(latents.to_str().unwrap().to_owned());
        let (done, told) = noiseball(&arguments);
        assert!(done, "{name}: {told}");
        for (file, field) in [(&pictures, "picture"), (&latents, "latents")] {
            let error = relative_error(&numbers(file), &floats(&case[field]["values"]));
            assert!(error <= BOUND, "{name}, {field}: {error:e}");
        }
        assert!(told.starts_with("noiseball sample ") && told.contains("--steps "), "{told}");
    }
}

/// What a run of this case is refused for, after its folder was changed.
fn refused(case: &Value, change: &dyn Fn(&Folder)) -> noiseball::Error {
    let folder = Folder::of(case, &fixture()["parts"]);
    change(&folder);
    let made =
        folder.open(loader()).and_then(|mut runner| runner.sample_blocking(&request(case), &mut |_| Ok(())));
    made.unwrap_err()
}

fn changed(folder: &Folder, file: &str, field: &str, value: Value) {
    let mut json: Value = serde_json::from_slice(&fs::read(folder.0.join(file)).unwrap()).unwrap();
    json[field] = value;
    folder.write(file, &json);
}

#[test]
fn folders_that_are_not_whole_are_refused() {
    let case = case(&fixture(), "sd1");
    let remove = |file: &'static str| move |folder: &Folder| fs::remove_file(folder.0.join(file)).unwrap();
    let change = |file: &'static str, field: &'static str, value: Value| {
        move |folder: &Folder| changed(folder, file, field, value.clone())
    };
    type Change = Box<dyn Fn(&Folder)>;
    let wrong: [(Change, &str, &str); 10] = [
        (Box::new(remove("vae/config.json")), "checkpoint", "vae/config.json"),
        (
            Box::new(remove("vae/diffusion_pytorch_model.safetensors")),
            "checkpoint",
            "vae/diffusion_pytorch_model.safetensors",
        ),
        (Box::new(remove("text_encoder/model.safetensors")), "checkpoint", "text_encoder/model.safetensors"),
        (Box::new(remove("tokenizer/merges.txt")), "checkpoint", "merges.txt of the tokenizer"),
        (Box::new(change("model_index.json", "vae", json!([null, null]))), "checkpoint", "`vae`"),
        (
            Box::new(change("unet/config.json", "cross_attention_dim", json!(32))),
            "checkpoint",
            "the width of text_encoder",
        ),
        (
            Box::new(change("text_encoder/config.json", "vocab_size", json!(512))),
            "checkpoint",
            "another text encoder",
        ),
        (
            Box::new(change("text_encoder/config.json", "num_hidden_layers", json!(3))),
            "checkpoint",
            "encoder.layers.2",
        ),
        (
            Box::new(change("unet/config.json", "class_embed_type", json!("timestep"))),
            "unsupported-architecture",
            "class embedding",
        ),
        (
            Box::new(change("model_index.json", "_class_name", json!("PixArtAlphaPipeline"))),
            "unsupported-architecture",
            "PixArt",
        ),
    ];
    for (change, kind, says) in wrong {
        let error = refused(&case, &*change);
        assert!(error.kind() == kind && error.to_string().contains(says), "{says}: {error}");
    }
}

#[test]
fn what_a_pipeline_has_no_use_for_is_refused() {
    let fixture = fixture();
    let with = |name: &str, change: &dyn Fn(&mut Request), says: &str| {
        let case = case(&fixture, name);
        let folder = Folder::of(&case, &fixture["parts"]);
        let mut runner = folder.open(loader()).unwrap();
        let mut request = request(&case);
        change(&mut request);
        let error = runner.sample_blocking(&request, &mut |_| panic!("nothing is loaded")).unwrap_err();
        assert!(error.kind() == "invalid-option" && error.to_string().contains(says), "{name}: {error}");
    };
    let numbers =
        |shape: [usize; 4]| Some(Image::Numbers { values: vec![0.5; shape.iter().product()], shape });
    with("sd1", &|r| r.prompts.clear(), "`prompt` is left out");
    with("sd1", &|r| r.prompts_2.push("a".to_owned()), "`prompt_2` is given");
    with("sd1", &|r| r.labels.push(1), "`labels` is given");
    with("sd1", &|r| r.strength = Some(0.5), "`strength` is given");
    with("sd1", &|r| r.mask = numbers([1, 1, 8, 8]), "`mask` is given");
    with("sd1", &|r| r.size[0] = Some(12), "`height` is 12");
    with("sd1", &|r| r.seeds = vec![1, 2], "`seed` is 2 seeds");
    with("sd1", &|r| r.batch = Some(0), "`batch` is 0");
    with("sd1", &|r| r.steps = Some(0), "`steps` is 0");
    with("sd1", &|r| r.guided.rescale = 2.0, "`guidance_rescale` is 2");
    with("sd1", &|r| r.negative_prompts = vec![String::new(); 2], "`negative_prompt` is given 2 times");
    with("lcm", &|r| r.negative_prompts.push("a".to_owned()), "`negative_prompt` is given");
    with("lcm", &|r| r.guided.rescale = 0.5, "`guidance_rescale` is given");
    with("xl", &|r| r.prompts_2 = vec![String::new(); 2], "`prompt_2` is given 2 times");
    with("dit", &|r| r.prompts.push("a".to_owned()), "`prompt` is given");
    with("dit", &|r| r.labels.clear(), "`labels` is left out");
    with("dit", &|r| r.batch = Some(3), "`labels` is 2 classes");
    with("dit", &|r| r.attention = true, "`attention` is given");
    with("ldm_kl", &|r| r.guidance = Some(2.0), "`guidance` is given");
    with("ldm_kl", &|r| r.init = numbers([1, 3, 8, 8]), "`init` is given");
    with("to_image", &|r| r.init = numbers([1, 3, 9, 8]), "`init` is of shape [1, 3, 9, 8]");
    with("to_image", &|r| r.init = numbers([2, 3, 8, 8]), "`init` is 2 pictures");
    with("to_image", &|r| r.strength = Some(0.01), "`strength` is 0.01");
    with("to_image", &|r| r.size = [Some(8); 2], "`height` is given");
    with("inpaint", &|r| r.mask = None, "`mask` is left out");
    with("inpaint", &|r| r.mask = numbers([2, 1, 8, 8]), "`mask` is 2 masks");
    with("inpaint_four", &|r| r.mask = numbers([1, 3, 8, 8]), "`mask` is of shape [1, 3, 8, 8]");
}

#[test]
fn a_prompt_that_is_too_long_is_told() {
    let fixture = fixture();
    let made = run(&case(&fixture, "sd1_dpm"), &fixture["parts"], loader());
    assert!(
        made.notes.iter().any(|note| note.contains("longer than 32 tokens: \"a cat")),
        "{:?}",
        made.notes
    );
}

#[test]
fn parts_are_held_one_at_a_time_and_a_large_one_is_refused() {
    let fixture = fixture();
    let case = case(&fixture, "to_image");
    let folder = Folder::of(&case, &fixture["parts"]);
    let mut runner = folder.open(loader()).unwrap();
    let mut read = Vec::new();
    let mut note = |progress: Progress<'_>| {
        if let Progress::Loading { part, .. } = progress
            && read.last().is_none_or(|last| last != part)
        {
            read.push(part.to_owned());
        }
        Ok(())
    };
    let first = runner.sample_blocking(&request(&case), &mut note).unwrap();
    runner.keep_loaded();
    let second = runner.sample_blocking(&request(&case), &mut note).unwrap();
    let third = runner.sample_blocking(&request(&case), &mut note).unwrap();
    assert_eq!([&first, &first], [&second, &third]);
    let once = ["text_encoder", "vae", "unet", "vae"];
    assert_eq!(read, [&once[..], &once].concat());

    let mut runner = folder.open(loader()).unwrap();
    runner.limit_memory(300_000);
    let error = runner.sample_blocking(&request(&case), &mut |_| Ok(())).unwrap_err();
    assert!(error.kind() == "out-of-memory" && error.to_string().contains("`text_encoder` takes"), "{error}");
}

#[test]
fn what_a_gpu_may_not_have_is_refused_before_anything_is_read() {
    use noiseball::engine::gpu::{Gpu, Tuning};
    let fixture = fixture();
    let case = case(&fixture, "sd1_unguided");
    let folder = Folder::of(&case, &fixture["parts"]);
    let gpu = pollster::block_on(Gpu::tuned(Tuning::Software)).unwrap();
    let mut runner = folder.open(Box::new(noiseball::Device::from(gpu))).unwrap();
    // Sixteen channels of it are 256 MiB, twice what an adapter in software lets a kernel see.
    let request = Request { size: [Some(4096), Some(4096)], ..request(&case) };
    let error = runner.sample_blocking(&request, &mut |progress| panic!("{progress:?}")).unwrap_err();
    assert!(
        error.kind() == "limit" && error.to_string().contains("maxStorageBufferBindingSize is"),
        "{error}"
    );
}

#[test]
fn a_decoder_that_does_not_fit_is_run_in_tiles() {
    let fixture = fixture();
    let case = case(&fixture, "sd1_unguided");
    let folder = Folder::of(&case, &fixture["parts"]);
    // So that a tile is 32 pixels wide.
    changed(&folder, "vae/config.json", "sample_size", json!(32));
    let mut runner = folder.open(loader()).unwrap();
    let request = Request { size: [Some(64), Some(96)], ..request(&case) };
    // What is loaded already is not weighed again, but for what it is given.
    runner.keep_loaded();
    let whole = runner.sample_blocking(&request, &mut |_| Ok(())).unwrap();
    let parts = runner.description().parts([32, 48]);
    let decoder = parts.iter().find(|part| part.name == "vae.decoder").unwrap();
    runner.limit_memory(decoder.bytes(4) - 1);
    let tiled = runner.sample_blocking(&request, &mut |_| Ok(())).unwrap();
    assert_eq!((tiled.latents, &tiled.pictures.shape), (whole.latents, &whole.pictures.shape));
    let change = relative_error(&tiled.pictures.values, &whole.pictures.values);
    assert!(change > 1e-3 && change < 1.0, "{change:e}");
    let told = |note: &String| note.contains("vae.decoder was run in tiles of 32×32 pixels");
    assert!(tiled.notes.iter().any(told) && !whole.notes.iter().any(told), "{:?}", tiled.notes);
}

/// The processor, with a decoder that overflows in half precision.
struct Overflowing;

struct Infinite(Vec<usize>);

impl Loader for Overflowing {
    fn begin(&self, part: Part, exact: bool) -> Result<Box<dyn Loading>> {
        if matches!(part, Part::Decoder(_)) && !exact {
            return Ok(Box::new(Infinite(vec![1, 3, 8, 8])));
        }
        noiseball::Device::cpu().begin(part, exact)
    }
}

impl Loading for Infinite {
    fn put(&mut self, _: &str, _: Numbers) -> Result<()> {
        Ok(())
    }

    fn finish<'a>(self: Box<Self>) -> Pending<'a, Box<dyn Ready>> {
        Box::pin(async move { Ok(self as Box<dyn Ready>) })
    }
}

impl Ready for Infinite {
    fn ask<'a>(&'a mut self, _: &'a [Array], _: bool) -> Pending<'a, Vec<Array>> {
        let values = vec![f32::NAN; self.0.iter().product()];
        Box::pin(async { Ok(vec![Array { shape: self.0.clone(), values }]) })
    }
}

#[test]
fn a_decoder_that_overflows_in_half_precision_is_run_in_full() {
    let fixture = fixture();
    let case = case(&fixture, "sd1");
    let folder = Folder::of(&case, &fixture["parts"]);
    let file = folder.0.join("vae/diffusion_pytorch_model.safetensors");
    let mut reader = WeightsReader::new("vae");
    reader.push(&fs::read(&file).unwrap()).unwrap();
    let mut weights = reader.finish().unwrap();
    let names: Vec<String> = weights.names().map(str::to_owned).collect();
    for name in names {
        let tensor = weights.take(&name).unwrap();
        let values = tensor.to_f32(&name).unwrap();
        let bytes = values.iter().flat_map(|value| half::f16::from_f32(*value).to_le_bytes()).collect();
        weights.insert(name, Tensor { dtype: Dtype::F16, shape: tensor.shape, bytes });
    }
    fs::write(&file, safetensors(&weights)).unwrap();
    let made = folder
        .open(Box::new(Overflowing))
        .unwrap()
        .sample_blocking(&request(&case), &mut |_| Ok(()))
        .unwrap();
    let error = relative_error(&made.pictures.values, &floats(&case["picture"]["values"]));
    assert!(error < 1e-2, "{error:e}");
    assert!(
        made.notes.iter().any(|note| note.contains("vae.decoder overflows in half precision")),
        "{:?}",
        made.notes
    );
}

/// The processor, which notes what its parts do; an evaluation of the network waits once, as one on a GPU does.
struct Noted(Notes);

struct NotedPart {
    inner: Box<dyn Ready>,
    name: &'static str,
    notes: Notes,
}

type Notes = Rc<RefCell<Vec<String>>>;

impl Loader for Noted {
    fn begin(&self, part: Part, exact: bool) -> Result<Box<dyn Loading>> {
        let name = match part {
            Part::UNet(_) => "network",
            Part::Decoder(_) => "decoder",
            _ => "other",
        };
        let inner = noiseball::Device::cpu().begin(part, exact)?;
        Ok(Box::new(NotedLoading { inner, name, notes: Rc::clone(&self.0) }))
    }
}

struct NotedLoading {
    inner: Box<dyn Loading>,
    name: &'static str,
    notes: Notes,
}

impl Loading for NotedLoading {
    fn put(&mut self, key: &str, numbers: Numbers) -> Result<()> {
        self.inner.put(key, numbers)
    }

    fn finish<'a>(self: Box<Self>) -> Pending<'a, Box<dyn Ready>> {
        Box::pin(async move {
            let Self { inner, name, notes } = *self;
            Ok(Box::new(NotedPart { inner: inner.finish().await?, name, notes }) as Box<dyn Ready>)
        })
    }
}

impl Ready for NotedPart {
    fn ask<'a>(&'a mut self, inputs: &'a [Array], maps: bool) -> Pending<'a, Vec<Array>> {
        Box::pin(async move {
            let note = |what: &str| self.notes.borrow_mut().push(format!("{} {what}", self.name));
            note("begins");
            let mut waited = false;
            poll_fn(|context| {
                context.waker().wake_by_ref();
                if std::mem::replace(&mut waited, true) { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
            let found = self.inner.ask(inputs, maps).await;
            note("ends");
            found
        })
    }

    fn prepare(&mut self, size: [usize; 2]) -> Pending<'_, ()> {
        Box::pin(async move {
            self.notes.borrow_mut().push(format!("{} is prepared", self.name));
            self.inner.prepare(size).await
        })
    }
}

#[test]
fn a_decoder_that_is_there_is_prepared_while_the_last_step_is_computed() {
    let fixture = fixture();
    let case = case(&fixture, "sd1_unguided");
    let folder = Folder::of(&case, &fixture["parts"]);
    let notes = Notes::default();
    let mut runner = folder.open(Box::new(Noted(Rc::clone(&notes)))).unwrap();
    runner.keep_loaded();
    let alone = runner.sample_blocking(&request(&case), &mut |_| Ok(())).unwrap();
    let without = notes.take();
    assert!(!without.contains(&"decoder is prepared".to_owned()), "it was not there yet: {without:?}");
    let again = runner.sample_blocking(&request(&case), &mut |_| Ok(())).unwrap();
    assert_eq!(alone.pictures.values, again.pictures.values);
    let notes = notes.take();
    let end = ["network begins", "decoder is prepared", "network ends", "decoder begins", "decoder ends"];
    assert_eq!(notes[notes.len() - end.len()..], end, "{notes:?}");
    assert_eq!(notes.iter().filter(|note| **note == end[1]).count(), 1);
}

#[test]
fn updates_of_low_rank_are_merged_or_refused() {
    let fixture = fixture();
    let case = case(&fixture, "sd1");
    let folder = Folder::of(&case, &fixture["parts"]);
    let updates = |part: &str, module: &str, [rows, columns]: [usize; 2]| {
        let mut weights = Weights::default();
        for (factor, shape) in [("lora_A", [2, columns]), ("lora_B", [rows, 2])] {
            let values = golden::scaled(factor, shape[0] * shape[1], 0.5);
            weights.insert(format!("{part}.{module}.{factor}.weight"), Tensor::from_f32(&shape, &values));
        }
        weights
    };
    let to_q = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q";
    let q_proj = "encoder.layers.0.self_attn.q_proj";
    let run = |weights: Weights| {
        let mut runner = folder.open(loader())?;
        runner.add_lora(weights, 1.0)?;
        runner.sample_blocking(&request(&case), &mut |_| Ok(()))
    };
    for weights in [updates("unet", to_q, [16, 16]), updates("text_encoder", q_proj, [24, 24])] {
        let made = run(weights).unwrap();
        let change = relative_error(&made.pictures.values, &floats(&case["picture"]["values"]));
        assert!(change > 1e-3 && change < 10.0, "{change:e}");
    }
    for (weights, says) in [
        (updates("unet", "mid_block.nothing", [16, 16]), "mid_block_nothing"),
        (updates("unet", to_q, [32, 16]), "has shape [16, 16]"),
        (updates("text_encoder_2", q_proj, [24, 24]), "no such part"),
    ] {
        let error = run(weights).unwrap_err();
        assert!(error.kind() == "checkpoint" && error.to_string().contains(says), "{error}");
    }
}

#[test]
fn one_network_takes_no_prompt() {
    let faces = concat!(env!("CARGO_MANIFEST_DIR"), "/www/models/pixel-faces-16");
    for (flag, value) in [("--prompt", "a face"), ("--npy-latents", "x.npy"), ("--seed", "1,2")] {
        let (done, told) = noiseball(&["sample", faces, flag, value].map(str::to_owned));
        let option = flag.trim_start_matches('-').replace('-', "_");
        assert!(!done && told.contains(&format!("`{option}` is")), "{told}");
    }
}

/// All steps are made, of that share of the timesteps that the model was distilled at: what `LCMScheduler.set_timesteps(3, strength=0.6)` has.
#[test]
fn a_latent_consistency_model_begins_with_a_picture() {
    let fixture = fixture();
    let case = case(&fixture, "lcm");
    let folder = Folder::of(&case, &fixture["parts"]);
    let init = Some(Image::Numbers { values: vec![0.5; 192], shape: [1, 3, 8, 8] });
    let request = Request { init, strength: Some(0.6), steps: Some(3), ..request(&case) };
    let mut timesteps = Vec::new();
    let mut note = |progress: Progress<'_>| {
        if let Progress::Step(step) = progress {
            timesteps.push(step.timestep);
        }
        Ok(())
    };
    folder.open(loader()).unwrap().sample_blocking(&request, &mut note).unwrap();
    assert_eq!(timesteps, [599.0, 399.0, 199.0]);
}
