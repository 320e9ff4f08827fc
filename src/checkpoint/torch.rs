//! Files that `torch.save` wrote, read as their bytes arrive.
//!
//! Such a file is a ZIP archive without compression: first `data.pkl`, a pickle that describes the tensors
//! ([`super::pickle`]), then a record `data/<key>` for each run of numbers that they view. PyTorch leaves the records'
//! sizes out of their heads and writes them behind the records; the pickle has told them by then. So each run goes
//! straight into its own allocation, and most become a tensor without a copy. What an archive says of itself in its
//! directory, at the end, has to agree with what was read.

use crate::sort::twice;

use super::pickle::{self, StateDict, TORCH_SCRIPT, View};
use super::weights::Tensor;
use super::weights_file::{MAX_RANK, MAX_TENSORS, append, foreign, out_of_memory};
use crate::error::{Error, Result};
use crate::text::name as short;

const LEGACY: &str = "it is in the format that PyTorch wrote before version 1.6. In Python, \
    `torch.save(torch.load(file, weights_only=True), file)` writes today's";

/// More bytes than any pickle of weights has.
const MAX_PICKLE: usize = 16 << 20;
/// More bytes than the other records have that no tensor views: a version, a byte order, a checksum.
const MAX_NOTE: usize = 1 << 20;
/// A record for each tensor, and the notes.
const MAX_RECORDS: usize = MAX_TENSORS + 16;
/// Bytes of the shortest structure; no archive is shorter.
const SIGNATURE: usize = 4;
/// Bytes that tell the kinds of files apart.
const FIRST: usize = 9;

/// Whether files in PyTorch's own format are read. A page's smaller module leaves that to the larger one.
pub(super) const READS_TORCH: bool = cfg!(feature = "torch");

/// Whether a file of this name is in PyTorch's own format.
pub(super) fn is_torch_file(name: &str) -> bool {
    name.ends_with(".bin")
}

/// What becomes of a record's bytes.
#[derive(Clone, Copy, PartialEq)]
enum Purpose {
    Pickle,
    ByteOrder,
    /// Index of the storage.
    Storage(usize),
    Nothing,
}

enum Part {
    /// A head, an entry of the directory, or the archive's end.
    Structure,
    /// A record with this many bytes to come, and whether its sizes follow it.
    Body { purpose: Purpose, size: usize, left: usize, footer: bool },
    /// A record whose end is where its size stands.
    Open(Purpose),
    /// The size of the record that is over.
    Footer(usize),
    /// Nothing more may come.
    End,
}

struct Record {
    name: String,
    offset: u64,
    size: u64,
}

pub(super) struct TorchReader {
    file: String,
    part: Part,
    /// Bytes of a structure or of a small record that is not complete.
    pending: Vec<u8>,
    /// How many of them are needed before there is anything to see.
    wanted: usize,
    /// Bytes of the file that came before `pending` and are done with.
    done: u64,
    /// The archive's folder, with its slash.
    folder: String,
    records: Vec<Record>,
    /// How many of the records the directory has named.
    listed: usize,
    weights: Option<StateDict>,
    /// Whether nobody has seen yet which they are.
    is_new: bool,
    /// The storages' bytes, of those that have begun.
    storages: Vec<Option<Vec<u8>>>,
}

impl TorchReader {
    pub(super) fn new(file: &str) -> Self {
        Self {
            file: file.to_owned(),
            part: Part::Structure,
            pending: Vec::new(),
            wanted: FIRST,
            done: 0,
            folder: String::new(),
            records: Vec::new(),
            listed: 0,
            weights: None,
            is_new: false,
            storages: Vec::new(),
        }
    }

    fn problem(&self, problem: impl Into<String>) -> Error {
        Error::Torch { file: self.file.clone(), problem: problem.into() }
    }

    /// What is wrong with the newest record.
    fn record_problem(&self, problem: &str) -> Error {
        let name = self.records.last().map_or("", |record| &record.name);
        self.problem(format!("its record `{}` {problem}", short(name)))
    }

