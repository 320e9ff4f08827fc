//! Arrays of numbers: NumPy's NPY and MNIST's IDX, and what they hold: pictures, one or a list of them, and labels.

use std::io::{self, Read};
use std::num::{IntErrorKind, ParseIntError};

use super::builder::{Class, Picture};
use super::problem::Problem;

/// How a number is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Bool,
    Unsigned,
    Signed,
    Float,
    /// Text of one byte a letter.
    Bytes,
    /// Text of four bytes a letter.
    Unicode,
}

/// What the beginning of an array says.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Header {
    /// Its sizes, outermost first.
    pub(super) shape: Vec<usize>,
    kind: Kind,
    /// Bytes of a number, or of a text.
    width: usize,
    is_big_endian: bool,
    /// Whether the first size varies fastest.
    is_fortran: bool,
    /// Bytes before the numbers.
    start: usize,
    /// Whether black is 0 and white 255 by definition.
    is_idx: bool,
}

/// No header is longer.
const MAX_HEADER: usize = 1 << 16;

impl Header {
    /// Whether bytes begin as an array does.
    pub(super) fn is(head: &[u8]) -> bool {
        matches!(head, [0x93, b'N', b'U', b'M', b'P', b'Y', ..] | [0, 0, 8 | 9 | 11..=14, 1..=4, ..])
    }

    /// Reads the header of an array; `length` is that of the file, where it is known. Sizes that the file cannot hold are refused
    /// here, before anything is made of them.
    pub(super) fn read(source: &mut dyn Read, length: Option<u64>) -> Result<Self, Problem> {
        let mut head = [0; 4];
        source.read_exact(&mut head).map_err(cut_off)?;
        let header = if head[0] == 0x93 { npy(source)? } else { idx(head, source)? };
        let numbers = header.shape.iter().try_fold(1usize, |a, b| a.checked_mul(*b));
        let bytes = numbers.and_then(|n| n.checked_mul(header.width)).ok_or("its sizes overflow")?;
        let found = length.map(|l| l.saturating_sub(header.start as u64));
        if bytes == 0 || header.shape.is_empty() {
            return Err(format!("an array of the sizes {:?} holds nothing", header.shape).into());
        }
        match found {
            Some(found) if found > bytes as u64 => Err(format!(
                "it has {found} bytes of numbers, but the sizes {:?} make {bytes}: more than one array may have been saved into it. Save each in a file of its own, or all by np.savez",
                header.shape
            )
            .into()),
            Some(found) if found != bytes as u64 => Err(format!(
                "it has {found} bytes of numbers, but the sizes {:?} make {bytes}; it may be cut off",
                header.shape
            )
            .into()),
            _ => Ok(header),
        }
    }

    #[cfg(not(target_arch = "wasm32"))]
    pub(super) fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Whether it is MNIST's format, in which sizes are those of a list.
    pub(super) fn is_idx(&self) -> bool {
        self.is_idx
    }

    /// Whether every row is one number: a list of labels as much as pictures of one pixel.
    pub(super) fn is_column(&self) -> bool {
        self.shape.len() > 1 && self.shape[1..].iter().all(|n| *n == 1)
    }

    pub(super) fn is_text(&self) -> bool {
        matches!(self.kind, Kind::Bytes | Kind::Unicode)
    }
}

fn cut_off(error: io::Error) -> Problem {
    if error.kind() == io::ErrorKind::UnexpectedEof { "it is cut off".into() } else { error.into() }
}

