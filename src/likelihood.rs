//! How likely a model finds pictures: by the probability-flow ODE, and by the bound that DDPM trains on.
//!
//! In `y = x/α = x₀ + σ ε`, σ being the ratio σ/α, the ODE is `dy/dσ = ε̂(y; σ)` (Karras et al. 2022, equation 1), and along it
//! `d log p/dσ = -div ε̂` (Song et al. 2021, equation 39), so that
//! `log p₀(y₀) = log p_T(y_T) + ∫ div ε̂ dσ`. At the greatest σ, p is taken for `N(0, σ² + 1)`.

use std::f64::consts::{LN_2, TAU};
use std::sync::Arc;

use crate::denoiser::{Denoiser, Level, Point, Prediction};
use crate::device::LentNetwork;
use crate::error::{Error, Result};
use crate::levels::Sigmas;
use crate::model::{Model, ModelConfig};
use crate::rng::{Generator, Normals, check_seed, normal_below, philox4x32_10};
use crate::schedule::{Clip, Schedule, Variance};

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
        let mut walk = Walk::new(*self, x.to_vec(), len)?;
        while let Some(at) = walk.at(point) {
            let epsilon = denoiser.epsilon(&walk.question(at.level.alpha), at)?;
            walk.answer(&epsilon);
        }
        Ok(walk.end())
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

/// A likelihood on its way along the ODE, evaluation by evaluation.
struct Walk {
    ode: Ode,
    len: usize,
    directions: Vec<Vec<f64>>,
    log_p: Vec<f64>,
    /// Where the step began, where this stage looks, and where the step ends as far as is known.
    began: Vec<f64>,
    here: Vec<f64>,
    y: Vec<f64>,
    /// dy/d ln σ of this stage.
    rate: Vec<f64>,
    step: usize,
    stage: usize,
    /// Evaluations of this stage: one where it looks, then two for each direction.
    asked: usize,
}

/// How much each stage of a step counts, and how far into the step it looks.
const STAGES: [(f64, f64); 4] = [(1.0, 0.0), (2.0, 0.5), (2.0, 0.5), (1.0, 1.0)];

impl Walk {
    /// Of items of `len` numbers.
    fn new(ode: Ode, x: Vec<f64>, len: usize) -> Result<Self> {
        let probes = if let Trace::Hutchinson(probes) = ode.trace { probes } else { 1 };
        for (option, number) in [("steps", ode.steps), ("probes", probes)] {
            if !(1..=100_000).contains(&number) {
                let expected = "1 to 100000".to_owned();
                return Err(Error::Option { option, found: number.to_string(), expected });
            }
        }
        check_seed(ode.seed)?;
        Ok(Self {
            ode,
            len,
            directions: ode.directions(x.len(), len),
            log_p: vec![0.0; x.len() / len],
            began: x.clone(),
            here: x.clone(),
            y: x,
            rate: Vec::new(),
            step: 0,
            stage: 0,
            asked: 0,
        })
    }

    /// A step's size in ln σ.
    fn size(&self) -> f64 {
        let [least, greatest] = self.ode.ends;
        (greatest / least).ln() / self.ode.steps as f64
    }

    fn sigma(&self) -> f64 {
        let into = self.step as f64 + STAGES[self.stage].1;
        (self.ode.ends[0].ln() + into * self.size()).exp()
    }

    /// The direction of the next evaluation, and how far along it that is.
    fn aside(&self) -> Option<(&[f64], f64)> {
        let which = self.asked.checked_sub(1)?;
        let far = self.ode.difference * self.sigma();
        Some((&self.directions[which / 2], if which.is_multiple_of(2) { far } else { -far }))
    }

    /// The level of the next evaluation; nothing at the end.
    fn at(&self, point: &dyn Fn(f64) -> Point) -> Option<Point> {
        (self.step < self.ode.steps).then(|| point(self.sigma()))
    }

    /// What is asked there: x of the level.
    fn question(&self, alpha: f64) -> Vec<f64> {
        let mut x = self.here.clone();
        if let Some((direction, by)) = self.aside() {
            x.iter_mut().zip(direction).for_each(|(x, v)| *x += by * v);
        }
        x.iter_mut().for_each(|x| *x *= alpha);
        x
    }

