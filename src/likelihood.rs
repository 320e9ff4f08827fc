//! How likely a model finds pictures: by the probability-flow ODE, and by the bound that DDPM trains on.
//!
//! In `y = x/α = x₀ + σ ε`, σ being the ratio σ/α, the ODE is `dy/dσ = ε̂(y; σ)` (Karras et al. 2022, equation 1), and along it
//! `d log p/dσ = -div ε̂` (Song et al. 2021, equation 39), so that
//! `log p₀(y₀) = log p_T(y_T) + ∫ div ε̂ dσ`. At the greatest σ, p is taken for `N(0, σ² + 1)`.

use std::f64::consts::{LN_2, TAU};

use crate::denoiser::{Denoiser, Level, Point, Prediction};
use crate::device::LentNetwork;
use crate::error::{Error, Result};
use crate::levels::Sigmas;
use crate::model::Model;
use crate::rng::{Generator, Normals, check_seed, philox4x32_10};
use crate::schedule::{Clip, Schedule, Variance};
use crate::train::draws::normal_below;

/// A denoiser in double precision: a network, or a formula.
pub trait Denoise {
    /// ε̂ of items `x`, one after the other, that are at a level; as many numbers.
    ///
    /// # Errors
    /// Its own.
    fn epsilon(&mut self, x: &[f64], at: Point) -> Result<Vec<f64>>;
}

/// How the divergence of ε̂ is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trace {
    /// By differences along every number of an item: exact but for their size, and twice as many evaluations as there are numbers.
    Exact,
    /// By differences along so many random directions of ±1 (Hutchinson): right in the mean.
    Hutchinson(usize),
}

/// How the ODE is solved.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ode {
    /// Steps of the method of Runge and Kutta of order 4, even in ln σ.
    pub steps: usize,
    /// How the divergence is found.
    pub trace: Trace,
    /// How far on a difference is taken, as a share of σ.
    pub difference: f64,
    /// The least and the greatest σ/α.
    pub ends: [f64; 2],
    /// The seed of random directions.
    pub seed: u64,
}

impl Ode {
    /// The natural logarithm of the density of each of the items `x` of `len` numbers. `point` gives the level of a ratio σ/α.
    ///
    /// # Errors
    /// The denoiser's, and [`Error::Option`] for steps, probes or ends that cannot be.
    pub fn log_density(
        &self,
        denoiser: &mut dyn Denoise,
        point: &dyn Fn(f64) -> Point,
        x: &[f64],
        len: usize,
    ) -> Result<Vec<f64>> {
        let [least, greatest] = self.ends;
        let probes = if let Trace::Hutchinson(probes) = self.trace { probes } else { 1 };
        for (option, number) in [("steps", self.steps), ("probes", probes)] {
            if !(1..=100_000).contains(&number) {
                let expected = "1 to 100000".to_owned();
                return Err(Error::Option { option, found: number.to_string(), expected });
            }
        }
        check_seed(self.seed)?;
        let directions = self.directions(x.len(), len);
        // d/d ln σ of y, and of -log p.
        let mut slope = |y: &[f64], log_sigma: f64| -> Result<(Vec<f64>, Vec<f64>)> {
            let sigma = log_sigma.exp();
            let at = point(sigma);
            let mut ask = |y: &[f64]| {
                let x: Vec<f64> = y.iter().map(|y| at.level.alpha * y).collect();
                denoiser.epsilon(&x, at)
            };
            let rate: Vec<f64> = ask(y)?.iter().map(|e| sigma * e).collect();
            let mut divergence = vec![0.0; y.len() / len];
            let far = self.difference * sigma;
            for direction in &directions {
                let moved = |by: f64| y.iter().zip(direction).map(|(y, v)| y + by * v).collect::<Vec<f64>>();
                let (up, down) = (ask(&moved(far))?, ask(&moved(-far))?);
                for (i, v) in direction.iter().enumerate() {
                    divergence[i / len] += sigma * v * (up[i] - down[i]) / (2.0 * far) / self.weight();
                }
            }
            Ok((rate, divergence))
        };
        let step = (greatest / least).ln() / self.steps as f64;
        let mut y = x.to_vec();
        let mut log_p = vec![0.0; x.len() / len];
        for i in 0..self.steps {
            let at = least.ln() + i as f64 * step;
            let ahead =
                |k: &[f64], by: f64| y.iter().zip(k).map(|(y, k)| y + by * step * k).collect::<Vec<f64>>();
            let first = slope(&y, at)?;
            let second = slope(&ahead(&first.0, 0.5), at + step / 2.0)?;
            let third = slope(&ahead(&second.0, 0.5), at + step / 2.0)?;
            let fourth = slope(&ahead(&third.0, 1.0), at + step)?;
            for (weight, (rate, divergence)) in [(1.0, first), (2.0, second), (2.0, third), (1.0, fourth)] {
                let share = weight / 6.0 * step;
                y.iter_mut().zip(rate).for_each(|(y, k)| *y += share * k);
                log_p.iter_mut().zip(divergence).for_each(|(p, d)| *p += share * d);
            }
        }
        let variance = greatest * greatest + 1.0;
        for (log_p, y) in log_p.iter_mut().zip(y.chunks_exact(len)) {
            let square = y.iter().map(|y| y * y).sum::<f64>();
            *log_p -= 0.5 * (square / variance + len as f64 * (TAU * variance).ln());
        }
        Ok(log_p)
    }

