//! The text of JSON, read from its start to its end without a step back, and written.
//!
//! Python's `NaN`, `Infinity` and `-Infinity` become strings of that name, as JSON has no numbers for them.
//!
//! serde would read it too, with tables for turning text into numbers and numbers into text: a tenth of what a page downloads.
//! The values are serde's all the same, and the tests hold one reader against the other.

use std::fmt::{self, Write};

use serde_json::{Map, Number, Value};

use crate::text::{number, parse_number};

/// Lists and objects in each other. Deeper ones could end the stack.
const MAX_DEPTH: usize = 127;

/// What is wrong and where.
pub(super) type Problem = String;

/// A text, and how far it has been read.
pub(super) struct Reader<'a> {
    text: &'a [u8],
    at: usize,
    depth: usize,
}

/// Reads the one value that a text is.
pub(super) fn parse(text: &[u8]) -> Result<Value, Problem> {
    let mut reader = Reader::new(text);
    let value = reader.value(true)?;
    reader.end()?;
    Ok(value)
}

impl<'a> Reader<'a> {
    pub(super) fn new(text: &'a [u8]) -> Self {
        Self { text, at: 0, depth: 0 }
    }

    /// A value; one that is not `kept` is read over, and null is returned.
    pub(super) fn value(&mut self, kept: bool) -> Result<Value, Problem> {
        match self.peek() {
            Some(b'{') => {
                let mut object = Map::new();
                self.object("an object", &mut |reader, key| {
                    let value = reader.value(kept)?;
                    if kept {
                        object.insert(key, value);
                    }
                    Ok(())
                })?;
                Ok(Value::Object(object))
            }
            Some(b'[') => {
                let mut list = Vec::new();
                self.list("a list", &mut |reader| {
                    let value = reader.value(kept)?;
                    if kept {
                        list.push(value);
                    }
                    Ok(())
                })?;
                Ok(Value::Array(list))
            }
            Some(b'"') => self.string("a string").map(Value::String),
            _ => {
                for word in ["null", "true", "false", "NaN", "Infinity", "-Infinity"] {
                    if self.rest().starts_with(word.as_bytes()) {
                        self.at += word.len();
                        return Ok(match word {
                            "null" => Value::Null,
                            "true" | "false" => Value::Bool(word == "true"),
                            _ => Value::String(word.to_owned()),
                        });
                    }
                }
                self.number().map(Value::Number)
            }
        }
    }

    /// An object. `field` gets each of its keys in turn, and has to read the value; `what` says in errors what was expected.
    pub(super) fn object(
        &mut self,
        what: &str,
        field: &mut dyn FnMut(&mut Self, String) -> Result<(), Problem>,
    ) -> Result<(), Problem> {
        self.items(what, *b"{}", &mut |reader| {
            let key = reader.string("a key in quotes")?;
            reader.peek();
            if !reader.take(b":") {
                return Err(reader.expected("a colon"));
            }
            field(reader, key)
        })
    }

    /// A list. `item` has to read each of its values.
    pub(super) fn list(
        &mut self,
        what: &str,
        item: &mut dyn FnMut(&mut Self) -> Result<(), Problem>,
    ) -> Result<(), Problem> {
        self.items(what, *b"[]", item)
    }

    fn items(
        &mut self,
        what: &str,
        [open, close]: [u8; 2],
        item: &mut dyn FnMut(&mut Self) -> Result<(), Problem>,
    ) -> Result<(), Problem> {
        self.peek();
        if !self.take(&[open]) {
            return Err(self.expected(what));
        }
        if self.depth == MAX_DEPTH {
            return Err(self.expected("fewer lists in each other"));
        }
        self.depth += 1;
        let mut first = true;
        loop {
            self.peek();
            if first && self.take(&[close]) {
                break;
            }
            item(self)?;
            first = false;
            self.peek();
            if self.take(&[close]) {
                break;
            }
            if !self.take(b",") {
                return Err(self.expected(if close == b'}' { "a comma or `}`" } else { "a comma or `]`" }));
            }
        }
        self.depth -= 1;
        Ok(())
    }

    /// A string.
    pub(super) fn string(&mut self, what: &str) -> Result<String, Problem> {
        self.peek();
        if !self.take(b"\"") {
            return Err(self.expected(what));
        }
        let mut bytes = Vec::new();
        loop {
            let Some(&byte) = self.rest().first() else { return Err(self.expected("the end of a string")) };
            if byte < b' ' {
                return Err(self.expected("no control character in a string"));
            }
            self.at += 1;
            match byte {
                b'"' => return String::from_utf8(bytes).map_err(|_| self.expected("UTF-8 before here")),
                b'\\' => {
                    let c = self.escaped()?;
                    bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                }
                _ => bytes.push(byte),
            }
        }
    }

