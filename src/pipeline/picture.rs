//! Pictures and masks as pipelines take them.

use std::f64::consts::PI;

/// From [0, 1] to [-1, 1], in place. Numbers of which one is below 0 are taken to be there already, as diffusers has it.
pub fn to_signed(values: &mut [f32]) {
    if values.iter().all(|value| *value >= 0.0) {
        values.iter_mut().for_each(|value| *value = 2.0 * *value - 1.0);
    }
}

/// A mask in [0, 1] of what is painted anew: 1 from a half on, else 0. In place.
pub fn binary_mask(mask: &mut [f32]) {
    mask.iter_mut().for_each(|value| *value = f32::from(u8::from(*value >= 0.5)));
}

/// A mask `[height, width]` at the size of the latents: of each cell the pixel that is first.
#[must_use]
pub fn latent_mask(mask: &[f32], width: usize, factor: usize) -> Vec<f32> {
    let rows = mask.chunks_exact(width.max(1)).step_by(factor);
    rows.flat_map(|row| row.iter().step_by(factor).copied()).collect()
}

/// A picture `[channels, height, width]` in [-1, 1], grey where it is painted anew.
#[must_use]
pub fn masked(picture: &[f32], mask: &[f32]) -> Vec<f32> {
    picture
        .iter()
        .zip(mask.iter().cycle())
        .map(|(value, mask)| if *mask < 0.5 { *value } else { 0.0 })
        .collect()
}

/// Bits behind the point of a weight.
const PRECISION: u32 = 22;

/// Another size of a picture `[height, width, channels]`, by Lanczos' window of three lobes: byte for byte what Pillow makes of it.
#[must_use]
pub fn resize(
    picture: &[u8],
    [height, width]: [usize; 2],
    channels: usize,
    [to_height, to_width]: [usize; 2],
) -> Vec<u8> {
    // A row is resized as its pixels, a picture as its rows.
    let wide = if to_width == width { picture.to_vec() } else { along(picture, width, channels, to_width) };
    if to_height == height { wide } else { along(&wide, height, to_width * channels, to_height) }
}

/// Resizes lists of `from` items, each of `stride` bytes.
fn along(bytes: &[u8], from: usize, stride: usize, to: usize) -> Vec<u8> {
    let weights: Vec<(usize, Vec<i64>)> = (0..to).map(|at| weights(at, from, to)).collect();
    let mut out = Vec::with_capacity(bytes.len() / from.max(1) * to);
    for list in bytes.chunks_exact((from * stride).max(1)) {
        for (first, weights) in &weights {
            for byte in 0..stride {
                let terms = weights
                    .iter()
                    .enumerate()
                    .map(|(k, weight)| weight * i64::from(list[(first + k) * stride + byte]));
                let sum = (1 << (PRECISION - 1)) + terms.sum::<i64>();
                out.push((sum >> PRECISION).clamp(0, 255) as u8);
            }
        }
    }
    out
}

/// The first of the items that make item `at`, and how much each counts.
fn weights(at: usize, from: usize, to: usize) -> (usize, Vec<i64>) {
    let scale = from as f64 / to as f64;
    let stretch = scale.max(1.0);
    let (center, support) = ((at as f64 + 0.5) * scale, 3.0 * stretch);
    let first = (center - support + 0.5).max(0.0) as usize;
    let end = ((center + support + 0.5) as usize).min(from);
    let weight = |item: usize| lanczos((item as f64 - center + 0.5) / stretch);
    let weights: Vec<f64> = (first..end).map(weight).collect();
    let sum: f64 = weights.iter().sum();
    let whole = |weight: &f64| (weight / sum * f64::from(1 << PRECISION)).round() as i64;
    (first, weights.iter().map(whole).collect())
}

fn lanczos(x: f64) -> f64 {
    let sinc = |x: f64| if x == 0.0 { 1.0 } else { (PI * x).sin() / (PI * x) };
    if (-3.0..3.0).contains(&x) { sinc(x) * sinc(x / 3.0) } else { 0.0 }
}
