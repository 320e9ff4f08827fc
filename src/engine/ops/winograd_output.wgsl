// What a 3×3 convolution's transformed product comes to, Aᵀ m A, with all that the plan fuses behind it; and its moments. A
// thread for 4×4 pixels of a column of the output, a workgroup for TILES of these beside each other, of COLUMNS columns.

struct Params {
    // The transformed product.
    input: u32,
    output: u32,
    batch: u32,
    height: u32,
    width: u32,
    columns: u32,
    // Workgroups that lie side by side in an image, and those of the columns.
    strips: u32,
    blocks: u32,
    bias: u32,
    parts: u32,
    time: u32,
    time_start: u32,
    time_width: u32,
    residual: u32,
    residual_shift: u32,
    scale: f32,
    sample_scale: u32,
    sample_scale_start: u32,
    sample_scale_width: u32,
    moments: u32,
}

const THREADS = TILES * COLUMNS;

var<workgroup> sums: array<array<f32, THREADS>, RUNS>;
var<private> results: array<array<f32, 4>, 4>;

fn transformed(a: f32, b: f32, c: f32, d: f32, e: f32, f: f32) -> vec4f {
    let near = b + c;
    let far = d + e;
    let odd = b - c;
    let more = d - e;
    return vec4f(a + near + far, odd + 2.0 * more, near + 4.0 * far, odd + 8.0 * more + f);
}

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) thread: u32,
) {
    let id = group.x + group.y * groups.x;
    let strip = id / p.blocks;
    let lines = p.height / 4u;
    let sample = strip / (p.strips * lines);
    if sample >= p.batch { return; }
    let line = (strip / p.strips) % lines;
    let left = strip % p.strips;
    let lane = thread % COLUMNS;
    let column = (id % p.blocks) * COLUMNS + lane;
    let inside = column < p.columns;
    let across = p.width / 4u;
    let tile = (sample * lines + line) * across + left * TILES + thread / COLUMNS;
    let all = p.batch * lines * across;
    var t: array<vec4f, POINTS>;
    for (var j = 0u; j < POINTS; j++) {
        var m: array<f32, POINTS>;
        for (var i = 0u; i < POINTS; i++) {
            m[i] = read1(p.input + ((i * POINTS + j) * all + tile) * p.columns + min(column, p.columns - 1u));
        }
        t[j] = transformed(m[0], m[1], m[2], m[3], m[4], m[5]);
    }
    var more = 0.0;
    var scale = p.scale;
    if inside {
        more = vector(p.bias + column);
        if (p.parts & PART_TIME) != 0u { more += rows[row_at(sample, p.time, p.time_start, p.time_width) + column]; }
        if (p.parts & PART_SAMPLE_SCALE) != 0u {
            scale *= rows[row_at(sample, p.sample_scale, p.sample_scale_start, p.sample_scale_width)];
        }
    }
    for (var i = 0u; i < SIDE; i++) {
        let v = transformed(t[0][i], t[1][i], t[2][i], t[3][i], t[4][i], t[5][i]);
        let y = 4u * line + i;
        for (var j = 0u; j < SIDE; j++) {
            let x = 4u * (left * TILES + thread / COLUMNS) + j;
            var sum = v[j] + more;
            if (p.parts & PART_RESIDUAL) != 0u && inside {
                let shift = p.residual_shift;
                let pixel = (sample * (p.height >> shift) + (y >> shift)) * (p.width >> shift) + (x >> shift);
                sum += read1(p.residual + pixel * p.columns + column);
            }
            sum *= scale;
            if inside { arena[p.output + ((sample * p.height + y) * p.width + x) * p.columns + column] = sum; }
            results[i][j] = sum;
        }
    }
    if (p.parts & PART_MOMENTS) == 0u { return; }
    var means: array<f32, RUNS>;
    for (var round = 0u; round < 2u; round++) {
        for (var g = 0u; g < RUNS; g++) {
            var sum = 0.0;
            for (var i = 0u; i < RUN_ROWS; i++) {
                for (var j = 0u; j < SIDE; j++) {
                    let off = results[g * RUN_ROWS + i][j] - means[g];
                    if round == 0u { sum += off; } else { sum += off * off; }
                }
            }
            sums[g][thread] = sum;
        }
        workgroupBarrier();
        for (var g = 0u; g < RUNS; g++) {
            var sum = 0.0;
            for (var i = 0u; i < TILES; i++) {
                sum += sums[g][i * COLUMNS + lane];
            }
            if round == 0u {
                sum /= f32(4u * TILES * RUN_ROWS);
                means[g] = sum;
            }
            if thread < COLUMNS && inside {
                let pixels = p.width * p.height;
                let run = ((4u * line + g * RUN_ROWS) * p.width + 4u * left * TILES) / TILE_PIXELS;
                let runs = (pixels + TILE_PIXELS - 1u) / TILE_PIXELS;
                arena[p.moments + ((sample * runs + run) * 2u + round) * p.columns + column] = sum;
            }
        }
        workgroupBarrier();
    }
}
