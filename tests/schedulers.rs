//! DDPM and DDIM against diffusers: `fixtures/schedulers.json` and `fixtures/timesteps.json` (see `tools/golden`).
#![cfg(not(target_arch = "wasm32"))]

use noiseball::Result;
use noiseball::sampler::{Evaluate, HostRun, Options, SamplerKind};
use noiseball::schedule::Schedule;
use serde_json::Value;

mod golden;
use golden::{TraceNoise, f64s, scaled as stream};

fn fixture(name: &str) -> Value {
    let path = format!("{}/tests/fixtures/{name}", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn usizes(value: &Value) -> Vec<usize> {
    value.as_array().unwrap().iter().map(|v| v.as_u64().unwrap() as usize).collect()
}

fn schedule(config: &Value) -> Schedule {
    Schedule::from_json("scheduler_config.json", config.to_string().as_bytes()).unwrap()
}

struct Model<'a> {
    case: &'a Value,
    timesteps: Vec<f64>,
}

impl Evaluate for Model<'_> {
    async fn evaluate(&mut self, x: &[f32], shape: [usize; 4], timestep: f64) -> Result<Vec<f32>> {
        let index = self.timesteps.len();
        self.timesteps.push(timestep);
        let key = format!("model:{}:{index}", self.case["name"].as_str().unwrap());
        let scale = self.case["model_scale"].as_f64().unwrap();
        let variance = self.case["config"]["variance_type"].as_str().unwrap_or("");
        if !variance.starts_with("learned") {
            return Ok(stream(&key, x.len(), scale));
        }
        let mut output = stream(&key, 2 * x.len(), scale);
        if variance == "learned" {
            let image = x.len() / shape[0];
            for channels in output.chunks_mut(2 * image) {
                channels[image..].iter_mut().for_each(|v| *v = v.abs());
            }
        }
        Ok(output)
    }
}

/// Replays a case and gives the worst `|difference| / max(1, max |x|)` with the name of what differed.
fn replay(case: &Value) -> (f64, String) {
    let name = case["name"].as_str().unwrap();
    let schedule = schedule(&case["config"]);
    let (kind, note) = SamplerKind::default_for(case["class"].as_str().unwrap());
    assert_eq!(note, None);
    let mut options = Options::steps(case["steps"].as_u64().unwrap() as usize);
    for name in ["eta", "use_clipped_model_output"] {
        options = match &case[name] {
            Value::Null => options,
            Value::Bool(flag) => options.with(name, *flag),
            number => options.with(name, number.as_f64().unwrap()),
        };
    }
    let program = kind.program(&schedule, &options).unwrap();
    let shape: [usize; 4] = match usizes(&case["shape"])[..] {
        [b, c, h, w] => [b, c, h, w],
        [b, h, w] => [b, 1, h, w],
        _ => panic!("{name}: shape"),
    };
    let mut model = Model { case, timesteps: Vec::new() };
    let mut run = HostRun::new(program, shape, TraceNoise(name)).unwrap();
    let mut trace = case["trace"].as_array().unwrap().iter().peekable();
    let mut worst = (0.0, String::new());
    while let Some(step) = pollster::block_on(run.step(&mut model)).unwrap() {
        assert!(step.x.iter().chain(step.x0).all(|v| v.is_finite()), "{name}");
        let Some(expected) = trace.next_if(|e| e["index"].as_u64() == Some(step.index as u64)) else {
            continue;
        };
        for (what, found) in [("prev_sample", step.x), ("pred_original_sample", step.x0)] {
            let expected = f64s(&expected[what]);
            assert_eq!(expected.len(), found.len());
            let size = expected.iter().fold(1.0, |m: f64, v| m.max(v.abs()));
            for (e, f) in expected.iter().zip(found) {
                let difference = (e - f64::from(*f)).abs() / size;
                if difference > worst.0 {
                    worst = (difference, format!("{name}: {what} of step {}", step.index));
                }
            }
        }
    }
    assert!(trace.next().is_none(), "{name} stopped early");
    assert_eq!(model.timesteps, f64s(&case["timesteps"]), "{name}");
    worst
}

