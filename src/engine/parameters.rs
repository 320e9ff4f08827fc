//! How a checkpoint's tensors become the matrices and vectors that the plan's operations read.
//!
//! Every convolution and linear map multiplies pixels (rows) by one matrix `[inputs][outputs]`. A matrix is pasted
//! together from one or more tensors, each transposed from PyTorch's packing: q, k and v stand side by side, a 1×1
//! shortcut stands below the 3×3 convolution whose result it is added to. The recipes depend on the network alone, not
//! on the size or number of images, so parameters are packed once.

#[cfg(feature = "text")]
use super::kernels::compact::Span;
use super::kernels::product::PANEL;
use crate::error::{Error, Result};
#[cfg(feature = "text")]
use crate::sort::sort;

/// Gives a parameter's numbers, row-major, by its key and shape.
pub type Take<'a> = &'a mut dyn FnMut(&str, &[usize]) -> Result<Vec<f32>>;

/// A matrix of zeros.
///
/// # Errors
/// [`Error::OutOfMemory`] where there is no room for it.
pub(in crate::engine) fn zeros<T: Clone + Default>(rows: usize, columns: usize) -> Result<Vec<T>> {
    let mut zeros = Vec::new();
    let reserved = rows.checked_mul(columns).filter(|len| zeros.try_reserve_exact(*len).is_ok());
    let len = reserved.ok_or_else(|| too_large_matrix(rows, columns))?;
    zeros.resize(len, T::default());
    Ok(zeros)
}

fn too_large_matrix(rows: usize, columns: usize) -> Error {
    Error::OutOfMemory { problem: format!("a matrix of {rows} times {columns} weights") }
}

/// Position of a [`Matrix`] in [`Parameters::matrices`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MatrixId(pub usize);

/// Position of a [`Vector`] in [`Parameters::vectors`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VectorId(pub usize);

/// How a tensor is arranged in a matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    /// A linear map `[out, in]` or convolution `[out, in, height, width]`: row `tap · in + i`, column `o`, with taps in
    /// reading order. A convolution's input pixels are then contiguous in NHWC images, tap by tap.
    Transposed,
    /// A table `[rows, width]`, as it is.
    Table,
}

/// A tensor of the checkpoint and its place in a matrix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MatrixPart {
    /// Its key.
    pub key: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// How it is arranged there.
    pub packing: Packing,
    /// Row of its first number.
    pub row: usize,
    /// Column of its first number.
    pub column: usize,
}

impl MatrixPart {
    /// Rows and columns it takes.
    #[must_use]
    pub fn size(&self) -> [usize; 2] {
        match self.packing {
            Packing::Transposed => [self.shape[1..].iter().product(), self.shape[0]],
            Packing::Table => [self.shape[0], self.shape[1..].iter().product()],
        }
    }

    /// Puts the tensor's numbers, in PyTorch's row-major order, to their places in the matrix, whose rows lie `stride` numbers apart.
    pub(super) fn put<T>(&self, values: impl Iterator<Item = T>, matrix: &mut [T], stride: usize) {
        let [rows, columns] = self.size();
        let mut put = |row: usize, column: usize, value: T| {
            matrix[(self.row + row) * stride + self.column + column] = value;
        };
        match self.packing {
            Packing::Table => {
                for (i, value) in values.enumerate() {
                    put(i / columns, i % columns, value);
                }
            }
            Packing::Transposed => {
                let inputs = self.shape[1];
                let taps = rows / inputs;
                for (i, value) in values.enumerate() {
                    let (output, input, tap) = (i / rows, i / taps % inputs, i % taps);
                    put(tap * inputs + input, output, value);
                }
            }
        }
    }
}

/// A matrix and how it is packed. Places that no part covers are zero.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Matrix {
    /// The tensors it is made of.
    pub parts: Vec<MatrixPart>,
    /// Rows: inputs, or the rows of a table.
    pub rows: usize,
    /// Columns: outputs, or the width of a table.
    pub columns: usize,
}

impl Matrix {
    /// Its numbers, row by row. `take` is asked once for each part's key and shape and gives the tensor's numbers in
    /// PyTorch's row-major order.
    ///
    /// # Errors
    /// Those of `take`.
    pub fn pack(&self, take: Take) -> Result<Vec<f32>> {
        let mut packed = zeros(self.rows, self.columns)?;
        for part in &self.parts {
            let values = take(&part.key, &part.shape)?;
            part.put(values.into_iter(), &mut packed, self.columns);
        }
        Ok(packed)
    }
}

/// Whether a matrix is a table.
#[cfg(feature = "text")]
pub(super) fn is_table(matrix: &Matrix) -> bool {
    matches!(&matrix.parts[..], [part] if part.packing == Packing::Table)
}

