//! The second stage: from a recorded [`Graph`] to a [`Plan`].
//!
//! One pass over the graph. Cheap operations (normalisation, nonlinearity, concatenation, doubling) are deferred: their
//! result is a [`Lazy`], a way to read images that exist already, which the next convolution takes into its load. Additions
//! and factors are folded into the epilogue of the convolution that computed their operand. Both are possible only when the
//! result in between has a single use.

use super::parameters::{MatrixPart, Packing, Parameters, VectorId, VectorPart};
use super::plan::{
    Attention, Gemm, Load, MAX_INLINE_TILES, Norm, Op, Plan, PlannedOp, Pool, Prelude, PreludeOp, Row, RowId,
    RowSlice, Scaling, Source, TILE_PIXELS, Value, ValueId, Window,
};
use super::trace::{Call, Extent, Graph, Input, NodeId};
use crate::error::{Error, Result};
use crate::network::ops::Activation;
use crate::network::unet::UNet2DConfig;

/// Images in the arena, and what is applied when they are read.
#[derive(Clone)]
struct Lazy {
    source: Source,
    load: Load,
}

impl Lazy {
    fn of(value: ValueId) -> Self {
        Self { source: Source::of(value), load: Load::default() }
    }

    /// The image itself, if nothing is applied to it.
    fn plain(&self) -> Option<ValueId> {
        (self.load.is_plain() && self.source.second.is_none() && !self.source.upsample)
            .then_some(self.source.first)
    }
}

/// A node's result, as far as it is planned.
#[derive(Clone)]
enum NodeValue {
    Image(Lazy),
    Vector { slice: RowSlice, activation: Option<Activation> },
}

impl Plan {
    /// Plans the U-Net on `batch` images of `height` × `width`.
    ///
    /// # Errors
    /// [`Error::Option`] where the U cannot halve the size often enough or there is no image, [`Error::OutOfMemory`] where
    /// no address space holds one of its activations.
    pub fn new(config: &UNet2DConfig, batch: usize, height: usize, width: usize) -> Result<Self> {
        config.check_size(height, width)?;
        if batch == 0 {
            return Err(Error::Option {
                option: "batch",
                found: "0".to_owned(),
                expected: "1 or more".to_owned(),
            });
        }
        let graph = Graph::of_unet(config, height, width);
        let bytes = [height, width, graph.most_channels(), 4]
            .into_iter()
            .try_fold(batch, usize::checked_mul)
            .filter(|bytes| isize::try_from(*bytes).is_ok());
        if bytes.is_none() {
            let problem = format!("activations of {batch} images of {height}×{width} pixels");
            return Err(Error::OutOfMemory { problem });
        }
        plan(&graph, batch)
    }
}

/// Plans a recorded forward pass for `batch` samples.
///
/// # Errors
/// [`Error::Unsupported`] where the calls follow each other in a way that no operation of a plan does.
fn plan(graph: &Graph, batch: usize) -> Result<Plan> {
    let mut fuser = Fuser {
        graph,
        uses: graph.uses(),
        node_values: vec![None; graph.nodes.len()],
        producers: Vec::new(),
        plan: Plan {
            batch,
            parameters: Parameters::default(),
            prelude: Prelude::default(),
            ops: Vec::new(),
            values: Vec::new(),
            arena: 0,
            input: ValueId(0),
            output: ValueId(0),
        },
    };
    for at in 0..graph.nodes.len() {
        if fuser.node_values[at].is_none() {
            let known = fuser.node(NodeId(at))?;
            fuser.node_values[at] = Some(known);
        }
    }
    let output = graph.output.ok_or_else(|| unsupported("a network without a result"))?;
    let output = fuser.image(output)?.plain();
    let mut plan = fuser.plan;
    plan.output = output.ok_or_else(|| unsupported("a network that does not end with a convolution"))?;
    plan.parameters.check()?;
    plan.place()?;
    Ok(plan)
}

fn unsupported(what: &str) -> Error {
    Error::Unsupported { what: what.to_owned(), why: "the engine's plan has no operation for it".to_owned() }
}

struct Fuser<'a> {
    graph: &'a Graph,
    uses: Vec<usize>,
    node_values: Vec<Option<NodeValue>>,
    /// For each value the operation that writes it; none for the input.
    producers: Vec<Option<usize>>,
    plan: Plan,
}

