//! Twice or half the resolution by a filter of four taps. The twin is the kernels' `fir`.

use super::operation::Operation;
use crate::engine::kernels::fir as twin;
use crate::engine::lower::{File, Lowering, Shader, constants, grid, uniform, wgsl, word};
use crate::engine::parameters::Parameters;
use crate::engine::stage::{Memory, Split, Stage};
use crate::engine::threads;
use crate::engine::value::{Reference, ValueId};
use crate::error::Result;

/// Twice or half the resolution by a filter of four taps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fir {
    /// The image.
    pub source: ValueId,
    /// Twice, or half.
    pub up: bool,
    /// The result.
    pub output: ValueId,
}

constants! {
    /// Threads of a workgroup, one for each number of the output.
    THREADS = 64;
}

uniform! {
    /// `Params` in fir.wgsl.
    struct Params {
        source: u32,
        output: u32,
        batch: u32,
        height: u32,
        width: u32,
        channels: u32,
        up: u32,
    }
}

const FIR: File = File { text: wgsl!("fir.wgsl"), constants: CONSTANTS };

fn shader() -> Shader {
    Shader::new("main", Vec::new(), false, &[FIR]).labelled(|| "fir".to_owned())
}

impl Operation for Fir {
    fn references_mut(&mut self, f: &mut dyn FnMut(Reference)) {
        f(Reference::Read(&mut self.source));
        f(Reference::Write(&mut self.output));
    }

    fn text(&self, kind: char, _: &Parameters) -> String {
        format!("{}_fir({kind}{})", if self.up { "upsample" } else { "downsample" }, self.source.0)
    }

    fn run(&self, stage: &Stage, memory: &mut Memory) {
        let Split { arena, out, .. } = stage.split(memory, self.output);
        let [_, height, width, channels] = stage.value(self.source).shape;
        let [_, out_height, out_width, _] = stage.value(self.output).shape;
        let rows = threads::rows(out_height);
        threads::chunks(out, rows * out_width * channels, &|piece, out| {
            let image = stage.sample(arena, self.source, piece * rows / out_height);
            twin::fir(image, [height, width, channels], self.up, piece * rows % out_height, out);
        });
    }

    fn lower(&self, to: &mut Lowering) -> Result<()> {
        let [batch, height, width, channels] = to.shape(self.source);
        let params = Params {
            source: to.offset(self.source),
            output: to.offset(self.output),
            batch: word(batch),
            height: word(height),
            width: word(width),
            channels: word(channels),
            up: self.up.into(),
        };
        let threads: usize = to.shape(self.output).iter().product();
        to.dispatch(shader(), 0, &params, grid(threads.div_ceil(THREADS as usize)));
        to.costs(0, to.traffic.iter().sum());
        Ok(())
    }
}

#[cfg(all(test, not(target_arch = "wasm32")))]
#[test]
fn the_shader_is_valid() {
    crate::engine::lower::check::<Params>(&shader());
}
