//! What holds for any sampler that is guided, begins with a picture, keeps a part of one, or is watched.

#![cfg(not(target_arch = "wasm32"))]

use noiseball::denoiser::{Level, Prediction};
use noiseball::rng::Generator;
use noiseball::sampler::{
    Edit, Evaluate, Guidance, HostRun, Operator, Options, Program, SamplerKind, Step, Watched,
};
use noiseball::schedule::Schedule;
use noiseball::{Checkpoint, Device, Error, Model, Result, SampleOptions};
use pollster::block_on;

const DEVIATION: f64 = 0.5;
const SHAPE: [usize; 4] = [2, 1, 4, 4];

/// The ideal network for pixels that are `N(mean, DEVIATION²)`, with what it was asked.
#[derive(Clone)]
struct Gaussian<'a> {
    schedule: &'a Schedule,
    mean: f64,
    /// The mean of what is not wanted.
    other: f64,
    /// The timestep and σ/α of each evaluation, and whether it was of both.
    asked: Vec<(f64, f64, bool)>,
    first: Vec<f32>,
    /// What it is told of each x̂₀.
    watch: fn(Watched, &mut [f32]),
    watched: usize,
}

fn gaussian(schedule: &Schedule, mean: f64) -> Gaussian<'_> {
    Gaussian {
        schedule,
        mean,
        other: 0.0,
        asked: Vec::new(),
        first: Vec::new(),
        watch: |_, _| {},
        watched: 0,
    }
}

impl Gaussian<'_> {
    fn level(&self, timestep: f64) -> Level {
        if self.schedule.prediction == Prediction::Flow {
            let sigma = timestep / self.schedule.train_timesteps() as f64;
            return Level { alpha: 1.0 - sigma, sigma };
        }
        // Between two timesteps on a straight line of σ/α, as samplers have it.
        let ratio = |t: usize| self.schedule.level(t).sigma / self.schedule.level(t).alpha;
        let (below, last) = (timestep as usize, self.schedule.train_timesteps() - 1);
        let ratio = ratio(below) + timestep.fract() * (ratio((below + 1).min(last)) - ratio(below));
        let alpha = 1.0 / ratio.hypot(1.0);
        Level { alpha, sigma: ratio * alpha }
    }

    fn answers(&mut self, x: &[f32], timestep: f64, mean: f64) -> Vec<f32> {
        let level = self.level(timestep);
        let Level { alpha, sigma } = level;
        if self.first.is_empty() {
            self.first = x.to_vec();
        }
        let answer = |x: &f32| {
            let x = f64::from(*x);
            let variance = (alpha * DEVIATION).powi(2) + sigma.powi(2);
            let epsilon = sigma * (x - alpha * mean) / variance;
            let x0 = mean + alpha * DEVIATION.powi(2) * (x - alpha * mean) / variance;
            (if self.schedule.prediction == Prediction::Flow { epsilon - x0 } else { epsilon }) as f32
        };
        x.iter().map(answer).collect()
    }

    fn note(&mut self, timestep: f64, both: bool) {
        let level = self.level(timestep);
        self.asked.push((timestep, level.sigma / level.alpha, both));
    }
}

impl Evaluate for Gaussian<'_> {
    async fn evaluate(&mut self, x: &[f32], _: [usize; 4], timestep: f64) -> Result<Vec<f32>> {
        self.note(timestep, false);
        Ok(self.answers(x, timestep, self.mean))
    }

    async fn evaluate_both(&mut self, x: &[f32], _: [usize; 4], timestep: f64) -> Result<Vec<f32>> {
        self.note(timestep, true);
        Ok([self.answers(x, timestep, self.mean), self.answers(x, timestep, self.other)].concat())
    }

    async fn watch(&mut self, at: Watched, x0: &mut [f32]) -> Result<()> {
        self.watched += 1;
        (self.watch)(at, x0);
        Ok(())
    }
}

