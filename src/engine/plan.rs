//! The second stage's result: what an evaluation of a network does, as plain data, before there are any numbers.
//!
//! A [`Plan`] is made once for a network and a shape, and replayed by an executor: the CPU's, or a GPU's, which turns
//! each operation into a dispatch. It has two parts. The *prelude* works on vectors, one row for each timestep of a
//! run (and each label), and is computed once per run. The *operations* work on images, once per evaluation of the network.
//! Both consist of the same kinds of operation.
//!
//! Images are NHWC, `[batch, height, width, channels]`, in f32, in one buffer, the arena. Tokens are images one pixel wide, and
//! a vector is one pixel. The operations are:
//!
//! - [`Gemm`], a convolution as matrix product. Its load applies the normalisation and nonlinearity before it, reads
//!   two images as if they were concatenated, and doubles the resolution; its epilogue adds bias, time vector and
//!   residual, and leaves the moments of its result for the normalisation after it.
//! - [`Moments`], the moments of an image that no product leaves.
//! - [`Norm`], from moments to a scale and a shift for each sample and channel.
//! - [`Attention`], over the pixels of an image.
//! - [`Pool`], which halves the resolution, and [`Fir`], which halves or doubles it by a filter.
//! - [`Map`], element by element: what loads and epilogues do, where nothing takes it into them.
//! - [`Gather`], rows of a table.

use std::fmt;

use super::arena::{self, Lifetime};
use super::parameters::{MatrixId, Parameters, VectorId};
use super::trace::Input;
use crate::error::{Error, Result};
use crate::network::ops::{Activation, Padding};

pub use noiseball_kernels::{TILE_PIXELS, Window};

/// Where each part of a normalisation's input has at most this many tiles, the operation that applies the normalisation
/// computes scale and shift itself: each workgroup reads a few kilobytes more, which costs less than another dispatch.
pub const MAX_INLINE_TILES: usize = 8;

/// Position of a [`Value`] in [`Plan::values`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ValueId(pub usize);

/// What operations keep in the arena.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value {
    /// - an image: `[batch, height, width, channels]`;
    /// - moments: `[batch, tiles, 2, channels]`, the mean and the sum of squared differences from it over each tile of
    ///   [`TILE_PIXELS`] pixels;
    /// - a normalisation: `[batch, 1, 2, channels]`, scale and shift.
    pub shape: [usize; 4],
    /// Where it starts in the arena, in floats.
    pub offset: usize,
    /// The operation that writes it and the last one that reads it, as positions in [`Plan::ops`]. The input is
    /// written before operation 0, the output read after the last.
    pub life: (usize, usize),
}

impl Value {
    /// Floats it takes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether it holds nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Its place in the arena.
    #[must_use]
    pub fn range(&self) -> std::ops::Range<usize> {
        self.offset..self.offset + self.len()
    }

    fn lifetime(&self) -> Lifetime {
        Lifetime { first: self.life.0, last: self.life.1, len: self.len() }
    }
}

/// One image, or two whose channels stand one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source {
    /// The first channels.
    pub first: ValueId,
    /// The channels after them, an image of the same size.
    pub second: Option<ValueId>,
    /// Whether each pixel is read as a 2×2 square: the image is twice as high and wide to its reader.
    pub upsample: bool,
}

impl Source {
    /// One image as it is.
    #[must_use]
    pub fn of(first: ValueId) -> Self {
        Self { first, second: None, upsample: false }
    }

    /// Its one or two images.
    pub fn values(&self) -> impl Iterator<Item = ValueId> {
        [self.first].into_iter().chain(self.second)
    }
}

/// Position of a [`Row`] in [`Prelude::rows`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RowId(pub usize);

/// A part of a vector of the prelude. When an operation reads it, each sample gets its own row: the one of its timestep and
/// label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowSlice {
    /// The vector.
    pub row: RowId,
    /// Where the part starts, a multiple of 4.
    pub start: usize,
    /// Numbers of the part.
    pub len: usize,
}

