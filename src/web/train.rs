//! Training as JavaScript sees it: pictures become [`Data`], a recipe (as JSON) and data become a [`Training`]. Built with
//! the feature `burn` only, as a module of its own; `www/train/worker.js` is its only caller.

use std::cell::RefCell;
use std::sync::Arc;

use burn::tensor;
use js_sys::{
    Array, Float32Array, Float64Array, Function, Object, Promise, Reflect, Uint8Array, Uint8ClampedArray,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;

use super::pictures::Pictures;
use super::{JsResult, Opening, engine_device, options, serialize, thrown, unknown_device};
use crate::checkpoint::save::{File, safetensors};
use crate::denoiser::Level;
use crate::device::DeviceKind;
use crate::error::{Error, Result};
use crate::picture::{Range, to_rgba};
use crate::rng::MAX_SEED;
use crate::train::dataset::Pixels;
use crate::train::dataset::Reading;
use crate::train::dataset::toy::Toy;
use crate::train::{
    self, Changes, Cost, Dataset, Event, HeldOut, Loop, Loss, Places, Recipe, SavedRun, Work, usual_memory,
};

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
            data.make_grey();
        }
        let skipped = skipped.into_iter().map(|s| (s.name, s.why)).collect();
        let told = serialize(&Told { skipped, skipped_count, notes })?;
        Ok(Array::of2(&Data(Arc::new(data)).into(), &told))
    }
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
        Dataset::load(bytes).map(|data| Self(Arc::new(data))).map_err(|e| thrown(&e))
    }

    /// The data set as the bytes of one file.
    #[must_use]
    pub fn save(&self) -> Vec<u8> {
        self.0.save()
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
        let kind = if !data.is_list() {
            "pictures"
        } else if data.is_bits() {
            "bits"
        } else {
            "points"
        };
        serialize(&DataFacts { count: data.len(), channels, height, width, names, counts, kind })
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
        let noised = || {
            let items = self.0.items(indices, flip);
            match timestep {
                None => Ok((items, Level::CLEAN)),
                Some(timestep) => {
                    parse_recipe(recipe)?.noised(&self.0, items, timestep as usize, seed.into())
                }
            }
        };
        let (x, Level { alpha, sigma }) = noised().map_err(|e| thrown(&e))?;
        let object = Object::new();
        set(&object, "alpha", alpha)?;
        set(&object, "sigma", sigma)?;
        set_items(&object, &x, [indices.len(), self.0.shape[0], self.0.shape[1], self.0.shape[2]])?;
        Ok(object.into())
    }
}

fn set(object: &Object, name: &str, value: impl Into<JsValue>) -> JsResult<()> {
    Reflect::set(object, &name.into(), &value.into()).map(drop)
}

/// Items of this shape, `[batch, channels, height, width]`, as `pictures`, RGBA `[batch, height, width, 4]`; points and bits as
/// `values`, numbers `[batch, channels]`.
fn set_items(object: &Object, values: &[f32], shape: [usize; 4]) -> JsResult<()> {
    if shape[2..] == [1, 1] {
        return set(object, "values", Float32Array::from(values));
    }
    set(object, "pictures", Uint8ClampedArray::from(&to_rgba(values, shape, Range::Signed)[..]))
}

fn parse<T: DeserializeOwned>(value: JsValue) -> Result<T> {
    serde_wasm_bindgen::from_value(value).map_err(|e| Error::Option {
        option: "options",
        found: e.to_string(),
        expected: "an object of the documented options".to_owned(),
    })
}

/// A misspelt option would otherwise be left at its default in silence: objects are read by the names expected.
fn refuse_unknown(value: &JsValue, known: &[&str]) -> Result<()> {
    let Some(object) = value.dyn_ref::<Object>() else { return Ok(()) };
    let mut keys = Object::keys(object).into_iter().filter_map(|key| key.as_string());
    match keys.find(|key| !known.contains(&key.as_str())) {
        None => Ok(()),
        Some(found) => Err(Error::Option { option: "options", found, expected: known.join(", ") }),
    }
}

