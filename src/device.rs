//! Where a network runs: the CPU, or a GPU that wgpu reaches.

use serde::Serialize;

use crate::engine::cpu::CpuNetwork;
use crate::error::{Error, Result};
use crate::network::describe::Description;
#[cfg(feature = "burn")]
use crate::network::on_burn::BurnUNet;
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
pub struct Device {
    place: Place,
    name: String,
    /// The largest buffer a kernel can read, in bytes.
    max_binding: u64,
}

#[derive(Clone, Debug)]
enum Place {
    Cpu,
    #[cfg(feature = "burn")]
    Gpu(burn::tensor::Device),
}

/// A network with its parameters on a device.
pub(crate) enum Network {
    Cpu(Box<CpuNetwork>),
    #[cfg(feature = "burn")]
    Gpu(Box<BurnUNet>),
}

impl Device {
    /// The CPU, which is always there.
    #[must_use]
    pub fn cpu() -> Self {
        Self { place: Place::Cpu, name: "CPU".to_owned(), max_binding: u64::MAX }
    }

    /// The GPU that the graphics API prefers.
    ///
    /// # Errors
    /// [`Error::NoAdapter`] where none answers.
    pub async fn gpu() -> Result<Self> {
        gpu::get().await
    }

    /// A graphics adapter where there is a real one, else the CPU, which a GPU imitated in software is slower than.
    pub async fn best() -> Self {
        gpu::get_hardware().await.unwrap_or_else(Self::cpu)
    }

    /// CPU or GPU.
    #[must_use]
    pub fn kind(&self) -> DeviceKind {
        match self.place {
            Place::Cpu => DeviceKind::Cpu,
            #[cfg(feature = "burn")]
            Place::Gpu(_) => DeviceKind::Gpu,
        }
    }

    /// The adapter's name, or "CPU".
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// # Errors
    /// [`Error::Limit`] where a tensor of the forward pass is larger than what a kernel can bind here.
    pub(crate) fn check_limits(&self, need: &Description) -> Result<()> {
        if need.largest_tensor_bytes > self.max_binding {
            return Err(Error::Limit {
                limit: "maxStorageBufferBindingSize",
                needed: need.largest_tensor_bytes,
                available: self.max_binding,
            });
        }
        Ok(())
    }

    /// Takes the parameters over, one after the other.
    #[cfg_attr(not(feature = "burn"), allow(unused_variables, reason = "the CPU finds the names itself"))]
    pub(crate) fn load(
        &self,
        config: &UNet2DConfig,
        parameters: &[(String, Vec<usize>)],
        take: impl FnMut(&str, &[usize]) -> Result<Vec<f32>>,
    ) -> Result<Network> {
        match &self.place {
            Place::Cpu => Ok(Network::Cpu(Box::new(CpuNetwork::new(config.clone(), take)?))),
            #[cfg(feature = "burn")]
            Place::Gpu(device) => {
                Ok(Network::Gpu(Box::new(BurnUNet::new(config.clone(), parameters, device, take)?)))
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
            #[cfg(feature = "burn")]
            Network::Gpu(network) => network.evaluate(x, shape, timesteps, labels).await,
        }
    }
}

#[cfg(feature = "burn")]
mod gpu {
    use std::sync::OnceLock;

    use burn::tensor::wgpu::wgpu::DeviceType;

    use super::{Device, Error, Place, Result};

    /// burn registers one runtime for a graphics API and keeps it until the process ends, so there is one for all.
    static GPU: OnceLock<(Device, DeviceType)> = OnceLock::new();

    async fn find() -> Result<&'static (Device, DeviceType)> {
        if let Some(found) = GPU.get() {
            return Ok(found);
        }
        match burn::tensor::Device::wgpu_options().init_with_setup_async().await {
            Ok((burn, setup)) => {
                let info = setup.adapter.get_info();
                let name = if info.name.is_empty() { "WebGPU".to_owned() } else { info.name };
                let max_binding = setup.device.limits().max_storage_buffer_binding_size;
                let device = Device { place: Place::Gpu(burn), name, max_binding };
                Ok(GPU.get_or_init(|| (device, info.device_type)))
            }
            // Another task was quicker to register it.
            Err(e) => GPU.get().ok_or_else(|| Error::NoAdapter { problem: e.to_string() }),
        }
    }

    pub(super) async fn get() -> Result<Device> {
        Ok(find().await?.0.clone())
    }

    pub(super) async fn get_hardware() -> Option<Device> {
        let (device, kind) = find().await.ok()?;
        (*kind != DeviceType::Cpu).then(|| device.clone())
    }
}

#[cfg(not(feature = "burn"))]
mod gpu {
    use super::{Device, Error, Result};

    #[allow(clippy::unused_async, reason = "with a GPU it waits")]
    pub(super) async fn get() -> Result<Device> {
        Err(Error::NoAdapter { problem: "this build has no GPU support".to_owned() })
    }

    #[allow(clippy::unused_async, reason = "with a GPU it waits")]
    pub(super) async fn get_hardware() -> Option<Device> {
        None
    }
}
