//! How a camera held a picture: the orientation in EXIF, of JPEG, PNG and WebP files. Pillow's `exif_transpose` and browsers
//! turn pictures by it.

/// One of EXIF's eight orientations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Orientation(u8);

impl Default for Orientation {
    fn default() -> Self {
        Self(1)
    }
}

impl Orientation {
    /// Whether width and height change places.
    pub(super) fn swaps(self) -> bool {
        self.0 > 4
    }

    /// Where a place of the shown picture is in the stored one, of `width` and `height`.
    pub(super) fn stored(self, x: usize, y: usize, width: usize, height: usize) -> (usize, usize) {
        let (right, bottom) = (|x: usize| width - 1 - x, |y: usize| height - 1 - y);
        match self.0 {
            2 => (right(x), y),
            3 => (right(x), bottom(y)),
            4 => (x, bottom(y)),
            5 => (y, x),
            6 => (y, bottom(x)),
            7 => (right(y), bottom(x)),
            8 => (right(y), x),
            _ => (x, y),
        }
    }

    /// By a file's EXIF: the first of a JPEG's, PNG's or WebP's. Upright where there is none, or none that can be read.
    pub(super) fn of(file: &[u8]) -> Self {
        let exif = match file {
            [0xFF, 0xD8, ..] => jpeg(file),
            [0x89, b'P', b'N', b'G', ..] => png(file),
            [b'R', b'I', b'F', b'F', ..] => webp(file),
            _ => None,
        };
        let found = exif.and_then(tag).filter(|o| (1..=8).contains(o));
        found.map_or_else(Self::default, |o| Self(o as u8))
    }
}

const HEADER: &[u8] = b"Exif\0\0";

fn jpeg(file: &[u8]) -> Option<&[u8]> {
    let mut rest = &file[2..];
    loop {
        let [0xFF, marker, ..] = rest else { return None };
        match marker {
            0xFF => rest = &rest[1..],
            // Standalone markers, then the scan, before which EXIF stands.
            0x01 | 0xD0..=0xD8 => rest = &rest[2..],
            0xD9 | 0xDA => return None,
            _ => {
                let length = usize::from(u16::from_be_bytes([*rest.get(2)?, *rest.get(3)?]));
                let segment = rest.get(4..2 + length)?;
                if *marker == 0xE1 && segment.starts_with(HEADER) {
                    return segment.get(HEADER.len()..);
                }
                rest = &rest[2 + length..];
            }
        }
    }
}

/// The chunk `eXIf`, before or after the picture.
fn png(file: &[u8]) -> Option<&[u8]> {
    let mut rest = file.get(8..)?;
    loop {
        let (length, after) = rest.split_first_chunk::<4>()?;
        let (name, after) = after.split_first_chunk::<4>()?;
        let length = u32::from_be_bytes(*length) as usize;
        let chunk = after.get(..length)?;
        if name == b"eXIf" {
            return Some(chunk);
        }
        rest = after.get(length + 4..)?;
    }
}

fn webp(file: &[u8]) -> Option<&[u8]> {
    let mut rest = file.get(12..)?;
    loop {
        let (name, after) = rest.split_first_chunk::<4>()?;
        let (length, after) = after.split_first_chunk::<4>()?;
        let length = u32::from_le_bytes(*length) as usize;
        let chunk = after.get(..length)?;
        if name == b"EXIF" {
            return Some(chunk.strip_prefix(HEADER).unwrap_or(chunk));
        }
        rest = after.get(length.checked_add(length % 2)?..)?;
    }
}

/// The tag 0x0112 of the first directory of a TIFF.
fn tag(tiff: &[u8]) -> Option<u16> {
    let little = match tiff.get(..4)? {
        b"II\x2a\0" => true,
        b"MM\0\x2a" => false,
        _ => return None,
    };
    let u16_at = |at: usize| {
        let bytes = [*tiff.get(at)?, *tiff.get(at + 1)?];
        Some(if little { u16::from_le_bytes(bytes) } else { u16::from_be_bytes(bytes) })
    };
    let words = [u16_at(4)?, u16_at(6)?].map(usize::from);
    let directory = if little { words[1] << 16 | words[0] } else { words[0] << 16 | words[1] };
    let count = usize::from(u16_at(directory)?);
    let entry = (0..count).map(|i| directory + 2 + 12 * i).find(|at| u16_at(*at) == Some(0x0112))?;
    // A short number; anything else is no orientation.
    (u16_at(entry + 2)? == 3).then(|| u16_at(entry + 8)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tiff(little: bool, orientation: u16) -> Vec<u8> {
        let word = |v: u16| if little { v.to_le_bytes() } else { v.to_be_bytes() };
        let long = |v: u32| if little { v.to_le_bytes() } else { v.to_be_bytes() };
        let mut bytes = if little { b"II\x2a\0".to_vec() } else { b"MM\0\x2a".to_vec() };
        bytes.extend(long(8));
        bytes.extend(word(2));
        for (tag, kind, count, value) in [(0x010F, 2, 2, 7), (0x0112, 3, 1, orientation)] {
            bytes.extend([word(tag), word(kind)].concat());
            bytes.extend(long(count));
            bytes.extend([word(value), [0; 2]].concat());
        }
        bytes
    }

    #[test]
    fn every_container_has_its_place_for_it() {
        for little in [true, false] {
            let exif = tiff(little, 6);
            let segment = [HEADER, &exif].concat();
            let length = |n: usize| (n as u16 + 2).to_be_bytes();
            let jpeg = [&b"\xff\xd8\xff\xe0\0\x04ab\xff\xe1"[..], &length(segment.len()), &segment].concat();
            let chunk = |name: &[u8], data: &[u8]| {
                [&(data.len() as u32).to_be_bytes()[..], name, data, &[0; 4]].concat()
            };
            let png =
                [b"\x89PNG\r\n\x1a\n".to_vec(), chunk(b"IHDR", &[0; 13]), chunk(b"eXIf", &exif)].concat();
            let odd = [&b"VP8X"[..], &3u32.to_le_bytes(), &[0; 4]].concat();
            let webp =
                [&b"RIFF\0\0\0\0WEBP"[..], &odd, b"EXIF", &(exif.len() as u32).to_le_bytes(), &exif].concat();
            for file in [jpeg, png, webp] {
                assert_eq!(Orientation::of(&file), Orientation(6));
                for cut in 0..file.len() {
                    Orientation::of(&file[..cut]);
                }
            }
        }
        assert_eq!(tag(&tiff(true, 6)[..20]), None);
        assert_eq!(Orientation::of(b"GIF89a"), Orientation(1));
    }

    /// By Pillow 13's `exif_transpose` of the rows [[1, 2, 3], [4, 5, 6]].
    #[test]
    fn each_orientation_is_pillows() {
        let expected = [
            [1, 2, 3, 4, 5, 6],
            [3, 2, 1, 6, 5, 4],
            [6, 5, 4, 3, 2, 1],
            [4, 5, 6, 1, 2, 3],
            [1, 4, 2, 5, 3, 6],
            [4, 1, 5, 2, 6, 3],
            [6, 3, 5, 2, 4, 1],
            [3, 6, 2, 5, 1, 4],
        ];
        for (orientation, expected) in (1..).map(Orientation).zip(expected) {
            let width = if orientation.swaps() { 2 } else { 3 };
            let at = |p: usize| {
                let (x, y) = orientation.stored(p % width, p / width, 3, 2);
                3 * y + x + 1
            };
            assert_eq!([0, 1, 2, 3, 4, 5].map(at), expected, "{orientation:?}");
        }
    }
}
