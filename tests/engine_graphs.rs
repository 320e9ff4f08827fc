//! What a graph computes does not depend on the passes that its plan went through: random graphs over everything that networks
//! are written in, planned without passes, with each alone, and with all.
//!
//! `GRAPHS=2000 SEED=7` before the command makes more of them, from another seed.
#![cfg(not(target_arch = "wasm32"))]
#![allow(clippy::print_stdout, reason = "tests say how close they came")]

mod golden;

use golden::{scaled, weight};
use noiseball::engine::draft::Draft;
use noiseball::engine::execute::{Memory, PreludeRows, check_prompts, prelude, prompts, step};
use noiseball::engine::packed::Packed;
use noiseball::engine::passes::{PASSES, plan_prompts};
use noiseball::engine::plan::{Op, Plan};
use noiseball::network::ops::{Activation, Attend, Conv, Convolution, Ops, Padding, TransformerOps};
use noiseball::network::trace::{Graph, NodeId, Rate, Shape, Tracer};

/// How many graphs, and where their numbers begin.
fn asked() -> (u64, u64) {
    let number =
        |name: &str, default| std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(default);
    (number("GRAPHS", 200), number("SEED", 1))
}

/// Random numbers, always the same.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ z >> 31) % n as u64) as usize
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}

const ACTIVATIONS: [Activation; 7] = [
    Activation::Silu,
    Activation::Mish,
    Activation::Gelu,
    Activation::Relu,
    Activation::GeluTanh,
    Activation::QuickGelu,
    Activation::Tanh,
];
const ROWS_OF_TABLE: usize = 5;

/// A graph in the making.
struct Maker<'a> {
    random: &'a mut Random,
    ops: Tracer,
    /// Everything that calls can be made on; what was made last is the last.
    all: Vec<NodeId>,
    /// Numbers of what never changes with an evaluation.
    vectors: Vec<NodeId>,
    /// Token sequences that change with the prompt alone.
    tokens: Vec<NodeId>,
    indices: NodeId,
    ids: NodeId,
    names: usize,
}

