//! Some channels of each pixel, patches laid out, or an image enlarged by its nearest pixels. The twin is the kernels'
//! `rearrange`.

use super::operation::Operation;
use crate::engine::kernels::rearrange as twin;
use crate::engine::lower::{File, Lowering, Shader, grid, uniform, wgsl, word};
use crate::engine::parameters::Parameters;
use crate::engine::stage::{Memory, Split, Stage};
use crate::engine::value::{Reference, ValueId};
use crate::error::Result;

/// Each pixel becomes a patch of pixels, whose channels begin one pixel after the other at `start`; and the image that these
/// make is enlarged to the output's size by its nearest pixels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rearrange {
    /// The image.
    pub source: ValueId,
    /// The first channel of a patch's first pixel.
    pub start: usize,
    /// Height and width of a patch.
    pub patch: usize,
    /// The result.
    pub output: ValueId,
}

uniform! {
    /// `Params` in rearrange.wgsl.
    struct Params {
        source: u32,
        output: u32,
        count: u32,
        height: u32,
        width: u32,
        channels: u32,
        to_height: u32,
        to_width: u32,
        to_channels: u32,
        start: u32,
        patch_size: u32,
        rows_of_patch: f32,
        columns_of_patch: f32,
    }
}

const REARRANGE: File = File { text: wgsl!("rearrange.wgsl"), constants: &[] };

/// Threads of a workgroup, one for each number of the output.
const THREADS: u32 = 64;

fn shader() -> Shader {
    Shader::new("main", vec![("THREADS", THREADS)], false, &[REARRANGE]).labelled(|| "rearrange".to_owned())
}

impl Operation for Rearrange {
    fn references_mut(&mut self, f: &mut dyn FnMut(Reference)) {
        f(Reference::Read(&mut self.source));
        f(Reference::Write(&mut self.output));
    }

    fn text(&self, kind: char, _: &Parameters) -> String {
        match self.patch {
            1 => format!("rearranged({kind}{}[{}..])", self.source.0, self.start),
            patch => format!("patches({kind}{}, {patch}×{patch})", self.source.0),
        }
    }

    fn run(&self, stage: &Stage, memory: &mut Memory) {
        let Split { arena, out, .. } = stage.split(memory, self.output);
        let [[_, from @ ..], [_, to @ ..]] = [self.source, self.output].map(|id| stage.value(id).shape);
        for (sample, out) in out.chunks_exact_mut(to.iter().product()).enumerate() {
            twin::rearrange(
                stage.sample(arena, self.source, sample),
                from,
                (self.start, self.patch),
                to,
                out,
            );
        }
    }

    fn lower(&self, to: &mut Lowering) -> Result<()> {
        let [_, height, width, channels] = to.shape(self.source);
        let [batch, to_height, to_width, to_channels] = to.shape(self.output);
        let count = batch * to_height * to_width * to_channels;
        let params = Params {
            source: to.offset(self.source),
            output: to.offset(self.output),
            count: word(count),
            height: word(height),
            width: word(width),
            channels: word(channels),
            to_height: word(to_height),
            to_width: word(to_width),
            to_channels: word(to_channels),
            start: word(self.start),
            patch_size: word(self.patch),
            rows_of_patch: height as f32 / (to_height / self.patch) as f32,
            columns_of_patch: width as f32 / (to_width / self.patch) as f32,
        };
        to.dispatch(shader(), 0, &params, grid(count.div_ceil(THREADS as usize)));
        to.costs(0, to.traffic.iter().sum());
        Ok(())
    }
}

#[cfg(all(test, not(target_arch = "wasm32")))]
#[test]
fn the_shader_is_valid() {
    crate::engine::lower::check::<Params>(&shader());
}
