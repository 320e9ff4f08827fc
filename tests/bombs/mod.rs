//! Files that claim or unpack to far more than they are, of every format, made here.

use std::io::Write as _;

use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use flate2::{Compression, Crc};

/// A file's name and bytes, and the size that pictures are read at.
pub(crate) type Given = (&'static str, Vec<u8>, Option<usize>);

/// What must be refused.
pub(crate) fn bombs() -> Vec<Given> {
    let zeros = vec![0; 4_000_000];
    let large = png(8000, 8000, 1, 0, true);
    let many: Vec<String> = (0..200).map(|i| format!("{i}.png")).collect();
    let large_ones = zip(&many.iter().map(|n| stored(n, &large)).collect::<Vec<_>>());
    let mut overlapping = zip(&[deflated("a.png", 1 << 24), deflated("b.png", 1 << 24)]);
    let at = overlapping.len() - 22 - 5 - 4;
    overlapping[at..at + 4].fill(0);
    let claims: Vec<String> = (0..24).map(|i| format!("{i}.npy")).collect();
    let claim = |n| Entry { name: n, data: vec![3, 0], packed: true, claims: (2_000_000_000, 0) };
    let claims = zip(&claims.iter().map(|n| claim(n)).collect::<Vec<_>>());
    let unread = zip(&vec![deflated("x.bin", 100 << 20); 40]);
    let named: Vec<String> = (0..60_000).map(|i| format!("{i}.png")).collect();
    let names = zip(&named.iter().map(|n| stored(n, b"")).collect::<Vec<_>>());

    vec![
        ("a huge PNG that is not there.png", png(60_000, 60_000, 16, 6, false), None),
        ("a wide PNG.png", png(2_000_000_000, 1, 8, 6, false), None),
        ("a huge JPEG.jpg", jpeg(0xC0, 65_500, 65_500, 3), None),
        ("a progressive JPEG.jpg", jpeg(0xC2, 16_000, 16_000, 3), None),
        ("a JPEG of four channels.jpg", jpeg(0xC2, 12_000, 12_000, 4), None),
        ("a huge GIF.gif", gif(65_535, 1), None),
        ("an animated GIF.gif", gif(2048, 4000), None),
        ("many tiny frames.gif", gif(8, 200_000), None),
        ("as many classes as pictures.npz", tiny(|i| i), Some(8)),
        ("a huge WebP.webp", webp(16_384, 16_384, 0), None),
        ("few large frames.webp", webp(8192, 8192, 4), None),
        ("many frames.webp", webp(2048, 2048, 400), None),
        ("frames within frames.webp", nested(100_000), None),
        ("one-pixel pictures-idx3-ubyte", [idx(4_000_000, 1, 1), zeros.clone()].concat(), None),
        (
            "enlarged pictures-idx3-ubyte",
            [idx(100_000, 4, 4), zeros[..1_600_000].to_vec()].concat(),
            Some(256),
        ),
        ("a count that is a lie-idx3-ubyte", [idx(u32::MAX, 28, 28), zeros[..1000].to_vec()].concat(), None),
        ("a gzip.npy.gz", gz(300 << 20, &npy("|u1", "(300, 1024, 1024)")), None),
        ("a gzip of nothing.png.gz", gz(300 << 20, &[0x89, b'P', b'N', b'G']), None),
        ("sizes that overflow.npy", npy("<f8", "(4294967296, 4294967296, 16)"), None),
        ("overlaps.zip", overlapping, None),
        ("claims.zip", claims, None),
        ("much unread.zip", unread, None),
        ("an array in an archive.npz", zip(&[deflated("x.npy", 300 << 20)]), None),
        ("no pictures.zip", names, None),
        ("pictures.zip", large_ones, None),
    ]
}

/// As near to the limits as is accepted.
#[cfg_attr(target_arch = "wasm32", expect(dead_code, reason = "a browser takes long for them"))]
pub(crate) fn large_ones() -> Vec<Given> {
    let black = png(8, 8, 8, 0, true);
    vec![
        ("a large PNG.png", png(6000, 6000, 8, 6, true), None),
        ("a large PNG of 16 bits.png", png(6000, 6000, 16, 6, true), None),
        ("a large WebP.webp", webp(4400, 4400, 0), None),
        ("an animated WebP.webp", webp(1000, 1000, 100), None),
        ("an animated GIF.gif", whole_gif(500, 100), None),
        ("MNIST-idx3-ubyte", [idx(60_000, 28, 28), vec![9; 47_040_000]].concat(), None),
        ("floats.npy", [npy("<f8", "(50000, 8, 8)"), vec![0; 25_600_000]].concat(), None),
        ("a million tiny pictures.npz", tiny(|i| i % 10), Some(8)),
        ("zeros.npz", zip(&[Entry { claims: stored("", &black).claims, ..stored("1.png", &black) }]), None),
    ]
}

fn chunk(name: &[u8], data: &[u8]) -> Vec<u8> {
    let mut crc = Crc::new();
    crc.update(name);
    crc.update(data);
    [&(data.len() as u32).to_be_bytes()[..], name, data, &crc.sum().to_be_bytes()].concat()
}

/// A black PNG; it claims its size, and has the data for it if `whole`.
fn png(width: u32, height: u32, depth: u8, colour: u8, whole: bool) -> Vec<u8> {
    let header = [&width.to_be_bytes()[..], &height.to_be_bytes(), &[depth, colour, 0, 0, 0]].concat();
    let samples = [1, 0, 3, 1, 2, 0, 4][usize::from(colour)];
    let row = vec![0; 1 + (width as usize * samples * usize::from(depth)).div_ceil(8)];
    let mut data = ZlibEncoder::new(Vec::new(), Compression::best());
    for _ in 0..if whole { height } else { 1 } {
        data.write_all(&row).unwrap();
    }
    [
        b"\x89PNG\r\n\x1a\n".to_vec(),
        chunk(b"IHDR", &header),
        chunk(b"IDAT", &data.finish().unwrap()),
        chunk(b"IEND", &[]),
    ]
    .concat()
}

/// An entry of an archive: its bytes unpacked or, packed, with the size and checksum that are claimed.
#[derive(Clone)]
struct Entry<'a> {
    name: &'a str,
    data: Vec<u8>,
    packed: bool,
    claims: (u32, u32),
}

