//! diffusers' JSON: what Python's `json` writes, read field by field with errors that name the field.

use std::cell::RefCell;

use serde_json::{Map, Value};

use super::json_text::{Text, parse};
use super::weights_file::foreign;
use crate::error::{Error, Result};
use crate::text::shown;

/// Parses a JSON object as Python writes it: `-Infinity`, `Infinity` and `NaN` outside strings become the strings
/// `"-Infinity"`, `"Infinity"` and `"NaN"`, which JSON itself has no numbers for.
///
/// # Errors
/// [`Error::Json`] where the text does not parse or is not an object.
pub fn parse_object(file: &str, bytes: &[u8]) -> Result<Map<String, Value>> {
    let json = |problem: String| Error::Json { file: file.to_owned(), problem };
    // Some editors begin a file with it.
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    if let Err(e) = std::str::from_utf8(bytes) {
        return Err(json(format!("it is not UTF-8 text ({e}). Save it as UTF-8")));
    }
    match parse(bytes) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(other) => Err(json(format!("expected an object, found {}", shorten(&other)))),
        Err(e) => Err(json(foreign(bytes.trim_ascii_start()).map_or(e, str::to_owned))),
    }
}

/// The fields of one configuration file, read by name and type. Remembers which were asked for, so that the rest can
/// be reported. Keys listed in diffusers' `_use_default_values` count as absent.
pub struct Fields<'a> {
    file: &'a str,
    object: &'a Map<String, Value>,
    // Keys of maps that there are anyway: each other kind of set takes two kilobytes of a page.
    asked: RefCell<Map<String, Value>>,
    defaulted: Map<String, Value>,
}

impl<'a> Fields<'a> {
    /// Reads from an object that [`parse_object`] returned; `file` names it in errors.
    #[must_use]
    pub fn new(file: &'a str, object: &'a Map<String, Value>) -> Self {
        let mut defaulted = Map::new();
        if let Some(Value::Array(keys)) = object.get("_use_default_values") {
            defaulted.extend(keys.iter().filter_map(|k| Some((k.as_str()?.to_owned(), Value::Null))));
        }
        Self { file, object, asked: RefCell::default(), defaulted }
    }

    /// The raw value; `None` where the key is absent (a present `null` is `Some(Value::Null)`).
    pub fn get(&self, field: &str) -> Option<&'a Value> {
        self.asked.borrow_mut().insert(field.to_owned(), Value::Null);
        if self.defaulted.contains_key(field) { None } else { self.object.get(field) }
    }

    /// An [`Error::Config`] about this field.
    pub fn error(&self, field: &str, found: impl ToString, expected: impl ToString) -> Error {
        Error::Config {
            file: self.file.to_owned(),
            field: field.to_owned(),
            found: found.to_string(),
            expected: expected.to_string(),
        }
    }

    fn typed<T>(
        &self,
        field: &str,
        default: T,
        expected: &str,
        read: impl Fn(&Value) -> Option<T>,
    ) -> Result<T> {
        match self.get(field) {
            None => Ok(default),
            Some(value) => read(value).ok_or_else(|| self.error(field, shorten(value), expected)),
        }
    }

    /// A whole number of at most 2^31, so that no product of two overflows.
    ///
    /// # Errors
    /// [`Error::Config`] on any other value; so for every reader below.
    pub fn usize(&self, field: &str, default: usize) -> Result<usize> {
        self.typed(field, default, "a whole number, 0 or more", whole)
    }

    /// A whole number or null.
    pub fn optional_usize(&self, field: &str, default: Option<usize>) -> Result<Option<usize>> {
        self.typed(field, default, "a whole number, 0 or more, or null", |v| {
            if v.is_null() { Some(None) } else { whole(v).map(Some) }
        })
    }

    /// A list of whole numbers.
    pub fn usizes(&self, field: &str, default: &[usize]) -> Result<Vec<usize>> {
        self.typed(field, default.to_vec(), "a list of whole numbers", |v| {
            v.as_array()?.iter().map(whole).collect()
        })
    }

    /// A finite number.
    pub fn f64(&self, field: &str, default: f64) -> Result<f64> {
        self.typed(field, default, "a finite number", Value::as_f64)
    }

    /// A number that may be infinite.
    pub fn f64_or_infinite(&self, field: &str, default: f64) -> Result<f64> {
        self.typed(field, default, "a number", |v| match v.as_str() {
            Some("Infinity") => Some(f64::INFINITY),
            Some("-Infinity") => Some(f64::NEG_INFINITY),
            _ => v.as_f64(),
        })
    }

    /// A list of finite numbers, or null.
    pub fn optional_f64s(&self, field: &str) -> Result<Option<Vec<f64>>> {
        self.typed(field, None, "a list of numbers or null", |v| {
            if v.is_null() {
                Some(None)
            } else {
                Some(Some(v.as_array()?.iter().map(Value::as_f64).collect::<Option<_>>()?))
            }
        })
    }

    /// True or false. As in Python, null and 0 are false, and another number is true.
    pub fn bool(&self, field: &str, default: bool) -> Result<bool> {
        self.typed(field, default, "true or false", |v| match v {
            Value::Null => Some(false),
            Value::Bool(truth) => Some(*truth),
            Value::Number(n) => Some(n.as_f64() != Some(0.0)),
            _ => None,
        })
    }

    /// A string.
    pub fn string(&self, field: &str, default: &str) -> Result<String> {
        self.typed(field, default.to_owned(), "a string", |v| v.as_str().map(str::to_owned))
    }

    /// A string or null.
    pub fn optional_string(&self, field: &str, default: Option<&str>) -> Result<Option<String>> {
        self.typed(field, default.map(str::to_owned), "a string or null", |v| {
            if v.is_null() { Some(None) } else { v.as_str().map(|s| Some(s.to_owned())) }
        })
    }

    /// A list of strings.
    pub fn strings(&self, field: &str, default: &[&str]) -> Result<Vec<String>> {
        self.typed(field, default.iter().map(|s| (*s).to_owned()).collect(), "a list of strings", |v| {
            v.as_array()?.iter().map(|s| s.as_str().map(str::to_owned)).collect()
        })
    }

    /// One of a field's named values, e.g. `"linear"` → `BetaSchedule::Linear`.
    pub fn choice<T: Copy>(&self, field: &str, default: T, choices: &[(&str, T)]) -> Result<T> {
        let names: Vec<_> = choices.iter().map(|(name, _)| *name).collect();
        Ok(self.one_of(field, &names)?.map_or(default, |at| choices[at].1))
    }

    fn one_of(&self, field: &str, names: &[&str]) -> Result<Option<usize>> {
        self.typed(field, None, &format!("one of {}", names.join(", ")), |v| {
            let name = v.as_str()?;
            names.iter().position(|n| *n == name).map(Some)
        })
    }

    /// Keys that nobody asked for and that are not private (`_…`): read by nothing here.
    #[must_use]
    pub fn unknown(&self) -> Vec<String> {
        let asked = self.asked.borrow();
        self.object.keys().filter(|k| !k.starts_with('_') && !asked.contains_key(*k)).cloned().collect()
    }
}

