//! The tape's predictions and gradients beside burn's, on every U-Net of the golden fixtures.

use burn::tensor::{Device, Tensor, TensorData};
use serde_json::{Value, json};

use super::{Matrices, Pass, Spare};
use crate::network::Network as _;
use crate::network::describe::describe;
use crate::network::on_burn;
use crate::network::unet::{ClassEmbedding, TimeEmbedding, UNet2DConfig};
use crate::train::dataset::Pixels;
use crate::train::draws::Draws;
use crate::train::parameters::{Layout, upload};
use crate::train::{Dataset, Preset, Recipe};

/// One network's fixture, with more samples than go into a part.
struct Case {
    config: UNet2DConfig,
    layout: Layout,
    weights: Vec<f32>,
    frequencies: Vec<f32>,
    shape: [usize; 4],
    timesteps: Vec<f32>,
    labels: Option<Vec<f32>>,
}

impl Case {
    /// A fixture, with so many samples.
    fn read(case: &Value, samples: usize) -> Self {
        let (config, _) = UNet2DConfig::parse("config", case["config"].as_object().unwrap()).unwrap();
        let shape: Vec<usize> = serde_json::from_value(case["sample_shape"].clone()).unwrap();
        let shape = [samples, shape[1], shape[2], shape[3]];
        let parameters = describe(&config, 1, shape[2], shape[3]).parameters;
        let fourier = config.time_embedding_type == TimeEmbedding::Fourier;
        let layout = Layout::new(parameters, fourier.then_some("time_proj.weight"), Vec::new());
        let (weights, frequencies) = layout.initial(Draws::new(7));
        let given: Vec<f32> = serde_json::from_value(case["timesteps"].clone()).unwrap();
        let cycle = |values: &[f32]| -> Vec<f32> { values.iter().cycle().take(samples).copied().collect() };
        let labels = match config.class_embedding {
            ClassEmbedding::None => None,
            ClassEmbedding::Identity(width) => Some(Draws::new(8).initial_normals(0, samples * width)),
            _ => Some(cycle(&serde_json::from_value::<Vec<f32>>(case["labels"].clone()).unwrap())),
        };
        Self { timesteps: cycle(&given), config, layout, weights, frequencies, shape, labels }
    }

    /// Standard normals of a shape with `channels`.
    fn numbers(&self, seed: u64, channels: usize) -> Vec<f32> {
        let [batch, _, height, width] = self.shape;
        Draws::new(seed).initial_normals(0, batch * channels * height * width)
    }

    /// Prediction and gradient by the tape, in memory that was used before or not.
    fn on_tape(&self, x: &[f32], seed: &[f32], spare: &Spare) -> (Vec<f32>, Vec<f32>) {
        let features =
            self.config.features(&self.timesteps, self.labels.as_deref(), &self.frequencies).unwrap();
        let matrices = Matrices::new(&self.layout, &self.weights, spare);
        let (prediction, pass) =
            Pass::forward(&self.config, &matrices, spare, (x, self.shape), &features).unwrap();
        (prediction, pass.backward(&self.layout, seed))
    }

    /// The same by burn.
    fn on_burn(&self, x: &[f32], seed: &[f32]) -> (Vec<f32>, Vec<f32>) {
        let device = Device::flex();
        let leaves = self.layout.leaves(&upload(self.weights.clone(), &device));
        let image =
            |values: &[f32], shape| Tensor::<4>::from_data(TensorData::new(values.to_vec(), shape), &device);
        let labels = self.labels.as_deref();
        let x = image(x, self.shape).autodiff();
        let y =
            on_burn::forward(&self.config, &leaves, &self.frequencies, x, &self.timesteps, labels).unwrap();
        let shape = y.dims();
        let gradients = (y.clone() * image(seed, shape)).sum().backward();
        let host = |t: Tensor<1>| t.into_data().try_into_vec::<f32>().unwrap();
        (host(y.without_autodiff().flatten(0, 3)), host(self.layout.gradient(&leaves, gradients, &device)))
    }
}

fn largest(values: &[f32]) -> f32 {
    values.iter().fold(0.0, |m, x| m.max(x.abs()))
}

/// The largest difference, as a share of the largest number or of `floor`.
fn distance(a: &[f32], b: &[f32], floor: f32) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).fold(0f32, |m, (a, b)| m.max((a - b).abs())) / largest(b).max(floor)
}

#[test]
fn every_network_has_burns_prediction_and_gradients() {
    let read = |text| -> Value { serde_json::from_str(text).unwrap() };
    let files = [
        read(include_str!("../../../tests/fixtures/unet.json")),
        read(include_str!("../../../tests/fixtures/ncsnpp.json")),
    ];
    let cases: Vec<&Value> = files.iter().flat_map(|file| file["cases"].as_array().unwrap()).collect();
    assert!(cases.len() >= 61);
    for case in cases {
        assert_agrees(&case["name"], &Case::read(case, 18));
    }
}

/// The network of a preset: products of tiles, some of which reach beyond the image, and of which the last are fewer than are taken
/// together.
fn preset() -> Case {
    let data =
        Dataset { shape: [3, 12, 20], pixels: Pixels::Bytes(vec![0; 720]), labels: None, names: Vec::new() };
    let config = Recipe::preset(Preset::Small, &data).unwrap().unet;
    let case = json!({ "config": config, "sample_shape": [1, 3, 12, 20], "timesteps": [1.0, 300.0, 999.0] });
    Case::read(&case, 37)
}

#[test]
fn a_preset_has_burns_prediction_and_gradients() {
    assert_agrees(&"small".into(), &preset());
}

fn assert_agrees(name: &Value, case: &Case) {
    let (x, seed) = (case.numbers(1, case.config.in_channels), case.numbers(2, case.config.out_channels));
    let (prediction, gradient) = case.on_tape(&x, &seed, &Spare::default());
    let (expected_prediction, expected) = case.on_burn(&x, &seed);
    let off = distance(&prediction, &expected_prediction, 0.0);
    assert!(off < 2e-5, "{name}: the prediction is off by {off}");
    // Some gradients are 0 but for rounding: a key's bias, which softmax does not see, and what a normalisation takes away.
    let floor = 0.01 * largest(&expected);
    for (key, _, range) in case.layout.trained() {
        let off = distance(&gradient[range.clone()], &expected[range], floor);
        assert!(off < 2e-4, "{name}: the gradient of {key} is off by {off}");
    }
}

#[test]
fn the_numbers_are_the_same_for_any_number_of_threads() {
    let case = preset();
    let (x, seed) = (case.numbers(1, 3), case.numbers(2, 3));
    let spare = Spare::default();
    let with = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| case.on_tape(&x, &seed, &spare))
    };
    let one = with(1);
    assert!([2, 3, 5].into_iter().all(|threads| with(threads) == one));
}
