//! A plan in the making: operations on values, in order, which the [`passes`](super::passes) rewrite to fewer operations of the same
//! numbers. Any draft runs.
//!
//! What depends on timesteps and labels alone, or on prompts, stands among all else: a [`RowSlice`](super::plan::RowSlice) refers to a value by its number.
//! [`Draft::finish`] divides the operations by when they are computed, numbers everything in the order in which it is written,
//! drops what nobody reads, and places the activations in the arena.

use super::parameters::Parameters;
use super::plan::{Gemm, Op, Plan, PlannedOp, Prelude, Prompts, Reference, RowId, Value, ValueId};
use crate::error::{Error, Result};
use crate::network::trace::Input;

/// The part of a plan that computes something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// The prelude, once for each timestep and label of a run.
    Prelude,
    /// Once for each prompt of a run.
    Prompts,
    /// Every evaluation.
    Evaluation,
}

/// What operations of a draft write.
#[derive(Clone, Debug)]
pub struct DraftValue {
    /// One sample's or prompt's part, or one row's: height, width and channels.
    pub shape: [usize; 3],
    /// When it is computed.
    pub when: When,
}

/// A plan in the making.
#[derive(Clone, Debug)]
pub struct Draft {
    /// Images evaluated together.
    pub batch: usize,
    /// Prompts that these have.
    pub prompts: usize,
    /// Which prompt each image has, where an evaluation reads what is computed of prompts.
    pub prompt_of: Option<ValueId>,
    /// What operations read from the checkpoint.
    pub parameters: Parameters,
    /// The operations in order.
    pub ops: Vec<PlannedOp>,
    /// Everything that operations write, and what is given.
    pub values: Vec<DraftValue>,
    /// What is given.
    pub inputs: Vec<(Input, ValueId)>,
    /// The result.
    pub output: ValueId,
    /// Further results, where there are some.
    pub also: Vec<ValueId>,
}

impl Draft {
    /// Adds a value, whose place is found later.
    pub fn value(&mut self, shape: [usize; 3], when: When) -> ValueId {
        self.values.push(DraftValue { shape, when });
        ValueId(self.values.len() - 1)
    }

    /// The result and those beside it.
    pub fn results(&self) -> impl Iterator<Item = ValueId> {
        [self.output].into_iter().chain(self.also.iter().copied())
    }

    /// How often each value is read, being a result counting as one reading.
    #[must_use]
    pub fn uses(&self) -> Vec<usize> {
        let mut uses = vec![0; self.values.len()];
        self.results().for_each(|id| uses[id.0] += 1);
        for step in &self.ops {
            step.op.references(&mut |reference| match reference {
                Reference::Read(id) => uses[id.0] += 1,
                Reference::Rows(slice) => uses[slice.row.0] += 1,
                _ => {}
            });
        }
        uses
    }

    /// The position of the operation that writes each value.
    #[must_use]
    pub fn producers(&self) -> Vec<Option<usize>> {
        let mut producers = vec![None; self.values.len()];
        for (at, step) in self.ops.iter().enumerate() {
            for id in step.op.writes() {
                producers[id.0] = Some(at);
            }
        }
        producers
    }

    /// The positions of the operations that read each value, once for each reading. The result is read by none.
    #[must_use]
    pub fn readers(&self) -> Vec<Vec<usize>> {
        let mut readers = vec![Vec::new(); self.values.len()];
        for (at, step) in self.ops.iter().enumerate() {
            step.op.references(&mut |reference| match reference {
                Reference::Read(id) => readers[id.0].push(at),
                Reference::Rows(slice) => readers[slice.row.0].push(at),
                _ => {}
            });
        }
        readers
    }

    /// How many operations read each matrix: only one that no other reads may be changed.
    #[must_use]
    pub fn matrix_uses(&self) -> Vec<usize> {
        let mut uses = vec![0; self.parameters.matrices.len()];
        for step in &self.ops {
            step.op.references(&mut |reference| {
                if let Reference::Matrix(id) = reference {
                    uses[id.0] += 1;
                }
            });
        }
        uses
    }

    /// Removes the operations whose position is marked.
    pub fn remove(&mut self, marked: &[bool]) {
        let mut at = 0;
        self.ops.retain(|_| {
            at += 1;
            !marked[at - 1]
        });
    }

    /// Removes operations whose results nobody reads, and moments that nobody reads.
    pub fn sweep(&mut self) {
        let mut uses = self.uses();
        for at in (0..self.ops.len()).rev() {
            let op = &mut self.ops[at].op;
            if let Op::Gemm(g) = op
                && g.moments.is_some_and(|m| uses[m.0] == 0)
            {
                g.moments = None;
            }
            if op.writes().iter().all(|id| uses[id.0] == 0) {
                op.references(&mut |reference| match reference {
                    Reference::Read(id) => uses[id.0] -= 1,
                    Reference::Rows(slice) => uses[slice.row.0] -= 1,
                    _ => {}
                });
                self.ops.remove(at);
            }
        }
    }

