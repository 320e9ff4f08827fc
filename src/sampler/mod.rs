//! Samplers, and the table of them. Each is one plain function, readable beside its paper's equation, that knows neither
//! network nor device: it *describes* its steps once with a [`Recorder`], and any device replays the [`Program`].
//! [`HostRun`] replays one on the host.
//!
//! To add a sampler, write its file and a row of the table below. The command line, what JavaScript may pass, the page's
//! menu and the documentation follow the table.

mod adaptive;
mod chain;
mod chosen;
mod consistency;
mod ddim;
mod ddpm;
mod deis;
mod dpm;
mod dpm_sde;
mod dpm_singlestep;
mod edit;
mod euler;
mod flow;
mod guidance;
mod heun;
mod host;
mod ipndm;
mod kdpm2;
mod langevin;
mod lcm;
mod lms;
pub mod options;
mod pndm;
mod program;
mod record;
mod restore;
mod reverse_sde;
mod sa_solver;
mod setup;
mod tcd;
mod unipc;

use std::fmt;
use std::str::FromStr;

pub use chosen::Options;
pub use edit::Edit;
pub use guidance::Guidance;
#[cfg(feature = "text")]
pub(crate) use host::check_finite;
pub(crate) use host::wrong_pictures;
pub use host::{Evaluate, HostRun, Step, Watched};
pub use options::Settings;
pub use program::{Expr, Guided, Instruction, Noise, NoiseScale, Program, Slot, SlotKind, Span};
pub use record::{Denoised, Recorder};
pub use restore::Operator;

use crate::denoiser::Prediction;
use crate::error::{Error, Result};
use crate::schedule::Schedule;
use options::{
    ALGORITHM, ALPHA_TO_ONE, COMMON_GRIDS, CORRECT_STEPS, CORRECTOR_ORDER, DPM_ALGORITHMS, ETA,
    EULER_AT_FINAL, FINAL, FLOW_SHIFT, GRID, INTERPOLATION, LAMBDA_MIN, LANGEVIN_STEPS, LOWER_ORDER_FINAL,
    MAX_EVALUATIONS, NORMS, ORDER, ORIGINAL_STEPS, OptionSpec, PREDICT_X0, PREDICTOR_ORDER, RATIO_GRIDS,
    S_CHURN, S_NOISE, S_TMAX, S_TMIN, SAMPLING_EPS, SDE, SHIFT_TERMINAL, SIGMA_MAX, SIGMA_MIN, SIGMAS,
    SINGLESTEP_ALGORITHMS, SKIP_PRK, SNR, SOLVER_ORDER, SOLVER_TYPE, SPACING, STEP_RATIO, STOCHASTIC, TAU,
    TIMESTEP_SCALING, TIMESTEP_TYPE, TIMESTEPS, TOLERANCE, USE_CLIPPED, native,
};
use setup::Setup;

/// What is known of a sampler beside its steps.
#[derive(Debug)]
pub struct Entry {
    /// The name that options and page attributes use.
    pub name: &'static str,
    /// Who described it. Empty in a page's module, whose twin in JavaScript has it.
    pub paper: &'static str,
    /// The scheduler classes of diffusers that it stands for.
    pub classes: &'static [&'static str],
    /// The options that it has a use for, each with this sampler's default.
    pub options: &'static [OptionSpec],
    /// The number of steps where a caller names none, as diffusers' pipelines have it; `None` for all timesteps.
    pub default_steps: Option<usize>,
    make: fn(&mut Recorder<'_>, &Setup<'_>) -> Result<()>,
}

/// Defines [`SamplerKind`] and its table, row by row.
macro_rules! table {
    ($($kind:ident: $name:literal, $paper:literal, $classes:tt, $options:tt, $steps:expr, $make:path;)*) => {
        /// The samplers to choose from, by name: `"ddim".parse::<SamplerKind>()`. [`SamplerKind::entry`] tells of each.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[non_exhaustive]
        #[allow(missing_docs, reason = "the table's rows document them")]
        pub enum SamplerKind { $($kind,)* }

        impl SamplerKind {
            /// Every sampler.
            pub const ALL: &'static [Self] = &[$(Self::$kind,)*];
        }

        static TABLE: &[Entry] = &[$(Entry {
            name: $name,
            paper: native($paper),
            classes: &$classes,
            options: &$options,
            default_steps: $steps,
            make: $make,
        },)*];
    };
}

