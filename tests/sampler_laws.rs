//! What holds for any sampler, on a network that knows the answer: the exact denoiser of a Gaussian.
#![cfg(not(target_arch = "wasm32"))]
#![allow(clippy::print_stdout, reason = "tests say how close they came")]

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use noiseball::denoiser::{Denoiser, Level, Prediction};
use noiseball::rng::{Generator, Normals};
use noiseball::sampler::options::Value;
use noiseball::sampler::{Evaluate, HostRun, Instruction, Options, SamplerKind};
use noiseball::schedule::Schedule;
use noiseball::{Error, Result};
use proptest::prelude::*;

const MEAN: f64 = 0.3;
const DEVIATION: f64 = 0.5;

/// The ideal network for pixels that are N(MEAN, DEVIATION²), whatever it is asked to predict.
#[derive(Clone)]
struct Gaussian {
    schedule: Schedule,
    /// Whether to wait once, as a device does, before each answer.
    waits: bool,
}

impl Gaussian {
    fn new(schedule: &Schedule) -> Self {
        Self { schedule: schedule.clone(), waits: false }
    }

    /// That of a timestep between two, in ln σ.
    fn level(&self, timestep: f64) -> Level {
        let whole = self.schedule.level(timestep as usize);
        let next = self.schedule.level(timestep as usize + 1);
        let log = |level: Level| (level.sigma / level.alpha).ln();
        if timestep.fract() == 0.0 || whole.alpha == 0.0 || next.alpha == 0.0 {
            return whole;
        }
        let ratio = (log(whole) + timestep.fract() * (log(next) - log(whole))).exp();
        Level::from_alpha_bar(1.0 / (1.0 + ratio * ratio))
    }

    fn predict(&self, x: f64, level: Level) -> f64 {
        let Level { alpha, sigma } = level;
        let variance = (alpha * DEVIATION).powi(2) + sigma.powi(2);
        let epsilon = sigma * (x - alpha * MEAN) / variance;
        let x0 = MEAN + alpha * DEVIATION.powi(2) * (x - alpha * MEAN) / variance;
        match self.schedule.prediction {
            Prediction::Epsilon => epsilon,
            Prediction::Sample => x0,
            Prediction::VPrediction => alpha * epsilon - sigma * x0,
            other => panic!("no scheduler_config.json says {other:?}"),
        }
    }
}

impl Evaluate for Gaussian {
    async fn evaluate(&mut self, x: &[f32], _: [usize; 4], timestep: f64) -> Result<Vec<f32>> {
        let mut waiting = self.waits;
        std::future::poll_fn(|_| if std::mem::take(&mut waiting) { Poll::Pending } else { Poll::Ready(()) })
            .await;
        let level = self.level(timestep);
        Ok(x.iter().map(|v| self.predict(f64::from(*v), level) as f32).collect())
    }
}

fn schedule(json: &str) -> Schedule {
    Schedule::from_json("scheduler_config.json", json.as_bytes()).unwrap()
}

fn start<N: Normals>(
    kind: SamplerKind,
    schedule: &Schedule,
    options: &Options,
    shape: [usize; 4],
    noise: N,
) -> HostRun<N> {
    HostRun::new(kind.program(schedule, options).unwrap(), shape, noise).unwrap()
}

/// Runs to the end and gives the last image.
fn finish<N: Normals>(run: &mut HostRun<N>, network: &mut impl Evaluate) -> Vec<f32> {
    let mut x = Vec::new();
    while let Some(step) = pollster::block_on(run.step(network)).unwrap() {
        x = step.x.to_vec();
    }
    x
}

fn sample(
    kind: SamplerKind,
    schedule: &Schedule,
    options: &Options,
    shape: [usize; 4],
    seed: u64,
) -> Vec<f32> {
    let noise = Generator::philox(seed).unwrap();
    finish(&mut start(kind, schedule, options, shape, noise), &mut Gaussian::new(schedule))
}

fn steps(steps: usize) -> Options {
    Options::steps(steps)
}

/// The same with an option, for samplers that have it.
fn given(kind: SamplerKind, options: Options, name: &str, value: impl Into<Value>) -> Options {
    let has = kind.entry().options.iter().any(|row| row.name == name);
    if has { options.with(name, value) } else { options }
}