impl Maker<'_> {
    fn graph(random: &mut Random) -> Graph {
        Self::graph_at(random, Rate::Prompt)
    }

    /// One whose prompts change at another rate.
    fn graph_at(random: &mut Random, rate: Rate) -> Graph {
        let mut ops = Tracer::default();
        let size = random.pick(&[[1, 1], [2, 2], [4, 4], [3, 5], [8, 8], [8, 12], [16, 20], [7, 1]]);
        let image = Shape { height: size[0], width: size[1], channels: 1 + random.below(6) };
        let x = ops.input("image", Rate::Evaluation, image);
        let time = ops.input("time", Rate::Timestep, Shape::vector(1 + random.below(9)));
        let indices = ops.input("class", Rate::Prompt, Shape::vector(1));
        let picture = Shape { channels: 4, ..image };
        let picture = ops.input("picture", if random.one_in(2) { rate } else { Rate::Timestep }, picture);
        let text = Shape { height: 2 + random.below(40), width: 1, channels: 1 + random.below(9) };
        let tokens = vec![ops.input("text", rate, text)];
        let ids = ops.input("ids", Rate::Prompt, Shape::vector(6));
        let vectors = vec![time];
        let mut maker = Maker { random, ops, all: vec![x], vectors, tokens, indices, ids, names: 0 };
        if maker.random.one_in(4) {
            maker.all.push(picture);
        }
        for _ in 0..2 + maker.random.below(8) {
            maker.some();
        }
        let output = if maker.random.one_in(8) { maker.any() } else { maker.all[maker.all.len() - 1] };
        maker.ops.finish(vec![output])
    }

    fn name(&mut self) -> String {
        self.names += 1;
        format!("module.{}", self.names)
    }

    /// An image: mostly one of the last.
    fn any(&mut self) -> NodeId {
        let len = self.all.len();
        let among = if self.random.one_in(3) { len } else { len.min(2) };
        self.all[len - 1 - self.random.below(among)]
    }

    /// An image of the same size, and where wanted of the same channels.
    fn like(&mut self, x: NodeId, channels: bool) -> Option<NodeId> {
        let shape = self.ops.shape(x);
        let same = |other: Shape| {
            let other = if channels { other } else { Shape { channels: shape.channels, ..other } };
            other == shape
        };
        let found: Vec<NodeId> = self.all.iter().copied().filter(|id| same(self.ops.shape(*id))).collect();
        (!found.is_empty()).then(|| self.random.pick(&found))
    }

    /// A vector of so many numbers, from what does not change with an evaluation, or sometimes from an image of one pixel.
    fn vector(&mut self, width: usize) -> NodeId {
        let from = self.random.pick(&self.vectors.clone());
        let last = self.all[self.all.len() - 1];
        let from = if self.ops.shape(last).pixels() == 1 && self.random.one_in(3) { last } else { from };
        let name = self.name();
        self.ops.linear(&from, &name, width)
    }

    fn norm(&mut self, x: NodeId) -> NodeId {
        let channels = self.ops.shape(x).channels;
        let divisors: Vec<usize> = (1..=channels).filter(|g| channels.is_multiple_of(*g)).collect();
        let name = self.name();
        // Of groups that are nearly constant only rounding would be left.
        self.ops.group_norm(&x, &name, self.random.pick(&divisors), 0.1)
    }

    fn activation(&mut self, x: NodeId) -> NodeId {
        let activation = self.random.pick(&ACTIVATIONS);
        self.ops.activation(&x, activation)
    }

    fn convolution(&mut self, x: NodeId, channels: usize) -> NodeId {
        let name = self.name();
        let Shape { height, width, .. } = self.ops.shape(x);
        let halves = height.min(width) > 1 && self.random.one_in(6);
        let conv = match self.random.below(6) {
            _ if halves => {
                let padding = if self.random.one_in(2) { Padding::All(1) } else { Padding::RightBottom };
                Conv { out_channels: channels, stride: 2, padding }
            }
            0 if height.min(width) > 2 => {
                Conv { out_channels: channels, stride: 1, padding: Padding::All(0) }
            }
            1 | 2 => return self.ops.pointwise(&x, &name, channels),
            _ => Conv::same(channels),
        };
        self.ops.conv2d(&x, &name, conv)
    }

    fn some(&mut self) {
        let x = self.any();
        let made = match self.random.below(21) {
            0..=2 => self.residual_block(x),
            3 | 4 => self.attention_block(x),
            20 => self.prompt(),
            5 => self.prelude(),
            6 | 7 => self.transformer_block(x),
            8..=11 => self.single_of_transformers(x),
            _ => self.single(x),
        };
        self.all.push(made);
    }

    /// Something more that depends on timestep and label alone; the image stays.
    fn prelude(&mut self) -> NodeId {
        let (name, width) = (self.name(), 1 + self.random.below(9));
        let from = self.random.pick(&self.vectors.clone());
        let made = match self.random.below(5) {
            0 => {
                let width = self.ops.shape(from).channels;
                let row = self.ops.embedding(&self.indices, &name, ROWS_OF_TABLE, width);
                self.ops.add(&from, &row)
            }
            1 => self.activation(from),
            2 => self.ops.affine(&from, 0.7, 0.1),
            3 => self.ops.concat(&from, &from),
            _ => self.ops.linear(&from, &name, width),
        };
        self.vectors.push(made);
        self.all[self.all.len() - 1]
    }

    /// Something more that depends on the prompt alone; the image stays.
    fn prompt(&mut self) -> NodeId {
        let x = self.random.pick(&self.tokens.clone());
        let made = match self.random.below(6) {
            0 => self.attention_block(x),
            1 => self.activation(x),
            2 => self.ops.add(&x, &x),
            3 => {
                let v = self.vector(self.ops.shape(x).channels);
                self.ops.add_per_channel(&x, &v)
            }
            _ => self.norm(x),
        };
        self.tokens.push(made);
        self.all[self.all.len() - 1]
    }

    /// One call.
    fn single(&mut self, x: NodeId) -> NodeId {
        let Shape { height, width, channels } = self.ops.shape(x);
        let most = self.random.pick(&[4, 9]);
        let columns = 1 + self.random.below(most);
        match self.random.below(16) {
            0 => self.norm(x),
            1 => self.activation(x),
            2 => match self.like(x, true) {
                Some(other) => self.ops.add(&x, &other),
                None => self.activation(x),
            },
            3 => match self.like(x, false) {
                Some(other) if channels < 24 => self.ops.concat(&x, &other),
                _ => self.norm(x),
            },
            4 if height * width <= 96 => self.ops.upsample_nearest(&x),
            5 if height.min(width) > 1 => self.ops.downsample_mean(&x),
            12 if height * width <= 96 => self.ops.upsample_fir(&x),
            13 if height.min(width) > 1 => self.ops.downsample_fir(&x),
            6 => {
                let shift = self.random.pick(&[0.0, 0.0, 0.3]);
                self.ops.affine(&x, 0.7, shift)
            }
            7 => {
                let v = self.vector(channels);
                self.ops.add_per_channel(&x, &v)
            }
            8 => {
                let v = self.vector(2 * channels);
                self.ops.scale_shift(&x, &v)
            }
            9 => {
                let v = self.vector(1);
                self.ops.scale_samples(&x, &v)
            }
            10 => {
                let name = self.name();
                self.ops.linear(&x, &name, columns)
            }
            11 => {
                // Whole numbers that are computed with every evaluation.
                let (name, table) = (self.name(), self.name());
                let y = self.ops.linear(&x, &name, 1);
                let y = self.ops.affine(&y, 0.0, 0.0);
                let indices = self.ops.add_per_channel(&y, &self.indices);
                self.ops.embedding(&indices, &table, ROWS_OF_TABLE, columns)
            }
            14 => {
                let name = self.name();
                self.ops.radial_basis(&x, &name, columns)
            }
            _ => self.convolution(x, columns),
        }
    }

    /// A residual block with any of its parts.
    fn residual_block(&mut self, x: NodeId) -> NodeId {
        let columns =
            if self.random.one_in(2) { self.ops.shape(x).channels } else { 1 + self.random.below(8) };
        let mut h = if self.random.one_in(4) { x } else { self.norm(x) };
        if !self.random.one_in(4) {
            h = self.activation(h);
        }
        h = self.convolution(h, columns);
        let modulated = self.random.one_in(2);
        if !modulated {
            let v = self.vector(columns);
            h = self.ops.add_per_channel(&h, &v);
        }
        h = self.norm(h);
        if modulated {
            let v = self.vector(2 * columns);
            h = self.ops.scale_shift(&h, &v);
        }
        h = self.activation(h);
        let name = self.name();
        h = self.ops.conv2d(&h, &name, Conv::same(columns));
        let mut x = x;
        if self.ops.shape(x).channels != columns || self.random.one_in(4) {
            let name = self.name();
            x = self.ops.pointwise(&x, &format!("{name}.conv_shortcut"), columns);
        }
        if self.ops.shape(x) == self.ops.shape(h) {
            h = if self.random.one_in(4) { self.ops.add(&h, &x) } else { self.ops.add(&x, &h) };
        }
        if self.random.one_in(3) {
            h = self.ops.affine(&h, 0.5, 0.0);
        }
        if self.random.one_in(4) {
            let v = self.vector(1);
            h = self.ops.scale_samples(&h, &v);
        }
        h
    }

    /// One call of those that text encoders, transformers and autoencoders have besides.
    fn single_of_transformers(&mut self, x: NodeId) -> NodeId {
        let Shape { height, width, channels } = self.ops.shape(x);
        let (name, columns) = (self.name(), 1 + self.random.below(8));
        match self.random.below(13) {
            0 => self.any_convolution(x, columns),
            12 => self.attention_map(x),
            1 => self.ops.unbiased(&x, &name, columns),
            2 => {
                let name = self.random.one_in(2).then_some(&*name);
                self.ops.layer_norm(&x, name, 0.1)
            }
            3 if channels.is_multiple_of(2) => self.ops.gated_gelu(&x),
            4 => self.ops.token_embedding(&self.ids.clone(), &name, ROWS_OF_TABLE, columns),
            5 => self.ops.add_positions(&x, &name, height * width + self.random.below(3)),
            6 if height * width >= ROWS_OF_TABLE => self.ops.token_at(&x, &self.indices.clone()),
            7 => {
                let v = self.vector(channels);
                self.ops.scale_per_channel(&x, &v)
            }
            8 => {
                let width = self.ops.shape(self.vectors[self.vectors.len() - 1]).channels;
                let v = self.vectors[self.vectors.len() - 1];
                let start = self.random.below(width);
                let v = self.ops.slice(&v, start, width - start);
                self.vectors.push(v);
                x
            }
            9 => {
                let like = self.any();
                self.ops.upsample_to(&x, &like)
            }
            // The image that is given: of one that is computed, rounding could choose another row.
            10 => {
                let given = self.all[0];
                let rows = 2 + self.random.below(7);
                self.ops.nearest_row(&given, &name, rows)
            }
            _ if channels.is_multiple_of(4) && height * width <= 96 => self.ops.unpatchify(&x, 2),
            _ => self.ops.unbiased(&x, &name, columns),
        }
    }

    /// How much an image looks at the tokens of a prompt, or at those that were made of it.
    fn attention_map(&mut self, x: NodeId) -> NodeId {
        let name = self.name();
        let (heads, width) = (1 + self.random.below(3), 1 + self.random.below(5));
        let other = self.random.pick(&self.tokens.clone());
        let q = self.ops.unbiased(&x, &format!("{name}.to_q"), heads * width);
        let k = self.ops.unbiased(&other, &format!("{name}.to_k"), heads * width);
        self.ops.attention_map(&q, &k, heads)
    }

    /// A convolution of another kernel than 3×3, or without bias.
    fn any_convolution(&mut self, x: NodeId, out_channels: usize) -> NodeId {
        let Shape { height, width, .. } = self.ops.shape(x);
        let (name, bias, small) = (self.name(), self.random.one_in(2), height.min(width));
        let kernel = self.random.pick(&[1, 2, 3, 3, 5, 7]);
        let conv = if self.random.one_in(3) && kernel <= small {
            // Patches.
            Convolution { out_channels, kernel, stride: kernel, padding: Padding::All(0), bias }
        } else if kernel == 2 {
            Convolution { out_channels, kernel, stride: 1, padding: Padding::All(1), bias }
        } else {
            Convolution { bias, ..Convolution::same(out_channels, kernel) }
        };
        self.ops.conv(&x, &name, conv)
    }

    /// A transformer's block with any of its parts: scaled and shifted by vectors of the prelude or not, attention to itself or to
    /// another image of any size, and a unit that is gated or not.
    fn transformer_block(&mut self, x: NodeId) -> NodeId {
        let (name, channels) = (self.name(), self.ops.shape(x).channels);
        let adaptive = self.random.one_in(2);
        let vector = adaptive.then(|| self.vector(6 * channels));
        let part = |maker: &mut Self, i: usize| vector.map(|v| maker.ops.slice(&v, i * channels, channels));
        let normalised = |maker: &mut Self, x: &NodeId, i: usize| {
            let name = format!("{name}.norm{i}");
            let h = maker.ops.layer_norm(x, (!maker.random.one_in(3)).then_some(&*name), 0.1);
            let (Some(factor), Some(shift)) = (part(maker, 3 * i), part(maker, 3 * i + 1)) else { return h };
            let factor = maker.ops.affine(&factor, 1.0, 1.0);
            let h = maker.ops.scale_per_channel(&h, &factor);
            maker.ops.add_per_channel(&h, &shift)
        };
        let added = |maker: &mut Self, x: &NodeId, mut y: NodeId, i: usize| {
            if let Some(gate) = part(maker, 3 * i + 2) {
                y = maker.ops.scale_per_channel(&y, &gate);
            }
            maker.ops.add(x, &y)
        };
        let h = normalised(self, &x, 0);
        let heads = 1 + self.random.below(3);
        let inner = heads * (1 + self.random.below(4));
        let to = match self.random.below(3) {
            0 => self.any(),
            1 => self.random.pick(&self.tokens.clone()),
            _ => h,
        };
        let [q, k, v] = [("to_q", h), ("to_k", to), ("to_v", to)]
            .map(|(part, of)| self.ops.unbiased(&of, &format!("{name}.{part}"), inner));
        let causal = to == h && self.random.one_in(2);
        let y = self.ops.attend(&q, &k, &v, Attend { heads, causal });
        let y = self.ops.pointwise(&y, &format!("{name}.to_out.0"), channels);
        let x = added(self, &x, y, 0);

        let h = normalised(self, &x, 1);
        let units = 1 + self.random.below(9);
        let h = if self.random.one_in(2) {
            let h = self.ops.pointwise(&h, &format!("{name}.ff.net.0.proj"), 2 * units);
            self.ops.gated_gelu(&h)
        } else {
            let h = self.ops.pointwise(&h, &format!("{name}.ff.net.0.proj"), units);
            self.activation(h)
        };
        let y = self.ops.pointwise(&h, &format!("{name}.ff.net.2"), channels);
        added(self, &x, y, 1)
    }

    /// Attention of an image to itself, to another of its size, or to tokens.
    fn attention_block(&mut self, x: NodeId) -> NodeId {
        let h = if self.random.one_in(3) { x } else { self.norm(x) };
        let heads = 1 + self.random.below(3);
        let inner = heads * (1 + self.random.below(5));
        let to = match self.random.below(6) {
            0 | 1 => self.like(x, false).unwrap_or(h),
            2 | 3 => self.random.pick(&self.tokens.clone()),
            _ => h,
        };
        let name = self.name();
        let [q, k, v] = [("to_q", h), ("to_k", to), ("to_v", to)]
            .map(|(part, of)| self.ops.pointwise(&of, &format!("{name}.{part}"), inner));
        let y = self.ops.attention(&q, &k, &v, heads);
        let columns = self.ops.shape(x).channels;
        let y = self.ops.pointwise(&y, &format!("{name}.to_out.0"), columns);
        self.ops.add(&x, &y)
    }
}

