//! What a network is trained for: how an example is noised, what the network is given, and what its answer costs.

pub(super) mod binomial;
mod bound;
mod edm;
mod examples;
mod flow;
mod hybrid;
mod score;
mod simple;

use std::ops::Range;

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

pub(super) use examples::Examples;
use examples::{Denoised, Noised, Task, squared_error};

use super::network::TrainableNetwork;
use crate::denoiser::{Level, Point, Prediction};
use crate::error::{Error, Result};
use crate::model::UNET_CONFIG;
use crate::network::on_burn::Parameters;
use crate::schedule::{Schedule, Variance};
use crate::text::number;

/// A training objective.
///
/// The first three train what diffusers' DDPM and DDIM schedulers sample, and the recipe's schedule says what is
/// predicted at which levels. The others have levels of their own, of which the schedule tells the number T alone; what
/// they train is no checkpoint of diffusers' layout.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Objective {
    /// DDPM's `L_simple`, the squared error of what the schedule says is predicted (Ho et al. 2020, equation 14).
    #[default]
    Simple,
    /// `L_simple` weighted by min(SNR, γ) as an error of x₀ (Hang et al. 2023).
    MinSnr {
        /// γ, above 0; 5 in the paper.
        gamma: f64,
    },
    /// `L_simple` and, for a network that learns its variance, the variational bound for that variance (Nichol and
    /// Dhariwal 2021, equation 16).
    Hybrid,
    /// The variational bound on the log likelihood with learned β, mean and variance (Sohl-Dickstein et al. 2015,
    /// equation 14). The schedule's β are the initial ones, its first stays. The loss is -K in bits.
    Bound,
    /// The same bound for bits, which are data of -1 and 1 (Sohl-Dickstein et al. 2015, table App.1).
    Binomial,
    /// Denoising score matching over a geometric ladder of T noise levels (Song and Ermon 2019, equations 5 and 6).
    ScoreMatching {
        /// The lowest level's σ, above 0.
        sigma_min: f64,
        /// The highest level's σ.
        sigma_max: f64,
    },
    /// EDM's preconditioning, weighting and noise levels (Karras et al. 2022, table 1).
    Edm {
        /// The data's deviation; 0.5 in the paper.
        sigma_data: f64,
        /// The mean of ln σ; -1.2 in the paper.
        mean: f64,
        /// The deviation of ln σ; 1.2 in the paper.
        deviation: f64,
    },
    /// Flow matching along straight lines from noise (time 1) to data (time 0) (Lipman et al. 2023, equation 23; Liu et
    /// al. 2023, equation 1).
    Flow,
}

impl Objective {
    /// Whether this network can be trained for it.
    ///
    /// # Errors
    /// [`Error::Option`] that says what does not fit.
    pub(super) fn check(self, network: &TrainableNetwork, schedule: &Schedule) -> Result<()> {
        let refuse = |found: &str, expected: &str| {
            Err(Error::Option { option: "objective", found: found.to_owned(), expected: expected.to_owned() })
        };
        let (input, output) = (network.in_channels(), network.out_channels());
        let learned = schedule.variance == Variance::LearnedRange;
        match self {
            Self::Hybrid if output != 2 * input || !learned => refuse(
                "hybrid",
                "one for this network: hybrid needs twice as many out_channels as in_channels and variance_type learned_range",
            ),
            Self::Bound if output != 2 * input => {
                refuse("bound", "another, as bound needs twice as many out_channels as in_channels")
            }
            Self::Bound | Self::Binomial if schedule.train_timesteps() < 2 => {
                refuse("a bound with 1 timestep", "one with at least 2")
            }
            Self::Hybrid | Self::Bound => Ok(()),
            _ if output == 2 * input => {
                refuse(self.name(), "hybrid or bound, as this network learns a variance")
            }
            _ if output != input => Err(Error::Config {
                file: UNET_CONFIG.to_owned(),
                field: "out_channels".to_owned(),
                found: output.to_string(),
                expected: format!("{input}, as many as in_channels"),
            }),
            Self::MinSnr { gamma } if !(gamma > 0.0 && gamma.is_finite()) => {
                let found = format!("min-SNR with gamma {}", number(gamma));
                refuse(&found, "min-SNR with gamma above 0")
            }
            Self::ScoreMatching { sigma_min, sigma_max }
                if !(sigma_min > 0.0 && sigma_min < sigma_max && sigma_max.is_finite()) =>
            {
                refuse(
                    &format!("score matching from sigma {sigma_min} to {sigma_max}"),
                    "score matching with 0 < sigma_min < sigma_max",
                )
            }
            Self::Edm { sigma_data, mean, deviation }
                if !(sigma_data > 0.0 && deviation > 0.0 && (sigma_data + mean + deviation).is_finite()) =>
            {
                refuse(
                    &format!("EDM with sigma_data {sigma_data} and deviation {deviation}"),
                    "EDM with both above 0",
                )
            }
            _ => Ok(()),
        }
    }

