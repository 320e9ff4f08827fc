//! What training needs beside the plan's operations: the gradients of products, normalisations, nonlinearities and
//! attention. Images are NHWC, of one sample.

#[cfg(feature = "text")]
use super::activation::tanh;
use super::activation::{activate_in, exp, gelu};
use super::attention::softmax_in;
use super::product::PANEL;
use super::vector::{SimdVector, simd, simd_vectors};
use crate::Activation;

/// Pixels whose part of the gradient stays in the first-level cache while the image passes by it.
const BLOCK: usize = 128;

/// The gradient of a product's matrix: `Σ imageᵀ · gradient` over the pixels of a batch.
#[derive(Clone, Copy, Debug)]
pub struct MatrixGradient<'a> {
    /// The product's inputs, with the zeros around them.
    pub image: &'a [f32],
    /// Floats from one row of the image to the next.
    pub row: usize,
    /// Floats from one pixel's inputs to the next one's in a row.
    pub pixel: usize,
    /// Floats from one row of pixels' inputs to the next.
    pub step: usize,
    /// Floats from one sample to the next.
    pub sample: usize,
    /// Floats that lie side by side for a pixel and a row of its window.
    pub run: usize,
    /// Rows of the window: 1 or 3.
    pub runs: usize,
    /// The gradient of the result, `[samples, height, width, columns]`.
    pub gradient: &'a [f32],
    /// Rows and columns of a sample of the result.
    pub size: (usize, usize),
    /// Columns of the matrix.
    pub columns: usize,
}

/// Adds it to `out`, `[runs · run][columns]`.
pub fn add_matrix_gradient(g: &MatrixGradient, out: &mut [f32]) {
    simd_vectors!(matrix_gradient::<V>(g: &MatrixGradient, out: &mut [f32]));
}

#[inline(always)]
fn matrix_gradient<V: SimdVector>(g: &MatrixGradient, out: &mut [f32]) {
    let (height, width) = g.size;
    let pixels = g.gradient.len() / g.columns;
    let samples = pixels / (height * width);
    // What `rows` reads without a check.
    let last =
        (samples - 1) * g.sample + (height - 1) * g.step + (width - 1) * g.pixel + (g.runs - 1) * g.row;
    assert!(last + g.run <= g.image.len() && pixels == samples * height * width);
    let mut packed = [[0.0f32; PANEL]; BLOCK];
    let mut places = [0usize; BLOCK];
    for first in (0..pixels).step_by(BLOCK) {
        let count = BLOCK.min(pixels - first);
        for (i, place) in places[..count].iter_mut().enumerate() {
            let (row, x) = ((first + i) / width, (first + i) % width);
            *place = row / height * g.sample + row % height * g.step + x * g.pixel;
        }
        for left in (0..g.columns).step_by(PANEL) {
            let len = PANEL.min(g.columns - left);
            for (i, packed) in packed[..count].iter_mut().enumerate() {
                packed[..len].copy_from_slice(&g.gradient[(first + i) * g.columns + left..][..len]);
                packed[len..].fill(0.0);
            }
            for window in 0..g.runs {
                let image = &g.image[window * g.row..];
                let out = &mut out[window * g.run * g.columns..][..g.run * g.columns];
                for from in (0..len).step_by(2 * V::LANES) {
                    let part = BlockColumns { places: &places[..count], gradient: &packed[..count], from };
                    let out = &mut out[left + from..];
                    let len = (len - from).min(2 * V::LANES);
                    if len > V::LANES {
                        runs::<V, 2>(&part, image, g.run, out, (g.columns, len));
                    } else {
                        runs::<V, 1>(&part, image, g.run, out, (g.columns, len));
                    }
                }
            }
        }
    }
}

/// A block's pixels and some columns of their gradients.
struct BlockColumns<'a> {
    places: &'a [usize],
    gradient: &'a [[f32; PANEL]],
    from: usize,
}

/// All `run` rows of the matrix, as many at a time as there are registers for their sums.
#[inline(always)]
fn runs<V: SimdVector, const VECTORS: usize>(
    part: &BlockColumns,
    image: &[f32],
    run: usize,
    out: &mut [f32],
    width: (usize, usize),
) {
    let mut at = 0;
    while at < run {
        let (image, out) = (&image[at..], &mut out[at * width.0..]);
        at += match run - at {
            12.. if V::PIXELS >= 12 => rows::<V, 12, VECTORS>(part, image, out, width),
            8.. if V::PIXELS >= 8 => rows::<V, 8, VECTORS>(part, image, out, width),
            6.. if V::PIXELS >= 6 => rows::<V, 6, VECTORS>(part, image, out, width),
            4.. => rows::<V, 4, VECTORS>(part, image, out, width),
            2.. => rows::<V, 2, VECTORS>(part, image, out, width),
            _ => rows::<V, 1, VECTORS>(part, image, out, width),
        };
    }
}

