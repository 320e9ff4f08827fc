//! What is kept out of training, and the loss on it.

use std::sync::Arc;

use super::dataset::Dataset;
use super::likelihood::Bound;
use super::objective::Objective;
use super::sample::ask;
use super::trainer::{Batch, Trainer};
use crate::error::Result;
use crate::network::unet::ClassEmbedding;
use crate::rng::Torch;

/// Of data sets from this many items on, some are held out.
const FROM: usize = 200;
/// Every so-manieth is.
const STRIDE: usize = 20;
/// Items that a held-out loss is measured on, at most.
const MEASURED: usize = 256;
/// Items that go through the network at once.
const PART: usize = 32;
/// Evaluations of the network for a bound: its error falls with their root.
const EVALUATIONS: usize = 1 << 16;

/// The averaged weights' loss on data that they were not trained on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HeldOut {
    /// Optimiser steps done.
    pub step: u64,
    /// The mean loss; where the objective is a bound, -K.
    pub loss: f64,
    /// K, where the objective is the 2015 paper's bound of points or bits.
    pub bound: Option<Bound>,
}

impl Dataset {
    /// The data to train on and those held out: every twentieth of 200 items and more, none of fewer.
    #[must_use]
    pub fn hold_out(self: &Arc<Self>) -> (Arc<Self>, Option<Arc<Self>>) {
        if self.len() < FROM {
            return (self.clone(), None);
        }
        let [trained, held_out] = [false, true].map(|held_out| {
            let chosen = |i: &usize| (i % STRIDE == STRIDE - 1) == held_out;
            Arc::new(self.subset(&(0..self.len()).filter(chosen).collect::<Vec<_>>()))
        });
        (trained, Some(held_out))
    }
}

impl Trainer {
    /// The loss on data held out, with the same noise at every call, as long as `go_on`, which is asked before each part of
    /// the work, says yes.
    ///
    /// # Errors
    /// Those of [`Self::held_out`], and [`Error::Aborted`](crate::Error::Aborted).
    pub async fn held_out_while(
        &self,
        data: &Dataset,
        mut go_on: impl AsyncFnMut() -> bool,
    ) -> Result<HeldOut> {
        let step = self.step_number();
        if data.is_list() && matches!(self.recipe().objective, Objective::Bound | Objective::Binomial) {
            let passes = EVALUATIONS.div_ceil(data.len());
            let bound = self.bound_while(data, passes, go_on).await?;
            return Ok(HeldOut { step, loss: -bound.bits, bound: Some(bound) });
        }
        let (network, schedule) = self.recipe().check(data)?;
        let last = schedule.train_timesteps() - 1;
        let count = data.len().min(MEASURED);
        let len = data.image_len();
        let mut noise = Torch::new(0);
        let mut sum = 0.0;
        for start in (0..count).step_by(PART) {
            ask(&mut go_on).await?;
            let part = start..(start + PART).min(count);
            let mut batch = Batch {
                images: vec![0.0; part.len() * len],
                noise: vec![0.0; part.len() * len],
                // Evenly over all levels but the first, which not every objective has.
                timesteps: part.clone().map(|i| last.min(1 + (i * 97 % count) * last / count)).collect(),
                labels: None,
            };
            noise.randn(&mut batch.noise);
            for (image, i) in batch.images.chunks_mut(len).zip(part.clone()) {
                data.image(i * data.len() / count, false, image);
            }
            if let (true, Some(all)) = (network.class_embedding() != ClassEmbedding::None, &data.labels) {
                batch.labels = Some(part.map(|i| all[i * data.len() / count] as f32).collect());
            }
            sum += self.held_out(&batch).await?.iter().sum::<f32>();
        }
        Ok(HeldOut { step, loss: f64::from(sum / count as f32), bound: None })
    }
}
