// A convolution or linear map as a product of pixels and a matrix, with all that the plan fuses into it; gemm.rs and
// product.rs are the twins.
//
// A workgroup computes TILE_M pixels × 4·TILE_N4 columns, a thread ROWS × 4·COLUMNS4 of them. TILE_K inputs at a time go
// through workgroup memory: `inputs` holds them loaded and with the zeros around the image, `matrix` holds the weights. The
// next tile is fetched while one is multiplied. How many bits they have there, tile32.wgsl or tile16.wgsl says.
//
// Pixels are counted through the batch. Each sample takes `padded` places, so that moments are taken of whole runs of RUN
// places: of the plan's tiles of TILE_PIXELS pixels, or of a sample that has fewer. A run has RUN_ROWS rows of each of SHARERS
// threads, and a thread's rows belong to RUNS runs: run_fixed.wgsl or run_dynamic.wgsl says so.
//
// An array of registers stays in registers only if every index is a constant. So loops over them, up to ROWS, COLUMNS4,
// INPUTS and WEIGHTS, are unrolled before a compiler sees them (lower/unroll.rs), and may neither break nor continue. Loops of
// the epilogue, up to END_ROWS, RUNS and RUN_ROWS, are unrolled for a GPU only: they run once, and an adapter in software
// then has less to compile.

struct Params {
    load: Load,
    // The image: offsets, and whether each pixel is read as a 2×2 square. The load knows its size and channels.
    first: u32,
    second: u32,
    shift: u32,
    // The window.
    kernel: u32,
    stride: u32,
    before: u32,
    // 1 / channels of the image.
    inverse_channels: f32,
    // Rows of the matrix, first of the image, then of all.
    window_depth: u32,
    depth: u32,
    // The shortcut's images.
    shortcut_a: u32,
    shortcut_b: u32,
    shortcut_channels_a: u32,
    shortcut_channels_b: u32,
    shortcut_shift: u32,
    // The output.
    output: u32,
    pixels: u32,
    out_width: u32,
    columns: u32,
    padded: u32,
    tiles_m: u32,
    tiles_n: u32,
    // Where the matrix starts and from one row to the next, in vectors of four.
    matrix: u32,
    row: u32,
    bias: u32,
    // What is added and multiplied; the bits PART_… of `parts` say which of it there is.
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
    // Where the sums of slices of the matrix's rows go, and how many tiles of TILE_K rows a slice has.
    partial: u32,
    slices: u32,
    slice_tiles: u32,
    // RUN, for kernels that are not made for one.
    run: u32,
}

const DOWN = THREADS / ACROSS;
const TILE_M = ROWS * DOWN;
const TILE_N4 = ACROSS * COLUMNS4;
const TILE_K4 = TILE_K / 4u;
const INPUT_STEP = THREADS / TILE_K4;
const WEIGHT_STEP = THREADS / TILE_N4;

// Indexed by vector of inputs, then by thread; the innermost array holds what one thread reads. Indices into it are constants,
// so that only the first two are checked, once for all. It is one vector longer than needed, so that threads read from
// different banks.
const COLUMNS16 = 4u * COLUMNS4;
var<workgroup> inputs: array<array<array<Tile4, ROWS + 1u>, DOWN>, TILE_K4>;
var<workgroup> matrix: array<array<array<Tile4, COLUMNS16 + 1u>, ACROSS>, MATRIX_ROWS / 4u>;

// A pixel of the output: its sample, and where its window starts in the image.
struct Pixel {
    sample: u32,
    y: i32,
    x: i32,
    at: u32,
    valid: bool,
}

fn pixel_of(place: u32) -> Pixel {
    let sample = place / p.padded;
    let at = place - sample * p.padded;
    let y = at / p.out_width;
    let x = at - y * p.out_width;
    let valid = at < p.pixels && sample < p.load.batch;
    return Pixel(sample, i32(y * p.stride) - i32(p.before), i32(x * p.stride) - i32(p.before), at, valid);
}

// The row of the window that a tap is in.
fn row_of(tap: u32) -> u32 {
    return u32((f32(tap) + 0.5) / f32(p.kernel));
}

