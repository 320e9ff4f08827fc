//! Attention of the pixels of an image to those of the same or another. The twin is the kernels' `attention`.

use super::cut::wanted_slices;
use super::operation::{Operation, Room};
use crate::engine::kernels::attention as twin;
#[cfg(feature = "text")]
use crate::engine::lower::Sliced;
use crate::engine::lower::{File, Lowering, Shader, constants, grid, uniform, wgsl, word};
use crate::engine::parameters::Parameters;
use crate::engine::stage::{Memory, Split, Stage};
#[cfg(not(target_arch = "wasm32"))]
use crate::engine::threads;
use crate::engine::value::{Reference, Value, ValueId};
use crate::error::{Error, Result};

/// Some channels of an image, from `start` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Channels {
    /// The image.
    pub value: ValueId,
    /// The first channel.
    pub start: usize,
}

/// `softmax(q kᵀ / √d) v` over the pixels of a sample, for each head of d channels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attention {
    /// Queries: `inner` channels, divided into heads.
    pub q: Channels,
    /// Keys, likewise; of as many pixels as the values, which may be others than the queries'.
    pub k: Channels,
    /// Values, likewise.
    pub v: Channels,
    /// Which row of keys and values is a sample's, where they are computed of prompts.
    pub of_sample: Option<ValueId>,
    /// Heads.
    pub heads: usize,
    /// Whether pixel i sees pixels 0 to i alone.
    pub causal: bool,
    /// Channels of the output, of all heads together.
    pub inner: usize,
    /// The result.
    pub output: ValueId,
}

uniform! {
    /// `Params` in attention.wgsl.
    struct Params {
        q: u32,
        k: u32,
        v: u32,
        q_row: u32,
        k_row: u32,
        v_row: u32,
        output: u32,
        batch: u32,
        pixels: u32,
        keys: u32,
        heads: u32,
        inner: u32,
        prompted: u32,
        of_sample: u32,
        causal: u32,
        slices: u32,
        slice_keys: u32,
        partial: u32,
        state: u32,
        scale: f32,
    }
}

constants! {
    /// Threads of a workgroup for narrow heads, and of one that puts slices together.
    THREADS = 64;
    /// Threads of a workgroup for wide heads.
    WIDE_THREADS = 128;
    /// The most vectors of a head for which a thread holds a query and its result in registers.
    NARROW_LANES = 16;
}

const ATTENTION: File = File { text: wgsl!("attention.wgsl"), constants: CONSTANTS };
/// Whether keys are cut into slices: pages that sample pictures alone have no room for it.
const SLICES: bool = cfg!(feature = "text");
const MERGE: File = File { text: if SLICES { wgsl!("merge.wgsl") } else { "" }, constants: &[] };
/// How what they leave is read, by whoever puts them together.
pub(super) const MERGED: File = File { text: if SLICES { wgsl!("slices.wgsl") } else { "" }, constants: &[] };

/// Threads of a wide head's workgroup that share a query: `ACROSS` in attention.wgsl.
const ACROSS: usize = 16;
/// Keys whose scores a thread works out for each of its queries.
const SCORES: usize = 2;
/// Keys that such a workgroup takes at a time.
const KEYS: usize = ACROSS * SCORES;
/// Numbers of its queries' result that a thread holds, where a head has no more than twice as many for it.
const HELD: usize = 64;
/// Vectors of values that are in workgroup memory at a time.
const STAGED: usize = 512;

/// How a wide head is divided among threads.
#[derive(Clone, Copy, Debug)]
struct Wide {
    /// Queries of a thread.
    rows: usize,
    /// Lanes of each query's result that it works out.
    columns: usize,
}

impl Wide {
    /// For heads of so many lanes, of so many numbers each.
    fn of(lanes: usize, lane: usize) -> Result<Self> {
        let columns = lanes.div_ceil(ACROSS);
        let rows = HELD / (columns * lane);
        if 2 * HELD < columns * lane {
            return Err(Error::Unsupported {
                what: format!("attention with heads of {} channels", lanes * lane),
                why: "on a GPU a head may have up to 2048; the CPU device has no such limit".to_owned(),
            });
        }
        Ok(Self { rows: [4, 2].into_iter().find(|n| *n <= rows).unwrap_or(1), columns })
    }

    /// Queries of a workgroup.
    fn queries(self) -> usize {
        WIDE_THREADS as usize / ACROSS * self.rows
    }

    /// Keys whose values are in workgroup memory at a time, a power of two.
    fn values(self) -> usize {
        1 << (STAGED / (ACROSS * self.columns)).clamp(1, KEYS).ilog2()
    }
}

/// How the keys are cut into slices.
#[derive(Clone, Copy, Debug)]
struct Cut {
    slices: usize,
    /// Keys of a slice, a multiple of [`KEYS`].
    keys: usize,
}

