//! A network's trained numbers as one vector, so that an optimiser's step is a few operations whatever the number of
//! layers.

use std::collections::HashMap;
use std::ops::Range;

use burn::tensor::{Device, Gradients, Tensor, TensorData};

use super::draws::Draws;
use crate::error::Result;
use crate::network::on_burn::{Parameter, Parameters};

/// Where each parameter of a network stands in the vector.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    keys: Vec<(String, Vec<usize>)>,
    ranges: HashMap<String, Range<usize>>,
    /// The key of the Fourier frequencies, which are not trained, and their number.
    frequencies: Option<(String, usize)>,
    /// The last of the keys, which are the objective's and no network's.
    objectives: usize,
}

/// diffusers' scale of the random Fourier frequencies.
const FREQUENCY_SCALE: f32 = 16.0;

impl Layout {
    /// Of a network's `parameters`, of which `fixed` is not trained, and of what an objective learns beside.
    pub(super) fn new(
        parameters: Vec<(String, Vec<usize>)>,
        fixed: Option<&str>,
        objectives: Vec<(String, Vec<usize>)>,
    ) -> Self {
        let is_fixed = |(key, _): &(String, Vec<usize>)| Some(key.as_str()) == fixed;
        let frequencies = parameters.iter().find(|p| is_fixed(p));
        let frequencies = frequencies.map(|(key, shape)| (key.clone(), shape.iter().product()));
        let (fixed, count) = (frequencies, objectives.len());
        let keys: Vec<_> = parameters.into_iter().filter(|p| !is_fixed(p)).chain(objectives).collect();
        let mut end = 0;
        let range = |(key, shape): &(String, Vec<usize>)| {
            let start = end;
            end += shape.iter().product::<usize>();
            (key.clone(), start..end)
        };
        Self { ranges: keys.iter().map(range).collect(), frequencies: fixed, objectives: count, keys }
    }

    /// Every trained parameter: its key, its shape and where it stands in the vector.
    pub(super) fn trained(&self) -> impl Iterator<Item = (&str, &[usize], Range<usize>)> {
        self.keys.iter().map(|(key, shape)| (key.as_str(), shape.as_slice(), self.range(key)))
    }

    /// Where a trained parameter stands in the vector.
    pub(super) fn range(&self, key: &str) -> Range<usize> {
        self.ranges[key].clone()
    }

    /// Whether a key is a trained parameter's.
    pub(super) fn has(&self, key: &str) -> bool {
        self.ranges.contains_key(key)
    }

    /// Number of trained numbers.
    pub(super) fn len(&self) -> usize {
        self.keys.iter().map(|(_, shape)| shape.iter().product::<usize>()).sum()
    }

    /// PyTorch's initial values: weights and biases of convolutions and linear maps uniform within `1/√fan_in` (its
    /// Kaiming rule with a = √5), tables normal, normalisations 1 and 0, and an objective's 0. Also the Fourier frequencies.
    pub(super) fn initial(&self, draws: Draws) -> (Vec<f32>, Vec<f32>) {
        let mut values = Vec::with_capacity(self.len());
        let mut bound = 0.0;
        for (index, (key, shape)) in self.keys.iter().enumerate() {
            let len: usize = shape.iter().product();
            if index >= self.keys.len() - self.objectives {
                values.extend(std::iter::repeat_n(0.0, len));
                continue;
            }
            let (module, is_weight) =
                (key.rsplit_once('.').map_or("", |(module, _)| module), key.ends_with(".weight"));
            let has_bias = self.keys.iter().any(|(k, _)| k.strip_suffix(".bias") == Some(module));
            match (is_weight, shape.len()) {
                (true, 1) => {
                    bound = 0.0;
                    values.extend(std::iter::repeat_n(1.0, len));
                }
                (true, _) if !has_bias => values.extend(draws.initial_normals(index, len)),
                (true, _) => {
                    bound = 1.0 / ((len / shape[0]) as f64).sqrt();
                    values.extend(draws.initial_uniforms(index, len, bound));
                }
                (false, _) => values.extend(draws.initial_uniforms(index, len, bound)),
            }
        }
        let frequencies = self.frequencies.as_ref().map_or_else(Vec::new, |(_, len)| {
            draws.initial_normals(self.keys.len(), *len).iter().map(|v| v * FREQUENCY_SCALE).collect()
        });
        (values, frequencies)
    }

    /// The vector of a checkpoint's parameters, and its Fourier frequencies.
    pub(super) fn gather(
        &self,
        mut take: impl FnMut(&str, &[usize]) -> Result<Vec<f32>>,
    ) -> Result<(Vec<f32>, Vec<f32>)> {
        let mut values = Vec::with_capacity(self.len());
        for (key, shape) in &self.keys {
            values.extend(take(key, shape)?);
        }
        let frequencies =
            self.frequencies.as_ref().map_or(Ok(Vec::new()), |(key, len)| take(key, &[*len]))?;
        Ok((values, frequencies))
    }

    /// The vector's pieces, `(key, shape, values)`, and the frequencies as a parameter among them.
    pub(super) fn pieces<'a>(
        &'a self,
        values: &'a [f32],
        frequencies: &'a [f32],
    ) -> impl Iterator<Item = (&'a str, Vec<usize>, &'a [f32])> {
        let mut rest = values;
        let trained = self.keys.iter().map(move |(key, shape)| {
            let (piece, after) = rest.split_at(shape.iter().product());
            rest = after;
            (key.as_str(), shape.clone(), piece)
        });
        let fixed = self.frequencies.iter().map(move |(key, len)| (key.as_str(), vec![*len], frequencies));
        trained.chain(fixed)
    }

    /// The vector's pieces as parameters.
    pub(super) fn parameters(&self, vector: &Tensor<1>) -> Parameters {
        self.cut(vector, |parameter| parameter)
    }

    /// The parameters as leaves that collect gradients. They are made in order: the order decides that of sums in the
    /// backward pass, and so the last bits of a run.
    pub(super) fn leaves(&self, vector: &Tensor<1>) -> Parameters {
        self.cut(vector, Parameter::leaf)
    }

    fn cut(&self, vector: &Tensor<1>, finish: impl Fn(Parameter) -> Parameter) -> Parameters {
        let mut at = 0;
        let parameter = |(key, shape): &(String, Vec<usize>)| {
            let len: usize = shape.iter().product();
            let piece = vector.clone().narrow(0, at, len);
            at += len;
            (key.clone(), finish(Parameter::new(piece, shape)))
        };
        self.keys.iter().map(parameter).collect()
    }

    /// What the objective learned, the end of the vector.
    pub(super) fn learned<'a>(&self, values: &'a [f32]) -> &'a [f32] {
        let objectives = &self.keys[self.keys.len() - self.objectives..];
        let len: usize = objectives.iter().map(|(_, shape)| shape.iter().product::<usize>()).sum();
        &values[values.len() - len..]
    }

    /// The gradients of [`Self::leaves`] as a vector.
    pub(super) fn gradient(
        &self,
        leaves: &Parameters,
        mut gradients: Gradients,
        device: &Device,
    ) -> Tensor<1> {
        let piece = |(key, shape): &(String, Vec<usize>)| {
            leaves[key]
                .take_gradient(&mut gradients)
                .unwrap_or_else(|| Tensor::zeros([shape.iter().product::<usize>()], device))
        };
        Tensor::cat(self.keys.iter().map(piece).collect(), 0)
    }
}

/// `values` on a device.
pub(super) fn upload(values: Vec<f32>, device: &Device) -> Tensor<1> {
    let len = values.len();
    Tensor::from_data(TensorData::new(values, [len]), device)
}