    /// Directions for `count` numbers, of which `len` make an item.
    fn directions(&self, count: usize, len: usize) -> Vec<Vec<f64>> {
        match self.trace {
            Trace::Exact => (0..len)
                .map(|axis| (0..count).map(|i| f64::from(u8::from(i % len == axis))).collect())
                .collect(),
            Trace::Hutchinson(probes) => (0..probes)
                .map(|probe| {
                    let key = [self.seed as u32, (self.seed >> 32) as u32];
                    let bit = |i: usize| {
                        // Beside the counters of noise, whose last word is 0.
                        let words = philox4x32_10([(i / 128) as u32, probe as u32, (i / len) as u32, 1], key);
                        words[i / 32 % 4] >> (i % 32) & 1
                    };
                    (0..count).map(|i| f64::from(bit(i)) * 2.0 - 1.0).collect()
                })
                .collect(),
        }
    }

    /// What the sum over the directions is divided by.
    fn weight(&self) -> f64 {
        if let Trace::Hutchinson(probes) = self.trace { probes as f64 } else { 1.0 }
    }
}

/// The half of a byte's step between two pictures' values in [-1, 1].
const HALF: f64 = 1.0 / 255.0;

/// A model's network for one class.
struct OnModel<'a> {
    network: LentNetwork,
    prediction: Prediction,
    shape: [usize; 4],
    label: Option<f32>,
    model: &'a Model,
}

impl OnModel<'_> {
    /// What the network says of `x`, which holds as many pictures as it may.
    fn output(&mut self, x: &[f64], at: Point) -> Result<Vec<f32>> {
        let question = self.prediction.ask(at);
        let x: Vec<f32> = x.iter().map(|x| (question.input * x) as f32).collect();
        let timestep = question.c_noise as f32;
        self.model.architecture().unet.check_timestep(timestep)?;
        let batch = self.shape[0];
        let labels = self.label.map(|label| vec![label; batch]);
        let timesteps = vec![timestep; batch];
        let asked = self.network.evaluate(&x, self.shape, &timesteps, labels.as_deref());
        let output = pollster::block_on(asked)?;
        if output.iter().all(|v| v.is_finite()) {
            return Ok(output);
        }
        Err(Error::NotFiniteOutput { timestep: question.c_noise })
    }

    /// What it says of the pictures, without what it says of variances.
    fn of_pictures<'o>(&self, output: &'o [f32]) -> impl Iterator<Item = f64> + 'o {
        let len: usize = self.shape[1..].iter().product();
        let stride = output.len() / self.shape[0];
        output.chunks_exact(stride).flat_map(move |picture| picture[..len].iter().map(|v| f64::from(*v)))
    }
}

impl Denoise for OnModel<'_> {
    fn epsilon(&mut self, x: &[f64], at: Point) -> Result<Vec<f64>> {
        let output = self.output(x, at)?;
        let (c, d) = self.prediction.ask(at).epsilon(at.level);
        Ok(x.iter().zip(self.of_pictures(&output)).map(|(x, m)| c * x + d * m).collect())
    }
}

/// The point of a ratio σ/α on a schedule, and the least and the greatest ratio.
fn levels(schedule: &Schedule) -> (Box<dyn Fn(f64) -> Point + '_>, [f64; 2]) {
    let total = schedule.train_timesteps() as f64;
    if schedule.prediction == Prediction::Flow {
        let point = move |ratio: f64| {
            let sigma = ratio / (1.0 + ratio);
            Point { level: Level { alpha: 1.0 - sigma, sigma }, timestep: sigma * total }
        };
        return (Box::new(point), [1e-3, 1e3]);
    }
    let sigmas = Sigmas::new(schedule.alpha_bar());
    let (least, greatest) = sigmas.ends();
    let point = move |ratio: f64| {
        let alpha = 1.0 / ratio.hypot(1.0);
        Point { level: Level { alpha, sigma: ratio * alpha }, timestep: sigmas.timestep(ratio) }
    };
    (Box::new(point), [least, greatest])
}

