//! Normal noise as a contract: counter-based Philox, and PyTorch's CPU generator for seeds from a notebook.
//!
//! # The Philox contract
//! Noise is wanted draw by draw: draw 0 is the initial image, draw d the d-th noise that the sampler adds. The value
//! of element `e` (row-major in `[channels, height, width]`) of image `i` of the batch in draw `d` is a function of
//! `(seed, i, d, e)` alone, so batch 1 equals the first picture of batch 64, and CPU and GPU agree:
//!
//! 1. Four words: `w = philox4x32_10(counter, key)` with `counter = [e / 4, d, i, 0]` and `key = [seed mod 2³²,
//!    seed div 2³²]` (Salmon et al. 2011).
//! 2. Uniforms of 24 bits: `u1 = (⌊w[2k] / 2⁸⌋ + 1) · 2⁻²⁴` in (0, 1], so that its logarithm is finite, and `u2 =
//!    ⌊w[2k+1] / 2⁸⌋ · 2⁻²⁴` in [0, 1), with `k = (e mod 4) div 2`. All are exact in f32.
//! 3. Box–Muller: `r = sqrt(-2 ln u1)`, `θ = 2π u2`; the value is `r cos θ` for even `e`, `r sin θ` for odd `e`.
//!
//! Here step 3 is worked out in f64 and rounded to f32 once, so that the mathematics libraries of different targets
//! give the same bits but for the rarest of ties. The largest magnitude is `sqrt(48 ln 2)` = 5.77.

use std::f64::consts::TAU;

use crate::error::{Error, Result};

/// The largest seed: 2⁵³ - 1, the largest whole number that JavaScript counts to without gaps.
pub const MAX_SEED: u64 = (1 << 53) - 1;

/// Returns `seed` if every part of the crate and JavaScript can hold it.
///
/// # Errors
/// [`Error::Option`] above [`MAX_SEED`].
pub fn check_seed(seed: u64) -> Result<u64> {
    if seed <= MAX_SEED {
        return Ok(seed);
    }
    let expected = format!("a whole number from 0 to {MAX_SEED}");
    Err(Error::Option { option: "seed", found: seed.to_string(), expected })
}

/// A source of the normal noise of one run.
pub trait Normals {
    /// Fills `out`, `[batch, channels, height, width]` in row-major order, with the standard normals of draw number
    /// `draw`. A run asks for draws 0, 1, 2, … in order and for each once.
    fn normals(&mut self, draw: u32, batch: usize, out: &mut [f32]);
}

/// The generators to choose from. Philox's noise can be made anywhere, a kernel included; PyTorch's only in order.
#[derive(Clone, Debug)]
pub enum Generator {
    /// The contract at the head of this module, from a seed.
    Philox(u64),
    /// What Python draws, for a seed that came from there.
    Torch(Box<Torch>),
}

impl Generator {
    /// Noise by the contract at the head of this module.
    ///
    /// # Errors
    /// [`Error::Option`] if the seed is above [`MAX_SEED`]; so for [`Generator::torch`].
    pub fn philox(seed: u64) -> Result<Self> {
        check_seed(seed).map(Self::Philox)
    }

    /// The noise of `torch.Generator().manual_seed(seed)` in Python.
    pub fn torch(seed: u64) -> Result<Self> {
        Ok(Self::Torch(Box::new(Torch::new(check_seed(seed)?))))
    }
}

impl Normals for Generator {
    fn normals(&mut self, draw: u32, batch: usize, out: &mut [f32]) {
        match self {
            Self::Philox(seed) => philox_normals(*seed, draw, batch, out),
            Self::Torch(torch) => torch.randn(out),
        }
    }
}

/// Between the noise of two pictures along the sphere that it lies near (Song, Meng and Ermon 2021, appendix D.5): `a` at 0, `b` at 1. Both are of
/// one picture; the shorter counts.
#[must_use]
pub fn slerp(a: &[f32], b: &[f32], share: f64) -> Vec<f32> {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    let angle = (dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()).clamp(-1.0, 1.0).acos();
    // Along the straight line where there is no arc to speak of.
    let arc = |share: f64| if angle > 1e-6 { (share * angle).sin() / angle.sin() } else { share };
    let (of_a, of_b) = (arc(1.0 - share), arc(share));
    a.iter().zip(b).map(|(a, b)| (of_a * f64::from(*a) + of_b * f64::from(*b)) as f32).collect()
}

