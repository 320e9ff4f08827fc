//! The second stage's result: what an evaluation of a network does, as plain data, before there are any numbers.
//!
//! A [`Plan`] is made once for a network and a shape, and replayed by an executor: the CPU's, or a GPU's, which turns
//! each operation into a dispatch. It has two parts. The *prelude* works on vectors, one row for each timestep of a
//! run (and each label), and is computed once per run. The *operations* work on images, once per evaluation of the network.
//!
//! Images are NHWC, `[batch, height, width, channels]`, in f32, in one buffer, the arena. There are four operations:
//!
//! - [`Gemm`], a convolution as matrix product. Its load applies the normalisation and nonlinearity before it, reads
//!   two images as if they were concatenated, and doubles the resolution; its epilogue adds bias, time vector and
//!   residual, and leaves the moments of its result for the normalisation after it.
//! - [`Norm`], from moments to a scale and a shift for each sample and channel.
//! - [`Attention`], over the pixels of an image.
//! - [`Pool`], which halves the resolution.

use std::fmt;

use super::arena::{self, Lifetime};
use super::parameters::{MatrixId, Parameters, VectorId};
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
    /// Read from the result of an [`Op::Norm`].
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

/// `softmax(q kᵀ / √d) v` over the pixels of a sample, for each head of d channels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attention {
    /// q, k and v: 3 · `inner` channels, each divided into heads.
    pub qkv: ValueId,
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

/// An operation on images.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// A convolution or linear map.
    Gemm(Gemm),
    /// Scale and shift of a normalisation.
    Norm {
        /// What they are computed from.
        norm: Norm,
        /// The result.
        output: ValueId,
    },
    /// Attention over pixels.
    Attention(Attention),
    /// Half the resolution.
    Pool(Pool),
}

impl Op {
    /// What it reads from the arena.
    #[must_use]
    pub fn reads(&self) -> Vec<ValueId> {
        let mut reads = Vec::new();
        match self {
            Op::Gemm(g) => {
                let sources = [Some(g.source), g.shortcut, g.residual];
                reads.extend(sources.iter().flatten().flat_map(Source::values));
                reads.extend(scaling_reads(&g.load));
            }
            Op::Norm { norm, .. } => reads.extend(norm_reads(norm)),
            Op::Attention(a) => reads.push(a.qkv),
            Op::Pool(p) => {
                reads.extend(p.source.values());
                reads.extend(scaling_reads(&p.load));
            }
        }
        reads
    }

    /// What it writes.
    #[must_use]
    pub fn writes(&self) -> Vec<ValueId> {
        match self {
            Op::Gemm(g) => [g.output].into_iter().chain(g.moments).collect(),
            Op::Norm { output, .. } => vec![*output],
            Op::Attention(a) => vec![a.output],
            Op::Pool(p) => vec![p.output],
        }
    }
}

fn norm_reads(norm: &Norm) -> impl Iterator<Item = ValueId> {
    [norm.moments.0].into_iter().chain(norm.moments.1)
}

fn scaling_reads(load: &Load) -> Vec<ValueId> {
    match &load.scaling {
        None | Some(Scaling::Constant { .. }) => Vec::new(),
        Some(Scaling::Ready(value)) => vec![*value],
        Some(Scaling::Inline(norm)) => norm_reads(norm).collect(),
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

/// A vector of the prelude, one row for each timestep and label of a run. With `n` rows, it is `[n, width]` at
/// `n · start` floats of the prelude's buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Numbers of one row.
    pub width: usize,
    /// Where it starts, in floats for each row: a multiple of 64, so that `n · start` is well aligned for every n.
    pub start: usize,
}

/// An operation on all rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PreludeOp {
    /// Rows of a table: `indices` are whole numbers stored as floats.
    Gather {
        /// `[n, 1]`.
        indices: RowId,
        /// The table.
        table: MatrixId,
        /// The result.
        output: RowId,
    },
    /// `activation(input) · matrix + bias`: the same product as on images, with rows as pixels.
    Linear {
        /// The rows.
        input: RowId,
        /// The nonlinearity before.
        activation: Option<Activation>,
        /// `[inputs][outputs]`.
        matrix: MatrixId,
        /// Added to every row.
        bias: VectorId,
        /// The result.
        output: RowId,
    },
    /// `a + b`.
    Add {
        /// One.
        a: RowId,
        /// The other.
        b: RowId,
        /// The result.
        output: RowId,
    },
}

