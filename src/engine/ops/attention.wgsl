// Attention of the pixels of an image to those of the same or another, one dispatch; attention.rs is the twin. Neither way ever holds all scores of a
// query: the softmax goes along with a running maximum and sum, which rescale what was added before (Dao et al. 2022,
// "FlashAttention"). NaN among the scores is not a maximum, but makes its row NaN.
//
// `narrow`, for heads of few channels: a thread for each query, which holds it and its result in registers; the keys and
// values pass by in workgroup memory. `wide`: QUERIES queries a workgroup, whose threads share out first the pairs of query
// and key, then the channels of the result.

struct Params {
    // Where the first head of queries, keys and values starts, and channels of the images that they are a part of.
    q: u32,
    k: u32,
    v: u32,
    q_row: u32,
    k_row: u32,
    v_row: u32,
    output: u32,
    batch: u32,
    // Pixels of the queries, and of keys and values.
    pixels: u32,
    keys: u32,
    heads: u32,
    inner: u32,
    scale: f32,
}

// Lanes of a head.
const WIDTH = HEAD / LANE;

// Below every score that is a number.
const LEAST = -3.4e38;

fn query_at(sample: u32, pixel: u32, channel: u32) -> u32 {
    return (p.q + (sample * p.pixels + pixel) * p.q_row + channel) / LANE;
}

fn key_at(sample: u32, key: u32, channel: u32) -> u32 {
    return (p.k + (sample * p.keys + key) * p.k_row + channel) / LANE;
}

fn value_at(sample: u32, key: u32, channel: u32) -> u32 {
    return (p.v + (sample * p.keys + key) * p.v_row + channel) / LANE;
}

fn output_at(sample: u32, pixel: u32, channel: u32) -> u32 {
    return (p.output + (sample * p.pixels + pixel) * p.inner + channel) / LANE;
}

// ---- narrow ----

const NARROW_KEYS = 16u;
const NARROW_WIDTH = min(WIDTH, NARROW_LANES);

var<workgroup> keys: array<Lane, NARROW_KEYS * NARROW_WIDTH>;
var<workgroup> values: array<Lane, NARROW_KEYS * NARROW_WIDTH>;

@compute @workgroup_size(THREADS)
fn narrow(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) thread: u32,
) {
    let tiles = (p.pixels + THREADS - 1u) / THREADS;
    let id = group.x + group.y * groups.x;
    if id >= p.batch * p.heads * tiles { return; }
    let sample = id / (p.heads * tiles);
    let head = id / tiles - sample * p.heads;
    let channel = head * HEAD;
    let query = (id % tiles) * THREADS + thread;
    let start = query_at(sample, min(query, p.pixels - 1u), channel);
    var q: array<Lane, NARROW_WIDTH>;
    var sums: array<Lane, NARROW_WIDTH>;
    for (var c = 0u; c < NARROW_WIDTH; c++) {
        q[c] = arena[start + c] * p.scale;
    }
    var top = LEAST;
    var sum = 0.0;
    for (var first = 0u; first < p.keys; first += NARROW_KEYS) {
        workgroupBarrier();
        for (var i = thread; i < NARROW_KEYS * NARROW_WIDTH; i += THREADS) {
            let key = first + i / NARROW_WIDTH;
            keys[i] = Lane();
            values[i] = Lane();
            if key < p.keys {
                keys[i] = arena[key_at(sample, key, channel) + i % NARROW_WIDTH];
                values[i] = arena[value_at(sample, key, channel) + i % NARROW_WIDTH];
            }
        }
        workgroupBarrier();
        var scores: array<f32, NARROW_KEYS>;
        var higher = top;
        for (var k = 0u; k < NARROW_KEYS; k++) {
            var score = 0.0;
            for (var c = 0u; c < NARROW_WIDTH; c++) {
                score += product(q[c], keys[k * NARROW_WIDTH + c]);
            }
            scores[k] = score;
            if first + k < p.keys { higher = select(higher, score, score > higher); }
        }
        let before = exp(top - higher);
        top = higher;
        sum *= before;
        for (var c = 0u; c < NARROW_WIDTH; c++) {
            sums[c] *= before;
        }
        for (var k = 0u; k < NARROW_KEYS; k++) {
            if first + k >= p.keys { break; }
            let weight = exp(scores[k] - top);
            sum += weight;
            for (var c = 0u; c < NARROW_WIDTH; c++) {
                sums[c] += weight * values[k * NARROW_WIDTH + c];
            }
        }
    }
    if query < p.pixels {
        let to = output_at(sample, query, channel);
        for (var c = 0u; c < NARROW_WIDTH; c++) {
            arena[to + c] = sums[c] / sum;
        }
    }
}