    /// Reads the next bytes of a file that has so many, if that is known; returns how many it has not read because the
    /// tensors are known now, of which some may be wanted only: see [`Self::described`].
    pub(super) fn push(&mut self, mut bytes: &[u8], announced: Option<u64>) -> Result<usize> {
        while !bytes.is_empty() && !self.is_new {
            match self.part {
                Part::Structure | Part::Footer(_) => {
                    let n = bytes.len().min(self.wanted.saturating_sub(self.pending.len()));
                    self.pending.extend_from_slice(&bytes[..n]);
                    bytes = &bytes[n..];
                    if self.pending.len() < self.wanted {
                        return Ok(0);
                    }
                }
                Part::Body { purpose, size, ref mut left, footer } => {
                    let n = bytes.len().min(*left);
                    *left -= n;
                    let over = *left == 0;
                    self.store(purpose, &bytes[..n], size)?;
                    bytes = &bytes[n..];
                    if over {
                        self.end_record(purpose, size, footer, announced)?;
                    }
                    continue;
                }
                Part::Open(purpose) => {
                    let before = self.pending.len();
                    self.pending.extend_from_slice(bytes);
                    let found = find_footer(&self.pending, before);
                    let limit = if purpose == Purpose::Pickle { MAX_PICKLE } else { MAX_NOTE };
                    if found.map_or(self.pending.len(), |(size, _)| size) > limit {
                        return Err(self.record_problem(&format!("has more than {limit} bytes")));
                    }
                    let Some((size, end)) = found else { return Ok(0) };
                    // What ends the record came with these bytes, as it was not found before.
                    bytes = &bytes[bytes.len() - (self.pending.len() - end)..];
                    self.pending.truncate(size);
                    self.done += (end - size) as u64;
                    self.end_record(purpose, size, false, announced)?;
                    continue;
                }
                Part::End => return Err(self.problem("bytes follow the end of its archive")),
            }
            self.structure(announced)?;
        }
        Ok(bytes.len())
    }

    /// The tensors, once, as soon as they are known.
    pub(super) fn described(&mut self) -> Option<&[View]> {
        let is_new = std::mem::take(&mut self.is_new);
        self.weights.as_ref().filter(|_| is_new).map(|weights| &weights.tensors[..])
    }

    /// Keeps those of the tensors that have a name here, under that name.
    pub(super) fn keep(&mut self, names: Vec<Option<String>>) {
        let Some(StateDict { storages, tensors }) = &mut self.weights else { return };
        let mut names = names.into_iter();
        tensors.retain_mut(|view| match names.next().flatten() {
            Some(name) => {
                view.name = name;
                true
            }
            None => false,
        });
        storages.iter_mut().for_each(|storage| storage.needed = false);
        tensors.iter().for_each(|view| storages[view.storage].needed = true);
    }

    /// Ends the file: its tensors.
    pub(super) fn finish(&mut self) -> Result<Vec<(String, Tensor)>> {
        let received = self.done + self.pending.len() as u64;
        let Some(weights) = self.weights.take().filter(|_| matches!(self.part, Part::End)) else {
            let problem = if received == 0 {
                "it is empty".to_owned()
            } else {
                format!("it ends after {received} bytes, before its end")
            };
            return Err(self.problem(problem));
        };
        if let Some(name) = twice(self.records.iter().map(|record| record.name.as_str()).collect()) {
            return Err(self.problem(format!("its record `{}` is there twice", short(name))));
        }
        let mut tensors = Vec::with_capacity(weights.tensors.len());
        let mut views = weights.tensors.into_iter().peekable();
        for (at, (storage, bytes)) in weights.storages.iter().zip(&mut self.storages).enumerate() {
            if !storage.needed {
                continue;
            }
            let Some(bytes) = bytes.take() else {
                return Err(self.problem(format!("it has no record `data/{}`", short(&storage.key))));
            };
            let of_storage = |view: &View| view.storage == at;
            let Some(first) = views.next_if(of_storage) else { continue };
            let tensor =
                |view: View, bytes| (view.name, Tensor { dtype: storage.dtype, shape: view.shape, bytes });
            let whole = first.is_contiguous() && first.elements() * storage.width == bytes.len();
            if whole && !views.peek().is_some_and(of_storage) {
                tensors.push(tensor(first, bytes));
                continue;
            }
            let mut view = Some(first);
            while let Some(one) = view {
                let copy = gather(&bytes, storage.width, &one)?;
                tensors.push(tensor(one, copy));
                view = views.next_if(of_storage);
            }
        }
        Ok(tensors)
    }

