//! The recipes of docs/training.md's lineage, each with the data it is for.

use noiseball::train::dataset::toy::Toy;
use noiseball::train::{Average, Objective, Optimiser, Recipe};
use serde_json::{Map, Value, json};

/// The data and the recipe of a name.
pub(crate) fn recipe(name: &str) -> Option<(Toy, Recipe)> {
    match name {
        "swiss-roll" => return Some((Toy::SwissRoll, swiss_roll())),
        "heartbeat" => return Some((Toy::Heartbeat, heartbeat())),
        _ => {}
    }
    let (data, objective) = name.rsplit_once('-')?;
    let toy: Toy = data.parse().ok()?;
    if toy.centres().is_empty() {
        return None;
    }
    Some((toy, plane(objective)?))
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

fn base(network: Value, scheduler: Value, objective: Objective, steps: u64, batch: usize) -> Recipe {
    Recipe {
        unet: object(network),
        scheduler: object(scheduler),
        objective,
        seed: 0,
        steps,
        batch,
        accumulate: 1,
        optimiser: Optimiser {
            learning_rate: 4e-3,
            warmup: steps / 20,
            betas: [0.9, 0.99],
            weight_decay: 1e-4,
            ..Optimiser::default()
        },
        average: Average::HalfLife { steps: steps as f64 / 50.0 },
        label_dropout: 0.0,
        flip: false,
    }
}

/// β of `total` steps whose noise-to-signal ratio grows evenly from `first` to `last`: where learning begins. To six
/// digits, which JSON gives back as they were.
fn geometric(total: i32, first: f64, last: f64) -> Vec<f64> {
    let ratio =
        |t: i32| if t < 0 { 0.0 } else { first * (last / first).powf(f64::from(t) / f64::from(total - 1)) };
    let rounded = |beta: f64| format!("{beta:.5e}").parse().unwrap_or(beta);
    (0..total).map(|t| rounded(1.0 - (1.0 + ratio(t - 1)) / (1.0 + ratio(t)))).collect()
}

/// 40 steps, as the paper's figure 1 has them. The first, which is not learned, has a deviation of 0.001.
fn swiss_roll() -> Recipe {
    base(
        json!({"_class_name": "MLP", "in_channels": 2, "out_channels": 4, "width": 64, "layers": 3}),
        json!({"num_train_timesteps": 40, "trained_betas": geometric(40, 1e-6, 30.0)}),
        Objective::Bound,
        8000,
        256,
    )
}

/// 2000 steps, as in the paper.
fn heartbeat() -> Recipe {
    base(
        json!({"_class_name": "MLP", "in_channels": 20, "width": 64, "layers": 2}),
        json!({"num_train_timesteps": 2000}),
        Objective::Binomial,
        4000,
        256,
    )
}

/// One network and one budget for every objective.
fn plane(objective: &str) -> Option<Recipe> {
    let (channels, scheduler, objective) = match objective {
        "bound" => (
            4,
            json!({"num_train_timesteps": 40, "trained_betas": geometric(40, 1e-4, 30.0)}),
            Objective::Bound,
        ),
        "score" => (
            2,
            json!({"num_train_timesteps": 50}),
            Objective::ScoreMatching { sigma_min: 0.01, sigma_max: 5.0 },
        ),
        "ddpm" => (2, json!({"num_train_timesteps": 1000, "clip_sample": false}), Objective::Simple),
        "edm" => (
            2,
            json!({"num_train_timesteps": 1000}),
            Objective::Edm { sigma_data: 1.0, mean: -1.2, deviation: 1.4 },
        ),
        "flow" => (2, json!({"num_train_timesteps": 1000}), Objective::Flow),
        _ => return None,
    };
    let network =
        json!({"_class_name": "MLP", "in_channels": 2, "out_channels": channels, "width": 64, "layers": 3});
    Some(base(network, scheduler, objective, 8000, 256))
}
