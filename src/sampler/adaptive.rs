//! The probability-flow ODE with error control: Song et al. 2021 (2011.13456, section 4.3), by the method of Dormand and Prince 1980.

use std::sync::Arc;

use super::options::{MAX_EVALUATIONS, TOLERANCE};
use super::program::Span;
use super::record::Recorder;
use super::setup::Setup;
use crate::denoiser::{Denoiser, Level, Point, Question};
use crate::error::{Error, Result};
use crate::levels::list;

/// From level to level the device takes as many steps as the tolerance needs, each picture its own; the last step, to σ = 0, is
/// x̂₀.
pub(super) fn adaptive(run: &mut Recorder<'_>, setup: &Setup<'_>) -> Result<()> {
    if setup.steps < 2 {
        let expected = "2 or more: levels to stop at, between which the steps are found".to_owned();
        return Err(Error::Option { option: "steps", found: setup.steps.to_string(), expected });
    }
    let points = setup.exploding()?;
    let sigmas = Arc::new(setup.schedule.sigmas());
    let mut x = run.start(setup.start(&points));
    for pair in points.windows(2) {
        let (at, next) = (pair[0], pair[1].level);
        let denoised = run.denoise(x, at);
        let x0 = run.combine(denoised.x0);
        x = if next.sigma > 0.0 {
            // dx/d ln σ at the beginning.
            let slope = run.combine(at.level.sigma * denoised.epsilon);
            run.integrate(
                x,
                slope,
                Span {
                    from: at.level.sigma,
                    to: next.sigma,
                    tolerance: setup.get(&TOLERANCE),
                    most: setup.get(&MAX_EVALUATIONS) as usize,
                    prediction: setup.schedule.prediction,
                    sigmas: sigmas.clone(),
                },
            )
        } else {
            x0
        };
        run.end_step(at, next, x, x0);
    }
    Ok(())
}

/// Where each of the method's evaluations but the first lies, and how much it takes of the slopes before it; the last is where the step
/// of order 5 ends.
const STAGES: [(f64, &[f64]); 6] = [
    (1.0 / 5.0, &[1.0 / 5.0]),
    (3.0 / 10.0, &[3.0 / 40.0, 9.0 / 40.0]),
    (4.0 / 5.0, &[44.0 / 45.0, -56.0 / 15.0, 32.0 / 9.0]),
    (8.0 / 9.0, &[19372.0 / 6561.0, -25360.0 / 2187.0, 64448.0 / 6561.0, -212.0 / 729.0]),
    (1.0, &[9017.0 / 3168.0, -355.0 / 33.0, 46732.0 / 5247.0, 49.0 / 176.0, -5103.0 / 18656.0]),
    (1.0, &[35.0 / 384.0, 0.0, 500.0 / 1113.0, 125.0 / 192.0, -2187.0 / 6784.0, 11.0 / 84.0]),
];
/// The difference from the step of order 4.
const ERROR: [f64; 7] =
    [71.0 / 57600.0, 0.0, -71.0 / 16695.0, 71.0 / 1920.0, -17253.0 / 339200.0, 22.0 / 525.0, -1.0 / 40.0];

/// The longest step in ln σ: beyond, the difference of the two orders no longer says how large the error is.
const LONGEST: f64 = 1.5;

/// How far a picture is.
#[derive(Clone, Copy)]
struct Progress {
    /// ln σ.
    at: f64,
    /// The step that is tried next; 0 at the end.
    step: f64,
    /// The error of the last step that was taken.
    error: f64,
}

/// A batch on its way along a span. Whoever holds it asks the network what [`Self::ask`] gives, and gives the answer back.
pub(super) struct Integration<'a> {
    span: &'a Span,
    len: usize,
    pictures: Vec<Progress>,
    x: Vec<f32>,
    /// Where the evaluation is that is asked for.
    y: Vec<f32>,
    /// σ ε̂, evaluation by evaluation.
    slopes: Vec<Vec<f32>>,
    stage: usize,
}

impl<'a> Integration<'a> {
    /// Of a batch of so many images `x`, whose `slope` is σ ε̂ at the span's beginning.
    pub(super) fn new(span: &'a Span, x: Vec<f32>, slope: Vec<f32>, batch: usize) -> Self {
        let (at, end) = (span.from.ln(), span.to.ln());
        let pictures = vec![Progress { at, step: (end - at).max(-LONGEST), error: 1.0 }; batch];
        Self { span, len: x.len() / batch, pictures, y: x.clone(), x, slopes: vec![slope; 7], stage: 0 }
    }