    fn store(&mut self, purpose: Purpose, bytes: &[u8], size: usize) -> Result<()> {
        match purpose {
            Purpose::Pickle | Purpose::ByteOrder => self.pending.extend_from_slice(bytes),
            Purpose::Storage(at) => {
                self.done += bytes.len() as u64;
                let storage = self.storages[at].get_or_insert_default();
                append(storage, bytes, size, self.done).map_err(|()| {
                    out_of_memory(self.records.last().map_or("", |record| &record.name), size)
                })?;
            }
            Purpose::Nothing => self.done += bytes.len() as u64,
        }
        Ok(())
    }

    /// What a record means that is complete. The small ones are in `pending`.
    fn end_record(
        &mut self,
        purpose: Purpose,
        size: usize,
        footer: bool,
        announced: Option<u64>,
    ) -> Result<()> {
        let bytes = std::mem::take(&mut self.pending);
        self.done += bytes.len() as u64;
        if let Some(record) = self.records.last_mut() {
            record.size = size as u64;
        }
        match purpose {
            Purpose::Pickle => {
                let weights = pickle::read(&bytes).map_err(|problem| self.problem(problem))?;
                let stored = weights.storages.iter().filter(|storage| storage.needed);
                let stored = stored.fold(0u64, |sum, storage| sum.saturating_add(storage.bytes as u64));
                if let Some(announced) = announced.filter(|announced| *announced < stored) {
                    return Err(self
                        .problem(format!("its tensors take {stored} bytes, but the file has {announced}")));
                }
                self.storages.resize(weights.storages.len(), None);
                self.weights = Some(weights);
                self.is_new = true;
            }
            Purpose::ByteOrder if bytes != b"little" => {
                let found = str::from_utf8(&bytes).unwrap_or("an unknown");
                return Err(self
                    .problem(format!("its numbers are in {} byte order, not little-endian", short(found))));
            }
            _ => {}
        }
        (self.part, self.wanted) =
            if footer { (Part::Footer(size), FOOTER) } else { (Part::Structure, SIGNATURE) };
        Ok(())
    }

    /// Sees what `pending` is, once it has the wanted bytes; may find that it wants more.
    fn structure(&mut self, announced: Option<u64>) -> Result<()> {
        let bytes = std::mem::take(&mut self.pending);
        let len = match &self.part {
            Part::Footer(size) => self.footer(&bytes, *size)?,
            _ if self.done == 0 && !bytes.starts_with(LOCAL) => {
                return Err(self.problem(describe(&bytes)));
            }
            _ => match bytes.first_chunk() {
                Some(LOCAL) if self.listed == 0 => LocalHead::len(&bytes),
                Some(ENTRY) => Entry::len(&bytes),
                Some(END64) if self.is_listed() => fields_len(&bytes, 12, &[(4, 8)]),
                Some(LOCATOR64) if self.is_listed() => 20,
                Some(END) if self.is_listed() => fields_len(&bytes, 22, &[(20, 2)]),
                _ => {
                    let problem = match self.listed {
                        0 => format!("the bytes at {} are no record of an archive", self.done),
                        listed => format!("its directory names {listed} of {} records", self.records.len()),
                    };
                    return Err(self.problem(problem));
                }
            },
        };
        if len > MAX_STRUCTURE {
            return Err(self.problem(format!("the structure at {} would have {len} bytes", self.done)));
        }
        if bytes.len() < len {
            self.wanted = len;
            self.pending = bytes;
            return Ok(());
        }
        let offset = self.done;
        self.done += len as u64;
        self.wanted = SIGNATURE;
        match (&self.part, bytes.first_chunk()) {
            (Part::Footer(_), _) => self.part = Part::Structure,
            (_, Some(LOCAL)) => self.begin_record(&bytes, offset, announced)?,
            (_, Some(ENTRY)) => self.list(&bytes)?,
            (_, Some(END)) => self.part = Part::End,
            _ => {}
        }
        Ok(())
    }

