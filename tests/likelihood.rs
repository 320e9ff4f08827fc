//! Likelihoods against what is known: of formulas in double precision, and of a network on both devices.

#![cfg(all(feature = "data", not(target_arch = "wasm32")))]

use std::f64::consts::{LN_2, PI, TAU};

use noiseball::denoiser::{Level, Point};
use noiseball::likelihood::{Denoise, Method, Ode, Trace};
use noiseball::{Checkpoint, Device, Model, Result};

/// A mixture of Gaussians of one deviation in the plane, all as likely.
struct Mixture {
    centres: Vec<[f64; 2]>,
    deviation: f64,
    asked: usize,
}

impl Mixture {
    /// Log of the density at a point, blurred by σ, and its gradient.
    fn at(&self, y: &[f64], sigma: f64) -> (f64, [f64; 2]) {
        let variance = self.deviation.powi(2) + sigma * sigma;
        let away = |c: &[f64; 2]| [c[0] - y[0], c[1] - y[1]];
        let square = |c: &[f64; 2]| away(c).iter().map(|d| d * d).sum::<f64>();
        let nearest = self.centres.iter().map(square).fold(f64::INFINITY, f64::min);
        let (mut sum, mut gradient) = (0.0, [0.0; 2]);
        for centre in &self.centres {
            let weight = ((nearest - square(centre)) / (2.0 * variance)).exp();
            sum += weight;
            for (g, d) in gradient.iter_mut().zip(away(centre)) {
                *g += weight * d / variance;
            }
        }
        let density =
            sum.ln() - nearest / (2.0 * variance) - (self.centres.len() as f64 * TAU * variance).ln();
        (density, gradient.map(|g| g / sum))
    }
}

impl Denoise for Mixture {
    fn epsilon(&mut self, x: &[f64], at: Point) -> Result<Vec<f64>> {
        self.asked += 1;
        let Level { alpha, sigma } = at.level;
        let ratio = sigma / alpha;
        let of = |x: &[f64]| self.at(&[x[0] / alpha, x[1] / alpha], ratio).1.map(|g| -ratio * g);
        Ok(x.chunks_exact(2).flat_map(of).collect())
    }
}

fn preserving(ratio: f64) -> Point {
    let alpha = 1.0 / ratio.hypot(1.0);
    Point { level: Level { alpha, sigma: ratio * alpha }, timestep: 0.0 }
}

/// The 2015 paper's roll, as a mixture along its curve.
fn roll(deviation: f64) -> Mixture {
    let (from, to) = (1.5 * PI, 4.5 * PI);
    let scale = (2.0 / ((from * from + from * to + to * to) / 3.0f64)).sqrt();
    let point = |i: usize| {
        let angle: f64 = from + (to - from) * (f64::from(i as u32) + 0.5) / 1500.0;
        [scale * angle * angle.cos(), scale * angle * angle.sin()]
    };
    Mixture { centres: (0..1500).map(point).collect(), deviation, asked: 0 }
}

/// Points of a distribution, in no regular order.
fn points(of: &Mixture, count: usize) -> Vec<f64> {
    let spread = |i: usize, by: f64| ((i as f64 * by).fract() - 0.5) * 3.0 * of.deviation;
    let centre = |i: usize| of.centres[(i * 7919) % of.centres.len()];
    (0..count)
        .flat_map(|i| [centre(i)[0] + spread(i, 0.618_034), centre(i)[1] + spread(i, 0.754_878)])
        .collect()
}

#[test]
fn densities_are_the_analytic_ones() {
    let gaussian = Mixture { centres: vec![[0.3, -0.2]], deviation: 0.5, asked: 0 };
    let two = Mixture { centres: vec![[-1.0, 0.0], [1.0, 0.0]], deviation: 0.3, asked: 0 };
    for (name, mut of, steps, count) in
        [("Gaussian", gaussian, 70, 40), ("mixture", two, 90, 40), ("swiss roll", roll(0.05), 180, 12)]
    {
        let x = points(&of, count);
        let known: Vec<f64> = x.chunks_exact(2).map(|y| of.at(y, 0.0).0 / LN_2).collect();
        let ode = Ode { steps, trace: Trace::Exact, difference: 1e-3, ends: [1e-3, 1e3], seed: 0 };
        let found = ode.log_density(&mut of, &preserving, &x, 2).unwrap();
        let errors: Vec<f64> = found.iter().zip(&known).map(|(a, b)| (a / LN_2 - b).abs()).collect();
        assert_eq!(of.asked, 4 * steps * (1 + 2 * 2));
        let worst = errors.iter().fold(0.0, |a, b| f64::max(a, *b));
        assert!(worst <= 0.01, "{name}: off by {worst} bits");
    }
}

