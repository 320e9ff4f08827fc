//! A sampler's run on a device: the images stay there from the first noise to the last step.
//!
//! What a [`Program`] says is cut into segments, one between two evaluations of the network each, and translated into words
//! which one kernel runs (`combine.wgsl`); coefficients and timesteps of all steps are uploaded at the start. A step is one
//! command buffer. Philox's noise is made where it is used. PyTorch's has to be drawn in order: the host draws it one step
//! ahead of the device, without waiting for it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use super::combine::{Params, THREADS};
use super::compiled::{Compiled, Segment, Sizes};
use super::device::{Buffer, Gpu, Pending};
use super::replay::Replay;
use super::replays::Replays;
use super::signal::lock;

use crate::denoiser::{Level, Point};
use crate::engine::executor::{Run, Size};
use crate::engine::lower::{UNIFORM_BYTES, append, grid};
use crate::engine::order::{to_nchw, to_nhwc};
use crate::engine::prelude::{Conditioning, PreludeRows, prelude};
use crate::error::{Error, Result};
use crate::rng::{Generator, Normals};
use crate::sampler::{Slot, wrong_pictures};

/// Bytes of the prelude that are on the device at a time, unless one evaluation needs more.
const PRELUDE: usize = 16 << 20;

/// Steps submitted ahead. Two keep the GPU busy while one is read back; more would only delay stopping.
pub(super) const IN_FLIGHT: usize = 2;

/// The number of the failed check while there is none.
const FINITE: u32 = u32::MAX;

/// What a step leaves on the device.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct GpuStep {
    /// Position of the step in the run, from 0.
    pub(super) index: usize,
    /// Number of steps of the run.
    pub(super) total: usize,
    /// Where the step started from.
    pub(super) from: Point,
    /// The level that it arrived at, which `x` has.
    pub(super) to: Level,
    /// The noisy images that it arrived at; the result, after the last step.
    pub(super) x: Slot,
    /// Its estimate of the clean images.
    pub(super) x0: Slot,
}

/// A run of a sampler on a GPU, one step a call, over the network's [`Replays`], which it has to itself.
#[derive(Debug)]
pub(super) struct GpuRun {
    gpu: Gpu,
    conditioning: Arc<Conditioning>,
    shape: [usize; 4],
    segments: Vec<Segment>,
    next: usize,
    index: usize,
    total: usize,
    sides: [Option<Side>; 2],
    /// The timestep of each check that numbers are finite, by the check's number.
    checks: Arc<[f64]>,
    noise: Generator,
    offsets: Vec<usize>,
    buffers: Buffers,
    in_flight: VecDeque<Pending>,
    spare: Spare,
}

/// What a run keeps on the device.
#[derive(Debug)]
struct Buffers {
    slots: Buffer,
    failed: Buffer,
    words: Buffer,
    uniforms: Buffer,
}

/// The network's plan for evaluations of the run's pictures (0), or of them twice, for what is wanted and for what is not (1).
#[derive(Debug)]
struct Side {
    size: Size,
    timesteps: Vec<f64>,
    labels: Option<Vec<f32>>,
    /// Evaluations whose prelude is on the device at once.
    block: usize,
    group: wgpu::BindGroup,
    /// Where the network has its input and its output.
    places: [u32; 2],
}

/// Staging buffers that no reading uses at present, each for two slots and the number of the failed check.
type Spare = Arc<Mutex<Vec<Buffer>>>;

/// A step's commands, not yet submitted.
struct Recorded {
    encoder: wgpu::CommandEncoder,
    dispatches: usize,
    step: Option<GpuStep>,
}

impl Buffers {
    async fn new(gpu: &Gpu, compiled: &Compiled) -> Result<Self> {
        use wgpu::BufferUsages as Usage;
        let storage = Usage::STORAGE | Usage::COPY_DST;
        let slots = gpu.buffer("slots", 4 * compiled.floats, storage | Usage::COPY_SRC).await?;
        let failed = gpu.buffer("failures", 4, storage | Usage::COPY_SRC).await?;
        gpu.queue().write_buffer(failed.raw(), 0, &FINITE.to_le_bytes());
        let all: Vec<u32> = compiled.segments.iter().flat_map(|s| &s.words).copied().collect();
        let words = gpu.buffer("program", 4 * all.len(), storage).await?;
        gpu.queue().write_buffer(words.raw(), 0, bytemuck::cast_slice(&all));
        let bytes = UNIFORM_BYTES * compiled.segments.len();
        let uniforms = gpu.buffer("program's uniforms", bytes, Usage::UNIFORM | Usage::COPY_DST).await?;
        Ok(Self { slots, failed, words, uniforms })
    }

