//! Pipelines of several networks for JavaScript: `www/text/worker.js` is the only caller.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;

use js_sys::{
    Array, Float32Array, Function, JsString, Object, Promise, Reflect, RegExp, Uint8Array, Uint8ClampedArray,
};
use serde_json::Value;
use wasm_bindgen::convert::TryFromJsValue;
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;

use super::{JsResult, Opening, count, engine_device, number, object, options, set, strings, thrown};
use crate::checkpoint::weights::Sink;
use crate::checkpoint::{MAX_JSON, Parts, PartsOpening};
use crate::device::{Device, DeviceKind, Lent, Shared};
use crate::engine::filling::Numbers as TensorNumbers;
use crate::error::{Error, Result};
use crate::network::array::Array as Numbers;
use crate::picture::{Range, to_rgba};
use crate::pipeline::{
    Description, Image, Kind, LatentColours, Loader, Loading, Made, Names, Part, PartInfo, Pending, Progress,
    Ready, Request, Runner, Source, WordMaps,
};
use crate::prompt::Unicode;
use crate::rng::MAX_SEED;
use crate::sampler::{Guidance, Step};

/// What the browser knows of characters.
fn unicode() -> Unicode<'static> {
    thread_local! {
        static LETTER: RegExp = RegExp::new("^\\p{L}", "u");
    }
    Unicode {
        nfc: &|text| JsString::from(text).normalize("NFC").into(),
        is_letter: &|c| LETTER.with(|letter| letter.test(c.encode_utf8(&mut [0; 4]))),
    }
}

/// The small files of a pipeline's folder: see [`PartsOpening`]. It says what it wants, and is given that.
#[wasm_bindgen]
pub struct Folder(PartsOpening);

#[wasm_bindgen]
impl Folder {
    /// As [`Opening::new`](super::Opening::new).
    ///
    /// # Errors
    /// By what is wrong with the files as far as it is known; so for all below.
    #[wasm_bindgen(constructor)]
    pub fn new(place: &str, paths: Option<Vec<String>>, variant: Option<String>) -> JsResult<Folder> {
        let variant = variant.as_deref();
        let opening = match paths {
            Some(paths) => PartsOpening::listed(place, &paths, variant),
            None => PartsOpening::unlisted(place, variant),
        };
        opening.map(Self).map_err(|e| thrown(&e))
    }

    /// The files to get next, side by side: `{path, limit}` each; empty at the end.
    #[must_use]
    pub fn wanted(&self) -> Array {
        let wanted = self.0.wanted().into_iter();
        wanted.map(|path| object([("path", path.into()), ("limit", number(MAX_JSON as u64))])).collect()
    }

    /// A file, whole.
    ///
    /// # Errors
    /// See [`Self::new`].
    pub fn give(&mut self, path: &str, bytes: Vec<u8>) -> JsResult<()> {
        self.0.give(path, bytes).map_err(|e| thrown(&e))
    }

    /// There is no such file.
    ///
    /// # Errors
    /// See [`Self::new`].
    pub fn absent(&mut self, path: &str) -> JsResult<()> {
        self.0.absent(path).map_err(|e| thrown(&e))
    }
}

/// What the page threw when it was to bring weights: it is thrown again, as the page knows it.
type Thrown = Rc<RefCell<Option<JsValue>>>;

/// Weights as the page brings them.
struct Page {
    parts: Parts,
    bring: Function,
    thrown: Thrown,
    ahead: Ahead,
}

/// The parts that are still to be loaded, with their parameters, as the run told.
type Ahead = Rc<RefCell<VecDeque<(String, u64)>>>;

