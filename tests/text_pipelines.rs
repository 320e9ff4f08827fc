//! Pipelines of several networks against Python's, as far as no network is asked: the runs in `text_pipelines.json`.

#![cfg(not(target_arch = "wasm32"))]

mod golden;

use std::path::Path;

use golden::{f64s, floats, relative_error};
use noiseball::checkpoint::json::Fields;
use noiseball::pipeline::{self, Autoencoder, Batch, Draw, Kind, Pipeline, Task};
use noiseball::prompt::{Tokenizer, Unicode};
use noiseball::rng::Torch;
use noiseball::sampler::{Edit, Options, SamplerKind};
use noiseball::schedule::Schedule;
use serde_json::{Map, Value, json};

struct Case {
    json: Value,
    parts: Value,
}

fn cases() -> Vec<Case> {
    let file: Value = serde_json::from_str(include_str!("fixtures/text_pipelines.json")).unwrap();
    let cases = file["cases"].as_array().unwrap().iter();
    let cases: Vec<Case> =
        cases.map(|json| Case { json: json.clone(), parts: file["parts"].clone() }).collect();
    assert!(cases.len() >= 30);
    cases
}

fn case(name: &str) -> Case {
    cases().into_iter().find(|case| case.name() == name).unwrap()
}

fn shape(tensor: &Value) -> Vec<usize> {
    f64s(&tensor["shape"]).into_iter().map(|size| size as usize).collect()
}

fn near(found: &[f32], expected: &Value, what: &str) {
    let error = relative_error(found, &floats(&expected["values"]));
    assert!(error < 2e-6, "{what}: {error:e}");
}

impl Case {
    fn name(&self) -> &str {
        self.json["name"].as_str().unwrap()
    }

    fn config(&self, part: &str) -> Option<&Map<String, Value>> {
        self.parts[self.json["parts"][part].as_str()?]["config"].as_object()
    }

    fn read(&self) -> noiseball::Result<Pipeline> {
        self.read_with(self.json["model_index"].as_object().unwrap())
    }

    fn read_with(&self, index: &Map<String, Value>) -> noiseball::Result<Pipeline> {
        Pipeline::read(index, &|part| self.config(part))
    }

    fn argument(&self, name: &str) -> &Value {
        &self.json["arguments"][name]
    }

    /// A list of texts, one text, or none.
    fn texts(&self, name: &str) -> Vec<String> {
        match self.argument(name) {
            Value::Array(texts) => texts.iter().map(|text| text.as_str().unwrap().to_owned()).collect(),
            Value::String(text) => vec![text.clone()],
            _ => Vec::new(),
        }
    }

    fn guidance(&self, kind: Kind) -> f64 {
        self.argument("guidance_scale").as_f64().unwrap_or(kind.defaults().1)
    }

    fn task(&self) -> Task {
        let inpaint = Task::Inpaint { strength: self.argument("strength").as_f64().unwrap_or(1.0) };
        match (self.argument("image"), self.argument("mask_image")) {
            (Value::Null, _) => Task::Noise,
            (_, Value::Null) => Task::Picture,
            _ => inpaint,
        }
    }
}

