//! Rows of a table. The twin is `Panels::copy_row`.

use super::operation::Operation;
use crate::engine::lower::{File, Lowering, Shader, grid, uniform, wgsl, word};
use crate::engine::parameters::{MatrixId, Parameters, Storage};
use crate::engine::stage::{Memory, Split, Stage};
use crate::engine::value::{Slot, ValueId};
use crate::error::Result;

/// Rows of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gather {
    /// Whole numbers stored as floats, one channel.
    pub indices: ValueId,
    /// The table.
    pub table: MatrixId,
    /// The result.
    pub output: ValueId,
}

uniform! {
    /// `Params` in gather.wgsl.
    struct Params {
        indices: u32,
        output: u32,
        count: u32,
        columns: u32,
        table: u32,
        row: u32,
    }
}

const GATHER: File = File { text: wgsl!("gather.wgsl"), constants: &[] };

/// Threads of a workgroup, one for each four numbers of a row of the output.
const THREADS: u32 = 64;

fn shader(storage: Storage) -> Shader {
    let shader = Shader::new("main", vec![("THREADS", THREADS)], false, &[GATHER]);
    Shader { matrices: Some(storage), ..shader.labelled(|| "gather".to_owned()) }
}

impl Operation for Gather {
    fn slots(&mut self, f: &mut dyn FnMut(Slot)) {
        f(Slot::Read(&mut self.indices));
        f(Slot::Matrix(&mut self.table));
        f(Slot::Write(&mut self.output));
    }

    fn text(&self, kind: char, parameters: &Parameters) -> String {
        format!("{}[{kind}{}]", parameters.matrices[self.table.0].parts[0].key, self.indices.0)
    }

    fn run(&self, stage: &Stage, memory: &mut Memory) {
        let Split { arena, out, .. } = stage.split(memory, self.output);
        let table = stage.packed.panels(self.table);
        let indices = arena.get(stage.value(self.indices).range());
        for (index, row) in indices.iter().zip(out.chunks_exact_mut(table.columns)) {
            table.copy_row(*index as usize, row);
        }
    }

    fn lower(&self, to: &mut Lowering) -> Result<()> {
        let [batch, height, width, columns] = to.shape(self.output);
        let (place, count) = (to.layout.place(self.table), batch * height * width);
        let params = Params {
            indices: to.offset(self.indices),
            output: to.offset(self.output),
            count: word(count),
            columns: word(columns),
            table: word(place.start),
            row: word(place.row),
        };
        let threads = count * columns.div_ceil(4);
        to.dispatch(
            shader(to.layout.storage),
            place.shard,
            &params,
            grid(threads.div_ceil(THREADS as usize)),
        );
        to.costs(0, to.traffic.iter().sum());
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
