//! The moments of an image, where no product leaves them. The twin is the kernels' `norm::moments`.

use super::operation::Operation;
use crate::engine::kernels::norm as twin;
use crate::engine::lower::{File, Lowering, Shader, constants, grid, uniform, wgsl, word};
use crate::engine::parameters::Parameters;
use crate::engine::stage::{Memory, Split, Stage};
use crate::engine::threads;
use crate::engine::value::{Reference, TILE_PIXELS as PLAN_TILE_PIXELS, ValueId};
use crate::error::Result;

/// The moments of an image, as a product leaves those of its result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moments {
    /// The image.
    pub source: ValueId,
    /// The result.
    pub output: ValueId,
}

constants! {
    /// Threads of a workgroup, one for each tile and channel.
    THREADS = 64;
    /// Pixels whose moments are taken together.
    TILE_PIXELS = PLAN_TILE_PIXELS as u32;
}

uniform! {
    /// `Params` in moments.wgsl.
    struct Params {
        source: u32,
        output: u32,
        batch: u32,
        pixels: u32,
        channels: u32,
        tiles: u32,
    }
}

const MOMENTS: File = File { text: wgsl!("moments.wgsl"), constants: CONSTANTS };

fn shader() -> Shader {
    Shader::new("main", Vec::new(), false, &[MOMENTS]).labelled(|| "moments".to_owned())
}

impl Operation for Moments {
    fn references_mut(&mut self, f: &mut dyn FnMut(Reference)) {
        f(Reference::Read(&mut self.source));
        f(Reference::Write(&mut self.output));
    }

    fn text(&self, kind: char, _: &Parameters) -> String {
        format!("moments({kind}{})", self.source.0)
    }

    fn run(&self, stage: &Stage, memory: &mut Memory) {
        let Split { arena, out, .. } = stage.split(memory, self.output);
        let channels = stage.value(self.source).shape[3];
        let tiles = out.len() / (stage.batch * 2 * channels);
        threads::chunks(out, 2 * channels, &|tile, out| {
            let sample = stage.sample(arena, self.source, tile / tiles);
            let pixels = sample.chunks(PLAN_TILE_PIXELS * channels).nth(tile % tiles).unwrap_or_default();
            twin::moments(pixels, channels, out);
        });
    }

    fn lower(&self, to: &mut Lowering) -> Result<()> {
        let [batch, height, width, channels] = to.shape(self.source);
        let pixels = height * width;
        let tiles = pixels.div_ceil(PLAN_TILE_PIXELS);
        let params = Params {
            source: to.offset(self.source),
            output: to.offset(self.output),
            batch: word(batch),
            pixels: word(pixels),
            channels: word(channels),
            tiles: word(tiles),
        };
        let threads = batch * tiles * channels;
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
