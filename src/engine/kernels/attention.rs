//! Attention over the pixels of an image, `softmax(q kᵀ / √d) v`, for each head of d channels.
//!
//! A head's keys and values are packed in panels; then for a tile of queries at a time, one product gives the scores, a
//! softmax in place the weights, and a second product the result. The softmax subtracts each row's maximum first.

use super::activation::exp;
use super::product::{Epilogue, Panels, PixelRuns, Product, multiply};
use super::vector::simd;

/// Queries of a tile.
const QUERIES: usize = 24;

/// Some channels of one sample's pixels: those of pixel i begin at `start + i · row`.
#[derive(Clone, Copy, Debug)]
pub struct Part<'a> {
    /// The sample.
    pub data: &'a [f32],
    /// The first pixel's.
    pub start: usize,
    /// Channels of the image that they are a part of.
    pub row: usize,
    /// Pixels.
    pub pixels: usize,
}

/// What attention reads of one sample.
#[derive(Clone, Copy, Debug)]
pub struct Attention<'a> {
    /// Queries, `[pixels, inner]`, each `heads` heads.
    pub q: Part<'a>,
    /// Keys, likewise; perhaps of other pixels.
    pub k: Part<'a>,
    /// Values, of as many pixels as there are keys.
    pub v: Part<'a>,
    /// Channels of all heads.
    pub inner: usize,
    /// Heads.
    pub heads: usize,
}

/// One sample: `out` is `[pixels of the queries, inner]`. `scratch` is of [`scratch_len`].
pub fn attention(a: &Attention, scratch: &mut [f32], out: &mut [f32]) {
    let Attention { q, k, v, inner, heads } = *a;
    let (width, pixels) = (inner / heads, k.pixels);
    let (keys, rest) = scratch.split_at_mut(Panels::len_of(width, pixels));
    let (values, rest) = rest.split_at_mut(Panels::len_of(pixels, width));
    let scores = &mut rest[..QUERIES * pixels];
    for channel in (0..inner).step_by(width) {
        let (from_k, from_v) = (k.start + channel, v.start + channel);
        Panels::fill(width, pixels, keys, |c, pixel| k.data[pixel * k.row + from_k + c]);
        Panels::fill(pixels, width, values, |pixel, c| v.data[pixel * v.row + from_v + c]);
        let plain = Epilogue { bias: &[], time: &[], residual: None, scale: 1.0 };
        let to_scores = Product {
            inputs: &[PixelRuns { start: q.start + channel, ..rows(q.data, q.row, width) }],
            panels: Panels { data: keys, rows: width, columns: pixels },
            width: q.pixels,
            epilogue: Epilogue { scale: 1.0 / (width as f32).sqrt(), ..plain },
        };
        for first in (0..q.pixels).step_by(QUERIES) {
            let count = QUERIES.min(q.pixels - first);
            multiply(&to_scores, first..first + count, scores, pixels);
            softmax(&mut scores[..count * pixels], pixels);
            let to_result = Product {
                inputs: &[rows(scores, pixels, pixels)],
                panels: Panels { data: values, rows: pixels, columns: width },
                width: q.pixels,
                epilogue: plain,
            };
            multiply(&to_result, 0..count, &mut out[first * inner + channel..], inner);
        }
    }
}

/// A run of `len` floats at the start of each `pixel` floats.
fn rows(data: &[f32], pixel: usize, len: usize) -> PixelRuns<'_> {
    PixelRuns { data, start: 0, top: 0, row: 0, pixel, shift: 0, len }
}

/// Floats of [`attention`]'s scratch for so many keys.
#[must_use]
pub fn scratch_len(pixels: usize, inner: usize, heads: usize) -> usize {
    let width = inner / heads;
    Panels::len_of(width, pixels) + Panels::len_of(pixels, width) + QUERIES * pixels
}

/// `exp(x - max) / Σ exp(x - max)` for each row.
fn softmax(scores: &mut [f32], width: usize) {
    simd!(softmax_in(scores: &mut [f32], width: usize));
}

/// [`softmax`] for what is compiled for wide vectors already.
#[inline(always)]
pub(super) fn softmax_in(scores: &mut [f32], width: usize) {
    for row in scores.chunks_exact_mut(width) {
        let largest = fold(row, f32::NEG_INFINITY, |a, b| if b > a { b } else { a });
        for x in row.iter_mut() {
            *x = exp(*x - largest);
        }
        let sum = fold(row, 0.0, |a, b| a + b);
        for x in row.iter_mut() {
            *x /= sum;
        }
    }
}

/// Folds eight numbers at a time, and at the end the eight results and what was left over.
#[inline(always)]
pub(super) fn fold(row: &[f32], start: f32, f: impl Fn(f32, f32) -> f32) -> f32 {
    let mut lanes = [start; 8];
    let (eights, rest) = row.as_chunks::<8>();
    for eight in eights {
        for (lane, x) in lanes.iter_mut().zip(eight) {
            *lane = f(*lane, *x);
        }
    }
    lanes.iter().chain(rest).fold(start, |a, b| f(a, *b))
}
