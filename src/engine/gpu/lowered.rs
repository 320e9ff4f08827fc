//! A plan's operations as dispatches, known before there is a device.

use crate::engine::lower::{Choice, Dispatch, Lowering, ShardLayout, Tuning};
use crate::engine::parameters::Storage;
#[cfg(any(feature = "text", not(target_arch = "wasm32")))]
use crate::engine::plan::PlannedOp;
use crate::engine::plan::{Op, Plan, Reference};
use crate::error::{Error, Result};

impl ShardLayout {
    /// The parameters of a plan, which are those of its network whatever its shape.
    #[must_use]
    pub fn new(plan: &Plan, storage: Storage) -> Self {
        let mut in_prelude = vec![false; plan.parameters.matrices.len()];
        for step in &plan.prelude.ops {
            step.op.references(&mut |reference| {
                if let Reference::Matrix(id) = reference {
                    in_prelude[id.0] = true;
                }
            });
        }
        Self::without(in_prelude, &plan.parameters, storage)
    }
}

/// A plan's dispatches: an operation is one, or some where that pays.
#[derive(Clone, Debug)]
pub struct Lowered {
    /// First those that are run once for the prompts of a run, then those of an evaluation.
    pub(super) dispatches: Vec<Dispatch>,
    /// How many of them are for prompts.
    pub(super) of_prompts: usize,
    /// Those that are run once, before the first evaluation.
    #[cfg(not(target_arch = "wasm32"))]
    pub(super) once: Vec<Dispatch>,
    /// The uniforms of all dispatches.
    pub(super) uniforms: Vec<u32>,
    /// Floats of the arena: the plan's activations, and then the scratch of single operations.
    pub(super) arena: usize,
}

/// Nothing lowered yet, with scratch behind so many floats.
fn begin<'a>(plan: &'a Plan, layout: &'a ShardLayout, tuning: Tuning, activations: usize) -> Lowering<'a> {
    Lowering {
        batch: plan.batch,
        values: &plan.values,
        rows: &plan.prelude.rows,
        parameters: &plan.parameters,
        layout,
        tuning,
        choice: Choice::default(),
        common_activation: plan.ops.iter().find_map(|step| match &step.op {
            Op::Gemm(gemm) => gemm.load.activation,
            _ => None,
        }),
        dispatches: Vec::new(),
        uniforms: Vec::new(),
        arena: activations,
        activations,
        #[cfg(not(target_arch = "wasm32"))]
        kept: [plan.arena.next_multiple_of(64), 0],
        #[cfg(not(target_arch = "wasm32"))]
        once: Vec::new(),
        op: 0,
        traffic: [0; 2],
        #[cfg(feature = "text")]
        next_merges: false,
        #[cfg(feature = "text")]
        sliced: None,
    }
}

/// Whether the operation after one of `ops` alone reads what that writes, and can put slices of it together.
#[cfg(feature = "text")]
fn next_merges(plan: &Plan, ops: &[PlannedOp], at: usize) -> bool {
    let (Op::Attention(attention), Some(PlannedOp { op: Op::Gemm(gemm), .. })) =
        (&ops[at].op, ops.get(at + 1))
    else {
        return false;
    };
    let reads = plan.prompts.ops.iter().chain(&plan.ops).flat_map(|step| step.op.reads());
    let results = [plan.output].into_iter().chain(plan.also.iter().copied());
    let uses = reads.chain(results).filter(|id| *id == attention.output).count();
    uses == 1 && gemm.source.first == attention.output && gemm.can_merge(&plan.values)
}

/// Lowers what is done once for the prompts of a run; the dispatches of that.
#[cfg(not(target_arch = "wasm32"))]
fn prompts(plan: &Plan, choice: Choice, to: &mut Lowering) -> Result<usize> {
    to.batch = plan.prompts.count;
    for at in 0..plan.prompts.ops.len() {
        lower(plan, &plan.prompts.ops, at, choice, to)?;
    }
    to.batch = plan.batch;
    Ok(to.dispatches.len())
}

/// Lowers an operation.
#[cfg(not(target_arch = "wasm32"))]
fn lower(plan: &Plan, ops: &[PlannedOp], at: usize, choice: Choice, to: &mut Lowering) -> Result<()> {
    #[cfg(feature = "text")]
    {
        to.next_merges = next_merges(plan, ops, at);
    }
    let step = &ops[at];
    (to.op, to.choice) = (at, choice);
    to.traffic = [step.op.reads(), step.op.writes()].map(|ids| to.bytes(ids));
    step.op.lower(to)
}

impl Lowered {
    /// Lowers a plan, whose parameters lie as `layout` says.
    ///
    /// # Errors
    /// [`Error::Unsupported`] where attention's heads are too wide, [`Error::OutOfMemory`] where the arena has more bytes than
    /// this machine can count, and natively [`Error::Option`] where there cannot be a tile of products as it was chosen.
    pub fn new(plan: &Plan, layout: &ShardLayout, tuning: Tuning, choice: Choice) -> Result<Self> {
        #[cfg(not(target_arch = "wasm32"))]
        {
            let work: Vec<_> = (0..plan.ops.len()).map(|at| (at, choice)).collect();
            Self::of(plan, layout, tuning, Some(choice), &work)
        }
        #[cfg(target_arch = "wasm32")]
        {
            let mut lowering = begin(plan, layout, tuning, plan.arena);
            // One loop for both: two would take the code of all operations twice.
            lowering.choice = choice;
            let mut of_prompts = 0;
            for (ops, batch) in [(&plan.prompts.ops, plan.prompts.count), (&plan.ops, plan.batch)] {
                of_prompts = lowering.dispatches.len();
                lowering.batch = batch;
                for (at, step) in ops.iter().enumerate() {
                    lowering.op = at;
                    #[cfg(feature = "text")]
                    {
                        lowering.next_merges = next_merges(plan, ops, at);
                    }
                    step.op.lower(&mut lowering)?;
                }
            }
            Self::end(lowering, of_prompts)
        }
    }

    /// Lowers what a plan does for prompts, if there is a choice for it, and some of its operations, each with a choice of its own.
    #[cfg(not(target_arch = "wasm32"))]
    pub(super) fn of(
        plan: &Plan,
        layout: &ShardLayout,
        tuning: Tuning,
        of_prompts: Option<Choice>,
        work: &[(usize, Choice)],
    ) -> Result<Self> {
        let mut activations = plan.arena;
        loop {
            let mut lowering = begin(plan, layout, tuning, activations);
            let count = of_prompts.map_or(Ok(0), |choice| prompts(plan, choice, &mut lowering))?;
            for (at, choice) in work {
                lower(plan, &plan.ops, *at, *choice, &mut lowering)?;
            }
            let [start, kept] = lowering.kept;
            if kept == 0 || activations == start + kept {
                return Self::end(lowering, count);
            }
            // Where scratch begins is known only once all is counted that is kept.
            activations = start + kept;
        }
    }

    fn end(lowering: Lowering, of_prompts: usize) -> Result<Self> {
        let lowered = Self {
            dispatches: lowering.dispatches,
            of_prompts,
            #[cfg(not(target_arch = "wasm32"))]
            once: lowering.once,
            uniforms: lowering.uniforms,
            arena: lowering.arena,
        };
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