#[test]
fn pipelines_that_python_saved_are_read() {
    for case in cases() {
        let pipeline = case.read().unwrap_or_else(|error| panic!("{}: {error}", case.name()));
        let name = case.name();
        let kind = match name.split('_').next().unwrap() {
            "xl" => Kind::StableDiffusionXl,
            "lcm" => Kind::LatentConsistency,
            "dit" => Kind::Dit,
            "ldm" => Kind::LatentDiffusion,
            _ => Kind::StableDiffusion,
        };
        assert_eq!(pipeline.kind, kind, "{name}");
        assert_eq!(
            (pipeline.latent_channels, pipeline.scale_factor, pipeline.sample_size),
            (4, 2, 4),
            "{name}"
        );
        assert_eq!(pipeline.inpaints, ["inpaint", "inpaint_weak", "xl_inpaint"].contains(&name), "{name}");
        let side = |name| case.argument(name).as_u64().map(|side| side as usize);
        let size = pipeline.latent_size(side("height"), side("width")).unwrap();
        if name != "to_image_resized" {
            assert_eq!(size[..], shape(&case.json["latents"])[2..], "{name}");
        }
    }
    let tiny = case("turbo").read().unwrap();
    assert_eq!((tiny.autoencoder, tiny.scaling_factor), (Autoencoder::Tiny, 1.0));
    assert_eq!(case("sd1").read().unwrap().scaling_factor, 0.18215);
    assert_eq!(case("lcm").read().unwrap().guidance_width, Some(16));
    assert!(
        case("xl").read().unwrap().zeros_for_no_prompt
            && !case("xl_encoded_empty").read().unwrap().zeros_for_no_prompt
    );
}

/// The noise before the first step, and the first noise of each step, come out of PyTorch's generator in Python's order.
#[test]
fn noise_is_drawn_in_pythons_order() {
    for case in cases() {
        let (name, pipeline) = (case.name(), case.read().unwrap());
        let draws = case.json["between"]["draws"].as_array().unwrap();
        let expected = pipeline.draws(case.task()).unwrap();
        let seeds = match &case.json["seed"] {
            Value::Array(seeds) => seeds.iter().map(|seed| seed.as_u64().unwrap()).collect(),
            seed => vec![seed.as_u64().unwrap()],
        };
        let mut generators: Vec<Torch> = seeds.into_iter().map(Torch::new).collect();
        let one_each = generators.len();
        assert!(draws.len() >= expected.len() * one_each, "{name}");
        for (at, draw) in draws.iter().enumerate() {
            let mut noise = vec![0.0; shape(draw).iter().product()];
            generators[at % one_each].randn(&mut noise);
            assert!(relative_error(&noise[..4], &floats(&draw["first"])) < 1e-6, "{name}: draw {at}");
        }
        let batch = shape(&case.json["latents"])[0];
        for (draw, found) in expected.iter().zip(draws) {
            // Of one picture there is one latent, whatever is made of it.
            let pictures = if *draw == Draw::Noise { batch / one_each } else { 1 };
            assert_eq!(shape(found)[0], pictures, "{name}: {draw:?}");
        }
    }
    for (name, draws) in
        [("inpaint", 2), ("inpaint_weak", 3), ("inpaint_four", 3), ("to_image", 2), ("to_image_tiny", 1)]
    {
        let case = case(name);
        assert_eq!(case.read().unwrap().draws(case.task()).unwrap().len(), draws, "{name}");
    }
}

#[test]
fn timesteps_are_those_of_the_scheduler_as_the_pipeline_changes_it() {
    // A latent consistency model that begins with a picture is given a list of timesteps by the run: tests/text_runs.rs.
    for case in cases().into_iter().filter(|case| case.name() != "lcm_to_image") {
        let (name, pipeline) = (case.name(), case.read().unwrap());
        let mut config = case.json["scheduler"].as_object().unwrap().clone();
        pipeline.kind.adjust_scheduler(&mut config);
        let schedule = Schedule::from_fields(&Fields::new("scheduler_config.json", &config)).unwrap();
        let (sampler, _) = SamplerKind::default_for(config["_class_name"].as_str().unwrap());
        let mut options = Options::steps(case.argument("num_inference_steps").as_u64().unwrap() as usize);
        if case.task() != Task::Noise {
            let strength = case.argument("strength").as_f64();
            options.edit = Some(Edit::new(vec![0.0; 64]).strength(strength).as_pipelines(true));
            if case.task() != Task::Picture {
                options.edit.as_mut().unwrap().mask = Some(vec![1.0; 64].into());
            }
        }
        let found: Vec<f64> = sampler.program(&schedule, &options).unwrap().timesteps().collect();
        let between = &case.json["between"];
        assert_eq!(found, f64s(&between["stepped_timesteps"]), "{name}");
        assert_eq!(found.len() as u64, between["evaluations"].as_u64().unwrap(), "{name}");
    }
}