/// Some rows of one panel, and how many: sums over the pixels of a block, in registers.
#[inline(always)]
fn rows<V: SimdVector, const ROWS: usize, const VECTORS: usize>(
    part: &BlockColumns,
    image: &[f32],
    out: &mut [f32],
    (columns, len): (usize, usize),
) -> usize {
    assert!(part.from + VECTORS * V::LANES <= PANEL);
    let mut sums = [[V::splat(0.0); VECTORS]; ROWS];
    for (place, gradient) in part.places.iter().zip(part.gradient) {
        let mut vectors = [V::splat(0.0); VECTORS];
        for (j, vector) in vectors.iter_mut().enumerate() {
            *vector = V::load(&gradient[part.from + j * V::LANES..]);
        }
        for (i, sum) in sums.iter_mut().enumerate() {
            // SAFETY: `matrix_gradient` has seen that the last pixel's run lies in the image, and no other reaches further. With
            // a check in the loop, the sums would have to be in memory for the case that it fails.
            let input = V::splat(unsafe { *image.get_unchecked(place + i) });
            for (sum, vector) in sum.iter_mut().zip(vectors) {
                *sum = sum.add_product(input, vector);
            }
        }
    }
    for (vectors, out) in sums.iter().zip(out.chunks_mut(columns)) {
        if len == VECTORS * V::LANES {
            for (vector, out) in vectors.iter().zip(out.chunks_exact_mut(V::LANES)) {
                V::load(out).plus(*vector).store(out);
            }
            continue;
        }
        let mut sums = [0.0; PANEL];
        for (vector, to) in vectors.iter().zip(sums.chunks_exact_mut(V::LANES)) {
            vector.store(to);
        }
        for (out, sum) in out[..len].iter_mut().zip(sums) {
            *out += sum;
        }
    }
    ROWS
}

/// `gradient · f'(x)` in place of the gradient.
pub fn activation_gradient(activation: Activation, x: &[f32], gradient: &mut [f32]) {
    simd!(activation_gradient_in(activation: Activation, x: &[f32], gradient: &mut [f32]));
}

#[inline(always)]
fn activation_gradient_in(activation: Activation, x: &[f32], gradient: &mut [f32]) {
    let each = gradient.iter_mut().zip(x);
    match activation {
        Activation::Silu => each.for_each(|(g, x)| {
            let sigmoid = 1.0 / (1.0 + exp(-x));
            *g *= sigmoid * (1.0 + x * (1.0 - sigmoid));
        }),
        Activation::Mish => each.for_each(|(g, x)| {
            // x · t with t = tanh(ln(1 + eˣ)): t + x (1 - t²) sigmoid(x).
            let e = exp(if *x > 20.0 { 20.0 } else { *x });
            let n = e * e + 2.0 * e;
            let t = n / (n + 2.0);
            *g *= t + x * (1.0 - t * t) * (e / (1.0 + e));
        }),
        Activation::Gelu => each.for_each(|(g, x)| {
            // Φ(x) + x φ(x); Φ is gelu(x) / x, which is not had at 0.
            let density = 0.398_942_3 * exp(-0.5 * x * x);
            let distribution = if x.abs() < 1e-3 { 0.5 + x * density } else { gelu(*x) / x };
            *g *= distribution + x * density;
        }),
        Activation::Relu => each.for_each(|(g, x)| {
            if *x <= 0.0 {
                *g = 0.0;
            }
        }),
        #[cfg(feature = "text")]
        Activation::GeluTanh => each.for_each(|(g, x)| {
            // x · sigmoid(2u), and 2u' = √(8/π) (1 + 3 · 0.044715 x²).
            let sigmoid = 1.0 / (1.0 + exp(x * (x * x * -0.071_354_82 - 1.595_769_2)));
            *g *= sigmoid * (1.0 + x * (1.0 - sigmoid) * (x * x * 0.214_064_46 + 1.595_769_2));
        }),
        #[cfg(feature = "text")]
        Activation::QuickGelu => each.for_each(|(g, x)| {
            let sigmoid = 1.0 / (1.0 + exp(-1.702 * x));
            *g *= sigmoid * (1.0 + 1.702 * x * (1.0 - sigmoid));
        }),
        #[cfg(feature = "text")]
        Activation::Tanh => each.for_each(|(g, x)| *g *= 1.0 - tanh(*x) * tanh(*x)),
    }
}

