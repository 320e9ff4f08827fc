//! Attention of the pixels of an image to those of the same or another. The twin is the kernels' `attention`.

use super::operation::{Operation, Room};
use crate::engine::kernels::attention as twin;
use crate::engine::lower::{File, Lowering, Shader, constants, grid, uniform, wgsl, word};
use crate::engine::parameters::Parameters;
use crate::engine::stage::{Memory, Split, Stage};
#[cfg(not(target_arch = "wasm32"))]
use crate::engine::threads;
use crate::engine::value::{Slot, Value, ValueId};
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
    /// Heads.
    pub heads: usize,
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
        scale: f32,
    }
}

constants! {
    /// Threads of a workgroup.
    THREADS = 64;
    /// The most vectors of a head for which a thread holds a query and its result in registers.
    NARROW_LANES = 16;
}

const ATTENTION: File = File { text: wgsl!("attention.wgsl"), constants: CONSTANTS };

/// Queries of a workgroup; `None` for one a thread, which holds it and its result in registers.
type Queries = Option<usize>;

fn shader(head: usize, lanes4: bool, queries: Queries) -> Shader {
    let entry = if queries.is_none() { "narrow" } else { "wide" };
    let constants = vec![("HEAD", word(head)), ("QUERIES", word(queries.unwrap_or(1)))];
    Shader::new(entry, constants, lanes4, &[ATTENTION]).labelled(|| format!("attention, heads of {head}"))
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
        stage: &Stage,
        scratch: &mut [f32],
        out: &mut [f32],
        part: &(dyn Fn(Channels, usize) -> twin::Part<'m> + Sync),
    ) {
        let (heads, inner, width) = (self.heads, self.inner, self.inner / self.heads);
        let [q, keys] = [self.q, self.k].map(|c| part(c, 0).pixels);
        // Each task packs the keys for itself: no more tasks than give every thread some.
        let wanted = (4 * threads::count()).div_ceil(stage.batch * heads);
        let mut pieces = 1;
        while pieces < wanted && q.is_multiple_of(2 * pieces) && q / (2 * pieces) >= QUERIES {
            pieces *= 2;
        }
        let queries = q / pieces;
        let results = &mut scratch[..stage.batch * q * inner];
        let room = twin::scratch_len(keys, width, 1);
        threads::chunks(results, queries * width, &|task, to| {
            let (head, first) = (task / pieces, task % pieces * queries);
            let of = |channels: Channels| {
                let whole = part(channels, head / heads);
                twin::Part { start: whole.start + head % heads * width, ..whole }
            };
            let q = of(self.q);
            let q = twin::Part { start: q.start + first * q.row, pixels: queries, ..q };
            let head = twin::Attention { q, k: of(self.k), v: of(self.v), inner: width, heads: 1 };
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
    fn slots(&mut self, f: &mut dyn FnMut(Slot)) {
        for part in [&mut self.q, &mut self.k, &mut self.v] {
            f(Slot::Read(&mut part.value));
        }
        f(Slot::Write(&mut self.output));
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
        format!("attention({of}, {} heads)", self.heads)
    }

    fn room(&self, values: &[Value]) -> Room {
        let [_, height, width, _] = values[self.k.value.0].shape;
        let mut scratch = twin::scratch_len(height * width, self.inner, self.heads);
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
            twin::Part { data, start: channels.start, row, pixels: height * width }
        };
        let each = out.len() / stage.batch;
        #[cfg(not(target_arch = "wasm32"))]
        if threads::count() > 1 {
            return self.share(stage, scratch, out, &part);
        }
        for (sample, out) in out.chunks_exact_mut(each).enumerate() {
            let [q, k, v] = [self.q, self.k, self.v].map(|channels| part(channels, sample));
            twin::attention(&twin::Attention { q, k, v, inner: self.inner, heads: self.heads }, scratch, out);
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
        let lanes = if lanes4 { head / 4 } else { head };
        // A wide head's workgroup holds so many queries in half of its memory.
        let queries = if lanes <= NARROW_LANES as usize {
            None
        } else {
            let most = [8, 4, 2, 1].into_iter().find(|q| q * head <= 2048);
            Some(most.ok_or_else(|| Error::Unsupported {
                what: format!("attention with heads of {head} channels"),
                why: "on a GPU a head may have up to 2048; the CPU device has no such limit".to_owned(),
            })?)
        };
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
            scale: 1.0 / (head as f32).sqrt(),
        };
        let read = 4 * (batch * self.inner * (pixels + 2 * keys)) as u64;
        let tiles = pixels.div_ceil(queries.unwrap_or(THREADS as usize));
        to.dispatch(shader(head, lanes4, queries), 0, &params, grid(batch * self.heads * tiles));
        to.costs(4 * (batch * self.inner) as u64 * (pixels * keys) as u64, to.traffic[1] + read);
        Ok(())
    }
}

#[cfg(all(test, not(target_arch = "wasm32")))]
#[test]
fn every_variant_is_valid() {
    for lanes4 in [false, true] {
        for (head, queries) in [(8, None), (64, Some(8)), (256, Some(8)), (1024, Some(2))] {
            crate::engine::lower::check::<Params>(&shader(head, lanes4, queries));
        }
    }
}
