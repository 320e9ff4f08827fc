//! Samplers, and the menu of them. Each is one plain function, readable beside its paper's equation, that knows neither
//! network nor device: it *describes* its steps once with a [`Recorder`], and any device replays the [`Program`].
//! [`HostRun`] replays one on the host.
//!
//! To add a sampler, write its file and a line of the menu below.

mod ddim;
mod ddpm;
mod host;
mod options;
mod program;
mod record;

use std::fmt;
use std::str::FromStr;

pub use host::{Evaluate, HostRun, Step};
pub use options::Options;
pub use program::{Expr, Instruction, Noise, NoiseScale, Program, Slot, SlotKind};
pub use record::{Denoised, Recorder};

use crate::error::{Error, Result};
use crate::schedule::Schedule;

/// Defines [`SamplerKind`]: for each sampler its documentation, variant, name, the diffusers classes that it stands
/// for, and its function.
macro_rules! menu {
    ($($(#[$doc:meta])* $kind:ident $name:literal $classes:tt $describe:path;)*) => {
        /// The samplers to choose from, by name: `"ddim".parse::<SamplerKind>()`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum SamplerKind { $($(#[$doc])* $kind,)* }

        impl SamplerKind {
            /// Every sampler.
            pub const ALL: &'static [Self] = &[$(Self::$kind,)*];

            /// The name that options and page attributes use.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$kind => $name,)* }
            }

            fn classes(self) -> &'static [&'static str] {
                match self { $(Self::$kind => &$classes,)* }
            }

            fn function(self) -> fn(&mut Recorder<'_>, &Schedule, &Options) -> Result<()> {
                match self { $(Self::$kind => $describe,)* }
            }
        }
    };
}

menu! {
    /// Ancestral sampling (Ho et al. 2020): random, and at its best with many steps.
    Ddpm "ddpm" ["DDPMScheduler", "DDPMParallelScheduler"] ddpm::ddpm;
    /// Implicit models (Song et al. 2021): deterministic unless `eta` is above 0, good with some 50 steps.
    Ddim "ddim" ["DDIMScheduler", "DDIMParallelScheduler"] ddim::ddim;
}

impl SamplerKind {
    /// The sampler for a scheduler's class in diffusers. For a class that has none here it is DDIM, with a note that
    /// says so.
    #[must_use]
    pub fn default_for(class_name: &str) -> (Self, Option<String>) {
        match Self::ALL.iter().find(|kind| kind.classes().contains(&class_name)) {
            Some(kind) => (*kind, None),
            None => (Self::Ddim, Some(format!("no sampler for {class_name} yet: ddim is used instead"))),
        }
    }

    /// The number of steps where a caller names none, as diffusers' pipelines have it.
    #[must_use]
    pub fn default_steps(self, train_timesteps: usize) -> usize {
        match self {
            Self::Ddpm => train_timesteps,
            Self::Ddim => 50.min(train_timesteps),
        }
    }

    /// Describes a run.
    ///
    /// # Errors
    /// [`Error::Option`] for options out of their range, [`Error::Unsupported`] where no sampler can work: see
    /// [`Recorder::finish`].
    ///
    /// ```
    /// use noiseball::sampler::{Options, SamplerKind};
    /// use noiseball::schedule::Schedule;
    ///
    /// let schedule = Schedule::from_json("scheduler_config.json", b"{}")?;
    /// let program = SamplerKind::Ddim.program(&schedule, &Options { steps: 20, ..Options::default() })?;
    /// assert_eq!(program.steps(), 20);
    /// # Ok::<(), noiseball::Error>(())
    /// ```
    pub fn program(self, schedule: &Schedule, options: &Options) -> Result<Program> {
        if !(0.0..=1.0).contains(&options.eta) {
            return Err(Error::Option {
                option: "eta",
                found: options.eta.to_string(),
                expected: "from 0 (deterministic) to 1 (as noisy as DDPM)".to_owned(),
            });
        }
        let mut recorder = Recorder::new(&schedule.prediction);
        self.function()(&mut recorder, schedule, options)?;
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
        let (kind, note) = SamplerKind::default_for("UniPCMultistepScheduler");
        assert_eq!(kind, SamplerKind::Ddim);
        assert!(note.unwrap().contains("UniPCMultistepScheduler"));
    }

    #[test]
    fn options_out_of_range_are_refused() {
        let schedule = Schedule::from_json("s.json", b"{}").unwrap();
        for kind in SamplerKind::ALL {
            for (steps, eta) in [(0, 0.0), (1001, 0.0), (10, -0.1), (10, 1.1), (10, f64::NAN)] {
                let options = Options { steps, eta, ..Options::default() };
                assert_eq!(kind.program(&schedule, &options).unwrap_err().kind(), "invalid-option");
            }
        }
    }
}
