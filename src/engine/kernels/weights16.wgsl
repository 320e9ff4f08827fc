// The matrices in 16-bit floats, two to a word: unpacked without the feature shader-f16, and multiplied in 32 bits.

@group(1) @binding(0) var<storage, read> weights: array<vec2u>;

fn weight4(at: u32) -> vec4f {
    let w = weights[at];
    return vec4f(unpack2x16float(w.x), unpack2x16float(w.y));
}
