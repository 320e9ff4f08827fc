//! Every other sampler against diffusers: `fixtures/solvers/` (see `tools/golden/solvers.py`).
#![cfg(not(target_arch = "wasm32"))]
#![allow(clippy::print_stdout, reason = "tests say how close they came")]

use noiseball::Result;
use noiseball::sampler::options::Value as Setting;
use noiseball::sampler::{Evaluate, HostRun, Options, SamplerKind};
use noiseball::schedule::Schedule;
use serde_json::{Value, json};

mod golden;
use golden::{TraceNoise, f64s, scaled as stream};

fn fixture(sampler: &str) -> Value {
    let path = format!("{}/tests/fixtures/solvers/{sampler}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// Made-up values and a quarter of what it is given, or a score.
struct Network<'a> {
    key: &'a str,
    score: bool,
    timesteps: Vec<f64>,
}

impl Evaluate for Network<'_> {
    async fn evaluate(&mut self, x: &[f32], _: [usize; 4], timestep: f64) -> Result<Vec<f32>> {
        let made = stream(&format!("model:{}:{}", self.key, self.timesteps.len()), x.len(), 1.0);
        self.timesteps.push(timestep);
        let t = timestep as f32;
        let answer = |(m, x): (&f32, &f32)| if self.score { m / t - 0.8 * x / (t * t) } else { m + 0.25 * x };
        Ok(made.iter().zip(x).map(answer).collect())
    }
}

/// Replays a case and gives the worst `|difference| / max(1, max |x|)` with the name of what differed.
fn replay(sampler: &str, class: &Value, case: &Value) -> (f64, String) {
    let name = case["name"].as_str().unwrap();
    let key = format!("{sampler}:{name}");
    let mut config = case["config"].clone();
    config["_class_name"] = class.clone();
    let schedule = Schedule::from_json("scheduler_config.json", config.to_string().as_bytes()).unwrap();
    let (kind, note) = SamplerKind::default_for(&schedule.class_name);
    assert!(sampler.ends_with(kind.name()) && note.is_none(), "{sampler}: {kind}");
    let mut options = Options::steps(case["steps"].as_u64().unwrap() as usize);
    for (name, value) in case["options"].as_object().unwrap() {
        let value = match value {
            Value::String(text) => Setting::Text(text.clone()),
            Value::Array(_) => Setting::List(f64s(value)),
            _ => Setting::Number(value.as_f64().unwrap()),
        };
        options.settings.set(name, value);
    }
    let program = kind.program(&schedule, &options).unwrap_or_else(|e| panic!("{key}: {e}"));
    let mut network = Network { key: &key, score: class == "ScoreSdeVeScheduler", timesteps: Vec::new() };
    let batch = case["shape"][0].as_u64().unwrap_or(1) as usize;
    let mut run = HostRun::new(program, [batch, 1, 2, 2], TraceNoise(&key)).unwrap();
    let mut trace = case["trace"].as_array().unwrap().iter().peekable();
    let mut worst = (0.0, String::new());
    while let Some(step) = pollster::block_on(run.step(&mut network)).unwrap() {
        let Some(expected) = trace.next_if(|e| e["index"].as_u64() == Some(step.index as u64)) else {
            continue;
        };
        for (what, found) in [("prev_sample", step.x), ("pred_original_sample", step.x0)] {
            if expected[what].is_null() {
                continue;
            }
            let expected = f64s(&expected[what]);
            let size = expected.iter().fold(1.0, |m: f64, v| m.max(v.abs()));
            for (e, f) in expected.iter().zip(found) {
                let difference = (e - f64::from(*f)).abs() / size;
                if difference > worst.0 || difference.is_nan() {
                    worst = (difference, format!("{key}: {what} of step {}", step.index));
                }
            }
        }
    }
    assert!(trace.next().is_none(), "{key} stopped early");
    let expected = f64s(&case["timesteps"]);
    assert_eq!(network.timesteps.len(), expected.len(), "{key}");
    for (found, expected) in network.timesteps.iter().zip(&expected) {
        // A fraction of a timestep is interpolated in a table of f32 there; where diffusers cuts it off, that may be the next one.
        let cut = expected.fract() == 0.0 && case["config"].to_string().contains("_sigmas");
        let continuous = ["ipndm", "reverse-sde", "vp-reverse-sde", "consistency"].contains(&sampler);
        let bound = match continuous {
            true => 1e-5 * expected.abs().max(0.1),
            false if cut => 1.0,
            false => 1e-2,
        };
        assert!((found - expected).abs() <= bound, "{key}: timestep {found}, not {expected}");
    }
    worst
}