/// Group normalisation of one sample `[pixels, channels]`, what modulates it and the nonlinearity after that:
/// `f(((x - mean) / √(variance + ε) · γ + β) · (1 + s) + b)`.
#[derive(Clone, Copy, Debug)]
pub struct Normalised<'a> {
    /// The image.
    pub x: &'a [f32],
    /// γ.
    pub weight: &'a [f32],
    /// β.
    pub bias: &'a [f32],
    /// s and b, one after the other, or nothing.
    pub modulation: &'a [f32],
    /// Groups of the channels.
    pub groups: usize,
    /// ε.
    pub eps: f32,
    /// The nonlinearity.
    pub activation: Option<Activation>,
}

/// Channels whose sums over the pixels are in registers.
const SUMS: usize = 16;

/// Floats of pixels that are in the first-level cache while several passes go over them.
const PASSED: usize = 2048;

impl Normalised<'_> {
    fn channels(&self) -> usize {
        self.weight.len()
    }

    /// `1 + s` of a channel.
    #[inline(always)]
    fn factor(&self, channel: usize) -> f32 {
        if self.modulation.is_empty() { 1.0 } else { 1.0 + self.modulation[channel] }
    }

    /// What x is multiplied with and what is then added, `[2, channels]`: all that comes before the nonlinearity.
    #[inline(always)]
    fn scaling(&self, moments: &[f32], out: &mut [f32]) {
        let channels = self.channels();
        let (means, inverses) = moments.split_at(channels);
        let (scales, shifts) = out.split_at_mut(channels);
        for c in 0..channels {
            let factor = self.factor(c);
            scales[c] = inverses[c] * self.weight[c] * factor;
            shifts[c] = self.bias[c] * factor - means[c] * scales[c];
            if !self.modulation.is_empty() {
                shifts[c] += self.modulation[channels + c];
            }
        }
    }
}

/// Sums over the pixels of what `f` makes of each number of `x`, that of `g` in its place, and its channel's of `centres`, to
/// `[channels]` each.
#[inline(always)]
fn sums_over<const N: usize>(
    (x, g): (&[f32], &[f32]),
    centres: &[f32],
    out: [&mut [f32]; N],
    f: impl Fn(f32, f32, f32) -> [f32; N],
) {
    let channels = centres.len();
    for at in (0..channels).step_by(SUMS) {
        let len = SUMS.min(channels - at);
        let mut sums = [[0.0; SUMS]; N];
        let [mut centre, mut x_part, mut g_part] = [[0.0; SUMS]; 3];
        centre[..len].copy_from_slice(&centres[at..at + len]);
        for (x, g) in x.chunks_exact(channels).zip(g.chunks_exact(channels)) {
            let (x, g) = (&x[at..at + len], &g[at..at + len]);
            let (x, g) = match (x.first_chunk(), g.first_chunk()) {
                (Some(x), Some(g)) => (x, g),
                _ => {
                    x_part[..len].copy_from_slice(x);
                    g_part[..len].copy_from_slice(g);
                    (&x_part, &g_part)
                }
            };
            for i in 0..SUMS {
                let values = f(x[i], g[i], centre[i]);
                for n in 0..N {
                    sums[n][i] += values[n];
                }
            }
        }
        for n in 0..N {
            out[n][at..at + len].copy_from_slice(&sums[n][..len]);
        }
    }
}

/// Writes the result to `out`, and each channel's mean and 1/√(variance + ε) to `moments`, `[2, channels]`. `scratch` is of
/// `3 · channels`.
pub fn normalise(norm: &Normalised, moments: &mut [f32], scratch: &mut [f32], out: &mut [f32]) {
    simd!(normalise_in(norm: &Normalised, moments: &mut [f32], scratch: &mut [f32], out: &mut [f32]));
}

#[inline(always)]
fn normalise_in(norm: &Normalised, moments: &mut [f32], scratch: &mut [f32], out: &mut [f32]) {
    let (x, channels) = (norm.x, norm.channels());
    let count = (x.len() / norm.groups) as f32;
    let in_group = channels / norm.groups;
    let (means, inverses) = moments.split_at_mut(channels);
    sums_over((x, x), &*inverses, [&mut *means], |x, _, _| [x]);
    for group in means.chunks_exact_mut(in_group) {
        group.fill(group.iter().sum::<f32>() / count);
    }
    sums_over((x, x), means, [&mut *inverses], |x, _, mean| [(x - mean) * (x - mean)]);
    for group in inverses.chunks_exact_mut(in_group) {
        group.fill(1.0 / (group.iter().sum::<f32>() / count + norm.eps).sqrt());
    }
    norm.scaling(moments, &mut scratch[..2 * channels]);
    let len = (PASSED / channels).max(1) * channels;
    for (x, out) in x.chunks(len).zip(out.chunks_mut(len)) {
        scaled(x, &scratch[..2 * channels], out);
        if let Some(activation) = norm.activation {
            activate_in(activation, out);
        }
    }
}

