//! Convolutions and linear maps over images, with all that the plan fuses into them.
//!
//! An output pixel is `(Σ window · matrix + bias + time + residual) · scale`. The input is loaded a band of rows at a time,
//! normalised and padded (see [`load`](super::load)), and the band's output pixels are the rows of a
//! [product](super::product). A pointwise map that changes nothing while loading reads the image where it lies.

use super::load::{Loaded, Scale};
use super::product::{Epilogue, Panels, PixelRuns, Product, multiply};
use super::{Image, PerSample};
use crate::Activation;
use crate::Window;

/// Floats of a band, unless a single output row needs more: half of a common second-level cache.
const BAND: usize = 1 << 16;

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
        Self { rows, line, columns }
    }

    fn input_rows(&self, window: Window, rows: usize) -> usize {
        (rows - 1) * window.stride() + window.kernel()
    }
}

/// Floats of [`gemm`]'s scratch for an output of `size` and an input of so many `channels`.
#[must_use]
pub fn scratch_len(window: Window, size: (usize, usize), channels: usize) -> usize {
    let bands = Bands::of(window, size, channels);
    bands.input_rows(window, bands.rows) * bands.line
}

/// All samples to `out`, `[batch, height, width, columns of the matrix]`.
pub fn gemm(g: &Gemm, scratch: &mut [f32], out: &mut [f32]) {
    let (height, width) = g.size;
    let columns = g.panels.columns;
    for (sample, out) in out.chunks_exact_mut(height * width * columns).enumerate() {
        let image = g.source.sample(sample);
        let channels = image.all_channels();
        let scale = g.scale_shift.sample(sample, channels);
        let loaded = Loaded { image, scale, activation: g.activation };
        let epilogue = Epilogue {
            bias: g.bias,
            time: g.time.map_or(&[], |t| t.sample(sample)),
            residual: g.residual.map(|r| pixel_runs(r.sample(sample))[0]),
            scale: g.scale * g.sample_scale.map_or(1.0, |s| s.sample(sample)[0]),
        };
        let shortcut = g.shortcut.map(|s| pixel_runs(s.sample(sample)));
        let multiply = |inputs: &[PixelRuns], rows: std::ops::Range<usize>, out: &mut [f32]| {
            let mut all = [PixelRuns { len: 0, ..inputs[0] }; MAX_KERNEL + 2];
            let more = shortcut.as_ref().map_or(&[][..], |s| s);
            let count = inputs.len() + more.len();
            for (to, from) in all.iter_mut().zip(inputs.iter().chain(more)) {
                *to = *from;
            }
            let product = Product { inputs: &all[..count], panels: g.panels, width, epilogue };
            let out = &mut out[rows.start * width * columns..rows.end * width * columns];
            multiply(&product, rows.start * width..rows.end * width, out, columns);
        };
        let plain = matches!(scale, Scale::None) && g.activation.is_none();
        if g.window == Window::Pointwise && plain {
            multiply(&pixel_runs(image), 0..height, out);
            continue;
        }
        let bands = Bands::of(g.window, g.size, channels);
        let (stride, before) = (g.window.stride(), g.window.before() as isize);
        for top in (0..height).step_by(bands.rows) {
            let rows = bands.rows.min(height - top);
            let (first, count) = ((top * stride) as isize - before, bands.input_rows(g.window, rows));
            loaded.write(first..first + count as isize, -before..bands.columns as isize - before, scratch);
            // The runs of one row of the window, `tap` rows below its top.
            let kernel = g.window.kernel();
            let run = |tap: usize| PixelRuns {
                data: scratch,
                start: tap * bands.line,
                top,
                row: stride * bands.line,
                pixel: stride * channels,
                shift: 0,
                len: kernel * channels,
            };
            let runs: [_; MAX_KERNEL] = std::array::from_fn(run);
            multiply(&runs[..kernel], top..top + rows, out);
        }
    }
}

/// A sample's pixels where they lie: a run for each of its one or two images, empty for the second where there is none.
fn pixel_runs(image: Image) -> [PixelRuns; 2] {
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
