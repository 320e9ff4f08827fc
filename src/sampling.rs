//! A run of a sampler on a model, wherever its network is.
//!
//! On the CPU the host replays the sampler's program. On a GPU the images stay there and every step's are copied out
//! beside the next step's work, so that looking at them costs the run nothing. Where a sampler has to look at a whole
//! image (dynamic thresholding), the host replays it even so, and the images travel to and fro at every step.

#[cfg(feature = "gpu")]
use std::collections::VecDeque;

#[cfg(feature = "gpu")]
use crate::denoiser::Point;
#[cfg(feature = "gpu")]
use crate::device::Lent;
use crate::device::LentNetwork;
#[cfg(feature = "gpu")]
use crate::engine::gpu::{GpuNetwork, GpuRun, GpuStep, IN_FLIGHT, Reading};
use crate::error::{Error, Result};
use crate::rng::{Generator, Normals};
use crate::sampler::{Evaluate, HostRun, Program, Step};

/// A run of a sampler on a model. To stop it, drop it between two steps: a GPU then still finishes the step that it has
/// begun.
pub struct Sampling {
    shape: [usize; 4],
    noise: Generator,
    place: Place,
}

enum Place {
    Host(Box<HostRun<Generator>>, OnHost),
    #[cfg(feature = "gpu")]
    Gpu(Box<OnGpu>),
    /// The network was given back.
    Ended,
}

impl Sampling {
    /// # Errors
    /// [`Error::Option`] for a shape that no run can have.
    pub(crate) fn new(
        network: LentNetwork,
        program: Program,
        shape: [usize; 4],
        noise: Generator,
        labels: Option<Vec<f32>>,
    ) -> Result<Self> {
        // Checks the shape, wherever it is needed.
        let run = HostRun::new(program.clone(), shape, noise.clone())?;
        let start = noise.clone();
        let place = match network {
            #[cfg(feature = "gpu")]
            LentNetwork::Gpu(network) if !program.looks_at_whole_images() => {
                let start = Start { network, program, noise, labels };
                Place::Gpu(Box::new(OnGpu {
                    shape,
                    start: Some(start),
                    run: None,
                    coming: VecDeque::new(),
                    images: Vec::new(),
                    finished: false,
                }))
            }
            network => {
                // Slots, what a step makes of one or more, and the network's input and output, which may have twice the channels.
                let work = if program.looks_at_whole_images() { 14 } else { 4 };
                let images = program.slots().len() + work;
                Place::Host(Box::new(run), OnHost { network, labels, unplanned: Some((shape, images)) })
            }
        };
        Ok(Self { shape, noise: start, place })
    }

    /// The pure noise that this run starts from, `[batch, channels, height, width]`.
    #[must_use]
    pub fn start(&self) -> Vec<f32> {
        let mut x = vec![0.0; self.shape.iter().product()];
        self.noise.clone().normals(0, self.shape[0], &mut x);
        x
    }

    /// The next step, or `None` after the last; the last step's `x` are the pictures.
    ///
    /// # Errors
    /// [`Error::NotFiniteOutput`], [`Error::DeviceLost`], and on
    /// the first step [`Error::Limit`] or [`Error::OutOfMemory`] where the
    /// batch is too large for the device.
    pub async fn step(&mut self) -> Result<Option<Step<'_>>> {
        let finished = match &self.place {
            Place::Host(run, _) => run.is_finished(),
            #[cfg(feature = "gpu")]
            Place::Gpu(run) => run.finished,
            Place::Ended => true,
        };
        if finished {
            self.place = Place::Ended;
        }
        match &mut self.place {
            Place::Host(run, network) => {
                network.plan().await?;
                run.step(network).await
            }
            #[cfg(feature = "gpu")]
            Place::Gpu(run) => run.step().await,
            Place::Ended => Ok(None),
        }
    }

    /// [`Self::step`] for programs that are not asynchronous.
    ///
    /// # Errors
    /// As [`Self::step`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn step_blocking(&mut self) -> Result<Option<Step<'_>>> {
        pollster::block_on(self.step())
    }
}

/// A network for a run on the host, with the labels of that run.
struct OnHost {
    network: LentNetwork,
    labels: Option<Vec<f32>>,
    /// Before the first step: the images' shape, and how many batches of them are alive at once.
    unplanned: Option<([usize; 4], usize)>,
}

impl OnHost {
    /// Makes sure of the memory before the first noise is drawn, which for large images takes long.
    async fn plan(&mut self) -> Result<()> {
        let Some((shape, images)) = self.unplanned else { return Ok(()) };
        self.network.plan(shape).await?;
        let bytes = shape.iter().map(|n| *n as u64).product::<u64>() * images as u64 * 4;
        let room = usize::try_from(bytes).is_ok_and(|n| Vec::<u8>::new().try_reserve_exact(n).is_ok());
        if !room {
            let problem = format!("{images} batches of images take {bytes} bytes");
            return Err(Error::OutOfMemory { problem });
        }
        self.unplanned = None;
        Ok(())
    }
}

impl Evaluate for OnHost {
    async fn evaluate(&mut self, x: &[f32], shape: [usize; 4], timestep: f64) -> Result<Vec<f32>> {
        let timesteps = vec![timestep as f32; shape[0]];
        self.network.evaluate(x, shape, &timesteps, self.labels.as_deref()).await
    }

    async fn evaluate_each(&mut self, x: &[f32], shape: [usize; 4], timesteps: &[f64]) -> Result<Vec<f32>> {
        let timesteps: Vec<f32> = timesteps.iter().map(|t| *t as f32).collect();
        self.network.evaluate(x, shape, &timesteps, self.labels.as_deref()).await
    }
}

/// A run that the GPU makes.
#[cfg(feature = "gpu")]
struct OnGpu {
    shape: [usize; 4],
    /// What the first step makes the run of.
    start: Option<Start>,
    run: Option<GpuRun<Lent<GpuNetwork>>>,
    /// Steps whose images are on their way, the oldest first.
    coming: VecDeque<(GpuStep, Reading)>,
    /// x and x̂₀ of the step that was handed out.
    images: Vec<f32>,
    finished: bool,
}

#[cfg(feature = "gpu")]
struct Start {
    network: Lent<GpuNetwork>,
    program: Program,
    noise: Generator,
    labels: Option<Vec<f32>>,
}

#[cfg(feature = "gpu")]
impl OnGpu {
    async fn step(&mut self) -> Result<Option<Step<'_>>> {
        if let Some(Start { network, program, noise, labels }) = self.start.take() {
            let run = GpuRun::start(network, &program, self.shape, noise, labels.as_deref()).await?;
            self.run = Some(run);
        }
        let Some(run) = &mut self.run else { return Ok(None) };
        while self.coming.len() < IN_FLIGHT
            && let Some(next) = run.step_and_read().await?
        {
            self.coming.push_back(next);
        }
        let Some((step, reading)) = self.coming.pop_front() else { return Ok(None) };
        self.images = reading.images().await?;
        self.finished = step.index + 1 == step.total;
        let (x, x0) = self.images.split_at(self.images.len() / 2);
        let GpuStep { index, total, from: Point { level: from, timestep }, to, .. } = step;
        Ok(Some(Step { index, total, timestep, from, to, shape: self.shape, x, x0 }))
    }
}
