//! `noiseball train`: pumps the training loop, and keeps what it gives in a folder.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use indicatif::ProgressBar;
use noiseball::read::{read_regular, read_text};
use noiseball::store::{self, Folder};
use noiseball::train::dataset::{Options, Reading, Skipped, open};
use noiseball::train::{
    Changes, Dataset, Event, Loop, Loss, Places, Preset, Recipe, SavedRun, Trainer, card,
};
use noiseball::{Checkpoint, Device, Error, Result, text};
use pollster::block_on;
use serde_json::Value;

use crate::output;
use crate::sample::{DeviceName, progress_bar};
use crate::threads::Threads;

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
    /// tiny, small or medium [default: tiny for 8×8 pixels, small above]
    #[arg(long, value_name = "NAME")]
    preset: Option<Preset>,
    /// Height and width in pixels [default: the first picture's, at most 32; the run's when resuming]
    #[arg(long, value_name = "PX", value_parser = output::count::<usize>, allow_negative_numbers = true)]
    size: Option<usize>,
    /// Number of optimiser steps; when resuming, a run may be made longer
    #[arg(long, value_name = "N", value_parser = output::count::<u64>, allow_negative_numbers = true)]
    steps: Option<u64>,
    /// Pictures a step
    #[arg(long, value_name = "B", value_parser = output::count::<usize>, allow_negative_numbers = true)]
    batch: Option<usize>,
    /// The peak learning rate; may be changed when resuming
    #[arg(long, value_name = "RATE", allow_negative_numbers = true)]
    learning_rate: Option<f64>,
    /// 0 to 2^53 - 1
    #[arg(long, value_parser = output::seed, allow_negative_numbers = true)]
    seed: Option<u64>,
    /// Steps between two saves
    #[arg(long, default_value_t = 500, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    save_every: u64,
    /// Train on all pictures; otherwise every twentieth of 200 and more is kept out, to measure the loss on
    #[arg(long, conflicts_with_all = ["resume", "to_accelerate"])]
    no_held_out: bool,
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
    #[command(flatten)]
    threads: Threads,
}

/// More bytes than a recipe has.
const MAX_CONFIG: u64 = 1 << 20;
const STATE: &str = "training-state.safetensors";
/// Losses that the model card's mean is of.
const RECENT: usize = 100;

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    arguments.threads.start()?;
    check_folders(arguments)?;
    let places = places(arguments.device)?;
    if let Some(folder) = &arguments.to_accelerate {
        return write_script(arguments, folder, &places);
    }
    let Some(out) = &arguments.out else { return Ok(()) };
    let (folder, mut training) =
        if arguments.resume { resume(arguments, out, places)? } else { start(arguments, out, places)? };
    let step = training.trainer().step_number();
    let mut losses = Curve::open(&folder, out, "losses.csv", step)?;
    let mut held_out = (training.held_out_count() > 0)
        .then(|| Curve::open(&folder, out, "held-out.csv", step))
        .transpose()?;
    let mut recent = Vec::new();
    let bar = progress_bar();
    bar.set_length(training.trainer().recipe().steps);
    bar.set_position(step);
    let source = arguments.data.file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned());
    let statement = format!("Read from `{source}`, which is not part of this folder.");
    while let Some(event) = block_on(training.next(async |_| true))? {
        match event {
            Event::Steps(news) => {
                losses.add(news.iter().map(|l| (l.step + 1, l.mean)))?;
                recent.extend(news);
                recent.drain(..recent.len().saturating_sub(RECENT));
                bar.set_message(format!("loss {:.4}", smooth(&recent)));
                bar.set_position(training.trainer().step_number());
            }
            Event::Frame(frame) => {
                let png = output::png(&frame.values, frame.shape);
                let written = png.and_then(|png| folder.write("samples.png", &png));
                written.unwrap_or_else(|error| no_samples(&bar, frame.step, &error));
            }
            Event::FrameFailed { step, error } => no_samples(&bar, step, &error),
            Event::HeldOut(measured) => {
                held_out
                    .as_mut()
                    .map_or(Ok(()), |curve| curve.add([(measured.step, measured.loss as f32)]))?;
            }
            Event::SaveDue => save(&folder, &mut training, &recent, &statement)?,
            Event::GivenUp => {}
        }
    }
    bar.finish_and_clear();
    Ok(())
}

/// Pictures of a run are worth a word, not the run.
fn no_samples(bar: &ProgressBar, step: u64, error: &Error) {
    let text = format!("noiseball: no samples at step {step}: {error}. The run goes on\n");
    bar.suspend(|| output::say(&text));
}

