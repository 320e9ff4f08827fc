// Attention of the pixels of an image to those of the same or another; attention.rs is the twin. No way ever holds all scores of a
// query: the softmax goes along with a running maximum and sum, which rescale what was added before (Dao et al. 2022,
// "FlashAttention"). NaN among the scores is not a maximum, but makes its row NaN.
//
// `narrow`, for heads of few channels: a thread for each query, which holds it and its result in registers; the keys and
// values pass by in workgroup memory. `wide`: a tile of queries a workgroup, whose threads share out first the pairs of query
// and key, then the channels of the result; where there are few queries, several workgroups each take a slice of the keys, and
// what they came to is put together (slices.wgsl) by the product that reads it or, failing that, by `merge` (merge.wgsl).

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
    // Whether samples share keys and values, and where the number of each one's is.
    prompted: u32,
    of_sample: u32,
    // Whether a query sees no key after it.
    causal: u32,
    // How many slices the keys are cut into, and keys of one; where the slices' sums go, and then maximum and sum of each
    // query and head.
    slices: u32,
    slice_keys: u32,
    partial: u32,
    state: u32,
    scale: f32,
}

// Lanes of a head.
const WIDTH = HEAD / LANE;

// Below every score that is a number.
const LEAST = -3.4e38;

fn query_at(sample: u32, pixel: u32, channel: u32) -> u32 {
    return (p.q + (sample * p.pixels + min(pixel, p.pixels - 1u)) * p.q_row + channel) / LANE;
}

// The row of keys and values that a sample sees.
fn prompt_of(sample: u32) -> u32 {
    if p.prompted != 0u { return u32(read1(p.of_sample + sample)); } // text
    return sample;
}

fn key_at(prompt: u32, key: u32, channel: u32) -> u32 {
    return (p.k + (prompt * p.keys + min(key, p.keys - 1u)) * p.k_row + channel) / LANE;
}

fn value_at(prompt: u32, key: u32, channel: u32) -> u32 {
    return (p.v + (prompt * p.keys + min(key, p.keys - 1u)) * p.v_row + channel) / LANE;
}

// The keys before this one are seen by a query.
fn seen_by(query: u32) -> u32 {
    if p.causal != 0u { return min(p.keys, query + 1u); } // text
    return p.keys;
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
    let prompt = prompt_of(sample);
    let channel = (id / tiles - sample * p.heads) * HEAD;
    let first_query = (id % tiles) * THREADS;
    let query = first_query + thread;
    let seen = seen_by(query);
    let start = query_at(sample, query, channel);
    var q: array<Lane, NARROW_WIDTH>;
    var sums: array<Lane, NARROW_WIDTH>;
    for (var c = 0u; c < NARROW_WIDTH; c++) {
        q[c] = arena[start + c] * p.scale;
    }
    var top = LEAST;
    var sum = 0.0;
    let end = seen_by(first_query + THREADS - 1u);
    for (var first = 0u; first < end; first += NARROW_KEYS) {
        workgroupBarrier();
        for (var i = thread; i < NARROW_KEYS * NARROW_WIDTH; i += THREADS) {
            let key = first + i / NARROW_WIDTH;
            keys[i] = arena[key_at(prompt, key, channel) + i % NARROW_WIDTH];
            values[i] = arena[value_at(prompt, key, channel) + i % NARROW_WIDTH];
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
            if first + k < seen { higher = select(higher, score, score > higher); }
        }
        let before = exp(top - higher);
        top = higher;
        sum *= before;
        for (var c = 0u; c < NARROW_WIDTH; c++) {
            sums[c] *= before;
        }
        for (var k = 0u; k < NARROW_KEYS; k++) {
            if first + k >= seen { break; }
            let weight = exp(scores[k] - top);
            sum += weight;
            for (var c = 0u; c < NARROW_WIDTH; c++) {
                sums[c] += weight * values[k * NARROW_WIDTH + c];
            }
        }
    }
    if query < p.pixels {
        let to = (p.output + (sample * p.pixels + query) * p.inner + channel) / LANE;
        for (var c = 0u; c < NARROW_WIDTH; c++) {
            arena[to + c] = sums[c] / sum;
        }
    }
}

// ---- wide ----

// Threads that share a query. Each works out the scores of ROWS queries and SCORES keys, and COLUMNS lanes of the result of its
// queries.
const ACROSS = 16u;
const QUERIES = WIDE_THREADS / ACROSS * ROWS;
const KEYS = ACROSS * SCORES;
const PADDED_WIDTH = ACROSS * COLUMNS;
// Lanes of queries and keys that are in workgroup memory at a time.
const DEPTH = 8u;

// Queries and keys, lane by lane; then VALUES of the values.
var<workgroup> staged: array<Lane, max((QUERIES + KEYS) * DEPTH, VALUES * PADDED_WIDTH)>;
var<workgroup> weights: array<f32, KEYS * QUERIES>;
// The maximum, or sum, of each thread's scores of a query.
var<workgroup> parts: array<f32, ACROSS * QUERIES>;

