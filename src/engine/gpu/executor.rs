//! A device as an executor.

use std::collections::VecDeque;
use std::future::ready;
use std::sync::Arc;

use super::compiled::End;
use super::device::Gpu;
use super::replays::Replays;
use super::run::{GpuRun, GpuStep, IN_FLIGHT, Reading};
use super::weights::Weights;
use crate::denoiser::Point;
use crate::engine::executor::{Backend, Evaluation, Executor, Later, LoadedNetwork, Run, Size};
use crate::engine::packed::Packed;
use crate::engine::parameters::{Storage, Take};
use crate::engine::plan::Plan;
use crate::engine::prelude::Conditioning;
use crate::error::Result;
use crate::network::architecture::Network;
use crate::sampler::Step;

/// What a device replays plans with.
#[derive(Debug)]
pub struct GpuExecutor {
    replays: Replays,
    run: Option<Steps>,
}

/// A network on a GPU.
pub type GpuNetwork = LoadedNetwork<GpuExecutor>;

/// A run, and its steps whose images are on their way.
#[derive(Debug)]
struct Steps {
    run: GpuRun,
    shape: [usize; 4],
    /// The oldest first; without a reading where nobody looks.
    coming: VecDeque<(GpuStep, Option<Reading>)>,
    /// x and x̂₀ of the step that was handed out, or nothing.
    images: Vec<f32>,
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
        Self::load(gpu, network, storage, &mut take).await
    }

    async fn load(gpu: &Gpu, network: Arc<dyn Network>, storage: Storage, take: Take<'_>) -> Result<Self> {
        let plan = Plan::least(&*network)?;
        let weights = Weights::load(gpu, &plan, storage, take).await?;
        let executor = GpuExecutor { replays: Replays::new(weights), run: None };
        Ok(Self::of(Conditioning::new(network, take)?, executor))
    }
}

impl Backend for Gpu {
    fn load<'a>(
        &'a self,
        network: Arc<dyn Network>,
        storage: Storage,
        take: Take<'a>,
    ) -> Later<'a, LoadedNetwork> {
        // Those stored in 32 bits would be multiplied in 32.
        #[cfg(not(target_arch = "wasm32"))]
        let storage = if self.choice().f16_products { Storage::F16 } else { storage };
        Box::pin(async move { Ok(GpuNetwork::load(self, network, storage, take).await?.any()) })
    }

    fn name(&self) -> &str {
        Gpu::name(self)
    }

    fn check(&self) -> Result<()> {
        Gpu::check(self)
    }

    #[cfg(all(feature = "burn", not(target_arch = "wasm32")))]
    fn for_burn(&self) -> Later<'_, burn::tensor::Device> {
        Box::pin(Gpu::for_burn(self))
    }
}

impl GpuExecutor {
    /// The plans and parameters on the device.
    #[must_use]
    pub fn replays(&self) -> &Replays {
        &self.replays
    }

    /// The same, to be changed.
    pub fn replays_mut(&mut self) -> &mut Replays {
        &mut self.replays
    }
}

impl Executor for GpuExecutor {
    fn packed(&self) -> &Packed {
        self.replays.weights().host()
    }

    fn prepare<'a>(&'a mut self, network: &'a dyn Network, size: Size) -> Later<'a, ()> {
        Box::pin(self.replays.prepare(network, size))
    }

    fn plan(&self, size: Size) -> Option<&Plan> {
        self.replays.plan(size)
    }

    fn evaluate<'a>(&'a mut self, evaluation: Evaluation<'a>) -> Later<'a, Vec<f32>> {
        Box::pin(async move {
            let Evaluation { size, prelude: (prelude, count, rows), x } = evaluation;
            let replay = self.replays.get(size)?;
            replay.start(count, &[rows]).await?;
            replay.upload(prelude);
            replay.write(replay.plan().input, x);
            replay.evaluate(0);
            replay.read(replay.plan().output).await
        })
    }

    fn begin<'a>(&'a mut self, run: Run<'a>) -> Later<'a, bool> {
        if run.program.needs_host() {
            return Box::pin(ready(Ok(false)));
        }
        Box::pin(async move {
            self.run = None;
            let shape = run.shape;
            let run = GpuRun::start(&mut self.replays, run).await?;
            self.run = Some(Steps { run, shape, coming: VecDeque::new(), images: Vec::new() });
            Ok(true)
        })
    }

    fn step(&mut self) -> Later<'_, Option<Step<'_>>> {
        let Self { replays, run } = self;
        Box::pin(async move {
            match run {
                Some(run) => run.step(replays).await,
                None => Ok(None),
            }
        })
    }

    fn end(&mut self) {
        self.run = None;
    }
}

impl Steps {
    async fn step(&mut self, replays: &mut Replays) -> Result<Option<Step<'_>>> {
        while self.coming.len() < IN_FLIGHT
            && let Some(next) = self.run.step(replays).await?
        {
            self.coming.push_back(next);
        }
        let Some((step, reading)) = self.coming.pop_front() else { return Ok(None) };
        self.images = match reading {
            Some(reading) => reading.images().await?,
            None => Vec::new(),
        };
        let (x, x0) = self.images.split_at(self.images.len() / 2);
        let GpuStep { index, total, end: End { from: Point { level: from, timestep }, to, .. } } = step;
        Ok(Some(Step { index, total, timestep, from, to, shape: self.shape, x, x0 }))
    }
}
