//! A step of AdamW and of the weights' average, number by number.

use super::vector::simd;

/// What a step does, the same to every number.
#[derive(Clone, Copy, Debug)]
pub struct Adam {
    /// Multiplies the gradient.
    pub clip: f32,
    /// Shares of the old and the new in the gradient's average.
    pub first: [f32; 2],
    /// Those in the squared gradient's average.
    pub second: [f32; 2],
    /// What weights keep of themselves.
    pub keep: f32,
    /// The learning rate over the first average's correction.
    pub rate: f32,
    /// 1 over the root of the second average's correction.
    pub root: f32,
    /// ε.
    pub epsilon: f32,
    /// Those in the weights' average.
    pub average: [f32; 2],
}

/// Numbers of a run, one each a parameter.
#[derive(Debug)]
pub struct State<'a> {
    /// The weights.
    pub weights: &'a mut [f32],
    /// The gradient's average.
    pub first: &'a mut [f32],
    /// The squared gradient's average.
    pub second: &'a mut [f32],
    /// The weights' average.
    pub averaged: &'a mut [f32],
}

/// Does the step.
pub fn adam(a: Adam, gradient: &[f32], state: State) {
    simd!(adam_in(a: Adam, gradient: &[f32], state: State));
}

#[inline(always)]
fn adam_in(a: Adam, gradient: &[f32], state: State) {
    let State { weights, first, second, averaged } = state;
    let numbers = weights.iter_mut().zip(first).zip(second).zip(averaged).zip(gradient);
    for ((((weight, first), second), averaged), gradient) in numbers {
        let g = gradient * a.clip;
        *first = *first * a.first[0] + g * a.first[1];
        *second = *second * a.second[0] + g * g * a.second[1];
        *weight = *weight * a.keep - *first / (second.sqrt() * a.root + a.epsilon) * a.rate;
        *averaged = *averaged * a.average[0] + *weight * a.average[1];
    }
}

/// The sum of the squares.
pub fn squares(values: &[f32], sum: &mut f32) {
    simd!(squares_in(values: &[f32], sum: &mut f32));
}

#[inline(always)]
fn squares_in(values: &[f32], sum: &mut f32) {
    let mut lanes = [0.0; 16];
    let (blocks, rest) = values.as_chunks::<16>();
    for block in blocks {
        for i in 0..16 {
            lanes[i] += block[i] * block[i];
        }
    }
    *sum = lanes.iter().sum::<f32>() + rest.iter().map(|v| v * v).sum::<f32>();
}
