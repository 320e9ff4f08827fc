//! A run of a sampler on a model, wherever its network is.
//!
//! On the CPU the host replays the sampler's program. On a GPU the images stay there and every step's are copied out
//! beside the next step's work, so that looking at them costs the run nothing; steps that nobody looks at are submitted several at a
//! time. Where a sampler has to look at a whole
//! image (dynamic thresholding), the host replays it even so, and the images travel to and fro at every step.

use std::pin::Pin;
use std::sync::Arc;

use crate::device::{Lent, LentNetwork};
use crate::engine::executor::LoadedNetwork;
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

/// A run of a sampler on a model. To stop it, drop it between two steps: a GPU then still finishes what it has begun, a step
/// or some 16 ms of steps that nobody looks at.
pub struct Sampling {
    shape: [usize; 4],
    noise: Generator,
    /// What it starts from, where that is not the generator's noise.
    begins: Option<Arc<[f32]>>,
    place: Place,
    finished: bool,
}

enum Place {
    /// Nothing is computed yet.
    Unstarted(Box<HostRun<Generator>>, OnHost),
    Host(Box<HostRun<Generator>>, OnHost),
    /// Where the network is, whose executor replays the program.
    Device(OnDevice),
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
        // Slots, what a step makes of one or more, and the network's input and output, which may have twice the channels.
        let images = program.slots().len() + if program.looks_at_whole_images() { 14 } else { 4 };
        let guided = program.is_guided();
        // Checks the shape, wherever it is needed.
        let run = HostRun::new(program, shape, noise.clone())?;
        let mut planned = shape;
        planned[0] *= 1 + usize::from(guided);
        let host = OnHost { network, labels, guided, watcher, room: (planned, images) };
        Ok(Self { shape, noise, begins, place: Place::Unstarted(Box::new(run), host), finished: false })
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

    /// The next step, or `None` after the last; the last step's `x` are the pictures. Where [nobody looks](crate::SampleOptions::every) it may be
    /// the last of several, and has no images.
    ///
    /// # Errors
    /// [`Error::NotFiniteOutput`], [`Error::DeviceLost`], and on
    /// the first step [`Error::Limit`] or [`Error::OutOfMemory`] where the
    /// batch is too large for the device.
    pub async fn step(&mut self) -> Result<Option<Step<'_>>> {
        self.place_run().await?;
        if self.finished {
            self.place = Place::Ended;
        }
        let step = match &mut self.place {
            Place::Host(run, network) => run.step(network).await?,
            Place::Device(run) => run.0.step().await?,
            Place::Unstarted(..) | Place::Ended => None,
        };
        self.finished = step.is_none_or(|step| step.index + 1 == step.total);
        Ok(step)
    }

    /// Finds out where the program is replayed, before the first step.
    async fn place_run(&mut self) -> Result<()> {
        let Place::Unstarted(run, host) = &mut self.place else { return Ok(()) };
        let on_device = match &mut host.network {
            LentNetwork::Loaded(network) => {
                network.begin(run.program(), self.shape, self.noise.clone(), host.labels.as_deref()).await?
            }
            LentNetwork::Formula(_) => false,
        };
        if !on_device {
            host.plan().await?;
        }
        self.place = match std::mem::replace(&mut self.place, Place::Ended) {
            Place::Unstarted(_, OnHost { network: LentNetwork::Loaded(network), .. }) if on_device => {
                Place::Device(OnDevice(network))
            }
            Place::Unstarted(run, host) => Place::Host(run, host),
            place => place,
        };
        Ok(())
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

/// A network whose executor replays the run's program.
struct OnDevice(Lent<LoadedNetwork>);

impl Drop for OnDevice {
    fn drop(&mut self) {
        self.0.executor_mut().end();
    }
}

/// A network for a run on the host.
struct OnHost {
    network: LentNetwork,
    /// Of what is wanted, and in a guided run then of what is not.
    labels: Option<Vec<f32>>,
    guided: bool,
    watcher: Option<Box<dyn Watcher>>,
    /// The network's batch, and how many of such are alive at once.
    room: ([usize; 4], usize),
}

impl OnHost {
    /// Makes sure of the memory before the first noise is drawn, which for large images takes long.
    async fn plan(&mut self) -> Result<()> {
        let (shape, images) = self.room;
        self.network.plan(shape).await?;
        let bytes = shape.iter().map(|n| *n as u64).product::<u64>() * images as u64 * 4;
        let room = usize::try_from(bytes).is_ok_and(|n| Vec::<u8>::new().try_reserve_exact(n).is_ok());
        if !room {
            let problem = format!("{images} batches of images take {bytes} bytes");
            return Err(Error::OutOfMemory { problem });
        }
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
