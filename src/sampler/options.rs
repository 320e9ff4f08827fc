//! What a caller may choose for a run. Every option is one row here; a sampler lists the rows that it has a use for.

use crate::error::{Error, Result};

/// What values an option takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// True or false.
    Flag,
    /// A whole number in this range, both ends included.
    Whole(f64, f64),
    /// A number in this range, both ends included.
    Real(f64, f64),
    /// One of these names.
    Choice(&'static [&'static str]),
}

/// One option: its name everywhere (`eta`; in JavaScript `useClippedModelOutput` for `use_clipped_model_output`, on a terminal
/// `--use-clipped-model-output`), its values, its default, and what it does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OptionSpec {
    /// Its name, which is also its key in a `scheduler_config.json` where diffusers has one.
    pub name: &'static str,
    /// What values it takes.
    pub kind: Kind,
    /// The default, where neither the caller nor the checkpoint says: a number, 0 or 1 for a flag, the position of a name.
    pub default: f64,
    /// What it does, in a sentence. Empty in a page's module, whose twin in JavaScript has it.
    pub doc: &'static str,
    /// Whether a `scheduler_config.json` may set it.
    pub configured: bool,
}

impl OptionSpec {
    const fn new(name: &'static str, kind: Kind, default: f64, doc: &'static str) -> Self {
        Self { name, kind, default, doc: native(doc), configured: true }
    }

    /// What is set for each run and stands in no file.
    const fn of_a_run(self) -> Self {
        Self { configured: false, ..self }
    }

    /// The number that stands for a value; `None` where the option cannot have it.
    pub(crate) fn number(&self, value: &Value) -> Option<f64> {
        let number = match (&self.kind, value) {
            (_, Value::Number(number)) => *number,
            (Kind::Choice(names), Value::Text(text)) => names.iter().position(|name| name == text)? as f64,
            (_, Value::Text(text)) if text == "true" => 1.0,
            (_, Value::Text(text)) if text == "false" => 0.0,
            (_, Value::Text(text)) => text.parse().ok()?,
        };
        let whole = number.fract() == 0.0;
        let fits = match (self.kind, value) {
            (Kind::Flag, _) => number == 0.0 || number == 1.0,
            (Kind::Whole(least, most), _) => whole && (least..=most).contains(&number),
            (Kind::Real(least, most), _) => (least..=most).contains(&number),
            (Kind::Choice(_), value) => matches!(value, Value::Text(_)),
        };
        fits.then_some(number)
    }

    /// What its values are, for errors and help.
    #[must_use]
    pub fn expected(&self) -> String {
        match self.kind {
            Kind::Flag => "true or false".to_owned(),
            Kind::Whole(least, most) => format!("a whole number from {least} to {most}"),
            Kind::Real(least, most) => format!("from {least} to {most}"),
            Kind::Choice(names) => names.join(" or "),
        }
    }

    /// The default as a caller writes it.
    #[must_use]
    pub fn default_text(&self) -> String {
        match self.kind {
            Kind::Flag => (self.default != 0.0).to_string(),
            Kind::Choice(names) => names[self.default as usize].to_owned(),
            _ => self.default.to_string(),
        }
    }
}

/// Sentences for readers, which a page's module need not carry.
pub(super) const fn native(text: &'static str) -> &'static str {
    if cfg!(target_arch = "wasm32") { "" } else { text }
}

/// A value as a caller or a file gives it.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A number, or 0 for false and 1 for true.
    Number(f64),
    /// A name; also `true`, `false` or a number in words, as on a terminal.
    Text(String),
}

impl Value {
    fn text(&self) -> String {
        match self {
            Self::Number(number) => number.to_string(),
            Self::Text(text) => text.clone(),
        }
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Self::Number(number)
    }
}

impl From<bool> for Value {
    fn from(flag: bool) -> Self {
        Self::Number(f64::from(flag))
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

/// Options by name, as a caller sets them: `Settings::default().with("eta", 0.5)`. They are checked when a sampler takes
/// them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settings(Vec<(String, Value)>);

impl Settings {
    /// These and one more; the last of a name counts.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.set(name, value.into());
        self
    }

    /// Sets one.
    pub fn set(&mut self, name: &str, value: Value) {
        self.0.retain(|(other, _)| other != name);
        self.0.push((name.to_owned(), value));
    }

    /// Names and values as text, in the order that they were set in.
    pub fn iter(&self) -> impl Iterator<Item = (&str, String)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.text()))
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Value> {
        self.0.iter().find(|(other, _)| other == name).map(|(_, value)| value)
    }

    /// The value of each of a sampler's options: the caller's, else the file's where it suits, else the default.
    ///
    /// # Errors
    /// [`Error::Option`] for one that the sampler has no use for, or that cannot be so.
    pub(super) fn resolve(
        &self,
        sampler: &str,
        rows: &'static [OptionSpec],
        file: &Settings,
    ) -> Result<Vec<f64>> {
        for (name, _) in &self.0 {
            if rows.iter().all(|row| row.name != name) {
                let names: Vec<&str> = rows.iter().map(|row| row.name).collect();
                return Err(Error::Option {
                    option: "options",
                    found: name.clone(),
                    expected: format!("one that {sampler} has: {}", names.join(", ")),
                });
            }
        }
        let value = |row: &OptionSpec| match (self.get(row.name), file.get(row.name)) {
            (Some(value), _) => row.number(value).ok_or_else(|| Error::Option {
                option: row.name,
                found: value.text(),
                expected: row.expected(),
            }),
            (None, Some(value)) => Ok(row.number(value).unwrap_or(row.default)),
            (None, None) => Ok(row.default),
        };
        rows.iter().map(value).collect()
    }
}

/// What a caller may choose for a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// The number of steps, from 1 to the number of training timesteps.
    pub steps: usize,
    /// What else is chosen, by name: see [`SamplerKind::entry`](super::SamplerKind::entry) for what a sampler has.
    pub settings: Settings,
}

impl Options {
    /// So many steps, and the defaults.
    #[must_use]
    pub fn steps(steps: usize) -> Self {
        Self { steps, settings: Settings::default() }
    }

    /// The same with an option set.
    #[must_use]
    pub fn with(self, name: &str, value: impl Into<Value>) -> Self {
        Self { settings: self.settings.with(name, value), ..self }
    }
}

pub(crate) const ETA: OptionSpec = OptionSpec::new(
    "eta",
    Kind::Real(0.0, 1.0),
    0.0,
    "Fresh noise in each step: 0 adds none, 1 as much as DDPM",
)
.of_a_run();
pub(crate) const USE_CLIPPED: OptionSpec = OptionSpec::new(
    "use_clipped_model_output",
    Kind::Flag,
    0.0,
    "Derive the predicted noise from the clipped prediction",
)
.of_a_run();
pub(crate) const SPACING: OptionSpec = OptionSpec::new(
    "timestep_spacing",
    Kind::Choice(&["leading", "linspace", "trailing"]),
    0.0,
    "How the steps are spread over the training's timesteps",
);
pub(crate) const ALPHA_TO_ONE: OptionSpec = OptionSpec::new(
    "set_alpha_to_one",
    Kind::Flag,
    1.0,
    "End at the clean image, not at the level of timestep 0",
);

/// Every option that there is, with all the values that a file may give.
pub const ALL: &[OptionSpec] = &[ETA, USE_CLIPPED, SPACING, ALPHA_TO_ONE];
