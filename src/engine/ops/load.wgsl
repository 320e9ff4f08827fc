// What becomes of an image's numbers while they are read; load.rs and norm.rs are the twins. `p.load` is the structure Load.
//
// SCALING says how they are scaled: by a constant, by the result of a norm, or by a norm that each workgroup computes for
// itself (inline); `norms` then holds the scale and shift of each channel of the workgroup's samples. Dynamic is any of these,
// as `p.load.scaling` says. It always goes through `norms`, because a processor that stands in for a GPU would run through
// every branch for every number. ACTIVATION follows; where SCALING is dynamic, only if `p.load.activated` is 1.

struct Load {
    scale: f32,
    shift: f32,
    // Where scales and shifts are, [batch, 2, channels].
    ready: u32,
    // Moments of the first channels and of those after them.
    moments_a: u32,
    moments_b: u32,
    channels_a: u32,
    channels_b: u32,
    pixels: u32,
    tiles: u32,
    groups: u32,
    eps: f32,
    weight: u32,
    bias: u32,
    // 0, or 1 where scale and shift are modulated by `rows`.
    modulated: u32,
    modulation: u32,
    modulation_start: u32,
    modulation_width: u32,
    // Samples of a workgroup.
    samples: u32,
    batch: u32,
    // Size of the image.
    height: u32,
    width: u32,
    // Where SCALING is dynamic: what it would else be, and whether ACTIVATION follows.
    scaling: u32,
    activated: u32,
    // Channels of the first moments: the image need not be divided where its moments are.
    split: u32,
}

var<workgroup> norms: array<vec2f, NORMS>;

// The moments of a channel over all tiles of its sample.
fn channel_moments(sample: u32, channel: u32) -> vec2f {
    let second = channel >= p.load.split;
    let channels = select(p.load.split, p.load.channels_a + p.load.channels_b - p.load.split, second);
    let start = select(p.load.moments_a, p.load.moments_b, second)
        + sample * p.load.tiles * 2u * channels
        + channel - select(0u, p.load.split, second);
    var mean = 0.0;
    for (var tile = 0u; tile < p.load.tiles; tile++) {
        mean += f32(min(TILE_PIXELS, p.load.pixels - TILE_PIXELS * tile)) * read1(start + 2u * tile * channels);
    }
    mean /= f32(p.load.pixels);
    var squares = 0.0;
    for (var tile = 0u; tile < p.load.tiles; tile++) {
        let at = start + 2u * tile * channels;
        let off = read1(at) - mean;
        squares += read1(at + channels) + f32(min(TILE_PIXELS, p.load.pixels - TILE_PIXELS * tile)) * off * off;
    }
    return vec2f(mean, squares);
}

// Scale and shift of a channel from the mean of its group and the reciprocal of its standard deviation.
fn scale_and_shift(sample: u32, channel: u32, mean: f32, inverse: f32) -> vec2f {
    var scale = vector(p.load.weight + channel) * inverse;
    var shift = vector(p.load.bias + channel) - mean * scale;
    if p.load.modulated != 0u {
        let at = row_at(sample, p.load.modulation, p.load.modulation_start, p.load.modulation_width) + channel;
        let s = 1.0 + rows[at];
        scale *= s;
        shift = shift * s + rows[at + p.load.channels_a + p.load.channels_b];
    }
    return vec2f(scale, shift);
}

fn prepare_norms(thread: u32, first: u32) {
    let channels = p.load.channels_a + p.load.channels_b;
    if SCALING == SCALING_DYNAMIC && p.load.scaling != SCALING_INLINE {
        for (var i = thread; i < p.load.samples * channels; i += THREADS) {
            let sample = i / channels;
            norms[i] = vec2f(p.load.scale, p.load.shift);
            if p.load.scaling == SCALING_READY {
                let at = ready_at(min(first + sample, p.load.batch - 1u), i - sample * channels);
                norms[i] = vec2f(read1(at), read1(at + channels));
            }
        }
        workgroupBarrier();
        return;
    }
    for (var i = thread; i < p.load.samples * channels; i += THREADS) {
        let sample = i / channels;
        norms[i] = channel_moments(min(first + sample, p.load.batch - 1u), i - sample * channels);
    }
    workgroupBarrier();
    let members = channels / p.load.groups;
    for (var i = thread; i < p.load.samples * p.load.groups; i += THREADS) {
        let sample = i / p.load.groups;
        let channel = (i - sample * p.load.groups) * members;
        let start = sample * channels + channel;
        var mean = 0.0;
        for (var c = 0u; c < members; c++) {
            mean += norms[start + c].x;
        }
        mean /= f32(members);
        var squares = 0.0;
        for (var c = 0u; c < members; c++) {
            let off = norms[start + c].x - mean;
            squares += norms[start + c].y + f32(p.load.pixels) * off * off;
        }
        let inverse = 1.0 / sqrt(squares / f32(p.load.pixels * members) + p.load.eps);
        for (var c = 0u; c < members; c++) {
            let share = min(first + sample, p.load.batch - 1u);
            norms[start + c] = scale_and_shift(share, channel + c, mean, inverse);
        }
    }
    workgroupBarrier();
}

// Where the scale of a finished norm is; the shift is as many numbers on as there are channels.
fn ready_at(sample: u32, channel: u32) -> u32 {
    return p.load.ready + sample * 2u * (p.load.channels_a + p.load.channels_b) + channel;
}

fn activated() -> bool {
    if SCALING == SCALING_DYNAMIC { return p.load.activated != 0u; }
    return ACTIVATION != NO_ACTIVATION;
}

// A number as it is loaded, and four of them. `local` counts samples from the workgroup's first.
fn loaded1(x: f32, sample: u32, local: u32, channel: u32) -> f32 {
    var y = x;
    if SCALING == SCALING_CONSTANT {
        y = x * p.load.scale + p.load.shift;
    } else if SCALING == SCALING_READY {
        let channels = p.load.channels_a + p.load.channels_b;
        let at = ready_at(sample, channel);
        y = x * read1(at) + read1(at + channels);
    } else if SCALING >= SCALING_INLINE {
        let n = norms[local * (p.load.channels_a + p.load.channels_b) + channel];
        y = x * n.x + n.y;
    }
    if activated() { y = activate1(y); }
    return y;
}

fn loaded4(x: vec4f, sample: u32, local: u32, channel: u32) -> vec4f {
    var y = x;
    if SCALING == SCALING_CONSTANT {
        y = x * p.load.scale + p.load.shift;
    } else if SCALING == SCALING_READY {
        let channels = p.load.channels_a + p.load.channels_b;
        let at = ready_at(sample, channel);
        y = x * read4(at) + read4(at + channels);
    } else if SCALING >= SCALING_INLINE {
        let at = local * (p.load.channels_a + p.load.channels_b) + channel;
        let a = norms[at];
        let b = norms[at + 1u];
        let c = norms[at + 2u];
        let d = norms[at + 3u];
        y = x * vec4f(a.x, b.x, c.x, d.x) + vec4f(a.y, b.y, c.y, d.y);
    }
    if activated() { y = activate4(y); }
    return y;
}
