//! Files that a run leaves: a PNG of all pictures side by side, and NumPy's format for the numbers.

use std::fs;
use std::io::BufWriter;
use std::path::Path;

use noiseball::picture::to_rgba;
use noiseball::{Error, Result};

fn io(path: &Path) -> impl Fn(std::io::Error) -> Error + '_ {
    |source| Error::Io { path: path.display().to_string(), source }
}

/// The pictures in rows, as nearly square as their number allows.
pub(crate) fn write_png(path: &Path, x: &[f32], shape: [usize; 4]) -> Result<()> {
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
    let file = fs::File::create(path).map_err(io(path))?;
    let mut encoder =
        png::Encoder::new(BufWriter::new(file), (columns * width) as u32, (rows * height) as u32);
    encoder.set_color(png::ColorType::Rgba);
    encoder.set_depth(png::BitDepth::Eight);
    let written = encoder.write_header().and_then(|mut png| {
        png.write_image_data(&pixels)?;
        png.finish()
    });
    written.map_err(|e| io(path)(std::io::Error::other(e)))
}

/// NumPy's format 1.0: magic, header padded to a multiple of 64 bytes, little-endian float32.
pub(crate) fn write_npy(path: &Path, x: &[f32], shape: [usize; 4]) -> Result<()> {
    let [b, c, h, w] = shape;
    let mut header =
        format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({b}, {c}, {h}, {w}), }}").into_bytes();
    header.resize((10 + header.len() + 1).next_multiple_of(64) - 10 - 1, b' ');
    header.push(b'\n');
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header);
    bytes.extend(x.iter().flat_map(|v| v.to_le_bytes()));
    fs::write(path, bytes).map_err(io(path))
}
