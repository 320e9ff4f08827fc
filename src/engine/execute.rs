//! Operations computed with the [`kernels`](super::kernels), on one thread, in one arena, and one scratch that every operation uses
//! in turn.

use std::ops::Range;

use super::kernels::attention::{self, Attention, Part, attention};
use super::kernels::fir::fir;
use super::kernels::gemm::{self, Gemm, gemm};
use super::kernels::load::{Loaded, Scale};
use super::kernels::map::{Operand, map};
use super::kernels::norm::{Normalise, moments, normalise};
use super::kernels::pool::{self, pool};
use super::kernels::{Image, PerSample};
use super::packed::Packed;
use super::plan::{
    self, Channels, Combine, Fir, Gather, Load, Map, Moments, Norm, Op, Place, Plan, PlannedOp, Pool,
    Prelude, ReadyNorm, RowSlice, Scaling, Source, Value, ValueId, Window,
};
use crate::error::{Error, Result};

/// Which rows of the prelude the samples of an evaluation read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rows {
    /// The first sample's.
    pub first: usize,
    /// From one sample to the next: 1, or 0 where all share one.
    pub stride: usize,
}

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
        self.fit_stage(&plan.ops, &plan.values, plan.arena)
    }

    fn fit_stage(&mut self, ops: &[PlannedOp], values: &[Value], arena: usize) -> Result<()> {
        let (mut scratch, mut scaling) = (0, 0);
        for step in ops {
            scratch = scratch.max(scratch_len(&step.op, values));
            if let Op::Gemm(plan::Gemm { load, .. }) | Op::Pool(Pool { load, .. }) | Op::Map(Map { load, .. }) =
                &step.op
                && let Some(Scaling::Inline(norm)) = &load.scaling
            {
                let batch = values[norm.moments.0.0].shape[0];
                scaling = scaling.max(2 * batch * norm_channels(values, norm));
            }
        }
        grow(&mut self.arena, arena)?;
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

fn norm_channels(values: &[Value], norm: &Norm) -> usize {
    [Some(norm.moments.0), norm.moments.1].iter().flatten().map(|m| values[m.0].shape[3]).sum()
}

fn channels(values: &[Value], source: &Source) -> usize {
    source.values().map(|v| values[v.0].shape[3]).sum()
}

/// Floats of scratch that an operation uses.
fn scratch_len(op: &Op, values: &[Value]) -> usize {
    match op {
        Op::Gemm(g) => gemm::scratch_len(g.window, output_size(g, values), channels(values, &g.source)),
        Op::Attention(a) => {
            let [_, height, width, _] = values[a.k.value.0].shape;
            attention::scratch_len(height * width, a.inner, a.heads)
        }
        Op::Pool(p) => pool::scratch_len(values[p.source.first.0].shape[2], channels(values, &p.source)),
        Op::Norm(_) | Op::Fir(_) | Op::Map(_) | Op::Moments(_) | Op::Gather(_) => 0,
    }
}

/// Whether a product's samples are single pixels that it treats alike: then they are one image's rows, so that the matrix is
/// read for many of them at once.
fn is_one_image(g: &plan::Gemm, values: &[Value]) -> bool {
    let [_, height, width, _] = values[g.output.0].shape;
    let alike = matches!(g.load.scaling, None | Some(Scaling::Constant { .. }))
        && g.time.is_none()
        && g.sample_scale.is_none();
    let sources = [Some(g.source), g.shortcut, g.residual];
    alike
        && height * width == 1
        && g.window == Window::Pointwise
        && sources.iter().flatten().all(|source| !source.upsample)
}

/// Rows and columns of a product's output.
fn output_size(g: &plan::Gemm, values: &[Value]) -> (usize, usize) {
    let [batch, height, width, _] = values[g.output.0].shape;
    if is_one_image(g, values) { (batch, 1) } else { (height, width) }
}

/// Replays a plan's operations: reads the plan's input value in `memory` and writes its output value. `prelude` is the buffer that
/// [`prelude`] made for `count` rows, of which each sample reads its own.
pub fn step(plan: &Plan, packed: &Packed, prelude: &[f32], count: usize, rows: Rows, memory: &mut Memory) {
    let Plan { batch, values, .. } = plan;
    let stage = Stage { batch: *batch, values, packed, prelude: &plan.prelude, buffer: prelude, count, rows };
    for step in &plan.ops {
        stage.run(&step.op, memory);
    }
}

/// Computes the prelude for all rows of a run: `given` holds a row of each of its inputs, in their order, for each timestep of the
/// run, and for each label where there are some. The result is the prelude's buffer.
///
/// # Errors
/// [`Error::OutOfMemory`] where there is no room for it.
pub fn prelude(plan: &Plan, packed: &Packed, given: &[&[f32]]) -> Result<Vec<f32>> {
    let Prelude { rows, ops, inputs } = &plan.prelude;
    let width = |input: usize| rows[inputs[input].1.0].width;
    let count = given.first().filter(|_| !inputs.is_empty()).map_or(0, |numbers| numbers.len() / width(0));
    // The rows of a run are a batch, and each vector has its own place.
    let value = |row: &plan::Row| {
        let [height, width, channels] = row.shape;
        Value { shape: [count, height, width, channels], offset: count * row.start, life: (0, ops.len()) }
    };
    let values: Vec<Value> = rows.iter().map(value).collect();
    let mut memory = Memory::default();
    memory.fit_stage(ops, &values, count * plan.prelude.width())?;
    for ((_, row), numbers) in inputs.iter().zip(given) {
        memory.arena[values[row.0].range()].copy_from_slice(numbers);
    }
    let rows = Rows { first: 0, stride: 0 };
    let stage =
        Stage { batch: count, values: &values, packed, prelude: &plan.prelude, buffer: &[], count, rows };
    if count > 0 {
        ops.iter().for_each(|step| stage.run(&step.op, &mut memory));
    }
    Ok(memory.arena)
}

/// Where the operations of one part of a plan find what they read.
struct Stage<'a> {
    batch: usize,
    values: &'a [Value],
    packed: &'a Packed,
    prelude: &'a Prelude,
    buffer: &'a [f32],
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

impl<'a> Stage<'a> {
    fn value(&self, id: ValueId) -> &'a Value {
        &self.values[id.0]
    }

    fn run(&self, op: &Op, memory: &mut Memory) {
        let Memory { arena, scratch, scaling } = memory;
        let written = match op {
            Op::Gemm(plan::Gemm { output, .. })
            | Op::Norm(ReadyNorm { output, .. })
            | Op::Attention(plan::Attention { output, .. })
            | Op::Pool(Pool { output, .. })
            | Op::Fir(Fir { output, .. })
            | Op::Map(Map { output, .. })
            | Op::Moments(Moments { output, .. })
            | Op::Gather(Gather { output, .. }) => self.value(*output).range(),
        };
        let (view, out) = ArenaView::split(arena, written);
        match op {
            Op::Gemm(g) => {
                self.gemm(g, view, scratch, scaling, out);
                if let Some(id) = g.moments {
                    let (view, out) = ArenaView::split(arena, self.value(id).range());
                    self.moments(g.output, view, out);
                }
            }
            Op::Norm(ReadyNorm { norm, .. }) => normalise(&self.normalisation(view, norm), out),
            Op::Attention(a) => self.attention(a, view, scratch, out),
            Op::Pool(p) => {
                let each = out.len() / self.batch;
                let loaded = self.loaded(view, &p.source, &p.load, scaling);
                for (sample, out) in out.chunks_exact_mut(each).enumerate() {
                    pool(&loaded(sample), scratch, out);
                }
            }
            Op::Fir(Fir { source, up, .. }) => {
                let source = self.value(*source);
                let [_, height, width, channels] = source.shape;
                let samples = view.get(source.range()).chunks_exact(height * width * channels);
                let each = out.len() / self.batch;
                for (image, out) in samples.zip(out.chunks_exact_mut(each)) {
                    fir(image, [height, width, channels], *up, out);
                }
            }
            Op::Map(m) => self.map(m, view, scaling, out),
            Op::Moments(Moments { source, .. }) => self.moments(*source, view, out),
            Op::Gather(Gather { indices, table, .. }) => {
                let (table, indices) = (self.packed.panels(*table), view.get(self.value(*indices).range()));
                for (index, row) in indices.iter().zip(out.chunks_exact_mut(table.columns)) {
                    table.copy_row(*index as usize, row);
                }
            }
        }
    }

    fn gemm(
        &self,
        g: &plan::Gemm,
        view: ArenaView,
        scratch: &mut [f32],
        scaling: &mut [f32],
        out: &mut [f32],
    ) {
        let whole = is_one_image(g, self.values);
        let image = |source: &Source| {
            let image = self.image(view, source);
            if whole { Image { height: self.batch, ..image } } else { image }
        };
        let args = Gemm {
            source: image(&g.source),
            scale_shift: self.scale(view, &g.load, scaling),
            activation: g.load.activation,
            window: g.window,
            shortcut: g.shortcut.as_ref().map(image),
            panels: self.packed.panels(g.matrix),
            bias: self.packed.vector(g.bias),
            time: g.time.map(|t| self.per_sample(t)),
            residual: g.residual.as_ref().map(image),
            scale: g.scale,
            sample_scale: g.sample_scale.map(|s| self.per_sample(s)),
            size: output_size(g, self.values),
        };
        gemm(&args, scratch, out);
    }

    fn moments(&self, of: ValueId, view: ArenaView, out: &mut [f32]) {
        let value = self.value(of);
        let samples = view.get(value.range()).chunks_exact(value.len() / self.batch);
        let each = out.len() / self.batch;
        for (sample, out) in samples.zip(out.chunks_exact_mut(each)) {
            moments(sample, value.shape[3], out);
        }
    }

    fn attention(&self, a: &plan::Attention, view: ArenaView, scratch: &mut [f32], out: &mut [f32]) {
        let part = |channels: Channels, sample: usize| {
            let value = self.value(channels.value);
            let [batch, height, width, row] = value.shape;
            let len = value.len() / batch;
            let data = &view.get(value.range())[sample * len..][..len];
            Part { data, start: channels.start, row, pixels: height * width }
        };
        let each = out.len() / self.batch;
        for (sample, out) in out.chunks_exact_mut(each).enumerate() {
            let [q, k, v] = [a.q, a.k, a.v].map(|channels| part(channels, sample));
            attention(&Attention { q, k, v, inner: a.inner, heads: a.heads }, scratch, out);
        }
    }

    fn map(&self, m: &Map, view: ArenaView, scaling: &mut [f32], out: &mut [f32]) {
        let channels = self.value(m.output).shape[3];
        let loaded = m.source.as_ref().map(|source| self.loaded(view, source, &m.load, scaling));
        let each = out.len() / self.batch;
        for (sample, out) in out.chunks_exact_mut(each).enumerate() {
            let operand = m.operand.map_or(Operand::None, |(combine, place)| {
                let numbers = match place {
                    Place::Rows(slice) => self.per_sample(slice).sample(sample),
                    Place::Value(id) => {
                        let value = self.value(id);
                        let len = value.len() / self.batch;
                        &view.get(value.range())[sample * len..][..len]
                    }
                };
                match combine {
                    Combine::Add => Operand::Image(numbers),
                    Combine::AddPerChannel => Operand::PerChannel(numbers),
                    Combine::ScaleShift => Operand::ScaleShift(numbers),
                    Combine::ScaleSamples => Operand::Scale(numbers[0]),
                }
            });
            map(loaded.as_ref().map(|loaded| loaded(sample)).as_ref(), operand, channels, out);
        }
    }

    /// Each sample of an image, as it is loaded.
    fn loaded<'m>(
        &self,
        view: ArenaView<'m>,
        source: &Source,
        load: &Load,
        scaling: &'m mut [f32],
    ) -> impl Fn(usize) -> Loaded<'m> {
        let image = self.image(view, source);
        let (scale, activation) = (self.scale(view, load, scaling), load.activation);
        let channels = image.all_channels();
        move |sample| Loaded {
            image: image.sample(sample),
            scale: scale.sample(sample, channels),
            activation,
        }
    }

    fn image<'m>(&self, view: ArenaView<'m>, source: &Source) -> Image<'m> {
        let first = self.value(source.first);
        let [_, height, width, channels] = first.shape;
        let second = source.second.map(|s| self.value(s));
        Image {
            first: view.get(first.range()),
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
            Some(Scaling::Ready(id)) => Scale::PerChannel(view.get(self.value(*id).range())),
            Some(Scaling::Inline(norm)) => {
                let out = &mut scaling[..2 * self.batch * norm_channels(self.values, norm)];
                normalise(&self.normalisation(view, norm), out);
                Scale::PerChannel(out)
            }
        }
    }

    fn normalisation<'m>(&self, view: ArenaView<'m>, norm: &Norm) -> Normalise<'m>
    where
        'a: 'm,
    {
        let second = norm.moments.1.map(|m| self.value(m));
        let first = self.value(norm.moments.0);
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
        let row = &self.prelude.rows[slice.row.0];
        PerSample {
            rows: &self.buffer[self.count * row.start..self.count * (row.start + row.width)],
            width: row.width,
            start: slice.start,
            len: slice.len,
            first: self.rows.first,
            stride: self.rows.stride,
        }
    }
}