/// What depends on timesteps and labels alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prelude {
    /// Every vector.
    pub rows: Vec<Row>,
    /// The operations in order.
    pub ops: Vec<PreludeOp>,
    /// Given: features of the timestep.
    pub time: Option<RowId>,
    /// Given: the class.
    pub class: Option<RowId>,
    /// Given: 1/t.
    pub inverse_time: Option<RowId>,
}

impl Prelude {
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
        let p = &self.prelude;
        for (name, row) in [("time", p.time), ("class", p.class), ("inverse time", p.inverse_time)] {
            if let Some(row) = row {
                writeln!(f, "  {} = {name}", self.row(row))?;
            }
        }
        for op in &p.ops {
            match op {
                PreludeOp::Gather { indices, table, output } => {
                    let key = &self.parameters.matrices[table.0].parts[0].key;
                    writeln!(f, "  {} = {key}[r{}]", self.row(*output), indices.0)?;
                }
                PreludeOp::Linear { input, activation, matrix, output, .. } => {
                    let input = activated(&format!("r{}", input.0), *activation);
                    let parts = &self.parameters.matrices[matrix.0].parts;
                    let more = if parts.len() > 1 {
                        format!(" and {} more", parts.len() - 1)
                    } else {
                        String::new()
                    };
                    writeln!(f, "  {} = {input} · {}{more}", self.row(*output), parts[0].key)?;
                }
                PreludeOp::Add { a, b, output } => {
                    writeln!(f, "  {} = r{} + r{}", self.row(*output), a.0, b.0)?;
                }
            }
        }
        writeln!(f, "step:")?;
        writeln!(f, "  {} = input", self.described(self.input))?;
        for (at, step) in self.ops.iter().enumerate() {
            let (outputs, expression) = match &step.op {
                Op::Gemm(g) => (self.gemm_outputs(g), self.gemm(g)),
                Op::Norm { norm, output } => (self.described(*output), normalised(norm)),
                Op::Attention(a) => {
                    (self.described(a.output), format!("attention(v{}, {} heads)", a.qkv.0, a.heads))
                }
                Op::Pool(p) => (self.described(p.output), format!("pool({})", loaded(&p.source, &p.load))),
            };
            writeln!(f, "  {at:3} {}: {outputs} = {expression}", step.name)?;
        }
        writeln!(f, "  output = v{}", self.output.0)
    }
}

impl Plan {
    fn row(&self, id: RowId) -> String {
        format!("r{} [{}]", id.0, self.prelude.rows[id.0].width)
    }

    fn described(&self, id: ValueId) -> String {
        let v = self.value(id);
        format!("v{} {:?} @{}", id.0, v.shape, 4 * v.offset as u64)
    }

    fn gemm_outputs(&self, g: &Gemm) -> String {
        let moments = g.moments.map_or_else(String::new, |m| format!(", moments {}", self.described(m)));
        self.described(g.output) + &moments
    }

    fn gemm(&self, g: &Gemm) -> String {
        let matrix = &self.parameters.matrices[g.matrix.0];
        let kind = match g.window {
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
            format!("{kind} [{}][{}]({})", matrix.rows, matrix.columns, loaded(&g.source, &g.load));
        for (what, source) in [("shortcut", g.shortcut), ("residual", g.residual)] {
            if let Some(source) = source {
                text += &format!(" + {what} {}", loaded(&source, &Load::default()));
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

fn normalised(norm: &Norm) -> String {
    let second = norm.moments.1.map_or_else(String::new, |m| format!("|v{}", m.0));
    let modulation = norm.modulation.map_or_else(String::new, |m| format!(", {}", sliced(&m)));
    format!("norm(v{}{second}, {} groups{modulation})", norm.moments.0.0, norm.groups)
}

fn loaded(source: &Source, load: &Load) -> String {
    let mut text = format!("v{}", source.first.0);
    if let Some(second) = source.second {
        text += &format!("|v{}", second.0);
    }
    match &load.scaling {
        None => {}
        Some(Scaling::Constant { scale, shift }) => text += &format!(" · {scale} + {shift}"),
        Some(Scaling::Ready(norm)) => text += &format!(" × v{}", norm.0),
        Some(Scaling::Inline(norm)) => text += &format!(" × {}", normalised(norm)),
    }
    let text = activated(&text, load.activation);
    if source.upsample { format!("upsample {text}") } else { text }
}
