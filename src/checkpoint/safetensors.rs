//! Safetensors files, read as their bytes arrive.
//!
//! [`WeightsReader`] is pushed the pieces of a file in the sizes in which disk, network or browser hand them out, and
//! keeps nothing but each tensor's own bytes. What a header claims is never allocated on its word: room grows with
//! what has arrived, so that a file of a few bytes which announces terabytes costs a few bytes. [`Weights::take`] then
//! hands the tensors out one by one, so that memory is given back while a network is built. In both directions the
//! peak stays near the file: 1.0 times while reading, and 2 times plus one tensor for 16-bit weights widened to f32.

use serde_json::{Map, Value};

use super::json_text::Reader;
use super::packed::FORMAT;
use super::pickle::View;
use super::torch::{READS_TORCH, TorchReader, is_torch_file};
use super::weights::{Asked, Dtype, Tensor, Weights, check_shape};
#[cfg(feature = "text")]
use super::weights::{PACKED, Sink};
use super::weights_file::{MAX_RANK, MAX_TENSORS, append, foreign, out_of_memory};
use crate::error::{Error, Result};
use crate::sort::{sort, twice};
use crate::text;

/// What is read of a file's metadata: of which kind packed weights are, and what a LoRA's trainer says of it.
const USED_METADATA: [&str; 2] = [FORMAT[0], "lora_adapter_metadata"];

/// The format's own limit on a header's bytes.
const MAX_HEADER: u64 = 100_000_000;

/// One tensor as the header describes it.
struct Entry {
    name: String,
    dtype: Dtype,
    bits: u64,
    shape: Vec<usize>,
    begin: u64,
    end: u64,
    kept: bool,
}

/// The header's tensors in the order in which it names them, and its metadata.
fn read_header(header: &[u8]) -> Result<(Vec<Entry>, Value), String> {
    let (mut entries, mut metadata) = (Vec::new(), Value::Null);
    let mut reader = Reader::new(header);
    reader.object("an object of tensors", &mut |reader, name| {
        if name == "__metadata__" {
            metadata = read_metadata(reader)?;
            return Ok(());
        }
        if entries.len() == MAX_TENSORS {
            return Err(format!("more than {MAX_TENSORS} tensors"));
        }
        let entry = read_entry(reader).map_err(|problem| format!("`{}`: {problem}", text::name(&name)))?;
        entries.push(Entry { name, ..entry });
        Ok(())
    })?;
    reader.end()?;
    Ok((entries, metadata))
}

/// What is used of the metadata. The rest of it, and what is no text, is passed over: a file may have megabytes of both.
fn read_metadata(reader: &mut Reader<'_>) -> Result<Value, String> {
    let mut kept = Map::new();
    if reader.peek() != Some(b'{') {
        reader.value(false)?;
        return Ok(Value::Null);
    }
    reader.object("an object", &mut |reader, field| {
        if USED_METADATA.contains(&field.as_str()) && reader.peek() == Some(b'"') {
            kept.insert(field, Value::String(reader.string("text")?));
        } else {
            reader.value(false)?;
        }
        Ok(())
    })?;
    Ok(Value::Object(kept))
}

/// A tensor but for its name.
fn read_entry(reader: &mut Reader<'_>) -> Result<Entry, String> {
    let (mut dtype, mut shape, mut offsets) = (None, None, None);
    reader.object("an object", &mut |reader, field| {
        let again = match field.as_str() {
            "dtype" => dtype.replace(reader.string("a dtype in quotes")?).is_some(),
            "shape" => shape.replace(counts(reader, MAX_RANK)?).is_some(),
            "data_offsets" => offsets.replace(counts(reader, 2)?).is_some(),
            _ => return reader.value(false).map(|_| ()),
        };
        if again { Err(format!("it has `{field}` twice")) } else { Ok(()) }
    })?;
    let dtype = dtype.ok_or("it has no `dtype`")?;
    let (dtype, bits) =
        Dtype::parse(&dtype).ok_or_else(|| format!("the dtype `{}` is unknown", text::name(&dtype)))?;
    let shape = shape.ok_or("it has no `shape`")?;
    let shape = shape.into_iter().map(usize::try_from).collect::<Result<_, _>>();
    let shape = shape.map_err(|_| "one of its sizes is larger than any file")?;
    let Some([begin, end]) = offsets.as_deref() else {
        return Err("it has no two `data_offsets`".to_owned());
    };
    Ok(Entry { name: String::new(), dtype, bits, shape, begin: *begin, end: *end, kept: true })
}

