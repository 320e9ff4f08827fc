//! 3×3 convolutions of stride 1 by Winograd's F(4×4, 3×3): a tile of 4×4 outputs takes 36 multiplications where its windows take
//! 144.
//!
//! Winograd (1980), in Lavin and Gray's (2015) form: for an input tile d of 6×6 pixels and a window g of 3×3,
//!
//! ```text
//! out = Aᵀ [(G g Gᵀ) ⊙ (Bᵀ d B)] A
//! ```
//!
//! where the polynomials behind it are evaluated at 0, ±1/√2, ±√2 and ∞. These points keep the numbers on the way within a small
//! factor of each other, so that less is lost to rounding than at 0, ±1, ±2 and ∞. Summed over channels, each of the 36 places of a
//! tile is a [product](super::product) of its own: tiles times channels. No sum is over pixels of two tiles, so that a tile's numbers
//! do not depend on which others it is computed with.

mod gradient;

use std::ops::Range;

use super::gemm::{GemmInput, pixel_runs};
use super::load::Loaded;
use super::panels::by_panels;
use super::product::{Epilogue, Output, PANEL, Panels, PixelRuns, Product, multiply_part};
use super::shared::{Each, SharedSlice};
use super::vector::{SimdVector, simd_vectors};
use super::{Image, Padding, Window};
pub use gradient::{Gradient, add_gradient, gradient_scratch_len};

/// Rows and columns of a tile of outputs.
const TILE: usize = 4;

/// Rows and columns of the inputs that a tile of outputs depends on.
const WINDOW: usize = TILE + 2;

/// Products that a convolution becomes.
const PLACES: usize = WINDOW * WINDOW;

/// Tiles that are taken together: each place's matrix is read once for them.
const TILES: usize = 64;

/// What channels come in: as many as the widest vector has.
const LANES: usize = 16;

const P: f64 = std::f64::consts::FRAC_1_SQRT_2;
const Q: f64 = std::f64::consts::SQRT_2;

/// Whether matrices are kept transformed. A page has no room for that, and transforms each panel when it is used: that is little beside
/// the products of a group of tiles, and the panel is then in the cache.
pub const KEEPS: bool = cfg!(not(target_arch = "wasm32"));

/// Fewer channels leave too little to gain for what the transforms take.
const LEAST_CHANNELS: usize = 32;

/// Whether a convolution to an output of `size` is computed so. With fewer tiles or channels, the matrices and the transforms take longer
/// than what is saved.
#[inline]
#[must_use]
pub fn pays(window: Window, size: (usize, usize), inputs: usize, outputs: usize) -> bool {
    let least = if KEEPS && inputs.min(outputs) < 64 { 16 } else { 4 };
    suits(window, inputs, outputs) && tiles(size) >= least && inputs.min(outputs) >= LEAST_CHANNELS
}

/// Whether a convolution, and its gradients, can be computed so.
#[inline]
#[must_use]
pub fn suits(window: Window, inputs: usize, outputs: usize) -> bool {
    window == Window::Square { kernel: 3, stride: 1, padding: Padding::All(1) }
        && inputs.is_multiple_of(LANES)
        && outputs.is_multiple_of(LANES)
}

/// Tiles of an output.
#[inline]
#[must_use]
pub fn tiles(size: (usize, usize)) -> usize {
    size.0.div_ceil(TILE) * size.1.div_ceil(TILE)
}

/// Floats that the matrices of a convolution of so many channels take.
#[must_use]
pub fn weights_len(inputs: usize, outputs: usize) -> usize {
    PLACES * Panels::len_of(inputs, outputs)
}

/// `G g Gᵀ` of every window, in panels, one place after the other. The first rows of `matrix` are the convolution's, row `tap ·
/// inputs + input`.
pub fn fill_weights(matrix: Panels, inputs: usize, weights: &mut [f32]) {
    let len = Panels::len_of(inputs, matrix.columns);
    for panel in 0..matrix.count() {
        fill_panel(matrix, inputs, panel, &mut weights[panel * inputs * PANEL..], len);
    }
}

/// The same of one panel, with so many floats from one place to the next.
fn fill_panel(matrix: Panels, inputs: usize, panel: usize, to: &mut [f32], stride: usize) {
    let windows = matrix.from(panel);
    simd_vectors!(fill_panel_in::<V>(windows: &[f32], inputs: usize, to: &mut [f32], stride: usize));
}

