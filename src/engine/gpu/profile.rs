//! How long each dispatch takes on the device, by timestamp queries, and what the adapter can do at most.

use super::device::{Buffer, Gpu, layout, storage};
use super::lowered::Lowered;
use super::replay::Replay;
use crate::engine::lower::{Costs, Dispatch, constants, declarations, unroll, wgsl};
use crate::engine::plan::Plan;
use crate::engine::prelude::PreludeRows;
use crate::error::{Error, Result};

/// A dispatch of an evaluation, and its time.
#[derive(Clone, Debug)]
pub struct Timing {
    /// The module's name in the checkpoint.
    pub name: String,
    /// The kernel, and its tile where it has one.
    pub kernel: String,
    /// The median of all runs.
    pub seconds: f64,
    /// Floating-point operations of its product: two for each multiply-add.
    pub flops: u64,
    /// Bytes that it has to read or write, each counted once, however often it is read.
    pub bytes: u64,
    /// Workgroups.
    pub groups: u64,
}

/// An evaluation's dispatches before there is a device, with no time.
#[must_use]
pub fn timings(plan: &Plan, lowered: &Lowered) -> Vec<Timing> {
    lowered.of_evaluation().iter().map(|dispatch| timing(plan, dispatch, 0.0)).collect()
}

fn timing(plan: &Plan, dispatch: &Dispatch, seconds: f64) -> Timing {
    let Costs { op, flops, bytes } = dispatch.costs;
    Timing {
        name: plan.ops[op].name.clone(),
        kernel: dispatch.shader.label.clone(),
        seconds,
        flops,
        bytes,
        groups: dispatch.groups.map(u64::from).iter().product(),
    }
}

constants! {
    /// Threads of a workgroup.
    THREADS = 64;
    /// Threads of either kernel: so many workgroups that all fit in one dimension.
    PEAK_THREADS = THREADS * 16_384;
    /// Multiply-adds of each thread of `multiply_add` in a round, of four lanes each: chains, and links of each.
    CHAINS = 8;
    LINKS = 8;
}

/// The kernels that measure what an adapter can do at most, `multiply_add` and `copy`, whose threads copy so many vectors each.
fn peak(copies: u32) -> String {
    let text = declarations(CONSTANTS) + &declarations(&[("COPIES", copies)]) + wgsl!("peak.wgsl");
    unroll(&text, |name| match name {
        "CHAINS" => Some(CHAINS),
        "LINKS" => Some(LINKS),
        "COPIES" => Some(copies),
        _ => None,
    })
}

#[cfg(test)]
#[test]
fn the_kernels_of_the_peak_are_valid() {
    for entry in ["multiply_add", "copy"] {
        crate::engine::lower::valid("peak", &peak(2), entry);
    }
}

/// What the adapter can do at most, measured.
#[derive(Clone, Copy, Debug)]
pub struct Peak {
    /// Of multiply-adds in f32 between registers, two for each.
    pub flops_per_second: f64,
    /// Of a copy from one buffer to another, read and written.
    pub bytes_per_second: f64,
}

/// Bytes of the buffer that is copied, where the adapter allows it: a few times its largest cache.
const COPIED: u64 = 256 << 20;
/// A measurement is lengthened until it takes this many seconds, a hundred times what starting it may take.
const LONG_ENOUGH: f64 = 0.02;

impl Replay {
    /// Times each dispatch of an evaluation, by the median of `runs`, each dispatch in a pass of its own. Only the plan is
    /// timed; what it computes on does not matter.
    ///
    /// # Errors
    /// [`Error::Unsupported`] without timestamp queries, for which the device must be made
    /// [with timestamps](Gpu::with_timestamps); [`Error::OutOfMemory`], [`Error::DeviceLost`].
    pub async fn profile(&mut self, runs: usize) -> Result<Vec<Timing>> {
        let count = self.dispatches();
        let stamps = Stamps::new(self.gpu(), count).await?;
        let rows = PreludeRows { first: 0, stride: 0 };
        self.start(1, &[rows]).await?;
        let mut seconds = vec![Vec::with_capacity(runs); count];
        for run in 0..=runs {
            let found = stamps.time(self.gpu(), count, |pass, at| self.record_one(pass, 0, at)).await?;
            // The first run warms up.
            if run > 0 {
                seconds.iter_mut().zip(found).for_each(|(all, one)| all.push(one));
            }
        }
        Ok((0..count)
            .zip(&mut seconds)
            .map(|(at, seconds)| timing(self.plan(), self.dispatch(at), median(seconds)))
            .collect())
    }
}

