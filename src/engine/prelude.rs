//! The prelude: what depends on timesteps and labels alone, computed once for a run.
//!
//! It is a few products of short vectors, so that the processor computes it for every executor; a GPU gets the result uploaded.

use super::kernels::activation::activate;
use super::kernels::product::{Epilogue, PixelRuns, Product, multiply};
use super::packed::Packed;
use super::plan::{Plan, PreludeOp, RowId};
use crate::network::unet::Conditioning;

/// Which rows of the prelude the samples of an evaluation read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rows {
    /// The first sample's.
    pub first: usize,
    /// From one sample to the next: 1, or 0 where all share one.
    pub stride: usize,
}

/// Computes the prelude for all rows of a run: `given` holds a row of each of its inputs for each timestep of the run, and for
/// each label where there are some. The result is the prelude's buffer.
#[must_use]
pub fn prelude(plan: &Plan, packed: &Packed, given: &Conditioning<Vec<f32>>) -> Vec<f32> {
    let p = &plan.prelude;
    let width = |row: RowId| p.rows[row.0].width;
    let count = p.time.map_or(0, |time| given.time.len() / width(time));
    let range = |row: RowId| count * p.rows[row.0].start..count * p.rows[row.0].start + count * width(row);
    let mut buffer = vec![0.0; count * p.width()];
    let inputs = [
        (p.time, Some(&given.time)),
        (p.class, given.class.as_ref()),
        (p.inverse_time, given.inverse_time.as_ref()),
    ];
    for (row, values) in inputs {
        if let (Some(row), Some(values)) = (row, values) {
            buffer[range(row)].copy_from_slice(values);
        }
    }
    for op in &p.ops {
        match op {
            PreludeOp::Gather { indices, table, output } => {
                let table = packed.panels(*table);
                for i in 0..count {
                    let row = buffer[range(*indices)][i] as usize;
                    let width = width(*output);
                    table.copy_row(row, &mut buffer[range(*output)][i * width..][..width]);
                }
            }
            PreludeOp::Linear { input, activation, matrix, bias, output } => {
                let mut rows = buffer[range(*input)].to_vec();
                if let Some(activation) = activation {
                    activate(*activation, &mut rows);
                }
                let len = width(*input);
                let runs = PixelRuns { data: &rows, start: 0, top: 0, row: 0, pixel: len, shift: 0, len };
                let bias = packed.vector(*bias);
                let product = Product {
                    inputs: &[runs],
                    panels: packed.panels(*matrix),
                    width: count,
                    epilogue: Epilogue { bias, time: &[], residual: None, scale: 1.0 },
                };
                multiply(&product, 0..count, &mut buffer[range(*output)], width(*output));
            }
            PreludeOp::Add { a, b, output } => {
                let (a, b, output) = (range(*a), range(*b), range(*output));
                for i in 0..output.len() {
                    buffer[output.start + i] = buffer[a.start + i] + buffer[b.start + i];
                }
            }
        }
    }
    buffer
}
