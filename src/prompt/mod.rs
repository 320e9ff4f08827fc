//! From words to the numbers that a text encoder takes.
//!
//! A [`Tokenizer`] is read from the files that transformers' `CLIPTokenizer` saves and gives the same ids. What it needs to know of
//! characters beyond Rust's own tables it asks a [`Unicode`]: natively there is [`Unicode::native`], and a page has the browser's.

mod tokenizer;

use std::ops::Range;

pub use tokenizer::{Files, Tokenizer};

/// Two questions about characters that take large tables to answer.
#[derive(Clone, Copy)]
pub struct Unicode<'a> {
    /// Normal form C of a text.
    pub nfc: &'a dyn Fn(&str) -> String,
    /// Whether a character's general category is one of the letters': Lu, Ll, Lt, Lm, Lo.
    pub is_letter: &'a dyn Fn(char) -> bool,
}

#[cfg(not(target_arch = "wasm32"))]
impl Unicode<'static> {
    /// Answers from the tables of Rust and of the crate `unicode-normalization`.
    #[must_use]
    pub fn native() -> Self {
        use unicode_normalization::UnicodeNormalization;
        Self { nfc: &|text| text.nfc().collect(), is_letter: &is_letter }
    }
}

/// Alphabetic is what is a letter, a number (Nl), a mark or one of the letters in circles and squares (So).
#[cfg(not(target_arch = "wasm32"))]
fn is_letter(c: char) -> bool {
    c.is_alphabetic()
        && !c.is_numeric()
        && !unicode_normalization::char::is_combining_mark(c)
        && !matches!(c, '\u{24b6}'..='\u{24e9}' | '\u{1f130}'..='\u{1f149}')
        && !matches!(c, '\u{1f150}'..='\u{1f169}' | '\u{1f170}'..='\u{1f189}')
}

/// A prompt as a text encoder takes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prompt {
    /// As many ids as the encoder has positions: the start, the prompt's, the end, and padding.
    pub ids: Vec<u32>,
    /// The words, in order, as far as they fit.
    pub words: Vec<Word>,
    /// What did not fit and is left out, as Python leaves it out; empty where all of it fits.
    pub cut: String,
}

/// A word of a prompt: what stands between white space, or a special token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word {
    /// The word in lower case, as it was looked up.
    pub text: String,
    /// Where its ids are among [`Prompt::ids`]; the last word may be cut in two.
    pub tokens: Range<usize>,
    /// Whether the vocabulary lacks one of its characters, and not only the word as a whole.
    pub unknown: bool,
}
