//! What the golden tests share, natively and in the browser: the fixtures that pinned Python wrote, and the value
//! stream that stands for weights and inputs (`tools/golden/stream.py` makes the same numbers).

#![allow(dead_code, reason = "each test binary uses a part")]

#[cfg(feature = "text")]
pub(crate) mod text;

use std::sync::Arc;

use noiseball::network::describe::{Inventory, describe};
use noiseball::network::unet::UNet2DConfig;
use noiseball::rng::Normals;
use serde_json::Value;

pub(crate) const UNET: &str = include_str!("../fixtures/unet.json");
pub(crate) const NCSNPP: &str = include_str!("../fixtures/ncsnpp.json");
pub(crate) const GRADIENTS: &str = include_str!("../fixtures/gradients.json");

/// `count` numbers in [-1, 1] that belong to `key`: splitmix64 from the key's FNV-1a hash.
pub(crate) fn stream(key: &str, count: usize) -> Vec<f64> {
    let seed =
        key.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
    (1..=count as u64)
        .map(|i| {
            let z = seed.wrapping_add(i.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            ((z ^ (z >> 31)) >> 40) as f64 / f64::from(1 << 23) - 1.0
        })
        .collect()
}

pub(crate) fn scaled(key: &str, count: usize, scale: f64) -> Vec<f32> {
    stream(key, count).into_iter().map(|u| (scale * u) as f32).collect()
}

/// The initial image and the noise of a sampler's trace. Noise is added on every step or on every step but the last, so draw d
/// is that of step d - 1.
pub(crate) struct TraceNoise<'a>(pub(crate) &'a str);

impl Normals for TraceNoise<'_> {
    fn normals(&mut self, draw: u32, _: usize, out: &mut [f32]) {
        let values = match draw {
            0 => scaled(&format!("x:{}", self.0), out.len(), 1.7),
            _ => scaled(&format!("noise:{}:{}", self.0, draw - 1), out.len(), 1.0),
        };
        out.copy_from_slice(&values);
    }
}

pub(crate) fn f64s(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

/// The weights that the fixtures' networks have.
pub(crate) fn weight(key: &str, shape: &[usize]) -> Vec<f32> {
    let count = shape.iter().product();
    match shape {
        [_] if key == "time_proj.weight" => scaled(key, count, 4.0),
        [_] if key.ends_with(".weight") => {
            stream(key, count).into_iter().map(|u| (1.0 + 0.25 * u) as f32).collect()
        }
        [_] => scaled(key, count, 0.25),
        _ => scaled(key, count, (3.0 / shape[1..].iter().product::<usize>() as f64).sqrt()),
    }
}

/// One network of the fixtures with the inputs it was run on.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) config: UNet2DConfig,
    pub(crate) shape: [usize; 4],
    pub(crate) timesteps: Vec<f32>,
    pub(crate) labels: Option<Vec<f32>>,
    pub(crate) json: Value,
}

/// All networks that have an output.
pub(crate) fn networks() -> Vec<Case> {
    let mut all = cases(UNET);
    all.extend(cases(NCSNPP));
    all
}

pub(crate) fn cases(json: &str) -> Vec<Case> {
    let file: Value = serde_json::from_str(json).unwrap();
    file["cases"].as_array().unwrap().iter().map(Case::new).collect()
}

impl Case {
    fn new(json: &Value) -> Self {
        let name = json["name"].as_str().unwrap().to_owned();
        let (config, _) = UNet2DConfig::parse(&name, json["config"].as_object().unwrap()).unwrap();
        let shape = <[usize; 4]>::try_from(
            serde_json::from_value::<Vec<usize>>(json["sample_shape"].clone()).unwrap(),
        );
        let shape = shape.unwrap();
        let labels = match &json["labels"] {
            Value::Null => None,
            Value::String(key) => Some(scaled(key, shape[0] * config.time_embedding_dim, 1.0)),
            list => Some(floats(list)),
        };
        Self { timesteps: floats(&json["timesteps"]), config, shape, labels, name, json: json.clone() }
    }

    /// The network, for those who keep one.
    pub(crate) fn config(&self) -> Arc<UNet2DConfig> {
        Arc::new(self.config.clone())
    }

    pub(crate) fn inventory(&self) -> Inventory {
        describe(&self.config, self.shape[0], self.shape[2], self.shape[3])
    }

    pub(crate) fn input(&self) -> Vec<f32> {
        scaled(&format!("input:{}", self.name), self.shape.iter().product(), 1.5)
    }
}

pub(crate) fn floats(json: &Value) -> Vec<f32> {
    json.as_array().unwrap().iter().map(|v| v.as_f64().unwrap() as f32).collect()
}

/// max|a - b| / max|b|; infinite where lengths differ or anything is not a number.
pub(crate) fn relative_error(found: &[f32], expected: &[f32]) -> f32 {
    if found.len() != expected.len() || found.iter().any(|v| !v.is_finite()) {
        return f32::INFINITY;
    }
    let worst = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    worst / expected.iter().map(|v| v.abs()).fold(0.0, f32::max)
}
