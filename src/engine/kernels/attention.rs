//! Attention over the pixels of an image, `softmax(q kᵀ / √d) v`, for each head of d channels.
//!
//! Keys and values are taken a block at a time, and packed in panels that stay in the cache while all queries pass by them. For a
//! tile of queries, one product gives the scores of a block, and a second one the block's part of the result. The softmax goes
//! along with each query's maximum and sum so far, which rescale what earlier blocks came to (Dao et al. 2022,
//! "FlashAttention"), so that memory does not grow with the square of the pixels.

use super::activation::exp;
use super::product::{Epilogue, PANEL, Panels, PixelRuns, Product, multiply};
use super::vector::simd;

/// Queries of a tile.
const QUERIES: usize = 24;

/// Floats that a block's keys, and its values, take at most: half of a usual second-level cache together.
const BLOCK_FLOATS: usize = 1 << 16;

/// Whether there is attention that is causal: in text encoders.
const CAUSAL: bool = cfg!(feature = "text");

/// The most keys of a block: a tile's scores stay in the first-level cache.
const MAX_BLOCK: usize = 512;

/// Some channels of one sample's pixels: those of pixel i begin at `start + i · row`.
#[derive(Clone, Copy, Debug)]
pub struct ChannelSlice<'a> {
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
pub struct AttentionInput<'a> {
    /// Queries, `[pixels, inner]`, each `heads` heads.
    pub q: ChannelSlice<'a>,
    /// Keys, likewise; perhaps of other pixels.
    pub k: ChannelSlice<'a>,
    /// Values, of as many pixels as there are keys.
    pub v: ChannelSlice<'a>,
    /// Channels of all heads.
    pub inner: usize,
    /// Heads.
    pub heads: usize,
    /// Whether query i sees keys 0 to i alone.
    pub causal: bool,
}

/// One sample: `out` is `[pixels of the queries, inner]`. `scratch` is of [`scratch_len`].
pub fn attention<'a>(a: &AttentionInput<'a>, scratch: &mut [f32], out: &mut [f32]) {
    let AttentionInput { q, k, v, inner, heads, causal } = *a;
    let width = inner / heads;
    let block = block(width, k.pixels);
    let (keys, rest) = scratch.split_at_mut(Panels::len_of(width, block));
    let (values, rest) = rest.split_at_mut(Panels::len_of(block, width));
    let (scores, rest) = rest.split_at_mut(QUERIES * block);
    let (part, rest) = rest.split_at_mut(QUERIES * width);
    let (tops, sums) = rest[..2 * q.pixels].split_at_mut(q.pixels);
    let plain = Epilogue { bias: &[], time: &[], residual: None, scale: 1.0 };
    out.fill(0.0);
    for channel in (0..inner).step_by(width) {
        tops.fill(f32::MIN);
        sums.fill(0.0);
        for first_key in (0..k.pixels).step_by(block) {
            let columns = block.min(k.pixels - first_key);
            let from = |part: ChannelSlice<'a>| &part.data[part.start + first_key * part.row + channel..];
            pack(from(k), [1, k.row], [width, columns], keys);
            pack(from(v), [v.row, 1], [columns, width], values);
            let to_scores = Product {
                inputs: &[PixelRuns { start: q.start + channel, ..rows(q.data, q.row, width) }],
                panels: Panels::new(keys, width, columns),
                width: q.pixels,
                epilogue: Epilogue { scale: 1.0 / (width as f32).sqrt(), ..plain },
            };
            // Earlier queries see none of these keys.
            let from = if CAUSAL && causal { first_key - first_key % QUERIES } else { 0 };
            for first in (from..q.pixels).step_by(QUERIES) {
                let count = QUERIES.min(q.pixels - first);
                multiply(&to_scores, first..first + count, scores, columns);
                let mut rescales = [0.0; QUERIES];
                let of = (CAUSAL && causal).then_some([first, first_key]);
                let queries = first..first + count;
                let state = (&mut tops[queries.clone()], &mut sums[queries]);
                weigh(&mut scores[..count * columns], of, state, &mut rescales);
                let to_result = Product {
                    inputs: &[rows(scores, columns, columns)],
                    panels: Panels::new(values, columns, width),
                    width: q.pixels,
                    epilogue: plain,
                };
                multiply(&to_result, 0..count, part, width);
                add_part(part, width, &rescales[..count], &mut out[first * inner + channel..], inner);
            }
        }
        for (out, sum) in out.chunks_mut(inner).zip(sums.iter()) {
            out[channel..channel + width].iter_mut().for_each(|x| *x /= sum);
        }
    }
}