    fn is_listed(&self) -> bool {
        self.listed > 0 && self.listed == self.records.len()
    }

    /// The length of the sizes after a record, which has to be theirs.
    fn footer(&self, bytes: &[u8], size: usize) -> Result<usize> {
        footer_len(bytes, size as u64)
            .ok_or_else(|| self.record_problem(&format!("does not have {size} bytes, as its tensors need")))
    }

    fn begin_record(&mut self, structure: &[u8], offset: u64, announced: Option<u64>) -> Result<()> {
        let Some(LocalHead { name, stored, encrypted, size }) = LocalHead::parse(structure) else {
            return Err(self.problem(format!("the head of its record at {offset} makes no sense")));
        };
        if encrypted || !stored {
            let how = if encrypted { "encrypted" } else { "compressed" };
            return Err(
                self.problem(format!("its record `{}` is {how}, which torch.save never does", short(name)))
            );
        }
        if self.records.len() == MAX_RECORDS {
            return Err(self.problem(format!("it has more than {MAX_RECORDS} records")));
        }
        if self.records.is_empty() {
            match name.strip_suffix("data.pkl").filter(|folder| folder.is_empty() || folder.ends_with('/')) {
                Some(folder) => self.folder = folder.to_owned(),
                None if is_torch_script(name.split_once('/').map_or(name, |(_, name)| name)) => {
                    return Err(self.problem(TORCH_SCRIPT));
                }
                None => {
                    return Err(self.problem(format!(
                        "it is a ZIP archive whose first record is `{}`, not `data.pkl`",
                        short(name)
                    )));
                }
            }
        }
        let Some(inner) = name.strip_prefix(self.folder.as_str()) else {
            return Err(self.problem(format!(
                "its record `{}` is outside its folder `{}`",
                short(name),
                short(&self.folder)
            )));
        };
        let weights = self.weights.as_ref();
        let storage = inner.strip_prefix("data/").zip(weights).and_then(|(key, weights)| {
            let at = weights.storages.binary_search_by(|storage| storage.key.as_str().cmp(key)).ok()?;
            Some((at, &weights.storages[at]))
        });
        let (purpose, needed) = match (inner, storage) {
            ("data.pkl", _) if weights.is_none() => (Purpose::Pickle, None),
            ("byteorder", _) => (Purpose::ByteOrder, None),
            (_, Some((at, storage))) => {
                (if storage.needed { Purpose::Storage(at) } else { Purpose::Nothing }, Some(storage.bytes))
            }
            (other, _) if is_torch_script(other) && !other.starts_with("data/") => {
                return Err(self.problem(TORCH_SCRIPT));
            }
            _ => (Purpose::Nothing, None),
        };
        if let Purpose::Storage(at) = purpose
            && self.storages[at].replace(Vec::new()).is_some()
        {
            return Err(self.problem(format!("its record `{}` is there twice", short(name))));
        }
        let limit = match purpose {
            Purpose::Pickle => MAX_PICKLE,
            Purpose::ByteOrder => MAX_NOTE,
            _ => usize::MAX,
        };
        let (known, footer) = match (size, needed) {
            (HeadSize::Here { size, footer }, needed) => {
                let fits = usize::try_from(size).ok().filter(|size| *size <= limit);
                let Some(size) = fits else {
                    return Err(self.problem(format!("its record `{}` has {size} bytes", short(name))));
                };
                if let Some(needed) = needed.filter(|needed| *needed != size) {
                    return Err(self.problem(format!(
                        "its record `{}` has {size} bytes, but its tensors need {needed}",
                        short(name)
                    )));
                }
                (Some(size), footer)
            }
            (HeadSize::After, needed) => (needed, true),
        };
        self.records.push(Record { name: name.to_owned(), offset, size: 0 });
        match known {
            Some(0) => self.end_record(purpose, 0, footer, announced),
            Some(size) => {
                self.part = Part::Body { purpose, size, left: size, footer };
                Ok(())
            }
            None => {
                self.part = Part::Open(purpose);
                Ok(())
            }
        }
    }

