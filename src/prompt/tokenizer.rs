//! CLIP's byte-pair encoding (Radford et al. 2021; Sennrich, Haddow and Birch 2016), as transformers' `CLIPTokenizer` does it.
//!
//! A text is cut at special tokens, brought into normal form C and lower case, and split into pieces: contractions, runs of
//! letters, single numbers, and runs of anything else that is not white space. The bytes of a piece are its first symbols, the
//! last of them marked as the end of a word; then the two neighbours whose merge was learnt first are joined, until no two are
//! left that were.
//!
//! These are the rules of the tokenizer in Rust that transformers uses, in version 5 always. The older one in Python differs in
//! texts beyond ASCII: with the package `ftfy` it repaired them first, and without it cut Chinese characters apart.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
#[cfg(not(target_arch = "wasm32"))]
use std::path::Path;

use serde_json::{Map, Value};

use super::{Prompt, Unicode, Word};
use crate::checkpoint::json::{parse_object, shorten};
use crate::error::{Error, Result};
use crate::sort::sort;
use crate::text;

/// What marks a symbol as the last of its word.
const END_OF_WORD: &str = "</w>";
/// Both begin a token's name in every CLIP tokenizer; a config may name others.
const BOS: &str = "<|startoftext|>";
const EOS: &str = "<|endoftext|>";

/// The bytes of a tokenizer's files, as far as there are such: `vocab` and `merges`, or `tokenizer` instead of both.
#[derive(Clone, Copy, Debug, Default)]
pub struct Files<'a> {
    /// `vocab.json`: tokens and their ids.
    pub vocab: Option<&'a [u8]>,
    /// `merges.txt`: pairs of symbols, the first learnt first.
    pub merges: Option<&'a [u8]>,
    /// `tokenizer.json`, which has both.
    pub tokenizer: Option<&'a [u8]>,
    /// `tokenizer_config.json`.
    pub config: Option<&'a [u8]>,
    /// `special_tokens_map.json`, which outranks the config.
    pub special_tokens_map: Option<&'a [u8]>,
}

/// Two symbols that become one.
#[derive(Clone, Copy, Debug)]
struct Merge {
    pair: (u32, u32),
    rank: u32,
    into: u32,
}

/// Turns prompts into ids.
#[derive(Clone, Debug)]
pub struct Tokenizer {
    /// The tokens' names by their ids, in whose order they stand; there may be gaps.
    tokens: Vec<(u32, String)>,
    /// Sorted by pair, then by rank.
    merges: Vec<Merge>,
    /// The ids of each byte, within a word and at its end; none where the vocabulary lacks it.
    bytes: Vec<[Option<u32>; 2]>,
    /// Names that are looked for before anything else, the longest first.
    special: Vec<(String, u32)>,
    bos: u32,
    eos: u32,
    unknown: u32,
    pad: u32,
    /// How many ids a prompt has; none where the files do not say.
    max_length: Option<usize>,
}

