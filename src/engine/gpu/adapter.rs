//! What is asked of a graphics API before there is a device.

#[cfg(not(target_arch = "wasm32"))]
use crate::engine::lower::{Choice, Tuning};
#[cfg(not(target_arch = "wasm32"))]
use crate::error::{Error, Result};

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

/// Refuses a choice that takes a feature which the adapter has not.
///
/// # Errors
/// [`Error::Unsupported`] for products in 16 bits without shader-f16.
#[cfg(not(target_arch = "wasm32"))]
pub(super) fn check_features(name: &str, features: wgpu::Features, choice: Choice) -> Result<()> {
    if choice.f16_products && !features.contains(wgpu::Features::SHADER_F16) {
        return Err(Error::Unsupported {
            what: format!("multiplying in 16 bits on {name}"),
            why: "the adapter has no shader-f16. Choose the device gpu, which multiplies in 32 bits"
                .to_owned(),
        });
    }
    Ok(())
}

/// What nobody chose for an adapter: GPUs are tried out, and graphics cards get finer cuts.
#[cfg(not(target_arch = "wasm32"))]
pub(super) fn choice_for(kind: wgpu::DeviceType, tuning: Option<Tuning>, choice: Choice) -> Choice {
    let nothing = Choice { f16_products: choice.f16_products, ..Choice::default() };
    let open = kind != wgpu::DeviceType::Cpu && tuning.is_none() && choice == nothing;
    let choice = Choice { measure: choice.measure.or(Some(open)), ..choice };
    if kind == wgpu::DeviceType::DiscreteGpu { choice.of_card() } else { choice }
}

#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests {
    use super::*;

    #[test]
    fn products_in_16_bits_take_shader_f16() {
        let f16 = Choice { f16_products: true, ..Choice::default() };
        let [none, all] = [wgpu::Features::empty(), wgpu::Features::all()];
        let error = check_features("a card", none, f16).unwrap_err();
        assert_eq!(error.kind(), "unsupported-architecture");
        assert!(error.to_string().contains("a card") && error.to_string().contains("shader-f16"), "{error}");
        check_features("a card", all, f16).unwrap();
        check_features("a card", none, Choice::default()).unwrap();
    }

    #[test]
    fn a_gpu_is_tried_out_unless_something_is_chosen() {
        let measured = |kind, choice| choice_for(kind, None, choice).measure == Some(true);
        let f16 = Choice { f16_products: true, ..Choice::default() };
        let halo = Choice { halo: Some(false), ..Choice::default() };
        let gpu = wgpu::DeviceType::IntegratedGpu;
        assert!(measured(gpu, Choice::default()) && measured(gpu, f16));
        assert!(!measured(gpu, halo) && !measured(wgpu::DeviceType::Cpu, f16));
    }
}
