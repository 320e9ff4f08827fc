//! The random numbers of a training run. All are functions of the seed and of what they are for, so a batch is a
//! function of `(seed, step)` and a resumed run goes on exactly as one that was never stopped.
//!
//! They come from Philox as [`rng`](crate::rng) describes it, with another fourth word of the counter for each purpose;
//! sampling's noise has 0 there.

use crate::rng::{box_muller, normal_below, philox4x32_10};

/// A run's random numbers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Draws {
    seed: u64,
}

#[derive(Clone, Copy)]
enum Purpose {
    Noise = 1,
    Example = 2,
    Order = 3,
    Initial = 4,
    Toy = 5,
}

/// What an example of a batch draws a uniform number for.
#[derive(Clone, Copy)]
pub(super) enum Choice {
    /// Its noise level.
    Level,
    /// Whether its label is dropped.
    Label,
    /// Whether it is mirrored.
    Flip,
}

impl Draws {
    pub(super) fn new(seed: u64) -> Self {
        Self { seed }
    }

    fn words(self, purpose: Purpose, counter: [u32; 3]) -> [u32; 4] {
        let [a, b, c] = counter;
        philox4x32_10([a, b, c, purpose as u32], [self.seed as u32, (self.seed >> 32) as u32])
    }

    fn normals(self, purpose: Purpose, b: u32, c: u32, out: &mut [f32]) {
        for (block, values) in out.chunks_mut(4).enumerate() {
            let w = self.words(purpose, [block as u32, b, c]);
            let ((z0, z1), (z2, z3)) = (box_muller(w[0], w[1]), box_muller(w[2], w[3]));
            values.copy_from_slice(&[z0, z1, z2, z3][..values.len()]);
        }
    }

    /// Fills `out` with the standard normals of example `index` of a step's batch.
    pub(super) fn noise(self, step: u64, index: usize, out: &mut [f32]) {
        self.normals(Purpose::Noise, step as u32, index as u32, out);
    }

    /// A number in [0, 1) for example `index` of a step's batch.
    pub(super) fn uniform(self, step: u64, index: usize, choice: Choice) -> f64 {
        let w = self.words(Purpose::Example, [choice as u32, step as u32, index as u32]);
        unit(w[0], w[1])
    }

    /// The order in which epoch `epoch` goes through `len` examples.
    pub(super) fn order(self, epoch: u64, len: usize) -> Vec<u32> {
        let mut order: Vec<u32> = (0..len as u32).collect();
        for last in (1..len).rev() {
            let w = self.words(Purpose::Order, [last as u32, epoch as u32, 0]);
            order.swap(last, (unit(w[0], w[1]) * (last + 1) as f64) as usize);
        }
        order
    }

    /// Standard normals for the initial values of parameter number `index`.
    pub(super) fn initial_normals(self, index: usize, len: usize) -> Vec<f32> {
        let mut out = vec![0.0; len];
        self.normals(Purpose::Initial, index as u32, 0, &mut out);
        out
    }

    /// Two numbers in [0, 1) and two standard normals for item `index` of a made data set.
    pub(super) fn toy(self, index: usize) -> ([f64; 2], [f32; 2]) {
        let w = self.words(Purpose::Toy, [index as u32, 0, 0]);
        let z = self.words(Purpose::Toy, [index as u32, 1, 0]);
        let (a, b) = box_muller(z[0], z[1]);
        ([unit(w[0], w[1]), unit(w[2], w[3])], [a, b])
    }

    /// Numbers uniform in [-bound, bound) for the initial values of parameter number `index`.
    pub(super) fn initial_uniforms(self, index: usize, len: usize, bound: f64) -> Vec<f32> {
        let uniform = |i: usize| {
            let w = self.words(Purpose::Initial, [i as u32, index as u32, 1]);
            ((2.0 * unit(w[0], w[1]) - 1.0) * bound) as f32
        };
        (0..len).map(uniform).collect()
    }
}

/// 53 random bits as a number in [0, 1).
fn unit(high: u32, low: u32) -> f64 {
    let bits = (u64::from(high) << 21) | u64::from(low >> 11);
    bits as f64 / (1u64 << 53) as f64
}

/// The number that a standard normal is below with probability `p` in (0, 1), by bisection of [`normal_below`].
pub(super) fn normal_quantile(p: f64) -> f64 {
    let (mut low, mut high) = (-9.0, 9.0);
    while high - low > 1e-12 {
        let middle = 0.5 * (low + high);
        if normal_below(middle) < p { low = middle } else { high = middle }
    }
    0.5 * (low + high)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_the_normal_distributions() {
        // scipy.stats.norm.ppf
        for (p, z) in [
            (0.5, 0.0),
            (0.975, 1.959_963_984_540_054),
            (1e-3, -3.090_232_306_167_813_5),
            (2.5e-7, -5.026_312_836_056_684),
        ] {
            assert!((normal_quantile(p) - z).abs() < 1e-8, "{p}: {}", normal_quantile(p));
        }
        assert!((normal_below(4.0) - normal_below(4.000_000_1)).abs() < 1e-10);
    }

    #[test]
    fn an_order_is_a_permutation_and_epochs_differ() {
        let draws = Draws::new(7);
        let (first, second) = (draws.order(0, 100), draws.order(1, 100));
        assert_ne!(first, second);
        for mut order in [first, second] {
            order.sort_unstable();
            assert!(order.iter().enumerate().all(|(i, o)| i == *o as usize));
        }
    }

    #[test]
    fn numbers_are_where_they_should_be() {
        let draws = Draws::new(7);
        let mean = |v: &[f32]| v.iter().sum::<f32>() / v.len() as f32;
        let uniforms = draws.initial_uniforms(3, 10_000, 0.5);
        assert!(uniforms.iter().all(|v| (-0.5..=0.5).contains(v)) && mean(&uniforms).abs() < 0.01);
        let mut noise = vec![0.0; 10_000];
        draws.noise(5, 2, &mut noise);
        let squares: Vec<f32> = noise.iter().map(|v| v * v).collect();
        assert!(mean(&noise).abs() < 0.03 && (mean(&squares) - 1.0).abs() < 0.05);
        let [level, label] = [Choice::Level, Choice::Label].map(|c| draws.uniform(5, 2, c));
        assert!(level != label && (0.0..1.0).contains(&level));
    }
}
