//! Rows of a table, or pixels of a sample. The twin is `Panels::copy_row`.

use super::operation::Operation;
use crate::engine::lower::{File, Lowering, Shader, grid, uniform, wgsl, word};
use crate::engine::parameters::{MatrixId, Parameters, Storage};
use crate::engine::stage::{Memory, Split, Stage};
use crate::engine::value::{Reference, ValueId};
use crate::error::Result;

/// Where rows are taken from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// The checkpoint.
    Matrix(MatrixId),
    #[cfg(feature = "text")]
    /// The pixels of a sample.
    Pixels(ValueId),
}

/// Rows of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gather {
    /// Whole numbers stored as floats, one for each pixel of the result. Without them, its pixels are the first rows.
    pub indices: Option<ValueId>,
    /// The table.
    pub table: Table,
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
        pixels: u32,
        given: u32,
    }
}

const GATHER: File = File { text: wgsl!("gather.wgsl"), constants: &[] };

/// Threads of a workgroup, one for each four numbers of a row of the output.
const THREADS: u32 = 64;

/// The row of a matrix, or of a sample's pixels.
const OF_MATRIX: &str = "let v=unpacked(weights[p.table+index*p.row+quad]);";
/// Of a matrix of 8 bits: behind each row the scales of 64 of its numbers each.
#[cfg(feature = "text")]
const OF_SCALED: &str = "let row=p.table+index*p.row;let v=unpacked(weights[row+quad])*bitcast<f32>(weights[row+quads+quad/16u]);";
#[cfg(feature = "text")]
const OF_PIXELS: &str = "let v=read4(p.table+(place/p.pixels*p.row+index)*p.columns+4u*quad);";

fn shader(matrices: Option<Storage>, here: &'static str) -> Shader {
    let shader = Shader::new("main", vec![("THREADS", THREADS)], false, &[GATHER]);
    Shader { matrices, here, ..shader.labelled(|| "gather".to_owned()) }
}

impl Operation for Gather {
    fn references_mut(&mut self, f: &mut dyn FnMut(Reference)) {
        if let Some(indices) = &mut self.indices {
            f(Reference::Read(indices));
        }
        match &mut self.table {
            Table::Matrix(table) => f(Reference::Matrix(table)),
            #[cfg(feature = "text")]
            Table::Pixels(image) => f(Reference::Read(image)),
        }
        f(Reference::Write(&mut self.output));
    }

    fn text(&self, kind: char, parameters: &Parameters) -> String {
        let table = match self.table {
            Table::Matrix(table) => parameters.matrices[table.0].parts[0].key.clone(),
            #[cfg(feature = "text")]
            Table::Pixels(image) => format!("{kind}{}", image.0),
        };
        self.indices.map_or_else(|| format!("{table}[..]"), |id| format!("{table}[{kind}{}]", id.0))
    }

    fn run(&self, stage: &Stage, memory: &mut Memory) {
        let Split { arena, out, .. } = stage.split(memory, self.output);
        let [_, height, width, channels] = stage.value(self.output).shape;
        let pixels = height * width;
        let indices = self.indices.map_or(&[][..], |id| arena.get(stage.value(id).range()));
        for (i, row) in out.chunks_exact_mut(channels).enumerate() {
            let index = indices.get(i).map_or(i % pixels, |index| *index as usize);
            match self.table {
                Table::Matrix(table) => stage.packed.panels(table).copy_row(index, row),
                #[cfg(feature = "text")]
                Table::Pixels(image) => {
                    let image = stage.sample(arena, image, i / pixels);
                    row.copy_from_slice(&image[index * channels..][..channels]);
                }
            }
        }
    }

    fn lower(&self, to: &mut Lowering) -> Result<()> {
        let [batch, height, width, columns] = to.shape(self.output);
        let count = batch * height * width;
        let (matrices, here, shard, table, row) = match self.table {
            Table::Matrix(id) => {
                let place = to.layout.place(id);
                let storage = to.layout.storage(id);
                #[cfg(feature = "text")]
                let here = if storage == Storage::Int8 { OF_SCALED } else { OF_MATRIX };
                #[cfg(not(feature = "text"))]
                let here = OF_MATRIX;
                (Some(storage), here, place.shard, word(place.start), place.row)
            }
            #[cfg(feature = "text")]
            Table::Pixels(image) => {
                let [_, height, width, _] = to.shape(image);
                (None, OF_PIXELS, 0, to.offset(image), height * width)
            }
        };
        let params = Params {
            indices: self.indices.map_or(0, |id| to.offset(id)),
            output: to.offset(self.output),
            count: word(count),
            columns: word(columns),
            table,
            row: word(row),
            pixels: word(height * width),
            given: self.indices.is_some().into(),
        };
        let threads = count * columns.div_ceil(4);
        to.dispatch(shader(matrices, here), shard, &params, grid(threads.div_ceil(THREADS as usize)));
        to.costs(0, to.traffic.iter().sum());
        Ok(())
    }
}

#[cfg(all(test, not(target_arch = "wasm32")))]
#[test]
fn every_variant_is_valid() {
    for storage in [Storage::F32, Storage::F16] {
        crate::engine::lower::check::<Params>(&shader(Some(storage), OF_MATRIX));
    }
    #[cfg(feature = "text")]
    for (storage, here) in [(None, OF_PIXELS), (Some(Storage::Int8), OF_SCALED)] {
        crate::engine::lower::check::<Params>(&shader(storage, here));
    }
}