fn read(arguments: &Arguments, size: Option<usize>) -> Result<Arc<Dataset>> {
    let reading = open(&arguments.data, Options::default().size(size))?;
    report(&reading);
    Ok(Arc::new(reading.data))
}

/// Refuses to write into the data: what is written would be read as data by the next run.
fn check_folders(arguments: &Arguments) -> Result<()> {
    let (option, folder) = match (&arguments.out, &arguments.to_accelerate) {
        (Some(folder), _) => ("out", folder),
        (None, Some(folder)) => ("to-accelerate", folder),
        (None, None) => return Ok(()),
    };
    if fs::symlink_metadata(folder).is_ok() && !folder.is_dir() {
        let kind = if folder.exists() { "a file" } else { "a link that leads nowhere" };
        return Err(Error::Option {
            option,
            found: format!("{}, which is {kind}", folder.display()),
            expected: "a folder, which is made where there is none".to_owned(),
        });
    }
    let real = |path: &Path| fs::canonicalize(path).ok();
    if real(folder).is_some_and(|out| real(&arguments.data) == Some(out)) {
        return Err(Error::Option {
            option,
            found: "the folder of the pictures".to_owned(),
            expected: "another one, also one within it".to_owned(),
        });
    }
    if arguments.resume { Ok(()) } else { check_new(option, folder) }
}

/// Refuses to begin a run where there is one already, or somebody's files that it would write over. A run that was killed
/// before its first save may be begun again: the lock tells its folder, and it had no more than its curves and samples.
fn check_new(option: &'static str, folder: &Path) -> Result<()> {
    let refuse = |holds: &str, expected: &str| {
        Err(Error::Option {
            option,
            found: format!("{}, which holds {holds}", folder.display()),
            expected: expected.to_owned(),
        })
    };
    let is_there = |name: &&str| fs::symlink_metadata(folder.join(name)).is_ok_and(|m| !m.is_dir());
    if folder.join(STATE).exists() {
        return refuse("a run already", "another folder, or given with --resume to go on with that run");
    }
    if let Some(name) = ["model_index.json", "train.py"].iter().find(|name| is_there(name)) {
        return refuse(&format!("a run already, or another's {name}"), "another folder");
    }
    let files: &[&str] = match option {
        "out" => &[
            "unet/config.json",
            "unet/diffusion_pytorch_model.safetensors",
            "scheduler/scheduler_config.json",
            "labels.json",
            "README.md",
        ],
        _ => &[
            "requirements.txt",
            "recipe.json",
            "data.npz",
            "model/model_index.json",
            "model/unet/config.json",
            "model/unet/diffusion_pytorch_model.safetensors",
            "model/scheduler/scheduler_config.json",
            "model/labels.json",
        ],
    };
    let of_begun = ["losses.csv", "held-out.csv", "samples.png"];
    let of_begun = if option == "out" && !store::was_locked(folder) { &of_begun[..] } else { &[] };
    match files.iter().chain(of_begun).find(|name| is_there(name)) {
        Some(name) => refuse(
            &format!("{name}, which is of no run and would be written over"),
            "another folder, best one that does not exist yet",
        ),
        None => Ok(()),
    }
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
    let mut told = format!("{} pictures, {width}×{height}, {colour}, {classes}\n", data.len());
    const SHOWN: usize = 10;
    for note in notes.iter().take(SHOWN) {
        told += &format!("{}\n", text::prose(note));
    }
    for Skipped { name, why } in skipped.iter().take(SHOWN) {
        told += &format!("left out {}: {}\n", text::name(name), text::prose(why));
    }
    if *skipped_count > SHOWN {
        told += &format!("left out {} more\n", skipped_count - SHOWN);
    }
    output::say(&told);
}

/// Where it is trained and sampled.
fn places(name: Option<DeviceName>) -> Result<Places> {
    let engine = match name {
        Some(DeviceName::Cpu) => Device::cpu(),
        // Its error, unlike burn's, says what is missing.
        Some(DeviceName::Gpu) => block_on(Device::gpu())?,
        Some(DeviceName::GpuF16) => {
            return Err(Error::Option {
                option: "device",
                found: "gpu-f16".to_owned(),
                expected: "cpu or gpu: gradients need 32 bits".to_owned(),
            });
        }
        None => block_on(Device::best()),
    };
    let training = block_on(engine.for_burn())?;
    Ok(Places::new(training, engine))
}

/// Writes the run as a script for accelerate.
fn write_script(arguments: &Arguments, folder: &Path, places: &Places) -> Result<()> {
    let data = read(arguments, arguments.size)?;
    let (recipe, checkpoint) = new_recipe(arguments, &data)?;
    let trainer = match checkpoint {
        None => Trainer::new(recipe, data, &places.training),
        Some(checkpoint) => Trainer::fine_tune(checkpoint, recipe, data, &places.training),
    };
    let files = block_on(trainer?.accelerate())?;
    let locked = lock_new("to-accelerate", folder)?;
    files.iter().try_for_each(|(path, bytes)| locked.write(path, bytes))
}

