//! All that decides a training run but its data.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::average::Average;
use super::dataset::Dataset;
use super::network::Network;
use super::objective::Objective;
use super::optimiser::Optimiser;
use crate::checkpoint::json::Fields;
use crate::checkpoint::labels::Labels;
use crate::checkpoint::save::VERSION;
use crate::error::{Error, Result};
use crate::network::unet::ClassEmbedding;
use crate::rng::check_seed;
use crate::schedule::Schedule;

/// A training run but for its data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// The network: diffusers' `UNet2DModel` config, or that of an MLP or RBF network
    /// ([`MlpConfig`](crate::network::mlp::MlpConfig)).
    pub unet: Map<String, Value>,
    /// The noise levels and what is predicted: diffusers' scheduler config, of which some objectives read the number of
    /// timesteps alone.
    pub scheduler: Map<String, Value>,
    /// What is minimised.
    #[serde(default)]
    pub objective: Objective,
    /// 0 to 2^53 - 1: the run's random numbers.
    #[serde(default)]
    pub seed: u64,
    /// Optimiser steps of the whole run.
    pub steps: u64,
    /// Images of one optimiser step.
    pub batch: usize,
    /// Parts that a step's batch is worked through in, to take less memory: it divides the batch.
    #[serde(default = "one")]
    pub accumulate: usize,
    /// AdamW's settings.
    #[serde(default)]
    pub optimiser: Optimiser,
    /// How the weights that are sampled and exported follow the trained ones.
    pub average: Average,
    /// The share of labels replaced by the null label, for classifier-free guidance (Ho and Salimans 2022).
    #[serde(default)]
    pub label_dropout: f64,
    /// Mirror images left to right at random.
    #[serde(default)]
    pub flip: bool,
}

fn one() -> usize {
    1
}

/// Sizes of networks for small pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preset {
    /// For 8×8 pictures or a first look: some 0.1 million parameters.
    Tiny,
    /// For 16×16 pictures on a laptop: some 0.6 million.
    Small,
    /// For 24 to 32 pixels on a GPU: some 6 million.
    Medium,
}

