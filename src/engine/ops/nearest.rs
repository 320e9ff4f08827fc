//! The nearest rows of a table. The twin is the kernels' `nearest`.

use super::operation::Operation;
use crate::engine::kernels::nearest as twin;
use crate::engine::lower::{File, Lowering, Shader, grid, uniform, wgsl, word};
use crate::engine::parameters::{MatrixId, Parameters, Storage};
use crate::engine::stage::{Memory, Split, Stage};
use crate::engine::value::{Reference, ValueId};
use crate::error::Result;

/// Each pixel becomes the nearest row of a table, the first of equals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nearest {
    /// The image.
    pub source: ValueId,
    /// The table, as wide as the image has channels.
    pub table: MatrixId,
    /// The result.
    pub output: ValueId,
}

uniform! {
    /// `Params` in nearest.wgsl.
    struct Params {
        source: u32,
        output: u32,
        pixels: u32,
        channels: u32,
        table: u32,
        row: u32,
        count: u32,
    }
}

const NEAREST: File = File { text: wgsl!("nearest.wgsl"), constants: &[] };

/// Threads of a workgroup, one for each pixel.
const THREADS: u32 = 64;

fn shader(storage: Storage) -> Shader {
    let shader = Shader::new("main", vec![("THREADS", THREADS)], false, &[NEAREST]);
    Shader { matrices: Some(storage), ..shader.labelled(|| "nearest row".to_owned()) }
}

impl Operation for Nearest {
    fn references_mut(&mut self, f: &mut dyn FnMut(Reference)) {
        f(Reference::Read(&mut self.source));
        f(Reference::Matrix(&mut self.table));
        f(Reference::Write(&mut self.output));
    }

    fn text(&self, kind: char, parameters: &Parameters) -> String {
        let table = &parameters.matrices[self.table.0].parts[0].key;
        format!("nearest row of {table} to {kind}{}", self.source.0)
    }

    fn run(&self, stage: &Stage, memory: &mut Memory) {
        let Split { arena, out, .. } = stage.split(memory, self.output);
        twin::nearest(arena.get(stage.value(self.source).range()), &stage.packed.panels(self.table), out);
    }

    fn lower(&self, to: &mut Lowering) -> Result<()> {
        let [batch, height, width, channels] = to.shape(self.output);
        let (place, pixels) = (to.layout.place(self.table), batch * height * width);
        let count = to.parameters.matrices[self.table.0].rows;
        let params = Params {
            source: to.offset(self.source),
            output: to.offset(self.output),
            pixels: word(pixels),
            channels: word(channels),
            table: word(place.start),
            row: word(place.row),
            count: word(count),
        };
        to.dispatch(
            shader(to.layout.storage(self.table)),
            place.shard,
            &params,
            grid(pixels.div_ceil(THREADS as usize)),
        );
        to.costs(3 * (pixels * channels) as u64 * count as u64, to.traffic.iter().sum());
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