/// `x · scale + shift`, of `scaling` by channel.
#[inline(always)]
fn scaled(x: &[f32], scaling: &[f32], out: &mut [f32]) {
    let (scales, shifts) = scaling.split_at(scaling.len() / 2);
    for (x, out) in x.chunks_exact(scales.len()).zip(out.chunks_exact_mut(scales.len())) {
        for (((out, x), scale), shift) in out.iter_mut().zip(x).zip(scales).zip(shifts) {
            *out = x * scale + shift;
        }
    }
}

/// The gradient of [`normalise`]: `gradient`, that of the result, becomes that of the image. Those of γ and β are written to
/// `to_weights`, `[2, channels]`, and those of s and b, where there are any, to `to_modulation`. `scratch` is of `3 · channels`.
pub fn normalise_gradient(
    norm: &Normalised,
    moments: &[f32],
    gradient: &mut [f32],
    to_weights: &mut [f32],
    to_modulation: &mut [f32],
    scratch: &mut [f32],
) {
    simd!(normalise_gradient_in(norm: &Normalised, moments: &[f32], gradient: &mut [f32], to_weights: &mut [f32],
        to_modulation: &mut [f32], scratch: &mut [f32]));
}

#[inline(always)]
fn normalise_gradient_in(
    norm: &Normalised,
    moments: &[f32],
    gradient: &mut [f32],
    to_weights: &mut [f32],
    to_modulation: &mut [f32],
    scratch: &mut [f32],
) {
    let (x, channels) = (norm.x, norm.channels());
    let count = (x.len() / norm.groups) as f32;
    let in_group = channels / norm.groups;
    let (means, inverses) = moments.split_at(channels);
    if let Some(activation) = norm.activation {
        norm.scaling(moments, &mut scratch[..2 * channels]);
        let len = (PASSED / channels).max(1) * channels;
        let mut buffer = [0.0; PASSED];
        for (x, gradient) in x.chunks(len).zip(gradient.chunks_mut(len)) {
            // A pixel of more channels than that is seldom.
            let mut large;
            let input = if x.len() <= PASSED {
                &mut buffer[..x.len()]
            } else {
                large = vec![0.0; x.len()];
                &mut large[..]
            };
            scaled(x, &scratch[..2 * channels], input);
            activation_gradient_in(activation, input, gradient);
        }
    }
    // Σ g and Σ g (x - mean) of each channel.
    let (sums, rest) = scratch.split_at_mut(channels);
    let (products, factors) = rest.split_at_mut(channels);
    sums_over((x, &*gradient), means, [&mut *sums, &mut *products], |x, g, mean| [g, g * (x - mean)]);
    for c in 0..channels {
        let (sum, product, factor) = (sums[c], products[c] * inverses[c], norm.factor(c));
        to_weights[c] = factor * product;
        to_weights[channels + c] = factor * sum;
        if !norm.modulation.is_empty() {
            to_modulation[c] = norm.weight[c] * product + norm.bias[c] * sum;
            to_modulation[channels + c] = sum;
        }
        let factor = factor * norm.weight[c];
        (sums[c], products[c], factors[c]) = (factor * sum, factor * product, factor * inverses[c]);
    }
    // With γ for γ (1 + s): dx = (γ g - mean(γ g) - x̂ mean(γ g x̂)) / √(variance + ε), the means over the group.
    for group in sums.chunks_exact_mut(in_group).chain(products.chunks_exact_mut(in_group)) {
        group.fill(group.iter().sum::<f32>() / count);
    }
    for c in 0..channels {
        sums[c] *= inverses[c];
        products[c] *= inverses[c] * inverses[c];
    }
    let (sums, products, factors, means) = (&*sums, &*products, &*factors, &means[..channels]);
    for (x, g) in x.chunks_exact(channels).zip(gradient.chunks_exact_mut(channels)) {
        for c in 0..channels {
            g[c] = factors[c] * g[c] - sums[c] - (x[c] - means[c]) * products[c];
        }
    }
}

