//! A sampler's run on a device: the images stay there from the first noise to the last step.
//!
//! What a [`Program`] says is cut into segments, one between two evaluations of the network each, and translated into words
//! which one kernel runs (`combine.wgsl`); coefficients and timesteps of all steps are uploaded at the start. A step is one
//! command buffer, and so are several that nobody looks at, a frame's worth. Philox's noise is made where it is used. PyTorch's has to be
//! drawn in order: the host draws it one step ahead of the device, without waiting for it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use super::combine::{Params, THREADS};
use super::compiled::{Compiled, End, Segment, Sizes};
use super::device::{Buffer, Gpu, Pending};
use super::replay::Replay;
use super::replays::Replays;
use super::signal::lock;

use crate::engine::executor::{Run, Size};
use crate::engine::lower::{UNIFORM_BYTES, append, grid};
use crate::engine::order::{to_nchw, to_nhwc};
use crate::engine::prelude::{Conditioning, PreludeRows, prelude};
use crate::error::{Error, Result};
use crate::rng::{Generator, Normals};
use crate::sampler::{Slot, wrong_pictures};

/// Bytes of the prelude that are on the device at a time, unless one evaluation needs more; in tests of this crate's inside a few evaluations'.
const PRELUDE: usize = if cfg!(test) { 18_000 } else { 16 << 20 };

/// Submissions ahead. Two keep the GPU busy while one is read back; more would only delay stopping.
pub(super) const IN_FLIGHT: usize = 2;

/// Seconds in which a submission of several steps should be done, a frame: stopping waits for it.
const FRAME: f64 = 0.016;

/// How many times as many steps as were measured may go into a submission: few say little of many.
const GROWTH: usize = 4;

/// The number of the failed check while there is none.
const FINITE: u32 = u32::MAX;

/// The last of the steps that were submitted together.
#[derive(Clone, Copy, Debug)]
pub(super) struct GpuStep {
    /// Position of the step in the run, from 0.
    pub(super) index: usize,
    /// Number of steps of the run.
    pub(super) total: usize,
    pub(super) end: End,
}

/// A run of a sampler on a GPU, one submission a call, over the network's [`Replays`], which it has to itself.
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
    in_flight: VecDeque<Submission>,
    /// Steps that a submission may have, where nobody looks at those before its last.
    together: usize,
    spare: Spare,
}