/// Group normalisation of one or two images from the moments of their tiles: scale and shift for each sample and
/// channel, `γ/√(variance + ε)` and `β − mean · scale`, and where a timestep modulates, `(1 + s)` times both, and `b` added
/// to the shift.
#[derive(Clone, Debug, PartialEq)]
pub struct Norm {
    /// Moments of the first channels and of those after them.
    pub moments: (ValueId, Option<ValueId>),
    /// Pixels of the images.
    pub pixels: usize,
    /// Groups that all channels together are divided into.
    pub groups: usize,
    /// Added to the variance.
    pub eps: f32,
    /// γ.
    pub weight: VectorId,
    /// β.
    pub bias: VectorId,
    /// s, then b.
    pub modulation: Option<RowSlice>,
}

/// Scale and shift that a load applies.
#[derive(Clone, Debug, PartialEq)]
pub enum Scaling {
    /// The same for all.
    Constant {
        /// Factor.
        scale: f32,
        /// Added after.
        shift: f32,
    },
    /// Read from the result of a [`ReadyNorm`].
    Ready(ValueId),
    /// Computed by each operation that reads the image, before it reads.
    Inline(Norm),
}

/// What is applied to an image's numbers while they are read: `activation(x · scale + shift)`. Zero padding comes after it:
/// the zeros stay zeros.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Load {
    /// The normalisation.
    pub scaling: Option<Scaling>,
    /// The nonlinearity.
    pub activation: Option<Activation>,
}

impl Load {
    /// Whether numbers are read as they are.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        *self == Self::default()
    }
}

/// A convolution or linear map as a product of pixels and a matrix:
/// `(Σ load(source) · matrix + Σ shortcut · matrix + bias + time + residual) · scale · sample_scale`.
#[derive(Clone, Debug, PartialEq)]
pub struct Gemm {
    /// The image.
    pub source: Source,
    /// What is applied while it is read.
    pub load: Load,
    /// The pixels that one output pixel is made of.
    pub window: Window,
    /// Another image, as large as the output and read as it is, whose channels are further inputs of the product: the
    /// 1×1 convolution that a residual block's input goes through. Its rows stand at the end of the matrix.
    pub shortcut: Option<Source>,
    /// `[taps · channels (+ channels of the shortcut)][output channels]`.
    pub matrix: MatrixId,
    /// Added to every pixel.
    pub bias: VectorId,
    /// Added to every pixel of a sample.
    pub time: Option<RowSlice>,
    /// Added, of the output's size and channels. Never two images.
    pub residual: Option<Source>,
    /// Multiplies the sum.
    pub scale: f32,
    /// One number that multiplies a sample.
    pub sample_scale: Option<RowSlice>,
    /// The result.
    pub output: ValueId,
    /// The moments of the result.
    pub moments: Option<ValueId>,
}

/// Some channels of an image, from `start` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Channels {
    /// The image.
    pub value: ValueId,
    /// The first channel.
    pub start: usize,
}

/// `softmax(q kᵀ / √d) v` over the pixels of a sample, for each head of d channels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attention {
    /// Queries: `inner` channels, divided into heads.
    pub q: Channels,
    /// Keys, likewise; of as many pixels as the values, which may be others than the queries'.
    pub k: Channels,
    /// Values, likewise.
    pub v: Channels,
    /// Heads.
    pub heads: usize,
    /// Channels of the output, of all heads together.
    pub inner: usize,
    /// The result.
    pub output: ValueId,
}

/// The mean of 2×2 pixels, each loaded.
#[derive(Clone, Debug, PartialEq)]
pub struct Pool {
    /// The image.
    pub source: Source,
    /// What is applied while it is read.
    pub load: Load,
    /// The result.
    pub output: ValueId,
}

/// Twice or half the resolution by a filter of four taps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fir {
    /// The image.
    pub source: ValueId,
    /// Twice, or half.
    pub up: bool,
    /// The result.
    pub output: ValueId,
}

/// How an operand is combined with the number y of pixel p and channel c.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Combine {
    /// `y + operand[p, c]`.
    Add,
    /// `y + operand[c]`.
    AddPerChannel,
    /// `y · (1 + operand[c]) + operand[channels + c]`.
    ScaleShift,
    /// `y · operand[0]`.
    ScaleSamples,
}

/// Where an operand lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Among the values of the same part of the plan.
    Value(ValueId),
    /// In the prelude.
    Rows(RowSlice),
}

