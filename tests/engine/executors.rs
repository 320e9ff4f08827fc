//! What every executor promises: networks against Python's diffusers, batches, refusals, and runs of samplers.

use std::sync::Arc;

use noiseball::denoiser::{Level, Point, Prediction};
use noiseball::engine::cpu::Cpu;
use noiseball::engine::executor::{Backend, LoadedNetwork};
use noiseball::engine::parameters::{Storage, Take};
use noiseball::rng::{Generator, Normals};
use noiseball::sampler::{Evaluate, HostRun, Options, Program, Recorder, SamplerKind};
use noiseball::schedule::{Clip, Schedule};
use pollster::block_on;

use crate::golden::{self, Case, cases, floats, relative_error, weight};

/// An executor, and how far from Python's its outputs may be.
struct Tested {
    name: &'static str,
    backend: Arc<dyn Backend>,
    storage: Storage,
    bar: f32,
}

/// The processor and, where there is an adapter, the GPU with the kernels for each kind of adapter and of weights.
fn executors() -> Vec<Tested> {
    let mut all = vec![Tested { name: "the CPU", backend: Arc::new(Cpu), storage: Storage::F32, bar: 2e-5 }];
    #[cfg(feature = "gpu")]
    if let (Some(gpu), Some(software)) = (super::gpu::gpu(), super::gpu::software()) {
        let of = |name, gpu, storage, bar| Tested { name, backend: Arc::new(gpu), storage, bar };
        all.push(of("the GPU", gpu.clone(), Storage::F32, 2e-4));
        all.push(of("the GPU with kernels for software", software, Storage::F32, 2e-4));
        all.push(of("the GPU with weights of 16 bits", gpu, Storage::F16, 2e-2));
        let products = super::gpu::f16_products();
        all.extend(products.map(|gpu| of("the GPU with products of 16 bits", gpu, Storage::F16, 2e-2)));
    }
    all
}

/// The processor and the GPU, for what does not depend on kernels.
fn one_of_each() -> Vec<Tested> {
    executors().into_iter().take(2).collect()
}

impl Tested {
    fn load(&self, case: &Case) -> LoadedNetwork {
        self.load_with(case, &mut |key, shape| Ok(weight(key, shape)))
    }

    fn load_with(&self, case: &Case, take: Take) -> LoadedNetwork {
        block_on(self.backend.load(case.config(), self.storage, take)).unwrap()
    }
}

fn case(name: &str) -> Case {
    cases(golden::UNET).into_iter().find(|c| c.name == name).unwrap()
}

// ---- Networks ----

#[test]
fn outputs_are_pythons() {
    for tested in executors() {
        let mut worst = (0.0, String::new());
        for case in golden::networks() {
            let mut net = tested.load(&case);
            let y =
                block_on(net.evaluate(&case.input(), case.shape, &case.timesteps, case.labels.as_deref()));
            let error = relative_error(&y.unwrap(), &floats(&case.json["output"]));
            println!("{error:.1e} in {} on {}", case.name, tested.name);
            assert!(error <= tested.bar, "{}: {error:e} on {}", case.name, tested.name);
            if error > worst.0 {
                worst = (error, case.name);
            }
        }
        println!("worst relative error on {}: {:.1e} in {}", tested.name, worst.0, worst.1);
    }
}

#[test]
fn samples_of_a_batch_do_not_mix() {
    for tested in one_of_each() {
        for case in golden::networks().iter().filter(|c| c.shape[0] > 1) {
            let mut net = tested.load(case);
            let (x, labels, [batch, c, h, w]) = (case.input(), case.labels.as_deref(), case.shape);
            let all = block_on(net.evaluate(&x, case.shape, &case.timesteps, labels)).unwrap();
            for b in 0..batch {
                let part = |v: &[f32]| v[b * v.len() / batch..(b + 1) * v.len() / batch].to_vec();
                let (label, times) = (labels.map(part), &case.timesteps[b..=b]);
                let alone = block_on(net.evaluate(&part(&x), [1, c, h, w], times, label.as_deref())).unwrap();
                // A GPU may choose other kernels for one sample.
                let bar = if tested.name == "the CPU" { 0.0 } else { 1e-5 };
                let error = relative_error(&alone, &part(&all));
                assert!(error <= bar, "{} sample {b} on {}: {error:e}", case.name, tested.name);
            }
        }
    }
}

