//! The lineage's objectives, each in short on data whose answer is known.
#![cfg(feature = "burn")]

use std::sync::Arc;

use burn::tensor::Device;
use noiseball::denoiser::Level;
use noiseball::train::dataset::toy::Toy;
use noiseball::train::{Dataset, Objective, Recipe, Trainer};
use pollster::block_on;
use serde_json::json;

fn short(name: &str, steps: u64) -> (Arc<Dataset>, Recipe) {
    let (toy, mut recipe) = Recipe::lineage(name).unwrap();
    recipe.steps = steps;
    recipe.batch = 128;
    recipe.optimiser.warmup = steps / 20;
    recipe.unet.insert("width".to_owned(), json!(32));
    if recipe.unet.contains_key("layers") {
        recipe.unet.insert("layers".to_owned(), json!(2));
    }
    (Arc::new(toy.dataset(1 << 14, 0)), recipe)
}

fn trained(name: &str, steps: u64) -> Trainer {
    let (data, recipe) = short(name, steps);
    let mut trainer = Trainer::new(recipe, data, &Device::flex()).unwrap();
    (0..steps).for_each(|_| trainer.step().unwrap());
    block_on(trainer.losses()).unwrap();
    trainer
}

/// E[x₀ | x] for the two Gaussians.
fn exact(x: &[f32], level: Level) -> Vec<f32> {
    let toy = Toy::TwoGaussians;
    let s2 = toy.deviation().powi(2);
    let variance = level.alpha.powi(2) * s2 + level.sigma.powi(2);
    let gain = level.alpha * s2 / variance;
    x.chunks_exact(2)
        .flat_map(|p| {
            let p = [f64::from(p[0]), f64::from(p[1])];
            let centres = toy.centres();
            let weight = |c: &[f64; 2]| {
                let square = (p[0] - level.alpha * c[0]).powi(2) + (p[1] - level.alpha * c[1]).powi(2);
                (-0.5 * square / variance).exp()
            };
            let total: f64 = centres.iter().map(weight).sum();
            [0, 1].map(|axis| {
                let mean = |c: &[f64; 2]| c[axis] + gain * (p[axis] - level.alpha * c[axis]);
                (centres.iter().map(|c| weight(c) * mean(c)).sum::<f64>() / total) as f32
            })
        })
        .collect()
}

#[test]
fn samples_and_bounds_can_be_given_up_between_their_parts() {
    for (name, channels, evaluations) in
        [("ring-bound", 2, 39), ("ring-ddpm", 2, 250), ("ring-edm", 2, 100), ("heartbeat-binomial", 20, 2000)]
    {
        let trainer = trained(name, 1);
        let mut network = block_on(trainer.averaged()).unwrap();
        let mut sampled = |most: usize| {
            let mut asked = 0;
            let shape = [2, channels, 1, 1];
            let found = block_on(network.sample_while(shape, 1, async || {
                asked += 1;
                asked <= most
            }));
            (asked, found.map_err(|e| e.kind()))
        };
        assert_eq!(sampled(10), (11, Err("aborted")), "{name}");
        let (asked, whole) = sampled(usize::MAX);
        assert_eq!(asked, evaluations, "{name}");
        assert_eq!(whole, Ok(block_on(network.sample([2, channels, 1, 1], 1)).unwrap()));
    }
    let trainer = trained("ring-bound", 1);
    let data = Toy::Ring.dataset(5000, 1);
    let mut left = 2;
    let bound = block_on(trainer.bound_while(&data, 1, async || {
        left -= 1;
        left > 0
    }));
    assert_eq!(bound.unwrap_err().kind(), "aborted");
    assert_eq!(left, 0);
}

/// Whatever a network is asked, what it says about x₀ is the posterior's mean.
#[test]
fn every_objective_learns_the_exact_denoiser() {
    for objective in ["bound", "score", "ddpm", "edm", "flow"] {
        let trainer = trained(&format!("two-gaussians-{objective}"), 400);
        let network = block_on(trainer.averaged()).unwrap();
        let clean = trainer.data();
        let total = network.schedule().train_timesteps();
        let mut error = 0.0f64;
        for timestep in [total / 3, total / 2, 2 * total / 3] {
            let level = network.level(timestep);
            let mut x = vec![0.0; 1000];
            let mut noise = vec![0.0; 1000];
            noiseball::rng::Normals::normals(
                &mut noiseball::rng::Generator::philox(2).unwrap(),
                timestep as u32,
                500,
                &mut noise,
            );
            for (i, point) in x.chunks_mut(2).enumerate() {
                clean.image(i, false, point);
            }
            let x: Vec<f32> =
                x.iter().zip(&noise).map(|(x, z)| level.alpha as f32 * x + level.sigma as f32 * z).collect();
            let found = block_on(network.denoise(&x, [500, 2, 1, 1], timestep, None)).unwrap().x0;
            let expected = exact(&x, level);
            // Where there is more noise than image, x̂₀'s error is that of ε̂ many times over.
            let share = (level.alpha / level.sigma).min(1.0);
            let square: f64 = found.iter().zip(&expected).map(|(f, e)| f64::from(f - e).powi(2)).sum();
            error = error.max(share * (square / 1000.0).sqrt());
        }
        assert!(error < 0.2, "{objective}: {error}");
    }
}

