// The matrices in 16-bit floats where the adapter reads such numbers itself (shader-f16); multiplied in 32 bits.

@group(1) @binding(0) var<storage, read> weights: array<vec4<f16>>;

fn weight4(at: u32) -> vec4f {
    return vec4f(weights[at]);
}