/// Fills a batch by the contract at the head of this module.
fn philox_normals(seed: u64, draw: u32, batch: usize, out: &mut [f32]) {
    let image_len = (out.len() / batch.max(1)).max(1);
    for (image, values) in out.chunks_mut(image_len).enumerate() {
        for (block, values) in values.chunks_mut(4).enumerate() {
            let words =
                philox4x32_10([block as u32, draw, image as u32, 0], [seed as u32, (seed >> 32) as u32]);
            let (z0, z1) = box_muller(words[0], words[1]);
            let (z2, z3) = box_muller(words[2], words[3]);
            values.copy_from_slice(&[z0, z1, z2, z3][..values.len()]);
        }
    }
}

pub(crate) fn box_muller(w1: u32, w2: u32) -> (f32, f32) {
    let u1 = f64::from((w1 >> 8) + 1) / 16_777_216.0;
    let u2 = f64::from(w2 >> 8) / 16_777_216.0;
    let r = (-2.0 * u1.ln()).sqrt();
    let (sin, cos) = (TAU * u2).sin_cos();
    ((r * cos) as f32, (r * sin) as f32)
}

/// Philox 4×32 with ten rounds: four random words from a counter and a key (Salmon et al. 2011, "Parallel random
/// numbers: as easy as 1, 2, 3").
#[must_use]
pub fn philox4x32_10(counter: [u32; 4], key: [u32; 2]) -> [u32; 4] {
    let [mut c0, mut c1, mut c2, mut c3] = counter;
    let [mut k0, mut k1] = key;
    for _ in 0..10 {
        let p0 = u64::from(c0) * 0xD251_1F53;
        let p1 = u64::from(c2) * 0xCD9E_8D57;
        (c0, c1, c2, c3) = ((p1 >> 32) as u32 ^ c1 ^ k0, p1 as u32, (p0 >> 32) as u32 ^ c3 ^ k1, p0 as u32);
        k0 = k0.wrapping_add(0x9E37_79B9);
        k1 = k1.wrapping_add(0xBB67_AE85);
    }
    [c0, c1, c2, c3]
}

/// PyTorch's CPU generator: `torch.Generator().manual_seed(seed)`.
#[derive(Clone, Debug)]
pub struct Torch {
    words: Mt19937,
    /// The second value of the last pair of doubles, which the next small call starts with.
    spare: Option<f64>,
}

impl Torch {
    /// Only the seed's low 32 bits matter, as in PyTorch.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { words: Mt19937::new(seed as u32), spare: None }
    }

    /// `torch.randn(out.len(), generator=self)` in float32; a tensor of any shape gives the same values in row-major
    /// order.
    pub fn randn(&mut self, out: &mut [f32]) {
        if out.len() < 16 {
            for value in out {
                *value = self.double() as f32;
            }
            return;
        }
        for value in &mut *out {
            *value = self.uniform24();
        }
        for block in out.chunks_exact_mut(16) {
            normal_block(block);
        }
        if !out.len().is_multiple_of(16) {
            // PyTorch draws sixteen more words and writes its last block over the end.
            let start = out.len() - 16;
            for value in &mut out[start..] {
                *value = self.uniform24();
            }
            normal_block(&mut out[start..]);
        }
    }

    fn uniform24(&mut self) -> f32 {
        (self.words.next() & 0xFF_FFFF) as f32 / 16_777_216.0
    }

    fn uniform53(&mut self) -> f64 {
        let (high, low) = (u64::from(self.words.next()), u64::from(self.words.next()));
        ((high << 32 | low) & MAX_SEED) as f64 / (1u64 << 53) as f64
    }

    /// A normal in double precision, the way of calls for fewer than 16 values.
    fn double(&mut self) -> f64 {
        if let Some(value) = self.spare.take() {
            return value;
        }
        let (u1, u2) = (self.uniform53(), self.uniform53());
        let r = (-2.0 * (-u2).ln_1p()).sqrt();
        let (sin, cos) = (TAU * u1).sin_cos();
        self.spare = Some(r * sin);
        r * cos
    }
}

/// Turns 16 uniforms into 16 normals: the first eight are radii, the last eight angles.
fn normal_block(block: &mut [f32]) {
    let (radii, angles) = block.split_at_mut(8);
    for (a, b) in radii.iter_mut().zip(angles) {
        let r = (-2.0 * f64::from(1.0 - *a).ln()).sqrt();
        let (sin, cos) = (TAU * f64::from(*b)).sin_cos();
        (*a, *b) = ((r * cos) as f32, (r * sin) as f32);
    }
}