/// Their samples are the data: two modes, each of its deviation.
#[test]
fn every_objective_samples_the_data() {
    for objective in ["bound", "score", "ddpm", "edm", "flow"] {
        let trainer = trained(&format!("two-gaussians-{objective}"), 400);
        let mut network = block_on(trainer.averaged()).unwrap();
        let points = block_on(network.sample([1000, 2, 1, 1], 1)).unwrap();
        let counts = Toy::TwoGaussians.histogram(&points);
        let across = points.chunks_exact(2).map(|p| f64::from(p[1]).powi(2)).sum::<f64>() / 1000.0;
        assert!(counts.iter().all(|c| *c > 400), "{objective}: {counts:?}");
        assert!((across.sqrt() - 0.3).abs() < 0.06, "{objective}: deviation {}", across.sqrt());
    }
}

/// Samples of bits are bits, more of them heartbeats than before training, and the bound says so.
#[test]
fn heartbeats_are_learned_and_sampled() {
    let (data, mut recipe) = short("heartbeat-binomial", 150);
    recipe.scheduler.insert("num_train_timesteps".to_owned(), json!(50));
    let mut trainer = Trainer::new(recipe, data, &Device::flex()).unwrap();
    let held_out = Toy::Heartbeat.dataset(500, 1);
    let measure = |trainer: &Trainer| {
        let bits = block_on(block_on(trainer.averaged()).unwrap().sample([200, 20, 1, 1], 1)).unwrap();
        assert!(bits.iter().all(|b| b.abs() == 1.0));
        let beats = |s: &&[f32]| (0..5).any(|phase| (0..20).all(|i| (s[i] > 0.0) == (i % 5 == phase)));
        (bits.chunks(20).filter(beats).count(), block_on(trainer.bound(&held_out, 4)).unwrap())
    };
    let (few, before) = measure(&trainer);
    (0..150).for_each(|_| trainer.step().unwrap());
    let (many, after) = measure(&trainer);
    assert!(few < 10 && many > 100, "{few} to {many} heartbeats of 200");
    assert!(
        before.bits < -15.0 && after.bits > -5.0 && after.bits < -5f64.log2() + 3.0 * after.error,
        "{before:?} to {after:?}"
    );
}

/// The bound over all timesteps is that of the loss, whatever the data's length is to the number of timesteps.
#[test]
fn the_bound_counts_every_timestep_alike() {
    let trainer = trained("two-gaussians-bound", 200);
    let bound =
        |count, passes| block_on(trainer.bound(&Toy::TwoGaussians.dataset(count, 1), passes)).unwrap();
    let (short, long) = (bound(100, 195), bound(5000, 3));
    assert!((short.bits - long.bits).abs() < 4.0 * short.error.hypot(long.error), "{short:?} {long:?}");
    // The entropy of two Gaussians that hardly overlap.
    let truth = -(1.0 + (std::f64::consts::TAU * std::f64::consts::E * 0.3f64.powi(2)).log2());
    assert!(long.bits < truth + 3.0 * long.error && long.bits > truth - 1.5, "{long:?}, not {truth}");
}

/// The forward process ends in noise: nothing is left of points but N(0, 1), and of bits but even ones.
#[test]
fn data_become_noise() {
    for (name, left) in
        [("two-gaussians-bound", 0.2), ("two-gaussians-flow", 0.01), ("heartbeat-binomial", 0.01)]
    {
        let (data, recipe) = short(name, 1);
        let (_, schedule) = recipe.check(&data).unwrap();
        let len = data.image_len();
        let mut noise = vec![0.0; 2000 * len];
        noiseball::rng::Normals::normals(
            &mut noiseball::rng::Generator::philox(3).unwrap(),
            0,
            2000,
            &mut noise,
        );
        let correlation = |timestep| {
            let mut x = vec![0.0; 2000 * len];
            x.chunks_mut(len).enumerate().for_each(|(i, item)| data.image(i, false, item));
            let clean = x.clone();
            recipe.objective.diffuse(&schedule, timestep, &mut x, &noise);
            let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(a * b)).sum::<f64>();
            dot(&x, &clean) / (dot(&x, &x) * dot(&clean, &clean)).sqrt()
        };
        let (first, last) = (correlation(0), correlation(schedule.train_timesteps() - 1));
        assert!(first > 0.99 && last.abs() < left + 0.05, "{name}: {first} to {last}");
    }
}

