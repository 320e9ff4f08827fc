//! What the pickle of a PyTorch file says about tensors, read without running anything.
//!
//! A pickle is a program for a small stack machine that may call any function of Python. The few instructions and
//! names that `torch.save` writes for dictionaries of tensors are understood here, and mean the same as in PyTorch;
//! everything else is refused by its name. No instruction recurses, and each may add one value at most, so that
//! [`MAX_STEPS`] bounds the memory of a program of any kind.

use super::weights::Dtype;
use super::weights_file::{MAX_RANK, MAX_TENSORS};
use crate::sort::{sort, twice};
use crate::text::name as short;

pub(super) const TORCH_SCRIPT: &str =
    "it is a TorchScript archive, which holds a program. Load it in Python with `torch.jit.load(file)`";
/// More instructions than the pickles of the largest networks have, by a factor of ten.
const MAX_STEPS: usize = 1 << 20;
/// How far below the pickle's own dictionary the weights may be: `{"state_dict": {…}}` is one level.
const MAX_DEPTH: usize = 3;
/// What copies of shared or repeated elements may take beyond twice the stored bytes.
const SLACK: usize = 1 << 20;

/// A run of numbers in the file, which tensors view.
#[derive(Debug)]
pub(super) struct Storage {
    /// Its record in the archive is `data/<key>`.
    pub(super) key: String,
    pub(super) dtype: Dtype,
    /// Bytes of an element.
    pub(super) width: usize,
    /// Bytes of all of them.
    pub(super) bytes: usize,
    /// Whether a tensor of the state dict views it.
    pub(super) needed: bool,
}

/// A tensor as a view of a storage. It stays within the storage.
#[derive(Debug)]
pub(super) struct View {
    pub(super) name: String,
    pub(super) dtype: Dtype,
    /// Index of the storage.
    pub(super) storage: usize,
    /// In elements, as the strides are.
    pub(super) offset: usize,
    pub(super) shape: Vec<usize>,
    pub(super) strides: Vec<usize>,
}

impl View {
    pub(super) fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether the elements stand one after the other, in row-major order.
    pub(super) fn is_contiguous(&self) -> bool {
        let mut expected = 1;
        self.elements() == 0
            || self.shape.iter().zip(&self.strides).rev().all(|(&size, &stride)| {
                let fits = size == 1 || stride == expected;
                expected *= size;
                fits
            })
    }
}

/// The one dictionary of tensors in a pickle.
#[derive(Debug)]
pub(super) struct StateDict {
    /// All of the pickle's, sorted by key.
    pub(super) storages: Vec<Storage>,
    /// Sorted by storage.
    pub(super) tensors: Vec<View>,
}

/// Finds the tensors in a pickle.
pub(super) fn read(pickle: &[u8]) -> Result<StateDict, String> {
    let mut machine = Machine { rest: pickle, ..Machine::default() };
    let root = machine.run()?;
    if !machine.rest.is_empty() {
        return Err(format!("{} bytes follow the end of its pickle", machine.rest.len()));
    }
    let dictionary = machine.find_weights(root)?;
    machine.state_dict(dictionary)
}

#[derive(Clone, Copy)]
enum Global {
    OrderedDict,
    RebuildTensor,
    RebuildParameter,
    /// A storage's class: the format of its elements, and the bytes of one.
    Storage(Dtype, usize),
}

impl Global {
    fn parse(module: &str, name: &str) -> Result<Self, String> {
        const STORAGES: [(&str, &str); 11] = [
            ("FloatStorage", "F32"),
            ("HalfStorage", "F16"),
            ("BFloat16Storage", "BF16"),
            ("DoubleStorage", "F64"),
            ("LongStorage", "I64"),
            ("IntStorage", "I32"),
            ("ShortStorage", "I16"),
            ("CharStorage", "I8"),
            ("ByteStorage", "U8"),
            ("BoolStorage", "BOOL"),
            ("ComplexFloatStorage", "C64"),
        ];
        let storage = || {
            let (_, dtype) = STORAGES.iter().find(|(storage, _)| *storage == name)?;
            Dtype::parse(dtype)
        };
        match (module, name) {
            ("collections", "OrderedDict") => Ok(Self::OrderedDict),
            ("torch._utils", "_rebuild_tensor_v2") => Ok(Self::RebuildTensor),
            ("torch._utils", "_rebuild_parameter") => Ok(Self::RebuildParameter),
            ("torch", _) if let Some((dtype, bits)) = storage() => {
                Ok(Self::Storage(dtype, bits as usize / 8))
            }
            _ if module.starts_with("__torch__") => Err(TORCH_SCRIPT.to_owned()),
            _ => {
                Err(format!("its pickle asks for `{}.{}`, which no weights need", short(module), short(name)))
            }
        }
    }
}

