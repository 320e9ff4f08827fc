//! A plan's operations as dispatches: which kernel, how many workgroups, and what its uniform says. All of it is known
//! before there is a device.

use super::interface::{
    AttentionParams, FLAT_THREADS, GemmParams, Load as LoadParams, NARROW_LANES, NO_ACTIVATION, NormParams,
    PART_MOMENTS, PART_RESIDUAL, PART_SAMPLE_SCALE, PART_TIME, PoolParams, ScalingKind, Uniform,
    activation_code,
};
use super::shader::{GemmVariant, Kernel, Tile};
use super::shards::ShardLayout;
use super::tuning::{Choice, Tuning};
use crate::engine::parameters::Storage;
use crate::engine::plan::{
    self, Attention, Gemm, Load, Norm, Op, Plan, Pool, ReadyNorm, RowSlice, Source, ValueId,
};
use crate::error::{Error, Result};
use crate::network::ops::Activation;

/// A dispatch may have this many workgroups in one dimension, on every adapter.
const MAX_GROUPS: usize = 65_535;

/// A product of at most this many workgroups is cut into slices of its depth, until there are about [`WANTED_GROUPS`], so that
/// a GPU has enough to do.
const FEW_GROUPS: usize = 16;
const WANTED_GROUPS: usize = 128;
/// Tiles of the matrix's rows that a slice has at least.
const SLICE_TILES: usize = 4;

/// Products use the largest tile where that makes at least this many workgroups: fewer would leave cores without work.
const LARGE_GROUPS: usize = 256;

/// One run of a kernel.
#[derive(Clone, Debug)]
pub(super) struct Dispatch {
    pub(super) kernel: Kernel,
    /// The buffer of matrices that it reads.
    pub(super) shard: usize,
    /// Where its uniform starts, in bytes.
    pub(super) uniform: u32,
    pub(super) groups: [u32; 3],
    /// The operation that it is a part of, as a position in [`Plan::ops`].
    #[cfg_attr(target_arch = "wasm32", allow(dead_code, reason = "profiles are taken natively"))]
    pub(super) op: usize,
}

/// A plan's dispatches: every operation as one, or as two where that pays.
#[derive(Clone, Debug)]
pub struct Lowered {
    pub(super) dispatches: Vec<Dispatch>,
    /// The uniforms of all dispatches.
    pub(super) uniforms: Vec<u32>,
    /// Floats of the arena: the plan's activations, and then the scratch of single operations.
    pub(super) arena: usize,
}

impl Lowered {
    /// Lowers a plan, whose parameters lie as `layout` says.
    ///
    /// # Errors
    /// [`Error::Unsupported`] where attention's heads are too wide.
    pub fn new(plan: &Plan, layout: &ShardLayout, tuning: Tuning, choice: Choice) -> Result<Self> {
        // Only the command's benchmark chooses; a page has no bytes for the sentence.
        #[cfg(not(target_arch = "wasm32"))]
        if let Some(tile) = choice.tile.filter(|tile| Tile::of(*tile).is_none()) {
            return Err(Error::Option {
                option: "tile",
                found: format!("{tile:?}"),
                expected: "rows 1 to 16, 1, 2 or 4 vectors of columns, a depth of 8, 16 or 32 and 64, 128 or 256 threads that \
                           suit each other and fit in 16 KiB of workgroup memory"
                    .to_owned(),
            });
        }
        let mut builder = Builder {
            plan,
            layout,
            tuning,
            choice,
            common_activation: plan.ops.iter().find_map(|step| match &step.op {
                Op::Gemm(gemm) => gemm.load.activation,
                _ => None,
            }),
            op: 0,
            lowered: Self { dispatches: Vec::new(), uniforms: Vec::new(), arena: plan.arena },
        };
        for (at, step) in plan.ops.iter().enumerate() {
            builder.op = at;
            builder.lower(&step.op)?;
        }
        if builder.lowered.arena.checked_mul(4).is_none() {
            let problem = format!("{} bytes of activations", builder.lowered.arena_bytes());
            return Err(Error::OutOfMemory { problem });
        }
        Ok(builder.lowered)
    }

    /// Dispatches of an evaluation.
    #[must_use]
    pub fn dispatches(&self) -> usize {
        self.dispatches.len()
    }

