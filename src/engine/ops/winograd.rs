//! 3×3 convolutions of stride 1 by Winograd's F(4×4, 3×3): a 4×4 square of the output is made of 36 products in place of 144,
//! once image and filters are transformed. The product itself is 36 plain ones, of squares and channels.
//!
//! Filters are transformed once, when a plan is put on a device: four times the memory of the matrix. It is for GPUs with much of
//! it, so pages do without.

use super::activation::{ACTIVATION, activation_code};
use super::load::{LOAD, LoadParams, ScalingKind};
use super::norm::{Loading, loading};
use super::product::{Gemm, PART_MOMENTS, PART_RESIDUAL, PART_SAMPLE_SCALE, PART_TIME, parts};
use crate::engine::lower::{File, Lowering, Shader, Tuning, grid, uniform, wgsl, word};
use crate::engine::parameters::Storage;
use crate::engine::value::{Source, TILE_PIXELS};

/// Pixels of an image's side that a square has of the output, and of the input: of each channel so many, squared, are multiplied.
const SIDE: usize = 4;
const POINTS: usize = 6;
/// Products of a square.
const PRODUCTS: usize = POINTS * POINTS;
/// Columns of a workgroup of the last stage.
const COLUMNS: usize = 32;
/// Threads of a workgroup of the first stages.
const THREADS: u32 = 64;
/// The fewest channels of either side.
const LEAST_CHANNELS: usize = 16;
/// The most floats of a plan's transformed filters; and of an image, transformed, and of what it is multiplied to.
const MOST: usize = 1 << 28;

const WEIGHTS: File = File { text: wgsl!("winograd_weights.wgsl"), constants: &[] };
const INPUT: File = File { text: wgsl!("winograd_input.wgsl"), constants: &[] };
const PRODUCT: File = File { text: wgsl!("winograd_product.wgsl"), constants: &[] };
const OUTPUT: File = File {
    text: wgsl!("winograd_output.wgsl"),
    constants: &[
        ("PART_TIME", PART_TIME),
        ("PART_RESIDUAL", PART_RESIDUAL),
        ("PART_SAMPLE_SCALE", PART_SAMPLE_SCALE),
        ("PART_MOMENTS", PART_MOMENTS),
        ("TILE_PIXELS", TILE_PIXELS as u32),
    ],
};

uniform! {
    /// `Params` in winograd_weights.wgsl.
    struct WeightsParams {
        matrix: u32,
        row: u32,
        channels: u32,
        depth: u32,
        output: u32,
    }
}

uniform! {
    /// `Params` in winograd_input.wgsl.
    struct InputParams {
        load: LoadParams,
        first: u32,
        second: u32,
        shift: u32,
        shortcut_a: u32,
        shortcut_b: u32,
        shortcut_channels_a: u32,
        shortcut_channels_b: u32,
        depth: u32,
        across: u32,
        tiles: u32,
        all_tiles: u32,
        output: u32,
    }
}

uniform! {
    /// `Params` in winograd_product.wgsl.
    struct ProductParams {
        input: u32,
        matrix: u32,
        output: u32,
        places: u32,
        columns4: u32,
        depth: u32,
        tiles_n: u32,
        groups: u32,
    }
}

uniform! {
    /// `Params` in winograd_output.wgsl.
    struct OutputParams {
        input: u32,
        output: u32,
        batch: u32,
        height: u32,
        width: u32,
        columns: u32,
        strips: u32,
        blocks: u32,
        bias: u32,
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
    }
}

/// The tile of the 36 products: rows and vectors of four columns of a thread, depth, threads.
#[derive(Clone, Copy, Debug)]
struct WinogradTile([u32; 4]);

impl WinogradTile {
    const LARGE: Self = Self([8, 2, 16, 64]);
    const MEDIUM: Self = Self([4, 2, 16, 64]);
    const SMALL: Self = Self([2, 1, 16, 64]);

