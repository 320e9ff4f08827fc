//! `noiseball inspect`.

use noiseball::checkpoint::Folder;
use noiseball::engine::Plan;
use noiseball::engine::gpu::{Choice, Lowered, ShardLayout, Tuning};
use noiseball::engine::parameters::Storage;
use noiseball::model::ModelConfig;
use noiseball::pipeline::Description;
use noiseball::{Checkpoint, Result};

use crate::output;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// A folder that diffusers saved, the address of one, or a hub id
    checkpoint: String,
    /// Which of several weights: fp16 for diffusion_pytorch_model.fp16.safetensors
    #[arg(long, value_name = "NAME")]
    variant: Option<String>,
    /// Show how the engine runs it, for one picture: the operations, what they read and write and where, and their memory
    #[arg(long)]
    plan: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    if let Some(folder) = Folder::open(&arguments.checkpoint, arguments.variant.as_deref())? {
        let description = Description::read(&folder.parts)?;
        let mut report = pipeline(&description);
        if arguments.plan {
            let size = [description.pipeline.sample_size; 2];
            report += &plan(&description.network.plan(1, size, description.tokens())?)?;
        }
        return output::print(&report);
    }
    let mut checkpoint =
        Checkpoint::open_with(&arguments.checkpoint, arguments.variant.as_deref(), &mut |_| Ok(()))?;
    let config = ModelConfig::read(&checkpoint)?;
    let unknown_weights = checkpoint.weights.check(&config.inventory.parameters)?;
    let mut report = report(&config, &unknown_weights);
    if arguments.plan {
        let [height, width] = config.size;
        report += &plan(&Plan::new(&*config.network, 1, height, width)?)?;
    }
    output::print(&report)
}

/// A pipeline of several networks: its parts, and what they need one after the other.
fn pipeline(d: &Description) -> String {
    let mut out = String::new();
    let mut line = |text: String| out.push_str(&format!("{}\n", noiseball::text::prose(text)));
    let side = d.pipeline.sample_size;
    let pixels = side * d.pipeline.scale_factor;
    line(format!(
        "{}  {pixels}×{pixels}, by way of {} × {side} × {side} latents",
        d.class, d.pipeline.latent_channels
    ));
    let parts = d.parts([side; 2]);
    for part in &parts {
        line(format!(
            "├ {:<16} {:>12} parameters  {:>9.3} GFLOP  {:>8.1} MB of activations",
            part.name,
            part.parameters,
            part.flops as f64 / 1e9,
            part.activation_bytes as f64 / 1e6
        ));
    }
    line(format!("parameters       {}", parts.iter().map(|part| part.parameters).sum::<u64>()));
    // The weights stay as the files have them.
    for (format, each) in [("f32", 4), ("f16", 2), ("8 bits", 1)] {
        if let Some(most) = parts.iter().max_by_key(|part| part.bytes(each)) {
            line(format!(
                "memory           {:.1} MB at most with weights in {format}, while {} runs",
                most.bytes(each) as f64 / 1e6,
                most.name
            ));
        }
    }
    let s = &d.schedule;
    line(format!(
        "scheduler        {}, {} timesteps, predicts {:?}",
        s.class_name,
        s.train_timesteps(),
        s.prediction
    ));
    line(format!("default sampler  {}", d.sampler));
    let (steps, guidance) = d.defaults();
    line(format!("by default       {steps} steps, guidance {guidance}"));
    for note in &d.notes {
        line(format!("note             {note}"));
    }
    for key in output::first(d.unknown_keys.iter()) {
        line(format!("not used         {key}"));
    }
    out
}

fn report(a: &ModelConfig, unknown_weights: &[String]) -> String {
    let mut out = String::new();
    // A checkpoint's keys and classes are a stranger's.
    let mut line = |text: String| out.push_str(&format!("{}\n", noiseball::text::prose(text)));
    let [height, width] = a.size;
    let needs = &a.inventory;
    line(format!(
        "UNet2DModel  {} → {} channels, {height}×{width}",
        a.network.in_channels(),
        a.network.out_channels()
    ));
    for (name, count, children) in tree(&needs.parameters) {
        line(format!("├ {name:<24} {count:>12}"));
        for (child, count) in children {
            line(format!("│ ├ {child:<22} {count:>12}"));
        }
    }
    line(format!("parameters       {}", needs.parameter_count()));
    line(format!("one evaluation   {:.3} GFLOP", needs.flops as f64 / 1e9));
    line(format!("activations      {:.1} MB at their peak", needs.peak_activation_bytes as f64 / 1e6));
    let s = &a.schedule;
    line(format!(
        "scheduler        {}, {} timesteps, predicts {:?}",
        s.class_name,
        s.train_timesteps(),
        s.prediction
    ));
    line(format!("default sampler  {}", a.sampler));
    for note in &a.notes {
        line(format!("note             {note}"));
    }
    let unused: Vec<&String> = a.unknown_keys.iter().chain(unknown_weights).collect();
    for key in output::first(unused.iter()) {
        line(format!("not used         {key}"));
    }
    out
}

/// The engine's plan for one picture, and what it takes.
fn plan(plan: &Plan) -> Result<String> {
    let [f32, f16, int8] =
        [Storage::F32, Storage::F16, Storage::Int8].map(|storage| ShardLayout::new(plan, storage));
    let lowered = Lowered::new(plan, &f32, Tuning::Hardware, Choice::default())?;
    let megabytes = |bytes: u64| bytes as f64 / 1e6;
    let (arena, least) = (4 * plan.arena as u64, 4 * plan.live_maximum());
    Ok(format!(
        "\n{plan}\
         dispatches       {} a step, for {} operations\n\
         arena            {:.3} MB, {:.3} times the {:.3} MB that are alive at once\n\
         arena on a GPU   {:.3} MB, with what operations use for themselves\n\
         packed weights   {:.3} MB in f32, {:.3} MB in f16, {:.3} MB in 8 bits\n",
        lowered.dispatches(),
        plan.ops.len(),
        megabytes(arena),
        arena as f64 / least as f64,
        megabytes(least),
        megabytes(lowered.arena_bytes()),
        megabytes(f32.bytes()),
        megabytes(f16.bytes()),
        megabytes(int8.bytes()),
    ))
}

type Branch = (String, u64, Vec<(String, u64)>);

/// Parameter counts by module and by its parts, in the order of the forward pass.
fn tree(parameters: &[(String, Vec<usize>)]) -> Vec<Branch> {
    let mut branches: Vec<Branch> = Vec::new();
    for (key, shape) in parameters {
        let count: u64 = shape.iter().map(|n| *n as u64).product();
        let parts: Vec<&str> = key.split('.').collect();
        let depth = if parts[0].ends_with("_blocks") { 2 } else { 1 };
        let module = parts[..depth].join(".");
        let child = (parts[0].ends_with("_blocks") || parts[0] == "mid_block")
            .then(|| parts[depth..depth + 2].join("."));
        if branches.last().is_none_or(|(name, ..)| *name != module) {
            branches.push((module, 0, Vec::new()));
        }
        let Some((_, total, children)) = branches.last_mut() else { continue };
        *total += count;
        if let Some(child) = child {
            match children.last_mut() {
                Some((name, n)) if *name == child => *n += count,
                _ => children.push((child, count)),
            }
        }
    }
    branches
}