fn whole(value: &Value) -> Option<usize> {
    let n = value.as_u64()?;
    (n <= 1 << 31).then_some(n as usize)
}

/// A value as it stands in the file, cut to a length that leaves room for what it should be.
pub(crate) fn shorten(value: &Value) -> String {
    shown(Text(value), 60).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn python_writes_numbers_that_json_lacks() {
        let o =
            parse_object("s.json", br#"{"a": -Infinity, "b": NaN, "c": "say \"NaN\" -Infinity", "d": 1}"#)
                .unwrap();
        assert_eq!(o["a"], "-Infinity");
        assert_eq!(o["b"], "NaN");
        assert_eq!(o["c"], "say \"NaN\" -Infinity");
        assert_eq!(o["d"], 1);
    }

    #[test]
    fn what_is_not_an_object_is_refused() {
        for bytes in [&b"[1]"[..], b"", b"{", b"\xff\xfe", b"3", b"{\"a\": \"\\"] {
            assert_eq!(parse_object("s.json", bytes).unwrap_err().kind(), "checkpoint");
        }
    }

    #[test]
    fn what_editors_and_browsers_save_is_read_or_named() {
        assert_eq!(parse_object("c.json", b"\xEF\xBB\xBF{\"a\": 1}").unwrap()["a"], 1);
        for (bytes, says) in [
            (&b"\xFF\xFE{\0}\0"[..], "Save it as UTF-8"),
            (b"\xFE\xFF\0{\0}", "Save it as UTF-8"),
            (b"\n<!DOCTYPE html><html>", "HTML"),
            (b"version https://git-lfs", "git-lfs"),
        ] {
            let told = parse_object("c.json", bytes).unwrap_err().to_string();
            assert!(told.contains(says), "{told}");
        }
    }

    #[test]
    fn absent_null_and_wrong_differ() {
        let o = parse_object(
            "c.json",
            br#"{"n": null, "s": "x", "_p": 1, "u": 2, "d": 5, "_use_default_values": ["d"]}"#,
        )
        .unwrap();
        let f = Fields::new("c.json", &o);
        assert_eq!(f.optional_usize("n", Some(8)).unwrap(), None);
        assert_eq!(f.optional_usize("absent", Some(8)).unwrap(), Some(8));
        assert_eq!(f.usize("d", 3).unwrap(), 3);
        let e = f.usize("s", 1).unwrap_err().to_string();
        assert!(e.contains("c.json") && e.contains("`s`") && e.contains("\"x\""), "{e}");
        assert_eq!(f.unknown(), ["u"]);
    }
}
