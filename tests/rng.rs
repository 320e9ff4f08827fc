//! Noise: PyTorch's generator against PyTorch (`fixtures/torch_rng.json`), and the laws of Philox's.

use noiseball::rng::{Generator, Normals, Torch};
use serde_json::Value;

fn fixture() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/torch_rng.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn f64s(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

fn assert_close(found: &[f32], expected: &[f64], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (i, (f, e)) in found.iter().zip(expected).enumerate() {
        assert!((f64::from(*f) - e).abs() < 1e-6, "{what}: value {i} is {f}, not {e}");
    }
}

fn randn(torch: &mut Torch, count: usize) -> Vec<f32> {
    let mut out = vec![0.0; count];
    torch.randn(&mut out);
    out
}

#[test]
fn a_seed_from_python_gives_its_noise() {
    for case in fixture()["twice"].as_array().unwrap() {
        let what = format!("seed {}, shape {}", case["seed"], case["shape"]);
        let mut torch = Torch::new(case["seed"].as_u64().unwrap());
        for call in ["first", "second"] {
            let expected = f64s(&case[call]);
            assert_close(&randn(&mut torch, expected.len()), &expected, &format!("{what}, {call}"));
        }
    }
}

#[test]
fn small_and_large_calls_in_turn_share_one_stream() {
    for case in fixture()["sequences"].as_array().unwrap() {
        let mut torch = Torch::new(case["seed"].as_u64().unwrap());
        let sizes = f64s(&case["sizes"]);
        let found: Vec<f32> = sizes.iter().flat_map(|n| randn(&mut torch, *n as usize)).collect();
        assert_close(&found, &f64s(&case["values"]), &format!("seed {}", case["seed"]));
    }
}

#[test]
fn pytorchs_noise_is_one_call_a_draw_for_the_whole_batch() {
    let mut torch = Torch::new(7);
    let expected = [randn(&mut torch, 2 * 3 * 5), randn(&mut torch, 2 * 3 * 5)];
    let mut generator = Generator::torch(7).unwrap();
    for (draw, expected) in expected.iter().enumerate() {
        assert_eq!(normals(&mut generator, draw as u32, 2, 15), *expected);
    }
}

fn normals(generator: &mut Generator, draw: u32, batch: usize, image: usize) -> Vec<f32> {
    let mut out = vec![0.0; batch * image];
    generator.normals(draw, batch, &mut out);
    out
}

fn philox(seed: u64, draw: u32, batch: usize, image: usize) -> Vec<f32> {
    normals(&mut Generator::philox(seed).unwrap(), draw, batch, image)
}

/// The contract, literally: whoever changes these numbers changes every picture.
#[test]
fn philox_normals_are_a_contract() {
    // Word 0 and 1 of counter 0, key 0: 6627e8d5 e169c58d; the rest of the arithmetic by hand in Python.
    let found = philox(0, 0, 1, 6);
    assert_close(&found, &CONTRACT_SEED_0, "seed 0");
    let found = philox((5 << 32) + 6, 3, 2, 4);
    assert_close(&found, &CONTRACT_SEED_LARGE, "seed 5 · 2^32 + 6");
}

const CONTRACT_SEED_0: [f64; 6] =
    [0.99113748, -0.92466278, -0.61760905, -0.48206835, -0.15363811, 0.18082588];
const CONTRACT_SEED_LARGE: [f64; 8] =
    [-0.01507116, -0.67690695, 1.77179841, -0.1304622, -0.19763333, 1.51715897, 0.88922006, -0.39002417];

#[test]
fn the_first_image_of_a_batch_is_the_only_one_of_a_smaller_batch() {
    for image in [1, 3, 4, 17, 768] {
        let many = philox(11, 2, 64, image);
        assert_eq!(philox(11, 2, 1, image), many[..image]);
        assert_eq!(philox(11, 2, 5, image), many[..5 * image]);
        assert_ne!(many[..image], many[image..2 * image]);
    }
}

#[test]
fn draws_seeds_and_images_are_independent_and_order_does_not_matter() {
    let mut generator = Generator::philox(3).unwrap();
    let third = normals(&mut generator, 2, 1, 4096);
    let first = normals(&mut generator, 0, 1, 4096);
    assert_eq!(first, philox(3, 0, 1, 4096));
    let correlation =
        |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(a * b)).sum::<f64>() / a.len() as f64;
    let batch = philox(3, 0, 2, 4096);
    for other in [&third[..], &philox(4, 0, 1, 4096), &philox(3 + (1 << 32), 0, 1, 4096), &batch[4096..]] {
        assert!(correlation(&first, other).abs() < 0.06);
    }
}

#[test]
fn philox_normals_are_normal() {
    let values = philox(1, 0, 4, 1 << 16);
    let n = values.len() as f64;
    let moment = |p: i32| values.iter().map(|v| f64::from(*v).powi(p)).sum::<f64>() / n;
    // Five standard errors of each moment's estimate: sqrt((E z^2p - (E z^p)^2) / n).
    for (p, expected, spread) in [(1, 0.0, 1.0), (2, 1.0, 2.0), (3, 0.0, 15.0), (4, 3.0, 96.0_f64)] {
        let tolerance = 5.0 * (spread / n).sqrt();
        assert!((moment(p) - expected).abs() < tolerance, "moment {p}: {}", moment(p));
    }
    // Neighbours come from one Box-Muller pair or one block.
    for lag in 1..=4 {
        let c = values.windows(lag + 1).map(|w| f64::from(w[0] * w[lag])).sum::<f64>() / n;
        assert!(c.abs() < 0.01, "lag {lag}: {c}");
    }
}
