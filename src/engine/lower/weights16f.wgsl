// The matrices in 16-bit floats where the adapter reads such numbers itself (shader-f16); multiplied in 32 bits.

alias Packed = vec4<f16>;

@group(1) @binding(0) var<storage, read> weights: array<Packed>;

fn unpacked(w: Packed) -> vec4f {
    return vec4f(w);
}

// Only numbers of 8 bits have scales.
fn scales_at(at: u32) -> vec2u { return vec2u(); } // text
fn scale_of(scales: vec2u) -> f32 { return 1.0; } // text
