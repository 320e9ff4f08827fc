// A sampler's work between two evaluations of the network, whatever the sampler: a short program, run for each number of the
// images by itself. combine.rs says what its words mean. The twins are sampler/host.rs and, for the noise, rng.rs.
//
// A thread for each number. Slots are NHWC as the network's images are; Philox counts as if they were NCHW.

struct Params {
    // The program's words for this dispatch.
    start: u32,
    end: u32,
    batch: u32,
    channels: u32,
    pixels: u32,
    // The network's input and output in the arena, and channels of the output.
    input: u32,
    output: u32,
    out_channels: u32,
    seed_low: u32,
    seed_high: u32,
}

@group(0) @binding(0) var<storage, read_write> arena: array<f32>;
@group(0) @binding(1) var<storage, read_write> slots: array<f32>;
@group(0) @binding(2) var<storage, read> program: array<u32>;
// The number of the first check that found something not finite.
@group(0) @binding(3) var<storage, read_write> failed: atomic<u32>;
@group(0) @binding(4) var<uniform> p: Params;

fn high_word(a: u32, b: u32) -> u32 {
    let al = a & 0xffffu;
    let ah = a >> 16u;
    let bl = b & 0xffffu;
    let bh = b >> 16u;
    let m = ah * bl + ((al * bl) >> 16u);
    let n = al * bh + (m & 0xffffu);
    return ah * bh + (m >> 16u) + (n >> 16u);
}

fn philox(block: u32, draw: u32, image: u32) -> vec4u {
    var c = vec4u(block, draw, image, 0u);
    var k = vec2u(p.seed_low, p.seed_high);
    for (var i = 0u; i < 10u; i++) {
        c = vec4u(
            high_word(c.z, 0xCD9E8D57u) ^ c.y ^ k.x,
            c.z * 0xCD9E8D57u,
            high_word(c.x, 0xD2511F53u) ^ c.w ^ k.y,
            c.x * 0xD2511F53u,
        );
        k += vec2u(0x9E3779B9u, 0xBB67AE85u);
    }
    return c;
}

// ln(n / 2²⁴) for n from 1 to 2²⁴: Cephes' logf. WGSL's own may be off by 2⁻²¹ near 1, where a root makes much of it.
fn log_uniform(n: u32) -> f32 {
    let bits = bitcast<u32>(f32(n));
    var e = f32(bits >> 23u) - 151.0;
    var m = bitcast<f32>((bits & 0x7fffffu) | 0x3f800000u);
    if m > 1.4142135 {
        m *= 0.5;
        e += 1.0;
    }
    let x = m - 1.0;
    let z = x * x;
    var y = 0.070376836;
    y = y * x - 0.1151461;
    y = y * x + 0.11676999;
    y = y * x - 0.12420141;
    y = y * x + 0.14249323;
    y = y * x - 0.16668057;
    y = y * x + 0.20000715;
    y = y * x - 0.24999994;
    y = y * x + 0.3333333;
    y = y * x * z - 2.1219444e-4 * e - 0.5 * z;
    return 0.6933594 * e + (x + y);
}

// Cosine and sine of n / 2²⁴ turns, by octants: Cephes' sinf and cosf. WGSL's own may be off by 2⁻¹¹.
fn turn(n: u32) -> vec2f {
    let quarter = n >> 22u;
    let within = n & 0x3fffffu;
    let swapped = within > 0x200000u;
    let x = f32(select(within, 0x400000u - within, swapped)) * (1.5707963 / 4194304.0);
    let z = x * x;
    let s = ((-1.9515296e-4 * z + 8.332161e-3) * z - 0.16666655) * z * x + x;
    let c = ((2.4433157e-5 * z - 1.3887316e-3) * z + 0.041666646) * z * z - 0.5 * z + 1.0;
    var v = select(vec2f(c, s), vec2f(s, c), swapped);
    if (quarter & 1u) != 0u { v = vec2f(-v.y, v.x); }
    if (quarter & 2u) != 0u { v = -v; }
    return v;
}

