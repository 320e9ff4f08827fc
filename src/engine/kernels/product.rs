//! The matrix product under everything: rows that lie scattered in memory times a matrix packed in panels.
//!
//! A convolution needs no copy of its input's windows. In a padded NHWC image the three pixels of a window's row are
//! contiguous, so an output pixel's inputs are three runs of `3 · channels` floats, and where a shortcut is added, one or
//! two runs more. [`PixelRuns`] say where the run of each pixel starts; the kernel keeps a tile of outputs in registers
//! and walks along the runs and one [panel](Panels) of the matrix. Sums are taken in the order of the matrix's rows.

use std::ops::Range;

pub use super::panels::{PANEL, Panels};
#[cfg(target_arch = "wasm32")]
use super::relaxed;
use super::shared::SharedSlice;
use super::vector::{SimdVector, simd_vectors};

/// A run of floats for each pixel.
#[derive(Clone, Copy, Debug)]
pub struct PixelRuns<'a> {
    /// Where the runs lie.
    pub data: &'a [f32],
    /// The first pixel of row [`Self::top`].
    pub start: usize,
    /// The row of pixels that `start` belongs to.
    pub top: usize,
    /// Floats from one row of pixels to the next.
    pub row: usize,
    /// Floats from one pixel to the next.
    pub pixel: usize,
    /// 1 where each pixel is read as a 2×2 square, else 0.
    pub shift: u32,
    /// Floats of a run.
    pub len: usize,
}

impl<'a> PixelRuns<'a> {
    #[inline(always)]
    pub(super) fn run(&self, y: usize, x: usize) -> &'a [f32] {
        let start = self.start + ((y - self.top) >> self.shift) * self.row + (x >> self.shift) * self.pixel;
        &self.data[start..start + self.len]
    }
}

/// What is added to a product, and what then multiplies it.
#[derive(Clone, Copy, Debug)]
pub struct Epilogue<'a> {
    /// Added to each pixel; empty for nothing.
    pub bias: &'a [f32],
    /// Added to each pixel too; empty for nothing.
    pub time: &'a [f32],
    /// Added, a run as long as an output pixel.
    pub residual: Option<PixelRuns<'a>>,
    /// Multiplies the sum.
    pub scale: f32,
}

/// A product of pixels and a matrix.
#[derive(Clone, Copy, Debug)]
pub struct Product<'a> {
    /// A pixel's inputs, one after the other: as many as the matrix has rows, or those of its last rows.
    pub inputs: &'a [PixelRuns<'a>],
    /// The matrix.
    pub panels: Panels<'a>,
    /// Pixels of a row.
    pub width: usize,
    /// What follows.
    pub epilogue: Epilogue<'a>,
}

/// Works out the `pixels`, counted in reading order, and writes each to `stride` floats of `out`, the first at its start.
pub fn multiply(product: &Product, pixels: Range<usize>, out: &mut [f32], stride: usize) {
    let out = Output { start: 0, first: pixels.start, stride, data: SharedSlice::new(out) };
    // SAFETY: nobody else has `out`.
    unsafe { multiply_part(product, 0..product.panels.count(), pixels, &out) }
}

/// Where pixels are written: each to `stride` floats, the `first` at `start`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Output<'a> {
    pub(super) start: usize,
    pub(super) first: usize,
    pub(super) stride: usize,
    pub(super) data: SharedSlice<'a>,
}

/// Some panels' columns of some pixels.
///
/// # Safety
/// Nobody else may read or write those columns of those pixels in `out` meanwhile.
pub(super) unsafe fn multiply_part(
    product: &Product,
    panels: Range<usize>,
    pixels: Range<usize>,
    out: &Output,
) {
    simd_vectors!(columns::<V>(product: &Product, panels: Range<usize>, pixels: Range<usize>, out: &Output));
}

#[inline(always)]
fn columns<V: SimdVector>(product: &Product, panels: Range<usize>, pixels: Range<usize>, out: &Output) {
    let Panels { rows, columns, .. } = product.panels;
    let skip = rows - product.inputs.iter().map(|input| input.len).sum::<usize>();
    // A panel stays in the cache while all pixels pass by it.
    for p in panels {
        let panel = &product.panels.from(p)[skip * PANEL..rows * PANEL];
        let left = p * PANEL;
        let end = columns.min(left + PANEL);
        for at in (left..end).step_by(2 * V::LANES) {
            let part = PanelColumns { panel, from: at - left, columns: at..end.min(at + 2 * V::LANES) };
            // A page downloads one kernel instead of several, and takes longer for an output of few channels.
            if cfg!(target_arch = "wasm32") {
                few_tiles::<V>(product, &part, pixels.clone(), out);
            } else if part.columns.len() > V::LANES {
                tiles::<V, 2>(product, &part, pixels.clone(), out);
            } else {
                tiles::<V, 1>(product, &part, pixels.clone(), out);
            }
        }
    }
}

/// The columns of a panel that are worked out together.
struct PanelColumns<'a> {
    panel: &'a [f32],
    /// Where they begin in the panel.
    from: usize,
    /// What they are of the matrix.
    columns: Range<usize>,
}