const BATCH: usize = 2;
/// Rows of the prelude, of which the samples read the last.
const COUNT: usize = 4;
const READ: PreludeRows = PreludeRows { first: 2, stride: 1 };
const PROMPTS: usize = 3;
const OF_SAMPLE: [usize; BATCH] = [2, 0];

fn plan(graph: &Graph, wanted: impl Fn(&str) -> bool) -> noiseball::Result<Plan> {
    plan_prompts(graph, BATCH, PROMPTS, wanted)
}

fn given(plan: &Plan) -> Vec<Vec<f32>> {
    let of = |(input, row): &(noiseball::network::trace::Input, noiseball::engine::plan::RowId)| {
        if ["class", "ids"].contains(&input.name) {
            return (0..COUNT * plan.prelude.rows[row.0].width).map(|i| (i % ROWS_OF_TABLE) as f32).collect();
        }
        let width = plan.prelude.rows[row.0].width;
        if matches!(input.name, "text" | "picture") {
            // The samples' prompts, in the rows that they read.
            let all = scaled(input.name, PROMPTS * width, 1.0);
            let mut rows = vec![0.0; READ.first * width];
            OF_SAMPLE.iter().for_each(|prompt| rows.extend(&all[prompt * width..][..width]));
            return rows;
        }
        scaled(input.name, COUNT * width, 1.0)
    };
    plan.prelude.inputs.iter().map(of).collect()
}