fn schedule(kind: SamplerKind) -> Schedule {
    let flow = r#"{"_class_name": "FlowMatchEulerDiscreteScheduler"}"#;
    let json = if kind.name().starts_with("flow-") { flow } else { r#"{"clip_sample": false}"# };
    Schedule::from_json("scheduler_config.json", json.as_bytes()).unwrap()
}

fn replay<N: Evaluate, T>(
    program: &Program,
    network: &mut N,
    mut see: impl FnMut(Step<'_>) -> T,
) -> Result<Vec<T>> {
    let mut run = HostRun::new(program.clone(), SHAPE, Generator::philox(7).unwrap())?;
    let mut seen = Vec::new();
    while let Some(step) = block_on(run.step(network))? {
        seen.push(see(step));
    }
    Ok(seen)
}

fn last(program: &Program, network: &mut impl Evaluate) -> Vec<f32> {
    replay(program, network, |step| step.x.to_vec()).unwrap().pop().unwrap()
}

fn furthest(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// Every sampler but that which chooses its evaluations while it runs.
fn asked_at_known_levels() -> impl Iterator<Item = &'static SamplerKind> {
    SamplerKind::ALL.iter().filter(|kind| **kind != SamplerKind::Adaptive)
}

fn of(kind: SamplerKind, options: &Options) -> (Schedule, Program) {
    let schedule = schedule(kind);
    let program = kind.program(&schedule, options).unwrap_or_else(|e| panic!("{kind}: {e}"));
    (schedule, program)
}

fn picture() -> Vec<f32> {
    (0..16).map(|i| ((i * 7) % 16) as f32 / 8.0 - 0.9).collect()
}

fn mask() -> Vec<f32> {
    (0..16).map(|i| f32::from(i % 4 >= 2)).collect()
}

/// Guidance between two Gaussians of one variance is another Gaussian, whose mean is moved as far.
#[test]
fn guidance_moves_the_mean() {
    for kind in asked_at_known_levels() {
        let guidance = Guidance::default().scale(2.5);
        let (schedule, guided) = of(*kind, &Options::steps(12).guidance(guidance));
        let (_, plain) = of(*kind, &Options::steps(12));
        let mut network = Gaussian { other: 0.1, ..gaussian(&schedule, 0.2) };
        let found = last(&guided, &mut network);
        let expected = last(&plain, &mut gaussian(&schedule, 0.1 + 2.5 * 0.1));
        assert!(furthest(&found, &expected) < 2e-4, "{kind}: {}", furthest(&found, &expected));
        assert!(network.asked.iter().all(|(_, _, both)| *both), "{kind}");
    }
}

#[test]
fn outside_of_the_interval_the_network_is_asked_once() {
    for kind in asked_at_known_levels() {
        let guidance = Guidance::default().scale(2.0).interval([0.3, 5.0]);
        let (schedule, guided) = of(*kind, &Options::steps(12).guidance(guidance));
        let mut network = gaussian(&schedule, 0.2);
        last(&guided, &mut network);
        let near = |ratio: f64, end: f64| (ratio / end).ln().abs() < 0.02;
        for (_, ratio, both) in &network.asked {
            let inside = (0.3..=5.0).contains(ratio);
            assert!(*both == inside || near(*ratio, 0.3) || near(*ratio, 5.0), "{kind} at {ratio}");
        }
        let doubled = network.asked.iter().filter(|(_, _, both)| *both).count();
        assert!(0 < doubled && doubled < network.asked.len() || network.asked.len() < 6, "{kind}: {doubled}");
        // A scale of 1 is no guidance, whatever else is said.
        let none = Guidance::default().rescale(0.5).interval([0.3, 5.0]);
        let (_, one) = of(*kind, &Options::steps(12).guidance(none));
        assert_eq!(one, of(*kind, &Options::steps(12)).1);
    }
}

#[test]
fn rescaling_brings_the_deviation_back() {
    /// Answers of deviation 1 and 3 around 0, which mix to one of 2 · 1 - 3 = -1 and 2 · (-1) + 3 = 1 at a scale of 2.
    struct Two;
    impl Evaluate for Two {
        async fn evaluate(&mut self, _: &[f32], _: [usize; 4], _: f64) -> Result<Vec<f32>> {
            unreachable!()
        }

        async fn evaluate_both(&mut self, _: &[f32], _: [usize; 4], _: f64) -> Result<Vec<f32>> {
            Ok(vec![1.0, -1.0, 2.0, 2.0, -0.5, 0.5, 2.0, 2.0])
        }
    }
    let schedule = schedule(SamplerKind::Ddim);
    let at = schedule.point(500);
    let run = |rescale| {
        let guidance = Guidance::default().scale(3.0).rescale(rescale);
        let mut recorder = noiseball::sampler::Recorder::new(&Prediction::Epsilon).guided(guidance);
        let x = recorder.start(1.0);
        let denoised = recorder.denoise(x, at);
        let epsilon = recorder.combine(denoised.epsilon);
        recorder.end_step(at, Level::CLEAN, epsilon, epsilon);
        let mut run =
            HostRun::new(recorder.finish().unwrap(), [2, 1, 1, 2], Generator::philox(0).unwrap()).unwrap();
        block_on(run.step(&mut Two)).unwrap().unwrap().x.to_vec()
    };
    // 3 · (1, -1) - 2 · (-0.5, 0.5), of deviation 4 in place of 1; the second picture has none to bring back.
    assert_eq!(run(0.0), [4.0, -4.0, 2.0, 2.0]);
    assert_eq!(run(1.0), [1.0, -1.0, 0.0, 0.0]);
    assert_eq!(run(0.5), [2.5, -2.5, 1.0, 1.0]);
}

/// diffusers' rule: of N steps the last ⌊N · strength⌋, and noise added to the picture for where they begin.
#[test]
fn a_picture_is_begun_with_where_its_strength_says() {
    let init = picture();
    for kind in SamplerKind::ALL {
        let schedule = schedule(*kind);
        let whole = kind.program(&schedule, &Options::steps(12)).unwrap();
        let all = replay(&whole, &mut gaussian(&schedule, 0.2), |s| (s.timestep, s.from, s.to)).unwrap();
        for (strength, made) in [(1.0, all.len()), (0.8, 9), (0.5, 6), (0.35, 4)] {
            let edit = Edit::new(init.clone()).strength(strength);
            let options = Options::steps(12).edit(edit);
            let program = kind.program(&schedule, &options).unwrap();
            let mut network = gaussian(&schedule, 0.2);
            let steps = replay(&program, &mut network, |s| (s.timestep, s.from, s.to)).unwrap();
            assert_eq!(steps[..], all[all.len() - made..], "{kind} at {strength}");
            let Level { alpha, sigma } = steps[0].1;
            let mut noise = vec![0.0; 32];
            noiseball::rng::Normals::normals(&mut Generator::philox(7).unwrap(), 0, 2, &mut noise);
            let scale = if schedule.prediction == Prediction::Flow { 1.0 } else { alpha.hypot(sigma) };
            let expected: Vec<f32> = (init.iter().cycle().zip(&noise))
                .map(|(x, z)| ((alpha * f64::from(*x) + sigma * f64::from(*z)) / scale) as f32)
                .collect();
            assert!(furthest(&network.first, &expected) < 1e-5, "{kind} at {strength}");
        }
    }
}

#[test]
fn what_is_kept_is_exact_and_what_lies_under_the_mask_does_not_matter() {
    let (init, mask) = (picture(), mask());
    let painted: Vec<f32> = init.iter().zip(&mask).map(|(x, m)| if *m > 0.0 { -1.5 } else { *x }).collect();
    for kind in SamplerKind::ALL {
        let schedule = schedule(*kind);
        for (resamplings, jump_length) in [(1, 10), (3, 4), (2, 1)] {
            let run = |init: &[f32]| {
                let edit =
                    Edit::new(init).mask(mask.clone()).resamplings(resamplings).jump_length(jump_length);
                let options = Options::steps(14).edit(edit);
                let program = kind.program(&schedule, &options).unwrap_or_else(|e| panic!("{kind}: {e}"));
                let mut network = gaussian(&schedule, 0.2);
                let made = replay(&program, &mut network, |s| (s.total, s.x.to_vec())).unwrap();
                assert_eq!(made.len(), made[0].0);
                (made.len(), made.into_iter().next_back().unwrap().1)
            };
            let steps = kind.program(&schedule, &Options::steps(14)).unwrap().steps();
            let (made, x) = run(&init);
            let turns = if resamplings > 1 { steps / jump_length } else { 0 };
            assert_eq!(made, steps + turns * jump_length * (resamplings - 1), "{kind}");
            for (i, x) in x.iter().enumerate() {
                assert!(mask[i % 16] == 1.0 || *x == init[i % 16], "{kind}: pixel {i} is {x}");
            }
            assert_eq!(run(&painted).1, x, "{kind}");
        }
    }
}

/// The network knows no other pixel than the one that it looks at, so that what is painted anew is a Gaussian again, however often it
/// is resampled.
#[test]
fn what_is_painted_anew_keeps_its_distribution() {
    let shape = [1, 1, 64, 64];
    let init = vec![0.9; 4096];
    let mask: Vec<f32> = (0..4096).map(|i| f32::from(i % 2 == 0)).collect();
    for kind in SamplerKind::ALL.iter().filter(|kind| !["lcm", "tcd"].contains(&kind.name())) {
        let schedule = schedule(*kind);
        let moments = |edit: Option<Edit>| {
            let program = kind.program(&schedule, &Options::steps(30).edit(edit)).unwrap();
            let mut run = HostRun::new(program, shape, Generator::philox(3).unwrap()).unwrap();
            let mut network = gaussian(&schedule, 0.2);
            let mut x = Vec::new();
            while let Some(step) = block_on(run.step(&mut network)).unwrap() {
                x = step.x.iter().step_by(2).map(|v| f64::from(*v)).collect();
            }
            let mean = x.iter().sum::<f64>() / 2048.0;
            (mean, (x.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / 2048.0).sqrt())
        };
        let (mean, deviation) = moments(None);
        for (resamplings, jump_length) in [(1, 10), (3, 5)] {
            let edit =
                Edit::new(init.clone()).mask(mask.clone()).resamplings(resamplings).jump_length(jump_length);
            let found = moments(Some(edit));
            // Four standard errors.
            let near = (found.0 - mean).abs() < 0.045 && (found.1 - deviation).abs() < 0.035;
            assert!(near, "{kind}, {resamplings} times: {found:?}, not {:?}", (mean, deviation));
        }
    }
}

#[test]
fn whoever_watches_may_change_the_estimate() {
    for kind in asked_at_known_levels() {
        let watched = Options::steps(12).watched(true);
        let (schedule, program) = of(*kind, &watched);
        let (_, plain) = of(*kind, &Options::steps(12));
        let mut network = gaussian(&schedule, 0.2);
        let (found, expected) = (last(&program, &mut network), last(&plain, &mut gaussian(&schedule, 0.2)));
        assert_eq!(network.watched, network.asked.len());
        assert!(furthest(&found, &expected) < 1e-3, "{kind}: {}", furthest(&found, &expected));

        // A run that is told that every picture is grey ends with that, where it ends at the clean picture.
        let mut grey = Gaussian { watch: |_, x0| x0.fill(0.25), ..gaussian(&schedule, 0.2) };
        let (to, x) = replay(&program, &mut grey, |s| (s.to, s.x.to_vec())).unwrap().pop().unwrap();
        let far = x.iter().map(|x| (x - 0.25).abs()).fold(0.0, f32::max);
        assert!(far < 0.1 || to.sigma > 0.05, "{kind}: {far}");

        for bad in [f32::NAN, f32::INFINITY] {
            let watch: fn(Watched, &mut [f32]) = if bad.is_nan() {
                |at, x0| {
                    if at.index == 2 {
                        x0[3] = f32::NAN
                    }
                }
            } else {
                |_, x0| x0[0] = f32::INFINITY
            };
            let mut network = Gaussian { watch, ..gaussian(&schedule, 0.2) };
            let error = replay(&program, &mut network, |_| ()).unwrap_err();
            assert!(matches!(error, Error::Option { option: "on_prediction", .. }), "{kind}: {error}");
        }
    }
}

#[test]
fn a_network_that_is_asked_for_one_thing_only_cannot_be_guided() {
    struct One;
    impl Evaluate for One {
        async fn evaluate(&mut self, x: &[f32], _: [usize; 4], _: f64) -> Result<Vec<f32>> {
            Ok(vec![0.0; x.len()])
        }
    }
    let guidance = Guidance::default().scale(2.0);
    let (_, program) = of(SamplerKind::Ddim, &Options::steps(3).guidance(guidance));
    assert_eq!(replay(&program, &mut One, |_| ()).unwrap_err().kind(), "unsupported-architecture");
}

// ---- Models ----

fn model(name: &str, device: &Device) -> Model {
    let folder = format!("{}/tests/fixtures/checkpoints/{name}", env!("CARGO_MANIFEST_DIR"));
    Model::load_blocking(Checkpoint::open(&folder).unwrap(), device).unwrap()
}

fn pictures(mut run: noiseball::Sampling) -> Vec<f32> {
    let mut last = Vec::new();
    while let Some(step) = run.step_blocking().unwrap() {
        last = step.x.to_vec();
    }
    last
}

/// 3 × 8 × 8 numbers.
fn unmasked() -> Edit {
    let init: Vec<f32> = (0..192).map(|i| ((i * 29) % 192) as f32 / 96.0 - 1.0).collect();
    Edit::new(init)
}

/// The same with a mask of 8 × 8.
fn edit() -> Edit {
    unmasked().mask((0..64).map(|i| f32::from(i % 8 >= 3)).collect::<Vec<f32>>())
}

fn everything() -> Vec<(&'static str, SampleOptions)> {
    let plain = SampleOptions::default().steps(6).batch(3).seed(4).labels(vec![1.0, 2.0, 4.0]);
    let ddim = Some(SamplerKind::Ddim);
    let guidance = Guidance::default().scale(2.0);
    let within = guidance.interval([0.1, 4.0]);
    let heun = Some(SamplerKind::Heun);
    let strength = Some(0.7);
    vec![
        ("guided", plain.clone().guidance(guidance)),
        ("guided within an interval", plain.clone().guidance(within).sampler(heun)),
        ("away from a label", plain.clone().guidance(guidance).negative_label(3.0).sampler(ddim)),
        ("rescaled", plain.clone().guidance(guidance.rescale(0.7))),
        ("from a picture", plain.clone().edit(unmasked().strength(strength)).sampler(ddim)),
        ("a part", plain.clone().edit(edit()).sampler(heun)),
        (
            "all together",
            plain
                .guidance(within)
                .edit(edit().strength(strength).resamplings(2).jump_length(2))
                .sampler(SamplerKind::DpmMultistep),
        ),
    ]
}

#[test]
fn one_picture_is_the_first_of_many_bit_for_bit() {
    let model = model("class-conditional", &Device::cpu());
    for (name, options) in everything() {
        let three = pictures(model.sample(&options).unwrap());
        let one = options.batch(1).labels(vec![1.0]);
        assert_eq!(pictures(model.sample(&one).unwrap())[..], three[..192], "{name}");
    }
}

#[cfg(feature = "gpu")]
#[test]
fn both_devices_agree() {
    let (cpu, gpu) = (Device::cpu(), block_on(Device::gpu()).unwrap());
    let [on_cpu, on_gpu] = [&cpu, &gpu].map(|device| model("class-conditional", device));
    for (name, options) in everything() {
        for rng in [noiseball::Rng::Philox, noiseball::Rng::Torch] {
            let options = options.clone().rng(rng);
            let [a, b] = [&on_cpu, &on_gpu].map(|model| pictures(model.sample(&options).unwrap()));
            assert!(furthest(&a, &b) <= 2.0 / 255.0, "{name}: {}", furthest(&a, &b));
        }
    }
}

/// The numbers of the steps that have images, and the last's images.
fn shown(mut run: noiseball::Sampling) -> (Vec<usize>, Vec<f32>) {
    let (mut indices, mut last) = (Vec::new(), Vec::new());
    while let Some(step) = run.step_blocking().unwrap() {
        assert_eq!(step.x.len(), step.x0.len());
        if !step.x.is_empty() {
            indices.push(step.index);
            last = step.x.to_vec();
        }
    }
    (indices, last)
}

#[test]
fn pictures_are_the_same_whoever_looks_on_the_way() {
    let mut devices = vec![Device::cpu()];
    #[cfg(feature = "gpu")]
    devices.push(block_on(Device::gpu()).unwrap());
    for device in devices {
        let model = model("class-conditional", &device);
        for (name, options) in everything() {
            for rng in [noiseball::Rng::Philox, noiseball::Rng::Torch] {
                let run = |every| shown(model.sample(&options.clone().rng(rng).every(every)).unwrap());
                let (all, expected) = run(1);
                assert_eq!(all, (0..all.len()).collect::<Vec<_>>(), "{name}");
                let (some, found) = run(2);
                let last = all.len() - 1;
                assert!(
                    some.iter().eq(all.iter().filter(|i| *i % 2 == 1 || **i == last)),
                    "{name}: {some:?}"
                );
                assert!(found == expected, "{name}");
                assert!(run(0) == (vec![last], expected), "{name}");
            }
        }
    }
}

#[test]
fn a_model_is_watched() {
    let model = model("class-conditional", &Device::cpu());
    let options = SampleOptions::default().steps(4).sampler(SamplerKind::Ddim);
    let mut seen = Vec::new();
    let plain = pictures(model.sample(&options).unwrap());
    let looked = std::rc::Rc::new(std::cell::RefCell::new(Vec::new()));
    let notes = looked.clone();
    let watcher = move |at: Watched, x0: &mut [f32]| {
        notes.borrow_mut().push((at.index, at.total, x0.len()));
        Ok(())
    };
    let found = pictures(model.sample_watched(&options, Box::new(watcher)).unwrap());
    assert!(furthest(&found, &plain) < 1e-4);
    seen.extend(looked.borrow().iter().copied());
    assert_eq!(seen, [(0, 4, 192), (1, 4, 192), (2, 4, 192), (3, 4, 192)]);
    // Its own error ends the run.
    let refuse = |_: Watched, _: &mut [f32]| Err(Error::Aborted);
    let error = model.sample_watched(&options, Box::new(refuse)).unwrap().step_blocking().unwrap_err();
    assert_eq!(error.kind(), "aborted");
}

#[test]
fn what_cannot_be_is_refused_before_any_work() {
    let plain = model("layout-a", &Device::cpu());
    let classes = model("class-conditional", &Device::cpu());
    let nameless = Checkpoint::open(&format!(
        "{}/tests/fixtures/checkpoints/class-conditional",
        env!("CARGO_MANIFEST_DIR")
    ));
    let nameless = Checkpoint { labels: None, ..nameless.unwrap() };
    let nameless = Model::load_blocking(nameless, &Device::cpu()).unwrap();
    let options = || SampleOptions::default().steps(4);
    let labelled = || options().labels(vec![1.0]);
    let refused = |model: &Model, options: SampleOptions, named: &'static str| {
        let Err(Error::Option { option, .. }) = model.sample(&options) else {
            panic!("{named}: {options:?}")
        };
        assert_eq!(option, named);
    };
    let guidance = |scale| Guidance::default().scale(scale);
    for scale in [-1.0, f64::NAN, 101.0, f64::INFINITY] {
        refused(&classes, labelled().guidance(guidance(scale)), "guidance");
    }
    refused(&plain, options().guidance(guidance(2.0)), "guidance");
    refused(&nameless, labelled().guidance(guidance(2.0)), "guidance");
    refused(&classes, options().guidance(guidance(2.0)), "guidance");
    let away = |label| labelled().guidance(guidance(2.0)).negative_label(label);
    refused(&classes, away(6.0), "negative_label");
    assert!(nameless.sample(&away(0.0)).is_ok() && classes.sample(&away(0.0).labels(None)).is_ok());
    for (rescale, interval, named) in [
        (1.5, [0.0, 1.0], "guidance_rescale"),
        (f64::NAN, [0.0, 1.0], "guidance_rescale"),
        (0.0, [2.0, 1.0], "guidance_interval"),
        (0.0, [f64::NAN, 1.0], "guidance_interval"),
        (0.0, [-1.0, 1.0], "guidance_interval"),
    ] {
        refused(&classes, labelled().guidance(guidance(2.0).rescale(rescale).interval(interval)), named);
    }

    let edited = |edit: Edit| options().edit(edit);
    for strength in [0.0, 0.2, 1.1, f64::NAN, -0.5] {
        refused(&plain, edited(edit().strength(strength)), "strength");
    }
    let mut bad = edit().init.to_vec();
    bad[7] = f32::NAN;
    for init in [vec![0.0; 191], vec![0.0; 384], Vec::new(), vec![255.0; 192], bad] {
        refused(&plain, edited(Edit::new(init).mask(vec![1.0; 64])), "init");
    }
    for mask in [vec![1.0; 63], vec![1.0; 192], Vec::new(), vec![1.01; 64], vec![f32::NAN; 64]] {
        refused(&plain, edited(edit().mask(mask)), "mask");
    }
    refused(&plain, edited(edit().resamplings(0)), "resamplings");
    refused(&plain, edited(edit().resamplings(101)), "resamplings");
    refused(&plain, edited(unmasked().resamplings(2)), "resamplings");
    refused(&plain, edited(edit().resamplings(2).jump_length(5)), "jump_length");
    refused(&plain, edited(edit().jump_length(0)), "jump_length");
}

// ---- Noise that is given, and the way back to it ----

#[test]
fn its_own_noise_given_is_the_same_run() {
    let mut noise = vec![0.0; 32];
    noiseball::rng::Normals::normals(&mut Generator::philox(7).unwrap(), 0, 2, &mut noise);
    let part = || Edit::new(picture()).mask(mask());
    for kind in SamplerKind::ALL {
        for edit in [None, Some(part())] {
            let given = Options::steps(12).noise(noise.clone()).edit(edit.clone());
            let (schedule, program) = of(*kind, &given);
            let (_, plain) = of(*kind, &Options::steps(12).edit(edit));
            let expected = last(&plain, &mut gaussian(&schedule, 0.2));
            assert_eq!(last(&program, &mut gaussian(&schedule, 0.2)), expected, "{kind}");
        }
    }
}

#[test]
fn a_picture_comes_back_from_the_noise_that_it_is_inverted_to() {
    let folder = format!("{}/www/models/pixel-faces-16", env!("CARGO_MANIFEST_DIR"));
    let mut checkpoint = Checkpoint::open(&folder).unwrap();
    checkpoint.scheduler_config.as_mut().unwrap().insert("clip_sample".to_owned(), false.into());
    let model = Model::load_blocking(checkpoint, &Device::cpu()).unwrap();
    let options = SampleOptions::default().sampler(SamplerKind::Ddim).steps(100);
    let face = pictures(model.sample(&options.clone().steps(20).seed(5)).unwrap());
    let face: Vec<f32> = face.iter().map(|v| v.clamp(-1.0, 1.0)).collect();
    let back = Edit::new(face.clone()).invert(true);
    let noise = pictures(model.sample(&options.clone().edit(back)).unwrap());
    let variance = noise.iter().map(|v| v * v).sum::<f32>() / noise.len() as f32;
    let found = pictures(model.sample(&options.noise(noise)).unwrap());
    let error = found.iter().zip(&face).map(|(a, b)| (a - b).abs()).sum::<f32>() / face.len() as f32;
    assert!(error <= 2.0 * 2.0 / 255.0, "{}", error * 127.5);
    assert!((variance - 1.0).abs() < 0.25, "{variance}");
}

#[test]
fn only_ddim_goes_back() {
    let model = model("layout-a", &Device::cpu());
    let back = unmasked().invert(true);
    let options = |sampler, edit| SampleOptions::default().sampler(sampler).steps(3).edit(edit);
    let named = |options: SampleOptions| match model.sample(&options) {
        Err(Error::Option { option, .. }) => option,
        other => panic!("{:?}", other.err()),
    };
    assert_eq!(named(options(SamplerKind::Heun, back.clone())), "sampler");
    let mut noisy = options(SamplerKind::Ddim, back.clone());
    noisy.settings = noiseball::Settings::default().with("eta", 0.5);
    assert_eq!(named(noisy), "sampler");
    assert_eq!(named(options(SamplerKind::Ddim, back.clone().strength(0.5))), "strength");
    assert_eq!(named(options(SamplerKind::Ddim, edit().invert(true))), "mask");
    let noise = |noise: Vec<f32>| SampleOptions::default().steps(3).noise(noise);
    assert_eq!(named(noise(vec![0.0; 191])), "noise");
    assert_eq!(named(noise(vec![f32::NAN; 192])), "noise");
}

// ---- Linear inverse problems ----

const SQUARE: [usize; 3] = [3, 8, 8];
const OPERATORS: [Operator; 5] =
    [Operator::Grey, Operator::Mean(2), Operator::Mean(4), Operator::Blur(0.8), Operator::Blur(2.5)];

fn colourful() -> Vec<f32> {
    (0..192).map(|i| ((i * 29) % 192) as f32 / 96.0 - 1.0).collect()
}

#[test]
fn operators_are_what_they_say() {
    let x = colourful();
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(a * b)).sum::<f64>();
    let other: Vec<f32> = (0..192).map(|i| ((i * 83) % 192) as f32 / 96.0 - 1.0).collect();
    for operator in OPERATORS {
        let (part, y) = (operator.project(&x, SQUARE), operator.measure(&x, SQUARE));
        assert!(furthest(&operator.project(&part, SQUARE), &part) < 1e-5, "{operator:?}");
        assert!(furthest(&operator.undo(&y, SQUARE), &part) < 1e-3, "{operator:?}");
        let (there, back) = (dot(&part, &other), dot(&x, &operator.project(&other, SQUARE)));
        assert!((there - back).abs() < 1e-3 && furthest(&part, &x) > 0.1, "{operator:?}: {there} {back}");
    }
    // A wave of a blur's is what its singular value leaves of it.
    let wave: Vec<f32> = (0..192)
        .map(|i| {
            let (row, column) = ((i % 64 / 8) as f64 + 0.5, (i % 8) as f64 + 0.5);
            ((2.0 * column / 8.0 * std::f64::consts::PI).cos() * (row / 8.0 * std::f64::consts::PI).cos())
                as f32
        })
        .collect();
    let left = (-0.5 * (0.8 * std::f64::consts::PI / 8.0).powi(2) * 5.0).exp() as f32;
    let expected: Vec<f32> = wave.iter().map(|v| v * left).collect();
    assert!(furthest(&Operator::Blur(0.8).measure(&wave, SQUARE), &expected) < 1e-5);
    // One pixel is blurred to the Gaussian, as far as the borders are away.
    let shape = [1, 33, 33];
    let mut dot = vec![0.0; 33 * 33];
    dot[16 * 34] = 1.0;
    let blurred = Operator::Blur(2.0).measure(&dot, shape);
    let gaussian = |d: f64| (-d * d / 8.0).exp() / (8.0 * std::f64::consts::PI);
    assert!((f64::from(blurred[16 * 34]) - gaussian(0.0)).abs() < 1e-5);
    assert!((f64::from(blurred[16 * 34 + 3]) - gaussian(3.0)).abs() < 1e-5);
    for (operator, shape) in [
        (Operator::Grey, [1, 8, 8]),
        (Operator::Mean(1), SQUARE),
        (Operator::Mean(3), SQUARE),
        (Operator::Blur(0.0), SQUARE),
        (Operator::Blur(f64::NAN), SQUARE),
    ] {
        assert!(
            matches!(operator.check(shape), Err(Error::Option { option: "restore", .. })),
            "{operator:?}"
        );
    }
}

