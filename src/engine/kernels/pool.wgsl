// Half the resolution: each output pixel is the mean of 2×2 input pixels, loaded; pool.rs is the twin. A thread for each
// four channels, or fewer, of a pixel of the output.

struct Params {
    load: Load,
    first: u32,
    second: u32,
    output: u32,
}

fn pixel4(sample: u32, y: u32, x: u32, channel: u32, count: u32) -> vec4f {
    let start = (sample * p.load.height + y) * p.load.width + x;
    if VECTORS {
        var at = p.first + start * p.load.channels_a + channel;
        if channel >= p.load.channels_a {
            at = p.second + start * p.load.channels_b + channel - p.load.channels_a;
        }
        return loaded4(read4(at), sample, 0u, channel);
    }
    var v = vec4f();
    for (var i = 0u; i < min(count, 4u); i++) {
        let c = channel + i;
        var at = p.first + start * p.load.channels_a + c;
        if c >= p.load.channels_a { at = p.second + start * p.load.channels_b + c - p.load.channels_a; }
        v[i] = loaded1(read1(at), sample, 0u, c);
    }
    return v;
}

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) thread: u32,
) {
    let id = (group.x + group.y * groups.x) * THREADS + thread;
    let channels = p.load.channels_a + p.load.channels_b;
    let quads = (channels + 3u) / 4u;
    let height = p.load.height / 2u;
    let width = p.load.width / 2u;
    if id >= p.load.batch * height * width * quads { return; }
    let pixel = id / quads;
    let channel = 4u * (id - pixel * quads);
    let line = pixel / width;
    let x = pixel - line * width;
    let sample = line / height;
    let y = line - sample * height;
    let count = channels - channel;
    let sum = pixel4(sample, 2u * y, 2u * x, channel, count) + pixel4(sample, 2u * y, 2u * x + 1u, channel, count)
        + pixel4(sample, 2u * y + 1u, 2u * x, channel, count) + pixel4(sample, 2u * y + 1u, 2u * x + 1u, channel, count);
    write4(p.output + pixel * channels + channel, sum * 0.25, count);
}