fn given_prompts(plan: &Plan) -> Vec<Vec<f32>> {
    plan.prompts.inputs.iter().map(|(input, id)| scaled(input.name, plan.value(*id).len(), 1.0)).collect()
}

/// The prelude's buffer, and the input.
fn inputs(plan: &Plan, packed: &Packed) -> (Vec<f32>, Vec<f32>) {
    let given = given(plan);
    let given: Vec<&[f32]> = given.iter().map(|numbers| &numbers[..]).collect();
    (prelude(plan, packed, &given).unwrap(), scaled("image", plan.value(plan.input).len(), 1.0))
}

fn on_cpu(plan: &Plan) -> Vec<f32> {
    let packed = Packed::new(&plan.parameters, |key, shape| Ok(weight(key, shape))).unwrap();
    let (prelude, x) = inputs(plan, &packed);
    let mut memory = Memory::default();
    memory.fit(plan).unwrap();
    let given = given_prompts(plan);
    let given: Vec<&[f32]> = given.iter().map(|numbers| &numbers[..]).collect();
    check_prompts(plan, &given, &OF_SAMPLE).unwrap();
    prompts(plan, &packed, &given, &OF_SAMPLE, &mut memory);
    let mut evaluate = || {
        memory.value_mut(plan, plan.input).copy_from_slice(&x);
        step(plan, &packed, &prelude, COUNT, READ, &mut memory);
        memory.value(plan, plan.output).to_vec()
    };
    let once = evaluate();
    let again = evaluate();
    assert!(
        again.iter().zip(&once).all(|(a, b)| a.to_bits() == b.to_bits()),
        "what is computed of prompts stays:\n{plan}"
    );
    once
}

