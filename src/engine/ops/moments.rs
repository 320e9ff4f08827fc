//! The moments of an image, where no product leaves them. The twin is the kernels' `norm::moments`.

use crate::engine::lower::{File, Lowering, Shader, constants, grid, uniform, wgsl, word};
use crate::engine::plan::{Moments, TILE_PIXELS as PLAN_TILE_PIXELS};
use crate::error::Result;

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

pub(super) fn lower(m: &Moments, to: &mut Lowering) -> Result<()> {
    let [batch, height, width, channels] = to.shape(m.source);
    let pixels = height * width;
    let tiles = pixels.div_ceil(PLAN_TILE_PIXELS);
    let params = Params {
        source: to.offset(m.source),
        output: to.offset(m.output),
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

#[cfg(all(test, not(target_arch = "wasm32")))]
#[test]
fn the_shader_is_valid() {
    crate::engine::lower::check::<Params>(&shader());
}