    fn across(self) -> u32 {
        if self.0[3] == 256 { 16 } else { 8 }
    }

    fn places(self) -> usize {
        (self.0[0] * self.0[3] / self.across()) as usize
    }

    fn columns4(self) -> usize {
        (self.0[1] * self.across()) as usize
    }

    fn groups(self, places: usize, columns4: usize) -> [usize; 2] {
        [places.div_ceil(self.places()), columns4.div_ceil(self.columns4())]
    }

    fn shader(self) -> Shader {
        let [rows, columns4, depth, threads] = self.0;
        let bytes = |buffers: u32| {
            let down = threads / self.across();
            buffers * depth / 4 * 16 * (down * (rows + 1) + self.across() * (4 * columns4 + 1))
        };
        // With room for two, a tile is put where none is read.
        let buffers = if bytes(2) <= 16_352 { 2 } else { 1 };
        let k4 = depth / 4;
        let constants = vec![
            ("THREADS", threads),
            ("ACROSS", self.across()),
            ("ROWS", rows),
            ("COLUMNS4", columns4),
            ("TILE_K", depth),
            ("BUFFERS", buffers),
            ("INPUTS", word(self.places()) * k4 / threads),
            ("WEIGHTS", depth * word(self.columns4()) / threads),
        ];
        let label =
            || format!("transformed product {}×{}×{depth} of {threads}", self.places(), 4 * self.columns4());
        let shader = Shader::new("main", constants, true, &[PRODUCT]);
        Shader { unrolled: &["ROWS", "COLUMNS4", "INPUTS", "WEIGHTS"], ..shader }.labelled(label)
    }
}

fn weights_shader(storage: Storage) -> Shader {
    let constants = vec![("THREADS", THREADS), ("TAPS", 9), ("POINTS", POINTS as u32)];
    let shader = Shader::new("main", constants, true, &[WEIGHTS]);
    Shader { unrolled: &["TAPS", "POINTS"], matrices: Some(storage), ..shader }
        .labelled(|| "filters, transformed".to_owned())
}

fn input_shader(scaling: ScalingKind, activation: u32) -> Shader {
    let constants = vec![
        ("THREADS", THREADS),
        ("SCALING", scaling as u32),
        ("ACTIVATION", activation),
        ("NORMS", 1),
        ("POINTS", POINTS as u32),
    ];
    let shader = Shader::new("main", constants, false, &[ACTIVATION, LOAD, INPUT]);
    Shader { unrolled: &["POINTS"], ..shader }.labelled(|| "image, transformed".to_owned())
}

/// For a width that [`suits`].
fn output_shader(width: usize) -> Shader {
    let tiles = (width / SIDE).min(8);
    let constants = vec![
        ("TILES", word(tiles)),
        ("COLUMNS", COLUMNS as u32),
        ("POINTS", POINTS as u32),
        ("SIDE", SIDE as u32),
        ("RUNS", word(tiles / 2).max(1)),
        ("RUN_ROWS", 4 / word(tiles / 2).max(1)),
    ];
    let shader = Shader::new("main", constants, false, &[OUTPUT]);
    Shader { unrolled: &["POINTS", "SIDE", "RUNS", "RUN_ROWS", "TILES"], ..shader }
        .labelled(|| "output, transformed back".to_owned())
}

/// A convolution that this can do, and how large it is.
#[derive(Clone, Copy, Debug)]
struct WinogradJob {
    /// Squares of a sample, and of all.
    tiles: usize,
    all_tiles: usize,
    /// Channels of the image, and of the image and its shortcut.
    channels: usize,
    depth: usize,
    columns: usize,
}