fn stored<'a>(name: &'a str, data: &[u8]) -> Entry<'a> {
    let mut crc = Crc::new();
    crc.update(data);
    Entry { name, data: data.to_vec(), packed: false, claims: (data.len() as u32, crc.sum()) }
}

/// `length` zeros.
fn deflated(name: &str, length: usize) -> Entry<'_> {
    let (mut crc, mut data) = (Crc::new(), DeflateEncoder::new(Vec::new(), Compression::best()));
    let zeros = vec![0; 1 << 20];
    for _ in 0..length >> 20 {
        crc.update(&zeros);
        data.write_all(&zeros).unwrap();
    }
    Entry { name, data: data.finish().unwrap(), packed: true, claims: (length as u32, crc.sum()) }
}

fn zip(entries: &[Entry<'_>]) -> Vec<u8> {
    let (mut body, mut directory) = (Vec::new(), Vec::new());
    for Entry { name, data, packed, claims: (size, crc) } in entries {
        let common = [
            &[20, 0, 0, 0, if *packed { 8 } else { 0 }, 0, 0, 0, 0, 0][..],
            &crc.to_le_bytes(),
            &(data.len() as u32).to_le_bytes(),
            &size.to_le_bytes(),
            &(name.len() as u16).to_le_bytes(),
            &[0, 0],
        ]
        .concat();
        let at = (body.len() as u32).to_le_bytes();
        directory.extend([b"PK\x01\x02\x14\0", &common[..], &[0; 10], &at, name.as_bytes()].concat());
        body.extend([b"PK\x03\x04", &common[..], name.as_bytes(), data].concat());
    }
    let count = (entries.len() as u16).to_le_bytes();
    let end = [
        &b"PK\x05\x06\0\0\0\0"[..],
        &count,
        &count,
        &(directory.len() as u32).to_le_bytes(),
        &(body.len() as u32).to_le_bytes(),
        &[0, 0],
    ];
    [body, directory, end.concat()].concat()
}

/// A million pictures of one pixel, with labels.
fn tiny(label: impl Fn(u32) -> u32) -> Vec<u8> {
    let count = 1_000_000;
    let pictures = [npy("|u1", "(1000000, 1, 1)"), vec![0; count as usize]].concat();
    let labels =
        [npy("<u4", "(1000000,)"), (0..count).flat_map(|i| label(i).to_le_bytes()).collect()].concat();
    zip(&[stored("x.npy", &pictures), stored("y.npy", &labels)])
}

fn gz(length: usize, head: &[u8]) -> Vec<u8> {
    let mut data = GzEncoder::new(Vec::new(), Compression::best());
    data.write_all(head).unwrap();
    for _ in 0..length >> 20 {
        data.write_all(&vec![0; 1 << 20]).unwrap();
    }
    data.finish().unwrap()
}

fn idx(count: u32, height: u32, width: u32) -> Vec<u8> {
    [&[0, 0, 8, 3][..], &count.to_be_bytes(), &height.to_be_bytes(), &width.to_be_bytes()].concat()
}

fn npy(dtype: &str, shape: &str) -> Vec<u8> {
    let header = format!("{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}");
    [b"\x93NUMPY\x01\0", &(header.len() as u16).to_le_bytes()[..], header.as_bytes()].concat()
}

/// A GIF of `frames` frames of `side`² pixels, each of a few bytes.
fn gif(side: u16, frames: usize) -> Vec<u8> {
    let side = side.to_le_bytes();
    let frame = [&[0x2C, 0, 0, 0, 0][..], &side, &side, &[0, 2, 2, 0x44, 1, 0]].concat();
    [b"GIF89a", &side[..], &side, &[0x80, 0, 0, 0, 0, 0, 255, 255, 255], &frame.repeat(frames), b";"].concat()
}

/// A black GIF that is as its header says.
fn whole_gif(side: u16, frames: usize) -> Vec<u8> {
    let mut file = Vec::new();
    let mut encoder = gif::Encoder::new(&mut file, side, side, &[0, 0, 0, 255, 255, 255]).unwrap();
    let frame = gif::Frame::from_indexed_pixels(side, side, vec![0; usize::from(side).pow(2)], None);
    (0..frames).for_each(|_| encoder.write_frame(&frame).unwrap());
    drop(encoder);
    file
}

/// A lossless WebP frame of one colour.
fn vp8l(width: u32, height: u32) -> Vec<u8> {
    // Five codes of one symbol each: no pixel takes a bit.
    let sizes = (width - 1) | (height - 1) << 14;
    let data = [&[0x2F][..], &sizes.to_le_bytes(), &[0x88, 0x88, 0x08, 0, 0, 0, 0]].concat();
    [&b"VP8L"[..], &(data.len() as u32).to_le_bytes(), &data].concat()
}

fn webp(width: u32, height: u32, frames: usize) -> Vec<u8> {
    let wide = |v: u32| v.to_le_bytes()[..3].to_vec();
    let sides = [wide(width - 1), wide(height - 1)].concat();
    let canvas = [&b"VP8X\x0a\0\0\0\x02\0\0\0"[..], &sides].concat();
    let frame = [&[0; 6][..], &sides, &[1, 0, 0, 0], &vp8l(width, height)].concat();
    let frame = [&b"ANMF"[..], &(frame.len() as u32).to_le_bytes(), &frame].concat();
    let body = if frames == 0 {
        vp8l(width, height)
    } else {
        [&canvas[..], b"ANIM\x06\0\0\0\0\0\0\0\0\0", &frame.repeat(frames)].concat()
    };
    [&b"RIFF"[..], &(body.len() as u32 + 4).to_le_bytes(), b"WEBP", &body].concat()
}

/// A WebP whose frame holds a frame, which holds a frame, and so on.
fn nested(depth: usize) -> Vec<u8> {
    let levels = (0..depth)
        .rev()
        .flat_map(|below| [&b"ANMF"[..], &((24 * below + 16) as u32).to_le_bytes(), &[0; 16]].concat());
    let body = [&b"VP8X\x0a\0\0\0\x02\0\0\0\x07\0\0\x07\0\0"[..], b"ANIM\x06\0\0\0\0\0\0\0\0\0"].concat();
    let body: Vec<u8> = body.into_iter().chain(levels).collect();
    [&b"RIFF"[..], &(body.len() as u32 + 4).to_le_bytes(), b"WEBP", &body].concat()
}

/// A JPEG whose header claims a size; `marker` C0 is baseline, C2 progressive. Its scan is empty.
fn jpeg(marker: u8, width: u16, height: u16, components: u8) -> Vec<u8> {
    let table = [&[0xFF, 0xDB, 0, 67, 0][..], &[1; 64]].concat();
    let parts: Vec<u8> = (1..=components).flat_map(|i| [i, 0x11, 0]).collect();
    let frame = [
        &[0xFF, marker, 0, 8 + 3 * components, 8][..],
        &height.to_be_bytes(),
        &width.to_be_bytes(),
        &[components],
        &parts,
    ];
    let codes = |class: u8| [&[0xFF, 0xC4, 0, 20, class, 1][..], &[0; 15], &[0]].concat();
    let scan: Vec<u8> = (1..=components).flat_map(|i| [i, 0]).collect();
    let end = if marker == 0xC2 { 0 } else { 63 };
    let scan = [&[0xFF, 0xDA, 0, 6 + 2 * components, components][..], &scan, &[0, end, 0]].concat();
    [vec![0xFF, 0xD8], table, frame.concat(), codes(0), codes(0x10), scan, vec![0; 64], vec![0xFF, 0xD9]]
        .concat()
}