// The standard normal of element `e` of an image.
fn normal(e: u32, draw: u32, image: u32) -> f32 {
    let w = philox(e / 4u, draw, image);
    let pair = select(w.xy, w.zw, (e & 2u) != 0u);
    let r = sqrt(-2.0 * log_uniform((pair.x >> 8u) + 1u));
    let v = turn(pair.y >> 8u);
    return r * select(v.x, v.y, (e & 1u) != 0u);
}

fn is_finite(x: f32) -> bool {
    return (bitcast<u32>(x) & 0x7f800000u) != 0x7f800000u;
}

fn number(at: u32) -> f32 {
    return bitcast<f32>(program[at]);
}

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) thread: u32,
) {
    let id = (group.x + group.y * groups.x) * THREADS + thread;
    if id >= p.batch * p.pixels * p.channels { return; }
    let place = id / p.channels;
    let channel = id - place * p.channels;
    let image = place / p.pixels;
    let element = channel * p.pixels + place - image * p.pixels;
    var at = p.start;
    while at < p.end {
        switch program[at] {
            case OP_TAKE_OUTPUT: {
                let other = program[at + 3u];
                for (var c = channel; c < p.out_channels; c += p.channels) {
                    let spot = place * p.out_channels + c;
                    var x = arena[p.output + spot];
                    // A variance is that of what is wanted.
                    if other > 0u && c < p.channels {
                        let share = number(at + 4u);
                        x = share * x + (1.0 - share) * arena[p.output + other + spot];
                    }
                    slots[program[at + 1u] + spot] = x;
                    if !is_finite(x) { atomicMin(&failed, program[at + 2u]); }
                }
                at += 5u;
            }
            case OP_GIVE_INPUT: {
                let x = number(at + 2u) * slots[program[at + 1u] + id];
                arena[p.input + id] = x;
                // Itself once more where there is nothing behind it.
                arena[p.input + program[at + 3u] + id] = x;
                at += 4u;
            }
            case OP_BLEND: {
                let share = slots[program[at + 2u] + id];
                let yes = slots[program[at + 3u] + id];
                slots[program[at + 1u] + id] = share * yes + (1.0 - share) * slots[program[at + 4u] + id];
                at += 5u;
            }
            case OP_END_STEP: {
                if !is_finite(slots[program[at + 1u] + id]) { atomicMin(&failed, program[at + 2u]); }
                at += 3u;
            }
            // OP_COMBINE.
            default: {
                var sum = 0.0;
                let terms = program[at + 8u];
                for (var i = 0u; i < terms; i++) {
                    let term = at + 9u + 3u * i;
                    sum += number(term + 2u) * slots[program[term] + place * program[term + 1u] + channel];
                }
                let range = number(at + 2u);
                if range > 0.0 {
                    // Not clamp(), which need not let NaN pass.
                    sum = select(select(sum, -range, sum < -range), range, sum > range);
                }
                let noise = program[at + 3u];
                if noise != NO_NOISE {
                    var scale = number(at + 5u);
                    if (noise & NOISE_SCALE) != NOISE_CONSTANT {
                        let v = slots[program[at + 7u] + place * p.out_channels + p.channels + channel];
                        let f = (v + 1.0) / 2.0;
                        if (noise & NOISE_SCALE) == NOISE_LEARNED {
                            scale = sqrt(max(v, 0.0));
                        } else {
                            scale = exp(0.5 * (f * number(at + 6u) + (1.0 - f) * number(at + 5u)));
                        }
                    }
                    // Made here, or drawn before and waiting in a slot.
                    if (noise & NOISE_DRAWN) == 0u {
                        sum += scale * normal(element, program[at + 4u], image);
                    } else {
                        sum += scale * slots[program[at + 4u] + id];
                    }
                }
                slots[program[at + 1u] + id] = sum;
                at += 9u + 3u * terms;
            }
        }
    }
}
