//! A checkpoint's tensors, under diffusers' current names, and which of them a network asks for.

use std::fmt;

use half::{bf16, f16};
use serde_json::{Map, Value};

use super::json::parse_object;
use super::packed::{scale_shape, unpack};
use crate::error::{Error, Result};
use crate::sort::sort;
use crate::text;

/// The number format of a stored tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dtype {
    /// IEEE double precision.
    F64,
    /// IEEE single precision.
    F32,
    /// IEEE half precision.
    F16,
    /// The upper half of an f32.
    Bf16,
    /// Eight bits with scales of groups of 64, which stand behind the numbers: [`Weights::pack`].
    Int8,
    /// Integers, booleans and formats of 8 bits and less, by their name in the file: kept, but no weights.
    Other(&'static str),
}

impl Dtype {
    /// The format of this name in a safetensors file, and how many bits one element takes.
    pub(super) fn parse(name: &str) -> Option<(Self, u64)> {
        const OTHERS: [(&str, u64); 18] = [
            ("BOOL", 8),
            ("F4", 4),
            ("F6_E2M3", 6),
            ("F6_E3M2", 6),
            ("U8", 8),
            ("I8", 8),
            ("F8_E5M2", 8),
            ("F8_E4M3", 8),
            ("F8_E8M0", 8),
            ("F8_E4M3FNUZ", 8),
            ("F8_E5M2FNUZ", 8),
            ("I16", 16),
            ("U16", 16),
            ("I32", 32),
            ("U32", 32),
            ("C64", 64),
            ("I64", 64),
            ("U64", 64),
        ];
        match name {
            "F64" => Some((Self::F64, 64)),
            "F32" => Some((Self::F32, 32)),
            "F16" => Some((Self::F16, 16)),
            "BF16" => Some((Self::Bf16, 16)),
            _ => OTHERS.iter().find(|(n, _)| *n == name).map(|&(n, bits)| (Self::Other(n), bits)),
        }
    }

    /// The format's name in the file.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::F64 => "F64",
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::Bf16 => "BF16",
            Self::Int8 => "I8",
            Self::Other(name) => name,
        }
    }
}

/// What packed numbers are in a file, before their scales are found.
pub(super) const PACKED: Dtype = Dtype::Other("I8");

/// Who takes the tensors of a part one after the other as they are read, so that they need not all be held.
#[cfg(feature = "text")]
pub trait Sink {
    /// A file's header has been read: these are the tensors in it that are asked for, and no byte of theirs has come.
    ///
    /// # Errors
    /// To go no further, for instance because there is no room for them.
    fn described(&mut self, tensors: &[(&str, Dtype, &[usize])]) -> Result<()>;

    /// A tensor under the name that it was asked for by. After a broken connection it may come once more.
    ///
    /// # Errors
    /// To go no further.
    fn put(&mut self, key: &str, tensor: Tensor) -> Result<()>;
}

/// One tensor as it stands in the file.
#[derive(Clone, PartialEq, Eq)]
pub struct Tensor {
    /// The number format of `bytes`.
    pub dtype: Dtype,
    /// Sizes, outermost first, in PyTorch's layout: Linear `[out, in]`, Conv `[out, in, height, width]`.
    pub shape: Vec<usize>,
    /// Little-endian elements in row-major order; of [`Dtype::Int8`] the scales follow.
    pub bytes: Vec<u8>,
}

impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?} in {} bytes", self.dtype.name(), self.shape, self.bytes.len())
    }
}

impl Tensor {
    /// A tensor of f32 values; `shape` is their number factored.
    #[must_use]
    pub fn from_f32(shape: &[usize], values: &[f32]) -> Self {
        debug_assert_eq!(shape.iter().product::<usize>(), values.len());
        let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        Self { dtype: Dtype::F32, shape: shape.to_vec(), bytes }
    }

