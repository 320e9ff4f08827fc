//! The surface that JavaScript sees; nothing else in the crate knows wasm-bindgen. `www/worker.js` is its only caller,
//! and `www/noiseball.js` what page authors call. Every failure is thrown as an `Error` with a `type`.

#[cfg(not(feature = "text"))]
pub mod formula;
#[cfg(not(feature = "burn"))]
mod math;
#[cfg(feature = "burn")]
pub mod memory;
mod options;
#[cfg(feature = "data")]
pub mod pictures;
#[cfg(all(feature = "text", not(feature = "burn")))]
pub mod text;
#[cfg(feature = "burn")]
pub mod train;

use std::cell::RefCell;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};

use js_sys::{
    Array, Float32Array, Float64Array, Function, Object, Promise, Reflect, Uint8Array, WebAssembly,
};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;

use crate::checkpoint;
use crate::denoiser::Point;
use crate::device::{Device, DeviceKind};
use crate::engine::kernels::relaxed;
use crate::error::{Error, Result};
use crate::likelihood::{Likelihood, Method};
use crate::model::{self, SampleOptions};
use crate::picture::{Range, to_rgba};
use crate::rng::{Generator, MAX_SEED, Normals};
use crate::sampler::{Edit, Guidance, Operator, Watched, wrong_pictures};
use crate::sampling::{Sampling, Watcher};

type JsResult<T> = std::result::Result<T, JsValue>;

unsafe extern "C" {
    fn __wasm_call_ctors();
}

/// Runs when the module starts; further calls do nothing.
#[wasm_bindgen(start)]
pub fn start() {
    static STARTED: AtomicBool = AtomicBool::new(false);
    if !STARTED.swap(true, Ordering::Relaxed) {
        initialise();
    }
}

fn initialise() {
    // CubeCL registers static constructors. While nobody calls them, the linker makes every export re-run them all
    // on every call from JavaScript, which costs a hundredfold.
    // SAFETY: the linker provides this function, and module start-up is the one time that it is called.
    unsafe { __wasm_call_ctors() };
    std::panic::set_hook(Box::new(console_error_panic_hook::hook));
    // Without it products take longer.
    let _ = use_relaxed_simd();
}

/// Has products use relaxed SIMD's multiply-add, where this browser knows it.
fn use_relaxed_simd() -> JsResult<()> {
    let bytes = Uint8Array::from(&relaxed::MODULE[..]);
    if !WebAssembly::validate(&bytes)? {
        return Ok(());
    }
    let imports = object([("m", object([("m", wasm_bindgen::memory())]).into())]);
    let exports = WebAssembly::Instance::new(&WebAssembly::Module::new(&bytes)?, &imports)?.exports();
    let table: WebAssembly::Table = wasm_bindgen::function_table().unchecked_into();
    for (name, slot) in relaxed::slots() {
        table.set(slot as u32, Reflect::get(&exports, &name.into())?.unchecked_ref())?;
    }
    relaxed::choose(true);
    Ok(())
}

fn thrown(error: &Error) -> JsValue {
    let js = js_sys::Error::new(&error.to_string());
    set(&js, "type", &error.kind().into());
    js.into()
}

#[cfg(feature = "data")]
fn serialize(value: &impl serde::Serialize) -> JsResult<JsValue> {
    let serializer = serde_wasm_bindgen::Serializer::json_compatible();
    value.serialize(&serializer).map_err(JsValue::from)
}

/// A JavaScript object of these fields. Objects of few kinds take fewer bytes so than through serde.
fn object<const N: usize>(fields: [(&str, JsValue); N]) -> Object {
    let object = Object::new();
    fields.iter().for_each(|(name, value)| set(&object, name, value));
    object
}

fn set(object: &Object, name: &str, value: &JsValue) {
    // Setting a field of an object of one's own cannot fail.
    let _ = Reflect::set(object, &name.into(), value);
}

/// A number that a double holds exactly, or nearly.
fn number(value: u64) -> JsValue {
    (value as f64).into()
}

