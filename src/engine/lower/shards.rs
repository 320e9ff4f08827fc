//! Where a network's parameters lie in a device's memory.

#[cfg(feature = "text")]
use crate::engine::kernels::compact::GROUP;
use crate::engine::parameters::{Matrix, MatrixId, Parameters, Storage, VectorId};
#[cfg(feature = "text")]
use crate::engine::parameters::{MatrixPart, is_table, spans};

/// The largest buffer for matrices, unless one of them is larger: what every adapter lets a kernel see at once.
pub(in crate::engine) const SHARD: u64 = 128 << 20;

/// Where a network's parameters lie in a device's memory; known before there is one.
#[derive(Clone, Debug)]
pub struct ShardLayout {
    /// How each matrix is stored.
    #[cfg(feature = "text")]
    pub(in crate::engine) storages: Vec<Storage>,
    /// How all of them are.
    #[cfg(not(feature = "text"))]
    storage: Storage,
    pub(in crate::engine) places: Vec<MatrixPlace>,
    /// Bytes of each buffer of matrices.
    pub(in crate::engine) shards: Vec<usize>,
    starts: Vec<usize>,
    /// Floats of the buffer of vectors.
    vectors: usize,
    pub(in crate::engine) in_prelude: Vec<bool>,
}

/// Where a matrix is: in which buffer, from where and from one row to the next, in vectors of four.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::engine) struct MatrixPlace {
    pub(in crate::engine) shard: usize,
    pub(in crate::engine) start: usize,
    pub(in crate::engine) row: usize,
}

impl ShardLayout {
    /// Where parameters lie of which those of the prelude are not on the device.
    pub(in crate::engine) fn without(
        in_prelude: Vec<bool>,
        parameters: &Parameters,
        storage: Storage,
    ) -> Self {
        let (places, shards) = place(parameters, storage, &|id| in_prelude[id.0]);
        let starts = parameters.vectors.iter().map(|v| v.start).collect();
        Self {
            #[cfg(feature = "text")]
            storages: parameters.matrices.iter().map(|matrix| possible(matrix, storage)).collect(),
            #[cfg(not(feature = "text"))]
            storage,
            places,
            shards,
            starts,
            vectors: parameters.vectors_len(),
            in_prelude,
        }
    }

    /// The same with no place for any matrix yet: each is [put](Self::put) when it is there.
    #[cfg(all(feature = "gpu", feature = "text"))]
    pub(in crate::engine) fn empty(in_prelude: Vec<bool>, parameters: &Parameters) -> Self {
        let none = Parameters { matrices: Vec::new(), vectors: parameters.vectors.clone() };
        let count = parameters.matrices.len();
        let mut empty = Self::without(in_prelude, &none, Storage::F32);
        empty.storages = vec![Storage::F32; count];
        empty.places = vec![MatrixPlace::default(); count];
        empty.shards.clear();
        empty
    }

    /// Gives a matrix that is stored so a place from a byte of a buffer on, which is a multiple of 16.
    #[cfg(all(feature = "gpu", feature = "text"))]
    pub(in crate::engine) fn put(
        &mut self,
        id: MatrixId,
        matrix: &Matrix,
        storage: Storage,
        shard: usize,
        byte: usize,
    ) {
        let (row, _) = size(matrix, storage);
        self.storages[id.0] = storage;
        self.places[id.0] = MatrixPlace { shard, start: byte / bytes_of_four(storage), row };
    }

    /// Whether a matrix has been put to its place.
    #[cfg(all(feature = "gpu", feature = "text"))]
    pub(in crate::engine) fn is_placed(&self, id: MatrixId) -> bool {
        self.places[id.0].row > 0
    }

    /// How a matrix is stored.
    pub(in crate::engine) fn storage(&self, id: MatrixId) -> Storage {
        #[cfg(feature = "text")]
        return self.storages[id.0];
        #[cfg(not(feature = "text"))]
        {
            let _ = id;
            self.storage
        }
    }

    /// Bytes of the step's matrices and of all vectors.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        4 * self.vectors as u64 + self.shards.iter().map(|bytes| *bytes as u64).sum::<u64>()
    }

    pub(in crate::engine) fn place(&self, id: MatrixId) -> MatrixPlace {
        self.places[id.0]
    }

    pub(in crate::engine) fn vector(&self, id: VectorId) -> usize {
        self.starts[id.0]
    }
}