/// Noise that is 1 in draw d of image d and 0 elsewhere.
struct Impulses;

impl Normals for Impulses {
    fn normals(&mut self, draw: u32, batch: usize, out: &mut [f32]) {
        out.fill(0.0);
        let image = out.len() / batch;
        if let Some(value) = out.get_mut(draw as usize * image) {
            *value = 1.0;
        }
    }
}

/// Mean and variance of the pixels that a run makes, exactly: to this network a run is an affine function of its
/// draws, whose slopes are found by one image a draw and whose constant by an image without noise.
fn mean_and_variance(kind: SamplerKind, schedule: &Schedule, options: &Options) -> (f64, f64) {
    let program = kind.program(schedule, options).unwrap();
    let noisy = |i: &&Instruction| matches!(i, Instruction::Combine { noise: Some(_), .. });
    let draws = program.instructions().iter().filter(noisy).count();
    let mut run = start(kind, schedule, options, [draws + 1, 1, 1, 1], Impulses);
    let x = finish(&mut run, &mut Gaussian::new(schedule));
    let mean = f64::from(x[draws]);
    (mean, x[..draws].iter().map(|x| (f64::from(*x) - mean).powi(2)).sum())
}

fn assert_first_order(what: &str, steps: [usize; 3], error: impl Fn(usize) -> f64) {
    let errors = steps.map(error);
    for pair in errors.windows(2) {
        let order = (pair[0] / pair[1]).log2();
        assert!((order - 1.0).abs() < 0.17, "{what}: errors {errors:?}, order {order}");
    }
    assert!(errors[2] < 0.04, "{what}: {errors:?}");
}

/// Many small steps, so that the limit is the differential equation and not the table.
const FINE: &str =
    r#""num_train_timesteps": 20000, "beta_start": 5e-6, "beta_end": 1e-3, "clip_sample": false"#;

