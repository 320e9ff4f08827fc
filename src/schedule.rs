//! The noise levels of diffusers' schedulers: ᾱ for every training timestep, and which timesteps a run visits.

use std::f64::consts::FRAC_PI_2;

use serde_json::Value as Json;

use crate::checkpoint::json::{Fields, parse_object, shorten};
use crate::denoiser::{Level, Point, Prediction};
use crate::error::{Error, Result};
use crate::levels::{self, Grid, Sigmas, Spacing, list};
use crate::picture::Range;
use crate::sampler::options::{
    self, CORRECT_STEPS, GRID, Kind, SAMPLING_EPS, SDE, SIGMA_MAX, SIGMA_MIN, SPACING, Settings, Value,
};
use crate::text::number;

/// More training timesteps than any model has; a longer table would be a mistake in the file.
const MOST_TIMESTEPS: usize = 100_000;
/// Less noise than a timestep can add: the share of signal that it leaves would not differ from 1 in what samplers work
/// out, whose logarithm of the noise is then infinite. No real table comes near: β of 10⁻⁷ is 0 in diffusers' f32.
const LEAST_BETA: f64 = 1e-12;

/// What a `scheduler_config.json` says, made ready for sampling.
///
/// Fields that the file lacks take the defaults of diffusers' DDPM and DDIM schedulers (which is what
/// `DDIMScheduler.from_config` does), except that the β of classes with other defaults stay their own, because the
/// network was trained with them.
///
/// ```
/// use noiseball::schedule::Schedule;
///
/// let schedule = Schedule::from_json("scheduler_config.json", br#"{"num_train_timesteps": 1000}"#)?;
/// assert_eq!(schedule.timesteps(4)?, [750, 500, 250, 0]);
/// assert!(schedule.level(999).alpha < 0.01);
/// # Ok::<(), noiseball::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Schedule {
    /// The scheduler's class in diffusers, which says who samples by default: see
    /// [`SamplerKind::default_for`](crate::sampler::SamplerKind::default_for).
    pub class_name: String,
    /// What the network was trained to predict.
    pub prediction: Prediction,
    /// What a sampler does to x̂₀ before it uses it.
    pub clip: Clip,
    /// What samplers do to x̂₀ that leave it as it is unless the file asks.
    pub asked_clip: Clip,
    /// How much noise DDPM adds.
    pub variance: Variance,
    /// Added to the timesteps of [`Spacing::Leading`].
    pub steps_offset: usize,
    /// Whether β follow a squared cosine, whose fractional timesteps some samplers of diffusers do not round.
    pub is_cosine: bool,
    /// The steps after which UniPC does not correct.
    pub disable_corrector: Vec<usize>,
    /// β(t) at the times 0 and 1 of a schedule in continuous time (Song et al. 2021's VP SDE), a straight line between them.
    pub betas_of_time: Option<(f64, f64)>,
    /// How far the times of a flow are shifted toward noise: 1 for not at all.
    pub flow_shift: f64,
    /// What the file says of samplers' options, by name.
    pub options: Settings,
    /// Keys of the file that nothing here reads, such as those of another class.
    pub ignored: Vec<String>,
    alpha_bar: Vec<f64>,
}

/// What is done to x̂₀, values out of the data's range being the network's mistake.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Clip {
    /// Nothing.
    None,
    /// Clamped to `[-r, r]` (`clip_sample`).
    Range(f64),
    /// Dynamic thresholding, image by image: with `s` the quantile `ratio` of |x̂₀|, between 1 and `max`, clamped to
    /// `[-s, s]` and divided by `s` (Saharia et al. 2022, section 2.3).
    Dynamic {
        /// The quantile, in [0, 1].
        ratio: f64,
        /// The largest `s`; below 1 it is what `s` always is.
        max: f64,
    },
}

/// The variance of the noise that DDPM adds, with `β̃ = (1-ᾱₚ)/(1-ᾱₜ) β` and `β = 1 - ᾱₜ/ᾱₚ` (`variance_type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variance {
    /// β̃, at least 10⁻²⁰: diffusers' `fixed_small` and `fixed_small_log`, which differ in rounding only.
    FixedSmall,
    /// β: diffusers' `fixed_large`. Its `fixed_large_log` takes the square root of log β and gives NaN; here it
    /// means β, which is what the name says.
    FixedLarge,
    /// What the second half of the network's channels says.
    Learned,
    /// Between β̃ (where the second half of the network's channels says -1) and β (where it says 1), on a
    /// logarithmic scale (Nichol and Dhariwal 2021, equation 15).
    LearnedRange,
}

/// The rule that a table of β follows (`beta_schedule`).
#[derive(Clone, Copy)]
enum Betas {
    Linear,
    ScaledLinear,
    Sigmoid,
    Quotients(SignalLeft),
}

/// ᾱ as a function of the time `u`, from 0 to 1, of which β are the quotients: diffusers' `betas_for_alpha_bar`.
#[derive(Clone, Copy)]
enum SignalLeft {
    Cosine,
    Exponential,
    Laplace,
}

