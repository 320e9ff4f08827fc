//! A run as a caller chooses it: the sampler's options, and what stands around any sampler.

use std::sync::Arc;

use super::edit::Edit;
use super::guidance::Guidance;
use super::options::{GRID, SIGMAS, SPACING, Settings, TIMESTEPS, Value};
use crate::error::{Error, Result};

/// What a caller may choose for a run.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Options {
    /// The number of steps, from 1 to the number of training timesteps.
    pub steps: usize,
    /// What else is chosen, by name: see [`SamplerKind::entry`](super::SamplerKind::entry) for what a sampler has.
    pub settings: Settings,
    /// How strongly the run keeps to its labels; by default it is asked once, with them.
    pub guidance: Guidance,
    /// A picture to begin with, or to keep a part of.
    pub edit: Option<Edit>,
    /// The noise to start from in place of the generator's: `[channels, height, width]` of deviation 1, or one for each picture.
    pub noise: Option<Arc<[f32]>>,
    /// Whether somebody looks at each estimate of the clean images and may change it: [`Evaluate::watch`](super::Evaluate::watch).
    pub watched: bool,
    /// Whether a [`Formula`](crate::formula::Formula) stands in for the network that the schedule tells of.
    pub formula: bool,
}

impl Options {
    /// So many steps, and the defaults.
    #[must_use]
    pub fn steps(steps: usize) -> Self {
        Self {
            steps,
            settings: Settings::default(),
            guidance: Guidance::default(),
            edit: None,
            noise: None,
            watched: false,
            formula: false,
        }
    }

    /// The same with an option set.
    #[must_use]
    pub fn with(self, name: &str, value: impl Into<Value>) -> Self {
        Self { settings: self.settings.with(name, value), ..self }
    }

    /// The same guided to its labels.
    #[must_use]
    pub fn guidance(self, guidance: Guidance) -> Self {
        Self { guidance, ..self }
    }

    /// The same of a picture.
    #[must_use]
    pub fn edit(self, edit: impl Into<Option<Edit>>) -> Self {
        Self { edit: edit.into(), ..self }
    }

    /// The same from this noise.
    #[must_use]
    pub fn noise(self, noise: impl Into<Arc<[f32]>>) -> Self {
        Self { noise: Some(noise.into()), ..self }
    }

    /// The same with somebody who looks at each estimate.
    #[must_use]
    pub fn watched(self, watched: bool) -> Self {
        Self { watched, ..self }
    }

    /// Whether what else is chosen goes with a list of timesteps or levels.
    pub(super) fn check_list(&self) -> Result<()> {
        let refuse = |option, found, expected| Err(Error::Option { option, found, expected });
        let Some(listed) = self.settings.steps_listed() else { return Ok(()) };
        if listed != self.steps {
            return refuse("steps", self.steps.to_string(), format!("{listed}, as many as are listed"));
        }
        let sigmas_alone = self.settings.get(TIMESTEPS.name).is_none();
        for other in [SIGMAS, GRID, SPACING] {
            if self.settings.get(other.name).is_some() && !(sigmas_alone && other == SIGMAS) {
                let expected = "left out, as a list says which levels there are".to_owned();
                return refuse(other.name, "chosen".to_owned(), expected);
            }
        }
        Ok(())
    }
}
