// Scale and shift of a normalisation from the moments of its tiles; norm.rs is the twin. A workgroup for each sample and
// group.

struct Params {
    load: Load,
    output: u32,
}

// Mean and sum of squares of one tile's channel; the group's numbers are counted channel by channel, tile by tile.
fn moment(sample: u32, tile: u32, channel: u32) -> vec2f {
    let second = channel >= p.load.split;
    let channels = select(p.load.split, p.load.channels_a + p.load.channels_b - p.load.split, second);
    let at = select(p.load.moments_a, p.load.moments_b, second)
        + (sample * p.load.tiles + tile) * 2u * channels
        + channel - select(0u, p.load.split, second);
    return vec2f(read1(at), read1(at + channels));
}

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) thread: u32,
) {
    let id = group.x + group.y * groups.x;
    if id >= p.load.batch * p.load.groups { return; }
    let sample = id / p.load.groups;
    let channels = p.load.channels_a + p.load.channels_b;
    let members = channels / p.load.groups;
    let first = (id - sample * p.load.groups) * members;
    let count = f32(p.load.pixels * members);
    var sum = 0.0;
    for (var i = thread; i < members * p.load.tiles; i += THREADS) {
        let tile = i / members;
        let m = moment(sample, tile, first + i - tile * members);
        sum += f32(min(TILE_PIXELS, p.load.pixels - TILE_PIXELS * tile)) * m.x;
    }
    let mean = total(thread, sum) / count;
    sum = 0.0;
    for (var i = thread; i < members * p.load.tiles; i += THREADS) {
        let tile = i / members;
        let m = moment(sample, tile, first + i - tile * members);
        let off = m.x - mean;
        sum += m.y + f32(min(TILE_PIXELS, p.load.pixels - TILE_PIXELS * tile)) * off * off;
    }
    let inverse = 1.0 / sqrt(total(thread, sum) / count + p.load.eps);
    for (var c = thread; c < members; c += THREADS) {
        let n = scale_and_shift(sample, first + c, mean, inverse);
        let at = p.output + sample * 2u * channels + first + c;
        arena[at] = n.x;
        arena[at + channels] = n.y;
    }
}
