//! Weights of eight bits: whole numbers from -127 to 127, and a scale for each 64 of a row.
//!
//! In a file a packed tensor `NAME` keeps its shape and has the format I8. Its rows are what its first size counts, the outputs of a
//! layer; a convolution's row is `in · height · width` long. Beside it stands `NAME.scale`, F16 `[rows, ⌈row / 64⌉]`: number k of a
//! row times its scale number ⌊k / 64⌋ is the weight. The last group is shorter where 64 does not divide a row. The metadata say
//! `noiseball.weights = int8-64`. Tensors of one size, and those whose rows are shorter than 64, are F16.

use half::f16;

use super::weights::{Dtype, Tensor};
use crate::error::Result;

/// Weights to a scale.
pub(super) const GROUP: usize = 64;
/// What the metadata call this, and under which name.
pub(super) const FORMAT: [&str; 2] = ["noiseball.weights", "int8-64"];

/// The sizes of a packed tensor's scales.
pub(super) fn scale_shape(shape: &[usize]) -> [usize; 2] {
    let row: usize = shape.iter().skip(1).product();
    [shape.first().copied().unwrap_or(1), row.div_ceil(GROUP)]
}

/// The weights of a tensor whose scales stand behind its numbers, row by row; fewer where bytes are missing.
pub(super) fn unpack(shape: &[usize], bytes: &[u8]) -> impl Iterator<Item = f32> {
    let count: usize = shape.iter().product();
    let row: usize = shape.iter().skip(1).product();
    let [_, groups] = scale_shape(shape);
    let (numbers, scales) = bytes.split_at(count.min(bytes.len()));
    let scales = scales.as_chunks::<2>().0;
    numbers.iter().enumerate().map(move |(at, number)| {
        let group = at / row * groups + at % row / GROUP;
        let scale = scales.get(group).map_or(f32::NAN, |bytes| f16::from_le_bytes(*bytes).to_f32());
        f32::from(number.cast_signed()) * scale
    })
}

/// Packs a tensor where that makes it smaller; else gives it F16, or leaves it where it has no floats or F16 is too small for it.
/// `key` names it in errors.
///
/// # Errors
/// As [`Tensor::to_f32`].
#[cfg(not(target_arch = "wasm32"))]
pub(super) fn pack(key: &str, tensor: &Tensor) -> Result<Tensor> {
    if matches!(tensor.dtype, Dtype::Other(_) | Dtype::Int8) {
        return Ok(tensor.clone());
    }
    let (shape, values) = (tensor.shape.clone(), tensor.to_f32(key)?);
    let row: usize = shape.iter().skip(1).product();
    // Scales of F16 have no room for weights that are larger than any.
    let largest = values.iter().fold(0f32, |most, value| most.max(value.abs()));
    if shape.len() < 2 || row < GROUP || !(largest < 65_504.0) {
        let bytes: Vec<u8> = values.iter().flat_map(|value| f16::from_f32(*value).to_le_bytes()).collect();
        let fits = largest < 65_504.0;
        return Ok(if fits { Tensor { dtype: Dtype::F16, shape, bytes } } else { tensor.clone() });
    }
    let mut numbers = Vec::with_capacity(values.len());
    let mut scales = Vec::new();
    for group in values.chunks_exact(row).flat_map(|row| row.chunks(GROUP)) {
        let largest = group.iter().fold(0f32, |most, value| most.max(value.abs()));
        let scale = f16::from_f32(largest / 127.0);
        // Of nothing but zeros any scale makes zeros.
        let inverse = if scale.to_f32() > 0.0 { 1.0 / scale.to_f32() } else { 0.0 };
        numbers.extend(
            group.iter().map(|value| ((value * inverse).round().clamp(-127.0, 127.0) as i8).cast_unsigned()),
        );
        scales.extend(scale.to_le_bytes());
    }
    numbers.extend(scales);
    Ok(Tensor { dtype: Dtype::Int8, shape, bytes: numbers })
}
