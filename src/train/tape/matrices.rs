//! A step's weights as the kernels read them.

use std::collections::HashMap;
use std::sync::OnceLock;

use super::super::parameters::Layout;
use super::Spare;
use crate::engine::kernels::product::Panels;
use crate::engine::kernels::winograd;

/// What is multiplied with a matrix.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// Inputs, by `[taps · inputs][outputs]`.
    Forward,
    /// The result's gradient, by `[taps · outputs][inputs]` with the taps turned round: that gives the input's.
    Backward,
}

/// A product's matrix for one [`Way`], as far as it was asked for.
#[derive(Default)]
struct Packed {
    panels: OnceLock<Vec<f32>>,
    tiles: OnceLock<Vec<f32>>,
}

/// Parameters by name; a matrix is packed when it is first asked for.
pub(in crate::train) struct Matrices<'a> {
    layout: &'a Layout,
    values: &'a [f32],
    spare: &'a Spare,
    packed: HashMap<&'a str, [Packed; 2]>,
}

impl<'a> Matrices<'a> {
    /// Of the vector of all parameters.
    pub(in crate::train) fn new(layout: &'a Layout, values: &'a [f32], spare: &'a Spare) -> Self {
        let modules = layout.trained().filter_map(|(key, ..)| key.strip_suffix(".weight"));
        Self { layout, values, spare, packed: modules.map(|name| (name, Default::default())).collect() }
    }

    /// A parameter as it is stored.
    pub(super) fn vector(&self, name: &str, part: &str) -> &'a [f32] {
        &self.values[self.layout.range(&format!("{name}.{part}"))]
    }

    /// The matrix of a convolution of 9 `taps`, or of a linear map.
    pub(super) fn panels(&self, name: &str, taps: usize, way: Way) -> Panels<'_> {
        let weights = self.vector(name, "weight");
        let outputs = self.vector(name, "bias").len();
        let inputs = weights.len() / outputs / taps;
        let (rows, columns) = if way == Way::Forward { (inputs, outputs) } else { (outputs, inputs) };
        let rows = taps * rows;
        let pack = || {
            let mut panels = self.spare.take(Panels::len_of(rows, columns));
            pack(weights, (outputs, inputs, taps), way, &mut panels);
            panels
        };
        Panels::new(self.packed[name][way as usize].panels.get_or_init(pack), rows, columns)
    }

    /// The matrices of a convolution by tiles.
    pub(super) fn tiles(&self, name: &str, way: Way) -> &[f32] {
        self.packed[name][way as usize].tiles.get_or_init(|| {
            let panels = self.panels(name, 9, way);
            let inputs = panels.rows / 9;
            let mut tiles = self.spare.take(winograd::weights_len(inputs, panels.columns));
            winograd::fill_weights(panels, inputs, &mut tiles);
            tiles
        })
    }
}

impl Drop for Matrices<'_> {
    fn drop(&mut self) {
        for packed in self.packed.values_mut().flatten() {
            for buffer in [packed.panels.take(), packed.tiles.take()].into_iter().flatten() {
                self.spare.give(buffer);
            }
        }
    }
}

/// Packs `[outputs, inputs, taps]`.
fn pack(weights: &[f32], (outputs, inputs, taps): (usize, usize, usize), way: Way, panels: &mut [f32]) {
    if way == Way::Forward {
        Panels::fill(taps * inputs, outputs, panels, |row, column| {
            weights[(column * inputs + row % inputs) * taps + row / inputs]
        });
    } else {
        Panels::fill(taps * outputs, inputs, panels, |row, column| {
            weights[(row % outputs * inputs + column) * taps + taps - 1 - row / outputs]
        });
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