/// A list of at most so many whole numbers.
fn counts(reader: &mut Reader<'_>, most: usize) -> Result<Vec<u64>, String> {
    let mut counts = Vec::new();
    reader.list("a list of whole numbers", &mut |reader| {
        if counts.len() == most {
            return Err(format!("a list has more than {most} numbers"));
        }
        counts.push(reader.count()?);
        Ok(())
    })?;
    Ok(counts)
}

/// The header's tensors in the order of their bytes, which they cover without holes or overlaps, and its metadata.
fn parse_header(header: &[u8]) -> Result<(Vec<Entry>, Value), String> {
    let (mut entries, metadata) =
        read_header(header).map_err(|problem| format!("its header is wrong: {}", text::name(problem)))?;
    if let Some(name) = twice(entries.iter().map(|e| e.name.as_str()).collect()) {
        return Err(format!("its header holds `{}` twice", text::name(name)));
    }
    sort(&mut entries, &|a, b| (a.begin, a.end) < (b.begin, b.end));
    let mut at = 0;
    for entry in &entries {
        let Entry { begin, end, shape, .. } = entry;
        let name = text::name(&entry.name);
        if end < begin {
            return Err(format!("`{name}` ends at byte {end}, before it begins at {begin}"));
        }
        if *begin < at {
            return Err(format!("`{name}` begins at byte {begin}, inside another tensor that ends at {at}"));
        }
        if *begin > at {
            return Err(format!("bytes {at} to {begin} before `{name}` belong to no tensor"));
        }
        let bits =
            shape.iter().try_fold(entry.bits, |bits, &size| bits.checked_mul(u64::try_from(size).ok()?));
        let bits = bits.ok_or_else(|| format!("`{name}` of shape {shape:?} is larger than any file"))?;
        if bits % 8 != 0 || bits / 8 != end - begin {
            let dtype = entry.dtype.name();
            return Err(format!(
                "`{name}` of shape {shape:?} in {dtype} does not fill its {} bytes",
                end - begin
            ));
        }
        at = *end;
    }
    Ok((entries, metadata))
}

/// What eight bytes that are no header's length look like.
fn describe(first: [u8; 8]) -> String {
    match &first {
        [b'P', b'K', 3, 4, ..] => {
            "it is a zip archive, perhaps PyTorch's own format: files in that format are called .bin"
                .to_owned()
        }
        [0x80, 2..=5, ..] => {
            "it is a Python pickle: save it in Python with safe_serialization=True".to_owned()
        }
        _ => foreign(&first).map_or_else(
            || format!("its header's length would be {}", u64::from_le_bytes(first)),
            str::to_owned,
        ),
    }
}

enum State {
    /// The header's length, eight bytes of it.
    Length { bytes: [u8; 8], have: usize },
    /// The header, of this length.
    Header { len: usize, bytes: Vec<u8> },
    /// The tensors: one that is being filled, and those still to come.
    Data { open: Option<Open>, rest: std::vec::IntoIter<Entry>, total: u64 },
    /// Any part of a file in PyTorch's own format.
    Torch(Box<TorchReader>),
    /// Such a file has ended.
    Over,
    /// A push failed.
    Failed,
}

/// The tensor whose bytes come next.
struct Open {
    entry: Entry,
    bytes: Vec<u8>,
    /// Bytes of it that are still to come.
    left: u64,
}

impl State {
    /// Before the first byte of a file of this name.
    fn start(file: &str) -> Self {
        if is_torch_file(file) {
            Self::Torch(Box::new(TorchReader::new(file)))
        } else {
            Self::Length { bytes: [0; 8], have: 0 }
        }
    }
}

