//! A network's parameters on a device, and the plans that were used there lately.

use std::sync::Arc;

use super::device::Gpu;
use super::replay::Replay;
use super::weights::Weights;
use crate::engine::executor::Size;
use crate::engine::plan::Plan;
use crate::error::{Error, Result};
use crate::network::architecture::Network;

/// Plans kept, with their memory on the device: enough to go back and forth between a few shapes.
const KEPT: usize = 3;

/// A network's parameters on a device, and plans for the three sizes that were used last.
#[derive(Debug)]
pub struct Replays {
    weights: Arc<Weights>,
    /// The one used last is the last.
    plans: Vec<(Size, Replay)>,
}

impl Replays {
    pub(super) fn new(weights: Weights) -> Self {
        Self { weights: Arc::new(weights), plans: Vec::new() }
    }

    /// The device.
    #[must_use]
    pub fn gpu(&self) -> &Gpu {
        self.weights.gpu()
    }

    /// The parameters.
    #[must_use]
    pub fn weights(&self) -> &Weights {
        &self.weights
    }

    /// The network's plan for this size on the device, made where it is not among those used last.
    ///
    /// # Errors
    /// Those of [`Plan::new`] and of [`Replay::new`].
    pub async fn prepare(&mut self, network: &dyn Network, size: Size) -> Result<()> {
        self.gpu().check()?;
        let plan = match self.plans.iter().position(|(of, _)| *of == size) {
            Some(at) => self.plans.remove(at),
            None => {
                let [batch, height, width] = size;
                let plan = Plan::new(network, batch, height, width)?;
                let surplus = (self.plans.len() + 1).saturating_sub(KEPT);
                self.plans.drain(..surplus);
                let weights = Arc::clone(&self.weights);
                #[cfg(not(target_arch = "wasm32"))]
                let replay = Replay::measured(plan, weights).await?;
                #[cfg(target_arch = "wasm32")]
                let replay = Replay::new(plan, weights).await?;
                (size, replay)
            }
        };
        self.plans.push(plan);
        Ok(())
    }

    pub(super) fn plan(&self, size: Size) -> Option<&Plan> {
        Some(self.plans.iter().find(|(of, _)| *of == size)?.1.plan())
    }

    /// The plan for a size that was prepared lately.
    ///
    /// # Errors
    /// [`Error::Disposed`] where it is not kept.
    pub fn get(&mut self, size: Size) -> Result<&mut Replay> {
        let (_, replay) = self.plans.iter_mut().find(|(of, _)| *of == size).ok_or(Error::Disposed)?;
        Ok(replay)
    }

    /// Frees the plans of all sizes, with their memory on the device; the parameters stay.
    pub fn forget(&mut self) {
        self.plans.clear();
    }
}
