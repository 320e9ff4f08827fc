// The arena in single numbers: for images of any number of channels. A write touches its own numbers alone, so that other
// threads may write the numbers beside them at the same time.

alias Lane = f32;
const LANE = 1u;

fn product(a: f32, b: f32) -> f32 {
    return a * b;
}

fn read1(at: u32) -> f32 {
    return arena[at];
}

fn read4(at: u32) -> vec4f {
    return vec4f(arena[at], arena[at + 1u], arena[at + 2u], arena[at + 3u]);
}

fn write4(at: u32, v: vec4f, count: u32) {
    arena[at] = v.x;
    if count > 1u { arena[at + 1u] = v.y; }
    if count > 2u { arena[at + 2u] = v.z; }
    if count > 3u { arena[at + 3u] = v.w; }
}