#[test]
fn prompts_stand_in_the_batch_as_in_python() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tools/models/emoji-64/model/tokenizer");
    let mut tokenizer = Tokenizer::open(&folder).unwrap();
    for case in cases() {
        let (name, pipeline) = (case.name(), case.read().unwrap());
        if case.texts("prompt").is_empty() {
            continue;
        }
        let encoder = case.config("text_encoder").unwrap();
        let size = |field: &str| encoder[field].as_u64().unwrap() as usize;
        tokenizer.fit(size("vocab_size"), size("max_position_embeddings")).unwrap();
        let per_prompt = case.argument("num_images_per_prompt").as_u64().unwrap_or(1) as usize;
        let guided = pipeline.is_guided(case.guidance(pipeline.kind));
        let (prompts, negative) = (case.texts("prompt"), case.texts("negative_prompt"));
        let batch = Batch::of(&prompts, &negative, per_prompt, guided, pipeline.zeros_for_no_prompt).unwrap();
        let between = &case.json["between"];
        let text = &between["text"];
        assert_eq!(batch.sequences.len(), shape(text)[0], "{name}");
        assert_eq!(batch.sequences.len(), shape(&between["input"])[0], "{name}");
        assert_eq!(batch.pictures, shape(&case.json["latents"])[0], "{name}");
        // Sequences of one text are equal, of two are not, and none is zeros. What is compared is at the first and the last position.
        let values = floats(&text["values"]);
        let states: Vec<&[f32]> = values.chunks_exact(values.len() / batch.sequences.len()).collect();
        for (a, state) in batch.sequences.iter().zip(&states) {
            assert_eq!(a.is_none(), state.iter().all(|value| *value == 0.0), "{name}");
            for (b, other) in batch.sequences.iter().zip(&states) {
                assert_eq!(a == b, relative_error(state, other) < 1e-4 || state == other, "{name}");
            }
        }
        for text in &batch.texts {
            assert_eq!(tokenizer.encode(text, Unicode::native()).ids.len(), shape_of_text(&case), "{name}");
        }
    }
}

fn shape_of_text(case: &Case) -> usize {
    case.config("text_encoder").unwrap()["max_position_embeddings"].as_u64().unwrap() as usize
}

#[test]
fn what_networks_are_told_beside_the_latents_is_pythons() {
    let lcm = case("lcm");
    near(&pipeline::guidance_embedding(8.5, 16), &lcm.json["between"]["timestep_cond"], "lcm");
    assert_eq!(pipeline::guidance_embedding(8.5, 5)[4], 0.0, "an odd width ends in zero");
    for (name, height, width) in [("xl", 8, 8), ("xl_negative", 8, 16)] {
        let ids = pipeline::time_ids(height, width);
        assert_eq!([ids, ids].concat(), floats(&case(name).json["between"]["time_ids"]["values"]), "{name}");
    }
}

/// From a picture to the latents that a run begins with.
#[test]
fn pictures_and_masks_are_prepared_as_in_python() {
    for case in cases() {
        let name = case.name();
        let encoded = case.json["between"]["encoded"].as_array().unwrap();
        if encoded.is_empty() {
            continue;
        }
        let argument = case.argument("image");
        let image = match &argument["bytes"] {
            Value::Null => {
                let mut image = floats(&argument["values"]);
                pipeline::to_signed(&mut image);
                image
            }
            bytes => {
                let bytes: Vec<u8> = f64s(bytes).into_iter().map(|byte| byte as u8).collect();
                let [height, width] = [0, 1].map(|at| argument["picture"][at].as_u64().unwrap() as usize);
                let to = &shape(&encoded[0]["image"])[2..];
                let small = pipeline::resize(&bytes, [height, width], 3, [to[0], to[1]]);
                assert_eq!(to, [height - height % 2, width - width % 2]);
                let mut image: Vec<f32> = (0..3)
                    .flat_map(|c| small[c..].iter().step_by(3).map(|byte| f32::from(*byte) / 255.0))
                    .collect();
                pipeline::to_signed(&mut image);
                image
            }
        };
        let mut images = vec![image.clone()];
        if case.argument("mask_image") != &Value::Null {
            let mut mask = floats(&case.argument("mask_image")["values"]);
            pipeline::binary_mask(&mut mask);
            images.push(pipeline::masked(&image, &mask));
        }
        // Without the picture's own latents, only what the mask leaves is encoded.
        let first = images.len() - encoded.len();
        for (found, expected) in images[first..].iter().zip(encoded) {
            near(found, &expected["image"], name);
        }
    }
}

