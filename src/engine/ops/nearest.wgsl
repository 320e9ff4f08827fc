// The row of a table that is nearest to each pixel, the first of equals; nearest.rs is the twin. A thread for each pixel.

struct Params {
    source: u32,
    output: u32,
    pixels: u32,
    channels: u32,
    // Where the table begins and how far its rows lie apart, in vectors of four, and how many there are.
    table: u32,
    row: u32,
    count: u32,
}

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) thread: u32,
) {
    let pixel = (group.x + group.y * groups.x) * THREADS + thread;
    if pixel >= p.pixels { return; }
    let origin = p.source + pixel * p.channels;
    var best = 0u;
    var least = 0.0;
    for (var row = 0u; row < p.count; row++) {
        var distance = 0.0;
        for (var c = 0u; c < p.channels; c += 4u) {
            let entry = unpacked(weights[p.table + row * p.row + c / 4u]);
            for (var i = 0u; i < min(p.channels - c, 4u); i++) {
                let off = read1(origin + c + i) - entry[i];
                distance += off * off;
            }
        }
        if row == 0u || distance < least {
            best = row;
            least = distance;
        }
    }
    for (var c = 0u; c < p.channels; c += 4u) {
        let entry = unpacked(weights[p.table + best * p.row + c / 4u]);
        write4(p.output + pixel * p.channels + c, entry, p.channels - c);
    }
}
