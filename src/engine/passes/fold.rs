//! What passes share that fold a map into the loads of its readers.

use crate::engine::draft::Draft;
use crate::engine::plan::{Load, Map, Op, Scaling, Source};

/// Has the readers of each map that `chosen` says yes to read what the map reads, where all of them can.
pub(super) fn fold(draft: &mut Draft, chosen: &dyn Fn(&Map) -> bool) {
    let mut readers = draft.readers();
    for at in 0..draft.ops.len() {
        let Op::Map(map) = &draft.ops[at].op else { continue };
        if map.operand.is_some() || draft.results().any(|id| id == map.output) || !chosen(map) {
            continue;
        }
        let (map, by) = (map.clone(), readers[map.output.0].clone());
        let changed: Option<Vec<Op>> = by.iter().map(|r| read_through(&draft.ops[*r].op, &map)).collect();
        let Some(changed) = changed else { continue };
        for (reader, op) in by.iter().zip(changed) {
            rename(draft, at, *reader);
            draft.ops[*reader].op = op;
        }
        for id in draft.ops[at].op.reads() {
            readers[id.0].extend(&by);
        }
    }
    draft.sweep();
}

/// Operations that have no module of their own are called after the normalisation that they apply.
fn rename(draft: &mut Draft, map: usize, reader: usize) {
    let normalises = matches!(
        &draft.ops[map].op,
        Op::Map(Map { load: Load { scaling: Some(Scaling::Ready(_) | Scaling::Inline(_)), .. }, .. })
    );
    if !normalises {
        return;
    }
    let name = draft.ops[map].name.clone();
    let step = &mut draft.ops[reader];
    match step.op {
        Op::Map(_) => step.name = name,
        Op::Pool(_) => step.name = name + "." + &step.name,
        _ => {}
    }
}

/// An operation that reads what a map reads in place of what it writes.
fn read_through(op: &Op, map: &Map) -> Option<Op> {
    let mut op = op.clone();
    match &mut op {
        Op::Gemm(g) => {
            source_through(&mut g.source, &mut g.load, map)?;
            for (plain, single) in [(&mut g.shortcut, false), (&mut g.residual, true)] {
                if let Some(source) = plain {
                    let mut load = Load::default();
                    source_through(source, &mut load, map)?;
                    if !load.is_plain() || (single && source.second.is_some()) {
                        return None;
                    }
                }
            }
        }
        Op::Pool(p) => {
            source_through(&mut p.source, &mut p.load, map)?;
            if p.source.upsample {
                return None;
            }
        }
        Op::Map(Map { source: Some(source), load, .. }) => source_through(source, load, map)?,
        _ => {}
    }
    (!op.reads().contains(&map.output)).then_some(op)
}

fn source_through(source: &mut Source, load: &mut Load, map: &Map) -> Option<()> {
    if source.first == map.output && source.second.is_none() {
        let from = map.source?;
        if from.upsample && source.upsample {
            return None;
        }
        *source = Source { upsample: from.upsample || source.upsample, ..from };
        *load = composed(&map.load, load)?;
    }
    Some(())
}

/// One load after another as a single one.
fn composed(first: &Load, then: &Load) -> Option<Load> {
    if then.is_plain() {
        return Some(first.clone());
    }
    let scaling = match (&first.scaling, &then.scaling) {
        (scaling, None) if first.activation.is_none() || then.activation.is_none() => scaling.clone(),
        (None, scaling) if first.activation.is_none() => scaling.clone(),
        _ => return None,
    };
    Some(Load { scaling, activation: first.activation.or(then.activation) })
}
