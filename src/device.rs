//! Where a network runs: the CPU, or a GPU that wgpu reaches.

use std::sync::OnceLock;

use serde::Serialize;

use crate::error::{Error, Result};
use crate::network::describe::Description;

/// The kind of a [`Device`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DeviceKind {
    /// The processor, through burn's flex.
    Cpu,
    /// A graphics adapter, through wgpu.
    Gpu,
}

/// A device that networks can be loaded onto. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Device {
    pub(crate) burn: burn::tensor::Device,
    kind: DeviceKind,
    name: String,
    /// The largest buffer a kernel can read, in bytes.
    max_binding: u64,
    /// An adapter that runs on the processor.
    #[cfg(not(target_arch = "wasm32"))]
    software: bool,
}

/// burn registers one runtime for a graphics API and keeps it until the process ends, so there is one for all.
static GPU: OnceLock<Device> = OnceLock::new();

impl Device {
    /// The CPU, which is always there.
    #[must_use]
    pub fn cpu() -> Self {
        let burn = burn::tensor::Device::flex();
        Self {
            burn,
            kind: DeviceKind::Cpu,
            name: "CPU".to_owned(),
            max_binding: u64::MAX,
            #[cfg(not(target_arch = "wasm32"))]
            software: true,
        }
    }

    /// The GPU that the graphics API prefers.
    ///
    /// # Errors
    /// [`Error::NoAdapter`] where none answers.
    pub async fn gpu() -> Result<Self> {
        if let Some(device) = GPU.get() {
            return Ok(device.clone());
        }
        match burn::tensor::Device::wgpu_options().init_with_setup_async().await {
            Ok((burn, setup)) => {
                let info = setup.adapter.get_info();
                let name = if info.name.is_empty() { "WebGPU".to_owned() } else { info.name };
                let max_binding = setup.device.limits().max_storage_buffer_binding_size;
                let device = Self {
                    burn,
                    kind: DeviceKind::Gpu,
                    name,
                    max_binding,
                    #[cfg(not(target_arch = "wasm32"))]
                    software: info.device_type == burn::tensor::wgpu::wgpu::DeviceType::Cpu,
                };
                Ok(GPU.get_or_init(|| device).clone())
            }
            // Another task was quicker to register it.
            Err(e) => GPU.get().cloned().ok_or_else(|| Error::NoAdapter { problem: e.to_string() }),
        }
    }

    /// A graphics adapter where there is a real one, else the CPU, which a GPU imitated in software is slower than.
    #[cfg(not(target_arch = "wasm32"))]
    pub async fn best() -> Self {
        match Self::gpu().await {
            Ok(gpu) if !gpu.software => gpu,
            _ => Self::cpu(),
        }
    }

    /// CPU or GPU.
    #[must_use]
    pub fn kind(&self) -> DeviceKind {
        self.kind
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
}