// A number of the image or of the shortcut for row k of the matrix, loaded.
fn window1(pixel: Pixel, local: u32, k: u32) -> f32 {
    if !pixel.valid || k >= p.depth { return 0.0; }
    if k >= p.window_depth { return read1(shortcut_at(pixel, k - p.window_depth)); }
    let channels = p.load.channels_a + p.load.channels_b;
    let tap = k / channels;
    let channel = k - tap * channels;
    let down = row_of(tap);
    let y = pixel.y + i32(down);
    let x = pixel.x + i32(tap - p.kernel * down);
    if y < 0 || x < 0 || y >= i32(p.load.height << p.shift) || x >= i32(p.load.width << p.shift) { return 0.0; }
    let start = (pixel.sample * p.load.height + (u32(y) >> p.shift)) * p.load.width + (u32(x) >> p.shift);
    var at = p.first + start * p.load.channels_a + channel;
    if channel >= p.load.channels_a { at = p.second + start * p.load.channels_b + channel - p.load.channels_a; }
    return loaded1(read1(at), pixel.sample, local, channel);
}

// Where a pixel of an image as large as the output is, perhaps doubled, in pixels.
fn same_pixel(pixel: Pixel, shift: u32) -> u32 {
    let y = pixel.at / p.out_width;
    let x = pixel.at - y * p.out_width;
    return (pixel.sample * ((p.pixels / p.out_width) >> shift) + (y >> shift)) * (p.out_width >> shift) + (x >> shift);
}

fn shortcut_at(pixel: Pixel, channel: u32) -> u32 {
    let start = same_pixel(pixel, p.shortcut_shift);
    if channel < p.shortcut_channels_a { return p.shortcut_a + start * p.shortcut_channels_a + channel; }
    return p.shortcut_b + start * p.shortcut_channels_b + channel - p.shortcut_channels_a;
}

// Where an output pixel reads its inputs.
struct Window {
    sample: u32,
    // The pixel of the image where the window starts; it may lie outside, and count from another sample's pixels.
    start: i32,
    // Bit t says that tap t lies inside the image. Then come the bits below. Of a window that has more taps than there are bits
    // before these, all lie inside.
    bits: u32,
    // The pixel of the shortcut.
    spot: u32,
}

// The output pixel exists, and with it the pixel of the shortcut.
const EXISTS = 1u << FEW_TAPS;
// Positions of two bits: whether the window starts in the lower half of a doubled pixel, and in the right half.
const LOWER_HALF = FEW_TAPS + 1u;
const RIGHT_HALF = FEW_TAPS + 2u;

var<private> windows: array<Window, INPUTS>;

fn window_of(place: u32) -> Window {
    let pixel = pixel_of(place);
    let height = i32(p.load.height << p.shift);
    let width = i32(p.load.width << p.shift);
    var bits = 0u;
    if pixel.valid {
        for (var tap = 0u; tap < min(p.kernel * p.kernel, FEW_TAPS); tap++) {
            let down = row_of(tap);
            let y = pixel.y + i32(down);
            let x = pixel.x + i32(tap - p.kernel * down);
            if y >= 0 && x >= 0 && y < height && x < width { bits |= 1u << tap; }
        }
        bits |= EXISTS | ((u32(pixel.y) & p.shift) << LOWER_HALF) | ((u32(pixel.x) & p.shift) << RIGHT_HALF);
    }
    let row = i32(pixel.sample * p.load.height) + (pixel.y >> p.shift);
    let start = row * i32(p.load.width) + (pixel.x >> p.shift);
    return Window(pixel.sample, start, bits, same_pixel(pixel, p.shortcut_shift));
}

// Channels of a pixel where the image is what attention leaves: SLICES of it, and behind them the maxima and sums of HEADS heads.
fn slices_at(channel: u32, pixel: u32) -> vec4f { // text
    let pixels = p.load.batch * p.load.height * p.load.width; // text
    let inner = p.load.channels_a; // text
    let state = p.first + SLICES * pixels * inner + (pixel * HEADS + channel / (inner / HEADS)) * 4u; // text
    let start = p.first + pixel * inner + channel; // text
    return vec4f(merged(SLICES, start, pixels * inner, state, pixels * HEADS * 4u)); // text
} // text

var<private> fetched: array<vec4f, INPUTS>;
var<private> fetched_weights: array<Packed, WEIGHTS>;
var<private> fetched_scales: array<vec2u, WEIGHTS>; // text
var<private> outside: u32;

