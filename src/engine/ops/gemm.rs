//! Convolutions and linear maps as products of pixels and a matrix. The twins are the kernels' `gemm` and `product`.

use super::activation::{ACTIVATION, NO_ACTIVATION, activation_code};
use super::attention::MERGED;
use super::cut::{OutputRows, Slices, in_fours, tile_of, with_halo};
use super::load::{LOAD, Load, LoadParams, ScalingKind};
use super::moments::Moments;
use super::norm::{Loading, loading};
use super::operation::{Operation, Room};
pub use super::product::Gemm;
use super::product::{self, parts};
use super::tile::{self, Tile};
use crate::engine::kernels::{Image, gemm as twin, winograd};
#[cfg(feature = "text")]
use crate::engine::lower::Sliced;
use crate::engine::lower::{
    File, Lowering, MatrixPlace, Shader, Tuning, constants, grid, uniform, wgsl, word,
};
use crate::engine::parameters::{Parameters, Storage};
use crate::engine::stage::{Memory, Split, Stage};
use crate::engine::threads;
use crate::engine::value::{Reference, Source, TILE_PIXELS, Value, Window};
use crate::error::Result;
use crate::network::ops::Padding;

impl Operation for Gemm {
    fn references_mut(&mut self, f: &mut dyn FnMut(Reference)) {
        self.load.references_mut(f);
        self.source.references_mut(f);
        for source in [&mut self.shortcut, &mut self.residual].into_iter().flatten() {
            source.references_mut(f);
        }
        for slice in [&mut self.time, &mut self.sample_scale].into_iter().flatten() {
            f(Reference::Rows(slice));
        }
        f(Reference::Matrix(&mut self.matrix));
        f(Reference::Vector(&mut self.bias));
        f(Reference::Write(&mut self.output));
        if let Some(moments) = &mut self.moments {
            f(Reference::Write(moments));
        }
    }

    fn text(&self, kind: char, parameters: &Parameters) -> String {
        let (matrix, image) = (&parameters.matrices[self.matrix.0], self.load.text(kind, &self.source));
        // A linear map of a vector is named by its weights.
        let linear = self.window == Window::Pointwise && self.shortcut.is_none() && self.residual.is_none();
        if kind == 'r' && linear {
            let more = match matrix.parts.len() {
                1 => String::new(),
                parts => format!(" and {} more", parts - 1),
            };
            return format!("{image} · {}{more}", matrix.parts[0].key);
        }
        let mut text = format!("{} [{}][{}]({image})", self.window_text(), matrix.rows, matrix.columns);
        for (what, source) in [("shortcut", self.shortcut), ("residual", self.residual)] {
            if let Some(source) = source {
                text += &format!(" + {what} {}", Load::default().text(kind, &source));
            }
        }
        if let Some(time) = self.time {
            text += &format!(" + {}", time.text());
        }
        if self.scale != 1.0 {
            text += &format!(" · {}", self.scale);
        }
        if let Some(scale) = self.sample_scale {
            text += &format!(" · {}", scale.text());
        }
        text
    }

    fn room(&self, values: &[Value]) -> Room {
        let channels = self.source.channels(values);
        Room { scratch: self.scratch_len(values, channels), scaling: self.load.scaling_len(values) }
    }

    fn run(&self, stage: &Stage, memory: &mut Memory) {
        let Split { arena, scratch, scaling, out } = stage.split(memory, self.output);
        let whole = self.is_one_image(stage.values);
        let image = |source: &Source| {
            let image = stage.image(arena, source);
            if whole { Image { height: stage.batch, ..image } } else { image }
        };
        let args = twin::GemmInput {
            source: image(&self.source),
            scale_shift: self.load.scale(stage, arena, scaling),
            activation: self.load.activation,
            window: self.window,
            shortcut: self.shortcut.as_ref().map(image),
            panels: stage.packed.panels(self.matrix),
            bias: stage.packed.vector(self.bias),
            time: self.time.map(|t| stage.per_sample(t)),
            residual: self.residual.as_ref().map(image),
            scale: self.scale,
            sample_scale: self.sample_scale.map(|s| stage.per_sample(s)),
            size: self.output_size(stage.values),
        };
        if self.is_winograd(stage.values) {
            let kept = stage.packed.winograd(self.matrix);
            winograd::convolve(&args, kept, scratch, out, &threads::each);
        } else {
            twin::gemm(&args, scratch, out, &threads::each);
        }
        if let Some(output) = self.moments {
            Moments { source: self.output, output }.run(stage, memory);
        }
    }