impl SignalLeft {
    fn at(self, u: f64) -> f64 {
        match self {
            Self::Cosine => ((u + 0.008) / 1.008 * FRAC_PI_2).cos().powi(2),
            Self::Exponential => (-12.0 * u).exp(),
            Self::Laplace => {
                let half = 0.5 - u;
                let log_snr = -0.5 * 1f64.copysign(half) * (1.0 - 2.0 * half.abs() + 1e-6).ln();
                let snr = log_snr.exp();
                (snr / (1.0 + snr)).sqrt()
            }
        }
    }
}

/// diffusers' classes whose levels are a table of β, with the β that each takes when the file names none.
fn default_betas(class: &str) -> Option<(f64, f64, Betas)> {
    match class {
        "DDPMScheduler"
        | "DDPMParallelScheduler"
        | "DDIMScheduler"
        | "DDIMParallelScheduler"
        | "DDIMInverseScheduler"
        | "PNDMScheduler"
        | "LMSDiscreteScheduler"
        | "EulerDiscreteScheduler"
        | "EulerAncestralDiscreteScheduler"
        | "DPMSolverMultistepScheduler"
        | "DPMSolverSinglestepScheduler"
        | "DPMSolverMultistepInverseScheduler"
        | "DEISMultistepScheduler"
        | "UniPCMultistepScheduler"
        | "SASolverScheduler" => Some((0.0001, 0.02, Betas::Linear)),
        "HeunDiscreteScheduler"
        | "KDPM2DiscreteScheduler"
        | "KDPM2AncestralDiscreteScheduler"
        | "DPMSolverSDEScheduler" => Some((0.00085, 0.012, Betas::Linear)),
        "LCMScheduler" | "TCDScheduler" => Some((0.00085, 0.012, Betas::ScaledLinear)),
        _ => None,
    }
}

impl Schedule {
    /// Reads a `scheduler_config.json`.
    ///
    /// # Errors
    /// As for [`Schedule::from_fields`], and [`Error::Json`] where the text does not parse.
    pub fn from_json(file: &str, bytes: &[u8]) -> Result<Self> {
        let object = parse_object(file, bytes)?;
        Self::from_fields(&Fields::new(file, &object))
    }

    /// Reads the fields of a `scheduler_config.json`. A file without `_class_name` counts as a `DDPMScheduler`'s.
    ///
    /// # Errors
    /// [`Error::Config`] where a field has a value that no schedule can have, [`Error::Unsupported`] for a scheduler
    /// whose levels are not a table of β.
    pub fn from_fields(fields: &Fields<'_>) -> Result<Self> {
        let class_name = fields.string("_class_name", "DDPMScheduler")?;
        if ["EDMEulerScheduler", "EDMDPMSolverMultistepScheduler"].contains(&class_name.as_str()) {
            return Self::edm(class_name, fields);
        }
        if ["FlowMatchEulerDiscreteScheduler", "FlowMatchHeunDiscreteScheduler"]
            .contains(&class_name.as_str())
        {
            return Self::flow(class_name, fields);
        }
        match class_name.as_str() {
            "CMStochasticIterativeScheduler" => return Self::consistency(class_name, fields),
            "ScoreSdeVeScheduler" => return Self::exploding(class_name, fields),
            "ScoreSdeVpScheduler" => return Self::preserving(class_name, fields),
            "IPNDMScheduler" => return Self::sine(class_name, fields),
            _ => {}
        }
        let Some(betas) = default_betas(&class_name) else {
            return Err(Error::Unsupported {
                what: format!("the scheduler {class_name}"),
                why: "its noise levels are not read here. Save the model with a DDPMScheduler or \
                      DDIMScheduler if it was trained with one"
                    .to_owned(),
            });
        };
        let prediction = fields.choice("prediction_type", Prediction::Epsilon, &Prediction::NAMES)?;
        let alpha_bar = read_alpha_bar(fields, betas)?;
        Self::read(class_name, prediction, alpha_bar, fields)
    }

    /// A schedule of EDM, which has no β: its table is that of its σ, and its samplers take levels between the same ends.
    fn edm(class_name: String, fields: &Fields<'_>) -> Result<Self> {
        let (least, greatest) = ends(fields, 0.002, 80.0)?;
        let sign = fields.choice("prediction_type", 1.0, &[("epsilon", 1.0), ("v_prediction", -1.0)])?;
        let prediction = Prediction::Edm { sigma_data: sign * positive(fields, "sigma_data", 0.5)? };
        let grid = fields.choice(
            "sigma_schedule",
            "karras",
            &[("karras", "karras"), ("exponential", "exponential")],
        )?;
        let alpha_bar = table(Grid::Karras, greatest, least, timesteps(fields, 1000)?);
        let mut schedule = Self::read(class_name, prediction, alpha_bar, fields)?;
        for (option, value) in [(GRID, grid.into()), (SPACING, "leading".into())] {
            schedule.options.set(option.name, value);
        }
        schedule.options.set(SIGMA_MIN.name, least.into());
        schedule.options.set(SIGMA_MAX.name, greatest.into());
        Ok(schedule)
    }