impl Preset {
    /// The presets by name.
    pub const NAMES: [(&'static str, Self); 3] =
        [("tiny", Self::Tiny), ("small", Self::Small), ("medium", Self::Medium)];
}

impl std::str::FromStr for Preset {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let found = Self::NAMES.iter().find(|(n, _)| *n == name);
        found.map(|(_, preset)| *preset).ok_or_else(|| Error::Option {
            option: "preset",
            found: format!("{name:?}"),
            expected: "tiny, small or medium".to_owned(),
        })
    }
}

impl Recipe {
    /// A recipe for a data set: v-prediction on the cosine schedule, class-conditional with a null label where there are
    /// classes.
    ///
    /// # Errors
    /// [`Error::Option`] where the data set's size does not suit the network.
    pub fn preset(preset: Preset, data: &Dataset) -> Result<Self> {
        let [channels, height, width] = data.shape;
        let (base, layers, steps, rate) = match preset {
            Preset::Tiny => (16, 1, 2000, 2e-3),
            Preset::Small => (32, 1, 5000, 1e-3),
            Preset::Medium => (64, 2, 20_000, 4e-4),
        };
        // Down to 4 to 8 pixels.
        let levels = match height.max(width) {
            ..=8 => 2,
            9..=16 => 3,
            _ => 4,
        };
        let levels = if height.max(width) <= 32 && preset != Preset::Medium { levels.min(3) } else { levels };
        let widths: Vec<usize> = [base, 2 * base, 2 * base, 4 * base][..levels].to_vec();
        let kinds = |side: &str, attention_at: usize| -> Vec<String> {
            let kind =
                |i| if i == attention_at { format!("Attn{side}Block2D") } else { format!("{side}Block2D") };
            (0..levels).map(kind).collect()
        };
        let classes = data.classes();
        let unet = json!({
            "_class_name": "UNet2DModel",
            "_diffusers_version": VERSION,
            "act_fn": "silu",
            "add_attention": true,
            "attention_head_dim": 16,
            "attn_norm_num_groups": 8,
            "block_out_channels": widths,
            "center_input_sample": false,
            "class_embed_type": null,
            "down_block_types": kinds("Down", levels - 1),
            "downsample_padding": 1,
            "downsample_type": "conv",
            "dropout": 0.0,
            "flip_sin_to_cos": true,
            "freq_shift": 0,
            "in_channels": channels,
            "layers_per_block": layers,
            "mid_block_scale_factor": 1,
            "norm_eps": 1e-5,
            "norm_num_groups": 8,
            "num_class_embeds": (classes > 0).then_some(classes + 1),
            "num_train_timesteps": null,
            "out_channels": channels,
            "resnet_time_scale_shift": "scale_shift",
            "sample_size": if height == width { json!(height) } else { json!([height, width]) },
            "time_embedding_type": "positional",
            "up_block_types": kinds("Up", 0),
            "upsample_type": "conv",
        });
        let scheduler = json!({
            "_class_name": "DDPMScheduler",
            "_diffusers_version": VERSION,
            "beta_end": 0.02,
            "beta_schedule": "squaredcos_cap_v2",
            "beta_start": 0.0001,
            "clip_sample": true,
            "clip_sample_range": 1.0,
            "dynamic_thresholding_ratio": 0.995,
            "num_train_timesteps": 1000,
            "prediction_type": "v_prediction",
            "rescale_betas_zero_snr": false,
            "sample_max_value": 1.0,
            "steps_offset": 0,
            "thresholding": false,
            "timestep_spacing": "trailing",
            "trained_betas": null,
            "variance_type": "fixed_small",
        });
        let object = |value| if let Value::Object(map) = value { map } else { Map::new() };
        let recipe = Self {
            unet: object(unet),
            scheduler: object(scheduler),
            objective: Objective::Simple,
            seed: 0,
            steps,
            batch: 32.min(data.len().max(1)),
            accumulate: 1,
            optimiser: Optimiser {
                learning_rate: rate,
                warmup: steps / 20,
                betas: [0.9, 0.99],
                weight_decay: 0.01,
                ..Optimiser::default()
            },
            average: Average::HalfLife { steps: steps as f64 / 25.0 },
            label_dropout: if classes > 0 { 0.1 } else { 0.0 },
            flip: false,
        };
        recipe.check(data).map(|_| recipe)
    }

    /// The recipe as it comes back from its own JSON. Reading a number of 17 digits may change its last one, and a run must
    /// not change when it is resumed: so a run starts with what a saved one would go on with.
    pub(super) fn into_saved(self) -> Self {
        let mut recipe = self;
        // One reading leaves numbers that come back as they are; more are for the rarest.
        for _ in 0..8 {
            let text = serde_json::to_vec(&recipe).unwrap_or_default();
            match serde_json::from_slice::<Self>(&text) {
                Ok(read) if read != recipe => recipe = read,
                _ => break,
            }
        }
        recipe
    }

    /// The names of the network's classes: the data set's, then the null label's.
    pub(super) fn labels(&self, data: &Dataset, network: &Network) -> Option<Labels> {
        let ClassEmbedding::Table(rows) = network.class_embedding() else { return None };
        let null = null_label(network, data);
        let mut names = data.names.clone();
        names.truncate(rows);
        if null.is_some() {
            names.resize(rows - 1, String::new());
            names.push("any".to_owned());
        }
        Some(Labels { names, null_label: null })
    }

    /// Whether what it trains can be written as a checkpoint that diffusers opens.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for a network or an objective that diffusers has not.
    pub fn check_export(&self) -> Result<()> {
        let class = self.unet.get("_class_name").and_then(Value::as_str).unwrap_or("UNet2DModel");
        if class == "UNet2DModel" && self.objective.is_of_diffusers() {
            return Ok(());
        }
        Err(Error::Unsupported {
            what: format!("a checkpoint of {class} trained for {:?}", self.objective),
            why: "diffusers has no such model or no scheduler for it. Train a UNet2DModel for simple, min-snr or \
                  hybrid, or keep the run's state"
                .to_owned(),
        })
    }

