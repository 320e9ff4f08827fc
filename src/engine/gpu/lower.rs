//! A plan's operations as dispatches: which kernel, how many workgroups, and what its uniform says. All of it is known
//! before there is a device.

use super::shader::{GemmVariant, Kernel, ScalingKind, THREADS, Tile};
use super::shards::ShardLayout;
use super::tuning::{Choice, Tuning};
use super::uniforms::UNIFORM_BYTES;
use crate::engine::parameters::Storage;
use crate::engine::plan::{self, Attention, Gemm, Load, Norm, Op, Plan, Pool, RowSlice, Source, ValueId};
use crate::error::{Error, Result};
use crate::network::ops::Activation;

/// A dispatch may have this many workgroups in one dimension, on every adapter.
const MAX_GROUPS: usize = 65_535;

/// Products of fewer workgroups are cut in slices, until there are some [`WANTED_GROUPS`], so that a GPU has enough to do.
const FEW_GROUPS: usize = 16;
const WANTED_GROUPS: usize = 128;
/// Tiles of the matrix's rows that a slice has at least.
const SLICE_TILES: usize = 4;

/// Products of at least so many workgroups of the larger tile use it: fewer would leave a GPU's cores without work.
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
    /// Floats of the arena with what operations use for themselves.
    pub(super) arena: usize,
}

impl Lowered {
    /// Lowers a plan, whose parameters lie as `layout` says.
    ///
    /// # Errors
    /// [`Error::Unsupported`] where attention's heads are too wide.
    pub fn new(plan: &Plan, layout: &ShardLayout, tuning: Tuning, choice: Choice) -> Result<Self> {
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

    /// Bytes of the arena: the plan's activations, and what operations use for themselves.
    #[must_use]
    pub fn arena_bytes(&self) -> u64 {
        4 * self.arena as u64
    }
}

/// So many workgroups, spread over two dimensions where one would not hold them.
pub(super) fn grid(groups: usize) -> [u32; 3] {
    let y = groups.div_ceil(MAX_GROUPS).max(1);
    [groups.div_ceil(y).max(1) as u32, y as u32, 1]
}

struct Builder<'a> {
    plan: &'a Plan,
    layout: &'a ShardLayout,
    tuning: Tuning,
    choice: Choice,
    /// The activation that the plan's products have, those that have one.
    common_activation: Option<Activation>,
    op: usize,
    lowered: Lowered,
}

fn activation(of: Option<Activation>) -> u32 {
    match of {
        None => 0,
        Some(Activation::Silu) => 1,
        Some(Activation::Mish) => 2,
        Some(Activation::Gelu) => 3,
        Some(Activation::Relu) => 4,
    }
}

/// Where `Load` has what kernels for several jobs have to be told.
const LOAD_DYNAMIC_FIELDS: usize = 21;

/// Words of a kernel's uniform, in the order of the structure's fields.
struct Words(Vec<u32>);

impl Words {
    fn add<const N: usize>(&mut self, numbers: [usize; N]) {
        self.0.extend(numbers.map(|n| n as u32));
    }

    fn add_float(&mut self, number: f32) {
        self.0.push(number.to_bits());
    }
}