    /// What a backslash stands before.
    fn escaped(&mut self) -> Result<char, Problem> {
        for (letter, c) in b"\"\\/bfnrt".iter().zip("\"\\/\u{8}\u{c}\n\r\t".chars()) {
            if self.take(&[*letter]) {
                return Ok(c);
            }
        }
        let mut code = self.hexadecimal()?;
        if (0xd800..0xdc00).contains(&code) && self.take(b"\\") {
            let low = self.hexadecimal()?;
            if (0xdc00..0xe000).contains(&low) {
                code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
            }
        }
        char::from_u32(code).ok_or_else(|| self.expected("both halves of a character"))
    }

    /// `u` and four digits.
    fn hexadecimal(&mut self) -> Result<u32, Problem> {
        let digit = |i: usize| char::from(*self.rest().get(i)?).to_digit(16);
        let code = (1..5).try_fold(0, |code, i| Some(16 * code + digit(i)?));
        match code {
            Some(code) if self.take(b"u") => {
                self.at += 4;
                Ok(code)
            }
            _ => Err(self.expected("an escape that JSON has")),
        }
    }

    fn number(&mut self) -> Result<Number, Problem> {
        let start = self.at;
        let negative = self.take(b"-");
        if !self.take(b"0") {
            self.digits("a value")?;
        }
        let mut whole = true;
        if self.take(b".") {
            self.digits("digits")?;
            whole = false;
        }
        if self.take(b"e") || self.take(b"E") {
            let _ = self.take(b"+") || self.take(b"-");
            self.digits("digits")?;
            whole = false;
        }
        let text = str::from_utf8(&self.text[start..self.at]).unwrap_or_default();
        if whole
            && !negative
            && let Ok(value) = text.parse::<u64>()
        {
            return Ok(value.into());
        }
        if whole && let Ok(value @ ..0) = text.parse::<i64>() {
            return Ok(value.into());
        }
        Number::from_f64(parse_number(text)).ok_or_else(|| self.expected("a number of less than 1e309"))
    }

    fn digits(&mut self, what: &str) -> Result<(), Problem> {
        let count = self.rest().iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.at += count;
        if count == 0 { Err(self.expected(what)) } else { Ok(()) }
    }

    /// A whole number, 0 or more.
    pub(super) fn count(&mut self) -> Result<u64, Problem> {
        let before = self.at;
        match self.value(false) {
            Ok(Value::Number(number)) if number.is_u64() => Ok(number.as_u64().unwrap_or_default()),
            _ => {
                self.at = before;
                self.peek();
                Err(self.expected("a whole number, 0 or more"))
            }
        }
    }

    /// Refuses what comes after the value.
    pub(super) fn end(&mut self) -> Result<(), Problem> {
        if self.peek().is_some() { Err(self.expected("the end")) } else { Ok(()) }
    }

    fn rest(&self) -> &'a [u8] {
        &self.text[self.at..]
    }

    /// The next byte that is not blank.
    pub(super) fn peek(&mut self) -> Option<u8> {
        let blank = self.rest().iter().take_while(|byte| matches!(byte, b' ' | b'\n' | b'\r' | b'\t'));
        self.at += blank.count();
        self.rest().first().copied()
    }

    /// Reads over `next` where it comes next.
    fn take(&mut self, next: &[u8]) -> bool {
        let there = self.rest().starts_with(next);
        if there {
            self.at += next.len();
        }
        there
    }

    fn expected(&self, what: &str) -> Problem {
        if self.rest().is_empty() {
            return format!("it ends where it should have {what}");
        }
        let before = &self.text[..self.at];
        let line = before.iter().filter(|byte| **byte == b'\n').count();
        let column = before.iter().rev().take_while(|byte| **byte != b'\n').count();
        format!("expected {what} at line {}, column {}", line + 1, column + 1)
    }
}