/// What is on the stack: small, and a copy means the same object.
#[derive(Clone, Copy)]
enum Value<'a> {
    /// Something that no tensor is made of: a number with a point, a list.
    Opaque,
    Int(i64),
    Text(&'a str),
    Global(Global),
    /// Begin and end in `tuples`.
    Tuple(usize, usize),
    /// Index in `dictionaries`.
    Dictionary(usize),
    /// Index in `storages`.
    Storage(usize),
    /// Index in `tensors`.
    Tensor(usize),
}

#[derive(Clone, Copy, PartialEq)]
struct RawStorage<'a> {
    key: &'a str,
    dtype: Dtype,
    width: usize,
    bytes: usize,
}

struct RawTensor {
    storage: usize,
    offset: usize,
    /// Begin in `sizes` and rank: the shape's sizes, and the strides after them.
    sizes: usize,
    rank: usize,
    bytes: usize,
}

#[derive(Default)]
struct Machine<'a> {
    rest: &'a [u8],
    stack: Vec<Value<'a>>,
    /// Stack heights at which an open list of values begins.
    marks: Vec<usize>,
    memo: Vec<Value<'a>>,
    tuples: Vec<Value<'a>>,
    /// Only the entries that may lead to weights: tensors and dictionaries under names.
    dictionaries: Vec<Vec<(&'a str, Value<'a>)>>,
    storages: Vec<RawStorage<'a>>,
    tensors: Vec<RawTensor>,
    sizes: Vec<usize>,
}

