//! A GPU's kernels against their twins in Rust, and what is made on the device.

use std::sync::{Arc, OnceLock};

use noiseball::engine::cpu::{Memory, step};
use noiseball::engine::gpu::{
    Choice, Counters, Gpu, GpuNetwork, Lowered, Replay, ShardLayout, Tuning, Weights,
};
use noiseball::engine::packed::Packed;
use noiseball::engine::parameters::{
    Matrix, MatrixId, MatrixPart, Packing, Parameters, Storage, Vector, VectorId, VectorPart,
};
use noiseball::engine::plan::{
    Attention, Channels, Gemm, Load, Norm, Op, Plan, PlannedOp, Pool, Prelude, Prompts, ReadyNorm, Row,
    RowId, RowSlice, Scaling, Source, Value, ValueId, Window,
};
use noiseball::engine::prelude::PreludeRows;
use noiseball::network::ops::{Activation, Padding};
use noiseball::network::unet::UNet2DConfig;
use noiseball::rng::Generator;
use noiseball::sampler::{Options, SamplerKind};
use noiseball::schedule::Schedule;
use pollster::block_on;

use crate::golden::{self, Case, cases, weight};

/// One device for all tests, so that each pipeline is compiled once, with the kernels of a GPU, whatever the adapter is. None
/// where there is no adapter at all.
pub(crate) fn gpu() -> Option<Gpu> {
    static GPU: OnceLock<Option<Gpu>> = OnceLock::new();
    GPU.get_or_init(|| adapter(Tuning::Hardware)).clone()
}

/// Another, with the kernels of an adapter in software.
pub(crate) fn software() -> Option<Gpu> {
    static GPU: OnceLock<Option<Gpu>> = OnceLock::new();
    GPU.get_or_init(|| adapter(Tuning::Software)).clone()
}

/// Another, whose products are of 16-bit numbers.
pub(crate) fn f16_products() -> Option<Gpu> {
    with_f16_products(Tuning::Hardware, Choice::default())
}

/// One with such products; `None` where the adapter has none, which it says.
fn with_f16_products(tuning: Tuning, choice: Choice) -> Option<Gpu> {
    let without = adapter(tuning)?;
    match block_on(Gpu::chosen(Some(tuning), Choice { f16_products: true, ..choice })) {
        Ok(gpu) => Some(gpu),
        Err(error) => {
            assert!(!without.has_f16() && error.to_string().contains("shader-f16"), "{error}");
            None
        }
    }
}

