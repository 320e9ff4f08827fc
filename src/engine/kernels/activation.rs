//! The nonlinearities, element by element, in a form that compilers turn into vector instructions.
//!
//! NaN stays NaN, and infinities become what PyTorch makes of them, except that those that multiply by a sigmoid may be -∞, -0 or
//! NaN of -∞: `-∞ · 0` is what the formulas say.

use super::vector::simd;
use crate::Activation;

/// eˣ to within 2 units in the last place: `2ⁿ · eʳ` with |r| ≤ ln 2 / 2, and a polynomial for eʳ (Cephes' `expf`).
#[inline(always)]
#[must_use]
pub fn exp(x: f32) -> f32 {
    // The first multiple of 2²³ whose neighbours are whole numbers: adding it rounds.
    const ROUND: f32 = 12_582_912.0;
    let x = x.clamp(-104.0, 89.0);
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    // ln 2 in two parts, the first with few bits so that its product with n is exact.
    let r = (x - n * 0.693_359_4) + n * 2.121_944_4e-4;
    let mut p = 1.987_569_1e-4;
    for c in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 0.166_666_65, 0.5] {
        p = p * r + c;
    }
    let p = p * r * r + r + 1.0;
    // 2ⁿ as two factors, as n leaves the range of one float's exponent at both ends.
    let n = (shifted.to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32);
    let half = n >> 1;
    let power = |n: i32| f32::from_bits((n.wrapping_add(127) << 23) as u32);
    p * power(half) * power(n.wrapping_sub(half))
}

/// `x · sigmoid(x)`.
#[inline(always)]
#[must_use]
pub fn silu(x: f32) -> f32 {
    x / (1.0 + exp(-x))
}

/// `x · tanh(ln(1 + eˣ))`, with the hyperbolic tangent written out: `(e² + 2e) / (e² + 2e + 2)`.
#[inline(always)]
#[must_use]
pub fn mish(x: f32) -> f32 {
    // Above 20 the factor is 1, and e² would soon overflow.
    let e = exp(if x > 20.0 { 20.0 } else { x });
    let n = e * e + 2.0 * e;
    x * (n / (n + 2.0))
}

/// `x · Φ(x)`; the error function is Abramowitz and Stegun's 7.1.26, within 1.5e-7.
#[inline(always)]
#[must_use]
pub fn gelu(x: f32) -> f32 {
    let z = x.abs() * std::f32::consts::FRAC_1_SQRT_2;
    let t = 1.0 / (1.0 + 0.327_591_1 * z);
    let mut p = 1.061_405_4;
    for c in [-1.453_152, 1.421_413_8, -0.284_496_74, 0.254_829_6] {
        p = p * t + c;
    }
    // 1 - erf(|x|/√2), of which the tail of the negative side is a half.
    let tail = 0.5 * p * t * exp(-z * z);
    x * if x < 0.0 { tail } else { 1.0 - tail }
}

/// `max(x, 0)`, but NaN where x is.
#[inline(always)]
#[must_use]
pub fn relu(x: f32) -> f32 {
    if x < 0.0 { 0.0 } else { x }
}

#[cfg(feature = "text")]
/// `½ x (1 + tanh(u))` with u = √(2/π) (x + 0.044715 x³), as `x · sigmoid(2u)`.
#[inline(always)]
#[must_use]
pub fn gelu_tanh(x: f32) -> f32 {
    x / (1.0 + exp(x * (x * x * -0.071_354_82 - 1.595_769_2)))
}

#[cfg(feature = "text")]
/// `x · sigmoid(1.702 x)`.
#[inline(always)]
#[must_use]
pub fn quick_gelu(x: f32) -> f32 {
    x / (1.0 + exp(-1.702 * x))
}

#[cfg(feature = "text")]
/// The hyperbolic tangent, to within 1e-7.
#[inline(always)]
#[must_use]
pub fn tanh(x: f32) -> f32 {
    let e = exp(-2.0 * x.abs());
    ((1.0 - e) / (1.0 + e)).copysign(x)
}

/// Applies a nonlinearity in place.
pub fn activate(activation: Activation, values: &mut [f32]) {
    simd!(activate_in(activation: Activation, values: &mut [f32]));
}

#[inline(always)]
pub(super) fn activate_in(activation: Activation, values: &mut [f32]) {
    match activation {
        Activation::Silu => values.iter_mut().for_each(|x| *x = silu(*x)),
        Activation::Mish => values.iter_mut().for_each(|x| *x = mish(*x)),
        Activation::Gelu => values.iter_mut().for_each(|x| *x = gelu(*x)),
        Activation::Relu => values.iter_mut().for_each(|x| *x = relu(*x)),
        #[cfg(feature = "text")]
        Activation::GeluTanh => values.iter_mut().for_each(|x| *x = gelu_tanh(*x)),
        #[cfg(feature = "text")]
        Activation::QuickGelu => values.iter_mut().for_each(|x| *x = quick_gelu(*x)),
        #[cfg(feature = "text")]
        Activation::Tanh => values.iter_mut().for_each(|x| *x = tanh(*x)),
    }
}
