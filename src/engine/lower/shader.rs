//! The WGSL of a kernel's variant: the constants that choose the variant, and then the files that it is made of.
//!
//! A file brings the constants along that its Rust half declares, so that each stands in one place. What makes a variant is
//! declared as `const` rather than as a pipeline's `override`: most of it is the length of arrays of registers and of arrays
//! within arrays, for which WGSL allows constants only, and loops over registers are written out (see `unroll.rs`).

use std::fmt::Write;

use super::unroll::unroll;
use crate::engine::parameters::Storage;
use crate::text::split_once;

/// A WGSL file, and the constants that it shares with Rust.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) struct File {
    pub(in crate::engine) text: &'static str,
    pub(in crate::engine) constants: &'static [(&'static str, u32)],
}

/// A WGSL file without comments, indentation, empty lines, and spaces between a word and a sign: pages download it, and nobody reads
/// it there.
macro_rules! wgsl {
    ($file:literal) => {{
        use crate::engine::lower::strip;
        const TEXT: &[u8] = include_bytes!($file);
        const BYTES: [u8; strip(TEXT, &mut [])] = {
            let mut bytes = [0; strip(TEXT, &mut [])];
            strip(TEXT, &mut bytes);
            bytes
        };
        match str::from_utf8(&BYTES) {
            Ok(text) => text,
            Err(_) => panic!("not UTF-8"),
        }
    }};
}

