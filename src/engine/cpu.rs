//! The processor as an executor: replays plans with the [`kernels`](super::kernels).
//!
//! One arena, and one scratch that every operation uses in turn.
//!
//! Natively an evaluation uses the threads of the rayon pool that it is called in, by default one for each core, and its numbers are
//! the same for any number of them and in any batch. In a page there is one.

use std::future::ready;
use std::sync::Arc;

pub use super::execute::{Memory, step};
use super::executor::{Backend, Evaluation, Executor, Later, LoadedNetwork, Size};
use super::kernels::winograd;
use super::packed::Packed;
use super::parameters::{Storage, Take};
use super::plan::{Op, Plan};
use super::prelude::Conditioning;
use crate::error::{Error, Result};
use crate::network::architecture::Network;

/// The processor.
#[derive(Clone, Copy, Debug)]
pub struct Cpu;

/// What the processor replays plans with.
#[derive(Debug)]
pub struct CpuExecutor {
    packed: Packed,
    plans: Vec<(Size, Plan)>,
    memory: Memory,
}

/// A network on the CPU.
pub type CpuNetwork = LoadedNetwork<CpuExecutor>;

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
        Self::load(network, &mut take)
    }

    fn load(network: Arc<dyn Network>, take: Take) -> Result<Self> {
        let plan = Plan::least(&*network)?;
        let packed = Packed::load(&plan.parameters, take)?;
        let executor = CpuExecutor { packed, plans: Vec::new(), memory: Memory::default() };
        Ok(Self::of(Conditioning::new(network, take)?, executor))
    }
}

impl Backend for Cpu {
    /// The processor keeps parameters in f32.
    fn load<'a>(
        &'a self,
        network: Arc<dyn Network>,
        _storage: Storage,
        take: Take<'a>,
    ) -> Later<'a, LoadedNetwork> {
        Box::pin(ready(CpuNetwork::load(network, take).map(LoadedNetwork::any)))
    }

    fn name(&self) -> &'static str {
        "CPU"
    }

    fn check(&self) -> Result<()> {
        Ok(())
    }

    #[cfg(all(feature = "burn", not(target_arch = "wasm32")))]
    fn for_burn(&self) -> Later<'_, burn::tensor::Device> {
        Box::pin(ready(Ok(burn::tensor::Device::flex())))
    }
}

impl Executor for CpuExecutor {
    fn packed(&self) -> &Packed {
        &self.packed
    }

    fn prepare<'a>(&'a mut self, network: &'a dyn Network, size: Size) -> Later<'a, ()> {
        Box::pin(ready(self.prepared(network, size)))
    }

    fn plan(&self, size: Size) -> Option<&Plan> {
        Some(&self.plans.iter().find(|(of, _)| *of == size)?.1)
    }

    fn evaluate<'a>(&'a mut self, evaluation: Evaluation<'a>) -> Later<'a, Vec<f32>> {
        Box::pin(ready(self.evaluated(evaluation)))
    }
}

impl CpuExecutor {
    fn prepared(&mut self, network: &dyn Network, size: Size) -> Result<()> {
        if self.plan(size).is_some() {
            return Ok(());
        }
        let [batch, height, width] = size;
        let plan = Plan::new(network, batch, height, width)?;
        for step in &plan.ops {
            if let Op::Gemm(g) = &step.op
                && winograd::KEEPS
                && g.is_winograd(&plan.values)
            {
                self.packed.prepare_winograd(g.matrix, g.source.channels(&plan.values))?;
            }
        }
        self.memory.fit(&plan)?;
        self.plans.push((size, plan));
        Ok(())
    }

    fn evaluated(&mut self, evaluation: Evaluation) -> Result<Vec<f32>> {
        let Evaluation { size, prelude: (prelude, count, rows), x } = evaluation;
        let Self { packed, plans, memory } = self;
        let (_, plan) = plans.iter().find(|(of, _)| *of == size).ok_or(Error::Disposed)?;
        memory.value_mut(plan, plan.input).copy_from_slice(x);
        step(plan, packed, prelude, count, rows, memory);
        Ok(memory.value(plan, plan.output).to_vec())
    }
}
