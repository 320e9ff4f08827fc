//! The lineage of docs/training.md: trains a recipe on data of a known distribution and measures what came of it.
//!
//!     cargo run --release --features burn --example lineage -- swiss-roll

mod recipes;
mod samplers;

use std::sync::Arc;
use std::time::Instant;

use burn::tensor::Device;
use noiseball::rng::{Generator, Normals};
use noiseball::train::dataset::toy::{ROLL_DEVIATION, Toy, roll_entropy};
use noiseball::train::{Batch, Dataset, Objective, Recipe, Trainer};
use noiseball::{Error, Result};
use pollster::block_on;

const TRAINED_ON: usize = 1 << 18;

fn main() -> Result<()> {
    let name = std::env::args().nth(1).unwrap_or_default();
    let (toy, recipe) = recipes::recipe(&name).ok_or_else(|| Error::Option {
        option: "recipe",
        found: format!("{name:?}"),
        expected: "swiss-roll, heartbeat, or DATA-OBJECTIVE with DATA one of two-gaussians, ring, grid and OBJECTIVE \
                   one of bound, score, ddpm, edm, flow"
            .to_owned(),
    })?;
    let trainer = train(toy, recipe)?;
    match toy {
        Toy::SwissRoll => {
            let (bound, error) = bound(&trainer, &toy.dataset(20_000, 1), 39)?;
            let identity = -(std::f64::consts::TAU.log2() + std::f64::consts::LOG2_E);
            eprintln!(
                "K on 20,000 held-out points: {bound:.3} ± {error:.3} bits, {:.3} more than N(0, 1)'s",
                bound - identity
            );
            eprintln!("the data's own log density: {:.3} bits", -roll_entropy(ROLL_DEVIATION));
        }
        Toy::Heartbeat => {
            let (bound, error) = bound(&trainer, &toy.dataset(100_000, 1), 4)?;
            eprintln!("K: {bound:.3} ± {error:.3} bits; the truth is {:.3}", -5f64.log2());
        }
        _ => {
            let points =
                samplers::sample(&mut block_on(trainer.averaged())?, trainer.recipe().objective, 10_000, 1)?;
            let counts = toy.histogram(&points);
            let (least, most) = counts.iter().fold((usize::MAX, 0), |(l, m), c| (l.min(*c), m.max(*c)));
            let radius = 4.0 * toy.deviation();
            let near = points.chunks_exact(2).filter(|p| {
                let distance = |c: &[f64; 2]| (f64::from(p[0]) - c[0]).hypot(f64::from(p[1]) - c[1]);
                toy.centres().iter().any(|c| distance(c) < radius)
            });
            eprintln!(
                "{} modes: {least} to {most} of 10,000 samples, ratio {:.2}",
                counts.len(),
                most as f64 / least as f64
            );
            eprintln!("within 4 deviations of one: {:.1}%", near.count() as f64 / 100.0);
        }
    }
    Ok(())
}

/// Trains to the end, telling of it every tenth.
fn train(toy: Toy, recipe: Recipe) -> Result<Trainer> {
    let start = Instant::now();
    let steps = recipe.steps;
    let mut trainer = Trainer::new(recipe, Arc::new(toy.dataset(TRAINED_ON, 0)), &Device::flex())?;
    eprintln!("{} parameters, {steps} steps", trainer.parameter_count());
    while trainer.step_number() < steps {
        trainer.step()?;
        if trainer.step_number().is_multiple_of((steps / 10).max(1)) {
            let losses = block_on(trainer.losses())?;
            let mean = losses.iter().map(|l| l.mean).sum::<f32>() / losses.len() as f32;
            eprintln!(
                "step {}: loss {mean:.4}, {:.0} s",
                trainer.step_number(),
                start.elapsed().as_secs_f64()
            );
        }
    }
    Ok(trainer)
}

/// K in bits over a data set, each item at `passes` timesteps, and its standard error. K is minus the mean of the loss,
/// which is an item's -K by one timestep alone.
fn bound(trainer: &Trainer, data: &Dataset, passes: usize) -> Result<(f64, f64)> {
    const PART: usize = 10_000;
    let schedule = trainer.recipe().check(data)?.1;
    // The first step of the bound for points is fixed.
    let first = usize::from(trainer.recipe().objective == Objective::Bound);
    let timesteps = schedule.train_timesteps() - first;
    let mut noise = Generator::philox(7)?;
    let (mut sum, mut squares, mut count) = (0.0, 0.0, 0.0);
    for pass in 0..passes {
        for start in (0..data.len()).step_by(PART) {
            let range = start..(start + PART).min(data.len());
            let mut images = vec![0.0; range.len() * data.image_len()];
            for (index, item) in range.clone().zip(images.chunks_mut(data.image_len())) {
                data.image(index, false, item);
            }
            let mut batch = Batch {
                noise: vec![0.0; images.len()],
                images,
                timesteps: range.map(|index| first + (index + pass) % timesteps).collect(),
                labels: None,
            };
            let draw = (pass * data.len() + start) / PART;
            noise.normals(draw as u32, batch.timesteps.len(), &mut batch.noise);
            for loss in block_on(trainer.held_out(&batch))? {
                sum += f64::from(loss);
                squares += f64::from(loss).powi(2);
                count += 1.0;
            }
        }
    }
    let mean = sum / count;
    Ok((-mean, ((squares / count - mean * mean) / count).sqrt()))
}
