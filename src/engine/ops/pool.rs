//! Half the resolution: each output pixel is the mean of 2×2 input pixels, loaded. The twin is the kernels' `pool`.

use super::activation::{ACTIVATION, activation_code};
use super::load::{LOAD, LoadParams, PIXEL, ScalingKind};
use super::norm::{Loading, loading};
use crate::engine::lower::{File, Lowering, Shader, grid, uniform, wgsl};
use crate::engine::plan::Pool;
use crate::error::Result;

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

/// Threads of a workgroup, one for each four channels of a pixel of the output.
const THREADS: u32 = 64;

fn shader(fours: bool, scaling: ScalingKind, activation: u32) -> Shader {
    let constants = vec![
        ("THREADS", THREADS),
        ("SCALING", scaling as u32),
        ("ACTIVATION", activation),
        ("NORMS", 1),
        ("VECTORS", fours.into()),
    ];
    Shader::new("main", constants, fours, &[ACTIVATION, LOAD, PIXEL, POOL]).labelled(|| "pool".to_owned())
}

pub(super) fn lower(p: &Pool, to: &mut Lowering) -> Result<()> {
    let Loading { kind, params: load, .. } = loading(&p.load, &p.source, 1, 0, to);
    let fours = to.channels(Some(&p.source)).iter().all(|c| c.is_multiple_of(4));
    let shader = shader(fours, kind, activation_code(p.load.activation));
    let [first, second] = to.offsets(Some(&p.source));
    let params = Params { load, first, second, output: to.offset(p.output) };
    let [batch, height, width, columns] = to.shape(p.output);
    let threads = batch * height * width * columns.div_ceil(4);
    to.dispatch(shader, 0, &params, grid(threads.div_ceil(THREADS as usize)));
    to.costs(0, to.traffic.iter().sum());
    Ok(())
}

#[cfg(all(test, not(target_arch = "wasm32")))]
#[test]
fn every_variant_is_valid() {
    for fours in [false, true] {
        for activation in super::activation::ALL {
            for scaling in [ScalingKind::None, ScalingKind::Constant, ScalingKind::Ready] {
                crate::engine::lower::check::<Params>(&shader(fours, scaling, activation));
            }
        }
    }
}