impl WinogradJob {
    fn of(g: &Gemm, to: &Lowering) -> Option<Self> {
        let [batch, height, width, columns] = to.shape(g.output);
        let [_, image_height, image_width, _] = to.shape(g.source.first);
        let parts = [to.channels(Some(&g.source)), to.channels(g.shortcut.as_ref())];
        let [channels, more] = parts.map(|c| c[0] + c[1]);
        let doubled = |source: &Source| source.upsample;
        let times = if g.source.upsample { 2 } else { 1 };
        let tiles = height * width / (SIDE * SIDE);
        let job = Self { tiles, all_tiles: batch * tiles, channels, depth: channels + more, columns };
        let suits = to.tuning == Tuning::Hardware
            && (g.window.taps(), g.window.stride(), g.window.before()) == (9, 1, 1)
            && [height, width] == [times * image_height, times * image_width]
            && !g.shortcut.as_ref().is_some_and(doubled)
            && parts.as_flattened().iter().all(|c| c.is_multiple_of(4))
            && columns.is_multiple_of(4)
            && height.is_multiple_of(SIDE)
            && ([4, 8, 16].contains(&width) || width.is_multiple_of(32))
            && (width > 4 || height == 4);
        // One channel of either, or a few squares, leave nothing to gain for what it takes to transform them.
        let pays = to.choice.winograd == Some(true)
            && channels >= LEAST_CHANNELS
            && columns >= LEAST_CHANNELS
            && to.kept[1] + PRODUCTS * job.depth * columns <= MOST
            && PRODUCTS * job.all_tiles * (job.depth + columns) <= MOST;
        (suits && pays).then_some(job)
    }

    fn tile(&self, to: &Lowering) -> WinogradTile {
        if let Some(tile) = to.choice.winograd_tile {
            return WinogradTile(tile);
        }
        let groups = |tile: WinogradTile| {
            PRODUCTS * tile.groups(self.all_tiles, self.columns / 4).iter().product::<usize>()
        };
        [WinogradTile::LARGE, WinogradTile::MEDIUM]
            .into_iter()
            .find(|tile| groups(*tile) >= 264)
            .unwrap_or(WinogradTile::SMALL)
    }
}

/// Lowers a convolution where this is the faster way to do it; says whether.
pub(super) fn lower(g: &Gemm, to: &mut Lowering) -> bool {
    let Some(job) = WinogradJob::of(g, to) else { return false };
    let filters = job.transform_filters(g, to);
    let (input, used) = job.transform_image(g, to);
    let product = to.scratch(used, PRODUCTS * job.all_tiles * job.columns);
    job.multiply(input, filters, product, to);
    job.transform_back(g, product, to);
    true
}

fn bytes(floats: usize) -> u64 {
    4 * floats as u64
}

impl WinogradJob {
    /// Once for all evaluations; says where they are.
    fn transform_filters(&self, g: &Gemm, to: &mut Lowering) -> usize {
        let place = to.layout.place(g.matrix);
        let filters = to.keep(PRODUCTS * self.depth * self.columns);
        let params = WeightsParams {
            matrix: word(place.start),
            row: word(place.row),
            channels: word(self.channels),
            depth: word(self.depth),
            output: word(filters),
        };
        let groups = grid((self.depth * self.columns / 4).div_ceil(THREADS as usize));
        to.dispatch_once(weights_shader(to.layout.storage(g.matrix)), place.shard, &params, groups);
        filters
    }

    /// Says where it is, and how much of the scratch is taken now.
    fn transform_image(&self, g: &Gemm, to: &mut Lowering) -> (usize, usize) {
        let Self { tiles, all_tiles, depth, .. } = *self;
        let floats = PRODUCTS * all_tiles * depth;
        let Loading { kind, params: load, scratch } = loading(&g.load, &g.source, 1, 0, to);
        let input = to.scratch(scratch, floats);
        let [first, second] = to.offsets(Some(&g.source));
        let [shortcut_a, shortcut_b] = to.offsets(g.shortcut.as_ref());
        let [shortcut_channels_a, shortcut_channels_b] = to.channels(g.shortcut.as_ref()).map(word);
        let params = InputParams {
            load,
            first,
            second,
            shift: g.source.upsample.into(),
            shortcut_a,
            shortcut_b,
            shortcut_channels_a,
            shortcut_channels_b,
            depth: word(depth),
            across: word(to.shape(g.output)[2] / SIDE),
            tiles: word(tiles),
            all_tiles: word(all_tiles),
            output: word(input),
        };
        let shader = input_shader(kind, activation_code(g.load.activation));
        to.dispatch(shader, 0, &params, grid((all_tiles * depth).div_ceil(THREADS as usize)));
        to.costs(0, to.traffic[0] + bytes(floats));
        (input, input + floats - to.activations)
    }

