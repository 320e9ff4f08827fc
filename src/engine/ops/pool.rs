//! Half the resolution: each output pixel is the mean of 2×2 input pixels, loaded. The twin is the kernels' `pool`.

use super::activation::{ACTIVATION, activation_code};
use super::load::{LOAD, LoadParams, PIXEL, ScalingKind, pixelwise, pixelwise_groups};
use super::norm::{Loading, loading};
use crate::engine::lower::{File, Lowering, Shader, uniform, wgsl};
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

fn shader(fours: bool, scaling: ScalingKind, activation: u32) -> Shader {
    pixelwise("pool", &[ACTIVATION, LOAD, PIXEL, POOL], fours, scaling, activation)
}

pub(super) fn lower(p: &Pool, to: &mut Lowering) -> Result<()> {
    let Loading { kind, params: load, .. } = loading(&p.load, &p.source, 1, 0, to);
    let fours = to.channels(Some(&p.source)).iter().all(|c| c.is_multiple_of(4));
    let shader = shader(fours, kind, activation_code(p.load.activation));
    let [first, second] = to.offsets(Some(&p.source));
    let params = Params { load, first, second, output: to.offset(p.output) };
    to.dispatch(shader, 0, &params, pixelwise_groups(to.shape(p.output)));
    to.costs(0, to.traffic.iter().sum());
    Ok(())
}

#[cfg(all(test, not(target_arch = "wasm32")))]
#[test]
fn every_variant_is_valid() {
    super::load::check_pixelwise::<Params>(shader);
}
