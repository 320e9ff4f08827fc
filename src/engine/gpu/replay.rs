//! A plan on a device: its dispatches, with everything that they need made beforehand.
//!
//! All activations are ranges of one buffer, which is bound whole. WebGPU lets a dispatch bind a buffer for writing only
//! once and guarantees eight storage bindings, while some operations use ten ranges. Kernels find their ranges in their
//! operation's uniform, so that one bind group serves all operations. Behind the plan's activations lies the scratch of single
//! operations: a normalisation that does not fit in a workgroup's memory, and what slices of a product or of attention come to.

use std::ops::Range;
use std::sync::Arc;

use super::device::{Buffer, Gpu};
use super::lowered::Lowered;
use super::weights::Weights;
use crate::engine::lower::{Dispatch, EvaluationParams, UNIFORM_BYTES, append, word};
use crate::engine::plan::{Plan, Prompts, ValueId};
use crate::engine::prelude::{PreludeRows, check_prompts};
use crate::error::{Error, Result};

/// A plan on a device.
#[derive(Debug)]
pub struct Replay {
    plan: Plan,
    weights: Arc<Weights>,
    /// Those for prompts first.
    dispatches: Vec<(wgpu::ComputePipeline, Dispatch)>,
    of_prompts: usize,
    arena: Buffer,
    uniforms: Buffer,
    rows: Buffer,
    steps: Buffer,
    group: wgpu::BindGroup,
    staging: Buffer,
}

impl Replay {
    /// Makes the buffers, pipelines and bind groups of a plan.
    ///
    /// # Errors
    /// [`Error::Limit`] where an activation buffer is larger than the adapter allows, [`Error::Unsupported`] where
    /// attention's heads are too wide, [`Error::OutOfMemory`], [`Error::DeviceLost`].
    pub async fn new(plan: Plan, weights: Arc<Weights>) -> Result<Self> {
        let gpu = weights.gpu().clone();
        let lowered = Lowered::new(&plan, weights.layout(), gpu.tuning(), gpu.choice())?;
        Self::made(plan, weights, lowered).await
    }

    /// The same of a plan that is lowered already.
    pub(super) async fn made(plan: Plan, weights: Arc<Weights>, lowered: Lowered) -> Result<Self> {
        let gpu = weights.gpu().clone();
        #[cfg(not(target_arch = "wasm32"))]
        let once = lowered.once;
        let Lowered { dispatches, of_prompts, uniforms, arena: floats, .. } = lowered;
        if floats > u32::MAX as usize {
            let needed = 4 * floats as u64;
            // Kernels count floats in 32 bits, whatever the adapter allows.
            let available = gpu.limits().max_storage_buffer_binding_size.min(1 << 34);
            return Err(Error::Limit { limit: "maxStorageBufferBindingSize", needed, available });
        }
        use wgpu::BufferUsages as Usage;
        let storage = Usage::STORAGE | Usage::COPY_DST;
        let arena = gpu.buffer("arena", 4 * floats, storage | Usage::COPY_SRC).await?;
        // A network that returns what it is given has no operation.
        let bytes = UNIFORM_BYTES.max(4 * uniforms.len());
        let uniform_buffer = gpu.buffer("uniforms", bytes, Usage::UNIFORM | Usage::COPY_DST).await?;
        gpu.queue().write_buffer(uniform_buffer.raw(), 0, bytemuck::cast_slice(&uniforms));
        let results: &[ValueId] = if cfg!(feature = "text") { &plan.also } else { &[] };
        let largest = [plan.input, plan.output].iter().chain(results).map(|id| plan.value(*id).len()).max();
        let largest = largest.unwrap_or(0);
        let staging = gpu.buffer("staging", 4 * largest, Usage::MAP_READ | Usage::COPY_DST).await?;
        let rows = gpu.buffer("prelude", 0, storage).await?;
        let steps = gpu.buffer("steps", UNIFORM_BYTES, Usage::UNIFORM | Usage::COPY_DST).await?;
        let group = bind(&gpu, &weights, &arena, &rows, &uniform_buffer, &steps);
        let with_pipeline = |d: Dispatch| (gpu.pipeline(d.shader.clone()), d);
        let dispatches = dispatches.into_iter().map(with_pipeline).collect();
        let uniforms = uniform_buffer;
        let replay =
            Self { plan, weights, dispatches, of_prompts, arena, uniforms, rows, steps, group, staging };
        #[cfg(not(target_arch = "wasm32"))]
        if !once.is_empty() {
            let once: Vec<_> = once.into_iter().map(with_pipeline).collect();
            let mut encoder = gpu.device().create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
            replay.record_these(&mut pass, 0, &once);
            drop(pass);
            gpu.submit(encoder, once.len());
        }
        Ok(replay)
    }

