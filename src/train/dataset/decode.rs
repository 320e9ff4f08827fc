//! Picture files: PNG, JPEG, WebP and GIF, each frame of an animated WebP or GIF a picture. What decoding takes is worked out
//! from the headers before anything is decoded, and frames are handed on one at a time.

use std::io::Cursor;

use super::builder::Picture;
use super::exif::Orientation;
use super::problem::Problem;
use crate::budget::{Budget, Held};

/// Takes a picture that was decoded.
pub(super) type Sink<'a> = &'a mut dyn FnMut(&Picture) -> Result<(), Problem>;

/// Says whether so many pictures of a width and a height have room.
pub(super) type Room<'a> = &'a dyn Fn(u64, usize, usize) -> Result<(), Problem>;

/// What a picture takes at least, however small it is: a decoder is set up for each. In pixels.
const LEAST_WORK: u64 = 1 << 12;

/// By its first bytes, whether a file is a picture that is decoded here, or by the browser where there is one.
///
/// # Errors
/// Says that it is none.
pub(super) fn check(head: &[u8], with_browser: bool) -> Result<(), Problem> {
    match head {
        [] => Err("it is empty".into()),
        [0x89, b'P', b'N', b'G', ..] | [0xFF, 0xD8, 0xFF, ..] | [b'G', b'I', b'F', b'8', ..] => Ok(()),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Ok(()),
        _ if let Some(why) = other(head) => Err(why.into()),
        _ if foreign(head).is_none() => {
            Err("it is no picture (PNG, JPEG, WebP, GIF), no array (NPY, IDX) and no ZIP archive".into())
        }
        _ if with_browser => Ok(()),
        _ => Err("AVIF and BMP are read by browsers only; save it as PNG or JPEG".into()),
    }
}

/// What to do with a file of a kind that is known, but not read.
fn other(head: &[u8]) -> Option<String> {
    let archive = |kind| {
        Some(format!("it is an archive made by {kind}; unpack it, and choose the folder or make a ZIP of it"))
    };
    let array = |kind: &str| {
        Some(format!("it is {kind}; open it in Python and save its pictures and labels with np.savez"))
    };
    let picture =
        |kind| Some(format!("it is a picture of the kind {kind}, which is not read; save it as PNG"));
    match head {
        _ if head.get(257..262) == Some(b"ustar") => archive("tar"),
        [b'7', b'z', 0xBC, 0xAF, 0x27, 0x1C, ..] => archive("7-Zip"),
        [b'R', b'a', b'r', b'!', 0x1A, 7, ..] => archive("RAR"),
        [0xFD, b'7', b'z', b'X', b'Z', 0, ..] => archive("xz"),
        [b'B', b'Z', b'h', b'1'..=b'9', 0x31, 0x41, 0x59, 0x26, ..] => archive("bzip2"),
        [0x28, 0xB5, 0x2F, 0xFD, ..] => archive("zstd"),
        [b'I', b'I', 42 | 43, 0, ..] | [b'M', b'M', 0, 42 | 43, ..] => picture("TIFF"),
        [b'8', b'B', b'P', b'S', ..] => picture("PSD"),
        [0, 0, 1, 0, ..] => picture("ICO"),
        [0xFF, 0x0A, ..] | [0, 0, 0, 12, b'J', b'X', b'L', b' ', ..] => picture("JPEG XL"),
        [_, _, _, _, b'f', b't', b'y', b'p', b'h', b'e', ..]
        | [_, _, _, _, b'f', b't', b'y', b'p', b'm', b'i', b'f', b'1', ..] => picture("HEIC"),
        // Protocols 2 to 5 begin so, and a pickle's first value is no number.
        [0x80, 2..=5, _, ..] => array("a Python pickle, as CIFAR's batches are"),
        [0x89, b'H', b'D', b'F', ..] => array("HDF5"),
        [b'P', b'A', b'R', b'1', ..] => array("Parquet"),
        [b'M', b'A', b'T', b'L', b'A', b'B', b' ', ..] => array("a file of MATLAB's"),
        _ => None,
    }
}