/// What rounding may come to. A node rounds a handful of times, to 6e-8 each, and a normalisation of a small group can multiply
/// that by some ten; an error in a pass is of the order of the numbers themselves.
const BAR: f32 = 1e-5;

/// The largest difference, relative to the largest number, or to a small one where all are smaller.
fn error(found: &[f32], expected: &[f32]) -> f32 {
    if found.iter().chain(expected).any(|v| !v.is_finite()) || found.len() != expected.len() {
        return f32::INFINITY;
    }
    let worst = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    worst / expected.iter().map(|v| v.abs()).fold(0.01, f32::max)
}

#[test]
fn no_pass_changes_the_numbers_on_the_cpu() {
    let (count, seed) = asked();
    let mut worst = (0.0, String::new());
    let (mut before, mut after) = (0, 0);
    let mut changed = vec![0; PASSES.len()];
    for i in 0..count {
        let graph = Maker::graph(&mut Random(seed << 32 | i));
        let naive = plan(&graph, |_| false).unwrap();
        let expected = on_cpu(&naive);
        let mut check = |planned: &Plan, what: &str| {
            let error = error(&on_cpu(planned), &expected);
            assert!(error <= BAR, "graph {i} of seed {seed}, {what}: {error:e}\n{naive}\n{planned}");
            if error > worst.0 {
                worst = (error, format!("graph {i}, {what}"));
            }
        };
        for ((name, _), changed) in PASSES.iter().zip(&mut changed) {
            let planned = plan(&graph, |other| other == *name).unwrap();
            *changed += usize::from(planned != naive);
            check(&planned, name);
            check(&plan(&graph, |other| other != *name).unwrap(), &format!("all but {name}"));
        }
        let all = plan(&graph, |_| true).unwrap();
        check(&all, "all");
        (before, after) = (before + naive.ops.len(), after + all.ops.len());
    }
    println!(
        "{count} graphs of seed {seed}: {before} operations, {after} after all passes; worst relative error {:.1e}, {}",
        worst.0, worst.1
    );
    for ((name, _), changed) in PASSES.iter().zip(changed) {
        println!("{name}: changed {changed} plans");
        assert!(changed > 0, "no graph has anything for {name}");
    }
}