    /// Every kernel that the dispatches run, once: what profiles call it, its function and its text.
    #[cfg(not(target_arch = "wasm32"))]
    #[must_use]
    pub fn shaders(&self, f16: bool) -> Vec<(String, &'static str, String)> {
        let mut kernels: Vec<Kernel> = Vec::new();
        for dispatch in &self.dispatches {
            if !kernels.contains(&dispatch.kernel) {
                kernels.push(dispatch.kernel);
            }
        }
        kernels.into_iter().map(|k| (format!("{} {k:?}", k.label()), k.entry(), k.source(f16))).collect()
    }

    /// Bytes of the arena: the plan's activations and the scratch of single operations.
    #[must_use]
    pub fn arena_bytes(&self) -> u64 {
        4 * self.arena as u64
    }
}

/// So many workgroups, in two dimensions where they exceed the limit of one.
pub(super) fn grid(groups: usize) -> [u32; 3] {
    let y = groups.div_ceil(MAX_GROUPS).max(1);
    [groups.div_ceil(y).max(1) as u32, y as u32, 1]
}

struct Builder<'a> {
    plan: &'a Plan,
    layout: &'a ShardLayout,
    tuning: Tuning,
    choice: Choice,
    /// The activation of the plan's first product that has one: in a U-Net, of all. Products without an activation share the
    /// kernel of those with it.
    common_activation: Option<Activation>,
    op: usize,
    lowered: Lowered,
}

/// A number as kernels read it.
fn word(number: usize) -> u32 {
    number as u32
}

fn words<const N: usize>(numbers: [usize; N]) -> [u32; N] {
    numbers.map(word)
}

