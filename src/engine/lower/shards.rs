//! Where a network's parameters lie in a device's memory.

use crate::engine::parameters::{MatrixId, Parameters, Storage, VectorId};

/// The largest buffer for matrices, unless one of them is larger: what every adapter lets a kernel see at once.
const SHARD: u64 = 128 << 20;

/// Where a network's parameters lie in a device's memory; known before there is one.
#[derive(Clone, Debug)]
pub struct ShardLayout {
    pub(in crate::engine) storage: Storage,
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
        Self { storage, places, shards, starts, vectors: parameters.vectors_len(), in_prelude }
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
    }
}

/// Where each matrix goes, and the bytes of each buffer, of which there is one at least.
fn place(
    parameters: &Parameters,
    storage: Storage,
    skip: &impl Fn(MatrixId) -> bool,
) -> (Vec<MatrixPlace>, Vec<usize>) {
    let four = bytes_of_four(storage);
    let mut sizes = vec![0];
    let mut places = vec![MatrixPlace::default(); parameters.matrices.len()];
    for (at, matrix) in parameters.matrices.iter().enumerate() {
        if skip(MatrixId(at)) {
            continue;
        }
        let row = matrix.columns.div_ceil(4);
        let bytes = matrix.rows * row * four;
        let mut shard = sizes.len() - 1;
        if sizes[shard] > 0 && (sizes[shard] + bytes) as u64 > SHARD {
            sizes.push(0);
            shard += 1;
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
