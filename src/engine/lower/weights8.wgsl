// The matrices in whole numbers of 8 bits, four to a word, and their scales in 16-bit floats, two to a word.

alias Packed = u32;

@group(1) @binding(0) var<storage, read> weights: array<Packed>;

fn unpacked(w: Packed) -> vec4f {
    return vec4f((vec4i(i32(w)) << vec4u(24u, 16u, 8u, 0u)) >> vec4u(24u));
}

// The scales of four columns.
fn scales_at(at: u32) -> vec2u {
    return vec2u(weights[at], weights[at + 1u]);
}

fn scale_of(scales: vec2u) -> vec4f {
    return vec4f(unpack2x16float(scales.x), unpack2x16float(scales.y));
}
