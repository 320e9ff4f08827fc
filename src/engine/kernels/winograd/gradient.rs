//! The gradient of a convolution's matrix by the same tiles: with y the gradient of a tile of outputs,
//!
//! ```text
//! Gᵀ [Σ (Bᵀ d B) ⊙ (A y Aᵀ)] G
//! ```
//!
//! where the sum is over all tiles of all samples: for each of the 36 places a product of inputs times tiles and tiles times outputs.

use super::super::Image;
use super::super::gradient::{MatrixGradient, add_matrix_gradient};
use super::super::load::{Loaded, Scale};
use super::super::shared::{Each, SharedSlice};
use super::super::vector::{SimdVector, simd_vectors};
use super::{P, PLACES, Places, Q, TILE, TileBands, TileGroup, WINDOW};

/// What the gradient of a matrix is made of.
#[derive(Clone, Copy, Debug)]
pub struct Gradient<'a> {
    /// The convolution's inputs, of a batch.
    pub image: Image<'a>,
    /// The gradient of its result, `[batch, height, width, outputs]`.
    pub gradient: &'a [f32],
    /// Columns of the matrix.
    pub outputs: usize,
}

/// Floats of scratch for an output of `size`, of `batch` samples, and so many channels.
#[must_use]
pub fn gradient_scratch_len(size: (usize, usize), inputs: usize, outputs: usize, batch: usize) -> usize {
    super::scratch_len(size, inputs, outputs, batch) + PLACES * inputs * outputs
}

/// Adds the gradient of the matrix, whose row is `tap · inputs + input`, to `out`. The order of its sums depends on the shapes alone.
pub fn add_gradient(g: &Gradient, scratch: &mut [f32], out: &mut [f32], each: Each) {
    let (height, width, inputs) = (g.image.height, g.image.width, g.image.all_channels());
    let batch = g.gradient.len() / (height * width * g.outputs);
    let bands = TileBands::of((height, width), batch);
    let [band_len, from_len, to_len] = bands.lens(inputs, g.outputs);
    let (padded, rest) = scratch.split_at_mut(bands.together * band_len);
    let (from, rest) = rest.split_at_mut(from_len);
    let (to, rest) = rest.split_at_mut(to_len);
    let sums = &mut rest[..PLACES * inputs * g.outputs];
    sums.fill(0.0);
    let [padded, from, to, sums, out] = [padded, from, to, sums, out].map(SharedSlice::new);
    let from = Places { data: from, start: 0, stride: from_len / PLACES };
    let to = Places { data: to, start: 0, stride: to_len / PLACES };
    let load = |sample| Loaded { image: g.image.sample(sample), scale: Scale::None, activation: None };
    for group in bands.groups((batch, height), inputs, padded, from) {
        let rows = group.rows();
        let tiled = Summed { g, group, to, sums };
        each(rows, &|task| tiled.group.load(&load, task));
        each(rows, &|task| tiled.transform(task));
        each(PLACES, &|place| tiled.multiply(place));
    }
    each(inputs, &|input| {
        // SAFETY: nobody writes the sums any more.
        let sums = unsafe { sums.read(0..PLACES * inputs * g.outputs) };
        back(&sums[input * g.outputs..], [inputs, input, g.outputs], &out);
    });
}

/// Some bands of which the products are added.
struct Summed<'a> {
    g: &'a Gradient<'a>,
    group: TileGroup<'a>,
    /// The gradient's tiles, transformed.
    to: Places<'a>,
    /// Of each place, `[inputs][outputs]`.
    sums: SharedSlice<'a>,
}

impl Summed<'_> {
    /// A row of tiles, of the inputs and of the gradient.
    fn transform(&self, task: usize) {
        let Self { g, group, .. } = self;
        let (from, to) = (group.tiles(group.from, task, group.inputs), group.tiles(self.to, task, g.outputs));
        let Some((sample, top)) = group.place(task) else {
            // Rows below an image add nothing.
            for (tiles, channels) in [(from, group.inputs), (to, g.outputs)] {
                for place in 0..PLACES {
                    let start = tiles.start + place * tiles.stride;
                    // SAFETY: each task has other tiles.
                    unsafe { tiles.data.part(start..start + group.bands.tiles * channels) }.fill(0.0);
                }
            }
            return;
        };
        group.transform(task);
        let (height, width) = (g.image.height, g.image.width);
        let start = sample * height * width;
        let pixels = start + top * width..start + height.min(top + TILE) * width;
        spread(&g.gradient[pixels.start * g.outputs..pixels.end * g.outputs], width, g.outputs, &to);
    }

    /// The product of one place.
    fn multiply(&self, place: usize) {
        let Self { g, group, to, .. } = self;
        let (inputs, columns, from) = (group.inputs, g.outputs, group.from);
        let tiles = group.rows() * group.bands.tiles;
        let (first, second) = (place * from.stride, place * to.stride);
        // SAFETY: nobody writes the tiles any more, and each task has another place's sums.
        let (image, gradient, sums) = unsafe {
            (
                from.data.read(first..first + tiles * inputs),
                to.data.read(second..second + tiles * columns),
                self.sums.part(place * inputs * columns..(place + 1) * inputs * columns),
            )
        };
        let product = MatrixGradient {
            image,
            row: 0,
            pixel: inputs,
            step: 0,
            sample: 0,
            run: inputs,
            runs: 1,
            gradient,
            size: (1, tiles),
            columns,
        };
        add_matrix_gradient(&product, sums);
    }
}

