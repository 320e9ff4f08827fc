//! Operations computed with the [`kernels`](super::kernels), one after the other, in one arena, and one scratch that every operation
//! uses in turn.

use super::packed::Packed;
use super::plan::{self, Plan, PlannedOp, Prelude};
use super::stage::Stage;
pub use super::stage::{Memory, PreludeRows};
use super::threads;
use super::value::{Value, ValueId};
use crate::error::{Error, Result};

impl Memory {
    /// Memory for plans of these parameters.
    #[must_use]
    pub fn of(packed: &Packed) -> Self {
        let _ = packed;
        Self {
            #[cfg(feature = "text")]
            unpacked: packed.unpacked(),
            ..Self::default()
        }
    }

    /// Grows to what a plan needs.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] where there is not so much.
    pub fn fit(&mut self, plan: &Plan) -> Result<()> {
        self.fit_stage(&plan.prompts.ops, &plan.values, plan.arena)?;
        self.fit_stage(&plan.ops, &plan.values, plan.arena)
    }

    fn fit_stage(&mut self, ops: &[PlannedOp], values: &[Value], arena: usize) -> Result<()> {
        let (mut scratch, mut scaling) = (0, 0);
        for step in ops {
            let room = step.op.room(values);
            (scratch, scaling) = (scratch.max(room.scratch), scaling.max(room.scaling));
        }
        #[cfg(feature = "text")]
        let scratch = scratch + self.unpacked;
        grow(&mut self.arena, arena)?;
        grow(&mut self.scratch, scratch)?;
        grow(&mut self.scaling, scaling)
    }

    /// A value of the plan that was replayed last, if no later value has overwritten it.
    #[must_use]
    pub fn value(&self, plan: &Plan, id: ValueId) -> &[f32] {
        &self.arena[plan.value(id).range()]
    }

    /// The same, for writing.
    pub fn value_mut(&mut self, plan: &Plan, id: ValueId) -> &mut [f32] {
        &mut self.arena[plan.value(id).range()]
    }
}

fn grow(buffer: &mut Vec<f32>, len: usize) -> Result<()> {
    let more = len.saturating_sub(buffer.len());
    buffer
        .try_reserve_exact(more)
        .map_err(|_| Error::OutOfMemory { problem: format!("{} bytes of activations", 4 * len as u64) })?;
    buffer.resize(buffer.len() + more, 0.0);
    Ok(())
}

/// Replays a plan's operations: reads the plan's input value in `memory` and writes its output value. `prelude` is the buffer that
/// [`prelude`] made for `count` rows, of which each sample reads its own.
pub fn step(
    plan: &Plan,
    packed: &Packed,
    prelude: &[f32],
    count: usize,
    rows: PreludeRows,
    memory: &mut Memory,
) {
    let Plan { batch, values, .. } = plan;
    let stage =
        Stage { batch: *batch, values, packed, prelude: &plan.prelude.rows, buffer: prelude, count, rows };
    threads::enter(|| plan.ops.iter().for_each(|step| step.op.run(&stage, memory)));
}

/// Computes what evaluations read of the prompts of a run, and leaves it in `memory`, where it stays until another plan is replayed
/// there. `given` is checked by [`check_prompts`], and `of_sample` says which of them each sample has.
pub fn prompts(plan: &Plan, packed: &Packed, given: &[&[f32]], of_sample: &[usize], memory: &mut Memory) {
    for ((_, id), numbers) in plan.prompts.inputs.iter().zip(given) {
        memory.value_mut(plan, *id).copy_from_slice(numbers);
    }
    if let Some(id) = plan.prompts.of_sample {
        let rows = memory.value_mut(plan, id).iter_mut().zip(of_sample);
        rows.for_each(|(row, prompt)| *row = *prompt as f32);
    }
    let (rows, values) = (PreludeRows { first: 0, stride: 0 }, &plan.values);
    let batch = plan.prompts.count;
    let stage = Stage { batch, values, packed, prelude: &[], buffer: &[], count: 0, rows };
    threads::enter(|| plan.prompts.ops.iter().for_each(|step| step.op.run(&stage, memory)));
}

/// Whether prompts are what a plan asks for: of each of its inputs `[prompts, tokens, width]` numbers, and for each sample the number
/// of its prompt.
///
/// # Errors
/// [`Error::Option`] that says what it asks for.
pub fn check_prompts(plan: &Plan, given: &[&[f32]], of_sample: &[usize]) -> Result<()> {
    let lens: Vec<usize> = plan.prompts.inputs.iter().map(|(_, id)| plan.value(*id).len()).collect();
    let found: Vec<usize> = given.iter().map(|numbers| numbers.len()).collect();
    let count = plan.prompts.count;
    if lens == found && of_sample.len() == plan.batch && of_sample.iter().all(|prompt| *prompt < count) {
        return Ok(());
    }
    Err(Error::Option {
        option: "prompts",
        found: format!("{found:?} numbers, of samples {of_sample:?}"),
        expected: format!("{lens:?} numbers, and for each of {} samples one of {count} prompts", plan.batch),
    })
}

/// Computes the prelude for all rows of a run: `given` holds a row of each of its inputs, in their order, for each timestep of the
/// run, and for each label where there are some. The result is the prelude's buffer.
///
/// # Errors
/// [`Error::OutOfMemory`] where there is no room for it.
pub fn prelude(plan: &Plan, packed: &Packed, given: &[&[f32]]) -> Result<Vec<f32>> {
    let Prelude { rows, ops, inputs } = &plan.prelude;
    let width = |input: usize| rows[inputs[input].1.0].width;
    // What depends on nothing that is given, such as a table of positions, is one row.
    let count = match (inputs.is_empty(), given) {
        (false, [first, ..]) => first.len() / width(0),
        _ => usize::from(!ops.is_empty()),
    };
    // The rows of a run are a batch, and each vector has its own place.
    let value = |row: &plan::Row| {
        let [height, width, channels] = row.shape;
        Value { shape: [count, height, width, channels], offset: count * row.start, life: (0, ops.len()) }
    };
    let values: Vec<Value> = rows.iter().map(value).collect();
    let mut memory = Memory::of(packed);
    memory.fit_stage(ops, &values, count * plan.prelude.width())?;
    for ((_, row), numbers) in inputs.iter().zip(given) {
        memory.arena[values[row.0].range()].copy_from_slice(numbers);
    }
    let rows = PreludeRows { first: 0, stride: 0 };
    let stage = Stage {
        batch: count,
        values: &values,
        packed,
        prelude: &plan.prelude.rows,
        buffer: &[],
        count,
        rows,
    };
    if count > 0 {
        threads::enter(|| ops.iter().for_each(|step| step.op.run(&stage, &mut memory)));
    }
    Ok(memory.arena)
}
