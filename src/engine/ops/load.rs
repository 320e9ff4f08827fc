//! What becomes of an image's numbers while they are read: normalised, and through a nonlinearity. Operations on images share it.
//! The twins are the kernels' `load` and `norm`.

use crate::engine::kernels::load::{Loaded, Scale};
use crate::engine::kernels::norm::{Normalise, normalise};
use crate::engine::lower::{File, Lowering, Shader, constants, grid, uniform, wgsl, word, words};
use crate::engine::parameters::VectorId;
use crate::engine::stage::{ArenaView, Stage};
use crate::engine::value::{Reference, RowSlice, Source, TILE_PIXELS as PLAN_TILE_PIXELS, Value, ValueId};
use crate::network::ops::Activation;

/// Group normalisation of one or two images from the moments of their tiles: scale and shift for each sample and
/// channel, `γ/√(variance + ε)` and `β − mean · scale`, and where a timestep modulates, `(1 + s)` times both, and `b` added
/// to the shift.
#[derive(Clone, Debug, PartialEq)]
pub struct Norm {
    /// Moments of the first channels and of those after them.
    pub moments: (ValueId, Option<ValueId>),
    /// Pixels of the images.
    pub pixels: usize,
    /// Groups that all channels together are divided into.
    pub groups: usize,
    /// Added to the variance.
    pub eps: f32,
    /// γ.
    pub weight: VectorId,
    /// β.
    pub bias: VectorId,
    /// s, then b.
    pub modulation: Option<RowSlice>,
}

/// Scale and shift that a load applies.
#[derive(Clone, Debug, PartialEq)]
pub enum Scaling {
    /// The same for all.
    Constant {
        /// Factor.
        scale: f32,
        /// Added after.
        shift: f32,
    },
    /// Read from the result of a [`ReadyNorm`](super::ReadyNorm).
    Ready(ValueId),
    /// Computed by each operation that reads the image, before it reads.
    Inline(Norm),
}

/// What is applied to an image's numbers while they are read: `activation(x · scale + shift)`. Zero padding comes after it:
/// the zeros stay zeros.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Load {
    /// The normalisation.
    pub scaling: Option<Scaling>,
    /// The nonlinearity.
    pub activation: Option<Activation>,
}

impl Load {
    /// Whether numbers are read as they are.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        *self == Self::default()
    }
}

impl Norm {
    pub(super) fn references_mut(&mut self, f: &mut dyn FnMut(Reference)) {
        f(Reference::Read(&mut self.moments.0));
        if let Some(second) = &mut self.moments.1 {
            f(Reference::Read(second));
        }
        f(Reference::Vector(&mut self.weight));
        f(Reference::Vector(&mut self.bias));
        if let Some(slice) = &mut self.modulation {
            f(Reference::Rows(slice));
        }
    }

    pub(super) fn text(&self, kind: char) -> String {
        let second = self.moments.1.map_or_else(String::new, |m| format!("|{kind}{}", m.0));
        let modulation = self.modulation.map_or_else(String::new, |m| format!(", {}", m.text()));
        format!("norm({kind}{}{second}, {} groups{modulation})", self.moments.0.0, self.groups)
    }

    /// As its twin is given it.
    pub(super) fn of<'m>(&self, stage: &Stage<'m>, arena: ArenaView<'m>) -> Normalise<'m> {
        let second = self.moments.1.map(|m| stage.value(m));
        let first = stage.value(self.moments.0);
        Normalise {
            first: arena.get(first.range()),
            second: second.map_or(&[], |s| arena.get(s.range())),
            channels: (first.shape[3], second.map_or(0, |s| s.shape[3])),
            pixels: self.pixels,
            groups: self.groups,
            eps: self.eps,
            weight: stage.packed.vector(self.weight),
            bias: stage.packed.vector(self.bias),
            modulation: self.modulation.map(|m| stage.per_sample(m)),
        }
    }

    /// Floats of scale and shift.
    fn len(&self, values: &[Value]) -> usize {
        let moments = [Some(self.moments.0), self.moments.1];
        let channels: usize = moments.iter().flatten().map(|m| values[m.0].shape[3]).sum();
        2 * values[self.moments.0.0].shape[0] * channels
    }
}

impl Load {
    pub(super) fn references_mut(&mut self, f: &mut dyn FnMut(Reference)) {
        match &mut self.scaling {
            None | Some(Scaling::Constant { .. }) => {}
            Some(Scaling::Ready(value)) => f(Reference::Read(value)),
            Some(Scaling::Inline(norm)) => norm.references_mut(f),
        }
    }

    /// What is read of an image.
    pub(super) fn text(&self, kind: char, source: &Source) -> String {
        let mut text = format!("{kind}{}", source.first.0);
        if let Some(second) = source.second {
            text += &format!("|{kind}{}", second.0);
        }
        match &self.scaling {
            None => {}
            Some(Scaling::Constant { scale, shift }) => text += &format!(" · {scale} + {shift}"),
            Some(Scaling::Ready(norm)) => text += &format!(" × {kind}{}", norm.0),
            Some(Scaling::Inline(norm)) => text += &format!(" × {}", norm.text(kind)),
        }
        if let Some(activation) = self.activation {
            text = format!("{activation:?}({text})").to_ascii_lowercase();
        }
        if source.upsample { format!("upsample {text}") } else { text }
    }

    /// Floats of scale and shift that are worked out before it.
    pub(super) fn scaling_len(&self, values: &[Value]) -> usize {
        if let Some(Scaling::Inline(norm)) = &self.scaling { norm.len(values) } else { 0 }
    }

