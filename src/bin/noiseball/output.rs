//! What a command leaves: a report, a PNG of all pictures side by side, and NumPy's format for the numbers.

use std::fmt::Display;
use std::io::{ErrorKind, Write as _};
use std::path::Path;
use std::str::FromStr;

use noiseball::picture::{Range, to_rgba};
use noiseball::{Error, Result, npy, store, text};

/// Writes a report to standard output.
pub(crate) fn print(report: &str) -> Result<()> {
    match std::io::stdout().write_all(report.as_bytes()) {
        // `| head` has seen enough.
        Err(e) if e.kind() == ErrorKind::BrokenPipe => Ok(()),
        done => done.map_err(Error::io(Path::new("standard output"))),
    }
}

/// Writes to standard error, if anybody listens: what is said there is worth less than the work.
pub(crate) fn say(text: &str) {
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// Most of a stranger's list that is shown.
const SHOWN: usize = 10;

/// The first of a list, and how many more there are.
pub(crate) fn first<T: Display>(list: impl ExactSizeIterator<Item = T>) -> Vec<String> {
    let more = list.len().saturating_sub(SHOWN);
    let mut shown: Vec<String> = list.take(SHOWN).map(|item| text::name(item).to_string()).collect();
    if more > 0 {
        shown.push(format!("and {more} more"));
    }
    shown
}

/// A number of things, for options that have a smallest and a largest elsewhere.
pub(crate) fn count<T: FromStr>(text: &str) -> std::result::Result<T, String> {
    text.parse().map_err(|_| "it must be a whole number, 1 or more".to_owned())
}

/// A seed: whole, and exact in a page's numbers.
pub(crate) fn seed(text: &str) -> std::result::Result<u64, String> {
    const LAST: u64 = (1 << 53) - 1;
    let seed = text.parse().ok().filter(|seed| *seed <= LAST);
    seed.ok_or_else(|| format!("it must be a whole number from 0 to {LAST}"))
}

/// Refuses to write pictures where the numbers go, or under a name of another format, before any work is done.
pub(crate) fn check_paths(out: Option<&Path>, npy: Option<&Path>, latents: Option<&Path>) -> Result<()> {
    let refuse = |found: String, expected: &str| {
        Err(Error::Option { option: "out", found, expected: expected.to_owned() })
    };
    for (option, path) in [("npy", npy), ("npy_latents", latents), ("out", out)] {
        if let Some(path) = path.filter(|path| path.is_dir()) {
            let found = format!("{}, which is a folder", path.display());
            return Err(Error::Option { option, found, expected: "the file to write".to_owned() });
        }
    }
    let real = |path: &Path| std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    if let (Some(npy), Some(latents)) = (npy, latents)
        && real(npy) == real(latents)
    {
        let (found, expected) = (latents.display().to_string(), "another file than that of --npy".to_owned());
        return Err(Error::Option { option: "npy_latents", found, expected });
    }
    let Some(out) = out else { return Ok(()) };
    if npy.is_some_and(|npy| real(npy) == real(out)) {
        return refuse(out.display().to_string(), "another file than that of --npy");
    }
    const OTHERS: [&str; 12] =
        ["jpg", "jpeg", "webp", "gif", "bmp", "tif", "tiff", "avif", "jxl", "svg", "npy", "npz"];
    let extension = out.extension().map(|e| e.to_string_lossy().to_lowercase());
    if extension.is_some_and(|e| OTHERS.contains(&e.as_str())) {
        return refuse(
            out.display().to_string(),
            "a file whose name ends in .png, the only format of pictures; --npy writes the numbers",
        );
    }
    Ok(())
}

/// Numbers of `range` in [-1, 1], as what makes pictures takes them.
pub(crate) fn signed(range: Range, x: &[f32]) -> Vec<f32> {
    x.iter().map(|x| range.to_signed(*x)).collect()
}

/// Writes what [`png`] makes.
pub(crate) fn write_png(path: &Path, x: &[f32], shape: [usize; 4]) -> Result<()> {
    store::replace(path, &png(x, shape)?)
}

/// A PNG of the pictures in rows, as nearly square as their number allows.
pub(crate) fn png(x: &[f32], shape: [usize; 4]) -> Result<Vec<u8>> {
    let batch = shape[0];
    png_of(x, shape, (1..=batch).find(|c| c * c >= batch).unwrap_or(1))
}

/// A PNG of the pictures in rows of so many.
pub(crate) fn png_of(x: &[f32], shape: [usize; 4], columns: usize) -> Result<Vec<u8>> {
    film(&[(grid_of(x, shape, columns, 0, 1), 0)])
}

/// Pictures in rows: RGBA with its width and height.
pub(crate) type Grid = (Vec<u8>, [u32; 2]);

/// The pictures in rows, as nearly square as their number allows: see [`grid_of`].
pub(crate) fn grid(x: &[f32], shape: [usize; 4], gap: usize, scale: usize) -> Grid {
    let batch = shape[0];
    grid_of(x, shape, (1..=batch).find(|c| c * c >= batch).unwrap_or(1), gap, scale)
}

/// The pictures in rows of so many, each pixel a square of `scale` pixels, with `gap` transparent ones between the pictures before
/// they are enlarged.
fn grid_of(x: &[f32], shape: [usize; 4], columns: usize, gap: usize, scale: usize) -> Grid {
    let [batch, _, height, width] = shape;
    let rows = batch.div_ceil(columns);
    let [wide, high] = [columns * (width + gap) - gap, rows * (height + gap) - gap];
    let mut pixels = vec![0; 4 * wide * high];
    for (i, picture) in to_rgba(x, shape, Range::Signed).chunks_exact(4 * width * height).enumerate() {
        for (y, line) in picture.chunks_exact(4 * width).enumerate() {
            let start = 4 * ((i / columns * (height + gap) + y) * wide + i % columns * (width + gap));
            pixels[start..start + line.len()].copy_from_slice(line);
        }
    }
    let enlarged = pixels.chunks_exact(4 * wide).flat_map(|line| {
        let wider: Vec<u8> = line.as_chunks::<4>().0.iter().flat_map(|pixel| pixel.repeat(scale)).collect();
        wider.repeat(scale)
    });
    (enlarged.collect(), [(wide * scale) as u32, (high * scale) as u32])
}

/// A PNG of these pictures, all of one size; of several, one that is animated without end, each standing for its milliseconds.
pub(crate) fn film(frames: &[(Grid, u16)]) -> Result<Vec<u8>> {
    let mut file = Vec::new();
    let written = (|| {
        let [width, height] = frames.first().map_or([0; 2], |((_, size), _)| *size);
        let mut encoder = ::png::Encoder::new(&mut file, width, height);
        encoder.set_color(::png::ColorType::Rgba);
        encoder.set_depth(::png::BitDepth::Eight);
        if frames.len() > 1 {
            encoder.set_animated(frames.len() as u32, 0)?;
        }
        let mut png = encoder.write_header()?;
        for ((pixels, _), milliseconds) in frames {
            if frames.len() > 1 {
                png.set_frame_delay(*milliseconds, 1000)?;
            }
            png.write_image_data(pixels)?;
        }
        png.finish()
    })();
    written.map_err(|e: ::png::EncodingError| Error::io(Path::new("PNG"))(std::io::Error::other(e)))?;
    Ok(file)
}

/// The numbers as little-endian float32 in NumPy's format.
pub(crate) fn write_npy(path: &Path, x: &[f32], shape: [usize; 4]) -> Result<()> {
    let data: Vec<u8> = x.iter().flat_map(|v| v.to_le_bytes()).collect();
    store::replace(path, &npy::encode("<f4", &shape, &data))
}