/// How a model's likelihood of pictures is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// By the probability-flow ODE with so many steps of four evaluations, each with twice as many for every probe.
    Ode {
        /// [`Ode::steps`].
        steps: usize,
        /// Random directions for each picture: [`Trace::Hutchinson`].
        probes: usize,
    },
    /// By the variational bound (Ho et al. 2020, equation 5), at so many of its timesteps, spread evenly; the others are taken
    /// to be like them.
    Bound {
        /// How many.
        timesteps: usize,
    },
}

impl Model {
    /// Bits that each picture takes for each of its numbers: the negative logarithm of its likelihood, or of the bound below it.
    /// `pictures` are `[count, channels, height, width]` in [-1, 1], whose values are bytes'; the ODE is given them with uniform
    /// noise as wide as a byte's step. They are made at once: a batch.
    ///
    /// # Errors
    /// [`Error::Option`] for numbers that make no pictures and for a method's that cannot be, [`Error::Unsupported`] for the bound of a model
    /// whose steps are no Gaussians of its schedule, [`Error::Busy`], and those of an evaluation.
    pub fn bits_per_dim(
        &self,
        pictures: &[f32],
        label: Option<f32>,
        method: Method,
        seed: u64,
    ) -> Result<Vec<f64>> {
        let info = self.info();
        let len = info.channels * info.height * info.width;
        let batch = pictures.len() / len;
        if batch < 1 || !pictures.len().is_multiple_of(len) {
            let (found, expected) =
                (format!("{} numbers", pictures.len()), format!("{len} for each picture"));
            return Err(Error::Option { option: "pictures", found, expected });
        }
        let label = label.or(info.classes.and(info.null_label).map(|label| label as f32));
        let labels = label.map(|label| vec![label; batch]);
        self.architecture().unet.check_labels(batch, labels.as_deref())?;
        let schedule = &self.architecture().schedule;
        let shape = [batch, info.channels, info.height, info.width];
        let network = self.lend()?;
        let prediction = schedule.prediction;
        let mut network = OnModel { network, prediction, shape, label, model: self };
        pollster::block_on(network.network.plan(shape))?;
        match method {
            Method::Ode { steps, probes } => {
                let (point, ends) = levels(schedule);
                // Numbers of 32 bits: nearer, their rounding would show.
                let ode = Ode { steps, trace: Trace::Hutchinson(probes), difference: 0.05, ends, seed };
                let x = with_uniform_noise(pictures, len, check_seed(seed)?);
                let log_p = ode.log_density(&mut network, &*point, &x, len)?;
                let of_step = (2.0 * HALF).log2();
                Ok(log_p.iter().map(|log_p| -log_p / (len as f64 * LN_2) - of_step).collect())
            }
            Method::Bound { timesteps } => bound(&mut network, schedule, pictures, timesteps, seed),
        }
    }
}

/// Uniform noise as wide as the step between two bytes.
fn with_uniform_noise(pictures: &[f32], len: usize, seed: u64) -> Vec<f64> {
    let uniform = |i: usize| {
        let key = [seed as u32, (seed >> 32) as u32];
        let words = philox4x32_10([(i % len / 4) as u32, 0, (i / len) as u32, 2], key);
        f64::from(words[i % 4]) / f64::from(u32::MAX) * 2.0 - 1.0
    };
    pictures.iter().enumerate().map(|(i, x)| f64::from(*x) + HALF * uniform(i)).collect()
}

