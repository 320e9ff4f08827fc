//! What training needs beside the plan's operations: the gradients of products, normalisations, nonlinearities and
//! attention. Images are NHWC, of one sample.

#[cfg(feature = "text")]
use super::activation::tanh;
use super::activation::{exp, gelu};
use super::attention::softmax_in;
use super::product::PANEL;
use super::vector::{SimdVector, simd, simd_vectors};
use crate::Activation;

/// Pixels whose part of the gradient stays in the first-level cache while the image passes by it.
const BLOCK: usize = 128;

/// The gradient of a product's matrix: `Σ imageᵀ · gradient` over the pixels of one sample.
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
    /// Floats that lie side by side for a pixel and a row of its window.
    pub run: usize,
    /// Rows of the window: 1 or 3.
    pub runs: usize,
    /// The gradient of the result, `[height, width, columns]`.
    pub gradient: &'a [f32],
    /// Rows and columns of the result.
    pub size: (usize, usize),
    /// Columns of the matrix.
    pub columns: usize,
}

/// Adds a sample's share to `out`, `[runs · run][columns]`.
pub fn add_matrix_gradient(g: &MatrixGradient, out: &mut [f32]) {
    simd_vectors!(matrix_gradient::<V>(g: &MatrixGradient, out: &mut [f32]));
}

#[inline(always)]
fn matrix_gradient<V: SimdVector>(g: &MatrixGradient, out: &mut [f32]) {
    let (height, width) = g.size;
    // What `rows` reads without a check.
    let last = (height - 1) * g.step + (width - 1) * g.pixel + (g.runs - 1) * g.row;
    assert!(last + g.run <= g.image.len());
    let mut packed = [[0.0f32; PANEL]; BLOCK];
    let mut places = [0usize; BLOCK];
    let pixels = height * width;
    for first in (0..pixels).step_by(BLOCK) {
        let count = BLOCK.min(pixels - first);
        for (i, place) in places[..count].iter_mut().enumerate() {
            let (y, x) = ((first + i) / width, (first + i) % width);
            *place = y * g.step + x * g.pixel;
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

/// Group normalisation of one sample `[pixels, channels]`, and what its gradient needs: each channel's mean and
/// 1/√(variance + ε), `[2, channels]`.
#[derive(Clone, Copy, Debug)]
pub struct GroupNorm<'a> {
    /// The image.
    pub x: &'a [f32],
    /// γ.
    pub weight: &'a [f32],
    /// β.
    pub bias: &'a [f32],
    /// Groups of the channels.
    pub groups: usize,
    /// ε.
    pub eps: f32,
}

/// `(x - mean) / √(variance + ε) · γ + β` to `out`, with the moments to `moments`.
pub fn group_norm(norm: &GroupNorm, moments: &mut [f32], out: &mut [f32]) {
    simd!(group_norm_in(norm: &GroupNorm, moments: &mut [f32], out: &mut [f32]));
}

#[inline(always)]
fn group_norm_in(norm: &GroupNorm, moments: &mut [f32], out: &mut [f32]) {
    let channels = norm.weight.len();
    let count = (norm.x.len() / norm.groups) as f32;
    let in_group = channels / norm.groups;
    let (means, inverses) = moments.split_at_mut(channels);
    means.fill(0.0);
    inverses.fill(0.0);
    for pixel in norm.x.chunks_exact(channels) {
        for (sum, x) in means.iter_mut().zip(pixel) {
            *sum += x;
        }
    }
    for group in means.chunks_exact_mut(in_group) {
        group.fill(group.iter().sum::<f32>() / count);
    }
    for pixel in norm.x.chunks_exact(channels) {
        for ((sum, mean), x) in inverses.iter_mut().zip(&*means).zip(pixel) {
            *sum += (x - mean) * (x - mean);
        }
    }
    for group in inverses.chunks_exact_mut(in_group) {
        group.fill(1.0 / (group.iter().sum::<f32>() / count + norm.eps).sqrt());
    }
    let pixels = norm.x.chunks_exact(channels).zip(out.chunks_exact_mut(channels));
    for (x, out) in pixels {
        for c in 0..channels {
            out[c] = (x[c] - means[c]) * (inverses[c] * norm.weight[c]) + norm.bias[c];
        }
    }
}

/// The gradient of [`group_norm`]: `gradient`, that of the result, becomes that of the image; γ's and β's are added to. `scratch`
/// is of `2 · channels`.
pub fn group_norm_gradient(
    norm: &GroupNorm,
    moments: &[f32],
    gradient: &mut [f32],
    weight: &mut [f32],
    bias: &mut [f32],
    scratch: &mut [f32],
) {
    simd!(group_norm_gradient_in(norm: &GroupNorm, moments: &[f32], gradient: &mut [f32], weight: &mut [f32],
        bias: &mut [f32], scratch: &mut [f32]));
}

#[inline(always)]
fn group_norm_gradient_in(
    norm: &GroupNorm,
    moments: &[f32],
    gradient: &mut [f32],
    weight: &mut [f32],
    bias: &mut [f32],
    scratch: &mut [f32],
) {
    let channels = norm.weight.len();
    let count = (norm.x.len() / norm.groups) as f32;
    let in_group = channels / norm.groups;
    let (means, inverses) = moments.split_at(channels);
    // Σ g and Σ g x̂ of each channel, with x̂ = (x - mean) / √(variance + ε).
    let (sums, products) = scratch.split_at_mut(channels);
    sums.fill(0.0);
    products.fill(0.0);
    for (x, g) in norm.x.chunks_exact(channels).zip(gradient.chunks_exact(channels)) {
        for c in 0..channels {
            sums[c] += g[c];
            products[c] += g[c] * (x[c] - means[c]);
        }
    }
    for c in 0..channels {
        products[c] *= inverses[c];
        weight[c] += products[c];
        bias[c] += sums[c];
        sums[c] *= norm.weight[c];
        products[c] *= norm.weight[c];
    }
    // dx = (γ g - mean(γ g) - x̂ mean(γ g x̂)) / √(variance + ε), the means over the group.
    for group in sums.chunks_exact_mut(in_group).chain(products.chunks_exact_mut(in_group)) {
        group.fill(group.iter().sum::<f32>() / count);
    }
    for (x, g) in norm.x.chunks_exact(channels).zip(gradient.chunks_exact_mut(channels)) {
        for c in 0..channels {
            let normal = (x[c] - means[c]) * inverses[c];
            g[c] = (norm.weight[c] * g[c] - sums[c] - normal * products[c]) * inverses[c];
        }
    }
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