    /// Writes the uniform of each segment's dispatch.
    fn write_uniforms(&self, gpu: &Gpu, segments: &[Segment], sides: &[Option<Side>; 2], params: Params) {
        let mut table: Vec<u32> = Vec::with_capacity(segments.len() * UNIFORM_BYTES / 4);
        let mut end = 0;
        for segment in segments {
            let start = end;
            end = start + segment.words.len() as u32;
            let [input, output] = sides[segment.side].as_ref().map_or([0; 2], |side| side.places);
            append(&mut table, bytemuck::bytes_of(&Params { start, end, input, output, ..params }));
        }
        gpu.queue().write_buffer(self.uniforms.raw(), 0, bytemuck::cast_slice(&table));
    }
}

impl Side {
    /// Prepares evaluations at these timesteps by the plan for `size`.
    async fn new(
        replay: &mut Replay,
        size: Size,
        timesteps: Vec<f64>,
        labels: Option<Vec<f32>>,
        buffers: &Buffers,
    ) -> Result<Self> {
        let each = if labels.is_some() { size[0] } else { 1 };
        let row = 4 * each * replay.plan().prelude.width().max(1);
        let evaluations = timesteps.len();
        let block = (PRELUDE / row).clamp(1, evaluations.max(1));
        let rows: Vec<PreludeRows> = (0..evaluations)
            .map(|i| PreludeRows { first: i % block * each, stride: usize::from(labels.is_some()) })
            .collect();
        replay.start(block * each, &rows).await?;
        let value = |id| replay.plan().value(id).offset as u32;
        let places = [value(replay.plan().input), value(replay.plan().output)];
        let Buffers { slots, failed, words, uniforms } = buffers;
        let bindings =
            [replay.arena().whole(), slots.whole(), words.whole(), failed.whole(), uniforms.one_uniform()];
        let gpu = replay.gpu();
        let group = gpu.bind_group(&gpu.combine().layout, &bindings);
        Ok(Self { size, timesteps, labels, block, group, places })
    }

    /// The prelude of a block of evaluations, which begins with this one. Its layout depends on its number of rows, so the last block is
    /// filled up with the last timestep.
    fn prelude(&self, evaluation: usize, conditioning: &Conditioning, replay: &Replay) -> Result<Vec<f32>> {
        let each = if self.labels.is_some() { self.size[0] } else { 1 };
        let mut timesteps = Vec::with_capacity(self.block * each);
        for i in evaluation..evaluation + self.block {
            let timestep = self.timesteps[i.min(self.timesteps.len() - 1)] as f32;
            timesteps.extend(std::iter::repeat_n(timestep, each));
        }
        let labels = self.labels.as_ref().map(|l| l.repeat(self.block));
        let given = conditioning.given(&timesteps, labels.as_deref())?;
        prelude(replay.plan(), replay.weights().host(), &given)
    }
}

