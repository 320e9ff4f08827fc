//! A gated unit. The twin is the kernels' `gate`.

use super::activation::{ACTIVATION, GELU};
use super::operation::Operation;
use crate::engine::kernels::gate as twin;
use crate::engine::lower::{File, Lowering, Shader, grid, uniform, wgsl, word};
use crate::engine::parameters::Parameters;
use crate::engine::stage::{Memory, Split, Stage};
use crate::engine::value::{Reference, ValueId};
use crate::error::Result;

/// Half of the channels, each times the GELU of one of the other half.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gate {
    /// The image, of twice the output's channels.
    pub source: ValueId,
    /// The result.
    pub output: ValueId,
}

uniform! {
    /// `Params` in gate.wgsl.
    struct Params {
        source: u32,
        output: u32,
        pixels: u32,
        channels: u32,
    }
}

const GATE: File = File { text: wgsl!("gate.wgsl"), constants: &[] };

/// Threads of a workgroup, one for each four channels of a pixel of the output.
const THREADS: u32 = 64;

fn shader(fours: bool) -> Shader {
    let constants = vec![("THREADS", THREADS), ("ACTIVATION", GELU)];
    Shader::new("main", constants, fours, &[ACTIVATION, GATE]).labelled(|| "gate".to_owned())
}

impl Operation for Gate {
    fn references_mut(&mut self, f: &mut dyn FnMut(Reference)) {
        f(Reference::Read(&mut self.source));
        f(Reference::Write(&mut self.output));
    }

    fn text(&self, kind: char, _: &Parameters) -> String {
        format!("gated_gelu({kind}{})", self.source.0)
    }

    fn run(&self, stage: &Stage, memory: &mut Memory) {
        let Split { arena, out, .. } = stage.split(memory, self.output);
        twin::gate(arena.get(stage.value(self.source).range()), stage.value(self.output).shape[3], out);
    }

    fn lower(&self, to: &mut Lowering) -> Result<()> {
        let [batch, height, width, channels] = to.shape(self.output);
        let pixels = batch * height * width;
        let params = Params {
            source: to.offset(self.source),
            output: to.offset(self.output),
            pixels: word(pixels),
            channels: word(channels),
        };
        let groups = grid((pixels * channels.div_ceil(4)).div_ceil(THREADS as usize));
        to.dispatch(shader(channels.is_multiple_of(4)), 0, &params, groups);
        to.costs(0, to.traffic.iter().sum());
        Ok(())
    }
}

#[cfg(all(test, not(target_arch = "wasm32")))]
#[test]
fn every_variant_is_valid() {
    for fours in [false, true] {
        crate::engine::lower::check::<Params>(&shader(fours));
    }
}