/// Steps that were submitted together, and the time when that began.
#[derive(Debug)]
struct Submission {
    done: Pending,
    steps: usize,
    began: f64,
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

/// Seconds since some moment.
fn now() -> f64 {
    #[cfg(target_arch = "wasm32")]
    return js_sys::Date::now() / 1000.0;
    #[cfg(not(target_arch = "wasm32"))]
    std::time::UNIX_EPOCH.elapsed().map_or(0.0, |time| time.as_secs_f64())
}

/// How many steps take no longer than a frame, where so many took so many seconds from the beginning of their recording, with the wait
/// for what was submitted before them.
fn fitting(steps: usize, seconds: f64) -> usize {
    // Browsers round time. The conversion saturates.
    let fitting = FRAME * steps as f64 / seconds.max(1e-6);
    (fitting as usize).clamp(1, GROWTH * steps.max(1))
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
            together: 1,
            spare: Spare::default(),
        })
    }

    /// Submits the next step with all its evaluations of the network and a reading of its `x` and its `x0`, in that order, as
    /// one submission, or does nothing after the last and returns `None`. Of steps that nobody looks at, submits as many as take a
    /// frame's time, without a reading. Waits only while two earlier submissions are unfinished.
    ///
    /// # Errors
    /// [`Error::DeviceLost`] and [`Error::OutOfMemory`].
    pub(super) async fn step(&mut self, replays: &mut Replays) -> Result<Option<(GpuStep, Option<Reading>)>> {
        while self.next < self.segments.len() {
            self.wait_for_slot().await?;
            let staging = self.staging().await?;
            if let Some(submitted) = self.submit_steps(replays, self.together, staging)? {
                return Ok(Some(submitted));
            }
        }
        Ok(None)
    }

    /// Waits until more may be submitted.
    async fn wait_for_slot(&mut self) -> Result<()> {
        while self.in_flight.len() >= IN_FLIGHT
            && let Some(first) = self.in_flight.front()
        {
            self.gpu.wait(&first.done).await?;
            self.together = fitting(first.steps, now() - first.began);
            self.in_flight.pop_front();
        }
        self.gpu.check()
    }

    /// Submits the next steps, no more than `most` and up to one that is shown; `None` where that is only a part of one.
    fn submit_steps(
        &mut self,
        replays: &mut Replays,
        most: usize,
        staging: Buffer,
    ) -> Result<Option<(GpuStep, Option<Reading>)>> {
        let began = now();
        let mut encoder =
            self.gpu.device().create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
        let (mut dispatches, mut steps, mut step) = (0, 0, None);
        let first = self.next;
        while self.next < self.segments.len() && (self.next == first || !self.begins_with_upload()) {
            dispatches += self.record_segment(&mut pass, replays)?;
            self.next += 1;
            let Some(end) = self.segments[self.next - 1].end else { continue };
            step = Some(GpuStep { index: self.index, total: self.total, end });
            self.index += 1;
            steps += 1;
            if end.is_shown || steps == most {
                break;
            }
        }
        drop(pass);
        let shown = step.filter(|step| step.end.is_shown);
        if let Some(step) = shown {
            self.copy(&mut encoder, step.end.images, &staging);
        }
        let submission = self.gpu.submit(encoder, dispatches);
        let done = self.gpu.when_done(submission.clone());
        self.in_flight.push_back(Submission { done, steps, began });
        let reading = if shown.is_some() {
            Some(self.reading(staging, submission))
        } else {
            lock(&self.spare).push(staging);
            None
        };
        Ok(step.map(|step| (step, reading)))
    }

    /// Whether something is uploaded for the next segment that may overwrite what the segments before it need: that arrives before all
    /// commands of its submission.
    fn begins_with_upload(&self) -> bool {
        let segment = &self.segments[self.next];
        let another_block = |side: &Side| {
            segment
                .evaluation
                .is_some_and(|evaluation| evaluation > 0 && evaluation.is_multiple_of(side.block))
        };
        !segment.draws.is_empty()
            || !segment.uploads.is_empty()
            || self.sides[segment.side].as_ref().is_some_and(another_block)
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

    /// Copies the images of two slots, and after them the number of the failed check.
    fn copy(&self, encoder: &mut wgpu::CommandEncoder, slots: [Slot; 2], staging: &Buffer) {
        let bytes = 4 * self.image_len() as u64;
        for (slot, to) in slots.iter().zip((0..).step_by(bytes as usize)) {
            let from = 4 * self.offsets[slot.index()] as u64;
            encoder.copy_buffer_to_buffer(self.buffers.slots.raw(), from, staging.raw(), to, bytes);
        }
        encoder.copy_buffer_to_buffer(self.buffers.failed.raw(), 0, staging.raw(), 2 * bytes, 4);
    }

    fn reading(&self, staging: Buffer, submission: wgpu::SubmissionIndex) -> Reading {
        let gpu = self.gpu.clone();
        let len = 2 * self.image_len();
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

#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests {
    use pollster::block_on;

    use super::*;
    use crate::checkpoint::Checkpoint;
    use crate::denoiser::{Level, Point, Prediction};
    use crate::device::Device;
    use crate::engine::gpu::weights::Weights;
    use crate::engine::parameters::Storage;
    use crate::engine::plan::Plan;
    use crate::model::{self, Model, ModelConfig, SampleOptions};
    use crate::sampler::{Edit, Guidance, Options, Program, Recorder, SamplerKind};
    use crate::sampling::Sampling;
    use crate::schedule::Schedule;

    const SHAPE: [usize; 4] = [2, 3, 8, 8];
    const STEPS: usize = 7;
    /// Of what is wanted, and of what is not.
    const LABELS: [f32; 4] = [1.0, 4.0, 3.0, 3.0];

    struct Tested {
        replays: Replays,
        conditioning: Arc<Conditioning>,
        schedule: Schedule,
    }

    fn checkpoint() -> Checkpoint {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/checkpoints/class-conditional");
        Checkpoint::open(folder).unwrap()
    }

    /// Images of the steps that are shown, with their numbers, and how many submissions it took.
    type Shown = (Vec<(usize, Vec<f32>)>, u64);

    impl Tested {
        fn new() -> Self {
            let mut checkpoint = checkpoint();
            let ModelConfig { network, schedule, .. } = ModelConfig::read(&checkpoint).unwrap();
            let mut take = |key: &str, _: &[usize]| checkpoint.weights.take(key).unwrap().to_f32(key);
            let gpu = block_on(Gpu::new()).unwrap();
            let plan = Plan::least(&*network).unwrap();
            let weights = block_on(Weights::load(&gpu, &plan, Storage::F32, &mut take)).unwrap();
            let conditioning = Arc::new(Conditioning::new(network, &mut take).unwrap());
            Self { replays: Replays::new(weights), conditioning, schedule }
        }

        /// A run with so many steps a submission, whatever time they take.
        fn run(&mut self, program: &Program, noise: &Generator, most: usize) -> Result<Shown> {
            let labels = &LABELS[..if program.is_guided() { 4 } else { 2 }];
            let (conditioning, noise) = (&self.conditioning, noise.clone());
            let run = Run { conditioning, program, shape: SHAPE, noise, labels: Some(labels) };
            let mut run = block_on(GpuRun::start(&mut self.replays, run))?;
            let before = run.gpu.counters().submits;
            let mut shown = Vec::new();
            while run.next < run.segments.len() {
                block_on(run.wait_for_slot())?;
                let staging = block_on(run.staging())?;
                if let Some((step, Some(reading))) = run.submit_steps(&mut self.replays, most, staging)? {
                    shown.push((step.index, block_on(reading.images())?));
                }
            }
            Ok((shown, run.gpu.counters().submits - before))
        }

        /// Every sampler that a device replays by itself, and what stands around samplers.
        fn programs(&self) -> Vec<(String, Program)> {
            let flow = r#"{"_class_name": "FlowMatchEulerDiscreteScheduler"}"#;
            let schedules = [&self.schedule, &Schedule::from_json("s.json", flow.as_bytes()).unwrap()];
            let mut all = Vec::new();
            for kind in SamplerKind::ALL {
                let steps = Options::steps(STEPS);
                let program = schedules.iter().find_map(|schedule| kind.program(schedule, &steps).ok());
                all.extend(program.map(|program| (kind.name().to_owned(), program)));
            }
            let init: Vec<f32> = (0..192).map(|i| ((i * 29) % 192) as f32 / 96.0 - 1.0).collect();
            let mask: Vec<f32> = (0..64).map(|i| f32::from(i % 8 >= 3)).collect();
            let (edit, guidance) = (Edit::new(init), Guidance::default().scale(2.0));
            let plain = SampleOptions::default().steps(STEPS).batch(2);
            let of = |kind| plain.clone().sampler(kind);
            let part = edit.clone().mask(mask).strength(0.7).resamplings(2).jump_length(2);
            for (name, options) in [
                ("guided", of(SamplerKind::Heun).guidance(guidance)),
                ("guided within an interval", of(SamplerKind::Heun).guidance(guidance.interval([0.1, 4.0]))),
                ("from a picture", of(SamplerKind::Ddim).edit(edit.strength(0.7))),
                ("a part", of(SamplerKind::DpmMultistep).edit(part.clone())),
                ("all together", of(SamplerKind::Ddpm).edit(part).guidance(guidance)),
            ] {
                let program = model::program(&self.schedule, [3, 8, 8], &options, false, false).unwrap();
                all.push((name.to_owned(), program));
            }
            all.retain(|(_, program)| !program.needs_host());
            all
        }
    }

    #[test]
    fn steps_that_are_submitted_together_give_the_same_bits() {
        let mut tested = Tested::new();
        let programs = tested.programs();
        assert!(programs.len() + 3 > SamplerKind::ALL.len(), "{}", programs.len());
        for (name, program) in programs {
            for (rng, noise) in [("philox", Generator::philox(4)), ("torch", Generator::torch(4))] {
                let noise = noise.unwrap();
                let (expected, _) = tested.run(&program, &noise, 1).unwrap();
                assert_eq!(expected.len(), program.steps(), "{name}");
                for (every, most) in [(3, 2), (0, usize::MAX)] {
                    let program = program.clone().shown_every(every);
                    let (found, _) = tested.run(&program, &noise, most).unwrap();
                    let shown = expected.iter().filter(|(index, _)| program.shows(*index));
                    assert!(found.iter().eq(shown), "{name}, {rng}, every {every}, {most} at most");
                }
            }
        }
    }

    #[test]
    fn a_block_of_the_prelude_is_replaced_when_it_is_no_longer_needed() {
        let mut tested = Tested::new();
        let cpu = Model::load_blocking(checkpoint(), &Device::cpu()).unwrap();
        // Steps of one evaluation and of two, of which blocks have five.
        for (kind, most) in
            [(SamplerKind::Ddim, usize::MAX), (SamplerKind::Heun, usize::MAX), (SamplerKind::Heun, 1)]
        {
            let program = kind.program(&tested.schedule, &Options::steps(STEPS)).unwrap();
            let noise = Generator::philox(4).unwrap();
            let labels = Some(LABELS[..2].to_vec());
            let lent = cpu.lend().unwrap();
            let mut on_cpu =
                Sampling::new(lent, program.clone(), SHAPE, noise.clone(), labels, None, None).unwrap();
            let mut expected = Vec::new();
            while let Some(step) = on_cpu.step_blocking().unwrap() {
                expected = step.x.to_vec();
            }
            let (found, submits) = tested.run(&program.shown_every(0), &noise, most).unwrap();
            let off = found[0].1.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(off <= 1e-3 && submits > 1, "{kind}: {off} after {submits} submits");
        }
    }

    #[test]
    fn noise_that_the_host_draws_is_not_overwritten_before_it_is_used() {
        let mut tested = Tested::new();
        let program = SamplerKind::Ddpm.program(&tested.schedule, &Options::steps(STEPS)).unwrap();
        let program = program.shown_every(0);
        let submits = |noise| tested.run(&program, &noise, usize::MAX).unwrap().1;
        let [made, drawn] = [Generator::philox(0), Generator::torch(0)].map(Result::unwrap).map(submits);
        // A block of the prelude has five evaluations here. The first noise is by itself, and the last step adds none.
        assert_eq!((made, drawn), (2, STEPS as u64));
    }

    #[test]
    fn what_is_not_finite_is_found_at_the_step_where_it_first_was() {
        let mut recorder = Recorder::new(&Prediction::Epsilon);
        let mut x = recorder.start(1.0);
        for step in 0..STEPS {
            x = recorder.combine(1e12 * x);
            let timestep = (STEPS - step) as f64;
            recorder.end_step(Point { level: Level::CLEAN, timestep }, Level::CLEAN, x, x);
        }
        let program = recorder.finish().unwrap().shown_every(0);
        let mut tested = Tested::new();
        for most in [1, 2, usize::MAX] {
            let error = tested.run(&program, &Generator::philox(0).unwrap(), most).unwrap_err();
            assert!(matches!(error, Error::NotFiniteOutput { timestep: 4.0 }), "{error:?}");
        }
    }

    #[test]
    fn as_many_steps_as_fit_into_a_frame_but_not_many_more_than_were_measured() {
        assert_eq!(fitting(1, 0.020), 1);
        assert_eq!(fitting(4, 0.016), 4);
        assert_eq!(fitting(4, 0.008), 8);
        assert_eq!(fitting(4, 0.032), 2);
        assert_eq!(fitting(4, 0.0), 16);
        assert_eq!(fitting(4, -1.0), 16);
        assert_eq!(fitting(0, 0.0), 1);
    }
}
