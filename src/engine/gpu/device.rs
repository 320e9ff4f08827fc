//! A graphics device: what the engine asks of an adapter, what it makes there, and how that can fail.

use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

#[cfg(not(target_arch = "wasm32"))]
use super::adapter::{check_features, choice_for};
use super::adapter::{instance, limits_of, refusal};
use super::combine;
use super::signal::{Receiver, Signals, lock};
use crate::engine::lower::{Choice, Shader, Tuning, UNIFORM_BYTES};
use crate::error::{Error, Result};

/// A device on a graphics adapter. Cloning is cheap; clones are the same device.
///
/// A lost device stays lost: everything that is asked of it then fails with [`Error::DeviceLost`], and a new one has to
/// be made.
#[derive(Clone, Debug)]
pub struct Gpu {
    state: Arc<DeviceState>,
}

#[derive(Debug)]
struct DeviceState {
    device: wgpu::Device,
    queue: wgpu::Queue,
    name: String,
    software: bool,
    tuning: Tuning,
    choice: Choice,
    limits: wgpu::Limits,
    counts: Arc<Counts>,
    trouble: Arc<Trouble>,
    layouts: Layouts,
    /// A few dozen, so that a list does.
    pipelines: Mutex<Vec<(Shader, wgpu::ComputePipeline)>>,
    combine: OnceLock<CombineKernel>,
    #[cfg(all(feature = "burn", not(target_arch = "wasm32")))]
    origin: (wgpu::Instance, wgpu::Adapter),
}

/// What kernels are given: first the arena, vectors, prelude's rows, and two uniforms, the operation's and the step's; then
/// the matrices.
#[derive(Debug)]
pub(super) struct Layouts {
    pub(super) step: wgpu::BindGroupLayout,
    pub(super) weights: wgpu::BindGroupLayout,
    pipeline: wgpu::PipelineLayout,
}

#[derive(Clone, Debug)]
enum Failure {
    Lost(String),
    OutOfMemory(String),
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Lost(problem) => Error::DeviceLost { problem },
            Failure::OutOfMemory(problem) => Error::OutOfMemory { problem },
        }
    }
}

/// The first failure of a device, and the callbacks that wait for it.
#[derive(Debug, Default)]
struct Trouble {
    failure: Mutex<Option<Failure>>,
    signals: Signals,
}

impl Trouble {
    /// Keeps the first failure until the next `check()`. Later failures are usually consequences of it.
    fn note(&self, failure: Failure) {
        lock(&self.failure).get_or_insert(failure);
        self.signals.fail();
    }
}

/// Everything that was made on a device and asked of it since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Kernels run.
    pub dispatches: u64,
    /// Command buffers submitted, one each time.
    pub submits: u64,
    /// Buffers made.
    pub buffers: u64,
    /// Buffers that are still there.
    pub live_buffers: u64,
    /// Bytes of the buffers that are still there.
    pub live_bytes: u64,
    /// Bind groups made.
    pub bind_groups: u64,
    /// Pipelines compiled.
    pub pipelines: u64,
}

#[derive(Debug, Default)]
struct Counts {
    dispatches: AtomicU64,
    submits: AtomicU64,
    buffers: AtomicU64,
    live_buffers: AtomicU64,
    live_bytes: AtomicU64,
    bind_groups: AtomicU64,
    pipelines: AtomicU64,
}

/// Where the failures of a device will be found.
fn watch(device: &wgpu::Device) -> Arc<Trouble> {
    let trouble: Arc<Trouble> = Arc::default();
    let lost = Arc::clone(&trouble);
    device.set_device_lost_callback(move |_, problem| lost.note(Failure::Lost(problem)));
    let uncaptured = Arc::clone(&trouble);
    device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| {
        uncaptured.note(match error {
            wgpu::Error::OutOfMemory { .. } => Failure::OutOfMemory("the graphics API said so".to_owned()),
            other => Failure::Lost(other.to_string()),
        });
    }));
    trouble
}