#[inline(always)]
fn fill_panel_in<V: SimdVector>(windows: &[f32], inputs: usize, to: &mut [f32], stride: usize) {
    for input in 0..inputs {
        for at in (0..PANEL).step_by(V::LANES) {
            let tap = |y: usize, x: usize| V::load(&windows[((3 * y + x) * inputs + input) * PANEL + at..]);
            let mut rows = [[V::splat(0.0); 3]; WINDOW];
            for x in 0..3 {
                for (row, v) in rows.iter_mut().zip(spread([tap(0, x), tap(1, x), tap(2, x)])) {
                    row[x] = v;
                }
            }
            for (y, row) in rows.into_iter().enumerate() {
                for (x, v) in spread(row).into_iter().enumerate() {
                    v.store(&mut to[(y * WINDOW + x) * stride + input * PANEL + at..]);
                }
            }
        }
    }
}

/// `G g` of one column.
#[inline(always)]
fn spread<V: SimdVector>([a, b, c]: [V; 3]) -> [V; WINDOW] {
    let (p, q) = (P * P, Q * Q);
    let pair = |point: f64, norm: f64| {
        let share = |power: f64| V::splat((power / norm) as f32);
        let even = V::splat(0.0).add_product(share(1.0), a).add_product(share(point * point), c);
        [even.add_product(share(point), b), even.add_product(share(-point), b)]
    };
    let ([d, e], [f, g]) = (pair(P, 2.0 * p * (p - q)), pair(Q, 2.0 * q * (q - p)));
    // p q is 1.
    [a, d, e, f, g, c]
}

/// How an image is cut: in tiles, of which bands of whole rows are taken together.
struct TileBands {
    /// Rows of tiles of a band.
    rows: usize,
    /// Tiles of a row.
    tiles: usize,
    /// Bands of a sample.
    in_sample: usize,
    /// Bands that are taken together.
    together: usize,
}

impl TileBands {
    fn of((height, width): (usize, usize), batch: usize) -> Self {
        let (tall, tiles) = (height.div_ceil(TILE), width.div_ceil(TILE));
        let in_sample = tall.div_ceil((TILES / tiles).clamp(1, tall));
        let rows = tall.div_ceil(in_sample);
        let in_sample = tall.div_ceil(rows);
        Self { rows, tiles, in_sample, together: (TILES / (rows * tiles)).clamp(1, batch * in_sample) }
    }

    /// Floats of a band's inputs, of all tiles' inputs, and of all tiles' outputs.
    fn lens(&self, inputs: usize, outputs: usize) -> [usize; 3] {
        let tiles = PLACES * self.together * self.rows * self.tiles;
        [(self.rows * TILE + 2) * (self.tiles * TILE + 2) * inputs, tiles * inputs, tiles * outputs]
    }

    /// All bands of a batch with so many rows, as many at a time as are taken together.
    fn groups<'a>(
        &'a self,
        (batch, height): (usize, usize),
        inputs: usize,
        padded: SharedSlice<'a>,
        from: Places<'a>,
    ) -> impl Iterator<Item = TileGroup<'a>> {
        let parts = batch * self.in_sample;
        (0..parts).step_by(self.together).map(move |first| {
            let count = self.together.min(parts - first);
            TileGroup { bands: self, first, count, height, inputs, padded, from }
        })
    }
}

/// Floats of scratch for an output of `size`, of `batch` samples, and so many channels.
#[must_use]
pub fn scratch_len(size: (usize, usize), inputs: usize, outputs: usize, batch: usize) -> usize {
    let bands = TileBands::of(size, batch);
    let [band, from, to] = bands.lens(inputs, outputs);
    bands.together * band + from + to + panel_len(inputs)
}

/// Floats of a transformed panel.
fn panel_len(inputs: usize) -> usize {
    PLACES * inputs * PANEL
}

/// Bands that are taken together: their inputs, as they are and transformed. A task is a row of tiles.
struct TileGroup<'a> {
    bands: &'a TileBands,
    /// The first of all bands of all samples.
    first: usize,
    /// How many.
    count: usize,
    /// Rows of the output.
    height: usize,
    /// Channels.
    inputs: usize,
    /// The bands' inputs with zeros around them.
    padded: SharedSlice<'a>,
    /// The tiles, transformed.
    from: Places<'a>,
}