    /// A schedule of flow matching, whose table is that of its shifted times.
    fn flow(class_name: String, fields: &Fields<'_>) -> Result<Self> {
        let (total, shift) = (timesteps(fields, 1000)?, fields.f64("shift", 1.0)?);
        if shift <= 0.0 {
            return Err(fields.error("shift", number(shift), "greater than 0"));
        }
        let alpha_bar = list(total, &|i| {
            let time = (i + 1) as f64 / total as f64;
            let sigma = shift * time / (1.0 + (shift - 1.0) * time);
            let signal = (1.0 - sigma).powi(2);
            signal / (signal + sigma * sigma)
        });
        let schedule = Self::read(class_name, Prediction::Flow, alpha_bar, fields)?;
        Ok(Self { flow_shift: shift, ..schedule })
    }

    /// A schedule of consistency models, whose table is that of the levels they are trained at.
    fn consistency(class_name: String, fields: &Fields<'_>) -> Result<Self> {
        let (least, greatest) = ends(fields, 0.002, 80.0)?;
        let sigma_data = positive(fields, "sigma_data", 0.5)?;
        let prediction = Prediction::Consistency { sigma_data, sigma_min: least };
        let alpha_bar = table(Grid::Karras, greatest, least, timesteps(fields, 40)?);
        let clip = if fields.bool("clip_denoised", true)? { Clip::Range(1.0) } else { Clip::None };
        Ok(Self { clip, ..Self::read(class_name, prediction, alpha_bar, fields)? })
    }

    /// A schedule of the variance-exploding SDE, whose table is geometric.
    fn exploding(class_name: String, fields: &Fields<'_>) -> Result<Self> {
        let (least, greatest) = ends(fields, 0.01, 1348.0)?;
        let alpha_bar = table(Grid::Exponential, greatest, least, timesteps(fields, 2000)?);
        let mut schedule = Self::read(class_name, Prediction::Gradient, alpha_bar, fields)?;
        schedule.options.set(SDE.name, "ve".into());
        Ok(schedule)
    }

    /// A schedule of the variance-preserving SDE, β(t) being a straight line.
    fn preserving(class_name: String, fields: &Fields<'_>) -> Result<Self> {
        let (least, greatest) = (positive(fields, "beta_min", 0.1)?, positive(fields, "beta_max", 20.0)?);
        if least >= greatest || greatest > 1000.0 {
            return Err(fields.error("beta_min", number(least), "below beta_max, which is at most 1000"));
        }
        let total = timesteps(fields, 2000)?;
        let alpha_bar = list(total, &|i| {
            let t = (i + 1) as f64 / total as f64;
            (-0.5 * t * t * (greatest - least) - t * least).exp()
        });
        let mut schedule = Self::read(class_name, Prediction::Epsilon, alpha_bar, fields)?;
        schedule.betas_of_time = Some((least, greatest));
        for (option, value) in [(CORRECT_STEPS, 0.0), (SAMPLING_EPS, 1e-3)] {
            if schedule.options.get(option.name).is_none() {
                schedule.options.set(option.name, value.into());
            }
        }
        Ok(schedule)
    }

    /// A schedule of iPNDM.
    fn sine(class_name: String, fields: &Fields<'_>) -> Result<Self> {
        if fields.get("trained_betas").is_some_and(|betas| !betas.is_null()) {
            return Err(fields.error(
                "trained_betas",
                "a list",
                "null: levels of one's own are not read here",
            ));
        }
        let total = timesteps(fields, 1000)?;
        let alpha_bar = list(total, &|i| Level::of_sine((i + 1) as f64 / total as f64).alpha.powi(2));
        Self::read(class_name, Prediction::VByAngle, alpha_bar, fields)
    }

    fn read(
        class_name: String,
        prediction: Prediction,
        alpha_bar: Vec<f64>,
        fields: &Fields<'_>,
    ) -> Result<Self> {
        let variance = read_variance(fields, &class_name)?;
        if prediction == Prediction::Flow {
            for flag in ["use_dynamic_shifting", "invert_sigmas"] {
                if fields.bool(flag, false)? {
                    let expected = "false: flows whose times depend on the picture, or run to the noise, are not sampled here";
                    return Err(fields.error(flag, "true", expected));
                }
            }
        }
        for program in ["solver_p", "tau_func"] {
            if fields.get(program).is_some_and(|value| !value.is_null()) {
                return Err(fields.error(
                    program,
                    "another",
                    "null: it is a part of a program, which no file holds",
                ));
            }
        }
        // What Python reads only where times depend on the picture, or for a seed of its own.
        for unread in [
            "base_image_seq_len",
            "base_shift",
            "invert_sigmas",
            "max_image_seq_len",
            "max_shift",
            "noise_sampler_seed",
            "time_shift_type",
            "use_dynamic_shifting",
        ] {
            fields.get(unread);
        }
        let schedule = Self {
            class_name,
            prediction,
            clip: read_clip(fields)?,
            asked_clip: match fields.bool("clip_sample", false)? {
                true => Clip::Range(fields.f64_or_infinite("clip_sample_range", 1.0)?),
                false => Clip::None,
            },
            is_cosine: fields.get("beta_schedule").is_some_and(|name| name == "squaredcos_cap_v2"),
            betas_of_time: None,
            flow_shift: 1.0,
            disable_corrector: fields.usizes("disable_corrector", &[])?,
            variance,
            steps_offset: fields.usize("steps_offset", 0)?,
            options: read_options(fields)?,
            alpha_bar,
            ignored: Vec::new(),
        };
        Ok(Self { ignored: fields.unknown(), ..schedule })
    }