/// Which rows of a matrix are which tensors', where those of tensors side by side are the same and no row is left over: so that a
/// row's numbers all belong to groups of the same number. None of a table.
#[cfg(feature = "text")]
pub(super) fn spans(matrix: &Matrix) -> Option<Vec<Span>> {
    let mut found: Vec<(usize, Span)> = Vec::new();
    for part in &matrix.parts {
        let span = match (part.packing, &part.shape[..]) {
            (Packing::Transposed, [_, inputs, window @ ..]) => {
                Span { inputs: *inputs, taps: window.iter().product() }
            }
            _ => return None,
        };
        if !found.contains(&(part.row, span)) {
            found.push((part.row, span));
        }
    }
    sort(&mut found, &|(a, _), (b, _)| a < b);
    let mut end = 0;
    for (row, span) in &found {
        if *row != end {
            return None;
        }
        end += span.rows();
    }
    (end == matrix.rows).then(|| found.into_iter().map(|(_, span)| span).collect())
}

/// The numbers of a matrix, row by row, as they are stored.
#[cfg(feature = "text")]
pub(super) enum MatrixNumbers {
    F32(Vec<f32>),
    F16(Vec<u16>),
    Int8 {
        numbers: Vec<i8>,
        /// A row for each group of each span; of a table, `[rows][groups]`.
        scales: Vec<u16>,
    },
}

#[cfg(feature = "text")]
impl MatrixNumbers {
    pub(super) fn storage(&self) -> Storage {
        match self {
            Self::F32(_) => Storage::F32,
            Self::F16(_) => Storage::F16,
            Self::Int8 { .. } => Storage::Int8,
        }
    }
}

/// A tensor of the checkpoint and its place in a vector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VectorPart {
    /// Its key.
    pub key: String,
    /// Its length.
    pub len: usize,
    /// Where its first number goes.
    pub at: usize,
}

/// A bias, or a normalisation's weight. Places that no part covers are zero; parts that cover the same place are added, as the biases of a convolution and
/// of the shortcut that shares its matrix are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vector {
    /// The tensors it is made of.
    pub parts: Vec<VectorPart>,
    /// Its length.
    pub len: usize,
    /// Where it starts in the one buffer of all vectors, a multiple of 4.
    pub start: usize,
}

/// Everything a network's operations read from its checkpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parameters {
    /// Weights of convolutions and linear maps, and tables.
    pub matrices: Vec<Matrix>,
    /// Biases, and weights and biases of normalisations; all of them together are one buffer of [`Self::vectors_len`].
    pub vectors: Vec<Vector>,
}

impl Parameters {
    /// Length of the buffer of all vectors.
    #[must_use]
    pub fn vectors_len(&self) -> usize {
        self.vectors.last().map_or(0, |v| v.start + v.len.next_multiple_of(4))
    }

    /// The buffer of all vectors. `take` is as for [`Matrix::pack`].
    ///
    /// # Errors
    /// Those of `take`.
    pub fn pack_vectors(&self, take: Take) -> Result<Vec<f32>> {
        let mut packed = vec![0.0; self.vectors_len()];
        for vector in &self.vectors {
            for part in &vector.parts {
                let values = take(&part.key, &[part.len])?;
                for (sum, value) in packed[vector.start + part.at..].iter_mut().zip(values) {
                    *sum += value;
                }
            }
        }
        Ok(packed)
    }

    /// Whether this machine can count the bytes of each matrix, packed in whatever way, and of all vectors.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] where it cannot.
    pub(super) fn check(&self) -> Result<()> {
        let bytes = |rows: usize, columns: usize| {
            let columns = columns.checked_next_multiple_of(PANEL)?;
            rows.checked_mul(columns)?.checked_mul(size_of::<f32>()).filter(|n| isize::try_from(*n).is_ok())
        };
        let too_large = self.matrices.iter().find(|m| bytes(m.rows, m.columns).is_none());
        match too_large {
            Some(m) => Err(too_large_matrix(m.rows, m.columns)),
            None if bytes(self.vectors_len(), 1).is_none() => Err(too_large_matrix(self.vectors_len(), 1)),
            None => Ok(()),
        }
    }

    /// Every key that is taken, with its shape.
    pub fn keys(&self) -> impl Iterator<Item = (&str, Vec<usize>)> {
        let matrices = self.matrices.iter().flat_map(|m| &m.parts).map(|p| (&*p.key, p.shape.clone()));
        let vectors = self.vectors.iter().flat_map(|v| &v.parts).map(|p| (&*p.key, vec![p.len]));
        matrices.chain(vectors)
    }

    /// A vector of at least so many numbers. Those that no part covers are zero.
    pub(super) fn add_vector(&mut self, parts: Vec<VectorPart>, least: usize) -> VectorId {
        let len = parts.iter().map(|p| p.at + p.len).max().unwrap_or(0).max(least);
        self.vectors.push(Vector { parts, len, start: self.vectors_len() });
        VectorId(self.vectors.len() - 1)
    }

    /// The matrix of one tensor: the same for all who read it.
    pub(super) fn matrix(&mut self, part: MatrixPart) -> MatrixId {
        match self.matrices.iter().position(|m| m.parts == std::slice::from_ref(&part)) {
            Some(known) => MatrixId(known),
            None => self.add_matrix(vec![part]),
        }
    }

    /// The vector of one tensor, likewise.
    pub(super) fn vector(&mut self, part: VectorPart) -> VectorId {
        match self.vectors.iter().position(|v| v.parts == std::slice::from_ref(&part)) {
            Some(known) => VectorId(known),
            None => self.add_vector(vec![part], 0),
        }
    }

