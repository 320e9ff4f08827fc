//! An image written out, element by element: loaded, and combined with an operand. The twin is the kernels' `map`.

use super::activation::{ACTIVATION, activation_code};
use super::load::{LOAD, Load, LoadParams, PIXEL, ScalingKind, pixelwise, pixelwise_groups, plain};
use super::norm::{Loading, loading};
use super::operation::{Operation, Room};
use crate::engine::kernels::map::{self as twin, Operand};
use crate::engine::lower::{File, Lowering, Shader, constants, uniform, wgsl, word};
use crate::engine::parameters::Parameters;
use crate::engine::stage::{Memory, Split, Stage};
use crate::engine::threads;
use crate::engine::value::{Reference, RowSlice, Source, Value, ValueId};
use crate::error::Result;

/// How an operand is combined with the number y of pixel p and channel c.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Combine {
    /// `y + operand[p, c]`.
    Add,
    /// `y + operand[c]`.
    AddPerChannel,
    /// `y · (1 + operand[c]) + operand[channels + c]`.
    ScaleShift,
    /// `y · operand[0]`.
    ScaleSamples,
    #[cfg(feature = "text")]
    /// `y · operand[c]`.
    ScalePerChannel,
}

/// Where an operand lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Among the values of the same part of the plan.
    Value(ValueId),
    /// In the prelude.
    Rows(RowSlice),
    /// Among what is computed of prompts.
    #[cfg(feature = "text")]
    Prompts {
        /// The value, a row for each prompt.
        value: ValueId,
        /// Which of them is a sample's.
        of_sample: ValueId,
    },
}

/// An image written out, element by element: `load(source)`, combined with an operand.
#[derive(Clone, Debug, PartialEq)]
pub struct Map {
    /// The image; without one it is all zeros.
    pub source: Option<Source>,
    /// What is applied while it is read.
    pub load: Load,
    /// What is combined with it.
    pub operand: Option<(Combine, Place)>,
    /// The result.
    pub output: ValueId,
}

constants! {
    COMBINE_NOTHING = 0;
    COMBINE_ADD = code(Combine::Add);
    COMBINE_ADD_PER_CHANNEL = code(Combine::AddPerChannel);
    COMBINE_SCALE_SHIFT = code(Combine::ScaleShift);
    COMBINE_SCALE_SAMPLES = code(Combine::ScaleSamples);

    PLACE_VALUE = 0;
    PLACE_ROWS = 1;
    PLACE_PROMPTS = 2;
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
        place: u32,
        operand: u32,
        operand_start: u32,
        operand_width: u32,
    }
}

const MAP: File = File { text: wgsl!("map.wgsl"), constants: CONSTANTS };

fn shader(fours: bool, scaling: ScalingKind, activation: u32) -> Shader {
    pixelwise("map", &[ACTIVATION, LOAD, PIXEL, MAP], fours, scaling, activation)
}

impl Operation for Map {
    fn references_mut(&mut self, f: &mut dyn FnMut(Reference)) {
        self.load.references_mut(f);
        if let Some(source) = &mut self.source {
            source.references_mut(f);
        }
        match &mut self.operand {
            None => {}
            Some((_, Place::Value(id))) => f(Reference::Read(id)),
            Some((_, Place::Rows(slice))) => f(Reference::Rows(slice)),
            #[cfg(feature = "text")]
            Some((_, Place::Prompts { value, of_sample })) => {
                f(Reference::Read(value));
                f(Reference::Read(of_sample));
            }
        }
        f(Reference::Write(&mut self.output));
    }

    fn text(&self, kind: char, _: &Parameters) -> String {
        let mut text = self.source.map_or_else(|| "0".to_owned(), |source| self.load.text(kind, &source));
        if let Some((combine, place)) = &self.operand {
            let operand = match place {
                Place::Value(id) => format!("{kind}{}", id.0),
                Place::Rows(slice) => slice.text(),
                #[cfg(feature = "text")]
                Place::Prompts { value, of_sample } => format!("{kind}{}[{kind}{}]", value.0, of_sample.0),
            };
            text += &match combine {
                Combine::Add | Combine::AddPerChannel => format!(" + {operand}"),
                Combine::ScaleShift => format!(" · (1 + s) + b of {operand}"),
                Combine::ScaleSamples => format!(" · {operand}"),
                #[cfg(feature = "text")]
                Combine::ScalePerChannel => format!(" · each {operand}"),
            };
        }
        text
    }

