//! The probability-flow ODE with error control: Song et al. 2021 (2011.13456, section 4.3), by the method of Dormand and Prince 1980.

use std::sync::Arc;

use super::options::{MAX_EVALUATIONS, TOLERANCE};
use super::host::{Evaluate, check_output};
use super::program::Span;
use super::record::Recorder;
use super::setup::Setup;
use crate::denoiser::{Denoiser, Level, Point};
use crate::error::{Error, Result};

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
            run.integrate(x, slope, Span {
                from: at.level.sigma,
                to: next.sigma,
                tolerance: setup.get(&TOLERANCE),
                most: setup.get(&MAX_EVALUATIONS) as usize,
                prediction: setup.schedule.prediction,
                sigmas: sigmas.clone(),
            })
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
const ERROR: [f64; 7] = [
    71.0 / 57600.0,
    0.0,
    -71.0 / 16695.0,
    71.0 / 1920.0,
    -17253.0 / 339200.0,
    22.0 / 525.0,
    -1.0 / 40.0,
];

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

/// Takes `x` along the span, `slope` being dx/d ln σ = σ ε̂ at its beginning. `evaluations` counts those of the whole run.
///
/// # Errors
/// Those of the network; [`Error::Option`] where the tolerance would need more evaluations than the span allows.
pub(super) async fn integrate(
    span: &Span,
    x: &mut [f32],
    slope: &[f32],
    shape: [usize; 4],
    network: &mut impl Evaluate,
    evaluations: &mut usize,
) -> Result<()> {
    let (start, end) = (span.from.ln(), span.to.ln());
    let len = x.len() / shape[0];
    let first = (end - start).max(-LONGEST);
    let mut pictures = vec![Progress { at: start, step: first, error: 1.0 }; shape[0]];
    let mut slopes = vec![slope.to_vec(); 7];
    let mut y = x.to_vec();
    while pictures.iter().any(|p| p.step != 0.0) {
        if *evaluations + STAGES.len() > span.most {
            return Err(Error::Option {
                option: "max_evaluations",
                found: span.most.to_string(),
                expected: format!("more, or `tolerance` above {}, which takes too many steps", span.tolerance),
            });
        }
        for (stage, (c, weights)) in STAGES.iter().enumerate() {
            for (i, y) in y.iter_mut().enumerate() {
                let sum: f32 = weights.iter().zip(&slopes).map(|(a, k)| *a as f32 * k[i]).sum();
                *y = x[i] + pictures[i / len].step as f32 * sum;
            }
            let at: Vec<f64> = pictures.iter().map(|p| p.at + c * p.step).collect();
            slopes[stage + 1] = slope_at(span, &y, &at, shape, network).await?;
            *evaluations += 1;
        }
        for (n, picture) in pictures.iter_mut().enumerate() {
            let range = n * len..(n + 1) * len;
            let square = |i: usize| {
                let difference: f64 = ERROR.iter().zip(&slopes).map(|(e, k)| e * f64::from(k[i])).sum();
                let size = 1.0 + f64::from(x[i].abs().max(y[i].abs()));
                (picture.step * difference / (span.tolerance * size)).powi(2)
            };
            let error = (range.clone().map(square).sum::<f64>() / len as f64).sqrt().max(1e-10);
            let mut factor = 0.9 * error.powf(-0.17) * picture.error.powf(0.04);
            if error <= 1.0 {
                x[range.clone()].copy_from_slice(&y[range.clone()]);
                let last = std::mem::take(&mut slopes[6]);
                slopes[0][range.clone()].copy_from_slice(&last[range]);
                slopes[6] = last;
                picture.at += picture.step;
                picture.error = error;
            } else {
                factor = if factor > 0.2 { factor.min(0.9) } else { 0.2 };
            }
            // Hairer, Norsett and Wanner, section II.4: a controller of proportion and integral.
            picture.step = (picture.step * factor.clamp(0.2, 5.0)).max(-LONGEST);
            let left = end - picture.at;
            if left.abs() <= picture.step.abs() || left.abs() < 1e-9 {
                picture.step = if left.abs() < 1e-9 { 0.0 } else { left };
            }
        }
    }
    Ok(())
}

/// σ ε̂ of each picture at its own ln σ.
async fn slope_at(
    span: &Span,
    y: &[f32],
    at: &[f64],
    shape: [usize; 4],
    network: &mut impl Evaluate,
) -> Result<Vec<f32>> {
    let points: Vec<Point> = at
        .iter()
        .map(|at| {
            let level = Level { alpha: 1.0, sigma: at.exp() };
            Point { level, timestep: span.sigmas.timestep(level.sigma) }
        })
        .collect();
    let questions: Vec<_> = points.iter().map(|point| span.prediction.ask(*point)).collect();
    let len = y.len() / shape[0];
    let input: Vec<f32> = y.iter().enumerate().map(|(i, v)| questions[i / len].input as f32 * v).collect();
    let timesteps: Vec<f64> = questions.iter().map(|question| question.c_noise).collect();
    let output = network.evaluate_each(&input, shape, &timesteps).await?;
    check_output(&output, shape, timesteps[0])?;
    let mut slope = y.to_vec();
    for (n, (slope, output)) in
        slope.chunks_exact_mut(len).zip(output.chunks_exact(output.len() / shape[0])).enumerate()
    {
        let sigma = points[n].level.sigma;
        let (c, d) = questions[n].epsilon(points[n].level);
        let (c, d) = ((sigma * c) as f32, (sigma * d) as f32);
        slope.iter_mut().zip(output).for_each(|(v, m)| *v = c * *v + d * m);
    }
    Ok(slope)
}
