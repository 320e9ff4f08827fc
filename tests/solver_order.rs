//! How fast each deterministic solver nears the solution of the probability-flow ODE of a mixture of two Gaussians, whose
//! score is known. Programs are replayed in f64, so that rounding hides no order.
#![cfg(not(target_arch = "wasm32"))]
#![allow(clippy::print_stdout, reason = "tests say what they found; docs/solvers.md has the table")]

use noiseball::denoiser::{Level, Prediction};
use noiseball::rng::{Generator, Normals};
use noiseball::sampler::{Evaluate, HostRun, Instruction, NoiseScale, Options, Program, SamplerKind};
use noiseball::schedule::Schedule;
use noiseball::{Error, Result};

/// Weights, means and the deviation of the mixture.
const WEIGHTS: [f64; 2] = [0.3, 0.7];
const MEANS: [f64; 2] = [-0.8, 0.6];
const DEVIATION: f64 = 0.3;

/// E[x₀ | x] at a level.
fn x0(x: f64, Level { alpha, sigma }: Level) -> f64 {
    let variance = (alpha * DEVIATION).powi(2) + sigma * sigma;
    let gain = alpha * DEVIATION * DEVIATION / variance;
    let log = |k: usize| -0.5 * (x - alpha * MEANS[k]).powi(2) / variance;
    let most = log(0).max(log(1));
    let weights = [0, 1].map(|k| WEIGHTS[k] * (log(k) - most).exp());
    let mean = |k: usize| MEANS[k] + gain * (x - alpha * MEANS[k]);
    (weights[0] * mean(0) + weights[1] * mean(1)) / (weights[0] + weights[1])
}

fn epsilon(x: f64, level: Level) -> f64 {
    (x - level.alpha * x0(x, level)) / level.sigma
}

/// The exact solution from one σ/α to another, of x at `alpha = 1`: Runge and Kutta's method in ln σ, with many steps.
fn exact(mut x: f64, from: f64, to: f64) -> f64 {
    const STEPS: usize = 20_000;
    let h = (to / from).ln() / STEPS as f64;
    let slope = |x: f64, log: f64| {
        let sigma = log.exp();
        sigma * epsilon(x, Level { alpha: 1.0, sigma })
    };
    for i in 0..STEPS {
        let u = from.ln() + i as f64 * h;
        let a = slope(x, u);
        let b = slope(x + h / 2.0 * a, u + h / 2.0);
        let c = slope(x + h / 2.0 * b, u + h / 2.0);
        let d = slope(x + h * c, u + h);
        x += h / 6.0 * (a + 2.0 * b + 2.0 * c + d);
    }
    x
}

/// A table so fine that its timesteps' levels lie as on a smooth curve.
const FINE: &str =
    r#""num_train_timesteps": 100000, "beta_start": 1e-6, "beta_end": 2e-4, "clip_sample": false"#;