impl Cut {
    /// For so many workgroups, each of which would take all keys.
    fn of(keys: usize, groups: usize, to: &Lowering) -> Self {
        if !SLICES {
            return Self { slices: 1, keys: keys.next_multiple_of(KEYS) };
        }
        let wanted = wanted_slices(groups, to);
        let blocks = keys.div_ceil(KEYS);
        let of_slice = blocks.div_ceil(wanted.clamp(1, blocks));
        Self { slices: blocks.div_ceil(of_slice), keys: of_slice * KEYS }
    }
}

/// A kernel of attention.
fn shader(entry: &'static str, head: usize, lanes4: bool, wide: Wide) -> Shader {
    let constants = vec![
        ("HEAD", word(head)),
        ("ROWS", word(wide.rows)),
        ("COLUMNS", word(wide.columns)),
        ("VALUES", word(wide.values())),
        ("SCORES", word(SCORES)),
    ];
    let shader = Shader::new(entry, constants, lanes4, &[ATTENTION, MERGED, MERGE]);
    Shader { unrolled: &["ROWS", "COLUMNS", "SCORES"], ..shader }
        .labelled(|| format!("attention, heads of {head}, {entry}"))
}

/// Queries of a task at least.
#[cfg(not(target_arch = "wasm32"))]
const QUERIES: usize = 96;

#[cfg(not(target_arch = "wasm32"))]
impl Attention {
    /// [`Operation::run`] on several threads: a task is some queries of a head, whose results lie one after the other in `scratch`
    /// until all are there.
    fn share<'m>(
        &self,
        batch: usize,
        scratch: &mut [f32],
        out: &mut [f32],
        parts: &(dyn Fn(usize) -> [twin::ChannelSlice<'m>; 3] + Sync),
    ) {
        let (heads, inner, width) = (self.heads, self.inner, self.inner / self.heads);
        let [q, keys, _] = parts(0).map(|part| part.pixels);
        // Each task packs the keys for itself: no more tasks than give every thread some.
        let wanted = (4 * threads::count()).div_ceil(batch * heads);
        let mut pieces = 1;
        // Where no query sees a later key, which query it is must be known.
        while !self.causal && pieces < wanted && q.is_multiple_of(2 * pieces) && q / (2 * pieces) >= QUERIES {
            pieces *= 2;
        }
        let queries = q / pieces;
        let results = &mut scratch[..batch * q * inner];
        let room = twin::scratch_len(queries, keys, width, 1);
        threads::chunks(results, queries * width, &|task, to| {
            let (head, first) = (task / pieces, task % pieces * queries);
            let of_head = |part: twin::ChannelSlice<'m>| twin::ChannelSlice {
                start: part.start + head % heads * width,
                ..part
            };
            let [q, k, v] = parts(head / heads).map(of_head);
            let q = twin::ChannelSlice { start: q.start + first * q.row, pixels: queries, ..q };
            let head = twin::AttentionInput { q, k, v, inner: width, heads: 1, causal: self.causal };
            threads::scratch(room, |scratch| twin::attention(&head, scratch, to));
        });
        let results = &*results;
        threads::chunks(out, inner, &|pixel, out| {
            for (head, to) in out.chunks_mut(width).enumerate() {
                let from = ((pixel / q * heads + head) * q + pixel % q) * width;
                to.copy_from_slice(&results[from..from + width]);
            }
        });
    }
}

impl Operation for Attention {
    fn references_mut(&mut self, f: &mut dyn FnMut(Reference)) {
        for part in [&mut self.q, &mut self.k, &mut self.v] {
            f(Reference::Read(&mut part.value));
        }
        if let Some(of_sample) = &mut self.of_sample {
            f(Reference::Read(of_sample));
        }
        f(Reference::Write(&mut self.output));
    }

    fn text(&self, kind: char, _: &Parameters) -> String {
        let part = |c: Channels| {
            let start = if c.start == 0 { String::new() } else { format!("[{}..]", c.start) };
            format!("{kind}{}{start}", c.value.0)
        };
        let parts = [self.q, self.k, self.v];
        let merged = parts
            .iter()
            .enumerate()
            .all(|(i, part)| *part == Channels { value: self.q.value, start: i * self.inner });
        let of = if merged { part(self.q) } else { parts.map(part).join(", ") };
        let of = self.of_sample.map_or(of.clone(), |by| format!("{of}[{kind}{}]", by.0));
        let causal = if self.causal { ", causal" } else { "" };
        format!("attention({of}, {} heads{causal})", self.heads)
    }

    fn room(&self, values: &[Value]) -> Room {
        let [queries, keys] = [self.q, self.k].map(|part| {
            let [_, height, width, _] = values[part.value.0].shape;
            height * width
        });
        let mut scratch = twin::scratch_len(queries, keys, self.inner, self.heads);
        if cfg!(not(target_arch = "wasm32")) {
            scratch = scratch.max(values[self.output.0].len());
        }
        Room { scratch, scaling: 0 }
    }