/// A device of its own.
fn adapter(tuning: Tuning) -> Option<Gpu> {
    match block_on(Gpu::tuned(tuning)) {
        Ok(gpu) => Some(gpu),
        Err(error) if error.kind() == "no-adapter" => {
            println!("nothing is tested on a GPU: {error}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

fn network(gpu: &Gpu, case: &Case, storage: Storage) -> GpuNetwork {
    let take = |key: &str, shape: &[usize]| Ok(weight(key, shape));
    block_on(GpuNetwork::new(gpu, case.config(), storage, take)).unwrap()
}

fn case(name: &str) -> Case {
    cases(golden::UNET).into_iter().find(|c| c.name == name).unwrap()
}

// ---- Kernels against their twins ----

/// Random numbers, always the same.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// From `low` to `high`.
    fn within(&mut self, low: usize, high: usize) -> usize {
        low + (self.next() % (high - low + 1) as u64) as usize
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.within(1, n) == 1
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.within(0, from.len() - 1)]
    }

    /// Channels, in fours or not.
    fn channels(&mut self, fours: bool, most: usize) -> usize {
        if fours { 4 * self.within(1, most / 4) } else { self.within(1, most) }
    }

    fn number(&mut self) -> f32 {
        (self.next() >> 40) as f32 / 8_388_608.0 - 1.0
    }

    fn numbers(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.number()).collect()
    }
}

/// A plan of one operation, made piece by piece.
struct Single {
    plan: Plan,
    inputs: Vec<ValueId>,
    /// How far from the twin's a number may be, relative to the largest.
    bar: f32,
}

const ROWS: usize = 5;

impl Single {
    fn new(batch: usize) -> Self {
        let plan = Plan {
            batch,
            parameters: Parameters::default(),
            prelude: Prelude::default(),
            prompts: Prompts::default(),
            ops: Vec::new(),
            values: Vec::new(),
            also: Vec::new(),
            arena: 0,
            input: ValueId(0),
            output: ValueId(0),
        };
        Self { plan, inputs: Vec::new(), bar: 2e-5 }
    }

    fn value(&mut self, shape: [usize; 4]) -> ValueId {
        let value = Value { shape, offset: self.plan.arena, life: (0, 1) };
        self.plan.arena += value.len().next_multiple_of(64);
        self.plan.values.push(value);
        ValueId(self.plan.values.len() - 1)
    }

    fn input(&mut self, shape: [usize; 4]) -> ValueId {
        let id = self.value(shape);
        self.inputs.push(id);
        id
    }

    fn vector(&mut self, len: usize) -> VectorId {
        let p = &mut self.plan.parameters;
        let start = p.vectors_len();
        let key = format!("vector {}", p.vectors.len());
        p.vectors.push(Vector { parts: vec![VectorPart { key, len, at: 0 }], len, start });
        VectorId(p.vectors.len() - 1)
    }

    fn matrix(&mut self, rows: usize, columns: usize) -> MatrixId {
        let part = MatrixPart {
            key: "matrix".to_owned(),
            shape: vec![columns, rows],
            packing: Packing::Transposed,
            row: 0,
            column: 0,
        };
        self.plan.parameters.matrices.push(Matrix { parts: vec![part], rows, columns });
        MatrixId(self.plan.parameters.matrices.len() - 1)
    }

    fn row(&mut self, len: usize, random: &mut Random) -> RowSlice {
        let start = 4 * random.within(0, 3);
        let width = start + len + random.within(0, 3);
        let row = Row { shape: [1, 1, width], width, start: self.plan.prelude.width() };
        self.plan.prelude.rows.push(row);
        RowSlice { row: RowId(self.plan.prelude.rows.len() - 1), start, len }
    }

    fn norm(&mut self, size: [usize; 2], channels: [usize; 2], random: &mut Random) -> Norm {
        let (pixels, all) = (size[0] * size[1], channels[0] + channels[1]);
        let tiles = pixels.div_ceil(32);
        let batch = self.plan.batch;
        let first = self.input([batch, tiles, 2, channels[0]]);
        let second = (channels[1] > 0).then(|| self.input([batch, tiles, 2, channels[1]]));
        let divisors: Vec<usize> = (1..=all).filter(|g| all.is_multiple_of(*g)).collect();
        Norm {
            moments: (first, second),
            pixels,
            groups: random.pick(&divisors),
            eps: 1e-5,
            weight: self.vector(all),
            bias: self.vector(all),
            modulation: random.one_in(2).then(|| self.row(2 * all, random)),
        }
    }

    fn source(&mut self, size: [usize; 2], channels: [usize; 2], upsample: bool) -> Source {
        let [height, width] = if upsample { size.map(|n| n / 2) } else { size };
        let batch = self.plan.batch;
        let first = self.input([batch, height, width, channels[0]]);
        let second = (channels[1] > 0).then(|| self.input([batch, height, width, channels[1]]));
        Source { first, second, upsample }
    }

    fn load(&mut self, size: [usize; 2], channels: [usize; 2], random: &mut Random) -> Load {
        let all = channels[0] + channels[1];
        let scaling = match random.within(0, 5) {
            0 => None,
            1 => Some(Scaling::Constant { scale: 2.0, shift: -1.0 }),
            2 => Some(Scaling::Ready(self.input([self.plan.batch, 1, 2, all]))),
            _ => Some(Scaling::Inline(self.norm(size, channels, random))),
        };
        let activations = [Activation::Silu, Activation::Mish, Activation::Gelu, Activation::Relu];
        Load { scaling, activation: random.one_in(2).then(|| random.pick(&activations)) }
    }

    /// Runs the operation on the CPU and on the GPU, on random numbers changed by `change`, and compares what it writes.
    fn compare(
        self,
        op: Op,
        storage: Storage,
        random: &mut Random,
        change: impl Fn(usize, &mut [f32]),
        what: &str,
    ) {
        // The other kernels are the same for both.
        let other = if matches!(op, Op::Gemm(_)) { software() } else { None };
        let gpus: Vec<Gpu> = gpu().into_iter().chain(other).collect();
        self.compare_on(&gpus, op, storage, random, change, what);
    }

    /// [`Self::compare_on`] a convolution, of which a kernel has this label.
    fn compare_convolution(
        mut self,
        gpus: &[Gpu],
        gemm: Gemm,
        choice: Choice,
        label: &str,
        random: &mut Random,
    ) {
        let what = format!("convolution to {:?}, {choice:?}", self.plan.value(gemm.output).shape);
        let storage =
            if choice.f16_products { Storage::F16 } else { random.pick(&[Storage::F32, Storage::F16]) };
        let op = Op::Gemm(gemm);
        self.plan.ops = vec![PlannedOp { name: what.clone(), op: op.clone() }];
        let layout = ShardLayout::new(&self.plan, storage);
        let kernels = Lowered::new(&self.plan, &layout, Tuning::Hardware, choice).unwrap().shaders(false);
        let is_it = |name: &str| name.starts_with(label) && name.contains(", 16 bits") == choice.f16_products;
        assert!(kernels.iter().any(|(name, ..)| is_it(name)), "{what}: {:?}", kernels[0].0);
        self.plan.ops.clear();
        self.compare_on(gpus, op, storage, random, nothing, &what);
    }

    fn compare_on(
        mut self,
        gpus: &[Gpu],
        op: Op,
        storage: Storage,
        random: &mut Random,
        change: impl Fn(usize, &mut [f32]),
        what: &str,
    ) {
        let written = op.writes();
        self.plan.ops.push(PlannedOp { name: what.to_owned(), op });
        let plan = &mut self.plan;
        // What is read back must be no longer than the input or output.
        plan.output = *written.iter().max_by_key(|id| plan.value(**id).len()).unwrap();
        let plan = &self.plan;
        let take = |key: &str, shape: &[usize]| {
            let seed = key.bytes().fold(7, |h: u64, b| h.wrapping_mul(31) + u64::from(b));
            let values = Random(seed).numbers(shape.iter().product()).into_iter();
            Ok(values
                .map(|v| {
                    if storage == Storage::F16 && key == "matrix" {
                        half::f16::from_f32(v).to_f32()
                    } else {
                        v
                    }
                })
                .collect())
        };
        let prelude = random.numbers(ROWS * plan.prelude.width());
        let rows = PreludeRows { first: 1, stride: random.pick(&[0, 1]) };
        let packed = Packed::new(&plan.parameters, take).unwrap();
        let mut memory = Memory::default();
        memory.fit(plan).unwrap();
        let mut inputs = Vec::new();
        for (i, id) in self.inputs.iter().enumerate() {
            let mut numbers = random.numbers(plan.value(*id).len());
            if plan.value(*id).shape[2] == 2 {
                // Sums of squares are not negative.
                numbers.iter_mut().for_each(|n| *n = n.abs() + 0.1);
            }
            change(i, &mut numbers);
            memory.value_mut(plan, *id).copy_from_slice(&numbers);
            inputs.push((*id, numbers));
        }
        step(plan, &packed, &prelude, ROWS, rows, &mut memory);
        for gpu in gpus {
            let weights = Arc::new(block_on(Weights::new(gpu, plan, storage, take)).unwrap());
            let mut replay = block_on(Replay::new(plan.clone(), weights)).unwrap();
            block_on(replay.start(ROWS, &[PreludeRows { first: 0, stride: 0 }, rows])).unwrap();
            replay.upload(&prelude);
            inputs.iter().for_each(|(id, numbers)| replay.write(*id, numbers));
            replay.evaluate(1);
            for id in &written {
                let (expected, found) = (memory.value(plan, *id), block_on(replay.read(*id)).unwrap());
                let largest = expected.iter().filter(|v| v.is_finite()).fold(1.0f32, |a, b| a.max(b.abs()));
                for (i, (a, b)) in found.iter().zip(expected).enumerate() {
                    let same = if b.is_finite() {
                        (a - b).abs() <= self.bar * largest
                    } else {
                        a.is_nan() == b.is_nan() && (b.is_nan() || a == b)
                    };
                    assert!(
                        same,
                        "{what}, {:?}\nvalue {} {:?} at {i}: {a} for {b}\n{:#?}",
                        gpu.tuning(),
                        id.0,
                        plan.value(*id).shape,
                        plan.ops.last()
                    );
                }
            }
        }
    }
}

fn nothing(_: usize, _: &mut [f32]) {}

/// A random product on an output of `size`.
fn gemm(random: &mut Random, batch: usize, size: [usize; 2], fours: bool, deep: usize) -> (Single, Gemm) {
    let window = match random.within(0, 4) {
        0 | 1 => Window::Pointwise,
        2 => CONVOLUTION,
        3 => Window::Square { kernel: 3, stride: 2, padding: Padding::All(1) },
        _ => Window::Square { kernel: 3, stride: 2, padding: Padding::RightBottom },
    };
    gemm_of(window, random, batch, size, fours, deep)
}

const CONVOLUTION: Window = Window::Square { kernel: 3, stride: 1, padding: Padding::All(1) };

fn gemm_of(
    window: Window,
    random: &mut Random,
    batch: usize,
    size: [usize; 2],
    fours: bool,
    deep: usize,
) -> (Single, Gemm) {
    let mut single = Single::new(batch);
    let input = size.map(|n| n * window.stride());
    let even = |size: [usize; 2]| size.iter().all(|n| n.is_multiple_of(2));
    let upsample = even(input) && random.one_in(3);
    let pair = |random: &mut Random, most: usize| {
        [random.channels(fours, most), if random.one_in(2) { random.channels(fours, 12) } else { 0 }]
    };
    let channels = pair(random, deep);
    let source = single.source(input, channels, upsample);
    let stored = if upsample { input.map(|n| n / 2) } else { input };
    let load = single.load(stored, channels, random);
    let more = pair(random, 24);
    let doubled = even(size) && random.one_in(3);
    let shortcut = random.one_in(3).then(|| single.source(size, more, doubled));
    let more = if shortcut.is_some() { more[0] + more[1] } else { 0 };
    let columns = random.channels(!random.0.is_multiple_of(3), 72);
    let shape = [batch, size[0], size[1], columns];
    let gemm = Gemm {
        source,
        load,
        window,
        shortcut,
        matrix: single.matrix(window.taps() * (channels[0] + channels[1]) + more, columns),
        bias: single.vector(columns),
        time: random.one_in(2).then(|| single.row(columns, random)),
        residual: random.one_in(2).then(|| single.source(size, [columns, 0], doubled)),
        scale: random.pick(&[1.0, 0.5]),
        sample_scale: random.one_in(3).then(|| single.row(1, random)),
        output: single.value(shape),
        moments: random.one_in(2).then(|| {
            let tiles = (size[0] * size[1]).div_ceil(32);
            single.value([batch, tiles, 2, columns])
        }),
    };
    (single, gemm)
}

#[test]
fn products_are_their_twins() {
    let random = &mut Random(1);
    for i in 0..36 {
        let batch = random.within(1, 4);
        let size =
            random.pick(&[[1, 1], [2, 2], [4, 4], [8, 8], [5, 3], [1, 7], [8, 6], [12, 9], [2, 1], [4, 8]]);
        let fours = !random.one_in(3);
        let deep = random.pick(&[8, 40, 200]);
        let (single, op) = gemm(random, batch, size, fours, deep);
        let storage = random.pick(&[Storage::F32, Storage::F16]);
        single.compare(Op::Gemm(op), storage, random, nothing, &format!("product {i} {storage:?}"));
    }
}

#[test]
fn large_products_are_their_twins() {
    let random = &mut Random(2);
    for fours in [true, false] {
        // Enough outputs for the larger tile.
        let (mut single, mut g) = gemm(random, 2, [64, 32], fours, 8);
        let columns = if fours { 260 } else { 251 };
        let inputs: usize = g.source.values().map(|v| single.plan.value(v).shape[3]).sum();
        let more = g.shortcut.map_or(0, |s| s.values().map(|v| single.plan.value(v).shape[3]).sum());
        g.matrix = single.matrix(g.window.taps() * inputs + more, columns);
        single.plan.parameters.matrices.remove(0);
        g.matrix = MatrixId(g.matrix.0 - 1);
        g.bias = single.vector(columns);
        (g.time, g.residual) = (None, None);
        g.output = single.value([2, 64, 32, columns]);
        g.moments = Some(single.value([2, 64, 2, columns]));
        single.compare(Op::Gemm(g), Storage::F32, random, nothing, "large product");
    }
}

/// With every width that has one, in the tile of few outputs, cut in slices and whole, and in that of many.
#[test]
fn convolutions_with_a_halo_are_their_twins() {
    let random = &mut Random(8);
    let large = Choice { large: Some(1), few: Some(0), ..Choice::default() };
    for choice in [Choice::default(), large] {
        let gpu = [block_on(Gpu::chosen(Some(Tuning::Hardware), choice)).unwrap()];
        for size in [[8, 8], [8, 16], [16, 16], [8, 32]] {
            // No image is doubled here: that takes the other kernel.
            let (single, gemm) = loop {
                let (single, gemm) = gemm_of(CONVOLUTION, random, 2, size, true, 72);
                if !gemm.source.upsample && !gemm.shortcut.as_ref().is_some_and(|s| s.upsample) {
                    break (single, gemm);
                }
            };
            let tile = if choice == large { "halo 64×64" } else { "halo 32×32" };
            single.compare_convolution(&gpu, gemm, choice, tile, random);
        }
    }
}

/// Numbers of 16 bits are multiplied exactly, so that what is read as it is gives the twin's numbers, as with kernels of 32 bits. What is
/// scaled or activated is rounded after that: by 2⁻¹² on average.
fn bar_of_16_bits(gemm: &Gemm) -> f32 {
    if gemm.load == Load::default() { 2e-5 } else { 2e-3 }
}

fn rounded(_: usize, numbers: &mut [f32]) {
    numbers.iter_mut().for_each(|n| *n = half::f16::from_f32(*n).to_f32());
}

#[test]
fn products_in_16_bits_are_their_twins() {
    for tuning in [Tuning::Hardware, Tuning::Software] {
        let Some(gpu) = with_f16_products(tuning, Choice::default()) else { return };
        let random = &mut Random(11);
        for i in 0..16 {
            let size = random.pick(&[[1, 1], [4, 4], [8, 8], [5, 3], [12, 9], [4, 8]]);
            let fours = !random.one_in(3);
            let deep = random.pick(&[8, 40, 200]);
            let batch = random.within(1, 3);
            let (mut single, gemm) = gemm(random, batch, size, fours, deep);
            single.bar = bar_of_16_bits(&gemm);
            let what = format!("product {i} in 16 bits");
            single.compare_on(
                std::slice::from_ref(&gpu),
                Op::Gemm(gemm),
                Storage::F16,
                random,
                rounded,
                &what,
            );
        }
    }
}

#[test]
fn convolutions_with_a_halo_in_16_bits_are_their_twins() {
    let random = &mut Random(12);
    let large = Choice { large: Some(1), few: Some(0), ..Choice::default() };
    for choice in [Choice::default(), large] {
        let choice = Choice { f16_products: true, ..choice };
        let Some(gpu) = with_f16_products(Tuning::Hardware, choice) else { return };
        for size in [[8, 8], [16, 16], [8, 32]] {
            let (mut single, gemm) = loop {
                let (single, gemm) = gemm_of(CONVOLUTION, random, 2, size, true, 72);
                if !gemm.source.upsample && !gemm.shortcut.as_ref().is_some_and(|s| s.upsample) {
                    break (single, gemm);
                }
            };
            single.bar = 2e-3;
            single.compare_convolution(std::slice::from_ref(&gpu), gemm, choice, "halo", random);
        }
    }
}

/// What is stored in 32 bits is meant to be exact.
#[test]
fn only_matrices_stored_in_16_bits_are_multiplied_so() {
    let plan = Plan::new(&config(include_str!("../../bench/models/pixel-faces-16.json")), 1, 16, 16).unwrap();
    for (storage, f16_products, expected) in
        [(Storage::F16, true, true), (Storage::F16, false, false), (Storage::F32, true, false)]
    {
        let layout = ShardLayout::new(&plan, storage);
        let choice = Choice { f16_products, ..Choice::default() };
        let kernels = Lowered::new(&plan, &layout, Tuning::Hardware, choice).unwrap().shaders(false);
        let found = kernels.iter().any(|(name, _, text)| {
            assert_eq!(name.contains("16 bits"), text.contains("vec4<f16>"), "{name}");
            name.contains("16 bits")
        });
        assert_eq!(found, expected, "{storage:?}");
    }
}

/// By Winograd's transform: every width that takes another kernel, images that are doubled, and both kinds of tile.
#[test]
fn transformed_convolutions_are_their_twins() {
    if gpu().is_none() {
        return;
    }
    let random = &mut Random(9);
    for (tile, sizes) in
        [(None, [[4, 4], [8, 8], [4, 64]]), (Some([8, 2, 8, 128]), [[8, 8], [4, 16], [8, 32]])]
    {
        let choice = Choice { winograd: Some(true), winograd_tile: tile, ..Choice::default() };
        let gpu = [block_on(Gpu::chosen(Some(Tuning::Hardware), choice)).unwrap()];
        for size in sizes {
            let (single, gemm) = loop {
                let (single, gemm) = gemm_of(CONVOLUTION, random, 3, size, true, 72);
                let channels = |id| single.plan.value(id).shape[3];
                let inputs: usize = gemm.source.values().map(channels).sum();
                let columns = channels(gemm.output);
                let doubled = gemm.shortcut.as_ref().is_some_and(|s| s.upsample);
                if inputs.min(columns) >= 16 && columns.is_multiple_of(4) && !doubled {
                    break (single, gemm);
                }
            };
            single.compare_convolution(&gpu, gemm, choice, "transformed product", random);
        }
    }
}

#[test]
fn norms_are_their_twins() {
    let random = &mut Random(3);
    for i in 0..12 {
        let size = random.pick(&[[1, 1], [4, 4], [5, 7], [16, 16], [40, 3]]);
        let mut single = Single::new(random.within(1, 3));
        let channels = [random.within(1, 50), random.pick(&[0, 3, 32])];
        let norm = single.norm(size, channels, random);
        let output = single.value([single.plan.batch, 1, 2, channels[0] + channels[1]]);
        single.compare(
            Op::ReadyNorm(ReadyNorm { norm, output }),
            Storage::F32,
            random,
            nothing,
            &format!("norm {i}"),
        );
    }
}

#[test]
fn attention_is_its_twin() {
    let random = &mut Random(4);
    let heads =
        [(1, 1), (3, 5), (2, 8), (4, 16), (1, 33), (1, 64), (1, 128), (2, 256), (1, 300), (1, 1024), (16, 8)];
    for (heads, width) in heads {
        let size = random.pick(&[[1, 1], [8, 8], [5, 7], [16, 16], [9, 8]]);
        attention(random, random.0 as usize % 2 + 1, size, heads, width, nothing);
    }
    attention(random, 1, [32, 32], 1, 64, nothing);
}

fn attention(
    random: &mut Random,
    batch: usize,
    [height, width]: [usize; 2],
    heads: usize,
    head: usize,
    change: fn(usize, &mut [f32]),
) {
    let (single, op) = attention_to(batch, [height, width], None, [heads, head]);
    single.compare(op, Storage::F32, random, change, &format!("{heads} heads of {head}"));
}

/// Attention of an image to itself, or to so many tokens.
fn attention_to(
    batch: usize,
    [height, width]: [usize; 2],
    tokens: Option<usize>,
    [heads, head]: [usize; 2],
) -> (Single, Op) {
    let mut single = Single::new(batch);
    let inner = heads * head;
    let part = |value, start| Channels { value, start };
    let of = if tokens.is_some() { inner } else { 3 * inner };
    let image = single.input([batch, height, width, of]);
    let [q, k, v] = match tokens {
        None => [0, inner, 2 * inner].map(|start| part(image, start)),
        Some(n) => [
            part(image, 0),
            part(single.input([batch, n, 1, inner]), 0),
            part(single.input([batch, n, 1, inner]), 0),
        ],
    };
    let output = single.value([batch, height, width, inner]);
    (single, Op::Attention(Attention { q, k, v, of_sample: None, heads, causal: false, inner, output }))
}

/// Of every width that networks have, to itself, to itself before each token, and to text, cut into slices of the keys.
#[test]
fn attention_of_text_and_latents_is_its_twin() {
    let random = &mut Random(9);
    let cut = Choice { few: Some(1000), wanted: Some(1000), ..Choice::default() };
    let gpu = [block_on(Gpu::chosen(Some(Tuning::Hardware), cut)).unwrap()];
    for (heads, head) in [(2, 1), (4, 3), (2, 40), (3, 72), (1, 75), (2, 160), (1, 512)] {
        for (tokens, causal) in [(None, false), (None, true), (Some(77), false)] {
            let size = if causal { [77, 1] } else { random.pick(&[[9, 8], [16, 10], [7, 5]]) };
            let (single, mut op) = attention_to(random.0 as usize % 2 + 1, size, tokens, [heads, head]);
            if let Op::Attention(attention) = &mut op {
                attention.causal = causal;
            }
            let what = format!("{heads} heads of {head}, {size:?} to {tokens:?}, causal {causal}");
            single.compare_on(&gpu, op, Storage::F32, random, nothing, &what);
        }
    }
    let (single, op) = attention_to(1, [64, 64], None, [1, 80]);
    single.compare_on(&gpu, op, Storage::F32, random, nothing, "4096 tokens");
}

/// What slices of the keys come to is put together where it is read, unless others read it too.
#[test]
fn a_product_reads_what_slices_of_attention_leave() {
    let random = &mut Random(16);
    let Some(gpu) = gpu() else { return };
    for (batch, size, heads, head, columns, others) in [
        (1, [16, 16], 1, 256, 256, false),
        (2, [9, 8], 2, 80, 36, false),
        (1, [10, 16], 3, 72, 64, false),
        (1, [9, 8], 2, 80, 36, true),
        (1, [9, 8], 1, 75, 36, true),
    ] {
        let (mut single, attention) = attention_to(batch, size, None, [heads, head]);
        let Op::Attention(Attention { output: read, inner, .. }) = attention else { unreachable!() };
        let shape = [batch, size[0], size[1], columns];
        let gemm = Gemm {
            source: Source::of(read),
            load: Load::default(),
            window: Window::Pointwise,
            shortcut: None,
            matrix: single.matrix(inner, columns),
            bias: single.vector(columns),
            time: None,
            residual: None,
            scale: 0.5,
            sample_scale: None,
            output: single.value(shape),
            moments: None,
        };
        if others {
            single.plan.also = vec![read];
        }
        let what = format!("{heads} heads of {head}, {size:?} to {columns} columns");
        single.plan.ops.push(PlannedOp { name: what.clone(), op: attention });
        let op = Op::Gemm(gemm);
        let mut whole = single.plan.clone();
        whole.ops.push(PlannedOp { name: what.clone(), op: op.clone() });
        let layout = ShardLayout::new(&whole, Storage::F32);
        let kernels =
            Lowered::new(&whole, &layout, Tuning::Hardware, Choice::default()).unwrap().shaders(false);
        let merges = kernels.iter().filter(|(_, entry, _)| *entry == "merge").count();
        assert_eq!(merges, usize::from(others), "{what}");
        single.compare_on(std::slice::from_ref(&gpu), op, Storage::F32, random, nothing, &what);
    }
}

#[test]
fn pools_are_their_twins() {
    let random = &mut Random(5);
    for i in 0..10 {
        let mut single = Single::new(random.within(1, 3));
        let size = [2 * random.within(1, 6), 2 * random.within(1, 6)];
        let fours = random.one_in(2);
        let channels =
            [random.channels(fours, 40), if random.one_in(2) { random.channels(fours, 12) } else { 0 }];
        let source = single.source(size, channels, false);
        let load = single.load(size, channels, random);
        let output = single.value([single.plan.batch, size[0] / 2, size[1] / 2, channels[0] + channels[1]]);
        single.compare(
            Op::Pool(Pool { source, load, output }),
            Storage::F32,
            random,
            nothing,
            &format!("pool {i}"),
        );
    }
}

#[test]
fn more_workgroups_than_one_dimension_holds() {
    let random = &mut Random(6);
    let count = 65_537;
    attention(random, 1, [1, 1], count, 1, nothing);
    let mut single = Single::new(1);
    let mut norm = single.norm([1, 1], [count, 0], random);
    norm.groups = count;
    let output = single.value([1, 1, 2, count]);
    single.compare(Op::ReadyNorm(ReadyNorm { norm, output }), Storage::F32, random, nothing, "many groups");
    let mut single = Single::new(1);
    let columns = 32 * count;
    let op = Op::Gemm(Gemm {
        source: single.source([1, 1], [1, 0], false),
        load: Load::default(),
        window: Window::Pointwise,
        shortcut: None,
        matrix: single.matrix(1, columns),
        bias: single.vector(columns),
        time: None,
        residual: None,
        scale: 1.0,
        sample_scale: None,
        output: single.value([1, 1, 1, columns]),
        moments: None,
    });
    single.compare(op, Storage::F32, random, nothing, "many columns");
}

/// What is not finite goes where it goes in the twin, and nowhere else.
#[test]
fn nan_and_infinity_pass_through() {
    let random = &mut Random(7);
    let activations = [Activation::Silu, Activation::Mish, Activation::Gelu, Activation::Relu];
    // The last is where a formula written carelessly overflows.
    for (bad, activation) in
        [f32::NAN, f32::INFINITY, 60.0].into_iter().flat_map(|b| activations.map(|a| (b, a)))
    {
        for fours in [true, false] {
            let mut single = Single::new(2);
            let channels = [if fours { 8 } else { 7 }, 0];
            let columns = if fours { 8 } else { 5 };
            let op = Op::Gemm(Gemm {
                source: single.source([6, 6], channels, false),
                load: Load { scaling: None, activation: Some(activation) },
                window: Window::Square { kernel: 3, stride: 1, padding: Padding::All(1) },
                shortcut: None,
                matrix: single.matrix(9 * channels[0], columns),
                bias: single.vector(columns),
                time: None,
                residual: None,
                scale: 1.0,
                sample_scale: None,
                output: single.value([2, 6, 6, columns]),
                moments: Some(single.value([2, 2, 2, columns])),
            });
            let change = |_: usize, numbers: &mut [f32]| numbers[19] = bad;
            single.compare(
                op,
                Storage::F32,
                random,
                change,
                &format!("{bad} in a product after {activation:?}"),
            );
        }
    }
    for (heads, head) in [(2, 8), (1, 128)] {
        attention(random, 1, [6, 6], heads, head, |_, numbers| numbers[19] = f32::NAN);
        attention(random, 1, [6, 6], heads, head, |_, numbers| numbers[19] = f32::INFINITY);
    }
}

// ---- What is made and asked ----

fn config(json: &str) -> UNet2DConfig {
    let json: serde_json::Value = serde_json::from_str(json).unwrap();
    UNet2DConfig::parse("config.json", json.as_object().unwrap()).unwrap().0
}

/// Whatever is found to be the fastest, the numbers are the same.
#[test]
fn an_adapter_that_is_tried_out_computes_the_same() {
    let Some(gpu) = gpu() else { return };
    let choice = Choice { measure: Some(true), ..Choice::default() };
    let tried = block_on(Gpu::chosen(Some(Tuning::Hardware), choice)).unwrap();
    let json = r#"{"block_out_channels": [64], "down_block_types": ["DownBlock2D"], "up_block_types": ["UpBlock2D"],
        "layers_per_block": 1}"#;
    let x = Random(10).numbers(3 * 32 * 32);
    let evaluate = |gpu: &Gpu| {
        let take = |key: &str, shape: &[usize]| Ok(weight(key, shape));
        let mut network = block_on(GpuNetwork::new(gpu, Arc::new(config(json)), Storage::F32, take)).unwrap();
        let y = block_on(network.evaluate(&x, [1, 3, 32, 32], &[500.0], None)).unwrap();
        (y, gpu.counters().submits)
    };
    let (expected, _) = evaluate(&gpu);
    let (found, submits) = evaluate(&tried);
    let error = golden::relative_error(&found, &expected);
    assert!(error <= 2e-5, "{error:e}");
    assert!(submits > 8, "{submits}");
}

