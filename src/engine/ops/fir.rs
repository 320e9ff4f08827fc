//! Twice or half the resolution by a filter of four taps. The twin is the kernels' `fir`.

use crate::engine::lower::{File, Lowering, Shader, constants, grid, uniform, wgsl, word};
use crate::engine::plan::Fir;
use crate::error::Result;

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

pub(super) fn lower(f: &Fir, to: &mut Lowering) -> Result<()> {
    let [batch, height, width, channels] = to.shape(f.source);
    let params = Params {
        source: to.offset(f.source),
        output: to.offset(f.output),
        batch: word(batch),
        height: word(height),
        width: word(width),
        channels: word(channels),
        up: f.up.into(),
    };
    let threads: usize = to.shape(f.output).iter().product();
    to.dispatch(shader(), 0, &params, grid(threads.div_ceil(THREADS as usize)));
    to.costs(0, to.traffic.iter().sum());
    Ok(())
}

#[cfg(all(test, not(target_arch = "wasm32")))]
#[test]
fn the_shader_is_valid() {
    crate::engine::lower::check::<Params>(&shader());
}
