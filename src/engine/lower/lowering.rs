//! Operations become dispatches: which kernel, how many workgroups, and what its uniform says.

use super::shader::Shader;
use super::shards::ShardLayout;
use super::tuning::{Choice, Tuning};
use super::uniform::{Uniform, append};
use crate::engine::parameters::Parameters;
use crate::engine::value::{Row, RowSlice, Source, Value, ValueId};
use crate::network::ops::Activation;

/// A dispatch may have this many workgroups in one dimension, on every adapter.
const MAX_GROUPS: usize = 65_535;

/// One run of a kernel.
#[derive(Clone, Debug)]
pub(in crate::engine) struct Dispatch {
    pub(in crate::engine) shader: Shader,
    /// The buffer of matrices that it reads.
    pub(in crate::engine) shard: usize,
    /// Where its uniform starts, in bytes.
    pub(in crate::engine) uniform: u32,
    pub(in crate::engine) groups: [u32; 3],
    /// What it is a part of, and what it costs.
    #[cfg(not(target_arch = "wasm32"))]
    pub(in crate::engine) costs: Costs,
}

/// What a dispatch is a part of, and what it costs: profiles are taken natively.
#[cfg(not(target_arch = "wasm32"))]
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::engine) struct Costs {
    /// The operation, as a position in the plan.
    pub(in crate::engine) op: usize,
    /// Floating-point operations of its product: two for each multiply-add.
    pub(in crate::engine) flops: u64,
    /// Bytes that it has to read or write, each counted once, however often it is read.
    pub(in crate::engine) bytes: u64,
}

/// An image as attention leaves it whose keys are cut into slices, for a reader that puts these together.
#[cfg(feature = "text")]
#[derive(Clone, Copy, Debug)]
pub(in crate::engine) struct Sliced {
    pub(in crate::engine) slices: usize,
    pub(in crate::engine) heads: usize,
    /// Where the first slice is; behind the last are maxima and sums.
    pub(in crate::engine) first: usize,
    /// Floats of scratch that are taken.
    pub(in crate::engine) taken: usize,
}

/// What operations are lowered from and to.
#[derive(Debug)]
pub(in crate::engine) struct Lowering<'a> {
    pub(in crate::engine) batch: usize,
    pub(in crate::engine) values: &'a [Value],
    pub(in crate::engine) rows: &'a [Row],
    pub(in crate::engine) parameters: &'a Parameters,
    pub(in crate::engine) layout: &'a ShardLayout,
    pub(in crate::engine) tuning: Tuning,
    pub(in crate::engine) choice: Choice,
    /// The activation of the plan's first product that has one: in a U-Net, of all. Products without an activation share the
    /// kernel of those with it.
    pub(in crate::engine) common_activation: Option<Activation>,
    pub(in crate::engine) dispatches: Vec<Dispatch>,
    /// The uniforms of all dispatches.
    pub(in crate::engine) uniforms: Vec<u32>,
    /// Floats of the arena: the plan's activations, and then the scratch of single operations.
    pub(in crate::engine) arena: usize,
    /// Where what is worked out once for all evaluations lies in the arena, before scratch, and the floats of it so far.
    #[cfg(not(target_arch = "wasm32"))]
    pub(in crate::engine) kept: [usize; 2],
    /// The dispatches that work it out.
    #[cfg(not(target_arch = "wasm32"))]
    pub(in crate::engine) once: Vec<Dispatch>,
    /// Floats of the plan's activations and of what is kept.
    pub(in crate::engine) activations: usize,
    /// The operation that is lowered, as a position in the plan, and the bytes that it reads and writes in the arena.
    pub(in crate::engine) op: usize,
    pub(in crate::engine) traffic: [u64; 2],
    /// Whether the next operation alone reads what this one writes, and can put slices of it together.
    #[cfg(feature = "text")]
    pub(in crate::engine) next_merges: bool,
    /// What the operation before left for this one in the place of its result.
    #[cfg(feature = "text")]
    pub(in crate::engine) sliced: Option<Sliced>,
}

/// So many workgroups, in two dimensions where they exceed the limit of one.
pub(in crate::engine) fn grid(groups: usize) -> [u32; 3] {
    let y = groups.div_ceil(MAX_GROUPS).max(1);
    [groups.div_ceil(y).max(1) as u32, y as u32, 1]
}

/// A number as kernels read it.
pub(in crate::engine) fn word(number: usize) -> u32 {
    number as u32
}