/// A device of its own, which no other test counts on.
fn own() -> Option<Gpu> {
    adapter(Tuning::Hardware)
}

/// Dispatches of a step at batch 1 and 16. With a halo, whose tiles have room for fewer normalised channels, some normalisations have
/// dispatches of their own.
#[test]
fn a_step_of_the_cifar_network_has_no_more_dispatches_than_it_had() {
    let network = config(include_str!("../../bench/models/cifar10-32.json"));
    for (halo, expected) in [(false, [109, 84]), (true, [121, 87])] {
        let found = [1, 16].map(|batch| {
            let plan = Plan::new(&network, batch, 32, 32).unwrap();
            let layout = ShardLayout::new(&plan, Storage::F32);
            let choice = Choice { halo: Some(halo), ..Choice::default() };
            Lowered::new(&plan, &layout, Tuning::Hardware, choice).unwrap().dispatches()
        });
        assert_eq!(found, expected, "halo {halo}");
    }
}

#[test]
fn a_step_is_one_submit_and_makes_nothing() {
    let Some(gpu) = own() else { return };
    let case = case("base");
    let mut network = network(&gpu, &case, Storage::F32);
    let schedule = Schedule::from_json("scheduler_config.json", b"{}").unwrap();
    let program = SamplerKind::Ddpm.program(&schedule, &Options::steps(5)).unwrap();
    let shape = case.shape;
    let size = [shape[0], shape[2], shape[3]];
    block_on(network.plan(size)).unwrap();
    let dispatches = network.executor_mut().replays_mut().get(size).unwrap().dispatches() as u64;
    let mut compiled = 0;
    for round in 0..2 {
        assert!(block_on(network.begin(&program, shape, Generator::philox(0).unwrap(), None)).unwrap());
        let mut before = gpu.counters();
        if round == 1 {
            assert_eq!(before.pipelines, compiled, "a second run compiles nothing");
        }
        for done in 0..5 {
            assert!(block_on(network.step()).unwrap().is_some());
            let after = gpu.counters();
            // The first also makes the first noise, and with it the second is on its way.
            let (steps, more) = [(2, 1), (1, 0), (1, 0), (1, 0), (0, 0)][done];
            assert_eq!(after.dispatches - before.dispatches, steps * (dispatches + 1) + more);
            assert_eq!(after.submits - before.submits, steps);
            if done > 0 {
                let made = |c: &Counters| (c.buffers, c.live_buffers, c.bind_groups, c.pipelines);
                assert_eq!(made(&after), made(&before));
            }
            before = after;
        }
        assert!(block_on(network.step()).unwrap().is_none());
        compiled = gpu.counters().pipelines;
    }
}

