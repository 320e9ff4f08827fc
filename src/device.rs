//! Where a network runs: the CPU, or a GPU that wgpu reaches.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;

use crate::denoiser::Formula;
use crate::engine::cpu::CpuNetwork;
#[cfg(feature = "gpu")]
use crate::engine::gpu::{Gpu, GpuNetwork};
use crate::engine::parameters::Storage;
use crate::error::{Error, Result};
use crate::network::Network as Architecture;

/// The kind of a [`Device`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DeviceKind {
    /// The processor.
    Cpu,
    /// A graphics adapter, through wgpu.
    Gpu,
}

/// A device that networks can be loaded onto. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Device(Backend);

#[derive(Clone, Debug)]
enum Backend {
    Cpu,
    #[cfg(feature = "gpu")]
    Gpu(Gpu),
}

/// A network with its parameters on a device. Clones are the same network.
#[derive(Clone, Debug)]
pub(crate) enum Network {
    Cpu(Shared<CpuNetwork>),
    #[cfg(feature = "gpu")]
    Gpu(Shared<GpuNetwork>),
}

/// The network on loan to a run.
pub(crate) enum LentNetwork {
    Cpu(Lent<CpuNetwork>),
    #[cfg(feature = "gpu")]
    Gpu(Lent<GpuNetwork>),
    /// What stands in for a network.
    Formula(Box<dyn Formula>),
}

/// Exclusive loan: holds the value while no run has it.
#[derive(Debug)]
pub(crate) struct Shared<T>(Arc<Mutex<Option<Box<T>>>>);

/// A value on loan, which goes back to its place when this is dropped.
#[derive(Debug)]
pub(crate) struct Lent<T> {
    place: Shared<T>,
    thing: Option<Box<T>>,
}

impl Device {
    /// The CPU, which is always there.
    #[must_use]
    pub fn cpu() -> Self {
        Self(Backend::Cpu)
    }

    /// A device on the adapter that the graphics API prefers. A lost one stays lost: ask for another.
    ///
    /// # Errors
    /// [`Error::NoAdapter`] where none answers, or the crate was built without its `gpu` feature.
    pub async fn gpu() -> Result<Self> {
        #[cfg(feature = "gpu")]
        return Ok(Self(Backend::Gpu(Gpu::new().await?)));
        #[cfg(not(feature = "gpu"))]
        return Err(Error::NoAdapter { problem: "this build has no GPU support".to_owned() });
    }

    /// A graphics adapter if there is one in hardware, else the CPU: an adapter in software is slower than the CPU.
    pub async fn best() -> Self {
        #[cfg(feature = "gpu")]
        if let Ok(gpu) = Gpu::new().await
            && !gpu.is_software()
        {
            return Self(Backend::Gpu(gpu));
        }
        Self::cpu()
    }

    /// Whether the device still works. One that has failed does not recover: load what was on it again, on another device.
    ///
    /// # Errors
    /// [`Error::DeviceLost`], and [`Error::OutOfMemory`] where the graphics API ran out of memory at an unknown place.
    pub fn check(&self) -> Result<()> {
        match &self.0 {
            Backend::Cpu => Ok(()),
            #[cfg(feature = "gpu")]
            Backend::Gpu(gpu) => gpu.check(),
        }
    }

    /// CPU or GPU.
    #[must_use]
    pub fn kind(&self) -> DeviceKind {
        match &self.0 {
            Backend::Cpu => DeviceKind::Cpu,
            #[cfg(feature = "gpu")]
            Backend::Gpu(_) => DeviceKind::Gpu,
        }
    }

    /// The adapter's name, or "CPU".
    #[must_use]
    pub fn name(&self) -> &str {
        match &self.0 {
            Backend::Cpu => "CPU",
            #[cfg(feature = "gpu")]
            Backend::Gpu(gpu) => gpu.name(),
        }
    }

    /// The GPU that it is, if it is one.
    #[cfg(all(feature = "gpu", feature = "text"))]
    pub(crate) fn as_gpu(&self) -> Option<&Gpu> {
        if let Backend::Gpu(gpu) = &self.0 { Some(gpu) } else { None }
    }

