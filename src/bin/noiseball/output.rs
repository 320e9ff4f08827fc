//! What a command leaves: a report, a PNG of all pictures side by side, and NumPy's format for the numbers.

use std::io::{ErrorKind, Write as _};
use std::path::Path;

use noiseball::picture::to_rgba;
use noiseball::{Error, Result, npy, store};

/// Writes a report to standard output.
pub(crate) fn print(report: &str) -> Result<()> {
    match std::io::stdout().write_all(report.as_bytes()) {
        // `| head` has seen enough.
        Err(e) if e.kind() == ErrorKind::BrokenPipe => Ok(()),
        done => done.map_err(Error::io(Path::new("standard output"))),
    }
}

/// Writes what [`png`] makes.
pub(crate) fn write_png(path: &Path, x: &[f32], shape: [usize; 4]) -> Result<()> {
    store::replace(path, &png(x, shape)?)
}

/// A PNG of the pictures in rows, as nearly square as their number allows.
pub(crate) fn png(x: &[f32], shape: [usize; 4]) -> Result<Vec<u8>> {
    let [batch, _, height, width] = shape;
    let columns = (1..=batch).find(|c| c * c >= batch).unwrap_or(1);
    let rows = batch.div_ceil(columns);
    let stride = 4 * columns * width;
    let mut pixels = vec![0; stride * rows * height];
    for (i, picture) in to_rgba(x, shape).chunks_exact(4 * width * height).enumerate() {
        for (y, line) in picture.chunks_exact(4 * width).enumerate() {
            let start = (i / columns * height + y) * stride + i % columns * 4 * width;
            pixels[start..start + line.len()].copy_from_slice(line);
        }
    }
    let mut file = Vec::new();
    let mut encoder = ::png::Encoder::new(&mut file, (columns * width) as u32, (rows * height) as u32);
    encoder.set_color(::png::ColorType::Rgba);
    encoder.set_depth(::png::BitDepth::Eight);
    let written = encoder.write_header().and_then(|mut png| {
        png.write_image_data(&pixels)?;
        png.finish()
    });
    written.map_err(|e| Error::io(Path::new("PNG"))(std::io::Error::other(e)))?;
    Ok(file)
}

/// The numbers as little-endian float32 in NumPy's format.
pub(crate) fn write_npy(path: &Path, x: &[f32], shape: [usize; 4]) -> Result<()> {
    let data: Vec<u8> = x.iter().flat_map(|v| v.to_le_bytes()).collect();
    store::replace(path, &npy::encode("<f4", &shape, &data))
}
