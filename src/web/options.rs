//! The options of a run as JavaScript gives them: every number is a float there, and may be anything.

use js_sys::{Object, Reflect};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use wasm_bindgen::{JsCast, JsValue};

use crate::error::{Error, Result};
use crate::model::SampleOptions;
use crate::rng::MAX_SEED;
use crate::sampler::{Settings, options};

#[derive(Deserialize, Default)]
#[serde(default)]
struct Options {
    sampler: Option<String>,
    steps: Option<f64>,
    seed: f64,
    rng: Option<String>,
    batch: Option<f64>,
    labels: Option<Vec<f64>>,
}

/// Those that every sampler has.
const COMMON: [&str; 6] = ["sampler", "steps", "seed", "rng", "batch", "labels"];

/// # Errors
/// [`Error::Option`] that names the option.
pub(super) fn read(value: JsValue) -> Result<SampleOptions> {
    let names: Vec<String> = options::ALL.iter().map(|row| camel_case(row.name)).collect();
    let known: Vec<&str> = COMMON.into_iter().chain(names.iter().map(String::as_str)).collect();
    refuse_unknown(&value, &known)?;
    let mut settings = Settings::default();
    for (row, name) in options::ALL.iter().zip(&names) {
        let given = Reflect::get(&value, &name.into()).unwrap_or_default();
        let found = match (given.as_f64(), given.as_bool(), given.as_string()) {
            _ if given.is_undefined() => continue,
            (Some(number), ..) => number.into(),
            (_, Some(flag), _) => flag.into(),
            (.., text) => text.unwrap_or_default().as_str().into(),
        };
        settings.set(row.name, found);
    }
    let options: Options =
        if value.is_undefined() || value.is_null() { Options::default() } else { parse(value)? };
    Ok(SampleOptions {
        sampler: options.sampler.map(|name| name.parse()).transpose()?,
        steps: options.steps.map(|n| whole("steps", n, u64::from(u32::MAX))).transpose()?.map(|n| n as usize),
        seed: whole("seed", options.seed, MAX_SEED)?,
        rng: options.rng.map(|name| name.parse()).transpose()?.unwrap_or_default(),
        batch: whole("batch", options.batch.unwrap_or(1.0), u64::from(u32::MAX))? as usize,
        settings,
        labels: options.labels.map(|labels| labels.into_iter().map(|l| l as f32).collect()),
    })
}

/// `solver_order` is `solverOrder` in JavaScript.
fn camel_case(name: &str) -> String {
    let mut upper = false;
    let mut out = String::new();
    for c in name.chars() {
        if c != '_' {
            out.push(if upper { c.to_ascii_uppercase() } else { c });
        }
        upper = c == '_';
    }
    out
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