fn parse_recipe(text: &str) -> Result<Recipe> {
    serde_json::from_str(text)
        .map_err(|e| Error::Json { file: "the recipe".to_owned(), problem: e.to_string() })
}

fn pretty(recipe: &Recipe) -> String {
    // Numbers and strings always serialise.
    serde_json::to_string_pretty(recipe).unwrap_or_default()
}

/// What is asked of a recipe, as JavaScript gives it: every number is a float there, and may be anything.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Asked {
    steps: Option<f64>,
    batch: Option<f64>,
    learning_rate: Option<f64>,
    seed: Option<f64>,
    flip: Option<bool>,
}

fn changes(value: JsValue) -> Result<Changes> {
    if value.is_undefined() || value.is_null() {
        return Ok(Changes::default());
    }
    refuse_unknown(&value, &["steps", "batch", "learningRate", "seed", "flip"])?;
    let asked: Asked = parse(value)?;
    let whole = |name, n: Option<f64>, max: u64| n.map(|n| options::whole(name, n, max)).transpose();
    Ok(Changes {
        steps: whole("steps", asked.steps, u32::MAX.into())?,
        batch: whole("batch", asked.batch, u32::MAX.into())?.map(|batch| batch as usize),
        learning_rate: asked.learning_rate,
        seed: whole("seed", asked.seed, MAX_SEED)?,
        flip: asked.flip,
    })
}