    fn multiply(&self, input: usize, filters: usize, product: usize, to: &mut Lowering) {
        let Self { all_tiles, depth, columns, .. } = *self;
        let tile = self.tile(to);
        let [tiles_m, tiles_n] = tile.groups(all_tiles, columns / 4);
        let params = ProductParams {
            input: word(input),
            matrix: word(filters),
            output: word(product),
            places: word(all_tiles),
            columns4: word(columns / 4),
            depth: word(depth),
            tiles_n: word(tiles_n),
            groups: word(tiles_m * tiles_n),
        };
        let [x, y, _] = grid(tiles_m * tiles_n);
        to.dispatch(tile.shader(), 0, &params, [x, y, PRODUCTS as u32]);
        to.costs(
            2 * (PRODUCTS * all_tiles * depth * columns) as u64,
            bytes(PRODUCTS * (all_tiles * depth + depth * columns + all_tiles * columns)),
        );
    }

    /// To the output, with the epilogue.
    fn transform_back(&self, g: &Gemm, product: usize, to: &mut Lowering) {
        let [batch, height, width, columns] = to.shape(g.output);
        let strips = width.div_ceil(32);
        let blocks = columns.div_ceil(COLUMNS);
        let [time, time_start, time_width] = to.slice(g.time);
        let [sample_scale, sample_scale_start, sample_scale_width] = to.slice(g.sample_scale);
        let params = OutputParams {
            input: word(product),
            output: to.offset(g.output),
            batch: word(batch),
            height: word(height),
            width: word(width),
            columns: word(columns),
            strips: word(strips),
            blocks: word(blocks),
            bias: word(to.layout.vector(g.bias)),
            parts: parts(g),
            time,
            time_start,
            time_width,
            residual: g.residual.map_or(0, |r| to.offset(r.first)),
            residual_shift: g.residual.is_some_and(|r| r.upsample).into(),
            scale: g.scale,
            sample_scale,
            sample_scale_start,
            sample_scale_width,
            moments: g.moments.map_or(0, |id| to.offset(id)),
        };
        to.dispatch(output_shader(width), 0, &params, grid(batch * height / SIDE * strips * blocks));
        to.costs(0, bytes(PRODUCTS * self.all_tiles * columns) + to.traffic[1]);
    }
}

#[cfg(test)]
mod tests {
    use super::super::activation;
    use super::*;
    use crate::engine::lower::check;

    #[test]
    fn every_variant_is_valid() {
        for storage in [
            Storage::F32,
            Storage::F16,
            #[cfg(feature = "text")]
            Storage::Int8,
        ] {
            check::<WeightsParams>(&weights_shader(storage));
        }
        for scaling in [ScalingKind::None, ScalingKind::Constant, ScalingKind::Ready] {
            for activation in activation::ALL {
                check::<InputParams>(&input_shader(scaling, activation));
            }
        }
        for tile in
            [WinogradTile::LARGE, WinogradTile::MEDIUM, WinogradTile::SMALL, WinogradTile([8, 2, 16, 256])]
        {
            check::<ProductParams>(&tile.shader());
        }
        for width in [4, 8, 16, 32, 64] {
            check::<OutputParams>(&output_shader(width));
        }
    }
}