impl Builder<'_> {
    fn lower(&mut self, op: &Op) -> Result<()> {
        match op {
            Op::Gemm(gemm) => self.gemm(gemm),
            Op::Norm { norm, output } => self.norm(norm, self.plan.value(*output).offset),
            Op::Attention(attention) => self.attention(attention)?,
            Op::Pool(pool) => self.pool(pool),
        }
        Ok(())
    }

    fn dispatch(&mut self, kernel: Kernel, shard: usize, mut words: Words, groups: [u32; 3]) {
        words.0.resize(UNIFORM_BYTES / 4, 0);
        let lowered = &mut self.lowered;
        let uniform = 4 * lowered.uniforms.len() as u32;
        lowered.uniforms.extend(words.0);
        lowered.dispatches.push(Dispatch { kernel, shard, uniform, groups, op: self.op });
    }

    /// Room behind the plan's activations, from the `used` floats on, for as long as one operation lasts.
    fn scratch(&mut self, used: usize, floats: usize) -> usize {
        // Where 32 bits do not count so far, the arena's bytes are too many in any case.
        let start = self.plan.arena.saturating_add(used).checked_next_multiple_of(64).unwrap_or(usize::MAX);
        self.lowered.arena = self.lowered.arena.max(start.saturating_add(floats));
        start
    }

    fn offset(&self, id: Option<ValueId>) -> usize {
        id.map_or(0, |id| self.plan.value(id).offset)
    }

    /// Offsets and channels of a source.
    fn source(&self, source: Option<&Source>) -> ([usize; 2], [usize; 2]) {
        let Some(source) = source else { return ([0; 2], [0; 2]) };
        let channels = |id: Option<ValueId>| id.map_or(0, |id| self.plan.value(id).shape[3]);
        let both = [Some(source.first), source.second];
        (both.map(|id| self.offset(id)), both.map(channels))
    }

    fn slice(&self, slice: Option<RowSlice>) -> [usize; 3] {
        slice.map_or([0; 3], |s| {
            let row = &self.plan.prelude.rows[s.row.0];
            [row.start, s.start, row.width]
        })
    }

    /// The structure `Load`. `ready` is where a finished normalisation is.
    fn load(
        &self,
        constant: (f32, f32),
        ready: usize,
        norm: Option<&Norm>,
        channels: [usize; 2],
        samples: usize,
        size: [usize; 2],
    ) -> Words {
        let mut words = Words(Vec::new());
        words.add_float(constant.0);
        words.add_float(constant.1);
        words.add([ready]);
        let moments = norm.map_or([0; 2], |n| [self.offset(Some(n.moments.0)), self.offset(n.moments.1)]);
        words.add(moments);
        words.add(channels);
        words.add(norm.map_or([0; 3], |n| [n.pixels, n.pixels.div_ceil(plan::TILE_PIXELS), n.groups]));
        words.add_float(norm.map_or(0.0, |n| n.eps));
        words.add(norm.map_or([0; 2], |n| [self.layout.vector(n.weight), self.layout.vector(n.bias)]));
        let modulation = norm.and_then(|n| n.modulation);
        words.add([usize::from(modulation.is_some())]);
        words.add(self.slice(modulation));
        words.add([samples, self.plan.batch]);
        words.add(size);
        words.0.resize(24, 0);
        words
    }

    fn norm(&mut self, norm: &Norm, output: usize) {
        let channels =
            [Some(norm.moments.0), norm.moments.1].map(|id| id.map_or(0, |id| self.plan.value(id).shape[3]));
        let mut words = self.load((1.0, 0.0), 0, Some(norm), channels, 1, [0; 2]);
        words.add([output]);
        self.dispatch(Kernel::Norm, 0, words, grid(self.plan.batch * norm.groups));
    }

    /// What a load's scaling comes to where a workgroup has room for `room` scales and shifts, and loads from `samples`
    /// samples. A normalisation that does not fit is worked out beforehand.
    fn scaling(
        &mut self,
        load: &Load,
        source: &Source,
        samples: usize,
        room: usize,
    ) -> (ScalingKind, Words, usize) {
        let (_, channels) = self.source(Some(source));
        let all = channels[0] + channels[1];
        let [_, height, width, _] = self.plan.value(source.first).shape;
        let size = [height, width];
        let (kind, mut words, floats) = match &load.scaling {
            None => (ScalingKind::None, self.load((1.0, 0.0), 0, None, channels, samples, size), 0),
            Some(plan::Scaling::Constant { scale, shift }) => {
                (ScalingKind::Constant, self.load((*scale, *shift), 0, None, channels, samples, size), 0)
            }
            Some(plan::Scaling::Ready(id)) => (
                ScalingKind::Ready,
                self.load((1.0, 0.0), self.offset(Some(*id)), None, channels, samples, size),
                0,
            ),
            Some(plan::Scaling::Inline(norm)) if samples * all <= room => {
                (ScalingKind::Inline, self.load((1.0, 0.0), 0, Some(norm), channels, samples, size), 0)
            }
            Some(plan::Scaling::Inline(norm)) => {
                let floats = 2 * self.plan.batch * all;
                let ready = self.scratch(0, floats);
                self.norm(norm, ready);
                (ScalingKind::Ready, self.load((1.0, 0.0), ready, None, channels, 1, size), floats)
            }
        };
        words.0[LOAD_DYNAMIC_FIELDS] = kind as u32;
        words.0[LOAD_DYNAMIC_FIELDS + 1] = u32::from(load.activation.is_some());
        (kind, words, floats)
    }

    fn gemm(&mut self, g: &Gemm) {
        let plan = self.plan;
        let [batch, height, width, columns] = plan.value(g.output).shape;
        let pixels = height * width;
        // A sample's places: so many that no run of 32 spans two samples, and none holds a part of one.
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
        // Samples that the places of a workgroup may belong to.
        let samples = if padded.is_multiple_of(tile.pixels()) {
            1
        } else if tile.pixels().is_multiple_of(padded) {
            tile.pixels() / padded
        } else {
            tile.pixels() / padded + 2
        };
        let samples = samples.min(batch);
        let (scaling, mut words, used) = self.scaling(&g.load, &g.source, samples, tile.norms());
        let (first, channels) = self.source(Some(&g.source));
        let (shortcut, more) = self.source(g.shortcut.as_ref());
        let all = channels[0] + channels[1];
        let taps = g.window.taps();
        let (window_depth, depth) = (taps * all, taps * all + more[0] + more[1]);
        let (tiles_m, tiles_n) = groups(tile);
        let depth_tiles = depth.div_ceil(tile.depth as usize);
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

        words.add(first);
        words.add([usize::from(g.source.upsample), taps, g.window.stride(), g.window.before()]);
        words.add_float(1.0 / all as f32);
        words.add([window_depth, depth]);
        words.add(shortcut);
        words.add(more);
        words.add([usize::from(g.shortcut.is_some_and(|s| s.upsample))]);
        let output = self.offset(Some(g.output));
        words.add([output, pixels, width, columns, padded, tiles_m, tiles_n]);
        let place = self.layout.place(g.matrix);
        words.add([place.start, place.row, self.layout.vector(g.bias)]);
        let parts = [g.time.is_some(), g.residual.is_some(), g.sample_scale.is_some(), g.moments.is_some()];
        words.add([(0..).zip(parts).map(|(bit, there)| usize::from(there) << bit).sum()]);
        words.add(self.slice(g.time));
        let residual = g.residual.map_or([0; 2], |r| [self.offset(Some(r.first)), usize::from(r.upsample)]);
        words.add(residual);
        words.add_float(g.scale);
        words.add(self.slice(g.sample_scale));
        words.add([self.offset(g.moments), partial, slices, slice_tiles]);
        let run = if g.moments.is_some() { run } else { tile.pixels().min(plan::TILE_PIXELS) };
        words.add([run]);

        let needed = if scaling == ScalingKind::Inline { samples * all } else { 1 };
        let norms = [1, 128, 256, 512].into_iter().find(|size| *size >= needed).unwrap_or(tile.norms());
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
            activation: activation(g.load.activation),
            reduce: false,
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
                activation: activation(g.load.activation.or(self.common_activation)),
                ..product
            }
        };
        let [x, y, _] = grid(tiles_m * tiles_n);
        let again = Words(words.0.clone());
        self.dispatch(Kernel::Gemm(kernel), place.shard, words, [x, y, slices as u32]);
        if slices > 1 {
            // What only the multiplication needs makes no variants of the addition.
            let sum = GemmVariant {
                norms: 1,
                vectors: true,
                scaling: ScalingKind::None,
                activation: 0,
                reduce: true,
                ..product
            };
            self.dispatch(Kernel::Gemm(sum), place.shard, again, [x, y, 1]);
        }
    }

    fn attention(&mut self, a: &Attention) -> Result<()> {
        let [batch, height, width, _] = self.plan.value(a.output).shape;
        let (pixels, head) = (height * width, a.inner / a.heads);
        let lanes4 = head.is_multiple_of(4) && a.inner.is_multiple_of(4);
        let lanes = if lanes4 { head / 4 } else { head };
        // A thread holds a query and its result, or a workgroup holds some queries in half of its memory.
        let queries = if lanes <= 16 {
            0
        } else {
            [8, 4, 2, 1].into_iter().find(|q| q * head <= 2048).ok_or_else(|| Error::Unsupported {
                what: format!("attention with heads of {head} channels"),
                why: "on a GPU a head may have up to 2048; the CPU device has no such limit".to_owned(),
            })?
        };
        let tiles = pixels.div_ceil(if queries == 0 { THREADS as usize } else { queries });
        let mut words = Words(Vec::new());
        words.add([self.offset(Some(a.qkv)), self.offset(Some(a.output)), batch, pixels, a.heads, a.inner]);
        words.add_float(1.0 / (head as f32).sqrt());
        let kernel = Kernel::Attention { head: head as u32, lanes4, queries: queries as u32 };
        self.dispatch(kernel, 0, words, grid(batch * a.heads * tiles));
        Ok(())
    }

    fn pool(&mut self, p: &Pool) {
        let (scaling, mut words, _) = self.scaling(&p.load, &p.source, 1, 0);
        let (offsets, channels) = self.source(Some(&p.source));
        let [batch, height, width, columns] = self.plan.value(p.output).shape;
        words.add(offsets);
        words.add([self.offset(Some(p.output))]);
        let vectors = channels.iter().all(|c| c.is_multiple_of(4));
        let kernel = Kernel::Pool { vectors, scaling, activation: activation(p.load.activation) };
        let threads = batch * height * width * columns.div_ceil(4);
        self.dispatch(kernel, 0, words, grid(threads.div_ceil(THREADS as usize)));
    }
}