impl Fuser<'_> {
    fn node(&mut self, id: NodeId) -> Result<NodeValue> {
        let node = &self.graph.nodes[id.0];
        let argument = |i: usize| node.arguments[i];
        match &node.call {
            Call::Input(input) => Ok(self.input(*input, node.extent)),
            Call::Linear { .. } => self.linears(argument(0), id),
            Call::Embedding { name, rows } => self.gather(argument(0), name, *rows, node.extent.channels()),
            Call::Activation(activation) => self.activation(argument(0), *activation),
            Call::Add => match self.known(argument(0)) {
                Some(NodeValue::Vector { .. }) => self.add_vectors(argument(0), argument(1)),
                _ => self.add_images(argument(0), argument(1)),
            },
            Call::Conv2d { name, conv } => {
                let lazy = self.image(argument(0))?.clone();
                let shape = vec![conv.out_channels, self.channels(argument(0)), 3, 3];
                let window = Window::Square { stride: conv.stride, padding: conv.padding };
                Ok(self.gemm(name, lazy, window, shape, node.extent))
            }
            Call::Pointwise { name } => {
                let lazy = self.image(argument(0))?.clone();
                let mut shape = vec![node.extent.channels(), self.channels(argument(0))];
                if name.ends_with("conv_shortcut") {
                    shape.extend([1, 1]);
                }
                Ok(self.gemm(name, lazy, Window::Pointwise, shape, node.extent))
            }
            Call::GroupNorm { name, groups, eps } => self.group_norm(argument(0), name, *groups, *eps),
            Call::ScaleShift => self.modulate(argument(0), argument(1)),
            Call::Affine { scale, shift } => self.affine(argument(0), *scale as f32, *shift as f32),
            Call::AddPerChannel => {
                let time = self.slice(argument(1))?;
                let (value, gemm) =
                    self.epilogue(argument(0)).ok_or_else(|| unsupported("add_per_channel"))?;
                gemm.time = Some(time);
                Ok(NodeValue::Image(Lazy::of(value)))
            }
            Call::ScaleSamples => {
                let factor = self.slice(argument(1))?;
                let (value, gemm) = self.scaled(argument(0)).ok_or_else(|| unsupported("scale_samples"))?;
                gemm.sample_scale = Some(factor);
                Ok(NodeValue::Image(Lazy::of(value)))
            }
            Call::Attention { heads } => self.attention(&node.arguments, *heads, node.extent),
            Call::Concat => {
                let values = (self.image(argument(0))?.plain(), self.image(argument(1))?.plain());
                let (Some(first), second @ Some(_)) = values else { return Err(unsupported("concat")) };
                let source = Source { first, second, upsample: false };
                Ok(NodeValue::Image(Lazy { source, load: Load::default() }))
            }
            Call::UpsampleNearest => {
                let mut lazy = self.image(argument(0))?.clone();
                if lazy.source.upsample {
                    return Err(unsupported("upsample_nearest twice"));
                }
                lazy.source.upsample = true;
                Ok(NodeValue::Image(lazy))
            }
            Call::DownsampleMean => {
                let Lazy { source, load } = self.image(argument(0))?.clone();
                if source.upsample {
                    return Err(unsupported("downsample_mean of upsample_nearest"));
                }
                let output = self.value(self.image_shape(node.extent));
                let name = self.read_by(&load).unwrap_or_default() + "downsample_mean";
                self.emit(&name, Op::Pool(Pool { source, load, output }));
                Ok(NodeValue::Image(Lazy::of(output)))
            }
        }
    }

    // ---- Results of nodes ----

    fn known(&self, id: NodeId) -> Option<&NodeValue> {
        self.node_values[id.0].as_ref()
    }

    fn image(&self, id: NodeId) -> Result<&Lazy> {
        match self.known(id) {
            Some(NodeValue::Image(lazy)) => Ok(lazy),
            _ => Err(unsupported("a vector where an image belongs")),
        }
    }

    /// A vector with no activation to be applied.
    fn slice(&self, id: NodeId) -> Result<RowSlice> {
        match self.known(id) {
            Some(NodeValue::Vector { slice, activation: None }) => Ok(*slice),
            _ => Err(unsupported("an image or an activation where a vector belongs")),
        }
    }

    /// A whole vector, and the activation that is still to be applied.
    fn row(&self, id: NodeId) -> Result<(RowId, Option<Activation>)> {
        match self.known(id) {
            Some(NodeValue::Vector { slice, activation })
                if slice.start == 0 && slice.len == self.plan.prelude.rows[slice.row.0].width =>
            {
                Ok((slice.row, *activation))
            }
            _ => Err(unsupported("part of a vector where all of it belongs")),
        }
    }

    fn channels(&self, id: NodeId) -> usize {
        self.graph.nodes[id.0].extent.channels()
    }

    // ---- Additions to the plan ----

    fn image_shape(&self, extent: Extent) -> [usize; 4] {
        match extent {
            Extent::Image { channels, height, width } => [self.plan.batch, height, width, channels],
            Extent::Vector(width) => [self.plan.batch, 1, 1, width],
        }
    }

    fn value(&mut self, shape: [usize; 4]) -> ValueId {
        self.plan.values.push(Value { shape, offset: 0, life: (0, 0) });
        self.producers.push(None);
        ValueId(self.plan.values.len() - 1)
    }

    fn emit(&mut self, name: &str, op: Op) {
        for value in op.writes() {
            self.producers[value.0] = Some(self.plan.ops.len());
        }
        self.plan.ops.push(PlannedOp { name: name.to_owned(), op });
    }

    fn new_row(&mut self, width: usize) -> RowId {
        let start = self.plan.prelude.width();
        self.plan.prelude.rows.push(Row { width, start });
        RowId(self.plan.prelude.rows.len() - 1)
    }

    fn whole(&self, row: RowId) -> NodeValue {
        let len = self.plan.prelude.rows[row.0].width;
        NodeValue::Vector { slice: RowSlice { row, start: 0, len }, activation: None }
    }

    fn vector(&mut self, key: String, len: usize) -> VectorId {
        self.plan.parameters.add_vector(vec![VectorPart { key, len, at: 0 }])
    }

    fn input(&mut self, input: Input, extent: Extent) -> NodeValue {
        if input == Input::Image {
            self.plan.input = self.value(self.image_shape(extent));
            return NodeValue::Image(Lazy::of(self.plan.input));
        }
        let row = self.new_row(extent.channels());
        let prelude = &mut self.plan.prelude;
        match input {
            Input::Image | Input::Time => prelude.time = Some(row),
            Input::Class => prelude.class = Some(row),
            Input::InverseTime => prelude.inverse_time = Some(row),
        }
        self.whole(row)
    }

    // ---- The prelude ----

    /// Merges all linear maps of one vector into one product: above all those of the time embedding, one in each residual block.
    fn linears(&mut self, input: NodeId, asked: NodeId) -> Result<NodeValue> {
        let (row, activation) = self.row(input)?;
        let inputs = self.channels(input);
        let mut matrix = Vec::new();
        let mut bias = Vec::new();
        let mut slices = Vec::new();
        let mut width: usize = 0;
        for (at, node) in self.graph.nodes.iter().enumerate() {
            let Call::Linear { name } = &node.call else { continue };
            if node.arguments[0] != input {
                continue;
            }
            let (start, len) = (width.next_multiple_of(4), node.extent.channels());
            matrix.push(MatrixPart {
                key: format!("{name}.weight"),
                shape: vec![len, inputs],
                packing: Packing::Transposed,
                row: 0,
                column: start,
            });
            bias.push(VectorPart { key: format!("{name}.bias"), len, at: start });
            slices.push((at, start, len));
            width = start + len;
        }
        let output = self.new_row(width);
        for (at, start, len) in slices {
            let slice = RowSlice { row: output, start, len };
            self.node_values[at] = Some(NodeValue::Vector { slice, activation: None });
        }
        let matrix = self.plan.parameters.add_matrix(matrix);
        let bias = self.plan.parameters.add_vector(bias);
        self.plan.prelude.ops.push(PreludeOp::Linear { input: row, activation, matrix, bias, output });
        self.node_values[asked.0].clone().ok_or_else(|| unsupported("linear"))
    }

    fn gather(&mut self, indices: NodeId, name: &str, rows: usize, width: usize) -> Result<NodeValue> {
        let (indices, None) = self.row(indices)? else { return Err(unsupported("embedding")) };
        let part = MatrixPart {
            key: format!("{name}.weight"),
            shape: vec![rows, width],
            packing: Packing::Table,
            row: 0,
            column: 0,
        };
        let table = self.plan.parameters.table(part);
        let output = self.new_row(width);
        self.plan.prelude.ops.push(PreludeOp::Gather { indices, table, output });
        Ok(self.whole(output))
    }

    fn add_vectors(&mut self, a: NodeId, b: NodeId) -> Result<NodeValue> {
        let ((a, None), (b, None)) = (self.row(a)?, self.row(b)?) else { return Err(unsupported("add")) };
        let output = self.new_row(self.plan.prelude.rows[a.0].width);
        self.plan.prelude.ops.push(PreludeOp::Add { a, b, output });
        Ok(self.whole(output))
    }

    // ---- Loads ----

    fn activation(&mut self, x: NodeId, new: Activation) -> Result<NodeValue> {
        let mut known = self.known(x).cloned().ok_or_else(|| unsupported("activation"))?;
        let activation = match &mut known {
            NodeValue::Image(lazy) => &mut lazy.load.activation,
            NodeValue::Vector { activation, .. } => activation,
        };
        match activation.replace(new) {
            None => Ok(known),
            Some(_) => Err(unsupported("activation twice")),
        }
    }

    /// Has the producers of `x` compute its moments, from which the normalisation follows.
    fn group_norm(&mut self, x: NodeId, name: &str, groups: usize, eps: f64) -> Result<NodeValue> {
        let Lazy { source, load } = self.image(x)?.clone();
        if !load.is_plain() || source.upsample {
            return Err(unsupported("group_norm of something not yet computed"));
        }
        let moments = (self.moments(source.first)?, source.second.map(|s| self.moments(s)).transpose()?);
        let [_, height, width, _] = self.plan.value(source.first).shape;
        let channels = self.channels(x);
        let norm = Norm {
            moments,
            pixels: height * width,
            groups,
            eps: eps as f32,
            weight: self.vector(format!("{name}.weight"), channels),
            bias: self.vector(format!("{name}.bias"), channels),
            modulation: None,
        };
        let scaling = if norm.pixels.div_ceil(TILE_PIXELS) <= MAX_INLINE_TILES {
            Scaling::Inline(norm)
        } else {
            let output = self.value([self.plan.batch, 1, 2, channels]);
            self.emit(name, Op::Norm { norm, output });
            Scaling::Ready(output)
        };
        Ok(NodeValue::Image(Lazy { source, load: Load { scaling: Some(scaling), activation: None } }))
    }

    fn moments(&mut self, of: ValueId) -> Result<ValueId> {
        let [batch, height, width, channels] = self.plan.value(of).shape;
        let producer = self.producers[of.0];
        if let Some(Op::Gemm(Gemm { moments: Some(moments), .. })) = producer.map(|p| &self.plan.ops[p].op) {
            return Ok(*moments);
        }
        let new = self.value([batch, (height * width).div_ceil(TILE_PIXELS), 2, channels]);
        match producer.map(|p| &mut self.plan.ops[p].op) {
            Some(Op::Gemm(gemm)) => gemm.moments = Some(new),
            _ => return Err(unsupported("group_norm of something other than a convolution's result")),
        }
        self.producers[new.0] = producer;
        Ok(new)
    }

    /// A timestep's scale and shift become part of the normalisation before them.
    fn modulate(&mut self, x: NodeId, v: NodeId) -> Result<NodeValue> {
        let slice = self.slice(v)?;
        let mut lazy = self.image(x)?.clone();
        let plain = lazy.load.activation.is_none() && self.uses[x.0] == 1;
        let modulation = match &mut lazy.load.scaling {
            Some(Scaling::Inline(norm)) => Some(&mut norm.modulation),
            Some(Scaling::Ready(value)) => match self.producers[value.0].map(|p| &mut self.plan.ops[p].op) {
                Some(Op::Norm { norm, .. }) => Some(&mut norm.modulation),
                _ => None,
            },
            _ => None,
        };
        match modulation {
            Some(none @ None) if plain => *none = Some(slice),
            _ => return Err(unsupported("scale_shift of something other than a normalisation")),
        }
        Ok(NodeValue::Image(lazy))
    }

    /// The name of the normalisation that a load applies, for operations that have no module of their own.
    fn read_by(&self, load: &Load) -> Option<String> {
        let norm = match load.scaling.as_ref()? {
            Scaling::Constant { .. } => return None,
            Scaling::Ready(value) => {
                return self.producers[value.0].map(|p| self.plan.ops[p].name.clone() + ".");
            }
            Scaling::Inline(norm) => norm,
        };
        let key = &self.plan.parameters.vectors[norm.weight.0].parts[0].key;
        key.strip_suffix("weight").map(str::to_owned)
    }

    // ---- Products and their epilogues ----

    fn gemm(
        &mut self,
        name: &str,
        lazy: Lazy,
        window: Window,
        shape: Vec<usize>,
        extent: Extent,
    ) -> NodeValue {
        let channels = shape[0];
        let part = MatrixPart {
            key: format!("{name}.weight"),
            shape,
            packing: Packing::Transposed,
            row: 0,
            column: 0,
        };
        let gemm = Gemm {
            source: lazy.source,
            load: lazy.load,
            window,
            shortcut: None,
            matrix: self.plan.parameters.add_matrix(vec![part]),
            bias: self.vector(format!("{name}.bias"), channels),
            time: None,
            residual: None,
            scale: 1.0,
            sample_scale: None,
            output: self.value(self.image_shape(extent)),
            moments: None,
        };
        let output = gemm.output;
        self.emit(name, Op::Gemm(gemm));
        NodeValue::Image(Lazy::of(output))
    }

    /// The position of the product that computes `x`, and the product, if `x` has no other reader.
    fn producer(&self, x: NodeId) -> Option<(usize, &Gemm)> {
        if self.uses[x.0] != 1 {
            return None;
        }
        let at = self.producers[self.image(x).ok()?.plain()?.0]?;
        match &self.plan.ops[at].op {
            Op::Gemm(gemm) if gemm.moments.is_none() => Some((at, gemm)),
            _ => None,
        }
    }

    /// The product that computes `x`, if its result can still be multiplied.
    fn scaled(&mut self, x: NodeId) -> Option<(ValueId, &mut Gemm)> {
        let (at, _) = self.producer(x)?;
        match &mut self.plan.ops[at].op {
            Op::Gemm(gemm) if gemm.sample_scale.is_none() => Some((gemm.output, gemm)),
            _ => None,
        }
    }

    /// The product that computes `x`, if something can still be added to its sum.
    fn epilogue(&mut self, x: NodeId) -> Option<(ValueId, &mut Gemm)> {
        self.scaled(x).filter(|(_, g)| {
            g.scale == 1.0 && g.time.is_none() && g.residual.is_none() && g.shortcut.is_none()
        })
    }

    fn affine(&mut self, x: NodeId, scale: f32, shift: f32) -> Result<NodeValue> {
        if shift == 0.0
            && let Some((value, gemm)) = self.scaled(x)
        {
            gemm.scale *= scale;
            return Ok(NodeValue::Image(Lazy::of(value)));
        }
        let mut lazy = self.image(x)?.clone();
        if !lazy.load.is_plain() {
            return Err(unsupported("affine of something not yet computed"));
        }
        lazy.load.scaling = Some(Scaling::Constant { scale, shift });
        Ok(NodeValue::Image(lazy))
    }

    /// `x + h`, where a product computes h. x becomes its residual; or its shortcut, if x is a linear map of other images.
    fn add_images(&mut self, x: NodeId, h: NodeId) -> Result<NodeValue> {
        let fail = || unsupported("add of images that no convolution made");
        let at = self.producer(h).ok_or_else(fail)?.0;
        let lazy = self.image(x)?.clone();
        let shortcut = self.producer(x).is_some_and(|(other, gemm)| {
            other == self.plan.ops.len() - 1
                && other > at
                && gemm.window == Window::Pointwise
                && gemm.load.is_plain()
                && gemm.residual.is_none()
                && gemm.scale == 1.0
        });
        if shortcut {
            let (_, other, matrix, bias) = self.pop().ok_or_else(fail)?;
            let (value, gemm) = self.epilogue(h).ok_or_else(fail)?;
            gemm.shortcut = Some(other.source);
            let (into, onto) = (gemm.matrix.0, gemm.bias.0);
            let parameters = &mut self.plan.parameters;
            let target = &mut parameters.matrices[into];
            target.parts.extend(matrix.into_iter().map(|p| MatrixPart { row: target.rows, ..p }));
            target.rows += self.plan.values[other.source.first.0].shape[3]
                + other.source.second.map_or(0, |s| self.plan.values[s.0].shape[3]);
            parameters.vectors[onto].parts.extend(bias);
            return Ok(NodeValue::Image(Lazy::of(value)));
        }
        let ready = lazy.source.values().all(|v| self.producers[v.0].is_none_or(|p| p < at));
        if !lazy.load.is_plain() || lazy.source.second.is_some() || !ready {
            return Err(fail());
        }
        let (value, gemm) = self.epilogue(h).ok_or_else(fail)?;
        gemm.residual = Some(lazy.source);
        Ok(NodeValue::Image(Lazy::of(value)))
    }

    /// q, k and v become one product with three times the columns.
    fn attention(&mut self, qkv: &[NodeId], heads: usize, extent: Extent) -> Result<NodeValue> {
        let fail = || unsupported("attention over something other than three linear maps of one image");
        let last = self.plan.ops.len();
        let mut merged: Option<Gemm> = None;
        for (i, id) in qkv.iter().enumerate() {
            let (at, gemm) = self.producer(*id).ok_or_else(fail)?;
            let same = merged.as_ref().is_none_or(|m| m.source == gemm.source && m.load == gemm.load);
            let alone = gemm.window == Window::Pointwise && gemm.residual.is_none() && gemm.scale == 1.0;
            if at + 3 != last + i || !same || !alone {
                return Err(fail());
            }
            merged = Some(gemm.clone());
        }
        let inner = extent.channels();
        let (mut matrix, mut bias, mut name) = (Vec::new(), Vec::new(), String::new());
        for i in (0..3).rev() {
            let (popped, _, weights, biases) = self.pop().ok_or_else(fail)?;
            matrix.extend(weights.into_iter().map(|p| MatrixPart { column: i * inner, ..p }));
            bias.extend(biases.into_iter().map(|p| VectorPart { at: i * inner, ..p }));
            name = popped;
        }
        matrix.reverse();
        bias.reverse();
        let output = self.value(self.image_shape(extent));
        let [batch, height, width, _] = self.plan.value(output).shape;
        self.plan.values[output.0].shape[3] = 3 * inner;
        let gemm = Gemm {
            matrix: self.plan.parameters.add_matrix(matrix),
            bias: self.plan.parameters.add_vector(bias),
            output,
            ..merged.ok_or_else(fail)?
        };
        let module = name.strip_suffix(".to_q").unwrap_or(&name).to_owned();
        self.emit(&format!("{module}.to_qkv"), Op::Gemm(gemm));
        let attended = self.value([batch, height, width, inner]);
        self.emit(&module, Op::Attention(Attention { qkv: output, heads, inner, output: attended }));
        Ok(NodeValue::Image(Lazy::of(attended)))
    }

    /// Removes the last operation, a product, with everything that was added to the plan for it.
    fn pop(&mut self) -> Option<(String, Gemm, Vec<MatrixPart>, Vec<VectorPart>)> {
        let PlannedOp { name, op: Op::Gemm(gemm) } = self.plan.ops.pop()? else { return None };
        let (matrices, vectors) = (&mut self.plan.parameters.matrices, &mut self.plan.parameters.vectors);
        debug_assert_eq!((gemm.matrix.0, gemm.bias.0), (matrices.len() - 1, vectors.len() - 1));
        debug_assert_eq!(gemm.output.0, self.plan.values.len() - 1);
        self.plan.values.pop();
        self.producers.pop();
        Some((name, gemm, matrices.pop()?.parts, vectors.pop()?.parts))
    }
}
