//! What operations work on: images and vectors, and parts of them, by number.
//!
//! Images are NHWC, `[batch, height, width, channels]`, in f32, in one buffer, the arena. Tokens are images one pixel wide, and
//! a vector is one pixel.

use super::arena::Lifetime;
use super::parameters::{MatrixId, VectorId};

pub use noiseball_kernels::{TILE_PIXELS, Window};

/// Position of a [`Value`] in [`Plan::values`](super::Plan::values).
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
    /// The operation that writes it and the last one that reads it, as positions in the operations of [prompts](super::Plan::prompts)
    /// and then of [evaluations](super::Plan::ops). The input is written before the first of these, the output read after the last;
    /// what evaluations read of prompts lives until then too.
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

    pub(super) fn lifetime(&self) -> Lifetime {
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

    pub(super) fn references_mut(&mut self, f: &mut dyn FnMut(Reference)) {
        f(Reference::Read(&mut self.first));
        if let Some(second) = &mut self.second {
            f(Reference::Read(second));
        }
    }

    /// Its channels, of both images.
    #[must_use]
    pub fn channels(&self, values: &[Value]) -> usize {
        self.values().map(|v| values[v.0].shape[3]).sum()
    }

    /// Its one or two images.
    pub fn values(&self) -> impl Iterator<Item = ValueId> {
        [self.first].into_iter().chain(self.second)
    }
}

/// Position of a [`Row`] in [`Prelude::rows`](super::plan::Prelude::rows).
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

impl RowSlice {
    /// What it is called in a plan's text.
    pub(super) fn text(&self) -> String {
        format!("r{}[{}..{}]", self.row.0, self.start, self.start + self.len)
    }
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

/// What an operation refers to.
pub(in crate::engine) enum Reference<'a> {
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
