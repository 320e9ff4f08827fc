//! The second stage: from a recorded [`Graph`] to a [`Plan`], naively. Every call becomes an operation of its own, but for a
//! group normalisation, which is three: moments, then scale and shift, then their use. Any graph has such a draft, and any
//! draft runs. What makes it fast are the [`passes`](super::passes), each of which rewrites a draft to one of fewer operations and
//! the same numbers.
//!
//! In a draft, what depends on timesteps and labels alone, or on prompts, stands among all else: a [`RowSlice`] refers to a value
//! by its number. [`Draft::finish`] divides the operations by when they are computed, numbers everything in the order in which it
//! is written, drops what nobody reads, and places the activations in the arena.

#[cfg(feature = "text")]
mod transformer;

use super::parameters::{MatrixId, MatrixPart, Packing, Parameters, VectorId, VectorPart};
#[cfg(any(feature = "burn", not(target_arch = "wasm32")))]
use super::plan::RadialBasis;
use super::plan::{
    Attention, Channels, Combine, Fir, Gather, Gemm, Load, Map, Moments, Norm, Op, Place, Plan, PlannedOp,
    Pool, Prelude, Prompts, ReadyNorm, Reference, RowId, RowSlice, Scaling, Source, TILE_PIXELS, Table,
    Value, ValueId, Window,
};
use crate::error::{Error, Result};
use crate::network::ops::{Attend, Convolution, Padding, pointwise_shape};
use crate::network::trace::{Call, Graph, Input, Node, NodeId, Rate, Shape};

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
    /// An operation for each call of `graph`, for `batch` images that have so many prompts.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for a network without a result.
    pub fn of(graph: &Graph, batch: usize, prompts: usize) -> Result<Self> {
        #[cfg(not(any(feature = "burn", not(target_arch = "wasm32"))))]
        if graph.nodes.iter().any(|node| matches!(node.call, Call::RadialBasis { .. })) {
            return Err(unsupported("a network of radial bases"));
        }
        let draft = Draft {
            batch,
            prompts,
            prompt_of: None,
            parameters: Parameters::default(),
            ops: Vec::new(),
            values: Vec::new(),
            inputs: Vec::new(),
            output: ValueId(0),
            also: Vec::new(),
        };
        let mut drafter = Drafter { graph, of: Vec::new(), moments: Vec::new(), copies: Vec::new(), draft };
        for at in 0..graph.nodes.len() {
            let value = drafter.node(NodeId(at));
            drafter.of.push(value);
        }
        let mut outputs = graph.outputs.iter().map(|id| drafter.of[id.0]).collect::<Vec<_>>().into_iter();
        let output = outputs.next().ok_or_else(|| unsupported("a network without a result"))?;
        drafter.draft.output = drafter.copied(output, When::Evaluation);
        drafter.draft.also = outputs.map(|id| drafter.copied(id, When::Evaluation)).collect();
        Ok(drafter.draft)
    }

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

fn unsupported(what: &str) -> Error {
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

/// Makes operations of calls.
struct Drafter<'g> {
    graph: &'g Graph,
    /// The value of each call so far.
    of: Vec<ValueId>,
    /// Images whose moments there are.
    moments: Vec<(ValueId, ValueId)>,
    /// What has been copied from the prelude.
    copies: Vec<(ValueId, ValueId)>,
    draft: Draft,
}

impl<'g> Drafter<'g> {
    fn node(&mut self, id: NodeId) -> ValueId {
        let node = &self.graph.nodes[id.0];
        let Shape { height, width, channels } = node.shape;
        let arguments: Vec<ValueId> = node.arguments.iter().map(|a| self.of[a.0]).collect();
        let when = self.when(node, &arguments);
        let output = self.draft.value([height, width, channels], when);
        if let Call::Input(input) = &node.call {
            self.draft.inputs.push((*input, output));
            return output;
        }
        let combine = match &node.call {
            Call::Add => Some((Combine::Add, "add")),
            Call::AddPerChannel => Some((Combine::AddPerChannel, "add_per_channel")),
            Call::ScaleShift => Some((Combine::ScaleShift, "scale_shift")),
            Call::ScaleSamples => Some((Combine::ScaleSamples, "scale_samples")),
            #[cfg(feature = "text")]
            Call::ScalePerChannel => Some((Combine::ScalePerChannel, "scale_per_channel")),
            _ => None,
        };
        if let Some((combine, name)) = combine {
            self.combine(name, combine, arguments[0], arguments[1], output);
            return output;
        }
        if let Call::Attention(attend) = &node.call {
            self.attention(id, &arguments, *attend, output);
            return output;
        }
        #[cfg(feature = "text")]
        if let Call::Transformer(call) = &node.call {
            self.transformer(id, call, &arguments, output);
            return output;
        }
        let read: Vec<ValueId> = arguments.iter().map(|a| self.copied(*a, when)).collect();
        self.call(&node.call, &read, output);
        output
    }

