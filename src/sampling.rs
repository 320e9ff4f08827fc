//! A run of a sampler on a model, wherever its network is.
//!
//! On the CPU the host replays the sampler's program. On a GPU the images stay there and every step's are copied out
//! beside the next step's work, so that looking at them costs the run nothing. Where a sampler has to look at a whole
//! image (dynamic thresholding), the host replays it even so, and the images travel to and fro at every step.

#[cfg(feature = "gpu")]
use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;

#[cfg(feature = "gpu")]
use crate::denoiser::Point;
#[cfg(feature = "gpu")]
use crate::device::Lent;
use crate::device::LentNetwork;
#[cfg(feature = "gpu")]
use crate::engine::gpu::{GpuNetwork, GpuRun, GpuStep, IN_FLIGHT, Reading};
use crate::error::{Error, Result};
use crate::rng::{Generator, Normals};
use crate::sampler::{Evaluate, HostRun, Program, Step, Watched};

/// Somebody who looks at each estimate of the clean images in a run, and may change it: a function, or what waits for an answer.
pub trait Watcher {
    /// As [`Evaluate::watch`].
    fn watch<'a>(
        &'a mut self,
        at: Watched,
        x0: &'a mut [f32],
    ) -> Pin<Box<dyn Future<Output = Result<()>> + 'a>>;
}

impl<F: FnMut(Watched, &mut [f32]) -> Result<()>> Watcher for F {
    fn watch<'a>(
        &'a mut self,
        at: Watched,
        x0: &'a mut [f32],
    ) -> Pin<Box<dyn Future<Output = Result<()>> + 'a>> {
        Box::pin(std::future::ready(self(at, x0)))
    }
}

/// A run of a sampler on a model. To stop it, drop it between two steps: a GPU then still finishes the step that it has
/// begun.
pub struct Sampling {
    shape: [usize; 4],
    noise: Generator,
    /// What it starts from, where that is not the generator's noise.
    begins: Option<Arc<[f32]>>,
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
    /// `labels` are those of what is wanted and, where the program is guided, then those of what is not.
    ///
    /// # Errors
    /// [`Error::Option`] for a shape that no run can have.
    pub(crate) fn new(
        network: LentNetwork,
        program: Program,
        shape: [usize; 4],
        noise: Generator,
        labels: Option<Vec<f32>>,
        begins: Option<Arc<[f32]>>,
        watcher: Option<Box<dyn Watcher>>,
    ) -> Result<Self> {
        // Checks the shape, wherever it is needed.
        let run = HostRun::new(program.clone(), shape, noise.clone())?;
        let start = noise.clone();
        let place = match network {
            #[cfg(feature = "gpu")]
            LentNetwork::Gpu(network) if !program.needs_host() => {
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
                let images = program.slots().len() + if program.looks_at_whole_images() { 14 } else { 4 };
                let guided = program.is_guided();
                let mut planned = shape;
                planned[0] *= 1 + usize::from(guided);
                let unplanned = Some((planned, images));
                Place::Host(Box::new(run), OnHost { network, labels, guided, watcher, unplanned })
            }
        };
        Ok(Self { shape, noise: start, begins, place })
    }

    /// The pure noise that this run starts from, or the picture that it inverts, `[batch, channels, height, width]`.
    #[must_use]
    pub fn start(&self) -> Vec<f32> {
        let len = self.shape.iter().product();
        if let Some(begins) = &self.begins {
            return begins.repeat(len / begins.len());
        }
        let mut x = vec![0.0; len];
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

/// A network for a run on the host.
struct OnHost {
    network: LentNetwork,
    /// Of what is wanted, and in a guided run then of what is not.
    labels: Option<Vec<f32>>,
    guided: bool,
    watcher: Option<Box<dyn Watcher>>,
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

impl OnHost {
    async fn ask(&mut self, x: &[f32], shape: [usize; 4], timestep: f64, both: bool) -> Result<Vec<f32>> {
        let timesteps = vec![timestep as f32; shape[0]];
        let halved = self.guided && !both;
        let labels =
            self.labels.as_deref().map(|labels| if halved { &labels[..labels.len() / 2] } else { labels });
        self.network.evaluate(x, shape, &timesteps, labels).await
    }
}

impl Evaluate for OnHost {
    async fn evaluate(&mut self, x: &[f32], shape: [usize; 4], timestep: f64) -> Result<Vec<f32>> {
        self.ask(x, shape, timestep, false).await
    }

    async fn evaluate_both(&mut self, x: &[f32], mut shape: [usize; 4], timestep: f64) -> Result<Vec<f32>> {
        shape[0] *= 2;
        self.ask(&x.repeat(2), shape, timestep, true).await
    }

    async fn watch(&mut self, at: Watched, x0: &mut [f32]) -> Result<()> {
        match &mut self.watcher {
            Some(watcher) => watcher.watch(at, x0).await,
            None => Ok(()),
        }
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
