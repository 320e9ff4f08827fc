// What every kernel of a plan sees. `p` is the operation's own, `now` chooses the rows of the prelude.
// The arena is bound whole: a buffer may be bound for writing only once in a dispatch, and operations read and write it.

struct Evaluation {
    // Rows of the prelude's vectors.
    count: u32,
    // The first sample's row, and from one sample to the next.
    first: u32,
    stride: u32,
}

@group(0) @binding(0) var<storage, read_write> arena: array<Lane>;
@group(0) @binding(1) var<storage, read> vectors: array<vec4f>;
@group(0) @binding(2) var<storage, read> rows: array<f32>;
@group(0) @binding(3) var<uniform> p: Params;
@group(0) @binding(4) var<uniform> now: Evaluation;

fn vector(at: u32) -> f32 {
    return vectors[at >> 2u][at & 3u];
}

// Where a sample's row of a vector of the prelude is; `start` is counted in floats for each row.
fn row_at(sample: u32, start: u32, within: u32, width: u32) -> u32 {
    return now.count * start + (now.first + sample * now.stride) * width + within;
}