    /// The numbers that are black and white: ScoreSdeVePipeline has 0 and 1, all others -1 and 1.
    #[must_use]
    pub fn range(&self) -> Range {
        if self.class_name == "ScoreSdeVeScheduler" { Range::Unit } else { Range::Signed }
    }

    /// T, the number of timesteps that the network was trained with (`num_train_timesteps`).
    #[must_use]
    pub fn train_timesteps(&self) -> usize {
        self.alpha_bar.len()
    }

    /// ᾱ for every timestep, from the least noise to the most (`alphas_cumprod`), in f64: diffusers works in f32, which
    /// differs by 10⁻⁶ relative (10⁻⁵ for `squaredcos_cap_v2`).
    #[must_use]
    pub fn alpha_bar(&self) -> &[f64] {
        &self.alpha_bar
    }

    /// The least and the greatest ratio σ/α.
    #[must_use]
    pub fn ends(&self) -> (f64, f64) {
        self.sigmas().ends()
    }

    /// The ratios σ/α of all timesteps.
    #[must_use]
    pub fn sigmas(&self) -> Sigmas {
        Sigmas::new(&self.alpha_bar)
    }

    /// The timesteps that a run of `steps` steps visits, from the most noise to the least, by the file's spacing or that of
    /// DDPM: see [`levels::timesteps`].
    ///
    /// # Errors
    /// As there.
    pub fn timesteps(&self, steps: usize) -> Result<Vec<usize>> {
        let spacing = self.options.get(SPACING.name).and_then(|value| SPACING.number(value));
        let spacing = Spacing::ALL[spacing.unwrap_or(SPACING.default) as usize];
        let timesteps = levels::timesteps(spacing, self.train_timesteps(), steps, self.steps_offset)?;
        Ok(timesteps.into_iter().map(|t| t as usize).collect())
    }

    /// What samplers do to x̂₀ that know dynamic thresholding but no clipping.
    #[must_use]
    pub fn threshold(&self) -> Clip {
        if matches!(self.clip, Clip::Dynamic { .. }) { self.clip } else { Clip::None }
    }

    /// The level at a timestep; beyond the table's end, that of its last one.
    #[must_use]
    pub fn level(&self, timestep: usize) -> Level {
        Level::from_alpha_bar(self.alpha_bar[timestep.min(self.alpha_bar.len() - 1)])
    }

    /// The point of a timestep of the table; beyond its end, the last one's level.
    #[must_use]
    pub fn point(&self, timestep: usize) -> Point {
        Point { level: self.level(timestep), timestep: timestep as f64 }
    }
}

/// The flags that choose a grid of levels, in the order of the option's names.
const GRID_FLAGS: [&str; 5] =
    ["use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas", "use_flow_sigmas", "use_lu_lambdas"];

/// What the file says of samplers' options.
fn read_options(fields: &Fields<'_>) -> Result<Settings> {
    let mut settings = Settings::default();
    for (i, name) in GRID_FLAGS.iter().enumerate() {
        if fields.bool(name, false)? {
            let names = ["karras", "exponential", "beta", "flow", "lu"];
            let before = settings.get(GRID.name);
            // On a flow, Karras's ratios are those of its straight path.
            if names[i] == "flow" && before == Some(&names[0].into()) {
                continue;
            }
            if before.is_some() {
                return Err(fields.error(name, true, "false where another grid is chosen"));
            }
            settings.set(GRID.name, names[i].into());
        }
    }
    for row in options::ALL.iter().filter(|row| row.configured && row.name != GRID.name) {
        let value = match row.kind {
            Kind::Flag => fields.get(row.name).map(|_| fields.bool(row.name, false).map(Value::from)),
            _ => match fields.get(row.name) {
                None | Some(Json::Null) => None,
                Some(Json::String(text)) if text == "-Infinity" => Some(Ok(f64::NEG_INFINITY.into())),
                Some(Json::String(text)) => Some(Ok(Value::Text(text.clone()))),
                Some(value) => Some(
                    value
                        .as_f64()
                        .map(Value::from)
                        .ok_or_else(|| fields.error(row.name, shorten(value), row.expected())),
                ),
            },
        };
        let Some(value) = value.transpose()? else { continue };
        if row.number(&value).is_none() {
            let found = fields.get(row.name).unwrap_or(&Json::Null);
            return Err(fields.error(row.name, shorten(found), row.expected()));
        }
        settings.set(row.name, value);
    }
    Ok(settings)
}