/// NumPy's format, versions 1 to 3, after its first four bytes.
fn npy(source: &mut dyn Read) -> Result<Header, Problem> {
    let mut head = [0; 6];
    source.read_exact(&mut head).map_err(cut_off)?;
    let (mut length, mut start) = (usize::from(u16::from_le_bytes([head[4], head[5]])), 10);
    if head[2] > 1 {
        let mut high = [0; 2];
        source.read_exact(&mut high).map_err(cut_off)?;
        (length, start) = (length | usize::from(u16::from_le_bytes(high)) << 16, 12);
    }
    if length > MAX_HEADER {
        return Err(format!("its header of {length} bytes is too long").into());
    }
    let mut text = vec![0; length];
    source.read_exact(&mut text).map_err(cut_off)?;
    let text = String::from_utf8(text).map_err(|_| "its header is no text")?;
    let after = |name: &str| {
        let (_, rest) = text.split_once(&format!("'{name}'"))?;
        Some(rest.trim_start().strip_prefix(':')?.trim_start())
    };
    let described = after("descr").ok_or("its header names no type")?;
    let quoted = |q: char| described.strip_prefix(q).and_then(|rest| rest.split(q).next());
    let dtype =
        quoted('\'').or_else(|| quoted('"')).ok_or("it holds records; save the pictures' field alone")?;
    let (kind, width, is_big_endian) = dtype_of(dtype)?;
    let shape = after("shape").and_then(|rest| rest.strip_prefix('(')).ok_or("its header names no shape")?;
    let shape = shape.split(')').next().unwrap_or_default().split(',').map(str::trim);
    let shape: Result<_, ParseIntError> = shape.filter(|s| !s.is_empty()).map(str::parse).collect();
    Ok(Header {
        shape: shape.map_err(|e| match e.kind() {
            IntErrorKind::PosOverflow => "its sizes overflow",
            _ => "its shape is not one",
        })?,
        kind,
        width,
        is_big_endian,
        is_fortran: after("fortran_order").is_some_and(|rest| rest.starts_with("True")),
        start: start + length,
        is_idx: false,
    })
}

/// NumPy's name of a type: byte order, kind, bytes.
fn dtype_of(dtype: &str) -> Result<(Kind, usize, bool), Problem> {
    let unsupported = || format!("its numbers are {dtype:?}; save it as uint8 or float32");
    let mut letters = dtype.trim_start_matches(['<', '>', '|', '=']).chars();
    let is_big_endian = dtype.starts_with('>');
    let letter = letters.next();
    if letter == Some('O') {
        return Err("it holds Python objects; save pictures as uint8 or float32, and labels as whole numbers or, by a.astype(str), as text".into());
    }
    let width: usize = letters.as_str().parse().map_err(|_| unsupported())?;
    let kind = match (letter, width) {
        (Some('b'), 1) => Kind::Bool,
        (Some('u'), 1 | 2 | 4 | 8) => Kind::Unsigned,
        (Some('i'), 1 | 2 | 4 | 8) => Kind::Signed,
        (Some('f'), 2 | 4 | 8) => Kind::Float,
        (Some('S'), 1..=1024) => Kind::Bytes,
        (Some('U'), 1..=256) => return Ok((Kind::Unicode, 4 * width, is_big_endian)),
        _ => return Err(unsupported().into()),
    };
    Ok((kind, width, is_big_endian))
}

/// MNIST's format: two zeros, the type, the number of sizes, the sizes, the numbers, all big-endian.
fn idx(head: [u8; 4], source: &mut dyn Read) -> Result<Header, Problem> {
    let mut sizes = vec![0; 4 * usize::from(head[3])];
    source.read_exact(&mut sizes).map_err(cut_off)?;
    let (kind, width) = match head[2] {
        8 => (Kind::Unsigned, 1),
        9 => (Kind::Signed, 1),
        11 => (Kind::Signed, 2),
        12 => (Kind::Signed, 4),
        13 => (Kind::Float, 4),
        14 => (Kind::Float, 8),
        other => return Err(format!("its numbers are of an unknown type {other}").into()),
    };
    Ok(Header {
        shape: sizes.as_chunks().0.iter().map(|b| u32::from_be_bytes(*b) as usize).collect(),
        kind,
        width,
        is_big_endian: true,
        is_fortran: false,
        start: 4 + sizes.len(),
        is_idx: true,
    })
}

/// An array as it is in its file: numbers are converted when they are asked for.
pub(super) struct Array {
    header: Header,
    bytes: Vec<u8>,
    /// Numbers between neighbours along each size.
    strides: Vec<usize>,
}

impl Array {
    /// `bytes` are the whole file's.
    pub(super) fn new(header: Header, bytes: Vec<u8>) -> Result<Self, Problem> {
        let numbers: usize = header.shape.iter().product();
        if bytes.len() != header.start + numbers * header.width {
            return Err(format!("it does not hold the {numbers} numbers that its sizes make").into());
        }
        let product = |sizes: &[usize]| sizes.iter().product();
        let strides = (0..header.shape.len()).map(|i| {
            if header.is_fortran { product(&header.shape[..i]) } else { product(&header.shape[i + 1..]) }
        });
        Ok(Self { strides: strides.collect(), header, bytes })
    }

