//! `labels.json`: the names of a class-conditional network's classes, which diffusers' configs have no place for.

use super::json::{Fields, parse_object};
use crate::error::{Error, Result};
use crate::network::Network;
use crate::network::architecture::ClassEmbedding;

/// The classes of a class-conditional network: `{"labels": ["cat", "dog", "any"], "null_label": 2}`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels {
    /// The classes' names, by label.
    pub names: Vec<String>,
    /// The label that stands for no class in particular, where the network was trained with one.
    pub null_label: Option<usize>,
}

impl Labels {
    /// Reads a `labels.json`; `file` names it in errors. Both fields may be absent.
    ///
    /// # Errors
    /// [`Error::Json`] where it is not a JSON object, [`Error::Config`]
    /// where a field has another type.
    pub fn parse(file: &str, bytes: &[u8]) -> Result<Self> {
        let object = parse_object(file, bytes)?;
        let fields = Fields::new(file, &object);
        Ok(Self {
            names: fields.strings("labels", &[])?,
            null_label: fields.optional_usize("null_label", None)?,
        })
    }

    /// Whether the network has these classes. One that has none, or takes any number for a class, says nothing about them.
    ///
    /// # Errors
    /// [`Error::Config`] for more names than classes, or a null label that is no class.
    pub fn check(&self, file: &str, network: &dyn Network) -> Result<()> {
        let ClassEmbedding::Table(classes) = network.classes() else { return Ok(()) };
        let error = |field: &str, found: String, expected: String| {
            Err(Error::Config { file: file.to_owned(), field: field.to_owned(), found, expected })
        };
        if self.names.len() > classes {
            let expected = format!("at most {classes} names, one for each class of the network");
            return error("labels", format!("{} names", self.names.len()), expected);
        }
        match self.null_label {
            Some(label) if label >= classes => error(
                "null_label",
                label.to_string(),
                format!("null or from 0 to {}, as the network has {classes} classes", classes - 1),
            ),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absent_and_null_are_no_label() {
        let both = Labels::parse("labels.json", br#"{"labels": ["cat", "any"], "null_label": 1}"#).unwrap();
        assert_eq!(both, Labels { names: vec!["cat".to_owned(), "any".to_owned()], null_label: Some(1) });
        assert_eq!(Labels::parse("labels.json", b"{}").unwrap(), Labels::default());
        assert_eq!(Labels::parse("labels.json", br#"{"null_label": null}"#).unwrap(), Labels::default());
    }

    #[test]
    fn wrong_types_are_named() {
        for (text, field) in [
            (r#"{"labels": "cat"}"#, "`labels`"),
            (r#"{"labels": ["cat", 1]}"#, "`labels`"),
            (r#"{"labels": null}"#, "`labels`"),
            (r#"{"labels": [], "null_label": -1}"#, "`null_label`"),
            (r#"{"labels": [], "null_label": 1.5}"#, "`null_label`"),
            (r#"["cat"]"#, "labels.json"),
        ] {
            let e = Labels::parse("labels.json", text.as_bytes()).unwrap_err();
            assert!(e.to_string().contains(field), "{text}: {e}");
        }
    }
}