/// `A y` of one column.
#[inline(always)]
fn up<V: SimdVector>(y: [V; TILE]) -> [V; WINDOW] {
    let ([a, b], [c, d]) = (pair(y, P), pair(y, Q));
    [y[0], a, b, c, d, y[3]]
}

/// The polynomial at x and -x.
#[inline(always)]
fn pair<V: SimdVector>(y: [V; TILE], x: f64) -> [V; 2] {
    let even = y[0].add_product(V::splat((x * x) as f32), y[2]);
    let odd = V::splat(0.0).add_product(V::splat(x as f32), y[1]);
    let odd = odd.add_product(V::splat((x * x * x) as f32), y[3]);
    [even.plus(odd), even.minus(odd)]
}

/// `A y Aᵀ` of a row of tiles, whose pixels outside of the image are 0.
fn spread(gradient: &[f32], width: usize, channels: usize, to: &Places) {
    simd_vectors!(spread_in::<V>(gradient: &[f32], width: usize, channels: usize, to: &Places));
}

#[inline(always)]
fn spread_in<V: SimdVector>(gradient: &[f32], width: usize, channels: usize, to: &Places) {
    let height = gradient.len() / (width * channels);
    for tile in 0..width.div_ceil(TILE) {
        for at in (0..channels).step_by(V::LANES) {
            let mut e = [[V::splat(0.0); TILE]; WINDOW];
            for x in 0..TILE.min(width - TILE * tile) {
                let mut column = [V::splat(0.0); TILE];
                for (y, to) in column.iter_mut().enumerate().take(height) {
                    *to = V::load(&gradient[(y * width + TILE * tile + x) * channels + at..]);
                }
                for (row, v) in e.iter_mut().zip(up(column)) {
                    row[x] = v;
                }
            }
            for (y, row) in e.into_iter().enumerate() {
                for (x, v) in up(row).into_iter().enumerate() {
                    let start = to.start + (y * WINDOW + x) * to.stride + tile * channels + at;
                    // SAFETY: who called has these tiles for itself.
                    v.store(unsafe { to.data.part(start..start + V::LANES) });
                }
            }
        }
    }
}

/// Adds `Gᵀ m G` of one `input` of `[inputs, input, outputs]` to its nine rows of the matrix, which nobody else may hold.
fn back(sums: &[f32], shape: [usize; 3], out: &SharedSlice) {
    simd_vectors!(back_in::<V>(sums: &[f32], shape: [usize; 3], out: &SharedSlice));
}

#[inline(always)]
fn back_in<V: SimdVector>(sums: &[f32], [inputs, input, outputs]: [usize; 3], out: &SharedSlice) {
    let stride = inputs * outputs;
    for at in (0..outputs).step_by(V::LANES) {
        let mut t = [[V::splat(0.0); WINDOW]; 3];
        for x in 0..WINDOW {
            let mut column = [V::splat(0.0); WINDOW];
            for (y, to) in column.iter_mut().enumerate() {
                *to = V::load(&sums[(y * WINDOW + x) * stride + at..]);
            }
            for (row, v) in t.iter_mut().zip(through(column)) {
                row[x] = v;
            }
        }
        for (y, row) in t.into_iter().enumerate() {
            for (x, v) in through(row).into_iter().enumerate() {
                let start = ((3 * y + x) * inputs + input) * outputs + at;
                // SAFETY: who called has these rows for itself.
                let to = unsafe { out.part(start..start + V::LANES) };
                V::load(to).plus(v).store(to);
            }
        }
    }
}

/// `Gᵀ m` of one column.
#[inline(always)]
fn through<V: SimdVector>(m: [V; WINDOW]) -> [V; 3] {
    let zero = V::splat(0.0);
    let (p, q) = (P * P, Q * Q);
    let (near, far) = (2.0 * p * (p - q), 2.0 * q * (q - p));
    let share = |power: f64, norm: f64| V::splat((power / norm) as f32);
    let ([a, b], [c, d]) = ([m[1].plus(m[2]), m[1].minus(m[2])], [m[3].plus(m[4]), m[3].minus(m[4])]);
    // p q is 1.
    [
        m[0].add_product(share(1.0, near), a).add_product(share(1.0, far), c),
        zero.add_product(share(P, near), b).add_product(share(Q, far), d),
        m[5].add_product(share(p, near), a).add_product(share(q, far), c),
    ]
}
