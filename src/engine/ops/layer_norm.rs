//! Layer normalisation. The twin is the kernels' `layer_norm`.

use super::norm::SUM;
use super::operation::Operation;
use crate::engine::kernels::layer_norm as twin;
use crate::engine::lower::{File, Lowering, Shader, constants, grid, uniform, wgsl, word};
use crate::engine::parameters::{Parameters, VectorId};
use crate::engine::stage::{Memory, Split, Stage};
use crate::engine::value::{Reference, RowSlice, ValueId};
use crate::error::Result;

/// Normalisation over the channels of each pixel: `((x - mean) / √(variance + ε) · γ + β) · factor + shift`.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerNorm {
    /// The image.
    pub source: ValueId,
    /// Added to the variance.
    pub eps: f32,
    /// γ and β.
    pub affine: Option<(VectorId, VectorId)>,
    /// A sample's factor for each channel.
    pub factor: Option<RowSlice>,
    /// What is added to each channel of a sample.
    pub shift: Option<RowSlice>,
    /// The result.
    pub output: ValueId,
}

constants! {
    /// Threads of a workgroup, and those that share a pixel.
    THREADS = 64;
    SHARERS = 16;

    // Bits of `parts`.
    HAS_AFFINE = 1;
    HAS_FACTOR = 2;
    HAS_SHIFT = 4;
}

uniform! {
    /// `Params` in layer_norm.wgsl.
    struct Params {
        source: u32,
        output: u32,
        batch: u32,
        pixels: u32,
        channels: u32,
        eps: f32,
        parts: u32,
        weight: u32,
        bias: u32,
        factor: u32,
        factor_start: u32,
        factor_width: u32,
        shift: u32,
        shift_start: u32,
        shift_width: u32,
    }
}

const DECLARED: File = File { text: "", constants: CONSTANTS };
const LAYER_NORM: File = File { text: wgsl!("layer_norm.wgsl"), constants: &[] };

fn shader(lanes4: bool) -> Shader {
    Shader::new("main", Vec::new(), lanes4, &[DECLARED, SUM, LAYER_NORM]).labelled(|| "layer norm".to_owned())
}

impl Operation for LayerNorm {
    fn references_mut(&mut self, f: &mut dyn FnMut(Reference)) {
        f(Reference::Read(&mut self.source));
        if let Some((weight, bias)) = &mut self.affine {
            f(Reference::Vector(weight));
            f(Reference::Vector(bias));
        }
        for slice in [&mut self.factor, &mut self.shift].into_iter().flatten() {
            f(Reference::Rows(slice));
        }
        f(Reference::Write(&mut self.output));
    }

    fn text(&self, kind: char, _: &Parameters) -> String {
        let factor = self.factor.map_or_else(String::new, |slice| format!(" · {}", slice.text()));
        let shift = self.shift.map_or_else(String::new, |slice| format!(" + {}", slice.text()));
        format!("layer_norm({kind}{}){factor}{shift}", self.source.0)
    }

    fn run(&self, stage: &Stage, memory: &mut Memory) {
        let Split { arena, out, .. } = stage.split(memory, self.output);
        let vectors = self.affine.map(|(weight, bias)| [weight, bias].map(|id| stage.packed.vector(id)));
        let [weight, bias] = vectors.unwrap_or_default();
        let (each, channels) = (out.len() / stage.batch, stage.value(self.output).shape[3]);
        for (sample, out) in out.chunks_exact_mut(each).enumerate() {
            let of = |slice: RowSlice| stage.per_sample(slice).sample(sample);
            let [factor, shift] = [self.factor, self.shift].map(|slice| slice.map_or(&[][..], of));
            let norm = twin::LayerNormTerms { eps: self.eps, weight, bias, factor, shift };
            twin::layer_norm(&norm, stage.sample(arena, self.source, sample), channels, out);
        }
    }

    fn lower(&self, to: &mut Lowering) -> Result<()> {
        let [batch, height, width, channels] = to.shape(self.output);
        let part = |there: bool, bit: u32| if there { bit } else { 0 };
        let [weight, bias] = self.affine.map_or([0; 2], |(a, b)| [a, b].map(|id| word(to.layout.vector(id))));
        let [factor, factor_start, factor_width] = to.slice(self.factor);
        let [shift, shift_start, shift_width] = to.slice(self.shift);
        let params = Params {
            source: to.offset(self.source),
            output: to.offset(self.output),
            batch: word(batch),
            pixels: word(height * width),
            channels: word(channels),
            eps: self.eps,
            parts: part(self.affine.is_some(), HAS_AFFINE)
                | part(self.factor.is_some(), HAS_FACTOR)
                | part(self.shift.is_some(), HAS_SHIFT),
            weight,
            bias,
            factor,
            factor_start,
            factor_width,
            shift,
            shift_start,
            shift_width,
        };
        let groups = (batch * height * width).div_ceil((THREADS / SHARERS) as usize);
        to.dispatch(shader(channels.is_multiple_of(4)), 0, &params, grid(groups));
        to.costs(0, to.traffic.iter().sum());
        Ok(())
    }
}

#[cfg(all(test, not(target_arch = "wasm32")))]
#[test]
fn every_variant_is_valid() {
    for lanes4 in [false, true] {
        crate::engine::lower::check::<Params>(&shader(lanes4));
    }
}
