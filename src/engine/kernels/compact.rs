//! Matrices whose numbers have 16 bits or 8. They stay so in memory, and some panels at a time are unpacked before they are multiplied.
//!
//! A number of 8 bits has a scale, which it shares with others of its column: [`Span`] says with which.

use std::ops::Range;

use super::shared::{Each, PANEL, SharedSlice};
use super::vector::simd;

/// Numbers that share a scale.
pub const GROUP: usize = 64;

/// Floats that are unpacked at once, unless a panel has more.
const ROOM: usize = if cfg!(target_arch = "wasm32") { 1 } else { 1 << 19 };

/// Panels that are unpacked at once at least, so that there is something to do for several threads.
const LEAST: usize = if cfg!(target_arch = "wasm32") { 1 } else { 4 };

/// Rows of a matrix that are one tensor's, `[out, inputs, taps]`, whose numbers share scales in its own order: row `tap · inputs + input`
/// has the scale of group `(input · taps + tap) / 64`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Channels of the tensor's input.
    pub inputs: usize,
    /// Pixels of its window.
    pub taps: usize,
}

impl Span {
    /// Rows of the matrix.
    #[must_use]
    pub fn rows(self) -> usize {
        self.inputs * self.taps
    }

    /// Scales of each column.
    #[must_use]
    pub fn groups(self) -> usize {
        self.rows().div_ceil(GROUP)
    }
}

/// The panels of a matrix, one after the other, as `Panels::data` has them.
#[derive(Clone, Copy, Debug)]
pub enum Compact<'a> {
    /// IEEE half precision.
    F16(&'a [u16]),
    /// Whole numbers that scales multiply.
    Int8 {
        /// In panels.
        numbers: &'a [i8],
        /// In panels too, a row for each group of each span. Of a table, `[rows][groups]`.
        scales: &'a [f32],
        /// The spans, in the order of the rows; none for a table, of which 64 columns of a row share a scale.
        spans: &'a [Span],
    },
}

/// Panels that are unpacked together, of a matrix with so many rows and panels.
pub(super) fn together(rows: usize, count: usize) -> usize {
    (ROOM / (rows * PANEL).max(1)).max(LEAST).min(count).max(1)
}

/// Floats that the unpacked panels take.
#[must_use]
pub fn room(rows: usize, columns: usize) -> usize {
    together(rows, columns.div_ceil(PANEL)) * rows * PANEL
}

/// A finite number of half precision.
#[inline(always)]
fn half(bits: u16) -> f32 {
    let magnitude = f32::from_bits(u32::from(bits & 0x7fff) << 13) * f32::from_bits(0x7780_0000);
    f32::from_bits(magnitude.to_bits() | u32::from(bits & 0x8000) << 16)
}

#[inline(always)]
fn halves(from: &[u16], to: &mut [f32]) {
    for (to, bits) in to.iter_mut().zip(from) {
        *to = half(*bits);
    }
}

/// A row of a panel.
#[inline(always)]
fn scaled(numbers: &[i8; PANEL], scales: &[f32; PANEL], to: &mut [f32; PANEL]) {
    for i in 0..PANEL {
        to[i] = f32::from(numbers[i]) * scales[i];
    }
}

#[inline(always)]
fn panel(compact: Compact, at: usize, [rows, columns]: [usize; 2], to: &mut [f32]) {
    let place = at * rows * PANEL..(at + 1) * rows * PANEL;
    match compact {
        Compact::F16(numbers) => halves(&numbers[place], to),
        Compact::Int8 { numbers, scales, spans } => {
            let (numbers, to) = (numbers[place].as_chunks::<PANEL>().0, to.as_chunks_mut::<PANEL>().0);
            if spans.is_empty() {
                for (row, (numbers, to)) in numbers.iter().zip(to).enumerate() {
                    scaled(numbers, &[table_scale(scales, at, row, columns); PANEL], to);
                }
                return;
            }
            let all: usize = spans.iter().map(|span| span.groups()).sum();
            let mut scales = &scales.as_chunks::<PANEL>().0[at * all..(at + 1) * all];
            let mut rows = numbers.iter().zip(to);
            for span in spans {
                for tap in 0..span.taps {
                    for (input, (numbers, to)) in rows.by_ref().take(span.inputs).enumerate() {
                        scaled(numbers, &scales[(input * span.taps + tap) / GROUP], to);
                    }
                }
                scales = &scales[span.groups()..];
            }
        }
    }
}

/// The scale of a row of a table within a panel: all of its columns have the same.
fn table_scale(scales: &[f32], panel: usize, row: usize, columns: usize) -> f32 {
    const { assert!(GROUP.is_multiple_of(PANEL)) };
    scales[row * columns.div_ceil(GROUP) + panel * PANEL / GROUP]
}

fn unpack(compact: Compact, at: usize, size: [usize; 2], to: &mut [f32]) {
    simd!(panel(compact: Compact, at: usize, size: [usize; 2], to: &mut [f32]));
}

/// Copies a part of a row that lies in one panel.
pub(super) fn copy_row(compact: Compact, at: usize, row: usize, size: [usize; 2], to: &mut [f32]) {
    let [rows, columns] = size;
    let place = (at * rows + row) * PANEL..(at * rows + row) * PANEL + to.len();
    match compact {
        Compact::F16(numbers) => halves(&numbers[place], to),
        Compact::Int8 { numbers, scales, spans: [] } => {
            let scale = table_scale(scales, at, row, columns);
            for (to, number) in to.iter_mut().zip(&numbers[place]) {
                *to = f32::from(*number) * scale;
            }
        }
        // Rows of other matrices than tables are read one by one nowhere but in tests.
        Compact::Int8 { .. } => {
            let mut whole = vec![0.0; rows * PANEL];
            unpack(compact, at, size, &mut whole);
            to.copy_from_slice(&whole[row * PANEL..][..to.len()]);
        }
    }
}

/// Unpacks all panels.
pub fn unpack_all(compact: Compact, size: [usize; 2], to: &mut [f32]) {
    for (at, to) in to.chunks_exact_mut((size[0] * PANEL).max(1)).enumerate() {
        unpack(compact, at, size, to);
    }
}

/// Unpacks some panels to the start of a slice with [`room`] for them.
pub(super) fn unpack_part(
    compact: Compact,
    part: Range<usize>,
    size: [usize; 2],
    to: SharedSlice,
    each: Each,
) {
    let len = size[0] * PANEL;
    each(part.len(), &|at| {
        // SAFETY: each task has a panel of its own, and they are read when all tasks are done.
        let to = unsafe { to.part(at * len..(at + 1) * len) };
        unpack(compact, part.start + at, size, to);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_are_exact() {
        for (bits, value) in [
            (0, 0.0),
            (1, 2f32.powi(-24)),
            (0x03ff, 1023.0 * 2f32.powi(-24)),
            (0x0400, 2f32.powi(-14)),
            (0x3c00, 1.0),
            (0xc000, -2.0),
            (0x7bff, 65504.0),
            (0xfbff, -65504.0),
        ] {
            assert_eq!(half(bits), value, "{bits:x}");
        }
        assert_eq!(half(0x8000).to_bits(), 1 << 31);
    }
}
