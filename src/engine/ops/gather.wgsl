// Rows of a table; gather.rs is the twin. A thread for each four numbers, or fewer, of a row of the output.

struct Params {
    indices: u32,
    output: u32,
    count: u32,
    columns: u32,
    // Where the table begins and how far its rows lie apart, in vectors of four.
    table: u32,
    row: u32,
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
    let index = u32(read1(p.indices + place));
    let v = unpacked(weights[p.table + index * p.row + quad]);
    write4(p.output + place * p.columns + 4u * quad, v, p.columns - 4u * quad);
}
