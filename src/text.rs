//! A stranger's text (a key, a file's name, a class, a server's answer) made fit for a terminal, a page or a message.
//!
//! What is shown can neither steer a terminal nor reverse the order of what stands beside it, is never longer than a
//! message may be, and holds no password or signature of an address. Errors keep the text as it was in their fields and
//! show it through here; `www/text.js` does the same in a page.

use std::fmt::{self, Write};

/// Characters of a name, a key or a value.
const NAME: usize = 160;
/// Characters of a path, an address or a sentence.
const PROSE: usize = 1000;

/// A name, a key or a value as it may be shown: at most 160 characters.
#[must_use]
pub fn name<T: fmt::Display>(text: T) -> Shown<T> {
    shown(text, NAME)
}

/// A path, an address or a sentence as it may be shown: at most 1000 characters. Addresses in it lose what may be a
/// secret: a user's name and password, and everything from the question mark on.
#[must_use]
pub fn prose<T: fmt::Display>(text: T) -> Shown<T> {
    shown(text, PROSE)
}

/// A text as it may be shown, of at most `limit` characters and an ellipsis.
#[must_use]
pub fn shown<T: fmt::Display>(text: T, limit: usize) -> Shown<T> {
    Shown { text, limit }
}

/// A number as it may be shown: as few digits as tell it from its neighbours, with an exponent where it would begin or end in
/// many zeros.
#[must_use]
pub fn number(value: f64) -> String {
    // In a page its own numbers do it: Rust's take twelve kilobytes of the module, which is why nothing else prints floats there.
    #[cfg(target_arch = "wasm32")]
    let digits = js_sys::Number::from(value).to_string_with_radix(10).map(String::from).unwrap_or_default();
    #[cfg(not(target_arch = "wasm32"))]
    let digits = match value.abs() {
        0.0 | 1e-6..1e21 => value.to_string(),
        f64::INFINITY => value.to_string().replace("inf", "Infinity"),
        _ => format!("{value:e}"),
    };
    digits.chars().filter(|c| *c != '+').collect()
}

/// The double nearest to a number that is written as JSON writes it; infinite where there is none so large.
#[must_use]
pub fn parse_number(digits: &str) -> f64 {
    #[cfg(target_arch = "wasm32")]
    return js_sys::parse_float(digits);
    #[cfg(not(target_arch = "wasm32"))]
    digits.parse().unwrap_or(f64::NAN)
}

/// The text before and after the first `part`. The library's search is made for longer ones, and takes two kilobytes of a page.
pub(crate) fn split_once<'t>(text: &'t str, part: &str) -> Option<(&'t str, &'t str)> {
    let at = text.as_bytes().windows(part.len()).position(|bytes| bytes == part.as_bytes())?;
    Some((&text[..at], &text[at + part.len()..]))
}

/// Whether a part is somewhere in the text.
pub(crate) fn contains(text: &str, part: &str) -> bool {
    split_once(text, part).is_some()
}

/// A text that is escaped, and cut to a length, when it is displayed.
#[derive(Clone, Copy, Debug)]
pub struct Shown<T> {
    text: T,
    limit: usize,
}

impl<T: fmt::Display> fmt::Display for Shown<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A secret that is left out can be longer than all that is shown.
        let mut start = Start { text: String::new(), left: 64 * self.limit };
        let whole = write!(start, "{}", self.text).is_ok();
        let text = without_secrets(&start.text);
        let mut left = self.limit;
        for c in text.chars() {
            let piece = if misleads(c) { c.escape_unicode().to_string() } else { c.to_string() };
            let length = piece.chars().count();
            if length > left {
                return f.write_char('…');
            }
            left -= length;
            f.write_str(&piece)?;
        }
        if whole { Ok(()) } else { f.write_char('…') }
    }
}

/// The first characters of what is written to it; then it refuses.
struct Start {
    text: String,
    left: usize,
}

impl Write for Start {
    fn write_str(&mut self, more: &str) -> fmt::Result {
        for c in more.chars() {
            self.left = self.left.checked_sub(1).ok_or(fmt::Error)?;
            self.text.push(c);
        }
        Ok(())
    }
}

/// Whether a character does something else than stand for itself: it steers a terminal, breaks the line, turns the
/// direction of reading, or cannot be seen. The joiners that scripts and emoji are written with may stay.
fn misleads(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{feff}')
        || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{fff9}'..='\u{fffb}')
        || matches!(c, '\u{e0000}'..='\u{e007f}')
}

