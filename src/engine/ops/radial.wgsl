// Gaussian bumps; the kernels' `radial_basis` is the twin. A thread for each four units, or fewer, of a pixel.

struct Params {
    source: u32,
    output: u32,
    count: u32,
    inputs: u32,
    units: u32,
    // Where the centres begin and how far their rows lie apart, in vectors of four.
    centres: u32,
    row: u32,
    // The units' widths, from a multiple of four on.
    widths: u32,
    scale: f32,
}

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) thread: u32,
) {
    let id = (group.x + group.y * groups.x) * THREADS + thread;
    let quads = (p.units + 3u) / 4u;
    if id >= p.count * quads { return; }
    let place = id / quads;
    let quad = id - place * quads;
    let scale = p.scale * vectors[p.widths / 4u + quad];
    var sum = vec4f();
    for (var i = 0u; i < p.inputs; i++) {
        let x = read1(p.source + place * p.inputs + i);
        let part = (x - unpacked(weights[p.centres + i * p.row + quad])) * scale;
        sum += part * part;
    }
    write4(p.output + place * p.units + 4u * quad, exp(-0.5 * sum), p.units - 4u * quad);
}
