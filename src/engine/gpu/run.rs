//! A sampler's run on a device: the images stay there from the first noise to the last step.
//!
//! What a [`Program`] says is cut into segments, one between two evaluations of the network each, and translated into words
//! which one kernel runs (`combine.wgsl`); coefficients and timesteps of all steps are uploaded at the start. A step is one
//! command buffer. Philox's noise is made where it is used. PyTorch's has to be drawn in order: the host draws it one step
//! ahead of the device, without waiting for it.

use std::collections::VecDeque;
use std::ops::DerefMut;
use std::sync::{Arc, Mutex};

use super::combine::{
    NO_NOISE, NOISE_CONSTANT, NOISE_DRAWN, NOISE_LEARNED, NOISE_LEARNED_RANGE, OP_BLEND, OP_COMBINE,
    OP_END_STEP, OP_GIVE_INPUT, OP_TAKE_OUTPUT, Params, THREADS,
};
use super::device::{Buffer, Gpu, Pending};
use super::network::GpuNetwork;
use super::replay::Replay;
use super::signal::lock;

use crate::denoiser::{Level, Point};
use crate::engine::lower::{UNIFORM_BYTES, append, grid};
use crate::engine::order::{to_nchw, to_nhwc};
use crate::engine::prelude::{Rows, prelude};
use crate::error::{Error, Result};
use crate::network::architecture::Network;
use crate::rng::{Generator, Normals};
use crate::sampler::{Instruction, NoiseScale, Program, Slot, SlotKind, wrong_pictures};
use crate::schedule::Clip;

/// Bytes of the prelude that are on the device at a time, unless one evaluation needs more.
const PRELUDE: usize = 16 << 20;

/// Steps submitted ahead. Two keep the GPU busy while one is read back; more would only delay stopping.
pub const IN_FLIGHT: usize = 2;

/// The number of the failed check while there is none.
const FINITE: u32 = u32::MAX;

/// What a step leaves on the device.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GpuStep {
    /// Position of the step in the run, from 0.
    pub index: usize,
    /// Number of steps of the run.
    pub total: usize,
    /// Where the step started from.
    pub from: Point,
    /// The level that it arrived at, which `x` has.
    pub to: Level,
    /// The noisy images that it arrived at; the result, after the last step.
    pub x: Slot,
    /// Its estimate of the clean images.
    pub x0: Slot,
}

/// What is done between two evaluations of the network: one dispatch, and what comes before it.
#[derive(Clone, Debug, Default)]
struct Segment {
    /// Which of the run's networks it is for.
    side: usize,
    /// The evaluation that this network makes first.
    evaluation: Option<usize>,
    words: Vec<u32>,
    /// Pictures that are uploaded before it, and where they go among the slots.
    uploads: Vec<(Arc<[f32]>, usize)>,
    /// Draws of noise that the host makes for it: their numbers, and where they go among the slots.
    draws: Vec<(u32, usize)>,
    /// The step that ends with it: where it came from and arrived, and the slots of x and x̂₀.
    end: Option<(Point, Level, Slot, Slot)>,
}

/// A run of a sampler on a GPU, one step a call. It has the network to itself: `N` is a `&mut GpuNetwork`, or owns one.
#[derive(Debug)]
pub struct GpuRun<N> {
    network: N,
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
    slots: Buffer,
    failed: Buffer,
    /// Kept for the bind group, which refers to them.
    _program: [Buffer; 2],
    in_flight: VecDeque<Pending>,
    spare: Spare,
}

/// The network's plan for evaluations of the run's pictures (0), or of them twice, for what is wanted and for what is not (1).
#[derive(Debug)]
struct Side {
    batch: usize,
    timesteps: Vec<f64>,
    labels: Option<Vec<f32>>,
    /// Evaluations whose prelude is on the device at once.
    block: usize,
    group: wgpu::BindGroup,
}

/// Staging buffers that no reading uses at present, each for two slots and the number of the failed check.
type Spare = Arc<Mutex<Vec<Buffer>>>;