    /// The plan.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The device.
    #[must_use]
    pub fn gpu(&self) -> &Gpu {
        self.weights.gpu()
    }

    /// The network's parameters.
    #[must_use]
    pub fn weights(&self) -> &Weights {
        &self.weights
    }

    /// Dispatches of an evaluation.
    #[must_use]
    pub fn dispatches(&self) -> usize {
        self.dispatches.len() - self.of_prompts
    }

    /// Bytes on the device, beside the parameters.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        [&self.arena, &self.uniforms, &self.rows, &self.steps, &self.staging].map(Buffer::size).iter().sum()
    }

    /// Makes room for a prelude of `count` rows, and sets which of them each evaluation reads.
    ///
    /// # Errors
    /// [`Error::Limit`], [`Error::OutOfMemory`], [`Error::DeviceLost`].
    pub async fn start(&mut self, count: usize, evaluations: &[PreludeRows]) -> Result<()> {
        use wgpu::BufferUsages as Usage;
        let gpu = self.weights.gpu();
        let (rows, steps) = (4 * count * self.plan.prelude.width(), UNIFORM_BYTES * evaluations.len());
        if rows as u64 > self.rows.size() || steps as u64 > self.steps.size() {
            if rows as u64 > self.rows.size() {
                self.rows = gpu.buffer("prelude", rows, Usage::STORAGE | Usage::COPY_DST).await?;
            }
            if steps as u64 > self.steps.size() {
                self.steps = gpu.buffer("steps", steps, Usage::UNIFORM | Usage::COPY_DST).await?;
            }
            self.group = bind(gpu, &self.weights, &self.arena, &self.rows, &self.uniforms, &self.steps);
        }
        let mut table = Vec::with_capacity(evaluations.len() * UNIFORM_BYTES / 4);
        for rows in evaluations {
            let [count, first, stride] = [count, rows.first, rows.stride].map(word);
            append(&mut table, bytemuck::bytes_of(&EvaluationParams { count, first, stride }));
        }
        gpu.queue().write_buffer(self.steps.raw(), 0, bytemuck::cast_slice(&table));
        Ok(())
    }

    /// Uploads a prelude, as [`prelude`](crate::engine::prelude::prelude) makes it, of as many rows as there is room for.
    pub fn upload(&self, prelude: &[f32]) {
        if !prelude.is_empty() {
            self.gpu().queue().write_buffer(self.rows.raw(), 0, bytemuck::cast_slice(prelude));
        }
    }

    /// Computes what evaluations read of the prompts of a run; it stays on the device until the prompts are others. `given` and
    /// `of_sample` are as for [`check_prompts`].
    ///
    /// # Errors
    /// [`Error::Option`] where they are not what the plan asks for.
    pub fn prompts(&self, given: &[&[f32]], of_sample: &[usize]) -> Result<()> {
        check_prompts(&self.plan, given, of_sample)?;
        let Prompts { inputs, of_sample: numbers, .. } = &self.plan.prompts;
        inputs.iter().zip(given).for_each(|((_, id), numbers)| self.write(*id, numbers));
        if let Some(id) = numbers {
            let numbers: Vec<f32> = of_sample.iter().map(|prompt| *prompt as f32).collect();
            self.write(*id, &numbers);
        }
        self.submit(0, 0..self.of_prompts);
        Ok(())
    }

    /// Records an evaluation: reads the plan's input, writes its output.
    pub(super) fn record(&self, pass: &mut wgpu::ComputePass, evaluation: usize) {
        self.record_all(pass, evaluation, self.of_prompts..self.dispatches.len());
    }

    fn record_all(&self, pass: &mut wgpu::ComputePass, evaluation: usize, dispatches: Range<usize>) {
        self.record_these(pass, evaluation, &self.dispatches[dispatches]);
    }

    fn record_these(
        &self,
        pass: &mut wgpu::ComputePass,
        evaluation: usize,
        dispatches: &[(wgpu::ComputePipeline, Dispatch)],
    ) {
        let mut matrices = None;
        for (pipeline, dispatch) in dispatches {
            pass.set_pipeline(pipeline);
            pass.set_bind_group(0, &self.group, &[dispatch.uniform, (UNIFORM_BYTES * evaluation) as u32]);
            if matrices.replace(dispatch.shard) != Some(dispatch.shard) {
                pass.set_bind_group(1, self.weights.shard(dispatch.shard), &[]);
            }
            let [x, y, z] = dispatch.groups;
            pass.dispatch_workgroups(x, y, z);
        }
    }

    /// Records one dispatch of an evaluation.
    #[cfg(not(target_arch = "wasm32"))]
    pub(super) fn record_one(&self, pass: &mut wgpu::ComputePass, evaluation: usize, at: usize) {
        let at = self.of_prompts + at;
        self.record_all(pass, evaluation, at..at + 1);
    }

    #[cfg(not(target_arch = "wasm32"))]
    pub(super) fn dispatch(&self, at: usize) -> &Dispatch {
        &self.dispatches[self.of_prompts + at].1
    }

    /// Submits an evaluation. The numbers that it leaves can be [read](Self::read).
    pub fn evaluate(&self, evaluation: usize) {
        self.submit(evaluation, self.of_prompts..self.dispatches.len());
    }

    fn submit(&self, evaluation: usize, dispatches: Range<usize>) {
        let gpu = self.gpu();
        let mut encoder = gpu.device().create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
        let count = dispatches.len();
        self.record_all(&mut pass, evaluation, dispatches);
        drop(pass);
        gpu.submit(encoder, count);
    }

    /// Writes a value of the plan: before an evaluation, its input.
    pub fn write(&self, id: ValueId, numbers: &[f32]) {
        let at = 4 * self.plan.value(id).offset as u64;
        self.gpu().queue().write_buffer(self.arena.raw(), at, bytemuck::cast_slice(numbers));
    }

    /// Reads a value of the plan. It must be no longer than the longer of its input and output, and no later value may have
    /// overwritten it.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] and [`Error::DeviceLost`], also where that happened during the evaluation.
    pub async fn read(&self, id: ValueId) -> Result<Vec<f32>> {
        let (gpu, value) = (self.gpu(), self.plan.value(id));
        let mut encoder = gpu.device().create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        let (from, bytes) = (4 * value.offset as u64, 4 * value.len() as u64);
        encoder.copy_buffer_to_buffer(self.arena.raw(), from, self.staging.raw(), 0, bytes);
        let submission = gpu.submit(encoder, 0);
        gpu.wait(&gpu.when_mapped(&self.staging, 4 * value.len(), submission)).await?;
        gpu.unmap(&self.staging, value.len())
    }

    /// The buffer of all activations.
    pub(super) fn arena(&self) -> &Buffer {
        &self.arena
    }
}

fn bind(
    gpu: &Gpu,
    weights: &Weights,
    arena: &Buffer,
    rows: &Buffer,
    uniforms: &Buffer,
    steps: &Buffer,
) -> wgpu::BindGroup {
    let bindings =
        [arena.whole(), weights.vectors().whole(), rows.whole(), uniforms.one_uniform(), steps.one_uniform()];
    gpu.bind_group(&gpu.layouts().step, &bindings)
}