impl TileGroup<'_> {
    /// Rows of tiles.
    fn rows(&self) -> usize {
        self.count * self.bands.rows
    }

    /// The sample and the first row of a row of tiles, if the image has it.
    fn place(&self, task: usize) -> Option<(usize, usize)> {
        let (part, row) = (self.first + task / self.bands.rows, task % self.bands.rows);
        let top = (part % self.bands.in_sample * self.bands.rows + row) * TILE;
        (top < self.height).then_some((part / self.bands.in_sample, top))
    }

    /// Floats of a row of a band's inputs.
    fn line(&self) -> usize {
        (self.bands.tiles * TILE + 2) * self.inputs
    }

    /// Floats of a band's inputs.
    fn band_len(&self) -> usize {
        (self.bands.rows * TILE + 2) * self.line()
    }

    /// The image's rows below those that the row of tiles before loads.
    fn load<'l>(&self, loaded: &dyn Fn(usize) -> Loaded<'l>, task: usize) {
        let Some((sample, top)) = self.place(task) else { return };
        // The first row of tiles begins a row above it, and the last ends with one below.
        let (row, line) = (task % self.bands.rows, self.line());
        let start = if row == 0 { 0 } else { row * TILE + 1 };
        let last = row + 1 == self.bands.rows || top + TILE >= self.height;
        let end = (row + 1) * TILE + if last { 2 } else { 1 };
        let at = task / self.bands.rows * self.band_len();
        // SAFETY: each task has other rows.
        let to = unsafe { self.padded.part(at + start * line..at + end * line) };
        let above = (top as isize) - (row * TILE) as isize - 1;
        let columns = -1..(self.bands.tiles * TILE) as isize + 1;
        loaded(sample).write(above + start as isize..above + end as isize, columns, to);
    }

    fn transform(&self, task: usize) {
        if self.place(task).is_some() {
            let line = self.line();
            let at = task / self.bands.rows * self.band_len() + task % self.bands.rows * TILE * line;
            // SAFETY: what is read is not written any more, and each task writes other tiles.
            let image = unsafe { self.padded.read(at..at + WINDOW * line) };
            transform(image, self.inputs, self.bands.tiles, &self.tiles(self.from, task, self.inputs));
        }
    }

    /// A row of tiles of each place.
    fn tiles<'p>(&self, places: Places<'p>, task: usize, channels: usize) -> Places<'p> {
        Places { start: task * self.bands.tiles * channels, ..places }
    }
}

/// All samples; `kept` is what [`fill_weights`] made, where that is kept.
pub fn convolve(g: &GemmInput, kept: Option<&[f32]>, scratch: &mut [f32], out: &mut [f32], each: Each) {
    let (inputs, outputs) = (g.source.all_channels(), g.panels.columns);
    let batch = out.len() / (g.size.0 * g.size.1 * outputs);
    let bands = TileBands::of(g.size, batch);
    let [band_len, from_len, to_len] = bands.lens(inputs, outputs);
    let (padded, rest) = scratch.split_at_mut(bands.together * band_len);
    let (from, rest) = rest.split_at_mut(from_len);
    let (to, rest) = rest.split_at_mut(to_len);
    let (transformed, unpacked) = rest.split_at_mut(panel_len(inputs));
    let unpacked = SharedSlice::new(unpacked);
    let [padded, from, to, out] = [padded, from, to, out].map(SharedSlice::new);
    let from = Places { data: from, start: 0, stride: from_len / PLACES };
    let to = Places { data: to, start: 0, stride: to_len / PLACES };
    for group in bands.groups((batch, g.size.0), inputs, padded, from) {
        let rows = group.rows();
        let tiled = Tiled { g, group, outputs, to, out };
        let panels = g.panels.count();
        each(rows, &|task| tiled.group.load(&|sample| g.loaded(sample), task));
        each(rows, &|task| tiled.group.transform(task));
        let len = inputs * PANEL;
        match kept {
            Some(weights) => each(PLACES * panels, &|task| {
                tiled.multiply(&weights[task * len..(task + 1) * len], task / panels, task % panels);
            }),
            None => by_panels(g.panels, unpacked, each, &mut |part, all| {
                all.for_each(|panel| {
                    fill_panel(part, inputs, panel, transformed, len);
                    each(PLACES, &|place| {
                        tiled.multiply(&transformed[place * len..(place + 1) * len], place, panel);
                    });
                });
            }),
        }
        if let Some(shortcut) = g.shortcut {
            by_panels(g.panels, unpacked, each, &mut |part, all| {
                each(all.len() * rows, &|task| {
                    tiled.multiply_shortcut(part, shortcut, task % rows, all.start + task / rows);
                });
            });
        }
        each(rows, &|task| tiled.finish(task));
    }
}