impl Page {
    /// Has the page fill an opening of a part, and tells it how many parameters that has and how many are to come after it.
    async fn bring(&self, opening: Opening, part: &str) -> JsResult<Opening> {
        let own = |name: &str| name.split('.').next() == Some(part);
        let (mut parameters, mut rest) = (0, 0);
        {
            let mut ahead = self.ahead.borrow_mut();
            if ahead.front().is_some_and(|(name, _)| own(name)) {
                parameters = ahead.pop_front().map_or(0, |(_, count)| count);
                rest = ahead.iter().map(|(_, count)| count).sum();
            }
        }
        let arguments = [opening.into(), part.into(), number(parameters.max(1)), number(rest)];
        let promise = self.bring.apply(&JsValue::UNDEFINED, &arguments.iter().collect())?;
        let filled = JsFuture::from(promise.unchecked_into::<Promise>()).await?;
        Opening::try_from_js_value(filled)
    }
}

impl Source for Page {
    fn read<'a>(
        &'a self,
        part: &'a str,
        asked: Names,
        sink: Box<dyn Sink>,
        _: &'a mut dyn FnMut(u64, Option<u64>) -> Result<()>,
    ) -> Pending<'a, ()> {
        Box::pin(async move {
            let mut opening = Opening(self.parts.opening(part, asked)?);
            opening.0.deliver(sink);
            let filled = self.bring(opening, part).await.map_err(|what| {
                *self.thrown.borrow_mut() = Some(what);
                Error::Aborted
            })?;
            filled.0.finish().map(|_| ())
        })
    }
}

/// Steps that were taken and not yet handed out.
type Steps = Rc<RefCell<VecDeque<JsValue>>>;

/// A loader whose parts begin no evaluation before the last step was handed out, so that a run stops where nobody asks on.
struct Gate {
    inner: Device,
    steps: Steps,
}

struct GatedLoading {
    inner: Box<dyn Loading>,
    steps: Steps,
}

struct Gated {
    inner: Box<dyn Ready>,
    steps: Steps,
}

impl Loader for Gate {
    fn begin(&self, part: Part, exact: bool) -> Result<Box<dyn Loading>> {
        let inner = self.inner.begin(part, exact)?;
        Ok(Box::new(GatedLoading { inner, steps: Rc::clone(&self.steps) }))
    }

    fn check_activations(&self, part: &Part, batch: usize, size: [usize; 2], tokens: usize) -> Result<()> {
        self.inner.check_activations(part, batch, size, tokens)
    }
}

impl Loading for GatedLoading {
    fn put(&mut self, key: &str, numbers: TensorNumbers) -> Result<()> {
        self.inner.put(key, numbers)
    }

    fn finish<'a>(self: Box<Self>) -> Pending<'a, Box<dyn Ready>> {
        Box::pin(async move {
            let Self { inner, steps } = *self;
            Ok(Box::new(Gated { inner: inner.finish().await?, steps }) as Box<dyn Ready>)
        })
    }
}

impl Ready for Gated {
    fn ask<'a>(&'a mut self, inputs: &'a [Numbers], maps: bool) -> Pending<'a, Vec<Numbers>> {
        Box::pin(async move {
            // Whoever takes a step polls again.
            poll_fn(|_| if self.steps.borrow().is_empty() { Poll::Ready(()) } else { Poll::Pending }).await;
            self.inner.ask(inputs, maps).await
        })
    }

    fn prepare(&mut self, size: [usize; 2]) -> Pending<'_, ()> {
        self.inner.prepare(size)
    }
}

/// A pipeline on a device.
#[wasm_bindgen]
pub struct Pipeline {
    runner: Shared<Runner>,
    description: Rc<Description>,
    parts: Vec<PartInfo>,
    classes: Option<Vec<String>>,
    colours: LatentColours,
    device: Device,
    steps: Steps,
    thrown: Thrown,
    ahead: Ahead,
}

#[wasm_bindgen]
impl Pipeline {
    /// Builds a pipeline from a folder that wants nothing any more, which it takes over. `device` is `"gpu"` or `"cpu"`; `bring` gets what an
    /// opening wants, and gives a promise of it; a part may take `memory` bytes.
    ///
    /// # Errors
    /// By what is wrong: `checkpoint`, `unsupported-architecture`, `no-adapter`, `limit`, `out-of-memory`; what `bring` throws.
    pub async fn open(folder: Folder, device: String, bring: Function, memory: f64) -> JsResult<Pipeline> {
        let cause = Thrown::default();
        let opened = Self::try_open(folder, &device, bring, memory, Rc::clone(&cause)).await;
        opened.map_err(|e| rethrown(&cause, &e))
    }