    /// The values as f32, rounded from F64, products of numbers and scales from [`Dtype::Int8`], exact from the others. `key` names the tensor in errors.
    ///
    /// # Errors
    /// [`Error::Dtype`] for formats that are no floats of 16 bits or more; [`Error::NotFiniteWeight`] where a value
    /// is NaN or infinite, or too large for f32; [`Error::OutOfMemory`].
    pub fn to_f32(&self, key: &str) -> Result<Vec<f32>> {
        fn read<const N: usize>(bytes: &[u8], read: impl Fn([u8; N]) -> f32) -> Option<Vec<f32>> {
            let (numbers, mut values) = (bytes.as_chunks().0, Vec::new());
            values.try_reserve_exact(numbers.len()).ok()?;
            values.extend(numbers.iter().map(|b| read(*b)));
            Some(values)
        }
        let values = match self.dtype {
            Dtype::F64 => read(&self.bytes, |b| f64::from_le_bytes(b) as f32),
            Dtype::F32 => read(&self.bytes, f32::from_le_bytes),
            Dtype::F16 => read(&self.bytes, |b| f16::from_le_bytes(b).to_f32()),
            Dtype::Bf16 => read(&self.bytes, |b| bf16::from_le_bytes(b).to_f32()),
            Dtype::Int8 => {
                let mut values = Vec::new();
                let room = values.try_reserve_exact(self.shape.iter().product());
                room.ok().map(|()| {
                    values.extend(unpack(&self.shape, &self.bytes));
                    values
                })
            }
            Dtype::Other(name) => return Err(Error::Dtype { key: key.to_owned(), dtype: name.to_owned() }),
        };
        let values = values.ok_or_else(|| Error::OutOfMemory {
            problem: format!("`{}` of shape {:?} as f32", text::name(key), self.shape),
        })?;
        match values.iter().position(|v| !v.is_finite()) {
            None => Ok(values),
            Some(index) => Err(Error::NotFiniteWeight { key: key.to_owned(), index, value: values[index] }),
        }
    }
}

/// A checkpoint's tensors by name, in the names that diffusers writes today.
#[derive(Clone, Debug, Default)]
pub struct Weights {
    /// Each name's place in `tensors`. A map of another kind than those that there are would take four kilobytes of a page.
    places: Map<String, Value>,
    /// Nothing where a tensor was taken out.
    tensors: Vec<Option<Tensor>>,
    /// The names of tensors that were in the files and were not kept, because nobody asked for them.
    pub(super) skipped: Map<String, Value>,
    /// What the last file says of itself.
    metadata: Value,
}

impl Weights {
    /// What a safetensors file says of itself: texts by name. It is not written again.
    #[must_use]
    pub fn metadata(&self) -> &Value {
        &self.metadata
    }

    pub(super) fn set_metadata(&mut self, metadata: Value) {
        self.metadata = metadata;
    }