/// An image written out, element by element: `load(source)`, combined with an operand.
#[derive(Clone, Debug, PartialEq)]
pub struct Map {
    /// The image; without one it is all zeros.
    pub source: Option<Source>,
    /// What is applied while it is read.
    pub load: Load,
    /// What is combined with it.
    pub operand: Option<(Combine, Place)>,
    /// The result.
    pub output: ValueId,
}

/// Scale and shift of a normalisation, written out.
#[derive(Clone, Debug, PartialEq)]
pub struct ReadyNorm {
    /// What they are computed from.
    pub norm: Norm,
    /// The result.
    pub output: ValueId,
}

/// The moments of an image, as a product leaves those of its result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moments {
    /// The image.
    pub source: ValueId,
    /// The result.
    pub output: ValueId,
}

/// Rows of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gather {
    /// Whole numbers stored as floats, one channel.
    pub indices: ValueId,
    /// The table.
    pub table: MatrixId,
    /// The result.
    pub output: ValueId,
}

/// An operation.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// A convolution or linear map.
    Gemm(Gemm),
    /// Scale and shift of a normalisation.
    Norm(ReadyNorm),
    /// Attention over pixels.
    Attention(Attention),
    /// Half the resolution.
    Pool(Pool),
    /// Twice or half the resolution by a filter.
    Fir(Fir),
    /// An image written out.
    Map(Map),
    /// The moments of an image.
    Moments(Moments),
    /// Rows of a table.
    Gather(Gather),
}