#[test]
fn traces_agree_with_diffusers() {
    let fixture = fixture("schedulers.json");
    let cases = fixture["cases"].as_array().unwrap();
    assert!(cases.len() > 70);
    let mut failures = Vec::new();
    for case in cases {
        let (difference, what) = replay(case);
        // Between neighbours of a thousand timesteps 1 - ᾱₜ/ᾱₚ is a hundred times smaller than its terms, and f32 shows:
        // diffusers on an f64 table of ᾱ is 8.0e-5 from diffusers, and agrees with what is found here.
        let tolerance = if case["name"] == "ddpm_all_1000" { 1e-4 } else { 1e-5 };
        if difference > tolerance {
            failures.push(format!("{difference:.1e} {what}"));
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn alpha_bar_agrees_with_diffusers() {
    for case in fixture("schedulers.json")["cases"].as_array().unwrap() {
        let schedule = schedule(&case["config"]);
        let indices = usizes(&case["alphas_cumprod"]["indices"]);
        for (i, expected) in indices.into_iter().zip(f64s(&case["alphas_cumprod"]["values"])) {
            let found = schedule.alpha_bar()[i];
            // What f32 costs diffusers; the cosine's quotients and the differences of the zero-SNR rescaling cost more.
            let rule = &case["config"]["beta_schedule"];
            let tolerance = if rule == "squaredcos_cap_v2" || rule == "laplace" { 2e-5 } else { 2e-6 };
            assert!(
                (found - expected).abs() <= tolerance * expected.max(1e-5),
                "{}: alpha_bar[{i}] is {found}, not {expected}",
                case["name"]
            );
        }
    }
}

#[test]
fn timesteps_agree_with_diffusers() {
    let fixture = fixture("timesteps.json");
    let cases = fixture["cases"].as_array().unwrap();
    assert!(cases.len() > 80);
    for case in cases {
        let config = serde_json::json!({
            "num_train_timesteps": case["T"],
            "timestep_spacing": case["spacing"],
            "steps_offset": case["offset"],
        });
        let steps = case["N"].as_u64().unwrap() as usize;
        // Where numpy's arange is one too long, the entry too many is the last.
        let expected: Vec<i64> = f64s(&case["timesteps"])[..steps].iter().map(|t| *t as i64).collect();
        let found = schedule(&config).timesteps(steps);
        if expected.iter().any(|t| *t >= case["T"].as_i64().unwrap()) {
            assert_eq!(found.unwrap_err().kind(), "invalid-option");
            continue;
        }
        let found: Vec<i64> = found.unwrap().iter().map(|t| *t as i64).collect();
        assert_eq!(found, expected, "{config} {steps}");
    }
}

#[test]
fn levels_noise_an_image_as_diffusers_does() {
    for case in fixture("schedulers.json")["forward"].as_array().unwrap() {
        let name = case["name"].as_str().unwrap();
        let schedule = schedule(&case["config"]);
        let (noisy, velocity) = (f64s(&case["noisy"]), f64s(&case["velocity"]));
        let x0 = stream(&format!("x:{name}"), noisy.len(), 1.0);
        let noise = stream(&format!("noise:{name}"), noisy.len(), 1.7);
        let timesteps = usizes(&case["timesteps"]);
        let image = noisy.len() / timesteps.len();
        for i in 0..noisy.len() {
            let level = schedule.level(timesteps[i / image]);
            let (x0, noise) = (f64::from(x0[i]), f64::from(noise[i]));
            let x = level.alpha * x0 + level.sigma * noise;
            assert!((x - noisy[i]).abs() < 1e-5, "{name} {i}: {x} {}", noisy[i]);
            let v = level.alpha * noise - level.sigma * x0;
            assert!((v - velocity[i]).abs() < 1e-5, "{name} {i}");
        }
    }
}
