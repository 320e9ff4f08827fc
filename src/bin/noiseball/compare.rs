//! `noiseball compare`: what each sampler makes of the same noise with as many evaluations of the network.

use std::fmt::Write;
use std::path::PathBuf;

use noiseball::denoiser::Prediction;
use noiseball::sampler::{Instruction, Noise};
use noiseball::{Checkpoint, Error, Model, Result, SampleOptions, SamplerKind, store, text};
use serde_json::{Value, json};

use crate::output;
use crate::sample::{DeviceName, device, progress_bar};
use crate::threads::Threads;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// A folder that diffusers saved, the address of one, or a hub id such as google/ddpm-cifar10-32
    checkpoint: String,
    /// The samplers to compare, the rows [default: all that suit the network]
    #[arg(long, value_delimiter = ',', value_name = "NAME,NAME,...")]
    samplers: Vec<SamplerKind>,
    /// Evaluations of the network, the columns; a sampler makes as many steps as they are enough for
    #[arg(long, value_delimiter = ',', default_value = "5,10,20,50", value_name = "N,N,...", value_parser = output::count::<usize>, allow_negative_numbers = true)]
    evaluations: Vec<usize>,
    /// Steps of the reference, by Heun's method [default: 200, or all that the network was trained with where those are fewer]
    #[arg(long, value_name = "N", value_parser = output::count::<usize>, allow_negative_numbers = true)]
    reference_steps: Option<usize>,
    /// 0 to 2^53 - 1
    #[arg(long, default_value_t = 0, value_parser = output::seed, allow_negative_numbers = true)]
    seed: u64,
    /// The picture's class
    #[arg(long, value_name = "L", allow_negative_numbers = true)]
    label: Option<f32>,
    /// Where the sheet of pictures goes, as a PNG: a row for each sampler, a column for each number, the reference in the last row
    #[arg(long, default_value = "compare.png", value_name = "FILE")]
    out: PathBuf,
    /// Print JSON in place of the table
    #[arg(long)]
    json: bool,
    /// cpu, gpu, or gpu-f16, which multiplies in 16 bits [default: gpu where there is a real one]
    #[arg(long, value_name = "NAME")]
    device: Option<DeviceName>,
    #[command(flatten)]
    threads: Threads,
}

/// A run of a sampler, and how far its picture is from the reference.
struct Cell {
    steps: usize,
    evaluations: usize,
    /// The root of the mean square of the difference, of pictures in [-1, 1]; none for a run with fresh noise in its steps, which goes
    /// elsewhere.
    distance: Option<f64>,
    picture: Vec<f32>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    arguments.threads.start()?;
    output::check_paths(Some(&arguments.out), None, None)?;
    let checkpoint = Checkpoint::open_with(&arguments.checkpoint, None, &mut |_| Ok(()))?;
    let model = Model::load_blocking(checkpoint, &device(arguments.device)?)?;
    let flow = model.config().schedule.prediction == Prediction::Flow;
    let reference = SampleOptions::default()
        .sampler(if flow { SamplerKind::FlowHeun } else { SamplerKind::Heun })
        .steps(arguments.reference_steps.unwrap_or(200.min(model.info().train_timesteps)))
        .seed(arguments.seed)
        .every(0)
        .labels(arguments.label.map(|label| vec![label]));
    let bar = progress_bar();
    bar.set_message("reference");
    bar.set_length(1);
    let (converged, shape) = picture(&model, &reference)?;
    let mut kinds = arguments.samplers.clone();
    let chosen = !kinds.is_empty();
    if !chosen {
        kinds.extend(SamplerKind::ALL);
    }
    bar.set_length((kinds.len() * arguments.evaluations.len()) as u64 + 1);
    let mut rows = Vec::new();
    for kind in kinds {
        bar.set_message(kind.name());
        let base = reference.clone().sampler(kind);
        let suits = program_of(&model, &base, 4).map(drop);
        match suits {
            Err(Error::Option { option: "sampler" | "grid", .. }) if !chosen => continue,
            suits => suits?,
        }
        let mut row = Vec::new();
        for wanted in &arguments.evaluations {
            row.push(cell(&model, &base, *wanted, &converged)?);
            bar.inc(1);
        }
        rows.push((kind, row));
    }
    bar.finish_and_clear();

