//! The third stage on the CPU: replays a plan with the [`kernels`](super::kernels).
//!
//! One thread, one arena, and one scratch that every operation uses in turn. [`CpuNetwork`] packs the parameters once and
//! keeps a plan for each shape it has met; after that an evaluation allocates nothing but its result, and a
//! [`CpuRun`]'s step nothing at all.

use std::ops::Range;

use super::kernels::attention::{self, attention};
use super::kernels::gemm::{self, Gemm, gemm};
use super::kernels::load::{Loaded, Scale};
use super::kernels::norm::{Normalise, moments, normalise};
use super::kernels::pool::{self, pool};
use super::kernels::{Image, PerSample};
use super::order::{to_nchw, to_nhwc};
use super::packed::Packed;
use super::plan::{Load, Norm, Op, Plan, RowSlice, Scaling, Source, ValueId};
use super::prelude::{Rows, prelude};
use crate::error::{Error, Result};
use crate::network::unet::{Conditioning, TimeEmbedding, UNet2DConfig};

/// Memory to replay a plan in.
#[derive(Debug, Default)]
pub struct Memory {
    arena: Vec<f32>,
    scratch: Vec<f32>,
    /// Scale and shift of a normalisation that an operation computes for itself.
    scaling: Vec<f32>,
}

impl Memory {
    /// Grows to what a plan needs.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] where there is not so much.
    pub fn fit(&mut self, plan: &Plan) -> Result<()> {
        let mut scratch = 0;
        let mut scaling = 0;
        let mut inline = |load: &Load| {
            if let Some(Scaling::Inline(norm)) = &load.scaling {
                scaling = scaling.max(2 * plan.batch * norm_channels(plan, norm));
            }
        };
        for step in &plan.ops {
            scratch = scratch.max(match &step.op {
                Op::Gemm(g) => {
                    inline(&g.load);
                    let [_, height, width, _] = plan.value(g.output).shape;
                    gemm::scratch_len(g.window, (height, width), plan.channels(&g.source))
                }
                Op::Norm { .. } => 0,
                Op::Attention(a) => {
                    let [_, height, width, _] = plan.value(a.output).shape;
                    attention::scratch_len(height * width, a.inner, a.heads)
                }
                Op::Pool(p) => {
                    inline(&p.load);
                    pool::scratch_len(plan.value(p.source.first).shape[2], plan.channels(&p.source))
                }
            });
        }
        grow(&mut self.arena, plan.arena)?;
        grow(&mut self.scratch, scratch)?;
        grow(&mut self.scaling, scaling)
    }

    /// A value of the plan that was replayed last, if no later value has overwritten it.
    #[must_use]
    pub fn value(&self, plan: &Plan, id: ValueId) -> &[f32] {
        &self.arena[plan.value(id).range()]
    }

    /// The same, for writing.
    pub fn value_mut(&mut self, plan: &Plan, id: ValueId) -> &mut [f32] {
        &mut self.arena[plan.value(id).range()]
    }
}

fn grow(buffer: &mut Vec<f32>, len: usize) -> Result<()> {
    let more = len.saturating_sub(buffer.len());
    buffer
        .try_reserve_exact(more)
        .map_err(|_| Error::OutOfMemory { problem: format!("{} bytes of activations", 4 * len as u64) })?;
    buffer.resize(buffer.len() + more, 0.0);
    Ok(())
}

fn norm_channels(plan: &Plan, norm: &Norm) -> usize {
    [Some(norm.moments.0), norm.moments.1].iter().flatten().map(|m| plan.value(*m).shape[3]).sum()
}

/// Replays a plan's operations: reads the plan's input value in `memory` and writes its output value. `prelude` is the buffer that
/// [`prelude`] made for `count` rows, of which each sample reads its own.
pub fn step(plan: &Plan, packed: &Packed, prelude: &[f32], count: usize, rows: Rows, memory: &mut Memory) {
    let replay = Evaluation { plan, packed, prelude, count, rows };
    for step in &plan.ops {
        replay.run(&step.op, memory);
    }
}

struct Evaluation<'a> {
    plan: &'a Plan,
    packed: &'a Packed,
    prelude: &'a [f32],
    count: usize,
    rows: Rows,
}

