// Rows of a table, or pixels of a sample; gather.rs is the twin. A thread for each four numbers, or fewer, of a row of the output.

struct Params {
    indices: u32,
    output: u32,
    count: u32,
    columns: u32,
    // Where the table begins and how far its rows lie apart, in vectors of four; or where the image begins, and its pixels.
    table: u32,
    row: u32,
    // Of the output, and whether there are indices.
    pixels: u32,
    given: u32,
}

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) thread: u32,
) {
    let id = (group.x + group.y * groups.x) * THREADS + thread;
    let quads = (p.columns + 3u) / 4u;
    if id >= p.count * quads { return; }
    let place = id / quads;
    let quad = id - place * quads;
    let index = select(place % p.pixels, u32(read1(p.indices + place)), p.given != 0u);
    HERE;
    write4(p.output + place * p.columns + 4u * quad, v, p.columns - 4u * quad);
}