/// Some bands of a convolution, which are computed together. A task is a row of tiles, but in products.
struct Tiled<'a> {
    g: &'a GemmInput<'a>,
    group: TileGroup<'a>,
    /// Channels.
    outputs: usize,
    /// The products.
    to: Places<'a>,
    out: SharedSlice<'a>,
}

impl Tiled<'_> {
    /// The pixels of a row of tiles that begins at `top`, counted in reading order.
    fn pixels(&self, top: usize) -> Range<usize> {
        let (height, width) = self.g.size;
        top * width..height.min(top + TILE) * width
    }

    /// A panel's columns of the products of one place.
    fn multiply(&self, panel_of_place: &[f32], place: usize, panel: usize) {
        let Self { group, outputs, to, .. } = self;
        let (inputs, outputs, from) = (group.inputs, *outputs, group.from);
        // SAFETY: nobody writes these any more.
        let data = unsafe { from.data.read(place * from.stride..(place + 1) * from.stride) };
        let run = PixelRuns { data, start: 0, top: 0, row: 0, pixel: inputs, shift: 0, len: inputs };
        let (tiles, columns) = (group.rows() * group.bands.tiles, PANEL.min(outputs - panel * PANEL));
        let matrix = Panels::new(panel_of_place, inputs, columns);
        let product = Product { inputs: &[run], panels: matrix, width: tiles, epilogue: PLAIN };
        let start = place * to.stride + panel * PANEL;
        let to = Output { start, first: 0, stride: outputs, data: to.data };
        // SAFETY: each task has other columns or another place.
        unsafe { multiply_part(&product, 0..1, 0..tiles, &to) };
    }

    /// A panel's columns of the product that is added, of a row of tiles, to the output.
    fn multiply_shortcut(&self, panels: Panels, shortcut: Image, task: usize, panel: usize) {
        if let Some((sample, top)) = self.group.place(task) {
            let (height, width) = self.g.size;
            let inputs = &pixel_runs(shortcut.sample(sample));
            let product = Product { inputs, panels, width, epilogue: PLAIN };
            let start = sample * height * width * self.outputs;
            let to = Output { start, first: 0, stride: self.outputs, data: self.out };
            // SAFETY: each task has other pixels or columns.
            unsafe { multiply_part(&product, panel..panel + 1, self.pixels(top), &to) };
        }
    }

    /// Products, transformed back, to the output.
    fn finish(&self, task: usize) {
        if let Some((sample, top)) = self.group.place(task) {
            let (height, width) = self.g.size;
            let finish = Finish {
                epilogue: self.g.epilogue(sample),
                add: self.g.shortcut.is_some(),
                top,
                width,
                channels: self.outputs,
                from: self.group.tiles(self.to, task, self.outputs),
            };
            let (start, pixels) = (sample * height * width, self.pixels(top));
            let floats = (start + pixels.start) * self.outputs..(start + pixels.end) * self.outputs;
            // SAFETY: each task has other pixels.
            finish.write(self.group.bands.tiles, unsafe { self.out.part(floats) });
        }
    }
}

const PLAIN: Epilogue = Epilogue { bias: &[], time: &[], residual: None, scale: 1.0 };

/// Some tiles of each place, `stride` floats from one place to the next.
#[derive(Clone, Copy)]
struct Places<'a> {
    data: SharedSlice<'a>,
    start: usize,
    stride: usize,
}

/// `Bᵀ d` of one column.
#[inline(always)]
fn forward<V: SimdVector>(d: [V; WINDOW]) -> [V; WINDOW] {
    let (p, q) = ((P * P) as f32, (Q * Q) as f32);
    let sum = V::splat(-p - q);
    let pair = |far: f32, near: f64| {
        let far = V::splat(-far);
        let even = d[4].add_product(far, d[2]);
        let odd = d[3].add_product(far, d[1]);
        let near = near as f32;
        [even.add_product(V::splat(near), odd), even.add_product(V::splat(-near), odd)]
    };
    let ([a, b], [c, e]) = (pair(q, P), pair(p, Q));
    // p q is 1.
    [d[0].plus(d[4]).add_product(sum, d[2]), a, b, c, e, d[1].plus(d[5]).add_product(sum, d[3])]
}

