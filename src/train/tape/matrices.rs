//! A step's weights as the kernels read them.

use std::collections::HashMap;
use std::sync::OnceLock;

use super::super::parameters::Layout;
use crate::engine::kernels::product::Panels;

/// A product's matrix in panels.
pub(super) struct Matrix {
    /// `[taps · inputs][outputs]`.
    pub(super) forward: Vec<f32>,
    /// `[taps · outputs][inputs]`, the taps turned round: the product of a result's gradient with it is the input's.
    pub(super) backward: Vec<f32>,
}

/// Parameters by name; a matrix is packed when it is first asked for.
pub(in crate::train) struct Matrices<'a> {
    layout: &'a Layout,
    values: &'a [f32],
    packed: HashMap<&'a str, OnceLock<Matrix>>,
}

impl<'a> Matrices<'a> {
    /// Of the vector of all parameters.
    pub(in crate::train) fn new(layout: &'a Layout, values: &'a [f32]) -> Self {
        let modules = layout.trained().filter_map(|(key, ..)| key.strip_suffix(".weight"));
        Self { layout, values, packed: modules.map(|name| (name, OnceLock::new())).collect() }
    }

    /// A parameter as it is stored.
    pub(super) fn vector(&self, name: &str, part: &str) -> &'a [f32] {
        &self.values[self.layout.range(&format!("{name}.{part}"))]
    }

    /// The matrix of a convolution of 9 `taps`, or of a linear map.
    pub(super) fn get(&self, name: &str, taps: usize) -> &Matrix {
        self.packed[name].get_or_init(|| {
            let weights = self.vector(name, "weight");
            let outputs = self.vector(name, "bias").len();
            pack(weights, outputs, weights.len() / outputs / taps, taps)
        })
    }
}

/// Packs `[outputs, inputs, taps]`.
fn pack(weights: &[f32], outputs: usize, inputs: usize, taps: usize) -> Matrix {
    let packed = |rows: usize, columns: usize, at: &dyn Fn(usize) -> usize, step: usize| {
        let mut panels = vec![0.0; Panels::len_of(rows, columns)];
        let starts: Vec<usize> = (0..rows).map(at).collect();
        Panels::fill(rows, columns, &mut panels, |row, column| weights[starts[row] + column * step]);
        panels
    };
    Matrix {
        forward: packed(taps * inputs, outputs, &|row| (row % inputs) * taps + row / inputs, inputs * taps),
        backward: packed(
            taps * outputs,
            inputs,
            &|row| (row % outputs) * inputs * taps + (taps - 1 - row / outputs),
            taps,
        ),
    }
}

/// The gradients of all parameters in the checkpoint's layout: those of matrices are summed as `[taps · inputs][outputs]`.
pub(super) fn to_checkpoint(layout: &Layout, gradient: &[f32]) -> Vec<f32> {
    let mut out = vec![0.0; gradient.len()];
    for (key, shape, range) in layout.trained() {
        let (from, to) = (&gradient[range.clone()], &mut out[range]);
        // A table has no bias, and its rows' gradients lie as they are.
        let is_product =
            key.strip_suffix("weight").is_some_and(|module| layout.has(&format!("{module}bias")));
        let ([outputs, inputs, window @ ..], true) = (shape, is_product) else {
            to.copy_from_slice(from);
            continue;
        };
        let (outputs, inputs, taps) = (*outputs, *inputs, window.iter().product::<usize>());
        for (output, to) in to.chunks_exact_mut(inputs * taps).enumerate().take(outputs) {
            for (at, to) in to.iter_mut().enumerate() {
                let (input, tap) = (at / taps, at % taps);
                *to = from[(tap * inputs + input) * outputs + output];
            }
        }
    }
    out
}
