//! The networks of latent and text pipelines against pinned Python: names, shapes and outputs, on burn on the CPU.

#![cfg(all(feature = "burn", not(target_arch = "wasm32")))]
#![allow(clippy::print_stdout, reason = "tests say how close they came")]

mod golden;

use burn::tensor::Device;
use golden::{floats, relative_error, scaled, weight};
use noiseball::network::autoencoder::{Autoencoder, Decode, Encode};
use noiseball::network::autoencoder_kl::AutoencoderKlConfig;
use noiseball::network::autoencoder_tiny::AutoencoderTinyConfig;
use noiseball::network::clip_text::{ClipText, ClipTextConfig};
use noiseball::network::describe::describe_pass;
use noiseball::network::dit::DitConfig;
use noiseball::network::on_burn::transformer::{Array, evaluate, upload};
use noiseball::network::ops::{Pass, TransformerOps};
use noiseball::network::unet_condition::UNet2DConditionConfig;
use noiseball::network::vq::VqConfig;
use serde_json::{Map, Value};

const BOUND: f32 = 2e-5;
const UNET_CONDITION: &str = include_str!("fixtures/networks/unet_condition.json");
const AUTOENCODERS: &str = include_str!("fixtures/networks/autoencoders.json");
const CLIP_TEXT: &str = include_str!("fixtures/networks/clip_text.json");
const DIT: &str = include_str!("fixtures/networks/dit.json");

/// One network of a fixture.
struct Case(Value);

fn cases(json: &str, at_least: usize) -> Vec<Case> {
    let mut file: Value = serde_json::from_str(json).unwrap();
    let Value::Array(cases) = file["cases"].take() else { panic!("no cases") };
    assert!(cases.len() >= at_least, "{}", cases.len());
    cases.into_iter().map(Case).collect()
}

impl Case {
    fn name(&self) -> &str {
        self.0["name"].as_str().unwrap()
    }

    fn config(&self) -> &Map<String, Value> {
        self.0["config"].as_object().unwrap()
    }

    fn floats(&self, field: &str) -> Vec<f32> {
        floats(&self.0[field])
    }

    fn shape(&self, field: &str) -> Vec<usize> {
        serde_json::from_value(self.0[field].clone()).unwrap()
    }

    fn stream(&self, what: &str, shape: Vec<usize>, scale: f64) -> Array {
        let values = scaled(&format!("{what}:{}", self.name()), shape.iter().product(), scale);
        Array { shape, values }
    }

    /// A parameter, times the powers of two of the parts that its key contains.
    fn weight(&self, key: &str, shape: &[usize]) -> Vec<f32> {
        let powers = self.0["scaled"].as_object().into_iter().flatten();
        let power: i64 = powers.filter(|(part, _)| key.contains(*part)).filter_map(|(_, p)| p.as_i64()).sum();
        weight(key, shape).into_iter().map(|w| w * 2f32.powi(power as i32)).collect()
    }

    /// The pass' results, and its parameters as Python counts and names them.
    fn run(&self, pass: &impl Pass, inputs: &[Array]) -> (Vec<Array>, Vec<(String, Vec<usize>)>) {
        let shapes: Vec<_> = inputs.iter().map(|input| input.shape.clone()).collect();
        let inventory = describe_pass(pass, &shapes);
        let device = Device::flex();
        let parameters =
            upload(&inventory.parameters, &device, |key, shape| Ok(self.weight(key, shape))).unwrap();
        let results = pollster::block_on(evaluate(pass, &parameters, &device, inputs)).unwrap();
        assert_eq!(results[0].shape, inventory.output, "{}", self.name());
        (results, inventory.parameters)
    }

    /// Whether these are Python's parameters.
    fn check_keys(&self, mut parameters: Vec<(String, Vec<usize>)>) {
        parameters.sort();
        let lines: Vec<_> = parameters.iter().map(|(key, shape)| format!("{key} {shape:?}")).collect();
        let digest = lines.join("\n").bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| {
            (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3)
        });
        assert_eq!(self.0["keys"]["count"], lines.len(), "{}: {lines:#?}", self.name());
        assert_eq!(self.0["keys"]["fnv"], format!("{digest:016x}"), "{}: {lines:#?}", self.name());
    }

    /// How far a result is from Python's.
    fn compare(&self, field: &str, found: &[f32]) -> f32 {
        let error = relative_error(found, &self.floats(field));
        println!("{} {field}: {error:.1e}", self.name());
        assert!(error <= BOUND, "{} {field}: {error:e} > {BOUND:e}", self.name());
        error
    }
}