// Numbers of 8 bits have scales, which lie behind the matrix: of 64 numbers of a tensor's own rows each, in which a window's pixels stand
// beside each other. Of a shortcut's tensor they are the last.
fn scales_of(row: u32, column4: u32) -> vec2u { // text
    let taps = p.kernel * p.kernel; // text
    let channels = p.load.channels_a + p.load.channels_b; // text
    let more = row - p.window_depth; // text
    let own = (row % channels) * taps + row / channels; // text
    let group = select((p.window_depth + 63u) / 64u + more / 64u, own / 64u, row < p.window_depth); // text
    return scales_at(p.matrix + p.depth * p.row + 2u * (group * p.row + column4)); // text
} // text

// Starts the loads of the thread's share of a tile. `put` uses them after a multiplication, which hides how long they take: to
// unpack weights here would be to wait for them here.
fn fetch(tile: u32, thread: u32, column4: u32) {
    let k = tile * TILE_K + 4u * (thread % TILE_K4);
    outside = 0u;
    if VECTORS != 0u {
        let channels = p.load.channels_a + p.load.channels_b;
        let tap = u32((f32(k) + 0.5) * p.inverse_channels);
        let channel = k - tap * channels;
        let down = row_of(tap);
        let right = tap - p.kernel * down;
        let of_shortcut = k >= p.window_depth;
        let more = k - p.window_depth;
        // Which image these channels belong to: the first or the second, of the image or of the shortcut.
        let other = select(channel >= p.load.channels_a, more >= p.shortcut_channels_a, of_shortcut);
        let row = select(
            select(p.load.channels_a, p.load.channels_b, other),
            select(p.shortcut_channels_a, p.shortcut_channels_b, other),
            of_shortcut,
        );
        let origin = select(
            select(p.first + channel, p.second + channel - p.load.channels_a, other),
            select(p.shortcut_a + more, p.shortcut_b + more - p.shortcut_channels_a, other),
            of_shortcut,
        );
        let anywhere = of_shortcut || p.kernel * p.kernel > FEW_TAPS;
        let needed = select(select(1u << min(tap, FEW_TAPS), EXISTS, anywhere), 0u, k >= p.depth);
        let flat = i32(down * p.load.width + right);
        for (var i = 0u; i < INPUTS; i++) {
            let w = windows[i];
            var at = w.start + flat;
            if p.shift != 0u {
                let y = (down + ((w.bits >> LOWER_HALF) & 1u)) >> 1u;
                let x = (right + ((w.bits >> RIGHT_HALF) & 1u)) >> 1u;
                at = w.start + i32(y * p.load.width + x);
            }
            at = select(at, i32(w.spot), of_shortcut);
            let there = (w.bits & needed) != 0u;
            outside |= select(1u << i, 0u, there);
            fetched[i] = read4(select(0u, origin + u32(at) * row, there));
            if SLICES > 1u && there { fetched[i] = slices_at(channel, u32(at)); } // text
        }
    }
    for (var i = 0u; i < WEIGHTS; i++) {
        let row = tile * TILE_K + thread / TILE_N4 + i * WEIGHT_STEP;
        fetched_weights[i] = weights[p.matrix + min(row, p.depth - 1u) * p.row + min(column4, p.row - 1u)];
        fetched_scales[i] = scales_of(min(row, p.depth - 1u), min(column4, p.row - 1u)); // text
    }
}

// Scales and activates what was fetched, and writes it to workgroup memory.
fn put(tile: u32, thread: u32, first: u32, first_sample: u32) {
    let k = tile * TILE_K + 4u * (thread % TILE_K4);
    let channels = p.load.channels_a + p.load.channels_b;
    for (var i = 0u; i < INPUTS; i++) {
        var v = fetched[i];
        if VECTORS != 0u {
            if k < p.window_depth {
                let tap = u32((f32(k) + 0.5) * p.inverse_channels);
                let sample = windows[i].sample;
                v = loaded4(v, sample, sample - first_sample, k - tap * channels);
            }
            v = select(v, vec4f(), (outside & (1u << i)) != 0u);
        } else {
            let pixel = pixel_of(first + thread / TILE_K4 + i * INPUT_STEP);
            for (var c = 0u; c < 4u; c++) {
                v[c] = window1(pixel, pixel.sample - first_sample, k + c);
            }
        }
        let row = thread / TILE_K4 + i * INPUT_STEP;
        inputs[thread % TILE_K4][row % DOWN][row / DOWN] = Tile4(v);
    }
    for (var i = 0u; i < WEIGHTS; i++) {
        let row = thread / TILE_N4 + i * WEIGHT_STEP;
        let column = thread % TILE_N4;
        matrix[row / 4u][column % ACROSS][(row % 4u) * COLUMNS4 + column / ACROSS] = Tile4(unpacked(fetched_weights[i])
            * scale_of(fetched_scales[i]) // text
        );
    }
}

