// A 3×3 convolution of stride 1 whose nine taps share what is loaded: the workgroup's pixels, whole rows of one image of WIDTH
// pixels, with one more pixel on each side, TILE_K channels at a time, scaled and activated once. It follows gemm.wgsl.
//
// A stage multiplies one tap of TILE_K channels. Behind the window's stages come the shortcut's, of the middle tap alone.

const SPAN = WIDTH + 2u;
const SPOTS = SPAN * (TILE_M / WIDTH + 2u);
// Some more than needed, so that threads write to different banks.
const PATCH = (SPOTS / 4u) * 4u + 6u;
const MIDDLE = 4u;

var<workgroup> patch_of_image: array<array<Tile4, PATCH>, TILE_K4>;
var<private> spots: array<vec4f, PATCHES>;

struct Stage {
    // Of the window or of the shortcut.
    shortcut: bool,
    block: u32,
    tap: u32,
}

fn stage_of(at: u32) -> Stage {
    let blocks = (p.load.channels_a + p.load.channels_b + TILE_K - 1u) / TILE_K;
    if at >= 9u * blocks { return Stage(true, at - 9u * blocks, MIDDLE); }
    return Stage(false, at / 9u, at % 9u);
}

fn fetch_patch(stage: Stage, thread: u32, first: u32, first_sample: u32) {
    let channel = stage.block * TILE_K + 4u * (thread % TILE_K4);
    let channels_a = select(p.load.channels_a, p.shortcut_channels_a, stage.shortcut);
    let channels_b = select(p.load.channels_b, p.shortcut_channels_b, stage.shortcut);
    let other = channel >= channels_a;
    let row = select(channels_a, channels_b, other);
    let origin = select(
        select(p.first, p.shortcut_a, stage.shortcut) + channel,
        select(p.second, p.shortcut_b, stage.shortcut) + channel - channels_a,
        other,
    );
    let top = (first - first_sample * p.pixels) / WIDTH;
    let start = first_sample * p.load.height;
    outside = 0u;
    for (var i = 0u; i < PATCHES; i++) {
        let spot = thread / TILE_K4 + i * INPUT_STEP;
        // One row and one pixel too many each.
        let y = spot / SPAN + top;
        let x = spot % SPAN;
        let there = channel < channels_a + channels_b && spot < SPOTS && x >= 1u && x <= WIDTH && y >= 1u && y <= p.load.height;
        outside |= select(1u << i, 0u, there);
        spots[i] = read4(select(0u, origin + ((start + y - 1u) * WIDTH + x - 1u) * row, there));
    }
}

fn put_patch(stage: Stage, thread: u32, first_sample: u32) {
    let channel = stage.block * TILE_K + 4u * (thread % TILE_K4);
    for (var i = 0u; i < PATCHES; i++) {
        let spot = thread / TILE_K4 + i * INPUT_STEP;
        var v = spots[i];
        if !stage.shortcut && channel < p.load.channels_a + p.load.channels_b { v = loaded4(v, first_sample, 0u, channel); }
        v = select(v, vec4f(), (outside & (1u << i)) != 0u);
        if spot < SPOTS { patch_of_image[thread % TILE_K4][spot] = Tile4(v); }
    }
}

fn multiply_patch(spot: u32, across: u32) {
    // Written out, because the rows' indices are then worked out, and checked, once for all.
    for (var k4 = 0u; k4 < STAGE_K4; k4++) {
        for (var r = 0u; r < ROWS; r++) {
            taken[r] = vec4f(patch_of_image[k4][spot + (r * DOWN / WIDTH) * SPAN + r * DOWN % WIDTH]);
        }
        add_products(k4, across);
    }
}

@compute @workgroup_size(THREADS)
fn halo(
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
    let down = thread / ACROSS;
    let across = thread % ACROSS;
    let column4 = min(tile_n * TILE_N4 + thread % TILE_N4, p.row - 1u);
    let channels = p.load.channels_a + p.load.channels_b;
    let blocks = (channels + TILE_K - 1u) / TILE_K;
    let more = (p.depth - p.window_depth + TILE_K - 1u) / TILE_K;
    let start = group.z * p.slice_tiles;
    let end = min(start + p.slice_tiles, 9u * blocks + more);
    let line = thread / TILE_N4;
    let column = thread % TILE_N4;
    let spot = (down / WIDTH) * SPAN + down % WIDTH;
    var tap = 0u;
    for (var at = start; at <= end; at++) {
        let stage = stage_of(at);
        let new_patch = at < end && (at == start || stage.tap == 0u || stage.shortcut);
        if at < end {
            if new_patch { fetch_patch(stage, thread, first, first_sample); }
            let top = stage.block * TILE_K + select(stage.tap * channels, p.window_depth, stage.shortcut) + line;
            for (var i = 0u; i < WEIGHTS; i++) {
                fetched_weights[i] = weights[p.matrix + min(top + i * WEIGHT_STEP, p.depth - 1u) * p.row + column4];
                fetched_scales[i] = scales_of(min(top + i * WEIGHT_STEP, p.depth - 1u), column4); // text
            }
        }
        if at > start { multiply_patch(spot + (tap / 3u) * SPAN + tap % 3u, across); }
        workgroupBarrier();
        if at < end {
            if new_patch { put_patch(stage, thread, first_sample); }
            // WEIGHT_STEP is a multiple of four.
            for (var i = 0u; i < WEIGHTS; i++) {
                matrix[line / 4u + i * WEIGHT_STEP / 4u][column % ACROSS][(line % 4u) * COLUMNS4 + column / ACROSS] = Tile4(unpacked(fetched_weights[i])
                    * scale_of(fetched_scales[i]) // text
                );
            }
        }
        workgroupBarrier();
        tap = stage.tap;
    }
    end_tile(group.z, first, tile_n, thread);
}
