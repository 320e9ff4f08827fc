//! A run's film: the same noise, sampled now and then with the averaged weights of the moment.

use super::sample::ask;
use super::trainer::Trainer;
use crate::device::Device;
use crate::error::Result;
use crate::model::{Model, SampleOptions};
use crate::network::unet::ClassEmbedding;
use crate::sampler::SamplerKind;

/// Frames of a whole run, but the first.
const FRAMES: u64 = 24;
/// Steps between two frames at least: each costs as much as some steps.
const LEAST: u64 = 10;
/// Steps of DDIM for pictures.
const STEPS: usize = 20;
/// The noise of every frame.
const SEED: u64 = 7;
const PICTURES: usize = 10;
const POINTS: usize = 400;
const BITS: usize = 12;

/// What the averaged weights make of the film's noise.
#[derive(Clone, Debug, PartialEq)]
pub struct Frame {
    /// Optimiser steps done.
    pub step: u64,
    /// `[batch, channels, height, width]`.
    pub shape: [usize; 4],
    /// The pictures, in [-1, 1], or points or bits.
    pub values: Vec<f32>,
    /// Each one's label, where there are classes: those of the data in turn.
    pub labels: Option<Vec<usize>>,
}

/// Steps between two frames of a run of `steps`.
pub(super) fn frame_every(steps: u64) -> u64 {
    steps.div_ceil(FRAMES).max(LEAST)
}

impl Trainer {
    /// The film's next frame, as long as `go_on`, which is asked between parts of the work, says yes. Pictures are sampled on
    /// `engine`, by 20 steps of DDIM; what the engine cannot sample, as the trainer's own network is.
    ///
    /// # Errors
    /// Those of [`Model::load`] and its runs, or of [`Averaged::sample`](super::trainer::Averaged::sample), and
    /// [`Error::Aborted`](crate::Error::Aborted).
    pub async fn frame(&self, engine: &Device, mut go_on: impl AsyncFnMut() -> bool) -> Result<Frame> {
        let [channels, height, width] = self.data().shape;
        let step = self.step_number();
        if self.recipe().check_export().is_err() {
            let batch = match (self.data().is_list(), self.data().is_bits()) {
                (false, _) => PICTURES,
                (true, false) => POINTS,
                (true, true) => BITS,
            };
            let shape = [batch, channels, height, width];
            let values = self.averaged().await?.sample_while(shape, SEED, go_on).await?;
            return Ok(Frame { step, shape, values, labels: None });
        }
        let labels = self.film_labels();
        let model = Model::load(self.checkpoint().await?, engine).await?;
        let options = SampleOptions {
            sampler: Some(SamplerKind::Ddim),
            steps: Some(STEPS.min(model.info().train_timesteps)),
            seed: SEED,
            batch: PICTURES,
            every: 0,
            labels: labels.as_ref().map(|labels| labels.iter().map(|l| *l as f32).collect()),
            ..SampleOptions::default()
        };
        let mut run = model.sample(&options)?;
        let mut frame = Frame { step, shape: [0; 4], values: Vec::new(), labels };
        while let Some(step) = run.step().await? {
            if step.index + 1 == step.total {
                (frame.shape, frame.values) = (step.shape, step.x.to_vec());
            }
            ask(&mut go_on).await?;
        }
        Ok(frame)
    }

    /// The labels of a frame's pictures: the data's classes in turn.
    fn film_labels(&self) -> Option<Vec<usize>> {
        let ClassEmbedding::Table(_) = self.network().class_embedding() else { return None };
        Some((0..self.data().classes()).cycle().take(PICTURES).collect())
    }
}
