//! The options of a run as JavaScript gives them: every number is a float there, and may be anything.

use js_sys::{Array, JsString, Object};
use wasm_bindgen::{JsCast, JsValue};

use crate::error::{Error, Result};
use crate::model::SampleOptions;
use crate::rng::MAX_SEED;
use crate::sampler::options::Value;
use crate::text;

/// Reads field by field, which takes fewer bytes than a deserialiser.
///
/// # Errors
/// [`Error::Option`] that names the option.
pub(super) fn read(value: JsValue) -> Result<SampleOptions> {
    let mut options = SampleOptions::default();
    let Some(object) = value.dyn_ref::<Object>() else {
        return if value.is_undefined() || value.is_null() {
            Ok(options)
        } else {
            Err(not("options", &value, "an object of the documented options"))
        };
    };
    for entry in Object::entries(object) {
        let entry: Array = entry.unchecked_into();
        let (key, value) = (entry.get(0).as_string().unwrap_or_default(), entry.get(1));
        if value.is_undefined() || value.is_null() {
            continue;
        }
        let count = |name| whole(name, number(name, &value)?, u64::from(u32::MAX)).map(|n| n as usize);
        match key.as_str() {
            "sampler" => options.sampler = Some(text("sampler", &value)?.parse()?),
            "rng" => options.rng = text("rng", &value)?.parse()?,
            "steps" => options.steps = Some(count("steps")?),
            "batch" => options.batch = count("batch")?,
            "every" => options.every = count("every")?,
            "seed" => options.seed = whole("seed", number("seed", &value)?, MAX_SEED)?,
            "labels" => {
                let each =
                    Array::from(&value).into_iter().map(|label| number("labels", &label).map(|n| n as f32));
                options.labels = Some(each.collect::<Result<_>>()?);
            }
            // The sampler's own, which it checks itself.
            name => options.settings.set(&snake_case(name), setting(&value)),
        }
    }
    Ok(options)
}

fn not(option: &'static str, found: &JsValue, expected: &str) -> Error {
    let found =
        found.as_string().unwrap_or_else(|| String::from(found.js_typeof().unchecked_into::<JsString>()));
    Error::Option { option, found, expected: expected.to_owned() }
}

fn number(option: &'static str, value: &JsValue) -> Result<f64> {
    value.as_f64().ok_or_else(|| not(option, value, "a number"))
}

fn text(option: &'static str, value: &JsValue) -> Result<String> {
    value.as_string().ok_or_else(|| not(option, value, "a name"))
}

fn setting(value: &JsValue) -> Value {
    match (value.as_f64(), value.as_bool()) {
        (Some(number), _) => number.into(),
        (_, Some(flag)) => flag.into(),
        _ if value.is_object() => {
            Array::from(value).iter().map(|n| n.as_f64().unwrap_or(f64::NAN)).collect::<Vec<_>>().into()
        }
        _ => value.as_string().unwrap_or_default().as_str().into(),
    }
}

/// `solverOrder` of JavaScript is `solver_order`.
fn snake_case(name: &str) -> String {
    let mut out = String::new();
    for c in name.chars() {
        if c.is_ascii_uppercase() {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}

pub(super) fn whole(option: &'static str, n: f64, max: u64) -> Result<u64> {
    if n.fract() == 0.0 && (0.0..=max as f64).contains(&n) {
        return Ok(n as u64);
    }
    Err(Error::Option { option, found: text::number(n), expected: format!("a whole number from 0 to {max}") })
}
