//! `noiseball bench`: how long one evaluation of a network takes, by device, or by kernel.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use noiseball::checkpoint::MAX_JSON;
use noiseball::checkpoint::json::parse_object;
use noiseball::engine::Plan;
use noiseball::engine::cpu::CpuNetwork;
use noiseball::engine::gpu::{Choice, Gpu, GpuNetwork, Lowered, Peak, ShardLayout, Timing, Tuning, timings};
use noiseball::engine::parameters::Storage;
use noiseball::network::describe::{Inventory, describe};
#[cfg(feature = "burn")]
use noiseball::network::on_burn::BurnNetwork;
use noiseball::network::{self, architecture::ClassEmbedding};
use noiseball::read::read_regular;
use noiseball::rng::{Generator, Normals as _};
#[cfg(feature = "burn")]
use noiseball::train::{Preset, Recipe, Trainer, dataset};
use noiseball::{Error, Result};
use pollster::block_on;
use serde_json::{Value, json};

use crate::output;
use crate::threads::Threads;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// A UNet2DModel's config.json, whose weights are then random; with --train, pictures as `noiseball train` takes them
    config: PathBuf,
    /// How long a step of training by a preset takes instead, on the device: tiny, small or medium
    #[cfg(feature = "burn")]
    #[arg(long, value_name = "PRESET")]
    train: Option<Preset>,
    /// Pictures evaluated together
    #[arg(long, default_value_t = 1, value_name = "B", value_parser = clap::value_parser!(u16).range(1..))]
    batch: u16,
    /// What to compare, in turns: cpu, gpu, and where it is built in, burn
    #[arg(long, value_delimiter = ',', default_value = "cpu,gpu", value_name = "NAME,...")]
    device: Vec<Name>,
    /// Evaluations of each that are timed, after one that is not
    #[arg(long, default_value_t = 10, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    runs: u16,
    /// Stop after so many seconds, with at least one evaluation of each
    #[arg(long, default_value_t = 60.0, value_name = "SECONDS")]
    budget: f64,
    /// Where an evaluation's time on the GPU goes, by kernel, against what the adapter can do at most
    #[arg(long)]
    profile: bool,
    #[command(flatten)]
    threads: Threads,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// What matrices are stored in on the GPU
    #[arg(long, default_value = "f32", value_name = "TYPE")]
    weights: Weights,
    /// Only what would be run on the GPU: every dispatch with its workgroups, operations and bytes
    #[arg(long)]
    dispatches: bool,
    /// With --dispatches: also write the text of every kernel to a folder
    #[arg(long, requires = "dispatches", value_name = "FOLDER")]
    shaders: Option<PathBuf>,
    /// Kernels made for a GPU (hardware) or for a processor that stands in for one (software), whatever the adapter is
    #[arg(long, value_name = "KIND")]
    tuning: Option<Kind>,
    /// Weights and products in 16 bits, sums in 32, where the adapter has shader-f16
    #[arg(long, conflicts_with = "weights")]
    f16_products: bool,
    /// Tile of the products: rows × vectors of four columns of a thread, depth, and threads, as 8x2x16x64
    #[arg(long, value_name = "TILE", value_parser = tile)]
    tile: Option<Tile>,
    /// Workgroups from which the larger tile is used
    #[arg(long, value_name = "N")]
    large: Option<usize>,
    /// Workgroups up to which products are cut in slices
    #[arg(long, value_name = "N")]
    few: Option<usize>,
    /// Workgroups that slices should make
    #[arg(long, value_name = "N")]
    wanted: Option<usize>,
    /// Without the checks of indices, which browsers always make
    #[arg(long)]
    unchecked: bool,
    /// Whether 3×3 convolutions of stride 1 load their input once for all taps, where the tile and the image allow it
    #[arg(long, value_name = "BOOL")]
    halo: Option<bool>,
    /// Whether 3×3 convolutions of stride 1 are done by Winograd's transform, where the image allows it
    #[arg(long, value_name = "BOOL")]
    winograd: Option<bool>,
    /// Tile of their products
    #[arg(long, value_name = "TILE", value_parser = tile)]
    winograd_tile: Option<Tile>,
    /// Whether the adapter is tried out for a moment, to find the fastest of a few choices; where nothing is chosen, a GPU is
    #[arg(long, value_name = "BOOL")]
    measure: Option<bool>,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Weights {
    F32,
    F16,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Kind {
    Hardware,
    Software,
}

#[derive(Clone, Copy)]
struct Tile([u32; 4]);

fn tile(text: &str) -> std::result::Result<Tile, String> {
    let numbers: std::result::Result<Vec<u32>, _> = text.split('x').map(str::parse).collect();
    numbers
        .ok()
        .and_then(|numbers| numbers.try_into().ok())
        .map(Tile)
        .ok_or_else(|| "four numbers, as 8x2x16x64".to_owned())
}

impl Arguments {
    fn choice(&self) -> Choice {
        Choice {
            tile: self.tile.map(|t| t.0),
            large: self.large,
            few: self.few,
            wanted: self.wanted,
            unchecked: self.unchecked,
            halo: self.halo,
            winograd: self.winograd,
            winograd_tile: self.winograd_tile.map(|t| t.0),
            f16_products: self.f16_products,
            measure: self.measure,
        }
    }

    fn gpu(&self) -> Result<Gpu> {
        let tuning = self.tuning.map(|kind| match kind {
            Kind::Hardware => Tuning::Hardware,
            Kind::Software => Tuning::Software,
        });
        block_on(Gpu::chosen(tuning, self.choice()))
    }

    fn storage(&self) -> Storage {
        match self.weights {
            Weights::F32 if !self.f16_products => Storage::F32,
            _ => Storage::F16,
        }
    }
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Name {
    Cpu,
    Gpu,
    #[cfg(feature = "burn")]
    Burn,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    arguments.threads.start()?;
    #[cfg(feature = "burn")]
    if let Some(preset) = arguments.train {
        return output::print(&training(arguments, preset)?);
    }
    let path = arguments.config.display().to_string();
    if arguments.config.is_dir() {
        let source = std::io::Error::new(
            std::io::ErrorKind::IsADirectory,
            "it is a folder. Give the config.json of a network in it, such as unet/config.json",
        );
        return Err(Error::io(&arguments.config)(source));
    }
    let bytes = read_regular(&arguments.config, MAX_JSON as u64)?;
    let (network, _) = network::parse(&path, &parse_object(&path, &bytes)?)?;
    let [height, width] = network.sample_size().unwrap_or([32, 32]);
    let case = Case {
        shape: [usize::from(arguments.batch), network.in_channels(), height, width],
        inventory: describe(&*network, usize::from(arguments.batch), height, width),
        network,
    };
    let report = if arguments.dispatches {
        dispatches(&case, arguments)?
    } else if arguments.profile {
        profile(&case, arguments)?
    } else {
        compare(&case, arguments)?
    };
    output::print(&report)
}

/// A network and what it is evaluated on.
struct Case {
    network: Arc<dyn network::Network>,
    shape: [usize; 4],
    inventory: Inventory,
}

impl Case {
    /// Weights of the size that keeps activations near 1, the same whoever asks in whichever order.
    fn weights(&self) -> impl FnMut(&str, &[usize]) -> Result<Vec<f32>> {
        let keys: Vec<String> = self.inventory.parameters.iter().map(|(key, _)| key.clone()).collect();
        move |key, shape| {
            let mut values = vec![0.0; shape.iter().product()];
            let place = keys.iter().position(|k| k == key).unwrap_or(keys.len());
            Generator::philox(1)?.normals(place as u32, 1, &mut values);
            let inputs: usize = shape[1..].iter().product();
            values.iter_mut().for_each(|x| *x /= (inputs as f32).sqrt());
            Ok(values)
        }
    }

    /// Arguments of an evaluation.
    fn inputs(&self) -> Result<Inputs> {
        let mut x = vec![0.0; self.shape.iter().product()];
        Generator::philox(2)?.normals(0, self.shape[0], &mut x);
        let labels = match self.network.classes() {
            ClassEmbedding::None => None,
            ClassEmbedding::Table(_) | ClassEmbedding::Timestep => Some(self.shape[0]),
            ClassEmbedding::Identity(width) => Some(self.shape[0] * width),
        };
        let timesteps = vec![500.0; self.shape[0]];
        Ok(Inputs { x, timesteps, labels: labels.map(|count| vec![0.0; count]) })
    }
}

struct Inputs {
    x: Vec<f32>,
    timesteps: Vec<f32>,
    labels: Option<Vec<f32>>,
}

/// A network on a device.
enum Network {
    Cpu(Box<CpuNetwork>),
    Gpu(Box<GpuNetwork>),
    #[cfg(feature = "burn")]
    Burn(Box<BurnNetwork>),
}

impl Network {
    fn new(case: &Case, device: Name, arguments: &Arguments) -> Result<Self> {
        let network = Arc::clone(&case.network);
        Ok(match device {
            Name::Cpu => Self::Cpu(Box::new(CpuNetwork::new(network, case.weights())?)),
            Name::Gpu => {
                let gpu = arguments.gpu()?;
                let storage = arguments.storage();
                Self::Gpu(Box::new(block_on(GpuNetwork::new(&gpu, network, storage, case.weights()))?))
            }
            #[cfg(feature = "burn")]
            Name::Burn => {
                let device = block_on(arguments.gpu()?.for_burn())?;
                let parameters = &case.inventory.parameters;
                Self::Burn(Box::new(BurnNetwork::new(network, parameters, &device, case.weights())?))
            }
        })
    }

    fn name(&self) -> (&'static str, String) {
        match self {
            Self::Cpu(_) => match rayon::current_num_threads() {
                1 => ("cpu", "CPU, one thread".to_owned()),
                threads => ("cpu", format!("CPU, {threads} threads")),
            },
            Self::Gpu(network) => ("gpu", network.executor().replays().gpu().name().to_owned()),
            #[cfg(feature = "burn")]
            Self::Burn(_) => ("burn", "burn-wgpu".to_owned()),
        }
    }

    fn evaluate(&mut self, case: &Case) -> Result<Vec<f32>> {
        let Inputs { x, timesteps, labels } = case.inputs()?;
        let (shape, labels) = (case.shape, labels.as_deref());
        match self {
            Self::Cpu(network) => block_on(network.evaluate(&x, shape, &timesteps, labels)),
            Self::Gpu(network) => block_on(network.evaluate(&x, shape, &timesteps, labels)),
            #[cfg(feature = "burn")]
            Self::Burn(network) => block_on(network.evaluate(&x, shape, &timesteps, labels)),
        }
    }
}

/// Evaluations of each device in turns, so that whatever else the machine does befalls all of them.
fn compare(case: &Case, arguments: &Arguments) -> Result<String> {
    let mut networks = arguments
        .device
        .iter()
        .map(|device| Network::new(case, *device, arguments))
        .collect::<Result<Vec<_>>>()?;
    let mut outputs =
        networks.iter_mut().map(|network| network.evaluate(case)).collect::<Result<Vec<_>>>()?;
    let first = outputs.remove(0);
    for (network, output) in networks[1..].iter().zip(&outputs) {
        let bar = if arguments.storage() == Storage::F16 { 2e-2 } else { 2e-4 };
        check(network.name().0, &first, output, bar)?;
    }
    let mut seconds = vec![Vec::new(); networks.len()];
    let mut used = vec![Vec::new(); networks.len()];
    let start = Instant::now();
    for run in 0..arguments.runs {
        if run > 0 && start.elapsed() > Duration::from_secs_f64(arguments.budget) {
            break;
        }
        for ((network, seconds), used) in networks.iter_mut().zip(&mut seconds).zip(&mut used) {
            let (start, before) = (Instant::now(), processor_time());
            network.evaluate(case)?;
            seconds.push(start.elapsed().as_secs_f64());
            if let (Network::Cpu(_), Some(before), Some(after)) = (network, before, processor_time()) {
                used.push(after - before);
            }
        }
    }
    let sustained =
        networks.iter_mut().map(|network| sustained(case, network, arguments)).collect::<Result<Vec<_>>>()?;
    let results: Vec<(Value, String)> = networks
        .iter()
        .zip(&mut seconds)
        .zip(&mut used)
        .zip(sustained)
        .map(|(((network, seconds), used), sustained)| {
            let [lower, median, upper] = quartiles(seconds);
            let processor = (!used.is_empty()).then(|| quartiles(used));
            let (device, adapter) = network.name();
            let runs = seconds.len();
            let rate = case.inventory.flops as f64 / median / 1e6;
            (
                json!({ "device": device, "adapter": adapter, "runs": runs, "lower": lower, "median": median, "upper": upper, "sustained": sustained,
                    "processor": processor.map(|[lower, median, upper]| json!({ "runs": runs, "lower": lower, "median": median, "upper": upper })) }),
                {
                    let sustained = sustained.map_or_else(String::new, |ms| format!("  {ms:.2} ms in a row"));
                    let processor = processor.map_or_else(String::new, |[lower, median, upper]| {
                        format!("  {median:.2} ms [{lower:.2}, {upper:.2}] of processor time")
                    });
                    format!("{device:<5}{median:>10.2} ms  [{lower:.2}, {upper:.2}]{sustained}{processor}  {rate:.1} GFLOP/s  {runs} runs  {adapter}\n")
                },
            )
        })
        .collect();
    if arguments.json {
        let values: Vec<&Value> = results.iter().map(|(value, _)| value).collect();
        let d = &case.inventory;
        return Ok(format!(
            "{}\n",
            json!({ "batch": case.shape[0], "parameters": d.parameter_count(), "flops": d.flops, "milliseconds": values })
        ));
    }
    Ok(results.into_iter().map(|(_, line)| line).collect())
}

/// Steps of training on the first device that is named, each waited for.
#[cfg(feature = "burn")]
fn training(arguments: &Arguments, preset: Preset) -> Result<String> {
    let data = Arc::new(dataset::open(&arguments.config, dataset::Options::default())?.data);
    let device = match arguments.device.first() {
        Some(Name::Cpu) | None => burn::tensor::Device::flex(),
        Some(_) => block_on(arguments.gpu()?.for_burn())?,
    };
    let mut trainer = Trainer::new(Recipe::preset(preset, &data)?, data, &device)?;
    let (mut seconds, mut used) = (Vec::new(), Vec::new());
    let begin = Instant::now();
    for step in 0..=arguments.runs {
        if step > 1 && begin.elapsed() > Duration::from_secs_f64(arguments.budget) {
            break;
        }
        let (start, before) = (Instant::now(), processor_time());
        trainer.step()?;
        block_on(trainer.losses())?;
        // The first one finds memory, and compiles.
        if step > 0 {
            seconds.push(start.elapsed().as_secs_f64());
            used.extend(before.zip(processor_time()).map(|(before, after)| after - before));
        }
    }
    let runs = seconds.len();
    let times = |seconds: &mut [f64]| {
        let [lower, median, upper] = quartiles(seconds);
        json!({ "runs": runs, "lower": lower, "median": median, "upper": upper })
    };
    let (clock, processor) = (times(&mut seconds), (!used.is_empty()).then(|| times(&mut used)));
    Ok(format!(
        "{}\n",
        json!({ "parameters": trainer.parameter_count(), "clock": clock, "processor": processor })
    ))
}

/// Quartiles in milliseconds of seconds, which are sorted.
fn quartiles(seconds: &mut [f64]) -> [f64; 3] {
    seconds.sort_by(f64::total_cmp);
    [1, 2, 3].map(|quarter| 1e3 * seconds[(seconds.len() - 1) * quarter / 4])
}

/// Seconds that processors have worked for this process: on a machine that does other work too they say more than the clock. `None` where
/// the system does not say it as Linux does.
fn processor_time() -> Option<f64> {
    let mut nanoseconds = 0;
    // A thread's time is brought up to date when it gives way.
    std::thread::yield_now();
    for thread in std::fs::read_dir("/proc/self/task").ok()? {
        let text = std::fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
        nanoseconds += text.split(' ').next()?.parse::<u64>().ok()?;
    }
    Some(nanoseconds as f64 / 1e9)
}

/// Times of what computes something else mean nothing.
fn check(device: &str, a: &[f32], b: &[f32], bar: f32) -> Result<()> {
    let scale = a.iter().fold(0.0, |m: f32, x| m.max(x.abs()));
    let near = |(a, b): (&f32, &f32)| (a - b).abs() <= bar * scale;
    if let Some(at) = a.iter().zip(b).position(|pair| !near(pair)) {
        let why = format!("its result has {} where the first device's has {}", b[at], a[at]);
        return Err(Error::Unsupported { what: format!("timing {device}"), why });
    }
    Ok(())
}

/// Milliseconds of an evaluation where many are submitted and only the last is waited for: what a long run takes at best.
fn sustained(case: &Case, network: &mut Network, arguments: &Arguments) -> Result<Option<f64>> {
    let Network::Gpu(network) = network else { return Ok(None) };
    let [batch, _, height, width] = case.shape;
    block_on(async {
        network.plan([batch, height, width]).await?;
        let replay = network.executor_mut().replays_mut().get([batch, height, width])?;
        let output = replay.plan().output;
        replay.evaluate(0);
        replay.read(output).await?;
        let mut best = f64::INFINITY;
        let start = Instant::now();
        for round in 0..3 {
            if round > 0 && start.elapsed() > Duration::from_secs_f64(arguments.budget) {
                break;
            }
            let start = Instant::now();
            for _ in 0..arguments.runs {
                replay.evaluate(0);
            }
            replay.read(output).await?;
            best = best.min(start.elapsed().as_secs_f64() / f64::from(arguments.runs));
        }
        Ok(Some(1e3 * best))
    })
}

/// Every dispatch, before there is a device.
fn dispatches(case: &Case, arguments: &Arguments) -> Result<String> {
    let [batch, _, height, width] = case.shape;
    let plan = Plan::new(&*case.network, batch, height, width)?;
    let layout = ShardLayout::new(&plan, arguments.storage());
    let tuning =
        if matches!(arguments.tuning, Some(Kind::Software)) { Tuning::Software } else { Tuning::Hardware };
    let lowered = Lowered::new(&plan, &layout, tuning, arguments.choice())?;
    if let Some(folder) = &arguments.shaders {
        for (i, (label, entry, text)) in lowered.shaders(true).into_iter().enumerate() {
            let path = folder.join(format!("{i:02}-{entry}.wgsl"));
            std::fs::write(&path, format!("// {label}\n{text}")).map_err(Error::io(&path))?;
        }
    }
    Ok(format!("{}\n", json!({ "batch": batch, "dispatches": as_json(&timings(&plan, &lowered)) })))
}

fn as_json(timings: &[Timing]) -> Vec<Value> {
    let one = |t: &Timing| json!({ "name": t.name, "kernel": t.kernel, "groups": t.groups, "ms": 1e3 * t.seconds, "flops": t.flops, "bytes": t.bytes });
    timings.iter().map(one).collect()
}

fn profile(case: &Case, arguments: &Arguments) -> Result<String> {
    let runs = arguments.runs;
    let gpu = arguments.gpu()?;
    let network = Arc::clone(&case.network);
    let mut network = block_on(GpuNetwork::new(&gpu, network, arguments.storage(), case.weights()))?;
    let [batch, _, height, width] = case.shape;
    let timings = block_on(async {
        network.plan([batch, height, width]).await?;
        let replay = network.executor_mut().replays_mut().get([batch, height, width])?;
        replay.profile(usize::from(runs)).await
    })?;
    let peak = block_on(Peak::measure(&gpu))?;
    if arguments.json {
        return Ok(format!(
            "{}\n",
            json!({ "adapter": gpu.name(), "batch": batch, "peak_flops": peak.flops_per_second, "peak_bytes": peak.bytes_per_second, "f16": gpu.has_f16(), "dispatches": as_json(&timings) })
        ));
    }
    Ok(profile_report(gpu.name(), &timings, &peak))
}

/// Shares by kernel, then the dispatches that take longest.
fn profile_report(adapter: &str, timings: &[Timing], peak: &Peak) -> String {
    let total: f64 = timings.iter().map(|t| t.seconds).sum();
    let line = |what: &str, count: usize, seconds: f64, flops: u64, bytes: u64| {
        let (flops, bytes) = (flops as f64 / seconds, bytes as f64 / seconds);
        let percent = |part: f64, whole: f64| 100.0 * part / whole;
        format!(
            "{:5.1} %{:>10.3} ms{count:>5} ×{:>9.1} GFLOP/s ={:>3.0} %{:>8.1} GB/s ={:>3.0} %  {what}\n",
            percent(seconds, total),
            1e3 * seconds,
            flops / 1e9,
            percent(flops, peak.flops_per_second),
            bytes / 1e9,
            percent(bytes, peak.bytes_per_second),
        )
    };
    let mut kernels: Vec<(&str, usize, f64, u64, u64)> = Vec::new();
    for t in timings {
        let at = kernels.iter().position(|k| k.0 == t.kernel).unwrap_or_else(|| {
            kernels.push((&t.kernel, 0, 0.0, 0, 0));
            kernels.len() - 1
        });
        let k = &mut kernels[at];
        *k = (k.0, k.1 + 1, k.2 + t.seconds, k.3 + t.flops, k.4 + t.bytes);
    }
    kernels.sort_by(|a, b| b.2.total_cmp(&a.2));
    let mut longest: Vec<&Timing> = timings.iter().collect();
    longest.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
    let mut report = format!(
        "{adapter}: at most {:.0} GFLOP/s and {:.1} GB/s, measured\n{} dispatches, {:.3} ms\n\n",
        peak.flops_per_second / 1e9,
        peak.bytes_per_second / 1e9,
        timings.len(),
        1e3 * total,
    );
    for (what, count, seconds, flops, bytes) in kernels {
        report += &line(what, count, seconds, flops, bytes);
    }
    report += "\nthe longest:\n";
    for t in longest.into_iter().take(10) {
        report += &line(&format!("{}, {}", t.name, t.kernel), 1, t.seconds, t.flops, t.bytes);
    }
    report
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_that_differ_or_are_no_numbers_are_not_timed() {
        assert!(check("gpu", &[1.0, -4.0], &[1.0005, -4.0], 2e-4).is_ok());
        for other in [[1.0, -4.001], [f32::NAN, -4.0]] {
            assert!(check("gpu", &[1.0, -4.0], &other, 2e-4).is_err(), "{other:?}");
        }
    }
}