/// What an operation may read of the arena: all but the range that it writes.
#[derive(Clone, Copy)]
struct ArenaView<'a> {
    before: &'a [f32],
    after: &'a [f32],
    after_start: usize,
}

impl<'a> ArenaView<'a> {
    fn split(arena: &'a mut [f32], written: Range<usize>) -> (Self, &'a mut [f32]) {
        let (before, rest) = arena.split_at_mut(written.start);
        let (out, after) = rest.split_at_mut(written.len());
        (Self { before, after, after_start: written.end }, out)
    }

    /// In a plan no operation reads what it writes, and values that live at the same time do not overlap.
    fn get(&self, range: Range<usize>) -> &'a [f32] {
        if range.end <= self.before.len() {
            &self.before[range]
        } else {
            &self.after[range.start - self.after_start..range.end - self.after_start]
        }
    }
}

impl<'a> Evaluation<'a> {
    fn run(&self, op: &Op, memory: &mut Memory) {
        let Memory { arena, scratch, scaling } = memory;
        let plan = self.plan;
        match op {
            Op::Gemm(g) => {
                let (view, out) = ArenaView::split(arena, plan.value(g.output).range());
                let [_, height, width, channels] = plan.value(g.output).shape;
                let args = Gemm {
                    source: self.image(view, &g.source),
                    scale_shift: self.scale(view, &g.load, scaling),
                    activation: g.load.activation,
                    window: g.window,
                    shortcut: g.shortcut.map(|s| self.image(view, &s)),
                    panels: self.packed.panels(g.matrix),
                    bias: self.packed.vector(g.bias),
                    time: g.time.map(|t| self.per_sample(t)),
                    residual: g.residual.map(|r| self.image(view, &r)),
                    scale: g.scale,
                    sample_scale: g.sample_scale.map(|s| self.per_sample(s)),
                    size: (height, width),
                };
                gemm(&args, scratch, out);
                if let Some(id) = g.moments {
                    let (view, out) = ArenaView::split(arena, plan.value(id).range());
                    let image = view.get(plan.value(g.output).range());
                    let samples = image.chunks_exact(height * width * channels);
                    for (sample, out) in samples.zip(out.chunks_exact_mut(plan.value(id).len() / plan.batch))
                    {
                        moments(sample, channels, out);
                    }
                }
            }
            Op::Norm { norm, output } => {
                let (view, out) = ArenaView::split(arena, plan.value(*output).range());
                normalise(&self.normalisation(view, norm), out);
            }
            Op::Attention(a) => {
                let (view, out) = ArenaView::split(arena, plan.value(a.output).range());
                let qkv = view.get(plan.value(a.qkv).range());
                let [_, height, width, _] = plan.value(a.output).shape;
                let pixels = height * width;
                let samples =
                    qkv.chunks_exact(pixels * 3 * a.inner).zip(out.chunks_exact_mut(pixels * a.inner));
                for (qkv, out) in samples {
                    attention(qkv, pixels, a.inner, a.heads, scratch, out);
                }
            }
            Op::Pool(p) => {
                let (view, out) = ArenaView::split(arena, plan.value(p.output).range());
                let image = self.image(view, &p.source);
                let all = self.scale(view, &p.load, scaling);
                let channels = image.all_channels();
                for (sample, out) in out.chunks_exact_mut(plan.value(p.output).len() / plan.batch).enumerate()
                {
                    let scale = all.sample(sample, channels);
                    let loaded = Loaded { image: image.sample(sample), scale, activation: p.load.activation };
                    pool(&loaded, scratch, out);
                }
            }
        }
    }