    /// The plan of these operations.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] where the plan has more bytes than this machine can count, [`Error::Unsupported`] for a network
    /// that is given nothing that changes with every evaluation.
    pub fn finish(mut self) -> Result<Plan> {
        self.sweep();
        self.compact();
        let input = self.inputs.iter().find(|(_, id)| self.values[id.0].when == When::Evaluation);
        let input = input.ok_or_else(|| unsupported("a network without images"))?.1;
        let ops = std::mem::take(&mut self.ops);
        let mut numbering = Numbering::of(&self);
        let [of_rows, of_prompts, ops] = numbering.divide(ops);
        let (input, output) = (ValueId(numbering.number(input)), ValueId(numbering.number(self.output)));
        let also = self.also.iter().map(|id| ValueId(numbering.number(*id))).collect();
        let Numbering { prelude, prompts, values, .. } = numbering;
        let mut plan = Plan {
            batch: self.batch,
            parameters: self.parameters,
            prelude: Prelude { ops: of_rows, ..prelude },
            prompts: Prompts { ops: of_prompts, ..prompts },
            ops,
            values,
            arena: 0,
            input,
            output,
            also,
        };
        plan.parameters.check()?;
        plan.place()?;
        Ok(plan)
    }

    /// Drops parameters that no operation reads any more.
    fn compact(&mut self) {
        let (mut matrices, mut vectors) =
            (vec![None; self.parameters.matrices.len()], vec![None; self.parameters.vectors.len()]);
        for step in &self.ops {
            step.op.references(&mut |reference| match reference {
                Reference::Matrix(id) => matrices[id.0] = Some(*id),
                Reference::Vector(id) => vectors[id.0] = Some(*id),
                _ => {}
            });
        }
        let mut kept = Parameters::default();
        let all = std::mem::take(&mut self.parameters);
        for (id, matrix) in matrices.iter_mut().zip(all.matrices) {
            *id = id.map(|_| kept.add_matrix(matrix.parts));
        }
        for (id, vector) in vectors.iter_mut().zip(all.vectors) {
            *id = id.map(|_| kept.add_vector(vector.parts, vector.len));
        }
        self.parameters = kept;
        for step in &mut self.ops {
            step.op.references_mut(&mut |reference| match reference {
                Reference::Matrix(id) => *id = matrices[id.0].unwrap_or(*id),
                Reference::Vector(id) => *id = vectors[id.0].unwrap_or(*id),
                _ => {}
            });
        }
    }
}

pub(super) fn unsupported(what: &str) -> Error {
    Error::Unsupported { what: what.to_owned(), why: "the engine has nothing to evaluate".to_owned() }
}

/// Gives values their final numbers, in the order in which they are written; but moments that a product leaves, when they are
/// first read.
struct Numbering<'a> {
    batch: usize,
    prompts: Prompts,
    of: &'a [DraftValue],
    numbers: Vec<Option<usize>>,
    prelude: Prelude,
    values: Vec<Value>,
}

impl<'a> Numbering<'a> {
    /// With what is given numbered.
    fn of(draft: &'a Draft) -> Self {
        let mut numbering = Self {
            batch: draft.batch,
            prompts: Prompts { count: draft.prompts, ..Prompts::default() },
            of: &draft.values,
            numbers: vec![None; draft.values.len()],
            prelude: Prelude::default(),
            values: Vec::new(),
        };
        for (input, id) in &draft.inputs {
            let number = numbering.number(*id);
            match draft.values[id.0].when {
                When::Prelude => numbering.prelude.inputs.push((*input, RowId(number))),
                When::Prompts => numbering.prompts.inputs.push((*input, ValueId(number))),
                When::Evaluation => {}
            }
        }
        numbering.prompts.of_sample = draft.prompt_of.map(|id| ValueId(numbering.number(id)));
        numbering
    }

    /// The operations of the prelude, of prompts and of an evaluation, numbered.
    fn divide(&mut self, ops: Vec<PlannedOp>) -> [Vec<PlannedOp>; 3] {
        let mut parts = [Vec::new(), Vec::new(), Vec::new()];
        for mut step in ops {
            let when = step.op.writes().first().map(|id| self.of[id.0].when);
            self.renumber(&mut step.op);
            let part = match when {
                Some(When::Prelude) => 0,
                #[cfg(feature = "text")]
                Some(When::Prompts) => 1,
                _ => 2,
            };
            parts[part].push(step);
        }
        let [rows, prompts, ops] = &mut parts;
        for step in ops.iter_mut().chain(rows).chain(prompts) {
            self.renumber_moments(&mut step.op);
        }
        parts
    }

    fn number(&mut self, id: ValueId) -> usize {
        if let Some(known) = self.numbers[id.0] {
            return known;
        }
        let DraftValue { shape, when } = self.of[id.0];
        let number = if when == When::Prelude {
            self.prelude.add(shape).0
        } else {
            let batch = if when == When::Prompts { self.prompts.count } else { self.batch };
            let [height, width, channels] = shape;
            self.values.push(Value { shape: [batch, height, width, channels], offset: 0, life: (0, 0) });
            self.values.len() - 1
        };
        self.numbers[id.0] = Some(number);
        number
    }

    fn renumber(&mut self, op: &mut Op) {
        let late = match op {
            Op::Gemm(g) => g.moments,
            _ => None,
        };
        op.references(&mut |reference| match reference {
            Reference::Read(id) => {
                self.number(*id);
            }
            Reference::Write(id) if Some(*id) != late => {
                self.number(*id);
            }
            _ => {}
        });
        op.references_mut(&mut |reference| match reference {
            Reference::Read(id) => id.0 = self.number(*id),
            Reference::Write(id) if Some(*id) != late => id.0 = self.number(*id),
            Reference::Rows(slice) => slice.row.0 = self.number(ValueId(slice.row.0)),
            _ => {}
        });
    }

    /// To be called when all that reads them is numbered.
    fn renumber_moments(&mut self, op: &mut Op) {
        if let Op::Gemm(Gemm { moments: Some(id), .. }) = op {
            id.0 = self.number(*id);
        }
    }
}
