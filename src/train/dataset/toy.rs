//! Data of known distributions, made here: points of the plane, `[2, 1, 1]`, and the bit strings of the 2015 paper.
//! Item i of a set is a function of (seed, i) alone.

use std::f64::consts::{LOG2_E, PI, TAU};
use std::str::FromStr;

use super::{Dataset, Pixels};
use crate::error::{Error, Result};
use crate::train::draws::Draws;

/// A distribution to draw points or bit strings from. Labels are the modes, where there are several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Toy {
    /// scikit-learn's swiss roll without its third axis: one and a half turns, evenly in the angle, scaled to
    /// `E‖x‖² = 2`, the scale at which the 2015 paper's figures are 4.1 bits apart. Its roll's thickness, which the paper
    /// does not give, is [`ROLL_DEVIATION`] here.
    SwissRoll,
    /// scikit-learn's two moons, centred, with noise of 0.05.
    Moons,
    /// Two Gaussians of deviation 0.3 at (-1, 0) and (1, 0).
    TwoGaussians,
    /// Eight Gaussians of deviation 0.05 on the circle of radius 1.4.
    Ring,
    /// Gaussians of deviation 0.05 on the 5×5 grid from (-1.4, -1.4) to (1.4, 1.4).
    Grid,
    /// 20 bits as -1 and 1 with a pulse, 1, every fifth: five strings, `log2(1/5)` = -2.322 bits each
    /// (Sohl-Dickstein et al. 2015, section 3.1.2).
    Heartbeat,
}

/// The deviation of the swiss roll's points across it.
pub const ROLL_DEVIATION: f64 = 0.002;

/// Bits of a heartbeat, and how far apart its pulses are.
pub const BEAT: (usize, usize) = (20, 5);

impl Toy {
    /// The sets by name.
    pub const NAMES: [(&'static str, Self); 6] = [
        ("swiss-roll", Self::SwissRoll),
        ("moons", Self::Moons),
        ("two-gaussians", Self::TwoGaussians),
        ("ring", Self::Ring),
        ("grid", Self::Grid),
        ("heartbeat", Self::Heartbeat),
    ];

    /// `count` items, from 1 to 2^24.
    #[must_use]
    pub fn dataset(self, count: usize, seed: u64) -> Dataset {
        let draws = Draws::new(seed);
        let modes = self.modes();
        let mut floats = Vec::new();
        let mut labels = Vec::with_capacity(count);
        for index in 0..count {
            let ([u, v], [a, b]) = draws.toy(index);
            let mode = (u * modes as f64) as usize;
            labels.push(mode as u32);
            let mut point = |[x, y]: [f64; 2], deviation: f64| {
                floats.extend([x + deviation * f64::from(a), y + deviation * f64::from(b)].map(|z| z as f32));
            };
            match self {
                Self::SwissRoll => point(roll(u), ROLL_DEVIATION),
                Self::Moons => {
                    let (sin, cos) = (PI * v).sin_cos();
                    let on = if mode == 0 { [cos - 0.5, sin - 0.25] } else { [0.5 - cos, 0.25 - sin] };
                    point(on, 0.05);
                }
                Self::Heartbeat => {
                    floats.extend((0..BEAT.0).map(|bit| if bit % BEAT.1 == mode { 1.0f32 } else { -1.0 }))
                }
                _ => point(self.centres()[mode], self.deviation()),
            }
        }
        let several = modes > 1;
        Dataset {
            shape: if self == Self::Heartbeat { [BEAT.0, 1, 1] } else { [2, 1, 1] },
            pixels: Pixels::Floats(floats),
            labels: several.then_some(labels),
            names: if several { (0..modes).map(|m| m.to_string()).collect() } else { Vec::new() },
        }
    }

    fn modes(self) -> usize {
        match self {
            Self::SwissRoll => 1,
            Self::Moons => 2,
            Self::Heartbeat => BEAT.1,
            _ => self.centres().len(),
        }
    }

    /// The means of a mixture of Gaussians, all as likely; none for the other sets.
    #[must_use]
    pub fn centres(self) -> Vec<[f64; 2]> {
        match self {
            Self::TwoGaussians => vec![[-1.0, 0.0], [1.0, 0.0]],
            Self::Ring => (0..8)
                .map(|i| {
                    let (sin, cos) = (TAU * f64::from(i) / 8.0).sin_cos();
                    [1.4 * cos, 1.4 * sin]
                })
                .collect(),
            Self::Grid => {
                let at = |i: i32| 0.7 * f64::from(i - 2);
                (0..25).map(|i| [at(i % 5), at(i / 5)]).collect()
            }
            Self::SwissRoll | Self::Moons | Self::Heartbeat => Vec::new(),
        }
    }

    /// The deviation of each of the [`Self::centres`]' Gaussians.
    #[must_use]
    pub fn deviation(self) -> f64 {
        if self == Self::TwoGaussians { 0.3 } else { 0.05 }
    }

    /// How many of `points`, `[count, 2]`, are nearest to each of the [`Self::centres`].
    #[must_use]
    pub fn histogram(self, points: &[f32]) -> Vec<usize> {
        let centres = self.centres();
        let mut counts = vec![0; centres.len()];
        for point in points.chunks_exact(2) {
            let distance =
                |c: &[f64; 2]| (f64::from(point[0]) - c[0]).powi(2) + (f64::from(point[1]) - c[1]).powi(2);
            let nearest =
                (0..centres.len()).min_by(|i, j| distance(&centres[*i]).total_cmp(&distance(&centres[*j])));
            nearest.into_iter().for_each(|i| counts[i] += 1);
        }
        counts
    }
}

impl FromStr for Toy {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let found = Self::NAMES.iter().find(|(n, _)| *n == name);
        found.map(|(_, toy)| *toy).ok_or_else(|| Error::Option {
            option: "data",
            found: format!("{name:?}"),
            expected: Self::NAMES.map(|(n, _)| n).join(", "),
        })
    }
}