/// The files, and that no sampler is without: `schedulers.rs` compares DDPM and DDIM.
fn samplers() -> Vec<String> {
    let folder = format!("{}/tests/fixtures/solvers", env!("CARGO_MANIFEST_DIR"));
    let names =
        std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.map(|name| name.trim_end_matches(".json").to_owned()).collect();
    names.sort();
    for kind in SamplerKind::ALL {
        // diffusers has nothing like the last three.
        let elsewhere =
            ["ddpm", "ddim", "annealed-langevin", "gaussian-chain", "adaptive"].contains(&kind.name());
        let known = elsewhere || names.iter().any(|name| name == kind.name());
        assert!(known, "{kind} has no traces");
    }
    names
}

#[test]
fn traces_agree_with_diffusers() {
    let mut failures = Vec::new();
    let mut count = 0;
    for sampler in samplers() {
        let fixture = fixture(&sampler);
        let mut worst = (0.0, String::new());
        for case in fixture["cases"].as_array().unwrap() {
            count += 1;
            let found = replay(&sampler, &fixture["class"], case);
            if found.0.is_nan() || found.0 > 1e-5 {
                failures.push(format!("{:.1e} {}", found.0, found.1));
            }
            if found.0 > worst.0 {
                worst = found;
            }
        }
        println!("{sampler}: {:.1e} at worst ({})", worst.0, worst.1);
    }
    println!("{count} traces");
    assert!(failures.is_empty(), "{failures:#?}");
    assert!(json!(count).as_u64() > Some(100), "{count}");
}

/// Of runs whose timesteps or levels are listed.
#[test]
fn lists_are_followed_or_refused() {
    let schedule = Schedule::from_json("scheduler_config.json", br#"{"num_train_timesteps": 500}"#).unwrap();
    let timesteps = [499.0, 300.0, 120.0, 40.0, 0.0];
    let levels = [14.0, 6.5, 2.7, 1.4, 0.65];
    for kind in SamplerKind::ALL {
        for (option, list) in [("timesteps", &timesteps), ("sigmas", &levels)] {
            let with = |list: &[f64]| Options::steps(list.len()).with(option, list.to_vec());
            let refused = |options: &Options, named: &str| {
                let error = kind.program(&schedule, options).unwrap_err();
                assert_eq!(error.kind(), "invalid-option", "{kind}: {error}");
                assert!(error.to_string().contains(named), "{kind}: {error}");
            };
            if kind.entry().options.iter().all(|row| row.name != option) {
                refused(&with(list), &format!("one that {kind} has"));
                continue;
            }
            let program = kind.program(&schedule, &with(list)).unwrap_or_else(|e| panic!("{kind}: {e}"));
            assert_eq!(program.steps(), 5, "{kind}");
            if option == "timesteps" && !["annealed-langevin", "adaptive"].contains(&kind.name()) {
                let told: Vec<f64> = program.timesteps().collect();
                assert!(list.iter().all(|t| told.contains(t)), "{kind}: {told:?}");
            }
            for wrong in
                [&[][..], &[9.0, 20.0], &[9.0, 9.0], &[9.0, -1.0], &[f64::NAN, 2.0], &[f64::INFINITY, 2.0]]
            {
                refused(&with(wrong), "each below the one before");
            }
            let mut four = with(list);
            four.steps = 4;
            refused(&four, "5, as many as are listed");
            if kind.entry().options.iter().any(|row| row.name == "timestep_spacing") {
                refused(&with(list).with("timestep_spacing", "trailing"), "left out");
            }
            if option == "timesteps" {
                refused(&with(&[499.5, 3.0]), "whole numbers");
                refused(&with(&[500.0, 3.0]), "below 500");
            } else {
                refused(&with(list).with("timesteps", timesteps.to_vec()), "left out");
                // A last level without noise is where the run ends.
                let to_zero = [&levels[..], &[0.0]].concat();
                let options = Options::steps(5).with(option, to_zero);
                assert_eq!(kind.program(&schedule, &options).unwrap().steps(), 5, "{kind}");
                refused(&Options::steps(0).with(option, vec![0.0]), "each below");
            }
        }
    }
}

/// What each class of diffusers writes of itself by default is read, and all of it.
#[test]
fn files_of_every_class_are_read_whole() {
    let path = format!("{}/tests/fixtures/scheduler_configs.json", env!("CARGO_MANIFEST_DIR"));
    let file: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let classes = file.as_object().unwrap().iter().filter(|(name, _)| *name != "made_with");
    for (class, text) in classes {
        let schedule =
            Schedule::from_json("scheduler_config.json", text.as_str().unwrap().as_bytes()).unwrap();
        assert!(schedule.ignored.is_empty(), "{class}: {:?}", schedule.ignored);
        let (kind, note) = SamplerKind::default_for(class);
        assert!(note.is_none() && &schedule.class_name == class);
        let steps = kind.default_steps(schedule.train_timesteps());
        kind.program(&schedule, &Options::steps(steps)).unwrap_or_else(|e| panic!("{class}: {e}"));
    }
}