/// Tokens as Python has them, `[batch, tokens, width]`, as an image `[batch, width, tokens, 1]`, or back.
fn transposed(x: &Array) -> Array {
    let [batch, rows, columns] = [x.shape[0], x.shape[1], x.shape[2]];
    let mut values = Vec::with_capacity(x.values.len());
    for sample in x.values.chunks_exact(rows * columns) {
        values.extend((0..columns).flat_map(|c| (0..rows).map(move |r| sample[r * columns + c])));
    }
    Array { shape: vec![batch, columns, rows, 1], values }
}

fn say_worst(family: &str, errors: &[f32]) {
    let worst = errors.iter().copied().fold(0.0, f32::max);
    println!("{family}: {} results, worst relative error {worst:.1e}", errors.len());
}

/// What the network is given, in the order of its pass.
fn unet_inputs(case: &Case, net: &UNet2DConditionConfig) -> Vec<Array> {
    let shape = case.shape("sample_shape");
    let (batch, tokens) = (shape[0], case.0["tokens"].as_u64().unwrap() as usize);
    let vectors = |values: Vec<f32>| Array { shape: vec![batch, values.len() / batch], values };
    let timesteps = case.floats("timesteps");
    let labels = match &case.0["labels"] {
        Value::Null => None,
        Value::Array(_) => Some(case.floats("labels")),
        width => Some(case.stream("labels", vec![batch, width.as_u64().unwrap() as usize], 1.0).values),
    };
    let mut inputs = vec![
        case.stream("input", shape, 1.5),
        vectors(net.time_features(&timesteps).unwrap()),
        transposed(&case.stream("text", vec![batch, tokens, net.text_width], 1.5)),
    ];
    inputs.extend(net.class_features(batch, labels.as_deref()).unwrap().map(vectors));
    if let Some(width) = case.0["pooled"].as_u64() {
        let pooled = case.stream("pooled", vec![batch, width as usize], 1.5).values;
        let ids = case.floats("time_ids");
        let each = pooled.chunks_exact(width as usize).map(|pooled| net.added_features(pooled, &ids));
        inputs.push(vectors(each.map(Result::unwrap).collect::<Vec<_>>().concat()));
    }
    let scale = case.0["guidance_scale"].as_f64();
    inputs.extend(scale.and_then(|scale| net.guidance_features(scale)).map(|v| vectors(v.repeat(batch))));
    inputs
}

#[test]
fn conditional_unets_are_pythons() {
    let mut errors = Vec::new();
    for case in cases(UNET_CONDITION, 34) {
        let (net, unknown) = UNet2DConditionConfig::parse("config.json", case.config()).unwrap();
        assert!(unknown.is_empty(), "{}: {unknown:?}", case.name());
        let shape = case.shape("sample_shape");
        net.check_size(shape[2], shape[3]).unwrap();
        let (results, parameters) = case.run(&net, &unet_inputs(&case, &net));
        case.check_keys(parameters);
        errors.push(case.compare("output", &results[0].values));
    }
    say_worst("UNet2DConditionModel", &errors);
}

/// `VQModel`'s decoder without the codebook.
struct Unquantised<'a>(&'a VqConfig);

impl Pass for Unquantised<'_> {
    fn run<O: TransformerOps>(&self, ops: &mut O, inputs: &[O::Tensor]) -> Vec<O::Tensor> {
        vec![self.0.decode_unquantised(ops, &inputs[0])]
    }
}

fn both_halves(case: &Case, net: &impl Autoencoder) -> Vec<f32> {
    let picture = case.stream("picture", case.shape("picture_shape"), 1.0);
    let latents = latents(case);
    let (encoded, mut parameters) = case.run(&Encode(net), &[picture]);
    let (decoded, more) = case.run(&Decode(net), &[latents]);
    parameters.extend(more);
    case.check_keys(parameters);
    vec![case.compare("encoded", &encoded[0].values), case.compare("decoded", &decoded[0].values)]
}

