//! What becomes of an image's numbers while they are read: normalised, and through a nonlinearity. Operations on images share it.
//! The twins are the kernels' `load` and `norm`.

use crate::engine::lower::{File, Lowering, Shader, constants, grid, uniform, wgsl, word, words};
use crate::engine::plan::{Norm, TILE_PIXELS as PLAN_TILE_PIXELS};

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