    /// Moves the tensors of one matrix and bias into another matrix and bias, whose first rows and columns stay as they are.
    pub(super) fn paste(
        &mut self,
        to: (MatrixId, VectorId),
        from: (MatrixId, VectorId),
        row: usize,
        column: usize,
    ) {
        let moved = std::mem::take(&mut self.matrices[from.0.0].parts);
        let matrix = &mut self.matrices[to.0.0];
        for part in moved {
            matrix.parts.push(MatrixPart { row: row + part.row, column: column + part.column, ..part });
        }
        let Vector { len, parts, .. } = &mut self.vectors[from.1.0];
        let (len, moved) = (column + *len, std::mem::take(parts));
        let vector = &mut self.vectors[to.1.0];
        vector.len = vector.len.max(len);
        vector.parts.extend(moved.into_iter().map(|part| VectorPart { at: column + part.at, ..part }));
    }

    pub(super) fn add_matrix(&mut self, parts: Vec<MatrixPart>) -> MatrixId {
        let end =
            |axis: usize| parts.iter().map(|p| [p.row, p.column][axis] + p.size()[axis]).max().unwrap_or(0);
        let (rows, columns) = (end(0), end(1));
        self.matrices.push(Matrix { parts, rows, columns });
        MatrixId(self.matrices.len() - 1)
    }
}

/// How a packed matrix is stored: by a GPU, and where it is another's than f32, by the processor too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Storage {
    /// 32-bit floats.
    F32,
    /// 16-bit floats: half the memory and traffic, and exact where the checkpoint is of that kind.
    F16,
    /// Whole numbers of 8 bits, and scales in 16 bits of 64 of them: of checkpoints of that kind only.
    #[cfg(feature = "text")]
    Int8,
}

impl Storage {
    /// The bytes to upload, little-endian, padded with zeros to a multiple of 4.
    #[must_use]
    pub fn encode(self, values: &[f32]) -> Vec<u8> {
        match self {
            Storage::F32 => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
            Storage::F16 => {
                let mut bytes: Vec<u8> =
                    values.iter().flat_map(|v| half::f16::from_f32(*v).to_le_bytes()).collect();
                bytes.resize(bytes.len().next_multiple_of(4), 0);
                bytes
            }
            // Only numbers that have scales can be stored so.
            #[cfg(feature = "text")]
            Storage::Int8 => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(_: &str, shape: &[usize]) -> Result<Vec<f32>> {
        Ok((0..shape.iter().product::<usize>()).map(|i| i as f32).collect())
    }

    fn part(shape: &[usize], packing: Packing, row: usize, column: usize) -> MatrixPart {
        MatrixPart { key: String::new(), shape: shape.to_vec(), packing, row, column }
    }

    #[test]
    fn a_convolution_is_turned_tap_by_tap_and_a_shortcut_stands_below() {
        let mut p = Parameters::default();
        let id = p.add_matrix(vec![
            part(&[2, 2, 1, 3], Packing::Transposed, 0, 0),
            part(&[2, 1], Packing::Transposed, 6, 0),
        ]);
        let m = &p.matrices[id.0];
        assert_eq!((m.rows, m.columns), (7, 2));
        // [out][in][tap] is 6·out + 3·in + tap.
        let expected = [0, 6, 3, 9, 1, 7, 4, 10, 2, 8, 5, 11, 0, 1];
        assert_eq!(m.pack(&mut count).unwrap(), expected.map(|v| v as f32));
    }

    #[test]
    fn maps_side_by_side_leave_zeros_between_them_and_tables_stay() {
        let mut p = Parameters::default();
        let sides = p.add_matrix(vec![
            part(&[1, 2], Packing::Transposed, 0, 0),
            part(&[2, 2], Packing::Transposed, 0, 2),
        ]);
        assert_eq!(p.matrices[sides.0].pack(&mut count).unwrap(), [0., 0., 0., 2., 1., 0., 1., 3.]);
        let table = p.add_matrix(vec![part(&[3, 2], Packing::Table, 0, 0)]);
        assert_eq!(p.matrices[table.0].pack(&mut count).unwrap(), [0., 1., 2., 3., 4., 5.]);
    }

    #[test]
    fn vectors_start_at_multiples_of_four_and_shared_places_add_up() {
        let mut p = Parameters::default();
        let part = |at| VectorPart { key: String::new(), len: 3, at };
        p.add_vector(vec![part(0)], 0);
        p.add_vector(vec![part(0), part(0), part(3)], 0);
        let expected = [0., 1., 2., 0., 0., 2., 4., 0., 1., 2., 0., 0.];
        assert_eq!(p.pack_vectors(&mut count).unwrap(), expected);
    }

    #[test]
    fn storage_is_little_endian_and_whole_words() {
        assert_eq!(Storage::F32.encode(&[1.0]), [0, 0, 0x80, 0x3f]);
        assert_eq!(Storage::F16.encode(&[1.0, -2.0, 0.5]), [0, 0x3c, 0, 0xc0, 0, 0x38, 0, 0]);
    }
}
