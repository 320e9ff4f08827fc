//! A checkpoint on a device, ready to sample.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::Serialize;

use crate::checkpoint::Checkpoint;
use crate::checkpoint::folder::LABELS;
use crate::checkpoint::json::Fields;
use crate::checkpoint::weights::Dtype;
use crate::device::{Device, DeviceKind, LentNetwork, Shared};
use crate::engine::executor::LoadedNetwork;
use crate::engine::parameters::Storage;
use crate::error::{Error, Result};
use crate::network::architecture::ClassEmbedding;
use crate::network::describe::{Inventory, describe};
use crate::network::{self, Network as NetworkConfig};
use crate::rng::Generator;
use crate::sampler::{self, Edit, Guidance, Options, SamplerKind, Settings, wrong_pictures};
use crate::sampling::{Sampling, Watcher};
use crate::schedule::{Schedule, Variance};
use crate::text::number;

/// The name that errors give to the network's configuration.
pub(crate) const UNET_CONFIG: &str = "unet/config.json";
const SCHEDULER_CONFIG: &str = "scheduler/scheduler_config.json";

/// What a checkpoint's configuration says, read and checked: all that can be known without its weights.
#[derive(Clone, Debug)]
pub struct ModelConfig {
    /// The network.
    pub network: Arc<dyn NetworkConfig>,
    /// The noise levels it was trained with.
    pub schedule: Schedule,
    /// What one evaluation for one image takes.
    pub inventory: Inventory,
    /// Height and width of the pictures.
    pub size: [usize; 2],
    /// The sampler that the checkpoint's scheduler stands for.
    pub sampler: SamplerKind,
    /// Keys of the configuration files that mean nothing here.
    pub unknown_keys: Vec<String>,
    /// What a reader should know, for instance that another sampler is used than the checkpoint names.
    pub notes: Vec<String>,
}

impl ModelConfig {
    /// Reads a checkpoint's configuration. Without a scheduler's, diffusers' defaults for DDPM hold.
    ///
    /// # Errors
    /// [`Error::Config`] on impossible values, [`Error::Unsupported`] on what is not implemented.
    pub fn read(checkpoint: &Checkpoint) -> Result<Self> {
        let (network, mut unknown_keys) = network::parse(UNET_CONFIG, &checkpoint.unet_config)?;
        let error = |field, found: &dyn ToString, expected: &str| {
            Fields::new(UNET_CONFIG, &checkpoint.unet_config).error(field, found.to_string(), expected)
        };
        if network.out_channels() != network.in_channels() && !network.learns_variance() {
            return Err(error(
                "out_channels",
                &network.out_channels(),
                "in_channels, or twice as many to learn a variance",
            ));
        }
        let Some(size) = network.sample_size() else {
            return Err(error("sample_size", &"null", "the height and width of the pictures"));
        };
        let (scheduler, mut notes) = checkpoint.scheduler();
        let schedule = Schedule::from_fields(&Fields::new(SCHEDULER_CONFIG, &scheduler))?;
        let (sampler, note) = SamplerKind::default_for(&schedule.class_name);
        notes.extend(note);
        let fixed = matches!(schedule.variance, Variance::FixedSmall | Variance::FixedLarge);
        if network.learns_variance() && (fixed || !schedule.class_name.starts_with("DDPM")) {
            notes.push(
                "half of the network's output, a variance, is not used; diffusers would fail here".to_owned(),
            );
        }
        unknown_keys.extend(schedule.ignored.iter().cloned());
        if let Some(labels) = &checkpoint.labels {
            labels.check(LABELS, &*network)?;
            if network.classes() == ClassEmbedding::None && !labels.names.is_empty() {
                notes.push("labels.json names classes, but the network has none: it is not used".to_owned());
            }
        }
        let inventory = describe(&*network, 1, size[0], size[1]);
        if inventory.flops == u64::MAX {
            return Err(error(
                "sample_size",
                &format!("{size:?}"),
                "smaller for a network this wide: the operations of one evaluation are too many to count",
            ));
        }
        Ok(Self { network, schedule, inventory, size, sampler, unknown_keys, notes })
    }

    /// Whether the network can be told every timestep of a run and says all that the run asks of it: before the first
    /// step rather than at the last.
    fn check_run(&self, run: &sampler::Program) -> Result<()> {
        run.timesteps().try_for_each(|t| self.network.check_timestep(t as f32))?;
        if run.needs_learned_variance() && !self.network.learns_variance() {
            return Err(Error::Config {
                file: SCHEDULER_CONFIG.to_owned(),
                field: "variance_type".to_owned(),
                found: format!("{:?}", self.schedule.variance),
                expected: format!(
                    "a fixed one for a network of {} output channels, or to be sampled with ddim",
                    self.network.out_channels()
                ),
            });
        }
        Ok(())
    }
}