    fn image<'m>(&self, view: ArenaView<'m>, source: &Source) -> Image<'m> {
        let [_, height, width, channels] = self.plan.value(source.first).shape;
        let second = source.second.map(|s| self.plan.value(s));
        Image {
            first: view.get(self.plan.value(source.first).range()),
            second: second.map_or(&[], |s| view.get(s.range())),
            channels: (channels, second.map_or(0, |s| s.shape[3])),
            height,
            width,
            upsample: source.upsample,
        }
    }

    fn scale<'m>(&self, view: ArenaView<'m>, load: &Load, scaling: &'m mut [f32]) -> Scale<'m> {
        match &load.scaling {
            None => Scale::None,
            Some(Scaling::Constant { scale, shift }) => Scale::Constant(*scale, *shift),
            Some(Scaling::Ready(id)) => Scale::PerChannel(view.get(self.plan.value(*id).range())),
            Some(Scaling::Inline(norm)) => {
                let out = &mut scaling[..2 * self.plan.batch * norm_channels(self.plan, norm)];
                normalise(&self.normalisation(view, norm), out);
                Scale::PerChannel(out)
            }
        }
    }

    fn normalisation<'m>(&self, view: ArenaView<'m>, norm: &Norm) -> Normalise<'m>
    where
        'a: 'm,
    {
        let second = norm.moments.1.map(|m| self.plan.value(m));
        let first = self.plan.value(norm.moments.0);
        Normalise {
            first: view.get(first.range()),
            second: second.map_or(&[], |s| view.get(s.range())),
            channels: (first.shape[3], second.map_or(0, |s| s.shape[3])),
            pixels: norm.pixels,
            groups: norm.groups,
            eps: norm.eps,
            weight: self.packed.vector(norm.weight),
            bias: self.packed.vector(norm.bias),
            modulation: norm.modulation.map(|m| self.per_sample(m)),
        }
    }

    fn per_sample(&self, slice: RowSlice) -> PerSample<'a> {
        let row = &self.plan.prelude.rows[slice.row.0];
        PerSample {
            rows: &self.prelude[self.count * row.start..self.count * (row.start + row.width)],
            width: row.width,
            start: slice.start,
            len: slice.len,
            first: self.rows.first,
            stride: self.rows.stride,
        }
    }
}

/// A U-Net on the CPU.
#[derive(Debug)]
pub struct CpuNetwork {
    config: UNet2DConfig,
    packed: Packed,
    frequencies: Vec<f32>,
    plans: Vec<([usize; 3], Plan)>,
    memory: Memory,
}

impl CpuNetwork {
    /// Packs the parameters: `take` is asked for each key of
    /// [`describe`](crate::network::describe::describe), once, with its shape, and gives its numbers in row-major order.
    ///
    /// # Errors
    /// Those of `take`.
    pub fn new(
        config: UNet2DConfig,
        mut take: impl FnMut(&str, &[usize]) -> Result<Vec<f32>>,
    ) -> Result<Self> {
        // Parameters are packed the same way for every shape, so the smallest plan is enough.
        let smallest = 1 << (config.block_out_channels.len() - 1);
        let plan = Plan::new(&config, 1, smallest, smallest)?;
        let packed = Packed::new(&plan.parameters, &mut take)?;
        let frequencies = match config.time_embedding_type {
            TimeEmbedding::Fourier => take("time_proj.weight", &[config.block_out_channels[0]])?,
            TimeEmbedding::Positional | TimeEmbedding::Learned => Vec::new(),
        };
        Ok(Self { config, packed, frequencies, plans: Vec::new(), memory: Memory::default() })
    }

    /// The network's configuration.
    #[must_use]
    pub fn config(&self) -> &UNet2DConfig {
        &self.config
    }

    /// One evaluation: `x` holds `shape = [batch, in_channels, height, width]` numbers, `timesteps` one for each sample,
    /// and `labels` is as for [`UNet2DConfig::conditioning`]. The result is `[batch, out_channels, height, width]`.
    ///
    /// # Errors
    /// [`Error::Option`] where a size, timestep or label does not suit the network, [`Error::OutOfMemory`] where its
    /// activations do not fit.
    pub fn evaluate(
        &mut self,
        x: &[f32],
        shape: [usize; 4],
        timesteps: &[f32],
        labels: Option<&[f32]>,
    ) -> Result<Vec<f32>> {
        let [batch, _, height, width] = shape;
        if timesteps.len() != batch {
            return Err(Error::Option {
                option: "timesteps",
                found: format!("{} for {batch} samples", timesteps.len()),
                expected: "one for each sample".to_owned(),
            });
        }
        let given = self.config.conditioning(timesteps, labels, &self.frequencies)?;
        let mut out = vec![0.0; batch * self.config.out_channels * height * width];
        self.start(shape, &given, batch, 1)?.evaluate(0, x, &mut out)?;
        Ok(out)
    }

