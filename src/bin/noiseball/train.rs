//! `noiseball train`.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::tensor::Device as BurnDevice;
use noiseball::read::{read_regular, read_text};
use noiseball::store::Folder;
use noiseball::train::dataset::{Options, Reading, Skipped, open};
use noiseball::train::{Dataset, Loss, Preset, Recipe, Trainer, card};
use noiseball::{Checkpoint, Device, DeviceKind, Error, Model, Result, SampleOptions, SamplerKind, text};
use pollster::block_on;
use serde_json::Value;

use crate::output;
use crate::sample::{DeviceName, progress_bar};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Pictures: a folder, a ZIP archive, IDX, NPY or NPZ; folders within are classes
    data: PathBuf,
    /// The folder to write: a diffusers checkpoint, and beside it what --resume needs
    #[arg(long, value_name = "DIR", required_unless_present = "to_accelerate")]
    out: Option<PathBuf>,
    /// Write the run as a script for Hugging Face accelerate instead, with data and weights, for more than one device
    #[arg(long, value_name = "DIR", conflicts_with_all = ["out", "resume"])]
    to_accelerate: Option<PathBuf>,
    /// tiny, small or medium [default: small]
    #[arg(long, value_name = "NAME")]
    preset: Option<Preset>,
    /// Height and width in pixels [default: the first picture's, at most 32]
    #[arg(long, value_name = "PX")]
    size: Option<usize>,
    /// Number of optimiser steps
    #[arg(long, value_name = "N")]
    steps: Option<u64>,
    /// Pictures a step
    #[arg(long, value_name = "B")]
    batch: Option<usize>,
    /// The peak learning rate; may be changed when resuming
    #[arg(long, value_name = "RATE")]
    learning_rate: Option<f64>,
    /// 0 to 2^53 - 1
    #[arg(long)]
    seed: Option<u64>,
    /// Steps between two saves
    #[arg(long, default_value_t = 500, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    save_every: u64,
    /// Go on with the run in DIR from its last save
    #[arg(long)]
    resume: bool,
    /// Start from the weights of a checkpoint: a folder, an address or a hub id
    #[arg(long, value_name = "CHECKPOINT", conflicts_with_all = ["resume", "preset"])]
    from: Option<String>,
    /// Which of that checkpoint's weights: fp16 for diffusion_pytorch_model.fp16.safetensors
    #[arg(long, value_name = "NAME", requires = "from")]
    variant: Option<String>,
    /// TOML with any part of the recipe: see docs/training.md
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// cpu or gpu [default: gpu where there is a real one]
    #[arg(long, value_name = "NAME")]
    device: Option<DeviceName>,
}

/// More bytes than a recipe has.
const MAX_CONFIG: u64 = 1 << 20;
const STATE: &str = "training-state.safetensors";
const LOSSES: &str = "losses.csv";
/// Steps between two readings of the losses; each empties a GPU's queue.
const READ_EVERY: u64 = 10;

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    check_folders(arguments)?;
    let reading = open(&arguments.data, Options { size: arguments.size, ..Options::default() })?;
    report(&reading);
    let data = Arc::new(reading.data);
    let device = device(arguments.device)?;
    if let Some(folder) = &arguments.to_accelerate {
        let locked = Folder::lock(folder)?;
        let trainer = start(arguments, folder, &data, &device)?;
        for (path, bytes) in block_on(trainer.accelerate())? {
            locked.write(path, &bytes)?;
        }
        return Ok(());
    }
    let Some(out) = &arguments.out else { return Ok(()) };
    let folder = Folder::lock(out)?;
    let mut trainer = start(arguments, out, &data, &device)?;
    let mut log = Log::open(&folder, out.join(LOSSES), trainer.step_number())?;
    let bar = progress_bar();
    bar.set_length(trainer.recipe().steps);
    let source = arguments.data.file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned());
    let statement = format!("Read from `{source}`, which is not part of this folder.");
    if trainer.step_number() == 0 {
        save(&folder, &trainer, &log, &statement)?;
    }
    while trainer.step_number() < trainer.recipe().steps {
        trainer.step()?;
        let step = trainer.step_number();
        let saves = step.is_multiple_of(arguments.save_every) || step == trainer.recipe().steps;
        if saves || step.is_multiple_of(READ_EVERY) {
            log.add(block_on(trainer.losses())?)?;
            bar.set_message(format!("loss {:.4}", log.smooth()));
            bar.set_position(step);
        }
        if saves {
            save(&folder, &trainer, &log, &statement)?;
        }
    }
    bar.finish_and_clear();
    Ok(())
}