impl Tokenizer {
    /// Reads a tokenizer's files.
    ///
    /// # Errors
    /// [`Error::MissingFile`] without a vocabulary, [`Error::Json`] where a file is not what it should be, [`Error::Unsupported`]
    /// for a tokenizer of another class, [`Error::Config`] where a special token is not in the vocabulary.
    pub fn read(files: &Files<'_>) -> Result<Self> {
        let object = |name: &str, bytes: Option<&[u8]>| {
            bytes.map_or_else(|| Ok(Map::new()), |bytes| parse_object(name, bytes))
        };
        let config = object(CONFIG, files.config)?;
        let map = object(SPECIAL, files.special_tokens_map)?;
        if let Some(class) = config.get("tokenizer_class").and_then(Value::as_str)
            && !["CLIPTokenizer", "CLIPTokenizerFast"].contains(&class)
        {
            let why = "prompts are encoded by a CLIPTokenizer alone".to_owned();
            return Err(Error::Unsupported { what: class.to_owned(), why });
        }
        let (vocabulary, merges, added) = match (files.vocab, files.merges, files.tokenizer) {
            (Some(vocab), Some(merges), _) => {
                let vocabulary = ids(VOCAB, &parse_object(VOCAB, vocab)?)?;
                (vocabulary, merges_of_text(merges)?, Vec::new())
            }
            (_, _, Some(tokenizer)) => of_tokenizer_json(&parse_object(TOKENIZER, tokenizer)?)?,
            _ => {
                let here = [(VOCAB, files.vocab), (MERGES, files.merges)];
                let here: Vec<&str> =
                    here.iter().filter(|(_, file)| file.is_some()).map(|(n, _)| *n).collect();
                return Err(Error::MissingFile {
                    wanted: format!("{VOCAB} and {MERGES} of the tokenizer, or its {TOKENIZER}"),
                    found: if here.is_empty() { "neither".to_owned() } else { here.join(", ") },
                });
            }
        };
        let named = |field: &'static str, default: &str| -> (String, u32) {
            // Either the name itself or an object that has it.
            let name = |value: &Value| value.get("content").unwrap_or(value).as_str().map(str::to_owned);
            let name = [&map, &config].iter().find_map(|object| name(object.get(field)?));
            let name = name.unwrap_or_else(|| default.to_owned());
            let listed = added.iter().find(|(added, _)| *added == name).map(|(_, id)| *id);
            // What is in no vocabulary is not reached by `unwrap_or`: the check below refuses it.
            let id = id_of(&vocabulary, &name).or(listed).unwrap_or(u32::MAX);
            (name, id)
        };
        let fields = ["bos_token", "eos_token", "unk_token", "pad_token"];
        let four =
            [named(fields[0], BOS), named(fields[1], EOS), named(fields[2], EOS), named(fields[3], EOS)];
        for (field, (name, id)) in fields.iter().zip(&four) {
            if *id == u32::MAX {
                return Err(misfit(field, &format!("{name:?}"), "a token of the vocabulary"));
            }
        }
        let [bos, eos, unknown, pad] = [four[0].1, four[1].1, four[2].1, four[3].1];
        let mut special: Vec<(String, u32)> = four.into_iter().chain(added).chain(listed(&config)).collect();
        special.retain(|(name, _)| !name.is_empty());
        // The longest come first, and of those with one name the one that is listed first.
        let mut places: Vec<usize> = (0..special.len()).collect();
        let place = |at: usize| (usize::MAX - special[at].0.len(), &special[at].0, at);
        sort(&mut places, &|a, b| place(*a) < place(*b));
        let mut special: Vec<_> = places.into_iter().map(|at| special[at].clone()).collect();
        special.dedup();
        let bytes = (0..=255).map(|byte| {
            let symbol = symbol_of(byte).to_string();
            let last = format!("{symbol}{END_OF_WORD}");
            [&symbol, &last].map(|token| id_of(&vocabulary, token))
        });
        let (bytes, merges) = (bytes.collect(), ranked(&vocabulary, merges)?);
        let mut tokens: Vec<_> = vocabulary.into_iter().map(|(token, id)| (id, token)).collect();
        sort(&mut tokens, &|a, b| a < b);
        Ok(Self {
            bytes,
            merges,
            tokens,
            special,
            bos,
            eos,
            unknown,
            pad,
            // Python writes 10³⁰ where nobody said.
            max_length: config.get("model_max_length").and_then(Value::as_u64).map(|n| n as usize),
        })
    }

    /// Reads the tokenizer in a folder (`tokenizer/` of a pipeline).
    ///
    /// # Errors
    /// As [`Self::read`], and [`Error::Io`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn open(folder: &Path) -> Result<Self> {
        let read = |name: &str| {
            let path = folder.join(name);
            path.exists().then(|| crate::read::read_regular(&path, MAX_FILE)).transpose()
        };
        let (vocab, merges, tokenizer) = (read(VOCAB)?, read(MERGES)?, read(TOKENIZER)?);
        let (config, special) = (read(CONFIG)?, read(SPECIAL)?);
        Self::read(&Files {
            vocab: vocab.as_deref(),
            merges: merges.as_deref(),
            tokenizer: tokenizer.as_deref(),
            config: config.as_deref(),
            special_tokens_map: special.as_deref(),
        })
    }

    /// How many ids a prompt has; 77 in nearly all models.
    #[must_use]
    pub fn max_length(&self) -> Option<usize> {
        self.max_length
    }

    /// Makes sure that a text encoder of so many tokens and positions understands these ids, and gives prompts its length where
    /// the tokenizer's files do not say.
    ///
    /// # Errors
    /// [`Error::Config`] where the ids go beyond the encoder's table, or prompts are longer than it has positions.
    pub fn fit(&mut self, vocab_size: usize, positions: usize) -> Result<()> {
        let ids = self.tokens.last().map(|(id, _)| id).into_iter();
        let largest = ids.chain(self.special.iter().map(|(_, id)| id)).max();
        if let Some(largest) = largest
            && *largest as usize >= vocab_size
        {
            let expected = format!(
                "more than {largest}, the tokenizer's largest id: it belongs to another text encoder"
            );
            return Err(config_error("text_encoder/config.json", "vocab_size", vocab_size, expected));
        }
        let length = *self.max_length.get_or_insert(positions);
        if !(2..=positions).contains(&length) {
            return Err(misfit(
                "model_max_length",
                &length.to_string(),
                &format!("2 to {positions}, which the text encoder has positions for"),
            ));
        }
        Ok(())
    }

    /// A prompt's ids and words. A prompt that is too long loses its end, and never the token that ends it.
    #[must_use]
    pub fn encode(&self, prompt: &str, unicode: Unicode<'_>) -> Prompt {
        let mut ids = vec![self.bos];
        let mut words = Vec::new();
        let mut rest = prompt;
        while !rest.is_empty() {
            let found = self.first_special(rest);
            let (before, special, after) = found.map_or((rest, None, ""), |(at, name, id)| {
                (&rest[..at], Some((name, id)), &rest[at + name.len()..])
            });
            self.encode_text(before, unicode, &mut ids, &mut words);
            if let Some((name, id)) = special {
                words.push(Word { text: name.to_owned(), tokens: ids.len()..ids.len() + 1, unknown: false });
                ids.push(id);
            }
            rest = after;
        }
        let length = self.max_length.unwrap_or(usize::MAX).max(2);
        let kept = ids.len().min(length - 1);
        let cut = self.spelling(&ids[kept..]);
        ids.truncate(kept);
        ids.push(self.eos);
        if self.max_length.is_some() {
            ids.resize(length, self.pad);
        }
        words.retain_mut(|word| {
            word.tokens.end = word.tokens.end.min(kept);
            !word.tokens.is_empty()
        });
        Prompt { ids, words, cut }
    }

    /// The text that ids stand for, with a space after each word.
    #[must_use]
    pub fn spelling(&self, ids: &[u32]) -> String {
        let mut bytes = Vec::new();
        for id in ids {
            let special = self.special.iter().find(|(_, special)| special == id).map(|(name, _)| name);
            if let Some(name) = special {
                bytes.extend(name.bytes());
                bytes.push(b' ');
                continue;
            }
            let at = self.tokens.partition_point(|(known, _)| known < id);
            let Some((_, token)) = self.tokens.get(at).filter(|(known, _)| known == id) else { continue };
            let (symbols, ends) = token.strip_suffix(END_OF_WORD).map_or((&**token, false), |t| (t, true));
            bytes.extend(symbols.chars().filter_map(byte_of));
            if ends {
                bytes.push(b' ');
            }
        }
        String::from_utf8_lossy(&bytes).trim().to_owned()
    }

    /// The first special token in a text, the longest of those that begin at one place.
    fn first_special(&self, text: &str) -> Option<(usize, &str, u32)> {
        let places = self
            .special
            .iter()
            .filter_map(|(name, id)| Some((text::split_once(text, name)?.0.len(), name.as_str(), *id)));
        // The first of equals: the longest come first.
        places.min_by_key(|(at, _, _)| *at)
    }

    /// A text without special tokens.
    fn encode_text(&self, text: &str, unicode: Unicode<'_>, ids: &mut Vec<u32>, words: &mut Vec<Word>) {
        let text: String = (unicode.nfc)(text).chars().flat_map(char::to_lowercase).collect();
        for word in text.split_whitespace() {
            let start = ids.len();
            let (mut rest, mut unknown) = (word, false);
            while !rest.is_empty() {
                let (piece, after) = rest.split_at(piece_length(rest, unicode.is_letter));
                unknown |= self.encode_piece(piece, ids);
                rest = after;
            }
            words.push(Word { text: word.to_owned(), tokens: start..ids.len(), unknown });
        }
    }

    /// Byte-pair encoding of one piece; whether one of its bytes is unknown.
    fn encode_piece(&self, piece: &str, ids: &mut Vec<u32>) -> bool {
        // A list of symbols linked through their places, as long pieces would take the square of their length otherwise.
        struct Symbol {
            id: u32,
            before: usize,
            after: usize,
        }
        const NONE: usize = usize::MAX;
        let length = piece.len();
        let mut unknown = false;
        let mut symbols: Vec<Symbol> = Vec::with_capacity(length);
        for (at, byte) in piece.bytes().enumerate() {
            let id = self.bytes[usize::from(byte)][usize::from(at + 1 == length)];
            unknown |= id.is_none();
            let after = if at + 1 == length { NONE } else { at + 1 };
            symbols.push(Symbol { id: id.unwrap_or(self.unknown), before: at.wrapping_sub(1), after });
        }
        let mut queue = BinaryHeap::new();
        let pair = |symbols: &[Symbol], at: usize| {
            let merge = self.merge(symbols[at].id, symbols.get(symbols[at].after)?.id)?;
            Some(Reverse((merge.rank, at, merge.into)))
        };
        queue.extend((0..length).filter_map(|at| pair(&symbols, at)));
        while let Some(next) = queue.pop() {
            let Reverse((_, at, into)) = next;
            // One of the two may have been joined with another meanwhile.
            if pair(&symbols, at) != Some(next) {
                continue;
            }
            let right = symbols[at].after;
            let after = symbols[right].after;
            symbols[at].id = into;
            symbols[at].after = after;
            symbols[right].after = NONE;
            symbols[right].before = NONE;
            if let Some(symbol) = symbols.get_mut(after) {
                symbol.before = at;
            }
            queue.extend(pair(&symbols, at));
            if symbols[at].before != NONE {
                queue.extend(pair(&symbols, symbols[at].before));
            }
        }
        let mut at = 0;
        while let Some(symbol) = symbols.get(at) {
            ids.push(symbol.id);
            at = symbol.after;
        }
        unknown
    }

    fn merge(&self, left: u32, right: u32) -> Option<&Merge> {
        // Of a pair that stands there twice the last counts.
        let end = self.merges.partition_point(|merge| merge.pair <= (left, right));
        self.merges[..end].last().filter(|merge| merge.pair == (left, right))
    }
}

