//! ZIP archives, read in place: names first, then only the entries that are wanted.

use std::io::{self, BufReader, Read};

use super::names;
use super::source::{Section, Source};
use crate::budget::Budget;

/// A file in an archive.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) name: String,
    /// Its bytes, unpacked, by what the directory says.
    pub(super) size: u64,
    packed: u64,
    at: u64,
    method: u16,
    flags: u16,
    crc: u32,
}

const END: u32 = 0x0605_4b50;
const END64: u32 = 0x0606_4b50;
const LOCATOR64: u32 = 0x0706_4b50;
const ENTRY: u32 = 0x0201_4b50;
const LOCAL: u32 = 0x0403_4b50;
const END_SIZE: u64 = 22;
const ENTRY_SIZE: usize = 46;
const LOCAL_SIZE: u64 = 30;
/// What an entry takes in memory beside its name, at least.
const ENTRY_MEMORY: u64 = 160;

/// Whether bytes begin as a ZIP archive does.
pub(super) fn is_archive(head: &[u8]) -> bool {
    head.starts_with(b"PK\x03\x04") || head.starts_with(b"PK\x05\x06")
}

/// The files in an archive, but for its folders. What they take is counted in the budget for good.
///
/// # Errors
/// Where the archive is damaged, two of its files share bytes, or it has too many.
pub(super) fn entries(source: &dyn Source, budget: &Budget) -> io::Result<Vec<Entry>> {
    let size = source.size();
    let start = size.saturating_sub(END_SIZE + 0xFFFF);
    let tail = bytes(source, start, size - start)?;
    let end = (0..tail.len().saturating_sub(END_SIZE as usize - 1)).rfind(|at| u32_at(&tail, *at) == END);
    let end = end.ok_or_else(|| damaged("it has no directory; it may be cut off"))?;
    let (mut length, mut offset) = (u64::from(u32_at(&tail, end + 12)), u64::from(u32_at(&tail, end + 16)));
    let mut end_at = start + end as u64;
    if let Some(at) = end.checked_sub(20).filter(|at| u32_at(&tail, *at) == LOCATOR64) {
        let found = bytes(source, u64_at(&tail, at + 8), 56)?;
        if found.len() == 56 && u32_at(&found, 0) == END64 {
            end_at = u64_at(&tail, at + 8);
            (length, offset) = (u64_at(&found, 40), u64_at(&found, 48));
        }
    }
    // Where something stands before the archive, such as a program that unpacks it, all offsets are that much greater.
    let directory_at = end_at.checked_sub(length);
    let before = directory_at.and_then(|at| at.checked_sub(offset));
    let (Some(directory_at), Some(before)) = (directory_at, before) else {
        return Err(damaged("it is cut off"));
    };
    let _held = budget.hold(length)?;
    let directory = bytes(source, directory_at, length)?;
    let mut entries = Vec::new();
    let mut rest = &directory[..];
    while rest.len() >= ENTRY_SIZE && u32_at(rest, 0) == ENTRY {
        let u16 = |at| usize::from(u16_at(rest, at));
        let (name, extra, comment) = (u16(28), u16(30), u16(32));
        let Some(variable) = rest.get(ENTRY_SIZE..ENTRY_SIZE + name + extra + comment) else { break };
        let [size, packed, at] = sizes(rest, &variable[name..name + extra]);
        budget.keep(ENTRY_MEMORY + 4 * name as u64)?;
        let entry = Entry {
            name: names::entry(&variable[..name], &variable[name..name + extra]),
            size,
            packed,
            at: at.saturating_add(before),
            method: u16_at(rest, 10),
            flags: u16_at(rest, 8),
            crc: u32_at(rest, 16),
        };
        let least = LOCAL_SIZE + name as u64;
        entries.push((entry.at, entry.at.saturating_add(least).saturating_add(packed), entry));
        rest = &rest[ENTRY_SIZE + variable.len()..];
    }
    if !rest.is_empty() && (rest.len() < 4 || u32_at(rest, 0) == ENTRY || entries.is_empty()) {
        return Err(damaged("its directory is damaged"));
    }
    entries.sort_by_key(|(at, _, _)| *at);
    let ends = entries.iter().skip(1).map(|(at, _, _)| *at).chain([directory_at]);
    if entries.iter().zip(ends).any(|((_, end, _), limit)| *end > limit) {
        return Err(damaged("files in it overlap"));
    }
    Ok(entries.into_iter().map(|(_, _, entry)| entry).filter(|e| !e.name.ends_with('/')).collect())
}

/// Unpacked size, packed size and offset, from the field for 64 bits where the directory's have no room for them.
fn sizes(record: &[u8], mut extra: &[u8]) -> [u64; 3] {
    let mut sizes = [24, 20, 42].map(|at| u64::from(u32_at(record, at)));
    while let [a, b, c, d, rest @ ..] = extra {
        let length = usize::from(u16::from_le_bytes([*c, *d])).min(rest.len());
        if u16::from_le_bytes([*a, *b]) == 1 {
            let wide = sizes.iter_mut().filter(|s| **s == u64::from(u32::MAX));
            for (size, bytes) in wide.zip(rest[..length].as_chunks::<8>().0) {
                *size = u64::from_le_bytes(*bytes);
            }
        }
        extra = &rest[length..];
    }
    sizes
}

/// The unpacked bytes of an entry. The end is an error where they are not what the directory says.
///
/// # Errors
/// Where it is encrypted, or compressed in another way than deflate.
pub(super) fn open<'a>(source: &'a dyn Source, entry: &Entry) -> io::Result<Box<dyn Read + 'a>> {
    if entry.flags & 1 != 0 {
        return Err(damaged("it is encrypted"));
    }
    let header = bytes(source, entry.at, LOCAL_SIZE)?;
    if header.len() < LOCAL_SIZE as usize || u32_at(&header, 0) != LOCAL {
        return Err(damaged("the archive is damaged"));
    }
    let start = entry.at + LOCAL_SIZE + u64::from(u16_at(&header, 26)) + u64::from(u16_at(&header, 28));
    let packed = Section::new(source, start, entry.packed);
    let unpacked: Box<dyn Read + 'a> = match entry.method {
        0 => Box::new(packed),
        8 => Box::new(flate2::bufread::DeflateDecoder::new(BufReader::with_capacity(1 << 15, packed))),
        method => {
            let name = match method {
                9 => "Deflate64",
                12 => "bzip2",
                14 => "LZMA",
                93 => "zstd",
                95 => "xz",
                _ => "another way",
            };
            return Err(damaged(&format!(
                "it is packed by {name}, and only deflate is read. Unpack the archive and choose the folder, or make the ZIP with deflate"
            )));
        }
    };
    Ok(Box::new(Verified { unpacked, crc: flate2::Crc::new(), expected: (entry.crc, entry.size) }))
}

/// Compares what was read with what it should be, at its end.
struct Verified<'a> {
    unpacked: Box<dyn Read + 'a>,
    crc: flate2::Crc,
    expected: (u32, u64),
}

impl Read for Verified<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.unpacked.read(buffer)?;
        self.crc.update(&buffer[..read]);
        // `amount` counts modulo 2^32.
        let found = (self.crc.sum(), self.crc.amount());
        if read == 0 && !buffer.is_empty() && found != (self.expected.0, self.expected.1 as u32) {
            return Err(damaged("the archive is damaged: its bytes are not those that were packed"));
        }
        Ok(read)
    }
}

fn damaged(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

/// Bytes from `at` on, fewer where the source ends. Callers have bounded the length.
fn bytes(source: &dyn Source, at: u64, length: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    Section::new(source, at, length).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}