/// What is computed once for a prompt is what is computed for each row of the prelude, where prompts change with the timestep.
#[test]
fn what_is_computed_once_for_prompts_is_what_is_computed_again() {
    let (count, seed) = asked();
    let (mut of_prompts, mut worst) = (0, 0.0f32);
    for i in 0..count {
        let once = plan(&Maker::graph(&mut Random(seed << 32 | i)), |_| true).unwrap();
        let again = Maker::graph_at(&mut Random(seed << 32 | i), Rate::Timestep);
        let again = plan(&again, |_| true).unwrap();
        assert!(again.prompts.inputs.is_empty());
        let error = error(&on_cpu(&once), &on_cpu(&again));
        assert!(error <= BAR, "graph {i} of seed {seed}: {error:e}\n{once}\n{again}");
        (of_prompts, worst) = (of_prompts + once.prompts.ops.len(), worst.max(error));
    }
    println!("{of_prompts} operations for prompts; worst relative error {worst:.1e}");
    assert!(of_prompts > 0);
}

/// Prompts that are not what a plan asks for are refused.
#[test]
fn wrong_prompts_are_refused() {
    let mut ops = Tracer::default();
    let image = ops.input("image", Rate::Evaluation, Shape { height: 2, width: 2, channels: 4 });
    let text = ops.input("text", Rate::Prompt, Shape { height: 3, width: 1, channels: 4 });
    let output = ops.attention(&image, &text, &text, 1);
    let plan = plan(&ops.finish(vec![output]), |_| true).unwrap();
    let right = vec![0.5; PROMPTS * 3 * 4];
    check_prompts(&plan, &[&right], &OF_SAMPLE).unwrap();
    let wrong: [(&[&[f32]], &[usize]); 4] =
        [(&[], &OF_SAMPLE), (&[&right[1..]], &OF_SAMPLE), (&[&right], &[0]), (&[&right], &[0, PROMPTS])];
    for (given, of_sample) in wrong {
        let error = check_prompts(&plan, given, of_sample).unwrap_err();
        assert!(error.to_string().contains("prompts"), "{error}");
    }
}

/// The law above would find a pass that loses something.
#[test]
fn a_wrong_pass_is_found() {
    let (_, seed) = asked();
    let found = (0..20).filter(|i| {
        let graph = Maker::graph(&mut Random(seed << 32 | i));
        let expected = on_cpu(&plan(&graph, |_| false).unwrap());
        let mut draft = Draft::of(&graph, BATCH, PROMPTS).unwrap();
        for step in &mut draft.ops {
            if let Op::Map(map) = &mut step.op {
                map.load.activation = None;
            }
        }
        error(&on_cpu(&draft.finish().unwrap()), &expected) > BAR
    });
    assert!(found.count() > 5);
}