pub(in crate::engine) fn bytes_of_four(storage: Storage) -> usize {
    match storage {
        Storage::F32 => 16,
        Storage::F16 => 8,
        #[cfg(feature = "text")]
        Storage::Int8 => 4,
    }
}

/// How a matrix is stored where the others are stored so: as 8 bits only what those are made of.
#[cfg(feature = "text")]
fn possible(matrix: &Matrix, storage: Storage) -> Storage {
    let long = |part: &MatrixPart| part.shape.iter().skip(1).product::<usize>() >= GROUP;
    let packed = matrix.parts.iter().all(long) && (is_table(matrix) || spans(matrix).is_some());
    if storage == Storage::Int8 && !packed { Storage::F16 } else { storage }
}

/// From one row of a matrix to the next, in vectors of four, and the bytes of all. Behind whole numbers their scales lie: of a table
/// behind each row in f32, else behind all rows, in f16, a row for each group.
pub(in crate::engine) fn size(matrix: &Matrix, storage: Storage) -> (usize, usize) {
    let row = matrix.columns.div_ceil(4);
    #[cfg(feature = "text")]
    if storage == Storage::Int8 {
        if is_table(matrix) {
            let row = row + matrix.columns.div_ceil(GROUP);
            return (row, 4 * matrix.rows * row);
        }
        let groups: usize = spans(matrix).iter().flatten().map(|span| span.groups()).sum();
        return (row, 4 * row * (matrix.rows + 2 * groups));
    }
    (row, matrix.rows * row * bytes_of_four(storage))
}

/// Bytes of a matrix that is stored so, if it can be, or else in f16.
#[cfg(all(feature = "gpu", feature = "text"))]
pub(in crate::engine) fn bytes_of(matrix: &Matrix, storage: Storage) -> usize {
    size(matrix, possible(matrix, storage)).1.next_multiple_of(16)
}

/// Where each matrix goes, and the bytes of each buffer, of which there is one at least.
fn place(
    parameters: &Parameters,
    storage: Storage,
    skip: &impl Fn(MatrixId) -> bool,
) -> (Vec<MatrixPlace>, Vec<usize>) {
    let mut sizes = vec![0];
    let mut places = vec![MatrixPlace::default(); parameters.matrices.len()];
    for (at, matrix) in parameters.matrices.iter().enumerate() {
        if skip(MatrixId(at)) {
            continue;
        }
        #[cfg(feature = "text")]
        let storage = possible(matrix, storage);
        let four = bytes_of_four(storage);
        let (row, bytes) = size(matrix, storage);
        let mut shard = sizes.len() - 1;
        if sizes[shard] > 0 && (sizes[shard] + bytes) as u64 > SHARD {
            sizes.push(0);
            shard += 1;
        }
        if cfg!(feature = "text") {
            sizes[shard] = sizes[shard].next_multiple_of(four);
        }
        places[at] = MatrixPlace { shard, start: sizes[shard] / four, row };
        sizes[shard] += bytes;
    }
    (places, sizes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::parameters::Matrix;

    #[test]
    fn matrices_are_divided_among_buffers_and_a_large_one_has_its_own() {
        let matrix = |rows, columns| Matrix { parts: Vec::new(), rows, columns };
        let matrices = vec![matrix(9, 3), matrix(1 << 12, 1 << 12), matrix(1 << 13, 1 << 13), matrix(4, 6)];
        let parameters = Parameters { matrices, vectors: Vec::new() };
        let (places, sizes) = place(&parameters, Storage::F32, &|_| false);
        assert_eq!(sizes, [9 * 16 + (1 << 26), 1 << 28, 4 * 32]);
        assert_eq!(
            places.iter().map(|p| (p.shard, p.start, p.row)).collect::<Vec<_>>(),
            [(0, 0, 1), (0, 9, 1 << 10), (1, 0, 1 << 11), (2, 0, 2)]
        );
        let (_, sizes) = place(&parameters, Storage::F16, &|id| id.0 == 2);
        assert_eq!(sizes, [9 * 8 + (1 << 25) + 4 * 16]);
    }
}
