//! Where a network runs: the CPU, or a GPU that wgpu reaches.

use serde::Serialize;

use crate::engine::cpu::CpuNetwork;
#[cfg(feature = "gpu")]
use crate::engine::gpu::{Gpu, GpuNetwork};
use crate::engine::parameters::Storage;
#[cfg(not(feature = "gpu"))]
use crate::error::Error;
use crate::error::Result;
use crate::network::unet::UNet2DConfig;

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
pub struct Device(Place);

#[derive(Clone, Debug)]
enum Place {
    Cpu,
    #[cfg(feature = "gpu")]
    Gpu(Gpu),
}

/// A network with its parameters on a device.
#[derive(Debug)]
pub(crate) enum Network {
    Cpu(Box<CpuNetwork>),
    #[cfg(feature = "gpu")]
    Gpu(Box<GpuNetwork>),
}

impl Device {
    /// The CPU, which is always there.
    #[must_use]
    pub fn cpu() -> Self {
        Self(Place::Cpu)
    }

    /// A device on the adapter that the graphics API prefers. A lost one stays lost: ask for another.
    ///
    /// # Errors
    /// [`Error::NoAdapter`] where none answers, or the crate was built without its `gpu` feature.
    pub async fn gpu() -> Result<Self> {
        #[cfg(feature = "gpu")]
        return Ok(Self(Place::Gpu(Gpu::new().await?)));
        #[cfg(not(feature = "gpu"))]
        return Err(Error::NoAdapter { problem: "this build has no GPU support".to_owned() });
    }

    /// A graphics adapter where there is a real one, else the CPU, which a GPU imitated in software is slower than.
    pub async fn best() -> Self {
        #[cfg(feature = "gpu")]
        if let Ok(gpu) = Gpu::new().await
            && !gpu.is_software()
        {
            return Self(Place::Gpu(gpu));
        }
        Self::cpu()
    }

    /// CPU or GPU.
    #[must_use]
    pub fn kind(&self) -> DeviceKind {
        match &self.0 {
            Place::Cpu => DeviceKind::Cpu,
            #[cfg(feature = "gpu")]
            Place::Gpu(_) => DeviceKind::Gpu,
        }
    }

    /// The adapter's name, or "CPU".
    #[must_use]
    pub fn name(&self) -> &str {
        match &self.0 {
            Place::Cpu => "CPU",
            #[cfg(feature = "gpu")]
            Place::Gpu(gpu) => gpu.name(),
        }
    }

    /// Takes the parameters over, one after the other. The CPU keeps them in f32.
    #[cfg_attr(
        not(feature = "gpu"),
        allow(unused_variables, clippy::unused_async, reason = "a GPU's concern")
    )]
    pub(crate) async fn load(
        &self,
        config: &UNet2DConfig,
        storage: Storage,
        take: impl FnMut(&str, &[usize]) -> Result<Vec<f32>>,
    ) -> Result<Network> {
        match &self.0 {
            Place::Cpu => Ok(Network::Cpu(Box::new(CpuNetwork::new(config.clone(), take)?))),
            #[cfg(feature = "gpu")]
            Place::Gpu(gpu) => {
                Ok(Network::Gpu(Box::new(GpuNetwork::new(gpu, config.clone(), storage, take).await?)))
            }
        }
    }
}

impl Network {
    /// One evaluation; see [`CpuNetwork::evaluate`].
    pub(crate) async fn evaluate(
        &mut self,
        x: &[f32],
        shape: [usize; 4],
        timesteps: &[f32],
        labels: Option<&[f32]>,
    ) -> Result<Vec<f32>> {
        match self {
            Network::Cpu(network) => network.evaluate(x, shape, timesteps, labels),
            #[cfg(feature = "gpu")]
            Network::Gpu(network) => network.evaluate(x, shape, timesteps, labels).await,
        }
    }
}