/// Hands on the pictures in a file that [`check`] took and that is not [`foreign`].
///
/// # Errors
/// Says what is wrong with it, or the sink's.
pub(super) fn pictures(bytes: &[u8], budget: &Budget, room: Room<'_>, sink: Sink<'_>) -> Result<(), Problem> {
    match bytes {
        [0x89, b'P', b'N', b'G', ..] => png(bytes, budget, sink),
        [0xFF, 0xD8, 0xFF, ..] => jpeg(bytes, budget, sink),
        [b'G', b'I', b'F', b'8', ..] => gif(bytes, budget, room, sink),
        _ => webp(bytes, budget, room, sink),
    }
}

/// Width and height of a picture that only browsers decode: AVIF or BMP.
pub(super) fn foreign(bytes: &[u8]) -> Option<(u64, u64)> {
    let number = |at: usize, read: fn([u8; 4]) -> u32| {
        bytes.get(at..at + 4).map_or(0, |b| u64::from(read([b[0], b[1], b[2], b[3]])))
    };
    if bytes.starts_with(b"BM") {
        let signed = |bytes| i32::from_le_bytes(bytes).unsigned_abs();
        return Some((number(18, signed), number(22, signed)));
    }
    if bytes.get(4..8) != Some(b"ftyp") || !matches!(bytes.get(8..12), Some(b"avif" | b"avis")) {
        return None;
    }
    // The largest of its parts: each has a box `ispe` of version and flags, width, height.
    let sizes = bytes.windows(4).enumerate().filter(|(_, name)| name == b"ispe");
    let sizes =
        sizes.map(|(at, _)| (number(at + 8, u32::from_be_bytes), number(at + 12, u32::from_be_bytes)));
    sizes.max_by_key(|(width, height)| width * height).or(Some((0, 0)))
}

/// Counts what decoding takes: `memory` bytes for a pixel of one frame, and the pixels of all frames.
pub(super) fn afford(budget: &Budget, pixels: u64, memory: u64, frames: u64) -> Result<Held<'_>, Problem> {
    let held = budget.hold(pixels.saturating_mul(memory))?;
    let work = pixels.max(LEAST_WORK).saturating_mul(frames).saturating_mul(4);
    budget.work(work).map_err(|refused| refused.to_string())?;
    Ok(held)
}

fn png(bytes: &[u8], budget: &Budget, sink: Sink<'_>) -> Result<(), Problem> {
    let text = |e: png::DecodingError| e.to_string();
    let limits = png::Limits { bytes: usize::try_from(budget.left()).unwrap_or(usize::MAX) };
    let mut decoder = png::Decoder::new_with_limits(Cursor::new(bytes), limits);
    decoder.set_transformations(png::Transformations::normalize_to_color8());
    decoder.set_ignore_text_chunk(true);
    decoder.set_ignore_iccp_chunk(true);
    let info = decoder.read_header_info().map_err(text)?;
    let (width, height) = (info.width as usize, info.height as usize);
    // A row of the largest kind, 4 channels of 16 bits, is held a few times.
    let _rows = budget.hold(32 * width as u64)?;
    let _held = afford(budget, width as u64 * height as u64, 4, 1)?;
    let mut reader = decoder.read_info().map_err(text)?;
    let mut pixels = vec![0; reader.output_buffer_size().ok_or("it is too large")?];
    let frame = reader.next_frame(&mut pixels).map_err(text)?;
    pixels.truncate(frame.buffer_size());
    let picture = Picture::new(width, height, frame.color_type.samples(), pixels);
    sink(&Picture { orientation: Orientation::of(bytes), ..picture })
}

fn jpeg(bytes: &[u8], budget: &Budget, sink: Sink<'_>) -> Result<(), Problem> {
    use zune_jpeg::zune_core::bytestream::ZCursor;
    use zune_jpeg::zune_core::colorspace::ColorSpace;
    use zune_jpeg::zune_core::options::DecoderOptions;
    let frame = JpegFrame::of(bytes).ok_or("it has no size; it may be cut off")?;
    let _held = afford(budget, frame.pixels, 3 + if frame.is_whole { frame.coefficients } else { 0 }, 1)?;
    let options = DecoderOptions::default()
        .set_max_width(1 << 16)
        .set_max_height(1 << 16)
        .jpeg_set_out_colorspace(ColorSpace::RGB);
    let mut decoder = zune_jpeg::JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    decoder.decode_headers().map_err(|e| e.to_string())?;
    let (width, height) = decoder.dimensions().ok_or("it has no size")?;
    if width as u64 * height as u64 > frame.pixels {
        return Err("it has two sizes".into());
    }
    let pixels = decoder.decode().map_err(|e| e.to_string())?;
    let picture = Picture::new(width, height, 3, pixels);
    sink(&Picture { orientation: Orientation::of(bytes), ..picture })
}