    fn run(&self, stage: &Stage, memory: &mut Memory) {
        let Split { arena, scratch, out, .. } = stage.split(memory, self.output);
        let part = |channels: Channels, sample: usize| {
            let [_, height, width, row] = stage.value(channels.value).shape;
            let data = stage.sample(arena, channels.value, sample);
            twin::ChannelSlice { data, start: channels.start, row, pixels: height * width }
        };
        let parts = |sample: usize| {
            let prompt = stage.prompt(arena, self.of_sample, sample);
            [(self.q, sample), (self.k, prompt), (self.v, prompt)].map(|(c, of)| part(c, of))
        };
        let each = out.len() / stage.batch;
        #[cfg(not(target_arch = "wasm32"))]
        if threads::count() > 1 {
            return self.share(stage.batch, scratch, out, &parts);
        }
        for (sample, out) in out.chunks_exact_mut(each).enumerate() {
            let [q, k, v] = parts(sample);
            let Self { inner, heads, causal, .. } = *self;
            twin::attention(&twin::AttentionInput { q, k, v, inner, heads, causal }, scratch, out);
        }
    }

    fn lower(&self, to: &mut Lowering) -> Result<()> {
        let [batch, height, width, _] = to.shape(self.output);
        let (pixels, head) = (height * width, self.inner / self.heads);
        let parts = [self.q, self.k, self.v];
        let starts = parts.map(|part| to.values[part.value.0].offset + part.start);
        let rows = parts.map(|part| to.shape(part.value)[3]);
        let lanes4 = [head, self.inner].iter().chain(&starts).chain(&rows).all(|n| n.is_multiple_of(4));
        let [_, key_height, key_width, _] = to.shape(self.k.value);
        let keys = key_height * key_width;
        let lane = if lanes4 { 4 } else { 1 };
        let lanes = head / lane;
        let narrow = lanes <= NARROW_LANES as usize;
        let wide = Wide::of(lanes, lane)?;
        let groups =
            batch * self.heads * pixels.div_ceil(if narrow { THREADS as usize } else { wide.queries() });
        let cut = Cut::of(keys, if narrow { usize::MAX } else { groups }, to);
        let floats = |each: usize| if cut.slices > 1 { cut.slices * batch * pixels * each } else { 0 };
        let (partial, state) = (floats(self.inner), floats(4 * self.heads));
        let scratch = to.scratch(0, partial + state);
        let params = Params {
            q: word(starts[0]),
            k: word(starts[1]),
            v: word(starts[2]),
            q_row: word(rows[0]),
            k_row: word(rows[1]),
            v_row: word(rows[2]),
            output: to.offset(self.output),
            batch: word(batch),
            pixels: word(pixels),
            keys: word(keys),
            heads: word(self.heads),
            inner: word(self.inner),
            prompted: self.of_sample.is_some().into(),
            of_sample: self.of_sample.map_or(0, |id| to.offset(id)),
            causal: self.causal.into(),
            slices: word(cut.slices),
            slice_keys: word(cut.keys),
            partial: word(scratch),
            state: word(scratch + partial),
            scale: 1.0 / (head as f32).sqrt(),
        };
        let [x, y, _] = grid(groups);
        let entry = if narrow { "narrow" } else { "wide" };
        to.dispatch(shader(entry, head, lanes4, wide), 0, &params, [x, y, word(cut.slices)]);
        let read = 4 * (batch * self.inner * (pixels + 2 * keys)) as u64;
        let (left, written) = (4 * (partial + state) as u64, to.traffic[1]);
        let flops = 4 * (batch * self.inner) as u64 * (pixels * keys) as u64;
        to.costs(flops, read + if cut.slices > 1 { left } else { written });
        #[cfg(feature = "text")]
        if cut.slices > 1 && to.next_merges && lanes4 {
            let taken = scratch + partial + state - to.activations;
            to.sliced = Some(Sliced { slices: cut.slices, heads: self.heads, first: scratch, taken });
        } else if cut.slices > 1 {
            let groups = (batch * pixels * self.inner / lane).div_ceil(THREADS as usize);
            to.dispatch(shader("merge", head, lanes4, wide), 0, &params, grid(groups));
            to.costs(0, left + written);
        }
        Ok(())
    }
}

#[cfg(all(test, not(target_arch = "wasm32")))]
#[test]
fn every_variant_is_valid() {
    for lane in [1, 4] {
        for (entry, head) in
            [("narrow", 8), ("wide", 80), ("wide", 256), ("wide", 512), ("wide", 2048), ("merge", 256)]
        {
            let wide = Wide::of(head / lane, lane).unwrap();
            crate::engine::lower::check::<Params>(&shader(entry, head, lane == 4, wide));
        }
    }
}