    /// Takes ε̂ of it.
    fn answer(&mut self, epsilon: &[f64]) {
        let (sigma, size) = (self.sigma(), self.size());
        let share = STAGES[self.stage].0 / 6.0 * size;
        if let Some((direction, by)) = self.aside() {
            let weight = share * sigma / (2.0 * by) / self.ode.weight();
            let mut added = vec![0.0; self.log_p.len()];
            for (i, (v, epsilon)) in direction.iter().zip(epsilon).enumerate() {
                added[i / self.len] += weight * v * epsilon;
            }
            self.log_p.iter_mut().zip(added).for_each(|(p, d)| *p += d);
        } else {
            self.rate = epsilon.iter().map(|epsilon| sigma * epsilon).collect();
        }
        self.asked += 1;
        if self.asked <= 2 * self.directions.len() {
            return;
        }
        self.asked = 0;
        self.stage = (self.stage + 1) % STAGES.len();
        self.y.iter_mut().zip(&self.rate).for_each(|(y, rate)| *y += share * rate);
        if self.stage == 0 {
            self.step += 1;
            self.began.clone_from(&self.y);
        }
        let on = STAGES[self.stage].1 * size;
        for (i, here) in self.here.iter_mut().enumerate() {
            *here = self.began[i] + on * self.rate[i];
        }
    }

    /// The logarithm of each item's density.
    fn end(&mut self) -> Vec<f64> {
        let variance = self.ode.ends[1].powi(2) + 1.0;
        for (log_p, y) in self.log_p.iter_mut().zip(self.y.chunks_exact(self.len)) {
            let square = y.iter().map(|y| y * y).sum::<f64>();
            *log_p -= 0.5 * (square / variance + self.len as f64 * (TAU * variance).ln());
        }
        std::mem::take(&mut self.log_p)
    }
}

/// The half of a byte's step between two pictures' values in [-1, 1].
const HALF: f64 = 1.0 / 255.0;

/// The level of a ratio σ/α on a schedule.
struct Ratios {
    /// None on a flow.
    sigmas: Option<Sigmas>,
    timesteps: f64,
}

impl Ratios {
    fn new(schedule: &Schedule) -> Self {
        let sigmas = (schedule.prediction != Prediction::Flow).then(|| Sigmas::new(schedule.alpha_bar()));
        Self { sigmas, timesteps: schedule.train_timesteps() as f64 }
    }

    fn ends(&self) -> [f64; 2] {
        self.sigmas.as_ref().map_or([1e-3, 1e3], |sigmas| sigmas.ends().into())
    }

    fn point(&self, ratio: f64) -> Point {
        let Some(sigmas) = &self.sigmas else {
            let sigma = ratio / (1.0 + ratio);
            return Point { level: Level { alpha: 1.0 - sigma, sigma }, timestep: sigma * self.timesteps };
        };
        let alpha = 1.0 / ratio.hypot(1.0);
        Point { level: Level { alpha, sigma: ratio * alpha }, timestep: sigmas.timestep(ratio) }
    }
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

/// A likelihood of pictures that is being found, an evaluation of the network at a time.
pub struct Likelihood {
    network: LentNetwork,
    config: Arc<ModelConfig>,
    shape: [usize; 4],
    label: Option<f32>,
    work: Work,
    done: usize,
    total: usize,
}

enum Work {
    Ode(Walk, Ratios),
    Bound(Bound),
}

impl Likelihood {
    /// Evaluations that were made, and all there will be.
    #[must_use]
    pub fn progress(&self) -> (usize, usize) {
        (self.done, self.total)
    }

