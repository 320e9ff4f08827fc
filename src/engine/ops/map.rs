//! An image written out, element by element: loaded, and combined with an operand. The twin is the kernels' `map`.

use super::activation::{ACTIVATION, activation_code};
use super::load::{LOAD, LoadParams, PIXEL, ScalingKind, pixelwise, pixelwise_groups, plain};
use super::norm::{Loading, loading};
use crate::engine::lower::{File, Lowering, Shader, constants, uniform, wgsl, word};
use crate::engine::plan::{Combine, Map, Place};
use crate::error::Result;

constants! {
    COMBINE_NOTHING = 0;
    COMBINE_ADD = code(Combine::Add);
    COMBINE_ADD_PER_CHANNEL = code(Combine::AddPerChannel);
    COMBINE_SCALE_SHIFT = code(Combine::ScaleShift);
    COMBINE_SCALE_SAMPLES = code(Combine::ScaleSamples);
}

const fn code(of: Combine) -> u32 {
    of as u32 + 1
}

uniform! {
    /// `Params` in map.wgsl.
    struct Params {
        load: LoadParams,
        first: u32,
        second: u32,
        output: u32,
        sourced: u32,
        shift: u32,
        combine: u32,
        in_rows: u32,
        operand: u32,
        operand_start: u32,
        operand_width: u32,
    }
}

const MAP: File = File { text: wgsl!("map.wgsl"), constants: CONSTANTS };

fn shader(fours: bool, scaling: ScalingKind, activation: u32) -> Shader {
    pixelwise("map", &[ACTIVATION, LOAD, PIXEL, MAP], fours, scaling, activation)
}

pub(super) fn lower(m: &Map, to: &mut Lowering) -> Result<()> {
    let [batch, height, width, columns] = to.shape(m.output);
    let Loading { kind, params: load, .. } = match &m.source {
        Some(source) => loading(&m.load, source, 1, 0, to),
        None => {
            let size = LoadParams { height: word(height), width: word(width), ..plain(to, [columns, 0]) };
            Loading { kind: ScalingKind::None, params: size, scratch: 0 }
        }
    };
    let (in_rows, [operand, operand_start, operand_width]) = match m.operand {
        None => (false, [0; 3]),
        Some((_, Place::Rows(slice))) => (true, to.slice(Some(slice))),
        Some((_, Place::Value(id))) => (false, [to.offset(id), 0, word(to.values[id.0].len() / batch)]),
    };
    let channels = m.source.map_or([columns, 0], |s| to.channels(Some(&s)));
    let fours = channels.iter().all(|c| c.is_multiple_of(4));
    let [first, second] = to.offsets(m.source.as_ref());
    let params = Params {
        load,
        first,
        second,
        output: to.offset(m.output),
        sourced: m.source.is_some().into(),
        shift: m.source.is_some_and(|s| s.upsample).into(),
        combine: m.operand.map_or(COMBINE_NOTHING, |(how, _)| code(how)),
        in_rows: in_rows.into(),
        operand,
        operand_start,
        operand_width,
    };
    let activation = if m.source.is_some() { m.load.activation } else { None };
    let shader = shader(fours, kind, activation_code(activation));
    to.dispatch(shader, 0, &params, pixelwise_groups([batch, height, width, columns]));
    to.costs(0, to.traffic.iter().sum());
    Ok(())
}

#[cfg(all(test, not(target_arch = "wasm32")))]
#[test]
fn every_variant_is_valid() {
    super::load::check_pixelwise::<Params>(shader);
}