fn read_clip(fields: &Fields<'_>) -> Result<Clip> {
    let thresholding = fields.bool("thresholding", false)?;
    let ratio = fields.f64("dynamic_thresholding_ratio", 0.995)?;
    // Python's clamp takes null as no limit.
    let max = match fields.get("sample_max_value") {
        Some(Json::Null) => f64::INFINITY,
        _ => fields.f64_or_infinite("sample_max_value", 1.0)?,
    };
    let clip = fields.bool("clip_sample", true)?;
    let range = fields.f64_or_infinite("clip_sample_range", 1.0)?;
    // As f32, which is what images are divided by.
    let positive = |field, value: f64| {
        if value as f32 > 0.0 { Ok(value) } else { Err(fields.error(field, number(value), "greater than 0")) }
    };
    if thresholding {
        if !(0.0..=1.0).contains(&ratio) {
            return Err(fields.error("dynamic_thresholding_ratio", number(ratio), "from 0 to 1"));
        }
        Ok(Clip::Dynamic { ratio, max: positive("sample_max_value", max)? })
    } else if clip && range < f64::INFINITY {
        positive("clip_sample_range", range).map(Clip::Range)
    } else {
        Ok(Clip::None)
    }
}

fn read_variance(fields: &Fields<'_>, class: &str) -> Result<Variance> {
    // DPMSolverMultistepScheduler has a field of that name too, and writes null.
    if fields.get("variance_type").is_some_and(Json::is_null) {
        return Ok(Variance::FixedSmall);
    }
    let variance = fields.choice(
        "variance_type",
        Variance::FixedSmall,
        &[
            ("fixed_small", Variance::FixedSmall),
            ("fixed_small_log", Variance::FixedSmall),
            ("fixed_large", Variance::FixedLarge),
            ("fixed_large_log", Variance::FixedLarge),
            ("learned", Variance::Learned),
            ("learned_range", Variance::LearnedRange),
        ],
    );
    // Python's DDIM has no such field, and looks at none that it has not.
    if class.starts_with("DDPM") { variance } else { Ok(variance.unwrap_or(Variance::FixedSmall)) }
}

/// A number that is greater than 0.
fn positive(fields: &Fields<'_>, field: &str, default: f64) -> Result<f64> {
    match fields.f64(field, default)? {
        value if value > 0.0 => Ok(value),
        value => Err(fields.error(field, number(value), "greater than 0")),
    }
}

/// The least and the greatest σ of a file that names them, on a grid of ρ = 7 where it names that.
fn ends(fields: &Fields<'_>, least: f64, greatest: f64) -> Result<(f64, f64)> {
    let (least, greatest) = (positive(fields, "sigma_min", least)?, positive(fields, "sigma_max", greatest)?);
    if least >= greatest {
        return Err(fields.error("sigma_min", number(least), "below sigma_max"));
    }
    if positive(fields, "rho", 7.0)? != 7.0 {
        return Err(fields.error("rho", "another", "7"));
    }
    Ok((least, greatest))
}

/// ᾱ of so many ratios from the least to the greatest.
fn table(grid: Grid, greatest: f64, least: f64, total: usize) -> Vec<f64> {
    let ratios = grid.between(greatest, least, total);
    list(total, &|i| 1.0 / (1.0 + ratios[total - 1 - i].powi(2)))
}

/// T, `num_train_timesteps`.
fn timesteps(fields: &Fields<'_>, default: usize) -> Result<usize> {
    let total = fields.usize("num_train_timesteps", default)?;
    if (1..=MOST_TIMESTEPS).contains(&total) {
        return Ok(total);
    }
    Err(fields.error("num_train_timesteps", total, format!("from 1 to {MOST_TIMESTEPS}")))
}

fn read_alpha_bar(fields: &Fields<'_>, defaults: (f64, f64, Betas)) -> Result<Vec<f64>> {
    let total = timesteps(fields, 1000)?;
    let (betas, culprit) = match fields.optional_f64s("trained_betas")? {
        Some(betas) if !(total..=MOST_TIMESTEPS).contains(&betas.len()) => {
            let found = format!("a list of {}", betas.len());
            let expected = format!(
                "a list of at least `num_train_timesteps` = {total} numbers, and at most {MOST_TIMESTEPS}"
            );
            return Err(fields.error("trained_betas", found, expected));
        }
        Some(betas) => {
            // Python does not look at the rule where there is a table, so that it may be null or anything.
            for unread in ["beta_schedule", "beta_start", "beta_end"] {
                fields.get(unread);
            }
            (betas, "trained_betas")
        }
        None => betas_by_rule(fields, defaults, total)?,
    };
    let mut alpha_bar = accumulated(fields, culprit, &betas)?;
    if fields.bool("rescale_betas_zero_snr", false)? {
        alpha_bar = to_zero_snr(fields, alpha_bar)?;
    }
    // Of a longer table, Python uses the first timesteps; it is rescaled as a whole.
    alpha_bar.truncate(total);
    Ok(alpha_bar)
}

