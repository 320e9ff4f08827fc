//! Where a network runs: the CPU, or a GPU that wgpu reaches.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;

use crate::denoiser::Formula;
use crate::engine::cpu::Cpu;
use crate::engine::executor::{Backend, LoadedNetwork};
#[cfg(feature = "gpu")]
use crate::engine::gpu::Gpu;
use crate::engine::parameters::{Storage, Take};
use crate::error::{Error, Result};
use crate::network::Network;

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
#[derive(Clone)]
pub struct Device {
    kind: DeviceKind,
    backend: Arc<dyn Backend>,
    /// The same, for what takes other plans than a network's.
    #[cfg(all(feature = "gpu", feature = "text"))]
    gpu: Option<Gpu>,
}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}, {}", self.kind, self.name())
    }
}

/// The network on loan to a run.
pub(crate) enum LentNetwork {
    Loaded(Lent<LoadedNetwork>),
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
        Self {
            kind: DeviceKind::Cpu,
            backend: Arc::new(Cpu),
            #[cfg(all(feature = "gpu", feature = "text"))]
            gpu: None,
        }
    }

    /// A device on the adapter that the graphics API prefers. A lost one stays lost: ask for another.
    ///
    /// # Errors
    /// [`Error::NoAdapter`] where none answers, or the crate was built without its `gpu` feature.
    pub async fn gpu() -> Result<Self> {
        #[cfg(feature = "gpu")]
        return Ok(Gpu::new().await?.into());
        #[cfg(not(feature = "gpu"))]
        return Err(Error::NoAdapter { problem: "this build has no GPU support".to_owned() });
    }

    /// A graphics adapter if there is one in hardware, else the CPU: an adapter in software is slower than the CPU.
    pub async fn best() -> Self {
        #[cfg(feature = "gpu")]
        if let Ok(gpu) = Gpu::new().await
            && !gpu.is_software()
        {
            return gpu.into();
        }
        Self::cpu()
    }

    /// Whether the device still works. One that has failed does not recover: load what was on it again, on another device.
    ///
    /// # Errors
    /// [`Error::DeviceLost`], and [`Error::OutOfMemory`] where the graphics API ran out of memory at an unknown place.
    pub fn check(&self) -> Result<()> {
        self.backend.check()
    }

    /// CPU or GPU.
    #[must_use]
    pub fn kind(&self) -> DeviceKind {
        self.kind
    }

    /// The adapter's name, or "CPU".
    #[must_use]
    pub fn name(&self) -> &str {
        self.backend.name()
    }

    /// The GPU that it is, if it is one.
    #[cfg(all(feature = "gpu", feature = "text"))]
    pub(crate) fn as_gpu(&self) -> Option<&Gpu> {
        self.gpu.as_ref()
    }

    /// Where burn computes, to train beside this device: on the processor, or on the same adapter.
    ///
    /// # Errors
    /// [`Error::NoAdapter`] where the adapter does not make a device that burn can use.
    #[cfg(all(feature = "burn", not(target_arch = "wasm32")))]
    pub async fn for_burn(&self) -> Result<burn::tensor::Device> {
        self.backend.for_burn().await
    }

    /// Loads a network: `take` gives its parameters, one after the other. The CPU keeps them in f32.
    pub(crate) async fn load(
        &self,
        network: Arc<dyn Network>,
        storage: Storage,
        take: Take<'_>,
    ) -> Result<Shared<LoadedNetwork>> {
        Ok(Shared::new(self.backend.load(network, storage, take).await?))
    }
}

#[cfg(feature = "gpu")]
impl From<Gpu> for Device {
    fn from(gpu: Gpu) -> Self {
        Self {
            kind: DeviceKind::Gpu,
            #[cfg(feature = "text")]
            gpu: Some(gpu.clone()),
            backend: Arc::new(gpu),
        }
    }
}

impl LentNetwork {
    /// Plans evaluations of this shape, `[batch, channels, height, width]`, and makes room for them.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] and [`Error::Limit`] where that is more than the device has.
    pub(crate) async fn plan(&mut self, [batch, _, height, width]: [usize; 4]) -> Result<()> {
        match self {
            LentNetwork::Loaded(network) => network.plan([batch, height, width]).await,
            LentNetwork::Formula(_) => Ok(()),
        }
    }

    /// One evaluation; see [`LoadedNetwork::evaluate`].
    pub(crate) async fn evaluate(
        &mut self,
        x: &[f32],
        shape: [usize; 4],
        timesteps: &[f32],
        labels: Option<&[f32]>,
    ) -> Result<Vec<f32>> {
        match self {
            LentNetwork::Loaded(network) => network.evaluate(x, shape, timesteps, labels).await,
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
    pub(crate) fn new(thing: T) -> Self {
        Self(Arc::new(Mutex::new(Some(Box::new(thing)))))
    }

    /// # Errors
    /// [`Error::Busy`] while somebody else has it.
    pub(crate) fn lend(&self) -> Result<Lent<T>> {
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
