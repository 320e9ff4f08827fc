//! A network's parameters in the processor's memory, as the Rust kernels read them.

use std::ops::Range;

#[cfg(feature = "text")]
use half::f16;

#[cfg(feature = "text")]
use super::kernels::compact::{Compact, Span, room, unpack_all};
use super::kernels::product::{PANEL, Panels};
use super::kernels::winograd;
#[cfg(feature = "text")]
use super::parameters::{Matrix, MatrixNumbers, spans};
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
    /// In place of these, what they are unpacked from.
    #[cfg(feature = "text")]
    compact: Option<CompactNumbers>,
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
        Self {
            panels: Vec::new(),
            #[cfg(feature = "text")]
            compact: None,
            rows,
            columns,
            winograd: Vec::new(),
        }
    }

    #[cfg(feature = "text")]
    fn compact(&self) -> Option<Compact<'_>> {
        Some(match self.compact.as_ref()? {
            CompactNumbers::F16(numbers) => Compact::F16(numbers),
            CompactNumbers::Int8 { numbers, scales, spans } => Compact::Int8 { numbers, scales, spans },
        })
    }
}

/// What the panels of a matrix are unpacked from.
#[cfg(feature = "text")]
#[derive(Debug)]
enum CompactNumbers {
    F16(Vec<u16>),
    Int8 { numbers: Vec<i8>, scales: Vec<f32>, spans: Vec<Span> },
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

    /// Gives it its vectors.
    #[cfg(feature = "text")]
    pub(super) fn set_vectors(&mut self, vectors: Vec<f32>) {
        self.vectors = vectors;
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
        Panels {
            #[cfg(feature = "text")]
            compact: m.compact(),
            ..Panels::new(&m.panels, m.rows, m.columns)
        }
    }

    /// Adds a matrix as it is stored.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`](crate::Error) where there is no room for it.
    #[cfg(feature = "text")]
    pub(super) fn put_rows(&mut self, id: MatrixId, matrix: &Matrix, rows: &MatrixNumbers) -> Result<()> {
        fn panels<T: Copy + Default>(rows: usize, columns: usize, values: &[T]) -> Result<Vec<T>> {
            let mut panels = zeros(rows, columns.next_multiple_of(PANEL))?;
            Panels::fill(rows, columns, &mut panels, |row, column| values[row * columns + column]);
            Ok(panels)
        }
        let (count, columns) = (matrix.rows, matrix.columns);
        let compact = match rows {
            MatrixNumbers::F32(values) => return self.put(id, (count, columns), values),
            MatrixNumbers::F16(values) => CompactNumbers::F16(panels(count, columns, values)?),
            MatrixNumbers::Int8 { numbers, scales } => {
                let numbers = panels(count, columns, numbers)?;
                let scales: Vec<f32> = scales.iter().map(|bits| f16::from_bits(*bits).to_f32()).collect();
                match spans(matrix) {
                    None => CompactNumbers::Int8 { numbers, scales, spans: Vec::new() },
                    Some(spans) => {
                        let scales = panels(scales.len() / columns.max(1), columns, &scales)?;
                        CompactNumbers::Int8 { numbers, scales, spans }
                    }
                }
            }
        };
        self.matrices[id.0] = PackedMatrix { compact: Some(compact), ..PackedMatrix::empty(count, columns) };
        Ok(())
    }

    /// Floats that the panels of a matrix take that are unpacked at once; none where none has to be.
    #[cfg(feature = "text")]
    pub(super) fn unpacked(&self) -> usize {
        let compact = self.matrices.iter().filter(|m| m.compact.is_some());
        compact.map(|m| room(m.rows, m.columns)).max().unwrap_or(0)
    }

    /// Makes what [`Self::winograd`] gives, of a matrix whose convolution has so many input channels.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`](crate::Error) where there is no room for it.
    pub(super) fn prepare_winograd(&mut self, id: MatrixId, inputs: usize) -> Result<()> {
        if self.winograd(id).is_none() {
            let mut weights = zeros(winograd::weights_len(inputs, self.matrices[id.0].columns), 1)?;
            let panels = self.panels(id);
            #[cfg(feature = "text")]
            let mut unpacked = Vec::new();
            #[cfg(feature = "text")]
            if let Some(compact) = panels.compact {
                unpacked = zeros(panels.rows, panels.columns.next_multiple_of(PANEL))?;
                unpack_all(compact, [panels.rows, panels.columns], &mut unpacked);
            }
            #[cfg(feature = "text")]
            let panels = match panels.compact {
                Some(_) => Panels::new(&unpacked, panels.rows, panels.columns),
                None => panels,
            };
            winograd::fill_weights(panels, inputs, &mut weights);
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
