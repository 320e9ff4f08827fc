//! The README's example: `cargo run --release --example sample`.

use noiseball::{Checkpoint, Device, Model, Result, SampleOptions, SamplerKind};

fn main() -> Result<()> {
    let checkpoint = Checkpoint::open("www/models/pixel-faces-16")?;
    let model = Model::load_blocking(checkpoint, &Device::cpu())?;
    let mut run =
        model.sample(&SampleOptions::default().sampler(SamplerKind::Ddim).steps(20).labels(vec![3.0]))?;
    while let Some(step) = run.step_blocking()? {
        let mean = step.x.iter().sum::<f32>() / step.x.len() as f32;
        eprintln!("step {} of {}: mean {mean}", step.index + 1, step.total);
    }
    Ok(())
}