#[test]
fn random_directions_are_right_in_the_mean() {
    let of = || Mixture { centres: vec![[-1.0, 0.0], [1.0, 0.0]], deviation: 0.3, asked: 0 };
    let x = points(&of(), 30);
    let mean = |trace, seed| {
        let ode = Ode { steps: 50, trace, difference: 1e-3, ends: [1e-3, 80.0], seed };
        ode.log_density(&mut of(), &preserving, &x, 2).unwrap().iter().sum::<f64>() / 30.0 / LN_2
    };
    let exact = mean(Trace::Exact, 0);
    let many = mean(Trace::Hutchinson(64), 1);
    assert!((many - exact).abs() < 0.05, "{many}, not {exact}");
    assert_ne!(mean(Trace::Hutchinson(1), 1), mean(Trace::Hutchinson(1), 2), "seeds count");
}

fn model(device: &Device) -> Model {
    let folder = format!("{}/www/models/pixel-faces-16", env!("CARGO_MANIFEST_DIR"));
    Model::load_blocking(Checkpoint::open(&folder).unwrap(), device).unwrap()
}

/// A picture that the model makes, as bytes would have it, and the same upside down.
fn faces(model: &Model) -> [Vec<f32>; 2] {
    let options = noiseball::SampleOptions::default().steps(20).seed(5);
    let mut run = model.sample(&options).unwrap();
    let mut face = Vec::new();
    while let Some(step) = run.step_blocking().unwrap() {
        face = step.x.iter().map(|v| ((v.clamp(-1.0, 1.0) + 1.0) * 127.5).round() / 127.5 - 1.0).collect();
    }
    let turned = face.chunks_exact(256).flat_map(|plane| plane.iter().rev().copied()).collect();
    [face, turned]
}

#[test]
fn a_model_finds_its_own_pictures_likelier_than_others() {
    let model = model(&Device::cpu());
    let [face, turned] = faces(&model);
    let both = [face.clone(), turned].concat();
    for method in [Method::Ode { steps: 12, probes: 1 }, Method::Bound { timesteps: 40 }] {
        let bits = model.bits_per_dim(&both, None, method, 3).unwrap();
        assert!(bits[0] > 0.0 && bits[0] + 0.1 < bits[1] && bits[1] < 30.0, "{method:?}: {bits:?}");
        // A picture's bits do not depend on what else is measured.
        let alone = model.bits_per_dim(&face, None, method, 3).unwrap();
        assert!((alone[0] - bits[0]).abs() < 1e-4, "{method:?}: {alone:?}");
    }
}

#[test]
fn what_cannot_be_is_refused() {
    let model = model(&Device::cpu());
    let bits = |pictures: usize, label, method| {
        model.bits_per_dim(&vec![0.0; pictures], label, method, 0).unwrap_err().kind()
    };
    let ode = Method::Ode { steps: 2, probes: 1 };
    assert_eq!(bits(0, None, ode), "invalid-option");
    assert_eq!(bits(767, None, ode), "invalid-option");
    assert_eq!(bits(768, Some(99.0), ode), "invalid-option");
    assert_eq!(bits(768, None, Method::Ode { steps: 0, probes: 1 }), "invalid-option");
    assert_eq!(bits(768, None, Method::Ode { steps: 2, probes: 0 }), "invalid-option");
    assert_eq!(bits(768, None, Method::Bound { timesteps: 1 }), "invalid-option");
    assert_eq!(bits(768, None, Method::Bound { timesteps: 100_000 }), "invalid-option");
}
