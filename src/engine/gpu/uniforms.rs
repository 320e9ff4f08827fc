//! The uniforms that kernels read.

/// Bytes from one uniform to the next: WebGPU's `minUniformBufferOffsetAlignment`, and the largest that a kernel has.
pub(super) const UNIFORM_BYTES: usize = 256;