    /// A call whose arguments are read where it is computed.
    fn call(&mut self, call: &Call, read: &[ValueId], output: ValueId) {
        let x = read[0];
        let inputs = self.draft.values[x.0].shape[2];
        let channels = self.draft.values[output.0].shape[2];
        match call {
            Call::Conv { name, conv: Convolution { kernel, stride, padding, bias, .. } } => {
                let window = match (kernel, stride, padding) {
                    (1, 1, Padding::All(0)) => Window::Pointwise,
                    _ => Window::Square { kernel: *kernel, stride: *stride, padding: *padding },
                };
                self.gemm(name, x, window, vec![channels, inputs, *kernel, *kernel], *bias, output);
            }
            Call::Pointwise { name, bias: true } if pointwise_shape(name, 1, 1).len() == 4 => {
                self.gemm(name, x, Window::Pointwise, vec![channels, inputs, 1, 1], true, output);
            }
            Call::Pointwise { name, bias } => {
                self.gemm(name, x, Window::Pointwise, vec![channels, inputs], *bias, output);
            }
            Call::Linear { name } => {
                self.gemm(name, x, Window::Pointwise, vec![channels, inputs], true, output);
            }
            Call::Embedding { name, rows } => self.gather(name, Some(x), [*rows, channels], output),
            Call::GroupNorm { name, groups, eps } => self.group_norm(name, x, *groups, *eps, output),
            #[cfg(any(feature = "burn", not(target_arch = "wasm32")))]
            Call::RadialBasis { name } => {
                let centres = self.matrix(name, vec![channels, inputs]);
                let widths = self.vector(format!("{name}.width.weight"), channels);
                self.emit(name, Op::RadialBasis(RadialBasis { source: x, centres, widths, output }));
            }
            Call::DownsampleMean => {
                let pool = Pool { source: Source::of(x), load: Load::default(), output };
                self.emit("downsample_mean", Op::Pool(pool));
            }
            Call::UpsampleFir => self.emit("upsample_fir", Op::Fir(Fir { source: x, up: true, output })),
            Call::DownsampleFir => {
                self.emit("downsample_fir", Op::Fir(Fir { source: x, up: false, output }));
            }
            call => self.load(call, read, output),
        }
    }

    fn emit(&mut self, name: &str, op: Op) {
        self.draft.ops.push(PlannedOp { name: name.to_owned(), op });
    }

    /// The part of the plan that a call belongs to: tokens that change with the prompt, and what depends on them alone, are computed
    /// for each prompt; what depends on them and on timesteps too, with every evaluation.
    fn when(&self, node: &Node, arguments: &[ValueId]) -> When {
        if cfg!(not(feature = "text")) {
            return if node.rate == Rate::Evaluation { When::Evaluation } else { When::Prelude };
        }
        if let Call::Input(Input { rate, shape, .. }) = node.call {
            return match rate {
                Rate::Evaluation => When::Evaluation,
                Rate::Model | Rate::Prompt if shape.pixels() > 1 => When::Prompts,
                _ => When::Prelude,
            };
        }
        let all = |when| arguments.iter().all(|a| self.draft.values[a.0].when == when);
        match node.rate {
            Rate::Evaluation => When::Evaluation,
            _ if all(When::Prelude) => When::Prelude,
            _ if all(When::Prompts) => When::Prompts,
            _ => When::Evaluation,
        }
    }

    /// A value as an operation of a part of the plan can read it.
    fn copied(&mut self, value: ValueId, when: When) -> ValueId {
        let DraftValue { shape, when: already } = self.draft.values[value.0];
        if already == when {
            return value;
        }
        if let Some((_, copy)) = self.copies.iter().find(|(of, _)| *of == value) {
            return *copy;
        }
        let output = self.draft.value(shape, when);
        let operand = Some((Combine::Add, self.place(value, when)));
        self.emit("copy", Op::Map(Map { source: None, load: Load::default(), operand, output }));
        self.copies.push((value, output));
        output
    }

    /// Where such an operation finds an operand.
    fn place(&mut self, value: ValueId, when: When) -> Place {
        let DraftValue { shape, when: already } = self.draft.values[value.0];
        match already {
            _ if already == when => Place::Value(value),
            #[cfg(feature = "text")]
            When::Prompts => Place::Prompts { value, of_sample: self.prompt_of() },
            _ => Place::Rows(RowSlice { row: RowId(value.0), start: 0, len: shape.iter().product() }),
        }
    }

    /// Which prompt each sample has.
    fn prompt_of(&mut self) -> ValueId {
        let known = self.draft.prompt_of;
        let id = known.unwrap_or_else(|| self.draft.value([1, 1, 1], When::Evaluation));
        self.draft.prompt_of = Some(id);
        id
    }

    /// What the product that computes the first argument could do in its epilogue.
    fn combine(&mut self, name: &str, combine: Combine, mut x: ValueId, mut v: ValueId, output: ValueId) {
        let when = self.draft.values[output.0].when;
        if combine == Combine::Add && self.draft.values[x.0].when != when {
            (x, v) = (v, x);
        }
        let source = Some(Source::of(self.copied(x, when)));
        let operand = Some((combine, self.place(v, when)));
        self.emit(name, Op::Map(Map { source, load: Load::default(), operand, output }));
    }

