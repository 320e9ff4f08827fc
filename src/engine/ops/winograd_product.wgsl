// 36 products of [places][depth] and [depth][columns], all in the arena: what a 3×3 convolution multiplies, transformed. Of a
// product's tile it is what gemm.wgsl does, without a window: a workgroup computes TILE_M places × 4·TILE_N4 columns, a thread
// ROWS × 4·COLUMNS4 of them.

struct Params {
    input: u32,
    matrix: u32,
    output: u32,
    places: u32,
    // Of four.
    columns4: u32,
    depth: u32,
    tiles_n: u32,
    groups: u32,
}

const DOWN = THREADS / ACROSS;
const TILE_M = ROWS * DOWN;
const TILE_N4 = ACROSS * COLUMNS4;
const TILE_K4 = TILE_K / 4u;
const INPUT_STEP = THREADS / TILE_K4;
const WEIGHT_STEP = THREADS / TILE_N4;
const COLUMNS16 = 4u * COLUMNS4;

var<workgroup> inputs: array<array<array<array<vec4f, ROWS + 1u>, DOWN>, TILE_K4>, BUFFERS>;
var<workgroup> matrix: array<array<array<array<vec4f, COLUMNS16 + 1u>, ACROSS>, TILE_K4>, BUFFERS>;

var<private> fetched: array<vec4f, INPUTS>;
var<private> fetched_weights: array<vec4f, WEIGHTS>;
var<private> acc: array<array<vec4f, COLUMNS4>, ROWS>;
var<private> taken: array<vec4f, ROWS>;

// Where a thread reads its places' first channels, in vectors of four, its first vector of the matrix, and the last one.
var<private> places: array<u32, INPUTS>;
var<private> start: u32;
var<private> last: u32;

fn fetch(tile: u32, thread: u32) {
    let k4 = tile * TILE_K4 + thread % TILE_K4;
    let there = 4u * k4 < p.depth;
    for (var i = 0u; i < INPUTS; i++) {
        fetched[i] = select(vec4f(), arena[select(0u, places[i] + k4, there)], there);
    }
    // What lies below the matrix is multiplied by 0, if it is a number.
    let top = start + tile * TILE_K * p.columns4;
    for (var i = 0u; i < WEIGHTS; i++) {
        fetched_weights[i] = arena[min(top + i * WEIGHT_STEP * p.columns4, last)];
    }
}

// WEIGHT_STEP is a multiple of four.
fn put(buffer: u32, thread: u32) {
    let row = thread / TILE_K4;
    for (var i = 0u; i < INPUTS; i++) {
        inputs[buffer][thread % TILE_K4][(row + i * INPUT_STEP) % DOWN][(row + i * INPUT_STEP) / DOWN] = fetched[i];
    }
    let line = thread / TILE_N4;
    let column = thread % TILE_N4;
    for (var i = 0u; i < WEIGHTS; i++) {
        matrix[buffer][line / 4u + i * WEIGHT_STEP / 4u][column % ACROSS][(line % 4u) * COLUMNS4 + column / ACROSS] = fetched_weights[i];
    }
}

fn multiply(buffer: u32, down: u32, across: u32) {
    for (var k4 = 0u; k4 < TILE_K4; k4++) {
        for (var r = 0u; r < ROWS; r++) {
            taken[r] = inputs[buffer][k4][down][r];
        }
        for (var j = 0u; j < COLUMNS4; j++) {
            let b0 = matrix[buffer][k4][across][j];
            let b1 = matrix[buffer][k4][across][COLUMNS4 + j];
            let b2 = matrix[buffer][k4][across][2u * COLUMNS4 + j];
            let b3 = matrix[buffer][k4][across][3u * COLUMNS4 + j];
            for (var r = 0u; r < ROWS; r++) {
                acc[r][j] += taken[r].x * b0;
                acc[r][j] += taken[r].y * b1;
                acc[r][j] += taken[r].z * b2;
                acc[r][j] += taken[r].w * b3;
            }
        }
    }
}

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) thread: u32,
) {
    let id = group.x + group.y * groups.x;
    if id >= p.groups { return; }
    let first = (id / p.tiles_n) * TILE_M;
    let tile_n = id % p.tiles_n;
    let down = thread / ACROSS;
    let across = thread % ACROSS;
    for (var i = 0u; i < INPUTS; i++) {
        let place = min(first + thread / TILE_K4 + i * INPUT_STEP, p.places - 1u);
        places[i] = p.input / 4u + (group.z * p.places + place) * (p.depth / 4u);
    }
    let matrix4 = p.matrix / 4u + group.z * p.depth * p.columns4;
    start = matrix4 + (thread / TILE_N4) * p.columns4 + min(tile_n * TILE_N4 + thread % TILE_N4, p.columns4 - 1u);
    last = matrix4 + p.depth * p.columns4 - 1u;
    let end = (p.depth + TILE_K - 1u) / TILE_K;
    for (var tile = 0u; tile <= end; tile++) {
        if tile < end { fetch(tile, thread); }
        if tile > 0u { multiply((tile + 1u) % BUFFERS, down, across); }
        // With two buffers no thread still reads the one that is written.
        if BUFFERS == 1u { workgroupBarrier(); }
        if tile < end { put(tile % BUFFERS, thread); }
        workgroupBarrier();
    }
    for (var r = 0u; r < ROWS; r++) {
        let place = first + down + r * DOWN;
        for (var j = 0u; j < COLUMNS4; j++) {
            let column = tile_n * TILE_N4 + across + j * ACROSS;
            if place < p.places && column < p.columns4 {
                write4(p.output + 4u * ((group.z * p.places + place) * p.columns4 + column), acc[r][j], 4u);
            }
        }
    }
}