    async fn try_open(
        folder: Folder,
        device: &str,
        bring: Function,
        memory: f64,
        thrown: Thrown,
    ) -> Result<Self> {
        let parts = folder.0.finish()?.ok_or_else(|| Error::MissingFile {
            wanted: "model_index.json".to_owned(),
            found: "other files".to_owned(),
        })?;
        let description = Description::read(&parts)?;
        let device = engine_device(device).await?;
        let steps = Steps::default();
        let gate = Gate { inner: device.clone(), steps: Rc::clone(&steps) };
        let classes = (description.pipeline.kind == Kind::Dit).then(|| class_names(&parts));
        let colours =
            description.pipeline.latent_colours(parts.config(description.pipeline.kind.autoencoder()));
        let infos = description.parts([description.pipeline.sample_size; 2]);
        let ahead = Ahead::default();
        let source = Page { parts, bring, thrown: Rc::clone(&thrown), ahead: Rc::clone(&ahead) };
        let shared = Rc::new(description.clone());
        let mut runner = Runner::new(description, Box::new(source), Box::new(gate));
        runner.limit_memory(memory as u64);
        if infos.iter().map(|part| part.parameters).sum::<u64>() <= KEPT {
            runner.load(&mut |progress| told_ahead(&ahead, &progress)).await?;
        } else {
            runner.check_memory()?;
        }
        let runner = Shared::new(runner);
        Ok(Self { runner, description: shared, parts: infos, classes, colours, device, steps, thrown, ahead })
    }

    /// What the pipeline is: see `ModelInfo` in `www/noiseball.d.ts`.
    #[must_use]
    pub fn info(&self) -> Object {
        let Description { pipeline, class, text, schedule, sampler, unknown_keys, notes, .. } =
            &*self.description;
        let device = object([
            ("kind", if self.device.kind() == DeviceKind::Cpu { "cpu" } else { "gpu" }.into()),
            ("name", self.device.name().into()),
        ]);
        let part = |part: &PartInfo| {
            object([
                ("name", (&part.name).into()),
                ("parameters", number(part.parameters)),
                ("flops", number(part.flops)),
                ("activationBytes", number(part.activation_bytes)),
            ])
        };
        let is_network = |part: &&PartInfo| part.name == pipeline.kind.network();
        let takes_pictures = !matches!(pipeline.kind, Kind::Dit | Kind::LatentDiffusion);
        let attends = matches!(&self.description.network, Part::UNet(net) if net.attends());
        let about = object([
            ("className", class.into()),
            ("parts", self.parts.iter().map(part).collect::<Array>().into()),
            ("prompt", (!text.is_empty()).into()),
            ("negativePrompt", (!text.is_empty() && pipeline.kind != Kind::LatentConsistency).into()),
            ("attention", attends.into()),
            ("init", takes_pictures.into()),
            ("mask", takes_pictures.into()),
            ("scaleFactor", number(pipeline.scale_factor as u64)),
        ]);
        let (steps, guidance) = self.description.defaults();
        let side = number((pipeline.sample_size * pipeline.scale_factor) as u64);
        let most = self.parts.iter().map(|part| part.activation_bytes).max();
        let total = |of: fn(&PartInfo) -> u64| number(self.parts.iter().map(of).sum());
        object([
            ("pipeline", about.into()),
            ("parameters", total(|part| part.parameters)),
            ("flops", number(self.parts.iter().find(is_network).map_or(0, |part| part.flops))),
            ("activationBytes", number(most.unwrap_or(0))),
            ("channels", number(3)),
            ("height", side.clone()),
            ("width", side),
            ("classes", count(self.classes.as_ref().map(Vec::len))),
            ("labels", self.classes.as_deref().map_or(JsValue::NULL, strings)),
            ("nullLabel", JsValue::NULL),
            ("scheduler", (&schedule.class_name).into()),
            ("sampler", sampler.name().into()),
            ("steps", number(steps as u64)),
            ("guidance", guidance.into()),
            ("trainTimesteps", number(schedule.train_timesteps() as u64)),
            ("unknownKeys", strings(unknown_keys)),
            ("notes", strings(notes)),
            ("device", device.into()),
        ])
    }