    fn stored(&self, number: usize) -> &[u8] {
        let at = self.header.start + number * self.header.width;
        &self.bytes[at..at + self.header.width]
    }

    /// The number at a position in memory.
    fn number(&self, position: usize) -> f64 {
        let stored = self.stored(position);
        if let [byte] = *stored {
            return if self.header.kind == Kind::Signed { f64::from(byte as i8) } else { f64::from(byte) };
        }
        let mut bytes = [0; 8];
        bytes[..stored.len()].copy_from_slice(stored);
        if self.header.is_big_endian {
            bytes[..stored.len()].reverse();
        }
        let [low, high, ..] = bytes;
        let half = u16::from_le_bytes([low, high]);
        let word = u32::from_le_bytes([low, high, bytes[2], bytes[3]]);
        let long = u64::from_le_bytes(bytes);
        match (self.header.kind, stored.len()) {
            (Kind::Float, 2) => half::f16::from_bits(half).to_f64(),
            (Kind::Float, 4) => f64::from(f32::from_bits(word)),
            (Kind::Float, _) => f64::from_bits(long),
            (Kind::Signed, 2) => f64::from(half as i16),
            (Kind::Signed, 4) => f64::from(word as i32),
            (Kind::Signed, _) => long as i64 as f64,
            _ => long as f64,
        }
    }

    fn numbers(&self) -> impl Iterator<Item = f64> + '_ {
        (0..self.header.shape.iter().product()).map(|i| self.number(i))
    }

    /// Its numbers in the order of its sizes.
    ///
    /// # Errors
    /// Says that they are stored in another one.
    #[cfg(not(target_arch = "wasm32"))]
    pub(super) fn in_order(&self) -> Result<impl Iterator<Item = f64> + '_, Problem> {
        if self.header.is_fortran {
            return Err("its numbers are in Fortran's order; save np.ascontiguousarray of it".into());
        }
        Ok(self.numbers())
    }

    /// What its numbers are, to decide what is black and what is white.
    pub(super) fn range(&self) -> Result<Range, Problem> {
        let mut range = Range::new(&self.header);
        for number in self.numbers() {
            if !number.is_finite() {
                return Err("it holds numbers that are not finite".into());
            }
            range.least = range.least.min(number);
            range.most = range.most.max(number);
        }
        Ok(range)
    }

    /// The picture of an index in a list of them; `grey` makes a byte of a number.
    pub(super) fn picture(&self, layout: &Layout, index: usize, scale: Scale) -> Picture {
        let Layout { height, width, channels, .. } = *layout;
        let stride = |axis: Option<usize>| axis.map_or(0, |a| self.strides[a]);
        let [image, row, column, channel] = layout.axes.map(stride);
        let mut pixels = Vec::with_capacity(height * width * channels);
        for y in 0..height {
            for x in 0..width {
                for c in 0..channels {
                    let position = index * image + y * row + x * column + c * channel;
                    pixels.push(scale.byte(self.number(position)));
                }
            }
        }
        Picture::new(width, height, channels, pixels)
    }

    /// Its rows as classes: numbers, texts, or one-hot rows.
    ///
    /// # Errors
    /// Says why they are none of these.
    pub(super) fn classes(&self) -> Result<Vec<Class>, String> {
        const NEITHER: &str = "as labels, its rows are neither whole numbers nor text nor one-hot";
        let count = self.header.shape[0];
        let columns: usize = self.header.shape[1..].iter().product();
        let strides = (self.strides[0], self.strides.last().copied().unwrap_or(1));
        if columns == 1 {
            let class = |i: usize| {
                let found = || format!("{NEITHER}: label {i} is {}", short(self.number(i * strides.0)));
                self.class(i * strides.0).ok_or_else(found)
            };
            return (0..count).map(class).collect();
        }
        let hot = |row: usize| {
            let mut found = None;
            for column in 0..columns {
                match self.number(row * strides.0 + column * strides.1) {
                    0.0 => {}
                    1.0 if found.is_none() => found = Some(column as i64),
                    _ => return None,
                }
            }
            found.map(Class::Number)
        };
        let rows = if self.header.is_text() || self.header.shape.len() > 2 {
            None
        } else {
            (0..count).map(hot).collect()
        };
        rows.ok_or_else(|| NEITHER.to_owned())
    }

    fn class(&self, position: usize) -> Option<Class> {
        if self.header.is_text() {
            return Some(Class::named(&self.text(position)));
        }
        let number = self.number(position);
        (number.fract() == 0.0 && number.abs() < 9e15).then_some(Class::Number(number as i64))
    }

    fn text(&self, position: usize) -> String {
        let stored = self.stored(position);
        let code = |b: &[u8; 4]| {
            if self.header.is_big_endian { u32::from_be_bytes(*b) } else { u32::from_le_bytes(*b) }
        };
        let letter = |b: &[u8; 4]| char::from_u32(code(b)).unwrap_or(char::REPLACEMENT_CHARACTER);
        let text: String = if self.header.kind == Kind::Unicode {
            stored.as_chunks::<4>().0.iter().map(letter).collect()
        } else {
            super::names::text(stored)
        };
        text.trim_end_matches('\0').to_owned()
    }
}

