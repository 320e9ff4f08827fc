//! What a sampler is given to describe a run: the schedule, the number of steps, and its options' values.

use super::options::{OptionSpec, SPACING};
use crate::error::Result;
use crate::levels::{self, Spacing};
use crate::schedule::Schedule;

pub(super) struct Setup<'a> {
    pub(super) schedule: &'a Schedule,
    pub(super) steps: usize,
    pub(super) rows: &'static [OptionSpec],
    /// A number for each row.
    pub(super) values: Vec<f64>,
}

impl Setup<'_> {
    /// The value of an option that the sampler lists.
    pub(super) fn get(&self, option: &OptionSpec) -> f64 {
        let values = self.rows.iter().zip(&self.values);
        values.filter(|(row, _)| row.name == option.name).map(|(_, value)| *value).sum()
    }

    /// Whether a flag is set.
    pub(super) fn is(&self, option: &OptionSpec) -> bool {
        self.get(option) != 0.0
    }

    /// The timesteps of a run that visits whole ones.
    pub(super) fn timesteps(&self) -> Result<Vec<usize>> {
        let total = self.schedule.train_timesteps();
        levels::timesteps(self.spacing(), total, self.steps, self.schedule.steps_offset)
    }

    pub(super) fn spacing(&self) -> Spacing {
        Spacing::ALL[self.get(&SPACING) as usize]
    }
}
