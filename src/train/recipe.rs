//! All that decides a training run but its data.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::average::Average;
use super::dataset::Dataset;
use super::network::TrainableNetwork;
use super::objective::Objective;
use super::optimiser::Optimiser;
use crate::checkpoint::Checkpoint;
use crate::checkpoint::json::Fields;
use crate::checkpoint::labels::Labels;
use crate::checkpoint::save::VERSION;
use crate::denoiser::Level;
use crate::device::DeviceKind;
use crate::error::{Error, Result};
use crate::model::UNET_CONFIG;
use crate::network::Architecture as _;
use crate::network::unet::{ClassEmbedding, UNet2DConfig};
use crate::rng::{Torch, check_seed};
use crate::schedule::Schedule;
use crate::text::{number, shown};

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

    /// The preset of a run that names none.
    #[must_use]
    pub fn suited_to(data: &Dataset) -> Self {
        let [_, height, width] = data.shape;
        if height.max(width) <= 8 { Self::Tiny } else { Self::Small }
    }
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

/// What most people change of a recipe. The page, the package and the command line all make their recipes of a preset or a
/// whole recipe with these, so that the same request is the same run.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Changes {
    /// The run's length; see [`Recipe::stretch`].
    pub steps: Option<u64>,
    /// See [`Recipe::batch`].
    pub batch: Option<usize>,
    /// The peak learning rate.
    pub learning_rate: Option<f64>,
    /// See [`Recipe::seed`].
    pub seed: Option<u64>,
    /// See [`Recipe::flip`].
    pub flip: Option<bool>,
}

impl Changes {
    /// With another length.
    #[must_use]
    pub fn steps(self, steps: impl Into<Option<u64>>) -> Self {
        Self { steps: steps.into(), ..self }
    }

    /// With another batch.
    #[must_use]
    pub fn batch(self, batch: impl Into<Option<usize>>) -> Self {
        Self { batch: batch.into(), ..self }
    }

    /// With another peak learning rate.
    #[must_use]
    pub fn learning_rate(self, rate: impl Into<Option<f64>>) -> Self {
        Self { learning_rate: rate.into(), ..self }
    }

    /// With another seed.
    #[must_use]
    pub fn seed(self, seed: impl Into<Option<u64>>) -> Self {
        Self { seed: seed.into(), ..self }
    }
}

/// What training by a recipe takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// Number of trained numbers.
    pub parameters: u64,
    /// Floating-point operations of one step: the backward pass costs twice the forward pass.
    pub flops: u64,
    /// Memory while training, in bytes, by estimate.
    pub memory: u64,
    /// T, the number of timesteps.
    pub train_timesteps: usize,
}

/// The bytes that a run may take on a device, where nothing else is known of it.
#[must_use]
pub const fn usual_memory(device: DeviceKind) -> u64 {
    match device {
        DeviceKind::Cpu => MEMORY_CPU,
        DeviceKind::Gpu => MEMORY_GPU,
    }
}

/// Bytes for a run on the CPU. A wasm module has at most 4 GiB, and a batch in parts costs little, so that there is one number for
/// the page and the command line: the same request then is the same run.
const MEMORY_CPU: u64 = 3_000_000_000;
/// Bytes for a run on a GPU.
const MEMORY_GPU: u64 = 6_000_000_000;

impl Recipe {
    /// The recipe of a preset's name: one of [`Preset::NAMES`] for pictures, where [`Preset::suited_to`] chooses if there is no
    /// name, and one of [`Self::lineage`]'s for points and bits.
    ///
    /// # Errors
    /// [`Error::Option`] for another name, or where the data set does not suit the network.
    pub fn named(name: Option<&str>, data: &Dataset) -> Result<Self> {
        if data.is_list() {
            return Ok(Self::lineage(name.unwrap_or_default())?.1);
        }
        let preset = name.map_or_else(|| Ok(Preset::suited_to(data)), str::parse)?;
        Self::preset(preset, data)
    }

