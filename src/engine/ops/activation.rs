//! Nonlinearities: what they are called in the shaders. The twin is the kernels' `activation`.

use crate::engine::lower::{File, constants, wgsl};
use crate::network::ops::Activation;

/// What an activation is called in the shaders.
const fn code(of: Activation) -> u32 {
    of as u32 + 1
}

constants! {
    NO_ACTIVATION = 0;
    SILU = code(Activation::Silu);
    MISH = code(Activation::Mish);
    GELU = code(Activation::Gelu);
    RELU = code(Activation::Relu);
    GELU_TANH = RELU + 1;
    QUICK_GELU = RELU + 2;
    TANH = RELU + 3;
}

#[cfg(feature = "text")]
const _: () = assert!(
    GELU_TANH == code(Activation::GeluTanh)
        && QUICK_GELU == code(Activation::QuickGelu)
        && TANH == code(Activation::Tanh)
);

pub(super) const ACTIVATION: File = File { text: wgsl!("activation.wgsl"), constants: CONSTANTS };

/// What an activation, or none, is called in the shaders.
pub(super) fn activation_code(of: Option<Activation>) -> u32 {
    of.map_or(NO_ACTIVATION, code)
}

/// Every activation, and none.
#[cfg(all(test, not(target_arch = "wasm32")))]
pub(super) const ALL: [u32; 8] = [NO_ACTIVATION, SILU, MISH, GELU, RELU, GELU_TANH, QUICK_GELU, TANH];