    /// Whether the device was lost, so that nothing but building the pipeline again helps.
    #[must_use]
    pub fn lost(&self) -> bool {
        self.device.check().is_err()
    }

    /// A prompt as the first text encoder takes it: `{words, tokens, most, cut}`; of a pipeline without one, nothing.
    #[must_use]
    pub fn tokens(&self, prompt: &str) -> Object {
        let [encoder, ..] = &self.description.text[..] else { return Object::new() };
        let found = encoder.tokenizer.encode(prompt, unicode());
        let word = |word: &crate::prompt::Word| {
            let ids = &found.ids[word.tokens.clone()];
            let pieces: Vec<String> = ids.iter().map(|id| encoder.tokenizer.spelling(&[*id])).collect();
            object([
                ("text", (&word.text).into()),
                ("pieces", strings(&pieces)),
                ("unknown", word.unknown.into()),
            ])
        };
        let used = found.words.last().map_or(0, |word| word.tokens.end - 1);
        object([
            ("words", found.words.iter().map(word).collect::<Array>().into()),
            ("tokens", number(used as u64)),
            ("most", number(found.ids.len() as u64 - 2)),
            ("cut", (&found.cut).into()),
        ])
    }

    /// Starts a run: see `SampleOptions` in `www/noiseball.d.ts`. `told` has what is not for the sampler, as `www/prompting.js` writes it.
    ///
    /// # Errors
    /// `invalid-option`, `busy`.
    pub fn sample(&self, options: JsValue, told: JsValue) -> JsResult<PipelineRun> {
        self.try_sample(options, &told).map_err(|e| thrown(&e))
    }

    fn try_sample(&self, options: JsValue, told: &JsValue) -> Result<PipelineRun> {
        let request = request(options, told)?;
        let mut runner: Lent<Runner> = self.runner.lend()?;
        self.steps.borrow_mut().clear();
        let (steps, colours, ahead) = (Rc::clone(&self.steps), self.colours.clone(), Rc::clone(&self.ahead));
        let factor = self.description.pipeline.scale_factor;
        let run = async move {
            let (mut noise, mut attention, mut last) = (None, None, None);
            let made = runner
                .sample(&request, unicode(), &mut |progress| {
                    told_ahead(&ahead, &progress)?;
                    let pixels =
                        |x: &[f32], shape| JsValue::from(preview(&colours.rgb(x, shape), shape, factor));
                    match progress {
                        Progress::Noise { x, shape } => noise = Some(pixels(x, shape)),
                        Progress::Attention(maps) => {
                            attention = Some(maps.iter().map(told_maps).collect::<Array>());
                        }
                        Progress::Step(step) => {
                            let js = told_step(&step, factor);
                            if let Some(maps) = attention.take() {
                                set(&js, "attention", &maps);
                            }
                            if let Some(start) = noise.take() {
                                set(&js, "start", &start);
                            }
                            // The last step's pictures are those of the decoder.
                            if step.index + 1 == step.total {
                                last = Some(js);
                            } else {
                                set(&js, "pictures", &pixels(&step.shown(), step.shape));
                                set(&js, "predicted", &pixels(step.x0, step.shape));
                                steps.borrow_mut().push_back(js.into());
                            }
                        }
                        _ => {}
                    }
                    Ok(())
                })
                .await?;
            Ok(finished(last.unwrap_or_default(), &made))
        };
        Ok(PipelineRun {
            work: Some(Box::pin(run)),
            steps: Rc::clone(&self.steps),
            thrown: Rc::clone(&self.thrown),
        })
    }
}