/// Numbers as kernels read them.
pub(in crate::engine) fn words<const N: usize>(numbers: [usize; N]) -> [u32; N] {
    numbers.map(word)
}

impl Lowering<'_> {
    /// A run of a kernel with this uniform. `shard` is the buffer of matrices that it reads.
    pub(in crate::engine) fn dispatch<P: Uniform>(
        &mut self,
        shader: Shader,
        shard: usize,
        params: &P,
        groups: [u32; 3],
    ) {
        self.dispatch_bytes(shader, shard, bytemuck::bytes_of(params), groups);
    }

    fn dispatch_bytes(&mut self, shader: Shader, shard: usize, params: &[u8], groups: [u32; 3]) {
        let uniform = word(4 * self.uniforms.len());
        append(&mut self.uniforms, params);
        self.dispatches.push(Dispatch {
            shader,
            shard,
            uniform,
            groups,
            #[cfg(not(target_arch = "wasm32"))]
            costs: Costs { op: self.op, flops: 0, bytes: 0 },
        });
    }

    /// Memory for what is worked out once.
    #[cfg(not(target_arch = "wasm32"))]
    pub(in crate::engine) fn keep(&mut self, floats: usize) -> usize {
        let [start, used] = self.kept;
        self.kept[1] = (used + floats).next_multiple_of(64);
        start + used
    }

    /// A run of a kernel before all evaluations.
    #[cfg(not(target_arch = "wasm32"))]
    pub(in crate::engine) fn dispatch_once<P: Uniform>(
        &mut self,
        shader: Shader,
        shard: usize,
        params: &P,
        groups: [u32; 3],
    ) {
        self.dispatch(shader, shard, params, groups);
        self.once.extend(self.dispatches.pop());
    }

    /// Says what the last dispatch costs, in operations and in bytes. Pages do not ask.
    #[cfg_attr(target_arch = "wasm32", allow(unused_variables, clippy::unused_self, reason = "see above"))]
    pub(in crate::engine) fn costs(&mut self, flops: u64, bytes: u64) {
        #[cfg(not(target_arch = "wasm32"))]
        if let Some(last) = self.dispatches.last_mut() {
            last.costs = Costs { flops, bytes, ..last.costs };
        }
    }

    /// Scratch for the operation that is lowered, behind the plan's activations and the `used` floats that it has already.
    pub(in crate::engine) fn scratch(&mut self, used: usize, floats: usize) -> usize {
        // Where 32 bits do not count so far, the arena's bytes are too many in any case.
        let start = self.activations.saturating_add(used).checked_next_multiple_of(64).unwrap_or(usize::MAX);
        self.arena = self.arena.max(start.saturating_add(floats));
        start
    }

    pub(in crate::engine) fn shape(&self, id: ValueId) -> [usize; 4] {
        self.values[id.0].shape
    }

    pub(in crate::engine) fn offset(&self, id: ValueId) -> u32 {
        word(self.values[id.0].offset)
    }

    /// Numbers of one sample's part of a value.
    pub(in crate::engine) fn sample_len(&self, id: ValueId) -> u32 {
        let value = &self.values[id.0];
        word(value.len() / value.shape[0])
    }

    /// Bytes of values.
    pub(in crate::engine) fn bytes(&self, ids: impl IntoIterator<Item = ValueId>) -> u64 {
        ids.into_iter().map(|id| 4 * self.values[id.0].len() as u64).sum()
    }

    /// Offsets of a source's images, 0 for one that is not there.
    pub(in crate::engine) fn offsets(&self, source: Option<&Source>) -> [u32; 2] {
        let Some(source) = source else { return [0; 2] };
        [Some(source.first), source.second].map(|id| id.map_or(0, |id| self.offset(id)))
    }

    /// Channels of a source's images, 0 for one that is not there.
    pub(in crate::engine) fn channels(&self, source: Option<&Source>) -> [usize; 2] {
        let Some(source) = source else { return [0; 2] };
        [Some(source.first), source.second].map(|id| id.map_or(0, |id| self.shape(id)[3]))
    }

    /// Where a vector of the prelude is, where its part begins and how wide it is.
    pub(in crate::engine) fn slice(&self, slice: Option<RowSlice>) -> [u32; 3] {
        slice.map_or([0; 3], |s| {
            let row = &self.rows[s.row.0];
            words([row.start, s.start, row.width])
        })
    }
}
