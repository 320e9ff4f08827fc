//! Concatenated images are read where they lie, and normalised from the moments of both.

use super::fold::fold;
use crate::engine::draft::Draft;
use crate::engine::plan::{
    Gemm, Load, Map, Moments, Norm, Op, PlannedOp, Pool, ReadyNorm, Scaling, Source, ValueId,
};

pub(super) fn concat(draft: &mut Draft) {
    part_moments(draft);
    fold(draft, &|map| map.source.is_some_and(|source| source.second.is_some()));
}

/// Takes the moments of the two parts of a concatenated image in place of those of the whole.
fn part_moments(draft: &mut Draft) {
    let parts = wholes(draft);
    // The moments that stand for those of a value from here on.
    let mut known: Vec<Option<ValueId>> = vec![None; draft.values.len()];
    let mut renamed: Vec<(ValueId, ValueId)> = Vec::new();
    let mut ops = Vec::with_capacity(draft.ops.len());
    for mut step in std::mem::take(&mut draft.ops) {
        if let Op::Moments(Moments { source, output }) = step.op {
            match parts.iter().find(|(whole, ..)| *whole == output) {
                Some((_, first, second)) => {
                    for part in [*first, *second] {
                        if known[part.0].is_none() {
                            let (moments, op) = moments_of(draft, part);
                            known[part.0] = Some(moments);
                            ops.push(PlannedOp { name: step.name.clone(), op });
                        }
                    }
                    continue;
                }
                None => match known[source.0] {
                    Some(earlier) => {
                        renamed.push((output, earlier));
                        continue;
                    }
                    None => known[source.0] = Some(output),
                },
            }
        }
        if let Op::Gemm(Gemm { output, moments: Some(moments), .. }) = step.op {
            known[output.0] = Some(moments);
        }
        if let Some(norm) = norm_of(&mut step.op) {
            for id in [Some(&mut norm.moments.0), norm.moments.1.as_mut()].into_iter().flatten() {
                if let Some((_, earlier)) = renamed.iter().find(|(later, _)| later == id) {
                    *id = *earlier;
                }
            }
            if let Some((_, first, second)) = parts.iter().find(|(whole, ..)| *whole == norm.moments.0)
                && let Some(first) = known[first.0]
            {
                norm.moments = (first, known[second.0]);
            }
        }
        ops.push(step);
    }
    draft.ops = ops;
}

/// The moments of concatenated images that only normalisations of these alone read, with the two parts of each.
fn wholes(draft: &mut Draft) -> Vec<(ValueId, ValueId, ValueId)> {
    let (producers, readers) = (draft.producers(), draft.readers());
    let mut found = Vec::new();
    for at in 0..draft.ops.len() {
        let Op::Moments(Moments { source, output }) = draft.ops[at].op else { continue };
        let Some(Op::Map(Map { source: Some(parts), load, operand: None, .. })) =
            producers[source.0].map(|p| &draft.ops[p].op)
        else {
            continue;
        };
        let Source { first, second: Some(second), upsample: false } = *parts else { continue };
        let alone = load.is_plain()
            && readers[output.0].iter().all(|r| {
                norm_of(&mut draft.ops[*r].op.clone()).is_some_and(|norm| norm.moments == (output, None))
            });
        if alone {
            found.push((output, first, second));
        }
    }
    found
}

fn moments_of(draft: &mut Draft, source: ValueId) -> (ValueId, Op) {
    let value = &draft.values[source.0];
    let ([height, width, channels], when) = (value.shape, value.when);
    let tiles = (height * width).div_ceil(crate::engine::plan::TILE_PIXELS);
    let output = draft.value([tiles, 2, channels], when);
    (output, Op::Moments(Moments { source, output }))
}

/// The normalisation that an operation computes.
fn norm_of(op: &mut Op) -> Option<&mut Norm> {
    match op {
        Op::ReadyNorm(ReadyNorm { norm, .. }) => Some(norm),
        Op::Gemm(Gemm { load: Load { scaling: Some(Scaling::Inline(norm)), .. }, .. })
        | Op::Pool(Pool { load: Load { scaling: Some(Scaling::Inline(norm)), .. }, .. })
        | Op::Map(Map { load: Load { scaling: Some(Scaling::Inline(norm)), .. }, .. }) => Some(norm),
        _ => None,
    }
}