/// What an operation refers to.
pub(super) enum Slot<'a> {
    /// A value that it reads.
    Read(&'a mut ValueId),
    /// A value that it writes.
    Write(&'a mut ValueId),
    /// Part of a vector of the prelude.
    Rows(&'a mut RowSlice),
    /// A matrix or table.
    Matrix(&'a mut MatrixId),
    /// A vector of parameters.
    Vector(&'a mut VectorId),
}

impl Op {
    /// What it reads of its part of the plan.
    #[must_use]
    pub fn reads(&self) -> Vec<ValueId> {
        let mut reads = Vec::new();
        self.refers(&mut |slot| {
            if let Slot::Read(id) = slot {
                reads.push(*id);
            }
        });
        reads
    }

    /// What it writes.
    #[must_use]
    pub fn writes(&self) -> Vec<ValueId> {
        let mut writes = Vec::new();
        self.refers(&mut |slot| {
            if let Slot::Write(id) = slot {
                writes.push(*id);
            }
        });
        writes
    }

    /// Calls `f` with all that it refers to.
    pub(super) fn refers(&self, f: &mut dyn FnMut(Slot)) {
        self.clone().slots(f);
    }

    /// The same, for changing it. Moments stand first among the values that are read.
    pub(super) fn slots(&mut self, f: &mut dyn FnMut(Slot)) {
        match self {
            Op::Gemm(g) => {
                load_slots(&mut g.load, f);
                source_slots(&mut g.source, f);
                for source in [&mut g.shortcut, &mut g.residual].into_iter().flatten() {
                    source_slots(source, f);
                }
                for slice in [&mut g.time, &mut g.sample_scale].into_iter().flatten() {
                    f(Slot::Rows(slice));
                }
                f(Slot::Matrix(&mut g.matrix));
                f(Slot::Vector(&mut g.bias));
                f(Slot::Write(&mut g.output));
                if let Some(moments) = &mut g.moments {
                    f(Slot::Write(moments));
                }
            }
            Op::Norm(ReadyNorm { norm, output }) => {
                norm_slots(norm, f);
                f(Slot::Write(output));
            }
            Op::Attention(a) => {
                for part in [&mut a.q, &mut a.k, &mut a.v] {
                    f(Slot::Read(&mut part.value));
                }
                f(Slot::Write(&mut a.output));
            }
            Op::Pool(p) => {
                load_slots(&mut p.load, f);
                source_slots(&mut p.source, f);
                f(Slot::Write(&mut p.output));
            }
            Op::Map(m) => {
                load_slots(&mut m.load, f);
                if let Some(source) = &mut m.source {
                    source_slots(source, f);
                }
                match &mut m.operand {
                    None => {}
                    Some((_, Place::Value(id))) => f(Slot::Read(id)),
                    Some((_, Place::Rows(slice))) => f(Slot::Rows(slice)),
                }
                f(Slot::Write(&mut m.output));
            }
            Op::Moments(Moments { source, output }) | Op::Fir(Fir { source, output, .. }) => {
                f(Slot::Read(source));
                f(Slot::Write(output));
            }
            Op::Gather(Gather { indices, table, output }) => {
                f(Slot::Read(indices));
                f(Slot::Matrix(table));
                f(Slot::Write(output));
            }
        }
    }
}

fn source_slots(source: &mut Source, f: &mut dyn FnMut(Slot)) {
    f(Slot::Read(&mut source.first));
    if let Some(second) = &mut source.second {
        f(Slot::Read(second));
    }
}

fn norm_slots(norm: &mut Norm, f: &mut dyn FnMut(Slot)) {
    f(Slot::Read(&mut norm.moments.0));
    if let Some(second) = &mut norm.moments.1 {
        f(Slot::Read(second));
    }
    f(Slot::Vector(&mut norm.weight));
    f(Slot::Vector(&mut norm.bias));
    if let Some(slice) = &mut norm.modulation {
        f(Slot::Rows(slice));
    }
}

fn load_slots(load: &mut Load, f: &mut dyn FnMut(Slot)) {
    match &mut load.scaling {
        None | Some(Scaling::Constant { .. }) => {}
        Some(Scaling::Ready(value)) => f(Slot::Read(value)),
        Some(Scaling::Inline(norm)) => norm_slots(norm, f),
    }
}

/// An operation and the module it belongs to.
#[derive(Clone, Debug, PartialEq)]
pub struct PlannedOp {
    /// The module's name in the checkpoint, for texts and profiles.
    pub name: String,
    /// What is done.
    pub op: Op,
}

/// A vector of the prelude, or an image, one row for each timestep and label of a run. With `n` rows, it is
/// `[n, height, width, channels]` at `n · start` floats of the prelude's buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Height, width and channels.
    pub shape: [usize; 3],
    /// Numbers of one row, of which `shape` is the shape.
    pub width: usize,
    /// Where it starts, in floats for each row: a multiple of 64, so that `n · start` is well aligned for every n.
    pub start: usize,
}

/// What depends on timesteps and labels alone.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Prelude {
    /// Every vector.
    pub rows: Vec<Row>,
    /// The operations in order. Their values are the rows: `ValueId(i)` is `RowId(i)`, and their batch the number of rows of a run.
    pub ops: Vec<PlannedOp>,
    /// What is given, in the order of the network's inputs.
    pub inputs: Vec<(Input, RowId)>,
}

impl Prelude {
    /// Adds a vector or image.
    pub(super) fn add(&mut self, shape: [usize; 3]) -> RowId {
        let row = Row { shape, width: shape.iter().product(), start: self.width() };
        self.rows.push(row);
        RowId(self.rows.len() - 1)
    }

    /// Floats of the prelude's buffer for each row of a run.
    #[must_use]
    pub fn width(&self) -> usize {
        self.rows.last().map_or(0, |r| r.start + r.width.next_multiple_of(arena::ALIGNMENT_FLOATS))
    }
}

/// A network on images of one shape, ready to be replayed.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Images evaluated together.
    pub batch: usize,
    /// How parameters are packed; the same for every shape.
    pub parameters: Parameters,
    /// What is computed once per run.
    pub prelude: Prelude,
    /// What is computed once per evaluation, in order.
    pub ops: Vec<PlannedOp>,
    /// Everything in the arena.
    pub values: Vec<Value>,
    /// The arena's length in floats.
    pub arena: usize,
    /// Where the noisy images go, NHWC.
    pub input: ValueId,
    /// Where the predictions are found, NHWC.
    pub output: ValueId,
}

impl Plan {
    /// Finds from the operations when each value lives, and places it in the arena.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] where the arena has more floats than this machine can count.
    pub(super) fn place(&mut self) -> Result<()> {
        for value in &mut self.values {
            value.life = (usize::MAX, 0);
        }
        for (at, step) in self.ops.iter().enumerate() {
            for id in step.op.reads().into_iter().chain(step.op.writes()) {
                let life = &mut self.values[id.0].life;
                *life = (life.0.min(at), life.1.max(at));
            }
        }
        self.values[self.input.0].life.0 = 0;
        self.values[self.output.0].life.1 = self.ops.len();
        let lifetimes = self.lifetimes();
        let Some((offsets, total)) = arena::place(&lifetimes) else {
            let bytes = arena::live_maximum(&lifetimes).saturating_mul(4);
            return Err(Error::OutOfMemory { problem: format!("{bytes} bytes of activations") });
        };
        for (value, offset) in self.values.iter_mut().zip(offsets) {
            value.offset = offset;
        }
        self.arena = total;
        Ok(())
    }

    fn lifetimes(&self) -> Vec<Lifetime> {
        self.values.iter().map(Value::lifetime).collect()
    }

    /// The most floats alive at one operation: the arena can be no smaller.
    #[must_use]
    pub fn live_maximum(&self) -> u64 {
        arena::live_maximum(&self.lifetimes())
    }

    /// A value by its id.
    #[must_use]
    pub fn value(&self, id: ValueId) -> &Value {
        &self.values[id.0]
    }

    /// Channels of a source.
    #[must_use]
    pub fn channels(&self, source: &Source) -> usize {
        source.values().map(|v| self.value(v).shape[3]).sum()
    }
}

/// The plan as text, an operation a line: what `noiseball inspect --plan` prints.
impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        writeln!(
            f,
            "batch {}: {} operations a step, arena {} bytes (at least {})",
            self.batch,
            self.ops.len(),
            4 * self.arena as u64,
            4 * self.live_maximum(),
        )?;
        writeln!(f, "prelude, {} floats a row:", self.prelude.width())?;
        for (input, row) in &self.prelude.inputs {
            writeln!(f, "  {} = {}", self.row(*row), input.name)?;
        }
        for step in &self.prelude.ops {
            let outputs: Vec<String> = step.op.writes().iter().map(|id| self.row(RowId(id.0))).collect();
            writeln!(f, "  {} = {}", outputs.join(", moments "), self.prelude_expression(&step.op))?;
        }
        writeln!(f, "step:")?;
        writeln!(f, "  {} = input", self.described(self.input))?;
        for (at, step) in self.ops.iter().enumerate() {
            let outputs: Vec<String> = step.op.writes().iter().map(|id| self.described(*id)).collect();
            let (outputs, expression) = (outputs.join(", moments "), self.expression('v', &step.op));
            writeln!(f, "  {at:3} {}: {outputs} = {expression}", step.name)?;
        }
        writeln!(f, "  output = v{}", self.output.0)
    }
}