#[test]
fn memory_is_flat_over_loads_and_runs() {
    let Some(gpu) = own() else { return };
    let case = case("base");
    let live = |gpu: &Gpu| (gpu.counters().live_buffers, gpu.counters().live_bytes);
    assert_eq!(live(&gpu), (0, 0));
    for _ in 0..20 {
        let mut network = network(&gpu, &case, Storage::F32);
        block_on(network.evaluate(&case.input(), case.shape, &case.timesteps, None)).unwrap();
        let with_a_plan = live(&gpu);
        block_on(network.evaluate(&case.input(), case.shape, &case.timesteps, None)).unwrap();
        assert_eq!(live(&gpu), with_a_plan);
        network.executor_mut().replays_mut().forget();
        assert!(live(&gpu).1 < with_a_plan.1);
        drop(network);
        assert_eq!(live(&gpu), (0, 0));
    }
}

#[test]
fn a_lost_device_says_so_and_a_new_one_works() {
    let case = case("one_level");
    let (Some(lost), Some(another)) = (own(), own()) else { return };
    let mut network1 = network(&lost, &case, Storage::F32);
    let evaluate = |network: &mut GpuNetwork| {
        block_on(network.evaluate(&case.input(), case.shape, &case.timesteps, case.labels.as_deref()))
    };
    let before = evaluate(&mut network1).unwrap();
    lost.destroy();
    for _ in 0..2 {
        assert_eq!(evaluate(&mut network1).unwrap_err().kind(), "device-lost");
    }
    let take = |key: &str, shape: &[usize]| Ok(weight(key, shape));
    let again = block_on(GpuNetwork::new(&lost, case.config(), Storage::F32, take));
    assert_eq!(again.unwrap_err().kind(), "device-lost");
    let mut network2 = network(&another, &case, Storage::F32);
    assert_eq!(evaluate(&mut network2).unwrap(), before);
}

#[test]
fn what_is_too_large_is_refused_with_the_limits_name() {
    let Some(gpu) = own() else { return };
    let case = case("one_level");
    let mut network = network(&gpu, &case, Storage::F32);
    let error = block_on(network.plan([1 << 16, 256, 256])).unwrap_err();
    assert_eq!(error.kind(), "limit");
    println!("{error}");
    assert!(error.to_string().contains("maxStorageBufferBindingSize"), "{error}");
}