var<private> acc: array<array<vec4f, COLUMNS4>, ROWS>;

// What a thread multiplies next: its pixels' inputs.
var<private> taken: array<vec4f, ROWS>;

fn add_products(k4: u32, across: u32) {
    for (var j = 0u; j < COLUMNS4; j++) {
        let b0 = vec4f(matrix[k4][across][j]);
        let b1 = vec4f(matrix[k4][across][COLUMNS4 + j]);
        let b2 = vec4f(matrix[k4][across][2u * COLUMNS4 + j]);
        let b3 = vec4f(matrix[k4][across][3u * COLUMNS4 + j]);
        for (var r = 0u; r < ROWS; r++) {
            acc[r][j] += taken[r].x * b0;
            acc[r][j] += taken[r].y * b1;
            acc[r][j] += taken[r].z * b2;
            acc[r][j] += taken[r].w * b3;
        }
    }
}

fn multiply(down: u32, across: u32) {
    for (var k4 = 0u; k4 < TILE_K4; k4++) {
        for (var r = 0u; r < ROWS; r++) {
            taken[r] = vec4f(inputs[k4][down][r]);
        }
        add_products(k4, across);
    }
}

fn row4(at: u32) -> vec4f {
    return vec4f(rows[at], rows[at + 1u], rows[at + 2u], rows[at + 3u]);
}

// Adds and multiplies what follows the product, and writes the result. Beyond the last column it adds whatever lies there to numbers that
// nobody reads.
fn finished(sum: vec4f, pixel: Pixel, scale: f32, column: u32) -> vec4f {
    let count = p.columns - column;
    var v = sum + vectors[(p.bias + column) >> 2u];
    if (p.parts & PART_TIME) != 0u {
        v += row4(row_at(pixel.sample, p.time, p.time_start, p.time_width) + column);
    }
    if (p.parts & PART_RESIDUAL) != 0u {
        v += read4(p.residual + same_pixel(pixel, p.residual_shift) * p.columns + column);
    }
    v *= scale;
    write4(p.output + (pixel.sample * p.pixels + pixel.at) * p.columns + column, v, count);
    return v;
}

// A copy of the sums for the epilogue, whose loops may not be unrolled: so the sums themselves stay in registers.
var<private> results: array<array<vec4f, COLUMNS4>, ROWS>;

// Finishes the thread's numbers, and takes the moments of the result.
fn finish(first: u32, tile_n: u32, thread: u32) {
    let down = thread / ACROSS;
    let across = thread % ACROSS;
    for (var r = 0u; r < ROWS; r++) {
        results[r] = acc[r];
    }
    for (var r = 0u; r < END_ROWS; r++) {
        let pixel = pixel_of(first + down + r * DOWN);
        var scale = p.scale;
        if pixel.valid && (p.parts & PART_SAMPLE_SCALE) != 0u {
            scale *= rows[row_at(pixel.sample, p.sample_scale, p.sample_scale_start, p.sample_scale_width)];
        }
        for (var j = 0u; j < COLUMNS4; j++) {
            let column = 4u * (tile_n * TILE_N4 + across + j * ACROSS);
            if pixel.valid && column < p.columns { results[r][j] = finished(results[r][j], pixel, scale, column); }
        }
    }
    if (p.parts & PART_MOMENTS) == 0u { return; }
    HERE;
    var means: array<array<vec4f, COLUMNS4>, ROWS>;
    for (var round = 0u; round < 2u; round++) {
        for (var g = 0u; g < RUNS; g++) {
            workgroupBarrier();
            for (var j = 0u; j < COLUMNS4; j++) {
                var sum = vec4f();
                for (var i = 0u; i < RUN_ROWS; i++) {
                    let off = results[g * RUN_ROWS + i][j] - means[g][j];
                    if pixel_of(first + down + (g * RUN_ROWS + i) * DOWN).valid {
                        if round == 0u { sum += off; } else { sum += off * off; }
                    }
                }
                put_sum(down * COLUMNS4 + j, across, sum);
            }
            workgroupBarrier();
            // The run's first place, from which its sample and tile follow.
            let place = first + (down / SHARERS) * SHARERS + g * RUN_ROWS * DOWN;
            let pixel = pixel_of(place);
            let count = f32(min(RUN, p.pixels - pixel.at));
            for (var j = 0u; j < COLUMNS4; j++) {
                var sum = vec4f();
                for (var i = 0u; i < SHARERS; i++) {
                    sum += sum_at(((down / SHARERS) * SHARERS + i) * COLUMNS4 + j, across);
                }
                let column = 4u * (tile_n * TILE_N4 + across + j * ACROSS);
                if pixel.valid && round == 0u { means[g][j] = sum / count; }
                if pixel.valid && down % SHARERS == 0u && column < p.columns {
                    let tiles = (p.pixels + TILE_PIXELS - 1u) / TILE_PIXELS;
                    let at = p.moments + ((pixel.sample * tiles + pixel.at / TILE_PIXELS) * 2u + round) * p.columns + column;
                    write4(at, select(sum, means[g][j], round == 0u), p.columns - column);
                }
            }
        }
    }
}