    /// Reads and checks the recipe for a data set.
    ///
    /// # Errors
    /// [`Error::Config`] and [`Error::Unsupported`] for the network and the schedule, [`Error::Option`] for the rest,
    /// [`Error::Dataset`] for the data.
    pub fn check(&self, data: &Dataset) -> Result<(Network, Schedule)> {
        data.check()?;
        check_seed(self.seed)?;
        let network = Network::parse("unet/config.json", &self.unet)?;
        let schedule =
            Schedule::from_fields(&Fields::new("scheduler/scheduler_config.json", &self.scheduler))?;
        self.objective.check(&network, &schedule)?;
        let refuse = |option, found: String, expected: String| Err(Error::Option { option, found, expected });
        let [channels, height, width] = data.shape;
        network.check_size(height, width)?;
        if channels != network.in_channels() {
            let expected = format!("{}, the network's in_channels", network.in_channels());
            return refuse("data's channels", channels.to_string(), expected);
        }
        if self.objective == Objective::Binomial && !data.is_bits() {
            return refuse(
                "objective",
                "binomial".to_owned(),
                "another, as these data are no bits of -1 and 1".to_owned(),
            );
        }
        match network.class_embedding() {
            ClassEmbedding::None => {}
            ClassEmbedding::Table(rows) if data.labels.is_some() && data.classes() <= rows => {}
            ClassEmbedding::Table(rows) => {
                let expected = format!("1 to {rows}, the rows of the network's class embedding");
                return refuse("data's classes", data.classes().to_string(), expected);
            }
            _ => {
                return Err(Error::Unsupported {
                    what: "training a class embedding that is no table".to_owned(),
                    why: "data sets have classes; use num_class_embeds and leave class_embed_type out"
                        .to_owned(),
                });
            }
        }
        if !(0.0..=1.0).contains(&self.label_dropout) {
            return refuse("label_dropout", self.label_dropout.to_string(), "0 to 1".to_owned());
        }
        if self.label_dropout > 0.0 && null_label(&network, data).is_none() {
            let expected = "0, as the network has no row for the null label beside the data's classes";
            return refuse("label_dropout", self.label_dropout.to_string(), expected.to_owned());
        }
        if !(1..=1 << 16).contains(&self.batch) {
            return refuse("batch", self.batch.to_string(), "1 to 65536".to_owned());
        }
        if self.accumulate == 0 || !self.batch.is_multiple_of(self.accumulate) {
            let expected = format!("a divisor of the batch, {}", self.batch);
            return refuse("accumulate", self.accumulate.to_string(), expected);
        }
        if !(1..=u64::from(u32::MAX)).contains(&self.steps) {
            return refuse("steps", self.steps.to_string(), format!("1 to {}", u32::MAX));
        }
        let o = &self.optimiser;
        if !(o.learning_rate > 0.0 && o.learning_rate <= 1.0) {
            return refuse("learning_rate", o.learning_rate.to_string(), "above 0, at most 1".to_owned());
        }
        let numbers = [
            ("betas", o.betas[0], 0.0, 0.999_999),
            ("betas", o.betas[1], 0.0, 0.999_999_9),
            ("weight_decay", o.weight_decay, 0.0, 10.0),
            ("epsilon", o.epsilon, 1e-15, 1.0),
            ("clip", o.clip, 1e-6, 1e9),
        ];
        for (name, value, least, most) in numbers {
            if !(least..=most).contains(&value) {
                return refuse(name, value.to_string(), format!("{least} to {most}"));
            }
        }
        match self.average {
            Average::HalfLife { steps } if !(steps > 0.0 && steps.is_finite()) => {
                refuse("average", format!("a half-life of {steps} steps"), "above 0".to_owned())
            }
            Average::Diffusers { power, max_decay }
                if !(power > 0.0 && power <= 10.0 && (0.0..1.0).contains(&max_decay)) =>
            {
                refuse(
                    "average",
                    format!("power {power}, max_decay {max_decay}"),
                    "a power from 0 to 10 and a decay in [0, 1)".to_owned(),
                )
            }
            _ => Ok((network, schedule)),
        }
    }
}

/// The row of the class embedding beyond the data's classes, if there is one: the last.
pub(super) fn null_label(network: &Network, data: &Dataset) -> Option<usize> {
    match network.class_embedding() {
        ClassEmbedding::Table(rows) if data.classes() < rows => Some(rows - 1),
        _ => None,
    }
}