    /// Its name in a recipe.
    fn name(self) -> &'static str {
        match self {
            Self::Simple => "simple",
            Self::MinSnr { .. } => "min-snr",
            Self::Hybrid => "hybrid",
            Self::Bound => "bound",
            Self::Binomial => "binomial",
            Self::ScoreMatching { .. } => "score-matching",
            Self::Edm { .. } => "edm",
            Self::Flow => "flow",
        }
    }

    /// Whether diffusers' schedulers, and this crate's samplers of them, can run what it trains.
    pub(super) fn is_of_diffusers(self) -> bool {
        matches!(self, Self::Simple | Self::MinSnr { .. } | Self::Hybrid)
    }

    /// The timesteps to draw from.
    pub(super) fn timesteps(self, schedule: &Schedule) -> Range<usize> {
        // The bound's first reverse step is fixed.
        usize::from(self == Self::Bound)..schedule.train_timesteps()
    }

    /// The number that the network is told at a timestep.
    pub(super) fn told(self, schedule: &Schedule, timestep: usize) -> f32 {
        match self {
            Self::Bound | Self::Binomial => timestep as f32,
            _ => self.task(schedule, timestep).question.c_noise as f32,
        }
    }

    /// What it trains beside the network: keys and shapes. All are 0 at first.
    pub(super) fn parameters(self, schedule: &Schedule) -> Vec<(String, Vec<usize>)> {
        match self {
            Self::Bound => vec![(bound::OFFSETS.to_owned(), vec![schedule.train_timesteps() - 1])],
            _ => Vec::new(),
        }
    }

    /// What the network says, where it is trained by regression.
    pub(super) fn prediction(self, schedule: &Schedule) -> Prediction {
        match self {
            Self::ScoreMatching { .. } => Prediction::Score,
            Self::Edm { sigma_data, .. } => Prediction::Edm { sigma_data },
            Self::Flow => Prediction::Flow,
            _ => schedule.prediction,
        }
    }

    /// The level of a timestep, and the number by which the network knows it, where it is trained by regression.
    pub(super) fn point(self, schedule: &Schedule, timestep: usize) -> Point {
        self.task(schedule, timestep).at
    }

    /// What a timestep trains, where that is a regression.
    fn task(self, schedule: &Schedule, timestep: usize) -> Task {
        let total = schedule.train_timesteps();
        match self {
            Self::ScoreMatching { sigma_min, sigma_max } => {
                score::task(timestep, total, sigma_min, sigma_max)
            }
            Self::Edm { sigma_data, mean, deviation } => {
                edm::task(timestep, total, sigma_data, mean, deviation)
            }
            Self::Flow => flow::task(timestep, total),
            Self::MinSnr { gamma } => simple::task(schedule, timestep, Some(gamma)),
            _ => simple::task(schedule, timestep, None),
        }
    }

    /// The cost of each example, `[batch]`. `network` is given noisy images and a number for each; `learned` holds
    /// [`Self::parameters`].
    pub(super) fn losses(
        self,
        schedule: &Schedule,
        learned: &Parameters,
        examples: &Examples,
        network: impl FnOnce(Tensor<4>, &[f32]) -> Result<Tensor<4>>,
    ) -> Result<Tensor<1>> {
        match self {
            Self::Bound => bound::losses(schedule, learned, examples, network),
            Self::Binomial => binomial::losses(schedule.train_timesteps(), examples, network),
            _ => {
                let tasks: Vec<Task> = examples.timesteps.iter().map(|t| self.task(schedule, *t)).collect();
                let noised = Noised::new(&tasks, examples);
                let c_noise: Vec<f32> = tasks.iter().map(|t| t.question.c_noise as f32).collect();
                let output = network(noised.input.clone(), &c_noise)?;
                Ok(match self {
                    Self::Hybrid => hybrid::loss(schedule, output, &noised, &tasks, examples),
                    _ => squared_error(output, &tasks, examples),
                })
            }
        }
    }

    /// The forward process as it is before anything is learned: takes clean `x` to a timestep with standard normals `epsilon`.
    ///
    /// # Panics
    /// Unless the timestep is below the schedule's number.
    pub fn diffuse(self, schedule: &Schedule, timestep: usize, x: &mut [f32], epsilon: &[f32]) -> Level {
        let level = self.level(schedule, &vec![0.0; schedule.train_timesteps()], timestep);
        let both = x.iter_mut().zip(epsilon);
        if self == Self::Binomial {
            let flips_beyond = binomial::flips_beyond(schedule.train_timesteps(), timestep) as f32;
            both.for_each(|(x, e)| *x = if *e > flips_beyond { -*x } else { *x });
        } else {
            both.for_each(|(x, e)| *x = (level.alpha * f64::from(*x) + level.sigma * f64::from(*e)) as f32);
        }
        level
    }

    /// The noise level of a timestep, with the `learned` numbers where it is learned.
    pub(super) fn level(self, schedule: &Schedule, learned: &[f32], timestep: usize) -> Level {
        match self {
            Self::Bound => bound::level(schedule, learned, timestep),
            Self::Binomial => binomial::level(schedule.train_timesteps(), timestep),
            _ => self.task(schedule, timestep).at.level,
        }
    }

    /// What `network` says about images at a timestep.
    pub(super) fn denoise(
        self,
        schedule: &Schedule,
        learned: &Parameters,
        x: Tensor<4>,
        timestep: usize,
        network: impl FnOnce(Tensor<4>, f32) -> Result<Tensor<4>>,
    ) -> Result<Denoised> {
        match self {
            Self::Bound => bound::denoise(schedule, learned, x, timestep, network),
            Self::Binomial => {
                let answer = network(x.clone(), timestep as f32)?;
                let x0 = binomial::x0(schedule.train_timesteps(), timestep, x, answer);
                Ok(Denoised { x0, log_variance: None })
            }
            _ => {
                let Task { at, question, .. } = self.task(schedule, timestep);
                let output = network(x.clone() * question.input, question.c_noise as f32)?;
                let m = output.narrow(1, 0, x.dims()[1]);
                let (a, b) = question.x0(at.level);
                Ok(Denoised { x0: x * a + m * b, log_variance: None })
            }
        }
    }
}