    /// Compares the directory's next entry with the record.
    fn list(&mut self, structure: &[u8]) -> Result<()> {
        let agrees = self.records.get(self.listed).is_some_and(|record| {
            let Record { name, offset, size } = record;
            Entry::parse(structure) == Some(Entry { name, size: *size, offset: *offset, stored: true })
        });
        if !agrees {
            let name = Entry::parse(structure).map_or("", |entry| entry.name);
            return Err(self
                .problem(format!("its directory's entry `{}` does not agree with its record", short(name))));
        }
        self.listed += 1;
        Ok(())
    }
}

fn is_torch_script(record: &str) -> bool {
    record == "constants.pkl"
        || ["code/", "constants/", "data/", "extra/"].iter().any(|folder| record.starts_with(folder))
}

/// What a file is that does not begin as an archive does.
fn describe(first: &[u8]) -> String {
    match first {
        [0x80, 2..=5, ..] => LEGACY.to_owned(),
        [.., b'{'] if first.len() == FIRST => {
            "it is a safetensors file under another name: give it the ending .safetensors".to_owned()
        }
        _ => foreign(first).unwrap_or("it is no ZIP archive, which is what torch.save writes").to_owned(),
    }
}

/// The bytes of a view's elements, in row-major order.
fn gather(bytes: &[u8], width: usize, view: &View) -> Result<Vec<u8>> {
    let elements = view.elements();
    let mut gathered = Vec::new();
    gathered.try_reserve_exact(elements * width).map_err(|_| out_of_memory(&view.name, elements * width))?;
    if view.is_contiguous() {
        let begin = if elements == 0 { 0 } else { view.offset * width };
        gathered.extend_from_slice(&bytes[begin..begin + elements * width]);
        return Ok(gathered);
    }
    let (mut index, mut at) = ([0; MAX_RANK], view.offset);
    for _ in 0..elements {
        gathered.extend_from_slice(&bytes[at * width..(at + 1) * width]);
        for (axis, (&size, &stride)) in view.shape.iter().zip(&view.strides).enumerate().rev() {
            index[axis] += 1;
            // An axis of one element may have any stride: what is added past the end is taken back.
            at = at.wrapping_add(stride);
            if index[axis] < size {
                break;
            }
            at = at.wrapping_sub(stride.wrapping_mul(size));
            index[axis] = 0;
        }
    }
    Ok(gathered)
}

// ---- The archive's structures ----

const LOCAL: &[u8; 4] = b"PK\x03\x04";
const ENTRY: &[u8; 4] = b"PK\x01\x02";
const AFTER: &[u8; 4] = b"PK\x07\x08";
const END64: &[u8; 4] = b"PK\x06\x06";
const LOCATOR64: &[u8; 4] = b"PK\x06\x07";
const END: &[u8; 4] = b"PK\x05\x06";
/// Bytes of the sizes after a record: signature, checksum, and two sizes of four bytes.
const FOOTER: usize = 16;
/// The same with sizes of eight bytes.
const FOOTER64: usize = 24;
/// Bytes of an entry whose name, notes and comment are as long as can be.
const MAX_STRUCTURE: usize = 46 + 3 * 0xffff;
/// Stands for a size that does not fit in four bytes.
const ELSEWHERE: u64 = 0xffff_ffff;

/// An integer of `len` bytes at `at`; 0 where the bytes are not there.
fn integer(bytes: &[u8], at: usize, len: usize) -> u64 {
    let field = bytes.get(at..at + len).unwrap_or_default();
    field.iter().rev().fold(0, |value, &byte| value << 8 | u64::from(byte))
}

/// The length of a structure of `fixed` bytes and of parts whose lengths stand in `lengths` (position, bytes). Before the
/// fixed bytes are there: their number.
fn fields_len(bytes: &[u8], fixed: usize, lengths: &[(usize, usize)]) -> usize {
    if bytes.len() < fixed {
        return fixed;
    }
    lengths.iter().fold(fixed, |sum, &(at, len)| {
        sum.saturating_add(usize::try_from(integer(bytes, at, len)).unwrap_or(usize::MAX))
    })
}

