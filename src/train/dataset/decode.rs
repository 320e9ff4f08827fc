//! Picture files, natively: PNG, JPEG, WebP and GIF, each frame of an animation a picture. A page's browser decodes its own.

use std::io::Cursor;

use super::builder::{MAX_PIXELS, Picture};

/// The pictures in a file.
///
/// # Errors
/// Says what is wrong with it.
pub(super) fn pictures(bytes: &[u8]) -> Result<Vec<Picture>, String> {
    match bytes {
        [] => Err("it is empty".to_owned()),
        [0x89, b'P', b'N', b'G', ..] => png(bytes),
        [0xFF, 0xD8, 0xFF, ..] => jpeg(bytes),
        [b'G', b'I', b'F', b'8', ..] => gif(bytes),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => webp(bytes),
        _ => Err("it is no PNG, JPEG, WebP, GIF, NPY, IDX or ZIP".to_owned()),
    }
}

fn check(width: usize, height: usize) -> Result<(), String> {
    if width.saturating_mul(height) > MAX_PIXELS {
        return Err(format!("its {width}×{height} pixels are more than {MAX_PIXELS}"));
    }
    Ok(())
}

/// Pixels of 1 to 4 channels: grey, grey and alpha, RGB, RGBA.
fn picture(width: usize, height: usize, channels: usize, pixels: &[u8]) -> Picture {
    let rgba = pixels.chunks_exact(channels).flat_map(|p| match *p {
        [grey] => [grey, grey, grey, 255],
        [grey, alpha] => [grey, grey, grey, alpha],
        [r, g, b] => [r, g, b, 255],
        [r, g, b, a, ..] => [r, g, b, a],
        [] => [0; 4],
    });
    Picture { width, height, rgba: rgba.take(4 * width * height).collect() }
}

fn png(bytes: &[u8]) -> Result<Vec<Picture>, String> {
    let text = |e: png::DecodingError| e.to_string();
    let mut decoder = png::Decoder::new(Cursor::new(bytes));
    decoder.set_transformations(png::Transformations::normalize_to_color8());
    let mut reader = decoder.read_info().map_err(text)?;
    let (width, height) = (reader.info().width as usize, reader.info().height as usize);
    check(width, height)?;
    let mut pixels = vec![0; reader.output_buffer_size().ok_or("it is too large")?];
    let frame = reader.next_frame(&mut pixels).map_err(text)?;
    Ok(vec![picture(width, height, frame.color_type.samples(), &pixels[..frame.buffer_size()])])
}

fn jpeg(bytes: &[u8]) -> Result<Vec<Picture>, String> {
    use zune_jpeg::zune_core::bytestream::ZCursor;
    use zune_jpeg::zune_core::colorspace::ColorSpace;
    use zune_jpeg::zune_core::options::DecoderOptions;
    let options = DecoderOptions::default().jpeg_set_out_colorspace(ColorSpace::RGB);
    let mut decoder = zune_jpeg::JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    decoder.decode_headers().map_err(|e| e.to_string())?;
    let (width, height) = decoder.dimensions().ok_or("it has no size")?;
    check(width, height)?;
    let pixels = decoder.decode().map_err(|e| e.to_string())?;
    Ok(vec![picture(width, height, 3, &pixels)])
}

fn webp(bytes: &[u8]) -> Result<Vec<Picture>, String> {
    let text = |e: image_webp::DecodingError| e.to_string();
    let mut decoder = image_webp::WebPDecoder::new(Cursor::new(bytes)).map_err(text)?;
    let (width, height) = decoder.dimensions();
    let (width, height) = (width as usize, height as usize);
    check(width, height)?;
    let channels = if decoder.has_alpha() { 4 } else { 3 };
    let mut pixels = vec![0; decoder.output_buffer_size().ok_or("it is too large")?];
    if !decoder.is_animated() {
        decoder.read_image(&mut pixels).map_err(text)?;
        return Ok(vec![picture(width, height, channels, &pixels)]);
    }
    let mut pictures = Vec::new();
    for _ in 0..decoder.num_frames() {
        decoder.read_frame(&mut pixels).map_err(text)?;
        pictures.push(picture(width, height, channels, &pixels));
    }
    Ok(pictures)
}

fn gif(bytes: &[u8]) -> Result<Vec<Picture>, String> {
    let text = |e: gif::DecodingError| e.to_string();
    let mut options = gif::DecodeOptions::new();
    options.set_color_output(gif::ColorOutput::RGBA);
    let mut decoder = options.read_info(Cursor::new(bytes)).map_err(text)?;
    let (width, height) = (usize::from(decoder.width()), usize::from(decoder.height()));
    check(width, height)?;
    let mut screen = vec![0; 4 * width * height];
    let mut pictures = Vec::new();
    while let Some(frame) = decoder.read_next_frame().map_err(text)? {
        let before = (frame.dispose == gif::DisposalMethod::Previous).then(|| screen.clone());
        let (left, top) = (usize::from(frame.left), usize::from(frame.top));
        let (across, down) = (usize::from(frame.width), usize::from(frame.height));
        let inside = |x: usize, y: usize| {
            (left + x < width && top + y < height).then(|| 4 * ((top + y) * width + left + x))
        };
        for (i, pixel) in frame.buffer.chunks_exact(4).enumerate().take(across * down) {
            if let (Some(at), 255) = (inside(i % across, i / across), pixel[3]) {
                screen[at..at + 4].copy_from_slice(pixel);
            }
        }
        pictures.push(Picture { width, height, rgba: screen.clone() });
        if pictures.len() * width * height > MAX_PIXELS {
            return Err(format!("its frames have more than {MAX_PIXELS} pixels"));
        }
        if let Some(before) = before {
            screen = before;
        } else if frame.dispose == gif::DisposalMethod::Background {
            for at in (0..across * down).filter_map(|i| inside(i % across, i / across)) {
                screen[at..at + 4].fill(0);
            }
        }
    }
    if pictures.is_empty() { Err("it has no frames".to_owned()) } else { Ok(pictures) }
}
