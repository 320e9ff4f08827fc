//! The plainest way to sample each objective's network: it shows what was trained, not how to do it best. All are samplers'
//! programs, but for bits, whose chain is not Gaussian.

use super::objective::Objective;
use super::trainer::Averaged;
use crate::denoiser::{Level, Point, Prediction};
use crate::error::{Error, Result};
use crate::rng::{Generator, Normals, normal_below};
use crate::sampler::{HostRun, NoiseScale, Options, Program, Recorder, SamplerKind};

/// Steps of DDPM at most.
const DDPM_STEPS: usize = 250;
/// Levels that Euler's steps go through at most.
const EULER_STEPS: usize = 100;

impl Averaged {
    /// Samples of `shape`, `[batch, channels, height, width]`, from the noise of `seed`, 0 to 2^53 - 1: by the reverse kernel
    /// for the bounds of the 2015 paper, DDPM for `simple`, and Euler's steps for the rest.
    ///
    /// # Errors
    /// Those of [`Self::denoise`], and [`Error::Option`] for the seed.
    pub async fn sample(&mut self, shape: [usize; 4], seed: u64) -> Result<Vec<f32>> {
        self.sample_while(shape, seed, async || true).await
    }

    /// The same, as long as `go_on`, which is asked before each step, says yes.
    ///
    /// # Errors
    /// As [`Self::sample`], and [`Error::Aborted`].
    pub async fn sample_while(
        &mut self,
        shape: [usize; 4],
        seed: u64,
        go_on: impl AsyncFnMut() -> bool,
    ) -> Result<Vec<f32>> {
        let mut noise = Generator::philox(seed)?;
        match self.objective() {
            Objective::Bound => replay(self, reverse_kernel(self)?, shape, noise, go_on).await,
            Objective::Binomial => reverse_bits(self, shape, &mut noise, go_on).await,
            Objective::Simple => replay(self, ddpm(self)?, shape, noise, go_on).await,
            _ => replay(self, euler(self)?, shape, noise, go_on).await,
        }
    }
}

/// Asks whether to go on with a computation of many parts.
pub(super) async fn ask(go_on: &mut impl AsyncFnMut() -> bool) -> Result<()> {
    if go_on().await { Ok(()) } else { Err(Error::Aborted) }
}

/// The 2015 paper's generative process (section 2.2): each step is a Gaussian of learned mean and variance, the last one
/// the forward kernel. The second half of the network's answer chooses a variance from β̃ (at -1) to β (at 1).
fn reverse_kernel(network: &Averaged) -> Result<Program> {
    let mut run = Recorder::new(&Prediction::Epsilon);
    let mut x = run.start(1.0);
    for timestep in (1..network.schedule().train_timesteps()).rev() {
        let (now, before) = (network.level(timestep), network.level(timestep - 1));
        let at = Point { level: now, timestep: timestep as f64 };
        let denoised = run.denoise(x, at);
        let x0 = run.combine(denoised.x0);
        let (of_x0, of_x) = posterior(now, before);
        let beta = 1.0 - (now.alpha / before.alpha).powi(2);
        let least = beta * (before.sigma / now.sigma).powi(2);
        let (output, [log_min, log_max]) = (denoised.variance, [least, beta].map(f64::ln));
        x = run.add_noise(of_x0 * x0 + of_x * x, NoiseScale::LearnedRange { output, log_min, log_max });
        if timestep == 1 {
            x = run.add_noise(before.alpha * x, before.sigma);
        }
        run.end_step(at, if timestep == 1 { Level::CLEAN } else { before }, x, x0);
    }
    run.finish()
}

/// `(a, b)` of the posterior's mean `a x₀ + b x_t` (Ho et al. 2020, equation 7).
fn posterior(now: Level, before: Level) -> (f64, f64) {
    let alpha = now.alpha / before.alpha;
    let (noise, noise_before) = (now.sigma.powi(2), before.sigma.powi(2));
    (before.alpha * (1.0 - alpha * alpha) / noise, alpha * noise_before / noise)
}

/// The same for bits: each step changes a bit with a chance that the network's odds of x₀ make.
async fn reverse_bits(
    network: &Averaged,
    shape: [usize; 4],
    noise: &mut impl Normals,
    mut go_on: impl AsyncFnMut() -> bool,
) -> Result<Vec<f32>> {
    let mut x = vec![0.0; shape.iter().product()];
    let mut z = x.clone();
    noise.normals(0, shape[0], &mut x);
    x.iter_mut().for_each(|x| *x = if *x < 0.0 { -1.0 } else { 1.0 });
    for timestep in (0..network.schedule().train_timesteps()).rev() {
        noise.normals((timestep + 1) as u32, shape[0], &mut z);
        let [same, other] = network.changes(timestep);
        ask(&mut go_on).await?;
        let x0 = network.denoise(&x, shape, timestep, None).await?.x0;
        for ((x, x0), z) in x.iter_mut().zip(x0).zip(&z) {
            let is_same = f64::midpoint(1.0, f64::from(*x * x0));
            if normal_below(f64::from(*z)) < is_same * same + (1.0 - is_same) * other {
                *x = -*x;
            }
        }
    }
    Ok(x)
}

fn ddpm(network: &Averaged) -> Result<Program> {
    let steps = DDPM_STEPS.min(network.schedule().train_timesteps());
    SamplerKind::Ddpm.program(network.schedule(), &Options::steps(steps))
}

/// Euler's steps of the probability-flow ODE: `dx = ε̂ dσ + x̂₀ dα`.
fn euler(network: &Averaged) -> Result<Program> {
    let (objective, schedule) = (network.objective(), network.schedule());
    let total = schedule.train_timesteps();
    let steps = EULER_STEPS.min(total);
    let point = |step: usize| objective.point(schedule, step * total / steps - 1);
    let prediction = objective.prediction(schedule);
    let mut run = Recorder::new(&prediction);
    let mut x = run.start(point(steps).level.norm());
    for step in (1..=steps).rev() {
        let at = point(step);
        let next = if step > 1 { point(step - 1).level } else { Level::CLEAN };
        let denoised = run.denoise(x, at);
        let x0 = run.combine(denoised.x0);
        x = run.combine(next.alpha * x0 + next.sigma * denoised.epsilon);
        run.end_step(at, next, x, x0);
    }
    run.finish()
}

/// Runs a sampler's program on the host.
async fn replay(
    network: &mut Averaged,
    program: Program,
    shape: [usize; 4],
    noise: Generator,
    mut go_on: impl AsyncFnMut() -> bool,
) -> Result<Vec<f32>> {
    let mut run = HostRun::new(program, shape, noise)?;
    let mut x = Vec::new();
    while !run.is_finished() {
        ask(&mut go_on).await?;
        if let Some(step) = run.step(network).await? {
            x = step.x.to_vec();
        }
    }
    Ok(x)
}