/// How many bytes the first piece of a text takes, which does not begin with white space.
fn piece_length(text: &str, is_letter: &dyn Fn(char) -> bool) -> usize {
    const FIRST: [&str; 7] = ["'s", "'t", "'re", "'ve", "'m", "'ll", "'d"];
    if let Some(first) = FIRST.iter().find(|first| text.starts_with(**first)) {
        return first.len();
    }
    let class = |c: char| if is_letter(c) { 0 } else { 1 + u8::from(c.is_numeric()) };
    let mut chars = text.char_indices().map(|(at, c)| (at, class(c)));
    let first = chars.next().map_or(0, |(_, class)| class);
    // A number is a piece of its own.
    let end = if first == 2 { chars.next() } else { chars.find(|(_, class)| *class != first) };
    end.map_or(text.len(), |(at, _)| at)
}

/// GPT-2's visible character for each byte.
fn symbol_of(byte: u8) -> char {
    let code = u32::from(byte);
    let code = match byte {
        33..=126 | 161..=172 | 174..=255 => code,
        0..=32 => 256 + code,
        127..=160 => 256 + 33 + (code - 127),
        173 => 256 + 67,
    };
    char::from_u32(code).unwrap_or_default()
}

fn byte_of(symbol: char) -> Option<u8> {
    (0..=255).find(|byte| symbol_of(*byte) == symbol)
}