    /// Prepares evaluations at each of `timesteps`, which all samples share. `labels` are one for each sample, or one
    /// vector, as for [`UNet2DConfig::conditioning`].
    ///
    /// # Errors
    /// [`Error::Option`] where a size, timestep or label does not suit the network, [`Error::OutOfMemory`] where its
    /// activations do not fit.
    pub fn run(
        &mut self,
        shape: [usize; 4],
        timesteps: &[f32],
        labels: Option<&[f32]>,
    ) -> Result<CpuRun<'_>> {
        // Without labels, all samples share the rows.
        let each = if labels.is_some() { shape[0] } else { 1 };
        let repeated: Vec<f32> = timesteps.iter().flat_map(|t| std::iter::repeat_n(*t, each)).collect();
        let labels = labels.map(|l| l.repeat(timesteps.len()));
        let given = self.config.conditioning(&repeated, labels.as_deref(), &self.frequencies)?;
        let stride = usize::from(labels.is_some());
        self.start(shape, &given, repeated.len(), stride)
    }

    /// Plans evaluations of `batch` images of `height` × `width`, and makes room for them.
    ///
    /// # Errors
    /// [`Error::Option`] where the size does not suit the network, [`Error::OutOfMemory`] where its activations do not fit.
    pub fn plan(&mut self, batch: usize, height: usize, width: usize) -> Result<()> {
        let plan = self.planned([batch, height, width])?;
        self.memory.fit(&self.plans[plan].1)
    }

    /// The position of a size's plan, which is made where there is none.
    fn planned(&mut self, size: [usize; 3]) -> Result<usize> {
        if let Some(known) = self.plans.iter().position(|(other, _)| *other == size) {
            return Ok(known);
        }
        let [batch, height, width] = size;
        self.plans.push((size, Plan::new(&self.config, batch, height, width)?));
        Ok(self.plans.len() - 1)
    }

    fn start(
        &mut self,
        shape: [usize; 4],
        given: &Conditioning<Vec<f32>>,
        count: usize,
        stride: usize,
    ) -> Result<CpuRun<'_>> {
        let [batch, channels, height, width] = shape;
        if channels != self.config.in_channels {
            return Err(Error::Option {
                option: "shape",
                found: format!("{shape:?}"),
                expected: format!("[batch, {}, height, width]", self.config.in_channels),
            });
        }
        self.plan(batch, height, width)?;
        let plan = self.planned([batch, height, width])?;
        let plan = &self.plans[plan].1;
        let prelude = prelude(plan, &self.packed, given);
        Ok(CpuRun { plan, packed: &self.packed, memory: &mut self.memory, prelude, count, stride })
    }
}

/// Evaluations of a network at timesteps that are given at the start.
#[derive(Debug)]
pub struct CpuRun<'a> {
    plan: &'a Plan,
    packed: &'a Packed,
    memory: &'a mut Memory,
    prelude: Vec<f32>,
    count: usize,
    stride: usize,
}

impl CpuRun<'_> {
    /// Evaluates the network on `x`, `[batch, in_channels, height, width]`, at the timestep of this index, into `out`,
    /// `[batch, out_channels, height, width]`.
    ///
    /// # Errors
    /// [`Error::Option`] where the timestep's index or a length is not the run's.
    pub fn evaluate(&mut self, timestep: usize, x: &[f32], out: &mut [f32]) -> Result<()> {
        let (input, output) = (self.plan.value(self.plan.input), self.plan.value(self.plan.output));
        let each = if self.stride == 0 { 1 } else { self.plan.batch };
        let expected = [self.count / each, input.len(), output.len()];
        if timestep >= expected[0] || [x.len(), out.len()] != expected[1..] {
            return Err(Error::Option {
                option: "x",
                found: format!("{} numbers, to {}, at timestep {timestep}", x.len(), out.len()),
                expected: format!("{} to {}, at one of {}", expected[1], expected[2], expected[0]),
            });
        }
        let pixels = |shape: [usize; 4]| shape[1] * shape[2];
        to_nhwc(x, input.shape[3], pixels(input.shape), self.memory.value_mut(self.plan, self.plan.input));
        let rows = Rows { first: timestep * each, stride: self.stride };
        step(self.plan, self.packed, &self.prelude, self.count, rows, self.memory);
        to_nchw(self.memory.value(self.plan, self.plan.output), output.shape[3], pixels(output.shape), out);
        Ok(())
    }
}