/// A step's commands, not yet submitted.
struct Recorded {
    encoder: wgpu::CommandEncoder,
    dispatches: usize,
    step: Option<GpuStep>,
}

impl GpuNetwork {
    /// [`GpuRun::start`] with this network.
    ///
    /// # Errors
    /// As there.
    pub async fn sample(
        &mut self,
        program: &Program,
        shape: [usize; 4],
        noise: Generator,
        labels: Option<&[f32]>,
    ) -> Result<GpuRun<&mut Self>> {
        GpuRun::start(self, program, shape, noise, labels).await
    }
}

impl<N: DerefMut<Target = GpuNetwork>> GpuRun<N> {
    /// Starts a run: `shape` is `[batch, in_channels, height, width]`, `labels` are one for each sample, or one vector, as
    /// for [`Network::features`]; where the program is guided, those of what is wanted and then those of what is not.
    ///
    /// # Errors
    /// [`Error::Option`] where the shape, a timestep or a label does not suit the network; [`Error::Unsupported`] for
    /// dynamic thresholding, which has to look at all of an image before it can go on: replay that on the host with
    /// [`sampler::HostRun`](crate::sampler::HostRun) over [`GpuNetwork::evaluate`]. Those of [`Replay::new`].
    pub async fn start(
        mut network: N,
        program: &Program,
        shape: [usize; 4],
        noise: Generator,
        labels: Option<&[f32]>,
    ) -> Result<Self> {
        let [batch, channels, height, width] = shape;
        if channels != network.network().in_channels() {
            return Err(Error::Option {
                option: "shape",
                found: format!("{shape:?}"),
                expected: format!("[batch, {}, height, width]", network.network().in_channels()),
            });
        }
        let pixels = height * width;
        let gpu = network.gpu().clone();
        let out_channels = network.network().out_channels();
        let mut compiled = Compiled::of(program, &noise, [batch, pixels, channels, out_channels])?;

        use wgpu::BufferUsages as Usage;
        let storage = Usage::STORAGE | Usage::COPY_DST;
        let seed = if let Generator::Philox(seed) = noise { seed } else { 0 };
        let words: Vec<u32> = compiled.segments.iter().flat_map(|s| &s.words).copied().collect();
        // Plans first: they are what may not fit.
        let guided = program.is_guided();
        for (side, timesteps) in compiled.timesteps.iter().enumerate() {
            if !timesteps.is_empty() || side == 0 && !guided {
                network.plan(batch << side, height, width).await?;
            }
        }
        let slots = gpu.buffer("slots", 4 * compiled.floats, storage | Usage::COPY_SRC).await?;
        let failed = gpu.buffer("failures", 4, storage | Usage::COPY_SRC).await?;
        gpu.queue().write_buffer(failed.raw(), 0, &FINITE.to_le_bytes());
        let code = gpu.buffer("program", 4 * words.len(), storage).await?;
        let table_words = compiled.segments.len() * UNIFORM_BYTES / 4;
        let uniforms =
            gpu.buffer("program's uniforms", 4 * table_words, Usage::UNIFORM | Usage::COPY_DST).await?;

        let mut sides = [None, None];
        // Where each network has its input and its output.
        let mut places = [[0; 2]; 2];
        for side in 0..2 {
            let timesteps = std::mem::take(&mut compiled.timesteps[side]);
            if timesteps.is_empty() && (side == 1 || guided) {
                continue;
            }
            let batch = batch << side;
            let (_, _, replay) = network.parts([batch, height, width])?;
            let halved = guided && side == 0;
            let labels = labels.map(|l| l[..if halved { l.len() / 2 } else { l.len() }].to_vec());
            let each = if labels.is_some() { batch } else { 1 };
            let row = 4 * each * replay.plan().prelude.width().max(1);
            let evaluations = timesteps.len();
            let block = (PRELUDE / row).clamp(1, evaluations.max(1));
            let rows: Vec<Rows> = (0..evaluations)
                .map(|i| Rows { first: i % block * each, stride: usize::from(labels.is_some()) })
                .collect();
            replay.start(block * each, &rows).await?;
            let value = |id| replay.plan().value(id).offset as u32;
            places[side] = [value(replay.plan().input), value(replay.plan().output)];
            let bindings =
                [replay.arena().whole(), slots.whole(), code.whole(), failed.whole(), uniforms.one_uniform()];
            let group = gpu.bind_group(&gpu.combine().layout, &bindings);
            sides[side] = Some(Side { batch, timesteps, labels, block, group });
        }
        let mut start = 0;
        let mut table: Vec<u32> = Vec::with_capacity(table_words);
        for segment in &compiled.segments {
            let [input, output] = places[segment.side];
            let params = Params {
                start,
                end: start + segment.words.len() as u32,
                batch: batch as u32,
                channels: channels as u32,
                pixels: pixels as u32,
                input,
                output,
                out_channels: out_channels as u32,
                seed_low: seed as u32,
                seed_high: (seed >> 32) as u32,
            };
            start = params.end;
            append(&mut table, bytemuck::bytes_of(&params));
        }
        gpu.queue().write_buffer(code.raw(), 0, bytemuck::cast_slice(&words));
        gpu.queue().write_buffer(uniforms.raw(), 0, bytemuck::cast_slice(&table));
        gpu.check()?;
        Ok(Self {
            network,
            shape,
            segments: compiled.segments,
            next: 0,
            index: 0,
            total: program.steps(),
            sides,
            checks: compiled.checks.into(),
            noise,
            offsets: compiled.offsets,
            slots,
            failed,
            _program: [code, uniforms],
            in_flight: VecDeque::new(),
            spare: Spare::default(),
        })
    }

