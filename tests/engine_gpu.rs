//! The engine on a GPU adapter: kernels against their twins in Rust, and whole networks against Python's diffusers.
#![cfg(all(feature = "gpu", not(target_arch = "wasm32")))]

mod golden;

use golden::{Case, cases, floats, relative_error, weight};
use noiseball::engine::gpu::{Gpu, GpuNetwork};
use noiseball::engine::parameters::Storage;
use pollster::block_on;

fn gpu() -> Gpu {
    block_on(Gpu::new()).unwrap()
}

fn network(gpu: &Gpu, case: &Case, storage: Storage) -> GpuNetwork {
    let take = |key: &str, shape: &[usize]| Ok(weight(key, shape));
    block_on(GpuNetwork::new(gpu, case.config.clone(), storage, take)).unwrap()
}

#[test]
fn outputs_are_pythons() {
    let gpu = gpu();
    println!("on {}", gpu.name());
    for (storage, bar) in [(Storage::F32, 2e-4), (Storage::F16, 2e-2)] {
        let mut worst = (0.0, String::new());
        for case in cases(golden::UNET) {
            let mut network = network(&gpu, &case, storage);
            let y = block_on(network.evaluate(
                &case.input(),
                case.shape,
                &case.timesteps,
                case.labels.as_deref(),
            ));
            let error = relative_error(&y.unwrap(), &floats(&case.json["output"]));
            println!("{} {storage:?} {error:e}", case.name);
            assert!(error <= bar, "{}: {error:e}", case.name);
            if error > worst.0 {
                worst = (error, case.name);
            }
        }
        println!("worst relative error with {storage:?}: {:.1e} in {}", worst.0, worst.1);
    }
}
