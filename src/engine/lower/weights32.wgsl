// The matrices in 32-bit floats.

alias Packed = vec4f;

@group(1) @binding(0) var<storage, read> weights: array<Packed>;

fn unpacked(w: Packed) -> vec4f {
    return w;
}

// Only numbers of 8 bits have scales.
fn scales_at(at: u32) -> vec2u { return vec2u(); } // text
fn scale_of(scales: vec2u) -> f32 { return 1.0; } // text
