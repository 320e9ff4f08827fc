//! One table of requests with the recipes and the first losses that they make: on the command line, through the crate and in browsers
//! alike. `WRITE_REQUESTS=1 cargo test --release --features cli,burn --test train_loop` writes it anew.

#![allow(dead_code, reason = "each test uses its part")]

use serde_json::{Map, Value};

/// Pictures of each of two classes: enough for some to be held out.
pub(crate) const OF_A_CLASS: usize = 120;
pub(crate) const CLASSES: [&str; 2] = ["left", "right"];
pub(crate) const SIDE: usize = 8;

/// A grey picture of 8×8: a bright half on the left or the right, as bright as its number.
pub(crate) fn picture(class: usize, number: usize) -> Vec<u8> {
    let lit = |p: usize| (p % SIDE < SIDE / 2) == (class == 0);
    (0..SIDE * SIDE).map(|p| if lit(p) { 100 + number as u8 } else { (number * 7 % 50) as u8 }).collect()
}

/// All pictures, class by class, and each one's class.
pub(crate) fn pictures() -> (Vec<u8>, Vec<u32>) {
    let all = (0..CLASSES.len()).flat_map(|class| (0..OF_A_CLASS).map(move |number| (class, number)));
    let (pixels, labels): (Vec<_>, Vec<_>) =
        all.map(|(class, number)| (picture(class, number), class as u32)).unzip();
    (pixels.concat(), labels)
}

/// A request with what is made of it.
pub(crate) struct Case {
    /// `{preset?, steps?, batch?, learningRate?, seed?}`
    pub(crate) request: Map<String, Value>,
    pub(crate) recipe: Value,
    /// Of the first steps; none where they take long.
    pub(crate) losses: Vec<f64>,
}

impl Case {
    pub(crate) fn preset(&self) -> Option<String> {
        self.request.get("preset").map(|name| name.as_str().unwrap().to_owned())
    }

    /// The request but for the preset.
    pub(crate) fn changes(&self) -> Map<String, Value> {
        self.request
            .iter()
            .filter(|(name, _)| *name != "preset")
            .map(|(n, v)| (n.clone(), v.clone()))
            .collect()
    }

    pub(crate) fn agrees(&self, losses: &[f32]) {
        for (found, expected) in losses.iter().zip(&self.losses) {
            let error = (f64::from(*found) - expected).abs();
            assert!(error < 1e-4 * expected, "{:?}: {losses:?}, not {:?}", self.request, self.losses);
        }
    }
}

pub(crate) fn cases() -> Vec<Case> {
    let file: Vec<Value> = serde_json::from_str(include_str!("../fixtures/requests.json")).unwrap();
    let case = |case: Value| Case {
        request: case["request"].as_object().unwrap().clone(),
        recipe: case["recipe"].clone(),
        losses: case["losses"].as_array().unwrap().iter().map(|l| l.as_f64().unwrap()).collect(),
    };
    file.into_iter().map(case).collect()
}
