//! The fixtures of networks of latent and text pipelines, what these networks are given, and how the engine runs them.

use std::sync::Arc;

use noiseball::engine::cpu::{Memory, step};
use noiseball::engine::execute::{check_prompts, prelude, prompts};
#[cfg(feature = "gpu")]
use noiseball::engine::gpu::{Gpu, Replay, Weights};
use noiseball::engine::order::{to_nchw, to_nhwc};
use noiseball::engine::packed::Packed;
#[cfg(feature = "gpu")]
use noiseball::engine::parameters::Storage;
use noiseball::engine::passes::plan;
use noiseball::engine::plan::ValueId;
use noiseball::engine::prelude::PreludeRows;
use noiseball::network::clip_text::ClipTextConfig;
use noiseball::network::dit::DitConfig;
use noiseball::network::ops::Pass;
use noiseball::network::trace::{Graph, Input, Rate, Shape};
use noiseball::network::unet_condition::UNet2DConditionConfig;
use serde_json::{Map, Value};

use super::{floats, scaled, weight};

pub(crate) const UNET_CONDITION: &str = include_str!("../fixtures/networks/unet_condition.json");
pub(crate) const AUTOENCODERS: &str = include_str!("../fixtures/networks/autoencoders.json");
pub(crate) const CLIP_TEXT: &str = include_str!("../fixtures/networks/clip_text.json");
pub(crate) const DIT: &str = include_str!("../fixtures/networks/dit.json");

/// Numbers in row-major order with their shape: two dimensions for a vector of each sample, four for an image.
#[derive(Clone)]
pub(crate) struct Array {
    pub(crate) shape: Vec<usize>,
    pub(crate) values: Vec<f32>,
}

impl Array {
    /// One sample's part.
    fn one(&self) -> Shape {
        match *self.shape {
            [_, channels, height, width] => Shape { height, width, channels },
            _ => Shape::vector(self.shape[1]),
        }
    }

    /// In the engine's order.
    fn nhwc(&self) -> Vec<f32> {
        let Shape { height, width, channels } = self.one();
        let mut nhwc = vec![0.0; self.values.len()];
        to_nhwc(&self.values, channels, height * width, &mut nhwc);
        nhwc
    }
}

/// One network of a fixture.
pub(crate) struct Case(pub(crate) Value);

pub(crate) fn cases(json: &str, at_least: usize) -> Vec<Case> {
    let mut file: Value = serde_json::from_str(json).unwrap();
    let Value::Array(cases) = file["cases"].take() else { panic!("no cases") };
    assert!(cases.len() >= at_least, "{}", cases.len());
    cases.into_iter().map(Case).collect()
}

impl Case {
    pub(crate) fn name(&self) -> &str {
        self.0["name"].as_str().unwrap()
    }

    pub(crate) fn config(&self) -> &Map<String, Value> {
        self.0["config"].as_object().unwrap()
    }

    pub(crate) fn floats(&self, field: &str) -> Vec<f32> {
        floats(&self.0[field])
    }

    pub(crate) fn shape(&self, field: &str) -> Vec<usize> {
        serde_json::from_value(self.0[field].clone()).unwrap()
    }

    pub(crate) fn stream(&self, what: &str, shape: Vec<usize>, scale: f64) -> Array {
        let values = scaled(&format!("{what}:{}", self.name()), shape.iter().product(), scale);
        Array { shape, values }
    }

    /// A parameter, times the powers of two of the parts that its key contains.
    pub(crate) fn weight(&self, key: &str, shape: &[usize]) -> Vec<f32> {
        let powers = self.0["scaled"].as_object().into_iter().flatten();
        let power: i64 = powers.filter(|(part, _)| key.contains(*part)).filter_map(|(_, p)| p.as_i64()).sum();
        weight(key, shape).into_iter().map(|w| w * 2f32.powi(power as i32)).collect()
    }

    /// Whether these are Python's parameters.
    pub(crate) fn check_keys(&self, mut parameters: Vec<(String, Vec<usize>)>) {
        parameters.sort();
        let lines: Vec<_> = parameters.iter().map(|(key, shape)| format!("{key} {shape:?}")).collect();
        let digest = lines
            .join("\n")
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
        assert_eq!(self.0["keys"]["count"], lines.len(), "{}: {lines:#?}", self.name());
        assert_eq!(self.0["keys"]["fnv"], format!("{digest:016x}"), "{}: {lines:#?}", self.name());
    }
}

/// Tokens as Python has them, `[batch, tokens, width]`, as an image `[batch, width, tokens, 1]`, or back.
pub(crate) fn transposed(x: &Array) -> Array {
    let [batch, rows, columns] = [x.shape[0], x.shape[1], x.shape[2]];
    let mut values = Vec::with_capacity(x.values.len());
    for sample in x.values.chunks_exact(rows * columns) {
        values.extend((0..columns).flat_map(|c| (0..rows).map(move |r| sample[r * columns + c])));
    }
    Array { shape: vec![batch, columns, rows, 1], values }
}

