// The filters of a 3×3 convolution as its transformed product takes them, G g Gᵀ for each pair of channels; winograd.rs says
// what for. A thread for an input channel and four columns. Behind the window's channels come the shortcut's, whose filters
// have a middle alone.

struct Params {
    // Where the matrix starts and from one row to the next, in vectors of four.
    matrix: u32,
    row: u32,
    channels: u32,
    depth: u32,
    output: u32,
}

fn transformed(a: vec4f, b: vec4f, c: vec4f) -> array<vec4f, 6> {
    let outer = a + c;
    let far = a + 4.0 * c;
    return array(
        0.25 * a,
        (outer + b) / -6.0,
        (outer - b) / -6.0,
        (far + 2.0 * b) / 24.0,
        (far - 2.0 * b) / 24.0,
        c,
    );
}

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) thread: u32,
) {
    let id = (group.x + group.y * groups.x) * THREADS + thread;
    let k = id / p.row;
    if k >= p.depth { return; }
    let column4 = id - k * p.row;
    // Where the scales of these columns begin, as gemm.wgsl has them.
    let scales = p.matrix + ((TAPS - 1u) * p.channels + p.depth) * p.row + 2u * column4; // text
    var g: array<vec4f, TAPS>;
    if k < p.channels {
        for (var i = 0u; i < TAPS; i++) {
            g[i] = unpacked(weights[p.matrix + (i * p.channels + k) * p.row + column4])
                * scale_of(scales_at(scales + 2u * ((k * TAPS + i) / 64u) * p.row)) // text
            ;
        }
    } else {
        let group = (TAPS * p.channels + 63u) / 64u + (k - p.channels) / 64u; // text
        g[4] = unpacked(weights[p.matrix + (8u * p.channels + k) * p.row + column4])
            * scale_of(scales_at(scales + 2u * group * p.row)) // text
        ;
    }
    var left = transformed(g[0], g[3], g[6]);
    var middle = transformed(g[1], g[4], g[7]);
    var right = transformed(g[2], g[5], g[8]);
    for (var i = 0u; i < POINTS; i++) {
        var u = transformed(left[i], middle[i], right[i]);
        for (var j = 0u; j < POINTS; j++) {
            write4(p.output + 4u * (((i * POINTS + j) * p.depth + k) * p.row + column4), u[j], 4u);
        }
    }
}