@compute @workgroup_size(WIDE_THREADS)
fn wide(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) thread: u32,
) {
    let tiles = (p.pixels + QUERIES - 1u) / QUERIES;
    let id = group.x + group.y * groups.x;
    if id >= p.batch * p.heads * tiles { return; }
    let sample = id / (p.heads * tiles);
    let prompt = prompt_of(sample);
    let head = id / tiles - sample * p.heads;
    let channel = head * HEAD;
    let first_query = (id % tiles) * QUERIES;
    let column = thread % ACROSS;
    let row = thread / ACROSS * ROWS;
    var top: array<f32, ROWS>;
    var sum: array<f32, ROWS>;
    var sums: array<array<Lane, COLUMNS>, ROWS>;
    for (var r = 0u; r < ROWS; r++) {
        top[r] = LEAST;
    }
    let end = min(seen_by(first_query + QUERIES - 1u), (group.z + 1u) * p.slice_keys);
    for (var first = group.z * p.slice_keys; first < end; first += KEYS) {
        var scores = array<array<f32, SCORES>, ROWS>();
        for (var depth = 0u; depth < WIDTH; depth += DEPTH) {
            workgroupBarrier();
            for (var i = thread; i < (QUERIES + KEYS) * DEPTH; i += WIDE_THREADS) {
                let at = i / DEPTH;
                let lane = depth + i % DEPTH;
                let query = query_at(sample, first_query + at, channel);
                let key = key_at(prompt, first + at - QUERIES, channel);
                var value = Lane();
                if lane < WIDTH { value = arena[select(key, query, at < QUERIES) + lane]; }
                staged[i % DEPTH * (QUERIES + KEYS) + at] = value;
            }
            workgroupBarrier();
            for (var d = 0u; d < DEPTH; d++) {
                let start = d * (QUERIES + KEYS);
                var k: array<Lane, SCORES>;
                for (var j = 0u; j < SCORES; j++) {
                    k[j] = staged[start + QUERIES + column + j * ACROSS];
                }
                for (var r = 0u; r < ROWS; r++) {
                    let q = staged[start + row + r];
                    for (var j = 0u; j < SCORES; j++) {
                        scores[r][j] += product(q, k[j]);
                    }
                }
            }
        }
        for (var r = 0u; r < ROWS; r++) {
            let seen = min(end, seen_by(first_query + row + r));
            var higher = LEAST;
            for (var j = 0u; j < SCORES; j++) {
                let score = scores[r][j] * p.scale;
                scores[r][j] = score;
                if first + column + j * ACROSS < seen { higher = select(higher, score, score > higher); }
            }
            parts[column * QUERIES + row + r] = higher;
        }
        workgroupBarrier();
        for (var r = 0u; r < ROWS; r++) {
            let seen = min(end, seen_by(first_query + row + r));
            var higher = top[r];
            for (var i = 0u; i < ACROSS; i++) {
                higher = max(higher, parts[i * QUERIES + row + r]);
            }
            let before = exp(top[r] - higher);
            top[r] = higher;
            sum[r] *= before;
            for (var c = 0u; c < COLUMNS; c++) {
                sums[r][c] *= before;
            }
            for (var j = 0u; j < SCORES; j++) {
                let key = column + j * ACROSS;
                let weight = select(0.0, exp(scores[r][j] - higher), first + key < seen);
                sum[r] += weight;
                weights[key * QUERIES + row + r] = weight;
            }
        }
        for (var part = 0u; part < KEYS; part += VALUES) {
            workgroupBarrier();
            for (var i = thread; i < VALUES * PADDED_WIDTH; i += WIDE_THREADS) {
                let key = first + part + i / PADDED_WIDTH;
                let lane = i % PADDED_WIDTH;
                var value = Lane();
                if key < end && lane < WIDTH { value = arena[value_at(prompt, key, channel) + lane]; }
                staged[i] = value;
            }
            workgroupBarrier();
            for (var k = 0u; k < VALUES; k++) {
                var v: array<Lane, COLUMNS>;
                for (var c = 0u; c < COLUMNS; c++) {
                    v[c] = staged[k * PADDED_WIDTH + column + c * ACROSS];
                }
                for (var r = 0u; r < ROWS; r++) {
                    let weight = weights[(part + k) * QUERIES + row + r];
                    for (var c = 0u; c < COLUMNS; c++) {
                        sums[r][c] += weight * v[c];
                    }
                }
            }
        }
    }
    for (var r = 0u; r < ROWS; r++) {
        parts[column * QUERIES + row + r] = sum[r];
    }
    workgroupBarrier();
    let whole = p.slices == 1u;
    for (var r = 0u; r < ROWS; r++) {
        var total = 0.0;
        for (var i = 0u; i < ACROSS; i++) {
            total += parts[i * QUERIES + row + r];
        }
        let pixel = sample * p.pixels + first_query + row + r;
        if first_query + row + r < p.pixels {
            let beyond = group.z * p.batch * p.pixels;
            let to = (select(p.partial + beyond * p.inner, p.output, whole) + pixel * p.inner + channel) / LANE;
            for (var c = 0u; c < COLUMNS; c++) {
                let lane = column + c * ACROSS;
                if lane < WIDTH { arena[to + lane] = sums[r][c] / select(1.0, total, whole); }
            }
            if column == 0u && !whole { // text
                write4(p.state + ((beyond + pixel) * p.heads + head) * 4u, vec4f(top[r], total, 0.0, 0.0), 4u); // text
            } // text
        }
    }
}
