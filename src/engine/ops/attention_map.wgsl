// How much each pixel looks at each token; attention_map.rs is the twin. A workgroup for each query, whose threads share out the keys:
// thread t has keys t, t + THREADS, …

struct Params {
    q: u32,
    k: u32,
    output: u32,
    batch: u32,
    // Pixels of the queries, and of the keys.
    pixels: u32,
    keys: u32,
    heads: u32,
    // Channels of a head.
    width: u32,
    // Whether samples share keys, and where the number of each one's is.
    prompted: u32,
    of_sample: u32,
    scale: f32,
}

// Below every score that is a number.
const LEAST = -3.4e38;

// The maximum, or sum, of each thread's scores.
var<workgroup> parts: array<f32, THREADS>;

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) thread: u32,
) {
    let query = group.x + group.y * groups.x;
    if query >= p.batch * p.pixels { return; }
    let sample = query / p.pixels;
    var prompt = sample;
    if p.prompted != 0u { prompt = u32(read1(p.of_sample + sample)); }
    let row = p.heads * p.width;
    var means = array<f32, EACH>();
    for (var head = 0u; head < p.heads; head++) {
        let own = p.q + query * row + head * p.width;
        var scores = array<f32, EACH>();
        var top = LEAST;
        for (var i = 0u; i < EACH; i++) {
            let key = thread + i * THREADS;
            if key < p.keys {
                let at = p.k + (prompt * p.keys + key) * row + head * p.width;
                var score = 0.0;
                for (var c = 0u; c < p.width; c++) {
                    score += read1(own + c) * read1(at + c);
                }
                scores[i] = score * p.scale;
                top = select(top, scores[i], scores[i] > top);
            }
        }
        workgroupBarrier();
        parts[thread] = top;
        workgroupBarrier();
        for (var i = 0u; i < THREADS; i++) {
            top = max(top, parts[i]);
        }
        var sum = 0.0;
        for (var i = 0u; i < EACH; i++) {
            scores[i] = select(0.0, exp(scores[i] - top), thread + i * THREADS < p.keys);
            sum += scores[i];
        }
        workgroupBarrier();
        parts[thread] = sum;
        workgroupBarrier();
        var total = 0.0;
        for (var i = 0u; i < THREADS; i++) {
            total += parts[i];
        }
        for (var i = 0u; i < EACH; i++) {
            means[i] += scores[i] / total;
        }
    }
    for (var i = 0u; i < EACH; i++) {
        let key = thread + i * THREADS;
        if key < p.keys { arena[p.output + query * p.keys + key] = means[i] / f32(p.heads); }
    }
}
