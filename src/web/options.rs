//! The options of a run as JavaScript gives them: every number is a float there, and may be anything.

use js_sys::Object;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use wasm_bindgen::{JsCast, JsValue};

use crate::error::{Error, Result};
use crate::model::SampleOptions;
use crate::rng::MAX_SEED;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Options {
    sampler: Option<String>,
    steps: Option<f64>,
    seed: f64,
    rng: Option<String>,
    batch: f64,
    eta: f64,
    use_clipped_model_output: bool,
    labels: Option<Vec<f64>>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            sampler: None,
            steps: None,
            seed: 0.0,
            rng: None,
            batch: 1.0,
            eta: 0.0,
            use_clipped_model_output: false,
            labels: None,
        }
    }
}

/// # Errors
/// [`Error::Option`] that names the option.
pub(super) fn read(value: JsValue) -> Result<SampleOptions> {
    refuse_unknown(
        &value,
        &["sampler", "steps", "seed", "rng", "batch", "eta", "useClippedModelOutput", "labels"],
    )?;
    let options: Options =
        if value.is_undefined() || value.is_null() { Options::default() } else { parse(value)? };
    Ok(SampleOptions {
        sampler: options.sampler.map(|name| name.parse()).transpose()?,
        steps: options.steps.map(|n| whole("steps", n, u64::from(u32::MAX))).transpose()?.map(|n| n as usize),
        seed: whole("seed", options.seed, MAX_SEED)?,
        rng: options.rng.map(|name| name.parse()).transpose()?.unwrap_or_default(),
        batch: whole("batch", options.batch, u64::from(u32::MAX))? as usize,
        eta: options.eta,
        use_clipped_model_output: options.use_clipped_model_output,
        labels: options.labels.map(|labels| labels.into_iter().map(|l| l as f32).collect()),
    })
}

pub(super) fn parse<T: DeserializeOwned>(value: JsValue) -> Result<T> {
    serde_wasm_bindgen::from_value(value).map_err(|e| Error::Option {
        option: "options",
        found: e.to_string(),
        expected: "an object of the documented options".to_owned(),
    })
}

/// A misspelt option would otherwise be left at its default in silence: objects are read by the names expected.
pub(super) fn refuse_unknown(value: &JsValue, known: &[&str]) -> Result<()> {
    let Some(object) = value.dyn_ref::<Object>() else { return Ok(()) };
    let mut keys = Object::keys(object).into_iter().filter_map(|key| key.as_string());
    match keys.find(|key| !known.contains(&key.as_str())) {
        None => Ok(()),
        Some(found) => Err(Error::Option { option: "options", found, expected: known.join(", ") }),
    }
}

pub(super) fn whole(option: &'static str, n: f64, max: u64) -> Result<u64> {
    if n.fract() == 0.0 && (0.0..=max as f64).contains(&n) {
        return Ok(n as u64);
    }
    Err(Error::Option { option, found: n.to_string(), expected: format!("a whole number from 0 to {max}") })
}
