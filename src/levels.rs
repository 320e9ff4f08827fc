//! Which noise levels a run goes through: timesteps spread over those of the training, and the way between a level and
//! the timestep, whole or fractional, by which a network knows it.

use crate::error::{Error, Result};

/// How the timesteps of a run are spread over those of the training (`timestep_spacing`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spacing {
    /// Multiples of `T div N`, from 0 upwards, plus `steps_offset`.
    Leading,
    /// N points from 0 to T - 1, both included.
    Linspace,
    /// From T - 1 downwards in steps of `T / N`.
    Trailing,
}

impl Spacing {
    /// All, in the order of the option's names.
    pub(crate) const ALL: [Self; 3] = [Self::Leading, Self::Linspace, Self::Trailing];
}

/// The timesteps that a run of `steps` steps visits among `total`, from the most noise to the least: exactly `steps` of
/// them.
///
/// They are diffusers' own, except that for some counts with `trailing` spacing (62 of the first 1000 for
/// T = 1000, such as 61 and 103) `numpy.arange` rounds its length up and diffusers appends a timestep of -1,
/// which it then reads as the last entry of its table; that step is left out here.
///
/// # Errors
/// [`Error::Option`] unless `steps` is at least 1 and the timesteps fit in the table.
pub fn timesteps(spacing: Spacing, total: usize, steps: usize, offset: usize) -> Result<Vec<usize>> {
    let refuse = |expected: String| Error::Option { option: "steps", found: steps.to_string(), expected };
    if steps == 0 || steps > total {
        return Err(refuse(format!("from 1 to {total}, the timesteps that the network was trained with")));
    }
    let last = (total - 1) as f64;
    let (n, t) = (steps as f64, total as f64);
    // numpy rounds halves to even, and multiplies by the steps below as they come out in floating point.
    let timesteps: Vec<usize> = match spacing {
        Spacing::Leading => (0..steps).rev().map(|i| (i * (total / steps)).saturating_add(offset)).collect(),
        Spacing::Linspace => {
            let step = if steps == 1 { 0.0 } else { last / (n - 1.0) };
            (0..steps).rev().map(|i| (i as f64 * step).round_ties_even() as usize).collect()
        }
        Spacing::Trailing => {
            let step = (t - t / n) - t;
            (0..steps).map(|i| ((t + i as f64 * step).round_ties_even() - 1.0) as usize).collect()
        }
    };
    match timesteps.iter().max() {
        Some(&first) if first >= total => Err(refuse(format!(
            "fewer: with `steps_offset` {offset} the first timestep would be {first}, but the last of the table is {}",
            total - 1
        ))),
        _ => Ok(timesteps),
    }
}
