//! Rows of a table. The twin is `Panels::copy_row`.

use crate::engine::lower::{File, Lowering, Shader, grid, uniform, wgsl, word};
use crate::engine::parameters::Storage;
use crate::engine::plan::Gather;
use crate::error::Result;

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

pub(super) fn lower(g: &Gather, to: &mut Lowering) -> Result<()> {
    let [batch, height, width, columns] = to.shape(g.output);
    let (place, count) = (to.layout.place(g.table), batch * height * width);
    let params = Params {
        indices: to.offset(g.indices),
        output: to.offset(g.output),
        count: word(count),
        columns: word(columns),
        table: word(place.start),
        row: word(place.row),
    };
    let threads = count * columns.div_ceil(4);
    to.dispatch(shader(to.layout.storage), place.shard, &params, grid(threads.div_ceil(THREADS as usize)));
    to.costs(0, to.traffic.iter().sum());
    Ok(())
}

#[cfg(all(test, not(target_arch = "wasm32")))]
#[test]
fn every_variant_is_valid() {
    for storage in [Storage::F32, Storage::F16] {
        crate::engine::lower::check::<Params>(&shader(storage));
    }
}