#[test]
fn what_was_measured_is_kept_and_the_rest_does_not_matter() {
    let init = colourful();
    for kind in SamplerKind::ALL {
        let schedule = schedule(*kind);
        for operator in OPERATORS {
            let run = |init: Vec<f32>| {
                let edit = Edit::new(init).restore(operator);
                let program = kind.program(&schedule, &Options::steps(8).edit(edit)).unwrap();
                let [channels, height, width] = SQUARE;
                let noise = Generator::philox(7).unwrap();
                let mut run = HostRun::new(program, [1, channels, height, width], noise).unwrap();
                let mut x = Vec::new();
                while let Some(step) = block_on(run.step(&mut gaussian(&schedule, 0.2))).unwrap() {
                    x = step.x.to_vec();
                }
                x
            };
            let x = run(init.clone());
            let [found, wanted] = [&x, &init].map(|x| operator.measure(&operator.project(x, SQUARE), SQUARE));
            assert!(furthest(&found, &wanted) < 1e-5, "{kind} {operator:?}: {}", furthest(&found, &wanted));
            assert!(furthest(&x, &init) > 0.05, "{kind} {operator:?} makes nothing");
            let other = run(operator.project(&init, SQUARE));
            assert!(furthest(&other, &x) < 2e-3, "{kind} {operator:?}: {}", furthest(&other, &x));
        }
    }
}

#[test]
fn who_chooses_evaluations_while_it_runs_is_neither_guided_nor_watched() {
    let schedule = schedule(SamplerKind::Adaptive);
    let guidance = Guidance::default().scale(2.0);
    for (options, named) in [
        (Options::steps(4).guidance(guidance), "guidance"),
        (Options::steps(4).watched(true), "on_prediction"),
    ] {
        let error = SamplerKind::Adaptive.program(&schedule, &options).unwrap_err();
        assert!(matches!(error, Error::Option { option, .. } if option == named), "{error}");
    }
}