/// The recipe of a preset (see [`Recipe::named`]), or this whole one, with `{steps?, batch?, learningRate?, seed?, flip?}` changed
/// in it, as JSON.
///
/// # Errors
/// `invalid-option` where it does not suit the data, and as [`plan`].
#[wasm_bindgen]
pub fn recipe(
    preset: Option<String>,
    recipe: Option<String>,
    asked: JsValue,
    data: &Data,
) -> JsResult<String> {
    let build = || {
        let mut built = match recipe {
            Some(text) => parse_recipe(&text)?,
            None => Recipe::named(preset.as_deref(), &data.0)?,
        };
        built.change(&changes(asked)?);
        built.check(&data.0)?;
        Ok(pretty(&built))
    };
    build().map_err(|e: Error| thrown(&e))
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Plan {
    parameters: u64,
    flops: u64,
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
        let Cost { parameters, flops, memory, train_timesteps } = recipe.cost(&data.0)?;
        if !data.0.is_list() {
            // What cannot be exported cannot be sampled by the engine either.
            recipe.check_export()?;
        }
        Ok(Plan { parameters, flops, memory, train_timesteps })
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

/// The recipe with its batch in as many parts as it takes to fit the memory of `"gpu"` or `"cpu"`, of which `budget` bytes are the most.
///
/// # Errors
/// `out-of-memory` where that cannot be, and as [`plan`].
#[wasm_bindgen]
pub fn fit(recipe: &str, data: &Data, device: &str, budget: f64) -> JsResult<String> {
    let fit = || {
        let mut recipe = parse_recipe(recipe)?;
        let device = if device == "gpu" { DeviceKind::Gpu } else { DeviceKind::Cpu };
        recipe.fit(&data.0, usual_memory(device).min(budget as u64))?;
        Ok(pretty(&recipe))
    };
    fit().map_err(|e: Error| thrown(&e))
}

/// Places with at most `budget` bytes of memory.
async fn places(device: &str, budget: f64) -> Result<Places> {
    let mut places = Places::new(burn_device(device).await?, engine_device(device).await?);
    places.memory = places.memory.min(budget as u64);
    Ok(places)
}

/// A training run on a device.
#[wasm_bindgen]
pub struct Training(Loop);

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Facts {
    step: u64,
    steps: u64,
    parameters: usize,
    /// The parts that a batch is worked through in.
    accumulate: usize,
    /// How many of the data are kept out of training.
    held_out: usize,
    learning_rate: f64,
    recipe: String,
}

#[wasm_bindgen]
impl Training {
    /// A new run from random weights. `hold_out` keeps some of the data out of training where there are enough. `device` is
    /// `"gpu"` or `"cpu"`.
    ///
    /// # Errors
    /// By what is wrong: `invalid-option`, `checkpoint`, `unsupported-architecture`, `dataset`, `no-adapter`, `out-of-memory`.
    pub async fn create(
        recipe: String,
        data: &Data,
        hold_out: bool,
        device: String,
        budget: f64,
    ) -> JsResult<Training> {
        let data = data.0.clone();
        let new = async || Loop::new(parse_recipe(&recipe)?, &data, hold_out, places(&device, budget).await?);
        new().await.map(Self).map_err(|e| thrown(&e))
    }

    /// A new run from a checkpoint's weights, given as to [`Model::build`](super::Model::build). The recipe's network and
    /// schedule are replaced by the checkpoint's.
    ///
    /// # Errors
    /// As [`Self::create`], and `checkpoint` where the files are not one that suits the data.
    pub async fn fine_tune(
        checkpoint: Opening,
        recipe: String,
        data: &Data,
        hold_out: bool,
        device: String,
        budget: f64,
    ) -> JsResult<Training> {
        let data = data.0.clone();
        let new = async || {
            let (checkpoint, recipe) = (checkpoint.0.finish()?, parse_recipe(&recipe)?);
            Loop::fine_tune(checkpoint, recipe, &data, hold_out, places(&device, budget).await?)
        };
        new().await.map(Self).map_err(|e| thrown(&e))
    }

    /// The run whose state [`Self::save`] gave, on the same data. `file` names it in errors; `film` is the step of its newest
    /// frame, where there is one.
    ///
    /// # Errors
    /// `resume` where the bytes are no such state, damaged, or of a run on other data; `no-adapter`.
    pub async fn resume(
        file: String,
        state: Vec<u8>,
        data: &Data,
        film: Option<f64>,
        device: String,
    ) -> JsResult<Training> {
        let data = data.0.clone();
        let resume = async || {
            let saved = SavedRun::read(&file, &state)?;
            Loop::resume(
                saved,
                state,
                &data,
                film.map(|step| step as u64),
                places(&device, f64::INFINITY).await?,
            )
        };
        resume().await.map(Self).map_err(|e| thrown(&e))
    }

    /// `{step, steps, parameters, accumulate, heldOut, learningRate, recipe}`: how many steps are done, of how many; how many
    /// weights; in how many parts a batch is worked through; how many of the data are held out; the learning rate of the next
    /// step; the recipe as JSON.
    ///
    /// # Errors
    /// None that can be met.
    pub fn facts(&self) -> JsResult<JsValue> {
        let trainer = self.0.trainer();
        let (step, recipe) = (trainer.step_number(), trainer.recipe());
        serialize(&Facts {
            step,
            steps: recipe.steps,
            parameters: trainer.parameter_count(),
            accumulate: recipe.accumulate,
            held_out: self.0.held_out_count(),
            learning_rate: recipe.optimiser.rate(step, recipe.steps),
            recipe: pretty(recipe),
        })
    }

    /// The first `count` items that it trains on: `pictures` or `values`, as [`Data::noised`] gives them.
    ///
    /// # Errors
    /// None that can be met.
    pub fn examples(&self, count: u32) -> JsResult<JsValue> {
        let data = self.0.trainer().data();
        let indices: Vec<u32> = (0..count).collect();
        let [channels, height, width] = data.shape;
        let object = Object::new();
        set_items(&object, &data.items(&indices, false), [indices.len(), channels, height, width])?;
        Ok(object.into())
    }

    /// Does some of the work, and says what happened, by its `type`; undefined where the run has ended:
    ///
    /// - `steps`: `{steps, means, levels, losses}`. The first two have a number for each step since the last event; the others
    ///   one for each example of each step, a level being the timestep's position, 0 to 1
    /// - `frame`: `{step, batch, labels?}` and `{width, height, pictures}` or `{channels, values}`
    /// - `frame-failed`: `{step, error}`
    /// - `held-out`: `{step, loss, bound?: {bits, error}}`
    /// - `save-due`, after which [`Self::save`] is expected
    /// - `given-up`: a frame was, and comes after a later step
    ///
    /// `go_on` is called between two parts of the work, with `"step"` before another step whose losses are told together with
    /// those before, and `"part"` in a frame or a held-out loss; where it gives false, or a promise of false, that ends.
    ///
    /// # Errors
    /// `diverged` where a loss is not finite, after which [`Self::go_back`] helps; `device-lost`.
    pub async fn next(&mut self, go_on: Function) -> JsResult<JsValue> {
        let go_on = async |work: Work| {
            let name = match work {
                Work::Step => "step",
                Work::Part => "part",
            };
            continues(&go_on, &name.into()).await
        };
        match self.0.next(go_on).await.map_err(|e| thrown(&e))? {
            None => Ok(JsValue::UNDEFINED),
            Some(event) => self.told(event),
        }
    }

    fn told(&self, event: Event) -> JsResult<JsValue> {
        let object = Object::new();
        let set = |name: &str, value: JsValue| set(&object, name, value);
        let kind = match event {
            Event::Steps(losses) => {
                let total = self.0.trainer().schedule().train_timesteps() as f32;
                let examples = || losses.iter().flat_map(|l| &l.examples);
                let steps: Vec<f64> = losses.iter().map(|l| l.step as f64).collect();
                let means: Vec<f32> = losses.iter().map(|l| l.mean).collect();
                let levels: Vec<f32> = examples().map(|(t, _)| *t as f32 / total).collect();
                let each: Vec<f32> = examples().map(|(_, loss)| *loss).collect();
                set("steps", Float64Array::from(&steps[..]).into())?;
                set("means", Float32Array::from(&means[..]).into())?;
                set("levels", Float32Array::from(&levels[..]).into())?;
                set("losses", Float32Array::from(&each[..]).into())?;
                "steps"
            }
            Event::Frame(frame) => {
                let [batch, channels, height, width] = frame.shape;
                set("step", (frame.step as f64).into())?;
                set("batch", (batch as f64).into())?;
                if let Some(labels) = &frame.labels {
                    set("labels", serialize(labels)?)?;
                }
                if (height, width) == (1, 1) {
                    set("channels", (channels as f64).into())?;
                } else {
                    set("width", (width as f64).into())?;
                    set("height", (height as f64).into())?;
                }
                set_items(&object, &frame.values, frame.shape)?;
                "frame"
            }
            Event::FrameFailed { step, error } => {
                set("step", (step as f64).into())?;
                set("error", thrown(&error))?;
                "frame-failed"
            }
            Event::HeldOut(HeldOut { step, loss, bound }) => {
                set("step", (step as f64).into())?;
                set("loss", loss.into())?;
                if let Some(bound) = bound {
                    set("bound", serialize(&bound)?)?;
                }
                "held-out"
            }
            Event::SaveDue => "save-due",
            Event::GivenUp => "given-up",
        };
        set("type", kind.into())?;
        Ok(object.into())
    }

    /// Takes a step for its own sake, to measure how long it takes. On a GPU this only queues the work; [`Self::wait`] waits.
    ///
    /// # Errors
    /// None that a checked recipe can meet.
    pub fn step(&mut self) -> JsResult<()> {
        self.0.trainer_mut().step().map_err(|e| thrown(&e))
    }

    /// Waits for the steps of [`Self::step`].
    ///
    /// # Errors
    /// `diverged`, `device-lost`.
    pub async fn wait(&mut self) -> JsResult<()> {
        self.0.trainer_mut().losses().await.map(drop).map_err(|e| thrown(&e))
    }

    /// `count` points or bit strings from the averaged weights and the noise of `seed`, numbers `[count, channels]`. `go_on` is
    /// as for [`Self::next`].
    ///
    /// # Errors
    /// `device-lost`, `aborted`.
    pub async fn sample(&self, count: u32, seed: u32, go_on: Function) -> JsResult<Float32Array> {
        let trainer = self.0.trainer();
        let [channels, height, width] = trainer.data().shape;
        let shape = [count as usize, channels, height, width];
        let go_on = async || continues(&go_on, &"part".into()).await;
        let sample = async || trainer.averaged().await?.sample_while(shape, u64::from(seed), go_on).await;
        let values = sample().await.map_err(|e| thrown(&e))?;
        Ok(Float32Array::from(&values[..]))
    }

    /// Sets the peak learning rate from the next step on. The run should then be saved.
    ///
    /// # Errors
    /// `invalid-option` unless it is above 0 and at most 1.
    pub fn set_learning_rate(&mut self, rate: f64) -> JsResult<()> {
        self.0.set_learning_rate(rate).map_err(|e| thrown(&e))
    }

    /// Makes it a run of another length, also one that has ended. It should then be saved.
    ///
    /// # Errors
    /// `invalid-option` for fewer steps than are done.
    pub fn set_steps(&mut self, steps: f64) -> JsResult<()> {
        let steps = options::whole("steps", steps, u32::MAX.into());
        steps.and_then(|steps| self.0.set_steps(steps)).map_err(|e| thrown(&e))
    }

    /// Works a batch through in twice as many parts from the next step on.
    ///
    /// # Errors
    /// `out-of-memory` where a part would be less than one example.
    pub fn split_batch(&mut self) -> JsResult<()> {
        self.0.split_batch().map_err(|e| thrown(&e))
    }

    /// Ends the run where it is, with a last frame and save, which [`Self::next`] gives.
    pub fn stop(&mut self) {
        self.0.stop();
    }

    /// The run's state, from which it goes on exactly.
    ///
    /// # Errors
    /// `diverged`, after which [`Self::go_back`] helps; `device-lost`.
    pub async fn save(&mut self) -> JsResult<Uint8Array> {
        let bytes = self.0.save().await.map_err(|e| thrown(&e))?;
        Ok(Uint8Array::from(&bytes[..]))
    }

    /// Whether nothing has happened since the last save.
    #[must_use]
    pub fn is_saved(&self) -> bool {
        self.0.is_saved()
    }

    /// Goes back to the last save; whether there is one.
    ///
    /// # Errors
    /// `device-lost`.
    pub fn go_back(&mut self) -> JsResult<bool> {
        self.0.go_back().map_err(|e| thrown(&e))
    }

    /// The model card, in Markdown. `data` says what the pictures are and where they came from; `means` are the mean losses
    /// of the steps from `first` on, of which the last hundred count.
    #[must_use]
    pub fn card(&self, data: &str, first: f64, means: Vec<f32>) -> String {
        let steps = (first as u64..).zip(means);
        let losses: Vec<Loss> = steps.map(|(step, mean)| Loss { step, mean, examples: Vec::new() }).collect();
        train::card(self.0.trainer(), data, &losses)
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
        let trainer = self.0.trainer();
        if !trainer.data().is_list() {
            return Ok(trainer.checkpoint().await?.files());
        }
        Ok(vec![("weights.safetensors".to_owned(), safetensors(&trainer.weights().await?))])
    }
}

/// Whether a function of JavaScript gives true, or a promise of it.
async fn continues(function: &Function, argument: &JsValue) -> bool {
    let answer = match function.call1(&JsValue::NULL, argument).map(JsCast::dyn_into::<Promise>) {
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
