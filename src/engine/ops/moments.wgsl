// The moments of an image's tiles: mean, and sum of squared differences from it; the twin is `moments` in norm.rs. A thread for
// each tile and channel.

struct Params {
    source: u32,
    output: u32,
    batch: u32,
    pixels: u32,
    channels: u32,
    tiles: u32,
}

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) thread: u32,
) {
    let id = (group.x + group.y * groups.x) * THREADS + thread;
    if id >= p.batch * p.tiles * p.channels { return; }
    let place = id / p.channels;
    let channel = id - place * p.channels;
    let sample = place / p.tiles;
    let first = (place - sample * p.tiles) * TILE_PIXELS;
    let count = min(TILE_PIXELS, p.pixels - first);
    let start = p.source + (sample * p.pixels + first) * p.channels + channel;
    var mean = 0.0;
    for (var i = 0u; i < count; i++) {
        mean += arena[start + i * p.channels];
    }
    mean /= f32(count);
    var squares = 0.0;
    for (var i = 0u; i < count; i++) {
        let off = arena[start + i * p.channels] - mean;
        squares += off * off;
    }
    let to = p.output + place * 2u * p.channels + channel;
    arena[to] = mean;
    arena[to + p.channels] = squares;
}