/// Defines constants for Rust and for the WGSL file beside it, `CONSTANTS` of its [`File`].
macro_rules! constants {
    ($($(#[$doc:meta])* $name:ident = $value:expr;)*) => {
        $($(#[$doc])* pub(in crate::engine) const $name: u32 = $value;)*

        const CONSTANTS: &[(&str, u32)] = &[$((stringify!($name), $name)),*];
    };
}

pub(in crate::engine) use {constants, wgsl};

/// Writes what is left of a text to `to`, or only counts it where there is no room. Line comments are the only ones that the
/// kernels have. Lines that end in `// text` go too without the feature of that name, and line ends but between two words.
pub(in crate::engine) const fn strip(text: &[u8], to: &mut [u8]) -> usize {
    let (mut at, mut len, mut begun, mut last) = (0, 0, false, b' ');
    while at < text.len() {
        if !cfg!(feature = "text") && is_line_of_text(text, at) {
            while text[at] != b'\n' {
                at += 1;
            }
        }
        let byte = text[at];
        if byte == b'/' && at + 1 < text.len() && text[at + 1] == b'/' {
            while at + 1 < text.len() && text[at + 1] != b'\n' {
                at += 1;
            }
        } else if byte == b'\n' {
            begun = false;
        } else if !(byte == b' ' && (!begun || needless(text, at))) {
            if !begun && is_word(byte) && is_word(last) {
                if len < to.len() {
                    to[len] = b' ';
                }
                len += 1;
            }
            if len < to.len() {
                to[len] = byte;
            }
            len += 1;
            begun = true;
            last = byte;
        }
        at += 1;
    }
    len
}

/// Whether a line begins at a place that ends in `// text`.
const fn is_line_of_text(text: &[u8], at: usize) -> bool {
    const MARK: &[u8] = b"// text\n";
    if at > 0 && text[at - 1] != b'\n' {
        return false;
    }
    let mut end = at;
    while end < text.len() && text[end] != b'\n' {
        end += 1;
    }
    let mut i = 0;
    while i < MARK.len() && end + 1 >= at + MARK.len() && end < text.len() {
        if text[end + 1 - MARK.len() + i] != MARK[i] {
            return false;
        }
        i += 1;
    }
    i == MARK.len()
}

/// Whether the space at a place can go: it has a word on one side and a sign on the other, or a bracket or separator on either. Two
/// operators may not run together.
const fn needless(text: &[u8], at: usize) -> bool {
    let (before, after) = (text[at - 1], text[at + 1]);
    is_word(before) != is_word(after) || separates(before) || separates(after)
}

const fn separates(byte: u8) -> bool {
    matches!(byte, b'(' | b')' | b'{' | b'}' | b'[' | b']' | b',' | b';' | b'\n')
}

const fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// Constants as WGSL.
pub(in crate::engine) fn declarations(constants: &[(&'static str, u32)]) -> String {
    constants.iter().fold(String::new(), |mut text, (name, value)| {
        let _ = writeln!(text, "const {name} = {value}u;");
        text
    })
}

const fn file(text: &'static str) -> File {
    File { text, constants: &[] }
}

const BINDINGS: File = file(wgsl!("bindings.wgsl"));
const LANES_1: File = file(wgsl!("lanes1.wgsl"));
const LANES_4: File = file(wgsl!("lanes4.wgsl"));
#[cfg(feature = "text")]
const WEIGHTS_8: File = file(wgsl!("weights8.wgsl"));
const WEIGHTS_16: File = file(wgsl!("weights16.wgsl"));
const WEIGHTS_16F: File = file(wgsl!("weights16f.wgsl"));
const WEIGHTS_32: File = file(wgsl!("weights32.wgsl"));

/// A variant of a kernel. Equal ones share a pipeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::engine) struct Shader {
    /// The function to run.
    pub(in crate::engine) entry: &'static str,
    /// What makes the variant.
    pub(in crate::engine) constants: Vec<(&'static str, u32)>,
    /// Constants up to which loops are written out.
    pub(in crate::engine) unrolled: &'static [&'static str],
    /// Whether the arena is read in vectors of four channels.
    pub(in crate::engine) lanes4: bool,
    /// How the matrices are stored that it reads.
    pub(in crate::engine) matrices: Option<Storage>,
    /// Whether it needs shader-f16; else it does without where the device does.
    #[cfg(not(target_arch = "wasm32"))]
    pub(in crate::engine) f16: bool,
    /// The files that it is made of, beside those that say how arena and matrices are read.
    pub(in crate::engine) files: &'static [File],
    /// What stands in their texts in the place of `HERE;`: the beginning of a function that variants have in common.
    pub(in crate::engine) here: &'static str,
    /// What profiles call it.
    #[cfg(not(target_arch = "wasm32"))]
    pub(in crate::engine) label: String,
}

impl Shader {
    /// One that reads no matrices, and whose loops stay.
    pub(in crate::engine) fn new(
        entry: &'static str,
        constants: Vec<(&'static str, u32)>,
        lanes4: bool,
        files: &'static [File],
    ) -> Self {
        Self {
            entry,
            constants,
            unrolled: &[],
            lanes4,
            matrices: None,
            #[cfg(not(target_arch = "wasm32"))]
            f16: false,
            files,
            here: "",
            #[cfg(not(target_arch = "wasm32"))]
            label: String::new(),
        }
    }

    /// The same with a name for profiles, which pages do not take.
    #[cfg_attr(target_arch = "wasm32", allow(unused_mut, reason = "pages have no labels"))]
    pub(in crate::engine) fn labelled(mut self, label: impl FnOnce() -> String) -> Self {
        #[cfg(not(target_arch = "wasm32"))]
        {
            self.label = label();
        }
        #[cfg(target_arch = "wasm32")]
        let _ = label;
        self
    }

    /// The text. `f16` is whether the device has shader-f16.
    pub(in crate::engine) fn text(&self, f16: bool) -> String {
        let f16 = f16 && self.matrices == Some(Storage::F16);
        let matrices = match self.matrices {
            None => None,
            Some(Storage::F32) => Some(WEIGHTS_32),
            Some(Storage::F16) => Some(if f16 { WEIGHTS_16F } else { WEIGHTS_16 }),
            #[cfg(feature = "text")]
            Some(Storage::Int8) => Some(WEIGHTS_8),
        };
        #[cfg(not(target_arch = "wasm32"))]
        let enabled = f16 || self.f16;
        #[cfg(target_arch = "wasm32")]
        let enabled = f16;
        let mut text = String::from(if enabled { "enable f16;\n" } else { "" });
        text += &declarations(&self.constants);
        let lanes = if self.lanes4 { LANES_4 } else { LANES_1 };
        for file in [lanes, BINDINGS].into_iter().chain(matrices).chain(self.files.iter().copied()) {
            text += &declarations(file.constants);
            let (before, after) = split_once(file.text, "HERE;").unwrap_or((file.text, ""));
            text += before;
            text += if after.is_empty() { "" } else { self.here };
            text += after;
        }
        unroll(&text, |name| {
            self.constants
                .iter()
                .find(|(other, _)| self.unrolled.contains(&name) && *other == name)
                .map(|c| c.1)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_indentation_and_line_ends_are_left_out() {
        let text = b"// one\n\n  let a = b / c; // two\n\n\n    } - (c)\n  - -d\n  else\n if;\n//\n";
        let mut stripped = [0; 64];
        let len = strip(text, &mut stripped);
        assert_eq!(str::from_utf8(&stripped[..len]).unwrap(), "let a=b/c;}-(c)- -d else if;");
        assert_eq!(len, strip(text, &mut []));
    }
}
