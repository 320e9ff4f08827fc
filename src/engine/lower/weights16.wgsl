// The matrices in 16-bit floats, two to a word: unpacked without the feature shader-f16, and multiplied in 32 bits.

alias Packed = vec2u;

@group(1) @binding(0) var<storage, read> weights: array<Packed>;

fn unpacked(w: Packed) -> vec4f {
    return vec4f(unpack2x16float(w.x), unpack2x16float(w.y));
}

// Only numbers of 8 bits have scales.
fn scales_at(at: u32) -> vec2u { return vec2u(); } // text
fn scale_of(scales: vec2u) -> f32 { return 1.0; } // text