/// A run from the noise `z`: x and σ/α at its first evaluation, and at the last level above `floor`, of x at `alpha = 1`.
fn replay(program: &Program, schedule: &Schedule, z: f64, floor: f64) -> [(f64, f64); 2] {
    let mut slots = vec![0.0; program.slots().len()];
    let (mut start, mut end) = (None, (0.0, 0.0));
    for (i, instruction) in program.instructions().iter().enumerate() {
        match instruction {
            Instruction::Evaluate { input, scale, timestep, output, .. } => {
                // Of an image that is not scaled for the network the step says the level, or on a flow the timestep.
                let ends = program.instructions()[i..].iter().find_map(|instruction| match instruction {
                    Instruction::EndStep { from, .. } => Some(from.level),
                    _ => None,
                });
                let flow = schedule.prediction == Prediction::Flow;
                let level = if flow {
                    let sigma = timestep / schedule.train_timesteps() as f64;
                    Level { alpha: 1.0 - sigma, sigma }
                } else if *scale == 1.0 {
                    ends.unwrap()
                } else {
                    Level { alpha: *scale, sigma: (1.0 - scale * scale).sqrt() }
                };
                let x = scale * slots[input.index()];
                start.get_or_insert((x / level.alpha, level.sigma / level.alpha));
                slots[output.index()] = epsilon(x, level) - if flow { x0(x, level) } else { 0.0 };
            }
            Instruction::Combine { output, terms, noise, .. } => {
                let sum: f64 = terms.iter().map(|(slot, c)| c * slots[slot.index()]).sum();
                let drawn = noise.filter(|noise| noise.draw == 0).map_or(0.0, |noise| match noise.scale {
                    NoiseScale::Constant(scale) => scale * z,
                    other => panic!("{other:?}"),
                });
                slots[output.index()] = sum + drawn;
            }
            Instruction::Rescale { .. } | Instruction::Integrate { .. } => {
                panic!("{instruction:?} has no order")
            }
            Instruction::EndStep { to, x, .. } if to.sigma > floor * to.alpha => {
                end = (slots[x.index()] / to.alpha, to.sigma / to.alpha);
            }
            Instruction::EndStep { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    [start.unwrap(), end]
}

const STARTS: [f64; 4] = [-1.3, -0.2, 0.4, 1.1];

/// The greatest difference from the solution, over some starts, at the last level above σ = 0.
fn error(kind: SamplerKind, schedule: &Schedule, steps: usize) -> f64 {
    let options = Options::steps(steps);
    let options = if kind.name() == "sa-solver" { options.with("tau", 0.0) } else { options };
    let program = kind.program(schedule, &options).unwrap();
    // In evenly spread timesteps σ rises like a root at the end, which spoils the order of what takes it for smooth.
    let quarter = schedule.level(schedule.train_timesteps() / 4);
    let floor =
        if ["pndm", "ipndm"].contains(&kind.name()) { 0.999 * quarter.sigma / quarter.alpha } else { 0.0 };
    let difference = |z: f64| {
        let [(x, from), (end, to)] = replay(&program, schedule, z, floor);
        (exact(x, from, to) - end).abs()
    };
    STARTS.map(difference).into_iter().fold(0.0, f64::max)
}

/// From pure noise no solution can be followed in ln σ: these are held to their own limit.
#[test]
fn solvers_of_flows_converge_at_their_order() {
    for (name, expected) in [("flow-euler", 1.0), ("flow-heun", 2.0)] {
        let json = r#"{"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 2.0}"#;
        let schedule = Schedule::from_json("scheduler_config.json", json.as_bytes()).unwrap();
        let kind: SamplerKind = name.parse().unwrap();
        let ends = |steps: usize| {
            let program = kind.program(&schedule, &Options::steps(steps)).unwrap();
            STARTS.map(|z| replay(&program, &schedule, z, 0.0)[1].0)
        };
        // One step fewer than there are levels, so that they are halved.
        let found = [101, 201, 401].map(ends);
        let change = |k: usize| {
            let pairs = found[k].iter().zip(&found[k + 1]);
            pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
        };
        let order = (change(0) / change(1)).log2();
        println!("{name}: order {order:.2}");
        assert!((order - expected).abs() <= 0.2, "{name}: {order:.2}, not {expected}");
    }
}

#[test]
fn solvers_converge_at_their_order() {
    // Steps of even length in λ = ln(α/σ), which is what these solvers expand in; the last step, to σ = 0, does not count.
    let even = r#""use_exponential_sigmas": true, "lower_order_final": false"#;
    let noise = format!(
        r#"{even}, "final_sigmas_type": "sigma_min", "euler_at_final": true, "algorithm_type": "dpmsolver""#
    );
    let linspace = r#""timestep_spacing": "linspace""#;
    let order = |config: &str, order: u8| format!(r#"{config}, "solver_order": {order}"#);
    let kind = |config: &str, kind: &str| format!(r#"{config}, "solver_type": "{kind}""#);
    let (few, many) = ([50, 100, 200], [200, 400, 800]);
    let cases = [
        ("ddim", linspace.to_owned(), 1.0, many),
        ("euler", linspace.to_owned(), 1.0, many),
        ("euler", r#""use_karras_sigmas": true"#.to_owned(), 1.0, many),
        ("heun", linspace.to_owned(), 2.0, few),
        ("lms", linspace.to_owned(), 4.0, many),
        ("kdpm2", even.to_owned(), 2.0, few),
        // Of order 2, as its paper says: it averages over even steps what weighs unevenly.
        ("pndm", r#""timestep_spacing": "leading""#.to_owned(), 2.0, few),
        ("dpm-multistep", order(even, 1), 1.0, many),
        ("dpm-multistep", order(even, 2), 2.0, few),
        ("dpm-multistep", kind(&order(even, 2), "heun"), 2.0, few),
        // The published code of order 3 takes half of the second derivative that its expansion needs, and so does diffusers.
        ("dpm-multistep", order(even, 3), 2.0, many),
        ("dpm-multistep", order(&noise, 1), 1.0, many),
        ("dpm-multistep", order(&noise, 2), 2.0, few),
        ("dpm-multistep", kind(&order(&noise, 2), "heun"), 2.0, few),
        ("dpm-multistep", order(&noise, 3), 2.0, many),
        // Whole turns, the last of which is cut: its steps are of lower order, and few.
        ("dpm-singlestep", order(even, 1), 1.0, many),
        ("dpm-singlestep", order(even, 2), 2.0, [51, 101, 201]),
        ("dpm-singlestep", kind(&order(even, 2), "heun"), 2.0, [51, 101, 201]),
        ("dpm-singlestep", kind(&order(even, 3), "heun"), 3.0, [52, 103, 205]),
        ("unipc", order(even, 1), 2.0, few),
        ("unipc", order(even, 2), 3.0, few),
        ("unipc", kind(&order(even, 2), "bh1"), 3.0, few),
        ("unipc", order(even, 3), 4.0, [100, 200, 400]),
        ("deis", order(even, 1), 1.0, many),
        ("deis", order(even, 2), 2.0, few),
        ("deis", order(even, 3), 3.0, [400, 800, 1600]),
    ];
    let adams = |p: u8, c: u8| format!(r#"{even}, "predictor_order": {p}, "corrector_order": {c}"#);
    let of_noise = |config: String| format!(r#"{config}, "algorithm_type": "noise_prediction""#);
    let adams_cases = [
        ("ipndm", r#""timestep_spacing": "leading""#.to_owned(), 2.0, few),
        ("sa-solver", adams(1, 1), 1.0, many),
        ("sa-solver", adams(1, 2), 2.0, few),
        ("sa-solver", adams(2, 2), 2.0, many),
        ("sa-solver", adams(2, 3), 3.0, many),
        ("sa-solver", adams(3, 4), 4.0, [100, 200, 400]),
        ("sa-solver", of_noise(adams(2, 2)), 2.0, many),
        ("sa-solver", of_noise(adams(2, 3)), 3.0, many),
    ];
    let cases = cases.into_iter().chain(adams_cases);
    let mut failures = Vec::new();
    for (name, config, expected, steps) in cases {
        let more = if config.is_empty() { String::new() } else { format!(", {config}") };
        let json = format!("{{{FINE}{more}}}");
        let schedule = Schedule::from_json("scheduler_config.json", json.as_bytes()).unwrap();
        let kind: SamplerKind = name.parse().unwrap();
        let errors = steps.map(|n| error(kind, &schedule, n));
        let orders = [(errors[0] / errors[1]).log2(), (errors[1] / errors[2]).log2()];
        println!("{name} {config}: errors {errors:?}, orders {orders:.2?}");
        if (orders[1] - expected).abs() > 0.2 {
            failures.push(format!("{name} {config}: {orders:.2?}, not {expected}"));
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

/// All lead to one place.
#[test]
fn solvers_agree_in_the_limit() {
    let ratios = r#""use_exponential_sigmas": true"#;
    let noise =
        r#""use_exponential_sigmas": true, "algorithm_type": "dpmsolver", "final_sigmas_type": "sigma_min""#;
    let cases = [
        ("ddim", r#""timestep_spacing": "linspace""#, 5000),
        ("euler", ratios, 5000),
        ("heun", ratios, 200),
        ("lms", ratios, 200),
        ("kdpm2", ratios, 200),
        ("dpm-multistep", ratios, 200),
        ("dpm-multistep", noise, 200),
        ("dpm-singlestep", ratios, 200),
        ("unipc", ratios, 200),
        ("deis", ratios, 200),
        ("sa-solver", ratios, 200),
        ("pndm", r#""timestep_spacing": "leading""#, 400),
        ("ipndm", r#""timestep_spacing": "leading""#, 400),
    ];
    for (name, config, steps) in cases {
        let schedule =
            Schedule::from_json("scheduler_config.json", format!("{{{FINE}, {config}}}").as_bytes()).unwrap();
        let found = error(name.parse().unwrap(), &schedule, steps);
        println!("{name} {config}: {found:.1e}");
        assert!(found <= 1e-3, "{name} {config}: {found:e}");
    }
}

/// The network of the mixture for a VE SDE: the score, by the level that it is told.
struct Score {
    asked: usize,
    nonsense: bool,
}

impl Evaluate for Score {
    async fn evaluate(&mut self, x: &[f32], _: [usize; 4], sigma: f64) -> Result<Vec<f32>> {
        self.asked += 1;
        let level = Level { alpha: 1.0, sigma };
        let score =
            |x: &f32| if self.nonsense { f32::NAN } else { (-epsilon(f64::from(*x), level) / sigma) as f32 };
        Ok(x.iter().map(score).collect())
    }
}

/// The image at the last level above 0 of a run of `adaptive`, the noise of its beginning, and the evaluations for each image.
fn adaptive(options: &Options, batch: usize, nonsense: bool) -> Result<(Vec<f32>, Vec<f32>, usize)> {
    let json = r#"{"_class_name": "ScoreSdeVeScheduler", "sigma_min": 0.01, "sigma_max": 50.0}"#;
    let schedule = Schedule::from_json("scheduler_config.json", json.as_bytes()).unwrap();
    let program = SamplerKind::Adaptive.program(&schedule, options).unwrap();
    let mut run = HostRun::new(program, [batch, 1, 2, 3], Generator::philox(3).unwrap()).unwrap();
    let mut network = Score { asked: 0, nonsense };
    let (mut before, mut last) = (Vec::new(), Vec::new());
    while let Some(step) = pollster::block_on(run.step(&mut network))? {
        before = std::mem::replace(&mut last, step.x.to_vec());
    }
    let mut start = vec![0.0; before.len()];
    Generator::philox(3).unwrap().normals(0, batch, &mut start);
    Ok((before, start, run.evaluations()))
}

#[test]
fn the_adaptive_solver_keeps_to_its_tolerance() {
    let mut last = (f64::INFINITY, 0);
    for tolerance in [1e-1, 1e-2, 1e-3, 1e-4] {
        let (found, start, evaluations) =
            adaptive(&Options::steps(2).with("tolerance", tolerance), 4, false).unwrap();
        let error = found
            .iter()
            .zip(&start)
            .map(|(f, z)| (f64::from(*f) - exact(50.0 * f64::from(*z), 50.0, 0.01)).abs());
        let error = error.sum::<f64>() / found.len() as f64;
        println!("tolerance {tolerance}: error {error:.1e} in {evaluations} evaluations");
        assert!(error < 5.0 * tolerance && error < last.0 && evaluations > last.1, "{error:e} {last:?}");
        last = (error, evaluations);
    }
    assert!(last.1 < 400, "{last:?}");
}

#[test]
fn the_adaptive_solver_steps_each_image_alone_and_ends() {
    let options = Options::steps(3);
    let (one, ..) = adaptive(&options, 1, false).unwrap();
    let (four, ..) = adaptive(&options, 4, false).unwrap();
    assert_eq!(one, four[..one.len()]);
    let error = adaptive(&options.clone().with("max_evaluations", 10.0), 1, false).unwrap_err();
    assert!(error.to_string().contains("max_evaluations"), "{error}");
    assert!(matches!(adaptive(&options, 1, true), Err(Error::NotFiniteOutput { .. })));
}
