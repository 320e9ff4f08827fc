//! The linear multistep method of Adams and Bashforth in σ, on uneven steps.

use super::options::ORDER;
use super::record::Recorder;
use super::setup::Setup;
use crate::error::Result;
use crate::levels::list;

/// `x' = x + Σ c_k ε̂_k`, where c_k is the integral over the step of the k-th Lagrange polynomial through the last levels, as
/// diffusers' `LMSDiscreteScheduler` does it.
pub(super) fn lms(run: &mut Recorder<'_>, setup: &Setup<'_>) -> Result<()> {
    let points = setup.exploding()?;
    let sigmas = list(points.len(), &|i| points[i].level.sigma);
    let mut slopes = Vec::new();
    let mut x = run.start(setup.start(&points));
    for i in 0..points.len() - 1 {
        let denoised = run.denoise(x, points[i]);
        let x0 = run.combine(denoised.x0);
        slopes.push(denoised.epsilon);
        let order = (setup.get(&ORDER) as usize).min(i + 1);
        let known = &sigmas[i + 1 - order..=i];
        let mut sum = x.into();
        for (k, slope) in slopes[i + 1 - order..].iter().enumerate() {
            sum = sum + integral(known, k, sigmas[i], sigmas[i + 1]) * slope.clone();
        }
        x = run.combine(sum);
        run.end_step(points[i], points[i + 1].level, x, x0);
    }
    Ok(())
}

/// The integral from `from` to `to` of the polynomial that is 1 at `nodes[k]` and 0 at the others, at most of degree 3, which
/// two Gauss points integrate exactly.
pub(super) fn integral(nodes: &[f64], k: usize, from: f64, to: f64) -> f64 {
    let (middle, half) = (f64::midpoint(from, to), (to - from) / 2.0);
    let at = |x: f64| {
        let mut product = 1.0;
        for (j, node) in nodes.iter().enumerate() {
            product *= if j == k { 1.0 } else { (x - node) / (nodes[k] - node) };
        }
        product
    };
    let offset = half / 3f64.sqrt();
    half * (at(middle - offset) + at(middle + offset))
}
