//! `noiseball sample`.

use std::fmt::Display;
use std::io::IsTerminal;
use std::path::PathBuf;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use noiseball::checkpoint::Progress;
use noiseball::engine::gpu::Gpu;
use noiseball::{
    Checkpoint, Device, DeviceKind, Error, Model, Result, Rng, SampleOptions, SamplerKind, text,
};

use crate::samplers::Chosen;
use crate::threads::Threads;
use crate::{edit, output};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// A folder that diffusers saved, the address of one, or a hub id such as google/ddpm-cifar10-32
    pub(crate) checkpoint: String,
    /// Which of several weights: fp16 for diffusion_pytorch_model.fp16.safetensors
    #[arg(long, value_name = "NAME")]
    pub(crate) variant: Option<String>,
    /// One that `noiseball samplers` lists [default: what the checkpoint's scheduler stands for]
    #[arg(long, value_name = "NAME")]
    pub(crate) sampler: Option<SamplerKind>,
    /// Number of steps [default: the sampler's]
    #[arg(long, value_name = "N", value_parser = output::count::<usize>, allow_negative_numbers = true)]
    pub(crate) steps: Option<usize>,
    /// 0 to 2^53 - 1; with prompts also one for each picture: 5,6
    #[arg(long, default_value = "0", value_delimiter = ',', value_name = "S,S,...", value_parser = output::seed, allow_negative_numbers = true)]
    pub(crate) seed: Vec<u64>,
    /// Whose random numbers: philox (the page's), or torch for a seed from Python
    #[arg(long, default_value = "philox", value_name = "NAME")]
    pub(crate) rng: Rng,
    /// Number of pictures, of each prompt where there are prompts [default: 1]
    #[arg(long, value_name = "B", value_parser = output::count::<usize>, allow_negative_numbers = true)]
    pub(crate) batch: Option<usize>,
    /// Class labels, one for all pictures or one each: 3,8
    #[arg(long, value_delimiter = ',', value_name = "L,L,...", allow_negative_numbers = true)]
    pub(crate) labels: Option<Vec<f32>>,
    #[command(flatten)]
    pub(crate) text: edit::Text,
    #[command(flatten)]
    pub(crate) edit: edit::Arguments,
    /// Where the pictures go, as one PNG [default: samples.png, unless --npy is given]
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// Where the numbers go: float32 [batch, channels, height, width] in [-1, 1], before rounding to bytes
    #[arg(long, value_name = "FILE")]
    pub(crate) npy: Option<PathBuf>,
    /// cpu, gpu, or gpu-f16, which multiplies in 16 bits [default: gpu where there is a real one]
    #[arg(long, value_name = "NAME")]
    pub(crate) device: Option<DeviceName>,
    #[command(flatten)]
    pub(crate) threads: Threads,
    #[command(flatten)]
    pub(crate) options: Chosen,
}

#[derive(Clone, Copy, clap::ValueEnum)]
pub(crate) enum DeviceName {
    Cpu,
    Gpu,
    /// Multiplies in 16 bits and sums in 32, where the adapter has shader-f16; what a pipeline stores in F32 stays exact
    GpuF16,
}