/// The Mersenne twister with 32-bit output (Matsumoto and Nishimura 1998; `init_genrand` of 2002).
#[derive(Clone, Debug)]
struct Mt19937 {
    state: [u32; 624],
    next: usize,
}

impl Mt19937 {
    fn new(seed: u32) -> Self {
        let mut state = [seed; 624];
        for i in 1..624 {
            let previous = state[i - 1];
            state[i] = 1_812_433_253u32.wrapping_mul(previous ^ previous >> 30).wrapping_add(i as u32);
        }
        Self { state, next: 624 }
    }

    fn next(&mut self) -> u32 {
        if self.next == 624 {
            for i in 0..624 {
                let y = self.state[i] & 0x8000_0000 | self.state[(i + 1) % 624] & 0x7FFF_FFFF;
                let twist = if y & 1 == 0 { 0 } else { 0x9908_B0DF };
                self.state[i] = self.state[(i + 397) % 624] ^ y >> 1 ^ twist;
            }
            self.next = 0;
        }
        let mut y = self.state[self.next];
        self.next += 1;
        y ^= y >> 11;
        y ^= y << 7 & 0x9D2C_5680;
        y ^= y << 15 & 0xEFC6_0000;
        y ^ y >> 18
    }
}

/// The normal distribution function, to some 10⁻¹⁴ in [-9, 9].
pub(crate) fn normal_below(z: f64) -> f64 {
    let density = (-0.5 * z * z).exp() / TAU.sqrt();
    if z.abs() > 4.0 {
        // Mills' ratio as a continued fraction.
        let mut ratio = z.abs();
        for k in (1..60).rev() {
            ratio = z.abs() + f64::from(k) / ratio;
        }
        let tail = density / ratio;
        return if z > 0.0 { 1.0 - tail } else { tail };
    }
    // ½ + φ(z) (z + z³/3 + z⁵/15 + …).
    let (mut term, mut sum) = (z, z);
    for k in 1..80 {
        term *= z * z / f64::from(2 * k + 1);
        sum += term;
    }
    0.5 + density * sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn philox_gives_the_known_answers_of_random123() {
        let pi = [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344];
        for (counter, key, words) in [
            ([0; 4], [0; 2], [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]),
            ([u32::MAX; 4], [u32::MAX; 2], [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]),
            (pi, [0xa409_3822, 0x299f_31d0], [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]),
        ] {
            assert_eq!(philox4x32_10(counter, key), words);
        }
    }

    #[test]
    fn the_twister_gives_the_known_answer_of_cpp() {
        // The C++ standard: the 10000th value of mt19937 with its default seed.
        let mut twister = Mt19937::new(5489);
        assert_eq!((0..10_000).map(|_| twister.next()).last(), Some(4_123_659_995));
    }

    #[test]
    fn extreme_words_give_finite_normals() {
        for w1 in [0, 255, 256, u32::MAX] {
            for w2 in [0, 1 << 30, u32::MAX] {
                let (a, b) = box_muller(w1, w2);
                assert!(a.is_finite() && b.is_finite() && a.hypot(b) < 5.78);
            }
        }
        assert_eq!(box_muller(u32::MAX, 7), (0.0, 0.0));
        let (a, b) = box_muller(0, 1 << 30); // u1 = 2⁻²⁴, a quarter turn: all of it is sine
        assert!(a.abs() < 1e-6 && (b - 5.768_108).abs() < 1e-6, "{a} {b}");
    }

    #[test]
    fn between_two_noises_lies_noise() {
        let noise = |seed| {
            let mut out = vec![0.0; 4096];
            Generator::philox(seed).unwrap().normals(0, 1, &mut out);
            out
        };
        let (a, b) = (noise(1), noise(2));
        let far = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(far(&slerp(&a, &b, 0.0), &a) < 1e-6 && far(&slerp(&a, &b, 1.0), &b) < 1e-6);
        assert!(far(&slerp(&a, &a, 0.3), &a) < 1e-6, "with itself");
        let middle = slerp(&a, &b, 0.5);
        let variance = middle.iter().map(|v| v * v).sum::<f32>() / 4096.0;
        // The mean of both would have half.
        assert!((variance - 1.0).abs() < 0.05, "{variance}");
    }

    #[test]
    fn seeds_end_where_javascript_stops_counting() {
        assert_eq!(check_seed(MAX_SEED).unwrap(), 9_007_199_254_740_991);
        assert_eq!(check_seed(MAX_SEED + 1).unwrap_err().kind(), "invalid-option");
        assert!(Generator::philox(u64::MAX).is_err() && Generator::torch(u64::MAX).is_err());
    }
}