/// The most parameters of a pipeline whose parts all stay loaded; of a larger one each is loaded when its turn comes.
const KEPT: u64 = 64_000_000;

/// Keeps what a run says that it will load.
fn told_ahead(ahead: &Ahead, progress: &Progress<'_>) -> Result<()> {
    if let Progress::Parts(parts) = progress {
        *ahead.borrow_mut() = parts.iter().cloned().collect();
    }
    Ok(())
}

fn rethrown(cause: &Thrown, error: &Error) -> JsValue {
    cause.borrow_mut().take().unwrap_or_else(|| thrown(error))
}

/// The classes' names that `model_index.json` has, or their numbers.
fn class_names(parts: &Parts) -> Vec<String> {
    let names = parts.model_index.get("id2label").and_then(Value::as_object);
    let name = |class: usize| {
        let name = names.and_then(|names| names.get(&class.to_string())?.as_str());
        name.map_or_else(|| class.to_string(), |name| name.split(',').next().unwrap_or(name).to_owned())
    };
    (0..1000).map(name).collect()
}

/// What is told of every step.
fn told_step(step: &Step<'_>, factor: usize) -> Object {
    let [batch, _, height, width] = step.shape;
    object([
        ("index", number(step.index as u64)),
        ("total", number(step.total as u64)),
        ("timestep", step.timestep.into()),
        ("noise", step.from.noise_share().into()),
        ("batch", number(batch as u64)),
        ("width", number((width * factor) as u64)),
        ("height", number((height * factor) as u64)),
    ])
}

/// Where the words of one picture acted.
fn told_maps(maps: &WordMaps) -> JsValue {
    let [height, width] = maps.size.map(|side| number(side as u64));
    object([
        ("words", strings(&maps.words)),
        ("height", height),
        ("width", width),
        ("now", Float32Array::from(&maps.now[..]).into()),
        ("mean", Float32Array::from(&maps.mean[..]).into()),
    ])
    .into()
}

/// The last step, with what the decoder made.
fn finished(step: Object, made: &Made) -> JsValue {
    if let [batch, channels, height, width] = made.pictures.shape[..] {
        let pixels = to_rgba(&made.pictures.values, [batch, channels, height, width], Range::Signed);
        set(&step, "pictures", &Uint8ClampedArray::from(&pixels[..]));
        set(&step, "predicted", &Uint8ClampedArray::from(&pixels[..]));
    }
    set(&step, "latents", &Float32Array::from(&made.latents.values[..]));
    set(&step, "decoded", &Float32Array::from(&made.pictures.values[..]));
    set(&step, "notes", &strings(&made.notes));
    step.into()
}

/// Latents' colours `[batch, 3, height, width]` as pixels of the pictures' size, each cell a square.
fn preview(rgb: &[f32], [batch, _, height, width]: [usize; 4], factor: usize) -> Uint8ClampedArray {
    let cells = to_rgba(rgb, [batch, 3, height, width], Range::Signed);
    let mut pixels = Vec::with_capacity(cells.len() * factor * factor);
    for row in cells.chunks_exact(4 * width) {
        let wide: Vec<u8> = row.chunks_exact(4).flat_map(|cell| cell.repeat(factor)).collect();
        (0..factor).for_each(|_| pixels.extend_from_slice(&wide));
    }
    Uint8ClampedArray::from(&pixels[..])
}

