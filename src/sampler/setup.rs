//! What a sampler is given to describe a run: the schedule, the number of steps, its options' values, and from them the
//! levels to go through.

use super::edit::Edit;
use super::options::{
    FINAL, FLOW_SHIFT, GRID, INTERPOLATION, LAMBDA_MIN, OptionSpec, SHIFT_TERMINAL, SIGMA_MAX, SIGMA_MIN,
    SIGMAS, SPACING, Settings, TIMESTEP_TYPE, TIMESTEPS,
};
use super::program::Slot;
use super::record::Recorder;
use crate::denoiser::{Level, Point, Prediction};
use crate::error::{Error, Result};
use crate::levels::{self, Grid, Spacing, list};
use crate::schedule::{Clip, Schedule};
use crate::text::number;

pub(super) struct Setup<'a> {
    pub(super) schedule: &'a Schedule,
    /// The steps of a whole run, of which as many as [`Self::skipped`] are left out at the beginning.
    pub(super) steps: usize,
    pub(super) skipped: usize,
    pub(super) edit: Option<&'a Edit>,
    pub(super) rows: &'static [OptionSpec],
    /// A number for each row.
    pub(super) values: Vec<f64>,
    /// What the caller chose, for the lists.
    pub(super) chosen: &'a Settings,
}

/// Where a run of [`Setup::preserving`] ends unless it ends at σ = 0.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// At the table's least level; timesteps of a cosine's levels are not rounded.
    OfTable,
    /// At the table's least level.
    Rounded,
    /// At the grid's last level, once more, or at the table's least where the grid is that of the timesteps.
    LastOfGrid,
    /// As before, and never at 0.
    Least,
}

/// λ = ln(α/σ), half the logarithm of the signal-to-noise ratio; infinite where there is no noise.
pub(super) fn log_ratio(level: Level) -> f64 {
    (level.alpha / level.sigma).ln()
}

/// Points of these ratios, and the end, whose timestep is never asked for.
fn points(ratios: &[f64], timesteps: &[f64], end: f64, level: &dyn Fn(f64) -> Level) -> Vec<Point> {
    let mut points = Vec::with_capacity(ratios.len() + 1);
    for (sigma, timestep) in ratios.iter().zip(timesteps) {
        points.push(Point { level: level(*sigma), timestep: *timestep });
    }
    points.push(Point { level: level(end), timestep: 0.0 });
    points
}