/// Reads a safetensors file, or several shards one after the other, from pieces of any size. A file whose name ends in
/// `.bin` is one that `torch.save` wrote; with the feature `torch` it becomes the same weights, and no code in it is run.
///
/// ```
/// # use noiseball::checkpoint::WeightsReader;
/// let header = br#"{"bias":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#;
/// let mut reader = WeightsReader::new("model.safetensors");
/// reader.push(&(header.len() as u64).to_le_bytes())?;
/// reader.push(header)?;
/// reader.push(&1.5f32.to_le_bytes())?;
/// let mut weights = reader.finish()?;
/// assert_eq!(weights.take("bias").unwrap().to_f32("bias")?, [1.5]);
/// # Ok::<(), noiseball::Error>(())
/// ```
pub struct WeightsReader {
    file: String,
    announced: Option<u64>,
    /// What to keep; everything where nobody said.
    asked: Option<Asked>,
    /// Whether this one file has to hold all that is asked for.
    lone: bool,
    /// Whether this file's tensors of I8 have scales.
    packed: bool,
    state: State,
    /// Bytes of this file so far.
    received: u64,
    /// Tensors of this file that are complete.
    complete: Vec<(String, Tensor)>,
    /// The names of its tensors that are not kept.
    skipped: Vec<String>,
    /// Tensors of the files before.
    before: Weights,
    /// Who takes the tensors as soon as they are complete. What is then kept of them has no bytes.
    #[cfg(feature = "text")]
    pub(super) sink: Option<Box<dyn Sink>>,
    /// Those of this file that were handed over.
    #[cfg(feature = "text")]
    delivered: Vec<String>,
}

impl WeightsReader {
    /// Waits for the first byte of a file; the name is for errors.
    #[must_use]
    pub fn new(file: impl Into<String>) -> Self {
        let file = file.into();
        Self {
            announced: None,
            asked: None,
            lone: false,
            packed: false,
            state: State::start(&file),
            file,
            received: 0,
            complete: Vec::new(),
            skipped: Vec::new(),
            before: Weights::default(),
            #[cfg(feature = "text")]
            sink: None,
            #[cfg(feature = "text")]
            delivered: Vec::new(),
        }
    }

    /// Keeps only what is asked for. A `lone` file must hold all of it, which shows when its header has been read; for shards,
    /// whose index lists all names, `asked` has been [settled](Asked::settle) before.
    pub(super) fn keep(&mut self, asked: Asked, lone: bool) {
        self.asked = Some(asked);
        self.lone = lone;
    }

    /// Announces how many bytes this file has, where the disk or the server says so before it sends them: a file that
    /// does not match is then refused as soon as its header is read. (A server that compresses on the way announces the
    /// compressed length, which is not this one.)
    pub fn expect_len(&mut self, len: u64) {
        self.announced = Some(len);
    }

    /// Bytes of this file that have been pushed.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Bytes that this file will have: from its header, or else as announced.
    #[must_use]
    pub fn total(&self) -> Option<u64> {
        match self.state {
            State::Data { total, .. } => Some(total),
            _ => self.announced,
        }
    }

    /// Reads the file's next bytes.
    ///
    /// # Errors
    /// [`Error::Safetensors`] or [`Error::Torch`] as soon as the bytes cannot become a valid file, and from then on;
    /// [`Error::OutOfMemory`].
    pub fn push(&mut self, bytes: &[u8]) -> Result<()> {
        self.received += bytes.len() as u64;
        let result = self.advance(bytes);
        #[cfg(feature = "text")]
        let result = result.and_then(|()| self.deliver());
        if result.is_err() {
            self.state = State::Failed;
            self.complete.clear();
            self.skipped.clear();
        }
        result
    }

    /// Forgets this file's bytes, to read it once more from its start (after a broken connection).
    pub fn restart(&mut self) {
        self.announced = None;
        self.state = State::start(&self.file);
        self.received = 0;
        self.complete.clear();
        self.skipped.clear();
        #[cfg(feature = "text")]
        for name in std::mem::take(&mut self.delivered) {
            self.before.take(&name);
        }
    }