/// A number, or null.
fn count(value: Option<usize>) -> JsValue {
    value.map_or(JsValue::NULL, |value| number(value as u64))
}

fn strings(list: &[String]) -> JsValue {
    list.iter().map(JsValue::from).collect::<Array>().into()
}

thread_local! {
    /// The one GPU device of the worker, which all models share with its pipelines.
    static GPU: RefCell<Option<Device>> = const { RefCell::new(None) };
}

/// The worker's GPU device: a new one where there is none, or the last one was lost.
async fn gpu() -> Result<Device> {
    if let Some(device) = GPU.with_borrow(Option::clone).filter(|device| device.check().is_ok()) {
        return Ok(device);
    }
    let device = Device::gpu().await?;
    GPU.set(Some(device.clone()));
    Ok(device)
}

/// A checkpoint that is being opened: see [`checkpoint::Opening`]. It says what it wants, and is given that.
#[wasm_bindgen]
pub struct Opening(checkpoint::Opening);

#[wasm_bindgen]
impl Opening {
    /// `place` is the address for errors; `paths` are the files that there are, where they can be listed.
    ///
    /// # Errors
    /// By what is wrong with the checkpoint as far as it is known; so for all below.
    #[wasm_bindgen(constructor)]
    pub fn new(place: &str, paths: Option<Vec<String>>, variant: Option<String>) -> JsResult<Opening> {
        let variant = variant.as_deref();
        let opening = match paths {
            Some(paths) => checkpoint::Opening::listed(place, &paths, variant),
            None => checkpoint::Opening::unlisted(place, variant),
        };
        opening.map(Self).map_err(|e| thrown(&e))
    }

    /// The files to get next, side by side: `{path, weights, limit}` each, where `limit` is the most bytes that it may have;
    /// empty at the end.
    #[must_use]
    pub fn wanted(&self) -> Array {
        let wanted = self.0.wanted().into_iter().map(|checkpoint::Wanted { path, weights }| {
            let limit = (!weights).then_some(checkpoint::MAX_JSON);
            object([("path", path.into()), ("weights", weights.into()), ("limit", count(limit))])
        });
        wanted.collect()
    }

    /// What the network takes, before its weights are wanted: bytes of the activations for one picture, numbers of its answer for one,
    /// and of its weights.
    #[must_use]
    pub fn needs(&self) -> Option<Vec<f64>> {
        let checkpoint::Needs { activation_bytes, numbers, parameters, .. } = self.0.needs()?;
        Some([activation_bytes, numbers, parameters].map(|n| n as f64).to_vec())
    }

    /// A small file, whole.
    ///
    /// # Errors
    /// See [`Self::new`].
    pub fn give(&mut self, path: &str, bytes: &[u8]) -> JsResult<()> {
        self.0.give(path, bytes).map_err(|e| thrown(&e))
    }

    /// There is no such file, or (`refused`) the server forbids to read it.
    ///
    /// # Errors
    /// See [`Self::new`].
    pub fn absent(&mut self, path: &str, refused: bool) -> JsResult<()> {
        let answer = if refused { self.0.refused(path) } else { self.0.absent(path) };
        answer.map_err(|e| thrown(&e))
    }

    /// The bytes of a weights file follow, once more where it was begun before.
    ///
    /// # Errors
    /// See [`Self::new`].
    pub fn begin(&mut self, path: &str, length: Option<f64>) -> JsResult<()> {
        let length = length.filter(|n| *n >= 0.0).map(|n| n as u64);
        self.0.begin(path, length).map_err(|e| thrown(&e))
    }

    /// The next bytes of the weights file.
    ///
    /// # Errors
    /// See [`Self::new`].
    pub fn push(&mut self, bytes: &[u8]) -> JsResult<()> {
        self.0.push(bytes).map_err(|e| thrown(&e))
    }

    /// The weights file is at its end.
    ///
    /// # Errors
    /// See [`Self::new`].
    pub fn end(&mut self) -> JsResult<()> {
        self.0.end().map_err(|e| thrown(&e))
    }
}

