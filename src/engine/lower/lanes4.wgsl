// The arena in vectors of four channels: for images whose channels, and parts of channels, are multiples of four.

alias Lane = vec4f;
const LANE = 4u;

fn product(a: vec4f, b: vec4f) -> f32 {
    return dot(a, b);
}

fn read1(at: u32) -> f32 {
    return arena[at >> 2u][at & 3u];
}

fn read4(at: u32) -> vec4f {
    return arena[at >> 2u];
}

fn write4(at: u32, v: vec4f, count: u32) {
    arena[at >> 2u] = v;
}