    let range = model.config().schedule.range();
    let blank = vec![1.0; converged.len()];
    let cells = rows.iter().flat_map(|(_, row)| row);
    let mut sheet: Vec<f32> =
        cells.flat_map(|cell| cell.as_ref().map_or(&blank, |cell| &cell.picture)).copied().collect();
    let columns = arguments.evaluations.len();
    sheet.extend(converged.repeat(columns));
    let [_, channels, height, width] = shape;
    let shape = [(rows.len() + 1) * columns, channels, height, width];
    store::replace(&arguments.out, &output::png_of(&output::signed(range, &sheet), shape, columns)?)?;
    output::print(&if arguments.json {
        json_of(arguments, &reference, &rows)
    } else {
        table(arguments, &reference, &rows)
    })
}

fn program_of(model: &Model, options: &SampleOptions, steps: usize) -> Result<noiseball::sampler::Program> {
    model.program(&options.clone().steps(steps))
}

/// The run with the most steps that so many evaluations are enough for; none where they are enough for none.
fn cell(model: &Model, base: &SampleOptions, wanted: usize, converged: &[f32]) -> Result<Option<Cell>> {
    let mut found = None;
    for steps in 1..=wanted.min(model.info().train_timesteps) {
        // Fewer steps than a method needs, or more than it was made for.
        let Ok(program) = program_of(model, base, steps) else { continue };
        let evaluations = program.timesteps().count();
        if evaluations > wanted {
            break;
        }
        let draws =
            |i: &Instruction| matches!(i, Instruction::Combine { noise: Some(Noise { draw: 1.., .. }), .. });
        found = Some((steps, evaluations, program.instructions().iter().any(draws)));
    }
    let Some((steps, evaluations, random)) = found else { return Ok(None) };
    let (picture, _) = picture(model, &base.clone().steps(steps))?;
    let squares = picture.iter().zip(converged).map(|(a, b)| f64::from(a - b).powi(2));
    let distance = (squares.sum::<f64>() / converged.len() as f64).sqrt();
    Ok(Some(Cell { steps, evaluations, distance: (!random).then_some(distance), picture }))
}

fn picture(model: &Model, options: &SampleOptions) -> Result<(Vec<f32>, [usize; 4])> {
    let mut run = model.sample(options)?;
    let mut last = (Vec::new(), [0; 4]);
    while let Some(step) = run.step_blocking()? {
        if step.index + 1 == step.total {
            last = (step.x.to_vec(), step.shape);
        }
    }
    Ok(last)
}

type Rows = [(SamplerKind, Vec<Option<Cell>>)];

fn table(arguments: &Arguments, reference: &SampleOptions, rows: &Rows) -> String {
    let mut out = String::new();
    let steps = reference.steps.unwrap_or_default();
    let name = text::prose(&arguments.checkpoint);
    let _ = writeln!(
        out,
        "{name}: root-mean-square distance to Heun's method with {steps} steps, pictures in [-1, 1]"
    );
    let _ = write!(out, "{:16}", "evaluations");
    for wanted in &arguments.evaluations {
        let _ = write!(out, "{wanted:>10}");
    }
    out.push('\n');
    for (kind, row) in rows {
        let _ = write!(out, "{:16}", kind.name());
        for cell in row {
            let _ = match cell {
                Some(Cell { distance: Some(distance), .. }) => write!(out, "{distance:>10.4}"),
                Some(_) => write!(out, "{:>10}", "random"),
                None => write!(out, "{:>10}", "-"),
            };
        }
        out.push('\n');
    }
    out
}

fn json_of(arguments: &Arguments, reference: &SampleOptions, rows: &Rows) -> String {
    let cell = |cell: &Option<Cell>| match cell {
        Some(Cell { steps, evaluations, distance, .. }) => {
            json!({ "steps": steps, "evaluations": evaluations, "distance": distance })
        }
        None => Value::Null,
    };
    let row = |(kind, row): &(SamplerKind, Vec<Option<Cell>>)| json!({ "sampler": kind.name(), "cells": row.iter().map(cell).collect::<Vec<_>>() });
    let value = json!({
        "checkpoint": arguments.checkpoint,
        "seed": arguments.seed,
        "reference": { "sampler": reference.sampler.map(SamplerKind::name), "steps": reference.steps },
        "evaluations": arguments.evaluations,
        "rows": rows.iter().map(row).collect::<Vec<_>>(),
    });
    format!("{value:#}\n")
}