/// The bound learns β: a resumed run, whose learned β and averages are in its state, ends in the same bytes.
#[test]
fn resumed_runs_of_points_and_bits_end_in_the_same_bytes() {
    for (name, class) in [("ring-bound", "MLP"), ("ring-bound", "RBFNetwork"), ("heartbeat-binomial", "MLP")]
    {
        let (data, mut recipe) = short(name, 6);
        recipe.unet.insert("_class_name".to_owned(), json!(class));
        let new = || Trainer::new(recipe.clone(), data.clone(), &Device::flex()).unwrap();
        let finish = |mut trainer: Trainer| {
            while trainer.step_number() < 6 {
                trainer.step().unwrap();
            }
            block_on(trainer.save()).unwrap()
        };
        let mut half = new();
        (0..3).for_each(|_| half.step().unwrap());
        let state = block_on(half.save()).unwrap();
        let resumed = Trainer::resume("state", &state, data.clone(), &Device::flex()).unwrap();
        let whole = new();
        let start = block_on(whole.averaged()).unwrap().level(1);
        assert!(finish(whole) == finish(resumed), "{name} with {class}");
        if recipe.objective == Objective::Bound {
            let learned = block_on(half.averaged()).unwrap();
            assert_ne!(learned.level(1), start);
            let first = learned.schedule().level(0);
            assert!((learned.level(0).sigma / first.sigma - 1.0).abs() < 1e-9, "the first β is not learned");
        }
    }
}

#[test]
fn an_rbf_network_learns_too() {
    let (data, mut recipe) = short("two-gaussians-ddpm", 200);
    recipe.unet.insert("_class_name".to_owned(), json!("RBFNetwork"));
    let mut trainer = Trainer::new(recipe, data, &Device::flex()).unwrap();
    (0..200).for_each(|_| trainer.step().unwrap());
    let losses = block_on(trainer.losses()).unwrap();
    let mean = |part: &[noiseball::train::Loss]| part.iter().map(|l| l.mean).sum::<f32>() / part.len() as f32;
    let (before, after) = (mean(&losses[..10]), mean(&losses[180..]));
    assert!(after < 0.6 * before, "{before} to {after}");
}

/// diffusers has neither these networks nor these objectives.
#[test]
fn what_diffusers_could_not_open_is_no_checkpoint() {
    for objective in ["bound", "score", "ddpm", "edm", "flow"] {
        let (data, recipe) = short(&format!("ring-{objective}"), 1);
        let trainer = Trainer::new(recipe, data, &Device::flex()).unwrap();
        assert_eq!(block_on(trainer.checkpoint()).unwrap_err().kind(), "unsupported-architecture");
    }
}

#[test]
fn recipes_that_make_no_sense_are_refused() {
    let refused = |name: &str, change: fn(&mut Recipe)| {
        let (data, mut recipe) = short(name, 10);
        assert!(recipe.check(&data).is_ok());
        change(&mut recipe);
        recipe.check(&data).is_err()
    };
    assert!(refused("ring-bound", |r| r.objective = Objective::Simple));
    assert!(refused("ring-ddpm", |r| r.objective = Objective::Binomial));
    for name in ["heartbeat-bound", "ring-binomial", "ring-rbf", "ring", "spiral-ddpm"] {
        assert_eq!(Recipe::lineage(name).unwrap_err().kind(), "invalid-option");
    }
    assert!(refused("ring-ddpm", |r| r.objective = Objective::Bound));
    assert!(
        refused("ring-score", |r| r.objective = Objective::ScoreMatching { sigma_min: 1.0, sigma_max: 0.1 })
    );
    assert!(
        refused("ring-edm", |r| r.objective = Objective::Edm { sigma_data: 0.0, mean: 0.0, deviation: 1.0 })
    );
    assert!(refused("heartbeat-binomial", |r| {
        r.scheduler.insert("num_train_timesteps".to_owned(), json!(1));
    }));
    assert!(refused("ring-ddpm", |r| {
        r.unet.insert("width".to_owned(), json!(0));
    }));
    assert!(refused("ring-ddpm", |r| {
        r.unet.insert("in_channels".to_owned(), json!(3));
    }));
}