#[test]
fn what_does_not_suit_the_network_is_refused() {
    for tested in one_of_each() {
        let case = &cases(golden::UNET)[0];
        let mut net = tested.load(case);
        let (x, [b, c, h, w]) = (case.input(), case.shape);
        for shape in [[b, c, h + 1, w], [b, c + 1, h, w], [0, c, h, w], [b, c, 0, w]] {
            let count = shape.iter().product();
            let times = vec![1.0; shape[0]];
            assert!(block_on(net.evaluate(&vec![0.0; count], shape, &times, None)).is_err(), "{shape:?}");
        }
        assert!(block_on(net.evaluate(&x[1..], case.shape, &case.timesteps, None)).is_err());
        assert!(block_on(net.evaluate(&x, case.shape, &case.timesteps[1..], None)).is_err());
        assert!(block_on(net.evaluate(&x, case.shape, &case.timesteps, Some(&[0.0]))).is_err());
        #[cfg(target_pointer_width = "64")]
        {
            let error = block_on(net.plan([1 << 40, h, w])).unwrap_err();
            assert!(["out-of-memory", "limit"].contains(&error.kind()), "{error}");
        }
        // And then goes on.
        block_on(net.evaluate(&x, case.shape, &case.timesteps, None)).unwrap();
    }
}

// ---- Samplers ----

/// The network as the host's runs see it.
struct OnHost<'a>(&'a mut LoadedNetwork);

impl Evaluate for OnHost<'_> {
    async fn evaluate(&mut self, x: &[f32], shape: [usize; 4], timestep: f64) -> noiseball::Result<Vec<f32>> {
        self.0.evaluate(x, shape, &vec![timestep as f32; shape[0]], None).await
    }
}

/// Steps of a run: their index, their timestep, x and x̂₀.
type Steps = Vec<(usize, f64, Vec<f32>, Vec<f32>)>;

fn on_host(
    net: &mut LoadedNetwork,
    program: &Program,
    shape: [usize; 4],
    noise: Generator,
) -> noiseball::Result<Steps> {
    let (mut run, mut steps) = (HostRun::new(program.clone(), shape, noise)?, Vec::new());
    while let Some(step) = block_on(run.step(&mut OnHost(net)))? {
        steps.push((step.index, step.timestep, step.x.to_vec(), step.x0.to_vec()));
    }
    Ok(steps)
}

/// The same by the executor itself; `None` where it leaves this to the host.
fn by_itself(
    net: &mut LoadedNetwork,
    program: &Program,
    shape: [usize; 4],
    noise: Generator,
) -> noiseball::Result<Option<Steps>> {
    if !block_on(net.begin(program, shape, noise, None))? {
        return Ok(None);
    }
    let mut steps = Vec::new();
    while let Some(step) = block_on(net.step())? {
        steps.push((step.index, step.timestep, step.x.to_vec(), step.x0.to_vec()));
    }
    Ok(Some(steps))
}

#[test]
fn noise_is_the_hosts() {
    let shape = [3, 3, 48, 40];
    let mut recorder = Recorder::new(&Prediction::Epsilon);
    let x = recorder.start(1.0);
    let from = Point { level: Level::CLEAN, timestep: 0.0 };
    recorder.end_step(from, Level::CLEAN, x, x);
    let program = recorder.finish().unwrap();
    for tested in one_of_each() {
        let mut net = tested.load(&case("base"));
        let mut worst = 0.0f32;
        for seed in [0, 42, (1 << 53) - 1] {
            let mut noise = Generator::philox(seed).unwrap();
            let Some(steps) = by_itself(&mut net, &program, shape, noise.clone()).unwrap() else { continue };
            assert_eq!(steps.len(), 1);
            let mut expected = vec![0.0; steps[0].2.len()];
            noise.normals(0, shape[0], &mut expected);
            worst = steps[0].2.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(worst, f32::max);
        }
        println!("noise on {} is off by {worst:e} at most", tested.name);
        assert!(worst <= 1e-6, "{worst:e}");
    }
}