/// Refuses to write into the data: what is written would be read as data by the next run.
fn check_folders(arguments: &Arguments) -> Result<()> {
    let (option, folder) = match (&arguments.out, &arguments.to_accelerate) {
        (Some(folder), _) => ("out", folder),
        (None, Some(folder)) => ("to-accelerate", folder),
        (None, None) => return Ok(()),
    };
    let real = |path: &Path| fs::canonicalize(path).ok();
    if real(folder).is_some_and(|out| real(&arguments.data) == Some(out)) {
        return Err(Error::Option {
            option,
            found: "the folder of the pictures".to_owned(),
            expected: "another one, also one within it".to_owned(),
        });
    }
    Ok(())
}

/// Says what was made of the files, also where nobody watches: it decides what is trained.
fn report(reading: &Reading) {
    let Reading { data, skipped, skipped_count, notes } = reading;
    let [channels, height, width] = data.shape;
    let colour = if channels == 1 { "grey" } else { "colour" };
    let classes = match data.classes() {
        0 => "no classes".to_owned(),
        count => format!("{count} classes: {}", text::prose(data.names.join(", "))),
    };
    eprintln!("{} pictures, {width}×{height}, {colour}, {classes}", data.len());
    const SHOWN: usize = 10;
    for note in notes.iter().take(SHOWN) {
        eprintln!("{}", text::prose(note));
    }
    for Skipped { name, why } in skipped.iter().take(SHOWN) {
        eprintln!("left out {}: {}", text::name(name), text::prose(why));
    }
    if *skipped_count > SHOWN {
        eprintln!("left out {} more", skipped_count - SHOWN);
    }
}

fn device(name: Option<DeviceName>) -> Result<BurnDevice> {
    let gpu = match name {
        Some(DeviceName::Cpu) => false,
        Some(DeviceName::Gpu) => true,
        None => block_on(Device::best()).kind() == DeviceKind::Gpu,
    };
    if !gpu {
        return Ok(BurnDevice::flex());
    }
    // Its error, unlike burn's, says what is missing.
    block_on(Device::gpu())?;
    BurnDevice::wgpu_options().init().map_err(|e| Error::NoAdapter { problem: e.to_string() })
}

fn start(arguments: &Arguments, out: &Path, data: &Arc<Dataset>, device: &BurnDevice) -> Result<Trainer> {
    let state = out.join(STATE);
    if arguments.resume {
        let bytes = read_regular(&state, u64::MAX)?;
        let name = state.display().to_string();
        let mut trainer = Trainer::resume(&name, &bytes, data.clone(), device)?;
        let mut asked = recipe(arguments, trainer.recipe().clone(), data)?;
        asked.optimiser.learning_rate = trainer.recipe().optimiser.learning_rate;
        if asked != *trainer.recipe() {
            let problem =
                "its recipe is another than these options make. Leave them out to go on with it, or train \
                           into another folder"
                    .to_owned();
            return Err(Error::Resume { file: name, problem });
        }
        if let Some(rate) = arguments.learning_rate {
            trainer.set_learning_rate(rate)?;
        }
        return Ok(trainer);
    }
    if state.exists() || ["model_index.json", "train.py"].iter().any(|file| out.join(file).exists()) {
        return Err(Error::Option {
            option: "out",
            found: format!("{}, which holds a run already", out.display()),
            expected: "another folder, or given with --resume to go on with that run".to_owned(),
        });
    }
    let base = Recipe::preset(arguments.preset.unwrap_or(Preset::Small), data);
    match &arguments.from {
        None => Trainer::new(recipe(arguments, base?, data)?, data.clone(), device),
        Some(checkpoint) => {
            let checkpoint =
                Checkpoint::open_with(checkpoint, arguments.variant.as_deref(), &mut |_| Ok(()))?;
            let mut base = base?;
            base.unet.clone_from(&checkpoint.unet_config);
            if !base.unet.get("num_class_embeds").is_some_and(Value::is_u64) {
                base.label_dropout = 0.0;
            }
            Trainer::fine_tune(checkpoint, recipe(arguments, base, data)?, data.clone(), device)
        }
    }
}