impl Gpu {
    /// The device of the adapter that the graphics API prefers for speed.
    ///
    /// It has shader-f16 where the adapter has it, and the largest buffers that the adapter allows: limits are fixed when a
    /// device is made, before the networks are known, and a higher limit costs nothing until it is used.
    ///
    /// # Errors
    /// [`Error::NoAdapter`] where no adapter answers, or none makes a device.
    pub async fn new() -> Result<Self> {
        Self::with(wgpu::Features::empty(), None, Choice::default()).await
    }

    /// The same, with timestamp queries where the adapter has them: for [`Replay::profile`](super::Replay::profile).
    ///
    /// # Errors
    /// As [`Self::new`].
    #[cfg(not(target_arch = "wasm32"))]
    pub async fn with_timestamps() -> Result<Self> {
        Self::with(wgpu::Features::TIMESTAMP_QUERY, None, Choice::default()).await
    }

    /// The same, with products of 16-bit numbers, summed in 32 bits: kernels then read half as much ([`Choice::f16_products`]). A
    /// [`Model`](crate::Model)'s matrices are all stored so; of a pipeline's parts those stay exact that are stored in F32.
    ///
    /// Results differ from [`Self::new`]'s by some 10⁻³ of their largest number, and what is larger than 65,504 on its way into a
    /// product becomes infinite.
    ///
    /// # Errors
    /// As [`Self::new`], and [`Error::Unsupported`] where the adapter has no shader-f16.
    #[cfg(not(target_arch = "wasm32"))]
    pub async fn with_f16_products() -> Result<Self> {
        let choice = Choice { f16_products: true, ..Choice::default() };
        Self::with(wgpu::Features::empty(), None, choice).await
    }

    /// The same, with kernels that a measurement chooses, and timestamp queries where the adapter has them.
    ///
    /// # Errors
    /// As [`Self::new`], and [`Error::Unsupported`] where what is chosen takes a feature that the adapter has not.
    #[cfg(not(target_arch = "wasm32"))]
    pub async fn chosen(tuning: Option<Tuning>, choice: Choice) -> Result<Self> {
        Self::with(wgpu::Features::TIMESTAMP_QUERY, tuning, choice).await
    }