impl Setup<'_> {
    /// The value of an option, the row's default where the sampler does not list it.
    pub(super) fn get(&self, option: &OptionSpec) -> f64 {
        let listed = self.rows.iter().position(|row| row.name == option.name);
        listed.map_or(option.default, |i| self.values[i])
    }

    /// Whether a flag is set.
    pub(super) fn is(&self, option: &OptionSpec) -> bool {
        self.get(option) != 0.0
    }

    /// Without the steps that are left out: of a list with a number for each step, and perhaps the end.
    pub(super) fn kept<T>(&self, mut list: Vec<T>) -> Vec<T> {
        // What is left out of a list that is shorter than the run, as some options make it, leaves a step all the same.
        let steps = self.steps.min(list.len());
        list.drain(..self.skipped.min(steps.saturating_sub(1)));
        list
    }

    /// Whether the run comes back to the beginning of this one of `steps` steps, the image then being another one than what the
    /// solver remembers.
    pub(super) fn comes_back_to(&self, step: usize, steps: usize) -> bool {
        self.edit.is_some_and(|edit| edit.comes_back_to(step, steps))
    }

    fn total(&self) -> usize {
        self.schedule.train_timesteps()
    }

    pub(super) fn grid(&self) -> Grid {
        Grid::ALL[self.get(&GRID) as usize]
    }

    /// `linspace` for a sampler that has no choice.
    fn spacing(&self) -> Spacing {
        let listed = self.rows.iter().any(|row| row.name == SPACING.name);
        if listed { Spacing::ALL[self.get(&SPACING) as usize] } else { Spacing::Linspace }
    }

    /// Levels of a flow are not those of a noise that is added.
    pub(super) fn refuse_flow(&self) -> Result<()> {
        if self.schedule.prediction != Prediction::Flow {
            return Ok(());
        }
        Err(Error::Option {
            option: "sampler",
            found: "one for networks that predict the noise, the data or v".to_owned(),
            expected: "flow-euler or flow-heun for a network that predicts the flow".to_owned(),
        })
    }

    /// No more steps than timesteps, and at least one.
    pub(super) fn refuse_steps(&self) -> Result<()> {
        if (1..=self.total()).contains(&self.steps) {
            return Ok(());
        }
        let expected = format!("from 1 to {}, the levels that the network was trained at", self.total());
        Err(Error::Option { option: "steps", found: self.steps.to_string(), expected })
    }

    /// The timesteps that the caller lists.
    pub(super) fn listed(&self) -> Result<Option<Vec<f64>>> {
        let Some(list) = self.chosen.list(TIMESTEPS.name) else { return Ok(None) };
        if list[0] < self.total() as f64 {
            return Ok(Some(list.to_vec()));
        }
        let expected = format!("below {}, the number that the network was trained with", self.total());
        Err(Error::Option { option: TIMESTEPS.name, found: number(list[0]), expected })
    }

    /// The levels σ/α that the caller lists, and whether they end without noise.
    fn listed_sigmas(&self) -> Option<(&[f64], bool)> {
        let list = self.chosen.list(SIGMAS.name)?;
        Some((&list[..self.steps], self.steps < list.len()))
    }

    /// The timesteps of a run that visits whole ones.
    pub(super) fn timesteps(&self) -> Result<Vec<f64>> {
        self.all_timesteps().map(|all| self.kept(all))
    }

    /// The same with those that are left out at the beginning.
    pub(super) fn all_timesteps(&self) -> Result<Vec<f64>> {
        self.refuse_flow()?;
        match self.listed()? {
            Some(list) => Ok(list),
            None => levels::timesteps(self.spacing(), self.total(), self.steps, self.schedule.steps_offset),
        }
    }

    /// The ratios of a grid from `greatest` to `least`, which the options may replace.
    fn between(&self, grid: Grid, greatest: f64, least: f64) -> Result<Vec<f64>> {
        let own = |option: &OptionSpec, other: f64| match self.get(option) {
            0.0 => other,
            value => value,
        };
        let (least, greatest) = (own(&SIGMA_MIN, least), own(&SIGMA_MAX, greatest));
        if self.steps > 1 && least >= greatest {
            return Err(Error::Option {
                option: "sigma_min",
                found: number(least),
                expected: format!("below sigma_max, which is {}", number(greatest)),
            });
        }
        Ok(grid.between(greatest, least, self.steps))
    }

    /// The points of samplers in `x = x₀ + σ ε`, from the most noise to the end; the last one's timestep is never asked for.
    pub(super) fn exploding(&self) -> Result<Vec<Point>> {
        self.refuse_flow()?;
        let sigmas = self.schedule.sigmas();
        let (least, greatest) = sigmas.ends();
        let offset = self.schedule.steps_offset;
        let (listed, levels) = (self.listed()?, self.listed_sigmas());
        let is_listed = listed.is_some() || levels.is_some();
        let mut timesteps = match listed {
            Some(list) => list,
            None => levels::fractional_timesteps(self.spacing(), self.total(), self.steps, offset)?,
        };
        let mut ratios = list(self.steps, &|i| sigmas.at(timesteps[i]));
        let grid = if is_listed { Grid::Timesteps } else { self.grid() };
        let mut end = if self.get(&FINAL) == 0.0 { 0.0 } else { least };
        if let Some((list, ends_clean)) = levels {
            ratios = list.to_vec();
            end = if ends_clean { 0.0 } else { end };
        } else if self.get(&INTERPOLATION) != 0.0 && !is_listed {
            // One level more than timesteps: diffusers appends the end to them, and stops before it.
            ratios = Grid::Exponential.between(greatest, least, self.steps + 1);
            if grid == Grid::Timesteps {
                end = ratios[self.steps];
            }
        }
        if grid != Grid::Timesteps {
            ratios = self.between(grid, ratios[0], ratios[ratios.len() - 1])?;
        }
        if grid != Grid::Timesteps || levels.is_some() {
            timesteps = list(self.steps, &|i| sigmas.timestep(ratios[i]));
        }
        let continuous =
            self.get(&TIMESTEP_TYPE) != 0.0 && self.schedule.prediction == Prediction::VPrediction;
        if continuous {
            timesteps = list(self.steps, &|i| ratios[i].ln() / 4.0);
        }
        ratios.truncate(self.steps);
        Ok(self.kept(points(&ratios, &timesteps, end, &|sigma| Level { alpha: 1.0, sigma })))
    }

    /// The deviation of the noise that a run starts from: 1 but for `x = x₀ + σ ε`. With `leading` spacing, which begins below the most noise, it is
    /// that of pure noise and of an image.
    pub(super) fn start(&self, points: &[Point]) -> f64 {
        let Level { alpha, sigma: most } = points[0].level;
        if alpha != 1.0 {
            return 1.0;
        }
        if self.spacing() == Spacing::Leading { most.hypot(1.0) } else { most }
    }

    /// The points of samplers in a variance-preserving `x`, on a straight path for the grid `flow`, or in `x = x₀ + σ ε` for
    /// EDM's networks, from the most noise to
    /// the end; the last one's timestep is never asked for.
    pub(super) fn preserving(&self, ends: End) -> Result<Vec<Point>> {
        let sigmas = self.schedule.sigmas();
        let (least, greatest) = sigmas.ends();
        let (total, offset) = (self.total(), self.schedule.steps_offset);
        let (listed, levels) = (self.listed()?, self.listed_sigmas());
        if listed.is_some() || levels.is_some() {
            self.refuse_flow()?;
        }
        // Levels that are listed end as those of a grid.
        let grid = match (&listed, levels) {
            (Some(_), _) => Grid::Timesteps,
            (_, Some(_)) => Grid::Exponential,
            _ => self.grid(),
        };
        let flow = self.schedule.prediction == Prediction::Flow;
        // UniPC can go through Karras's ratios on a flow.
        let karras = grid == Grid::Karras && ends == End::LastOfGrid;
        if flow != (grid == Grid::Flow) && !(flow && karras) {
            return Err(Error::Option {
                option: "grid",
                found: GRID.names()[grid as usize].to_owned(),
                expected: "flow for a network that predicts the flow, and for no other".to_owned(),
            });
        }
        // The timesteps whose λ is below are left out.
        let mut last = total;
        while last > 1 && log_ratio(self.schedule.level(last - 1)) < self.get(&LAMBDA_MIN) {
            last -= 1;
        }
        let mut timesteps = match listed {
            Some(list) => list,
            None => levels::timesteps_before_the_end(self.spacing(), total, last, self.steps, offset)?,
        };
        let ratios = match grid {
            _ if levels.is_some() => levels.map_or(Vec::new(), |(list, _)| list.to_vec()),
            Grid::Timesteps => list(timesteps.len(), &|i| sigmas.at(timesteps[i])),
            Grid::Flow => self.flow(ends),
            _ => self.between(grid, greatest, least)?,
        };
        let level = |sigma: f64| match grid {
            Grid::Flow => Level { alpha: 1.0 - sigma, sigma },
            _ if flow => Level { alpha: 1.0 / (1.0 + sigma), sigma: sigma / (1.0 + sigma) },
            _ if matches!(self.schedule.prediction, Prediction::Edm { .. }) => Level { alpha: 1.0, sigma },
            _ => {
                let alpha = 1.0 / sigma.hypot(1.0);
                Level { alpha, sigma: sigma * alpha }
            }
        };
        if grid != Grid::Timesteps {
            let rounds = !flow
                && matches!(grid, Grid::Karras | Grid::Lu)
                && !(ends == End::OfTable && self.schedule.is_cosine);
            timesteps = list(self.steps, &|i| match grid {
                _ if flow => level(ratios[i]).sigma * total as f64,
                _ if rounds => sigmas.timestep(ratios[i]).round_ties_even(),
                _ => sigmas.timestep(ratios[i]),
            });
        }
        let end = match ends {
            End::OfTable | End::Rounded | End::LastOfGrid
                if self.get(&FINAL) == 0.0 || levels.is_some_and(|(_, ends_clean)| ends_clean) =>
            {
                0.0
            }
            End::LastOfGrid | End::Least if grid != Grid::Timesteps => ratios[ratios.len() - 1],
            _ => least,
        };
        // diffusers cuts what is left of fractions off, but not what only rounding keeps below a whole number.
        let timesteps = list(timesteps.len(), &|i| (timesteps[i] + 1e-4).floor());
        Ok(self.kept(points(&ratios, &timesteps, end, &level)))
    }

    /// σ of evenly spread times of a straight path, shifted by s: `s σ / (1 + (s - 1) σ)`.
    fn flow(&self, ends: End) -> Vec<f64> {
        let (steps, least) = (self.steps as f64, 1.0 / self.total() as f64);
        let shift = self.get(&FLOW_SHIFT);
        let mut sigmas = list(self.steps, &|i| {
            let share = i as f64 / steps;
            // UniPC begins at pure noise but for a millionth; the others begin and end a timestep below.
            let begins = if ends == End::LastOfGrid { 1.0 } else { 1.0 - least };
            let time = begins - share * (1.0 - least);
            shift * time / (1.0 + (shift - 1.0) * time)
        });
        self.stretch(&mut sigmas);
        sigmas.iter_mut().for_each(|sigma| *sigma = sigma.min(1.0 - 1e-6));
        sigmas
    }

    /// Stretches the way from pure noise so that it ends at `shift_terminal`.
    pub(super) fn stretch(&self, sigmas: &mut [f64]) {
        let terminal = self.get(&SHIFT_TERMINAL);
        if terminal > 0.0 {
            let scale = (1.0 - sigmas[sigmas.len() - 1]) / (1.0 - terminal);
            sigmas.iter_mut().for_each(|sigma| *sigma = 1.0 - (1.0 - *sigma) / scale);
        }
    }

    /// x̂₀, thresholded, and what the solver goes by: x̂₀ again (`data`), or ε̂, derived from x̂₀ where that was thresholded.
    pub(super) fn ask(&self, run: &mut Recorder<'_>, x: Slot, at: Point, data: bool) -> (Slot, Slot) {
        let denoised = run.denoise(x, at);
        let threshold = self.schedule.threshold();
        let x0 = run.clip(denoised.x0, threshold);
        if data {
            return (x0, x0);
        }
        let Level { alpha, sigma } = at.level;
        let epsilon = if threshold == Clip::None { denoised.epsilon } else { (x - alpha * x0) / sigma };
        (x0, run.combine(epsilon))
    }

    /// Solvers of ε̂ cannot arrive at σ = 0, where λ is infinite.
    pub(super) fn refuse_zero_end(&self, points: &[Point], data: bool) -> Result<()> {
        if data || points[points.len() - 1].level.sigma > 0.0 {
            return Ok(());
        }
        Err(Error::Option {
            option: "final_sigmas_type",
            found: "zero".to_owned(),
            expected: "sigma_min for a solver of the noise, or choose one of the data such as dpmsolver++"
                .to_owned(),
        })
    }
}
