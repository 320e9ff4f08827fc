//! A denoiser that is no network, in the place of a model: a formula, for toys and for tests.

use std::pin::Pin;

use crate::denoiser::Prediction;
use crate::device::LentNetwork;
use crate::error::{Error, Result};
use crate::model::{self, SampleOptions};
use crate::sampling::{Sampling, Watcher};
use crate::schedule::Schedule;

/// Says what the clean images are that noisy ones come from.
pub trait Formula {
    /// x̂₀, as many numbers, of images `x`, `[batch, channels, height, width]`. Each is `x = α x₀ + σ ε` of a level with α² + σ² = 1, whose
    /// angle in radians is given: α is its cosine, and σ its sine.
    fn denoise<'a>(
        &'a mut self,
        x: &'a [f32],
        shape: [usize; 4],
        angles: &'a [f32],
    ) -> Pin<Box<dyn Future<Output = Result<Vec<f32>>> + 'a>>;
}

/// Starts a run of a formula for images of `shape`, `[channels, height, width]`. `schedule` has the levels and the options' defaults; a flow's has
/// samplers for flows. Without a sampler it is the one that the schedule stands for.
///
/// # Errors
/// [`Error::Option`] for options out of their range, and for labels and guidance, which a formula has no use for.
pub fn sample(
    schedule: &Schedule,
    shape: [usize; 3],
    options: &SampleOptions,
    formula: Box<dyn Formula>,
    watcher: Option<Box<dyn Watcher>>,
) -> Result<Sampling> {
    if options.labels.is_some() || options.guidance.scale != 1.0 {
        let option = if options.labels.is_some() { "labels" } else { "guidance" };
        let expected = "left out: a denoiser of one's own has no classes".to_owned();
        return Err(Error::Option { option, found: "given".to_owned(), expected });
    }
    let mut schedule = schedule.clone();
    // Samplers for flows are for nothing else, and see a flow.
    if schedule.prediction != Prediction::Flow {
        schedule.prediction = Prediction::Formula;
    }
    let program = model::program(&schedule, shape, options, watcher.is_some(), true)?;
    model::begin(LentNetwork::Formula(formula), program, shape, options, None, watcher)
}
