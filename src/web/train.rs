//! Training as JavaScript sees it: pictures become [`Data`], a recipe (as JSON) and data become a [`Training`]. Built with
//! the feature `burn` only, as a module of its own; `www/train/worker.js` is its only caller.

use std::cell::RefCell;
use std::sync::Arc;

use burn::tensor;
use js_sys::{Array, Float32Array, Float64Array, Function, Promise, Reflect, Uint8Array, Uint8ClampedArray};
use serde::Serialize;
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;

use super::pictures::Pictures;
use super::{JsResult, Model, Opening, engine_device, serialize, thrown, unknown_device};
use crate::checkpoint;
use crate::checkpoint::save::{File, safetensors};
use crate::checkpoint::weights::{Dtype, Tensor, Weights};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::model;
use crate::network::unet::ClassEmbedding;
use crate::picture::to_rgba;
use crate::prediction::Level;
use crate::rng::Torch;
use crate::train::dataset::Pixels;
use crate::train::dataset::Reading;
use crate::train::dataset::toy::Toy;
use crate::train::{self, Batch, Dataset, Loss, Objective, Recipe, Trainer};

/// What is told beside a data set.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Told {
    skipped: Vec<(String, String)>,
    skipped_count: usize,
    notes: Vec<String>,
}

#[wasm_bindgen]
impl Pictures {
    /// `[data, {skipped, skippedCount, notes}]`: the data set, `[name, why]` of what was left out, and how arrays were understood.
    /// `grey` makes one channel of three.
    ///
    /// # Errors
    /// `dataset` where there are no pictures.
    pub fn finish(self, grey: bool) -> JsResult<Array> {
        let Reading { mut data, skipped, skipped_count, notes } =
            self.into_reading().map_err(|e| thrown(&e))?;
        if grey {
            make_grey(&mut data);
        }
        let skipped = skipped.into_iter().map(|s| (s.name, s.why)).collect();
        let told = serialize(&Told { skipped, skipped_count, notes })?;
        Ok(Array::of2(&Data(Arc::new(data)).into(), &told))
    }
}

/// By the luma of Rec. 601, as pictures in grey usually are.
fn make_grey(data: &mut Dataset) {
    let [channels, height, width] = data.shape;
    let Pixels::Bytes(bytes) = &data.pixels else { return };
    if channels < 3 {
        return;
    }
    let plane = height * width;
    let mut grey = Vec::with_capacity(data.len() * plane);
    for image in bytes.chunks_exact(channels * plane) {
        let value = |p: usize| {
            let [r, g, b] = [0, 1, 2].map(|c| u32::from(image[c * plane + p]));
            ((299 * r + 587 * g + 114 * b + 500) / 1000) as u8
        };
        grey.extend((0..plane).map(value));
    }
    data.shape[0] = 1;
    data.pixels = Pixels::Bytes(grey);
}

/// What a network is trained on.
#[wasm_bindgen]
pub struct Data(Arc<Dataset>);

#[derive(Serialize)]
struct DataFacts<'a> {
    count: usize,
    channels: usize,
    height: usize,
    width: usize,
    names: &'a [String],
    /// How many images each class has.
    counts: Vec<usize>,
    kind: &'static str,
}

/// Whether items are points or bits, lists of numbers which no `UNet2DModel` takes, and not images.
fn is_list(data: &Dataset) -> bool {
    data.shape[1..] == [1, 1]
}

const PIXELS: &str = "pixels";
const LABELS: &str = "labels";
const NAMES: &str = "names.json";

#[wasm_bindgen]
impl Data {
    /// A data set of images of one size: `shape` is `[channels, height, width]`, `pixels` bytes
    /// `[count, channels, height, width]`, `labels` each one's position in `names`.
    ///
    /// # Errors
    /// `dataset` where they do not belong together.
    #[wasm_bindgen(constructor)]
    pub fn new(
        shape: Vec<u32>,
        pixels: Vec<u8>,
        labels: Option<Vec<u32>>,
        names: Vec<String>,
    ) -> JsResult<Data> {
        let shape = <[u32; 3]>::try_from(shape).unwrap_or([0; 3]).map(|n| n as usize);
        let data = Dataset { shape, pixels: Pixels::Bytes(pixels), labels, names };
        data.check().map_err(|e| thrown(&e))?;
        Ok(Self(Arc::new(data)))
    }

