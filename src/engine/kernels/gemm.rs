//! Convolutions and linear maps over images, with all that the plan fuses into them.
//!
//! An output pixel is `(Σ window · matrix + bias + time + residual) · scale`. The input is loaded a band of rows at a time,
//! normalised and padded (see [`load`](super::load)), and the band's output pixels are the rows of a
//! [product](super::product). A pointwise map that changes nothing while loading reads the image where it lies.

use std::ops::Range;

use super::load::{Loaded, Scale};
use super::panels::by_panels;
use super::product::{Epilogue, Output, Panels, PixelRuns, Product, multiply_part};
use super::shared::{Each, SharedSlice};
use super::{Image, PerSample};
use crate::Activation;
use crate::Window;

/// Floats of a band, unless a single output row needs more, and of all bands that are taken together: half of a common second-level
/// cache, of servers' where there are threads.
const BAND: usize = if cfg!(target_arch = "wasm32") { 1 << 16 } else { 1 << 18 };

/// Rows of a band that a task loads.
const LOADED_ROWS: usize = if cfg!(target_arch = "wasm32") { 1 << 30 } else { 4 };

/// Pixels of a task, a multiple of what a tile has: of an image of 16×16 pixels each of a few threads has some.
const PIXELS: usize = if cfg!(target_arch = "wasm32") { 1 << 30 } else { 48 };

/// The greatest height and width of a window.
pub const MAX_KERNEL: usize = if cfg!(feature = "text") { 64 } else { 3 };

/// A [`Gemm`](crate::plan::Gemm) with slices for ids.
#[derive(Clone, Copy, Debug)]
pub struct GemmInput<'a> {
    /// The images.
    pub source: Image<'a>,
    /// Scale and shift before the nonlinearity; where by channel, `[batch, 2, channels]`.
    pub scale_shift: Scale<'a>,
    /// The nonlinearity.
    pub activation: Option<Activation>,
    /// The pixels that one output pixel is made of.
    pub window: Window,
    /// More inputs of the product, of the output's size.
    pub shortcut: Option<Image<'a>>,
    /// The matrix.
    pub panels: Panels<'a>,
    /// Added to every pixel.
    pub bias: &'a [f32],
    /// Added to every pixel of a sample.
    pub time: Option<PerSample<'a>>,
    /// Added.
    pub residual: Option<Image<'a>>,
    /// Multiplies the sum.
    pub scale: f32,
    /// One number that multiplies a sample.
    pub sample_scale: Option<PerSample<'a>>,
    /// Rows and columns of the output.
    pub size: (usize, usize),
}

impl<'a> GemmInput<'a> {
    /// A sample, and what is applied to it.
    pub(super) fn loaded(&self, sample: usize) -> Loaded<'a> {
        let image = self.source.sample(sample);
        let scale = self.scale_shift.sample(sample, image.all_channels());
        Loaded { image, scale, activation: self.activation }
    }

    /// What follows a sample's product.
    pub(super) fn epilogue(&self, sample: usize) -> Epilogue<'a> {
        Epilogue {
            bias: self.bias,
            time: self.time.map_or(&[], |t| t.sample(sample)),
            residual: self.residual.map(|r| pixel_runs(r.sample(sample))[0]),
            scale: self.scale * self.sample_scale.map_or(1.0, |s| s.sample(sample)[0]),
        }
    }
}

/// Which input rows and columns a band of output rows needs, and how many output rows a band has.
struct Bands {
    rows: usize,
    line: usize,
    columns: usize,
}

impl Bands {
    fn of(window: Window, (height, width): (usize, usize), channels: usize) -> Self {
        let reach = window.kernel();
        let columns = (width - 1) * window.stride() + reach;
        let line = columns * channels;
        // Input rows that fit, without those that the last window reaches beyond its first row.
        let rows = ((BAND / line).saturating_sub(reach - 1) / window.stride()).clamp(1, height);
        // No band is much smaller than the others.
        Self { rows: height.div_ceil(height.div_ceil(rows)), line, columns }
    }

    fn input_rows(&self, window: Window, rows: usize) -> usize {
        (rows - 1) * window.stride() + window.kernel()
    }

    /// Floats of a band.
    fn len(&self, window: Window) -> usize {
        self.input_rows(window, self.rows) * self.line
    }

    /// Bands of how many are taken together.
    fn together(&self, window: Window) -> usize {
        (BAND / self.len(window)).max(1)
    }
}

/// Floats of [`gemm`]'s scratch for an output of `size` and an input of so many `channels`, of `batch` samples.
#[must_use]
pub fn scratch_len(window: Window, size: (usize, usize), channels: usize, batch: usize) -> usize {
    let bands = Bands::of(window, size, channels);
    bands.len(window) * bands.together(window).min(batch * size.0.div_ceil(bands.rows))
}