/// The β that `beta_schedule` stands for, and the field to blame where they are no β.
fn betas_by_rule(
    fields: &Fields<'_>,
    (start, end, rule): (f64, f64, Betas),
    total: usize,
) -> Result<(Vec<f64>, &'static str)> {
    let rule = fields.choice(
        "beta_schedule",
        rule,
        &[
            ("linear", Betas::Linear),
            ("scaled_linear", Betas::ScaledLinear),
            ("squaredcos_cap_v2", Betas::Quotients(SignalLeft::Cosine)),
            ("sigmoid", Betas::Sigmoid),
            ("laplace", Betas::Quotients(SignalLeft::Laplace)),
            ("exp", Betas::Quotients(SignalLeft::Exponential)),
        ],
    )?;
    if let Betas::Quotients(signal) = rule {
        // These have no ends, and Python does not look at what the file says of them.
        for unread in ["beta_start", "beta_end"] {
            fields.get(unread);
        }
        let left = |i: usize| signal.at(i as f64 / total as f64);
        let betas = (0..total).map(|i| (1.0 - left(i + 1) / left(i)).min(0.999)).collect();
        return Ok((betas, "num_train_timesteps"));
    }
    let start = fields.f64("beta_start", start)?;
    let end = fields.f64("beta_end", end)?;
    let between = |from: f64, to: f64, i: usize| from + (to - from) * i as f64 / (total - 1).max(1) as f64;
    let beta = |i: usize| match rule {
        Betas::ScaledLinear => between(start.sqrt(), end.sqrt(), i).powi(2),
        Betas::Sigmoid => (end - start) / (1.0 + (-between(-6.0, 6.0, i)).exp()) + start,
        Betas::Linear | Betas::Quotients(_) => between(start, end, i),
    };
    let culprit = if (LEAST_BETA..1.0).contains(&start) { "beta_end" } else { "beta_start" };
    Ok(((0..total).map(beta).collect(), culprit))
}

/// ᾱ, the products of 1 - β.
fn accumulated(fields: &Fields<'_>, culprit: &str, betas: &[f64]) -> Result<Vec<f64>> {
    let mut alpha_bar = Vec::with_capacity(betas.len());
    let mut product = 1.0;
    for (i, &beta) in betas.iter().enumerate() {
        product *= 1.0 - beta;
        // A NaN is in no range.
        if !(LEAST_BETA..1.0).contains(&beta) || product <= 0.0 {
            let found = format!(
                "such that beta is {} at timestep {i} (and alpha_bar {})",
                number(beta),
                number(product)
            );
            let expected = format!("such that {} <= beta < 1 and some signal is left", number(LEAST_BETA));
            return Err(fields.error(culprit, found, expected));
        }
        alpha_bar.push(product);
    }
    Ok(alpha_bar)
}