    /// Ends this file and waits for the next shard of the same weights.
    ///
    /// # Errors
    /// [`Error::Safetensors`] or [`Error::Torch`] where the file is not complete, or holds a tensor that a shard before
    /// it held.
    pub fn next_file(&mut self, file: impl Into<String>) -> Result<()> {
        self.end_file()?;
        self.file = file.into();
        self.restart();
        Ok(())
    }

    /// Ends the last file, and gives the tensors their current names.
    ///
    /// # Errors
    /// As [`Self::next_file`].
    pub fn finish(mut self) -> Result<Weights> {
        self.end_file()?;
        self.before.normalise();
        Ok(self.before)
    }

    fn problem(&self, problem: impl Into<String>) -> Error {
        let (file, problem) = (self.file.clone(), problem.into());
        if is_torch_file(&file) {
            return Error::Torch { file, problem };
        }
        Error::Safetensors { file, problem }
    }

    /// Ends this file; again, does nothing more.
    pub(super) fn end_file(&mut self) -> Result<()> {
        let received = self.received;
        if let State::Torch(reader) = &mut self.state
            && READS_TORCH
        {
            self.complete = reader.finish()?;
            self.state = State::Over;
        }
        #[cfg(feature = "text")]
        self.deliver()?;
        let problem = match &self.state {
            State::Length { have: 0, .. } => Some("it is empty".to_owned()),
            State::Length { .. } => Some(format!("it ends after {received} bytes, before its header")),
            State::Header { len, .. } => {
                Some(format!("it ends after {received} bytes, inside its header of {len} bytes"))
            }
            State::Data { open: Some(Open { entry, .. }), total, .. } => Some(format!(
                "it ends after {received} of {total} bytes, inside `{}`",
                text::name(&entry.name)
            )),
            State::Data { open: None, .. } | State::Torch(_) | State::Over => self
                .announced
                .filter(|len| *len != received)
                .map(|len| format!("it has {received} bytes, not {len}")),
            State::Failed => Some("reading it has failed before".to_owned()),
        };
        if let Some(problem) = problem {
            return Err(self.problem(problem));
        }
        let twice = |name: &str| format!("another shard holds `{}` too", text::name(name));
        for (name, tensor) in std::mem::take(&mut self.complete) {
            if self.before.get(&name).is_some() {
                return Err(self.problem(twice(&name)));
            }
            self.before.insert(name, tensor);
        }
        if self.packed {
            self.before.join_scales()?;
        }
        for name in std::mem::take(&mut self.skipped) {
            if self.before.skipped.contains_key(&name) {
                return Err(self.problem(twice(&name)));
            }
            self.before.skipped.insert(name, Value::Null);
        }
        #[cfg(feature = "text")]
        self.delivered.clear();
        Ok(())
    }

    /// Hands complete tensors over, packed ones once their scales are there.
    #[cfg(feature = "text")]
    fn deliver(&mut self) -> Result<()> {
        let Some(mut sink) = self.sink.take() else { return Ok(()) };
        let done = self.deliver_to(&mut *sink);
        self.sink = Some(sink);
        done
    }

    #[cfg(feature = "text")]
    fn deliver_to(&mut self, sink: &mut dyn Sink) -> Result<()> {
        for (name, tensor) in std::mem::take(&mut self.complete) {
            if self.before.get(&name).is_some() {
                return Err(self.problem(format!("another shard holds `{}` too", text::name(&name))));
            }
            self.before.insert(name.clone(), tensor);
            self.delivered.push(name.clone());
            let mut key = name.as_str();
            if self.packed {
                key = name.strip_suffix(".scale").unwrap_or(key);
                let [numbers, scales] = [key, &*format!("{key}.scale")].map(|name| self.before.get(name));
                match (numbers.map(|numbers| numbers.dtype), scales) {
                    (Some(PACKED), Some(_)) => self.before.join_scales_of(key)?,
                    (Some(PACKED) | None, _) => continue,
                    _ => {}
                }
            }
            let Some(tensor) = self.before.take(key) else { continue };
            let rest = Tensor { dtype: tensor.dtype, shape: tensor.shape.clone(), bytes: Vec::new() };
            self.before.insert(key, rest);
            sink.put(key, tensor)?;
        }
        Ok(())
    }