/// The engine's device of that name.
async fn engine_device(name: &str) -> Result<Device> {
    match name {
        "cpu" => Ok(Device::cpu()),
        "gpu" => gpu().await,
        other => Err(unknown_device(other)),
    }
}

fn unknown_device(name: &str) -> Error {
    Error::Option { option: "device", found: format!("{name:?}"), expected: "gpu or cpu".to_owned() }
}

/// A model on a device.
#[wasm_bindgen]
pub struct Model(model::Model);

#[wasm_bindgen]
impl Model {
    /// Builds a model from a checkpoint that wants nothing any more, which it takes over. `device` is `"gpu"` or `"cpu"`.
    ///
    /// # Errors
    /// By what is wrong: `checkpoint`, `unsupported-architecture`, `no-adapter`, `limit`.
    pub async fn build(checkpoint: Opening, device: String) -> JsResult<Model> {
        Self::try_build(checkpoint, &device).await.map_err(|e| thrown(&e))
    }

    async fn try_build(checkpoint: Opening, device: &str) -> Result<Self> {
        let checkpoint = checkpoint.0.finish()?;
        model::Model::load(checkpoint, &engine_device(device).await?).await.map(Self)
    }

    /// What the model is: see `ModelInfo` in `www/noiseball.d.ts`.
    #[must_use]
    pub fn info(&self) -> Object {
        let info = self.0.info();
        let device = object([
            ("kind", if info.device.kind == DeviceKind::Cpu { "cpu" } else { "gpu" }.into()),
            ("name", (&info.device.name).into()),
        ]);
        object([
            ("parameters", number(info.parameters)),
            ("flops", number(info.flops)),
            ("activationBytes", number(info.activation_bytes)),
            ("channels", number(info.channels as u64)),
            ("height", number(info.height as u64)),
            ("width", number(info.width as u64)),
            ("classes", count(info.classes)),
            ("labels", info.labels.as_deref().map_or(JsValue::NULL, strings)),
            ("nullLabel", count(info.null_label)),
            ("scheduler", (&info.scheduler).into()),
            ("sampler", info.sampler.into()),
            ("trainTimesteps", number(info.train_timesteps as u64)),
            ("unknownKeys", strings(&info.unknown_keys)),
            ("notes", strings(&info.notes)),
            ("device", device.into()),
        ])
    }

    /// Whether the model's device was lost, so that nothing but building the model again helps.
    #[must_use]
    pub fn lost(&self) -> bool {
        self.0.check().is_err()
    }

    /// The noise of a seed for one picture.
    ///
    /// # Errors
    /// `invalid-option` for the seed.
    pub fn noise(&self, seed: f64) -> JsResult<Vec<f32>> {
        noise_of(seed, self.shape())
    }

    /// Starts a run: see `SampleOptions` in `www/noiseball.d.ts`, and [`run_options`] for `told`. `watch` is told each prediction, and gives a
    /// promise of numbers in its place, as many, or of undefined.
    ///
    /// # Errors
    /// `invalid-option`, `busy`, `limit`.
    pub fn sample(
        &self,
        options: JsValue,
        told: Vec<f64>,
        init: Option<Vec<f32>>,
        mask: Option<Vec<f32>>,
        noise: Option<Vec<f32>>,
        watch: Option<Function>,
    ) -> JsResult<Run> {
        let init = init.map(|init| init.iter().map(|x| self.range().of_signed(*x)).collect());
        let options =
            run_options(options, &told, [init, mask, noise], self.shape()).map_err(|e| thrown(&e))?;
        let sampling = match watch {
            None => self.0.sample(&options),
            Some(watch) => self.0.sample_watched(&options, Box::new(Page(watch))),
        };
        sampling.map(|sampling| Run(Work::Sampling(sampling, false, self.range()))).map_err(|e| thrown(&e))
    }

