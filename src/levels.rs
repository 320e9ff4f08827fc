//! Which noise levels a run goes through: timesteps spread over those of the training, and the way between a level and
//! the timestep, whole or fractional, by which a network knows it.

use crate::error::{Error, Result};
use crate::text;

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

/// `number` of 0 to `count - 1`: one loop for all lists, which a page's module then has once.
pub(crate) fn list(count: usize, number: &dyn Fn(usize) -> f64) -> Vec<f64> {
    let mut list = Vec::with_capacity(count);
    for i in 0..count {
        list.push(number(i));
    }
    list
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
pub fn timesteps(spacing: Spacing, total: usize, steps: usize, offset: usize) -> Result<Vec<f64>> {
    let refuse = |expected: String| Error::Option { option: "steps", found: steps.to_string(), expected };
    if steps == 0 || steps > total {
        return Err(refuse(format!("from 1 to {total}, the timesteps that the network was trained with")));
    }
    let (n, t, back) = (steps as f64, total as f64, |i: usize| (steps - 1 - i) as f64);
    // numpy rounds halves to even, and multiplies by the steps below as they come out in floating point.
    let timesteps = match spacing {
        Spacing::Leading => {
            let stride = (total / steps) as f64;
            list(steps, &|i| back(i) * stride + offset as f64)
        }
        Spacing::Linspace => {
            let step = if steps == 1 { 0.0 } else { (t - 1.0) / (n - 1.0) };
            list(steps, &|i| (back(i) * step).round_ties_even())
        }
        Spacing::Trailing => {
            let step = (t - t / n) - t;
            list(steps, &|i| (t + i as f64 * step).round_ties_even() - 1.0)
        }
    };
    if timesteps[0] < t {
        return Ok(timesteps);
    }
    Err(refuse(format!(
        "fewer: with `steps_offset` {offset} the first timestep would be {}, but the last of the table is {}",
        text::number(timesteps[0]),
        total - 1
    )))
}

/// As [`timesteps`], but the points of `linspace` are not rounded.
///
/// # Errors
/// As there.
pub fn fractional_timesteps(spacing: Spacing, total: usize, steps: usize, offset: usize) -> Result<Vec<f64>> {
    let whole = timesteps(spacing, total, steps, offset)?;
    let step = (total - 1) as f64 / (steps - 1).max(1) as f64;
    match spacing {
        Spacing::Linspace => Ok(list(steps, &|i| (steps - 1 - i) as f64 * step)),
        _ => Ok(whole),
    }
}

/// The timesteps of a run of solvers that need a level to go to beside those that they visit: `steps` of them, from the
/// points of `steps + 1` steps, the last of which is left out. `last` is how many timesteps of `total` are used.
///
/// # Errors
/// As [`timesteps`].
pub fn timesteps_before_the_end(
    spacing: Spacing,
    total: usize,
    last: usize,
    steps: usize,
    offset: usize,
) -> Result<Vec<f64>> {
    match spacing {
        Spacing::Trailing if last < total && steps > 0 => {
            let step = total as f64 / steps as f64;
            let mut all = list(steps, &|i| (last as f64 - i as f64 * step).round_ties_even() - 1.0);
            all.retain(|t| *t >= 0.0);
            Ok(all)
        }
        Spacing::Trailing => timesteps(spacing, total, steps, offset),
        // With as many steps as timesteps there is no point beside them, and all are visited; diffusers repeats one.
        _ if !(1..last).contains(&steps) => timesteps(spacing, last, steps, offset),
        _ => {
            let mut list = timesteps(spacing, last, steps + 1, offset)?;
            list.pop();
            Ok(list)
        }
    }
}

/// The noise-to-signal ratio σ/α of every timestep, from the least noise to the most, and the way between a ratio and its
/// timestep, whole or fractional.
#[derive(Clone, Debug, PartialEq)]
pub struct Sigmas(Vec<f64>);

impl Sigmas {
    /// Of a table of ᾱ. Where no signal is left, 2⁻²⁴ of it is, as in diffusers, so that the ratio is finite.
    #[must_use]
    pub fn new(alpha_bar: &[f64]) -> Self {
        let left = |i: usize| if alpha_bar[i] == 0.0 { 2f64.powi(-24) } else { alpha_bar[i] };
        Self(list(alpha_bar.len(), &|i| ((1.0 - left(i)) / left(i)).sqrt()))
    }

    /// The ratio at a timestep, on a straight line between two whole ones.
    #[must_use]
    pub fn at(&self, timestep: f64) -> f64 {
        let last = self.0.len() - 1;
        let below = (timestep.max(0.0) as usize).min(last);
        let (low, high) = (self.0[below], self.0[(below + 1).min(last)]);
        low + (timestep - below as f64).clamp(0.0, 1.0) * (high - low)
    }

    /// The timestep of a ratio, on a straight line of its logarithm; the ends of the table for what lies beyond.
    #[must_use]
    pub fn timestep(&self, sigma: f64) -> f64 {
        let above = self.0.partition_point(|s| *s <= sigma).clamp(1, (self.0.len() - 1).max(1));
        let (low, high) = (self.0[above - 1].ln(), self.0[above.min(self.0.len() - 1)].ln());
        let share = (sigma.max(1e-10).ln() - low) / (high - low);
        (above - 1) as f64 + if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.0 }
    }

    /// The least and the greatest.
    #[must_use]
    pub fn ends(&self) -> (f64, f64) {
        (self.0[0], self.0[self.0.len() - 1])
    }
}