impl Plan {
    fn row(&self, id: RowId) -> String {
        let row = &self.prelude.rows[id.0];
        match row.shape {
            [1, 1, channels] => format!("r{} [{channels}]", id.0),
            shape => format!("r{} {shape:?}", id.0),
        }
    }

    fn described(&self, id: ValueId) -> String {
        let v = self.value(id);
        format!("v{} {:?} @{}", id.0, v.shape, 4 * v.offset as u64)
    }

    /// A linear map of a vector is named by its weights; all else reads as in a step.
    fn prelude_expression(&self, op: &Op) -> String {
        match op {
            Op::Gemm(g) if g.window == Window::Pointwise && g.shortcut.is_none() && g.residual.is_none() => {
                let parts = &self.parameters.matrices[g.matrix.0].parts;
                let more =
                    if parts.len() > 1 { format!(" and {} more", parts.len() - 1) } else { String::new() };
                format!("{} · {}{more}", loaded('r', &g.source, &g.load), parts[0].key)
            }
            op => self.expression('r', op),
        }
    }

    /// What an operation computes, of values that are called `kind` and a number.
    fn expression(&self, kind: char, op: &Op) -> String {
        match op {
            Op::Gemm(g) => self.gemm(kind, g),
            Op::Norm(ReadyNorm { norm, .. }) => normalised(kind, norm),
            Op::Attention(a) => {
                let part = |c: Channels| {
                    let start = if c.start == 0 { String::new() } else { format!("[{}..]", c.start) };
                    format!("{kind}{}{start}", c.value.0)
                };
                let merged = [a.q, a.k, a.v]
                    .iter()
                    .enumerate()
                    .all(|(i, part)| *part == Channels { value: a.q.value, start: i * a.inner });
                let of = if merged { part(a.q) } else { [a.q, a.k, a.v].map(part).join(", ") };
                format!("attention({of}, {} heads)", a.heads)
            }
            Op::Pool(p) => format!("pool({})", loaded(kind, &p.source, &p.load)),
            Op::Fir(Fir { source, up, .. }) => {
                format!("{}_fir({kind}{})", if *up { "upsample" } else { "downsample" }, source.0)
            }
            Op::Map(m) => mapped(kind, m),
            Op::Moments(Moments { source, .. }) => format!("moments({kind}{})", source.0),
            Op::Gather(Gather { indices, table, .. }) => {
                format!("{}[{kind}{}]", self.parameters.matrices[table.0].parts[0].key, indices.0)
            }
        }
    }

