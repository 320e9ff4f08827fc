//! Unrolls a shader's loops over registers.
//!
//! A compiler that does not unroll such a loop itself keeps the array that it indexes in memory. With constant indices the
//! array can stay in registers.

use crate::text::split_once;

/// The text with another part in place of each `part`.
pub(super) fn replaced(text: &str, part: &str, other: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = split_once(rest, part) {
        out += before;
        out += other;
        rest = after;
    }
    out + rest
}

/// Replaces every loop `for (var i = 0u; i < NAME; i++) { … }` over one of the named `counts` by as many blocks, in each of
/// which `i` is a number. Such loops may not break or continue.
pub(super) fn unroll(text: &str, counts: &[(&str, u32)]) -> String {
    let mut out = String::with_capacity(4 * text.len());
    let mut rest = text;
    while let Some((before, variable, count, body, after)) = next_loop(rest, counts) {
        out += before;
        for i in 0..count {
            out.push('{');
            out += &unroll(&with_number(body, variable, i), counts);
            out.push('}');
        }
        rest = after;
    }
    out + rest
}

/// The first loop over one of the counts: the text before it, its variable, its count, its body and the text after it.
fn next_loop<'t>(text: &'t str, counts: &[(&str, u32)]) -> Option<(&'t str, &'t str, u32, &'t str, &'t str)> {
    let mut from = 0;
    while let Some((before, after)) = split_once(&text[from..], "for (var ") {
        let at = from + before.len();
        from = text.len() - after.len();
        let (head, body) = split_once(after, ") {")?;
        let variable = head.split_once(' ')?.0;
        for (name, count) in counts {
            if head == format!("{variable} = 0u; {variable} < {name}; {variable}++") {
                let end = closing(body)?;
                return Some((&text[..at], variable, *count, &body[..end], &body[end + 1..]));
            }
        }
    }
    None
}

/// Where the brace closes that a text stands in.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 0;
    text.bytes().position(|byte| {
        depth += i32::from(byte == b'{') - i32::from(byte == b'}');
        depth < 0
    })
}

/// The text with a number for each use of a variable.
fn with_number(text: &str, variable: &str, number: u32) -> String {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = split_once(rest, variable) {
        out += before;
        if out.ends_with(|c| is_name(c) || c == '.') || after.starts_with(is_name) {
            out += variable;
        } else {
            out += &format!("{number}u");
        }
        rest = after;
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loops_over_counts_are_written_out_and_others_stay() {
        let text = "a; for (var r = 0u; r < ROWS; r++) { for (var j = 0u; j < N; j++) { x[r][j] = rr.r + r2; } }\n\
                    for (var k = 0u; k < p.count; k++) { for (var r = 0u; r < ROWS; r++) { y(k, r); } } b;";
        assert_eq!(
            unroll(text, &[("ROWS", 2), ("N", 1)]),
            "a; { { x[0u][0u] = rr.r + r2; } }{ { x[1u][0u] = rr.r + r2; } }\n\
             for (var k = 0u; k < p.count; k++) { { y(k, 0u); }{ y(k, 1u); } } b;"
        );
    }
}