/// How much each query of one sample looks at each key: the weights that [`attention`] gives values, averaged over the heads; `out` is
/// `[queries, keys]`. `scratch` is of [`map_scratch_len`].
#[cfg(feature = "text")]
pub fn attention_map(
    q: ChannelSlice,
    k: ChannelSlice,
    [inner, heads]: [usize; 2],
    scratch: &mut [f32],
    out: &mut [f32],
) {
    let (width, columns) = (inner / heads, k.pixels);
    let (keys, scores) = scratch.split_at_mut(Panels::len_of(width, columns));
    out.fill(0.0);
    for channel in (0..inner).step_by(width) {
        pack(&k.data[k.start + channel..], [1, k.row], [width, columns], keys);
        let to_scores = Product {
            inputs: &[PixelRuns { start: q.start + channel, ..rows(q.data, q.row, width) }],
            panels: Panels::new(keys, width, columns),
            width: q.pixels,
            epilogue: Epilogue { bias: &[], time: &[], residual: None, scale: 1.0 / (width as f32).sqrt() },
        };
        for (tile, out) in out.chunks_mut(QUERIES * columns).enumerate() {
            let (first, count) = (tile * QUERIES, out.len() / columns);
            multiply(&to_scores, first..first + count, scores, columns);
            let (mut tops, mut sums, mut rescales) = ([f32::MIN; QUERIES], [0.0; QUERIES], [0.0; QUERIES]);
            let state = (&mut tops[..count], &mut sums[..count]);
            weigh(&mut scores[..out.len()], None, state, &mut rescales);
            let rows = out.chunks_exact_mut(columns).zip(scores.chunks_exact(columns)).zip(sums);
            for ((out, weights), sum) in rows {
                let share = 1.0 / (sum * heads as f32);
                out.iter_mut().zip(weights).for_each(|(out, weight)| *out += weight * share);
            }
        }
    }
}

/// Floats of [`attention_map`]'s scratch.
#[cfg(feature = "text")]
#[must_use]
pub fn map_scratch_len(keys: usize, [inner, heads]: [usize; 2]) -> usize {
    Panels::len_of(inner / heads, keys) + QUERIES * keys
}

/// Packs a matrix whose rows and columns are so many floats apart.
#[inline(never)]
fn pack(data: &[f32], [row, column]: [usize; 2], [rows, columns]: [usize; 2], panels: &mut [f32]) {
    Panels::fill(rows, columns, panels, |r, c| data[r * row + c * column]);
}

/// A run of `len` floats at the start of each `pixel` floats.
fn rows(data: &[f32], pixel: usize, len: usize) -> PixelRuns<'_> {
    PixelRuns { data, start: 0, top: 0, row: 0, pixel, shift: 0, len }
}

/// Keys of a block.
fn block(width: usize, keys: usize) -> usize {
    let most = (BLOCK_FLOATS / width).clamp(2 * PANEL, MAX_BLOCK);
    (most - most % PANEL).min(keys)
}

/// Floats of [`attention`]'s scratch for so many pixels of queries and of keys.
#[must_use]
pub fn scratch_len(queries: usize, keys: usize, inner: usize, heads: usize) -> usize {
    let width = inner / heads;
    let block = block(width, keys);
    Panels::len_of(width, block) + Panels::len_of(block, width) + QUERIES * (block + width) + 2 * queries
}

/// Scores of a tile become weights: `exp(score - top)`, where `top` is the greatest so far of the query. `of` are the first
/// query and the first key where none sees a later one: those weigh nothing. Says what rescales the results so far.
fn weigh(scores: &mut [f32], of: Option<[usize; 2]>, state: (&mut [f32], &mut [f32]), rescales: &mut [f32]) {
    simd!(weigh_in(scores: &mut [f32], of: Option<[usize; 2]>, state: (&mut [f32], &mut [f32]), rescales: &mut [f32]));
}

#[inline(always)]
fn weigh_in(
    scores: &mut [f32],
    of: Option<[usize; 2]>,
    (tops, sums): (&mut [f32], &mut [f32]),
    rescales: &mut [f32],
) {
    let keys = scores.len() / tops.len();
    let state = tops.iter_mut().zip(sums).zip(rescales).enumerate();
    for (row, (i, ((top, sum), rescale))) in scores.chunks_exact_mut(keys).zip(state) {
        let seen = of.map_or(keys, |[query, key]| (query + i + 1).saturating_sub(key).min(keys));
        let (row, hidden) = row.split_at_mut(seen);
        hidden.fill(0.0);
        let before = std::mem::replace(top, fold(row, *top, |a, b| if b > a { b } else { a }));
        for x in row.iter_mut() {
            *x = exp(*x - *top);
        }
        *rescale = exp(before - *top);
        *sum = *sum * *rescale + fold(row, 0.0, |a, b| a + b);
    }
}

/// Adds a block's part of the result to what earlier blocks came to.
fn add_part(part: &[f32], width: usize, rescales: &[f32], out: &mut [f32], inner: usize) {
    for ((out, part), rescale) in out.chunks_mut(inner).zip(part.chunks_exact(width)).zip(rescales) {
        for (x, more) in out.iter_mut().zip(part) {
            *x = *x * rescale + more;
        }
    }
}

/// `exp(x - max) / Σ exp(x - max)` for each row, for what is compiled for wide vectors already.
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
