//! Whether a shader is valid WGSL by naga's reading, and by what browsers ask beyond that; and whether its uniforms are laid out
//! as Rust writes them.

use super::shader::Shader;
use super::uniform::{EvaluationParams, Member, Members};

/// Panics unless a shader is valid, needs no feature but shader-f16, and that only where it says so; and unless the structure of
/// its uniform `p` is `P`.
pub(in crate::engine) fn check<P: Member>(shader: &Shader) {
    for f16 in [false, true] {
        let name = format!("{} {:?}, {f16}", shader.label, shader.constants);
        let module = valid(&name, &shader.text(f16), shader.entry);
        compare::<P>(&module, "p");
        compare::<EvaluationParams>(&module, "now");
    }
}

/// The structure of a uniform, as naga lays it out, has the members of `P` at their offsets.
pub(in crate::engine) fn compare<P: Member>(module: &naga::Module, uniform: &str) {
    let variable = module.global_variables.iter().find(|(_, v)| v.name.as_deref() == Some(uniform));
    let (_, variable) = variable.unwrap_or_else(|| panic!("no uniform {uniform}"));
    assert_eq!(variable.space, naga::AddressSpace::Uniform);
    let (mut found, mut expected) = (Vec::new(), Vec::new());
    members_of(module, variable.ty, "", 0, &mut found);
    P::members("", 0, &mut expected);
    assert_eq!(found, expected, "{uniform}");
}

fn members_of(
    module: &naga::Module,
    ty: naga::Handle<naga::Type>,
    name: &str,
    at: usize,
    found: &mut Members,
) {
    match &module.types[ty].inner {
        naga::TypeInner::Struct { members, .. } => {
            for member in members {
                let name = format!("{name}.{}", member.name.as_deref().unwrap_or_default());
                members_of(module, member.ty, &name, at + member.offset as usize, found);
            }
        }
        naga::TypeInner::Scalar(naga::Scalar::U32) => found.push((name.to_owned(), "u32", at)),
        naga::TypeInner::Scalar(naga::Scalar::F32) => found.push((name.to_owned(), "f32", at)),
        other => panic!("{name} is {other:?}"),
    }
}

pub(in crate::engine) fn valid(kernel: &str, source: &str, entry: &str) -> naga::Module {
    let fail = |e: String| -> ! { panic!("{kernel}: {e}") };
    if let Some(mixed) = mixed_operators(source) {
        fail(format!("browsers want parentheses in `{mixed}`"));
    }
    let module = naga::front::wgsl::parse_str(source).unwrap_or_else(|e| fail(e.emit_to_string(source)));
    let mut needed = naga::valid::Capabilities::SHADER_FLOAT16_IN_FLOAT32;
    needed.set(naga::valid::Capabilities::SHADER_FLOAT16, source.starts_with("enable f16;"));
    naga::valid::Validator::new(naga::valid::ValidationFlags::all(), needed)
        .validate(&module)
        .unwrap_or_else(|e| fail(e.emit_to_string(source)));
    assert!(module.entry_points.iter().any(|e| e.name == entry));
    module
}

/// The first expression that mixes a shift or a bitwise operator with another operator. WGSL's grammar forbids that, and
/// browsers refuse it, but naga reads it.
fn mixed_operators(source: &str) -> Option<&str> {
    let (mut from, mut at) = (0, 0);
    let mut operators = Vec::new();
    let mut outer = Vec::new();
    while at < source.len() {
        let rest = &source[at..];
        let mut token = &rest[..rest.chars().next().map_or(1, char::len_utf8)];
        for pair in ["<<", ">>", "&&", "||"] {
            if rest.starts_with(pair) {
                token = pair;
            }
        }
        at += token.len();
        match token {
            "<<" | ">>" | "|" | "&" | "^" => operators.push(token),
            "+" | "-" | "*" | "/" | "%" => operators.push("+"),
            "(" | "[" => {
                outer.push((from, operators));
                (from, operators) = (at, Vec::new());
            }
            ")" | "]" | "," | ";" | "{" | "}" | "=" | "<" | ">" | "!" | "&&" | "||" => {
                let bitwise = operators.iter().any(|o| *o != "+");
                if bitwise && operators.iter().any(|o| *o != operators[0]) {
                    return Some(&source[from..at - token.len()]);
                }
                operators.clear();
                if matches!(token, ")" | "]") {
                    (from, operators) = outer.pop()?;
                } else {
                    from = at;
                }
            }
            _ => {}
        }
    }
    None
}

#[test]
fn what_only_naga_reads_is_noticed() {
    assert_eq!(mixed_operators("x |= 512u | (y & z) << 10u;"), Some(" 512u | (y & z) << 10u"));
    assert_eq!(mixed_operators("f(a + b & c)"), Some("a + b & c"));
    let fine = "x |= 512u | ((y & z) << 10u); a[b >> 2u][c + d] = (e & 3u) != 0u && g * h < -i;";
    assert_eq!(mixed_operators(fine), None);
}