    fn room(&self, values: &[Value]) -> Room {
        Room { scratch: 0, scaling: self.load.scaling_len(values) }
    }

    fn run(&self, stage: &Stage, memory: &mut Memory) {
        let Split { arena, scaling, out, .. } = stage.split(memory, self.output);
        let loaded = self.source.as_ref().map(|source| self.load.of(source, stage, arena, scaling));
        let [_, height, width, channels] = stage.value(self.output).shape;
        let rows = threads::rows(height);
        let len = rows * width * channels;
        threads::chunks(out, len, &|piece, out| {
            let (sample, top) = (piece * rows / height, piece * rows % height);
            let operand = self.operand.map_or(Operand::None, |(combine, place)| {
                let numbers = match place {
                    Place::Rows(slice) => stage.per_sample(slice).sample(sample),
                    Place::Value(id) => stage.sample(arena, id, sample),
                    #[cfg(feature = "text")]
                    Place::Prompts { value, of_sample } => {
                        stage.sample(arena, value, stage.prompt(arena, Some(of_sample), sample))
                    }
                };
                match combine {
                    Combine::Add => Operand::Image(&numbers[top * width * channels..][..len]),
                    Combine::AddPerChannel => Operand::PerChannel(numbers),
                    Combine::ScaleShift => Operand::ScaleShift(numbers),
                    Combine::ScaleSamples => Operand::Scale(numbers[0]),
                    #[cfg(feature = "text")]
                    Combine::ScalePerChannel => Operand::ScalePerChannel(numbers),
                }
            });
            let loaded = loaded.as_ref().map(|loaded| loaded(sample));
            twin::map(loaded.as_ref(), operand, top..top + rows, channels, out);
        });
    }

    fn lower(&self, to: &mut Lowering) -> Result<()> {
        let [batch, height, width, columns] = to.shape(self.output);
        let Loading { kind, params: load, .. } = match &self.source {
            Some(source) => loading(&self.load, source, 1, 0, to),
            None => {
                let size = LoadParams { height: word(height), width: word(width), ..plain(to, [columns, 0]) };
                Loading { kind: ScalingKind::None, params: size, scratch: 0 }
            }
        };
        let (place, [operand, operand_start, operand_width]) = match self.operand {
            None => (PLACE_VALUE, [0; 3]),
            Some((_, Place::Rows(slice))) => (PLACE_ROWS, to.slice(Some(slice))),
            Some((_, Place::Value(id))) => (PLACE_VALUE, [to.offset(id), 0, to.sample_len(id)]),
            #[cfg(feature = "text")]
            Some((_, Place::Prompts { value, of_sample })) => {
                (PLACE_PROMPTS, [to.offset(value), to.offset(of_sample), to.sample_len(value)])
            }
        };
        let channels = self.source.map_or([columns, 0], |s| to.channels(Some(&s)));
        let fours = channels.iter().all(|c| c.is_multiple_of(4));
        let [first, second] = to.offsets(self.source.as_ref());
        let params = Params {
            load,
            first,
            second,
            output: to.offset(self.output),
            sourced: self.source.is_some().into(),
            shift: self.source.is_some_and(|s| s.upsample).into(),
            combine: self.operand.map_or(COMBINE_NOTHING, |(how, _)| code(how)),
            place,
            operand,
            operand_start,
            operand_width,
        };
        let activation = if self.source.is_some() { self.load.activation } else { None };
        let shader = shader(fours, kind, activation_code(activation));
        to.dispatch(shader, 0, &params, pixelwise_groups([batch, height, width, columns]));
        to.costs(0, to.traffic.iter().sum());
        Ok(())
    }
}

#[cfg(all(test, not(target_arch = "wasm32")))]
#[test]
fn every_variant_is_valid() {
    super::load::check_pixelwise::<Params>(shader);
}
