// Some channels of each pixel, patches laid out, or an image enlarged by its nearest pixels; rearrange.rs is the twin. A thread for
// each number of the output.

struct Params {
    source: u32,
    output: u32,
    // Numbers of the output.
    count: u32,
    // Of the source.
    height: u32,
    width: u32,
    channels: u32,
    to_height: u32,
    to_width: u32,
    to_channels: u32,
    start: u32,
    patch_size: u32,
    // The source's rows and columns for each of the output's patches.
    rows_of_patch: f32,
    columns_of_patch: f32,
}

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) thread: u32,
) {
    let id = (group.x + group.y * groups.x) * THREADS + thread;
    if id >= p.count { return; }
    let pixel = id / p.to_channels;
    let line = pixel / p.to_width;
    let x = pixel - line * p.to_width;
    let sample = line / p.to_height;
    let y = line - sample * p.to_height;
    let row = min(u32(f32(y / p.patch_size) * p.rows_of_patch), p.height - 1u);
    let column = min(u32(f32(x / p.patch_size) * p.columns_of_patch), p.width - 1u);
    let part = (y % p.patch_size) * p.patch_size + x % p.patch_size;
    let channel = p.start + part * p.to_channels + id - pixel * p.to_channels;
    arena[p.output + id] = arena[p.source + ((sample * p.height + row) * p.width + column) * p.channels + channel];
}