impl GpuRun {
    /// # Errors
    /// As [`Executor::begin`](crate::engine::executor::Executor::begin).
    pub(super) async fn start(replays: &mut Replays, run: Run<'_>) -> Result<Self> {
        let Run { conditioning, program, shape, noise, labels } = run;
        let ([batch, channels, height, width], network) = (shape, conditioning.network());
        if channels != network.in_channels() {
            return Err(Error::Option {
                option: "shape",
                found: format!("{shape:?}"),
                expected: format!("[batch, {}, height, width]", network.in_channels()),
            });
        }
        let gpu = replays.gpu().clone();
        let (pixels, out_channels) = (height * width, network.out_channels());
        let mut compiled = Compiled::of(program, &noise, Sizes { batch, pixels, channels, out_channels })?;
        let timesteps = std::mem::take(&mut compiled.timesteps);
        let guided = program.is_guided();
        let wanted = [!timesteps[0].is_empty() || !guided, !timesteps[1].is_empty()];
        let size_of = |side: usize| [batch << side, height, width];
        // Plans first: they are what may not fit.
        for side in (0..2).filter(|side| wanted[*side]) {
            replays.prepare(network, size_of(side)).await?;
        }
        let buffers = Buffers::new(&gpu, &compiled).await?;
        let mut sides = [None, None];
        for (side, timesteps) in timesteps.into_iter().enumerate().filter(|(side, _)| wanted[*side]) {
            let halved = guided && side == 0;
            let labels = labels.map(|l| l[..if halved { l.len() / 2 } else { l.len() }].to_vec());
            let size = size_of(side);
            sides[side] = Some(Side::new(replays.get(size)?, size, timesteps, labels, &buffers).await?);
        }
        let seed = if let Generator::Philox(seed) = noise { seed } else { 0 };
        let params = Params {
            batch: batch as u32,
            channels: channels as u32,
            pixels: pixels as u32,
            out_channels: out_channels as u32,
            seed_low: seed as u32,
            seed_high: (seed >> 32) as u32,
            ..Params::default()
        };
        let Compiled { segments, checks, offsets, .. } = compiled;
        buffers.write_uniforms(&gpu, &segments, &sides, params);
        gpu.check()?;
        Ok(Self {
            gpu,
            conditioning: Arc::clone(conditioning),
            shape,
            segments,
            next: 0,
            index: 0,
            total: program.steps(),
            sides,
            checks: checks.into(),
            noise,
            offsets,
            buffers,
            in_flight: VecDeque::new(),
            spare: Spare::default(),
        })
    }

    /// Submits the next step with all its evaluations of the network and a reading of its `x` and its `x0`, in that order, as
    /// one submission, or does nothing after the last and returns `None`. Waits only while two earlier steps are unfinished.
    ///
    /// # Errors
    /// [`Error::DeviceLost`] and [`Error::OutOfMemory`].
    pub(super) async fn step(&mut self, replays: &mut Replays) -> Result<Option<(GpuStep, Reading)>> {
        if self.next == self.segments.len() {
            return Ok(None);
        }
        self.wait_for_slot().await?;
        let staging = self.staging().await?;
        let Recorded { mut encoder, dispatches, step } = self.record(replays)?;
        let Some(step) = step else {
            self.submit(encoder, dispatches);
            return Ok(None);
        };
        let slots = [step.x, step.x0];
        self.copy(&mut encoder, &slots, &staging);
        let submission = self.submit(encoder, dispatches);
        Ok(Some((step, self.reading(slots.len(), staging, submission))))
    }

    /// Waits until another step may be submitted.
    async fn wait_for_slot(&mut self) -> Result<()> {
        while self.in_flight.len() >= IN_FLIGHT
            && let Some(pending) = self.in_flight.front()
        {
            self.gpu.wait(pending).await?;
            self.in_flight.pop_front();
        }
        self.gpu.check()
    }

    /// The next step's commands.
    fn record(&mut self, replays: &mut Replays) -> Result<Recorded> {
        let mut encoder =
            self.gpu.device().create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
        let mut dispatches = 0;
        let mut ended = None;
        while ended.is_none() && self.next < self.segments.len() {
            dispatches += self.record_segment(&mut pass, replays)?;
            ended = self.segments[self.next].end;
            self.next += 1;
        }
        drop(pass);
        let step =
            ended.map(|(from, to, x, x0)| GpuStep { index: self.index, total: self.total, from, to, x, x0 });
        self.index += usize::from(step.is_some());
        Ok(Recorded { encoder, dispatches, step })
    }

    /// Records the next segment with the evaluation before it: so many dispatches.
    fn record_segment(&mut self, pass: &mut wgpu::ComputePass, replays: &mut Replays) -> Result<usize> {
        let segment = &self.segments[self.next];
        let Some(side) = &self.sides[segment.side] else { return Err(Error::Disposed) };
        let mut dispatches = 0;
        if let Some(evaluation) = segment.evaluation {
            let replay = replays.get(side.size)?;
            if evaluation.is_multiple_of(side.block) {
                replay.upload(&side.prelude(evaluation, &self.conditioning, replay)?);
            }
            replay.record(pass, evaluation);
            dispatches += replay.dispatches();
        }
        let len = self.image_len();
        for (pictures, at) in &segment.uploads {
            if pictures.is_empty() || !len.is_multiple_of(pictures.len()) {
                return Err(wrong_pictures("init", pictures.len(), self.shape));
            }
            self.upload(&pictures.repeat(len / pictures.len()), *at);
        }
        for &(draw, at) in &segment.draws {
            let mut nchw = vec![0.0; len];
            self.noise.normals(draw, self.shape[0], &mut nchw);
            self.upload(&nchw, at);
        }
        if !segment.words.is_empty() {
            pass.set_pipeline(&self.gpu.combine().pipeline);
            pass.set_bind_group(0, &side.group, &[(UNIFORM_BYTES * self.next) as u32]);
            let [x, y, z] = grid(len.div_ceil(THREADS as usize));
            pass.dispatch_workgroups(x, y, z);
            dispatches += 1;
        }
        Ok(dispatches)
    }

