//! The second stage: from a recorded [`Graph`] to a [`Draft`], naively. Every call becomes an operation of its own, but for a group
//! normalisation, which is three: moments, then scale and shift, then their use. Any graph has such a draft.

#[cfg(feature = "text")]
mod transformer;

use super::draft::{Draft, DraftValue, When, unsupported};
use super::parameters::{MatrixId, MatrixPart, Packing, Parameters, VectorId, VectorPart};
#[cfg(any(feature = "burn", not(target_arch = "wasm32")))]
use super::plan::RadialBasis;
use super::plan::{
    Attention, Channels, Combine, Fir, Gather, Gemm, Load, Map, Moments, Norm, Op, Place, PlannedOp, Pool,
    ReadyNorm, RowId, RowSlice, Scaling, Source, TILE_PIXELS, Table, ValueId, Window,
};
use crate::error::Result;
use crate::network::ops::{Attend, Convolution, Padding, pointwise_shape};
use crate::network::trace::{Call, Graph, Input, Node, NodeId, Rate, Shape};

impl Draft {
    /// An operation for each call of `graph`, for `batch` images that have so many prompts.
    ///
    /// # Errors
    /// [`Error::Unsupported`](crate::Error) for a network without a result.
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
        let mut combine = |name, combine| self.combine(name, combine, arguments[0], arguments[1], output);
        match &node.call {
            Call::Input(input) => self.draft.inputs.push((*input, output)),
            Call::Add => combine("add", Combine::Add),
            Call::AddPerChannel => combine("add_per_channel", Combine::AddPerChannel),
            Call::ScaleShift => combine("scale_shift", Combine::ScaleShift),
            Call::ScaleSamples => combine("scale_samples", Combine::ScaleSamples),
            #[cfg(feature = "text")]
            Call::ScalePerChannel => combine("scale_per_channel", Combine::ScalePerChannel),
            Call::Attention(attend) => self.attention(id, &arguments, *attend, output),
            #[cfg(feature = "text")]
            Call::Transformer(call) => self.transformer(id, call, &arguments, output),
            call => {
                let read: Vec<ValueId> = arguments.iter().map(|a| self.copied(*a, when)).collect();
                self.call(call, &read, output);
            }
        }
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
            Call::Activation(_) | Call::Affine { .. } | Call::UpsampleNearest | Call::Concat => {
                self.load(call, read, output);
            }
            // Done by `node`, as transformers' calls are by a function of theirs.
            Call::Input(_)
            | Call::Add
            | Call::AddPerChannel
            | Call::ScaleShift
            | Call::ScaleSamples
            | Call::Attention(_) => {}
            #[cfg(feature = "text")]
            Call::ScalePerChannel | Call::Transformer(_) => {}
            #[cfg(not(any(feature = "burn", not(target_arch = "wasm32"))))]
            Call::RadialBasis { .. } => {}
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