    /// What an operator leaves of a picture, as [`run_options`] takes it.
    ///
    /// # Errors
    /// `invalid-option` for an operator that pictures of this shape cannot be measured by, and for another number of numbers.
    pub fn measure(&self, picture: &[f32], kind: f64, amount: f64) -> JsResult<Vec<f32>> {
        let shape = self.shape();
        if picture.len() != shape.iter().product::<usize>() {
            return Err(thrown(&wrong_pictures("picture", picture.len(), [1, shape[0], shape[1], shape[2]])));
        }
        let operator = operator(kind, amount, shape).map_err(|e| thrown(&e))?;
        Ok(operator.map_or_else(|| picture.to_vec(), |operator| operator.measure(picture, shape)))
    }

    /// Begins to find the bits for each number of each of the pictures, by the bound at so many `timesteps` where there are any, else by the ODE; `label` is
    /// NaN for none. The run's steps are `{loaded, total}`, evaluations, and the last has the `bits`.
    ///
    /// # Errors
    /// `invalid-option`, `unsupported-architecture`, `busy`.
    pub fn likelihood(
        &self,
        pictures: &[f32],
        label: f32,
        steps: usize,
        probes: usize,
        timesteps: usize,
        seed: f64,
    ) -> JsResult<Run> {
        let method = if timesteps > 0 { Method::Bound { timesteps } } else { Method::Ode { steps, probes } };
        let label = Some(label).filter(|label| !label.is_nan());
        let seed = options::whole("seed", seed, MAX_SEED);
        let begun = seed.and_then(|seed| self.0.likelihood(pictures, label, method, seed));
        begun.map(|likelihood| Run(Work::Likelihood(likelihood))).map_err(|e| thrown(&e))
    }

    fn range(&self) -> Range {
        self.0.config().schedule.range()
    }

    fn shape(&self) -> [usize; 3] {
        let info = self.0.info();
        [info.channels, info.height, info.width]
    }
}

fn noise_of(seed: f64, shape: [usize; 3]) -> JsResult<Vec<f32>> {
    let mut noise = vec![0.0; shape.iter().product()];
    let seed = options::whole("seed", seed, MAX_SEED).and_then(Generator::philox);
    seed.map_err(|e| thrown(&e))?.normals(0, 1, &mut noise);
    Ok(noise)
}

/// A run's options, those that have numbers in `told` included, in the order of `NUMBERS` in `www/editing.js`, NaN where there is none.
fn run_options(
    options: JsValue,
    told: &[f64],
    [init, mask, noise]: [Option<Vec<f32>>; 3],
    shape: [usize; 3],
) -> Result<SampleOptions> {
    let mut options = options::read(options)?;
    let &[scale, rescale, least, most, negative, strength, resamplings, jump_length, invert, kind, amount] =
        told
    else {
        return Ok(options);
    };
    options.guidance = Guidance { scale, rescale, interval: [least, most] };
    options.negative_label = Some(negative as f32).filter(|label| !label.is_nan());
    let restore = operator(kind, amount, shape)?;
    options.edit = init.map(|init| {
        let init = match restore {
            None => init,
            // Numbers of less or more than a picture are refused by what asks for pictures.
            Some(operator) => {
                let mut pictures = init.chunks_exact(shape.iter().product());
                let mut undone: Vec<f32> = pictures.by_ref().flat_map(|y| operator.undo(y, shape)).collect();
                undone.extend_from_slice(pictures.remainder());
                undone
            }
        };
        Edit {
            init: init.into(),
            strength: Some(strength).filter(|strength| !strength.is_nan()),
            mask: mask.map(Into::into),
            restore,
            resamplings: resamplings as usize,
            jump_length: jump_length as usize,
            invert: invert != 0.0,
            as_pipelines: false,
        }
    });
    options.noise = noise.map(Into::into);
    Ok(options)
}

/// The operator of a kind, in the order of `RESTORES` in `www/editing.js`; none for 0.
fn operator(kind: f64, amount: f64, shape: [usize; 3]) -> Result<Option<Operator>> {
    let operator = match kind as u8 {
        1 => Operator::Grey,
        2 => Operator::Mean(amount as usize),
        3 => Operator::Blur(amount),
        _ => return Ok(None),
    };
    operator.check(shape).map(|()| Some(operator))
}

/// What a run asks the page.
struct Page(Function);

