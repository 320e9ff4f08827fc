//! A network's parameters in a device's memory.

use super::device::{Buffer, Gpu};
use crate::engine::lower::{MatrixPlace, ShardLayout, bytes_of_four};
use crate::engine::packed::Packed;
use crate::engine::parameters::{MatrixId, Storage, Take, zeros};
use crate::engine::plan::Plan;
use crate::error::Result;

/// A network's parameters, packed for the kernels.
///
/// The step's matrices lie in one or more buffers of up to 128 MiB, row by row, with each row filled up to a multiple of
/// four columns. What only the prelude reads stays with the CPU, which runs it.
#[derive(Debug)]
pub struct Weights {
    gpu: Gpu,
    layout: ShardLayout,
    shards: Vec<(Buffer, wgpu::BindGroup)>,
    vectors: Buffer,
    host: Packed,
}

impl Weights {
    /// Packs and uploads the parameters of a plan, which are those of its network whatever its shape. `take` is asked for
    /// each key once, with its shape, and gives its numbers in row-major order. One matrix is in the host's memory at a time.
    ///
    /// # Errors
    /// Those of `take`; [`Error::Limit`](crate::Error) where a matrix is larger than a kernel may see, [`Error::OutOfMemory`](crate::Error),
    /// [`Error::DeviceLost`](crate::Error).
    pub async fn new(
        gpu: &Gpu,
        plan: &Plan,
        storage: Storage,
        mut take: impl FnMut(&str, &[usize]) -> Result<Vec<f32>>,
    ) -> Result<Self> {
        Self::load(gpu, plan, storage, &mut take).await
    }

    pub(super) async fn load(gpu: &Gpu, plan: &Plan, storage: Storage, take: Take<'_>) -> Result<Self> {
        let parameters = &plan.parameters;
        let layout = ShardLayout::new(plan, storage);
        let vectors = parameters.pack_vectors(take)?;
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
            let values = matrix.pack(take)?;
            if layout.in_prelude[at] {
                host.put(MatrixId(at), (matrix.rows, matrix.columns), &values)?;
                continue;
            }
            let MatrixPlace { shard, start, row } = layout.places[at];
            let values = if matrix.columns == 4 * row {
                values
            } else {
                let mut wide = zeros(matrix.rows, 4 * row)?;
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
            // `write_buffer` stages a copy; an empty submit lets wgpu free it now, so peak memory stays at one tensor.
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
    pub fn layout(&self) -> &ShardLayout {
        &self.layout
    }

    /// Bytes on the device.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.vectors.size() + self.shards.iter().map(|(buffer, _)| buffer.size()).sum::<u64>()
    }

    /// What the prelude reads.
    pub(crate) fn host(&self) -> &Packed {
        &self.host
    }

    pub(super) fn shard(&self, index: usize) -> &wgpu::BindGroup {
        &self.shards[index].1
    }

    pub(super) fn vectors(&self) -> &Buffer {
        &self.vectors
    }
}