/// The lock of a new run's folder, which nothing but the run itself is reason to make. Another may have begun one there in
/// the meantime.
fn lock_new(option: &'static str, folder: &Path) -> Result<Folder> {
    let locked = Folder::lock(folder)?;
    check_new(option, folder)?;
    Ok(locked)
}

/// A new run in the folder `out`.
fn start(arguments: &Arguments, out: &Path, places: Places) -> Result<(Folder, Loop)> {
    let data = read(arguments, arguments.size)?;
    let (recipe, checkpoint) = new_recipe(arguments, &data)?;
    let hold_out = !arguments.no_held_out;
    let training = match checkpoint {
        None => Loop::new(recipe, &data, hold_out, places),
        Some(checkpoint) => Loop::fine_tune(checkpoint, recipe, &data, hold_out, places),
    };
    let training = training?.saving_every(arguments.save_every);
    Ok((lock_new("out", out)?, training))
}

/// The recipe that the options make, and the checkpoint to start from.
fn new_recipe(arguments: &Arguments, data: &Dataset) -> Result<(Recipe, Option<Checkpoint>)> {
    let mut base = Recipe::preset(arguments.preset.unwrap_or_else(|| Preset::suited_to(data)), data)?;
    let open = |from: &str| Checkpoint::open_with(from, arguments.variant.as_deref(), &mut |_| Ok(()));
    let checkpoint = arguments.from.as_deref().map(open).transpose()?;
    if let Some(checkpoint) = &checkpoint {
        base.go_on_from(checkpoint, data)?;
    }
    Ok((recipe(arguments, base, data)?, checkpoint))
}

/// The run that was saved in the folder `out`, with what the options change of it.
fn resume(arguments: &Arguments, out: &Path, places: Places) -> Result<(Folder, Loop)> {
    let path = out.join(STATE);
    let file = path.display().to_string();
    let refuse = |problem: String| Error::Resume { file: file.clone(), problem };
    if !path.exists() {
        return Err(refuse("there is no such file. Leave --resume out to start a run there".to_owned()));
    }
    let folder = Folder::lock(out)?;
    let state = read_regular(&path, u64::MAX)?;
    let saved = SavedRun::read(&file, &state)?;
    // The pictures are made as they were for the run.
    let size = saved.picture_size();
    if let (Some(of_run), Some(asked)) = (size, arguments.size.filter(|asked| Some(*asked) != size)) {
        return Err(refuse(format!(
            "its pictures have {of_run} pixels a side, but `--size` {asked} was asked for. Leave it out to go on with the \
             run, or train into another folder"
        )));
    }
    let data = read(arguments, size.or(arguments.size))?;
    let step = saved.step();
    let mut training =
        Loop::resume(saved, state, &data, Some(step), places)?.saving_every(arguments.save_every);
    let mut base = training.trainer().recipe().clone();
    if let Some(preset) = arguments.preset {
        base.unet = Recipe::preset(preset, &data)?.unet;
    }
    training.go_on_by(&file, recipe(arguments, base, &data)?)?;
    Ok((folder, training))
}

/// The recipe with what the configuration file and the options change in it.
fn recipe(arguments: &Arguments, base: Recipe, data: &Dataset) -> Result<Recipe> {
    let mut recipe = base;
    if let Some(path) = &arguments.config {
        let file = path.display().to_string();
        let text = read_text(path, MAX_CONFIG)?;
        let wrong = |problem: String| Error::Recipe { file: file.clone(), problem };
        let changes: Value = toml::from_str(&text).map_err(|e| {
            wrong(format!("{} {}", e.message(), place(&text, e.span().map_or(0, |s| s.start))))
        })?;
        if let Some(path) = null(&changes) {
            let at = place(&text, position(&text, &path));
            return Err(wrong(format!("`{}` must be a finite number {at}", path.join("."))));
        }
        if let Some(steps) = changes.get("steps").and_then(Value::as_u64) {
            recipe.stretch(steps);
        }
        let value = serde_json::to_value(&recipe).map_err(|e| wrong(e.to_string()))?;
        recipe = merged(&value, &changes).map_err(|problem| {
            let path = culprit(&value, &changes, &problem);
            wrong(format!("{problem} {}", place(&text, position(&text, &path))))
        })?;
    }
    let changes = Changes::default().steps(arguments.steps).batch(arguments.batch);
    recipe.change(&changes.learning_rate(arguments.learning_rate).seed(arguments.seed));
    recipe.check(data)?;
    recipe.check_export()?;
    Ok(recipe)
}