// ---- wide ----

const WIDE_KEYS = 32u;
// Lanes of the result that a thread works out, of every query.
const OWN = (WIDTH + THREADS - 1u) / THREADS;
// Queries whose product with one key a thread works out.
const PAIRS = max(QUERIES * WIDE_KEYS / THREADS, 1u);

var<workgroup> queries: array<Lane, QUERIES * WIDTH>;
var<workgroup> scores: array<f32, QUERIES * WIDE_KEYS>;
var<workgroup> weights: array<f32, QUERIES * WIDE_KEYS>;
var<workgroup> tops: array<f32, QUERIES>;
var<workgroup> rescales: array<f32, QUERIES>;

@compute @workgroup_size(THREADS)
fn wide(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) thread: u32,
) {
    let tiles = (p.pixels + QUERIES - 1u) / QUERIES;
    let id = group.x + group.y * groups.x;
    if id >= p.batch * p.heads * tiles { return; }
    let sample = id / (p.heads * tiles);
    let head = id / tiles - sample * p.heads;
    let channel = head * HEAD;
    let first_query = (id % tiles) * QUERIES;
    for (var i = thread; i < QUERIES * WIDTH; i += THREADS) {
        let query = min(first_query + i / WIDTH, p.pixels - 1u);
        queries[i] = arena[query_at(sample, query, channel) + i % WIDTH] * p.scale;
    }
    if thread < QUERIES { tops[thread] = LEAST; }
    var sums: array<array<Lane, OWN>, QUERIES>;
    var sum: array<f32, QUERIES>;
    for (var first = 0u; first < p.keys; first += WIDE_KEYS) {
        workgroupBarrier();
        let key = thread % WIDE_KEYS;
        let share = thread / WIDE_KEYS;
        var dots = array<f32, PAIRS>();
        if first + key < p.keys {
            let start = key_at(sample, first + key, channel);
            for (var c = 0u; c < WIDTH; c++) {
                let k = arena[start + c];
                for (var i = 0u; i < PAIRS; i++) {
                    dots[i] += product(queries[min(share * PAIRS + i, QUERIES - 1u) * WIDTH + c], k);
                }
            }
        }
        for (var i = 0u; i < PAIRS; i++) {
            if share * PAIRS + i < QUERIES { scores[(share * PAIRS + i) * WIDE_KEYS + key] = dots[i]; }
        }
        workgroupBarrier();
        let count = min(WIDE_KEYS, p.keys - first);
        if thread < QUERIES {
            let top = tops[thread];
            var higher = top;
            for (var k = 0u; k < count; k++) {
                let score = scores[thread * WIDE_KEYS + k];
                higher = select(higher, score, score > higher);
            }
            tops[thread] = higher;
            rescales[thread] = exp(top - higher);
        }
        workgroupBarrier();
        for (var i = thread; i < QUERIES * WIDE_KEYS; i += THREADS) {
            weights[i] = exp(scores[i] - tops[i / WIDE_KEYS]);
        }
        workgroupBarrier();
        for (var q = 0u; q < QUERIES; q++) {
            sum[q] *= rescales[q];
            for (var i = 0u; i < OWN; i++) {
                sums[q][i] *= rescales[q];
            }
        }
        for (var k = 0u; k < count; k++) {
            let start = value_at(sample, first + k, channel);
            for (var i = 0u; i < OWN; i++) {
                let value = arena[start + min(thread + i * THREADS, WIDTH - 1u)];
                for (var q = 0u; q < QUERIES; q++) {
                    sums[q][i] += weights[q * WIDE_KEYS + k] * value;
                }
            }
            for (var q = 0u; q < QUERIES; q++) {
                sum[q] += weights[q * WIDE_KEYS + k];
            }
        }
    }
    for (var q = 0u; q < QUERIES; q++) {
        if first_query + q >= p.pixels { break; }
        let to = output_at(sample, first_query + q, channel);
        for (var i = 0u; i < OWN; i++) {
            if thread + i * THREADS < WIDTH { arena[to + thread + i * THREADS] = sums[q][i] / sum[q]; }
        }
    }
}