/// `Aᵀ m` of one column.
#[inline(always)]
fn back<V: SimdVector>(m: [V; WINDOW]) -> [V; TILE] {
    let zero = V::splat(0.0);
    let (near, near_odd) = (m[1].plus(m[2]), m[1].minus(m[2]));
    let (far, far_odd) = (m[3].plus(m[4]), m[3].minus(m[4]));
    let share = |start: V, power: i32, near: V, far: V| {
        let power = |x: f64| {
            V::splat(if power == 1 {
                x
            } else if power == 2 {
                x * x
            } else {
                x * x * x
            } as f32)
        };
        start.add_product(power(P), near).add_product(power(Q), far)
    };
    [
        m[0].plus(near).plus(far),
        share(zero, 1, near_odd, far_odd),
        share(zero, 2, near, far),
        share(m[5], 3, near_odd, far_odd),
    ]
}

/// `Bᵀ d B` of a row of `count` tiles, the first of which begins at the image's start. Nobody else may hold the places' tiles.
fn transform(image: &[f32], channels: usize, count: usize, to: &Places) {
    simd_vectors!(transform_in::<V>(image: &[f32], channels: usize, count: usize, to: &Places));
}

#[inline(always)]
fn transform_in<V: SimdVector>(image: &[f32], channels: usize, count: usize, to: &Places) {
    let line = (count * TILE + 2) * channels;
    for tile in 0..count {
        for at in (0..channels).step_by(V::LANES) {
            let image = &image[TILE * tile * channels + at..];
            let mut d = [[V::splat(0.0); WINDOW]; WINDOW];
            for x in 0..WINDOW {
                let mut column = [V::splat(0.0); WINDOW];
                for (y, to) in column.iter_mut().enumerate() {
                    *to = V::load(&image[y * line + x * channels..]);
                }
                for (row, v) in d.iter_mut().zip(forward(column)) {
                    row[x] = v;
                }
            }
            for (y, row) in d.into_iter().enumerate() {
                for (x, v) in forward(row).into_iter().enumerate() {
                    let start = to.start + (y * WINDOW + x) * to.stride + tile * channels + at;
                    // SAFETY: who called has these tiles for itself.
                    v.store(unsafe { to.data.part(start..start + V::LANES) });
                }
            }
        }
    }
}

/// From products to a row of tiles of the image.
struct Finish<'a> {
    /// What a product of the whole convolution would be given.
    epilogue: Epilogue<'a>,
    /// Whether what is there is added to.
    add: bool,
    /// The first row.
    top: usize,
    /// Columns of the image.
    width: usize,
    channels: usize,
    from: Places<'a>,
}

impl Finish<'_> {
    /// `Aᵀ m A` of `count` tiles, and the epilogue; nobody may write the places' tiles meanwhile.
    fn write(&self, count: usize, out: &mut [f32]) {
        let f = self;
        simd_vectors!(finish::<V>(f: &Finish, count: usize, out: &mut [f32]));
    }
}

#[inline(always)]
fn finish<V: SimdVector>(f: &Finish, count: usize, out: &mut [f32]) {
    let Finish { epilogue, add, top, width, channels, from } = *f;
    let height = out.len() / (width * channels);
    let zero = V::splat(0.0);
    let scale = V::splat(epilogue.scale);
    let part = |values: &[f32], at: usize| if values.is_empty() { zero } else { V::load(&values[at..]) };
    for tile in 0..count {
        for at in (0..channels).step_by(V::LANES) {
            let mut m = [[zero; WINDOW]; TILE];
            for x in 0..WINDOW {
                let mut column = [zero; WINDOW];
                for (y, to) in column.iter_mut().enumerate() {
                    let start = from.start + (y * WINDOW + x) * from.stride + tile * channels + at;
                    // SAFETY: nobody writes there, says the caller.
                    *to = V::load(unsafe { from.data.read(start..start + V::LANES) });
                }
                for (row, v) in m.iter_mut().zip(back(column)) {
                    row[x] = v;
                }
            }
            let added = part(epilogue.bias, at).plus(part(epilogue.time, at));
            for (y, row) in m.into_iter().enumerate().take(height) {
                for (x, v) in back(row).into_iter().enumerate().take(width - TILE * tile) {
                    let x = TILE * tile + x;
                    let to = &mut out[(y * width + x) * channels + at..][..V::LANES];
                    let mut v = v.plus(added);
                    if let Some(residual) = &epilogue.residual {
                        v = v.plus(V::load(&residual.run(top + y, x)[at..]));
                    }
                    if add {
                        v = v.plus(V::load(to));
                    }
                    zero.add_product(v, scale).store(to);
                }
            }
        }
    }
}
