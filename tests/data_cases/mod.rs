//! The cases of tests/fixtures/data_cases.json, which tools/golden/data_cases.py makes: small files, and what Pillow and numpy say
//! that they hold. The terminal's reader and the page's must both make that of them.

use serde_json::Value;

/// Some files, and what is expected of them.
pub(crate) struct Case {
    pub(crate) name: String,
    /// Paths and bytes.
    pub(crate) files: Vec<(String, Vec<u8>)>,
    /// False where folders and labels are ignored.
    pub(crate) classes: bool,
    expected: Value,
}

/// What was made of the files.
pub(crate) struct Outcome {
    pub(crate) shape: [usize; 3],
    pub(crate) pixels: Vec<u8>,
    pub(crate) names: Vec<String>,
    pub(crate) labels: Option<Vec<u32>>,
    /// Names and reasons.
    pub(crate) left_out: Vec<(String, String)>,
    pub(crate) notes: Vec<String>,
}

/// All cases.
pub(crate) fn cases() -> Vec<Case> {
    let cases: Vec<Value> = serde_json::from_str(include_str!("../fixtures/data_cases.json")).unwrap();
    let text = |v: &Value| v.as_str().unwrap().to_owned();
    cases
        .iter()
        .map(|case| Case {
            name: text(&case["name"]),
            files: list(&case["files"])
                .iter()
                .map(|f| (text(&f[0]), base64(f[1].as_str().unwrap())))
                .collect(),
            classes: case["options"]["classes"] != false,
            expected: case["expected"].clone(),
        })
        .collect()
}

impl Case {
    /// What is wrong with an outcome, if anything.
    pub(crate) fn compare(&self, outcome: Result<Outcome, String>) -> Result<(), String> {
        let outcome = match (self.expected["error"].as_str(), outcome) {
            (Some(expected), Err(found)) if found.contains(expected) => return Ok(()),
            (Some(expected), Err(found)) => return Err(format!("{found:?} instead of {expected:?}")),
            (Some(expected), Ok(_)) => return Err(format!("no error, instead of {expected:?}")),
            (None, Err(found)) => return Err(found),
            (None, Ok(outcome)) => outcome,
        };
        let numbers = |v: &Value| list(v).iter().map(|n| n.as_u64().unwrap()).collect::<Vec<_>>();
        let shape = outcome.shape.map(|n| n as u64);
        let names: Vec<&str> = list(&self.expected["names"]).iter().map(|n| n.as_str().unwrap()).collect();
        let labels = outcome.labels.map(|l| l.iter().map(|n| u64::from(*n)).collect::<Vec<_>>());
        let expected_labels = self.expected["labels"].as_array().map(|_| numbers(&self.expected["labels"]));
        let part = |v: &Value, text: &str| text.contains(v.as_str().unwrap());
        check("names", &outcome.names.iter().map(String::as_str).collect::<Vec<_>>(), &names)?;
        check("labels", &labels, &expected_labels)?;
        let left_out = list(&self.expected["left_out"]);
        let fits = |((name, why), wanted): (&(String, String), &Value)| {
            name == wanted[0].as_str().unwrap() && part(&wanted[1], why)
        };
        if outcome.left_out.len() != left_out.len() || !outcome.left_out.iter().zip(left_out).all(fits) {
            return Err(format!("left out {:?} instead of {left_out:?}", outcome.left_out));
        }
        if let Some(missing) =
            list(&self.expected["notes"]).iter().find(|n| !outcome.notes.iter().any(|o| part(n, o)))
        {
            return Err(format!("{:?} without {missing}", outcome.notes));
        }
        let expected = base64(self.expected["pixels"].as_str().unwrap());
        let channels =
            expected.len() as u64 / self.expected["count"].as_u64().unwrap() / (shape[1] * shape[2]);
        check("shape", &shape.to_vec(), &numbers(&self.expected["shape"]))?;
        let tolerance = self.expected["tolerance"].as_u64().unwrap() as u8;
        // Where a set has both, pictures in grey are expected in colour.
        let expected =
            if channels == shape[0] { expected } else { return Err("the case's own pixels".to_owned()) };
        check("bytes", &outcome.pixels.len(), &expected.len())?;
        let differs = outcome.pixels.iter().zip(&expected).position(|(a, b)| a.abs_diff(*b) > tolerance);
        match differs {
            Some(at) => Err(format!("number {at} is {} instead of {}", outcome.pixels[at], expected[at])),
            None => Ok(()),
        }
    }
}

fn check<T: PartialEq + std::fmt::Debug>(what: &str, found: &T, expected: &T) -> Result<(), String> {
    if found == expected { Ok(()) } else { Err(format!("{what} {found:?} instead of {expected:?}")) }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// The bytes that a text in base64 stands for.
fn base64(text: &str) -> Vec<u8> {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits = text.bytes().take_while(|b| *b != b'=');
    let (mut bytes, mut bits, mut value) = (Vec::new(), 0, 0u32);
    for digit in digits {
        value = value << 6 | DIGITS.iter().position(|d| *d == digit).unwrap() as u32;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push((value >> bits) as u8);
        }
    }
    bytes
}