// ---- Files ----

const VOCAB: &str = "vocab.json";
const MERGES: &str = "merges.txt";
const TOKENIZER: &str = "tokenizer.json";
const CONFIG: &str = "tokenizer_config.json";
const SPECIAL: &str = "special_tokens_map.json";

/// Tokens and their ids, in the tokens' order: a table of hashes would take three kilobytes of a page.
type Vocabulary = Vec<(String, u32)>;
type Pairs = Vec<(String, String)>;
/// Tokens that were added to a vocabulary, and their ids.
type Added = Vec<(String, u32)>;

fn config_error(file: &str, field: &str, found: impl ToString, expected: impl ToString) -> Error {
    Error::Config {
        file: file.to_owned(),
        field: field.to_owned(),
        found: found.to_string(),
        expected: expected.to_string(),
    }
}

fn misfit(field: &str, found: &str, expected: &str) -> Error {
    config_error(CONFIG, field, found, expected)
}

fn wrong(file: &str, problem: impl ToString) -> Error {
    Error::Json { file: file.to_owned(), problem: problem.to_string() }
}

/// An id that can be one.
fn id(value: &Value) -> Option<u32> {
    u32::try_from(value.as_u64()?).ok().filter(|id| *id < 1 << 24)
}

fn ids(file: &str, tokens: &Map<String, Value>) -> Result<Vocabulary> {
    let read = |(token, value): (&String, &Value)| {
        let id = id(value)
            .ok_or_else(|| wrong(file, format!("the id of `{}` is {}", text::name(token), shorten(value))))?;
        Ok((token.clone(), id))
    };
    let mut ids = tokens.iter().map(read).collect::<Result<Vocabulary>>()?;
    sort(&mut ids, &|a, b| a < b);
    Ok(ids)
}

