// Layer normalisation: over the channels of each pixel; layer_norm.rs is the twin. SHARERS threads share a pixel.

struct Params {
    source: u32,
    output: u32,
    batch: u32,
    pixels: u32,
    channels: u32,
    eps: f32,
    // What there is of weight and bias, factor and shift: the bits HAS_….
    parts: u32,
    weight: u32,
    bias: u32,
    factor: u32,
    factor_start: u32,
    factor_width: u32,
    shift: u32,
    shift_start: u32,
    shift_width: u32,
}

fn row4(at: u32) -> vec4f {
    return vec4f(rows[at], rows[at + 1u], rows[at + 2u], rows[at + 3u]);
}

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) thread: u32,
) {
    let place = (group.x + group.y * groups.x) * (THREADS / SHARERS) + thread / SHARERS;
    let last = p.batch * p.pixels - 1u;
    let origin = p.source + min(place, last) * p.channels;
    var sum = 0.0;
    for (var c = thread % SHARERS; c < p.channels / LANE; c += SHARERS) {
        sum += product(arena[origin / LANE + c], Lane(1.0));
    }
    let mean = total(thread, sum) / f32(p.channels);
    sum = 0.0;
    for (var c = thread % SHARERS; c < p.channels / LANE; c += SHARERS) {
        let off = arena[origin / LANE + c] - mean;
        sum += product(off, off);
    }
    let inverse = 1.0 / sqrt(total(thread, sum) / f32(p.channels) + p.eps);
    if place > last { return; }
    let sample = place / p.pixels;
    let to = p.output + place * p.channels;
    for (var c = 4u * (thread % SHARERS); c < p.channels; c += 4u * SHARERS) {
        var v = (read4(origin + c) - mean) * inverse;
        if (p.parts & HAS_AFFINE) != 0u { v = v * vectors[(p.weight + c) >> 2u] + vectors[(p.bias + c) >> 2u]; }
        if (p.parts & HAS_FACTOR) != 0u { v *= row4(row_at(sample, p.factor, p.factor_start, p.factor_width) + c); }
        if (p.parts & HAS_SHIFT) != 0u { v += row4(row_at(sample, p.shift, p.shift_start, p.shift_width) + c); }
        write4(to + c, v, p.channels - c);
    }
}