/// `sqrt(ᾱ)` shifted and scaled so that its end is 0 and its start stays (Lin et al. 2023, algorithm 1): nothing else
/// here makes a level without signal.
fn to_zero_snr(fields: &Fields<'_>, mut alpha_bar: Vec<f64>) -> Result<Vec<f64>> {
    let (first, last) = (alpha_bar[0].sqrt(), alpha_bar[alpha_bar.len() - 1].sqrt());
    for value in &mut alpha_bar {
        *value = ((value.sqrt() - last) * first / (first - last)).powi(2);
    }
    // With one timestep, or with hardly any noise at the end, there is nothing to scale and this is NaN or does not fall.
    let falls = alpha_bar.windows(2).all(|w| 1.0 - w[1] / w[0] >= LEAST_BETA);
    if alpha_bar.len() > 1 && alpha_bar[0] > 0.0 && falls {
        return Ok(alpha_bar);
    }
    let expected =
        "false where the timesteps' noise hardly differs, as their levels cannot be told apart once scaled";
    Err(fields.error("rescale_betas_zero_snr", true, expected))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Schedule> {
        Schedule::from_json("scheduler_config.json", json.as_bytes())
    }

    #[test]
    fn absurd_configs_are_refused_by_name() {
        for (json, field) in [
            (r#"{"num_train_timesteps": 0}"#, "num_train_timesteps"),
            (r#"{"num_train_timesteps": 1000000000}"#, "num_train_timesteps"),
            (r#"{"num_train_timesteps": -1}"#, "num_train_timesteps"),
            (r#"{"beta_start": NaN}"#, "beta_start"),
            (r#"{"beta_start": -0.1}"#, "beta_start"),
            (r#"{"beta_start": 0}"#, "beta_start"),
            (r#"{"beta_end": 1.5}"#, "beta_end"),
            (r#"{"beta_end": -0.5, "beta_schedule": "scaled_linear"}"#, "beta_end"),
            (r#"{"beta_end": 0.9, "num_train_timesteps": 5000}"#, "beta_end"),
            (r#"{"beta_schedule": "laplacian"}"#, "beta_schedule"),
            (r#"{"trained_betas": [0.1, 0.2]}"#, "trained_betas"),
            (r#"{"trained_betas": [0.1, 0], "num_train_timesteps": 2}"#, "trained_betas"),
            (r#"{"trained_betas": [0.1, Infinity], "num_train_timesteps": 2}"#, "trained_betas"),
            (r#"{"rescale_betas_zero_snr": true, "num_train_timesteps": 1}"#, "rescale_betas_zero_snr"),
            (r#"{"thresholding": true, "dynamic_thresholding_ratio": -0.01}"#, "dynamic_thresholding_ratio"),
            (r#"{"thresholding": true, "sample_max_value": 1e-46}"#, "sample_max_value"),
            (r#"{"thresholding": true, "sample_max_value": "1"}"#, "sample_max_value"),
            (r#"{"beta_start": null}"#, "beta_start"),
            (r#"{"beta_end": "0.02"}"#, "beta_end"),
            (r#"{"beta_start": 1e-13}"#, "beta_start"),
            (r#"{"beta_end": 1e-13}"#, "beta_end"),
            (r#"{"num_train_timesteps": 1000.0}"#, "num_train_timesteps"),
            (r#"{"num_train_timesteps": null}"#, "num_train_timesteps"),
            (r#"{"beta_schedule": null}"#, "beta_schedule"),
            (r#"{"steps_offset": null}"#, "steps_offset"),
            (r#"{"clip_sample": "false"}"#, "clip_sample"),
            (r#"{"trained_betas": 0.1}"#, "trained_betas"),
            (r#"{"trained_betas": [], "num_train_timesteps": 1}"#, "trained_betas"),
            (r#"{"trained_betas": [1e-13], "num_train_timesteps": 1}"#, "trained_betas"),
            (r#"{"thresholding": true, "dynamic_thresholding_ratio": 1.01}"#, "dynamic_thresholding_ratio"),
            (r#"{"thresholding": true, "sample_max_value": -1}"#, "sample_max_value"),
            (r#"{"clip_sample_range": 0}"#, "clip_sample_range"),
            (r#"{"timestep_spacing": "even"}"#, "timestep_spacing"),
            (r#"{"prediction_type": null}"#, "prediction_type"),
            (r#"{"steps_offset": -1}"#, "steps_offset"),
            (r#"{"_class_name": 3}"#, "_class_name"),
        ] {
            match read(json) {
                Err(Error::Config { field: found, .. }) => assert_eq!(found, field, "{json}"),
                other => panic!("{json}: {other:?}"),
            }
        }
    }

    /// diffusers 0.42.1 prints these: `DDPMScheduler(beta_schedule="laplace").alphas_cumprod[[0, 1, 500, 998, 999]]`.
    #[test]
    fn laplace_is_a_rule_that_only_the_code_of_ddpm_tells_of() {
        let s = read(r#"{"beta_schedule": "laplace", "beta_start": null, "beta_end": null}"#).unwrap();
        for (t, expected) in [(0, 0.9788), (1, 0.9703), (500, 0.7073), (998, 0.2070), (999, 0.0316)] {
            assert!((s.alpha_bar()[t] - expected).abs() < 5e-5, "{t}: {}", s.alpha_bar()[t]);
        }
        assert!(s.ignored.is_empty());
        let heun = read(r#"{"_class_name": "HeunDiscreteScheduler", "beta_schedule": "exp"}"#).unwrap();
        assert!((heun.alpha_bar()[999] - (-12f64).exp()).abs() < 1e-9);
        // A table needs no rule.
        let s =
            read(r#"{"trained_betas": [0.1, 0.5], "num_train_timesteps": 2, "beta_schedule": "trained"}"#);
        assert!(s.is_ok_and(|s| s.alpha_bar() == [0.9, 0.45] && s.ignored.is_empty()));
    }

    #[test]
    fn levels_that_cannot_be_told_apart_are_refused() {
        let betas = |n: usize, beta: f64, zero_snr| {
            let betas = vec![beta; n];
            let config = serde_json::json!({
                "num_train_timesteps": n, "trained_betas": betas, "rescale_betas_zero_snr": zero_snr,
            });
            read(&config.to_string())
        };
        assert!(betas(2, 1e-12, false).is_ok() && betas(2, 0.1, true).is_ok());
        for refused in [betas(2, 1e-16, false), betas(2, 1e-16, true), betas(1, 0.5, true)] {
            assert!(matches!(refused, Err(Error::Config { .. })), "{refused:?}");
        }
        // What found them: ᾱ that were NaN and -inf, and Ok.
        for bomb in [
            r#"{"_class_name":"LCMScheduler","beta_end":1.2e-16,"beta_schedule":"linear","beta_start":0.5,"clip_sample":false,
                "num_train_timesteps":3,"variance_type":"learned_range"}"#,
            r#"{"_class_name":"LCMScheduler","beta_end":1.2e-16,"beta_schedule":"linear","beta_start":1e-16,
                "num_train_timesteps":2,"rescale_betas_zero_snr":true,"set_alpha_to_one":false,"thresholding":true,
                "timestep_spacing":"trailing","variance_type":"learned"}"#,
        ] {
            assert!(matches!(read(bomb), Err(Error::Config { .. })), "{bomb}");
        }
    }

    #[test]
    fn truth_is_pythons() {
        let s = read(r#"{"clip_sample": null, "thresholding": 0, "set_alpha_to_one": null}"#).unwrap();
        assert!(s.clip == Clip::None);
        assert_eq!(s.options.get("set_alpha_to_one"), Some(&false.into()));
        let s = read(r#"{"thresholding": 1, "sample_max_value": null, "dynamic_thresholding_ratio": 0}"#)
            .unwrap();
        assert_eq!(s.clip, Clip::Dynamic { ratio: 0.0, max: f64::INFINITY });
    }

    #[test]
    fn absent_fields_take_the_defaults_of_the_class() {
        let s = read("{}").unwrap();
        assert_eq!((s.class_name.as_str(), s.train_timesteps()), ("DDPMScheduler", 1000));
        assert_eq!((s.prediction, s.clip), (Prediction::Epsilon, Clip::Range(1.0)));
        assert_eq!((s.variance, s.options.get("timestep_spacing")), (Variance::FixedSmall, None));
        assert!(s.steps_offset == 0 && s.ignored.is_empty());
        assert!((s.alpha_bar()[999] - 4.0358e-5).abs() < 1e-9);
        let heun = read(r#"{"_class_name": "HeunDiscreteScheduler"}"#).unwrap();
        assert!((heun.alpha_bar()[0] - (1.0 - 0.00085)).abs() < 1e-12);
    }

    #[test]
    fn another_class_parses_and_what_means_nothing_is_reported() {
        let s = read(
            r#"{"_class_name": "DPMSolverMultistepScheduler", "_diffusers_version": "0.42.1", "variance_type": null,
                "lambda_min_clipped": -Infinity, "solver_order": 2, "timestep_spacing": "linspace", "use_karras_sigmas": true,
                "use_lu_lambdas": false, "prediction_tipe": "sample"}"#,
        )
        .unwrap();
        assert_eq!(s.ignored, ["prediction_tipe"]);
        assert_eq!(s.options.get("lambda_min_clipped"), Some(&f64::NEG_INFINITY.into()));
        assert_eq!(s.options.get("solver_order"), Some(&2.0.into()));
        assert_eq!(s.options.get("grid"), Some(&"karras".into()));
        let two = r#"{"use_beta_sigmas": true, "use_flow_sigmas": true}"#;
        assert!(matches!(read(two), Err(Error::Config { field, .. }) if field == "use_flow_sigmas"));
        assert_eq!(s.options.get("timestep_spacing"), Some(&"linspace".into()));
        assert_eq!(s.variance, Variance::FixedSmall);
        let refused = read(r#"{"_class_name": "KarrasVeScheduler"}"#).unwrap_err();
        assert_eq!(refused.kind(), "unsupported-architecture");
    }

    #[test]
    fn step_counts_out_of_range_are_refused() {
        for spacing in ["leading", "linspace", "trailing"] {
            let s =
                read(&format!(r#"{{"num_train_timesteps": 100, "timestep_spacing": "{spacing}"}}"#)).unwrap();
            for steps in [0, 101, usize::MAX] {
                assert_eq!(s.timesteps(steps).unwrap_err().kind(), "invalid-option");
            }
        }
        let shifted = read(r#"{"num_train_timesteps": 100, "steps_offset": 1}"#).unwrap();
        assert!(shifted.timesteps(99).is_ok());
        assert!(shifted.timesteps(100).unwrap_err().to_string().contains("steps_offset"));
    }

    #[test]
    fn timesteps_fall_strictly_and_count_exactly() {
        for spacing in ["leading", "linspace", "trailing"] {
            for total in [1, 2, 7, 100, 1000] {
                let json = format!(r#"{{"num_train_timesteps": {total}, "timestep_spacing": "{spacing}"}}"#);
                let s = read(&json).unwrap();
                for steps in 1..=total {
                    let t = s.timesteps(steps).unwrap();
                    assert_eq!(t.len(), steps, "{json} {steps}");
                    assert!(t.windows(2).all(|w| w[0] > w[1]) && t[0] < total, "{json} {steps}");
                }
            }
        }
    }

    #[test]
    fn trailing_rounds_where_numpy_does() {
        // np.round(np.arange(1000, 0, -1000 / 48)) - 1: exact arithmetic makes the fourth 937.5, numpy a little less.
        let s = read(r#"{"timestep_spacing": "trailing"}"#).unwrap();
        assert_eq!(s.timesteps(48).unwrap()[..6], [999, 978, 957, 936, 916, 895]);
        assert_eq!(s.timesteps(112).unwrap()[6..9], [945, 936, 928]);
    }

    #[test]
    fn zero_terminal_snr_ends_at_nothing_and_keeps_its_start() {
        for schedule in ["linear", "squaredcos_cap_v2"] {
            let plain = read(&format!(r#"{{"beta_schedule": "{schedule}"}}"#)).unwrap();
            let json = format!(r#"{{"beta_schedule": "{schedule}", "rescale_betas_zero_snr": true}}"#);
            let rescaled = read(&json).unwrap();
            assert_eq!(rescaled.level(999), Level { alpha: 0.0, sigma: 1.0 });
            assert!((plain.alpha_bar()[0] - rescaled.alpha_bar()[0]).abs() < 1e-12);
            assert!(rescaled.alpha_bar().windows(2).all(|w| w[0] > w[1]));
        }
    }
}