    /// Where burn computes, to train beside this device: on the processor, or on the same adapter.
    ///
    /// # Errors
    /// [`Error::NoAdapter`] where the adapter does not make a device that burn can use.
    #[cfg(all(feature = "burn", not(target_arch = "wasm32")))]
    #[cfg_attr(not(feature = "gpu"), allow(clippy::unused_async, reason = "a GPU's concern"))]
    pub async fn for_burn(&self) -> Result<burn::tensor::Device> {
        match &self.0 {
            Backend::Cpu => Ok(burn::tensor::Device::flex()),
            #[cfg(feature = "gpu")]
            Backend::Gpu(gpu) => gpu.for_burn().await,
        }
    }

    /// Loads a network: `take` gives its parameters, one after the other. The CPU keeps them in f32.
    #[cfg_attr(
        not(feature = "gpu"),
        allow(unused_variables, clippy::unused_async, reason = "a GPU's concern")
    )]
    pub(crate) async fn load(
        &self,
        network: Arc<dyn Architecture>,
        storage: Storage,
        take: impl FnMut(&str, &[usize]) -> Result<Vec<f32>>,
    ) -> Result<Network> {
        match &self.0 {
            Backend::Cpu => Ok(Network::Cpu(Shared::new(CpuNetwork::new(network, take)?))),
            #[cfg(feature = "gpu")]
            Backend::Gpu(gpu) => {
                Ok(Network::Gpu(Shared::new(GpuNetwork::new(gpu, network, storage, take).await?)))
            }
        }
    }
}

#[cfg(feature = "gpu")]
impl From<Gpu> for Device {
    fn from(gpu: Gpu) -> Self {
        Self(Backend::Gpu(gpu))
    }
}

impl Network {
    /// # Errors
    /// [`Error::Busy`] while somebody else has it.
    pub(crate) fn lend(&self) -> Result<LentNetwork> {
        match self {
            Network::Cpu(network) => network.lend().map(LentNetwork::Cpu),
            #[cfg(feature = "gpu")]
            Network::Gpu(network) => network.lend().map(LentNetwork::Gpu),
        }
    }
}

impl LentNetwork {
    /// Plans evaluations of this shape, `[batch, channels, height, width]`, and makes room for them.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] and [`Error::Limit`] where that is more than the device has.
    #[cfg_attr(not(feature = "gpu"), allow(clippy::unused_async, reason = "a GPU's concern"))]
    pub(crate) async fn plan(&mut self, [batch, _, height, width]: [usize; 4]) -> Result<()> {
        match self {
            LentNetwork::Cpu(network) => network.plan(batch, height, width),
            #[cfg(feature = "gpu")]
            LentNetwork::Gpu(network) => network.plan(batch, height, width).await.map(drop),
            LentNetwork::Formula(_) => Ok(()),
        }
    }

    /// One evaluation; see [`CpuNetwork::evaluate`].
    pub(crate) async fn evaluate(
        &mut self,
        x: &[f32],
        shape: [usize; 4],
        timesteps: &[f32],
        labels: Option<&[f32]>,
    ) -> Result<Vec<f32>> {
        match self {
            LentNetwork::Cpu(network) => network.evaluate(x, shape, timesteps, labels),
            #[cfg(feature = "gpu")]
            LentNetwork::Gpu(network) => network.evaluate(x, shape, timesteps, labels).await,
            LentNetwork::Formula(formula) => formula.denoise(x, shape, timesteps).await,
        }
    }
}

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Shared<T> {
    fn new(thing: T) -> Self {
        Self(Arc::new(Mutex::new(Some(Box::new(thing)))))
    }

    fn lend(&self) -> Result<Lent<T>> {
        let thing = self.0.lock().unwrap_or_else(PoisonError::into_inner).take().ok_or(Error::Busy)?;
        Ok(Lent { place: self.clone(), thing: Some(thing) })
    }
}

impl<T> Deref for Lent<T> {
    type Target = T;

    fn deref(&self) -> &T {
        match &self.thing {
            Some(thing) => thing,
            None => unreachable!("it is given back only when this is dropped"),
        }
    }
}

impl<T> DerefMut for Lent<T> {
    fn deref_mut(&mut self) -> &mut T {
        match &mut self.thing {
            Some(thing) => thing,
            None => unreachable!("it is given back only when this is dropped"),
        }
    }
}

impl<T> Drop for Lent<T> {
    fn drop(&mut self) {
        *self.place.0.lock().unwrap_or_else(PoisonError::into_inner) = self.thing.take();
    }
}