    /// Submits the next step with all its evaluations of the network, or does nothing after the last and returns `None`.
    /// Waits only while two earlier steps are unfinished.
    ///
    /// # Errors
    /// [`Error::DeviceLost`] and [`Error::OutOfMemory`].
    pub async fn step(&mut self) -> Result<Option<GpuStep>> {
        self.wait_for_slot().await?;
        let Some(Recorded { encoder, dispatches, step }) = self.record()? else { return Ok(None) };
        self.submit(encoder, dispatches);
        Ok(step)
    }

    /// [`Self::step`] with a [reading](Self::read) of its `x` and its `x0`, in that order, as one submission: the next
    /// step need not wait for it.
    ///
    /// # Errors
    /// As [`Self::step`].
    pub async fn step_and_read(&mut self) -> Result<Option<(GpuStep, Reading)>> {
        if self.next == self.segments.len() {
            return Ok(None);
        }
        self.wait_for_slot().await?;
        let staging = self.staging().await?;
        let Some(Recorded { mut encoder, dispatches, step }) = self.record()? else { return Ok(None) };
        let Some(step) = step else {
            self.submit(encoder, dispatches);
            return Ok(None);
        };
        let slots = [step.x, step.x0];
        self.copy(&mut encoder, &slots, &staging);
        let submission = self.submit(encoder, dispatches);
        Ok(Some((step, self.reading(slots.len(), staging, submission))))
    }

    /// Starts reading the images in a slot, as they are after the last step submitted. The run may go on before they are
    /// waited for.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] and [`Error::DeviceLost`].
    pub async fn read(&self, slot: Slot) -> Result<Reading> {
        let gpu = self.network.gpu();
        let staging = self.staging().await?;
        let mut encoder = gpu.device().create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        self.copy(&mut encoder, &[slot], &staging);
        Ok(self.reading(1, staging, gpu.submit(encoder, 0)))
    }

    /// Waits until another step may be submitted.
    async fn wait_for_slot(&mut self) -> Result<()> {
        while self.in_flight.len() >= IN_FLIGHT
            && let Some(pending) = self.in_flight.front()
        {
            self.network.gpu().wait(pending).await?;
            self.in_flight.pop_front();
        }
        self.network.gpu().check()
    }

