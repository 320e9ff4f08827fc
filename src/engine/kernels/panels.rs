//! Matrices as products read them: in panels, of which a few stay in the cache.

use std::ops::Range;

#[cfg(feature = "text")]
use super::compact::{self, Compact};
pub use super::shared::PANEL;
use super::shared::{Each, SharedSlice};

/// A matrix `[rows][columns]` cut into panels of [`PANEL`] columns, each `[rows][PANEL]`, the last filled with zeros.
#[derive(Clone, Copy, Debug)]
pub struct Panels<'a> {
    /// The panels one after the other.
    pub data: &'a [f32],
    /// Rows of the matrix.
    pub rows: usize,
    /// Columns of the matrix, without the zeros.
    pub columns: usize,
    /// What the panels are in place of `data`, where they are to be unpacked.
    #[cfg(feature = "text")]
    pub compact: Option<Compact<'a>>,
    /// Of the matrix's panels the first that `data` has.
    #[cfg(feature = "text")]
    pub first: usize,
}

impl<'a> Panels<'a> {
    /// All panels of a matrix.
    #[inline(always)]
    #[must_use]
    pub fn new(data: &'a [f32], rows: usize, columns: usize) -> Self {
        Self {
            data,
            rows,
            columns,
            #[cfg(feature = "text")]
            compact: None,
            #[cfg(feature = "text")]
            first: 0,
        }
    }

    /// The panels from one on.
    #[inline(always)]
    pub(super) fn from(&self, panel: usize) -> &'a [f32] {
        #[cfg(feature = "text")]
        let panel = panel - self.first;
        &self.data[panel * self.rows * PANEL..]
    }

    /// How many panels.
    #[must_use]
    pub fn count(&self) -> usize {
        self.columns.div_ceil(PANEL)
    }

    /// Floats that the panels of a matrix take.
    #[must_use]
    pub fn len_of(rows: usize, columns: usize) -> usize {
        rows * columns.next_multiple_of(PANEL)
    }

    /// Cuts a matrix, whose element `(row, column)` is `at(row, column)`, into panels.
    pub fn fill<T: Copy + Default>(
        rows: usize,
        columns: usize,
        panels: &mut [T],
        at: impl Fn(usize, usize) -> T,
    ) {
        for (p, panel) in panels.chunks_exact_mut(rows * PANEL).take(columns.div_ceil(PANEL)).enumerate() {
            for (row, cells) in panel.chunks_exact_mut(PANEL).enumerate() {
                for (j, cell) in cells.iter_mut().enumerate() {
                    let column = p * PANEL + j;
                    *cell = if column < columns { at(row, column) } else { T::default() };
                }
            }
        }
    }

    /// Copies a row of the matrix.
    pub fn copy_row(&self, row: usize, to: &mut [f32]) {
        for (p, part) in to.chunks_mut(PANEL).enumerate() {
            #[cfg(feature = "text")]
            if let Some(compact) = self.compact {
                compact::copy_row(compact, p, row, [self.rows, self.columns], part);
                continue;
            }
            part.copy_from_slice(&self.data[(p * self.rows + row) * PANEL..][..part.len()]);
        }
    }
}

/// Calls `work` with a matrix and its panels: with all at once, or where they are to be unpacked, which takes `compact::room` floats, with
/// some at a time.
#[inline(always)]
pub(super) fn by_panels(
    panels: Panels,
    unpacked: SharedSlice,
    each: Each,
    work: &mut dyn FnMut(Panels, Range<usize>),
) {
    #[cfg(feature = "text")]
    if let Some(compact) = panels.compact {
        let step = compact::together(panels.rows, panels.count());
        for first in (0..panels.count()).step_by(step) {
            let part = first..panels.count().min(first + step);
            compact::unpack_part(compact, part.clone(), [panels.rows, panels.columns], unpacked, each);
            // SAFETY: nobody writes there until `work` has returned.
            let data = unsafe { unpacked.read(0..part.len() * panels.rows * PANEL) };
            work(Panels { first, ..Panels::new(data, panels.rows, panels.columns) }, part);
        }
        return;
    }
    let _ = (unpacked, each);
    work(panels, 0..panels.count());
}