table! {
    Ddpm: "ddpm", "Ho, Jain and Abbeel 2020: random, and at its best with many steps",
        ["DDPMScheduler", "DDPMParallelScheduler"],
        [SPACING, TIMESTEPS], None, ddpm::ddpm;
    Ddim: "ddim", "Song, Meng and Ermon 2021: deterministic unless eta is above 0, good with some 50 steps",
        ["DDIMScheduler", "DDIMParallelScheduler"],
        [ETA, USE_CLIPPED, SPACING, ALPHA_TO_ONE, TIMESTEPS], Some(50), ddim::ddim;
    Euler: "euler", "Karras et al. 2022: first order, deterministic unless s_churn is above 0",
        ["EulerDiscreteScheduler", "EDMEulerScheduler"],
        [
            SPACING.or(1.0), GRID.among(RATIO_GRIDS), FINAL, INTERPOLATION, TIMESTEP_TYPE, SIGMA_MIN, SIGMA_MAX,
            S_CHURN, S_TMIN, S_TMAX, S_NOISE, TIMESTEPS, SIGMAS
        ],
        Some(50), euler::euler;
    EulerAncestral: "euler-ancestral", "Song et al. 2021: Euler's steps, with fresh noise in each",
        ["EulerAncestralDiscreteScheduler"],
        [SPACING.or(1.0), TIMESTEPS, SIGMAS], Some(50), euler::euler_ancestral;
    Heun: "heun", "Karras et al. 2022: second order, two evaluations a step",
        ["HeunDiscreteScheduler"],
        [SPACING.or(1.0), GRID.among(RATIO_GRIDS), TIMESTEPS, SIGMAS], Some(25), heun::heun;
    Lms: "lms", "The linear multistep method of Adams and Bashforth in sigma, order 4",
        ["LMSDiscreteScheduler"],
        [SPACING.or(1.0), GRID.among(RATIO_GRIDS), ORDER, TIMESTEPS, SIGMAS], Some(50), lms::lms;
    DpmMultistep: "dpm-multistep", "Lu et al. 2022: DPM-Solver and DPM-Solver++, good with 20 steps",
        ["DPMSolverMultistepScheduler", "EDMDPMSolverMultistepScheduler"],
        [
            ALGORITHM.among(DPM_ALGORITHMS), SOLVER_ORDER, SOLVER_TYPE.among(&["midpoint", "heun"]), SPACING.or(1.0), GRID,
            FINAL, SIGMA_MIN, SIGMA_MAX, FLOW_SHIFT, LAMBDA_MIN, LOWER_ORDER_FINAL, EULER_AT_FINAL, TIMESTEPS, SIGMAS
        ],
        Some(20), dpm::dpm_multistep;
    DpmSinglestep: "dpm-singlestep", "Lu et al. 2022: the same in turns of steps of rising order",
        ["DPMSolverSinglestepScheduler"],
        [
            ALGORITHM.among(SINGLESTEP_ALGORITHMS), SOLVER_ORDER, SOLVER_TYPE.among(&["midpoint", "heun"]),
            GRID.among(COMMON_GRIDS), FINAL, FLOW_SHIFT, LAMBDA_MIN, LOWER_ORDER_FINAL.or(0.0), TIMESTEPS, SIGMAS
        ],
        Some(20), dpm_singlestep::dpm_singlestep;
    UniPc: "unipc", "Zhao et al. 2023: a predictor and a corrector that costs nothing, good with 10 steps",
        ["UniPCMultistepScheduler"],
        [
            SOLVER_ORDER, SOLVER_TYPE.among(&["bh1", "bh2"]).or(1.0), PREDICT_X0, SPACING.or(1.0),
            GRID.among(COMMON_GRIDS), FINAL, SIGMA_MIN, SIGMA_MAX, FLOW_SHIFT, SHIFT_TERMINAL, LOWER_ORDER_FINAL, TIMESTEPS, SIGMAS
        ],
        Some(20), unipc::unipc;
    Deis: "deis", "Zhang and Chen 2023: an exponential integrator that extrapolates the noise",
        ["DEISMultistepScheduler"],
        [SOLVER_ORDER, SPACING.or(1.0), GRID.among(COMMON_GRIDS), FLOW_SHIFT, LOWER_ORDER_FINAL, TIMESTEPS, SIGMAS], Some(20), deis::deis;
    Kdpm2: "kdpm2", "Karras et al. 2022: second order by a midpoint in ln sigma, two evaluations a step",
        ["KDPM2DiscreteScheduler"],
        [SPACING.or(1.0), GRID.among(RATIO_GRIDS), TIMESTEPS, SIGMAS], Some(25), kdpm2::kdpm2;
    Kdpm2Ancestral: "kdpm2-ancestral", "The same, with fresh noise in each step",
        ["KDPM2AncestralDiscreteScheduler"],
        [SPACING.or(1.0), GRID.among(RATIO_GRIDS), TIMESTEPS, SIGMAS], Some(25), kdpm2::kdpm2_ancestral;
    Pndm: "pndm", "Liu et al. 2022: a multistep method of order 4 on DDIM's steps",
        ["PNDMScheduler"],
        [SKIP_PRK, SPACING, ALPHA_TO_ONE.or(0.0)], Some(50), pndm::pndm;
    Lcm: "lcm", "Luo et al. 2023: one to eight steps, for models distilled for it",
        ["LCMScheduler"],
        [ORIGINAL_STEPS, TIMESTEP_SCALING, TIMESTEPS], Some(4), lcm::lcm;
    Tcd: "tcd", "Zheng et al. 2024: one to eight steps, for models distilled for it",
        ["TCDScheduler"],
        [ETA.or(0.3), ORIGINAL_STEPS, TIMESTEPS], Some(4), tcd::tcd;
    FlowEuler: "flow-euler", "Lipman et al. 2023, Esser et al. 2024: first order along straight paths, for networks that predict the flow",
        ["FlowMatchEulerDiscreteScheduler"],
        [GRID.among(RATIO_GRIDS), SHIFT_TERMINAL, STOCHASTIC], Some(50), flow::flow_euler;
    FlowHeun: "flow-heun", "The same at second order, two evaluations a step",
        ["FlowMatchHeunDiscreteScheduler"],
        [], Some(25), flow::flow_heun;
    Ipndm: "ipndm", "Zhang and Chen 2023: pndm without its first steps, good with 20 steps",
        ["IPNDMScheduler"],
        [SPACING], Some(20), ipndm::ipndm;
    Consistency: "consistency", "Song et al. 2023: one step or a few, for models that were trained for it",
        ["CMStochasticIterativeScheduler"],
        [SPACING.or(1.0), GRID.among(RATIO_GRIDS), S_NOISE, TIMESTEPS], Some(1), consistency::consistency;
    SaSolver: "sa-solver", "Xue et al. 2023: a stochastic predictor and a corrector that costs nothing, good with 20 steps",
        ["SASolverScheduler"],
        [
            ALGORITHM.among(&["data_prediction", "noise_prediction"]), PREDICTOR_ORDER, CORRECTOR_ORDER, TAU, SPACING.or(1.0),
            GRID.among(COMMON_GRIDS), FLOW_SHIFT, LAMBDA_MIN, LOWER_ORDER_FINAL, TIMESTEPS, SIGMAS
        ],
        Some(20), sa_solver::sa_solver;
    DpmSde: "dpm-sde", "Lu et al. 2022: second order with fresh noise, two evaluations a step",
        ["DPMSolverSDEScheduler"],
        [SPACING.or(1.0), GRID.among(RATIO_GRIDS), S_NOISE, TIMESTEPS, SIGMAS], Some(25), dpm_sde::dpm_sde;
    ReverseSde: "reverse-sde", "Song et al. 2021: the reverse SDE, each step after one of Langevin dynamics, good with many steps",
        ["ScoreSdeVeScheduler", "ScoreSdeVpScheduler"],
        [SDE, SNR, CORRECT_STEPS, SAMPLING_EPS, NORMS, SPACING], None, reverse_sde::reverse_sde;
    AnnealedLangevin: "annealed-langevin", "Song and Ermon 2019: Langevin dynamics at ever less noise, many evaluations a step",
        [],
        [LANGEVIN_STEPS, STEP_RATIO, GRID.among(RATIO_GRIDS).or(2.0), TIMESTEPS, SIGMAS], Some(10), langevin::annealed_langevin;
    GaussianChain: "gaussian-chain", "Sohl-Dickstein et al. 2015: the chain that began it, through every timestep",
        [],
        [SPACING], None, chain::gaussian_chain;
    Adaptive: "adaptive", "Song et al. 2021: the probability-flow ODE by Dormand and Prince's method, to a tolerance",
        [],
        [TOLERANCE, MAX_EVALUATIONS, GRID.among(RATIO_GRIDS).or(2.0), TIMESTEPS, SIGMAS], Some(5), adaptive::adaptive;
}