    /// The next step's commands; `None` after the last.
    fn record(&mut self) -> Result<Option<Recorded>> {
        if self.next == self.segments.len() {
            return Ok(None);
        }
        let [batch, channels, height, width] = self.shape;
        let gpu = self.network.gpu().clone();
        let mut encoder = gpu.device().create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
        let mut dispatches = 0;
        let mut ended = None;
        while let (None, Some(segment)) = (ended, self.segments.get(self.next)) {
            let Some(side) = &self.sides[segment.side] else { return Err(Error::Disposed) };
            if let Some(evaluation) = segment.evaluation {
                let (network, frequencies, replay) = self.network.parts([side.batch, height, width])?;
                if evaluation.is_multiple_of(side.block) {
                    // A prelude's layout depends on its number of rows, so the last block is filled up with the last timestep.
                    let end = side.timesteps.len() - 1;
                    let block = (evaluation..evaluation + side.block).map(|i| side.timesteps[i.min(end)]);
                    let labels = side.labels.as_deref();
                    replay.upload(&prelude_of(block, side.batch, labels, network, frequencies, replay)?);
                }
                replay.record(&mut pass, evaluation);
                dispatches += replay.dispatches();
            }
            let upload = |nchw: &[f32], at: usize| {
                let mut nhwc = vec![0.0; nchw.len()];
                to_nhwc(nchw, channels, height * width, &mut nhwc);
                gpu.queue().write_buffer(self.slots.raw(), 4 * at as u64, bytemuck::cast_slice(&nhwc));
            };
            for (pictures, at) in &segment.uploads {
                let len: usize = self.shape.iter().product();
                if pictures.is_empty() || !len.is_multiple_of(pictures.len()) {
                    return Err(wrong_pictures("init", pictures.len(), self.shape));
                }
                upload(&pictures.repeat(len / pictures.len()), *at);
            }
            for &(draw, at) in &segment.draws {
                let mut nchw = vec![0.0; self.shape.iter().product()];
                self.noise.normals(draw, batch, &mut nchw);
                upload(&nchw, at);
            }
            if !segment.words.is_empty() {
                pass.set_pipeline(&gpu.combine().pipeline);
                pass.set_bind_group(0, &side.group, &[(UNIFORM_BYTES * self.next) as u32]);
                let [x, y, z] = grid(self.shape.iter().product::<usize>().div_ceil(THREADS as usize));
                pass.dispatch_workgroups(x, y, z);
                dispatches += 1;
            }
            ended = segment.end;
            self.next += 1;
        }
        drop(pass);
        let step =
            ended.map(|(from, to, x, x0)| GpuStep { index: self.index, total: self.total, from, to, x, x0 });
        self.index += usize::from(step.is_some());
        Ok(Some(Recorded { encoder, dispatches, step }))
    }

    fn submit(&mut self, encoder: wgpu::CommandEncoder, dispatches: usize) -> wgpu::SubmissionIndex {
        let gpu = self.network.gpu();
        let submission = gpu.submit(encoder, dispatches);
        self.in_flight.push_back(gpu.when_done(submission.clone()));
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
        self.network.gpu().buffer("pictures", bytes, Usage::MAP_READ | Usage::COPY_DST).await
    }

    /// Copies the images of one slot or two, and after them the number of the failed check.
    fn copy(&self, encoder: &mut wgpu::CommandEncoder, slots: &[Slot], staging: &Buffer) {
        let bytes = 4 * self.image_len() as u64;
        for (slot, to) in slots.iter().zip((0..).step_by(bytes as usize)) {
            let from = 4 * self.offsets[slot.index()] as u64;
            encoder.copy_buffer_to_buffer(self.slots.raw(), from, staging.raw(), to, bytes);
        }
        let end = slots.len() as u64 * bytes;
        encoder.copy_buffer_to_buffer(self.failed.raw(), 0, staging.raw(), end, 4);
    }

    fn reading(&self, slots: usize, staging: Buffer, submission: wgpu::SubmissionIndex) -> Reading {
        let gpu = self.network.gpu().clone();
        let len = slots * self.image_len();
        let mapped = gpu.when_mapped(&staging, 4 * (len + 1), submission);
        let (checks, spare) = (Arc::clone(&self.checks), Arc::clone(&self.spare));
        Reading { gpu, staging, mapped, len, shape: self.shape, checks, spare }
    }
}