/// What a model is, for people and pages.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
#[serde(rename_all = "camelCase")]
pub struct Info {
    /// Number of scalar parameters.
    pub parameters: u64,
    /// Floating-point operations of one evaluation for one picture.
    pub flops: u64,
    /// Memory of the activations for one picture, in bytes.
    pub activation_bytes: u64,
    /// Channels of a picture.
    pub channels: usize,
    /// Height of a picture in pixels.
    pub height: usize,
    /// Width of a picture in pixels.
    pub width: usize,
    /// Number of classes, where the model has them.
    pub classes: Option<usize>,
    /// The classes' names, where the checkpoint tells.
    pub labels: Option<Vec<String>>,
    /// The label that stands for no class in particular, where there is one.
    pub null_label: Option<usize>,
    /// diffusers' class name of the checkpoint's scheduler.
    pub scheduler: String,
    /// The sampler that it stands for.
    pub sampler: &'static str,
    /// T, the number of timesteps the model was trained with.
    pub train_timesteps: usize,
    /// Keys of the files that mean nothing here, weights' among them.
    pub unknown_keys: Vec<String>,
    /// What a reader should know.
    pub notes: Vec<String>,
    /// Where it runs.
    pub device: DeviceInfo,
}

/// Where a model runs, for people and pages.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct DeviceInfo {
    /// CPU or GPU.
    pub kind: DeviceKind,
    /// The adapter's name, or "CPU".
    pub name: String,
}

/// Where a run's noise comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rng {
    /// Counter-based: each picture of a batch depends on the seed and its own number alone.
    #[default]
    Philox,
    /// PyTorch's CPU generator, for a seed from a Python notebook.
    Torch,
}

impl fmt::Display for Rng {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Philox => "philox",
            Self::Torch => "torch",
        })
    }
}

impl FromStr for Rng {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "philox" => Ok(Self::Philox),
            "torch" => Ok(Self::Torch),
            _ => Err(Error::Option {
                option: "rng",
                found: format!("{name:?}"),
                expected: "philox or torch".to_owned(),
            }),
        }
    }
}

/// What to sample. Begin with the defaults, and say what is to be otherwise; `None` takes a choice back.
///
/// ```
/// use noiseball::{SampleOptions, SamplerKind};
///
/// let options = SampleOptions::default().sampler(SamplerKind::Ddim).setting("eta", 0.5).steps(20).labels(vec![3.0]);
/// assert_eq!((options.steps, options.batch), (Some(20), 1));
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SampleOptions {
    /// The sampler; `None` takes the one that the checkpoint's scheduler stands for.
    pub sampler: Option<SamplerKind>,
    /// Number of steps, 1 to T; `None` takes the sampler's default.
    pub steps: Option<usize>,
    /// 0 to 2^53 - 1.
    pub seed: u64,
    /// Where the noise comes from.
    pub rng: Rng,
    /// Number of pictures at once, 1 to 1024.
    pub batch: usize,
    /// The sampler's options, by name: see [`SamplerKind::entry`].
    pub settings: Settings,
    /// Class labels, where the model has classes: one for all pictures, or one each. `None` is the null label, no class in
    /// particular, where the checkpoint names one.
    pub labels: Option<Vec<f32>>,
    /// How strongly to keep to the labels. Needs them, and a null label or a negative one.
    pub guidance: Guidance,
    /// The label to keep away from, in place of the null label.
    pub negative_label: Option<f32>,
    /// A picture to begin with, or to keep a part of. Its mask has a number for each pixel, of one picture or of each.
    pub edit: Option<Edit>,
    /// The noise to start from in place of the seed's, `[channels, height, width]` of deviation 1 or one for each picture, as
    /// [`Edit::invert`] and [`rng::slerp`](crate::rng::slerp) make it.
    pub noise: Option<Arc<[f32]>>,
    /// Which steps are looked at: every so-many-eth and the last, or for 0 the last alone. The others come without images, and several of
    /// them at once where a GPU takes no more than some 16 ms for them.
    pub every: usize,
}

impl Default for SampleOptions {
    fn default() -> Self {
        Self {
            sampler: None,
            steps: None,
            seed: 0,
            rng: Rng::Philox,
            batch: 1,
            settings: Settings::default(),
            labels: None,
            guidance: Guidance::default(),
            negative_label: None,
            edit: None,
            noise: None,
            every: 1,
        }
    }
}