    /// What the reader of the result could do while it loads.
    fn load(&mut self, call: &Call, read: &[ValueId], output: ValueId) {
        let mut source = Source::of(read[0]);
        let mut load = Load::default();
        let name = match call {
            Call::Activation(activation) => {
                load.activation = Some(*activation);
                "activation"
            }
            Call::Affine { scale, shift } => {
                load.scaling = Some(Scaling::Constant { scale: *scale as f32, shift: *shift as f32 });
                "affine"
            }
            Call::UpsampleNearest => {
                source.upsample = true;
                "upsample_nearest"
            }
            _ => {
                source.second = read.get(1).copied();
                "concat"
            }
        };
        self.emit(name, Op::Map(Map { source: Some(source), load, operand: None, output }));
    }

    fn gemm(
        &mut self,
        name: &str,
        x: ValueId,
        window: Window,
        shape: Vec<usize>,
        bias: bool,
        output: ValueId,
    ) {
        let columns = shape[0];
        let bias = if bias {
            self.vector(format!("{name}.bias"), columns)
        } else {
            self.draft.parameters.add_vector(Vec::new(), columns)
        };
        let gemm = Gemm {
            source: Source::of(x),
            load: Load::default(),
            window,
            shortcut: None,
            matrix: self.matrix(name, shape),
            bias,
            time: None,
            residual: None,
            scale: 1.0,
            sample_scale: None,
            output,
            moments: None,
        };
        self.emit(name, Op::Gemm(gemm));
    }

    /// A weight, transposed.
    fn matrix(&mut self, name: &str, shape: Vec<usize>) -> MatrixId {
        let (key, packing) = (format!("{name}.weight"), Packing::Transposed);
        self.draft.parameters.matrix(MatrixPart { key, shape, packing, row: 0, column: 0 })
    }

    fn vector(&mut self, key: String, len: usize) -> VectorId {
        self.draft.parameters.vector(VectorPart { key, len, at: 0 })
    }

    fn table(&mut self, name: &str, shape: [usize; 2]) -> MatrixId {
        let key = format!("{name}.weight");
        let part = MatrixPart { key, shape: shape.to_vec(), packing: Packing::Table, row: 0, column: 0 };
        self.draft.parameters.matrix(part)
    }

    fn gather(&mut self, name: &str, indices: Option<ValueId>, shape: [usize; 2], output: ValueId) {
        let table = Table::Matrix(self.table(name, shape));
        self.emit(name, Op::Gather(Gather { indices, table, output }));
    }

    /// The moments, the scale and shift that they come to, and these applied.
    fn group_norm(&mut self, name: &str, x: ValueId, groups: usize, eps: f64, output: ValueId) {
        let DraftValue { shape: [height, width, channels], when } = self.draft.values[x.0];
        let pixels = height * width;
        let moments = match self.moments.iter().find(|(of, _)| *of == x) {
            Some((_, known)) => *known,
            None => {
                let moments = self.draft.value([pixels.div_ceil(TILE_PIXELS), 2, channels], when);
                self.emit(name, Op::Moments(Moments { source: x, output: moments }));
                self.moments.push((x, moments));
                moments
            }
        };
        let norm = Norm {
            moments: (moments, None),
            pixels,
            groups,
            eps: eps as f32,
            weight: self.vector(format!("{name}.weight"), channels),
            bias: self.vector(format!("{name}.bias"), channels),
            modulation: None,
        };
        let ready = self.draft.value([1, 2, channels], when);
        self.emit(name, Op::ReadyNorm(ReadyNorm { norm, output: ready }));
        let load = Load { scaling: Some(Scaling::Ready(ready)), activation: None };
        self.emit(name, Op::Map(Map { source: Some(Source::of(x)), load, operand: None, output }));
    }

    /// Attention has no name of its own, and takes that of the module which its queries' linear map belongs to.
    fn attention_name(&self, id: NodeId) -> &'g str {
        let node = &self.graph.nodes[id.0];
        match &self.graph.nodes[node.arguments[0].0].call {
            Call::Pointwise { name, .. } => name.strip_suffix(".to_q").unwrap_or(name),
            _ => "attention",
        }
    }

    /// Keys and values of prompts are read where they lie.
    fn attention(&mut self, id: NodeId, qkv: &[ValueId], attend: Attend, output: ValueId) {
        let (node, name) = (&self.graph.nodes[id.0], self.attention_name(id));
        let when = self.draft.values[output.0].when;
        let of_prompts = cfg!(feature = "text")
            && when == When::Evaluation
            && qkv[1..].iter().all(|part| self.draft.values[part.0].when == When::Prompts);
        let of_sample = of_prompts.then(|| self.prompt_of());
        let mut parts = [qkv[0], qkv[1], qkv[2]];
        for part in &mut parts[..if of_prompts { 1 } else { 3 }] {
            *part = self.copied(*part, when);
        }
        let [q, k, v] = parts.map(|value| Channels { value, start: 0 });
        let (Attend { heads, causal }, inner) = (attend, node.shape.channels);
        self.emit(name, Op::Attention(Attention { q, k, v, of_sample, heads, causal, inner, output }));
    }
}