impl<'a> Machine<'a> {
    /// Runs the program to its end and returns its result.
    fn run(&mut self) -> Result<Value<'a>, String> {
        let [0x80, 2..=5] = self.take(2)? else {
            return Err("its pickle does not begin as those of protocols 2 to 5 do".to_owned());
        };
        for _ in 0..MAX_STEPS {
            let opcode = self.byte()?;
            if opcode == b'.' {
                let result = self.pop()?;
                return if self.stack.is_empty() { Ok(result) } else { Err(misplaced(opcode)) };
            }
            self.step(opcode)?;
        }
        Err(format!("its pickle has more than {MAX_STEPS} instructions"))
    }

    fn step(&mut self, opcode: u8) -> Result<(), String> {
        let value = match opcode {
            // FRAME: how many bytes belong together.
            0x95 => return self.take(8).map(drop),
            // MARK
            b'(' => {
                self.marks.push(self.stack.len());
                return Ok(());
            }
            // NONE, NEWTRUE, NEWFALSE
            b'N' | 0x88 | 0x89 => Value::Opaque,
            // BININT, BININT1, BININT2
            b'J' => Value::Int(i64::from(self.number(4)? as i32)),
            b'K' => Value::Int(self.number(1)? as i64),
            b'M' => Value::Int(self.number(2)? as i64),
            // LONG1: of any length, little-endian.
            0x8a => {
                let len = self.byte()?;
                let bytes = self.take(usize::from(len))?;
                let sign = if bytes.last().is_some_and(|b| b & 0x80 != 0) { 0xff } else { 0 };
                let mut all = [sign; 8];
                if let Some(low) = all.get_mut(..bytes.len()) {
                    low.copy_from_slice(bytes);
                    Value::Int(i64::from_le_bytes(all))
                } else {
                    Value::Opaque
                }
            }
            // BINFLOAT
            b'G' => self.take(8).map(|_| Value::Opaque)?,
            // BINUNICODE, SHORT_BINUNICODE
            b'X' => self.text(4)?,
            0x8c => self.text(1)?,
            // EMPTY_LIST, APPEND, APPENDS
            b']' => Value::Opaque,
            b'a' => {
                self.pop()?;
                return self.keep_top(opcode, |top| matches!(top, Value::Opaque));
            }
            b'e' => {
                self.pop_mark(opcode)?;
                return self.keep_top(opcode, |top| matches!(top, Value::Opaque));
            }
            // EMPTY_TUPLE, TUPLE1, TUPLE2, TUPLE3, TUPLE
            b')' => self.tuple(self.stack.len()),
            0x85..=0x87 => {
                let len = usize::from(opcode - 0x84);
                let begin = self.stack.len().checked_sub(len).filter(|begin| *begin >= self.floor());
                self.tuple(begin.ok_or_else(|| misplaced(opcode))?)
            }
            b't' => {
                let begin = self.marks.pop().ok_or_else(|| misplaced(opcode))?;
                self.tuple(begin)
            }
            // EMPTY_DICT, SETITEM, SETITEMS
            b'}' => self.dictionary(),
            b's' => {
                let begin = self.stack.len().checked_sub(2).filter(|begin| *begin >= self.floor());
                return self.set_items(opcode, begin);
            }
            b'u' => {
                let begin = self.marks.pop();
                return self.set_items(opcode, begin);
            }
            // GLOBAL, STACK_GLOBAL
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                Value::Global(Global::parse(module, name)?)
            }
            0x93 => {
                let (Value::Text(name), Value::Text(module)) = (self.pop()?, self.pop()?) else {
                    return Err(misplaced(opcode));
                };
                Value::Global(Global::parse(module, name)?)
            }
            // REDUCE: calls a function.
            b'R' => {
                let (Value::Tuple(begin, end), Value::Global(function)) = (self.pop()?, self.pop()?) else {
                    return Err(misplaced(opcode));
                };
                self.call(function, begin, end)?
            }
            // BUILD: attributes of an ordered dictionary, where PyTorch keeps the versions of layers.
            b'b' => {
                self.pop()?;
                return self.keep_top(opcode, |top| matches!(top, Value::Dictionary(_)));
            }
            // BINPERSID: a storage, by what PyTorch wrote about it.
            b'Q' => {
                let Value::Tuple(begin, end) = self.pop()? else { return Err(misplaced(opcode)) };
                self.storage(begin, end)?
            }
            // BINPUT, LONG_BINPUT, MEMOIZE
            b'q' => return self.number(1).and_then(|at| self.put(at as usize)),
            b'r' => return self.number(4).and_then(|at| self.put(at as usize)),
            0x94 => return self.put(self.memo.len()),
            // BINGET, LONG_BINGET
            b'h' => self.number(1).and_then(|at| self.get(at as usize))?,
            b'j' => self.number(4).and_then(|at| self.get(at as usize))?,
            other => {
                return Err(format!(
                    "its pickle has the instruction {}, which no weights need",
                    name_of(other)
                ));
            }
        };
        self.stack.push(value);
        Ok(())
    }

    // ---- The program's bytes ----

    fn take(&mut self, n: usize) -> Result<&'a [u8], String> {
        let (taken, rest) = self.rest.split_at_checked(n).ok_or("its pickle is cut short")?;
        self.rest = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, String> {
        Ok(self.take(1)?[0])
    }

    /// A number of up to four bytes.
    fn number(&mut self, len: usize) -> Result<u32, String> {
        let mut bytes = [0; 4];
        bytes[..len].copy_from_slice(self.take(len)?);
        Ok(u32::from_le_bytes(bytes))
    }

    /// A text after its length, a number of so many bytes.
    fn text(&mut self, len: usize) -> Result<Value<'a>, String> {
        let len = self.number(len)?;
        let bytes = self.take(len as usize)?;
        std::str::from_utf8(bytes)
            .map(Value::Text)
            .map_err(|_| "its pickle has a text that is not UTF-8".to_owned())
    }

    /// A name that a line break ends.
    fn line(&mut self) -> Result<&'a str, String> {
        let len = self.rest.iter().position(|b| *b == b'\n').ok_or("its pickle is cut short")?;
        let line =
            std::str::from_utf8(self.take(len)?).map_err(|_| "its pickle has a name that is not UTF-8")?;
        self.byte()?;
        Ok(line)
    }

    // ---- The stack and the memo ----

    /// The height below which nothing may be taken before the open list ends.
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn pop(&mut self) -> Result<Value<'a>, String> {
        if self.stack.len() <= self.floor() {
            return Err("its pickle takes a value that is not there".to_owned());
        }
        self.stack.pop().ok_or_else(String::new)
    }

    fn pop_mark(&mut self, opcode: u8) -> Result<(), String> {
        let begin = self.marks.pop().ok_or_else(|| misplaced(opcode))?;
        self.stack.truncate(begin);
        Ok(())
    }

    /// Nothing, where the uppermost value is as it must be.
    fn keep_top(&self, opcode: u8, fits: impl Fn(&Value<'_>) -> bool) -> Result<(), String> {
        let top = self.stack.get(self.floor()..).and_then(<[_]>::last);
        if top.is_some_and(fits) { Ok(()) } else { Err(misplaced(opcode)) }
    }

    fn put(&mut self, at: usize) -> Result<(), String> {
        let value = self.pop()?;
        self.stack.push(value);
        // PyTorch numbers them in their order.
        let len = self.memo.len();
        match self.memo.get_mut(at) {
            Some(place) => *place = value,
            None if at == len => self.memo.push(value),
            None => return Err(format!("its pickle remembers value {at} after {len}")),
        }
        Ok(())
    }

    fn get(&self, at: usize) -> Result<Value<'a>, String> {
        self.memo
            .get(at)
            .copied()
            .ok_or_else(|| format!("its pickle recalls value {at}, which it has not made"))
    }

    // ---- Objects ----

    /// A tuple of the stack's values from `begin` on.
    fn tuple(&mut self, begin: usize) -> Value<'a> {
        let at = self.tuples.len();
        self.tuples.extend(self.stack.drain(begin..));
        Value::Tuple(at, self.tuples.len())
    }

    fn dictionary(&mut self) -> Value<'a> {
        self.dictionaries.push(Vec::new());
        Value::Dictionary(self.dictionaries.len() - 1)
    }

    /// Moves the stack's keys and values from `begin` on into the dictionary below them.
    fn set_items(&mut self, opcode: u8, begin: Option<usize>) -> Result<(), String> {
        let begin = begin.filter(|begin| *begin > self.floor()).ok_or_else(|| misplaced(opcode))?;
        let (Value::Dictionary(into), true) =
            (self.stack[begin - 1], (self.stack.len() - begin).is_multiple_of(2))
        else {
            return Err(misplaced(opcode));
        };
        for pair in self.stack[begin..].chunks_exact(2) {
            if let [Value::Text(key), value @ (Value::Tensor(_) | Value::Dictionary(_))] = pair {
                self.dictionaries[into].push((key, *value));
            }
        }
        self.stack.truncate(begin);
        Ok(())
    }

    fn call(&mut self, function: Global, begin: usize, end: usize) -> Result<Value<'a>, String> {
        match (function, &self.tuples[begin..end]) {
            (Global::OrderedDict, []) => Ok(self.dictionary()),
            (Global::RebuildParameter, [tensor @ Value::Tensor(_), _, _]) => Ok(*tensor),
            (
                Global::RebuildTensor,
                &[
                    Value::Storage(storage),
                    Value::Int(offset),
                    Value::Tuple(a, b),
                    Value::Tuple(c, d),
                    _,
                    _,
                    ..,
                ],
            ) if end - begin <= 7 => self.tensor(storage, offset, (a, b), (c, d)),
            _ => {
                Err("its pickle calls a function of PyTorch with other arguments than PyTorch does"
                    .to_owned())
            }
        }
    }

    /// `("storage", class, key, device, number of elements)`
    fn storage(&mut self, begin: usize, end: usize) -> Result<Value<'a>, String> {
        let &[
            Value::Text("storage"),
            Value::Global(Global::Storage(dtype, width)),
            Value::Text(key),
            _,
            Value::Int(len),
        ] = &self.tuples[begin..end]
        else {
            return Err("its pickle names an outside object that is no storage of numbers".to_owned());
        };
        let bytes = usize::try_from(len).ok().and_then(|len| len.checked_mul(width));
        let bytes = bytes.filter(|bytes| isize::try_from(*bytes).is_ok()).ok_or_else(|| {
            format!("its storage `{}` of {len} elements is more than this machine can address", short(key))
        })?;
        self.storages.push(RawStorage { key, dtype, width, bytes });
        Ok(Value::Storage(self.storages.len() - 1))
    }

    fn tensor(
        &mut self,
        storage: usize,
        offset: i64,
        shape: (usize, usize),
        strides: (usize, usize),
    ) -> Result<Value<'a>, String> {
        let RawStorage { key, width, bytes, .. } = self.storages[storage];
        let outside =
            || format!("one of its tensors lies outside its storage `{}` of {bytes} bytes", short(key));
        let (shape, strides) = (&self.tuples[shape.0..shape.1], &self.tuples[strides.0..strides.1]);
        let rank = shape.len();
        if rank > MAX_RANK || rank != strides.len() {
            return Err(format!("one of its tensors has {rank} sizes and {} strides", strides.len()));
        }
        let sizes = self.sizes.len();
        for value in shape.iter().chain(strides) {
            let Value::Int(value) = *value else {
                return Err("one of its tensors has a size that is no integer".to_owned());
            };
            let value = usize::try_from(value)
                .map_err(|_| format!("one of its tensors has the size or stride {value}, which is none"))?;
            self.sizes.push(value);
        }
        let (shape, strides) = self.sizes[sizes..].split_at(rank);
        let offset = usize::try_from(offset).map_err(|_| outside())?;
        let viewed =
            shape.iter().try_fold(width, |bytes, &size| bytes.checked_mul(size)).ok_or_else(outside)?;
        if viewed > 0 {
            let last = shape
                .iter()
                .zip(strides)
                .try_fold(offset, |last, (&size, &stride)| last.checked_add((size - 1).checked_mul(stride)?));
            last.filter(|last| *last < bytes / width).ok_or_else(outside)?;
        }
        self.tensors.push(RawTensor { storage, offset, sizes, rank, bytes: viewed });
        Ok(Value::Tensor(self.tensors.len() - 1))
    }

    // ---- The result ----

    /// Whether a dictionary holds weights, rather than a seed's state or a mean loss.
    fn has_weights(&self, dictionary: usize) -> bool {
        self.dictionaries[dictionary].iter().any(|(_, value)| match *value {
            Value::Tensor(tensor) => {
                let RawTensor { storage, rank, .. } = self.tensors[tensor];
                rank > 0 && !matches!(self.storages[storage].dtype, Dtype::Other(_))
            }
            _ => false,
        })
    }

    /// The one dictionary of weights: the pickle's own, or one inside it.
    fn find_weights(&self, root: Value<'a>) -> Result<usize, String> {
        let Value::Dictionary(root) = root else {
            return Err("its pickle is not a dictionary of tensors".to_owned());
        };
        // Each is visited once, whatever refers to it: (dictionary, index of the one around it, key there).
        let mut visited = vec![(root, 0, "")];
        let mut seen = vec![false; self.dictionaries.len()];
        seen[root] = true;
        let mut level = 0;
        for _ in 0..MAX_DEPTH {
            let end = visited.len();
            for around in level..end {
                for &(key, value) in &self.dictionaries[visited[around].0] {
                    if let Value::Dictionary(inner) = value
                        && !std::mem::replace(&mut seen[inner], true)
                    {
                        visited.push((inner, around, key));
                    }
                }
            }
            level = end;
        }
        let with_weights: Vec<_> = (0..visited.len()).filter(|at| self.has_weights(visited[*at].0)).collect();
        if let [only] = with_weights[..] {
            return Ok(visited[only].0);
        }
        if with_weights.is_empty() {
            return Err("it holds no tensors under names".to_owned());
        }
        let path = |mut at: usize| {
            let mut path = String::new();
            while at > 0 {
                path = format!("[\"{}\"]{path}", short(visited[at].2));
                at = visited[at].1;
            }
            if path.is_empty() { "its top".to_owned() } else { path }
        };
        let shown: Vec<_> = with_weights.iter().take(4).map(|at| path(*at)).collect();
        Err(format!(
            "it holds {} sets of tensors, at {}: save one of them alone",
            with_weights.len(),
            shown.join(", ")
        ))
    }

    fn state_dict(&self, dictionary: usize) -> Result<StateDict, String> {
        let tensors: Vec<_> = self.dictionaries[dictionary]
            .iter()
            .filter_map(|(name, value)| match value {
                Value::Tensor(tensor) => Some((*name, &self.tensors[*tensor])),
                _ => None,
            })
            .collect();
        if tensors.len() > MAX_TENSORS {
            return Err(format!("it holds more than {MAX_TENSORS} tensors"));
        }
        if let Some(name) = twice(tensors.iter().map(|(name, _)| *name).collect()) {
            return Err(format!("it holds `{}` twice", short(name)));
        }
        // PyTorch names a storage once for each tensor that views it.
        let mut storages = self.storages.clone();
        sort(&mut storages, &|a, b| a.key < b.key);
        if let Some(pair) = storages.windows(2).find(|pair| pair[0].key == pair[1].key && pair[0] != pair[1])
        {
            return Err(format!("its storage `{}` is described in two ways", short(pair[0].key)));
        }
        storages.dedup_by_key(|storage| storage.key);
        let mut result = StateDict { storages: Vec::new(), tensors: Vec::new() };
        result.storages.extend(storages.iter().map(|&RawStorage { key, dtype, width, bytes }| Storage {
            key: key.to_owned(),
            dtype,
            width,
            bytes,
            needed: false,
        }));
        // By storage, and as pairs of numbers, as the arena sorts: one sort in the module then does for both.
        let mut order: Vec<(u64, u64)> = (0u64..)
            .zip(&tensors)
            .map(|(at, (_, tensor))| {
                let key = self.storages[tensor.storage].key;
                // Found: each storage is in the list under its key.
                (storages.partition_point(|storage| storage.key < key) as u64, at)
            })
            .collect();
        sort(&mut order, &|a, b| a < b);
        let (mut stored, mut viewed) = (0usize, 0usize);
        for (storage, at) in order {
            let (name, &RawTensor { offset, sizes, rank, bytes, .. }) = tensors[at as usize];
            let storage = storage as usize;
            if !std::mem::replace(&mut result.storages[storage].needed, true) {
                stored = stored.saturating_add(result.storages[storage].bytes);
            }
            viewed = viewed.saturating_add(bytes);
            let (shape, strides) = self.sizes[sizes..sizes + 2 * rank].split_at(rank);
            let (shape, strides) = (shape.to_vec(), strides.to_vec());
            let dtype = result.storages[storage].dtype;
            result.tensors.push(View { name: name.to_owned(), dtype, storage, offset, shape, strides });
        }
        // A storage of one element can be viewed as a tensor of any size.
        if viewed > stored.saturating_mul(2).saturating_add(SLACK) {
            return Err(format!("its tensors repeat {stored} stored bytes until they are {viewed}"));
        }
        Ok(result)
    }
}

