//! Averages of the weights over training, which sample better than the last ones.

use serde::{Deserialize, Serialize};

/// How the averaged weights follow the trained ones.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Average {
    /// diffusers' `EMAModel` with warm-up: the decay grows as `1 - step^-power`, up to `max_decay`.
    Diffusers {
        /// 3/4 in diffusers' training script.
        power: f64,
        /// 0.9999 in diffusers' training script.
        max_decay: f64,
    },
    /// Weights as old as `steps` count half as much as the newest. Normalised, so that a run shorter than that is
    /// averaged over what there is and not drawn to the initial weights.
    HalfLife {
        /// In optimiser steps, above 0.
        steps: f64,
    },
}

impl Average {
    /// The share of the old average in the new one after `step` optimiser steps, from 1; 0 after the first.
    #[must_use]
    pub fn decay(self, step: u64) -> f64 {
        let before = step.saturating_sub(1) as f64;
        match self {
            _ if step <= 1 => 0.0,
            Self::Diffusers { power, max_decay } => (1.0 - (1.0 + before).powf(-power)).min(max_decay),
            Self::HalfLife { steps } => {
                let d = (-std::f64::consts::LN_2 / steps).exp();
                d * (1.0 - d.powf(before)) / (1.0 - d.powf(before + 1.0))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decays_are_diffusers() {
        let average = Average::Diffusers { power: 0.75, max_decay: 0.9999 };
        let found = [1, 2, 3, 300_000].map(|k| average.decay(k));
        let expected = [0.0, 0.405_396, 0.561_309, 0.9999];
        assert!(found.iter().zip(expected).all(|(f, e)| (f - e).abs() < 1e-6), "{found:?}");
    }

    /// Averaging a constant gives it from the first step on; a step's share halves every half-life.
    #[test]
    fn a_half_life_is_one() {
        let average = Average::HalfLife { steps: 10.0 };
        let mut shares: Vec<f64> = Vec::new();
        for step in 1..=50 {
            let d = average.decay(step);
            shares.iter_mut().for_each(|s| *s *= d);
            shares.push(1.0 - d);
            assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-12);
        }
        assert!((shares[20] / shares[30] - 0.5).abs() < 1e-12);
    }
}