impl Builder<'_> {
    fn lower(&mut self, op: &Op) -> Result<()> {
        match op {
            Op::Gemm(gemm) => self.gemm(gemm),
            Op::Norm(ReadyNorm { norm, output }) => self.norm(norm, self.offset(*output)),
            Op::Attention(attention) => self.attention(attention)?,
            Op::Pool(pool) => self.pool(pool),
            Op::Map(_) | Op::Moments(_) | Op::Gather(_) => {
                return Err(Error::Unsupported {
                    what: "this network".to_owned(),
                    why: "a GPU has no kernel for it yet".to_owned(),
                });
            }
        }
        Ok(())
    }

    fn dispatch(&mut self, kernel: Kernel, shard: usize, params: &impl Uniform, groups: [u32; 3]) {
        let lowered = &mut self.lowered;
        let uniform = 4 * lowered.uniforms.len() as u32;
        lowered.uniforms.extend(params.words());
        lowered.dispatches.push(Dispatch { kernel, shard, uniform, groups, op: self.op });
    }

    /// Scratch for the operation that is lowered, behind the plan's activations and the `used` floats that it has already.
    fn scratch(&mut self, used: usize, floats: usize) -> usize {
        // Where 32 bits do not count so far, the arena's bytes are too many in any case.
        let start = self.plan.arena.saturating_add(used).checked_next_multiple_of(64).unwrap_or(usize::MAX);
        self.lowered.arena = self.lowered.arena.max(start.saturating_add(floats));
        start
    }

    fn offset(&self, id: ValueId) -> u32 {
        word(self.plan.value(id).offset)
    }

    /// Offsets of a source's images, 0 for one that is not there.
    fn offsets(&self, source: Option<&Source>) -> [u32; 2] {
        let Some(source) = source else { return [0; 2] };
        [Some(source.first), source.second].map(|id| id.map_or(0, |id| self.offset(id)))
    }

    /// Channels of a source's images, 0 for one that is not there.
    fn channels(&self, source: Option<&Source>) -> [usize; 2] {
        let Some(source) = source else { return [0; 2] };
        [Some(source.first), source.second].map(|id| id.map_or(0, |id| self.plan.value(id).shape[3]))
    }

    /// Where a vector of the prelude is, where its part begins and how wide it is.
    fn slice(&self, slice: Option<RowSlice>) -> [u32; 3] {
        slice.map_or([0; 3], |s| {
            let row = &self.plan.prelude.rows[s.row.0];
            words([row.start, s.start, row.width])
        })
    }

    /// What a load that scales nothing is given.
    fn load(&self, channels: [usize; 2]) -> LoadParams {
        let [channels_a, channels_b] = words(channels);
        let batch = word(self.plan.batch);
        LoadParams { scale: 1.0, samples: 1, channels_a, channels_b, batch, ..LoadParams::default() }
    }

    /// The same with what a normalisation is computed from.
    fn normalised(&self, norm: &Norm, load: LoadParams) -> LoadParams {
        let [modulation, modulation_start, modulation_width] = self.slice(norm.modulation);
        LoadParams {
            moments_a: self.offset(norm.moments.0),
            moments_b: norm.moments.1.map_or(0, |id| self.offset(id)),
            pixels: word(norm.pixels),
            tiles: word(norm.pixels.div_ceil(plan::TILE_PIXELS)),
            groups: word(norm.groups),
            eps: norm.eps,
            weight: word(self.layout.vector(norm.weight)),
            bias: word(self.layout.vector(norm.bias)),
            modulated: norm.modulation.is_some().into(),
            modulation,
            modulation_start,
            modulation_width,
            ..load
        }
    }

    fn norm(&mut self, norm: &Norm, output: u32) {
        let channels =
            [Some(norm.moments.0), norm.moments.1].map(|id| id.map_or(0, |id| self.plan.value(id).shape[3]));
        let load = self.normalised(norm, self.load(channels));
        let groups = grid(self.plan.batch * norm.groups);
        self.dispatch(Kernel::Norm, 0, &NormParams { load, output }, groups);
    }

    /// How a load scales, what its kernel is given, and the floats of scratch that this takes. A workgroup has room for
    /// `room` pairs of scale and shift and loads from `samples` samples; a normalisation that does not fit gets a dispatch of
    /// its own before.
    fn scaling(
        &mut self,
        load: &Load,
        source: &Source,
        samples: usize,
        room: usize,
    ) -> (ScalingKind, LoadParams, usize) {
        let channels = self.channels(Some(source));
        let all = channels[0] + channels[1];
        let [_, height, width, _] = self.plan.value(source.first).shape;
        let params = LoadParams {
            samples: word(samples),
            height: word(height),
            width: word(width),
            activated: load.activation.is_some().into(),
            ..self.load(channels)
        };
        let (kind, params, floats) = match &load.scaling {
            None => (ScalingKind::None, params, 0),
            Some(plan::Scaling::Constant { scale, shift }) => {
                (ScalingKind::Constant, LoadParams { scale: *scale, shift: *shift, ..params }, 0)
            }
            Some(plan::Scaling::Ready(id)) => {
                (ScalingKind::Ready, LoadParams { ready: self.offset(*id), ..params }, 0)
            }
            Some(plan::Scaling::Inline(norm)) if samples * all <= room => {
                (ScalingKind::Inline, self.normalised(norm, params), 0)
            }
            Some(plan::Scaling::Inline(norm)) => {
                let floats = 2 * self.plan.batch * all;
                let ready = word(self.scratch(0, floats));
                self.norm(norm, ready);
                (ScalingKind::Ready, LoadParams { ready, samples: 1, ..params }, floats)
            }
        };
        (kind, LoadParams { scaling: kind as u32, ..params }, floats)
    }

    fn gemm(&mut self, g: &Gemm) {
        let plan = self.plan;
        let [batch, height, width, columns] = plan.value(g.output).shape;
        let pixels = height * width;
        // Each sample gets `padded` places, so that a run of TILE_PIXELS places holds pixels of one sample, or whole samples.
        let whole = pixels.is_multiple_of(plan::TILE_PIXELS) || plan::TILE_PIXELS.is_multiple_of(pixels);
        let padded = if whole { pixels } else { pixels.next_multiple_of(plan::TILE_PIXELS) };
        let run = padded.min(plan::TILE_PIXELS);
        let places = batch * padded;
        let groups = |tile: Tile| (places.div_ceil(tile.pixels()), columns.div_ceil(tile.columns()));
        let count = |tile: Tile| groups(tile).0 * groups(tile).1;
        let hardware = self.tuning == Tuning::Hardware;
        let chosen = self.choice.tile.and_then(Tile::of).filter(|_| run == plan::TILE_PIXELS);
        let tile = if !hardware {
            Tile::MEDIUM
        } else if let Some(tile) = chosen {
            tile
        } else if places <= Tile::SMALL.pixels() {
            Tile::SMALL
        } else if run == plan::TILE_PIXELS && count(Tile::LARGE) >= self.choice.large.unwrap_or(LARGE_GROUPS)
        {
            Tile::LARGE
        } else {
            Tile::MEDIUM
        };
        let [_, source_height, source_width, _] = plan.value(g.source.first).shape;
        let fours = |source: Option<&Source>| self.channels(source).iter().all(|c| c.is_multiple_of(4));
        let halo_fits = |tile: Tile| {
            cfg!(not(target_arch = "wasm32"))
                && self.choice.halo.unwrap_or(true)
                && hardware
                && g.window.taps() == 9
                && g.window.stride() == 1
                && g.window.before() == 1
                && !g.source.upsample
                && !g.shortcut.as_ref().is_some_and(|s| s.upsample)
                && [source_height, source_width] == [height, width]
                && fours(Some(&g.source))
                && fours(g.shortcut.as_ref())
                && pixels.is_multiple_of(tile.pixels())
                && tile.pixels().is_multiple_of(width)
                && (width.is_multiple_of(8) && width.is_power_of_two())
                && tile.halo_norms(width) >= 128
        };
        // With a halo the depth must leave room for it.
        let shallow = Tile { depth: 16, ..tile };
        let (tile, halo) = if halo_fits(tile) {
            (tile, width)
        } else if tile.depth > 16 && halo_fits(shallow) {
            (shallow, width)
        } else {
            (tile, 0)
        };
        let room = if halo > 0 { tile.halo_norms(width) } else { tile.norms() };
        // The most samples that the places of one workgroup belong to.
        let samples = if padded.is_multiple_of(tile.pixels()) {
            1
        } else if tile.pixels().is_multiple_of(padded) {
            tile.pixels() / padded
        } else {
            tile.pixels() / padded + 2
        };
        let samples = samples.min(batch);
        let (scaling, load, used) = self.scaling(&g.load, &g.source, samples, room);
        let [first, second] = self.offsets(Some(&g.source));
        let [shortcut_a, shortcut_b] = self.offsets(g.shortcut.as_ref());
        let channels = self.channels(Some(&g.source));
        let more = self.channels(g.shortcut.as_ref());
        let [shortcut_channels_a, shortcut_channels_b] = words(more);
        let all = channels[0] + channels[1];
        let taps = g.window.taps();
        let (window_depth, depth) = (taps * all, taps * all + more[0] + more[1]);
        let (tiles_m, tiles_n) = groups(tile);
        let step = tile.depth as usize;
        let depth_tiles = if halo > 0 {
            taps * all.div_ceil(step) + (more[0] + more[1]).div_ceil(step)
        } else {
            depth.div_ceil(step)
        };
        let slices = if hardware && count(tile) <= self.choice.few.unwrap_or(FEW_GROUPS) {
            (self.choice.wanted.unwrap_or(WANTED_GROUPS) / count(tile)).min(depth_tiles / SLICE_TILES).max(1)
        } else {
            1
        };
        let slice_tiles = depth_tiles.div_ceil(slices);
        let slices = depth_tiles.div_ceil(slice_tiles);
        let floats =
            if slices == 1 { 0 } else { slices * tiles_m * tile.pixels() * tiles_n * tile.columns() };
        let partial = self.scratch(used, floats);

        let place = self.layout.place(g.matrix);
        let part = |there: bool, bit: u32| if there { bit } else { 0 };
        let [time, time_start, time_width] = self.slice(g.time);
        let [sample_scale, sample_scale_start, sample_scale_width] = self.slice(g.sample_scale);
        let run = if g.moments.is_some() { run } else { tile.pixels().min(plan::TILE_PIXELS) };
        let params = GemmParams {
            load,
            first,
            second,
            shift: g.source.upsample.into(),
            taps: word(taps),
            stride: word(g.window.stride()),
            before: word(g.window.before()),
            inverse_channels: 1.0 / all as f32,
            window_depth: word(window_depth),
            depth: word(depth),
            shortcut_a,
            shortcut_b,
            shortcut_channels_a,
            shortcut_channels_b,
            shortcut_shift: g.shortcut.is_some_and(|s| s.upsample).into(),
            output: self.offset(g.output),
            pixels: word(pixels),
            out_width: word(width),
            columns: word(columns),
            padded: word(padded),
            tiles_m: word(tiles_m),
            tiles_n: word(tiles_n),
            matrix: word(place.start),
            row: word(place.row),
            bias: word(self.layout.vector(g.bias)),
            parts: part(g.time.is_some(), PART_TIME)
                | part(g.residual.is_some(), PART_RESIDUAL)
                | part(g.sample_scale.is_some(), PART_SAMPLE_SCALE)
                | part(g.moments.is_some(), PART_MOMENTS),
            time,
            time_start,
            time_width,
            residual: g.residual.map_or(0, |r| self.offset(r.first)),
            residual_shift: g.residual.is_some_and(|r| r.upsample).into(),
            scale: g.scale,
            sample_scale,
            sample_scale_start,
            sample_scale_width,
            moments: g.moments.map_or(0, |id| self.offset(id)),
            partial: word(partial),
            slices: word(slices),
            slice_tiles: word(slice_tiles),
            run: word(run),
        };

        let needed = if scaling == ScalingKind::Inline { samples * all } else { 1 };
        let norms = [1, 128, 256, 512].into_iter().find(|size| *size >= needed).unwrap_or(room);
        let vectors = [channels, more].as_flattened().iter().all(|c| c.is_multiple_of(4));
        let lanes4 = columns.is_multiple_of(4);
        let half_weights = self.layout.storage == Storage::F16;
        let product = GemmVariant {
            tile,
            run: run as u32,
            norms: norms as u32,
            vectors,
            lanes4,
            half_weights,
            scaling,
            activation: activation_code(g.load.activation),
            reduce: false,
            halo: halo as u32,
        };
        let kernel = if hardware || samples * all > tile.norms() {
            product
        } else {
            GemmVariant {
                run: 0,
                norms: tile.norms() as u32,
                vectors: vectors && lanes4,
                lanes4: vectors && lanes4,
                scaling: ScalingKind::Dynamic,
                activation: activation_code(g.load.activation.or(self.common_activation)),
                ..product
            }
        };
        let [x, y, _] = grid(tiles_m * tiles_n);
        self.dispatch(Kernel::Gemm(kernel), place.shard, &params, [x, y, word(slices)]);
        if slices > 1 {
            // Only the multiplication needs these; fixed here, they make no further variants of the addition.
            let sum = GemmVariant {
                norms: 1,
                vectors: true,
                scaling: ScalingKind::None,
                activation: NO_ACTIVATION,
                reduce: true,
                halo: 0,
                ..product
            };
            self.dispatch(Kernel::Gemm(sum), place.shard, &params, [x, y, 1]);
        }
    }

    fn attention(&mut self, a: &Attention) -> Result<()> {
        let [batch, height, width, _] = self.plan.value(a.output).shape;
        let (pixels, head) = (height * width, a.inner / a.heads);
        let lanes4 = head.is_multiple_of(4) && a.inner.is_multiple_of(4);
        let lanes = if lanes4 { head / 4 } else { head };
        // Narrow heads (0): a thread holds a query and its result in registers. Others: a workgroup holds so many queries in
        // half of its memory.
        let queries = if lanes <= NARROW_LANES as usize {
            0
        } else {
            [8, 4, 2, 1].into_iter().find(|q| q * head <= 2048).ok_or_else(|| Error::Unsupported {
                what: format!("attention with heads of {head} channels"),
                why: "on a GPU a head may have up to 2048; the CPU device has no such limit".to_owned(),
            })?
        };
        let tiles = pixels.div_ceil(if queries == 0 { FLAT_THREADS as usize } else { queries });
        let params = AttentionParams {
            qkv: self.offset(a.q.value),
            output: self.offset(a.output),
            batch: word(batch),
            pixels: word(pixels),
            heads: word(a.heads),
            inner: word(a.inner),
            scale: 1.0 / (head as f32).sqrt(),
        };
        let kernel = Kernel::Attention { head: head as u32, lanes4, queries: queries as u32 };
        self.dispatch(kernel, 0, &params, grid(batch * a.heads * tiles));
        Ok(())
    }

    fn pool(&mut self, p: &Pool) {
        let (scaling, load, _) = self.scaling(&p.load, &p.source, 1, 0);
        let channels = self.channels(Some(&p.source));
        let [first, second] = self.offsets(Some(&p.source));
        let [batch, height, width, columns] = self.plan.value(p.output).shape;
        let params = PoolParams { load, first, second, output: self.offset(p.output) };
        let vectors = channels.iter().all(|c| c.is_multiple_of(4));
        let kernel = Kernel::Pool { vectors, scaling, activation: activation_code(p.load.activation) };
        let threads = batch * height * width * columns.div_ceil(4);
        self.dispatch(kernel, 0, &params, grid(threads.div_ceil(FLAT_THREADS as usize)));
    }
}