    /// Makes it a run of another length. The warm-up and the average's half-life keep their share of it.
    pub fn stretch(&mut self, steps: u64) {
        if steps == self.steps || self.steps == 0 {
            self.steps = steps;
            return;
        }
        let warmup = u128::from(self.optimiser.warmup) * u128::from(steps) / u128::from(self.steps);
        self.optimiser.warmup = warmup.try_into().unwrap_or(u64::MAX);
        if let Average::HalfLife { steps: half_life } = &mut self.average {
            let stretched = *half_life * steps as f64 / self.steps as f64;
            // Averages over less than a step are none. What is no half-life stays so, for `check` to refuse.
            *half_life = if stretched > 0.0 { stretched.max(1.0) } else { stretched };
        }
        self.steps = steps;
    }

    /// Makes these changes, which [`Self::check`] may find wrong.
    pub fn change(&mut self, changes: &Changes) {
        let Changes { steps, batch, learning_rate, seed, flip } = *changes;
        if let Some(steps) = steps {
            self.stretch(steps);
        }
        self.batch = batch.unwrap_or(self.batch);
        self.optimiser.learning_rate = learning_rate.unwrap_or(self.optimiser.learning_rate);
        self.seed = seed.unwrap_or(self.seed);
        self.flip = flip.unwrap_or(self.flip);
    }

    /// Takes over a checkpoint's network and schedule, to go on from its weights. Where that network has no label for "any
    /// class", no labels are dropped.
    ///
    /// # Errors
    /// Those of [`TrainableNetwork::parse`].
    pub fn go_on_from(&mut self, checkpoint: &Checkpoint, data: &Dataset) -> Result<()> {
        self.unet.clone_from(&checkpoint.unet_config);
        if checkpoint.scheduler_config.is_some() {
            self.scheduler = checkpoint.scheduler().0;
        }
        if null_label(&TrainableNetwork::parse(UNET_CONFIG, &self.unet)?, data).is_none() {
            self.label_dropout = 0.0;
        }
        Ok(())
    }

