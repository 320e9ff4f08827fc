//! `noiseball convert`.

use std::path::PathBuf;

use noiseball::checkpoint::weights::Dtype;
use noiseball::model::ModelConfig;
use noiseball::{Checkpoint, Result};

use crate::output;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// A folder that diffusers saved, the address of one, or a hub id
    checkpoint: String,
    /// The new folder; one that has files in it is left alone
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
    /// The number format of the weights [default: as they are]
    #[arg(long)]
    dtype: Option<DtypeName>,
    /// Which of several weights: fp16 for diffusion_pytorch_model.fp16.safetensors
    #[arg(long, value_name = "NAME")]
    variant: Option<String>,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum DtypeName {
    F16,
    F32,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let variant = arguments.variant.as_deref();
    let mut checkpoint = Checkpoint::open_with(&arguments.checkpoint, variant, &mut |_| Ok(()))?;
    let config = ModelConfig::read(&checkpoint)?;
    let unused = checkpoint.weights.check(&config.inventory.parameters)?;
    match arguments.dtype {
        Some(DtypeName::F16) => checkpoint.weights.convert(Dtype::F16)?,
        Some(DtypeName::F32) => checkpoint.weights.convert(Dtype::F32)?,
        None => {}
    }
    for name in &unused {
        // The network has no place for it, and neither has Python's.
        checkpoint.weights.take(name);
    }
    checkpoint.save(&arguments.out)?;
    let (count, out) = (checkpoint.weights.len(), arguments.out.display());
    let mut report = format!("{out}: {count} tensors, {} parameters\n", config.inventory.parameter_count());
    for name in output::first(unused.iter()) {
        report += &format!("left out: {name}\n");
    }
    output::print(&report)
}
