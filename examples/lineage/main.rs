//! The lineage of docs/training.md: trains a recipe on data of a known distribution and measures what came of it.
//!
//!     cargo run --release --features burn --example lineage -- swiss-roll-bound

use std::sync::Arc;
use std::time::Instant;

use burn::tensor::Device;
use noiseball::train::dataset::toy::{ROLL_DEVIATION, Toy, roll_entropy};
use noiseball::train::{Bound, Objective, Recipe, Trainer};
use noiseball::{Error, Result};
use pollster::block_on;

const TRAINED_ON: usize = 1 << 18;

fn main() -> Result<()> {
    let name = std::env::args().nth(1).unwrap_or_default();
    let (toy, recipe) = Recipe::lineage(&name)?;
    let (objective, measured) = (recipe.objective, matches!(toy, Toy::SwissRoll | Toy::Heartbeat));
    if measured && !matches!(objective, Objective::Bound | Objective::Binomial) || toy == Toy::Moons {
        return Err(Error::Option {
            option: "recipe",
            found: format!("{name:?}"),
            expected: "swiss-roll-bound, heartbeat-binomial, or one for two-gaussians, ring or grid"
                .to_owned(),
        });
    }
    let trainer = train(toy, recipe)?;
    match toy {
        Toy::SwissRoll => {
            let Bound { bits, error } = block_on(trainer.bound(&toy.dataset(20_000, 1), 39))?;
            let identity = -(std::f64::consts::TAU.log2() + std::f64::consts::LOG2_E);
            eprintln!(
                "K on 20,000 held-out points: {bits:.3} ± {error:.3} bits, {:.3} more than N(0, 1)'s",
                bits - identity
            );
            eprintln!("the data's own log density: {:.3} bits", -roll_entropy(ROLL_DEVIATION));
        }
        Toy::Heartbeat => {
            let Bound { bits, error } = block_on(trainer.bound(&toy.dataset(100_000, 1), 4))?;
            eprintln!("K: {bits:.3} ± {error:.3} bits; the truth is {:.3}", -5f64.log2());
        }
        _ => {
            let points = block_on(block_on(trainer.averaged())?.sample([10_000, 2, 1, 1], 1))?;
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