fn id_of(vocabulary: &[(String, u32)], token: &str) -> Option<u32> {
    let at = vocabulary.partition_point(|(known, _)| known.as_str() < token);
    vocabulary.get(at).filter(|(known, _)| known == token).map(|(_, id)| *id)
}

fn merges_of_text(bytes: &[u8]) -> Result<Pairs> {
    let lines = std::str::from_utf8(bytes).map_err(|e| wrong(MERGES, e))?.lines();
    let lines = lines.filter(|line| !line.starts_with("#version") && !line.trim().is_empty());
    lines.map(|line| pair_of(MERGES, line)).collect()
}

fn pair_of(file: &str, line: &str) -> Result<(String, String)> {
    let (left, right) = line
        .trim_end()
        .split_once(' ')
        .ok_or_else(|| wrong(file, format!("`{}` is no merge of two", text::name(line))))?;
    Ok((left.to_owned(), right.to_owned()))
}

/// The vocabulary, the merges and the tokens that were added to them.
fn of_tokenizer_json(json: &Map<String, Value>) -> Result<(Vocabulary, Pairs, Added)> {
    let model = json.get("model").and_then(Value::as_object);
    let (Some(Value::Object(vocab)), Some(Value::Array(merges))) =
        (model.and_then(|model| model.get("vocab")), model.and_then(|model| model.get("merges")))
    else {
        return Err(wrong(
            TOKENIZER,
            "its `model` has no `vocab` and `merges`, as CLIP's byte-pair encoding has",
        ));
    };
    // Newer files have pairs, older ones both symbols in one string.
    let read = |merge: &Value| match (merge.as_str(), merge.get(0), merge.get(1)) {
        (Some(line), ..) => pair_of(TOKENIZER, line),
        (_, Some(Value::String(left)), Some(Value::String(right))) => Ok((left.clone(), right.clone())),
        _ => Err(wrong(TOKENIZER, format!("{} is no merge of two", shorten(merge)))),
    };
    let merges = merges.iter().map(read).collect::<Result<_>>()?;
    let added = json.get("added_tokens").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let added = added
        .iter()
        .filter_map(|token| Some((token.get("content")?.as_str()?.to_owned(), id(token.get("id")?)?)));
    Ok((ids(TOKENIZER, vocab)?, merges, added.collect()))
}

/// The tokens that `tokenizer_config.json` lists by id.
fn listed(config: &Map<String, Value>) -> Vec<(String, u32)> {
    let tokens = config.get("added_tokens_decoder").and_then(Value::as_object);
    let read =
        |(id, token): (&String, &Value)| Some((token.get("content")?.as_str()?.to_owned(), id.parse().ok()?));
    tokens.map_or_else(Vec::new, |tokens| tokens.iter().filter_map(read).collect())
}

fn ranked(vocabulary: &[(String, u32)], pairs: Pairs) -> Result<Vec<Merge>> {
    let mut merges = Vec::with_capacity(pairs.len());
    for (rank, (left, right)) in pairs.into_iter().enumerate() {
        let into = format!("{left}{right}");
        let [Some(a), Some(b), Some(into)] = [&left, &right, &into].map(|token| id_of(vocabulary, token))
        else {
            let merge = format!("{left} {right}");
            return Err(wrong(
                MERGES,
                format!("the vocabulary lacks a token of the merge `{}`", text::name(merge)),
            ));
        };
        merges.push(Merge { pair: (a, b), rank: rank as u32, into });
    }
    sort(&mut merges, &|a, b| (a.pair, a.rank) < (b.pair, b.rank));
    Ok(merges)
}

/// More bytes than a tokenizer's file has: the largest is a `tokenizer.json` of under four million.
#[cfg(not(target_arch = "wasm32"))]
const MAX_FILE: u64 = 16 << 20;