    /// Scale and shift as kernels are given them; what has to be worked out goes into `scaling`.
    pub(super) fn scale<'m>(
        &self,
        stage: &Stage<'m>,
        arena: ArenaView<'m>,
        scaling: &'m mut [f32],
    ) -> Scale<'m> {
        match &self.scaling {
            None => Scale::None,
            Some(Scaling::Constant { scale, shift }) => Scale::Constant(*scale, *shift),
            Some(Scaling::Ready(id)) => Scale::PerChannel(arena.get(stage.value(*id).range())),
            Some(Scaling::Inline(norm)) => {
                let out = &mut scaling[..norm.len(stage.values)];
                normalise(&norm.of(stage, arena), out);
                Scale::PerChannel(out)
            }
        }
    }

    /// Each sample of an image, as it is loaded.
    pub(super) fn of<'m>(
        &self,
        source: &Source,
        stage: &Stage<'m>,
        arena: ArenaView<'m>,
        scaling: &'m mut [f32],
    ) -> impl Fn(usize) -> Loaded<'m> + use<'m> {
        let image = stage.image(arena, source);
        let (scale, activation) = (self.scale(stage, arena, scaling), self.activation);
        let channels = image.all_channels();
        move |sample| Loaded {
            image: image.sample(sample),
            scale: scale.sample(sample, channels),
            activation,
        }
    }
}

/// How a load scales: `SCALING` in the shaders. From `Inline` on, scale and shift go through workgroup memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum ScalingKind {
    #[default]
    None = 0,
    Constant = 1,
    Ready = 2,
    Inline = 3,
    /// Chosen at run time from the uniform, which then also holds whether there is an activation.
    Dynamic = 4,
}

constants! {
    /// Pixels whose moments are taken together.
    TILE_PIXELS = PLAN_TILE_PIXELS as u32;
    SCALING_CONSTANT = ScalingKind::Constant as u32;
    SCALING_READY = ScalingKind::Ready as u32;
    SCALING_INLINE = ScalingKind::Inline as u32;
    SCALING_DYNAMIC = ScalingKind::Dynamic as u32;
}

pub(super) const LOAD: File = File { text: wgsl!("load.wgsl"), constants: CONSTANTS };

/// Reads a pixel of the image at `first` and `second`, members of the operation's uniform.
pub(super) const PIXEL: File = File { text: wgsl!("pixel.wgsl"), constants: &[] };

uniform! {
    /// `Load` in load.wgsl.
    struct LoadParams {
        scale: f32,
        shift: f32,
        ready: u32,
        moments_a: u32,
        moments_b: u32,
        channels_a: u32,
        channels_b: u32,
        pixels: u32,
        tiles: u32,
        groups: u32,
        eps: f32,
        weight: u32,
        bias: u32,
        modulated: u32,
        modulation: u32,
        modulation_start: u32,
        modulation_width: u32,
        samples: u32,
        batch: u32,
        height: u32,
        width: u32,
        scaling: u32,
        activated: u32,
        split: u32,
    }
}

/// Threads of a workgroup, one for each four channels of a pixel of the output.
const THREADS: u32 = 64;

/// A kernel that works out each pixel from loaded ones alone: of `files`, after those that load.
pub(super) fn pixelwise(
    name: &'static str,
    files: &'static [File],
    fours: bool,
    scaling: ScalingKind,
    activation: u32,
) -> Shader {
    let constants = vec![
        ("THREADS", THREADS),
        ("SCALING", scaling as u32),
        ("ACTIVATION", activation),
        ("NORMS", 1),
        ("VECTORS", fours.into()),
    ];
    Shader::new("main", constants, fours, files).labelled(|| name.to_owned())
}

/// Its workgroups for an output of this shape.
pub(super) fn pixelwise_groups([batch, height, width, columns]: [usize; 4]) -> [u32; 3] {
    grid((batch * height * width * columns.div_ceil(4)).div_ceil(THREADS as usize))
}

/// Checks every variant of a kernel that [`pixelwise`] makes.
#[cfg(all(test, not(target_arch = "wasm32")))]
pub(super) fn check_pixelwise<P: crate::engine::lower::Member>(
    shader: impl Fn(bool, ScalingKind, u32) -> Shader,
) {
    for fours in [false, true] {
        for activation in super::activation::ALL {
            for scaling in [ScalingKind::None, ScalingKind::Constant, ScalingKind::Ready] {
                crate::engine::lower::check::<P>(&shader(fours, scaling, activation));
            }
        }
    }
}

/// What a load that scales nothing is given.
pub(super) fn plain(to: &Lowering, channels: [usize; 2]) -> LoadParams {
    let [channels_a, channels_b] = words(channels);
    LoadParams {
        scale: 1.0,
        samples: 1,
        channels_a,
        channels_b,
        batch: word(to.batch),
        ..LoadParams::default()
    }
}

/// The same with what a normalisation is computed from.
pub(super) fn normalised(to: &Lowering, norm: &Norm, load: LoadParams) -> LoadParams {
    let [modulation, modulation_start, modulation_width] = to.slice(norm.modulation);
    LoadParams {
        split: word(to.shape(norm.moments.0)[3]),
        moments_a: to.offset(norm.moments.0),
        moments_b: norm.moments.1.map_or(0, |id| to.offset(id)),
        pixels: word(norm.pixels),
        tiles: word(norm.pixels.div_ceil(PLAN_TILE_PIXELS)),
        groups: word(norm.groups),
        eps: norm.eps,
        weight: word(to.layout.vector(norm.weight)),
        bias: word(to.layout.vector(norm.bias)),
        modulated: norm.modulation.is_some().into(),
        modulation,
        modulation_start,
        modulation_width,
        ..load
    }
}