/// What of a JPEG's header decides how much memory it takes.
struct JpegFrame {
    /// The pixels of the largest frame, with those that fill up its last blocks.
    pixels: u64,
    /// Bytes of coefficients for a pixel.
    coefficients: u64,
    /// Whether coefficients of the whole picture are held: it is progressive, or its channels come one after another.
    is_whole: bool,
}

impl JpegFrame {
    fn of(bytes: &[u8]) -> Option<Self> {
        let mut found: Option<Self> = None;
        let mut channels = 0;
        let mut rest = bytes.get(2..)?;
        while let [0xFF, marker, after @ ..] = rest {
            if matches!(marker, 0xFF | 0x01 | 0xD0..=0xD8) {
                rest = if *marker == 0xFF { &rest[1..] } else { after };
                continue;
            }
            let length = usize::from(u16::from_be_bytes([*after.first()?, *after.get(1)?]));
            let segment = after.get(2..length)?;
            match marker {
                0xC0..=0xCF if ![0xC4, 0xC8, 0xCC].contains(marker) => {
                    let [_, h1, h0, w1, w0, count, parts @ ..] = segment else { return None };
                    let side = |a: &u8, b: &u8| u64::from(u16::from_be_bytes([*a, *b])).next_multiple_of(32);
                    channels = u64::from(*count);
                    // Of a single channel the decoder makes as many blocks as its sampling says.
                    let sampling = parts.get(1).map_or(1, |s| u64::from(s >> 4) * u64::from(s & 15));
                    let coefficients = 2 * if channels == 1 { sampling.max(1) } else { channels };
                    let pixels = side(w1, w0) * side(h1, h0);
                    let before = found.map_or((0, 0, false), |f| (f.pixels, f.coefficients, f.is_whole));
                    found = Some(Self {
                        pixels: pixels.max(before.0),
                        coefficients: coefficients.max(before.1),
                        is_whole: *marker == 0xC2 || before.2,
                    });
                }
                0xDA => {
                    let mut frame = found?;
                    frame.is_whole |= u64::from(*segment.first()?) < channels;
                    return Some(frame);
                }
                _ => {}
            }
            rest = &after[length..];
        }
        None
    }
}

fn webp(bytes: &[u8], budget: &Budget, room: Room<'_>, sink: Sink<'_>) -> Result<(), Problem> {
    let text = |e: image_webp::DecodingError| e.to_string();
    let frames = WebpFrames::of(bytes);
    // An animation has a canvas, a frame, its luma and chroma, and what is handed on; a picture the last three.
    let memory = if frames.count > 1 { 15 } else { 8 };
    let _held = afford(budget, frames.largest, memory, frames.count)?;
    let mut decoder = image_webp::WebPDecoder::new(Cursor::new(bytes)).map_err(text)?;
    decoder.set_memory_limit(usize::try_from(budget.left()).unwrap_or(usize::MAX));
    let (width, height) = decoder.dimensions();
    let (width, height) = (width as usize, height as usize);
    if width as u64 * height as u64 > frames.largest || u64::from(decoder.num_frames()) > frames.count {
        return Err("it has two sizes".into());
    }
    let channels = if decoder.has_alpha() { 4 } else { 3 };
    let pixels = vec![0; decoder.output_buffer_size().ok_or("it is too large")?];
    let mut picture =
        Picture { orientation: Orientation::of(bytes), ..Picture::new(width, height, channels, pixels) };
    if !decoder.is_animated() {
        decoder.read_image(&mut picture.pixels).map_err(text)?;
        return sink(&picture);
    }
    room(frames.count, width, height)?;
    for _ in 0..decoder.num_frames() {
        decoder.read_frame(&mut picture.pixels).map_err(text)?;
        sink(&picture)?;
    }
    Ok(())
}

/// What of a WebP's headers decides how much it takes: the decoder believes each frame's own header.
#[derive(Default)]
struct WebpFrames {
    /// Pixels of the largest frame, or of the canvas.
    largest: u64,
    count: u64,
}

impl WebpFrames {
    fn of(bytes: &[u8]) -> Self {
        let mut frames = Self::default();
        frames.walk(bytes.get(12..).unwrap_or_default(), false);
        frames.count = frames.count.max(1);
        frames
    }