/// All pixels, as many at a time as there are registers for their sums, of `VECTORS` vectors each.
#[inline(always)]
fn tiles<V: SimdVector, const VECTORS: usize>(
    product: &Product,
    part: &PanelColumns,
    pixels: Range<usize>,
    out: &Output,
) {
    let mut first = pixels.start;
    while first < pixels.end {
        let left = pixels.end - first;
        first += match left {
            12.. if V::PIXELS >= 12 => tile::<V, 12, VECTORS>(product, part, first, 12, out),
            8.. if V::PIXELS >= 8 => tile::<V, 8, VECTORS>(product, part, first, 8, out),
            6.. if V::PIXELS >= 6 => tile::<V, 6, VECTORS>(product, part, first, 6, out),
            5.. if V::PIXELS >= 5 => tile::<V, 5, VECTORS>(product, part, first, 5, out),
            4.. => tile::<V, 4, VECTORS>(product, part, first, 4, out),
            3 => tile::<V, 3, VECTORS>(product, part, first, 3, out),
            2 => tile::<V, 2, VECTORS>(product, part, first, 2, out),
            _ => tile::<V, 1, VECTORS>(product, part, first, 1, out),
        };
    }
}

/// The same with tiles of one size, or of two with relaxed SIMD; the last pixel stands for those that there are not.
#[inline(always)]
fn few_tiles<V: SimdVector>(product: &Product, part: &PanelColumns, pixels: Range<usize>, out: &Output) {
    let mut first = pixels.start;
    while first < pixels.end {
        let left = pixels.end - first;
        #[cfg(target_arch = "wasm32")]
        if relaxed::is_chosen() && !matches!(left, 1..=4 | 7 | 8) {
            first += tile::<V, { relaxed::MOST }, 2>(product, part, first, left.min(relaxed::MOST), out);
            continue;
        }
        first += tile::<V, 4, 2>(product, part, first, left.min(4), out);
    }
}

/// Works out `count` pixels of at most `PIXELS`, and says how many.
#[inline(always)]
fn tile<V: SimdVector, const PIXELS: usize, const VECTORS: usize>(
    product: &Product,
    part: &PanelColumns,
    first: usize,
    count: usize,
    out: &Output,
) -> usize {
    const { assert!(PANEL.is_multiple_of(2 * V::LANES)) };
    let mut places = [(first / product.width, first % product.width); PIXELS];
    for i in 1..PIXELS {
        let (y, x) = places[i - 1];
        places[i] = match x + 1 == product.width {
            _ if i >= count => (y, x),
            true => (y + 1, 0),
            false => (y, x + 1),
        };
    }
    let mut sums = [[V::splat(0.0); VECTORS]; PIXELS];
    let mut matrix = part.panel.as_chunks::<PANEL>().0;
    for input in product.inputs {
        let (here, rest) = matrix.split_at(input.len);
        matrix = rest;
        let mut runs: [&[f32]; PIXELS] = [&[]; PIXELS];
        for (run, (y, x)) in runs.iter_mut().zip(places) {
            *run = &input.run(y, x)[..here.len()];
        }
        sums = accumulate(sums, runs, here, part.from);
    }
    let Epilogue { bias, time, residual, scale } = product.epilogue;
    let columns = part.columns.clone();
    for (i, (vectors, (y, x))) in sums.iter().zip(places).enumerate().take(count) {
        let mut sums = [0.0; PANEL];
        for (vector, to) in vectors.iter().zip(sums.chunks_exact_mut(V::LANES)) {
            vector.store(to);
        }
        let residual = residual.as_ref().map_or(&[][..], |r| r.run(y, x));
        for added in [bias, time, residual] {
            if !added.is_empty() {
                for (sum, added) in sums.iter_mut().zip(&added[columns.clone()]) {
                    *sum += added;
                }
            }
        }
        let start = out.start + (first + i - out.first) * out.stride;
        // SAFETY: who called has these columns of this pixel for itself.
        let out = unsafe { out.data.part(start + columns.start..start + columns.end) };
        for (out, sum) in out.iter_mut().zip(sums) {
            *out = sum * scale;
        }
    }
    count
}

/// Adds the products of runs and the rows of a panel, `from` a column on; no run is shorter than the panel has rows.
#[inline(always)]
fn accumulate<V: SimdVector, const PIXELS: usize, const VECTORS: usize>(
    mut sums: [[V; VECTORS]; PIXELS],
    runs: [&[f32]; PIXELS],
    panel: &[[f32; PANEL]],
    from: usize,
) -> [[V; VECTORS]; PIXELS] {
    assert!(runs.iter().all(|run| run.len() >= panel.len()));
    assert!(from + VECTORS * V::LANES <= PANEL);
    #[cfg(target_arch = "wasm32")]
    if relaxed::is_chosen() {
        // Variables of their own: those of the loop below are in registers as long as nobody has their address.
        let mut sums = sums;
        if !panel.is_empty() {
            let runs = runs.map(<[f32]>::as_ptr);
            let to = sums.as_mut_ptr().cast();
            relaxed::inner(PIXELS)(to, runs.as_ptr(), panel.as_ptr().cast(), panel.len());
        }
        return sums;
    }
    for (k, weights) in panel.iter().enumerate() {
        let mut matrix = [V::splat(0.0); VECTORS];
        for (j, vector) in matrix.iter_mut().enumerate() {
            *vector = V::load(&weights[from + j * V::LANES..]);
        }
        for i in 0..PIXELS {
            // SAFETY: k is less than the panel's length, and so than the run's. With a check in the loop, the sums would
            // have to be in memory, not in registers, for the case that it fails.
            let input = V::splat(unsafe { *runs[i].get_unchecked(k) });
            for (sum, vector) in sums[i].iter_mut().zip(matrix) {
                *sum = sum.add_product(input, vector);
            }
        }
    }
    sums
}
