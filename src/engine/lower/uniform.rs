//! The structures that kernels read as uniforms, as Rust writes them. A kernel declares its structure itself, where it reads it;
//! a test compares the two, member by member.

use bytemuck::Pod;

/// Bytes from one uniform to the next: WebGPU's `minUniformBufferOffsetAlignment`, and the largest that a kernel has.
pub(in crate::engine) const UNIFORM_BYTES: usize = 256;

/// A structure that a kernel reads as a uniform, or as the beginning of one. Made by [`uniform!`].
pub(in crate::engine) trait Uniform: Pod {}

/// The numbers of a uniform in their order: name, type and offset in bytes.
#[cfg(all(test, not(target_arch = "wasm32")))]
pub(in crate::engine) type Members = Vec<(String, &'static str, usize)>;

/// What a uniform consists of.
#[cfg(all(test, not(target_arch = "wasm32")))]
pub(in crate::engine) trait Member {
    /// Lists the numbers of a member of this name at this offset.
    fn members(name: &str, at: usize, list: &mut Members);
}

#[cfg(all(test, not(target_arch = "wasm32")))]
impl Member for u32 {
    fn members(name: &str, at: usize, list: &mut Members) {
        list.push((name.to_owned(), "u32", at));
    }
}

#[cfg(all(test, not(target_arch = "wasm32")))]
impl Member for f32 {
    fn members(name: &str, at: usize, list: &mut Members) {
        list.push((name.to_owned(), "f32", at));
    }
}

/// Defines a [`Uniform`]. Its members are `u32`, `f32`, or uniforms of a multiple of 16 bytes.
macro_rules! uniform {
    ($(#[$doc:meta])* struct $name:ident { $($field:ident: $type:ty,)* }) => {
        $(#[$doc])*
        #[repr(C)]
        #[derive(Clone, Copy, Debug, Default)]
        pub(in crate::engine) struct $name {
            $(pub(in crate::engine) $field: $type,)*
        }

        const _: () = assert!(
            size_of::<$name>() <= crate::engine::lower::UNIFORM_BYTES
                && size_of::<$name>() == 0 $(+ size_of::<$type>())*
        );

        // SAFETY: its members are words, or structures of words, for which all bits are valid.
        unsafe impl bytemuck::Zeroable for $name {}

        // SAFETY: as above, and there is nothing between its members, as was just asserted.
        unsafe impl bytemuck::Pod for $name {}

        impl crate::engine::lower::Uniform for $name {}

        #[cfg(all(test, not(target_arch = "wasm32")))]
        impl crate::engine::lower::Member for $name {
            fn members(name: &str, at: usize, list: &mut crate::engine::lower::Members) {
                $(<$type>::members(
                    &format!("{name}.{}", stringify!($field)),
                    at + std::mem::offset_of!($name, $field),
                    list,
                );)*
            }
        }
    };
}

pub(in crate::engine) use uniform;

uniform! {
    /// `Evaluation` in bindings.wgsl: which rows of the prelude the samples read.
    struct EvaluationParams {
        count: u32,
        first: u32,
        stride: u32,
    }
}

/// The words of a uniform, filled up to [`UNIFORM_BYTES`], behind those of others.
pub(in crate::engine) fn append(words: &mut Vec<u32>, uniform: &[u8]) {
    let end = words.len() + UNIFORM_BYTES / 4;
    words.extend(uniform.as_chunks::<4>().0.iter().map(|word| u32::from_le_bytes(*word)));
    words.resize(end, 0);
}