    /// The same with the kernels for one kind of adapter, whatever the adapter is: so tests run both kinds on one machine.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub async fn tuned(tuning: Tuning) -> Result<Self> {
        Self::with(wgpu::Features::empty(), Some(tuning), Choice::default()).await
    }

    async fn with(wanted: wgpu::Features, tuning: Option<Tuning>, choice: Choice) -> Result<Self> {
        let no_adapter = |problem: String| Error::NoAdapter { problem };
        let instance = instance();
        let adapter = instance
            .request_adapter(&wgpu::RequestAdapterOptions {
                power_preference: wgpu::PowerPreference::HighPerformance,
                ..wgpu::RequestAdapterOptions::default()
            })
            .await
            .map_err(|e| no_adapter(refusal(&e)))?;
        let info = adapter.get_info();
        #[cfg(not(target_arch = "wasm32"))]
        check_features(&info.name, adapter.features(), choice)?;
        let limits = limits_of(&adapter);
        let (device, queue) = adapter
            .request_device(&wgpu::DeviceDescriptor {
                label: Some("noiseball"),
                required_features: adapter.features() & (wanted | wgpu::Features::SHADER_F16),
                required_limits: limits.clone(),
                ..wgpu::DeviceDescriptor::default()
            })
            .await
            .map_err(|e| no_adapter(e.to_string()))?;
        let software = info.device_type == wgpu::DeviceType::Cpu;
        #[cfg(not(target_arch = "wasm32"))]
        let choice = choice_for(info.device_type, tuning, choice);
        Ok(Self {
            state: Arc::new(DeviceState {
                trouble: watch(&device),
                layouts: Layouts::new(&device),
                device,
                queue,
                name: if info.name.is_empty() { "WebGPU".to_owned() } else { info.name },
                software,
                tuning: tuning.unwrap_or(if software { Tuning::Software } else { Tuning::Hardware }),
                choice,
                limits,
                counts: Arc::default(),
                pipelines: Mutex::default(),
                combine: OnceLock::new(),
                #[cfg(all(feature = "burn", not(target_arch = "wasm32")))]
                origin: (instance, adapter),
            }),
        })
    }

    /// A device of burn's on the same adapter, for training beside this one. burn would look for an adapter by itself, but
    /// asks Vulkan for windows then, which writes on stderr where there is no display; and it might choose another.
    ///
    /// # Errors
    /// [`Error::NoAdapter`] where the adapter does not make a device that burn can use.
    #[cfg(all(feature = "burn", not(target_arch = "wasm32")))]
    pub async fn for_burn(&self) -> Result<burn::tensor::Device> {
        let (instance, adapter) = self.state.origin.clone();
        let (device, queue) = adapter
            .request_device(&wgpu::DeviceDescriptor {
                label: Some("burn"),
                // As burn asks for them: it takes for granted that its device has all that the adapter has.
                required_features: adapter.features() - wgpu::Features::MAPPABLE_PRIMARY_BUFFERS,
                required_limits: adapter.limits(),
                memory_hints: wgpu::MemoryHints::MemoryUsage,
                // SAFETY: they are among the adapter's features, and are left to burn, which makes its own devices so.
                experimental_features: unsafe { wgpu::ExperimentalFeatures::enabled() },
                ..wgpu::DeviceDescriptor::default()
            })
            .await
            .map_err(|e| Error::NoAdapter { problem: e.to_string() })?;
        let backend = adapter.get_info().backend;
        let setup = burn::tensor::wgpu::WgpuSetup { instance, adapter, device, queue, backend };
        let device = burn::tensor::Device::wgpu_options().setup(setup).init();
        device.map_err(|e| Error::NoAdapter { problem: e.to_string() })
    }

    /// The adapter's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.state.name
    }

    /// Whether the adapter is known to run on the processor.
    #[must_use]
    pub fn is_software(&self) -> bool {
        self.state.software
    }

    /// What kernels are made for.
    #[must_use]
    pub fn tuning(&self) -> Tuning {
        self.state.tuning
    }

    /// What kernels a measurement chose.
    pub(super) fn choice(&self) -> Choice {
        self.state.choice
    }

    /// Whether the device reads 16-bit floats itself.
    #[must_use]
    pub fn has_f16(&self) -> bool {
        self.device().features().contains(wgpu::Features::SHADER_F16)
    }

    /// What was made and asked so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let c = &self.state.counts;
        Counters {
            dispatches: of(&c.dispatches),
            submits: of(&c.submits),
            buffers: of(&c.buffers),
            live_buffers: of(&c.live_buffers),
            live_bytes: of(&c.live_bytes),
            bind_groups: of(&c.bind_groups),
            pipelines: of(&c.pipelines),
        }
    }

    /// Destroys the device at once: what has not finished fails with [`Error::DeviceLost`].
    pub fn destroy(&self) {
        self.state.device.destroy();
    }

    /// Whether the device still works. One that has failed does not recover.
    ///
    /// # Errors
    /// What has gone wrong on the device since it was made: [`Error::DeviceLost`] or [`Error::OutOfMemory`].
    pub fn check(&self) -> Result<()> {
        match &*lock(&self.state.trouble.failure) {
            Some(failure) => Err(failure.clone().into()),
            None => Ok(()),
        }
    }

    pub(super) fn device(&self) -> &wgpu::Device {
        &self.state.device
    }

    pub(super) fn queue(&self) -> &wgpu::Queue {
        &self.state.queue
    }

    pub(super) fn layouts(&self) -> &Layouts {
        &self.state.layouts
    }

    pub(super) fn limits(&self) -> &wgpu::Limits {
        &self.state.limits
    }

    /// A buffer of so many bytes, or a few more to make whole words.
    ///
    /// # Errors
    /// [`Error::Limit`], [`Error::OutOfMemory`] and [`Error::DeviceLost`].
    pub(super) async fn buffer(
        &self,
        label: &str,
        bytes: usize,
        usage: wgpu::BufferUsages,
    ) -> Result<Buffer> {
        let (buffer, full) = self.buffer_at_once(label, bytes, usage)?;
        if full.await {
            return Err(Error::OutOfMemory { problem: format!("{} bytes for the {label}", buffer.size) });
        }
        self.check()?;
        Ok(buffer)
    }

    /// The same without waiting for whether there was memory for it: what comes later says that there was none.
    pub(super) fn buffer_at_once(
        &self,
        label: &str,
        bytes: usize,
        usage: wgpu::BufferUsages,
    ) -> Result<(Buffer, impl Future<Output = bool> + use<>)> {
        self.check()?;
        let size = (bytes.max(16) as u64).next_multiple_of(16);
        self.check_size(size, usage.contains(wgpu::BufferUsages::STORAGE))?;
        let scope = self.device().push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let raw = self.device().create_buffer(&wgpu::BufferDescriptor {
            label: Some(label),
            size,
            usage,
            mapped_at_creation: false,
        });
        let full = scope.pop();
        let counts = Arc::clone(&self.state.counts);
        counts.buffers.fetch_add(1, Ordering::Relaxed);
        counts.live_buffers.fetch_add(1, Ordering::Relaxed);
        counts.live_bytes.fetch_add(size, Ordering::Relaxed);
        Ok((Buffer { raw, size, counts }, async move { full.await.is_some() }))
    }

    /// Makes sure that a kernel may see as many bytes in one buffer.
    ///
    /// # Errors
    /// [`Error::Limit`].
    #[cfg(feature = "text")]
    pub(crate) fn check_storage(&self, bytes: u64) -> Result<()> {
        self.check_size(bytes, true)
    }

    fn check_size(&self, needed: u64, storage: bool) -> Result<()> {
        let limits = self.limits();
        for (limit, available, asked) in [
            ("maxStorageBufferBindingSize", limits.max_storage_buffer_binding_size, storage),
            ("maxBufferSize", limits.max_buffer_size, true),
        ] {
            if asked && needed > available {
                return Err(Error::Limit { limit, needed, available });
            }
        }
        Ok(())
    }

    pub(super) fn bind_group(
        &self,
        layout: &wgpu::BindGroupLayout,
        bindings: &[wgpu::BufferBinding],
    ) -> wgpu::BindGroup {
        self.state.counts.bind_groups.fetch_add(1, Ordering::Relaxed);
        let entries: Vec<_> = (0..)
            .zip(bindings)
            .map(|(binding, b)| wgpu::BindGroupEntry {
                binding,
                resource: wgpu::BindingResource::Buffer(b.clone()),
            })
            .collect();
        self.device().create_bind_group(&wgpu::BindGroupDescriptor { label: None, layout, entries: &entries })
    }

    /// The pipeline of a kernel, compiled at the first call.
    pub(super) fn pipeline(&self, shader: Shader) -> wgpu::ComputePipeline {
        let mut pipelines = lock(&self.state.pipelines);
        if let Some((_, known)) = pipelines.iter().find(|(other, _)| *other == shader) {
            return known.clone();
        }
        self.state.counts.pipelines.fetch_add(1, Ordering::Relaxed);
        let f16 = self.device().features().contains(wgpu::Features::SHADER_F16);
        let made = self.compile(shader.entry, &shader.text(f16), &self.layouts().pipeline);
        pipelines.push((shader, made.clone()));
        made
    }

    pub(super) fn compile(
        &self,
        entry: &str,
        source: &str,
        layout: &wgpu::PipelineLayout,
    ) -> wgpu::ComputePipeline {
        let descriptor = wgpu::ShaderModuleDescriptor {
            label: Some(entry),
            source: wgpu::ShaderSource::Wgsl(source.into()),
        };
        let checks =
            wgpu::ShaderRuntimeChecks { force_loop_bounding: false, ..wgpu::ShaderRuntimeChecks::checked() };
        #[cfg(not(target_arch = "wasm32"))]
        let checks =
            if self.state.choice.unchecked { wgpu::ShaderRuntimeChecks::unchecked() } else { checks };
        // SAFETY: the shaders are this crate's own and their loops end, so no loop needs a counter that ends it. Indices are
        // checked unless a measurement asks for what the checks cost. In a browser this is the ordinary call.
        let module = unsafe { self.device().create_shader_module_trusted(descriptor, checks) };
        self.device().create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(entry),
            layout: Some(layout),
            module: &module,
            entry_point: Some(entry),
            compilation_options: wgpu::PipelineCompilationOptions {
                // Every kernel writes workgroup memory before it reads it.
                zero_initialize_workgroup_memory: false,
                ..wgpu::PipelineCompilationOptions::default()
            },
            cache: None,
        })
    }

    /// Submits commands as one command buffer, and counts the dispatches among them.
    pub(super) fn submit(&self, encoder: wgpu::CommandEncoder, dispatches: usize) -> wgpu::SubmissionIndex {
        self.state.counts.dispatches.fetch_add(dispatches as u64, Ordering::Relaxed);
        self.state.counts.submits.fetch_add(1, Ordering::Relaxed);
        self.queue().submit([encoder.finish()])
    }

    /// Completes when everything up to this submission, the last one, is done.
    pub(super) fn when_done(&self, submission: wgpu::SubmissionIndex) -> Pending {
        let (signal, done) = self.state.trouble.signals.signal();
        self.queue().on_submitted_work_done(move || signal.send(true));
        Pending { done, submission }
    }

    /// Maps the first bytes of a staging buffer for reading. Completes when they are there as this submission, the last one,
    /// leaves them.
    pub(super) fn when_mapped(
        &self,
        buffer: &Buffer,
        bytes: usize,
        submission: wgpu::SubmissionIndex,
    ) -> Pending {
        let (signal, done) = self.state.trouble.signals.signal();
        let map = move |result: std::result::Result<(), _>| signal.send(result.is_ok());
        buffer.raw.map_async(wgpu::MapMode::Read, ..bytes as u64, map);
        Pending { done, submission }
    }

    /// Waits until something completes. A wait that was dropped may be repeated.
    ///
    /// # Errors
    /// What has gone wrong on the device.
    pub(super) async fn wait(&self, pending: &Pending) -> Result<()> {
        // Of a device that was lost already, nothing calls back.
        self.check()?;
        // Browsers call back by themselves; natively, polling the device does.
        #[cfg(not(target_arch = "wasm32"))]
        {
            let submission_index = Some(pending.submission.clone());
            if let Err(e) = self.device().poll(wgpu::PollType::Wait { submission_index, timeout: None }) {
                self.state.trouble.note(Failure::Lost(e.to_string()));
            }
        }
        if !pending.done.wait().await {
            self.state.trouble.note(Failure::Lost("its memory cannot be read any more".to_owned()));
        }
        self.check()
    }

    /// Reads the first numbers of a mapped buffer and unmaps it.
    ///
    /// # Errors
    /// [`Error::DeviceLost`].
    pub(super) fn unmap<T: bytemuck::AnyBitPattern>(&self, buffer: &Buffer, count: usize) -> Result<Vec<T>> {
        let Ok(view) = buffer.raw.get_mapped_range(..(count * size_of::<T>()) as u64) else {
            // A browser may say only later that the device is lost: nobody takes it for the next model meanwhile.
            let problem = "its memory cannot be read any more".to_owned();
            self.state.trouble.note(Failure::Lost(problem.clone()));
            return Err(Error::DeviceLost { problem });
        };
        let values = view.chunks_exact(size_of::<T>()).map(bytemuck::pod_read_unaligned).collect();
        drop(view);
        buffer.raw.unmap();
        Ok(values)
    }

    /// The kernel that runs a sampler's programs, compiled at the first call.
    pub(super) fn combine(&self) -> &CombineKernel {
        self.state.combine.get_or_init(|| {
            self.state.counts.pipelines.fetch_add(1, Ordering::Relaxed);
            let (write, read) = (storage(false), storage(true));
            let layout = layout(self.device(), &[write, write, read, write, UNIFORM]);
            let pipeline_layout = self.device().create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
                label: None,
                bind_group_layouts: &[Some(&layout)],
                immediate_size: 0,
            });
            let pipeline = self.compile("main", &combine::text(), &pipeline_layout);
            CombineKernel { layout, pipeline }
        })
    }
}