/// The device of that name, or the best.
pub(crate) fn device(name: Option<DeviceName>) -> Result<Device> {
    match name {
        Some(DeviceName::Cpu) => Ok(Device::cpu()),
        Some(DeviceName::Gpu) => pollster::block_on(Device::gpu()),
        Some(DeviceName::GpuF16) => Ok(pollster::block_on(Gpu::with_f16_products())?.into()),
        None => Ok(pollster::block_on(Device::best())),
    }
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let variant = arguments.variant.as_deref();
    arguments.text.refuse()?;
    arguments.edit.check_guided()?;
    let [seed] = arguments.seed[..] else {
        return Err(Error::Option {
            option: "seed",
            found: format!("{} seeds", arguments.seed.len()),
            expected: "one, of which each picture of the batch has its noise".to_owned(),
        });
    };
    let bar = progress_bar();
    bar.set_message("reading");
    let checkpoint = Checkpoint::open_with(&arguments.checkpoint, variant, &mut |progress| {
        if let Progress::Weights { received, total: Some(total) } = progress {
            bar.set_length(total);
            bar.set_position(received);
        }
        Ok(())
    })?;
    let device = device(arguments.device)?;
    let model = Model::load_blocking(checkpoint, &device)?;
    let edit = arguments.edit.edit(model.info())?.map(|mut edit| {
        let range = model.config().schedule.range();
        edit.init = edit.init.iter().map(|x| range.of_signed(*x)).collect();
        edit
    });
    let mut options = SampleOptions::default()
        .sampler(arguments.sampler)
        .steps(arguments.steps)
        .seed(seed)
        .rng(arguments.rng)
        .batch(arguments.batch.unwrap_or(1))
        .settings(arguments.options.0.clone())
        .labels(arguments.labels.clone())
        .guidance(arguments.edit.guidance())
        .negative_label(arguments.edit.negative_label)
        .edit(edit)
        .every(0);
    options.noise = arguments.edit.noise(model.info())?;
    let mut run = model.sample(&options)?;
    bar.suspend(|| output::say(&report(arguments, &model, &options)));
    bar.set_message(format!("sampling on {}", device.name()));
    let mut pictures = (Vec::new(), [0; 4]);
    while let Some(step) = run.step_blocking()? {
        bar.set_length(step.total as u64);
        bar.set_position(step.index as u64 + 1);
        if step.index + 1 == step.total {
            pictures = (step.x.to_vec(), step.shape);
        }
    }
    bar.finish_and_clear();
    let (x, shape) = pictures;
    if let Some(path) = &arguments.npy {
        output::write_npy(path, &x, shape)?;
    }
    let default = arguments.npy.is_none().then(|| PathBuf::from("samples.png"));
    if let Some(path) = arguments.out.clone().or(default) {
        let range = model.config().schedule.range();
        output::write_png(&path, &output::signed(range, &x), shape)?;
        if std::io::stderr().is_terminal() {
            output::say(&format!("{}\n", path.display()));
        }
    }
    Ok(())
}

/// The command that does the same again, with all that was left to its default, and what is used instead of what the
/// checkpoint asks for.
fn report(arguments: &Arguments, model: &Model, options: &SampleOptions) -> String {
    let info = model.info();
    let (sampler, steps) = model.steps_of(options);
    let mut out = format!("noiseball sample {}", text::prose(&arguments.checkpoint));
    let mut add = |name: &str, value: &dyn Display| out += &format!(" --{name} {value}");
    if let Some(variant) = &arguments.variant {
        add("variant", variant);
    }
    add("sampler", &sampler);
    add("steps", &steps);
    add("seed", &options.seed);
    add("rng", &options.rng);
    add("batch", &options.batch);
    for (name, value) in options.settings.iter() {
        add(&name.replace('_', "-"), &text::prose(&value));
    }
    let null = info.classes.and(info.null_label).map(|label| vec![label as f32]);
    if let Some(labels) = options.labels.clone().or(null) {
        let labels: Vec<String> = labels.iter().map(f32::to_string).collect();
        add("labels", &labels.join(","));
    }
    arguments.edit.report(&mut add);
    add("device", &place(arguments.device, info.device.kind, &info.device.name));
    out.push('\n');
    for note in &info.notes {
        out += &format!("note: {}\n", text::prose(note));
    }
    if !info.unknown_keys.is_empty() {
        out += &format!("not used: {}\n", output::first(info.unknown_keys.iter()).join(", "));
    }
    out
}

/// The device as the option that takes it again, and which one that was.
pub(crate) fn place(chosen: Option<DeviceName>, kind: DeviceKind, name: &str) -> String {
    match (chosen, kind) {
        (_, DeviceKind::Cpu) => "cpu".to_owned(),
        (Some(DeviceName::GpuF16), DeviceKind::Gpu) => format!("gpu-f16 # {}", text::name(name)),
        (_, DeviceKind::Gpu) => format!("gpu # {}", text::name(name)),
    }
}

/// Drawn on a terminal only.
pub(crate) fn progress_bar() -> ProgressBar {
    let style = ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len} {eta}");
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    style.map_or_else(|_| bar.clone(), |style| bar.clone().with_style(style))
}
