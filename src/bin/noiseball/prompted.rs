//! `noiseball sample` of pipelines of several networks: from prompts, classes or noise by way of latents.

use std::fmt::Display;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use noiseball::checkpoint::{Folder, WeightsReader};
use noiseball::pipeline::{Description, Progress, Request, Runner};
use noiseball::read::read_regular;
use noiseball::{DeviceKind, Error, Result, text};

use crate::{edit, output, sample};

/// More bytes than a file of updates has.
const MAX_LORA: u64 = 4 << 30;

/// Samples whatever kind of folder it is.
pub(crate) fn run(arguments: &sample::Arguments) -> Result<()> {
    arguments.threads.start()?;
    let (out, npy) = (arguments.out.as_deref(), arguments.npy.as_deref());
    output::check_paths(out, npy, arguments.text.npy_latents.as_deref())?;
    match Folder::open(&arguments.checkpoint, arguments.variant.as_deref())? {
        Some(folder) => run_pipeline(arguments, folder),
        None => sample::run(arguments),
    }
}

fn run_pipeline(arguments: &sample::Arguments, folder: Folder) -> Result<()> {
    let own = &arguments.text;
    if let Some(option) = arguments.edit.only_of_one_network() {
        return Err(edit::refuse(option, "left out: this pipeline has no use for it"));
    }
    let [init, mask] = arguments.edit.images()?;
    let request = Request {
        prompts: own.prompt.clone(),
        prompts_2: own.prompt_2.clone(),
        negative_prompts: own.negative_prompt.clone(),
        guidance: arguments.edit.guidance,
        guided: arguments.edit.guidance(),
        labels: arguments.labels.as_deref().map_or(Ok(Vec::new()), classes)?,
        sampler: arguments.sampler,
        settings: arguments.options.0.clone(),
        steps: arguments.steps,
        size: [own.height, own.width],
        batch: arguments.batch,
        init,
        strength: arguments.edit.strength,
        mask,
        seeds: arguments.seed.clone(),
        rng: arguments.rng,
        attention: false,
    };
    let description = Description::read(&folder.parts)?;
    let device = sample::device(arguments.device)?;
    let (kind, place) = (device.kind(), device.name().to_owned());
    let mut runner = Runner::new(description, Box::new(folder), Box::new(device));
    if kind == DeviceKind::Cpu
        && let Some(bytes) = available_memory()
    {
        runner.limit_memory(bytes);
    }
    if let Some(path) = &own.lora {
        runner.add_lora(updates(path)?, 1.0)?;
    }
    let bar = sample::progress_bar();
    bar.suspend(|| output::say(&report(arguments, &runner, &request, kind, &place)));
    let made = runner.sample_blocking(&request, &mut |progress| {
        match progress {
            Progress::Loading { part, received, total } => {
                bar.set_message(format!("reading {part}"));
                bar.set_length(total.unwrap_or(received));
                bar.set_position(received);
            }
            Progress::Step(step) => {
                bar.set_message(format!("sampling on {place}"));
                bar.set_length(step.total as u64);
                bar.set_position(step.index as u64 + 1);
            }
            Progress::Decoded { pictures, total } => {
                bar.set_message("decoding");
                bar.set_length(total as u64);
                bar.set_position(pictures as u64);
            }
            _ => {}
        }
        Ok(())
    })?;
    bar.finish_and_clear();
    for note in &made.notes {
        output::say(&format!("note: {}\n", text::prose(note)));
    }
    let shape = |shape: &[usize]| <[usize; 4]>::try_from(shape).unwrap_or_default();
    if let Some(path) = &own.npy_latents {
        output::write_npy(path, &made.latents.values, shape(&made.latents.shape))?;
    }
    if let Some(path) = &arguments.npy {
        output::write_npy(path, &made.pictures.values, shape(&made.pictures.shape))?;
    }
    let default = arguments.npy.is_none().then(|| PathBuf::from("samples.png"));
    if let Some(path) = arguments.out.clone().or(default) {
        output::write_png(&path, &made.pictures.values, shape(&made.pictures.shape))?;
        if std::io::stderr().is_terminal() {
            output::say(&format!("{}\n", path.display()));
        }
    }
    Ok(())
}

/// Bytes of memory that nobody uses, where the system says.
fn available_memory() -> Option<u64> {
    let info = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = info.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)
}

fn classes(labels: &[f32]) -> Result<Vec<u32>> {
    let whole = |label: &f32| (label.fract() == 0.0 && (0.0..1e6).contains(label)).then_some(*label as u32);
    let found: Option<Vec<u32>> = labels.iter().map(whole).collect();
    found.ok_or_else(|| Error::Option {
        option: "labels",
        found: labels.iter().map(f32::to_string).collect::<Vec<_>>().join(","),
        expected: "whole numbers, the classes of the pictures".to_owned(),
    })
}

fn updates(path: &Path) -> Result<noiseball::checkpoint::weights::Weights> {
    let mut reader = WeightsReader::new(path.to_string_lossy());
    reader.push(&read_regular(path, MAX_LORA)?)?;
    reader.finish()
}

/// The command that does the same again, with all that was left to its default, and the keys that mean nothing here.
fn report(
    arguments: &sample::Arguments,
    runner: &Runner,
    request: &Request,
    kind: DeviceKind,
    place: &str,
) -> String {
    let (sampler, steps, guidance) = runner.defaults(request);
    let pipeline = &runner.description().pipeline;
    let mut out = format!("noiseball sample {}", text::prose(&arguments.checkpoint));
    let mut add = |name: &str, value: &dyn Display| out += &format!(" --{name} {value}");
    if let Some(variant) = &arguments.variant {
        add("variant", variant);
    }
    let texts = [
        ("prompt", &request.prompts),
        ("prompt-2", &request.prompts_2),
        ("negative-prompt", &request.negative_prompts),
    ];
    for (name, texts) in texts {
        texts.iter().for_each(|text| add(name, &quoted(text)));
    }
    let list = |numbers: &[u64]| numbers.iter().map(u64::to_string).collect::<Vec<_>>().join(",");
    if !request.labels.is_empty() {
        let labels: Vec<u64> = request.labels.iter().map(|label| u64::from(*label)).collect();
        add("labels", &list(&labels));
    }
    add("sampler", &sampler);
    add("steps", &steps);
    add("seed", &list(&request.seeds));
    add("rng", &request.rng);
    if let Some(batch) = request.batch {
        add("batch", &batch);
    }
    if pipeline.is_guided(guidance) && arguments.edit.guidance.is_none() {
        add("guidance", &guidance);
    }
    for (name, side) in [("height", request.size[0]), ("width", request.size[1])] {
        if let Some(side) = side {
            add(name, &side);
        }
    }
    for (name, value) in request.settings.iter() {
        add(&name.replace('_', "-"), &text::prose(&value));
    }
    if let Some(path) = &arguments.text.lora {
        add("lora", &text::prose(path.display()));
    }
    arguments.edit.report(&mut add);
    add("device", &sample::place(arguments.device, kind, place));
    out.push('\n');
    let unknown = &runner.description().unknown_keys;
    if !unknown.is_empty() {
        out += &format!("not used: {}\n", output::first(unknown.iter()).join(", "));
    }
    out
}

/// A text as a shell takes it.
fn quoted(text: &str) -> String {
    format!("'{}'", text::prose(text.replace('\'', "'\\''")))
}