/// Where the pictures of an array are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    /// How many pictures there are, where the array is a list of them.
    pub(super) count: Option<usize>,
    pub(super) height: usize,
    pub(super) width: usize,
    pub(super) channels: usize,
    /// The sizes' positions: of pictures, rows, columns and channels.
    axes: [Option<usize>; 4],
}

impl Layout {
    /// Understands sizes, or asks what they are. `together` is how many arrays of these sizes lie in one folder, and
    /// `is_list` whether
    /// it is known to be a list of pictures, as labels beside it say that are as many.
    pub(super) fn of(shape: &[usize], together: usize, is_list: bool) -> Result<Self, Problem> {
        // A picture's sides, where the array may be two things.
        const LEAST: usize = 4;
        const LONGEST: usize = 16; // times the shorter one
        let is_colour = |n: usize| matches!(n, 1 | 3 | 4);
        // Whether so many numbers may be a square picture that was flattened.
        let is_flat = |n: usize| [1, 3, 4].iter().any(|c| n.is_multiple_of(*c) && side(n / c) >= LEAST);
        let ask = |question: String| Err(Problem::End(question));
        let layout = |count, [height, width, channels]: [usize; 3], axes| Self {
            count,
            height,
            width,
            channels,
            axes,
        };
        let single = |sizes, [row, column, channel]: [Option<usize>; 3]| {
            layout(None, sizes, [None, row, column, channel])
        };
        match *shape {
            [h, w]
                if !is_list
                    && (h == w || !is_flat(h) && !is_flat(w))
                    && (together > 1 || h.max(w) <= 4 * h.min(w)) =>
            {
                Ok(single([h, w, 1], [Some(0), Some(1), None]))
            }
            [n, length] => {
                let sides = match side(length) {
                    0 if is_flat(length) => "height, width, channels".to_owned(),
                    0 => "height, width".to_owned(),
                    side => format!("{side}, {side}"),
                };
                ask(format!(
                    "sizes of {shape:?}: is it one picture, or {n} pictures of {length} numbers each? For a list, save a.reshape({n}, {sides}); for one picture, a[..., None]"
                ))
            }
            [a, _, c] if is_colour(a) && is_colour(c) && a > 1 => ask(question(shape)),
            [h, w, c] if is_colour(c) && h.min(w) >= LEAST && h.max(w) <= LONGEST * h.min(w) && !is_list => {
                Ok(single([h, w, c], [Some(0), Some(1), Some(2)]))
            }
            [c, h, w] if is_colour(c) && c > 1 && together > 1 && !is_list => {
                Ok(single([h, w, c], [Some(1), Some(2), Some(0)]))
            }
            [c, h, w] if is_colour(c) && c > 1 && !is_list && h.min(w) >= LEAST => ask(format!(
                "sizes of {shape:?}: is it one picture of {c} channels, or {c} pictures in grey? Save a[None] for one, a[..., None] for {c}"
            )),
            [n, h, w] => Ok(layout(Some(n), [h, w, 1], [Some(0), Some(1), Some(2), None])),
            [n, a, b, c] => {
                let first = (is_colour(a), b.min(c) >= LEAST);
                let last = (is_colour(c), a.min(b) >= LEAST);
                let planar = layout(Some(n), [b, c, a], [Some(0), Some(2), Some(3), Some(1)]);
                let interleaved = layout(Some(n), [a, b, c], [Some(0), Some(1), Some(2), Some(3)]);
                match (first, last) {
                    ((true, _), (false, _)) | ((true, true), (true, false)) => Ok(planar),
                    ((false, _), (true, _)) | ((true, false), (true, true)) => Ok(interleaved),
                    ((true, _), (true, _)) => ask(question(shape)),
                    _ => Err(format!(
                        "sizes of {shape:?}: neither the second nor the last is 1, 3 or 4 channels"
                    )
                    .into()),
                }
            }
            _ => Err(format!("an array of the sizes {shape:?} is no list of pictures").into()),
        }
    }
}

