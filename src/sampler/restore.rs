//! Linear inverse problems by DDRM (Kawar et al. 2022) for measurements without noise: what was measured is known in the operator's own
//! coordinates, where it is kept as inpainting keeps pixels. With σ_y = 0 and η_b = 1 the paper's equation 8 is just that: what is
//! measured has the mean ȳ and the level's noise, and the sampler makes the rest.

use std::f64::consts::PI;
use std::fmt;

use crate::error::{Error, Result};
use crate::text::number;

/// What of a picture was measured. Each is a matrix `H = U S Vᵀ`, of which `project` is `V Vᵀ` over the singular values that count.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Operator {
    /// The mean of the channels, to be colourised: the singular value 1/√3 for each pixel, and 0 for its other two directions.
    Grey,
    /// The mean of squares of so many pixels a side, to be super-resolved: 1/k for each square, and 0 for the rest of it.
    Mean(usize),
    /// A blur by a Gaussian of so many pixels' deviation, mirrored at the borders: `exp(-σ²π²(u²/w² + v²/h²)/2)` for the cosine of u half
    /// waves across and v down. Those below 0.02 count as 0.
    Blur(f64),
}

/// Below it what a blur leaves of a cosine is not made use of.
pub(super) const LEAST: f64 = 0.02;

impl fmt::Display for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Grey => f.write_str("grey"),
            Self::Mean(k) => write!(f, "x{k}"),
            Self::Blur(sigma) => write!(f, "blur:{}", number(*sigma)),
        }
    }
}

impl Operator {
    /// # Errors
    /// [`Error::Option`] where pictures of this shape cannot be measured so.
    pub fn check(self, [channels, height, width]: [usize; 3]) -> Result<()> {
        let (fine, expected) = match self {
            Self::Grey => (channels == 3, "for pictures of three channels".to_owned()),
            Self::Mean(k) => {
                let divides = k > 1 && height.is_multiple_of(k) && width.is_multiple_of(k);
                (divides, format!("by 2 or more, and a divisor of {height} × {width}"))
            }
            Self::Blur(sigma) => {
                (sigma > 0.0 && sigma <= 32.0, "a blur above 0 and up to 32 pixels".to_owned())
            }
        };
        if fine {
            Ok(())
        } else {
            Err(Error::Option { option: "restore", found: self.to_string(), expected })
        }
    }

    /// What is measured of a picture `[channels, height, width]`, `H x` as a picture of the same shape: a grey one, one of squares, a blurred one.
    #[must_use]
    pub fn measure(self, x: &[f32], shape: [usize; 3]) -> Vec<f32> {
        self.filter(x, shape, &|s| s)
    }

    /// A picture that measures so, `H⁺ y`, of what [`Self::measure`] gives.
    #[must_use]
    pub fn undo(self, y: &[f32], shape: [usize; 3]) -> Vec<f32> {
        self.filter(y, shape, &|s| if s < LEAST { 0.0 } else { 1.0 / s })
    }

    /// The part of a picture that is measured at all, `V Vᵀ x`.
    #[must_use]
    pub fn project(self, x: &[f32], shape: [usize; 3]) -> Vec<f32> {
        self.filter(x, shape, &|s| if s < LEAST { 0.0 } else { 1.0 })
    }

    /// `x` with each of its coordinates times a function of the operator's singular value, as `measure` shows it: 1 or 0 for a mean.
    fn filter(self, x: &[f32], [channels, height, width]: [usize; 3], of: &dyn Fn(f64) -> f64) -> Vec<f32> {
        let plane = height * width;
        match self {
            Self::Grey => {
                let mean = |p: usize| {
                    (0..channels).map(|c| f64::from(x[c * plane + p])).sum::<f64>() / channels as f64
                };
                let means: Vec<f32> = (0..plane).map(|p| mean(p) as f32).collect();
                means.repeat(channels)
            }
            Self::Mean(k) => (0..x.len())
                .map(|i| {
                    let (start, row, column) =
                        (i / plane * plane, i % plane / width / k * k, i % width / k * k);
                    let square = (0..k * k).map(|j| x[start + (row + j / k) * width + column + j % k]);
                    (square.map(f64::from).sum::<f64>() / (k * k) as f64) as f32
                })
                .collect(),
            Self::Blur(sigma) => {
                let (across, down) = (cosines(width), cosines(height));
                let left = |u: usize, n: usize| (-0.5 * (sigma * PI * u as f64 / n as f64).powi(2)).exp();
                let blur = |x: &[f32]| {
                    let rows = product(
                        &x.iter().map(|v| f64::from(*v)).collect::<Vec<f64>>(),
                        &across,
                        width,
                        false,
                    );
                    let mut waves = transposed(
                        &product(&transposed(&rows, height, width), &down, height, false),
                        width,
                        height,
                    );
                    for (i, wave) in waves.iter_mut().enumerate() {
                        *wave *= of(left(i % width, width) * left(i / width, height));
                    }
                    let rows = product(&waves, &across, width, true);
                    let all = transposed(
                        &product(&transposed(&rows, height, width), &down, height, true),
                        width,
                        height,
                    );
                    all.into_iter().map(|v| v as f32).collect::<Vec<f32>>()
                };
                x.chunks_exact(plane).flat_map(blur).collect()
            }
        }
    }
}

/// The orthonormal cosines of `n` numbers, one a row.
fn cosines(n: usize) -> Vec<f64> {
    let wave = |u: usize, x: usize| {
        let norm = if u == 0 { 1.0 } else { 2.0 } / n as f64;
        norm.sqrt() * (PI * u as f64 * (x as f64 + 0.5) / n as f64).cos()
    };
    (0..n * n).map(|i| wave(i / n, i % n)).collect()
}

/// Each row of `n` numbers times the matrix, or its transpose.
fn product(rows: &[f64], matrix: &[f64], n: usize, back: bool) -> Vec<f64> {
    let element = |i: usize, j: usize| if back { matrix[j * n + i] } else { matrix[i * n + j] };
    rows.chunks_exact(n)
        .flat_map(|row| (0..n).map(move |i| (0..n).map(|j| element(i, j) * row[j]).sum()))
        .collect()
}

fn transposed(x: &[f64], rows: usize, columns: usize) -> Vec<f64> {
    (0..x.len()).map(|i| x[i % rows * columns + i / rows]).collect()
}
