//! Unrolls a shader's loops over registers.
//!
//! A compiler that does not unroll such a loop itself keeps the array that it indexes in memory. With constant indices the
//! array can stay in registers.

use crate::text::split_once;

/// Replaces every loop `for(var i=0u;i<NAME;i++){ … }` for whose name there is a count by as many blocks, in each of
/// which `i` is a number. Such loops may not break or continue.
pub(in crate::engine) fn unroll(text: &str, count: impl Fn(&str) -> Option<u32> + Copy) -> String {
    let mut out = String::with_capacity(4 * text.len());
    let mut rest = text;
    while let Some(found) = next_loop(rest, &count) {
        out += found.before;
        for i in 0..found.count {
            out.push('{');
            out += &unroll(&with_number(found.body, found.variable, i), count);
            out.push('}');
        }
        rest = found.after;
    }
    out + rest
}

/// A loop in a text.
struct Loop<'t> {
    before: &'t str,
    variable: &'t str,
    count: u32,
    body: &'t str,
    after: &'t str,
}

/// The first loop for whose name there is a count.
fn next_loop<'t>(text: &'t str, count: &dyn Fn(&str) -> Option<u32>) -> Option<Loop<'t>> {
    let mut from = 0;
    while let Some((before, after)) = split_once(&text[from..], "for(var ") {
        let at = from + before.len();
        from = text.len() - after.len();
        let (head, body) = split_once(after, "){")?;
        let variable = head.split('=').next()?;
        let name = head.rsplit(['<', ';']).nth(1)?;
        if head == format!("{variable}=0u;{variable}<{name};{variable}++")
            && let Some(count) = count(name)
        {
            let end = closing(body)?;
            return Some(Loop {
                before: &text[..at],
                variable,
                count,
                body: &body[..end],
                after: &body[end + 1..],
            });
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
        let text = "for(var h=2u;h>0u;h/=2u) {} a; for(var r=0u;r<ROWS;r++){ for(var j=0u;j<N;j++){ x[r][j] = rr.r + r2; } }\n\
                    for(var k=0u;k<p.count;k++){ for(var r=0u;r<ROWS;r++){ y(k, r); } } b;";
        assert_eq!(
            unroll(text, |name| match name {
                "ROWS" => Some(2),
                "N" => Some(1),
                _ => None,
            }),
            "for(var h=2u;h>0u;h/=2u) {} a; { { x[0u][0u] = rr.r + r2; } }{ { x[1u][0u] = rr.r + r2; } }\n\
             for(var k=0u;k<p.count;k++){ { y(k, 0u); }{ y(k, 1u); } } b;"
        );
    }
}