    /// Looks at each chunk; a frame has none within it.
    fn walk(&mut self, mut rest: &[u8], in_frame: bool) {
        while let Some((name, after)) = rest.split_first_chunk::<4>() {
            let Some((length, after)) = after.split_first_chunk::<4>() else { return };
            let length = u32::from_le_bytes(*length) as usize;
            let chunk = &after[..length.min(after.len())];
            let wide = |at: usize| {
                chunk.get(at..at + 3).map_or(0, |b| 1 + u64::from(u32::from_le_bytes([b[0], b[1], b[2], 0])))
            };
            let area = match name {
                b"VP8X" => wide(4) * wide(7),
                b"ANMF" if !in_frame => {
                    self.count += 1;
                    self.walk(chunk.get(16..).unwrap_or_default(), true);
                    wide(6) * wide(9)
                }
                b"VP8 " => chunk.get(6..10).map_or(0, |b| {
                    let side =
                        |a: u8, b: u8| u64::from(u16::from_le_bytes([a, b]) & 0x3FFF).next_multiple_of(16);
                    side(b[0], b[1]) * side(b[2], b[3])
                }),
                b"VP8L" => chunk.get(1..5).map_or(0, |b| {
                    let sizes = u64::from(u32::from_le_bytes([b[0], b[1], b[2], b[3]]));
                    ((sizes & 0x3FFF) + 1) * ((sizes >> 14 & 0x3FFF) + 1)
                }),
                _ => 0,
            };
            self.largest = self.largest.max(area);
            rest = after.get(length.saturating_add(length % 2)..).unwrap_or_default();
        }
    }
}

fn gif(bytes: &[u8], budget: &Budget, room: Room<'_>, sink: Sink<'_>) -> Result<(), Problem> {
    let text = |e: gif::DecodingError| e.to_string();
    let options = |skips: bool| {
        let mut options = gif::DecodeOptions::new();
        options.set_color_output(gif::ColorOutput::RGBA);
        options.skip_frame_decoding(skips);
        options.set_memory_limit(gif::MemoryLimit::Unlimited); // the budget is asked instead
        options
    };
    let mut headers = options(true).read_info(Cursor::new(bytes)).map_err(text)?;
    let (width, height) = (usize::from(headers.width()), usize::from(headers.height()));
    let (mut largest, mut count) = (width as u64 * height as u64, 0);
    // A frame that is damaged ends the file; those before it count.
    while let Ok(Some(frame)) = headers.next_frame_info() {
        largest = largest.max(u64::from(frame.width) * u64::from(frame.height));
        count += 1;
        // So many are refused while they are counted.
        afford(budget, 0, 0, 1)?;
    }
    // The screen, a frame by its palette and in colour, and the screen before it.
    let _held = afford(budget, largest, 13, count)?;
    room(count, width, height)?;
    let mut decoder = options(false).read_info(Cursor::new(bytes)).map_err(text)?;
    let mut picture = Picture::new(width, height, 4, vec![0; 4 * width * height]);
    let mut decoded = 0;
    while let Some(frame) = decoder.read_next_frame().map_err(text)? {
        let before = (frame.dispose == gif::DisposalMethod::Previous).then(|| picture.pixels.clone());
        let (left, top) = (usize::from(frame.left), usize::from(frame.top));
        let (across, down) = (usize::from(frame.width), usize::from(frame.height));
        let inside = |x: usize, y: usize| {
            (left + x < width && top + y < height).then(|| 4 * ((top + y) * width + left + x))
        };
        for (i, pixel) in frame.buffer.chunks_exact(4).enumerate().take(across * down) {
            if let (Some(at), 255) = (inside(i % across, i / across), pixel[3]) {
                picture.pixels[at..at + 4].copy_from_slice(pixel);
            }
        }
        decoded += 1;
        if decoded > count {
            return Err("its frames cannot be counted".into());
        }
        sink(&picture)?;
        if let Some(before) = before {
            picture.pixels = before;
        } else if frame.dispose == gif::DisposalMethod::Background {
            for at in (0..across * down).filter_map(|i| inside(i % across, i / across)) {
                picture.pixels[at..at + 4].fill(0);
            }
        }
    }
    if decoded == 0 { Err("it has no frames".into()) } else { Ok(()) }
}
