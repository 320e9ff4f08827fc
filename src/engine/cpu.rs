//! The third stage on the CPU: replays a plan with the [`kernels`](super::kernels).
//!
//! One thread, one arena, and one scratch that every operation uses in turn. [`CpuNetwork`] packs the parameters once and
//! keeps a plan for each shape it has met; after that an evaluation allocates nothing but its result, and a
//! [`CpuRun`]'s step nothing at all.

use std::sync::Arc;

pub use super::execute::{Memory, step};
use super::order::{to_nchw, to_nhwc};
use super::packed::Packed;
use super::plan::Plan;
use super::prelude::{Rows, prelude};
use crate::error::{Error, Result};
use crate::network::architecture::Network;

/// A network on the CPU.
#[derive(Debug)]
pub struct CpuNetwork {
    network: Arc<dyn Network>,
    packed: Packed,
    frequencies: Vec<f32>,
    plans: Vec<([usize; 3], Plan)>,
    memory: Memory,
}

impl CpuNetwork {
    /// Packs the parameters: `take` is asked for each key of
    /// [`describe`](crate::network::describe::describe), once, with its shape, and gives its numbers in row-major order.
    ///
    /// # Errors
    /// Those of `take`.
    pub fn new(
        network: Arc<dyn Network>,
        mut take: impl FnMut(&str, &[usize]) -> Result<Vec<f32>>,
    ) -> Result<Self> {
        // Parameters are packed the same way for every shape, so the smallest plan is enough.
        let [height, width] = network.least_size();
        let plan = Plan::new(&*network, 1, height, width)?;
        let packed = Packed::new(&plan.parameters, &mut take)?;
        let frequencies = network.frequencies().map(|(key, length)| take(key, &[length])).transpose()?;
        let frequencies = frequencies.unwrap_or_default();
        Ok(Self { network, packed, frequencies, plans: Vec::new(), memory: Memory::default() })
    }

    /// One evaluation: `x` holds `shape = [batch, in_channels, height, width]` numbers, `timesteps` one for each sample,
    /// and `labels` is as for [`Network::features`]. The result is `[batch, out_channels, height, width]`.
    ///
    /// # Errors
    /// [`Error::Option`] where a size, timestep or label does not suit the network, [`Error::OutOfMemory`] where its
    /// activations do not fit.
    pub fn evaluate(
        &mut self,
        x: &[f32],
        shape: [usize; 4],
        timesteps: &[f32],
        labels: Option<&[f32]>,
    ) -> Result<Vec<f32>> {
        let [batch, _, height, width] = shape;
        if timesteps.len() != batch {
            return Err(Error::Option {
                option: "timesteps",
                found: format!("{} for {batch} samples", timesteps.len()),
                expected: "one for each sample".to_owned(),
            });
        }
        let given = self.network.features(timesteps, labels, &self.frequencies)?;
        let mut out = vec![0.0; batch * self.network.out_channels() * height * width];
        self.start(shape, &given, batch, 1)?.evaluate(0, x, &mut out)?;
        Ok(out)
    }

    /// Prepares evaluations at each of `timesteps`, which all samples share. `labels` are one for each sample, or one
    /// vector, as for [`Network::features`].
    ///
    /// # Errors
    /// [`Error::Option`] where a size, timestep or label does not suit the network, [`Error::OutOfMemory`] where its
    /// activations do not fit.
    pub fn run(
        &mut self,
        shape: [usize; 4],
        timesteps: &[f32],
        labels: Option<&[f32]>,
    ) -> Result<CpuRun<'_>> {
        // Without labels, all samples share the rows.
        let each = if labels.is_some() { shape[0] } else { 1 };
        let repeated: Vec<f32> = timesteps.iter().flat_map(|t| std::iter::repeat_n(*t, each)).collect();
        let labels = labels.map(|l| l.repeat(timesteps.len()));
        let given = self.network.features(&repeated, labels.as_deref(), &self.frequencies)?;
        let stride = usize::from(labels.is_some());
        self.start(shape, &given, repeated.len(), stride)
    }

    /// Plans evaluations of `batch` images of `height` × `width`, and makes room for them.
    ///
    /// # Errors
    /// [`Error::Option`] where the size does not suit the network, [`Error::OutOfMemory`] where its activations do not fit.
    pub fn plan(&mut self, batch: usize, height: usize, width: usize) -> Result<()> {
        let plan = self.planned([batch, height, width])?;
        self.memory.fit(&self.plans[plan].1)
    }

    /// The position of a size's plan, which is made where there is none.
    fn planned(&mut self, size: [usize; 3]) -> Result<usize> {
        if let Some(known) = self.plans.iter().position(|(other, _)| *other == size) {
            return Ok(known);
        }
        let [batch, height, width] = size;
        self.plans.push((size, Plan::new(&*self.network, batch, height, width)?));
        Ok(self.plans.len() - 1)
    }

    fn start(
        &mut self,
        shape: [usize; 4],
        given: &[Vec<f32>],
        count: usize,
        stride: usize,
    ) -> Result<CpuRun<'_>> {
        let [batch, channels, height, width] = shape;
        if channels != self.network.in_channels() {
            return Err(Error::Option {
                option: "shape",
                found: format!("{shape:?}"),
                expected: format!("[batch, {}, height, width]", self.network.in_channels()),
            });
        }
        self.plan(batch, height, width)?;
        let plan = self.planned([batch, height, width])?;
        let plan = &self.plans[plan].1;
        let prelude = prelude(plan, &self.packed, given)?;
        Ok(CpuRun { plan, packed: &self.packed, memory: &mut self.memory, prelude, count, stride })
    }
}

/// Evaluations of a network at timesteps that are given at the start.
#[derive(Debug)]
pub struct CpuRun<'a> {
    plan: &'a Plan,
    packed: &'a Packed,
    memory: &'a mut Memory,
    prelude: Vec<f32>,
    count: usize,
    stride: usize,
}

impl CpuRun<'_> {
    /// Evaluates the network on `x`, `[batch, in_channels, height, width]`, at the timestep of this index, into `out`,
    /// `[batch, out_channels, height, width]`.
    ///
    /// # Errors
    /// [`Error::Option`] where the timestep's index or a length is not the run's.
    pub fn evaluate(&mut self, timestep: usize, x: &[f32], out: &mut [f32]) -> Result<()> {
        let (input, output) = (self.plan.value(self.plan.input), self.plan.value(self.plan.output));
        let each = if self.stride == 0 { 1 } else { self.plan.batch };
        let expected = [self.count / each, input.len(), output.len()];
        if timestep >= expected[0] || [x.len(), out.len()] != expected[1..] {
            return Err(Error::Option {
                option: "x",
                found: format!("{} numbers, to {}, at timestep {timestep}", x.len(), out.len()),
                expected: format!("{} to {}, at one of {}", expected[1], expected[2], expected[0]),
            });
        }
        let pixels = |shape: [usize; 4]| shape[1] * shape[2];
        to_nhwc(x, input.shape[3], pixels(input.shape), self.memory.value_mut(self.plan, self.plan.input));
        let rows = Rows { first: timestep * each, stride: self.stride };
        step(self.plan, self.packed, &self.prelude, self.count, rows, self.memory);
        to_nchw(self.memory.value(self.plan, self.plan.output), output.shape[3], pixels(output.shape), out);
        Ok(())
    }
}