    fn lower(&self, to: &mut Lowering) -> Result<()> {
        lower(self, to)
    }
}

constants! {
    ACROSS = tile::ACROSS;

    /// Taps of a window that may lie outside the image one by one, where channels are read in fours.
    FEW_TAPS = 25;

    // Bits of `parts`: what an epilogue does besides adding the bias.
    PART_TIME = product::PART_TIME;
    PART_RESIDUAL = product::PART_RESIDUAL;
    PART_SAMPLE_SCALE = product::PART_SAMPLE_SCALE;
    PART_MOMENTS = product::PART_MOMENTS;
}

const GEMM: File = File { text: wgsl!("gemm.wgsl"), constants: CONSTANTS };
const TILE_32: File = File { text: wgsl!("tile32.wgsl"), constants: &[] };
const TILE_16: File = File { text: wgsl!("tile16.wgsl"), constants: &[] };
const RUN_FIXED: File = File { text: wgsl!("run_fixed.wgsl"), constants: &[] };
const RUN_DYNAMIC: &str = wgsl!("run_dynamic.wgsl");
#[cfg(not(target_arch = "wasm32"))]
const HALO: File = File { text: wgsl!("halo.wgsl"), constants: &[] };

uniform! {
    /// `Params` in gemm.wgsl.
    struct Params {
        load: LoadParams,
        first: u32,
        second: u32,
        shift: u32,
        kernel: u32,
        stride: u32,
        before: u32,
        inverse_channels: f32,
        window_depth: u32,
        depth: u32,
        shortcut_a: u32,
        shortcut_b: u32,
        shortcut_channels_a: u32,
        shortcut_channels_b: u32,
        shortcut_shift: u32,
        output: u32,
        pixels: u32,
        out_width: u32,
        columns: u32,
        padded: u32,
        tiles_m: u32,
        tiles_n: u32,
        matrix: u32,
        row: u32,
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
        partial: u32,
        slices: u32,
        slice_tiles: u32,
        run: u32,
    }
}

/// What makes a variant of the kernel.
#[derive(Clone, Copy, Debug)]
struct Variant {
    tile: Tile,
    /// Pixels whose moments are taken together; `None` where the uniform says it, with what else differs between products.
    run: Option<usize>,
    /// Places for scales and shifts.
    norms: usize,
    /// Whether all channels that are read come in fours.
    vectors: bool,
    /// Whether the output's channels do.
    lanes4: bool,
    storage: Storage,
    /// Whether tiles have 16 bits in workgroup memory.
    #[cfg(not(target_arch = "wasm32"))]
    f16: bool,
    scaling: ScalingKind,
    activation: u32,
    role: Role,
    /// Slices that attention leaves of the image, and its heads.
    #[cfg(feature = "text")]
    sliced: [u32; 2],
}

/// What a variant does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// Multiplies, and loads each tap for itself.
    Product,
    /// Multiplies, and loads all taps of an image of this width together.
    #[cfg_attr(target_arch = "wasm32", allow(dead_code, reason = "pages do without"))]
    Halo(usize),
    /// Adds slices up.
    Sum,
}

/// Loops over registers, which every compiler is given written out.
const REGISTERS: &[&str] = &["ROWS", "COLUMNS4", "INPUTS", "WEIGHTS"];
/// Loops of the epilogue too.
const REGISTERS_AND_END: &[&str] =
    &["ROWS", "COLUMNS4", "INPUTS", "WEIGHTS", "PATCHES", "STAGE_K4", "END_ROWS", "RUN_ROWS", "RUNS"];

/// The files of a product, with those of its tiles.
macro_rules! files {
    ($variant:expr, $($more:expr),*) => {
        if $variant.is_f16() {
            &[ACTIVATION, LOAD, MERGED, GEMM, TILE_16, $($more),*]
        } else {
            &[ACTIVATION, LOAD, MERGED, GEMM, TILE_32, $($more),*]
        }
    };
}