fn misplaced(opcode: u8) -> String {
    format!("its pickle has the instruction {} where it makes no sense", name_of(opcode))
}

/// An instruction's name in Python's `pickletools`, or its number.
fn name_of(opcode: u8) -> String {
    const NAMES: [(u8, &str); 24] = [
        (b'R', "REDUCE"),
        (b'b', "BUILD"),
        (b'Q', "BINPERSID"),
        (b'P', "PERSID"),
        (b'i', "INST"),
        (b'o', "OBJ"),
        (0x81, "NEWOBJ"),
        (0x92, "NEWOBJ_EX"),
        (0x93, "STACK_GLOBAL"),
        (0x82, "EXT1"),
        (0x83, "EXT2"),
        (0x84, "EXT4"),
        (b'0', "POP"),
        (b'1', "POP_MARK"),
        (b'2', "DUP"),
        (b'd', "DICT"),
        (b'l', "LIST"),
        (b't', "TUPLE"),
        (b's', "SETITEM"),
        (b'u', "SETITEMS"),
        (b'a', "APPEND"),
        (b'e', "APPENDS"),
        (b'.', "STOP"),
        (0x8b, "LONG4"),
    ];
    match NAMES.iter().find(|(number, _)| *number == opcode) {
        Some((_, name)) => (*name).to_owned(),
        None => format!("{opcode:#04x}"),
    }
}
