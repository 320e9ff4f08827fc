//! The second stage's result: what an evaluation of a network does, as plain data, before there are any numbers.
//!
//! A [`Plan`] is made once for a network and a shape, and replayed by an executor: the CPU's, or a GPU's, which turns
//! each operation into a dispatch. It has three parts. The *prelude* works on vectors, one row for each timestep of a
//! run (and each label), and is computed once per run, by the processor. The *prompts* are token sequences; what depends on them
//! alone is computed once per run too, but by the executor itself, and stays in its memory. The *operations* work on images, once
//! per evaluation of the network. All consist of the same kinds of operation, whose structures are in `ops/`.

use std::fmt;

use super::arena::{self, Lifetime};
use super::parameters::Parameters;
use crate::error::{Error, Result};
use crate::network::trace::Input;

pub use super::ops::*;
pub use super::value::*;

/// Where each part of a normalisation's input has at most this many tiles, the operation that applies the normalisation
/// computes scale and shift itself: each workgroup reads a few kilobytes more, which costs less than another dispatch.
pub const MAX_INLINE_TILES: usize = 8;

/// An operation and the module it belongs to.
#[derive(Clone, Debug, PartialEq)]
pub struct PlannedOp {
    /// The module's name in the checkpoint, for texts and profiles.
    pub name: String,
    /// What is done.
    pub op: Op,
}

/// What depends on timesteps and labels alone.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Prelude {
    /// Every vector.
    pub rows: Vec<Row>,
    /// The operations in order. Their values are the rows: `ValueId(i)` is `RowId(i)`, and their batch the number of rows of a run.
    pub ops: Vec<PlannedOp>,
    /// What is given, in the order of the network's inputs.
    pub inputs: Vec<(Input, RowId)>,
}

impl Prelude {
    /// Adds a vector or image.
    pub(super) fn add(&mut self, shape: [usize; 3]) -> RowId {
        let row = Row { shape, width: shape.iter().product(), start: self.width() };
        self.rows.push(row);
        RowId(self.rows.len() - 1)
    }

    /// Floats of the prelude's buffer for each row of a run.
    #[must_use]
    pub fn width(&self) -> usize {
        self.rows.last().map_or(0, |r| r.start + r.width.next_multiple_of(arena::ALIGNMENT_FLOATS))
    }
}

/// What depends on prompts alone. Its values are among those of the plan, with a row for each prompt.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Prompts {
    /// Prompts of a run.
    pub count: usize,
    /// The operations in order.
    pub ops: Vec<PlannedOp>,
    /// What is given, in the order of the network's inputs.
    pub inputs: Vec<(Input, ValueId)>,
    /// The number of each sample's prompt, where an evaluation reads what is computed here.
    pub of_sample: Option<ValueId>,
}

/// A network on images of one shape, ready to be replayed.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Images evaluated together.
    pub batch: usize,
    /// How parameters are packed; the same for every shape.
    pub parameters: Parameters,
    /// What is computed once per run for timesteps and labels.
    pub prelude: Prelude,
    /// What is computed once per run for prompts.
    pub prompts: Prompts,
    /// What is computed once per evaluation, in order.
    pub ops: Vec<PlannedOp>,
    /// Everything in the arena.
    pub values: Vec<Value>,
    /// The arena's length in floats.
    pub arena: usize,
    /// Where the noisy images go, NHWC.
    pub input: ValueId,
    /// Where the predictions are found, NHWC.
    pub output: ValueId,
    /// Further results, where there are some.
    pub also: Vec<ValueId>,
}

impl Plan {
    /// Finds from the operations when each value lives, and places it in the arena.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] where the arena has more floats than this machine can count.
    pub(super) fn place(&mut self) -> Result<()> {
        for value in &mut self.values {
            value.life = (usize::MAX, 0);
        }
        let of_prompts: &[PlannedOp] = if cfg!(feature = "text") { &self.prompts.ops } else { &[] };
        let (first, end) = (of_prompts.len(), of_prompts.len() + self.ops.len());
        for (at, step) in of_prompts.iter().chain(&self.ops).enumerate() {
            for id in step.op.reads().into_iter().chain(step.op.writes()) {
                let life = &mut self.values[id.0].life;
                *life = (life.0.min(at), life.1.max(at));
            }
        }
        if cfg!(feature = "text") {
            self.keep_prompts(first, end);
        }
        let input = &mut self.values[self.input.0].life;
        *input = (first, input.1.max(first));
        for output in [self.output].iter().chain(&self.also) {
            self.values[output.0].life.1 = end;
        }
        let lifetimes = self.lifetimes();
        let Some((offsets, total)) = arena::place(&lifetimes) else {
            let bytes = arena::live_maximum(&lifetimes).saturating_mul(4);
            return Err(Error::OutOfMemory { problem: format!("{bytes} bytes of activations") });
        };
        for (value, offset) in self.values.iter_mut().zip(offsets) {
            value.offset = offset;
        }
        self.arena = total;
        Ok(())
    }

