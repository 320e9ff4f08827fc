// Twice or half the resolution by the filter (1, 3, 3, 1) along each axis, with zeros around the image; fir.rs is the twin. A
// thread for each number of the output.

struct Params {
    source: u32,
    output: u32,
    batch: u32,
    // Of the source.
    height: u32,
    width: u32,
    channels: u32,
    up: u32,
}

// The pixel of tap `i` along an axis, and its share.
fn tap(at: i32, i: i32) -> i32 {
    if p.up == 0u { return 2 * at - 1 + i; }
    if i == 0 { return at >> 1u; }
    return (at >> 1u) + select(-1, 1, (at & 1) == 1);
}

fn share(i: i32) -> f32 {
    if p.up == 0u { return select(0.125, 0.375, i == 1 || i == 2); }
    return select(0.25, 0.75, i == 0);
}

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) thread: u32,
) {
    let id = (group.x + group.y * groups.x) * THREADS + thread;
    let height = select(p.height / 2u, p.height * 2u, p.up != 0u);
    let width = select(p.width / 2u, p.width * 2u, p.up != 0u);
    if id >= p.batch * height * width * p.channels { return; }
    let pixel = id / p.channels;
    let channel = id - pixel * p.channels;
    let line = pixel / width;
    let x = i32(pixel - line * width);
    let sample = line / height;
    let y = i32(line - sample * height);
    let taps = select(4, 2, p.up != 0u);
    var sum = 0.0;
    for (var i = 0; i < taps; i++) {
        let row = tap(y, i);
        if row < 0 || row >= i32(p.height) { continue; }
        for (var j = 0; j < taps; j++) {
            let column = tap(x, j);
            if column < 0 || column >= i32(p.width) { continue; }
            let at = ((sample * p.height + u32(row)) * p.width + u32(column)) * p.channels + channel;
            sum += share(i) * share(j) * arena[p.source + at];
        }
    }
    arena[p.output + id] = sum;
}