/// The prelude of evaluations at these timesteps.
fn prelude_of(
    timesteps: impl Iterator<Item = f64>,
    batch: usize,
    labels: Option<&[f32]>,
    network: &dyn Network,
    frequencies: &[f32],
    replay: &Replay,
) -> Result<Vec<f32>> {
    let each = if labels.is_some() { batch } else { 1 };
    let timesteps: Vec<f32> = timesteps.flat_map(|t| std::iter::repeat_n(t as f32, each)).collect();
    let labels = labels.map(|l| l.repeat(timesteps.len() / each));
    let given = network.features(&timesteps, labels.as_deref(), frequencies)?;
    prelude(replay.plan(), replay.weights().host(), &given)
}

/// Images that are being copied from a device.
#[derive(Debug)]
pub struct Reading {
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
    pub async fn images(self) -> Result<Vec<f32>> {
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

/// For what looks at a whole image at once.
fn for_the_host() -> Error {
    Error::Unsupported {
        what: "a sampler that measures images in a run on the GPU".to_owned(),
        why: "the host has to".to_owned(),
    }
}

/// A sampler's program in the words that `combine.wgsl` reads.
struct Compiled {
    segments: Vec<Segment>,
    /// Of evaluations of the pictures once, and twice.
    timesteps: [Vec<f64>; 2],
    checks: Vec<f64>,
    offsets: Vec<usize>,
    floats: usize,
}

fn host_only(what: &str, why: &str) -> Error {
    Error::Unsupported { what: format!("{what} on the GPU"), why: format!("{why}; replay it on the host") }
}

impl Compiled {
    fn of(
        program: &Program,
        noise: &Generator,
        [batch, pixels, channels, out_channels]: [usize; 4],
    ) -> Result<Self> {
        let image = (batch * pixels * channels).next_multiple_of(64);
        let output = (batch * pixels * out_channels).next_multiple_of(64);
        let mut floats = 0u64;
        let mut place = |len: usize| {
            let start = floats as usize;
            floats += len as u64;
            start
        };
        let offsets: Vec<usize> = (program.slots().iter())
            .map(|kind| place(if *kind == SlotKind::Image { image } else { output }))
            .collect();
        let channels_of = |slot: Slot| match program.slots()[slot.index()] {
            SlotKind::Image => channels,
            SlotKind::Output => out_channels,
        };
        let learned = |slot: Slot| {
            if out_channels == 2 * channels {
                return Ok(offsets[slot.index()]);
            }
            let key = "the network's output".to_owned();
            let expected = vec![batch, 2 * channels, pixels];
            Err(Error::WrongShape { key, expected, found: vec![batch, out_channels, pixels] })
        };
        let drawn = matches!(noise, Generator::Torch(_));
        // What a step uploads is there before the step begins, so each of its draws needs a place of its own.
        let (mut places, mut used) = (Vec::new(), 0);
        let mut segments = vec![Segment::default()];
        let (mut timesteps, mut checks) = ([const { Vec::new() }; 2], Vec::new());
        let first = |i: &Instruction| match i {
            Instruction::Evaluate { guided, .. } => Some(usize::from(guided.is_some())),
            _ => None,
        };
        segments[0].side = program.instructions().iter().find_map(first).unwrap_or(0);
        for instruction in program.instructions() {
            let mut last = segments.len() - 1;
            // What comes before the next evaluation must leave alone what the step that ended shows.
            if segments[last].end.is_some() && !matches!(instruction, Instruction::Evaluate { .. }) {
                segments.push(Segment { side: segments[last].side, ..Segment::default() });
                last += 1;
            }
            let segment = &mut segments[last];
            match instruction {
                Instruction::Evaluate { input, scale, timestep, guided, output } => {
                    if guided.is_some_and(|guided| guided.rescale > 0.0) {
                        return Err(host_only("rescaled guidance", "it looks at a whole image at once"));
                    }
                    let side = usize::from(guided.is_some());
                    let scale = (*scale as f32).to_bits();
                    let beyond = side * batch * pixels;
                    let [again, others] = [channels, out_channels].map(|c| (beyond * c) as u32);
                    let give = [OP_GIVE_INPUT, offsets[input.index()] as u32, scale, again];
                    if segment.side == side {
                        segment.words.extend(give);
                    } else {
                        // The other network's input lies in another buffer.
                        segments.push(Segment { side, words: give.to_vec(), ..Segment::default() });
                    }
                    let share = guided.map_or(1.0, |guided| guided.scale as f32);
                    let (to, check) = (offsets[output.index()] as u32, checks.len() as u32);
                    let words = vec![OP_TAKE_OUTPUT, to, check, others, share.to_bits()];
                    let evaluation = Some(timesteps[side].len());
                    segments.push(Segment { side, evaluation, words, ..Segment::default() });
                    timesteps[side].push(*timestep);
                    checks.push(*timestep);
                }
                Instruction::Load { output, pictures } => {
                    segment.uploads.push((Arc::clone(pictures), offsets[output.index()]));
                }
                Instruction::Blend { output, mask, yes, no } => {
                    let places = [output, mask, yes, no].map(|slot| offsets[slot.index()] as u32);
                    segment.words.push(OP_BLEND);
                    segment.words.extend(places);
                }
                Instruction::Restore { .. } => {
                    return Err(host_only("restoring", "it looks at a whole image at once"));
                }
                Instruction::Watch { .. } => {
                    return Err(host_only("a watched run", "whoever watches is there"));
                }
                Instruction::Combine { output, terms, clip, noise } => {
                    let range = match clip {
                        Clip::None => 0.0,
                        Clip::Range(range) => *range as f32,
                        Clip::Dynamic { .. } => {
                            return Err(host_only(
                                "dynamic thresholding",
                                "it looks at a whole image at once",
                            ));
                        }
                    };
                    let (mut kind, mut draw, mut numbers, mut variance) = (NO_NOISE, 0, [0.0; 2], 0);
                    if let Some(noise) = noise {
                        draw = noise.draw;
                        match noise.scale {
                            NoiseScale::Constant(scale) => {
                                (kind, numbers[0]) = (NOISE_CONSTANT, scale as f32)
                            }
                            NoiseScale::Learned { output } => {
                                (kind, variance) = (NOISE_LEARNED, learned(output)?)
                            }
                            NoiseScale::LearnedRange { output, log_min, log_max } => {
                                (kind, variance) = (NOISE_LEARNED_RANGE, learned(output)?);
                                numbers = [log_min as f32, log_max as f32];
                            }
                        }
                        if drawn {
                            if used == places.len() {
                                places.push(place(image));
                            }
                            segment.draws.push((draw, places[used]));
                            (kind, draw) = (kind | NOISE_DRAWN, places[used] as u32);
                            used += 1;
                        }
                    }
                    let output = offsets[output.index()] as u32;
                    segment.words.extend([OP_COMBINE, output, range.to_bits(), kind, draw]);
                    segment.words.extend(numbers.map(f32::to_bits));
                    segment.words.extend([variance as u32, terms.len() as u32]);
                    for (slot, coefficient) in terms {
                        let bits = (*coefficient as f32).to_bits();
                        segment.words.extend([offsets[slot.index()] as u32, channels_of(*slot) as u32, bits]);
                    }
                }
                Instruction::Rescale { .. } | Instruction::Integrate { .. } => return Err(for_the_host()),
                Instruction::EndStep { from, to, x, x0 } => {
                    segment.words.extend([OP_END_STEP, offsets[x.index()] as u32, checks.len() as u32]);
                    checks.push(from.timestep);
                    segment.end = Some((*from, *to, *x, *x0));
                    used = 0;
                }
            }
        }
        // Kernels count in 32 bits, and a page's machine counts bytes in as many.
        let countable = u32::try_from(floats).is_ok() && usize::try_from(4 * floats).is_ok();
        if !countable {
            return Err(Error::OutOfMemory { problem: format!("{} bytes of images", 4 * floats) });
        }
        let floats = floats as usize;
        Ok(Self { segments, timesteps, checks, offsets, floats })
    }
}
