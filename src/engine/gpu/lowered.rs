//! A plan's operations as dispatches, known before there is a device.

use crate::engine::lower::{Choice, Dispatch, Lowering, ShardLayout, Tuning};
use crate::engine::parameters::Storage;
use crate::engine::plan::{Op, Plan, Slot};
use crate::error::{Error, Result};

impl ShardLayout {
    /// The parameters of a plan, which are those of its network whatever its shape.
    #[must_use]
    pub fn new(plan: &Plan, storage: Storage) -> Self {
        let mut in_prelude = vec![false; plan.parameters.matrices.len()];
        for step in &plan.prelude.ops {
            step.op.refers(&mut |slot| {
                if let Slot::Matrix(id) = slot {
                    in_prelude[id.0] = true;
                }
            });
        }
        Self::without(in_prelude, &plan.parameters, storage)
    }
}

/// A plan's dispatches: every operation as one, or as two where that pays.
#[derive(Clone, Debug)]
pub struct Lowered {
    /// First those that are run once for the prompts of a run, then those of an evaluation.
    pub(super) dispatches: Vec<Dispatch>,
    /// How many of them are for prompts.
    pub(super) of_prompts: usize,
    /// The uniforms of all dispatches.
    pub(super) uniforms: Vec<u32>,
    /// Floats of the arena: the plan's activations, and then the scratch of single operations.
    pub(super) arena: usize,
}

impl Lowered {
    /// Lowers a plan, whose parameters lie as `layout` says.
    ///
    /// # Errors
    /// [`Error::Unsupported`] where attention's heads are too wide, [`Error::OutOfMemory`] where the arena has more bytes than
    /// this machine can count, and natively [`Error::Option`] where there cannot be a tile of products as it was chosen.
    pub fn new(plan: &Plan, layout: &ShardLayout, tuning: Tuning, choice: Choice) -> Result<Self> {
        let mut lowering = Lowering {
            batch: plan.batch,
            values: &plan.values,
            rows: &plan.prelude.rows,
            parameters: &plan.parameters,
            layout,
            tuning,
            choice,
            common_activation: plan.ops.iter().find_map(|step| match &step.op {
                Op::Gemm(gemm) => gemm.load.activation,
                _ => None,
            }),
            dispatches: Vec::new(),
            uniforms: Vec::new(),
            arena: plan.arena,
            activations: plan.arena,
            op: 0,
            traffic: [0; 2],
        };
        let mut of_prompts = 0;
        for (ops, batch) in [(&plan.prompts.ops, plan.prompts.count), (&plan.ops, plan.batch)] {
            of_prompts = lowering.dispatches.len();
            lowering.batch = batch;
            for (at, step) in ops.iter().enumerate() {
                lowering.op = at;
                // Profiles are taken natively.
                if cfg!(not(target_arch = "wasm32")) {
                    lowering.traffic = [step.op.reads(), step.op.writes()].map(|ids| lowering.bytes(ids));
                }
                step.op.lower(&mut lowering)?;
            }
        }
        let Lowering { dispatches, uniforms, arena, .. } = lowering;
        let lowered = Self { dispatches, of_prompts, uniforms, arena };
        if lowered.arena.checked_mul(4).is_none() {
            let problem = format!("{} bytes of activations", lowered.arena_bytes());
            return Err(Error::OutOfMemory { problem });
        }
        Ok(lowered)
    }

    /// Dispatches of an evaluation.
    #[must_use]
    pub fn dispatches(&self) -> usize {
        self.dispatches.len() - self.of_prompts
    }

    /// Those of an evaluation.
    #[cfg(not(target_arch = "wasm32"))]
    pub(super) fn of_evaluation(&self) -> &[Dispatch] {
        &self.dispatches[self.of_prompts..]
    }

    /// Every kernel that the dispatches run, once: what profiles call it and what makes the variant, its function and its text.
    #[cfg(not(target_arch = "wasm32"))]
    #[must_use]
    pub fn shaders(&self, f16: bool) -> Vec<(String, &'static str, String)> {
        let mut shaders = Vec::new();
        for dispatch in &self.dispatches {
            if !shaders.contains(&&dispatch.shader) {
                shaders.push(&dispatch.shader);
            }
        }
        shaders
            .into_iter()
            .map(|s| (format!("{} {:?}", s.label, s.constants), s.entry, s.text(f16)))
            .collect()
    }

    /// Bytes of the arena: the plan's activations and the scratch of single operations.
    #[must_use]
    pub fn arena_bytes(&self) -> u64 {
        4 * self.arena as u64
    }
}