/// The length of the sizes in `bytes` if they are those of a record of `size` bytes; as many as needed to see it, where
/// there are fewer.
fn footer_len(bytes: &[u8], size: u64) -> Option<usize> {
    if !bytes.starts_with(AFTER) {
        return None;
    }
    if integer(bytes, 8, 4) == size && integer(bytes, 12, 4) == size {
        return Some(FOOTER);
    }
    let wide = bytes.len() < FOOTER64 || integer(bytes, 8, 8) == size && integer(bytes, 16, 8) == size;
    wide.then_some(FOOTER64)
}

/// The size of a record that is followed by its size, and where that ends. The first `before` bytes were searched already.
fn find_footer(bytes: &[u8], before: usize) -> Option<(usize, usize)> {
    let start = before.saturating_sub(FOOTER64 - 1);
    (start..bytes.len().saturating_sub(FOOTER - 1)).find_map(|size| {
        let len = footer_len(&bytes[size..], size as u64)?;
        (size + len <= bytes.len()).then_some((size, size + len))
    })
}

/// The fields of a ZIP64 note that stand for those which are `ELSEWHERE`, in their order.
fn widen<const N: usize>(mut notes: &[u8], fields: [u64; N]) -> Option<[u64; N]> {
    if !fields.contains(&ELSEWHERE) {
        return Some(fields);
    }
    loop {
        let len = 4 + integer(notes, 2, 2) as usize;
        let (note, rest) = notes.split_at_checked(len)?;
        if integer(note, 0, 2) == 1 {
            let mut wide = note[4..].chunks_exact(8).map(|field| integer(field, 0, 8));
            let mut widened = fields;
            for field in widened.iter_mut().filter(|field| **field == ELSEWHERE) {
                *field = wide.next()?;
            }
            return Some(widened);
        }
        notes = rest;
    }
}

enum HeadSize {
    /// In the head, and after the record too where there is a footer.
    Here { size: u64, footer: bool },
    /// After the record.
    After,
}

/// What stands before a record.
struct LocalHead<'a> {
    name: &'a str,
    stored: bool,
    encrypted: bool,
    size: HeadSize,
}

impl<'a> LocalHead<'a> {
    fn len(bytes: &[u8]) -> usize {
        fields_len(bytes, 30, &[(26, 2), (28, 2)])
    }

    /// From all bytes of a head.
    fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (name, notes) = bytes[30..].split_at_checked(integer(bytes, 26, 2) as usize)?;
        let flags = integer(bytes, 6, 2);
        let footer = flags & 8 != 0;
        let [whole, packed] = [integer(bytes, 22, 4), integer(bytes, 18, 4)];
        let size = if footer && whole == 0 && packed == 0 {
            HeadSize::After
        } else {
            let [whole, packed] = widen(notes, [whole, packed])?;
            if footer && whole == 0 && packed == 0 {
                HeadSize::After
            } else {
                HeadSize::Here { size: packed, footer }
            }
        };
        Some(Self {
            name: std::str::from_utf8(name).ok()?,
            stored: integer(bytes, 8, 2) == 0,
            encrypted: flags & 0x2041 != 0,
            size,
        })
    }
}

/// What the directory says of a record.
#[derive(PartialEq)]
struct Entry<'a> {
    name: &'a str,
    size: u64,
    offset: u64,
    stored: bool,
}

impl<'a> Entry<'a> {
    fn len(bytes: &[u8]) -> usize {
        fields_len(bytes, 46, &[(28, 2), (30, 2), (32, 2)])
    }

    /// From all bytes of an entry; none where they contradict each other.
    fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (name, notes) = bytes[46..].split_at_checked(integer(bytes, 28, 2) as usize)?;
        let notes = notes.get(..integer(bytes, 30, 2) as usize)?;
        let [whole, packed, offset] =
            widen(notes, [integer(bytes, 24, 4), integer(bytes, 20, 4), integer(bytes, 42, 4)])?;
        Some(Self {
            name: std::str::from_utf8(name).ok()?,
            size: packed,
            offset,
            stored: integer(bytes, 10, 2) == 0 && whole == packed,
        })
    }
}
