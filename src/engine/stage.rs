//! Where an operation's twin in Rust finds what it reads, and where it writes.

use std::ops::Range;

use super::kernels::{Image, PerSample};
use super::packed::Packed;
use super::value::{Row, RowSlice, Source, Value, ValueId};

/// Which rows of the prelude the samples of an evaluation read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PreludeRows {
    /// The first sample's.
    pub first: usize,
    /// From one sample to the next: 1, or 0 where all share one.
    pub stride: usize,
}

/// Memory to replay a plan in.
#[derive(Debug, Default)]
pub struct Memory {
    pub(super) arena: Vec<f32>,
    pub(super) scratch: Vec<f32>,
    /// Scale and shift of a normalisation that an operation computes for itself.
    pub(super) scaling: Vec<f32>,
    /// Floats of the scratch in which panels are unpacked.
    #[cfg(feature = "text")]
    pub(super) unpacked: usize,
}

/// One part of a plan, and what its operations read.
pub(super) struct Stage<'a> {
    pub(super) batch: usize,
    pub(super) values: &'a [Value],
    pub(super) packed: &'a Packed,
    /// The vectors of the prelude.
    pub(super) prelude: &'a [Row],
    /// Their numbers, and how many rows each has.
    pub(super) buffer: &'a [f32],
    pub(super) count: usize,
    pub(super) rows: PreludeRows,
}

/// What an operation may read of the arena: all but the range that it writes.
#[derive(Clone, Copy)]
pub(super) struct ArenaView<'a> {
    before: &'a [f32],
    after: &'a [f32],
    after_start: usize,
}

/// The memory as an operation uses it.
pub(super) struct Split<'a> {
    pub(super) arena: ArenaView<'a>,
    pub(super) scratch: &'a mut [f32],
    pub(super) scaling: &'a mut [f32],
    /// Where it writes.
    pub(super) out: &'a mut [f32],
}

impl<'a> ArenaView<'a> {
    /// In a plan no operation reads what it writes, and values that live at the same time do not overlap.
    pub(super) fn get(&self, range: Range<usize>) -> &'a [f32] {
        if range.end <= self.before.len() {
            &self.before[range]
        } else {
            &self.after[range.start - self.after_start..range.end - self.after_start]
        }
    }
}

impl<'a> Stage<'a> {
    /// The memory for an operation that writes this value.
    pub(super) fn split<'m>(&self, memory: &'m mut Memory, written: ValueId) -> Split<'m> {
        let (written, Memory { arena, scratch, scaling, .. }) = (self.value(written).range(), memory);
        let (before, rest) = arena.split_at_mut(written.start);
        let (out, after) = rest.split_at_mut(written.len());
        Split { arena: ArenaView { before, after, after_start: written.end }, scratch, scaling, out }
    }

    pub(super) fn value(&self, id: ValueId) -> &'a Value {
        &self.values[id.0]
    }

    /// A sample's part of a value.
    pub(super) fn sample<'m>(&self, arena: ArenaView<'m>, id: ValueId, sample: usize) -> &'m [f32] {
        let value = self.value(id);
        let len = value.len() / value.shape[0];
        &arena.get(value.range())[sample * len..][..len]
    }

    /// A sample's prompt, by its number: its own, where samples do not share them.
    pub(super) fn prompt(&self, arena: ArenaView, of_sample: Option<ValueId>, sample: usize) -> usize {
        of_sample.map_or(sample, |id| arena.get(self.value(id).range())[sample] as usize)
    }

    pub(super) fn image<'m>(&self, arena: ArenaView<'m>, source: &Source) -> Image<'m> {
        let first = self.value(source.first);
        let [_, height, width, channels] = first.shape;
        let second = source.second.map(|s| self.value(s));
        Image {
            first: arena.get(first.range()),
            second: second.map_or(&[], |s| arena.get(s.range())),
            channels: (channels, second.map_or(0, |s| s.shape[3])),
            height,
            width,
            upsample: source.upsample,
        }
    }

    pub(super) fn per_sample(&self, slice: RowSlice) -> PerSample<'a> {
        let row = &self.prelude[slice.row.0];
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
