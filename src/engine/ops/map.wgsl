// An image written out, element by element: loaded, and combined with an operand; map.rs is the twin. A thread for each four
// channels, or fewer, of a pixel of the output. `p.load` has the size of the image, which may be doubled.

struct Params {
    load: Load,
    first: u32,
    second: u32,
    output: u32,
    // 0 where there is no image, and all numbers are 0; 1 where each pixel is read as a 2×2 square.
    sourced: u32,
    shift: u32,
    // How the operand is combined, one of COMBINE_…; among what it lies, one of PLACE_…; where, and among what is computed of
    // prompts, where each sample's prompt is; and the numbers of a sample.
    combine: u32,
    place: u32,
    operand: u32,
    operand_start: u32,
    operand_width: u32,
}

// The operand's number `within` a sample's.
fn operand1(sample: u32, within: u32) -> f32 {
    if p.place == PLACE_ROWS { return rows[row_at(sample, p.operand, p.operand_start, p.operand_width) + within]; }
    var row = sample;
    if p.place == PLACE_PROMPTS { row = u32(read1(p.operand_start + sample)); }
    return read1(p.operand + row * p.operand_width + within);
}

fn combined(y: f32, sample: u32, pixel: u32, channel: u32, channels: u32) -> f32 {
    switch p.combine {
        case COMBINE_ADD: { return y + operand1(sample, pixel * channels + channel); }
        case COMBINE_ADD_PER_CHANNEL: { return y + operand1(sample, channel); }
        case COMBINE_SCALE_SHIFT: { return y * (1.0 + operand1(sample, channel)) + operand1(sample, channels + channel); }
        case COMBINE_SCALE_SAMPLES: { return y * operand1(sample, 0u); }
        // By channel.
        default: { return y * operand1(sample, channel); }
    }
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
    let height = p.load.height << p.shift;
    let width = p.load.width << p.shift;
    if id >= p.load.batch * height * width * quads { return; }
    let place = id / quads;
    let channel = 4u * (id - place * quads);
    let count = channels - channel;
    let sample = place / (height * width);
    let pixel = place - sample * height * width;
    let y = pixel / width;
    var v = vec4f();
    if p.sourced != 0u { v = pixel4(sample, y >> p.shift, (pixel - y * width) >> p.shift, channel, count); }
    if p.combine != COMBINE_NOTHING {
        for (var i = 0u; i < min(count, 4u); i++) {
            v[i] = combined(v[i], sample, pixel, channel + i, channels);
        }
    }
    write4(p.output + place * channels + channel, v, count);
}