/// From which angle to which the roll goes.
const TURNS: (f64, f64) = (1.5 * PI, 4.5 * PI);

/// What its radius, the angle, is multiplied with: √(2 / E θ²).
fn roll_scale() -> f64 {
    let (from, to) = TURNS;
    (2.0 / ((from * from + from * to + to * to) / 3.0)).sqrt()
}

/// The roll's point at u in [0, 1).
fn roll(u: f64) -> [f64; 2] {
    let angle = TURNS.0 + u * (TURNS.1 - TURNS.0);
    let (sin, cos) = angle.sin_cos();
    [roll_scale() * angle * cos, roll_scale() * angle * sin]
}

/// The entropy in bits of the swiss roll when its points have this deviation across it, small against its turns'
/// distance of 0.9: along the roll, that of the curve `u ↦ roll(u)`; across it, a Gaussian's.
#[must_use]
pub fn roll_entropy(deviation: f64) -> f64 {
    const POINTS: usize = 1000;
    let (from, to) = TURNS;
    let log_speed = |i: usize| {
        let angle = from + (to - from) * (i as f64 + 0.5) / POINTS as f64;
        (roll_scale() * (to - from) * angle.hypot(1.0)).log2()
    };
    let along = (0..POINTS).map(log_speed).sum::<f64>() / POINTS as f64;
    along + 0.5 * (TAU.log2() + LOG2_E) + deviation.log2()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn floats(toy: Toy, count: usize) -> Vec<f32> {
        match toy.dataset(count, 3).pixels {
            Pixels::Floats(floats) => floats,
            Pixels::Bytes(_) => Vec::new(),
        }
    }

    #[test]
    fn every_set_is_sound_and_starts_alike_whatever_its_length() {
        for (name, toy) in Toy::NAMES {
            assert_eq!(name.parse::<Toy>().unwrap(), toy);
            toy.dataset(100, 3).check().unwrap();
            assert_eq!(floats(toy, 100), floats(toy, 200)[..floats(toy, 100).len()]);
            assert_ne!(toy.dataset(100, 3), toy.dataset(100, 4));
        }
    }

    #[test]
    fn the_roll_has_the_papers_scale_and_its_entropy() {
        let points = floats(Toy::SwissRoll, 20_000);
        let square = points.iter().map(|v| f64::from(v * v)).sum::<f64>() / 20_000.0;
        assert!((square - 2.0).abs() < 0.02, "{square}");
        // Not a figure of the paper: the curve's differential entropy by its own histogram, at a resolution of 1/1000.
        let bins = 1000;
        let mut lengths = vec![0.0f64; bins];
        for (i, length) in lengths.iter_mut().enumerate() {
            let (a, b) = (roll(i as f64 / bins as f64), roll((i + 1) as f64 / bins as f64));
            *length = (a[0] - b[0]).hypot(a[1] - b[1]);
        }
        let along = lengths.iter().map(|l| (l * bins as f64).log2()).sum::<f64>() / bins as f64;
        let across = 0.5 * (TAU * 0.01f64.powi(2)).log2() + 0.5 * LOG2_E;
        assert!((roll_entropy(0.01) - along - across).abs() < 1e-3);
    }

    #[test]
    fn mixtures_have_their_modes_evenly() {
        for toy in [Toy::TwoGaussians, Toy::Ring, Toy::Grid] {
            let counts = toy.histogram(&floats(toy, 5000));
            let expected = 5000.0 / counts.len() as f64;
            let within = |c: &usize| (*c as f64 - expected).abs() < 5.0 * expected.sqrt();
            assert!(counts.iter().all(within), "{toy:?}: {counts:?}");
        }
    }

    /// By numbers, as whatever samples are compared with comes from the same centres.
    #[test]
    fn sets_on_the_plane_have_the_size_and_shape_they_are_known_by() {
        let expected = [
            (Toy::TwoGaussians, 1.0 + 2.0 * 0.09),
            (Toy::Moons, 1.3125 - 1.0 / PI + 0.005),
            (Toy::Ring, 1.96 + 0.005),
            (Toy::Grid, 4.0 * 0.49 + 0.005),
        ];
        for (toy, expected) in expected {
            let points = floats(toy, 20_000);
            let square = points.iter().map(|v| f64::from(v * v)).sum::<f64>() / 20_000.0;
            assert!((square - expected).abs() < 0.04, "{toy:?}: {square}");
        }
        let moons = Toy::Moons.dataset(1000, 3);
        for (point, label) in floats(Toy::Moons, 1000).chunks(2).zip(moons.labels.unwrap()) {
            let side = if label == 0 { 1.0 } else { -1.0 };
            let [x, y] = [0.5 + side * point[0], 0.25 + side * point[1]];
            assert!((x.hypot(y) - 1.0).abs() < 0.25 && y > -0.25, "{point:?}");
        }
    }

    #[test]
    fn a_heartbeat_has_four_pulses_five_apart() {
        for beat in floats(Toy::Heartbeat, 50).chunks(20) {
            let pulses: Vec<usize> = (0..20).filter(|i| beat[*i] == 1.0).collect();
            assert!(pulses.len() == 4 && pulses.windows(2).all(|w| w[1] == w[0] + 5), "{beat:?}");
        }
    }
}
