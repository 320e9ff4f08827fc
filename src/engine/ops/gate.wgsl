// A gated unit: half of a pixel's channels, each times the GELU of one of the other half; gate.rs is the twin. A thread for each
// four channels, or fewer, of a pixel of the output.

struct Params {
    source: u32,
    output: u32,
    pixels: u32,
    channels: u32,
}

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) thread: u32,
) {
    let id = (group.x + group.y * groups.x) * THREADS + thread;
    let quads = (p.channels + 3u) / 4u;
    if id >= p.pixels * quads { return; }
    let pixel = id / quads;
    let channel = 4u * (id - pixel * quads);
    let at = p.source + 2u * pixel * p.channels + channel;
    write4(p.output + pixel * p.channels + channel, read4(at) * activate4(read4(at + p.channels)), p.channels - channel);
}