fn latents(case: &Case) -> Array {
    case.stream("latents", case.shape("latents_shape"), case.0["latent_scale"].as_f64().unwrap())
}

#[test]
fn autoencoders_are_pythons() {
    let mut errors = Vec::new();
    for case in cases(AUTOENCODERS, 12) {
        let config = case.config();
        let known = |unknown: Vec<String>| assert!(unknown.is_empty(), "{}: {unknown:?}", case.name());
        match case.0["kind"].as_str().unwrap() {
            "kl" => {
                let (net, unknown) = AutoencoderKlConfig::parse("config.json", config).unwrap();
                known(unknown);
                errors.extend(both_halves(&case, &net));
            }
            "tiny" => {
                let (net, unknown) = AutoencoderTinyConfig::parse("config.json", config).unwrap();
                known(unknown);
                errors.extend(both_halves(&case, &net));
            }
            _ => {
                let (net, unknown) = VqConfig::parse("config.json", config).unwrap();
                known(unknown);
                if case.0["quantised"] == true {
                    errors.extend(both_halves(&case, &net));
                } else {
                    let (decoded, _) = case.run(&Unquantised(&net), &[latents(&case)]);
                    errors.push(case.compare("decoded", &decoded[0].values));
                }
            }
        }
    }
    say_worst("autoencoders", &errors);
}

#[test]
fn text_encoders_are_pythons() {
    let mut errors = Vec::new();
    for case in cases(CLIP_TEXT, 10) {
        let class = case.0["kind"].as_str().unwrap();
        let (net, unknown) = ClipTextConfig::parse("config.json", class, case.config()).unwrap();
        let ids: Vec<Vec<u32>> = serde_json::from_value(case.0["ids"].clone()).unwrap();
        println!("{}: unknown {unknown:?}", case.name());
        ids.iter().for_each(|ids| net.check_tokens(ids).unwrap());
        let rows = |values: Vec<f32>| Array { shape: vec![ids.len(), values.len() / ids.len()], values };
        let tokens = rows(ids.concat().into_iter().map(|id| id as f32).collect());
        let places = rows(ids.iter().map(|ids| net.pooled_at(ids) as f32).collect());
        let all = |pooled| if pooled { vec![tokens.clone(), places.clone()] } else { vec![tokens.clone()] };
        let mut run = |skip, normalise, pooled, field: &str| {
            let pass = ClipText { config: &net, skip, normalise, pooled };
            let (results, parameters) = case.run(&pass, &all(pooled));
            errors.push(case.compare(field, &transposed(&results[0]).values));
            if let Some(pooled) = results.get(1) {
                errors.push(case.compare("pooled", &pooled.values));
                case.check_keys(parameters);
            }
        };
        run(0, true, true, "last");
        run(0, true, false, "last");
        run(1, false, true, "penultimate");
        run(1, false, false, "penultimate");
        run(1, true, true, "skipped");
        run(1, true, false, "skipped");
    }
    say_worst("CLIP text encoders", &errors);
}

#[test]
fn diffusion_transformers_are_pythons() {
    let mut errors = Vec::new();
    for case in cases(DIT, 7) {
        let (net, unknown) = DitConfig::parse("config.json", case.config()).unwrap();
        assert!(unknown.is_empty(), "{}: {unknown:?}", case.name());
        let shape = case.shape("sample_shape");
        let (batch, patches) = (shape[0], shape[3] / net.patch_size);
        net.check_size(shape[2], shape[3]).unwrap();
        net.check_labels(&case.floats("labels")).unwrap();
        let vectors = |values: Vec<f32>| Array { shape: vec![batch, values.len() / batch], values };
        let positions = net.positions(shape[3]).repeat(batch);
        let inputs = [
            case.stream("input", shape, 1.5),
            vectors(net.time_features(&case.floats("timesteps")).unwrap()),
            vectors(case.floats("labels")),
            Array { shape: vec![batch, net.width(), patches, patches], values: positions },
        ];
        let (results, parameters) = case.run(&net, &inputs);
        case.check_keys(parameters);
        errors.push(case.compare("output", &results[0].values));
    }
    say_worst("DiTTransformer2DModel", &errors);
}
