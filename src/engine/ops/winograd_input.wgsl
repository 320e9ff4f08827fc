// An image as the transformed product of a 3×3 convolution takes it: Bᵀ d B for each 6×6 window of a channel, of which there is
// one for each 4×4 pixels of the output; loaded, and with the zeros around it. A thread for a window and a channel. Behind the
// image's channels come the shortcut's, as they are.

struct Params {
    load: Load,
    first: u32,
    second: u32,
    shift: u32,
    shortcut_a: u32,
    shortcut_b: u32,
    shortcut_channels_a: u32,
    shortcut_channels_b: u32,
    // Channels of all, windows of a row, of a sample and of all.
    depth: u32,
    across: u32,
    tiles: u32,
    all_tiles: u32,
    output: u32,
}

fn transformed(a: f32, b: f32, c: f32, d: f32, e: f32, f: f32) -> array<f32, 6> {
    let far = e - 4.0 * c;
    let near = d - 4.0 * b;
    let even = e - c;
    let odd = 2.0 * (d - b);
    return array(4.0 * a - 5.0 * c + e, far + near, far - near, even + odd, even - odd, 4.0 * b - 5.0 * d + f);
}

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) thread: u32,
) {
    let id = (group.x + group.y * groups.x) * THREADS + thread;
    let tile = id / p.depth;
    if tile >= p.all_tiles { return; }
    let k = id - tile * p.depth;
    let sample = tile / p.tiles;
    let at = tile - sample * p.tiles;
    let top = 4u * (at / p.across);
    let left = 4u * (at % p.across);

    let channels = p.load.channels_a + p.load.channels_b;
    let of_shortcut = k >= channels;
    let channel = select(k, k - channels, of_shortcut);
    let channels_a = select(p.load.channels_a, p.shortcut_channels_a, of_shortcut);
    let other = channel >= channels_a;
    let row = select(channels_a, select(p.load.channels_b, p.shortcut_channels_b, of_shortcut), other);
    let origin = select(
        select(p.first, p.shortcut_a, of_shortcut) + channel,
        select(p.second, p.shortcut_b, of_shortcut) + channel - channels_a,
        other,
    );
    let shift = select(p.shift, 0u, of_shortcut);
    let height = p.load.height << p.shift;
    let width = p.load.width << p.shift;
    var n = vec2f(1.0, 0.0);
    if SCALING == SCALING_CONSTANT {
        n = vec2f(p.load.scale, p.load.shift);
    } else if SCALING == SCALING_READY && !of_shortcut {
        let ready = ready_at(sample, channel);
        n = vec2f(read1(ready), read1(ready + channels));
    }
    var d: array<array<f32, POINTS>, POINTS>;
    for (var i = 0u; i < POINTS; i++) {
        // One row and one pixel too many.
        let y = top + i;
        for (var j = 0u; j < POINTS; j++) {
            let x = left + j;
            let there = y >= 1u && x >= 1u && y <= height && x <= width;
            let pixel = (sample * (height >> shift) + ((y - 1u) >> shift)) * (width >> shift) + ((x - 1u) >> shift);
            var v = read1(select(0u, origin + pixel * row, there));
            if !of_shortcut { v = activate1(v * n.x + n.y); }
            d[i][j] = select(0.0, v, there);
        }
    }
    for (var j = 0u; j < POINTS; j++) {
        var t = transformed(d[0][j], d[1][j], d[2][j], d[3][j], d[4][j], d[5][j]);
        for (var i = 0u; i < POINTS; i++) {
            d[i][j] = t[i];
        }
    }
    for (var i = 0u; i < POINTS; i++) {
        var v = transformed(d[i][0], d[i][1], d[i][2], d[i][3], d[i][4], d[i][5]);
        for (var j = 0u; j < POINTS; j++) {
            arena[p.output + ((i * POINTS + j) * p.all_tiles + tile) * p.depth + k] = v[j];
        }
    }
}
