//! diffusers' `Timesteps`: sines and cosines of fixed frequencies that stand for a number at a network's input.

use crate::checkpoint::json::Fields;
use crate::error::{Error, Result};
use crate::text::number;

/// `sin(t ω)` and `cos(t ω)` for `ω = 10000^(-k / (width/2 - freq_shift))`, k from 0 to `width/2 - 1`; then a zero where the
/// width is odd.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sinusoid {
    /// How many numbers.
    pub width: usize,
    /// Shifts the spacing of the frequencies.
    pub freq_shift: f64,
    /// Cosines before sines.
    pub flip_sin_to_cos: bool,
}

impl Sinusoid {
    /// The numbers that stand for `t`.
    ///
    /// Worked out on the CPU in f32, in PyTorch's order of operations: the arguments reach thousands, where a GPU's
    /// sine is not accurate and another order rounds differently.
    #[must_use]
    pub fn features(&self, t: f32) -> Vec<f32> {
        let half = self.width / 2;
        let denominator = (half as f64 - self.freq_shift) as f32;
        let angles: Vec<f32> =
            (0..half).map(|k| t * (-(10000f64.ln() as f32) * k as f32 / denominator).exp()).collect();
        let sines = angles.iter().map(|a| a.sin());
        let cosines = angles.iter().map(|a| a.cos());
        let mut features: Vec<f32> = if self.flip_sin_to_cos {
            cosines.chain(sines).collect()
        } else {
            sines.chain(cosines).collect()
        };
        features.resize(self.width, 0.0);
        features
    }

    /// Whether the frequencies are numbers: there are none at a shift of half the width, and beyond it they rise with k
    /// and may leave f32. `of` says where the width is from.
    ///
    /// # Errors
    /// [`Error::Config`] about `freq_shift`.
    pub(crate) fn check(&self, f: &Fields, of: &str) -> Result<()> {
        let half = self.width / 2;
        let denominator = (half as f64 - self.freq_shift) as f32;
        let highest = -(half.saturating_sub(1) as f32) / denominator * 10000f32.ln();
        // Timesteps have five digits at most.
        if denominator == 0.0 || highest > (f32::MAX / 1e6).ln() {
            let expected = format!("not half of {of}, {half}, nor just above it");
            return Err(f.error("freq_shift", number(self.freq_shift), expected));
        }
        Ok(())
    }
}

/// Whether a number can be embedded.
///
/// # Errors
/// [`Error::Option`] on what is not finite.
pub(super) fn check_finite(option: &'static str, value: f32) -> Result<()> {
    if value.is_finite() {
        return Ok(());
    }
    Err(Error::Option { option, found: number(value.into()), expected: "a finite number".to_owned() })
}
