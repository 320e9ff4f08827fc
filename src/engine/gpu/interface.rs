//! What Rust and the kernels' text must agree on: constants, which every shader begins with, and the structures of uniforms.
//!
//! A kernel declares its structures itself, where it reads them. A test compares these with naga's reading, member by member.

use std::fmt::Write;

use bytemuck::{Pod, Zeroable};

use crate::engine::plan;
use crate::network::ops::Activation;

/// Bytes from one uniform to the next: WebGPU's `minUniformBufferOffsetAlignment`, and the largest that a kernel has.
pub(super) const UNIFORM_BYTES: usize = 256;

/// Defines constants, and lists them for [`declarations`].
macro_rules! constants {
    ($($(#[$doc:meta])* $name:ident = $value:expr;)*) => {
        $($(#[$doc])* pub(super) const $name: u32 = $value;)*

        const CONSTANTS: &[(&str, u32)] = &[$((stringify!($name), $name)),*];
    };
}

constants! {
    /// Pixels whose moments are taken together.
    TILE_PIXELS = plan::TILE_PIXELS as u32;
    /// Threads that lie side by side in a product's workgroup; the others lie below them.
    ACROSS = 8;
    /// The most vectors of a head for which a thread holds a query and its result in registers.
    NARROW_LANES = 16;
    /// Threads of a workgroup of the kernels that have no variants.
    FLAT_THREADS = 64;

    // `ScalingKind`.
    SCALING_CONSTANT = ScalingKind::Constant as u32;
    SCALING_READY = ScalingKind::Ready as u32;
    SCALING_INLINE = ScalingKind::Inline as u32;
    SCALING_DYNAMIC = ScalingKind::Dynamic as u32;

    // `ACTIVATION`: see `activation_code`.
    NO_ACTIVATION = 0;
    SILU = 1;
    MISH = 2;
    GELU = 3;
    RELU = 4;

    // Bits of `GemmParams::parts`: what an epilogue does besides adding the bias.
    PART_TIME = 1;
    PART_RESIDUAL = 2;
    PART_SAMPLE_SCALE = 4;
    PART_MOMENTS = 8;

    /// A sampler's program, by what follows each instruction in its words. Take the network's output: slot; number of the check;
    /// how far on the answers for what is not wanted lie, or 0; the share of the others.
    OP_TAKE_OUTPUT = 0;
    /// Give the network its input. Slot; scale; how far on it is written once more, or 0.
    OP_GIVE_INPUT = 1;
    /// A step ends. Slot of x; number of the check.
    OP_END_STEP = 2;
    /// Blend two slots. Output; mask; yes; no.
    OP_BLEND = 4;
    /// Combine slots. Output; range of the clip, or 0; kind of noise; its draw or its slot; two numbers of its scale; the
    /// network's output that holds its variance; number of terms; and for each term its slot, channels and coefficient.
    OP_COMBINE = 3;

    // Kinds of noise that `OP_COMBINE` adds: by how its scale is found, and whether the host has drawn it.
    NO_NOISE = 0;
    NOISE_CONSTANT = 1;
    NOISE_LEARNED = 2;
    NOISE_LEARNED_RANGE = 3;
    /// The bits of a kind that say how its scale is found.
    NOISE_SCALE = 3;
    /// Set where the noise waits in a slot, and is not made by the kernel.
    NOISE_DRAWN = 4;
}

/// The constants as WGSL.
pub(super) fn declarations() -> String {
    CONSTANTS.iter().fold(String::new(), |mut text, (name, value)| {
        let _ = writeln!(text, "const {name} = {value}u;");
        text
    })
}

/// How a load scales: `SCALING` in the shaders. From `Inline` on, scale and shift go through workgroup memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) enum ScalingKind {
    #[default]
    None = 0,
    Constant = 1,
    Ready = 2,
    Inline = 3,
    /// Chosen at run time from the uniform, which then also holds the activation and the run length.
    Dynamic = 4,
}

/// What an activation is called in the shaders.
pub(super) fn activation_code(of: Option<Activation>) -> u32 {
    match of {
        None => NO_ACTIVATION,
        Some(Activation::Silu) => SILU,
        Some(Activation::Mish) => MISH,
        Some(Activation::Gelu) => GELU,
        Some(Activation::Relu) => RELU,
    }
}

/// A structure that a kernel reads as a uniform, or as the beginning of one.
pub(super) trait Uniform: Pod {
    /// Its members: name, type and offset in bytes.
    #[cfg(all(test, not(target_arch = "wasm32")))]
    const MEMBERS: &'static [(&'static str, &'static str, usize)];

    /// Its words, filled up to [`UNIFORM_BYTES`].
    fn words(&self) -> [u32; UNIFORM_BYTES / 4] {
        let mut words = [0; UNIFORM_BYTES / 4];
        bytemuck::bytes_of_mut(&mut words)[..size_of::<Self>()].copy_from_slice(bytemuck::bytes_of(self));
        words
    }
}

macro_rules! uniforms {
    ($($(#[$doc:meta])* $name:ident { $($field:ident: $type:ty,)* })*) => {$(
        $(#[$doc])*
        #[repr(C)]
        #[derive(Clone, Copy, Debug, Default)]
        pub(super) struct $name {
            $(pub(super) $field: $type,)*
        }

        const _: () = assert!(
            size_of::<$name>() <= UNIFORM_BYTES && size_of::<$name>() == 0 $(+ size_of::<$type>())*
        );

        // SAFETY: its members are words, or structures of words, for which all bits are valid.
        unsafe impl Zeroable for $name {}

        // SAFETY: as above, and there is nothing between its members, as was just asserted.
        unsafe impl Pod for $name {}

        impl Uniform for $name {
            #[cfg(all(test, not(target_arch = "wasm32")))]
            const MEMBERS: &'static [(&'static str, &'static str, usize)] =
                &[$((stringify!($field), stringify!($type), std::mem::offset_of!($name, $field))),*];
        }
    )*};
}

uniforms! {
    /// What becomes of an image's numbers while they are read: `Load` in load.wgsl.
    Load {
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
        unused: u32,
    }

    /// `Params` in gemm.wgsl.
    GemmParams {
        load: Load,
        first: u32,
        second: u32,
        shift: u32,
        taps: u32,
        stride: u32,
        before: u32,
        inverse_channels: f32,
        window_depth: u32,
        depth: u32,
        shortcut_a: u32,
        shortcut_b: u32,
        shortcut_channels_a: u32,
        shortcut_channels_b: u32,
        shortcut_shift: u32,
        output: u32,
        pixels: u32,
        out_width: u32,
        columns: u32,
        padded: u32,
        tiles_m: u32,
        tiles_n: u32,
        matrix: u32,
        row: u32,
        bias: u32,
        parts: u32,
        time: u32,
        time_start: u32,
        time_width: u32,
        residual: u32,
        residual_shift: u32,
        scale: f32,
        sample_scale: u32,
        sample_scale_start: u32,
        sample_scale_width: u32,
        moments: u32,
        partial: u32,
        slices: u32,
        slice_tiles: u32,
        run: u32,
    }

    /// `Params` in norm.wgsl.
    NormParams {
        load: Load,
        output: u32,
    }

    /// `Params` in attention.wgsl.
    AttentionParams {
        qkv: u32,
        output: u32,
        batch: u32,
        pixels: u32,
        heads: u32,
        inner: u32,
        scale: f32,
    }

    /// `Params` in pool.wgsl.
    PoolParams {
        load: Load,
        first: u32,
        second: u32,
        output: u32,
    }

    /// `Evaluation` in bindings.wgsl: which rows of the prelude the samples read.
    EvaluationParams {
        count: u32,
        first: u32,
        stride: u32,
    }

    /// `Params` in combine.wgsl.
    CombineParams {
        start: u32,
        end: u32,
        batch: u32,
        channels: u32,
        pixels: u32,
        input: u32,
        output: u32,
        out_channels: u32,
        seed_low: u32,
        seed_high: u32,
    }
}