    /// `count` items of a known distribution, without classes: see [`Toy::NAMES`].
    ///
    /// # Errors
    /// `invalid-option` for another name.
    pub fn toy(name: &str, count: u32) -> JsResult<Data> {
        let toy: Toy = name.parse().map_err(|e: Error| thrown(&e))?;
        let data = Dataset { labels: None, names: Vec::new(), ..toy.dataset(count as usize, 0) };
        Ok(Self(Arc::new(data)))
    }

    /// The data set that [`Self::save`] wrote.
    ///
    /// # Errors
    /// `dataset`, `checkpoint` where the bytes are none.
    pub fn load(bytes: &[u8]) -> JsResult<Data> {
        load(bytes).map(|data| Self(Arc::new(data))).map_err(|e| thrown(&e))
    }

    /// The data set as the bytes of one file.
    #[must_use]
    pub fn save(&self) -> Vec<u8> {
        let data = &*self.0;
        let shape = [vec![data.len()], data.shape.to_vec()].concat();
        let mut file = Weights::default();
        let mut insert = |name: &str, dtype, shape, bytes| file.insert(name, Tensor { dtype, shape, bytes });
        match &data.pixels {
            Pixels::Bytes(bytes) => insert(PIXELS, Dtype::Other("U8"), shape, bytes.clone()),
            Pixels::Floats(floats) => {
                insert(PIXELS, Dtype::F32, shape, floats.iter().flat_map(|v| v.to_le_bytes()).collect());
            }
        }
        if let Some(labels) = &data.labels {
            let bytes = labels.iter().flat_map(|l| l.to_le_bytes()).collect();
            insert(LABELS, Dtype::Other("U32"), vec![labels.len()], bytes);
        }
        // A list of strings always serialises.
        let names = serde_json::to_vec(&data.names).unwrap_or_default();
        insert(NAMES, Dtype::Other("U8"), vec![names.len()], names);
        safetensors(&file)
    }

    /// `{count, channels, height, width, names, counts, kind}`: `counts` is the number of images of each class, `kind` is
    /// `pictures`, `points` or `bits`.
    ///
    /// # Errors
    /// None that can be met.
    pub fn info(&self) -> JsResult<JsValue> {
        let data = &*self.0;
        let mut counts = vec![0; data.classes()];
        data.labels.iter().flatten().for_each(|l| counts[*l as usize] += 1);
        let [channels, height, width] = data.shape;
        let names = if data.labels.is_some() { &data.names[..] } else { &[] };
        let kind = if !is_list(data) {
            "pictures"
        } else if data.is_bits() {
            "bits"
        } else {
            "points"
        };
        serialize(&DataFacts { count: data.len(), channels, height, width, names, counts, kind })
    }

    /// Every `stride`-th image is kept out of training, for the held-out loss: the data to train on, then those kept out.
    #[must_use]
    pub fn split(&self, stride: u32) -> Vec<Data> {
        let chosen = |kept: bool| {
            let stride = (stride as usize).max(2);
            let indices: Vec<usize> =
                (0..self.0.len()).filter(|i| (i % stride == stride - 1) == kept).collect();
            Self(Arc::new(subset(&self.0, &indices)))
        };
        vec![chosen(false), chosen(true)]
    }

    /// The same data set once more, to be freed by itself.
    #[must_use]
    pub fn share(&self) -> Data {
        Self(self.0.clone())
    }

