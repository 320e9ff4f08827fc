// The matrices in 32-bit floats.

alias Packed = vec4f;

@group(1) @binding(0) var<storage, read> weights: array<Packed>;

fn unpacked(w: Packed) -> vec4f {
    return w;
}