impl Variant {
    fn shader(self) -> Shader {
        let Self { tile, .. } = self;
        let mut constants = vec![
            ("THREADS", tile.threads),
            ("ROWS", tile.rows),
            ("COLUMNS4", tile.columns4),
            ("TILE_K", tile.depth),
            ("MATRIX_ROWS", self.matrix_rows()),
            ("INPUTS", tile.inputs()),
            ("WEIGHTS", tile.weights()),
            ("END_ROWS", tile.rows),
            ("NORMS", word(self.norms)),
            ("VECTORS", self.vectors.into()),
            ("SCALING", self.scaling as u32),
            ("ACTIVATION", self.activation),
        ];
        #[cfg(feature = "text")]
        constants.extend([("SLICES", self.sliced[0]), ("HEADS", self.sliced[1])]);
        if let Some(run) = self.run {
            let rows = tile.rows_of_run(word(run));
            constants.extend([("RUN", word(run)), ("RUN_ROWS", rows), ("RUNS", tile.rows / rows)]);
        }
        let files: &'static [File] = match (self.run, self.role) {
            (None, _) => files!(self,),
            #[cfg(not(target_arch = "wasm32"))]
            (_, Role::Halo(width)) => {
                constants.extend([
                    ("WIDTH", word(width)),
                    ("PATCHES", tile.patches(width)),
                    ("STAGE_K4", tile.depth / 4),
                ]);
                files!(self, RUN_FIXED, HALO)
            }
            _ => files!(self, RUN_FIXED),
        };
        let shader = Shader::new(self.entry(), constants, self.lanes4, files);
        let unrolled = if self.run.is_none() { REGISTERS } else { REGISTERS_AND_END };
        let here = if self.run.is_none() { RUN_DYNAMIC } else { "" };
        Shader {
            unrolled,
            here,
            matrices: Some(self.storage),
            #[cfg(not(target_arch = "wasm32"))]
            f16: self.f16,
            ..shader
        }
        .labelled(|| self.label())
    }

    /// Rows of the matrix in workgroup memory: where tiles have 32 bits, the sums lie there too that moments are made of.
    fn matrix_rows(self) -> u32 {
        if self.is_f16() { self.tile.depth } else { self.tile.matrix_rows() }
    }

    /// Pages have no bytes for choosing this.
    #[cfg_attr(target_arch = "wasm32", allow(clippy::unused_self, reason = "see above"))]
    fn is_f16(self) -> bool {
        #[cfg(not(target_arch = "wasm32"))]
        return self.f16;
        #[cfg(target_arch = "wasm32")]
        false
    }

    fn entry(self) -> &'static str {
        match self.role {
            Role::Product => "main",
            Role::Halo(_) => "halo",
            Role::Sum => "reduce",
        }
    }

    fn label(self) -> String {
        let Self { tile, role, .. } = self;
        let what = match role {
            Role::Product => "product",
            Role::Halo(_) => "halo",
            Role::Sum => return "sum of slices".to_owned(),
        };
        let bits = if self.is_f16() { ", 16 bits" } else { "" };
        format!("{what} {}×{}×{} of {}{bits}", tile.pixels(), tile.columns(), tile.depth, tile.threads)
    }
}

/// A product before its uniform and its kernel are written down.
struct GemmJob<'a> {
    g: &'a Gemm,
    rows: OutputRows,
    tile: Tile,
    /// Whether all taps are loaded together.
    halo: bool,
    /// Pairs of scale and shift that a workgroup has room for.
    room: usize,
    /// Channels of the image and of the shortcut.
    channels: [[usize; 2]; 2],
    place: MatrixPlace,
}