/// What the network is given, in the order of its pass.
pub(crate) fn unet_inputs(case: &Case, net: &UNet2DConditionConfig) -> Vec<Array> {
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

pub(crate) fn latents(case: &Case) -> Array {
    case.stream("latents", case.shape("latents_shape"), case.0["latent_scale"].as_f64().unwrap())
}

/// A text encoder's ids, and its token that stands for the whole text.
pub(crate) fn text_inputs(case: &Case, net: &ClipTextConfig) -> [Array; 2] {
    let ids: Vec<Vec<u32>> = serde_json::from_value(case.0["ids"].clone()).unwrap();
    ids.iter().for_each(|ids| net.check_tokens(ids).unwrap());
    let rows = |values: Vec<f32>| Array { shape: vec![ids.len(), values.len() / ids.len()], values };
    let tokens = rows(ids.concat().into_iter().map(|id| id as f32).collect());
    [tokens, rows(ids.iter().map(|ids| net.pooled_at(ids) as f32).collect())]
}

/// The rows of the table of tokens that ids stand for, as an image.
pub(crate) fn embedded(case: &Case, net: &ClipTextConfig, ids: &Array) -> Array {
    let (table, width) =
        (case.weight(ClipTextConfig::TOKENS, &[net.vocab_size, net.hidden_size]), net.hidden_size);
    let rows = ids.values.iter().flat_map(|id| table[*id as usize * width..][..width].iter().copied());
    transposed(&Array { shape: vec![ids.shape[0], ids.shape[1], width], values: rows.collect() })
}

/// What a DiT is given.
pub(crate) fn dit_inputs(case: &Case, net: &DitConfig) -> [Array; 4] {
    let shape = case.shape("sample_shape");
    let (batch, patches) = (shape[0], shape[3] / net.patch_size);
    net.check_size(shape[2], shape[3]).unwrap();
    net.check_labels(&case.floats("labels")).unwrap();
    let vectors = |values: Vec<f32>| Array { shape: vec![batch, values.len() / batch], values };
    let positions = net.positions(shape[3]).repeat(batch);
    [
        case.stream("input", shape, 1.5),
        vectors(net.time_features(&case.floats("timesteps")).unwrap()),
        vectors(case.floats("labels")),
        Array { shape: vec![batch, net.width(), patches, patches], values: positions },
    ]
}

/// Who replays a plan.
#[derive(Clone, Copy)]
pub(crate) enum Replayer<'a> {
    /// The CPU, without passes.
    Naive,
    Cpu,
    #[cfg(feature = "gpu")]
    Gpu(&'a Gpu),
    #[cfg(not(feature = "gpu"))]
    Nobody(&'a ()),
}

/// A pass' results on the engine. The first input changes with every evaluation; tokens and other images are prompts, one for each
/// sample; vectors are the prelude's.
pub(crate) async fn replay(
    on: Replayer<'_>,
    pass: &impl Pass,
    inputs: &[Array],
    take: impl Fn(&str, &[usize]) -> noiseball::Result<Vec<f32>>,
) -> Vec<Array> {
    let batch = inputs[0].shape[0];
    let names = ["x", "second", "third", "fourth", "fifth", "sixth"];
    let input = |(i, (input, name)): (usize, (&Array, _))| {
        let shape = input.one();
        let rate = match shape.pixels() {
            _ if i == 0 => Rate::Evaluation,
            1 => Rate::Timestep,
            _ => Rate::Prompt,
        };
        Input { name, rate, shape }
    };
    let given: Vec<Input> = inputs.iter().zip(names).enumerate().map(input).collect();
    let graph = Graph::of_pass(pass, &given);
    let plan = plan(&graph, batch, |_| !matches!(on, Replayer::Naive)).unwrap();
    let nhwc: Vec<Vec<f32>> = inputs.iter().map(Array::nhwc).collect();
    let at = |rate: Rate| -> Vec<&[f32]> {
        given.iter().zip(&nhwc).filter(|(input, _)| input.rate == rate).map(|(_, x)| &x[..]).collect()
    };
    let (rest, texts, own) = (at(Rate::Timestep), at(Rate::Prompt), (0..batch).collect::<Vec<_>>());
    // What depends on nothing that is given is one row.
    let rows = PreludeRows { first: 0, stride: usize::from(!rest.is_empty()) };
    let count = if rest.is_empty() { 1 } else { batch };
    let results: Vec<ValueId> = [plan.output].into_iter().chain(plan.also.iter().copied()).collect();
    let packed = Packed::new(&plan.parameters, &take).unwrap();
    let buffer = prelude(&plan, &packed, &rest).unwrap();
    let mut numbers = Vec::new();
    match on {
        #[cfg(feature = "gpu")]
        Replayer::Gpu(gpu) => {
            let weights = Arc::new(Weights::new(gpu, &plan, Storage::F32, take).await.unwrap());
            let mut replay = Replay::new(plan.clone(), weights).await.unwrap();
            replay.start(count, &[rows]).await.unwrap();
            replay.upload(&buffer);
            replay.prompts(&texts, &own).unwrap();
            replay.write(plan.input, &nhwc[0]);
            replay.evaluate(0);
            for id in &results {
                numbers.push(replay.read(*id).await.unwrap());
            }
        }
        _ => {
            let mut memory = Memory::default();
            memory.fit(&plan).unwrap();
            check_prompts(&plan, &texts, &own).unwrap();
            prompts(&plan, &packed, &texts, &own, &mut memory);
            memory.value_mut(&plan, plan.input).copy_from_slice(&nhwc[0]);
            step(&plan, &packed, &buffer, count, rows, &mut memory);
            numbers.extend(results.iter().map(|id| memory.value(&plan, *id).to_vec()));
        }
    }
    let pythons = |(i, numbers): (usize, Vec<f32>)| {
        let [batch, height, width, channels] = plan.value(results[i]).shape;
        let mut values = vec![0.0; numbers.len()];
        to_nchw(&numbers, channels, height * width, &mut values);
        // Beside a network's first result there are vectors.
        let shape = if i > 0 { vec![batch, channels] } else { vec![batch, channels, height, width] };
        Array { shape, values }
    };
    numbers.into_iter().enumerate().map(pythons).collect()
}