    /// The names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.places.keys().map(String::as_str).filter(|name| self.get(name).is_some())
    }

    /// How many tensors are left.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tensors.iter().flatten().count()
    }

    /// Whether no tensor is left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Looks at a tensor.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.tensors[self.place(name)?].as_ref()
    }

    /// Takes a tensor out: its memory is free as soon as the caller has converted or uploaded it.
    pub fn take(&mut self, name: &str) -> Option<Tensor> {
        let place = self.place(name)?;
        self.tensors[place].take()
    }

    /// Puts a tensor in, in place of one of the same name.
    pub fn insert(&mut self, name: impl Into<String>, tensor: Tensor) {
        let name = name.into();
        match self.place(&name) {
            Some(place) => self.tensors[place] = Some(tensor),
            None => {
                self.places.insert(name, self.tensors.len().into());
                self.tensors.push(Some(tensor));
            }
        }
    }

    fn place(&self, name: &str) -> Option<usize> {
        Some(self.places.get(name)?.as_u64()? as usize)
    }

    /// Compares with what a network asks for, and returns the names in the files that it does not ask for, sorted.
    /// Attention's projections may be stored as 1×1 convolutions (`[out, in, 1, 1]` for `[out, in]`) or the other way
    /// round; they are given the shape asked for.
    ///
    /// # Errors
    /// [`Error::MissingKey`] with the first of the absent tensors, else [`Error::WrongShape`].
    pub fn check(&mut self, expected: &[(String, Vec<usize>)]) -> Result<Vec<String>> {
        let mut missing = expected.iter().filter(|(key, _)| self.get(key).is_none());
        if let Some((key, shape)) = missing.next() {
            return Err(Error::MissingKey {
                key: key.clone(),
                expected: shape.clone(),
                more: missing.count(),
            });
        }
        for (key, shape) in expected {
            let Some(tensor) = self.place(key).and_then(|place| self.tensors[place].as_mut()) else {
                continue;
            };
            check_shape(key, &tensor.shape, shape)?;
            tensor.shape.clone_from(shape);
        }
        let mut asked: Vec<&str> = expected.iter().map(|(key, _)| key.as_str()).collect();
        sort(&mut asked, &|a, b| a < b);
        let mut unused: Vec<String> = self.skipped.keys().cloned().collect();
        for name in self.names() {
            if asked.binary_search(&name).is_err() && !self.skipped.contains_key(name) {
                unused.push(name.to_owned());
            }
        }
        sort(&mut unused, &|a, b| a < b);
        Ok(unused)
    }

    /// Puts the scales of packed tensors behind their numbers.
    ///
    /// # Errors
    /// [`Error::MissingKey`] or [`Error::WrongShape`] where a tensor of I8 has no scales, or those of another.
    pub(super) fn join_scales(&mut self) -> Result<()> {
        let is_packed = |name: &&str| self.get(name).is_some_and(|t| t.dtype == PACKED);
        let packed: Vec<String> = self.names().filter(is_packed).map(str::to_owned).collect();
        packed.iter().try_for_each(|name| self.join_scales_of(name))
    }

    /// Puts a packed tensor's scales behind its numbers: see [`Self::join_scales`].
    pub(super) fn join_scales_of(&mut self, name: &str) -> Result<()> {
        let key = format!("{name}.scale");
        let (Some(mut tensor), scale) = (self.take(name), self.take(&key)) else { return Ok(()) };
        let expected = scale_shape(&tensor.shape).to_vec();
        match scale {
            Some(scale) if scale.dtype == Dtype::F16 && scale.shape == expected => {
                tensor.dtype = Dtype::Int8;
                tensor.bytes.extend(scale.bytes);
            }
            Some(Tensor { shape: found, .. }) => return Err(Error::WrongShape { key, expected, found }),
            None => return Err(Error::MissingKey { key, expected, more: 0 }),
        }
        self.insert(name, tensor);
        Ok(())
    }

    /// Renames what older diffusers wrote; where a file holds both names, the current one wins.
    pub(super) fn normalise(&mut self) {
        let renamed: Vec<_> = self.names().filter_map(|n| Some((n.to_owned(), current_name(n)?))).collect();
        for (old, new) in renamed {
            if let Some(tensor) = self.take(&old)
                && self.get(&new).is_none()
            {
                self.insert(new, tensor);
            }
        }
    }
}

impl PartialEq for Weights {
    fn eq(&self, other: &Self) -> bool {
        self.skipped == other.skipped
            && self.len() == other.len()
            && self.names().all(|name| self.get(name) == other.get(name))
    }
}

impl Eq for Weights {}

/// How many prefixes are looked behind, so that a file of nothing but prefixes is soon refused.
const MAX_PREFIXES: usize = 16;

/// What a network asks of a checkpoint's weights: with it a reader refuses files that do not suit as soon as it has seen their
/// names and shapes, and leaves out the tensors that nobody asks for.
#[derive(Clone, Debug)]
pub struct Asked {
    parameters: Vec<(String, Vec<usize>)>,
    by_name: Map<String, Value>,
    /// What stands before each name in the files.
    prefix: String,
}