    /// The first field in which what was asked for is another recipe, as a sentence without its end.
    pub(super) fn difference(&self, other: &Self) -> Option<String> {
        let [ours, others] = [self, other].map(|recipe| serde_json::to_value(recipe).unwrap_or_default());
        let (field, ours, others) = difference(String::new(), &ours, &others)?;
        Some(format!("`{field}` is {}, but {} was asked for", shown(ours, 60), shown(others, 60)))
    }

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
    pub(super) fn labels(&self, data: &Dataset, network: &TrainableNetwork) -> Option<Labels> {
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

    /// What training by it takes.
    ///
    /// # Errors
    /// Those of [`Self::check`].
    pub fn cost(&self, data: &Dataset) -> Result<Cost> {
        let (network, schedule) = self.check(data)?;
        let [_, height, width] = data.shape;
        let one = network.describe(height, width);
        let parameters = one.parameter_count();
        let part = (self.batch / self.accumulate) as u64;
        let activations = one.activation_bytes.saturating_mul(3).saturating_mul(part);
        Ok(Cost {
            parameters,
            flops: one.flops.saturating_mul(3).saturating_mul(self.batch as u64),
            // Weights, gradient, both moments, average, what an update makes of them, and the last save; every activation
            // with the intermediate results of normalisations, and its gradient.
            memory: parameters
                .saturating_mul(4 * 13)
                .saturating_add(activations)
                .saturating_add(data.pixels.len() as u64),
            train_timesteps: schedule.train_timesteps(),
        })
    }

    /// Works a batch through in as many parts as it takes to fit so many bytes of memory.
    ///
    /// # Errors
    /// Those of [`Self::check`]. [`Error::OutOfMemory`] where single examples are too large, though only in a browser, where a
    /// module cannot have more; natively it is tried.
    pub fn fit(&mut self, data: &Dataset, available: u64) -> Result<()> {
        loop {
            let needed = self.cost(data)?.memory;
            if needed <= available {
                return Ok(());
            }
            if self.batch.is_multiple_of(2 * self.accumulate) {
                self.accumulate *= 2;
            } else if cfg!(target_arch = "wasm32") {
                let megabytes = |bytes: u64| bytes.div_ceil(1_000_000);
                let problem = format!(
                    "training this takes some {} MB, and a tab may take {} MB for it on this device. Choose a smaller network or \
                     smaller pictures; or, where you know that there is more, tell `memory`",
                    megabytes(needed),
                    megabytes(available)
                );
                return Err(Error::OutOfMemory { problem });
            } else {
                return Ok(());
            }
        }
    }

    /// Items of a data set, `[count, channels, height, width]`, as the network sees them after `timestep` of the forward process
    /// with PyTorch's noise of `seed`, and the level that they are at. A timestep beyond the last is the last.
    ///
    /// # Errors
    /// Those of [`Self::check`].
    pub fn noised(
        &self,
        data: &Dataset,
        items: Vec<f32>,
        timestep: usize,
        seed: u64,
    ) -> Result<(Vec<f32>, Level)> {
        let (_, schedule) = self.check(data)?;
        let mut items = items;
        let mut noise = vec![0.0; items.len()];
        Torch::new(seed).randn(&mut noise);
        let timestep = timestep.min(schedule.train_timesteps() - 1);
        let level = self.objective.diffuse(&schedule, timestep, &mut items, &noise);
        Ok((items, level))
    }

    /// Whether what it trains can be written as a checkpoint that diffusers opens.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for a network or an objective that diffusers has not.
    pub fn check_export(&self) -> Result<()> {
        let class = self.unet.get("_class_name").and_then(Value::as_str).unwrap_or("UNet2DModel");
        if UNet2DConfig::CLASSES.contains(&class) && self.objective.is_of_diffusers() {
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
    pub fn check(&self, data: &Dataset) -> Result<(TrainableNetwork, Schedule)> {
        data.check()?;
        check_seed(self.seed)?;
        let network = TrainableNetwork::parse(UNET_CONFIG, &self.unet)?;
        let schedule =
            Schedule::from_fields(&Fields::new("scheduler/scheduler_config.json", &self.scheduler))?;
        let refuse = |option, found: String, expected: String| Err(Error::Option { option, found, expected });
        let [channels, height, width] = data.shape;
        network.check_size(height, width)?;
        if channels != network.in_channels() {
            let expected = format!("{}, the network's in_channels", network.in_channels());
            return refuse("data's channels", channels.to_string(), expected);
        }
        self.objective.check(&network, &schedule)?;
        let total = schedule.train_timesteps();
        self.objective
            .timesteps(&schedule)
            .try_for_each(|t| network.check_told(self.objective.told(&schedule, t), total))?;
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
            return refuse("label_dropout", number(self.label_dropout), "0 to 1".to_owned());
        }
        if self.label_dropout > 0.0 && null_label(&network, data).is_none() {
            let expected = "0, as the network has no row for the null label beside the data's classes";
            return refuse("label_dropout", number(self.label_dropout), expected.to_owned());
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
            return refuse("learning_rate", number(o.learning_rate), "above 0, at most 1".to_owned());
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
                return refuse(name, number(value), format!("{least} to {most}"));
            }
        }
        match self.average {
            Average::HalfLife { steps } if !(steps > 0.0 && steps.is_finite()) => {
                refuse("average", format!("a half-life of {} steps", number(steps)), "above 0".to_owned())
            }
            Average::Diffusers { power, max_decay }
                if !(power > 0.0 && power <= 10.0 && (0.0..1.0).contains(&max_decay)) =>
            {
                refuse(
                    "average",
                    format!("power {}, max_decay {}", number(power), number(max_decay)),
                    "a power from 0 to 10 and a decay in [0, 1)".to_owned(),
                )
            }
            _ => Ok((network, schedule)),
        }
    }
}

/// Where two JSON values first differ: the path, and what is there in each.
fn difference(path: String, ours: &Value, others: &Value) -> Option<(String, Value, Value)> {
    let (Value::Object(a), Value::Object(b)) = (ours, others) else {
        return (ours != others).then(|| (path, ours.clone(), others.clone()));
    };
    // Which version wrote a config is no part of it.
    let keys = a
        .keys()
        .chain(b.keys().filter(|key| !a.contains_key(*key)))
        .filter(|key| *key != "_diffusers_version");
    let at = |key: &String| if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
    let of = |map: &Map<String, Value>, key: &String| map.get(key).cloned().unwrap_or_default();
    keys.into_iter().find_map(|key| difference(at(key), &of(a, key), &of(b, key)))
}

/// The row of the class embedding beyond the data's classes, if there is one: the last.
pub(super) fn null_label(network: &TrainableNetwork, data: &Dataset) -> Option<usize> {
    match network.class_embedding() {
        ClassEmbedding::Table(rows) if data.classes() < rows => Some(rows - 1),
        _ => None,
    }
}
