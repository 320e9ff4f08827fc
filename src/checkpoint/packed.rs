//! Weights of eight bits: whole numbers from -127 to 127, and a scale for each 64 of a row.
//!
//! In a file a packed tensor `NAME` keeps its shape and has the format I8. Its rows are what its first size counts, the outputs of a
//! layer; a convolution's row is `in · height · width` long. Beside it stands `NAME.scale`, F16 `[rows, ⌈row / 64⌉]`: number k of a
//! row times its scale number ⌊k / 64⌋ is the weight. The last group is shorter where 64 does not divide a row. The metadata say
//! `noiseball.weights = int8-64`. Tensors of one size, and those whose rows are shorter than 64, are F16.

use half::f16;

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
