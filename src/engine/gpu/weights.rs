//! A network's parameters in a device's memory.

#[cfg(feature = "text")]
use std::pin::Pin;

#[cfg(feature = "text")]
use half::f16;

use super::device::{Buffer, Gpu};
#[cfg(feature = "text")]
use crate::engine::filling::{Filling, Numbers};
#[cfg(feature = "text")]
use crate::engine::kernels::compact::GROUP;
use crate::engine::lower::{MatrixPlace, ShardLayout, bytes_of_four};
#[cfg(feature = "text")]
use crate::engine::lower::{SHARD, bytes_of};
use crate::engine::packed::Packed;
#[cfg(feature = "text")]
use crate::engine::parameters::{Matrix, MatrixNumbers, is_table};
use crate::engine::parameters::{MatrixId, Storage, Take, zeros};
use crate::engine::plan::Plan;
#[cfg(feature = "text")]
use crate::error::Error;
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
            let values = padded(values, matrix.columns, 4 * row)?;
            let offset = (start * bytes_of_four(storage)) as u64;
            match storage {
                Storage::F32 => {
                    let bytes = bytemuck::cast_slice(&values);
                    gpu.queue().write_buffer(shards[shard].0.raw(), offset, bytes);
                }
                _ => gpu.queue().write_buffer(shards[shard].0.raw(), offset, &storage.encode(&values)),
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

/// Rows of so many columns, each followed by zeros up to `stride` numbers.
fn padded<T: Copy + Default>(values: Vec<T>, columns: usize, stride: usize) -> Result<Vec<T>> {
    if columns == stride {
        return Ok(values);
    }
    let mut wide = zeros(values.len() / columns.max(1), stride)?;
    for (to, from) in wide.chunks_exact_mut(stride).zip(values.chunks_exact(columns.max(1))) {
        to[..columns].copy_from_slice(from);
    }
    Ok(wide)
}

/// A network's parameters on their way to a device, a tensor after the other: see [`Filling`].
#[cfg(feature = "text")]
pub struct IncomingWeights {
    gpu: Gpu,
    filling: Filling,
    layout: ShardLayout,
    shards: Vec<Shard>,
    /// What says whether there was memory for the shards.
    full: Vec<Pin<Box<dyn Future<Output = bool>>>>,
    host: Packed,
}

/// A buffer of matrices, and how many of its bytes are used.
#[cfg(feature = "text")]
struct Shard {
    buffer: Buffer,
    used: usize,
}

#[cfg(feature = "text")]
impl IncomingWeights {
    /// Waits for the parameters of a plan, all of them to be stored as f32 where they are to be `exact`.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`](crate::Error).
    pub fn new(gpu: &Gpu, plan: &Plan, exact: bool) -> Result<Self> {
        let in_prelude = ShardLayout::new(plan, Storage::F32).in_prelude;
        Ok(Self {
            gpu: gpu.clone(),
            filling: Filling::new(plan, exact)?,
            layout: ShardLayout::empty(in_prelude, &plan.parameters),
            shards: Vec::new(),
            full: Vec::new(),
            host: Packed::of_vectors(&plan.parameters, Vec::new()),
        })
    }

    /// Takes a tensor, and uploads the matrix that is whole with it.
    ///
    /// # Errors
    /// Those of the processor's `put`; [`Error::Limit`](crate::Error) where a matrix is larger than a kernel may see,
    /// [`Error::DeviceLost`](crate::Error).
    pub fn put(&mut self, key: &str, numbers: Numbers) -> Result<()> {
        let Some((id, rows)) = self.filling.put(key, numbers)? else { return Ok(()) };
        let matrix = self.filling.parameters.matrices[id.0].clone();
        if self.layout.in_prelude[id.0] {
            return self.host.put_rows(id, &matrix, &rows);
        }
        let storage = rows.storage();
        let bytes = encode(&matrix, rows)?;
        let place = match self.shards.last() {
            Some(last) if (last.used + bytes.len()) as u64 <= last.buffer.size() => last.used,
            _ => {
                self.add_shard(storage, bytes.len())?;
                0
            }
        };
        let at = self.shards.len() - 1;
        self.shards[at].used = (place + bytes.len()).next_multiple_of(16);
        self.layout.put(id, &matrix, storage, at, place);
        self.gpu.queue().write_buffer(self.shards[at].buffer.raw(), place as u64, &bytes);
        // As in `Weights::load`.
        self.gpu.queue().submit([]);
        self.gpu.check()
    }

    /// A buffer for a matrix of so many bytes and what comes after it, if that is stored like it.
    fn add_shard(&mut self, storage: Storage, least: usize) -> Result<()> {
        let placed = |id: usize| self.layout.in_prelude[id] || self.layout.is_placed(MatrixId(id));
        let matrices = self.filling.parameters.matrices.iter().enumerate().filter(|(id, _)| !placed(*id));
        let rest: usize = matrices.map(|(_, matrix)| bytes_of(matrix, storage)).sum();
        let bytes = least.max(rest.min(SHARD as usize));
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST;
        let (buffer, full) = self.gpu.buffer_at_once("weights", bytes, usage)?;
        self.full.push(Box::pin(full));
        self.shards.push(Shard { buffer, used: 0 });
        Ok(())
    }

    /// The parameters, once all are there.
    ///
    /// # Errors
    /// [`Error::MissingKey`](crate::Error), [`Error::OutOfMemory`](crate::Error), [`Error::Limit`](crate::Error),
    /// [`Error::DeviceLost`](crate::Error).
    pub async fn finish(mut self) -> Result<Weights> {
        for full in std::mem::take(&mut self.full) {
            if full.await {
                return Err(Error::OutOfMemory { problem: "there is no room for the weights".to_owned() });
            }
        }
        let Self { gpu, filling, mut layout, shards, mut host, .. } = self;
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST;
        let numbers = filling.finish()?;
        let vectors = gpu.buffer("vectors", 4 * numbers.len(), usage).await?;
        gpu.queue().write_buffer(vectors.raw(), 0, bytemuck::cast_slice(&numbers));
        host.set_vectors(numbers);
        let mut buffers: Vec<Buffer> = shards.into_iter().map(|shard| shard.buffer).collect();
        if buffers.is_empty() {
            // Kernels without matrices are given one all the same.
            buffers.push(gpu.buffer("weights", 0, usage).await?);
        }
        layout.shards = buffers.iter().map(|buffer| buffer.size() as usize).collect();
        let bound = |buffer: Buffer| {
            let group = gpu.bind_group(&gpu.layouts().weights, &[buffer.whole()]);
            (buffer, group)
        };
        let shards = buffers.into_iter().map(bound).collect();
        gpu.check()?;
        Ok(Weights { gpu, layout, shards, vectors, host })
    }
}

/// A matrix as its kernels read it: see [`bytes_of`].
#[cfg(feature = "text")]
fn encode(matrix: &Matrix, rows: MatrixNumbers) -> Result<Vec<u8>> {
    let columns = matrix.columns;
    let fours = columns.next_multiple_of(4);
    Ok(match rows {
        MatrixNumbers::F32(values) => bytemuck::cast_slice(&padded(values, columns, fours)?).to_vec(),
        MatrixNumbers::F16(values) => bytemuck::cast_slice(&padded(values, columns, fours)?).to_vec(),
        MatrixNumbers::Int8 { numbers, scales } if is_table(matrix) => {
            let groups = columns.div_ceil(GROUP);
            let stride = fours + 4 * groups;
            let mut wide: Vec<u8> = bytemuck::cast_vec(padded(numbers, columns, stride)?);
            for (row, scales) in wide.chunks_exact_mut(stride).zip(scales.chunks_exact(groups)) {
                let to = row[stride - 4 * groups..].as_chunks_mut::<4>().0;
                for (to, scale) in to.iter_mut().zip(scales) {
                    *to = f16::from_bits(*scale).to_f32().to_le_bytes();
                }
            }
            wide
        }
        MatrixNumbers::Int8 { numbers, scales } => {
            let mut bytes: Vec<u8> = bytemuck::cast_vec(padded(numbers, columns, fours)?);
            bytes.extend_from_slice(bytemuck::cast_slice(&padded(scales, columns, fours)?));
            bytes
        }
    })
}
