//! How much each pixel looks at each token of a text. The twin is the kernels' `attention_map`.

use super::operation::{Operation, Room};
use crate::engine::kernels::attention as twin;
use crate::engine::lower::{File, Lowering, Shader, constants, grid, uniform, wgsl, word};
use crate::engine::parameters::Parameters;
use crate::engine::stage::{Memory, Split, Stage};
use crate::engine::value::{Reference, Value, ValueId};
use crate::error::Result;

/// `softmax(q kᵀ / √d)` for each head of d channels, averaged over the heads: a channel for each pixel of `k`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttentionMap {
    /// Queries.
    pub q: ValueId,
    /// Keys, of as many channels.
    pub k: ValueId,
    /// Which row of the keys is a sample's, where they are computed of prompts.
    pub of_sample: Option<ValueId>,
    /// Heads.
    pub heads: usize,
    /// The result.
    pub output: ValueId,
}

uniform! {
    /// `Params` in attention_map.wgsl.
    struct Params {
        q: u32,
        k: u32,
        output: u32,
        batch: u32,
        pixels: u32,
        keys: u32,
        heads: u32,
        width: u32,
        prompted: u32,
        of_sample: u32,
        scale: f32,
    }
}

constants! {
    /// Threads of a workgroup, which share the keys of one query.
    THREADS = 64;
}

const ATTENTION_MAP: File = File { text: wgsl!("attention_map.wgsl"), constants: CONSTANTS };

/// For so many keys of a thread.
fn shader(each: usize) -> Shader {
    let constants = vec![("EACH", word(each))];
    Shader::new("main", constants, false, &[ATTENTION_MAP]).labelled(|| "attention map".to_owned())
}

impl Operation for AttentionMap {
    fn references_mut(&mut self, f: &mut dyn FnMut(Reference)) {
        f(Reference::Read(&mut self.q));
        f(Reference::Read(&mut self.k));
        if let Some(of_sample) = &mut self.of_sample {
            f(Reference::Read(of_sample));
        }
        f(Reference::Write(&mut self.output));
    }

    fn text(&self, kind: char, _: &Parameters) -> String {
        let of = self.of_sample.map_or(String::new(), |by| format!("[{kind}{}]", by.0));
        format!("attention map({kind}{}, {kind}{}{of}, {} heads)", self.q.0, self.k.0, self.heads)
    }

    fn room(&self, values: &[Value]) -> Room {
        let [_, height, width, inner] = values[self.k.0].shape;
        Room { scratch: twin::map_scratch_len(height * width, [inner, self.heads]), scaling: 0 }
    }

    fn run(&self, stage: &Stage, memory: &mut Memory) {
        let Split { arena, scratch, out, .. } = stage.split(memory, self.output);
        let part = |id: ValueId, sample: usize| {
            let [_, height, width, row] = stage.value(id).shape;
            twin::ChannelSlice {
                data: stage.sample(arena, id, sample),
                start: 0,
                row,
                pixels: height * width,
            }
        };
        for (sample, out) in out.chunks_exact_mut(out.len() / stage.batch).enumerate() {
            let q = part(self.q, sample);
            let k = part(self.k, stage.prompt(arena, self.of_sample, sample));
            twin::attention_map(q, k, [q.row, self.heads], scratch, out);
        }
    }

    fn lower(&self, to: &mut Lowering) -> Result<()> {
        let [batch, height, width, keys] = to.shape(self.output);
        let (pixels, inner) = (height * width, to.shape(self.q)[3]);
        let head = inner / self.heads;
        let params = Params {
            q: to.offset(self.q),
            k: to.offset(self.k),
            output: to.offset(self.output),
            batch: word(batch),
            pixels: word(pixels),
            keys: word(keys),
            heads: word(self.heads),
            width: word(head),
            prompted: self.of_sample.is_some().into(),
            of_sample: self.of_sample.map_or(0, |id| to.offset(id)),
            scale: 1.0 / (head as f32).sqrt(),
        };
        to.dispatch(shader(keys.div_ceil(THREADS as usize)), 0, &params, grid(batch * pixels));
        let flops = 2 * (batch * inner) as u64 * (pixels * keys) as u64;
        to.costs(flops, to.traffic.iter().sum());
        Ok(())
    }
}

#[cfg(all(test, not(target_arch = "wasm32")))]
#[test]
fn every_variant_is_valid() {
    for each in [1, 2, 5] {
        crate::engine::lower::check::<Params>(&shader(each));
    }
}