    /// Items as the network sees them after `timestep` of the recipe's own forward process (undefined: clean), with the noise of
    /// `seed`: `{alpha, sigma}`, the level, and `pictures`, RGBA `[count, height, width, 4]`, or of points and bits `values`,
    /// numbers `[count, channels]`.
    ///
    /// # Errors
    /// Those of the recipe.
    pub fn noised(
        &self,
        recipe: &str,
        indices: &[u32],
        timestep: Option<u32>,
        seed: u32,
        flip: bool,
    ) -> JsResult<JsValue> {
        let noised = self.try_noised(recipe, indices, timestep, seed, flip);
        let (x, Level { alpha, sigma }) = noised.map_err(|e| thrown(&e))?;
        let object = js_sys::Object::new();
        Reflect::set(&object, &"alpha".into(), &alpha.into())?;
        Reflect::set(&object, &"sigma".into(), &sigma.into())?;
        if is_list(&self.0) {
            Reflect::set(&object, &"values".into(), &Float32Array::from(&x[..]))?;
        } else {
            let [channels, height, width] = self.0.shape;
            let rgba = to_rgba(&x, [indices.len(), channels, height, width]);
            Reflect::set(&object, &"pictures".into(), &Uint8ClampedArray::from(&rgba[..]))?;
        }
        Ok(object.into())
    }

    fn try_noised(
        &self,
        recipe: &str,
        indices: &[u32],
        timestep: Option<u32>,
        seed: u32,
        flip: bool,
    ) -> Result<(Vec<f32>, Level)> {
        let mut x = self.items(indices, flip);
        let Some(timestep) = timestep else { return Ok((x, Level::CLEAN)) };
        let recipe = parse_recipe(recipe)?;
        let (_, schedule) = recipe.check(&self.0)?;
        let timestep = (timestep as usize).min(schedule.train_timesteps() - 1);
        let mut noise = vec![0.0; x.len()];
        Torch::new(u64::from(seed)).randn(&mut noise);
        let level = recipe.objective.diffuse(&schedule, timestep, &mut x, &noise);
        Ok((x, level))
    }

    /// Items as the network sees them, `[count, channels, height, width]`.
    fn items(&self, indices: &[u32], flip: bool) -> Vec<f32> {
        let (data, len) = (&*self.0, self.0.image_len());
        let mut x = vec![0.0; indices.len() * len];
        for (item, index) in x.chunks_mut(len).zip(indices) {
            data.image((*index as usize).min(data.len() - 1), flip, item);
        }
        x
    }
}

fn subset(data: &Dataset, indices: &[usize]) -> Dataset {
    let len = data.image_len();
    let range = |i: usize| i * len..(i + 1) * len;
    let pixels = match &data.pixels {
        Pixels::Bytes(bytes) => {
            Pixels::Bytes(indices.iter().flat_map(|i| bytes[range(*i)].iter().copied()).collect())
        }
        Pixels::Floats(floats) => {
            Pixels::Floats(indices.iter().flat_map(|i| floats[range(*i)].iter().copied()).collect())
        }
    };
    let labels = data.labels.as_ref().map(|labels| indices.iter().map(|i| labels[*i]).collect());
    Dataset { shape: data.shape, pixels, labels, names: data.names.clone() }
}

fn load(bytes: &[u8]) -> Result<Dataset> {
    const FILE: &str = "the stored data set";
    let refuse = |problem: &str| Error::Dataset { problem: format!("{FILE} {problem}") };
    let mut reader = checkpoint::WeightsReader::new(FILE);
    reader.push(bytes)?;
    let mut file = reader.finish()?;
    let pixels = file.take(PIXELS).ok_or_else(|| refuse("holds no pixels"))?;
    let [_, channels, height, width] = pixels.shape[..] else { return Err(refuse("holds no images")) };
    let names = file.take(NAMES).map(|t| serde_json::from_slice(&t.bytes)).transpose();
    let data = Dataset {
        shape: [channels, height, width],
        pixels: match pixels.dtype {
            Dtype::F32 => Pixels::Floats(pixels.to_f32(PIXELS)?),
            _ => Pixels::Bytes(pixels.bytes),
        },
        labels: file
            .take(LABELS)
            .map(|t| t.bytes.as_chunks().0.iter().map(|b| u32::from_le_bytes(*b)).collect()),
        names: names.map_err(|e| refuse(&e.to_string()))?.unwrap_or_default(),
    };
    data.check()?;
    Ok(data)
}