/// The kernel that runs a sampler's programs.
#[derive(Debug)]
pub(super) struct CombineKernel {
    pub(super) layout: wgpu::BindGroupLayout,
    pub(super) pipeline: wgpu::ComputePipeline,
}

/// Work that was submitted, and may not have completed yet.
#[derive(Debug)]
pub(super) struct Pending {
    done: Receiver,
    #[cfg_attr(target_arch = "wasm32", allow(dead_code, reason = "browsers wait by themselves"))]
    submission: wgpu::SubmissionIndex,
}

const fn binding(ty: wgpu::BufferBindingType, has_dynamic_offset: bool) -> wgpu::BindingType {
    wgpu::BindingType::Buffer { ty, has_dynamic_offset, min_binding_size: None }
}

pub(super) const fn storage(read_only: bool) -> wgpu::BindingType {
    binding(wgpu::BufferBindingType::Storage { read_only }, false)
}

const UNIFORM: wgpu::BindingType = binding(wgpu::BufferBindingType::Uniform, true);

pub(super) fn layout(device: &wgpu::Device, types: &[wgpu::BindingType]) -> wgpu::BindGroupLayout {
    let entries: Vec<_> = (0..)
        .zip(types)
        .map(|(binding, ty)| wgpu::BindGroupLayoutEntry {
            binding,
            visibility: wgpu::ShaderStages::COMPUTE,
            ty: *ty,
            count: None,
        })
        .collect();
    device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: None, entries: &entries })
}