/// How the levels of a run lie between the greatest and the least.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grid {
    /// Those of the spaced timesteps.
    Timesteps,
    /// σ^(1/7) evenly spread (Karras et al. 2022, equation 5).
    Karras,
    /// ln σ evenly spread.
    Exponential,
    /// σ at the quantiles of the distribution B(0.6, 0.6) (Lee et al. 2024).
    Beta,
    /// Ten levels that were optimised for Stable Diffusion (Sabour et al. 2024); other counts lie between them in ln σ.
    Ays,
    /// The same for Stable Diffusion XL.
    AysXl,
    /// The same for Stable Video Diffusion.
    AysVideo,
    /// Times of a straight path between data and noise evenly spread, then shifted (Esser et al. 2024, section 5.3.2).
    Flow,
    /// ln σ spread evenly, as diffusers has the grid of Lu et al. 2022.
    Lu,
}

/// The levels of "Align Your Steps", as published.
const AYS: [[f64; 10]; 3] = [
    [14.615, 6.475, 3.861, 2.697, 1.886, 1.396, 0.963, 0.652, 0.399, 0.152],
    [14.615, 6.315, 3.771, 2.181, 1.342, 0.862, 0.555, 0.380, 0.234, 0.113],
    [700.00, 54.5, 15.886, 7.977, 4.248, 1.789, 0.981, 0.403, 0.173, 0.034],
];

impl Grid {
    /// All, in the order of the option's names.
    pub(crate) const ALL: [Self; 9] = [
        Self::Timesteps,
        Self::Karras,
        Self::Exponential,
        Self::Beta,
        Self::Ays,
        Self::AysXl,
        Self::AysVideo,
        Self::Flow,
        Self::Lu,
    ];

    /// `count` ratios from `greatest` down to `least`, both included, for the grids that lie between two ratios.
    #[must_use]
    pub fn between(self, greatest: f64, least: f64, count: usize) -> Vec<f64> {
        list(count, &|i| self.at(greatest, least, i as f64 / (count - 1).max(1) as f64))
    }

    /// The ratio at a share of the way from `greatest` to `least`.
    pub(crate) fn at(self, greatest: f64, least: f64, u: f64) -> f64 {
        let mix = |a: f64, b: f64, u: f64| a + u * (b - a);
        match self {
            Self::Karras => mix((greatest.ln() / 7.0).exp(), (least.ln() / 7.0).exp(), u).powi(7),
            Self::Beta => least + beta_quantile(1.0 - u) * (greatest - least),
            Self::Ays | Self::AysXl | Self::AysVideo => {
                let list = &AYS[self as usize - Self::Ays as usize];
                let below = ((9.0 * u) as usize).min(8);
                mix(list[below].ln(), list[below + 1].ln(), 9.0 * u - below as f64).exp()
            }
            _ => mix(greatest.ln(), least.ln(), u).exp(),
        }
    }
}

/// The quantile of the distribution B(a, a) with a = 0.6.
fn beta_quantile(p: f64) -> f64 {
    const A: f64 = 0.6;
    // ∫₀ˣ (t (1-t))^(a-1) dt = x^a Σ (1-a)_n / n! · xⁿ / (a + n), which converges fast up to 1/2.
    let integral = |x: f64| {
        let (mut sum, mut term) = (0.0, 1.0);
        for n in 0..60 {
            let n = f64::from(n);
            sum += term / (A + n);
            term *= x * (1.0 - A + n) / (n + 1.0);
        }
        (A * x.ln()).exp() * sum
    };
    if p > 0.5 {
        return 1.0 - beta_quantile(1.0 - p);
    }
    let wanted = 2.0 * p * integral(0.5);
    let (mut low, mut high) = (0.0, 0.5);
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        if integral(middle) < wanted { low = middle } else { high = middle }
    }
    high
}