/// The text with every address in it cut at its question mark or hash, and without a user's name and password.
fn without_secrets(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = split_once(rest, "://") {
        out.push_str(before);
        out.push_str("://");
        let end = |c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '`' | '<' | '>' | '(' | ')');
        let (address, tail) = after.split_at(after.find(end).unwrap_or(after.len()));
        let public = address.split(['?', '#']).next().unwrap_or(address);
        let (host, path) = public.split_at(public.find('/').unwrap_or(public.len()));
        out.push_str(host.rsplit('@').next().unwrap_or(host));
        out.push_str(path);
        // What ends a sentence is not the secret's.
        if public.len() < address.len() {
            let stops = address.trim_end_matches(['.', ',', ';', ':']).len().max(public.len());
            out.push_str(&address[stops..]);
        }
        rest = tail;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_a_terminal_or_the_reader_is_written_out() {
        let osc = name("\u{1b}[2J\u{1b}]52;c;cHduZWQ=\u{7}X").to_string();
        assert_eq!(osc, "\\u{1b}[2J\\u{1b}]52;c;cHduZWQ=\\u{7}X");
        assert_eq!(name("UNet\u{9b}31m\u{7f}\r\n").to_string(), "UNet\\u{9b}31m\\u{7f}\\u{d}\\u{a}");
        assert_eq!(name("a\u{202e}gnp.exe\u{2066}").to_string(), "a\\u{202e}gnp.exe\\u{2066}");
        assert_eq!(
            name("\u{e0041}\u{feff}\u{200b}\u{2028}").to_string(),
            "\\u{e0041}\\u{feff}\\u{200b}\\u{2028}"
        );
        for kept in ["Füchse und 狐狸", "👩\u{200d}🔬", "می\u{200c}خواهم", "\\ \" `x`", ""] {
            assert_eq!(name(kept).to_string(), kept);
        }
    }

    #[test]
    fn no_text_is_longer_than_a_message() {
        let long = "狐".repeat(1 << 20);
        assert_eq!(name(&long).to_string(), format!("{}…", "狐".repeat(160)));
        assert_eq!(prose(&long).to_string().chars().count(), 1001);
        assert_eq!(name("x".repeat(160)).to_string().len(), 160, "nothing cut, no ellipsis");
        assert_eq!(shown("\u{1b}\u{1b}", 7).to_string(), "\\u{1b}…", "no escape is cut in two");
        // A list of a million numbers stops being written out where it stops being shown.
        let endless = fmt::from_fn(|f| (0..u64::MAX).try_for_each(|n| write!(f, "{n}, ")));
        assert_eq!(shown(endless, 9).to_string(), "0, 1, 2, …");
    }

    #[test]
    fn a_text_is_split_at_the_first_of_its_parts() {
        for (text, part) in
            [("a://b://c", "://"), ("aab", "ab"), ("", "a"), ("ab", "abc"), ("狐ab", "ab"), ("ab", "ab")]
        {
            assert_eq!(split_once(text, part), text.split_once(part));
        }
    }

    #[test]
    fn numbers_take_no_line_of_zeros() {
        for (value, seen) in [
            (1e300, "1e300"),
            (-1e-30, "-1e-30"),
            (1e-6, "0.000001"),
            (0.1, "0.1"),
            (2.0, "2"),
            (0.0, "0"),
            (1e20, "100000000000000000000"),
        ] {
            assert_eq!(number(value), seen);
        }
        assert_eq!([f64::NAN, f64::INFINITY, -f64::INFINITY].map(number), ["NaN", "Infinity", "-Infinity"]);
    }

    #[test]
    fn addresses_keep_their_secrets() {
        for (given, seen) in [
            (
                "https://me:pa55@example.com:8080/a/b/c.json?token=s3cret#x",
                "https://example.com:8080/a/b/c.json",
            ),
            ("https://a/?x=https://b/?y=1: HTTP 404", "https://a/: HTTP 404"),
            ("see `https://a/b?sig=1`, http://u@c. Then", "see `https://a/b`, http://c. Then"),
            ("https://a@b@c/d@e?f", "https://c/d@e"),
            ("what is 1 + 1? e://", "what is 1 + 1? e://"),
        ] {
            assert_eq!(prose(given).to_string(), seen);
        }
        let padded = format!("https://host/{}", "x/".repeat(3000) + "?token=1");
        assert!(!prose(padded).to_string().contains("token"));
        let signed = format!("https://host/a?{}: HTTP 403", "k=1&".repeat(5000));
        assert_eq!(prose(signed).to_string(), "https://host/a: HTTP 403");
    }
}