impl SamplerKind {
    /// What is known of it.
    #[must_use]
    pub fn entry(self) -> &'static Entry {
        &TABLE[self as usize]
    }

    /// The name that options and page attributes use.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.entry().name
    }

    /// The sampler for a scheduler's class in diffusers. For a class that has none here it is DDIM, with a note that
    /// says so.
    #[must_use]
    pub fn default_for(class_name: &str) -> (Self, Option<String>) {
        match Self::ALL.iter().find(|kind| kind.entry().classes.contains(&class_name)) {
            Some(kind) => (*kind, None),
            None => (Self::Ddim, Some(format!("no sampler for {class_name} yet: ddim is used instead"))),
        }
    }

    /// The number of steps where a caller names none, as diffusers' pipelines have it.
    #[must_use]
    pub fn default_steps(self, train_timesteps: usize) -> usize {
        self.entry().default_steps.unwrap_or(train_timesteps).min(train_timesteps)
    }

    /// `[a, b]` where a run of N steps asks the network `a N + b` times, by the sampler's own defaults; `None` where that is found
    /// while it runs.
    #[cfg(not(target_arch = "wasm32"))]
    #[must_use]
    pub fn evaluations(self) -> Option<[i64; 2]> {
        let count = |steps| {
            let class = self.entry().classes.first().unwrap_or(&"DDPMScheduler");
            let file = format!(r#"{{"_class_name": "{class}", "num_train_timesteps": 1000}}"#);
            let schedule = Schedule::from_json("scheduler_config.json", file.as_bytes()).ok()?;
            let program = self.program(&schedule, &Options::steps(steps)).ok()?;
            let integrates = |i: &Instruction| matches!(i, Instruction::Integrate { .. });
            let known = !program.instructions().iter().any(integrates);
            known.then(|| program.timesteps().count() as i64)
        };
        let (ten, twenty) = (count(10)?, count(20)?);
        Some([(twenty - ten) / 10, 2 * ten - twenty])
    }

    /// Describes a run. An option is what the caller says, else what the checkpoint's file says, else this sampler's
    /// default: what diffusers' `from_config` makes of another class's file.
    ///
    /// # Errors
    /// [`Error::Option`] for options out of their range or without a use here, [`Error::Unsupported`] where no sampler can
    /// work: see [`Recorder::finish`].
    ///
    /// ```
    /// use noiseball::sampler::{Options, SamplerKind};
    /// use noiseball::schedule::Schedule;
    ///
    /// let schedule = Schedule::from_json("scheduler_config.json", b"{}")?;
    /// let program = SamplerKind::Ddim.program(&schedule, &Options::steps(20).with("eta", 0.5))?;
    /// assert_eq!(program.steps(), 20);
    /// # Ok::<(), noiseball::Error>(())
    /// ```
    pub fn program(self, schedule: &Schedule, options: &Options) -> Result<Program> {
        let Entry { name, options: rows, make, .. } = self.entry();
        let values = options.settings.resolve(name, rows, &schedule.options)?;
        options.guidance.check()?;
        let edit = options.edit.as_ref();
        options.check_list()?;
        let skipped = edit.map_or(Ok(0), |edit| edit.skipped(options.steps))?;
        let recorder = if options.formula {
            Recorder::new(&Prediction::Formula).in_place_of(&schedule.prediction)
        } else {
            Recorder::new(&schedule.prediction)
        };
        let mut recorder = recorder.guided(options.guidance).watched(options.watched);
        let setup =
            Setup { schedule, steps: options.steps, skipped, edit, rows, values, chosen: &options.settings };
        match edit {
            Some(edit) if edit.invert => {
                if self != Self::Ddim || setup.get(&ETA) != 0.0 {
                    let expected = "ddim with eta 0, which alone has a way back from a picture".to_owned();
                    return Err(Error::Option { option: "sampler", found: name.to_string(), expected });
                }
                let picture = recorder.load(edit.init.clone());
                ddim::invert(&mut recorder, &setup, picture)?;
            }
            _ => {
                recorder = recorder.from(options.noise.clone());
                make(&mut recorder, &setup)?;
                if let Some(edit) = edit {
                    recorder.edit(edit);
                }
            }
        }
        recorder.finish()
    }
}