impl SampleOptions {
    /// With this sampler.
    #[must_use]
    pub fn sampler(self, sampler: impl Into<Option<SamplerKind>>) -> Self {
        Self { sampler: sampler.into(), ..self }
    }

    /// With so many steps, 1 to T.
    #[must_use]
    pub fn steps(self, steps: impl Into<Option<usize>>) -> Self {
        Self { steps: steps.into(), ..self }
    }

    /// With another seed, 0 to 2^53 - 1.
    #[must_use]
    pub fn seed(self, seed: u64) -> Self {
        Self { seed, ..self }
    }

    /// With noise from this generator.
    #[must_use]
    pub fn rng(self, rng: Rng) -> Self {
        Self { rng, ..self }
    }

    /// So many pictures at once, 1 to 1024.
    #[must_use]
    pub fn batch(self, batch: usize) -> Self {
        Self { batch, ..self }
    }

    /// With one of the sampler's options: see [`SamplerKind::entry`].
    #[must_use]
    pub fn setting(self, name: &str, value: impl Into<sampler::options::Value>) -> Self {
        Self { settings: self.settings.with(name, value), ..self }
    }

    /// With these of the sampler's options in place of all that were set.
    #[must_use]
    pub fn settings(self, settings: Settings) -> Self {
        Self { settings, ..self }
    }

    /// Of these classes: one label for all pictures, or one each.
    #[must_use]
    pub fn labels(self, labels: impl Into<Option<Vec<f32>>>) -> Self {
        Self { labels: labels.into(), ..self }
    }

    /// Guided to its labels.
    #[must_use]
    pub fn guidance(self, guidance: Guidance) -> Self {
        Self { guidance, ..self }
    }

    /// Guided away from this label.
    #[must_use]
    pub fn negative_label(self, label: impl Into<Option<f32>>) -> Self {
        Self { negative_label: label.into(), ..self }
    }

    /// Of a picture.
    #[must_use]
    pub fn edit(self, edit: impl Into<Option<Edit>>) -> Self {
        Self { edit: edit.into(), ..self }
    }

    /// From this noise, `[channels, height, width]` of deviation 1 or one for each picture.
    #[must_use]
    pub fn noise(self, noise: impl Into<Arc<[f32]>>) -> Self {
        Self { noise: Some(noise.into()), ..self }
    }

    /// With images of every so-many-eth step and of the last, or for 0 of the last alone.
    #[must_use]
    pub fn every(self, every: usize) -> Self {
        Self { every, ..self }
    }
}

const MAX_BATCH: usize = 1024;

/// A checkpoint on a device.
#[derive(Clone)]
pub struct Model {
    device: Device,
    network: Shared<LoadedNetwork>,
    config: Arc<ModelConfig>,
    info: Arc<Info>,
}

impl Model {
    /// Checks the weights against the configuration and uploads them, one tensor after the other: a tensor of the
    /// checkpoint is freed as soon as it is on the device.
    ///
    /// # Errors
    /// Those of [`ModelConfig::read`]; [`Error::MissingKey`], [`Error::WrongShape`], [`Error::Dtype`] and
    /// [`Error::NotFiniteWeight`] where weights do not suit; [`Error::Limit`] where one is too large for the device.
    pub async fn load(mut checkpoint: Checkpoint, device: &Device) -> Result<Self> {
        let config = ModelConfig::read(&checkpoint)?;
        let inventory = &config.inventory;
        let mut unknown_keys = config.unknown_keys.clone();
        unknown_keys.extend(checkpoint.weights.check(&inventory.parameters)?);
        let weights = &mut checkpoint.weights;
        // Half the memory where nothing is lost by it.
        let halves = inventory
            .parameters
            .iter()
            .all(|(key, _)| weights.get(key).is_some_and(|t| t.dtype == Dtype::F16));
        let storage = if halves { Storage::F16 } else { Storage::F32 };
        let mut take = |key: &str, shape: &[usize]| {
            let missing = || Error::MissingKey { key: key.to_owned(), expected: shape.to_vec(), more: 0 };
            weights.take(key).ok_or_else(missing)?.to_f32(key)
        };
        let network = device.load(Arc::clone(&config.network), storage, &mut take).await?;
        let classes = match config.network.classes() {
            ClassEmbedding::Table(rows) => Some(rows),
            _ => None,
        };
        let has_classes = config.network.classes() != ClassEmbedding::None;
        let labels = checkpoint.labels.unwrap_or_default();
        let info = Info {
            parameters: inventory.parameter_count(),
            flops: inventory.flops,
            activation_bytes: inventory.peak_activation_bytes,
            channels: config.network.in_channels(),
            height: config.size[0],
            width: config.size[1],
            classes,
            labels: (has_classes && !labels.names.is_empty()).then_some(labels.names),
            null_label: labels.null_label.filter(|_| has_classes),
            scheduler: config.schedule.class_name.clone(),
            sampler: config.sampler.name(),
            train_timesteps: config.schedule.train_timesteps(),
            unknown_keys,
            notes: config.notes.clone(),
            device: DeviceInfo { kind: device.kind(), name: device.name().to_owned() },
        };
        Ok(Self { device: device.clone(), network, config: Arc::new(config), info: Arc::new(info) })
    }

