// The matrices in 32-bit floats.

@group(1) @binding(0) var<storage, read> weights: array<vec4f>;

fn weight4(at: u32) -> vec4f {
    return weights[at];
}
