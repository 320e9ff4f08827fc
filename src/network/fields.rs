//! Rules that the configs of several networks share.

use serde_json::{Map, Value};

use super::ops::Activation;
use crate::checkpoint::json::Fields;
use crate::error::{Error, Result};
use crate::text::number;

/// Channels, units, heads and tokens of any network.
pub(super) const MAX_CHANNELS: usize = 1 << 14;

/// Whether `_class_name` is one of these or absent. Files that Flax wrote have its name before the class's.
pub(super) fn check_class(object: &Map<String, Value>, classes: &[&str]) -> Result<()> {
    let Some(name) = object.get("_class_name").and_then(Value::as_str) else { return Ok(()) };
    if classes.contains(&name.strip_prefix("Flax").unwrap_or(name)) {
        return Ok(());
    }
    Err(Error::Unsupported { what: name.to_owned(), why: format!("expected {}", classes.join(" or ")) })
}

/// Reads a whole number of a range.
pub(super) fn within(f: &Fields, field: &str, default: usize, min: usize, max: usize) -> Result<usize> {
    check_within(f, field, f.usize(field, default)?, min, max)
}

/// The value, if it is in the range.
pub(super) fn check_within(f: &Fields, field: &str, value: usize, min: usize, max: usize) -> Result<usize> {
    if (min..=max).contains(&value) {
        Ok(value)
    } else {
        Err(f.error(field, value, format!("{min} to {max}")))
    }
}

/// Widths of levels, finest first.
pub(super) fn channels(f: &Fields, field: &str, default: &[usize]) -> Result<Vec<usize>> {
    let channels = f.usizes(field, default)?;
    if !(1..=12).contains(&channels.len()) || channels.iter().any(|c| !(1..=MAX_CHANNELS).contains(c)) {
        let expected = format!("1 to 12 numbers from 1 to {MAX_CHANNELS}");
        return Err(f.error(field, format!("{channels:?}"), expected));
    }
    Ok(channels)
}

/// What is added to a variance.
pub(super) fn epsilon(f: &Fields, field: &str, default: f64) -> Result<f64> {
    let eps = f.f64(field, default)?;
    if (0.0..=f64::from(f32::MAX)).contains(&eps) {
        Ok(eps)
    } else {
        Err(f.error(field, number(eps), "0 or more, and a number in f32"))
    }
}

/// A divisor that f32 can divide by.
pub(super) fn divisor(f: &Fields, field: &str, default: f64) -> Result<f64> {
    let value = f.f64(field, default)?;
    if ((1.0 / value) as f32).is_normal() {
        Ok(value)
    } else {
        Err(f.error(field, number(value), "other than 0, and such that it can be divided by in f32"))
    }
}

/// Whether the groups of a normalisation divide a width.
pub(super) fn check_groups(f: &Fields, field: &str, groups: usize, channels: usize) -> Result<()> {
    if groups > 0 && channels.is_multiple_of(groups) {
        Ok(())
    } else {
        let expected = format!("a divisor of every normalised width, here {channels} channels");
        Err(f.error(field, groups, expected))
    }
}

/// diffusers' nonlinearities by their names.
pub(super) fn activation(f: &Fields, field: &str, default: &str) -> Result<Activation> {
    named(f, field, &f.string(field, default)?)
}

/// A nonlinearity or none.
pub(super) fn optional_activation(f: &Fields, field: &str) -> Result<Option<Activation>> {
    f.optional_string(field, None)?.map(|name| named(f, field, &name)).transpose()
}

fn named(f: &Fields, field: &str, name: &str) -> Result<Activation> {
    match name.to_ascii_lowercase().as_str() {
        "silu" | "swish" => Ok(Activation::Silu),
        "mish" => Ok(Activation::Mish),
        "gelu" => Ok(Activation::Gelu),
        "relu" => Ok(Activation::Relu),
        _ => Err(f.error(field, name, "one of silu, swish, mish, gelu, relu")),
    }
}

/// Refuses a field that is neither absent nor null, nor says what Python takes where it is absent.
pub(super) fn only(f: &Fields, field: &str, default: &Value, why: &str) -> Result<()> {
    let same = |value: &Value| match (value.as_f64(), default.as_f64()) {
        (Some(a), Some(b)) => a == b,
        _ => value == default,
    };
    match f.get(field) {
        None | Some(Value::Null) => Ok(()),
        Some(value) if same(value) => Ok(()),
        Some(value) => {
            let found = crate::checkpoint::json::shorten(value);
            Err(Error::Unsupported { what: format!("{field} {found}"), why: why.to_owned() })
        }
    }
}

/// Marks fields as known that change nothing here.
pub(super) fn ignore(f: &Fields, fields: &[&str]) {
    for field in fields {
        f.get(field);
    }
}

/// One value for all levels, or a list of one for each.
pub(super) fn per_level<T: Clone>(
    f: &Fields,
    field: &str,
    default: T,
    levels: usize,
    expected: &str,
    read: impl Fn(&Value) -> Option<T>,
) -> Result<Vec<T>> {
    let values = match f.get(field) {
        None => Some(vec![default; levels]),
        Some(Value::Array(list)) => list.iter().map(read).collect(),
        Some(value) => read(value).map(|value| vec![value; levels]),
    };
    values.filter(|values| values.len() == levels).ok_or_else(|| {
        let found = f.get(field).map(crate::checkpoint::json::shorten).unwrap_or_default();
        f.error(field, found, format!("{expected}, or a list of {levels} such, one for each level"))
    })
}

/// A whole number of at most so much.
pub(super) fn up_to(most: usize) -> impl Fn(&Value) -> Option<usize> {
    move |value| usize::try_from(value.as_u64()?).ok().filter(|n| *n <= most)
}

/// Blocks of a list by their types, each with attention or without.
pub(super) fn blocks(
    f: &Fields,
    field: &str,
    default: &[&str],
    levels: usize,
    [plain, attention]: [&str; 2],
) -> Result<Vec<bool>> {
    let names = f.strings(field, default)?;
    if names.len() != levels {
        let expected = format!("as long as block_out_channels, {levels}");
        return Err(f.error(field, format!("{} blocks", names.len()), expected));
    }
    let known = |name: &String| match name.as_str() {
        _ if name == plain => Ok(false),
        _ if name == attention => Ok(true),
        _ => Err(Error::Unsupported { what: name.clone(), why: format!("known here: {plain}, {attention}") }),
    };
    names.iter().map(known).collect()
}

/// Height and width that a network was trained at; one number stands for both.
pub(super) fn sample_size(f: &Fields, default: Option<usize>) -> Result<Option<[usize; 2]>> {
    let size = match f.get("sample_size") {
        None => return Ok(default.map(|n| [n; 2])),
        Some(Value::Null) => return Ok(None),
        Some(Value::Array(_)) => f.usizes("sample_size", &[])?,
        Some(_) => vec![f.usize("sample_size", 0)?; 2],
    };
    match size[..] {
        [h, w] if [h, w].iter().all(|n| (1..=1 << 14).contains(n)) => Ok(Some([h, w])),
        _ => Err(f.error("sample_size", format!("{size:?}"), "one or two numbers from 1 to 16384")),
    }
}