impl Watcher for Page {
    fn watch<'a>(
        &'a mut self,
        at: Watched,
        x0: &'a mut [f32],
    ) -> Pin<Box<dyn Future<Output = Result<()>> + 'a>> {
        Box::pin(async move {
            // What the page throws it throws itself; here the run only ends.
            let answer = self.ask(at, x0).await.map_err(|_| Error::Aborted)?;
            if let Some(numbers) =
                answer.dyn_ref::<Float32Array>().filter(|n| n.length() as usize == x0.len())
            {
                numbers.copy_to(x0);
            }
            Ok(())
        })
    }
}

impl Page {
    async fn ask(&self, at: Watched, x0: &[f32]) -> JsResult<JsValue> {
        let Watched { index, total, at: Point { level, timestep }, shape: [batch, _, height, width] } = at;
        let prediction = object([
            ("index", number(index as u64)),
            ("total", number(total as u64)),
            ("timestep", timestep.into()),
            ("noise", level.noise_share().into()),
            ("batch", number(batch as u64)),
            ("width", number(width as u64)),
            ("height", number(height as u64)),
            ("estimate", Float32Array::from(x0).into()),
        ]);
        self.answer(&prediction).await
    }

    async fn answer(&self, question: &Object) -> JsResult<JsValue> {
        let promise = self.0.call1(&JsValue::UNDEFINED, question)?;
        JsFuture::from(promise.unchecked_into::<Promise>()).await
    }
}

/// A run of a sampler, or a likelihood that is being found.
#[wasm_bindgen]
pub struct Run(Work);

enum Work {
    /// With every step's numbers, which of a formula are few, or without; and what is black and white.
    Sampling(Sampling, bool, Range),
    Likelihood(Likelihood),
}

#[wasm_bindgen]
impl Run {
    /// The next step (`Step` in `www/noiseball.d.ts`), or undefined after the last. One that is not to be shown has empty pictures, and may be
    /// the last of several.
    ///
    /// # Errors
    /// `checkpoint` where the network's output is not finite, `device-lost`.
    pub async fn next(&mut self) -> JsResult<JsValue> {
        let (sampling, exact, range) = match &mut self.0 {
            Work::Sampling(sampling, exact, range) => (sampling, *exact, *range),
            Work::Likelihood(likelihood) => {
                let bits = likelihood.step().await.map_err(|e| thrown(&e))?;
                let (done, total) = likelihood.progress();
                let js = object([("loaded", number(done as u64)), ("total", number(total as u64))]);
                if let Some(bits) = bits {
                    set(&js, "bits", &Float64Array::from(&bits[..]));
                }
                return Ok(js.into());
            }
        };
        let step = match sampling.step().await {
            Ok(Some(step)) => step,
            Ok(None) => return Ok(JsValue::UNDEFINED),
            Err(e) => return Err(thrown(&e)),
        };
        let shape = step.shape;
        let [batch, _, height, width] = shape;
        let (first, last) = (step.index == 0, step.index + 1 == step.total);
        let pixels = |x: &[f32]| js_sys::Uint8ClampedArray::from(&to_rgba(x, shape, range)[..]).into();
        let js = object([
            ("index", number(step.index as u64)),
            ("total", number(step.total as u64)),
            ("timestep", step.timestep.into()),
            ("noise", step.from.noise_share().into()),
            ("batch", number(batch as u64)),
            ("width", number(width as u64)),
            ("height", number(height as u64)),
            ("pictures", pixels(&step.shown())),
            ("predicted", pixels(step.x0)),
        ]);
        if last || exact {
            set(&js, "latents", &Float32Array::from(step.x));
        }
        if exact {
            set(&js, "estimate", &Float32Array::from(step.x0));
            set(&js, "alpha", &step.to.alpha.into());
            set(&js, "sigma", &step.to.sigma.into());
        }
        if first {
            // Only now that the device has taken the run: a run that it refuses draws nothing.
            let start = sampling.start();
            set(&js, "start", &pixels(&start));
            if exact {
                set(&js, "startLatents", &Float32Array::from(&start[..]));
            }
        }
        Ok(js.into())
    }
}
