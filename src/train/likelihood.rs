//! What the bound of the 2015 paper says about data that were not trained on.

use serde::Serialize;

use super::dataset::Dataset;
use super::sample::ask;
use super::trainer::{Batch, Trainer};
use crate::error::Result;
use crate::rng::{Generator, Normals};

/// K, a lower bound on the mean log likelihood of data, in bits an item.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Bound {
    /// The mean over items, timesteps and noise.
    pub bits: f64,
    /// Its standard error.
    pub error: f64,
}

/// Items that go through the network at once.
const PART: usize = 2048;

impl Trainer {
    /// K of the averaged weights on `data`, each item of which counts `passes` times: with its own noise and at timesteps that
    /// are spread evenly over all. For the objectives `bound` and `binomial`, whose loss is an item's -K by one timestep alone.
    ///
    /// # Errors
    /// As [`Self::held_out`].
    pub async fn bound(&self, data: &Dataset, passes: usize) -> Result<Bound> {
        self.bound_while(data, passes, async || true).await
    }

    /// The same, as long as `go_on`, which is asked before each part, says yes.
    ///
    /// # Errors
    /// As [`Self::bound`], and [`Error::Aborted`](crate::Error::Aborted).
    pub async fn bound_while(
        &self,
        data: &Dataset,
        passes: usize,
        mut go_on: impl AsyncFnMut() -> bool,
    ) -> Result<Bound> {
        let timesteps = self.recipe().objective.timesteps(self.schedule());
        let (len, total) = (data.image_len(), data.len() * passes);
        let mut noise = Generator::philox(7)?;
        let (mut sum, mut squares) = (0.0, 0.0);
        for (draw, start) in (0..total).step_by(PART).enumerate() {
            ask(&mut go_on).await?;
            let part = start..(start + PART).min(total);
            let mut batch = Batch {
                images: vec![0.0; part.len() * len],
                noise: vec![0.0; part.len() * len],
                timesteps: part.clone().map(|at| timesteps.start + at * timesteps.len() / total).collect(),
                labels: None,
            };
            for (at, item) in part.clone().zip(batch.images.chunks_mut(len)) {
                data.image(at % data.len(), false, item);
            }
            noise.normals(draw as u32, part.len(), &mut batch.noise);
            for loss in self.held_out(&batch).await? {
                sum += f64::from(loss);
                squares += f64::from(loss).powi(2);
            }
        }
        let mean = sum / total as f64;
        Ok(Bound { bits: -mean, error: ((squares / total as f64 - mean * mean) / total as f64).sqrt() })
    }
}