/// All samples to `out`, `[batch, height, width, columns of the matrix]`. Behind [`scratch_len`] floats there is room to unpack panels in,
/// where the matrix is compact.
pub fn gemm(g: &GemmInput, scratch: &mut [f32], out: &mut [f32], each: Each) {
    let plain = matches!(g.scale_shift, Scale::None) && g.activation.is_none();
    let bands = Bands::of(g.window, g.size, g.source.all_channels());
    let (height, width) = g.size;
    let in_sample = height.div_ceil(bands.rows);
    let batch = out.len() / (height * width * g.panels.columns);
    let (scratch, unpacked) = scratch
        .split_at_mut(scratch_len(g.window, g.size, g.source.all_channels(), batch).min(scratch.len()));
    let unpacked = SharedSlice::new(unpacked);
    let banded = Banded {
        g,
        in_sample,
        in_place: g.window == Window::Pointwise && plain,
        len: bands.len(g.window),
        bands,
        scratch: SharedSlice::new(scratch),
        out: SharedSlice::new(out),
    };
    let (parts, together) = (batch * in_sample, banded.bands.together(g.window));
    for first in (0..parts).step_by(together) {
        let count = together.min(parts - first);
        if !banded.in_place {
            let pieces = banded.bands.input_rows(g.window, banded.bands.rows).div_ceil(LOADED_ROWS);
            each(count * pieces, &|task| banded.load(first, task / pieces, task % pieces));
        }
        // All bands pass by a panel while it is in the cache.
        let pieces = (banded.bands.rows * width).div_ceil(PIXELS);
        by_panels(g.panels, unpacked, each, &mut |panels, all| {
            each(all.len() * count * pieces, &|task| {
                let (at, panel) = (task / pieces % count, all.start + task / pieces / count);
                banded.multiply(panels, first, at, task % pieces, panel);
            });
        });
    }
}

/// A product, band by band: a part is a band of a sample, and some parts are taken together.
struct Banded<'a> {
    g: &'a GemmInput<'a>,
    bands: Bands,
    /// Floats of a band.
    len: usize,
    /// Bands of a sample.
    in_sample: usize,
    /// Whether the image is read where it lies.
    in_place: bool,
    scratch: SharedSlice<'a>,
    out: SharedSlice<'a>,
}

impl Banded<'_> {
    /// A part's sample and rows of the output.
    fn place(&self, part: usize) -> (usize, Range<usize>) {
        let top = part % self.in_sample * self.bands.rows;
        (part / self.in_sample, top..self.g.size.0.min(top + self.bands.rows))
    }

    /// A piece of the band `at` of those that begin with the part `first`, to scratch.
    fn load(&self, first: usize, at: usize, piece: usize) {
        let Self { g, bands, .. } = self;
        let (sample, rows) = self.place(first + at);
        let from = piece * LOADED_ROWS;
        let to = bands.input_rows(g.window, rows.len()).min(from + LOADED_ROWS);
        if from < to {
            let start = at * self.len;
            // SAFETY: each task has rows of its own, and they are read when all tasks are done.
            let to_scratch = unsafe { self.scratch.part(start + from * bands.line..start + to * bands.line) };
            let before = g.window.before() as isize;
            let top = (rows.start * g.window.stride()) as isize - before;
            let columns = -before..bands.columns as isize - before;
            g.loaded(sample).write(top + from as isize..top + to as isize, columns, to_scratch);
        }
    }

    /// A panel's columns of a piece of the same band, to the output.
    fn multiply(&self, panels: Panels, first: usize, at: usize, piece: usize, panel: usize) {
        let (g, width) = (self.g, self.g.size.1);
        let (sample, rows) = self.place(first + at);
        let pixels = rows.start * width..rows.end * width;
        let from = pixels.start + piece * PIXELS;
        let pixels = from..pixels.end.min(from + PIXELS);
        if pixels.is_empty() {
            return;
        }
        let image = pixel_runs(g.source.sample(sample));
        let mut all = [PixelRuns { len: 0, ..image[0] }; MAX_KERNEL + 2];
        let mut count = if self.in_place {
            all[..2].copy_from_slice(&image);
            2
        } else {
            self.window_runs(at, rows.start, &mut all)
        };
        if let Some(shortcut) = g.shortcut {
            all[count..count + 2].copy_from_slice(&pixel_runs(shortcut.sample(sample)));
            count += 2;
        }
        let inputs = &all[..count];
        let product = Product { inputs, panels, width, epilogue: g.epilogue(sample) };
        let start = sample * g.size.0 * width * g.panels.columns;
        let to = Output { start, first: 0, stride: g.panels.columns, data: self.out };
        // SAFETY: each task has other pixels or columns.
        unsafe { multiply_part(&product, panel..panel + 1, pixels, &to) };
    }

    /// The runs of each row of the window in a loaded band, whose output begins with the row `top`; how many.
    fn window_runs<'a>(&'a self, at: usize, top: usize, runs: &mut [PixelRuns<'a>]) -> usize {
        let Self { g, bands, len, .. } = self;
        // SAFETY: nobody writes there until all tasks are done.
        let data = unsafe { self.scratch.read(at * len..(at + 1) * len) };
        let channels = g.source.all_channels();
        let (stride, reach) = (g.window.stride(), g.window.kernel());
        for (tap, run) in runs[..reach].iter_mut().enumerate() {
            *run = PixelRuns {
                data,
                start: tap * bands.line,
                top,
                row: stride * bands.line,
                pixel: stride * channels,
                shift: 0,
                len: reach * channels,
            };
        }
        reach
    }
}

/// A sample's pixels where they lie: a run for each of its one or two images, empty for the second where there is none.
pub(super) fn pixel_runs(image: Image) -> [PixelRuns; 2] {
    let run = |data, channels: usize| PixelRuns {
        data,
        start: 0,
        top: 0,
        row: image.width * channels,
        pixel: channels,
        shift: u32::from(image.upsample),
        len: channels,
    };
    [run(image.first, image.channels.0), run(image.second, image.channels.1)]
}
