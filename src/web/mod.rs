//! The surface that JavaScript sees; nothing else in the crate knows wasm-bindgen. `www/worker.js` is its only caller,
//! and `www/noiseball.js` what page authors call. Every failure is thrown as an `Error` with a `type`.

#[cfg(feature = "burn")]
pub mod memory;
mod options;
#[cfg(feature = "burn")]
pub mod train;

use std::cell::RefCell;
use std::sync::Once;

use js_sys::{Float32Array, Reflect, Uint8Array};
use serde::Serialize;
use wasm_bindgen::prelude::*;

use crate::checkpoint::folder::{self, WeightFiles};
use crate::checkpoint::json::parse_object;
use crate::checkpoint::labels::Labels;
use crate::checkpoint::weights::Weights;
use crate::checkpoint::{self, Checkpoint};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::model::{self, UNET_CONFIG};
use crate::picture::to_rgba;
use crate::sampling::Sampling;

type JsResult<T> = std::result::Result<T, JsValue>;

unsafe extern "C" {
    fn __wasm_call_ctors();
}

/// Runs when the module starts; further calls do nothing.
#[wasm_bindgen(start)]
pub fn start() {
    static ONCE: Once = Once::new();
    ONCE.call_once(initialise);
}

fn initialise() {
    // CubeCL registers static constructors. While nobody calls them, the linker makes every export re-run them all
    // on every call from JavaScript, which costs a hundredfold.
    // SAFETY: the linker provides this function, and module start-up is the one time that it is called.
    unsafe { __wasm_call_ctors() };
    console_error_panic_hook::set_once();
}

fn thrown(error: &Error) -> JsValue {
    let js = js_sys::Error::new(&error.to_string());
    // Setting a field of a fresh object cannot fail.
    let _ = Reflect::set(&js, &"type".into(), &error.kind().into());
    js.into()
}

