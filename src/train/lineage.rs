//! The recipes of docs/training.md's lineage: each paper's objective on data of a known distribution.

use serde_json::{Map, Value, json};

use super::average::Average;
use super::dataset::toy::Toy;
use super::objective::Objective;
use super::optimiser::Optimiser;
use super::recipe::Recipe;
use crate::error::{Error, Result};

impl Recipe {
    /// The recipe of a name, `DATA-OBJECTIVE`, and the data that it is for: `bound`, `score`, `ddpm`, `edm` or `flow` for
    /// points, `swiss-roll-rbf` (the bound with the paper's own network), and `heartbeat-binomial`.
    ///
    /// # Errors
    /// [`Error::Option`] for another name.
    pub fn lineage(name: &str) -> Result<(Toy, Self)> {
        let unknown = || Error::Option {
            option: "recipe",
            found: format!("{name:?}"),
            expected:
                "heartbeat-binomial, swiss-roll-rbf, or points with -bound, -score, -ddpm, -edm or -flow"
                    .to_owned(),
        };
        let (toy, objective) = name.rsplit_once('-').ok_or_else(unknown)?;
        let toy = toy.parse()?;
        let recipe = match (toy, objective) {
            (Toy::Heartbeat, "binomial") => heartbeat(),
            (Toy::Heartbeat, _) => return Err(unknown()),
            (Toy::SwissRoll, "bound") => swiss_roll(
                json!({"_class_name": "MLP", "in_channels": 2, "out_channels": 4, "width": 64, "layers": 3}),
            ),
            // The paper's network has 16 units.
            (Toy::SwissRoll, "rbf") => swiss_roll(
                json!({"_class_name": "RBFNetwork", "in_channels": 2, "out_channels": 4, "width": 16}),
            ),
            _ => plane(objective).ok_or_else(unknown)?,
        };
        Ok((toy, recipe))
    }
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

fn base(network: Value, scheduler: Value, objective: Objective, steps: u64) -> Recipe {
    Recipe {
        unet: object(network),
        scheduler: object(scheduler),
        objective,
        seed: 0,
        steps,
        batch: 256,
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
fn swiss_roll(network: Value) -> Recipe {
    base(
        network,
        json!({"num_train_timesteps": 40, "trained_betas": geometric(40, 1e-6, 30.0)}),
        Objective::Bound,
        8000,
    )
}

/// 2000 steps, as in the paper.
fn heartbeat() -> Recipe {
    base(
        json!({"_class_name": "MLP", "in_channels": 20, "width": 64, "layers": 2}),
        json!({"num_train_timesteps": 2000}),
        Objective::Binomial,
        4000,
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
    Some(base(network, scheduler, objective, 8000))
}
