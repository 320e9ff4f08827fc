// Half the resolution: each output pixel is the mean of 2×2 input pixels, loaded; pool.rs is the twin. A thread for each
// four channels, or fewer, of a pixel of the output.

struct Params {
    load: Load,
    first: u32,
    second: u32,
    output: u32,
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