#[test]
fn runs_are_the_hosts() {
    let learned = r#"{"variance_type": "learned_range", "beta_schedule": "squaredcos_cap_v2"}"#;
    let runs = [
        ("base", "{}", SamplerKind::Ddpm, 0.0),
        ("base", "{}", SamplerKind::Ddim, 0.0),
        // A logarithm of the timestep is taken, so that none may be 0.
        ("fourier", r#"{"clip_sample": false, "steps_offset": 1}"#, SamplerKind::Ddim, 1.0),
        ("learned_variance", learned, SamplerKind::Ddpm, 0.0),
        ("learned_variance", r#"{"variance_type": "learned"}"#, SamplerKind::Ddpm, 0.0),
    ];
    for tested in one_of_each() {
        for (name, schedule, sampler, eta) in runs {
            let case = case(name);
            let mut net = tested.load(&case);
            let schedule = Schedule::from_json("scheduler_config.json", schedule.as_bytes()).unwrap();
            let options = Options::steps(4);
            let options = if eta > 0.0 { options.with("eta", eta) } else { options };
            let program = sampler.program(&schedule, &options).unwrap();
            let shape = [2, case.shape[1], case.shape[2], case.shape[3]];
            for noise in [Generator::philox(5).unwrap(), Generator::torch(5).unwrap()] {
                let which = if matches!(noise, Generator::Philox(_)) { "philox" } else { "torch" };
                let Some(own) = by_itself(&mut net, &program, shape, noise.clone()).unwrap() else {
                    continue;
                };
                let host = on_host(&mut net, &program, shape, noise).unwrap();
                assert_eq!(host.len(), own.len());
                for (a, b) in host.iter().zip(&own) {
                    assert_eq!((a.0, a.1), (b.0, b.1));
                    let error = relative_error(&b.2, &a.2).max(relative_error(&b.3, &a.3));
                    assert!(error <= 2e-5, "{name} {sampler} {which}, step {}: {error:e}", a.0);
                }
            }
        }
    }
}

#[test]
fn what_is_not_finite_is_found_at_its_timestep() {
    let mut take = |key: &str, shape: &[usize]| {
        let mut values = weight(key, shape);
        if key == "conv_out.bias" {
            values[0] = f32::NAN;
        }
        Ok(values)
    };
    let case = case("base");
    let schedule = Schedule::from_json("scheduler_config.json", b"{}").unwrap();
    let program = SamplerKind::Ddim.program(&schedule, &Options::steps(3)).unwrap();
    let shape = [1, case.shape[1], case.shape[2], case.shape[3]];
    let first = program.timesteps().next().unwrap();
    let expected = noiseball::Error::NotFiniteOutput { timestep: first };
    for tested in one_of_each() {
        let mut net = tested.load_with(&case, &mut take);
        let noise = || Generator::philox(0).unwrap();
        let error = on_host(&mut net, &program, shape, noise()).unwrap_err();
        assert_eq!(error.to_string(), expected.to_string(), "{}", tested.name);
        if tested.name != "the CPU" {
            let error = by_itself(&mut net, &program, shape, noise()).unwrap_err();
            assert_eq!(error.to_string(), expected.to_string(), "{}", tested.name);
        }
    }
}

#[test]
fn what_needs_a_whole_image_is_left_to_the_host() {
    let mut recorder = Recorder::new(&Prediction::Epsilon);
    let x = recorder.start(1.0);
    let from = Point { level: Level { alpha: 0.6, sigma: 0.8 }, timestep: 10.0 };
    let d = recorder.denoise(x, from);
    let x0 = recorder.clip(d.x0, Clip::Dynamic { ratio: 0.9, max: 2.0 });
    recorder.end_step(from, Level::CLEAN, x, x0);
    let program = recorder.finish().unwrap();
    for tested in one_of_each() {
        let mut net = tested.load(&case("base"));
        let noise = Generator::philox(0).unwrap();
        assert!(by_itself(&mut net, &program, [1, 3, 8, 8], noise).unwrap().is_none(), "{}", tested.name);
    }
}