    /// Writes images to a place among the slots.
    fn upload(&self, nchw: &[f32], at: usize) {
        let [_, channels, height, width] = self.shape;
        let mut nhwc = vec![0.0; nchw.len()];
        to_nhwc(nchw, channels, height * width, &mut nhwc);
        let slots = self.buffers.slots.raw();
        self.gpu.queue().write_buffer(slots, 4 * at as u64, bytemuck::cast_slice(&nhwc));
    }

    fn submit(&mut self, encoder: wgpu::CommandEncoder, dispatches: usize) -> wgpu::SubmissionIndex {
        let submission = self.gpu.submit(encoder, dispatches);
        self.in_flight.push_back(self.gpu.when_done(submission.clone()));
        submission
    }

    fn image_len(&self) -> usize {
        self.shape.iter().product()
    }

    async fn staging(&self) -> Result<Buffer> {
        if let Some(spare) = lock(&self.spare).pop() {
            return Ok(spare);
        }
        use wgpu::BufferUsages as Usage;
        let bytes = 4 * (2 * self.image_len() + 1);
        self.gpu.buffer("pictures", bytes, Usage::MAP_READ | Usage::COPY_DST).await
    }

    /// Copies the images of one slot or two, and after them the number of the failed check.
    fn copy(&self, encoder: &mut wgpu::CommandEncoder, slots: &[Slot], staging: &Buffer) {
        let bytes = 4 * self.image_len() as u64;
        for (slot, to) in slots.iter().zip((0..).step_by(bytes as usize)) {
            let from = 4 * self.offsets[slot.index()] as u64;
            encoder.copy_buffer_to_buffer(self.buffers.slots.raw(), from, staging.raw(), to, bytes);
        }
        let end = slots.len() as u64 * bytes;
        encoder.copy_buffer_to_buffer(self.buffers.failed.raw(), 0, staging.raw(), end, 4);
    }

    fn reading(&self, slots: usize, staging: Buffer, submission: wgpu::SubmissionIndex) -> Reading {
        let gpu = self.gpu.clone();
        let len = slots * self.image_len();
        let mapped = gpu.when_mapped(&staging, 4 * (len + 1), submission);
        let (checks, spare) = (Arc::clone(&self.checks), Arc::clone(&self.spare));
        Reading { gpu, staging, mapped, len, shape: self.shape, checks, spare }
    }
}

/// Images that are being copied from a device.
#[derive(Debug)]
pub(super) struct Reading {
    gpu: Gpu,
    staging: Buffer,
    mapped: Pending,
    len: usize,
    shape: [usize; 4],
    checks: Arc<[f64]>,
    spare: Spare,
}

impl Reading {
    /// The images, `[batch, channels, height, width]`, of one slot after the other.
    ///
    /// # Errors
    /// [`Error::NotFiniteOutput`] if the network's output or the images were not finite at any step so far,
    /// [`Error::DeviceLost`] and [`Error::OutOfMemory`].
    pub(super) async fn images(self) -> Result<Vec<f32>> {
        self.gpu.wait(&self.mapped).await?;
        let found: Vec<f32> = self.gpu.unmap(&self.staging, self.len + 1)?;
        lock(&self.spare).push(self.staging);
        let (found, failed) = found.split_at(self.len);
        let failed = failed[0].to_bits();
        if failed != FINITE {
            return Err(Error::NotFiniteOutput { timestep: self.checks[failed as usize] });
        }
        let [_, channels, height, width] = self.shape;
        let mut images = vec![0.0; self.len];
        to_nchw(found, channels, height * width, &mut images);
        Ok(images)
    }
}