impl GemmJob<'_> {
    /// Rows of the matrix: of the image's window, and of the shortcut.
    fn depths(&self) -> [usize; 2] {
        let [image, shortcut] = self.channels.map(|c| c[0] + c[1]);
        [self.g.window.taps() * image, shortcut]
    }

    fn depth_tiles(&self) -> usize {
        let (taps, step) = (self.g.window.taps(), self.tile.depth as usize);
        let [window, shortcut] = self.depths();
        if self.halo {
            taps * (window / taps).div_ceil(step) + shortcut.div_ceil(step)
        } else {
            (window + shortcut).div_ceil(step)
        }
    }

    fn params(&self, load: LoadParams, slices: Slices, partial: usize, to: &Lowering) -> Params {
        let Self { g, rows, place, .. } = self;
        let [window_depth, more] = self.depths();
        let [tiles_m, tiles_n] = rows.tiles(self.tile);
        let [first, second] = to.offsets(Some(&g.source));
        let [shortcut_a, shortcut_b] = to.offsets(g.shortcut.as_ref());
        let [shortcut_channels_a, shortcut_channels_b] = self.channels[1].map(word);
        let [time, time_start, time_width] = to.slice(g.time);
        let [sample_scale, sample_scale_start, sample_scale_width] = to.slice(g.sample_scale);
        Params {
            load,
            first,
            second,
            shift: g.source.upsample.into(),
            kernel: word(g.window.kernel()),
            stride: word(g.window.stride()),
            before: word(g.window.before()),
            inverse_channels: 1.0 / (window_depth / g.window.taps()) as f32,
            window_depth: word(window_depth),
            depth: word(window_depth + more),
            shortcut_a,
            shortcut_b,
            shortcut_channels_a,
            shortcut_channels_b,
            shortcut_shift: g.shortcut.is_some_and(|s| s.upsample).into(),
            output: to.offset(g.output),
            pixels: word(rows.pixels),
            out_width: word(rows.width),
            columns: word(rows.columns),
            padded: word(rows.padded),
            tiles_m: word(tiles_m),
            tiles_n: word(tiles_n),
            matrix: word(place.start),
            row: word(place.row),
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
            partial: word(partial),
            slices: word(slices.count),
            slice_tiles: word(slices.tiles),
            run: word(self.run()),
        }
    }

    /// Whether all taps that may lie outside the image have a bit.
    fn taps_are_known(&self) -> bool {
        self.g.window.taps() <= FEW_TAPS as usize
            || matches!(self.g.window, Window::Square { padding: Padding::All(0), .. })
    }

    /// Places whose moments are taken together; without moments, the number that makes the fewest variants.
    fn run(&self) -> usize {
        if self.g.moments.is_some() { self.rows.run() } else { self.tile.pixels().min(TILE_PIXELS) }
    }

    /// The kernel that a GPU multiplies with.
    fn variant(&self, scaling: ScalingKind, samples: usize, to: &Lowering) -> Variant {
        let all: usize = self.channels[0].iter().sum();
        let needed = if scaling == ScalingKind::Inline { samples * all } else { 1 };
        Variant {
            tile: self.tile,
            run: Some(self.run()),
            norms: [1, 128, 256, 512].into_iter().find(|size| *size >= needed).unwrap_or(self.room),
            vectors: in_fours(self.channels.as_flattened()) && self.taps_are_known(),
            lanes4: self.rows.columns.is_multiple_of(4),
            storage: to.layout.storage(self.g.matrix),
            // What is stored in 32 bits is meant to be exact.
            #[cfg(not(target_arch = "wasm32"))]
            f16: to.choice.f16_products && to.layout.storage(self.g.matrix) != Storage::F32,
            scaling,
            activation: activation_code(self.g.load.activation),
            role: if self.halo { Role::Halo(self.rows.width) } else { Role::Product },
            #[cfg(feature = "text")]
            sliced: [1, 1],
        }
    }

    /// The kernel that an adapter in software multiplies with: one for as many products as possible.
    fn shared_variant(&self, own: Variant, to: &Lowering) -> Variant {
        let fours = own.vectors && own.lanes4;
        Variant {
            run: None,
            norms: own.tile.norms(),
            vectors: fours,
            lanes4: fours,
            scaling: ScalingKind::Dynamic,
            activation: activation_code(self.g.load.activation.or(to.common_activation)),
            ..own
        }
    }
}

/// The same product of what attention leaves in slices.
#[cfg(feature = "text")]
fn merging(params: Params, own: Variant, sliced: Sliced) -> (Params, Variant) {
    let Sliced { slices, heads, first, .. } = sliced;
    (Params { first: word(first), ..params }, Variant { sliced: [word(slices), word(heads)], ..own })
}

