//! What a caller may choose for a run. Every option is one row here; a sampler lists the rows that it has a use for.

use crate::error::{Error, Result};
use crate::text::number;

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
    /// Numbers from 0 on that fall from each to the next; whether they are whole ones.
    List(bool),
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

    /// The same for a sampler with another default.
    pub(super) const fn or(self, default: f64) -> Self {
        Self { default, ..self }
    }

    /// The same for a sampler that knows other names, or not all.
    pub(super) const fn among(self, names: &'static [&'static str]) -> Self {
        Self { kind: Kind::Choice(names), ..self }
    }

    /// What is set for each run and stands in no file.
    const fn of_a_run(self) -> Self {
        Self { configured: false, ..self }
    }

    /// The names of a choice.
    pub(super) fn names(&self) -> &'static [&'static str] {
        if let Kind::Choice(names) = self.kind { names } else { &[] }
    }

    /// The number that stands for a value; `None` where the option cannot have it.
    pub(crate) fn number(&self, value: &Value) -> Option<f64> {
        let (least, most, whole) = match self.kind {
            Kind::Flag => (0.0, 1.0, true),
            Kind::Whole(least, most) => (least, most, true),
            Kind::Real(least, most) => (least, most, false),
            Kind::Choice(_) | Kind::List(_) => (0.0, -1.0, true),
        };
        match value {
            Value::Text(text) => self.names().iter().position(|name| name == text).map(|i| i as f64),
            Value::Number(n) => ((least..=most).contains(n) && !(whole && n.fract() != 0.0)).then_some(*n),
            Value::List(list) => {
                let Kind::List(whole) = self.kind else { return None };
                // A level without noise is none to begin with.
                let mut before = MOST_OF_LIST;
                let mut falls = whole || list.first().is_some_and(|n| *n > 0.0);
                for n in list {
                    falls &= (0.0..before).contains(n) && !(whole && n.fract() != 0.0);
                    before = *n;
                }
                (falls && !list.is_empty()).then_some(list.len() as f64)
            }
        }
    }

    /// What its values are, for errors and help.
    #[must_use]
    pub fn expected(&self) -> String {
        match self.kind {
            Kind::Flag => "true or false".to_owned(),
            Kind::Whole(least, most) => format!("a whole number from {} to {}", number(least), number(most)),
            Kind::Real(least, most) => format!("from {} to {}", number(least), number(most)),
            Kind::Choice(names) => names.join(" or "),
            Kind::List(whole) => {
                format!("a list of {}numbers, each below the one before", if whole { "whole " } else { "" })
            }
        }
    }

    /// The default as a caller writes it.
    #[must_use]
    pub fn default_text(&self) -> String {
        match self.kind {
            Kind::Flag => (self.default != 0.0).to_string(),
            Kind::Choice(names) => names[self.default as usize].to_owned(),
            Kind::List(_) => "none".to_owned(),
            _ => number(self.default),
        }
    }
}

/// Sentences for readers, which a page's module need not carry.
pub(super) const fn native(text: &'static str) -> &'static str {
    if cfg!(target_arch = "wasm32") { "" } else { text }
}

/// What the numbers of a list are below.
const MOST_OF_LIST: f64 = 1e6;

/// A value as a caller or a file gives it.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A number, or 0 for false and 1 for true.
    Number(f64),
    /// A name.
    Text(String),
    /// Numbers.
    List(Vec<f64>),
}