#[test]
fn ddim_converges_to_the_exact_map_at_first_order() {
    let shape = [1, 1, 8, 8];
    for prediction in ["epsilon", "sample", "v_prediction"] {
        for spacing in ["leading", "trailing"] {
            let config =
                format!(r#"{{{FINE}, "prediction_type": "{prediction}", "timestep_spacing": "{spacing}"}}"#);
            let schedule = schedule(&config);
            assert_first_order(&config, [100, 200, 400], |n| {
                // Along the probability flow (x - alpha · mean) / sqrt(alpha² s² + sigma²) stays what it is.
                let Level { alpha, sigma } = schedule.level(schedule.timesteps(n).unwrap()[0]);
                let spread = ((alpha * DEVIATION).powi(2) + sigma.powi(2)).sqrt();
                let mut noise = vec![0.0; 64];
                Generator::philox(5).unwrap().normals(0, 1, &mut noise);
                let found = sample(SamplerKind::Ddim, &schedule, &steps(n), shape, 5);
                let exact = noise.iter().map(|x| MEAN + DEVIATION * (f64::from(*x) - alpha * MEAN) / spread);
                exact.zip(found).map(|(e, f)| (e - f64::from(f)).abs()).fold(0.0, f64::max)
            });
        }
    }
}

#[test]
fn random_samplers_tend_to_the_datas_mean_and_variance_at_first_order() {
    for variance in ["fixed_small", "fixed_large"] {
        let schedule = schedule(&format!(r#"{{{FINE}, "variance_type": "{variance}"}}"#));
        for kind in [SamplerKind::Ddpm, SamplerKind::Ddim, SamplerKind::EulerAncestral] {
            let options = |n| given(kind, steps(n), "eta", 1.0);
            assert_first_order(&format!("{kind} {variance}"), [100, 200, 400], |n| {
                let (mean, variance) = mean_and_variance(kind, &schedule, &options(n));
                assert!((mean - MEAN).abs() < 0.5 / n as f64, "{kind}: mean {mean} in {n} steps");
                (variance / DEVIATION.powi(2) - 1.0).abs()
            });
        }
    }
}

/// The reverse SDE, by each of its solvers, has the data's mean and variance at its end.
#[test]
fn solvers_of_the_sde_make_the_datas_distribution() {
    let schedule = schedule(&format!("{{{FINE}}}"));
    let ratios = |options: Options| options.with("grid", "exponential");
    let exponential = |n, algorithm: &str| {
        let options = ratios(steps(n)).with("algorithm_type", algorithm);
        if algorithm.ends_with("++") { options } else { options.with("final_sigmas_type", "sigma_min") }
    };
    let reverse = |sde: &str| steps(2000).with("sde", sde).with("correct_steps", 0.0);
    let cases = [
        (SamplerKind::DpmMultistep, exponential(200, "sde-dpmsolver++")),
        (SamplerKind::DpmMultistep, exponential(200, "sde-dpmsolver")),
        // A turn's steps draw anew for what they have in common, which costs it an order.
        (SamplerKind::DpmSinglestep, exponential(800, "sde-dpmsolver++")),
        (SamplerKind::SaSolver, ratios(steps(200))),
        (SamplerKind::DpmSde, ratios(steps(200))),
        (SamplerKind::Kdpm2Ancestral, ratios(steps(200))),
        (SamplerKind::GaussianChain, steps(1000)),
        (SamplerKind::ReverseSde, reverse("vp")),
        (SamplerKind::ReverseSde, reverse("sub-vp")),
        (SamplerKind::ReverseSde, reverse("ve")),
    ];
    let mut failures = Vec::new();
    for (kind, options) in cases {
        // Three standard errors of 2,000 independent pixels: of their mean, and of their variance.
        let (mean, variance) = mean_and_variance(kind, &schedule, &options);
        let off = [(mean - MEAN) / DEVIATION, variance / DEVIATION.powi(2) - 1.0];
        println!("{kind} {:?}: {off:.4?}", options.settings);
        if off[0].abs() > 3.0 / 2000f64.sqrt() || off[1].abs() > 3.0 * (2.0 / 2000f64).sqrt() {
            failures.push(format!("{kind} {:?}: {off:.4?}", options.settings));
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

/// The corrector measures norms, so that its runs are not affine in their draws, and Langevin's dynamics draws too often: many pixels instead.
#[test]
fn langevin_dynamics_keeps_the_datas_distribution() {
    let schedule = schedule(&format!("{{{FINE}}}"));
    let corrected = |sde, norms| steps(1000).with("sde", sde).with("norms", norms);
    let cases = [
        (SamplerKind::ReverseSde, corrected("vp", "picture")),
        (SamplerKind::ReverseSde, corrected("vp", "batch")),
        (SamplerKind::ReverseSde, corrected("sub-vp", "picture")),
        (SamplerKind::ReverseSde, corrected("ve", "picture")),
        (SamplerKind::AnnealedLangevin, steps(12).with("langevin_steps", 400.0)),
    ];
    for (kind, options) in cases {
        let x = sample(kind, &schedule, &options, [2, 1, 32, 32], 7);
        let n = x.len() as f64;
        let mean = x.iter().map(|x| f64::from(*x)).sum::<f64>() / n;
        let variance = x.iter().map(|x| (f64::from(*x) - mean).powi(2)).sum::<f64>() / n;
        let off = [(mean - MEAN) / DEVIATION, variance / DEVIATION.powi(2) - 1.0];
        println!("{kind} {:?}: {off:.4?}", options.settings);
        assert!(off[0].abs() < 3.0 / n.sqrt() && off[1].abs() < 3.0 * (2.0 / n).sqrt(), "{kind}: {off:.4?}");
    }
}

/// By default each picture is measured alone; as diffusers does it, the batch.
#[test]
fn norms_of_a_batch_are_asked_for() {
    let schedule = schedule("{}");
    let [_, c, h, w] = SHAPE;
    let pictures = |batch, norms: &str| {
        sample(SamplerKind::ReverseSde, &schedule, &steps(12).with("norms", norms), [batch, c, h, w], 4)
    };
    assert_eq!(pictures(1, "picture"), pictures(1, "batch"));
    assert_ne!(pictures(3, "picture"), pictures(3, "batch"));
}

#[test]
fn an_image_survives_being_noised_and_predicted_back() {
    for json in ["{}", r#"{"beta_schedule": "squaredcos_cap_v2"}"#, r#"{"rescale_betas_zero_snr": true}"#] {
        let schedule = schedule(json);
        // 999 is left out: at zero terminal SNR the noise says nothing about the image.
        for t in (0..999).step_by(37) {
            let at = schedule.point(t);
            let level = at.level;
            for (x0, epsilon) in [(0.7, -1.1), (-1.0, 0.4)] {
                let x = level.alpha * x0 + level.sigma * epsilon;
                for (prediction, m) in [
                    (Prediction::Epsilon, epsilon),
                    (Prediction::Sample, x0),
                    (Prediction::VPrediction, level.alpha * epsilon - level.sigma * x0),
                ] {
                    let question = prediction.ask(at);
                    let ((a, b), (c, d)) = (question.x0(level), question.epsilon(level));
                    assert!((a * x + b * m - x0).abs() < 1e-9, "{prediction:?} at {t}");
                    assert!((c * x + d * m - epsilon).abs() < 1e-9, "{prediction:?} at {t}");
                }
            }
        }
    }
}

const SHAPE: [usize; 4] = [3, 2, 3, 5];

/// Every sampler of a network that predicts noise, with options that make it draw noise where it can.
fn noisy_runs() -> impl Iterator<Item = (SamplerKind, Options)> {
    let kinds = SamplerKind::ALL.iter().filter(|kind| !kind.name().starts_with("flow-"));
    kinds.map(|kind| (*kind, given(*kind, steps(12), "eta", 0.7)))
}

#[test]
fn one_seed_twice_gives_the_same_bytes_and_another_does_not() {
    let schedule = schedule("{}");
    for (kind, options) in noisy_runs() {
        let bytes = |seed| -> Vec<u32> {
            sample(kind, &schedule, &options, SHAPE, seed).iter().map(|v| v.to_bits()).collect()
        };
        assert_eq!(bytes(1), bytes(1), "{kind}");
        assert_ne!(bytes(1), bytes(2), "{kind}");
        let torch = || {
            let mut run = start(kind, &schedule, &options, SHAPE, Generator::torch(1).unwrap());
            finish(&mut run, &mut Gaussian::new(&schedule))
        };
        assert_eq!(torch(), torch(), "{kind}");
    }
}

#[test]
fn the_first_picture_does_not_depend_on_the_batch() {
    let thresholding =
        r#"{"thresholding": true, "sample_max_value": 1.5, "dynamic_thresholding_ratio": 0.8}"#;
    for json in ["{}", thresholding] {
        let schedule = schedule(json);
        for (kind, options) in noisy_runs() {
            let [_, c, h, w] = SHAPE;
            let many = sample(kind, &schedule, &options, [64, c, h, w], 4);
            assert_eq!(sample(kind, &schedule, &options, [1, c, h, w], 4), many[..c * h * w], "{kind}");
        }
    }
}

#[test]
fn interleaved_runs_equal_separate_ones() {
    let schedule = schedule("{}");
    let mut network = Gaussian::new(&schedule);
    let mut runs: Vec<_> = noisy_runs()
        .zip(1..)
        .map(|((kind, options), seed)| {
            let noise = || Generator::torch(seed).unwrap();
            let alone = finish(&mut start(kind, &schedule, &options, SHAPE, noise()), &mut network);
            (alone, start(kind, &schedule, &options, SHAPE, noise()), Vec::new())
        })
        .collect();
    for _ in 0..12 {
        for (_, run, x) in &mut runs {
            *x = pollster::block_on(run.step(&mut network)).unwrap().unwrap().x.to_vec();
        }
    }
    for (alone, mut run, x) in runs {
        assert!(pollster::block_on(run.step(&mut network)).unwrap().is_none());
        assert_eq!(alone, x);
    }
}

#[test]
fn a_copy_made_halfway_goes_the_same_way() {
    let schedule = schedule("{}");
    let mut network = Gaussian::new(&schedule);
    for (kind, options) in noisy_runs() {
        let mut run = start(kind, &schedule, &options, SHAPE, Generator::torch(3).unwrap());
        for _ in 0..5 {
            pollster::block_on(run.step(&mut network)).unwrap();
        }
        let mut copy = run.clone();
        assert_eq!(finish(&mut run, &mut network), finish(&mut copy, &mut network), "{kind}");
    }
}

#[test]
fn a_step_dropped_while_the_network_works_can_be_asked_for_again() {
    let schedule = schedule("{}");
    for (kind, options) in noisy_runs() {
        let undisturbed = sample(kind, &schedule, &options, SHAPE, 8);
        let mut run = start(kind, &schedule, &options, SHAPE, Generator::philox(8).unwrap());
        let mut waiting = Gaussian { waits: true, ..Gaussian::new(&schedule) };
        for _ in 0..options.steps {
            let mut context = Context::from_waker(Waker::noop());
            assert!(pin!(run.step(&mut waiting)).as_mut().poll(&mut context).is_pending());
            pollster::block_on(run.step(&mut Gaussian::new(&schedule))).unwrap();
        }
        let mut again = start(kind, &schedule, &options, SHAPE, Generator::philox(8).unwrap());
        assert_eq!(finish(&mut again, &mut Gaussian::new(&schedule)), undisturbed);
        assert!(pollster::block_on(run.step(&mut waiting)).unwrap().is_none());
    }
}

#[test]
fn steps_say_where_the_run_is() {
    let schedule = schedule("{}");
    let mut network = Gaussian::new(&schedule);
    for (kind, options) in noisy_runs() {
        let program = kind.program(&schedule, &options).unwrap();
        let first = program.timesteps().next();
        let mut run = HostRun::new(program, SHAPE, Generator::philox(0).unwrap()).unwrap();
        let mut before: Option<(f64, Level)> = None;
        for index in 0..12 {
            let step = pollster::block_on(run.step(&mut network)).unwrap().unwrap();
            assert_eq!((step.index, step.total), (index, 12));
            match before {
                None => assert_eq!(Some(step.timestep), first, "{kind}"),
                Some((timestep, level)) => {
                    assert!(step.timestep < timestep, "{kind}");
                    assert!((step.from.sigma - level.sigma).abs() < 1e-12, "{kind}");
                }
            }
            before = Some((step.timestep, step.to));
            assert_eq!((step.shape, step.x.len(), step.x0.len()), (SHAPE, 90, 90));
        }
    }
}

#[test]
fn noise_is_drawn_when_diffusers_draws_it() {
    let draws = |kind: SamplerKind, json: &str, options: &Options| {
        let program = kind.program(&schedule(json), options).unwrap();
        let noises = program.instructions().iter().filter_map(|instruction| match instruction {
            Instruction::Combine { noise, .. } => noise.map(|noise| noise.draw as usize),
            _ => None,
        });
        let numbers: Vec<usize> = noises.collect();
        assert!(numbers.iter().enumerate().all(|(i, draw)| i == *draw), "{numbers:?}");
        numbers.len()
    };
    let (leading, trailing) = ("{}", r#"{"timestep_spacing": "trailing"}"#);
    // The initial image, and DDPM's noise wherever t > 0: a leading list ends at 0.
    assert_eq!(draws(SamplerKind::Ddpm, leading, &steps(10)), 1 + 9);
    assert_eq!(draws(SamplerKind::Ddpm, trailing, &steps(10)), 1 + 10);
    assert_eq!(draws(SamplerKind::Ddim, leading, &steps(10)), 1);
    // Drawn on DDIM's last step too, although nothing of it is added.
    assert_eq!(draws(SamplerKind::Ddim, leading, &steps(10).with("eta", 0.5)), 1 + 10);
}

#[test]
fn zero_terminal_snr_stays_finite() {
    for prediction in ["epsilon", "sample", "v_prediction"] {
        for clip in [
            r#""clip_sample": true"#,
            r#""clip_sample": false"#,
            r#""thresholding": true, "sample_max_value": 3.0"#,
        ] {
            let json = format!(
                r#"{{"prediction_type": "{prediction}", {clip}, "rescale_betas_zero_snr": true, "timestep_spacing": "trailing"}}"#
            );
            let schedule = schedule(&json);
            for kind in SamplerKind::ALL {
                for (eta, use_clipped_model_output) in [(0.0, false), (0.0, true), (1.0, false), (1.0, true)]
                {
                    for n in [1, 7, 100] {
                        let options = given(*kind, steps(n), "eta", eta);
                        let options =
                            given(*kind, options, "use_clipped_model_output", use_clipped_model_output);
                        let program = kind.program(&schedule, &options);
                        // Some need several steps, or were distilled at fewer; some have no clip, or 2⁻²⁴ of the signal left.
                        let few = [
                            "pndm",
                            "lcm",
                            "tcd",
                            "flow-euler",
                            "flow-heun",
                            "ipndm",
                            "gaussian-chain",
                            "reverse-sde",
                            "adaptive",
                        ];
                        let few = few.contains(&kind.name());
                        let exact = [SamplerKind::Ddpm, SamplerKind::Ddim].contains(kind);
                        let unclipped = prediction == "epsilon" && (clip.contains("false") || few);
                        match program.map_err(|e| e.kind()) {
                            Ok(_) => assert!(!(exact && unclipped), "{kind} {json}"),
                            Err("invalid-option") if few => continue,
                            Err("unsupported-architecture") if unclipped && (exact || few) => continue,
                            Err(other) => panic!("{kind} {json}: {other}"),
                        }
                        let x = sample(*kind, &schedule, &options, SHAPE, 1);
                        assert!(
                            x.iter().all(|v| v.is_finite() && (v.abs() < 20.0 || !exact)),
                            "{kind} {json} {options:?}"
                        );
                    }
                }
            }
        }
    }
}

/// A network that answers with a constant, so many values for each of the image's.
struct Constant(f32, f64);

impl Evaluate for Constant {
    async fn evaluate(&mut self, x: &[f32], _: [usize; 4], _: f64) -> Result<Vec<f32>> {
        Ok(vec![self.0; (x.len() as f64 * self.1) as usize])
    }
}

#[test]
fn a_network_that_answers_nonsense_is_an_error() {
    let plain = schedule("{}");
    let learned = schedule(r#"{"variance_type": "learned_range"}"#);
    let first = |schedule: &Schedule, mut network: Constant| {
        let mut run = start(SamplerKind::Ddpm, schedule, &steps(5), SHAPE, Generator::philox(0).unwrap());
        pollster::block_on(run.step(&mut network)).map(|step| step.unwrap().x.to_vec())
    };
    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let error = first(&plain, Constant(value, 1.0)).unwrap_err();
        assert!(matches!(error, Error::NotFiniteOutput { timestep: 800.0 }), "{error}");
    }
    for size in [0.0, 0.5, 1.5, 3.0] {
        assert!(matches!(first(&plain, Constant(0.1, size)), Err(Error::WrongShape { .. })));
    }
    assert!(matches!(first(&learned, Constant(0.1, 1.0)), Err(Error::WrongShape { .. })));
    assert!(first(&learned, Constant(0.1, 2.0)).is_ok());
    // exp of a huge learned variance overflows.
    assert!(matches!(first(&learned, Constant(1e6, 2.0)), Err(Error::NotFiniteOutput { .. })));
    // A second half that this schedule has no use for is left alone.
    assert_eq!(first(&plain, Constant(0.1, 2.0)).unwrap(), first(&plain, Constant(0.1, 1.0)).unwrap());
}

#[test]
fn shapes_without_pixels_or_with_too_many_are_refused() {
    let schedule = schedule("{}");
    let program = SamplerKind::Ddim.program(&schedule, &steps(3)).unwrap();
    for shape in [[0, 3, 8, 8], [1, 0, 8, 8], [1, 3, usize::MAX, 2], [1 << 20, 3, 1 << 20, 1]] {
        let run = HostRun::new(program.clone(), shape, Generator::philox(0).unwrap());
        assert_eq!(run.unwrap_err().kind(), "invalid-option", "{shape:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Whatever the file and the options say, a run ends with finite images or with an error, and never panics.
    #[test]
    fn no_config_and_no_option_makes_a_run_panic(
        config in odd_config(),
        (steps, eta, use_clipped_model_output) in (0usize..60, prop::sample::select(vec![0.0, 0.3, 1.0, -1.0]), any::<bool>()),
    ) {
        let Ok(schedule) = Schedule::from_json("scheduler_config.json", config.as_bytes()) else { return Ok(()) };
        for kind in SamplerKind::ALL {
            let options = given(*kind, Options::steps(steps), "eta", eta);
            let options = given(*kind, options, "use_clipped_model_output", use_clipped_model_output);
            let Ok(program) = kind.program(&schedule, &options) else { continue };
            let mut run = HostRun::new(program, [2, 1, 1, 3], Generator::philox(0).unwrap()).unwrap();
            loop {
                match pollster::block_on(run.step(&mut Constant(-0.8, 2.0))) {
                    Ok(Some(step)) => prop_assert!(step.x.iter().all(|v| v.is_finite())),
                    Ok(None) => break,
                    Err(error) => {
                        let too_many = error.to_string().contains("max_evaluations");
                        prop_assert!(too_many || matches!(error, Error::NotFiniteOutput { .. }), "{}", error);
                        break;
                    }
                }
            }
        }
    }
}

/// A configuration of which any field may be absent, usual or absurd.
fn odd_config() -> impl Strategy<Value = String> {
    let fields: &[(&str, &[&str])] = &[
        ("num_train_timesteps", &["1", "2", "3", "50", "1000", "0", "1000000000", "2.5"]),
        ("beta_start", &["0.0001", "0.5", "1e-16", "1e-300", "0", "-1", "1", "NaN"]),
        ("beta_end", &["0.02", "0.9", "1e-16", "1", "1e300", "-0.0"]),
        ("beta_schedule", &["\"linear\"", "\"scaled_linear\"", "\"squaredcos_cap_v2\"", "\"sigmoid\""]),
        ("trained_betas", &["null", "[0.1, 0.2, 0.999999]", "[0.5]", "[]", "[1e-16, 0.3]"]),
        ("rescale_betas_zero_snr", &["true", "false"]),
        ("prediction_type", &["\"epsilon\"", "\"sample\"", "\"v_prediction\""]),
        (
            "variance_type",
            &["\"fixed_small\"", "\"fixed_large\"", "\"learned\"", "\"learned_range\"", "null"],
        ),
        ("timestep_spacing", &["\"leading\"", "\"linspace\"", "\"trailing\""]),
        ("steps_offset", &["0", "1", "49", "2147483648"]),
        ("clip_sample", &["true", "false"]),
        ("clip_sample_range", &["1", "1e-300", "1e300"]),
        ("thresholding", &["true", "false"]),
        ("dynamic_thresholding_ratio", &["0.9", "1", "1e-300"]),
        ("sample_max_value", &["1", "1e-300", "1e300", "2"]),
        ("set_alpha_to_one", &["true", "false"]),
        (
            "_class_name",
            &[
                "\"EDMEulerScheduler\"",
                "\"FlowMatchHeunDiscreteScheduler\"",
                "\"UniPCMultistepScheduler\"",
                "\"LCMScheduler\"",
                "\"CMStochasticIterativeScheduler\"",
                "\"ScoreSdeVeScheduler\"",
                "\"ScoreSdeVpScheduler\"",
                "\"IPNDMScheduler\"",
            ],
        ),
        ("use_karras_sigmas", &["true", "null"]),
        ("use_beta_sigmas", &["true"]),
        ("use_flow_sigmas", &["true"]),
        ("flow_shift", &["3", "0.001"]),
        ("shift", &["3", "1e-300", "-1"]),
        ("solver_order", &["1", "3"]),
        ("algorithm_type", &["\"dpmsolver\"", "\"sde-dpmsolver++\"", "\"sde-dpmsolver\""]),
        ("solver_type", &["\"heun\"", "\"bh1\""]),
        ("final_sigmas_type", &["\"sigma_min\""]),
        ("lower_order_final", &["false"]),
        ("lambda_min_clipped", &["-3", "-Infinity", "5"]),
        ("sigma_min", &["0.1", "1e-300", "null", "500"]),
        ("sigma_max", &["1e5", "1e300"]),
        ("interpolation_type", &["\"log_linear\""]),
        ("skip_prk_steps", &["true"]),
        ("original_inference_steps", &["1", "7"]),
        ("shift_terminal", &["0.1"]),
        ("predictor_order", &["1", "4"]),
        ("corrector_order", &["1", "4"]),
        ("beta_max", &["0.01", "1e300"]),
        ("snr", &["0", "10"]),
        ("sampling_eps", &["0", "0.5"]),
    ];
    let choices: Vec<_> =
        fields.iter().map(|(_, values)| prop::option::of(prop::sample::select(*values))).collect();
    choices.prop_map(move |values| {
        let pairs = fields.iter().zip(values).filter_map(|((key, _), v)| Some(format!("\"{key}\": {}", v?)));
        format!("{{{}}}", pairs.collect::<Vec<_>>().join(", "))
    })
}

/// E[x₀ | x] of the points `[count, 2]` for the ring's eight Gaussians, as its ε.
struct Ring {
    schedule: Schedule,
}

impl Evaluate for Ring {
    async fn evaluate(&mut self, x: &[f32], _: [usize; 4], timestep: f64) -> Result<Vec<f32>> {
        let Level { alpha, sigma } = self.schedule.level(timestep as usize);
        let own = 0.05f64.powi(2);
        let variance = alpha * alpha * own + sigma * sigma;
        let centres = (0..8).map(|k| (f64::from(k) * std::f64::consts::FRAC_PI_4).sin_cos());
        let centres: Vec<[f64; 2]> = centres.map(|(sin, cos)| [1.4 * cos, 1.4 * sin]).collect();
        let epsilon = |p: &[f32]| {
            let p = [f64::from(p[0]), f64::from(p[1])];
            let logs = centres
                .iter()
                .map(|c| -((p[0] - alpha * c[0]).powi(2) + (p[1] - alpha * c[1]).powi(2)) / (2.0 * variance));
            let logs: Vec<f64> = logs.collect();
            let most = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let total: f64 = logs.iter().map(|log| (log - most).exp()).sum();
            [0, 1].map(|axis| {
                let gain = alpha * own / variance;
                let mean = |c: &[f64; 2]| c[axis] + gain * (p[axis] - alpha * c[axis]);
                let x0 = centres.iter().zip(&logs).map(|(c, log)| (log - most).exp() * mean(c)).sum::<f64>()
                    / total;
                ((p[axis] - alpha * x0) / sigma) as f32
            })
        };
        Ok(x.chunks_exact(2).flat_map(epsilon).collect())
    }
}

/// The page that tells the story of diffusion steps by these formulas in JavaScript: both are held to these numbers.
#[test]
fn samplers_on_the_plane_make_the_fixture() {
    let fixture: serde_json::Value = serde_json::from_str(include_str!("fixtures/plane.json")).unwrap();
    let floats = |name: &str| -> Vec<f32> {
        fixture[name].as_array().unwrap().iter().map(|v| v.as_f64().unwrap() as f32).collect()
    };
    let noise = floats("noise");
    let shape = [4, 2, 1, 1];
    for name in ["ddim", "ddpm"] {
        let json =
            r#"{"_class_name": "DDPMScheduler", "clip_sample": false, "variance_type": "fixed_small"}"#;
        let schedule = schedule(json);
        let kind: SamplerKind = name.parse().unwrap();
        let mut run = start(kind, &schedule, &steps(10), shape, Listed(&noise));
        let x = finish(&mut run, &mut Ring { schedule });
        for (found, wanted) in x.iter().zip(floats(name)) {
            assert!((found - wanted).abs() < 1e-5, "{name}: {x:?}");
        }
    }
}

/// Draw d is the d-th of equal parts of a list.
struct Listed<'a>(&'a [f32]);

impl Normals for Listed<'_> {
    fn normals(&mut self, draw: u32, _: usize, out: &mut [f32]) {
        out.copy_from_slice(&self.0[draw as usize * out.len()..][..out.len()]);
    }
}