    /// [`Self::load`] for programs that are not asynchronous.
    ///
    /// # Errors
    /// As [`Self::load`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn load_blocking(checkpoint: Checkpoint, device: &Device) -> Result<Self> {
        pollster::block_on(Self::load(checkpoint, device))
    }

    /// What the model is.
    #[must_use]
    pub fn info(&self) -> &Info {
        &self.info
    }

    /// What its configuration says; the schedule says how noisy a timestep is.
    #[must_use]
    pub fn config(&self) -> &Arc<ModelConfig> {
        &self.config
    }

    /// Whether the model's device still works: see [`Device::check`]. Where it does not, load the model again.
    ///
    /// # Errors
    /// As there.
    pub fn check(&self) -> Result<()> {
        self.device.check()
    }

    /// The sampler and the number of steps that a run with these options has, the defaults filled in.
    #[must_use]
    pub fn steps_of(&self, options: &SampleOptions) -> (SamplerKind, usize) {
        steps_of(&self.config.schedule, options)
    }

    /// Starts a run; nothing is computed before its first step. One run at a time: the next can start when this one
    /// has ended or is dropped.
    ///
    /// # Errors
    /// [`Error::Option`] for options out of their range, [`Error::Busy`] while another run goes on.
    pub fn sample(&self, options: &SampleOptions) -> Result<Sampling> {
        self.start(options, None)
    }

    /// [`Self::sample`] with somebody who looks at every estimate of the clean images and may change it. The images then come to the
    /// host at every evaluation, wherever the network runs.
    ///
    /// # Errors
    /// As [`Self::sample`]; in its steps, [`Error::Option`] where what the watcher leaves is not finite, and the watcher's own.
    pub fn sample_watched(&self, options: &SampleOptions, watcher: Box<dyn Watcher>) -> Result<Sampling> {
        self.start(options, Some(watcher))
    }

    /// What a run with these options does.
    ///
    /// # Errors
    /// [`Error::Option`] for options out of their range.
    pub fn program(&self, options: &SampleOptions) -> Result<sampler::Program> {
        self.program_of(options, false)
    }

    pub(crate) fn lend(&self) -> Result<LentNetwork> {
        self.network.lend().map(LentNetwork::Loaded)
    }

    fn shape(&self) -> [usize; 3] {
        [self.info.channels, self.info.height, self.info.width]
    }

    fn program_of(&self, options: &SampleOptions, watched: bool) -> Result<sampler::Program> {
        let program = program(&self.config.schedule, self.shape(), options, watched, false)?;
        self.config.check_run(&program)?;
        Ok(program)
    }

    fn start(&self, options: &SampleOptions, watcher: Option<Box<dyn Watcher>>) -> Result<Sampling> {
        let program = self.program_of(options, watcher.is_some())?;
        let null = self.info.classes.and(self.info.null_label).map(|label| label as f32);
        let negative = self.negative(options, null)?;
        let labels =
            options.labels.clone().or(null.map(|label| vec![label])).map(|labels| match labels[..] {
                [one] => vec![one; options.batch],
                _ => labels,
            });
        self.config.network.check_labels(options.batch, labels.as_deref())?;
        let labels =
            labels.map(|labels| if program.is_guided() { [labels, negative].concat() } else { labels });
        begin(self.lend()?, program, self.shape(), options, labels, watcher)
    }

    /// What a guided run is to keep away from, picture by picture; nothing for others.
    fn negative(&self, options: &SampleOptions, null: Option<f32>) -> Result<Vec<f32>> {
        let refuse = |option, found: f64, expected: &str| {
            Err(Error::Option { option, found: number(found), expected: expected.to_owned() })
        };
        let scale = options.guidance.scale;
        if scale == 1.0 {
            return Ok(Vec::new());
        }
        if options.labels.is_none() && options.negative_label.is_none() {
            return refuse("guidance", scale, "1, or be given with labels to be guided by");
        }
        let Some(negative) = options.negative_label.or(null) else {
            let expected =
                "1, or be given with a negative label: this model has no label that stands for any class";
            return refuse("guidance", scale, expected);
        };
        let negative = vec![negative; options.batch];
        match self.config.network.check_labels(options.batch, Some(&negative)) {
            Err(Error::Option { found, expected, .. }) => {
                Err(Error::Option { option: "negative_label", found, expected })
            }
            checked => checked.map(|()| negative),
        }
    }
}