    /// The network's input and the timestep of each image; nothing where all have arrived, `evaluations` being those of the whole run.
    ///
    /// # Errors
    /// [`Error::Option`] where the tolerance would need more evaluations than the span allows.
    pub(super) fn ask(&mut self, evaluations: usize) -> Result<Option<(Vec<f32>, Vec<f64>)>> {
        if self.stage == 0 && self.pictures.iter().all(|p| p.step == 0.0) {
            return Ok(None);
        }
        if evaluations >= self.span.most {
            return Err(Error::Option {
                option: "max_evaluations",
                found: evaluations.to_string(),
                expected: "greater, as so many do not reach the end, or choose a greater `tolerance`"
                    .to_owned(),
            });
        }
        let weights = STAGES[self.stage].1;
        let mut input = Vec::with_capacity(self.x.len());
        for n in 0..self.pictures.len() {
            let (_, question) = self.question(n);
            for i in n * self.len..(n + 1) * self.len {
                let mut sum = 0.0;
                for (k, weight) in weights.iter().enumerate() {
                    sum += *weight as f32 * self.slopes[k][i];
                }
                self.y[i] = self.x[i] + self.pictures[n].step as f32 * sum;
                input.push(question.input as f32 * self.y[i]);
            }
        }
        let timesteps = list(self.pictures.len(), &|n| self.question(n).1.c_noise);
        Ok(Some((input, timesteps)))
    }

    /// Where a picture's evaluation is, and what the network is asked there.
    fn question(&self, n: usize) -> (Level, Question) {
        let picture = self.pictures[n];
        let level = Level { alpha: 1.0, sigma: (picture.at + STAGES[self.stage].0 * picture.step).exp() };
        let timestep = self.span.sigmas.timestep(level.sigma);
        (level, self.span.prediction.ask(Point { level, timestep }))
    }

    /// Takes the network's answer, and once a step has all of its own decides on it, picture by picture.
    pub(super) fn answer(&mut self, output: &[f32]) {
        let stride = output.len() / self.pictures.len();
        for n in 0..self.pictures.len() {
            let (level, question) = self.question(n);
            let (c, d) = question.epsilon(level);
            let (c, d) = ((level.sigma * c) as f32, (level.sigma * d) as f32);
            for i in 0..self.len {
                let at = n * self.len + i;
                self.slopes[self.stage + 1][at] = c * self.y[at] + d * output[n * stride + i];
            }
        }
        self.stage += 1;
        if self.stage == STAGES.len() {
            self.stage = 0;
            (0..self.pictures.len()).for_each(|n| self.judge(n));
        }
    }

    /// Takes a picture's step if its error is within the tolerance, and chooses the next one's length: Hairer, Norsett and Wanner, section
    /// II.4, a controller of proportion and integral.
    fn judge(&mut self, n: usize) {
        let picture = &mut self.pictures[n];
        let mut squares = 0.0;
        for i in n * self.len..(n + 1) * self.len {
            let mut difference = 0.0;
            for (k, weight) in ERROR.iter().enumerate() {
                difference += weight * f64::from(self.slopes[k][i]);
            }
            let size = 1.0 + f64::from(self.x[i].abs().max(self.y[i].abs()));
            let share = picture.step * difference / (self.span.tolerance * size);
            squares += share * share;
        }
        let error = (squares / self.len as f64).sqrt().max(1e-10);
        let mut factor = 0.9 * (0.04 * picture.error.ln() - 0.17 * error.ln()).exp();
        if error <= 1.0 {
            for i in n * self.len..(n + 1) * self.len {
                self.x[i] = self.y[i];
                // The last slope of a step is the first of the next.
                self.slopes[0][i] = self.slopes[6][i];
            }
            picture.at += picture.step;
            picture.error = error;
        } else {
            factor = if factor > 0.2 { factor.min(0.9) } else { 0.2 };
        }
        picture.step = (picture.step * factor.clamp(0.2, 5.0)).max(-LONGEST);
        let left = self.span.to.ln() - picture.at;
        if left.abs() < 1e-9 {
            picture.step = 0.0;
        } else if left.abs() <= picture.step.abs() {
            picture.step = left;
        }
    }

    /// The images at the span's end.
    pub(super) fn end(self) -> Vec<f32> {
        self.x
    }
}