impl Peak {
    /// Measures an adapter for some tenths of a second.
    ///
    /// # Errors
    /// As [`Replay::profile`].
    pub async fn measure(gpu: &Gpu) -> Result<Self> {
        let stamps = Stamps::new(gpu, 1).await?;
        use wgpu::BufferUsages as Usage;
        let limits = gpu.limits();
        let room = COPIED.min(limits.max_buffer_size / 4).min(limits.max_storage_buffer_binding_size);
        let once = 16 * u64::from(PEAK_THREADS);
        let copies = (room / once).max(1);
        let size = (copies * once) as usize;
        let to = gpu.buffer("peak", size, Usage::STORAGE).await?;
        let from = gpu.buffer("peak", size, Usage::STORAGE | Usage::COPY_DST).await?;
        let group_layout = layout(gpu.device(), &[storage(false), storage(true)]);
        let group = gpu.bind_group(&group_layout, &[to.whole(), from.whole()]);
        let pipeline_layout = gpu.device().create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: None,
            bind_group_layouts: &[Some(&group_layout)],
            immediate_size: 0,
        });
        let [multiply_add, copy] =
            ["multiply_add", "copy"].map(|entry| gpu.compile(entry, &peak(copies as u32), &pipeline_layout));
        let run = async |pipeline: &wgpu::ComputePipeline, repeats: u32| {
            let mut best = f64::INFINITY;
            for _ in 0..5 {
                let record = |pass: &mut wgpu::ComputePass, _| {
                    pass.set_pipeline(pipeline);
                    pass.set_bind_group(0, &group, &[]);
                    for _ in 0..repeats {
                        pass.dispatch_workgroups(PEAK_THREADS / THREADS, 1, 1);
                    }
                };
                best = stamps.time(gpu, 1, record).await?[0].min(best);
            }
            Ok::<_, Error>(best)
        };
        let (mut rounds, mut seconds) = (1u32, 0.0);
        while seconds < LONG_ENOUGH && rounds < 1 << 20 {
            rounds *= 2;
            gpu.queue().write_buffer(from.raw(), 0, &rounds.to_le_bytes());
            seconds = run(&multiply_add, 1).await?;
        }
        let each = f64::from(2 * 4 * CHAINS * LINKS);
        let flops_per_second = each * f64::from(rounds) * f64::from(PEAK_THREADS) / seconds;
        let (mut repeats, mut seconds) = (1, 0.0);
        while seconds < LONG_ENOUGH && repeats < 1 << 12 {
            repeats *= 2;
            seconds = run(&copy, repeats).await?;
        }
        let bytes_per_second = 2.0 * size as f64 * f64::from(repeats) / seconds;
        Ok(Self { flops_per_second, bytes_per_second })
    }
}

/// Queries for the start and the end of some passes.
struct Stamps {
    queries: wgpu::QuerySet,
    resolved: Buffer,
    staging: Buffer,
    /// Of one tick.
    seconds: f64,
}

impl Stamps {
    async fn new(gpu: &Gpu, passes: usize) -> Result<Self> {
        if !gpu.device().features().contains(wgpu::Features::TIMESTAMP_QUERY) {
            return Err(Error::Unsupported {
                what: format!("a profile on {}", gpu.name()),
                why: "the adapter has no timestamp queries".to_owned(),
            });
        }
        use wgpu::BufferUsages as Usage;
        let queries = gpu.device().create_query_set(&wgpu::QuerySetDescriptor {
            label: None,
            ty: wgpu::QueryType::Timestamp,
            count: 2 * passes as u32,
        });
        let resolved = gpu.buffer("queries", 16 * passes, Usage::QUERY_RESOLVE | Usage::COPY_SRC).await?;
        let staging = gpu.buffer("timestamps", 16 * passes, Usage::MAP_READ | Usage::COPY_DST).await?;
        let seconds = f64::from(gpu.queue().get_timestamp_period()) * 1e-9;
        Ok(Self { queries, resolved, staging, seconds })
    }

    /// Seconds of each of `count` passes, which `record` fills.
    async fn time(
        &self,
        gpu: &Gpu,
        count: usize,
        record: impl Fn(&mut wgpu::ComputePass, usize),
    ) -> Result<Vec<f64>> {
        let mut encoder = gpu.device().create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        for at in 0..count {
            let writes = wgpu::ComputePassTimestampWrites {
                query_set: &self.queries,
                beginning_of_pass_write_index: Some(2 * at as u32),
                end_of_pass_write_index: Some(2 * at as u32 + 1),
            };
            let descriptor = wgpu::ComputePassDescriptor { label: None, timestamp_writes: Some(writes) };
            record(&mut encoder.begin_compute_pass(&descriptor), at);
        }
        encoder.resolve_query_set(&self.queries, 0..2 * count as u32, self.resolved.raw(), 0);
        let bytes = 16 * count as u64;
        encoder.copy_buffer_to_buffer(self.resolved.raw(), 0, self.staging.raw(), 0, bytes);
        let submission = gpu.submit(encoder, count);
        gpu.wait(&gpu.when_mapped(&self.staging, bytes as usize, submission)).await?;
        let ticks: Vec<u64> = gpu.unmap(&self.staging, 2 * count)?;
        let seconds = |pair: &[u64; 2]| pair[1].saturating_sub(pair[0]) as f64 * self.seconds;
        Ok(ticks.as_chunks().0.iter().map(seconds).collect())
    }
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}