#[test]
fn a_network_that_inpaints_is_given_pythons_channels() {
    let case = case("inpaint");
    let (pipeline, between) = (case.read().unwrap(), &case.json["between"]);
    let mut generator = Torch::new(case.json["seed"].as_u64().unwrap());
    let [mut noise, mut drawn] = [[0.0; 64], [0.0; 64]];
    generator.randn(&mut noise);
    generator.randn(&mut drawn);
    let mut mask = floats(&case.argument("mask_image")["values"]);
    pipeline::binary_mask(&mut mask);
    let mask = pipeline::latent_mask(&mask, 8, pipeline.scale_factor);
    let mut latents = pipeline::posterior(&floats(&between["encoded"][0]["code"]["values"]), &drawn, 1);
    pipeline.scale_latents(&mut latents);
    let beside = pipeline::inpainting_channels(&mask, &latents, 4, 1);
    let one = [&noise[..], &beside].concat();
    near(&[&one[..], &one].concat(), &between["input"], "inpaint");
}

#[test]
fn latents_go_to_the_decoder_and_back() {
    let mut pipeline = case("sd1").read().unwrap();
    let mut latents = vec![0.18215, -0.3643];
    pipeline.unscale_latents(&mut latents, 1);
    assert_eq!(latents, [1.0, -2.0]);
    pipeline.scale_latents(&mut latents);
    assert_eq!(latents, [0.18215, -0.3643]);
    pipeline.latent_channels = 2;
    pipeline.statistics = Some([vec![1.0, -1.0], vec![2.0, 4.0]]);
    pipeline.unscale_latents(&mut latents, 1);
    assert_eq!(latents, [3.0, -9.0]);
    // A batch has the channels again.
    let mut batch = vec![0.18215, -0.3643, 0.18215, -0.3643];
    pipeline.unscale_latents(&mut batch, 1);
    assert_eq!(batch, [3.0, -9.0, 3.0, -9.0]);
}