/// The side of a square of so many pixels; 0 where there is none.
fn side(pixels: usize) -> usize {
    let side = pixels.isqrt();
    if side * side == pixels { side } else { 0 }
}

fn question(shape: &[usize]) -> String {
    format!(
        "sizes of {shape:?}: do the channels come first or last? Save it as (pictures, height, width, channels)"
    )
}

/// The question about numbers that may be on several scales.
pub(super) const WHICH: &str =
    "which is black and which white? Save it with numbers from 0 to 1, or as uint8 from 0 to 255";

/// What the numbers of arrays of one type are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Range {
    kind: Kind,
    width: usize,
    is_idx: bool,
    least: f64,
    most: f64,
}

/// How a number becomes a byte, from 0 for black to 255 for white.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Scale {
    add: f64,
    times: f64,
}

impl Scale {
    fn byte(self, number: f64) -> u8 {
        ((number + self.add) * self.times).round().clamp(0.0, 255.0) as u8
    }
}

impl Range {
    fn new(header: &Header) -> Self {
        let Header { kind, width, is_idx, .. } = *header;
        Self { kind, width, is_idx, least: f64::INFINITY, most: f64::NEG_INFINITY }
    }

    /// Whether arrays of both ranges are on one scale: one alone may not show it.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        let alike = self.width == other.width || self.kind == Kind::Float;
        alike && (self.kind, self.is_idx) == (other.kind, other.is_idx)
    }

    /// Whether an array is plausible on the scale of all. Where its numbers are from 0 to 1, and others much larger, it would become
    /// black; a single picture of bytes may be.
    pub(super) fn is_within(&self, all: &Self, is_list: bool) -> bool {
        let is_small = |range: &Self| range.most <= 1.001;
        let may_be_black = self.is_idx || self.kind != Kind::Float && !is_list || self.most <= 0.0;
        may_be_black || !is_small(self) || is_small(all)
    }

    /// The least and the greatest number.
    pub(super) fn words(&self) -> String {
        format!("{} to {}", short(self.least), short(self.most))
    }

    pub(super) fn join(&mut self, other: &Self) {
        self.least = self.least.min(other.least);
        self.most = self.most.max(other.most);
    }

    /// What is black and what is white, with words for it, or a question where that is not to be seen.
    pub(super) fn scale(&self) -> Result<(Scale, String), String> {
        let Self { kind, width, least, most, .. } = *self;
        let range = self.words();
        let scale = |add: f64, times: f64, words: &str| Ok((Scale { add, times }, words.to_owned()));
        let bytes = || scale(0.0, 1.0, &format!("bytes from {range} of 0 to 255"));
        let is_binary = least >= 0.0 && most == 1.0;
        // Rounding may leave numbers a little outside.
        let within = |low: f64, high: f64| least >= low - 1e-3 && most <= high + 1e-3;
        // So few steps are rather those of another scale, or numbers of classes, than nearly black pictures.
        let is_narrow = within(-16.0, 16.0) && !within(-1.0, 1.0) && least < most;
        match kind {
            Kind::Bool => scale(0.0, 255.0, "true is white"),
            Kind::Unsigned if self.is_idx => bytes(),
            Kind::Unsigned | Kind::Signed if is_binary => scale(0.0, 255.0, "0 is black, 1 is white"),
            Kind::Unsigned | Kind::Signed if within(0.0, 255.0) && !is_narrow => bytes(),
            Kind::Unsigned | Kind::Signed if within(-1.0, 1.0) => {
                scale(1.0, 127.5, "-1 is black, 1 is white")
            }
            Kind::Signed if width == 1 && !is_narrow => scale(128.0, 1.0, "-128 is black, 127 is white"),
            Kind::Unsigned | Kind::Signed if within(0.0, 65_535.0) && !is_narrow => {
                let white = [1023.0, 4095.0, 65_535.0].into_iter().find(|w| most <= *w).unwrap_or(65_535.0);
                scale(0.0, 255.0 / white, &format!("{range}, of which 0 is black and {white} white"))
            }
            Kind::Float if within(0.0, 1.0) && !(least < most && most <= 0.004) => {
                scale(0.0, 255.0, &format!("{range}, of which 0 is black and 1 white"))
            }
            // From -0.5 to 0.5 is another scale, and a little below 0 are what filters leave.
            Kind::Float if within(-1.0, 1.0) && least < -0.75 && most > 0.0 => {
                scale(1.0, 127.5, &format!("{range}, of which -1 is black and 1 white"))
            }
            // Up to 100 may be per cent.
            Kind::Float if within(0.0, 255.0) && most > 128.0 => {
                scale(0.0, 1.0, &format!("{range}, of which 0 is black and 255 white"))
            }
            _ => Err(format!("its numbers go from {range}: {WHICH}")),
        }
    }
}

