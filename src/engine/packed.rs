//! A network's parameters in the processor's memory, as the Rust kernels read them.

use std::ops::Range;

use super::kernels::product::{PANEL, Panels};
use super::kernels::winograd;
use super::parameters::{MatrixId, Parameters, Take, VectorId, zeros};
use crate::error::Result;

/// A network's parameters as the kernels read them.
#[derive(Debug)]
pub struct Packed {
    matrices: Vec<PackedMatrix>,
    vectors: Vec<f32>,
    spans: Vec<Range<usize>>,
}

#[derive(Debug)]
struct PackedMatrix {
    panels: Vec<f32>,
    rows: usize,
    columns: usize,
    /// What the products of a convolution by tiles read instead, where some plan has it computed so.
    winograd: Vec<f32>,
}

impl PackedMatrix {
    fn new(rows: usize, columns: usize, values: &[f32]) -> Result<Self> {
        let mut panels = zeros(rows, columns.next_multiple_of(PANEL))?;
        Panels::fill(rows, columns, &mut panels, |row, column| values[row * columns + column]);
        Ok(Self { panels, ..Self::empty(rows, columns) })
    }

    fn empty(rows: usize, columns: usize) -> Self {
        Self { panels: Vec::new(), rows, columns, winograd: Vec::new() }
    }
}

impl Packed {
    /// Packs the parameters: `take` is asked for each key once, with its shape, and gives its numbers in row-major
    /// order. No more than one matrix is held twice at a time.
    ///
    /// # Errors
    /// Those of `take`.
    pub fn new(
        parameters: &Parameters,
        mut take: impl FnMut(&str, &[usize]) -> Result<Vec<f32>>,
    ) -> Result<Self> {
        Self::load(parameters, &mut take)
    }

    pub(super) fn load(parameters: &Parameters, take: Take) -> Result<Self> {
        let mut matrices = Vec::with_capacity(parameters.matrices.len());
        for matrix in &parameters.matrices {
            let (rows, columns) = (matrix.rows, matrix.columns);
            matrices.push(PackedMatrix::new(rows, columns, &matrix.pack(take)?)?);
        }
        let vectors = parameters.pack_vectors(take)?;
        let spans = parameters.vectors.iter().map(|v| v.start..v.start + v.len).collect();
        Ok(Self { matrices, vectors, spans })
    }

    /// A network's vectors, and as yet none of its matrices.
    #[must_use]
    pub fn of_vectors(parameters: &Parameters, vectors: Vec<f32>) -> Self {
        let none = |_| PackedMatrix::empty(0, 0);
        let spans = parameters.vectors.iter().map(|v| v.start..v.start + v.len).collect();
        Self { matrices: parameters.matrices.iter().map(none).collect(), vectors, spans }
    }

    /// Adds a matrix, given row by row.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`](crate::Error) where there is no room for it.
    pub fn put(&mut self, id: MatrixId, (rows, columns): (usize, usize), values: &[f32]) -> Result<()> {
        self.matrices[id.0] = PackedMatrix::new(rows, columns, values)?;
        Ok(())
    }

    pub(super) fn panels(&self, id: MatrixId) -> Panels<'_> {
        let m = &self.matrices[id.0];
        Panels { data: &m.panels, rows: m.rows, columns: m.columns }
    }

    /// Makes what [`Self::winograd`] gives, of a matrix whose convolution has so many input channels.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`](crate::Error) where there is no room for it.
    pub(super) fn prepare_winograd(&mut self, id: MatrixId, inputs: usize) -> Result<()> {
        if self.winograd(id).is_none() {
            let mut weights = zeros(winograd::weights_len(inputs, self.matrices[id.0].columns), 1)?;
            winograd::fill_weights(self.panels(id), inputs, &mut weights);
            self.matrices[id.0].winograd = weights;
        }
        Ok(())
    }

    /// A convolution's matrices for products of tiles.
    pub(super) fn winograd(&self, id: MatrixId) -> Option<&[f32]> {
        Some(&self.matrices[id.0].winograd[..]).filter(|weights| !weights.is_empty())
    }

    pub(super) fn vector(&self, id: VectorId) -> &[f32] {
        &self.vectors[self.spans[id.0].clone()]
    }
}