fn parse_recipe(text: &str) -> Result<Recipe> {
    serde_json::from_str(text)
        .map_err(|e| Error::Json { file: "the recipe".to_owned(), problem: e.to_string() })
}

fn pretty(recipe: &Recipe) -> String {
    // Numbers and strings always serialise.
    serde_json::to_string_pretty(recipe).unwrap_or_default()
}

/// The recipe of a preset for a data set, as JSON; `steps` stretches it to another length. Pictures have the presets `tiny`,
/// `small` and `medium`, points and bits those of [`Recipe::lineage`].
///
/// # Errors
/// `invalid-option` where the data set's size does not suit the network.
#[wasm_bindgen]
pub fn preset(name: &str, data: &Data, steps: Option<u32>) -> JsResult<String> {
    let build = || {
        let mut recipe =
            if is_list(&data.0) { Recipe::lineage(name)?.1 } else { Recipe::preset(name.parse()?, &data.0)? };
        if let Some(steps) = steps {
            let steps = u64::from(steps);
            if let train::Average::HalfLife { steps: half_life } = &mut recipe.average {
                *half_life = (*half_life * steps as f64 / recipe.steps as f64).max(1.0);
            }
            recipe.steps = steps;
            recipe.optimiser.warmup = steps / 20;
        }
        recipe.check(&data.0)?;
        Ok(pretty(&recipe))
    };
    build().map_err(|e: Error| thrown(&e))
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Plan {
    parameters: u64,
    /// Floating-point operations of one step: the backward pass costs twice the forward pass.
    flops: u64,
    /// Memory while training, in bytes, by estimate.
    memory: u64,
    train_timesteps: usize,
}

/// What training by a recipe takes: `{parameters, flops, memory, trainTimesteps}`, the operations and bytes of one step.
///
/// # Errors
/// By what is wrong with the recipe: `checkpoint`, `invalid-option`, `unsupported-architecture`.
#[wasm_bindgen]
pub fn plan(recipe: &str, data: &Data) -> JsResult<JsValue> {
    let plan = || {
        let recipe = parse_recipe(recipe)?;
        let (network, schedule) = recipe.check(&data.0)?;
        if !is_list(&data.0) {
            // What cannot be exported cannot be sampled by the engine either.
            recipe.check_export()?;
        }
        let [_, height, width] = data.0.shape;
        let one = network.describe(height, width);
        let parameters = one.parameter_count();
        let part = (recipe.batch / recipe.accumulate) as u64;
        Ok(Plan {
            parameters,
            flops: 3 * one.flops * recipe.batch as u64,
            // Weights, gradient, both moments, average, and what an update makes of them; every activation with the
            // intermediate results of normalisations, and its gradient.
            memory: 4 * 9 * parameters + 3 * one.activation_bytes * part + data.0.pixels.len() as u64,
            train_timesteps: schedule.train_timesteps(),
        })
    };
    plan().map_err(|e: Error| thrown(&e)).and_then(|plan| serialize(&plan))
}

thread_local! {
    /// burn sets a runtime up once.
    static GPU: RefCell<Option<tensor::Device>> = const { RefCell::new(None) };
}

async fn burn_device(name: &str) -> Result<tensor::Device> {
    match name {
        "cpu" => Ok(tensor::Device::flex()),
        "gpu" => {
            if let Some(device) = GPU.with_borrow(Clone::clone) {
                return Ok(device);
            }
            let device = tensor::Device::wgpu_options()
                .init_async()
                .await
                .map_err(|e| Error::NoAdapter { problem: e.to_string() })?;
            GPU.set(Some(device.clone()));
            Ok(device)
        }
        other => Err(unknown_device(other)),
    }
}

/// A training run on a device.
#[wasm_bindgen]
pub struct Training {
    trainer: Trainer,
    /// The engine's own, which samples what is being trained.
    engine: Device,
}

#[derive(Serialize)]
struct Facts {
    step: u64,
    steps: u64,
    parameters: usize,
    recipe: String,
}

#[wasm_bindgen]
impl Training {
    /// A new run from random weights. `device` is `"gpu"` or `"cpu"`.
    ///
    /// # Errors
    /// By what is wrong: `invalid-option`, `checkpoint`, `unsupported-architecture`, `dataset`, `no-adapter`.
    pub async fn create(recipe: String, data: &Data, device: String) -> JsResult<Training> {
        let data = data.0.clone();
        let new = async |device: &tensor::Device| Trainer::new(parse_recipe(&recipe)?, data, device);
        Self::on(&device, new).await.map_err(|e| thrown(&e))
    }

    /// A new run from a checkpoint's weights, given as to [`Model::build`]. The recipe's network and schedule are replaced
    /// by the checkpoint's.
    ///
    /// # Errors
    /// As [`Self::create`], and `checkpoint` where the files are not one that suits the data.
    pub async fn fine_tune(
        checkpoint: Opening,
        recipe: String,
        data: &Data,
        device: String,
    ) -> JsResult<Training> {
        let data = data.0.clone();
        let new = async |device: &tensor::Device| {
            Trainer::fine_tune(checkpoint.0.finish()?, parse_recipe(&recipe)?, data, device)
        };
        Self::on(&device, new).await.map_err(|e| thrown(&e))
    }

    /// The run whose state [`Self::save`] gave, on the same data. `file` names it in errors.
    ///
    /// # Errors
    /// `resume` where the bytes are no such state, damaged, or of a run on other data; `no-adapter`.
    pub async fn resume(file: String, state: Vec<u8>, data: &Data, device: String) -> JsResult<Training> {
        let data = data.0.clone();
        let new = async |device: &tensor::Device| Trainer::resume(&file, &state, data, device);
        Self::on(&device, new).await.map_err(|e| thrown(&e))
    }

    async fn on(device: &str, new: impl AsyncFnOnce(&tensor::Device) -> Result<Trainer>) -> Result<Self> {
        let trainer = new(&burn_device(device).await?).await?;
        Ok(Self { trainer, engine: engine_device(device).await? })
    }

    /// `{step, steps, parameters, recipe}`: how many steps are done, of how many; how many weights; the recipe as JSON.
    ///
    /// # Errors
    /// None that can be met.
    pub fn facts(&self) -> JsResult<JsValue> {
        serialize(&Facts {
            step: self.trainer.step_number(),
            steps: self.trainer.recipe().steps,
            parameters: self.trainer.parameter_count(),
            recipe: pretty(self.trainer.recipe()),
        })
    }

    /// Trains on the next batch. On a GPU this only queues the work; [`Self::losses`] waits for it.
    ///
    /// # Errors
    /// None that a checked recipe can meet.
    pub fn step(&mut self) -> JsResult<()> {
        self.trainer.step().map_err(|e| thrown(&e))
    }

    /// The steps since the last call: `{steps, means, levels, losses}`. The first two have a number a step; the others
    /// one for each example of each step, a level being the timestep's position, 0 to 1.
    ///
    /// # Errors
    /// `diverged` where a loss is not finite, `device-lost`.
    pub async fn losses(&mut self) -> JsResult<JsValue> {
        let losses = self.trainer.losses().await.map_err(|e| thrown(&e))?;
        let total = self.trainer.schedule().train_timesteps() as f32;
        let steps: Vec<f64> = losses.iter().map(|l| l.step as f64).collect();
        let means: Vec<f32> = losses.iter().map(|l| l.mean).collect();
        let examples = || losses.iter().flat_map(|l| &l.examples);
        let levels: Vec<f32> = examples().map(|(t, _)| *t as f32 / total).collect();
        let each: Vec<f32> = examples().map(|(_, loss)| *loss).collect();
        let object = js_sys::Object::new();
        Reflect::set(&object, &"steps".into(), &Float64Array::from(&steps[..]))?;
        Reflect::set(&object, &"means".into(), &Float32Array::from(&means[..]))?;
        Reflect::set(&object, &"levels".into(), &Float32Array::from(&levels[..]))?;
        Reflect::set(&object, &"losses".into(), &Float32Array::from(&each[..]))?;
        Ok(object.into())
    }

    /// The averaged weights' mean loss on images that are kept out of training, at most 256 of them, with the same noise
    /// at every call. `go_on` is as for [`Self::sample`].
    ///
    /// # Errors
    /// `device-lost`, `invalid-option` where they are not like the data; `aborted`.
    pub async fn held_out(&self, data: &Data, go_on: Function) -> JsResult<f32> {
        self.try_held_out(&data.0, &go_on).await.map_err(|e| thrown(&e))
    }

    async fn try_held_out(&self, data: &Dataset, go_on: &Function) -> Result<f32> {
        const PART: usize = 32;
        let (network, schedule) = self.trainer.recipe().check(data)?;
        let last = schedule.train_timesteps() - 1;
        let count = data.len().min(256);
        let len = data.image_len();
        let mut noise = Torch::new(0);
        let mut sum = 0.0;
        for start in (0..count).step_by(PART) {
            if !said_yes(go_on).await {
                return Err(Error::Aborted);
            }
            let part = start..(start + PART).min(count);
            let mut batch = Batch {
                images: vec![0.0; part.len() * len],
                noise: vec![0.0; part.len() * len],
                // Evenly over all levels but the first, which not every objective has.
                timesteps: part.clone().map(|i| last.min(1 + (i * 97 % count) * last / count)).collect(),
                labels: None,
            };
            noise.randn(&mut batch.noise);
            for (image, i) in batch.images.chunks_mut(len).zip(part.clone()) {
                data.image(i * data.len() / count, false, image);
            }
            if let (true, Some(all)) = (network.class_embedding() != ClassEmbedding::None, &data.labels) {
                batch.labels = Some(part.map(|i| all[i * data.len() / count] as f32).collect());
            }
            sum += self.trainer.held_out(&batch).await?.iter().sum::<f32>();
        }
        Ok(sum / count as f32)
    }

    /// The 2015 paper's K of the averaged weights on data that are kept out of training: `{bits, error}`, the error being the
    /// standard one; undefined where the objective is no such bound. `go_on` is as for [`Self::sample`].
    ///
    /// # Errors
    /// As [`Self::held_out`].
    pub async fn bound(&self, data: &Data, go_on: Function) -> JsResult<JsValue> {
        const EVALUATIONS: usize = 1 << 16;
        if !matches!(self.trainer.recipe().objective, Objective::Bound | Objective::Binomial) {
            return Ok(JsValue::UNDEFINED);
        }
        let passes = EVALUATIONS.div_ceil(data.0.len());
        let bound = self.trainer.bound_while(&data.0, passes, async || said_yes(&go_on).await);
        serialize(&bound.await.map_err(|e| thrown(&e))?)
    }

    /// `count` points or bit strings from the averaged weights and the noise of `seed`, numbers `[count, channels]`. `go_on` is
    /// called between two parts of the work; where it gives false, or a promise of false, that ends.
    ///
    /// # Errors
    /// `device-lost`, `aborted`.
    pub async fn sample(&self, count: u32, seed: u32, go_on: Function) -> JsResult<Float32Array> {
        let [channels, height, width] = self.trainer.data().shape;
        let shape = [count as usize, channels, height, width];
        let go_on = async || said_yes(&go_on).await;
        let sample =
            async || self.trainer.averaged().await?.sample_while(shape, u64::from(seed), go_on).await;
        let values = sample().await.map_err(|e| thrown(&e))?;
        Ok(Float32Array::from(&values[..]))
    }

    /// Sets the peak learning rate from the next step on.
    ///
    /// # Errors
    /// `invalid-option` unless it is above 0 and at most 1.
    pub fn set_learning_rate(&mut self, rate: f64) -> JsResult<()> {
        self.trainer.set_learning_rate(rate).map_err(|e| thrown(&e))
    }

    /// Works a batch through in twice as many parts from the next step on; how many those are.
    ///
    /// # Errors
    /// `out-of-memory` where a part would be less than one example.
    pub fn split_batch(&mut self) -> JsResult<u32> {
        self.trainer.split_batch().map_err(|e| thrown(&e))?;
        Ok(self.trainer.recipe().accumulate as u32)
    }

    /// The learning rate of the next step.
    #[must_use]
    pub fn learning_rate(&self) -> f64 {
        let recipe = self.trainer.recipe();
        recipe.optimiser.rate(self.trainer.step_number(), recipe.steps)
    }

    /// The run's state, from which it goes on exactly.
    ///
    /// # Errors
    /// `diverged`, `device-lost`.
    pub async fn save(&self) -> JsResult<Uint8Array> {
        let bytes = self.trainer.save().await.map_err(|e| thrown(&e))?;
        Ok(Uint8Array::from(&bytes[..]))
    }

    /// The averaged weights, ready to sample.
    ///
    /// # Errors
    /// `device-lost`, `limit`.
    pub async fn model(&self) -> JsResult<Model> {
        let load = async || model::Model::load(self.trainer.checkpoint().await?, &self.engine).await;
        load().await.map(Model).map_err(|e| thrown(&e))
    }

    /// The model card, in Markdown. `data` says what the pictures are and where they came from; `means` are the mean losses
    /// of the steps from `first` on, of which the last hundred count.
    #[must_use]
    pub fn card(&self, data: &str, first: f64, means: Vec<f32>) -> String {
        let steps = (first as u64..).zip(means);
        let losses: Vec<Loss> = steps.map(|(step, mean)| Loss { step, mean, examples: Vec::new() }).collect();
        train::card(&self.trainer, data, &losses)
    }

    /// The averaged weights as an array of `[path, bytes]`: the files of a diffusers folder, layout A, or for points and
    /// bits, of which diffusers knows nothing, one safetensors file.
    ///
    /// # Errors
    /// `device-lost`.
    pub async fn files(&self) -> JsResult<Array> {
        let files = self.try_files().await.map_err(|e| thrown(&e))?;
        let pair = |(path, bytes): File| -> JsValue {
            Array::of2(&path.into(), &Uint8Array::from(&bytes[..]).into()).into()
        };
        Ok(files.into_iter().map(pair).collect())
    }

    async fn try_files(&self) -> Result<Vec<File>> {
        if !is_list(self.trainer.data()) {
            return Ok(self.trainer.checkpoint().await?.files());
        }
        Ok(vec![("weights.safetensors".to_owned(), safetensors(&self.trainer.weights().await?))])
    }
}

/// Whether a function of JavaScript gives true, or a promise of it.
async fn said_yes(function: &Function) -> bool {
    let answer = match function.call0(&JsValue::NULL).map(JsCast::dyn_into::<Promise>) {
        Ok(Ok(promise)) => JsFuture::from(promise).await,
        Ok(Err(answer)) => Ok(answer),
        Err(error) => Err(error),
    };
    answer.is_ok_and(|answer| answer.is_truthy())
}

/// An archive of files, `[path, bytes]` each, uncompressed: weights do not shrink.
///
/// # Errors
/// None that can be met with paths of fewer than 65,536 bytes.
#[wasm_bindgen]
pub fn zip(files: Array) -> JsResult<Uint8Array> {
    train::zip(&pairs(&files)).map(|bytes| Uint8Array::from(&bytes[..])).map_err(|e| thrown(&e))
}

fn pairs(files: &Array) -> Vec<File> {
    let file = |pair: JsValue| {
        let pair = Array::from(&pair);
        (pair.get(0).as_string().unwrap_or_default(), Uint8Array::new(&pair.get(1)).to_vec())
    };
    files.iter().map(file).collect()
}