impl Layouts {
    fn new(device: &wgpu::Device) -> Self {
        let step = layout(device, &[storage(false), storage(true), storage(true), UNIFORM, UNIFORM]);
        let weights = layout(device, &[storage(true)]);
        let pipeline = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: None,
            bind_group_layouts: &[Some(&step), Some(&weights)],
            immediate_size: 0,
        });
        Self { step, weights, pipeline }
    }
}

/// A buffer that is counted, and freed at once when it is dropped, without waiting for a garbage collector.
#[derive(Debug)]
pub(super) struct Buffer {
    raw: wgpu::Buffer,
    size: u64,
    counts: Arc<Counts>,
}

impl Buffer {
    pub(super) fn raw(&self) -> &wgpu::Buffer {
        &self.raw
    }

    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// One of its uniforms, which an offset chooses later.
    pub(super) fn one_uniform(&self) -> wgpu::BufferBinding<'_> {
        wgpu::BufferBinding { buffer: &self.raw, offset: 0, size: NonZeroU64::new(UNIFORM_BYTES as u64) }
    }

    /// All of it, as a binding.
    pub(super) fn whole(&self) -> wgpu::BufferBinding<'_> {
        self.raw.as_entire_buffer_binding()
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.counts.live_buffers.fetch_sub(1, Ordering::Relaxed);
        self.counts.live_bytes.fetch_sub(self.size, Ordering::Relaxed);
        self.raw.destroy();
    }
}

#[cfg(all(test, not(target_arch = "wasm32")))]
#[test]
fn a_device_whose_memory_cannot_be_read_counts_as_lost() {
    let gpu = match pollster::block_on(Gpu::tuned(Tuning::Software)) {
        Ok(gpu) => gpu,
        Err(Error::NoAdapter { .. }) => return,
        Err(error) => panic!("{error}"),
    };
    let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
    let buffer = pollster::block_on(gpu.buffer("unmapped", 16, usage)).unwrap();
    assert_eq!(gpu.unmap::<f32>(&buffer, 4).unwrap_err().kind(), "device-lost");
    assert_eq!(gpu.check().unwrap_err().kind(), "device-lost");
}