/// `L_T + Σ L_{t-1} + L_0` in bits for each number.
fn bound(
    network: &mut OnModel<'_>,
    schedule: &Schedule,
    pictures: &[f32],
    timesteps: usize,
    seed: u64,
) -> Result<Vec<f64>> {
    let total = schedule.train_timesteps();
    if schedule.prediction == Prediction::Flow || matches!(schedule.prediction, Prediction::Edm { .. }) {
        return Err(Error::Unsupported {
            what: "the variational bound of this model".to_owned(),
            why: "its steps are no Gaussians of a table of beta. Take the ODE's likelihood".to_owned(),
        });
    }
    if !(2..=total).contains(&timesteps) {
        let expected = format!("2 to {total}");
        return Err(Error::Option { option: "timesteps", found: timesteps.to_string(), expected });
    }
    let [batch, ..] = network.shape;
    let len = pictures.len() / batch;
    let x0: Vec<f64> = pictures.iter().map(|v| f64::from(*v)).collect();
    let mut noise = Generator::philox(seed)?;
    let mut z = vec![0.0; pictures.len()];
    let mut bits = vec![0.0; batch];
    let mut asked = Vec::new();
    for (draw, i) in (0..timesteps).enumerate() {
        // Timestep 0, and others that stand for as many each.
        let t = if i == 0 {
            0
        } else {
            1 + ((i as f64 - 0.5) / (timesteps - 1) as f64 * (total - 1) as f64) as usize
        };
        let weight = if i == 0 { 1.0 } else { (total - 1) as f64 / (timesteps - 1) as f64 };
        let at = schedule.point(t);
        let Level { alpha, sigma } = at.level;
        noise.normals(draw as u32, batch, &mut z);
        let x: Vec<f64> = x0.iter().zip(&z).map(|(x0, z)| alpha * x0 + sigma * f64::from(*z)).collect();
        let output = network.output(&x, at)?;
        let (a, b) = network.prediction.ask(at).x0(at.level);
        asked.clear();
        asked.extend(network.of_pictures(&output));
        let before = if t == 0 { Level::CLEAN } else { schedule.level(t - 1) };
        let beta = 1.0 - (alpha / before.alpha).powi(2);
        let posterior = (before.sigma.powi(2) / sigma.powi(2) * beta).max(1e-20);
        // As the mean of the step depends on x₀ (Ho et al. 2020, equation 7).
        let of_x0 = before.alpha * beta / sigma.powi(2);
        let stride = output.len() / batch;
        let variance = |i: usize| {
            let learned = || f64::from(output[i / len * stride + len + i % len]);
            match schedule.variance {
                // The first step's own variance is none: diffusers' and the paper's next one stands in.
                Variance::FixedSmall if t == 0 => first_variance(schedule),
                Variance::FixedSmall => posterior,
                Variance::FixedLarge => beta,
                Variance::Learned => learned().max(1e-20),
                Variance::LearnedRange => {
                    let share = f64::midpoint(learned(), 1.0);
                    let least = if t == 0 { first_variance(schedule) } else { posterior };
                    (share * beta.ln() + (1.0 - share) * least.ln()).exp()
                }
            }
        };
        if !matches!(schedule.variance, Variance::FixedSmall | Variance::FixedLarge) && stride < 2 * len {
            return Err(Error::Unsupported {
                what: "the variational bound of this model".to_owned(),
                why: "its schedule has a learned variance, which its network does not say".to_owned(),
            });
        }
        let unclipped = schedule.clip == Clip::None;
        for (i, m) in asked.iter().enumerate() {
            let found = a * x[i] + b * m;
            let found = if unclipped { found } else { found.clamp(-1.0, 1.0) };
            let variance = variance(i);
            let nats = if t == 0 {
                -discretised(x0[i], found, variance.sqrt()).ln()
            } else {
                let difference = of_x0 * (x0[i] - found);
                0.5 * ((variance / posterior).ln() + (posterior + difference * difference) / variance - 1.0)
            };
            bits[i / len] += weight * nats / (len as f64 * LN_2);
        }
    }
    // L_T: how far the most noise is from noise alone.
    let Level { alpha, sigma } = schedule.level(total - 1);
    for (i, x0) in x0.iter().enumerate() {
        let variance = sigma * sigma;
        let nats = 0.5 * (variance + (alpha * x0).powi(2) - 1.0 - variance.ln());
        bits[i / len] += nats / (len as f64 * LN_2);
    }
    Ok(bits)
}

/// The posterior's variance of the second step.
fn first_variance(schedule: &Schedule) -> f64 {
    let (before, now) = (schedule.level(0), schedule.level(1.min(schedule.train_timesteps() - 1)));
    let beta = 1.0 - (now.alpha / before.alpha).powi(2);
    (before.sigma.powi(2) / now.sigma.powi(2) * beta).max(1e-20)
}

/// The chance of a byte's value under a Gaussian (Ho et al. 2020, equation 13).
fn discretised(x: f64, mean: f64, deviation: f64) -> f64 {
    let below = |edge: f64| normal_below((edge - mean) / deviation);
    let upper = if x > 1.0 - HALF { 1.0 } else { below(x + HALF) };
    let lower = if x < HALF - 1.0 { 0.0 } else { below(x - HALF) };
    (upper - lower).max(1e-12)
}