fn partial_at(slice: u32, place: u32, tile_n: u32, across: u32) -> u32 {
    return p.partial + 4u * ((slice * p.tiles_m * TILE_M + place) * p.tiles_n * TILE_N4 + tile_n * TILE_N4 + across);
}

// Finishes a tile; where there are slices, leaves the sums of this one.
fn end_tile(slice: u32, first: u32, tile_n: u32, thread: u32) {
    if p.slices == 1u {
        finish(first, tile_n, thread);
        return;
    }
    let down = thread / ACROSS;
    let across = thread % ACROSS;
    for (var r = 0u; r < ROWS; r++) {
        for (var j = 0u; j < COLUMNS4; j++) {
            write4(partial_at(slice, first + down + r * DOWN, tile_n, across + j * ACROSS), acc[r][j], 4u);
        }
    }
}

// Multiplies a tile.
@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) thread: u32,
) {
    let id = group.x + group.y * groups.x;
    if id >= p.tiles_m * p.tiles_n { return; }
    let tile_m = id / p.tiles_n;
    let tile_n = id - tile_m * p.tiles_n;
    let first = tile_m * TILE_M;
    let first_sample = first / p.padded;
    if SCALING >= SCALING_INLINE { prepare_norms(thread, first_sample); }
    for (var i = 0u; i < INPUTS; i++) {
        windows[i] = window_of(first + thread / TILE_K4 + i * INPUT_STEP);
    }
    let down = thread / ACROSS;
    let across = thread % ACROSS;
    let column4 = tile_n * TILE_N4 + thread % TILE_N4;
    let start = group.z * p.slice_tiles;
    let end = min(start + p.slice_tiles, (p.depth + TILE_K - 1u) / TILE_K);
    // A tile is multiplied while the next one is fetched. Each function is called in one place only, because compilers copy
    // functions to where they are called.
    for (var tile = start; tile <= end; tile++) {
        if tile < end { fetch(tile, thread, column4); }
        if tile > start { multiply(down, across); }
        workgroupBarrier();
        if tile < end { put(tile, thread, first, first_sample); }
        workgroupBarrier();
    }
    end_tile(group.z, first, tile_n, thread);
}

// Adds the slices in their order, and finishes.
@compute @workgroup_size(THREADS)
fn reduce(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) thread: u32,
) {
    let id = group.x + group.y * groups.x;
    if id >= p.tiles_m * p.tiles_n { return; }
    let tile_m = id / p.tiles_n;
    let tile_n = id - tile_m * p.tiles_n;
    let first = tile_m * TILE_M;
    let down = thread / ACROSS;
    let across = thread % ACROSS;
    for (var slice = 0u; slice < p.slices; slice++) {
        for (var r = 0u; r < ROWS; r++) {
            for (var j = 0u; j < COLUMNS4; j++) {
                acc[r][j] += read4(partial_at(slice, first + down + r * DOWN, tile_n, across + j * ACROSS));
            }
        }
    }
    finish(first, tile_n, thread);
}
