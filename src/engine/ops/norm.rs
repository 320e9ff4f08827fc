//! Scale and shift of a normalisation, from moments; and which loads compute them for themselves. The twin is the kernels'
//! `norm`.

use super::activation::{ACTIVATION, NO_ACTIVATION};
use super::load::{LOAD, Load, LoadParams, Norm, Scaling, ScalingKind, normalised, plain};
use super::operation::Operation;
use crate::engine::kernels::norm as twin;
use crate::engine::lower::{File, Lowering, Shader, grid, uniform, wgsl, word};
use crate::engine::parameters::Parameters;
use crate::engine::stage::{Memory, Split, Stage};
use crate::engine::value::{Reference, Source, ValueId};
use crate::error::Result;

/// Scale and shift of a normalisation, written out.
#[derive(Clone, Debug, PartialEq)]
pub struct ReadyNorm {
    /// What they are computed from.
    pub norm: Norm,
    /// The result.
    pub output: ValueId,
}

uniform! {
    /// `Params` in norm.wgsl.
    struct Params {
        load: LoadParams,
        output: u32,
    }
}

const NORM: File = File { text: wgsl!("norm.wgsl"), constants: &[] };

/// Sums of the threads of a workgroup.
pub(super) const SUM: File = File { text: wgsl!("sum.wgsl"), constants: &[] };

/// Threads of a workgroup.
const THREADS: u32 = 64;

fn shader() -> Shader {
    let constants = vec![
        ("THREADS", THREADS),
        ("SHARERS", THREADS),
        ("SCALING", ScalingKind::None as u32),
        ("ACTIVATION", NO_ACTIVATION),
        ("NORMS", 1),
    ];
    Shader::new("main", constants, false, &[ACTIVATION, LOAD, SUM, NORM]).labelled(|| "norm".to_owned())
}

impl Operation for ReadyNorm {
    fn references_mut(&mut self, f: &mut dyn FnMut(Reference)) {
        self.norm.references_mut(f);
        f(Reference::Write(&mut self.output));
    }

    fn text(&self, kind: char, _: &Parameters) -> String {
        self.norm.text(kind)
    }

    fn run(&self, stage: &Stage, memory: &mut Memory) {
        let Split { arena, out, .. } = stage.split(memory, self.output);
        twin::normalise(&self.norm.of(stage, arena), out);
    }

    fn lower(&self, to: &mut Lowering) -> Result<()> {
        dispatch(&self.norm, to.offset(self.output), to);
        to.costs(0, to.traffic.iter().sum());
        Ok(())
    }
}

/// One workgroup for each sample and group.
fn dispatch(norm: &Norm, output: u32, to: &mut Lowering) {
    let channels = [Some(norm.moments.0), norm.moments.1].map(|id| id.map_or(0, |id| to.shape(id)[3]));
    let load = normalised(to, norm, plain(to, channels));
    to.dispatch(shader(), 0, &Params { load, output }, grid(to.batch * norm.groups));
}

/// How a load scales, what its kernel is given, and the floats of scratch that this takes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Loading {
    pub(super) kind: ScalingKind,
    pub(super) params: LoadParams,
    pub(super) scratch: usize,
}

/// How a load is done in a kernel whose workgroups have room for `room` pairs of scale and shift, and load from `samples`
/// samples. A normalisation that does not fit gets a dispatch of its own before.
pub(super) fn loading(
    load: &Load,
    source: &Source,
    samples: usize,
    room: usize,
    to: &mut Lowering,
) -> Loading {
    let channels = to.channels(Some(source));
    let all = channels[0] + channels[1];
    let [_, height, width, _] = to.shape(source.first);
    let params = LoadParams {
        samples: word(samples),
        height: word(height),
        width: word(width),
        activated: load.activation.is_some().into(),
        ..plain(to, channels)
    };
    let (kind, params, scratch) = match &load.scaling {
        None => (ScalingKind::None, params, 0),
        Some(Scaling::Constant { scale, shift }) => {
            (ScalingKind::Constant, LoadParams { scale: *scale, shift: *shift, ..params }, 0)
        }
        Some(Scaling::Ready(id)) => (ScalingKind::Ready, LoadParams { ready: to.offset(*id), ..params }, 0),
        Some(Scaling::Inline(norm)) if samples * all <= room => {
            (ScalingKind::Inline, normalised(to, norm, params), 0)
        }
        Some(Scaling::Inline(norm)) => {
            let floats = 2 * to.batch * all;
            let ready = word(to.scratch(0, floats));
            dispatch(norm, ready, to);
            // Of its operation, it reads the moments alone.
            to.costs(0, to.bytes([norm.moments.0].into_iter().chain(norm.moments.1)));
            (ScalingKind::Ready, LoadParams { ready, samples: 1, ..params }, floats)
        }
    };
    Loading { kind, params: LoadParams { scaling: kind as u32, ..params }, scratch }
}

#[cfg(all(test, not(target_arch = "wasm32")))]
#[test]
fn the_shader_is_valid() {
    crate::engine::lower::check::<Params>(&shader());
}