#[test]
fn parts_that_are_missing_or_do_not_fit_are_named() {
    let refused = |name: &str, change: &dyn Fn(&mut Case), kind: &str, says: &str| {
        let mut case = case(name);
        change(&mut case);
        let error = case.read().unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(says), "{error}");
    };
    fn field<'c>(case: &'c mut Case, part: &str, field: &str) -> &'c mut Value {
        let key = case.json["parts"][part].as_str().unwrap().to_owned();
        &mut case.parts[key]["config"][field]
    }
    let (checkpoint, unsupported) = ("checkpoint", "unsupported-architecture");
    refused("sd1", &|c| c.json["model_index"]["vae"] = json!([null, null]), checkpoint, "`vae`");
    refused("sd1", &|c| c.json["parts"]["vae"] = json!(null), checkpoint, "vae/config.json");
    refused(
        "sd1",
        &|c| c.json["model_index"]["_class_name"] = json!("PixArtAlphaPipeline"),
        unsupported,
        "PixArt",
    );
    refused(
        "sd1",
        &|c| c.json["model_index"]["unet"][1] = json!("UNet3DConditionModel"),
        unsupported,
        "UNet3D",
    );
    refused(
        "sd1",
        &|c| *field(c, "text_encoder", "hidden_size") = json!(32),
        checkpoint,
        "cross_attention_dim",
    );
    refused(
        "xl",
        &|c| *field(c, "text_encoder_2", "hidden_size") = json!(24),
        checkpoint,
        "cross_attention_dim",
    );
    refused(
        "xl",
        &|c| *field(c, "text_encoder_2", "projection_dim") = json!(24),
        checkpoint,
        "projection_class",
    );
    refused(
        "xl",
        &|c| c.json["model_index"]["text_encoder"] = json!([null, null]),
        checkpoint,
        "`text_encoder`",
    );
    refused(
        "xl",
        &|c| c.json["model_index"]["requires_aesthetics_score"] = json!(true),
        unsupported,
        "aesthetics",
    );
    refused("sd1", &|c| *field(c, "vae", "latent_channels") = json!(8), checkpoint, "in_channels");
    refused("dit", &|c| *field(c, "vae", "latent_channels") = json!(8), checkpoint, "in_channels");
    refused("sd1", &|c| *field(c, "unet", "sample_size") = json!(null), checkpoint, "sample_size");
    refused("sd1", &|c| *field(c, "vae", "scaling_factor") = json!(0), checkpoint, "scaling_factor");
    refused("sd1", &|c| *field(c, "vae", "block_out_channels") = json!([]), checkpoint, "block_out_channels");

    let sd1 = case("sd1").read().unwrap();
    for (height, width, says) in
        [(Some(12), None, "height"), (None, Some(0), "width"), (Some(1 << 20), None, "4096")]
    {
        assert!(sd1.latent_size(height, width).unwrap_err().to_string().contains(says));
    }
    assert!(
        case("dit").read().unwrap().latent_size(Some(16), None).unwrap_err().to_string().contains("height")
    );
    assert!(case("ldm_vq").read().unwrap().draws(Task::Picture).unwrap_err().to_string().contains("init"));
    let words = |count: usize| vec!["a".to_owned(); count];
    for (prompts, negative, each, says) in
        [(0, 0, 1, "prompt"), (3, 2, 1, "negative_prompt"), (1, 0, 0, "batch"), (2, 0, usize::MAX, "batch")]
    {
        let error = Batch::of(&words(prompts), &words(negative), each, true, false).unwrap_err();
        assert!(error.to_string().contains(says), "{error}");
    }
    assert_eq!(Batch::of(&words(2), &words(1), 1, true, false).unwrap().texts.len(), 1);
}

#[test]
fn an_old_file_of_inpainting_is_as_large_as_python_makes_it() {
    let mut case = case("sd1");
    let key = case.json["parts"]["unet"].as_str().unwrap().to_owned();
    case.parts[&key]["config"]["_diffusers_version"] = json!("0.6.0.dev0");
    assert_eq!(case.read().unwrap().sample_size, 64);
    case.parts[&key]["config"]["_diffusers_version"] = json!("0.9.0");
    assert_eq!(case.read().unwrap().sample_size, 4);
}

/// A latent of zeros is a middle grey of Stable Diffusion, and SDXL's bias.
#[test]
fn latents_are_shown_by_what_is_known_of_their_autoencoder() {
    let colours = |name: &str, factor: f64| {
        let pipeline = Pipeline { scaling_factor: factor, ..case(name).read().unwrap() };
        pipeline.latent_colours(None).rgb(&[0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0], [2, 4, 1, 1])
    };
    let bytes = |values: Vec<f32>| values.iter().map(|v| ((v + 1.0) * 127.5).round()).collect::<Vec<_>>();
    assert_eq!(bytes(colours("xl", 0.13025)), [150.0, 140.0, 130.0, 210.0, 200.0, 190.0]);
    assert_eq!(bytes(colours("sd1", 0.18215))[..3], [128.0; 3]);
    assert_eq!(bytes(colours("sd1", 0.5)), [128.0, 128.0, 128.0, 191.0, 128.0, 128.0]);
}
