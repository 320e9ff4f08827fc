//! A network's parameters in a device's memory.

use super::device::{Buffer, Gpu};
use crate::engine::cpu::Packed;
use crate::engine::parameters::{MatrixId, Parameters, Storage, VectorId};
use crate::engine::plan::{Plan, PreludeOp};
use crate::error::Result;

/// The largest buffer for matrices, unless one of them is larger: what every adapter lets a kernel see at once.
const SHARD: u64 = 128 << 20;

/// A network's parameters, packed for the kernels.
///
/// The step's matrices lie in one or more buffers of up to 128 MiB, row by row, with each row filled up to a multiple of
/// four columns. What only the prelude reads stays with the CPU, which runs it.
#[derive(Debug)]
pub struct Weights {
    gpu: Gpu,
    layout: Layout,
    shards: Vec<(Buffer, wgpu::BindGroup)>,
    vectors: Buffer,
    host: Packed,
}

/// Where a network's parameters lie in a device's memory; known before there is one.
#[derive(Clone, Debug)]
pub struct Layout {
    pub(super) storage: Storage,
    places: Vec<Place>,
    /// Bytes of each buffer of matrices.
    shards: Vec<usize>,
    starts: Vec<usize>,
    /// Floats of the buffer of vectors.
    vectors: usize,
    in_prelude: Vec<bool>,
}

/// Where a matrix is: in which buffer, from where and from one row to the next, in vectors of four.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Place {
    pub(super) shard: usize,
    pub(super) start: usize,
    pub(super) row: usize,
}

impl Weights {
    /// Packs and uploads the parameters of a plan, which are those of its network whatever its shape. `take` is asked for
    /// each key once, with its shape, and gives its numbers in row-major order. One matrix is in the host's memory at a time.
    ///
    /// # Errors
    /// Those of `take`; [`Error::Limit`] where a matrix is larger than a kernel may see, [`Error::OutOfMemory`],
    /// [`Error::DeviceLost`].
    pub async fn new(
        gpu: &Gpu,
        plan: &Plan,
        storage: Storage,
        mut take: impl FnMut(&str, &[usize]) -> Result<Vec<f32>>,
    ) -> Result<Self> {
        let parameters = &plan.parameters;
        let layout = Layout::new(plan, storage);
        let vectors = parameters.pack_vectors(&mut take)?;
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST;
        let buffer = gpu.buffer("vectors", 4 * vectors.len(), usage).await?;
        gpu.queue().write_buffer(buffer.raw(), 0, bytemuck::cast_slice(&vectors));

        let mut shards = Vec::with_capacity(layout.shards.len());
        for size in &layout.shards {
            let buffer = gpu.buffer("weights", *size, usage).await?;
            let group = gpu.bind_group(&gpu.layouts().weights, &[buffer.whole()]);
            shards.push((buffer, group));
        }
        let mut host = Packed::of_vectors(parameters, vectors);
        for (at, matrix) in parameters.matrices.iter().enumerate() {
            let values = matrix.pack(&mut take)?;
            if layout.in_prelude[at] {
                host.put(MatrixId(at), (matrix.rows, matrix.columns), &values);
                continue;
            }
            let Place { shard, start, row } = layout.places[at];
            let values = if matrix.columns == 4 * row {
                values
            } else {
                let mut wide = vec![0.0; matrix.rows * 4 * row];
                for (to, from) in wide.chunks_exact_mut(4 * row).zip(values.chunks_exact(matrix.columns)) {
                    to[..from.len()].copy_from_slice(from);
                }
                wide
            };
            let offset = (start * bytes_of_four(storage)) as u64;
            match storage {
                Storage::F32 => {
                    let bytes = bytemuck::cast_slice(&values);
                    gpu.queue().write_buffer(shards[shard].0.raw(), offset, bytes);
                }
                Storage::F16 => {
                    gpu.queue().write_buffer(shards[shard].0.raw(), offset, &storage.encode(&values));
                }
            }
            // What was written is copied again on its way; here that copy can be freed.
            gpu.queue().submit([]);
            gpu.check()?;
        }
        Ok(Self { gpu: gpu.clone(), layout, shards, vectors: buffer, host })
    }

    /// The device that they are on.
    #[must_use]
    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// Where they lie.
    #[must_use]
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Bytes on the device.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.vectors.size() + self.shards.iter().map(|(buffer, _)| buffer.size()).sum::<u64>()
    }

    /// What the prelude reads.
    pub(super) fn host(&self) -> &Packed {
        &self.host
    }

    pub(super) fn shard(&self, index: usize) -> &wgpu::BindGroup {
        &self.shards[index].1
    }

    pub(super) fn vectors(&self) -> &Buffer {
        &self.vectors
    }
}

impl Layout {
    /// The parameters of a plan, which are those of its network whatever its shape.
    #[must_use]
    pub fn new(plan: &Plan, storage: Storage) -> Self {
        let parameters = &plan.parameters;
        let mut in_prelude = vec![false; parameters.matrices.len()];
        for op in &plan.prelude.ops {
            match op {
                PreludeOp::Gather { table: matrix, .. } | PreludeOp::Linear { matrix, .. } => {
                    in_prelude[matrix.0] = true;
                }
                PreludeOp::Add { .. } => {}
            }
        }
        let (places, shards) = place(parameters, storage, &|id| in_prelude[id.0]);
        let starts = parameters.vectors.iter().map(|v| v.start).collect();
        Self { storage, places, shards, starts, vectors: parameters.vectors_len(), in_prelude }
    }

    /// Bytes of the step's matrices and of all vectors.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        4 * self.vectors as u64 + self.shards.iter().map(|bytes| *bytes as u64).sum::<u64>()
    }

    pub(super) fn place(&self, id: MatrixId) -> Place {
        self.places[id.0]
    }

    pub(super) fn vector(&self, id: VectorId) -> usize {
        self.starts[id.0]
    }
}

fn bytes_of_four(storage: Storage) -> usize {
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
) -> (Vec<Place>, Vec<usize>) {
    let four = bytes_of_four(storage);
    let mut sizes = vec![0];
    let mut places = vec![Place::default(); parameters.matrices.len()];
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
        places[at] = Place { shard, start: sizes[shard] / four, row };
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