/// The sum over the pixels of `values` to `out`, `[channels]`.
pub fn pixel_sums(values: &[f32], out: &mut [f32]) {
    simd!(pixel_sums_in(values: &[f32], out: &mut [f32]));
}

#[inline(always)]
fn pixel_sums_in(values: &[f32], out: &mut [f32]) {
    // The centres are not asked for.
    sums_over((values, values), &values[..out.len()], [out], |x, _, _| [x]);
}

/// `sum + values` in place of the sum.
pub fn add(sum: &mut [f32], values: &[f32]) {
    simd!(add_in(sum: &mut [f32], values: &[f32]));
}

#[inline(always)]
fn add_in(sum: &mut [f32], values: &[f32]) {
    sum.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
}

/// One head of attention, `softmax(q kᵀ / √d) v`, its vectors by channel: `[d, tokens]`.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    /// Queries.
    pub q: &'a [f32],
    /// Keys.
    pub k: &'a [f32],
    /// Values.
    pub v: &'a [f32],
    /// Tokens.
    pub tokens: usize,
}

/// The result, `[d, tokens]`, and each query's weights, `[tokens, tokens]`.
pub fn head(head: &Head, weights: &mut [f32], out: &mut [f32]) {
    simd!(head_in(head: &Head, weights: &mut [f32], out: &mut [f32]));
}

#[inline(always)]
fn head_in(head: &Head, weights: &mut [f32], out: &mut [f32]) {
    let n = head.tokens;
    let scale = 1.0 / ((head.q.len() / n) as f32).sqrt();
    for (i, weights) in weights.chunks_exact_mut(n).enumerate() {
        weights.fill(0.0);
        for (q, k) in head.q.chunks_exact(n).zip(head.k.chunks_exact(n)) {
            let q = q[i] * scale;
            for (w, k) in weights.iter_mut().zip(k) {
                *w += q * k;
            }
        }
        softmax_in(weights, n);
        for (v, out) in head.v.chunks_exact(n).zip(out.chunks_exact_mut(n)) {
            out[i] = dot(weights, v);
        }
    }
}

/// The gradient of [`head`]: `gradient` and `out` are `[d, tokens]`, and `to`, those of q, k and v, are zeros before.
/// `scratch` is of `tokens`.
pub fn head_gradient(
    head: &Head,
    weights: &[f32],
    out: &[f32],
    gradient: &[f32],
    to: [&mut [f32]; 3],
    scratch: &mut [f32],
) {
    simd!(head_gradient_in(head: &Head, weights: &[f32], out: &[f32], gradient: &[f32], to: [&mut [f32]; 3],
        scratch: &mut [f32]));
}

#[inline(always)]
fn head_gradient_in(
    head: &Head,
    weights: &[f32],
    out: &[f32],
    gradient: &[f32],
    to: [&mut [f32]; 3],
    scratch: &mut [f32],
) {
    let n = head.tokens;
    let scale = 1.0 / ((head.q.len() / n) as f32).sqrt();
    let [to_q, to_k, to_v] = to;
    for (i, weights) in weights.chunks_exact(n).enumerate() {
        scratch.fill(0.0);
        let mut through = 0.0;
        for ((g, v), (to_v, out)) in gradient
            .chunks_exact(n)
            .zip(head.v.chunks_exact(n))
            .zip(to_v.chunks_exact_mut(n).zip(out.chunks_exact(n)))
        {
            let g = g[i];
            through += g * out[i];
            for j in 0..n {
                scratch[j] += g * v[j];
                to_v[j] += g * weights[j];
            }
        }
        for (s, w) in scratch.iter_mut().zip(weights) {
            *s = w * (*s - through) * scale;
        }
        for ((q, k), (to_q, to_k)) in head
            .q
            .chunks_exact(n)
            .zip(head.k.chunks_exact(n))
            .zip(to_q.chunks_exact_mut(n).zip(to_k.chunks_exact_mut(n)))
        {
            to_q[i] = dot(scratch, k);
            let q = q[i];
            for (to_k, s) in to_k.iter_mut().zip(&*scratch) {
                *to_k += q * s;
            }
        }
    }
}

#[inline(always)]
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0; 8];
    let (left, left_rest) = a.as_chunks::<8>();
    let (right, right_rest) = b.as_chunks::<8>();
    for (a, b) in left.iter().zip(right) {
        for i in 0..8 {
            lanes[i] += a[i] * b[i];
        }
    }
    lanes.iter().sum::<f32>() + left_rest.iter().zip(right_rest).map(|(a, b)| a * b).sum::<f32>()
}