fn serialize(value: &impl Serialize) -> JsResult<JsValue> {
    let serializer = serde_wasm_bindgen::Serializer::json_compatible();
    value.serialize(&serializer).map_err(JsValue::from)
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

/// A weights file that arrives in pieces.
#[wasm_bindgen]
pub struct WeightsReader(checkpoint::WeightsReader);

#[wasm_bindgen]
impl WeightsReader {
    /// `file` is the name for errors; `length` its size in bytes, where it is known before.
    #[wasm_bindgen(constructor)]
    #[must_use]
    pub fn new(file: String, length: Option<f64>) -> Self {
        let mut reader = checkpoint::WeightsReader::new(file);
        if let Some(length) = length.filter(|n| *n >= 0.0) {
            reader.expect_len(length as u64);
        }
        Self(reader)
    }

    /// The file's next bytes. Throws `checkpoint` as soon as they cannot become weights.
    ///
    /// # Errors
    /// Those of the reader.
    pub fn push(&mut self, bytes: &[u8]) -> JsResult<()> {
        self.0.push(bytes).map_err(|e| thrown(&e))
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ChosenFiles {
    unet_config: String,
    weights: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scheduler_config: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    model_index: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    labels: Option<String>,
}

/// Which of these paths are a checkpoint's files: `{unetConfig, weights: [], schedulerConfig?, modelIndex?, labels?}`.
///
/// # Errors
/// `checkpoint` where something needed is not among them, `unsupported-architecture` where it is in PyTorch's pickle
/// format.
#[wasm_bindgen]
pub fn choose_files(paths: Vec<String>) -> JsResult<JsValue> {
    let files = folder::choose(&paths, None).map_err(|e| thrown(&e))?;
    let weights = match files.weights {
        WeightFiles::Whole(name) => vec![name],
        WeightFiles::Sharded(index) => {
            let shards = WeightFiles::beside(&index, "diffusion_pytorch_model-");
            paths.iter().filter(|p| p.starts_with(&shards) && p.ends_with(".safetensors")).cloned().collect()
        }
    };
    serialize(&ChosenFiles {
        unet_config: files.unet_config,
        weights,
        scheduler_config: files.scheduler_config,
        model_index: files.model_index,
        labels: files.labels,
    })
}

/// The checkpoint of `{unetConfig, schedulerConfig?, modelIndex?, labels?}`, each the bytes of a JSON file, and weights.
fn read_checkpoint(files: &JsValue, readers: Vec<WeightsReader>) -> Result<Checkpoint> {
    let bytes = |name: &str| {
        let value = Reflect::get(files, &name.into()).ok()?;
        value.dyn_ref::<Uint8Array>().map(Uint8Array::to_vec)
    };
    let object = |file: &str, bytes: Vec<u8>| parse_object(file, &bytes);
    let config = bytes("unetConfig").ok_or_else(|| Error::MissingFile {
        wanted: UNET_CONFIG.to_owned(),
        found: "no such file".to_owned(),
    })?;
    let mut checkpoint = Checkpoint {
        unet_config: object(UNET_CONFIG, config)?,
        model_index: bytes("modelIndex").map(|b| object("model_index.json", b)).transpose()?,
        scheduler_config: bytes("schedulerConfig").map(|b| object("scheduler_config.json", b)).transpose()?,
        labels: bytes("labels").map(|b| Labels::parse("labels.json", &b)).transpose()?,
        weights: Weights::default(),
    };
    for reader in readers {
        let mut shard = reader.0.finish()?;
        let names: Vec<String> = shard.names().map(str::to_owned).collect();
        for name in names {
            if let Some(tensor) = shard.take(&name) {
                checkpoint.weights.insert(name, tensor);
            }
        }
    }
    Ok(checkpoint)
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
    /// Builds a model from `{unetConfig, schedulerConfig?, modelIndex?, labels?}`, each the bytes of a JSON file, and the
    /// weights, which it takes over. `device` is `"gpu"` or `"cpu"`.
    ///
    /// # Errors
    /// By what is wrong: `checkpoint`, `unsupported-architecture`, `no-adapter`, `limit`.
    pub async fn build(files: JsValue, weights: Vec<WeightsReader>, device: String) -> JsResult<Model> {
        Self::try_build(&files, weights, &device).await.map_err(|e| thrown(&e))
    }

    async fn try_build(files: &JsValue, readers: Vec<WeightsReader>, device: &str) -> Result<Self> {
        let checkpoint = read_checkpoint(files, readers)?;
        model::Model::load(checkpoint, &engine_device(device).await?).await.map(Self)
    }

    /// What the model is: see `ModelInfo` in `www/noiseball.d.ts`.
    ///
    /// # Errors
    /// None that can be met.
    pub fn info(&self) -> JsResult<JsValue> {
        serialize(self.0.info())
    }

    /// Whether the model's device was lost, so that nothing but building the model again helps.
    #[must_use]
    pub fn lost(&self) -> bool {
        self.0.check().is_err()
    }

    /// Starts a run: see `SampleOptions` in `www/noiseball.d.ts`.
    ///
    /// # Errors
    /// `invalid-option`, `busy`, `limit`.
    pub fn sample(&self, options: JsValue) -> JsResult<Run> {
        let options = options::read(options).map_err(|e| thrown(&e))?;
        self.0.sample(&options).map(Run).map_err(|e| thrown(&e))
    }
}

#[derive(Serialize)]
struct StepFacts {
    index: usize,
    total: usize,
    timestep: f64,
    noise: f64,
    batch: usize,
    width: usize,
    height: usize,
}

/// A run of a sampler.
#[wasm_bindgen]
pub struct Run(Sampling);

#[wasm_bindgen]
impl Run {
    /// The next step (`Step` in `www/noiseball.d.ts`), or undefined after the last.
    ///
    /// # Errors
    /// `checkpoint` where the network's output is not finite, `device-lost`.
    pub async fn next(&mut self) -> JsResult<JsValue> {
        let architecture = self.0.architecture().clone();
        let step = match self.0.step().await {
            Ok(Some(step)) => step,
            Ok(None) => return Ok(JsValue::UNDEFINED),
            Err(e) => return Err(thrown(&e)),
        };
        let [batch, _, height, width] = step.shape;
        let facts = StepFacts {
            index: step.index,
            total: step.total,
            timestep: step.timestep,
            noise: architecture.schedule.level(step.timestep as usize).noise_share(),
            batch,
            width,
            height,
        };
        let js = serialize(&facts)?;
        let pixels = |x: &[f32]| js_sys::Uint8ClampedArray::from(&to_rgba(x, step.shape)[..]);
        Reflect::set(&js, &"pictures".into(), &pixels(step.x))?;
        Reflect::set(&js, &"predicted".into(), &pixels(step.x0))?;
        if step.index + 1 == step.total {
            Reflect::set(&js, &"latents".into(), &Float32Array::from(step.x))?;
        }
        Ok(js)
    }
}