    /// Makes the next evaluation; at the end what was asked for, bits that each picture takes for each of its numbers.
    ///
    /// # Errors
    /// [`Error::NotFiniteOutput`], and those of an evaluation.
    pub async fn step(&mut self) -> Result<Option<Vec<f64>>> {
        let schedule = &self.config.schedule;
        let (x, at) = match &mut self.work {
            Work::Ode(walk, ratios) => match walk.at(&|ratio| ratios.point(ratio)) {
                Some(at) => (walk.question(at.level.alpha), at),
                None => return Ok(Some(self.end())),
            },
            Work::Bound(bound) => match bound.at(schedule) {
                Some(at) => (bound.question(at.level), at),
                None => return Ok(Some(self.end())),
            },
        };
        let question = schedule.prediction.ask(at);
        let input: Vec<f32> = x.iter().map(|x| (question.input * x) as f32).collect();
        let timestep = question.c_noise as f32;
        self.config.network.check_timestep(timestep)?;
        let batch = self.shape[0];
        let labels = self.label.map(|label| vec![label; batch]);
        let timesteps = vec![timestep; batch];
        if self.done == 0 {
            self.network.plan(self.shape).await?;
        }
        let output = self.network.evaluate(&input, self.shape, &timesteps, labels.as_deref()).await?;
        if output.iter().any(|v| !v.is_finite()) {
            return Err(Error::NotFiniteOutput { timestep: question.c_noise });
        }
        self.done += 1;
        // Without what it says of variances.
        let stride = output.len() / batch;
        let len = x.len() / batch;
        let m = |i: usize| f64::from(output[i / len * stride + i % len]);
        match &mut self.work {
            Work::Ode(walk, _) => {
                let (c, d) = question.epsilon(at.level);
                let epsilon: Vec<f64> = x.iter().enumerate().map(|(i, x)| c * x + d * m(i)).collect();
                walk.answer(&epsilon);
            }
            Work::Bound(bound) => {
                let (a, b) = question.x0(at.level);
                let x0: Vec<f64> = x.iter().enumerate().map(|(i, x)| a * x + b * m(i)).collect();
                bound.answer(schedule, &x0, &output)?;
            }
        }
        Ok(None)
    }

    fn end(&mut self) -> Vec<f64> {
        match &mut self.work {
            Work::Ode(walk, _) => {
                let of_step = (2.0 * HALF).log2();
                let len = walk.len as f64;
                walk.end().iter().map(|log_p| -log_p / (len * LN_2) - of_step).collect()
            }
            Work::Bound(bound) => bound.end(&self.config.schedule),
        }
    }
}

impl Model {
    /// Begins to find the bits that each picture takes for each of its numbers: the negative logarithm of its likelihood, or of the bound
    /// below it. `pictures` are `[count, channels, height, width]` in [-1, 1], whose values are bytes'; the ODE is given them with uniform
    /// noise as wide as a byte's step. They are made at once: a batch.
    ///
    /// # Errors
    /// [`Error::Option`] for numbers that make no pictures and for a method's that cannot be, [`Error::Unsupported`] for the bound of a model
    /// whose steps are no Gaussians of its schedule, and [`Error::Busy`].
    pub fn likelihood(
        &self,
        pictures: &[f32],
        label: Option<f32>,
        method: Method,
        seed: u64,
    ) -> Result<Likelihood> {
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
        let config = Arc::clone(self.config());
        config.network.check_labels(batch, labels.as_deref())?;
        let (work, total) = match method {
            Method::Ode { steps, probes } => {
                let ratios = Ratios::new(&config.schedule);
                // Numbers of 32 bits: nearer, their rounding would show.
                let (trace, difference) = (Trace::Hutchinson(probes), 0.05);
                let ode = Ode { steps, trace, difference, ends: ratios.ends(), seed };
                let walk = Walk::new(ode, with_uniform_noise(pictures, len, seed), len)?;
                (Work::Ode(walk, ratios), (4 * steps).saturating_mul(1 + 2 * probes))
            }
            Method::Bound { timesteps } => {
                (Work::Bound(Bound::new(&config.schedule, pictures, batch, timesteps, seed)?), timesteps)
            }
        };
        let shape = [batch, info.channels, info.height, info.width];
        Ok(Likelihood { network: self.lend()?, config, shape, label, work, done: 0, total })
    }