/// Every kind of operation is in some naive plan; else the law above says nothing of it.
#[test]
fn random_graphs_have_every_operation() {
    let (count, seed) = asked();
    let mut kinds = [0; 14];
    for i in 0..count {
        let plan = plan(&Maker::graph(&mut Random(seed << 32 | i)), |_| false).unwrap();
        for step in plan.ops.iter().chain(&plan.prelude.ops).chain(&plan.prompts.ops) {
            kinds[match step.op {
                Op::Gemm(_) => 0,
                Op::ReadyNorm(_) => 1,
                Op::Attention(_) => 2,
                Op::Pool(_) => 3,
                Op::Map(_) => 4,
                Op::Moments(_) => 5,
                Op::Gather(_) => 6,
                Op::Fir(_) => 7,
                Op::Gate(_) => 8,
                Op::LayerNorm(_) => 9,
                Op::Nearest(_) => 10,
                Op::Rearrange(_) => 11,
                Op::RadialBasis(_) => 12,
                Op::AttentionMap(_) => 13,
            }] += 1;
        }
    }
    println!("{kinds:?}");
    assert!(kinds.iter().all(|n| *n > 0), "{kinds:?}");
}

#[cfg(feature = "gpu")]
mod gpu {
    use std::sync::Arc;

    use noiseball::engine::gpu::{Gpu, Replay, Tuning, Weights};
    use noiseball::engine::parameters::Storage;
    use pollster::block_on;

    use super::*;

    fn on_gpu(gpu: &Gpu, plan: &Plan) -> Vec<f32> {
        let take = |key: &str, shape: &[usize]| Ok(weight(key, shape));
        let (prelude, x) = inputs(plan, &Packed::new(&plan.parameters, take).unwrap());
        let weights = Arc::new(block_on(Weights::new(gpu, plan, Storage::F32, take)).unwrap());
        let mut replay = block_on(Replay::new(plan.clone(), weights)).unwrap();
        block_on(replay.start(COUNT, &[READ])).unwrap();
        replay.upload(&prelude);
        let given = given_prompts(plan);
        let given: Vec<&[f32]> = given.iter().map(|numbers| &numbers[..]).collect();
        replay.prompts(&given, &OF_SAMPLE).unwrap();
        replay.write(plan.input, &x);
        replay.evaluate(0);
        block_on(replay.read(plan.output)).unwrap()
    }

    /// A GPU need not divide, take roots and exponentials as exactly as a processor: some units in the last place each.
    const BAR: f32 = 1e-4;

    /// On one graph in `each`, as pipelines take their time to compile.
    fn no_pass_changes_the_numbers(tuning: Tuning, each: u64) {
        let gpu = block_on(Gpu::tuned(tuning)).unwrap();
        let (count, seed) = asked();
        let count = count / each;
        let mut worst = (0.0, String::new());
        for i in 0..count {
            let graph = Maker::graph(&mut Random(seed << 32 | i));
            let naive = plan(&graph, |_| false).unwrap();
            let expected = on_cpu(&naive);
            let one = PASSES[i as usize % PASSES.len()].0;
            let plans = [
                (naive.clone(), "none".to_owned()),
                (plan(&graph, |name| name == one).unwrap(), format!("{one} alone")),
                (plan(&graph, |_| true).unwrap(), "all".to_owned()),
            ];
            for (planned, what) in plans {
                let error = error(&on_gpu(&gpu, &planned), &expected);
                assert!(error <= BAR, "graph {i} of seed {seed}, {what}: {error:e}\n{naive}\n{planned}");
                if error > worst.0 {
                    worst = (error, format!("graph {i}, {what}"));
                }
            }
        }
        println!(
            "{tuning:?}: {count} graphs of seed {seed}; worst relative error {:.1e}, {}",
            worst.0, worst.1
        );
    }

    #[test]
    fn no_pass_changes_the_numbers_on_a_gpu() {
        no_pass_changes_the_numbers(Tuning::Hardware, 8);
    }

    #[test]
    fn no_pass_changes_the_numbers_on_an_adapter_in_software() {
        no_pass_changes_the_numbers(Tuning::Software, 1);
    }
}