impl Asked {
    /// `parameters` are names and shapes, as [`Inventory`](crate::network::describe::Inventory) lists them.
    #[must_use]
    pub fn new(parameters: Vec<(String, Vec<usize>)>) -> Self {
        // Inserted rather than collected, which would bring a sort of its own into the page.
        let mut by_name = Map::new();
        for (i, (name, _)) in parameters.iter().enumerate() {
            by_name.insert(name.clone(), i.into());
        }
        Self { parameters, by_name, prefix: String::new() }
    }

    /// The names and shapes.
    #[must_use]
    pub fn parameters(&self) -> &[(String, Vec<usize>)] {
        &self.parameters
    }

    /// Looks for every parameter among all names of a checkpoint. Where each of them stands behind one and the same prefix
    /// (`module.` of data parallel training, `_orig_mod.` of `torch.compile`, `unet.`), that is left out from here on.
    ///
    /// # Errors
    /// [`Error::MissingKey`] with the first of the absent parameters; [`Error::KeyNames`] where the names are another
    /// network's, or several prefixes would do.
    pub fn settle<'a>(&mut self, names: impl Iterator<Item = &'a str>) -> Result<()> {
        let names: Vec<&str> = names.collect();
        // What stands before the first parameter or the last: that is before all of them, or one of them is missing.
        let mut prefixes = vec![""];
        for (end, _) in [self.parameters.first(), self.parameters.last()].into_iter().flatten() {
            for prefix in names.iter().filter_map(|name| name.strip_suffix(end.as_str())) {
                if prefix.ends_with('.') && prefixes.len() < MAX_PREFIXES && !prefixes.contains(&prefix) {
                    prefixes.push(prefix);
                }
            }
        }
        let mut whole = Vec::new();
        let mut best = ("", Vec::new(), 0);
        for prefix in prefixes {
            let mut found = vec![false; self.parameters.len()];
            for at in names.iter().filter_map(|name| self.position(name.strip_prefix(prefix)?)) {
                found[at] = true;
            }
            let count = found.iter().filter(|found| **found).count();
            if count == self.parameters.len() {
                whole.push(prefix);
            }
            if count > best.2 {
                best = (prefix, found, count);
            }
        }
        self.prefix = match whole[..] {
            [] => return Err(self.incomplete(best.0, &best.1, &names)),
            // A whole network without a prefix counts before any other.
            ["", ..] => String::new(),
            [one] => one.to_owned(),
            _ => {
                let list: Vec<String> = whole.iter().map(|p| format!("`{}`", text::name(p))).collect();
                let list = list.join(" and ");
                let problem = format!("they hold {} whole networks, their names behind {list}", whole.len());
                return Err(Error::KeyNames { problem });
            }
        };
        Ok(())
    }

    /// The error for files in which no prefix has all parameters behind it; `found` are those behind the best one.
    fn incomplete(&self, prefix: &str, found: &[bool], names: &[&str]) -> Error {
        if found.is_empty() && !names.is_empty() {
            let examples: Vec<String> =
                names.iter().take(2).map(|name| format!("`{}`", text::name(name))).collect();
            let problem = format!(
                "none of the {} names that the config asks for is there, but {}",
                self.parameters.len(),
                examples.join(" and ")
            );
            return Error::KeyNames { problem };
        }
        let missing = |i: &usize| !found.get(*i).is_some_and(|found| *found);
        let mut absent = (0..self.parameters.len()).filter(missing).map(|i| &self.parameters[i]);
        let (key, expected) = absent.next().cloned().unwrap_or_default();
        Error::MissingKey { key: format!("{prefix}{key}"), expected, more: absent.count() }
    }

    /// Which parameter a name without the prefix means.
    fn position(&self, name: &str) -> Option<usize> {
        let found = self.by_name.get(name).or_else(|| self.by_name.get(&current_name(name)?));
        Some(found?.as_u64()? as usize)
    }

    /// Which of the parameters a name in the files means; `None` where nobody asks for it.
    pub(super) fn find(&self, name: &str) -> Option<usize> {
        self.position(name.strip_prefix(&self.prefix)?)
    }
}