/// The recipe with what the configuration file and the options change in it.
fn recipe(arguments: &Arguments, base: Recipe, data: &Dataset) -> Result<Recipe> {
    let mut recipe = base;
    if let Some(path) = &arguments.config {
        let file = path.display().to_string();
        let text = read_text(path, MAX_CONFIG)?;
        let wrong = |problem: String| Error::Json { file: file.clone(), problem };
        let changes: Value = toml::from_str(&text).map_err(|e| wrong(located(&text, &e)))?;
        let mut value = serde_json::to_value(&recipe).map_err(|e| wrong(e.to_string()))?;
        merge(&mut value, changes);
        recipe = serde_json::from_value(value).map_err(|e| wrong(e.to_string()))?;
    }
    if let Some(steps) = arguments.steps {
        recipe.steps = steps;
        recipe.optimiser.warmup = recipe.optimiser.warmup.min(steps / 20);
    }
    if let Some(batch) = arguments.batch {
        recipe.batch = batch;
    }
    if let Some(rate) = arguments.learning_rate {
        recipe.optimiser.learning_rate = rate;
    }
    if let Some(seed) = arguments.seed {
        recipe.seed = seed;
    }
    recipe.check(data)?;
    recipe.check_export()?;
    Ok(recipe)
}

/// What is wrong with a TOML file and where, in one line.
fn located(text: &str, error: &toml::de::Error) -> String {
    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
    format!("{} at line {line} column {column}", error.message())
}

/// Replaces what `changes` names, within objects that both have part by part.
fn merge(value: &mut Value, changes: Value) {
    match (value, changes) {
        (Value::Object(value), Value::Object(changes)) => {
            for (key, change) in changes {
                merge(value.entry(key).or_insert(Value::Null), change);
            }
        }
        (value, change) => *value = change,
    }
}

/// The losses of a run, also in a file beside its checkpoint.
struct Log {
    path: PathBuf,
    losses: Vec<Loss>,
}

impl Log {
    /// Goes on with the file of a run at `step`: what it says of later steps is done again.
    fn open(folder: &Folder, path: PathBuf, step: u64) -> Result<Self> {
        let before = fs::read_to_string(&path).unwrap_or_default();
        let earlier = |line: &&str| {
            line.split(',').next().and_then(|s| s.parse::<u64>().ok()).is_some_and(|s| s <= step)
        };
        let kept: Vec<&str> = std::iter::once("step,loss").chain(before.lines().filter(earlier)).collect();
        folder.write(LOSSES, format!("{}\n", kept.join("\n")).as_bytes())?;
        Ok(Self { path, losses: Vec::new() })
    }

    fn add(&mut self, losses: Vec<Loss>) -> Result<()> {
        let lines: String = losses.iter().map(|l| format!("{},{}\n", l.step + 1, l.mean)).collect();
        let file = fs::OpenOptions::new().append(true).open(&self.path);
        file.and_then(|mut f| f.write_all(lines.as_bytes())).map_err(Error::io(&self.path))?;
        self.losses.extend(losses);
        Ok(())
    }

    /// The mean of the last losses.
    fn smooth(&self) -> f32 {
        let last = &self.losses[self.losses.len().saturating_sub(50)..];
        last.iter().map(|l| l.mean).sum::<f32>() / last.len().max(1) as f32
    }
}

/// Writes the checkpoint, then the state. Each file is replaced as a whole, and the configuration files are the same at
/// every save, so that a kill at any moment leaves a checkpoint that opens and a state to go on from.
fn save(folder: &Folder, trainer: &Trainer, log: &Log, statement: &str) -> Result<()> {
    let (state, checkpoint) = block_on(trainer.save_with_checkpoint())?;
    for (path, bytes) in checkpoint.files() {
        folder.write(path, &bytes)?;
    }
    folder.write("README.md", card(trainer, statement, &log.losses).as_bytes())?;
    folder.write(STATE, &state)?;
    // The run's state is safe by now: pictures of it are worth a word, not the run.
    if let Err(error) = sample(checkpoint).and_then(|png| folder.write("samples.png", &png)) {
        eprintln!("noiseball: no samples at step {}: {error}", trainer.step_number());
    }
    Ok(())
}

/// Draws a grid of samples as a PNG, the same noise at each save.
fn sample(checkpoint: Checkpoint) -> Result<Vec<u8>> {
    let classes = checkpoint.labels.as_ref().map(|l| l.null_label.unwrap_or(l.names.len()).max(1));
    let batch = classes.map_or(16, |c| c.clamp(4, 10) * 4);
    let labels = classes.map(|c| (0..batch).map(|i| (i / 4 % c) as f32).collect());
    let model = Model::load_blocking(checkpoint, &Device::cpu())?;
    let steps = model.info().train_timesteps.min(20);
    let options = SampleOptions {
        sampler: Some(SamplerKind::Ddim),
        steps: Some(steps),
        batch,
        labels,
        ..SampleOptions::default()
    };
    let mut run = model.sample(&options)?;
    let mut pictures = (Vec::new(), [0; 4]);
    while let Some(step) = run.step_blocking()? {
        if step.index + 1 == step.total {
            pictures = (step.x.to_vec(), step.shape);
        }
    }
    output::png(&pictures.0, pictures.1)
}
