//! Gaussian bumps, the hidden units of a radial-basis-function network. The twin is the kernels' `radial_basis`.

use super::operation::Operation;
use crate::engine::kernels::radial as twin;
use crate::engine::lower::{File, Lowering, Shader, grid, uniform, wgsl, word};
use crate::engine::parameters::{MatrixId, Parameters, Storage, VectorId};
use crate::engine::stage::{Memory, Split, Stage};
use crate::engine::value::{Reference, ValueId};
use crate::error::Result;

/// `exp(−½ Σᵢ ((xᵢ − cᵢ) · ½ √units · w)²)` for each pixel and each unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RadialBasis {
    /// The image.
    pub source: ValueId,
    /// The centres c, `[channels][units]`.
    pub centres: MatrixId,
    /// The units' w.
    pub widths: VectorId,
    /// The result, whose channels are the units.
    pub output: ValueId,
}

uniform! {
    /// `Params` in radial.wgsl.
    struct Params {
        source: u32,
        output: u32,
        count: u32,
        inputs: u32,
        units: u32,
        centres: u32,
        row: u32,
        widths: u32,
        scale: f32,
    }
}

const RADIAL: File = File { text: wgsl!("radial.wgsl"), constants: &[] };

/// Threads of a workgroup, one for each four units of a pixel.
const THREADS: u32 = 64;

fn shader(storage: Storage) -> Shader {
    let shader = Shader::new("main", vec![("THREADS", THREADS)], false, &[RADIAL]);
    Shader { matrices: Some(storage), ..shader.labelled(|| "radial basis".to_owned()) }
}

/// Half the root of the number of units: a grid of bumps that stand so far apart touch.
fn scale(units: usize) -> f32 {
    (0.5 * (units as f64).sqrt()) as f32
}

impl Operation for RadialBasis {
    fn references_mut(&mut self, f: &mut dyn FnMut(Reference)) {
        f(Reference::Read(&mut self.source));
        f(Reference::Matrix(&mut self.centres));
        f(Reference::Vector(&mut self.widths));
        f(Reference::Write(&mut self.output));
    }

    fn text(&self, kind: char, parameters: &Parameters) -> String {
        let centres = &parameters.matrices[self.centres.0];
        format!("bumps [{}][{}]({kind}{})", centres.rows, centres.columns, self.source.0)
    }

    fn run(&self, stage: &Stage, memory: &mut Memory) {
        let Split { arena, out, .. } = stage.split(memory, self.output);
        let (centres, widths) = (stage.packed.panels(self.centres), stage.packed.vector(self.widths));
        let pixels = arena.get(stage.value(self.source).range());
        twin::radial_basis(pixels, centres, widths, scale(centres.columns), out);
    }

    fn lower(&self, to: &mut Lowering) -> Result<()> {
        let [batch, height, width, units] = to.shape(self.output);
        let (place, count) = (to.layout.place(self.centres), batch * height * width);
        let inputs = to.shape(self.source)[3];
        let params = Params {
            source: to.offset(self.source),
            output: to.offset(self.output),
            count: word(count),
            inputs: word(inputs),
            units: word(units),
            centres: word(place.start),
            row: word(place.row),
            widths: word(to.layout.vector(self.widths)),
            scale: scale(units),
        };
        let groups = grid((count * units.div_ceil(4)).div_ceil(THREADS as usize));
        to.dispatch(shader(to.layout.storage(self.centres)), place.shard, &params, groups);
        to.costs(4 * (count * inputs * units) as u64, to.traffic.iter().sum());
        Ok(())
    }
}

#[cfg(all(test, not(target_arch = "wasm32")))]
#[test]
fn every_variant_is_valid() {
    for storage in [Storage::F32, Storage::F16] {
        crate::engine::lower::check::<Params>(&shader(storage));
    }
}