    /// [`Self::likelihood`] to its end, for programs that are not asynchronous.
    ///
    /// # Errors
    /// As there, and those of its steps.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn bits_per_dim(
        &self,
        pictures: &[f32],
        label: Option<f32>,
        method: Method,
        seed: u64,
    ) -> Result<Vec<f64>> {
        let mut likelihood = self.likelihood(pictures, label, method, seed)?;
        loop {
            if let Some(bits) = pollster::block_on(likelihood.step())? {
                return Ok(bits);
            }
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

/// `L_T + Σ L_{t-1} + L_0` in bits for each number, timestep by timestep.
struct Bound {
    x0: Vec<f64>,
    noise: Generator,
    z: Vec<f32>,
    bits: Vec<f64>,
    /// How many of the timesteps are looked at, and which is the next of those.
    count: usize,
    next: usize,
}

impl Bound {
    fn new(schedule: &Schedule, pictures: &[f32], batch: usize, count: usize, seed: u64) -> Result<Self> {
        let total = schedule.train_timesteps();
        if matches!(schedule.prediction, Prediction::Flow | Prediction::Edm { .. }) {
            return Err(Error::Unsupported {
                what: BOUND.to_owned(),
                why: "its steps are no Gaussians of a table of beta. Take the ODE's likelihood".to_owned(),
            });
        }
        if !(2..=total).contains(&count) {
            let expected = format!("2 to {total}");
            return Err(Error::Option { option: "timesteps", found: count.to_string(), expected });
        }
        Ok(Self {
            x0: pictures.iter().map(|v| f64::from(*v)).collect(),
            noise: Generator::philox(seed)?,
            z: vec![0.0; pictures.len()],
            bits: vec![0.0; batch],
            count,
            next: 0,
        })
    }

    /// The next timestep, and for how many it stands: 0 for itself, others for as many each.
    fn timestep(&self, schedule: &Schedule) -> (usize, f64) {
        if self.next == 0 {
            return (0, 1.0);
        }
        let each = (schedule.train_timesteps() - 1) as f64 / (self.count - 1) as f64;
        (1 + ((self.next as f64 - 0.5) * each) as usize, each)
    }

    fn at(&self, schedule: &Schedule) -> Option<Point> {
        (self.next < self.count).then(|| schedule.point(self.timestep(schedule).0))
    }

    fn question(&mut self, Level { alpha, sigma }: Level) -> Vec<f64> {
        self.noise.normals(self.next as u32, self.bits.len(), &mut self.z);
        self.x0.iter().zip(&self.z).map(|(x0, z)| alpha * x0 + sigma * f64::from(*z)).collect()
    }

    /// Takes x̂₀ of it, and the network's whole output.
    fn answer(&mut self, schedule: &Schedule, found: &[f64], output: &[f32]) -> Result<()> {
        let (t, weight) = self.timestep(schedule);
        self.next += 1;
        let len = found.len() / self.bits.len();
        let stride = output.len() / self.bits.len();
        let Level { alpha, sigma } = schedule.level(t);
        let before = if t == 0 { Level::CLEAN } else { schedule.level(t - 1) };
        let beta = 1.0 - (alpha / before.alpha).powi(2);
        let posterior = (before.sigma.powi(2) / sigma.powi(2) * beta).max(1e-20);
        // The first step's own variance is none: diffusers' and the paper's next one stands in.
        let least = if t == 0 { first_variance(schedule) } else { posterior };
        // As the mean of the step depends on x₀ (Ho et al. 2020, equation 7).
        let of_x0 = before.alpha * beta / sigma.powi(2);
        if !matches!(schedule.variance, Variance::FixedSmall | Variance::FixedLarge) && stride < 2 * len {
            return Err(Error::Unsupported {
                what: BOUND.to_owned(),
                why: "its schedule has a learned variance, which its network does not say".to_owned(),
            });
        }
        for (i, found) in found.iter().enumerate() {
            let learned = || f64::from(output[i / len * stride + len + i % len]);
            let variance = match schedule.variance {
                Variance::FixedSmall => least,
                Variance::FixedLarge => beta,
                Variance::Learned => learned().max(1e-20),
                Variance::LearnedRange => {
                    let share = f64::midpoint(learned(), 1.0);
                    (share * beta.ln() + (1.0 - share) * least.ln()).exp()
                }
            };
            let found = if schedule.clip == Clip::None { *found } else { found.clamp(-1.0, 1.0) };
            let nats = if t == 0 {
                -discretised(self.x0[i], found, variance.sqrt()).ln()
            } else {
                let difference = of_x0 * (self.x0[i] - found);
                0.5 * ((variance / posterior).ln() + (posterior + difference * difference) / variance - 1.0)
            };
            self.bits[i / len] += weight * nats / (len as f64 * LN_2);
        }
        Ok(())
    }

    fn end(&mut self, schedule: &Schedule) -> Vec<f64> {
        // L_T: how far the most noise is from noise alone.
        let Level { alpha, sigma } = schedule.level(schedule.train_timesteps() - 1);
        let len = self.x0.len() / self.bits.len();
        for (i, x0) in self.x0.iter().enumerate() {
            let variance = sigma * sigma;
            let nats = 0.5 * (variance + (alpha * x0).powi(2) - 1.0 - variance.ln());
            self.bits[i / len] += nats / (len as f64 * LN_2);
        }
        std::mem::take(&mut self.bits)
    }
}

const BOUND: &str = "the variational bound of this model";

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