/// A number for messages.
fn short(number: f64) -> String {
    if number.fract() == 0.0 { format!("{number}") } else { format!("{number:.3}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn npy_bytes(header: &str, data: &[u8]) -> Vec<u8> {
        [b"\x93NUMPY\x01\0", &(header.len() as u16).to_le_bytes()[..], header.as_bytes(), data].concat()
    }

    fn array(descr: &str, shape: &str, data: &[u8]) -> Result<Array, Problem> {
        let dict = format!("{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}");
        read(&npy_bytes(&dict, data))
    }

    fn read(file: &[u8]) -> Result<Array, Problem> {
        Array::new(Header::read(&mut &file[..], Some(file.len() as u64))?, file.to_vec())
    }

    #[test]
    fn every_number_that_numpy_writes_is_read() {
        let one = |descr: &str, bytes: &[u8]| array(descr, "(1,)", bytes).unwrap().number(0);
        assert_eq!(one("'|b1'", &[1]), 1.0);
        assert_eq!(one("'u1'", &[200]), 200.0);
        assert_eq!(one("'=i2'", &[1, 2]), 513.0);
        assert_eq!(one("'|u1'", &[200]), 200.0);
        assert_eq!(one("'|i1'", &[200]), -56.0);
        assert_eq!(one("'<u2'", &[1, 2]), 513.0);
        assert_eq!(one("'>u2'", &[1, 2]), 258.0);
        assert_eq!(one("'<i2'", &[0xFF, 0xFF]), -1.0);
        assert_eq!(one("'>i4'", &[0xFF, 0xFF, 0xFF, 0xFE]), -2.0);
        assert_eq!(one("'<u8'", &[7, 0, 0, 0, 0, 0, 0, 0]), 7.0);
        assert_eq!(one("'>i8'", &(-9i64).to_be_bytes()), -9.0);
        assert_eq!(one("'<f2'", &[0, 0x3C]), 1.0);
        assert_eq!(one("'>f2'", &[0xC0, 0]), -2.0);
        assert_eq!(one("'>f4'", &1.5f32.to_be_bytes()), 1.5);
        assert_eq!(one("'<f8'", &2.5f64.to_le_bytes()), 2.5);
        for refused in ["'<c8'", "'|O'", "[('a', '<i4')]", "'<M8[ns]'", "'<f16'"] {
            assert!(array(refused, "(1,)", &[0; 16]).is_err(), "{refused}");
        }
    }

    #[test]
    fn damaged_ones_are_refused_at_their_header() {
        let good =
            npy_bytes("{'descr': '|u1', 'fortran_order': False, 'shape': (2, 3)}", &[1, 2, 3, 4, 5, 6]);
        for cut in 0..good.len() {
            assert!(read(&good[..cut]).is_err(), "{cut}");
        }
        for shape in
            ["(4294967296, 4294967296, 4)", "(18446744073709551615,)", "(0, 4)", "(1000000,)", "(-1,)", "(6,"]
        {
            assert!(array("'|u1'", shape, &[0; 5]).is_err(), "{shape}");
        }
        let pictures = [&[0, 0, 8, 3][..], &[0xFF; 12], &[0; 100]].concat();
        assert!(read(&pictures).is_err());
        assert!(read(&[0x93, b'N', b'U', b'M', b'P', b'Y', 2, 0, 0xFF, 0xFF, 0xFF, 0xFF]).is_err());
    }

    #[test]
    fn fortran_order_is_only_another_order() {
        let dict = "{'descr': '|u1', 'fortran_order': True, 'shape': (1, 2, 3)}";
        let fortran = read(&npy_bytes(dict, &[1, 4, 2, 5, 3, 6])).unwrap();
        let plain = array("'|u1'", "(1, 2, 3)", &[1, 2, 3, 4, 5, 6]).unwrap();
        let layout = Layout::of(&[1, 2, 3], 1, true).unwrap();
        let same = Scale { add: 0.0, times: 1.0 };
        assert_eq!(fortran.picture(&layout, 0, same), plain.picture(&layout, 0, same));
        assert_eq!(plain.picture(&layout, 0, same).pixels, [1, 2, 3, 4, 5, 6]);
    }

    #[test]
    fn sizes_are_understood_or_asked_about() {
        let of = |shape: &[usize]| {
            Layout::of(shape, 1, false).map(|l| (l.count, l.height, l.width, l.channels)).ok()
        };
        assert_eq!(of(&[64, 64, 3]), Some((None, 64, 64, 3)));
        assert_eq!(of(&[256, 256, 1]), Some((None, 256, 256, 1)));
        assert_eq!(of(&[60, 50]), Some((None, 60, 50, 1)));
        assert_eq!(of(&[64, 64]), Some((None, 64, 64, 1)));
        assert_eq!(of(&[30, 16, 17]), Some((Some(30), 16, 17, 1)));
        assert_eq!(of(&[1, 16, 17]), Some((Some(1), 16, 17, 1)));
        assert_eq!(of(&[1000, 4, 4]), Some((Some(1000), 4, 4, 1)));
        assert_eq!(of(&[5, 3, 8, 9]), Some((Some(5), 8, 9, 3)));
        assert_eq!(of(&[5, 8, 9, 4]), Some((Some(5), 8, 9, 4)));
        assert_eq!(of(&[5, 1, 28, 28]), Some((Some(5), 28, 28, 1)));
        assert_eq!(of(&[5, 4, 4, 1]), Some((Some(5), 4, 4, 1)));
        for asked in [
            &[3, 64, 64][..],
            &[1797, 64],
            &[5, 3, 8, 3],
            &[3, 3, 3],
            &[300, 784],
            &[20, 64],
            &[300, 3072],
            &[784, 300],
        ] {
            assert!(matches!(Layout::of(asked, 1, false), Err(Problem::End(_))), "{asked:?}");
            assert_eq!(of(asked), None, "{asked:?}");
        }
        for refused in [&[5, 8, 9, 2][..], &[2, 2, 2, 2, 2]] {
            assert!(matches!(Layout::of(refused, 1, false), Err(Problem::Skip(_))), "{refused:?}");
        }
        assert!(Layout::of(&[300, 784], 5, false).is_err(), "several lists of flat pictures");
        assert!(Layout::of(&[60, 50], 1, true).is_err(), "60 labels beside it");
        assert_eq!(Layout::of(&[3, 64, 64], 2, false).unwrap().channels, 3, "one picture a file");
        assert_eq!(Layout::of(&[3, 64, 64], 1, true).unwrap().count, Some(3), "three labels beside it");
    }

    #[test]
    fn black_and_white_are_found_or_asked_about() {
        let scaled = |kind, width, least, most, at: f64| {
            let range = Range { kind, width, is_idx: false, least, most };
            range.scale().map(|(scale, _)| scale.byte(at)).ok()
        };
        assert_eq!(scaled(Kind::Bool, 1, 0.0, 1.0, 1.0), Some(255));
        assert_eq!(scaled(Kind::Unsigned, 1, 0.0, 1.0, 1.0), Some(255));
        assert_eq!(scaled(Kind::Unsigned, 1, 3.0, 40.0, 40.0), Some(40));
        assert_eq!(scaled(Kind::Signed, 8, 0.0, 255.0, 200.0), Some(200));
        assert_eq!(scaled(Kind::Unsigned, 2, 0.0, 65_535.0, 257.0), Some(1));
        assert_eq!(scaled(Kind::Unsigned, 2, 0.0, 4000.0, 4095.0), Some(255));
        assert_eq!(scaled(Kind::Signed, 2, -1.0, 1.0, -1.0), Some(0));
        assert_eq!(scaled(Kind::Signed, 2, -500.0, 500.0, 0.0), None);
        assert_eq!(scaled(Kind::Unsigned, 1, 7.0, 7.0, 7.0), Some(7));
        assert_eq!(scaled(Kind::Signed, 1, -128.0, 127.0, 0.0), Some(128));
        assert_eq!(scaled(Kind::Float, 4, 0.0, 1.0, 0.5), Some(128));
        assert_eq!(scaled(Kind::Float, 2, -1.0, 0.9, 0.0), Some(128));
        assert_eq!(scaled(Kind::Float, 8, 0.0, 254.5, 100.0), Some(100));
        for (kind, least, most) in [
            (Kind::Float, 0.0, 16.0),
            (Kind::Float, -3.0, 3.0),
            (Kind::Float, 0.0, 1e9),
            (Kind::Float, -0.5, 0.5),
            (Kind::Float, -0.02, 0.98),
            (Kind::Float, 0.0, 100.0),
            (Kind::Float, 0.0, 1.0 / 255.0),
            (Kind::Unsigned, 0.0, 16.0),
            (Kind::Unsigned, 0.0, 2.0),
            (Kind::Signed, 0.0, 15.0),
            (Kind::Signed, -8.0, 7.0),
        ] {
            assert_eq!(scaled(kind, 4, least, most, 0.0), None, "{kind:?} {least} {most}");
            assert_eq!(scaled(kind, 1, least, most, 0.0), None, "{kind:?} {least} {most}");
        }
    }

    #[test]
    fn labels_are_numbers_texts_or_one_hot() {
        let classes =
            |descr: &str, shape: &str, data: &[u8]| array(descr, shape, data).unwrap().classes().ok();
        let numbers = |n: &[i64]| Some(n.iter().map(|n| Class::Number(*n)).collect::<Vec<_>>());
        let named = |n: &[&str]| Some(n.iter().map(|n| Class::Name((*n).to_owned())).collect::<Vec<_>>());
        assert_eq!(classes("'|u1'", "(3,)", &[2, 0, 2]), numbers(&[2, 0, 2]));
        assert_eq!(classes("'|u1'", "(3, 1)", &[2, 0, 2]), numbers(&[2, 0, 2]));
        assert_eq!(classes("'|u1'", "(3, 1, 1)", &[2, 0, 2]), numbers(&[2, 0, 2]));
        assert_eq!(classes("'|b1'", "(2, 3)", &[0, 0, 1, 1, 0, 0]), numbers(&[2, 0]));
        let floats: Vec<u8> = [1.0f32, 7.0].iter().flat_map(|v| v.to_le_bytes()).collect();
        assert_eq!(classes("'<f4'", "(2,)", &floats), numbers(&[1, 7]));
        assert_eq!(classes("'<f4'", "(1,)", &1.5f32.to_le_bytes()), None);
        assert_eq!(classes("'|u1'", "(2, 2)", &[1, 1, 0, 1]), None);
        assert_eq!(classes("'|S3'", "(2,)", b"cat\0\0\0"), Some(vec![Class::named("cat"), Class::Unknown]));
        let text: Vec<u8> = "ab猫\0".chars().flat_map(|c| (c as u32).to_le_bytes()).collect();
        assert_eq!(classes("'<U2'", "(2,)", &text), named(&["ab", "猫"]));
    }
}