fn lower(g: &Gemm, to: &mut Lowering) -> Result<()> {
    #[cfg(not(target_arch = "wasm32"))]
    if super::winograd::lower(g, to) {
        return Ok(());
    }
    let rows = OutputRows::of(to.shape(g.output));
    let tile = tile_of(&rows, to)?;
    let halo = with_halo(g, &rows, tile, to);
    let tile = halo.unwrap_or(tile);
    let job = GemmJob {
        g,
        rows,
        tile,
        halo: halo.is_some(),
        room: if halo.is_some() { tile.halo_norms(rows.width) } else { tile.norms() },
        channels: [to.channels(Some(&g.source)), to.channels(g.shortcut.as_ref())],
        place: to.layout.place(g.matrix),
    };
    let samples = rows.samples(tile);
    let Loading { kind, params: load, scratch } = loading(&g.load, &g.source, samples, job.room, to);
    #[cfg(feature = "text")]
    let sliced = to.sliced.take();
    #[cfg(feature = "text")]
    let scratch = sliced.map_or(scratch, |s| s.taken);
    let slices = Slices::of(job.depth_tiles(), &rows, tile, to);
    let partial = to.scratch(scratch, slices.floats);
    let params = job.params(load, slices, partial, to);
    let own = job.variant(kind, samples, to);
    #[cfg(feature = "text")]
    let (params, own) = sliced.map_or((params, own), |sliced| merging(params, own, sliced));
    let pairs = samples * job.channels[0].iter().sum::<usize>();
    let shared = to.tuning == Tuning::Software && pairs <= tile.norms();
    let product = if shared { job.shared_variant(own, to) } else { own };
    let [x, y, _] = grid(rows.groups(tile));
    to.dispatch(product.shader(), job.place.shard, &params, [x, y, word(slices.count)]);

    let [read, written] = to.traffic;
    let matrix = &to.parameters.matrices[g.matrix.0];
    let weights = (matrix.rows * matrix.columns) as u64;
    let partial = 4 * slices.floats as u64;
    let left = if slices.count == 1 { written } else { partial };
    to.costs(2 * (rows.batch * rows.pixels) as u64 * weights, read + 4 * weights + left);
    if slices.count > 1 {
        // Only the multiplication needs these; fixed here, they make no further variants of the addition.
        let sum = Variant {
            norms: 1,
            vectors: true,
            #[cfg(not(target_arch = "wasm32"))]
            f16: false,
            scaling: ScalingKind::None,
            activation: NO_ACTIVATION,
            role: Role::Sum,
            #[cfg(feature = "text")]
            sliced: [1, 1],
            ..own
        };
        to.dispatch(sum.shader(), job.place.shard, &params, [x, y, 1]);
        to.costs(0, partial + written);
    }
    Ok(())
}

#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests {
    use super::super::activation;
    use super::*;
    use crate::engine::lower::check;

    #[cfg(feature = "text")]
    const PACKED: Storage = Storage::Int8;
    #[cfg(not(feature = "text"))]
    const PACKED: Storage = Storage::F16;

    #[test]
    fn every_variant_is_valid() {
        let kinds = [
            ScalingKind::None,
            ScalingKind::Constant,
            ScalingKind::Ready,
            ScalingKind::Inline,
            ScalingKind::Dynamic,
        ];
        for tile in [Tile::LARGE, Tile::MEDIUM, Tile::SMALL] {
            for (i, scaling) in kinds.into_iter().enumerate() {
                for bits in 0..16 {
                    let bit = |i: usize| bits >> i & 1 == 1;
                    let dynamic = scaling == ScalingKind::Dynamic;
                    let run = if tile == Tile::LARGE { 32 } else { 1 << (bits % 5) };
                    let variant = Variant {
                        tile,
                        run: (!dynamic).then_some(run),
                        norms: if dynamic || scaling == ScalingKind::Inline { tile.norms() } else { 1 },
                        vectors: bit(0),
                        lanes4: bit(1),
                        storage: [Storage::F32, Storage::F16, PACKED][(i + bits) % 3],
                        f16: bits % 3 == 1,
                        scaling,
                        activation: activation::ALL[(i + bits) % activation::ALL.len()],
                        role: if bit(3) { Role::Sum } else { Role::Product },
                        #[cfg(feature = "text")]
                        sliced: if bit(1) && !dynamic { [8, 2] } else { [1, 1] },
                    };
                    check::<Params>(&variant.shader());
                }
            }
        }
    }

    #[test]
    fn every_variant_with_a_halo_is_valid() {
        let tiles =
            [Tile::LARGE, Tile { depth: 16, ..Tile::MEDIUM }, Tile { threads: 128, rows: 4, ..Tile::LARGE }];
        for tile in tiles {
            let cases = [(8, ScalingKind::None), (16, ScalingKind::Ready), (32, ScalingKind::Inline)];
            for ((width, scaling), f16) in cases.into_iter().flat_map(|case| [(case, false), (case, true)]) {
                let variant = Variant {
                    tile,
                    run: Some(32),
                    norms: if scaling == ScalingKind::Inline { tile.halo_norms(width) } else { 1 },
                    vectors: true,
                    lanes4: width > 8,
                    storage: [Storage::F32, Storage::F16, PACKED][width / 16],
                    f16,
                    scaling,
                    activation: activation::SILU,
                    role: Role::Halo(width),
                    #[cfg(feature = "text")]
                    sliced: [1, 1],
                };
                check::<Params>(&variant.shader());
            }
        }
    }
}