    fn gemm(&self, kind: char, g: &Gemm) -> String {
        let matrix = &self.parameters.matrices[g.matrix.0];
        let window = match g.window {
            Window::Pointwise => "1×1".to_owned(),
            Window::Square { stride, padding } => {
                let stride = if stride == 1 { String::new() } else { format!("/{stride}") };
                let padding = match padding {
                    Padding::All(1) => "",
                    Padding::All(_) => " unpadded",
                    Padding::RightBottom => " right-bottom",
                };
                format!("3×3{stride}{padding}")
            }
        };
        let mut text =
            format!("{window} [{}][{}]({})", matrix.rows, matrix.columns, loaded(kind, &g.source, &g.load));
        for (what, source) in [("shortcut", g.shortcut), ("residual", g.residual)] {
            if let Some(source) = source {
                text += &format!(" + {what} {}", loaded(kind, &source, &Load::default()));
            }
        }
        if let Some(time) = g.time {
            text += &format!(" + {}", sliced(&time));
        }
        if g.scale != 1.0 {
            text += &format!(" · {}", g.scale);
        }
        if let Some(scale) = g.sample_scale {
            text += &format!(" · {}", sliced(&scale));
        }
        text
    }
}

fn sliced(slice: &RowSlice) -> String {
    format!("r{}[{}..{}]", slice.row.0, slice.start, slice.start + slice.len)
}

fn activated(x: &str, activation: Option<Activation>) -> String {
    match activation {
        None => x.to_owned(),
        Some(activation) => format!("{activation:?}({x})").to_ascii_lowercase(),
    }
}

fn mapped(kind: char, m: &Map) -> String {
    let mut text = m.source.map_or_else(|| "0".to_owned(), |source| loaded(kind, &source, &m.load));
    if let Some((combine, place)) = &m.operand {
        let operand = match place {
            Place::Value(id) => format!("{kind}{}", id.0),
            Place::Rows(slice) => sliced(slice),
        };
        text += &match combine {
            Combine::Add | Combine::AddPerChannel => format!(" + {operand}"),
            Combine::ScaleShift => format!(" · (1 + s) + b of {operand}"),
            Combine::ScaleSamples => format!(" · {operand}"),
        };
    }
    text
}

fn normalised(kind: char, norm: &Norm) -> String {
    let second = norm.moments.1.map_or_else(String::new, |m| format!("|{kind}{}", m.0));
    let modulation = norm.modulation.map_or_else(String::new, |m| format!(", {}", sliced(&m)));
    format!("norm({kind}{}{second}, {} groups{modulation})", norm.moments.0.0, norm.groups)
}

fn loaded(kind: char, source: &Source, load: &Load) -> String {
    let mut text = format!("{kind}{}", source.first.0);
    if let Some(second) = source.second {
        text += &format!("|{kind}{}", second.0);
    }
    match &load.scaling {
        None => {}
        Some(Scaling::Constant { scale, shift }) => text += &format!(" · {scale} + {shift}"),
        Some(Scaling::Ready(norm)) => text += &format!(" × {kind}{}", norm.0),
        Some(Scaling::Inline(norm)) => text += &format!(" × {}", normalised(kind, norm)),
    }
    let text = activated(&text, load.activation);
    if source.upsample { format!("upsample {text}") } else { text }
}