/// A value as JSON's text.
pub(super) struct Text<'a>(pub(super) &'a Value);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Value::Null => f.write_str("null"),
            Value::Bool(truth) => f.write_str(if *truth { "true" } else { "false" }),
            Value::Number(n) => match (n.as_i64(), n.as_u64(), n.as_f64()) {
                (Some(n), ..) => write!(f, "{n}"),
                (_, Some(n), _) => write!(f, "{n}"),
                (.., value) => {
                    let digits = number(value.unwrap_or_default());
                    f.write_str(&digits)?;
                    // What is no whole number for Python is not to look like one.
                    if digits.contains(['.', 'e']) { Ok(()) } else { f.write_str(".0") }
                }
            },
            Value::String(text) => quote(f, text),
            Value::Array(list) => {
                for (i, value) in list.iter().enumerate() {
                    write!(f, "{}{}", if i == 0 { '[' } else { ',' }, Text(value))?;
                }
                f.write_str(if list.is_empty() { "[]" } else { "]" })
            }
            Value::Object(object) => {
                for (i, (key, value)) in object.iter().enumerate() {
                    f.write_char(if i == 0 { '{' } else { ',' })?;
                    quote(f, key)?;
                    write!(f, ":{}", Text(value))?;
                }
                f.write_str(if object.is_empty() { "{}" } else { "}" })
            }
        }
    }
}

fn quote(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    f.write_char('"')?;
    for c in text.chars() {
        match c {
            '"' | '\\' => write!(f, "\\{c}")?,
            ..' ' => write!(f, "\\u{:04x}", c as u32)?,
            _ => f.write_char(c)?,
        }
    }
    f.write_char('"')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 30, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(any::<String>(), inner, 0..4)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_serde_writes_is_read_and_what_is_written_serde_reads(value in value()) {
            let (written, serdes) = (Text(&value).to_string(), serde_json::to_string_pretty(&value).unwrap());
            prop_assert_eq!(&parse(serdes.as_bytes()).unwrap(), &value);
            prop_assert_eq!(&parse(written.as_bytes()).unwrap(), &value);
            prop_assert!(serde_json::from_str::<Value>(&written).is_ok());
        }

        /// Text that is nearly JSON: a value's with one byte changed, taken out or put in.
        #[test]
        fn what_serde_refuses_is_refused(value in value(), at in any::<prop::sample::Index>(), byte in prop::sample::select(br#"{}[]":,\ue-+.019 aN"#), change in 0..3) {
            let mut text = value.to_string().into_bytes();
            let at = at.index(text.len());
            match change {
                0 => text[at] = byte,
                1 => text.insert(at, byte),
                _ => drop(text.remove(at)),
            }
            let serde = serde_json::from_slice::<Value>(&text);
            prop_assert_eq!(parse(&text).ok().is_some(), serde.is_ok(), "{:?}", String::from_utf8_lossy(&text));
        }
    }

    #[test]
    fn numbers_are_the_nearest() {
        for text in
            ["0.1", "-0.0", "1e-5", "1.7976931348623157e308", "5e-324", "2.2250738585072011e-308", "1E+3"]
        {
            let Ok(Value::Number(number)) = parse(text.as_bytes()) else { panic!("{text}") };
            assert_eq!(number.as_f64().unwrap().to_bits(), text.parse::<f64>().unwrap().to_bits());
        }
        assert_eq!(parse(b"18446744073709551615").unwrap(), u64::MAX);
        assert_eq!(parse(b"18446744073709551616").unwrap(), 18446744073709551616.0);
        assert_eq!(parse(b"-9223372036854775808").unwrap(), i64::MIN);
        assert_eq!(Text(&Value::from(1.0)).to_string(), "1.0");
    }

    #[test]
    fn errors_say_what_and_where() {
        for (text, says) in [
            ("", "it ends where it should have a value"),
            ("{\n  \"a\": 1\n  \"b\": 2}", "expected a comma or `}` at line 3, column 3"),
            ("[1, ]", "expected a value at line 1, column 5"),
            ("[01]", "expected a comma or `]` at line 1, column 3"),
            ("{'a': 1}", "expected a key in quotes at line 1, column 2"),
            ("\"a\nb\"", "expected no control character in a string at line 1, column 3"),
            ("\"\\ud800x\"", "expected both halves of a character at line 1, column 8"),
            ("\"\\x\"", "expected an escape that JSON has at line 1, column 3"),
            ("1e999", "it ends where it should have a number of less than 1e309"),
            ("{} {}", "expected the end at line 1, column 4"),
        ] {
            assert_eq!(parse(text.as_bytes()).unwrap_err(), says);
        }
        let deep = |n: usize| "[".repeat(n) + &"]".repeat(n);
        assert!(parse(deep(127).as_bytes()).is_ok());
        assert!(parse(deep(1 << 20).as_bytes()).unwrap_err().contains("fewer lists in each other"));
    }
}