/// The sampler and the number of steps, the defaults filled in.
fn steps_of(schedule: &Schedule, options: &SampleOptions) -> (SamplerKind, usize) {
    let sampler = options.sampler.unwrap_or_else(|| SamplerKind::default_for(&schedule.class_name).0);
    let all = schedule.train_timesteps();
    let listed = options.settings.steps_listed();
    (sampler, options.steps.or(listed).unwrap_or_else(|| sampler.default_steps(all)))
}

/// What a run does with images of this shape, `[channels, height, width]`; `formula` says that no network is asked.
///
/// # Errors
/// [`Error::Option`] for options out of their range.
pub(crate) fn program(
    schedule: &Schedule,
    [channels, height, width]: [usize; 3],
    options: &SampleOptions,
    watched: bool,
    formula: bool,
) -> Result<sampler::Program> {
    if !(1..=MAX_BATCH).contains(&options.batch) {
        let (found, expected) = (options.batch.to_string(), format!("1 to {MAX_BATCH}"));
        return Err(Error::Option { option: "batch", found, expected });
    }
    let shape = [options.batch, channels, height, width];
    let (sampler, steps) = steps_of(schedule, options);
    let edit = options.edit.as_ref().map(|edit| checked(edit, shape)).transpose()?;
    if let Some(noise) = &options.noise {
        fits("noise", noise, shape)?;
        within("noise", noise, -100.0, 100.0)?;
    }
    let (settings, guidance, noise) = (options.settings.clone(), options.guidance, options.noise.clone());
    let program =
        sampler.program(schedule, &Options { steps, settings, guidance, edit, noise, watched, formula })?;
    Ok(program.shown_every(options.every))
}

/// A run of a program for images of this shape.
///
/// # Errors
/// [`Error::Option`] for a seed or a shape that cannot be.
pub(crate) fn begin(
    network: LentNetwork,
    program: sampler::Program,
    [channels, height, width]: [usize; 3],
    options: &SampleOptions,
    labels: Option<Vec<f32>>,
    watcher: Option<Box<dyn Watcher>>,
) -> Result<Sampling> {
    let generator = match options.rng {
        Rng::Philox => Generator::philox(options.seed)?,
        Rng::Torch => Generator::torch(options.seed)?,
    };
    let inverted = options.edit.as_ref().filter(|edit| edit.invert).map(|edit| &edit.init);
    let begins = inverted.or(options.noise.as_ref()).cloned();
    let shape = [options.batch, channels, height, width];
    Sampling::new(network, program, shape, generator, labels, begins, watcher)
}

/// An edit of pictures of this shape: with a mask for each channel.
fn checked(edit: &Edit, shape: [usize; 4]) -> Result<Edit> {
    let [batch, channels, height, width] = shape;
    fits("init", &edit.init, shape)?;
    // What a run without clipping makes may lie outside of [-1, 1].
    within("init", &edit.init, -2.0, 2.0)?;
    if let Some(operator) = edit.restore {
        operator.check([channels, height, width])?;
    }
    let Some(mask) = &edit.mask else { return Ok(edit.clone()) };
    fits("mask", mask, [batch, 1, height, width])?;
    within("mask", mask, 0.0, 1.0)?;
    let mut channelwise = Vec::with_capacity(channels * mask.len());
    for mask in mask.chunks_exact(height * width) {
        for _ in 0..channels {
            channelwise.extend_from_slice(mask);
        }
    }
    Ok(Edit { mask: Some(channelwise.into()), ..edit.clone() })
}

fn fits(option: &'static str, values: &[f32], shape: [usize; 4]) -> Result<()> {
    let one: usize = shape[1..].iter().product();
    let fits = values.len() == one || values.len() == shape[0] * one;
    if fits { Ok(()) } else { Err(wrong_pictures(option, values.len(), shape)) }
}

fn within(option: &'static str, values: &[f32], least: f32, most: f32) -> Result<()> {
    match values.iter().find(|v| !(least..=most).contains(*v)) {
        Some(value) => Err(Error::Option {
            option,
            found: format!("of numbers such as {}", number(f64::from(*value))),
            expected: format!("of numbers from {} to {}", number(f64::from(least)), number(f64::from(most))),
        }),
        None => Ok(()),
    }
}