    fn advance(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            match &mut self.state {
                State::Length { bytes: length, have } => {
                    let n = bytes.len().min(8 - *have);
                    length[*have..*have + n].copy_from_slice(&bytes[..n]);
                    *have += n;
                    bytes = &bytes[n..];
                    if *have == 8 {
                        let length = *length;
                        self.begin_header(length)?;
                    }
                }
                State::Header { len, bytes: header } => {
                    let n = bytes.len().min(*len - header.len());
                    append(header, &bytes[..n], *len, self.received)
                        .map_err(|()| out_of_memory("a header", *len))?;
                    bytes = &bytes[n..];
                    if header[0] != b'{' {
                        return Err(self.problem("its header is not a JSON object"));
                    }
                    if header.len() == *len {
                        let header = std::mem::take(header);
                        self.begin_data(&header)?;
                    }
                }
                State::Data { open: Some(open), .. } => {
                    let n = bytes.len().min(usize::try_from(open.left).unwrap_or(usize::MAX));
                    if open.entry.kept {
                        // `begin_data` has made sure that the size fits.
                        let size = (open.entry.end - open.entry.begin) as usize;
                        append(&mut open.bytes, &bytes[..n], size, self.received)
                            .map_err(|()| out_of_memory(&open.entry.name, size))?;
                    }
                    bytes = &bytes[n..];
                    open.left -= n as u64;
                    if open.left == 0 {
                        self.next_tensor();
                    }
                }
                State::Data { open: None, total, .. } => {
                    let problem = format!("bytes follow its last tensor, which ends at byte {total}");
                    return Err(self.problem(problem));
                }
                State::Torch(reader) if READS_TORCH => {
                    let left = reader.push(bytes, self.announced)?;
                    bytes = &bytes[bytes.len() - left..];
                    let described = reader.described().map(|views| {
                        let own = |view: &View| (view.name.clone(), view.dtype, view.shape.clone());
                        views.iter().map(own).collect::<Vec<_>>()
                    });
                    if let Some(described) = described {
                        self.choose_torch(&described)?;
                    }
                }
                State::Torch(_) => {
                    return Err(self.problem("this build does not read the format (cargo's feature `torch`)"));
                }
                State::Over => return Err(self.problem("bytes follow the end of its archive")),
                State::Failed => return Err(self.problem("reading it has failed before")),
            }
        }
        Ok(())
    }

    fn begin_header(&mut self, length: [u8; 8]) -> Result<()> {
        let len = u64::from_le_bytes(length);
        if len > MAX_HEADER {
            return Err(self.problem(describe(length)));
        }
        if len < 2 {
            return Err(self.problem(format!("its header has {len} bytes")));
        }
        if let Some(announced) = self.announced.filter(|announced| announced.saturating_sub(8) < len) {
            return Err(
                self.problem(format!("its header would have {len} bytes, but the file has {announced}"))
            );
        }
        self.state = State::Header { len: len as usize, bytes: Vec::new() };
        Ok(())
    }

    fn begin_data(&mut self, header: &[u8]) -> Result<()> {
        let (mut entries, metadata) = parse_header(header).map_err(|problem| self.problem(problem))?;
        let [field, format] = FORMAT;
        self.packed = match metadata.get(field).and_then(Value::as_str) {
            Some(other) if other != format => {
                let other = text::name(other);
                return Err(self.problem(format!("`{field}` is `{other}`, and only `{format}` is known")));
            }
            found => found.is_some(),
        };
        self.before.set_metadata(metadata);
        let data = entries.last().map_or(0, |e| e.end);
        let Some(total) = data.checked_add(8 + header.len() as u64) else {
            return Err(self.problem(format!("its {data} bytes of weights are more than any file has")));
        };
        if let Some(announced) = self.announced.filter(|announced| *announced != total) {
            return Err(
                self.problem(format!("its header describes {total} bytes, but the file has {announced}"))
            );
        }
        let tensors: Vec<_> = entries.iter().map(|e| (e.name.as_str(), e.dtype, &e.shape[..])).collect();
        for (entry, name) in self.choose(&tensors)?.into_iter().enumerate() {
            entries[entry].kept = name.is_some();
            if let Some(name) = name {
                entries[entry].name = name;
            }
        }
        let kept: u64 = entries.iter().filter(|e| e.kept).map(|e| e.end - e.begin).sum();
        if isize::try_from(kept).is_err() {
            return Err(
                self.problem(format!("its {kept} bytes of weights are more than this machine can address"))
            );
        }
        self.state = State::Data { open: None, rest: entries.into_iter(), total };
        self.next_tensor();
        Ok(())
    }

    /// Compares a file's tensors with what is asked for: the name under which to keep each, or `None`.
    fn choose(&mut self, tensors: &[(&str, Dtype, &[usize])]) -> Result<Vec<Option<String>>> {
        let chosen = self.chosen(tensors)?;
        #[cfg(feature = "text")]
        if let Some(sink) = &mut self.sink {
            let kept = tensors.iter().zip(&chosen);
            let kept: Vec<_> = kept
                .filter_map(|((_, dtype, shape), name)| Some((name.as_deref()?, *dtype, *shape)))
                .collect();
            sink.described(&kept)?;
        }
        Ok(chosen)
    }

    fn chosen(&mut self, tensors: &[(&str, Dtype, &[usize])]) -> Result<Vec<Option<String>>> {
        let Some(asked) = &mut self.asked else {
            return Ok(tensors.iter().map(|(name, ..)| Some((*name).to_owned())).collect());
        };
        if self.lone {
            asked.settle(tensors.iter().map(|(name, ..)| *name))?;
        }
        let mut kept: Vec<Option<String>> = vec![None; tensors.len()];
        // The tensor that was chosen for each parameter.
        let mut chosen: Vec<Option<usize>> = vec![None; asked.parameters().len()];
        for (i, (stored, dtype, shape)) in tensors.iter().enumerate() {
            let Some(at) = asked.find(stored) else { continue };
            let (name, expected) = &asked.parameters()[at];
            check_shape(name, shape, expected)?;
            if let Dtype::Other(dtype) = dtype
                && !(self.packed && *dtype == "I8")
            {
                return Err(Error::Dtype { key: name.clone(), dtype: (*dtype).to_owned() });
            }
            // Where a file holds a tensor under an old name and under the current one, the current one counts.
            match chosen[at] {
                Some(_) if !stored.ends_with(name) => continue,
                Some(old) => kept[old] = None,
                None => {}
            }
            chosen[at] = Some(i);
            kept[i] = Some(name.clone());
        }
        if self.packed {
            for (i, (stored, ..)) in tensors.iter().enumerate() {
                let Some(at) = stored.strip_suffix(".scale").and_then(|packed| asked.find(packed)) else {
                    continue;
                };
                kept[i] = Some(format!("{}.scale", asked.parameters()[at].0));
            }
        }
        Ok(kept)
    }

    /// Tells the reader of PyTorch's file which of its tensors to keep.
    fn choose_torch(&mut self, described: &[(String, Dtype, Vec<usize>)]) -> Result<()> {
        let tensors: Vec<_> =
            described.iter().map(|(name, dtype, shape)| (name.as_str(), *dtype, &shape[..])).collect();
        let names = self.choose(&tensors)?;
        let skipped = tensors.iter().zip(&names).filter(|(_, name)| name.is_none());
        self.skipped.extend(skipped.map(|((stored, ..), _)| (*stored).to_owned()));
        if let State::Torch(reader) = &mut self.state {
            reader.keep(names);
        }
        Ok(())
    }

    /// Puts the open tensor with the complete ones and opens the next that has any bytes.
    fn next_tensor(&mut self) {
        let State::Data { open, rest, .. } = &mut self.state else { return };
        let mut done = open.take();
        loop {
            if let Some(Open { entry: Entry { name, dtype, shape, kept, .. }, bytes, .. }) = done {
                if kept {
                    self.complete.push((name, Tensor { dtype, shape, bytes }));
                } else {
                    self.skipped.push(name);
                }
            }
            let Some(entry) = rest.next() else { return };
            let left = entry.end - entry.begin;
            let next = Open { entry, bytes: Vec::new(), left };
            if left > 0 {
                *open = Some(next);
                return;
            }
            done = Some(next);
        }
    }
}
