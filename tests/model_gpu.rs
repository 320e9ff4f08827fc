//! A model on a GPU: what its runs make there, what stays behind, and what happens when the device goes away.

#![cfg(all(feature = "gpu", not(target_arch = "wasm32")))]

use noiseball::engine::gpu::{Counters, Gpu};
use noiseball::{Checkpoint, Device, Model, SampleOptions, SamplerKind};
use pollster::block_on;

fn checkpoint() -> Checkpoint {
    let folder = format!("{}/tests/fixtures/checkpoints/layout-a", env!("CARGO_MANIFEST_DIR"));
    Checkpoint::open(&folder).unwrap()
}

/// A model on a device of its own, which no other test counts on.
fn model() -> (Gpu, Model) {
    let gpu = block_on(Gpu::new()).unwrap();
    let model = Model::load_blocking(checkpoint(), &Device::from(gpu.clone())).unwrap();
    (gpu, model)
}

fn options(steps: usize, batch: usize) -> SampleOptions {
    let sampler = Some(SamplerKind::Ddim);
    SampleOptions::default().sampler(sampler).steps(steps).seed(3).batch(batch)
}

fn pictures(model: &Model, options: &SampleOptions) -> Vec<f32> {
    let mut run = model.sample(options).unwrap();
    let mut last = Vec::new();
    while let Some(step) = run.step_blocking().unwrap() {
        last = step.x.to_vec();
    }
    last
}

fn live(gpu: &Gpu) -> (u64, u64) {
    let Counters { live_buffers, live_bytes, .. } = gpu.counters();
    (live_buffers, live_bytes)
}

#[test]
fn a_step_is_one_submit_and_the_next_one_is_on_its_way() {
    let (gpu, model) = model();
    let first = pictures(&model, &options(5, 2));
    let before = gpu.counters();
    let mut run = model.sample(&options(5, 2)).unwrap();
    let mut last = Vec::new();
    for done in 1..=5 {
        last = run.step_blocking().unwrap().unwrap().x.to_vec();
        assert_eq!(gpu.counters().submits - before.submits, (done + 1).min(5));
    }
    assert!(run.step_blocking().unwrap().is_none());
    let after = gpu.counters();
    assert_eq!(after.pipelines, before.pipelines, "a second run of the same shape compiles nothing");
    assert_eq!(after.bind_groups, before.bind_groups + 1);
    assert_eq!(last, first);

    // Whatever the number of steps, a run makes the same few buffers, once there is room for what it uploads.
    pictures(&model, &options(12, 2));
    let made = |steps| {
        let before = gpu.counters().buffers;
        pictures(&model, &options(steps, 2));
        gpu.counters().buffers - before
    };
    assert_eq!(made(12), made(3));
}

#[test]
fn steps_that_nobody_looks_at_share_submits() {
    let (gpu, model) = model();
    let expected = pictures(&model, &options(60, 1));
    let run = |every| {
        let (before, began) = (gpu.counters().submits, std::time::Instant::now());
        assert_eq!(pictures(&model, &options(60, 1).every(every)), expected);
        (gpu.counters().submits - before, began.elapsed().as_secs_f64() / 60.0)
    };
    assert_eq!(run(1).0, 60);
    let (submits, seconds) = run(0);
    // How many fit into a frame depends on what else the machine does: of long steps, one.
    assert!(submits < 60 || seconds > 0.004, "{seconds} seconds a step");
}

#[test]
fn memory_is_flat_over_200_runs_and_20_loads() {
    let gpu = block_on(Gpu::new()).unwrap();
    let device = Device::from(gpu.clone());
    let empty = live(&gpu);
    for load in 0..20 {
        let model = Model::load_blocking(checkpoint(), &device).unwrap();
        pictures(&model, &options(3, 1));
        let warm = live(&gpu);
        for run in 0..10 {
            // Every other one is stopped half way.
            let mut run_of_three = model.sample(&options(3, 1).every(1 + run % 3)).unwrap();
            for _ in 0..if run % 2 == 0 { 4 } else { 1 } {
                run_of_three.step_blocking().unwrap();
            }
            drop(run_of_three);
            assert_eq!(live(&gpu), warm, "load {load}, run {run}");
        }
        drop(model);
        assert_eq!(live(&gpu), empty, "load {load}");
    }
}

#[test]
fn plans_of_the_last_three_shapes_are_kept() {
    let (gpu, model) = model();
    let after = |batch| {
        pictures(&model, &options(1, batch));
        live(&gpu).0
    };
    let counts: Vec<u64> = [1, 2, 3, 4, 5, 3].map(after).to_vec();
    assert!(counts[1] > counts[0] && counts[2] > counts[1], "{counts:?}");
    assert_eq!(counts[3..], [counts[2]; 3], "{counts:?}");
}

#[test]
fn a_device_lost_at_any_moment_ends_the_run_and_another_gives_the_pictures() {
    let expected = pictures(&model().1, &options(4, 1));
    for moment in 0..4 {
        let (gpu, model) = model();
        let mut run = model.sample(&options(4, 1)).unwrap();
        for _ in 0..moment {
            run.step_blocking().unwrap();
        }
        assert!(model.check().is_ok());
        gpu.destroy();
        // What had been done by then may still arrive.
        let error = (0..4).find_map(|_| run.step_blocking().err());
        assert_eq!(error.map(|e| e.kind()), Some("device-lost"), "after {moment} steps");
        drop(run);
        assert_eq!(model.check().unwrap_err().kind(), "device-lost");
        assert_eq!(model.sample(&options(4, 1)).unwrap().step_blocking().unwrap_err().kind(), "device-lost");
    }
    assert_eq!(pictures(&model().1, &options(4, 1)), expected);
}

#[test]
fn thresholding_goes_through_the_host() {
    let loaded = |device: &Device| {
        let mut checkpoint = checkpoint();
        let scheduler = checkpoint.scheduler_config.as_mut().unwrap();
        for (key, value) in [("thresholding", true.into()), ("sample_max_value", 1.5.into())] {
            scheduler.insert(key.to_owned(), value);
        }
        Model::load_blocking(checkpoint, device).unwrap()
    };
    let gpu = block_on(Gpu::new()).unwrap();
    let on_gpu = pictures(&loaded(&Device::from(gpu.clone())), &options(4, 2));
    let on_cpu = pictures(&loaded(&Device::cpu()), &options(4, 2));
    let plain = pictures(&model().1, &options(4, 2));
    let far = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(far(&on_gpu, &on_cpu) <= 1e-4, "{}", far(&on_gpu, &on_cpu));
    assert!(far(&on_gpu, &plain) > 1e-2, "the option does nothing");
}