/// # Errors
/// [`Error::WrongShape`] unless a tensor stored in this shape can be used in that.
pub(super) fn check_shape(key: &str, stored: &[usize], asked: &[usize]) -> Result<()> {
    if stored == asked || is_projection(key) && squeezed(stored) == squeezed(asked) {
        return Ok(());
    }
    Err(Error::WrongShape { key: key.to_owned(), expected: asked.to_vec(), found: stored.to_vec() })
}

/// `[out, in]` of a 1×1 convolution's weight.
fn squeezed(shape: &[usize]) -> &[usize] {
    match shape {
        [matrix @ .., 1, 1] if matrix.len() == 2 => matrix,
        _ => shape,
    }
}

fn is_projection(key: &str) -> bool {
    text::contains(key, ".attentions.")
        && [".to_q.weight", ".to_k.weight", ".to_v.weight", ".to_out.0.weight"]
            .iter()
            .any(|p| key.ends_with(p))
}

/// Today's name of a tensor that older versions named otherwise.
fn current_name(name: &str) -> Option<String> {
    if name == "time_proj.W" {
        return Some("time_proj.weight".to_owned());
    }
    let (rest, leaf) = name.rsplit_once('.')?;
    let (rest, part) = rest.rsplit_once('.')?;
    let (list, number) = rest.rsplit_once('.')?;
    if number.is_empty() || !number.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let part = if list.ends_with(".attentions") {
        match part {
            "query" => "to_q",
            "key" => "to_k",
            "value" => "to_v",
            "proj_attn" => "to_out.0",
            _ => return None,
        }
    } else if list.ends_with(".downsamplers") && part == "Conv2d_0" {
        "conv"
    } else {
        return None;
    };
    Some(format!("{rest}.{part}.{leaf}"))
}

/// More files than any network here is cut into: `save_pretrained` cuts at 10 GB.
const MAX_SHARDS: usize = 256;

/// What an index of shards (`….safetensors.index.json`, `….bin.index.json`) says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shards {
    /// The names of the shards, sorted; they lie beside the index.
    pub files: Vec<String>,
    /// The names of all tensors.
    pub tensors: Vec<String>,
}

impl Shards {
    /// Reads an index; `file` names it in errors. Its shards end in what `file` has before `.index.`.
    ///
    /// # Errors
    /// [`Error::Json`] where it has no `weight_map` from names to the names of at most 256 files beside it. A name that
    /// leads out of the folder is none.
    pub fn parse(file: &str, index: &[u8]) -> Result<Self> {
        let problem = |problem: String| Error::Json { file: file.to_owned(), problem };
        let object = parse_object(file, index)?;
        let Some(Value::Object(map)) = object.get("weight_map") else {
            return Err(problem("it has no `weight_map` object".to_owned()));
        };
        let end = if text::contains(file, ".bin.index.") { ".bin" } else { ".safetensors" };
        let mut files = Map::new();
        for (key, value) in map {
            match value.as_str() {
                Some(name) if name.ends_with(end) && !name.contains(['/', '\\', ':', '?', '#', '%']) => {
                    files.insert(name.to_owned(), Value::Null);
                }
                _ => return Err(problem(format!("`{}` is in no {end} file beside it", text::name(key)))),
            }
        }
        match files.len() {
            0 => Err(problem("its `weight_map` is empty".to_owned())),
            n if n > MAX_SHARDS => {
                Err(problem(format!("it names {n} files, and no network here has more than {MAX_SHARDS}")))
            }
            _ => Ok(Self { files: files.keys().cloned().collect(), tensors: map.keys().cloned().collect() }),
        }
    }
}
