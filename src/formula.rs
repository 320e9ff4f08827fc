//! A denoiser that is no network, in the place of a model: a formula, for toys and for tests.

pub use crate::denoiser::Formula;
use crate::denoiser::Prediction;
use crate::device::LentNetwork;
use crate::error::{Error, Result};
use crate::model::{self, SampleOptions};
use crate::sampling::{Sampling, Watcher};
use crate::schedule::Schedule;

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

#[cfg(test)]
mod tests {
    use std::pin::Pin;

    use super::*;
    use crate::sampler::SamplerKind;

    /// Says the same number of every image.
    struct Constant(f32);

    impl Formula for Constant {
        fn denoise<'a>(
            &'a mut self,
            x: &'a [f32],
            [batch, ..]: [usize; 4],
            angles: &'a [f32],
        ) -> Pin<Box<dyn Future<Output = Result<Vec<f32>>> + 'a>> {
            assert!(angles.len() == batch && angles.iter().all(|a| (0.0..=1.6).contains(a)), "{angles:?}");
            Box::pin(std::future::ready(Ok(vec![self.0; x.len()])))
        }
    }

    #[cfg(not(target_arch = "wasm32"))]
    #[test]
    fn every_sampler_that_arrives_at_the_data_arrives_at_what_the_formula_says() {
        for (schedule, samplers) in [
            (r#"{"clip_sample": false}"#, ["ddim", "heun", "unipc", "adaptive"]),
            (
                r#"{"_class_name": "FlowMatchEulerDiscreteScheduler"}"#,
                ["flow-euler", "flow-heun", "flow-euler", "flow-heun"],
            ),
        ] {
            let schedule = Schedule::from_json("s.json", schedule.as_bytes()).unwrap();
            for name in samplers {
                let sampler: SamplerKind = name.parse().unwrap();
                let options = SampleOptions {
                    sampler: Some(sampler),
                    steps: Some(8),
                    batch: 3,
                    ..SampleOptions::default()
                };
                let mut run = sample(&schedule, [2, 1, 1], &options, Box::new(Constant(0.25)), None).unwrap();
                let mut last = Vec::new();
                while let Some(step) = run.step_blocking().unwrap() {
                    last = step.x.to_vec();
                }
                assert!(last.len() == 6 && last.iter().all(|v| (v - 0.25).abs() < 2e-2), "{name}: {last:?}");
                let options = SampleOptions { labels: Some(vec![1.0]), ..options };
                let refused =
                    sample(&schedule, [2, 1, 1], &options, Box::new(Constant(0.0)), None).err().unwrap();
                assert_eq!(refused.kind(), "invalid-option");
            }
        }
    }
}