impl fmt::Display for SamplerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for SamplerKind {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::ALL.iter().copied().find(|kind| kind.name() == name).ok_or_else(|| {
            let names: Vec<_> = Self::ALL.iter().map(|kind| kind.name()).collect();
            Error::Option { option: "sampler", found: format!("{name:?}"), expected: names.join(" or ") }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_to_samplers_and_back() {
        for kind in SamplerKind::ALL {
            assert_eq!(kind.to_string().parse::<SamplerKind>().unwrap(), *kind);
        }
        let message = "eular".parse::<SamplerKind>().unwrap_err().to_string();
        assert!(message.contains("eular") && message.contains("ddpm or ddim"), "{message}");
    }

    #[test]
    fn the_class_chooses_the_sampler() {
        assert_eq!(SamplerKind::default_for("DDPMScheduler"), (SamplerKind::Ddpm, None));
        assert_eq!(SamplerKind::default_for("DDIMScheduler"), (SamplerKind::Ddim, None));
        let (kind, note) = SamplerKind::default_for("DDIMInverseScheduler");
        assert_eq!(kind, SamplerKind::Ddim);
        assert!(note.unwrap().contains("DDIMInverseScheduler"));
    }

    #[cfg(not(target_arch = "wasm32"))]
    #[test]
    fn evaluations_are_counted() {
        let of = |name: &str| name.parse::<SamplerKind>().unwrap().evaluations();
        assert_eq!([of("unipc"), of("heun"), of("pndm")], [Some([1, 0]), Some([2, -1]), Some([1, 9])]);
        assert_eq!([of("annealed-langevin"), of("adaptive")], [Some([101, 0]), None]);
        assert!(
            SamplerKind::ALL.iter().all(|kind| kind.evaluations().is_some() || kind.name() == "adaptive")
        );
    }

    #[test]
    fn options_out_of_range_or_without_use_are_refused() {
        let noise = Schedule::from_json("s.json", b"{}").unwrap();
        let flow = br#"{"_class_name": "FlowMatchEulerDiscreteScheduler"}"#;
        let flow = Schedule::from_json("s.json", flow).unwrap();
        let refused = |kind: SamplerKind, options: &Options, named: &str| {
            let is_of_flows = kind.name().starts_with("flow-");
            let (schedule, other) = if is_of_flows { (&flow, &noise) } else { (&noise, &flow) };
            // The networks that it is not for. The multistep solvers have a grid for flows.
            assert_eq!(
                kind.program(other, &Options::steps(10)).unwrap_err().kind(),
                "invalid-option",
                "{kind}"
            );
            let error = kind.program(schedule, options).unwrap_err();
            assert!(error.kind() == "invalid-option" && error.to_string().contains(named), "{kind}: {error}");
        };
        for kind in SamplerKind::ALL {
            refused(*kind, &Options::steps(0), "steps");
            refused(*kind, &Options::steps(10).with("smapler", 1.0), "smapler");
            let never = [f64::NAN, -7e9];
            for row in options::ALL.iter().filter(|row| row.number(&never[1].into()).is_none()) {
                refused(*kind, &Options::steps(10).with(row.name, "no such"), row.name);
                refused(*kind, &Options::steps(10).with(row.name, never[1]), row.name);
                refused(*kind, &Options::steps(10).with(row.name, never[0]), row.name);
            }
        }
        refused(SamplerKind::Ddpm, &Options::steps(10).with("eta", 0.5), "ddpm has: timestep_spacing");
    }

    /// A row of a sampler may differ from the row of that name in its default and in which of the names it takes.
    #[test]
    fn rows_are_of_one_list_and_their_defaults_are_values() {
        for kind in SamplerKind::ALL {
            for row in kind.entry().options {
                let of_all = options::ALL.iter().find(|other| other.name == row.name);
                let of_all = of_all.unwrap_or_else(|| panic!("{} is not in options::ALL", row.name));
                let default = match row.kind {
                    // Without one, a number of steps says how many there are.
                    options::Kind::List(_) => continue,
                    options::Kind::Choice(_) => options::Value::Text(row.default_text()),
                    _ => options::Value::Number(row.default),
                };
                assert_eq!(row.number(&default), Some(row.default), "{kind} {}", row.name);
                assert!(of_all.number(&default).is_some(), "{kind} {}", row.name);
                assert!(!row.doc.is_empty() && !kind.entry().paper.is_empty());
            }
        }
    }
}
