//! What is asked of a graphics API before there is a device.

#[cfg(not(target_arch = "wasm32"))]
use crate::engine::lower::{Choice, Tuning};

/// Why there is no adapter. A browser says no more than that, and wgpu's guesses at other systems are not worth their bytes.
pub(super) fn refusal(error: &wgpu::RequestAdapterError) -> String {
    if cfg!(target_arch = "wasm32") { "the browser offers none".to_owned() } else { error.to_string() }
}

/// wgpu's entry. Nothing is ever shown in a window, so on Linux Vulkan is not asked for windows: to load what it needs for them
/// connects to a display, and where there is none, the libraries write about that on stderr.
pub(super) fn instance() -> wgpu::Instance {
    #[cfg(all(unix, not(target_vendor = "apple"), not(target_os = "android")))]
    {
        use wgpu::hal;

        let wgpu::InstanceDescriptor { flags, memory_budget_thresholds, backend_options, .. } =
            wgpu::InstanceDescriptor::new_without_display_handle();
        let descriptor = hal::InstanceDescriptor {
            name: "noiseball",
            flags,
            memory_budget_thresholds,
            backend_options,
            telemetry: None,
            display: None,
        };
        let without_windows = |args: hal::vulkan::CreateInstanceCallbackArgs<'_, '_, '_>| {
            args.extensions.retain(|name| {
                !["VK_KHR_wayland_surface", "VK_KHR_xcb_surface", "VK_KHR_xlib_surface"]
                    .iter()
                    .any(|window| name.to_bytes() == window.as_bytes())
            });
        };
        // SAFETY: wgpu looks for these three extensions among those that are enabled before it makes a surface with one, and
        // uses them for nothing else; no surface is made. The Vulkan library stays loaded as long as the instance.
        let vulkan = unsafe {
            hal::vulkan::Instance::init_with_callback(&descriptor, Some(Box::new(without_windows)))
        };
        if let Ok(vulkan) = vulkan {
            // SAFETY: it was just made, for this backend, and is given away.
            return unsafe { wgpu::Instance::from_hal::<hal::api::Vulkan>(vulkan) };
        }
    }
    wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle())
}

/// The lowest limits that the kernels do with, but the largest buffers that the adapter allows.
pub(super) fn limits_of(adapter: &wgpu::Adapter) -> wgpu::Limits {
    let available = adapter.limits();
    wgpu::Limits {
        max_buffer_size: available.max_buffer_size,
        max_storage_buffer_binding_size: available.max_storage_buffer_binding_size,
        ..wgpu::Limits::downlevel_defaults()
    }
}

/// What nobody chose for an adapter: GPUs are tried out, and graphics cards get finer cuts.
#[cfg(not(target_arch = "wasm32"))]
pub(super) fn choice_for(kind: wgpu::DeviceType, tuning: Option<Tuning>, choice: Choice) -> Choice {
    let open = kind != wgpu::DeviceType::Cpu && tuning.is_none() && choice == Choice::default();
    let choice = Choice { measure: choice.measure.or(Some(open)), ..choice };
    if kind == wgpu::DeviceType::DiscreteGpu { choice.of_card() } else { choice }
}
