//! The plainest way to sample each objective's network: it shows what was trained, not how to do it best.

use noiseball::rng::{Generator, Normals};
use noiseball::sampler::{Options, Run, SamplerKind};
use noiseball::train::{Averaged, Objective};
use noiseball::{Result, prediction::Level};
use pollster::block_on;

/// `count` points of a network on the plane, `[count, 2]`.
pub(crate) fn sample(
    network: &mut Averaged,
    objective: Objective,
    count: usize,
    seed: u64,
) -> Result<Vec<f32>> {
    let shape = [count, 2, 1, 1];
    let mut noise = Generator::philox(seed)?;
    match objective {
        Objective::Bound => reverse_kernel(network, shape, &mut noise),
        Objective::Simple => {
            let options = Options { steps: 250, ..Options::default() };
            let description = SamplerKind::Ddpm.describe(network.schedule(), &options)?;
            let mut run = Run::new(description, shape, noise)?;
            let mut x = Vec::new();
            while let Some(step) = block_on(run.step(network))? {
                x = step.x.to_vec();
            }
            Ok(x)
        }
        _ => euler(network, shape, &mut noise),
    }
}

/// The 2015 paper's generative process (section 2.2): each step is a Gaussian of learned mean and variance, the last one
/// the forward kernel.
fn reverse_kernel(network: &Averaged, shape: [usize; 4], noise: &mut impl Normals) -> Result<Vec<f32>> {
    let mut x = vec![0.0; shape.iter().product()];
    let mut z = x.clone();
    noise.normals(0, shape[0], &mut x);
    for timestep in (0..network.schedule().train_timesteps()).rev() {
        noise.normals((timestep + 1) as u32, shape[0], &mut z);
        let now = network.level(timestep);
        if timestep == 0 {
            for (x, z) in x.iter_mut().zip(&z) {
                *x = now.alpha as f32 * *x + now.sigma as f32 * z;
            }
            break;
        }
        let before = network.level(timestep - 1);
        let estimate = block_on(network.denoise(&x, shape, timestep, None))?;
        let log_variance = estimate.log_variance.unwrap_or_default();
        let (of_x0, of_x) = posterior(now, before);
        for (i, x) in x.iter_mut().enumerate() {
            let mean = of_x0 as f32 * estimate.x0[i] + of_x as f32 * *x;
            *x = mean + (0.5 * log_variance[i]).exp() * z[i];
        }
    }
    Ok(x)
}

/// `(a, b)` of the posterior's mean `a x₀ + b x_t` (Ho et al. 2020, equation 7).
fn posterior(now: Level, before: Level) -> (f64, f64) {
    let alpha = now.alpha / before.alpha;
    let (noise, noise_before) = (now.sigma.powi(2), before.sigma.powi(2));
    (before.alpha * (1.0 - alpha * alpha) / noise, alpha * noise_before / noise)
}

/// Euler's steps of the probability-flow ODE through (at most) 100 of the levels it was trained at: `dx = ε̂ dσ + x̂₀ dα`.
fn euler(network: &Averaged, shape: [usize; 4], noise: &mut impl Normals) -> Result<Vec<f32>> {
    let total = network.schedule().train_timesteps();
    let steps = 100.min(total);
    let mut x = vec![0.0; shape.iter().product()];
    noise.normals(0, shape[0], &mut x);
    let start = network.level(total - 1);
    x.iter_mut().for_each(|x| *x *= start.alpha.hypot(start.sigma) as f32);
    for step in (1..=steps).rev() {
        let timestep = step * total / steps - 1;
        let now = network.level(timestep);
        let next = if step > 1 { network.level((step - 1) * total / steps - 1) } else { Level::CLEAN };
        let estimate = block_on(network.denoise(&x, shape, timestep, None))?;
        for (x, x0) in x.iter_mut().zip(estimate.x0) {
            let epsilon = (*x - now.alpha as f32 * x0) / now.sigma as f32;
            *x = next.alpha as f32 * x0 + next.sigma as f32 * epsilon;
        }
    }
    Ok(x)
}
