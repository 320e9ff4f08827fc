//! Convolutions and linear maps over images, with all that the plan fuses into them.
//!
//! An output pixel is `(Σ window · matrix + bias + time + residual) · scale`. The input is loaded a band of rows at a time,
//! normalised and padded (see [`load`](super::load)), and the band's output pixels are the rows of a
//! [product](super::product). A pointwise map that changes nothing while loading reads the image where it lies.

use super::load::{Loaded, Scale};
use super::product::{Epilogue, Output, Panels, PixelRuns, Product, multiply_part};
use super::shared::{Each, Shared};
use super::{Image, PerSample};
use crate::Activation;
use crate::Window;

/// Floats of a band, unless a single output row needs more, and of all bands that are taken together: half of a common second-level
/// cache, of servers' where there are threads.
const BAND: usize = if cfg!(target_arch = "wasm32") { 1 << 16 } else { 1 << 18 };

/// Rows of a band that a task loads.
const LOADED_ROWS: usize = if cfg!(target_arch = "wasm32") { 1 << 30 } else { 4 };

/// Pixels of a task, a multiple of what a tile has.
const PIXELS: usize = if cfg!(target_arch = "wasm32") { 1 << 30 } else { 96 };

/// The greatest height and width of a window.
pub const MAX_KERNEL: usize = if cfg!(feature = "text") { 64 } else { 3 };

/// A [`Gemm`](crate::plan::Gemm) with slices for ids.
#[derive(Clone, Copy, Debug)]
pub struct Gemm<'a> {
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

impl<'a> Gemm<'a> {
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

/// All samples to `out`, `[batch, height, width, columns of the matrix]`.
pub fn gemm(g: &Gemm, scratch: &mut [f32], out: &mut [f32], each: Each) {
    let plain = matches!(g.scale_shift, Scale::None) && g.activation.is_none();
    let in_place = g.window == Window::Pointwise && plain;
    let (height, width) = g.size;
    let sample_len = height * width * g.panels.columns;
    let batch = out.len() / sample_len;
    let bands = Bands::of(g.window, g.size, g.source.all_channels());
    let (rows, len) = (bands.rows, bands.len(g.window));
    // A part is a band of a sample.
    let in_sample = height.div_ceil(rows);
    let parts = batch * in_sample;
    let place = |part: usize| {
        let top = part % in_sample * rows;
        (part / in_sample, top..height.min(top + rows))
    };
    let (scratch, out) = (Shared::new(scratch), Shared::new(out));
    for first in (0..parts).step_by(bands.together(g.window)) {
        let count = bands.together(g.window).min(parts - first);
        if !in_place {
            let pieces = bands.input_rows(g.window, rows).div_ceil(LOADED_ROWS);
            each(count * pieces, &|task| {
                let (sample, rows) = place(first + task / pieces);
                let from = task % pieces * LOADED_ROWS;
                let to = bands.input_rows(g.window, rows.len()).min(from + LOADED_ROWS);
                if from < to {
                    let start = task / pieces * len;
                    // SAFETY: each task has rows of its own, and they are read when all tasks are done.
                    let to_scratch =
                        unsafe { scratch.part(start + from * bands.line..start + to * bands.line) };
                    let before = g.window.before() as isize;
                    let top = (rows.start * g.window.stride()) as isize - before;
                    let columns = -before..bands.columns as isize - before;
                    g.loaded(sample).write(top + from as isize..top + to as isize, columns, to_scratch);
                }
            });
        }
        // All bands pass by a panel while it is in the cache.
        let pieces = (rows * width).div_ceil(PIXELS);
        each(g.panels.count() * count * pieces, &|task| {
            let (panel, part, piece) = (task / pieces / count, task / pieces % count, task % pieces);
            let (sample, rows) = place(first + part);
            let pixels = rows.start * width..rows.end * width;
            let from = pixels.start + piece * PIXELS;
            let pixels = from..pixels.end.min(from + PIXELS);
            if pixels.is_empty() {
                return;
            }
            let shortcut = g.shortcut.map(|s| pixel_runs(s.sample(sample)));
            let more = shortcut.as_ref().map_or(&[][..], |s| s);
            let image = pixel_runs(g.source.sample(sample));
            let mut all = [PixelRuns { len: 0, ..image[0] }; MAX_KERNEL + 2];
            let count = if in_place {
                all[..2].copy_from_slice(&image);
                2
            } else {
                // SAFETY: nobody writes there until all tasks are done.
                let data = unsafe { scratch.read(part * len..(part + 1) * len) };
                let channels = g.source.all_channels();
                let (stride, reach) = (g.window.stride(), g.window.kernel());
                for (tap, run) in all[..reach].iter_mut().enumerate() {
                    // The runs of one row of the window, `tap` rows below its top.
                    *run = PixelRuns {
                        data,
                        start: tap * bands.line,
                        top: rows.start,
                        row: stride * bands.line,
                        pixel: stride * channels,
                        shift: 0,
                        len: reach * channels,
                    };
                }
                reach
            };
            all[count..count + more.len()].copy_from_slice(more);
            let inputs = &all[..count + more.len()];
            let product = Product { inputs, panels: g.panels, width, epilogue: g.epilogue(sample) };
            let to = Output { start: sample * sample_len, first: 0, stride: g.panels.columns, data: out };
            // SAFETY: each task has other pixels or columns.
            unsafe { multiply_part(&product, panel..panel + 1, pixels, &to) };
        });
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
