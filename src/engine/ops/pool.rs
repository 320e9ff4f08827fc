//! Half the resolution: each output pixel is the mean of 2×2 input pixels, loaded. The twin is the kernels' `pool`.

use super::activation::{ACTIVATION, activation_code};
use super::load::{LOAD, Load, LoadParams, PIXEL, ScalingKind, pixelwise, pixelwise_groups};
use super::norm::{Loading, loading};
use super::operation::{Operation, Room};
use crate::engine::kernels::pool as twin;
use crate::engine::lower::{File, Lowering, Shader, uniform, wgsl};
use crate::engine::parameters::Parameters;
use crate::engine::stage::{Memory, Split, Stage};
use crate::engine::value::{Reference, Source, Value, ValueId};
use crate::error::Result;

/// The mean of 2×2 pixels, each loaded.
#[derive(Clone, Debug, PartialEq)]
pub struct Pool {
    /// The image.
    pub source: Source,
    /// What is applied while it is read.
    pub load: Load,
    /// The result.
    pub output: ValueId,
}

uniform! {
    /// `Params` in pool.wgsl.
    struct Params {
        load: LoadParams,
        first: u32,
        second: u32,
        output: u32,
    }
}

const POOL: File = File { text: wgsl!("pool.wgsl"), constants: &[] };

fn shader(fours: bool, scaling: ScalingKind, activation: u32) -> Shader {
    pixelwise("pool", &[ACTIVATION, LOAD, PIXEL, POOL], fours, scaling, activation)
}

impl Operation for Pool {
    fn references_mut(&mut self, f: &mut dyn FnMut(Reference)) {
        self.load.references_mut(f);
        self.source.references_mut(f);
        f(Reference::Write(&mut self.output));
    }

    fn text(&self, kind: char, _: &Parameters) -> String {
        format!("pool({})", self.load.text(kind, &self.source))
    }

    fn room(&self, values: &[Value]) -> Room {
        let width = values[self.source.first.0].shape[2];
        let scratch = twin::scratch_len(width, self.source.channels(values));
        Room { scratch, scaling: self.load.scaling_len(values) }
    }

    fn run(&self, stage: &Stage, memory: &mut Memory) {
        let Split { arena, scratch, scaling, out } = stage.split(memory, self.output);
        let each = out.len() / stage.batch;
        let loaded = self.load.of(&self.source, stage, arena, scaling);
        for (sample, out) in out.chunks_exact_mut(each).enumerate() {
            twin::pool(&loaded(sample), scratch, out);
        }
    }

    fn lower(&self, to: &mut Lowering) -> Result<()> {
        let Loading { kind, params: load, .. } = loading(&self.load, &self.source, 1, 0, to);
        let fours = to.channels(Some(&self.source)).iter().all(|c| c.is_multiple_of(4));
        let shader = shader(fours, kind, activation_code(self.load.activation));
        let [first, second] = to.offsets(Some(&self.source));
        let params = Params { load, first, second, output: to.offset(self.output) };
        to.dispatch(shader, 0, &params, pixelwise_groups(to.shape(self.output)));
        to.costs(0, to.traffic.iter().sum());
        Ok(())
    }
}

#[cfg(all(test, not(target_arch = "wasm32")))]
#[test]
fn every_variant_is_valid() {
    super::load::check_pixelwise::<Params>(shader);
}