impl Value {
    fn text(&self) -> String {
        match self {
            Self::Number(value) => number(*value),
            Self::Text(text) => text.clone(),
            Self::List(list) => list.iter().map(|n| number(*n)).collect::<Vec<_>>().join(","),
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

impl From<Vec<f64>> for Value {
    fn from(list: Vec<f64>) -> Self {
        Self::List(list)
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

    /// A number that was set.
    #[cfg(feature = "text")]
    pub(crate) fn number(&self, name: &str) -> Option<f64> {
        if let Some(Value::Number(number)) = self.get(name) { Some(*number) } else { None }
    }

    pub(super) fn list(&self, name: &str) -> Option<&[f64]> {
        if let Some(Value::List(list)) = self.get(name) { Some(list) } else { None }
    }

    /// The number of steps of a run whose timesteps or levels are listed. A last level of 0 is where the last step ends.
    pub(crate) fn steps_listed(&self) -> Option<usize> {
        if let Some(timesteps) = self.list(TIMESTEPS.name) {
            return Some(timesteps.len());
        }
        let sigmas = self.list(SIGMAS.name)?;
        Some(sigmas.len() - usize::from(sigmas.last() == Some(&0.0)))
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
pub(crate) const TIMESTEPS: OptionSpec = OptionSpec::new(
    "timesteps",
    Kind::List(true),
    0.0,
    "The timesteps of the run, in place of a number of steps",
)
.of_a_run();
pub(crate) const SIGMAS: OptionSpec = OptionSpec::new(
    "sigmas",
    Kind::List(false),
    0.0,
    "The levels sigma/alpha of the run, in place of a number of steps",
)
.of_a_run();
pub(crate) const ALPHA_TO_ONE: OptionSpec = OptionSpec::new(
    "set_alpha_to_one",
    Kind::Flag,
    1.0,
    "End at the clean image, not at the level of timestep 0",
);

pub(crate) const GRID: OptionSpec = OptionSpec::new(
    "grid",
    Kind::Choice(&["timesteps", "karras", "exponential", "beta", "ays", "ays-xl", "ays-video", "flow", "lu"]),
    0.0,
    "How the noise levels lie between the greatest and the least",
);
/// Those of [`GRID`] that samplers in `x = x₀ + σ ε` know.
pub(super) const RATIO_GRIDS: &[&str] =
    &["timesteps", "karras", "exponential", "beta", "ays", "ays-xl", "ays-video"];
/// Those of [`GRID`] but Lu's.
pub(super) const COMMON_GRIDS: &[&str] =
    &["timesteps", "karras", "exponential", "beta", "ays", "ays-xl", "ays-video", "flow"];
pub(crate) const FINAL: OptionSpec = OptionSpec::new(
    "final_sigmas_type",
    Kind::Choice(&["zero", "sigma_min"]),
    0.0,
    "Whether the last step arrives at no noise or at the least level",
);
pub(crate) const INTERPOLATION: OptionSpec = OptionSpec::new(
    "interpolation_type",
    Kind::Choice(&["linear", "log_linear"]),
    0.0,
    "Levels of the timesteps, or evenly spread logarithms from the greatest to the least",
);
pub(crate) const TIMESTEP_TYPE: OptionSpec = OptionSpec::new(
    "timestep_type",
    Kind::Choice(&["discrete", "continuous"]),
    0.0,
    "What a network for v is told: the timestep, or a quarter of the logarithm of sigma",
);
pub(crate) const SIGMA_MIN: OptionSpec =
    OptionSpec::new("sigma_min", Kind::Real(0.0, 1e6), 0.0, "The grid's least level; 0 for the schedule's");
pub(crate) const SIGMA_MAX: OptionSpec = OptionSpec::new(
    "sigma_max",
    Kind::Real(0.0, 1e6),
    0.0,
    "The grid's greatest level; 0 for the schedule's",
);
pub(crate) const FLOW_SHIFT: OptionSpec = OptionSpec::new(
    "flow_shift",
    Kind::Real(1e-3, 1e3),
    1.0,
    "Shifts the times of the flow grid: above 1 toward noise, below toward data",
);
pub(crate) const LAMBDA_MIN: OptionSpec = OptionSpec::new(
    "lambda_min_clipped",
    Kind::Real(f64::NEG_INFINITY, 100.0),
    f64::NEG_INFINITY,
    "Timesteps of a lower log-ratio of signal to noise are left out",
);
pub(crate) const ALGORITHM: OptionSpec = OptionSpec::new(
    "algorithm_type",
    Kind::Choice(&[
        "dpmsolver++",
        "dpmsolver",
        "sde-dpmsolver++",
        "sde-dpmsolver",
        "deis",
        "data_prediction",
        "noise_prediction",
    ]),
    0.0,
    "Solves for the data (++) or the noise; sde adds fresh noise",
);
/// Those of [`ALGORITHM`] that DPM-Solver knows.
pub(super) const DPM_ALGORITHMS: &[&str] = &["dpmsolver++", "dpmsolver", "sde-dpmsolver++", "sde-dpmsolver"];
/// Those of [`ALGORITHM`] that its singlestep form knows.
pub(super) const SINGLESTEP_ALGORITHMS: &[&str] = &["dpmsolver++", "dpmsolver", "sde-dpmsolver++"];
pub(crate) const SOLVER_ORDER: OptionSpec =
    OptionSpec::new("solver_order", Kind::Whole(1.0, 3.0), 2.0, "The solver's order");
pub(crate) const SOLVER_TYPE: OptionSpec = OptionSpec::new(
    "solver_type",
    Kind::Choice(&["midpoint", "heun", "bh1", "bh2", "logrho"]),
    0.0,
    "The solver's variant",
);
pub(crate) const LOWER_ORDER_FINAL: OptionSpec = OptionSpec::new(
    "lower_order_final",
    Kind::Flag,
    1.0,
    "Lower the order in the last steps of a run of fewer than 15",
);
pub(crate) const EULER_AT_FINAL: OptionSpec =
    OptionSpec::new("euler_at_final", Kind::Flag, 0.0, "Make the last step one of order 1");
pub(crate) const PREDICT_X0: OptionSpec =
    OptionSpec::new("predict_x0", Kind::Flag, 1.0, "Solve for the data, not for the noise");
pub(crate) const ORDER: OptionSpec =
    OptionSpec::new("order", Kind::Whole(1.0, 4.0), 4.0, "How many evaluations a step looks back on")
        .of_a_run();
pub(crate) const S_CHURN: OptionSpec =
    OptionSpec::new("s_churn", Kind::Real(0.0, 1e4), 0.0, "How much noise is put back, over all steps")
        .of_a_run();
pub(crate) const S_TMIN: OptionSpec =
    OptionSpec::new("s_tmin", Kind::Real(0.0, 1e6), 0.0, "The least sigma that noise is put back at")
        .of_a_run();
pub(crate) const S_TMAX: OptionSpec =
    OptionSpec::new("s_tmax", Kind::Real(0.0, 1e6), 1e6, "The greatest sigma that noise is put back at")
        .of_a_run();
pub(crate) const S_NOISE: OptionSpec =
    OptionSpec::new("s_noise", Kind::Real(0.0, 2.0), 1.0, "The deviation of the noise that is put back");

pub(crate) const SKIP_PRK: OptionSpec = OptionSpec::new(
    "skip_prk_steps",
    Kind::Flag,
    0.0,
    "Begin without the three steps of four evaluations each",
);
pub(crate) const ORIGINAL_STEPS: OptionSpec = OptionSpec::new(
    "original_inference_steps",
    Kind::Whole(1.0, 1e5),
    50.0,
    "How many timesteps the model was distilled at",
);
pub(crate) const TIMESTEP_SCALING: OptionSpec = OptionSpec::new(
    "timestep_scaling",
    Kind::Real(0.0, 1e6),
    10.0,
    "How fast the model's answer takes over from its input as noise grows",
);

pub(crate) const STOCHASTIC: OptionSpec = OptionSpec::new(
    "stochastic_sampling",
    Kind::Flag,
    0.0,
    "Go to the data in each step, and back with fresh noise",
);
pub(crate) const SHIFT_TERMINAL: OptionSpec = OptionSpec::new(
    "shift_terminal",
    Kind::Real(0.0, 0.99),
    0.0,
    "The last time before the data, which the others are stretched for; 0 for as it comes",
);

pub(crate) const PREDICTOR_ORDER: OptionSpec =
    OptionSpec::new("predictor_order", Kind::Whole(1.0, 4.0), 2.0, "The predictor's order");
pub(crate) const CORRECTOR_ORDER: OptionSpec =
    OptionSpec::new("corrector_order", Kind::Whole(1.0, 4.0), 2.0, "The corrector's order");
pub(crate) const TAU: OptionSpec = OptionSpec::new(
    "tau",
    Kind::Real(0.0, 10.0),
    1.0,
    "Fresh noise from timestep 200 to 800: 0 adds none, 1 as much as the reverse SDE",
)
.of_a_run();

pub(crate) const SDE: OptionSpec = OptionSpec::new(
    "sde",
    Kind::Choice(&["vp", "sub-vp", "ve"]),
    0.0,
    "The equation whose reverse is followed: variance-preserving, below it, or variance-exploding",
);
pub(crate) const SNR: OptionSpec =
    OptionSpec::new("snr", Kind::Real(0.0, 10.0), 0.15, "The corrector's ratio of signal to noise");
pub(crate) const CORRECT_STEPS: OptionSpec =
    OptionSpec::new("correct_steps", Kind::Whole(0.0, 1000.0), 1.0, "The corrector's steps at each level");
pub(crate) const SAMPLING_EPS: OptionSpec =
    OptionSpec::new("sampling_eps", Kind::Real(0.0, 0.5), 1e-5, "The time that the last step starts from");
pub(crate) const NORMS: OptionSpec = OptionSpec::new(
    "norms",
    Kind::Choice(&["picture", "batch"]),
    0.0,
    "Whether the corrector measures each picture, or the whole batch as diffusers does",
)
.of_a_run();
pub(crate) const STEP_RATIO: OptionSpec = OptionSpec::new(
    "step_ratio",
    Kind::Real(1e-6, 2.0),
    0.2,
    "The size of Langevin's steps, as a share of the level's variance",
)
.of_a_run();
pub(crate) const LANGEVIN_STEPS: OptionSpec =
    OptionSpec::new("langevin_steps", Kind::Whole(1.0, 1000.0), 100.0, "Langevin's steps at each level")
        .of_a_run();
pub(crate) const TOLERANCE: OptionSpec = OptionSpec::new(
    "tolerance",
    Kind::Real(1e-6, 1.0),
    1e-3,
    "The error that a step may make, absolute and relative",
)
.of_a_run();
pub(crate) const MAX_EVALUATIONS: OptionSpec = OptionSpec::new(
    "max_evaluations",
    Kind::Whole(1.0, 1e6),
    1000.0,
    "After how many evaluations of the network the run gives up",
)
.of_a_run();

/// Every option that there is, with all the values that a file may give.
pub const ALL: &[OptionSpec] = &[
    ETA,
    USE_CLIPPED,
    SPACING,
    TIMESTEPS,
    SIGMAS,
    ALPHA_TO_ONE,
    GRID,
    FINAL,
    INTERPOLATION,
    TIMESTEP_TYPE,
    SIGMA_MIN,
    SIGMA_MAX,
    FLOW_SHIFT,
    LAMBDA_MIN,
    ALGORITHM,
    SOLVER_ORDER,
    SOLVER_TYPE,
    LOWER_ORDER_FINAL,
    EULER_AT_FINAL,
    PREDICT_X0,
    ORDER,
    S_CHURN,
    S_TMIN,
    S_TMAX,
    S_NOISE,
    SKIP_PRK,
    ORIGINAL_STEPS,
    TIMESTEP_SCALING,
    STOCHASTIC,
    SHIFT_TERMINAL,
    PREDICTOR_ORDER,
    CORRECTOR_ORDER,
    TAU,
    SDE,
    SNR,
    CORRECT_STEPS,
    SAMPLING_EPS,
    NORMS,
    STEP_RATIO,
    LANGEVIN_STEPS,
    TOLERANCE,
    MAX_EVALUATIONS,
];
