//! `noiseball likelihood`: how many bits a model takes for pictures.

use std::fmt::Write;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use noiseball::likelihood::Method;
use noiseball::{Checkpoint, Model, Result, text};
use serde_json::json;

use crate::sample::{DeviceName, device, progress_bar};
use crate::threads::Threads;
use crate::{edit, output};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// A folder that diffusers saved, the address of one, or a hub id such as google/ddpm-cifar10-32
    checkpoint: String,
    /// Pictures of the model's size, or .npy files of numbers from 0 to 1, which are rounded to bytes
    #[arg(required = true, value_name = "PICTURE")]
    pictures: Vec<PathBuf>,
    /// Steps of the probability-flow ODE, of four evaluations each and twice as many for every probe
    #[arg(long, default_value_t = 40, value_name = "N", value_parser = output::count::<usize>, allow_negative_numbers = true)]
    steps: usize,
    /// Random directions along which the divergence is measured
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = output::count::<usize>, allow_negative_numbers = true)]
    probes: usize,
    /// The variational bound instead, at so many timesteps; a number of all of them is exact but for its noise
    #[arg(long, value_name = "TIMESTEPS", value_parser = output::count::<usize>, allow_negative_numbers = true, conflicts_with_all = ["steps", "probes"])]
    bound: Option<usize>,
    /// The pictures' class
    #[arg(long, value_name = "L", allow_negative_numbers = true)]
    label: Option<f32>,
    /// 0 to 2^53 - 1
    #[arg(long, default_value_t = 0, value_parser = output::seed, allow_negative_numbers = true)]
    seed: u64,
    /// Print JSON in place of lines
    #[arg(long)]
    json: bool,
    /// cpu, gpu, or gpu-f16, which multiplies in 16 bits [default: gpu where there is a real one]
    #[arg(long, value_name = "NAME")]
    device: Option<DeviceName>,
    #[command(flatten)]
    threads: Threads,
}

/// Pictures that go through the network at once.
const PART: usize = 16;
const UNIT: RangeInclusive<f32> = 0.0..=1.0;

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    arguments.threads.start()?;
    let checkpoint = Checkpoint::open_with(&arguments.checkpoint, None, &mut |_| Ok(()))?;
    let model = Model::load_blocking(checkpoint, &device(arguments.device)?)?;
    let method = match arguments.bound {
        Some(timesteps) => Method::Bound { timesteps },
        None => Method::Ode { steps: arguments.steps, probes: arguments.probes },
    };
    // All are read before any work.
    let (mut names, mut pictures) = (Vec::new(), Vec::new());
    let shape = [model.info().channels, model.info().height, model.info().width];
    let len: usize = shape.iter().product();
    for path in &arguments.pictures {
        let found = edit::pictures("pictures", path, UNIT, shape)?;
        names.extend(std::iter::repeat_n(path.display().to_string(), found.len() / len));
        pictures.extend(found.iter().map(|v| (v * 255.0).round() / 127.5 - 1.0));
    }
    let bar = progress_bar();
    bar.set_message("likelihood");
    bar.set_length(names.len() as u64);
    let mut bits = Vec::new();
    for part in pictures.chunks(PART * len) {
        bits.extend(model.bits_per_dim(part, arguments.label, method, arguments.seed)?);
        bar.set_position(bits.len() as u64);
    }
    bar.finish_and_clear();
    let mean = bits.iter().sum::<f64>() / bits.len() as f64;
    if arguments.json {
        let each: Vec<_> = names
            .iter()
            .zip(&bits)
            .map(|(name, bits)| json!({ "picture": name, "bitsPerDim": bits }))
            .collect();
        let bound = arguments.bound.is_some();
        return output::print(&format!("{:#}\n", json!({ "pictures": each, "mean": mean, "bound": bound })));
    }
    let mut out = String::new();
    for (name, bits) in names.iter().zip(&bits) {
        let _ = writeln!(out, "{bits:.4} bits/dim  {}", text::prose(name));
    }
    let what = if arguments.bound.is_some() { "mean of the bound" } else { "mean" };
    let _ = writeln!(out, "{mean:.4} bits/dim  {what} of {} pictures", bits.len());
    output::print(&out)
}
