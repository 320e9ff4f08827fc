//! A network on a device.

use std::sync::Arc;

use super::device::Gpu;
use super::replay::Replay;
use super::weights::Weights;
use crate::engine::order::{to_nchw, to_nhwc};
use crate::engine::parameters::Storage;
use crate::engine::plan::Plan;
use crate::engine::prelude::{Rows, prelude};
use crate::error::{Error, Result};
use crate::network::architecture::Network;

/// Plans kept, with their memory on the device: enough to go back and forth between a few shapes.
const KEPT: usize = 3;

/// A network on a GPU.
#[derive(Debug)]
pub struct GpuNetwork {
    network: Arc<dyn Network>,
    weights: Arc<Weights>,
    frequencies: Vec<f32>,
    /// By batch, height and width; the one used last is the last.
    plans: Vec<([usize; 3], Replay)>,
}

impl GpuNetwork {
    /// Packs and uploads the parameters: `take` is asked for each key of
    /// [`describe`](crate::network::describe::describe), once, with its shape, and gives its numbers in row-major order.
    /// With [`Storage::F16`], matrices take half the memory and time to read; that loses nothing where the checkpoint
    /// is in F16.
    ///
    /// # Errors
    /// Those of `take`, and of [`Weights::new`].
    pub async fn new(
        gpu: &Gpu,
        network: Arc<dyn Network>,
        storage: Storage,
        mut take: impl FnMut(&str, &[usize]) -> Result<Vec<f32>>,
    ) -> Result<Self> {
        // Parameters are packed the same way for every shape, so the smallest plan is enough.
        let [height, width] = network.least_size();
        let plan = Plan::new(&*network, 1, height, width)?;
        let weights = Arc::new(Weights::new(gpu, &plan, storage, &mut take).await?);
        let frequencies = network.frequencies().map(|(key, length)| take(key, &[length])).transpose()?;
        let frequencies = frequencies.unwrap_or_default();
        Ok(Self { network, weights, frequencies, plans: Vec::new() })
    }

    /// The network.
    #[must_use]
    pub fn network(&self) -> &dyn Network {
        &*self.network
    }

    /// The device.
    #[must_use]
    pub fn gpu(&self) -> &Gpu {
        self.weights.gpu()
    }

    /// The plan for `batch` images of `height` × `width`, made where it is not among the three used last.
    ///
    /// # Errors
    /// [`Error::Option`] where the size does not suit the network, and those of [`Replay::new`].
    pub async fn plan(&mut self, batch: usize, height: usize, width: usize) -> Result<&mut Replay> {
        self.gpu().check()?;
        let key = [batch, height, width];
        let plan = match self.plans.iter().position(|(shape, _)| *shape == key) {
            Some(at) => self.plans.remove(at),
            None => {
                let plan = Plan::new(&*self.network, batch, height, width)?;
                let surplus = (self.plans.len() + 1).saturating_sub(KEPT);
                self.plans.drain(..surplus);
                (key, Replay::new(plan, Arc::clone(&self.weights)).await?)
            }
        };
        self.plans.push(plan);
        Ok(self.parts(key)?.2)
    }

    /// What a run borrows, once there is a plan for its shape.
    pub(super) fn parts(&mut self, key: [usize; 3]) -> Result<(&dyn Network, &[f32], &mut Replay)> {
        let (_, replay) = self.plans.iter_mut().find(|(shape, _)| *shape == key).ok_or(Error::Disposed)?;
        Ok((&*self.network, &self.frequencies, replay))
    }

    /// Frees the plans of all shapes, with their memory on the device; the parameters stay.
    pub fn forget_plans(&mut self) {
        self.plans.clear();
    }

    /// One evaluation: `x` holds `shape = [batch, in_channels, height, width]` numbers, `timesteps` one for each sample,
    /// and `labels` is as for [`Network::features`]. The result is `[batch, out_channels, height, width]`.
    ///
    /// # Errors
    /// [`Error::Option`] where a size, timestep or label does not suit the network, [`Error::DeviceLost`] where the device
    /// was lost before the result was there, and those of [`Replay::new`].
    pub async fn evaluate(
        &mut self,
        x: &[f32],
        shape: [usize; 4],
        timesteps: &[f32],
        labels: Option<&[f32]>,
    ) -> Result<Vec<f32>> {
        let [batch, channels, height, width] = shape;
        if timesteps.len() != batch
            || channels != self.network.in_channels()
            || x.len() != shape.iter().product::<usize>()
        {
            return Err(Error::Option {
                option: "x",
                found: format!("{} numbers for {shape:?}, at {} timesteps", x.len(), timesteps.len()),
                expected: format!(
                    "[batch, {}, height, width] numbers and a timestep for each sample",
                    self.network.in_channels()
                ),
            });
        }
        let given = self.network.features(timesteps, labels, &self.frequencies)?;
        let out_channels = self.network.out_channels();
        let replay = self.plan(batch, height, width).await?;
        replay.start(batch, &[Rows { first: 0, stride: 1 }]).await?;
        replay.upload(&prelude(replay.plan(), replay.weights().host(), &given)?);
        let (input, output) = (replay.plan().input, replay.plan().output);
        let mut nhwc = vec![0.0; x.len()];
        to_nhwc(x, channels, height * width, &mut nhwc);
        replay.write(input, &nhwc);
        replay.evaluate(0);
        let found = replay.read(output).await?;
        let mut out = vec![0.0; found.len()];
        to_nchw(&found, out_channels, height * width, &mut out);
        Ok(out)
    }
}
