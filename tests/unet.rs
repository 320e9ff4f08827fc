//! The U-Net against Python's diffusers: names, shapes, outputs and gradients, on the CPU and on WebGPU.

#![cfg(all(feature = "burn", not(target_arch = "wasm32")))]
#![allow(clippy::print_stdout, reason = "tests say how close they came")]

mod golden;

use std::sync::Arc;

use burn::tensor::{Device, Tensor, TensorData};
use golden::{Case, cases, floats, relative_error, scaled, stream, weight};
use noiseball::engine::cpu::CpuNetwork;
use noiseball::engine::gpu::{Gpu, GpuNetwork};
use noiseball::engine::parameters::Storage;
use noiseball::network::describe::describe;
use noiseball::network::on_burn::BurnNetwork;
use pollster::block_on;

fn network(case: &Case, device: &Device) -> BurnNetwork {
    let parameters = case.inventory().parameters;
    BurnNetwork::new(case.config(), &parameters, device, |key, shape| Ok(weight(key, shape))).unwrap()
}

#[test]
fn the_stream_is_the_one_python_uses() {
    let expected = [0.142_500_04, 0.766_529_08, -0.819_942, -0.395_375_49];
    for (found, expected) in stream("conv_in.weight", 4).iter().zip(expected) {
        assert!((found - expected).abs() < 1e-8, "{found} {expected}");
    }
}

#[test]
fn parameters_have_pythons_names_and_shapes() {
    for case in golden::networks() {
        let mut found = case.inventory().parameters;
        let mut expected: Vec<(String, Vec<usize>)> =
            serde_json::from_value(case.json["keys"].clone()).unwrap();
        found.sort();
        expected.sort();
        assert_eq!(found, expected, "{}", case.name);
    }
}

fn outputs_agree(device: &Device, bound: f32) {
    let mut worst = (0.0, String::new());
    for case in golden::networks() {
        let net = network(&case, device);
        let input = case.input();
        let y = net.evaluate(&input, case.shape, &case.timesteps, case.labels.as_deref());
        let error = relative_error(&block_on(y).unwrap(), &floats(&case.json["output"]));
        assert!(error <= bound, "{}: {error:e} > {bound:e}", case.name);
        if error > worst.0 {
            worst = (error, case.name);
        }
    }
    println!("worst relative error {:.1e} in {}", worst.0, worst.1);
}

#[test]
fn outputs_on_the_cpu_are_pythons() {
    outputs_agree(&Device::flex(), 2e-5);
}

#[test]
fn outputs_on_webgpu_are_pythons() {
    outputs_agree(&Device::wgpu_options().init().unwrap(), 2e-4);
}

/// A gradient is compared by its norm and by its product with a fixed direction. Some are zero but for rounding (an
/// attention's key bias shifts all scores alike), hence the floor, relative to the largest gradient of the network.
#[test]
fn gradients_are_pytorchs() {
    let device = Device::flex().autodiff();
    for case in cases(golden::GRADIENTS) {
        let net = network(&case, &device);
        let y = net.forward(&case.input(), case.shape, &case.timesteps, case.labels.as_deref()).unwrap();
        let shape = y.dims();
        let target = scaled(&format!("target:{}", case.name), shape.iter().product(), 1.0);
        let target = Tensor::<4>::from_data(TensorData::new(target, shape), &device);
        let loss = (y - target).square().mean();
        let found = loss.clone().into_scalar::<f32>();
        let expected = case.json["loss"].as_f64().unwrap() as f32;
        assert!((found - expected).abs() <= 1e-4 * expected, "{}: loss {found}, not {expected}", case.name);

        let mut gradients = loss.backward();
        let expected = case.json["gradients"].as_object().unwrap();
        let largest = expected.values().map(|v| v[0].as_f64().unwrap()).fold(0.0, f64::max);
        assert_eq!(expected.len(), net.parameters().len(), "{}", case.name);
        for (key, expected) in expected {
            let g = net.parameters()[key].take_gradient(&mut gradients).unwrap();
            let g = g.into_data().try_into_vec::<f32>().unwrap();
            let norm = g.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
            let probe = stream(&format!("probe:{key}"), g.len());
            let product: f64 = g.iter().zip(probe).map(|(g, p)| f64::from(*g) * p).sum();
            let (n, p) = (expected[0].as_f64().unwrap(), expected[1].as_f64().unwrap());
            let allowed = 1e-3 * n + 1e-7 * largest;
            assert!((norm - n).abs() <= allowed, "{} {key}: norm {norm}, not {n}", case.name);
            assert!((product - p).abs() <= allowed, "{} {key}: product {product}, not {p}", case.name);
        }
    }
}

/// Points are pictures of one pixel: the engine's plan of their networks, on both executors, is burn's network.
#[test]
fn a_network_of_points_is_one_network_everywhere() {
    let gpu = block_on(Gpu::new()).unwrap();
    for config in [
        serde_json::json!({"_class_name": "MLP", "in_channels": 2, "width": 24, "layers": 2}),
        serde_json::json!({"_class_name": "RBFNetwork", "in_channels": 2, "out_channels": 4, "width": 17}),
    ] {
        let (net, unknown) = noiseball::network::parse("config.json", config.as_object().unwrap()).unwrap();
        assert!(unknown.is_empty(), "{unknown:?}");
        let parameters = describe(&*net, 1, 1, 1).parameters;
        let take = |key: &str, shape: &[usize]| Ok(weight(key, shape));
        let (x, shape, timesteps) = (scaled("points", 10, 1.5), [5, 2, 1, 1], [0.0, 3.0, 17.0, 400.0, 999.0]);
        let burn = BurnNetwork::new(Arc::clone(&net), &parameters, &Device::flex(), take).unwrap();
        let expected = block_on(burn.evaluate(&x, shape, &timesteps, None)).unwrap();
        let cpu = CpuNetwork::new(Arc::clone(&net), take).unwrap().any();
        let gpu = block_on(GpuNetwork::new(&gpu, net, Storage::F32, take)).unwrap().any();
        for (mut network, bar) in [(cpu, 2e-5), (gpu, 2e-4)] {
            let found = block_on(network.evaluate(&x, shape, &timesteps, None)).unwrap();
            let error = relative_error(&found, &expected);
            println!("{config}: {error:e}");
            assert!(error <= bar, "{error:e}");
        }
    }
}