/// A run's options: those of the sampler as ever, the others from `told`.
fn request(options: JsValue, told: &JsValue) -> Result<Request> {
    let given = |name: &str| -> Option<JsValue> {
        Reflect::get(told, &name.into()).ok().filter(|value| !value.is_undefined() && !value.is_null())
    };
    let float = |name: &str| given(name).and_then(|value| value.as_f64());
    let size = |name: &'static str| float(name).map(|n| options::whole(name, n, 1 << 16)).transpose();
    let texts = |name: &str| -> Vec<String> {
        let list = given(name).map(|list| Array::from(&list));
        list.map(|list| list.iter().filter_map(|text| text.as_string()).collect()).unwrap_or_default()
    };
    let seeds = given("seeds").map(|list| Array::from(&list)).unwrap_or_default();
    let seeds = seeds.iter().map(|seed| options::whole("seed", seed.as_f64().unwrap_or(f64::NAN), MAX_SEED));
    let has_batch = Reflect::has(&options, &"batch".into()).unwrap_or(false);
    let read = options::read(options)?;
    let labels = read.labels.unwrap_or_default().into_iter();
    Ok(Request {
        prompts: texts("prompts"),
        prompts_2: texts("prompts2"),
        negative_prompts: texts("negativePrompts"),
        guidance: float("guidance"),
        guided: Guidance {
            rescale: float("guidanceRescale").unwrap_or(0.0),
            interval: [float("least").unwrap_or(0.0), float("most").unwrap_or(f64::INFINITY)],
            ..Guidance::default()
        },
        labels: labels
            .map(|n| options::whole("labels", f64::from(n), 1 << 24).map(|n| n as u32))
            .collect::<Result<_>>()?,
        sampler: read.sampler,
        settings: read.settings,
        steps: read.steps,
        size: [size("height")?.map(|n| n as usize), size("width")?.map(|n| n as usize)],
        batch: has_batch.then_some(read.batch),
        init: given("init").map(|given| image(&given)),
        strength: float("strength"),
        mask: given("mask").map(|given| image(&given)),
        seeds: seeds.collect::<Result<_>>()?,
        rng: read.rng,
        attention: given("attention").is_some_and(|wanted| wanted.is_truthy()),
    })
}

/// A picture as `www/prompting.js` writes it. What is wrong with its numbers the run finds.
fn image(given: &JsValue) -> Image {
    let field = |name: &str| Reflect::get(given, &name.into()).unwrap_or_default();
    let sides: Vec<usize> = ["shape", "size"]
        .iter()
        .flat_map(|name| field(name).dyn_into::<Array>().unwrap_or_default().iter().collect::<Vec<_>>())
        .map(|side| side.as_f64().unwrap_or(0.0) as usize)
        .collect();
    match sides[..] {
        [a, b, c, d] => {
            let values = field("values").unchecked_into::<Float32Array>().to_vec();
            Image::Numbers { values, shape: [a, b, c, d] }
        }
        _ => {
            let rgb = field("rgb").unchecked_into::<Uint8Array>().to_vec();
            Image::Picture {
                rgb,
                size: [sides.first().copied().unwrap_or(0), sides.get(1).copied().unwrap_or(0)],
            }
        }
    }
}

/// A run of a pipeline.
#[wasm_bindgen]
pub struct PipelineRun {
    /// Nothing after the end.
    work: Option<Pin<Box<dyn Future<Output = Result<JsValue>>>>>,
    steps: Steps,
    thrown: Thrown,
}

#[wasm_bindgen]
impl PipelineRun {
    /// The next step (`Step` in `www/noiseball.d.ts`), or undefined after the last.
    ///
    /// # Errors
    /// As [`Run::next`](super::Run::next), and those of [`Pipeline::open`] where parts are loaded in the course of it.
    pub async fn next(&mut self) -> JsResult<JsValue> {
        poll_fn(|context| {
            if let Some(step) = self.steps.borrow_mut().pop_front() {
                return Poll::Ready(Ok(step));
            }
            let Some(work) = &mut self.work else { return Poll::Ready(Ok(JsValue::UNDEFINED)) };
            match work.as_mut().poll(context) {
                Poll::Ready(result) => {
                    self.work = None;
                    Poll::Ready(result.map_err(|e| rethrown(&self.thrown, &e)))
                }
                // Where a step was taken, the run waits until it was handed out.
                Poll::Pending => {
                    self.steps.borrow_mut().pop_front().map_or(Poll::Pending, |step| Poll::Ready(Ok(step)))
                }
            }
        })
        .await
    }
}