/// A position in a text, for people.
fn place(text: &str, byte: usize) -> String {
    let before = text.get(..byte).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
    format!("at line {line} column {column}")
}

/// Where a TOML file speaks of a key, in bytes: of as much of the path as can be found.
fn position(text: &str, path: &[String]) -> usize {
    let Ok(root) = toml::de::DeTable::parse(text) else { return 0 };
    let (mut table, mut at) = (Some(root.get_ref()), 0);
    for name in path {
        let found = table.and_then(|table| table.iter().find(|(key, _)| key.get_ref() == name));
        let Some((key, value)) = found else { break };
        at = key.span().start;
        table = match value.get_ref() {
            toml::de::DeValue::Table(table) => Some(table),
            _ => None,
        };
    }
    at
}

/// The path of a null, which TOML has not: it is a number that JSON has not.
fn null(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::Null => Some(Vec::new()),
        Value::Object(map) => map.iter().find_map(|(key, value)| {
            null(value).map(|path| std::iter::once(key.clone()).chain(path).collect())
        }),
        Value::Array(list) => list.iter().find_map(null),
        _ => None,
    }
}

/// The recipe with the changes in it, or what is wrong with them.
fn merged(base: &Value, changes: &Value) -> std::result::Result<Recipe, String> {
    let mut value = base.clone();
    merge(&mut value, changes.clone());
    serde_json::from_value(value).map_err(|e| e.to_string())
}

/// The path of the change without which this would not be the problem.
fn culprit(base: &Value, changes: &Value, problem: &str) -> Vec<String> {
    fn without(changes: &Value, path: &[String]) -> Value {
        let (mut rest, Some((last, above))) = (changes.clone(), path.split_last()) else {
            return changes.clone();
        };
        let inner = above.iter().try_fold(&mut rest, |value, key| value.get_mut(key));
        if let Some(map) = inner.and_then(Value::as_object_mut) {
            map.remove(last);
        }
        rest
    }
    let mut path = Vec::new();
    loop {
        let within = path.iter().try_fold(changes, |value, key: &String| value.get(key));
        let keys = within.and_then(Value::as_object).into_iter().flat_map(|map| map.keys());
        let next = keys
            .map(|key| [&path[..], std::slice::from_ref(key)].concat())
            .find(|path| merged(base, &without(changes, path)).err().as_deref() != Some(problem));
        match next {
            Some(next) => path = next,
            None => return path,
        }
    }
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

/// A curve of a run in a file beside its checkpoint: a step and a loss a line.
struct Curve {
    path: PathBuf,
}

impl Curve {
    /// Goes on with the file of a run at `step`: what it says of later steps is done again.
    fn open(folder: &Folder, out: &Path, name: &str, step: u64) -> Result<Self> {
        let path = out.join(name);
        let before = if path.exists() { read_text(&path, u64::MAX)? } else { String::new() };
        let earlier = |line: &&str| {
            line.split(',').next().and_then(|s| s.parse::<u64>().ok()).is_some_and(|s| s <= step)
        };
        let kept: Vec<&str> = std::iter::once("step,loss").chain(before.lines().filter(earlier)).collect();
        folder.write(name, format!("{}\n", kept.join("\n")).as_bytes())?;
        Ok(Self { path })
    }

    fn add(&mut self, losses: impl IntoIterator<Item = (u64, f32)>) -> Result<()> {
        let lines: String = losses.into_iter().map(|(step, loss)| format!("{step},{loss}\n")).collect();
        let file = fs::OpenOptions::new().append(true).open(&self.path);
        file.and_then(|mut f| f.write_all(lines.as_bytes())).map_err(Error::io(&self.path))
    }
}

/// The mean of the last losses.
fn smooth(losses: &[Loss]) -> f32 {
    let last = &losses[losses.len().saturating_sub(50)..];
    last.iter().map(|l| l.mean).sum::<f32>() / last.len().max(1) as f32
}

/// Writes the checkpoint, then the state. Each file is replaced as a whole, and the configuration files are the same at
/// every save, so that a kill at any moment leaves a checkpoint that opens and a state to go on from.
fn save(folder: &Folder, training: &mut Loop, losses: &[Loss], statement: &str) -> Result<()> {
    let (state, checkpoint) = block_on(training.save_with_checkpoint())?;
    for (path, bytes) in checkpoint.files() {
        folder.write(path, &bytes)?;
    }
    folder.write("README.md", card(training.trainer(), statement, losses).as_bytes())?;
    folder.write(STATE, &state)
}