    /// What evaluations read of prompts, all of them read: it lives to the end.
    fn keep_prompts(&mut self, first: usize, end: usize) {
        let mut kept: Vec<ValueId> = self.prompts.inputs.iter().map(|(_, id)| *id).collect();
        kept.extend(self.prompts.of_sample);
        kept.iter().for_each(|id| self.values[id.0].life.0 = 0);
        kept.extend(self.prompts.ops.iter().flat_map(|step| step.op.writes()));
        for id in kept {
            let life = &mut self.values[id.0].life;
            life.1 = if life.1 >= first { end } else { life.1 };
        }
    }

    fn lifetimes(&self) -> Vec<Lifetime> {
        self.values.iter().map(Value::lifetime).collect()
    }

    /// The most floats alive at one operation: the arena can be no smaller.
    #[must_use]
    pub fn live_maximum(&self) -> u64 {
        arena::live_maximum(&self.lifetimes())
    }

    /// A value by its id.
    #[must_use]
    pub fn value(&self, id: ValueId) -> &Value {
        &self.values[id.0]
    }
}

/// The plan as text, an operation a line: what `noiseball inspect --plan` prints.
impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        writeln!(
            f,
            "batch {}: {} operations a step, arena {} bytes (at least {})",
            self.batch,
            self.ops.len(),
            4 * self.arena as u64,
            4 * self.live_maximum(),
        )?;
        writeln!(f, "prelude, {} floats a row:", self.prelude.width())?;
        for (input, row) in &self.prelude.inputs {
            writeln!(f, "  {} = {}", self.row(*row), input.name)?;
        }
        for step in &self.prelude.ops {
            let outputs: Vec<String> = step.op.writes().iter().map(|id| self.row(RowId(id.0))).collect();
            writeln!(f, "  {} = {}", outputs.join(", moments "), step.op.text('r', &self.parameters))?;
        }
        let prompts = &self.prompts;
        if !prompts.inputs.is_empty() {
            writeln!(f, "prompts, {}:", prompts.count)?;
        }
        for (input, id) in &prompts.inputs {
            writeln!(f, "  {} = {}", self.described(*id), input.name)?;
        }
        for (at, step) in prompts.ops.iter().enumerate() {
            self.line(f, at, step)?;
        }
        writeln!(f, "step:")?;
        if let Some(id) = prompts.of_sample {
            writeln!(f, "  {} = prompt of each sample", self.described(id))?;
        }
        writeln!(f, "  {} = input", self.described(self.input))?;
        for (at, step) in self.ops.iter().enumerate() {
            self.line(f, at, step)?;
        }
        writeln!(f, "  output = v{}", self.output.0)?;
        self.also.iter().try_for_each(|also| writeln!(f, "  also v{}", also.0))
    }
}

impl Plan {
    fn row(&self, id: RowId) -> String {
        let row = &self.prelude.rows[id.0];
        match row.shape {
            [1, 1, channels] => format!("r{} [{channels}]", id.0),
            shape => format!("r{} {shape:?}", id.0),
        }
    }

    fn line(&self, f: &mut fmt::Formatter, at: usize, step: &PlannedOp) -> fmt::Result {
        let outputs: Vec<String> = step.op.writes().iter().map(|id| self.described(*id)).collect();
        let (outputs, expression) = (outputs.join(", moments "), step.op.text('v', &self.parameters));
        writeln!(f, "  {at:3} {}: {outputs} = {expression}", step.name)
    }

    fn described(&self, id: ValueId) -> String {
        let v = self.value(id);
        format!("v{} {:?} @{}", id.0, v.shape, 4 * v.offset as u64)
    }
}
