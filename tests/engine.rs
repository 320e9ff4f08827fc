//! The sampling engine: what its plans promise, each kernel of the processor against a textbook loop; in `engine/`, what every
//! executor promises, and a GPU's kernels against their twins.
#![cfg(not(target_arch = "wasm32"))]
#![allow(clippy::print_stdout, reason = "tests say how close they came")]

#[path = "engine/executors.rs"]
mod executors;
#[allow(unreachable_pub, reason = "shared with other test binaries")]
mod golden;
#[cfg(feature = "gpu")]
#[path = "engine/gpu.rs"]
mod gpu;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::collections::HashSet;
use std::sync::Arc;

use golden::{Case, cases, scaled, weight};
use noiseball::Error;
use noiseball::engine::Plan;
use noiseball::engine::cpu::{CpuNetwork, Memory, step};
use noiseball::engine::kernels::attention::{self, AttentionInput, ChannelSlice, attention};
use noiseball::engine::kernels::gemm::{self, GemmInput, gemm};
use noiseball::engine::kernels::load::{Loaded, Scale};
use noiseball::engine::kernels::norm::{Normalise, moments, normalise};
use noiseball::engine::kernels::pool::{self, pool};
use noiseball::engine::kernels::product::Panels;
use noiseball::engine::kernels::shared::in_turn;
use noiseball::engine::kernels::winograd;
use noiseball::engine::kernels::{Image, PerSample, activation};
use noiseball::engine::order::{to_nchw, to_nhwc};
use noiseball::engine::packed::Packed;
use noiseball::engine::plan::{Op, Scaling, TILE_PIXELS, Window};
use noiseball::engine::prelude::{Conditioning, PreludeRows, prelude};
use noiseball::network::Network as _;
use noiseball::network::describe::describe;
use noiseball::network::ops::{Activation, Padding};
use noiseball::network::unet::UNet2DConfig;
use pollster::block_on;
use proptest::prelude::*;

// ---- Preludes ----

/// A case's plan with what it takes to replay it.
struct Planned {
    plan: Plan,
    packed: Packed,
    memory: Memory,
    /// The prelude of several evaluations, the rows of all of them and of each.
    prelude: (Vec<f32>, usize, usize),
}

impl Planned {
    fn new(case: &Case, timesteps: &[f32]) -> Self {
        let [batch, _, height, width] = case.shape;
        let plan = Plan::new(&case.config, batch, height, width).unwrap();
        let mut take = |key: &str, shape: &[usize]| Ok(weight(key, shape));
        let packed = Packed::new(&plan.parameters, take).unwrap();
        let mut memory = Memory::default();
        memory.fit(&plan).unwrap();
        // Without labels, all samples share the rows.
        let each = if case.labels.is_some() { batch } else { 1 };
        let repeated: Vec<f32> = timesteps.iter().flat_map(|t| std::iter::repeat_n(*t, each)).collect();
        let labels = case.labels.as_ref().map(|l| l.repeat(timesteps.len()));
        let given = Conditioning::new(case.config(), &mut take).unwrap().given(&repeated, labels.as_deref());
        let numbers = prelude(&plan, &packed, &given.unwrap()).unwrap();
        Self { plan, packed, memory, prelude: (numbers, repeated.len(), each) }
    }

    /// Evaluates on what is the plan's input, at the timestep of this index.
    fn step(&mut self, at: usize) {
        let Self { plan, packed, memory, prelude: (numbers, count, each) } = self;
        let rows = PreludeRows { first: at * *each, stride: usize::from(*each > 1 || plan.batch == 1) };
        step(plan, packed, numbers, *count, rows, memory);
    }

    fn evaluate(&mut self, at: usize, x: &[f32]) -> Vec<f32> {
        let [input, output] = [self.plan.input, self.plan.output].map(|id| self.plan.value(id).shape);
        let pixels = |shape: [usize; 4]| shape[1] * shape[2];
        to_nhwc(x, input[3], pixels(input), self.memory.value_mut(&self.plan, self.plan.input));
        self.step(at);
        let mut out = vec![f32::NAN; output.iter().product()];
        to_nchw(self.memory.value(&self.plan, self.plan.output), output[3], pixels(output), &mut out);
        out
    }
}

/// A prelude may hold many timesteps, whose evaluations then follow in any order.
#[test]
fn evaluations_of_one_prelude_are_what_single_ones_are() {
    for case in golden::networks() {
        let mut net = CpuNetwork::new(case.config(), |key, shape| Ok(weight(key, shape))).unwrap();
        let mut times = vec![case.timesteps[0], case.timesteps[0] + 1.0, 3.0];
        // A learned table may have fewer rows.
        times.retain(|t| case.config.check_timestep(*t).is_ok());
        let mut planned = Planned::new(&case, &times);
        for (at, time) in times.iter().enumerate().rev() {
            let (x, labels) = (case.input(), case.labels.as_deref());
            let single = block_on(net.evaluate(&x, case.shape, &vec![*time; case.shape[0]], labels));
            assert_eq!(planned.evaluate(at, &x), single.unwrap(), "{} at {at}", case.name);
        }
    }
}

fn with_threads<R: Send>(threads: usize, what: impl FnOnce() -> R + Send) -> R {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(what)
}

/// With one convolution of each kind, among them those by tiles, and attention that is shared by its queries.
#[test]
fn numbers_are_the_same_for_any_number_of_threads_and_in_any_batch() {
    let config = config(
        r#"{"sample_size": 16, "block_out_channels": [64, 80], "layers_per_block": 1, "norm_num_groups": 8,
        "down_block_types": ["AttnDownBlock2D", "DownBlock2D"], "up_block_types": ["UpBlock2D", "AttnUpBlock2D"]}"#,
    );
    let shape = |batch| [batch, 3, 16, 16];
    let x = numbers("x", 3 * 3 * 256);
    let new = || CpuNetwork::new(Arc::new(config.clone()), |key, shape| Ok(weight(key, shape))).unwrap();
    let all = with_threads(1, || block_on(new().evaluate(&x, shape(3), &[7.0; 3], None)).unwrap());
    for threads in [1, 2, 3, 7] {
        with_threads(threads, || {
            let mut net = new();
            for batch in 1..=3 {
                let len = batch * 3 * 256;
                let found = block_on(net.evaluate(&x[..len], shape(batch), &vec![7.0; batch], None)).unwrap();
                assert!(found == all[..len], "{threads} threads, batch {batch}");
            }
        });
    }
}

#[test]
fn a_plan_of_more_than_can_be_counted_is_refused() {
    let case = &cases(golden::UNET)[0];
    assert!(matches!(Plan::new(&case.config, usize::MAX / 8, 8, 8), Err(Error::OutOfMemory { .. })));
}

// ---- Plans ----

fn config(json: &str) -> UNet2DConfig {
    let json: serde_json::Value = serde_json::from_str(json).unwrap();
    UNet2DConfig::parse("config.json", json.as_object().unwrap()).unwrap().0
}

/// google/ddpm-cifar10-32's.
fn cifar10() -> UNet2DConfig {
    config(
        r#"{"block_out_channels": [128, 256, 256, 256], "attention_head_dim": null, "downsample_padding": 0,
        "down_block_types": ["DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"],
        "up_block_types": ["UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D"],
        "flip_sin_to_cos": false, "freq_shift": 1, "norm_eps": 1e-06}"#,
    )
}

/// google/ddpm-celebahq-256's.
fn celebahq() -> UNet2DConfig {
    config(
        r#"{"block_out_channels": [128, 128, 256, 256, 512, 512], "attention_head_dim": null, "downsample_padding": 0,
        "down_block_types": ["DownBlock2D", "DownBlock2D", "DownBlock2D", "DownBlock2D", "AttnDownBlock2D", "DownBlock2D"],
        "up_block_types": ["UpBlock2D", "AttnUpBlock2D", "UpBlock2D", "UpBlock2D", "UpBlock2D", "UpBlock2D"],
        "flip_sin_to_cos": false, "freq_shift": 1, "norm_eps": 1e-06}"#,
    )
}

/// Every fixture's plan and those of two public checkpoints, with their configurations.
fn plans() -> Vec<(String, UNet2DConfig, Plan)> {
    let mut all: Vec<_> = golden::networks()
        .into_iter()
        .map(|c| {
            (c.name.clone(), Plan::new(&c.config, c.shape[0], c.shape[2], c.shape[3]).unwrap(), c.config)
        })
        .map(|(name, plan, config)| (name, config, plan))
        .collect();
    for (name, config, batch, size) in
        [("cifar10", cifar10(), 1, 32), ("cifar10 × 16", cifar10(), 16, 32), ("celebahq", celebahq(), 1, 256)]
    {
        let plan = Plan::new(&config, batch, size, size).unwrap();
        all.push((name.to_owned(), config, plan));
    }
    all
}

#[test]
fn the_cifar10_network_takes_81_operations() {
    let plan = Plan::new(&cifar10(), 1, 32, 32).unwrap();
    // A convolution each, 44 in residual blocks and 8 others; three for each of 6 attentions; and 11 normalisations of
    // 32 × 32 pixels. All others are worked out by their readers.
    assert_eq!(plan.ops.len(), 81, "{plan}");
    // Two matrices for the embedding, and one for the time vectors of all residual blocks.
    assert_eq!(plan.prelude.ops.len(), 3);
}

#[test]
fn a_convolution_and_what_stands_before_it_are_at_most_two_operations() {
    for (name, _, plan) in plans() {
        let count = |is: fn(&Op) -> bool| plan.ops.iter().filter(|s| is(&s.op)).count();
        let normalised = count(|op| match op {
            Op::Gemm(g) => matches!(g.load.scaling, Some(Scaling::Ready(_))),
            Op::Pool(p) => matches!(p.load.scaling, Some(Scaling::Ready(_))),
            // Before a filter.
            Op::Map(m) => matches!(m.load.scaling, Some(Scaling::Ready(_))),
            _ => false,
        });
        assert_eq!(count(|op| matches!(op, Op::ReadyNorm(_))), normalised, "{name}");
    }
}

#[test]
fn the_arena_is_little_larger_than_what_lives_at_once() {
    for (name, _, plan) in plans() {
        let ratio = plan.arena as f64 / plan.live_maximum() as f64;
        assert!(ratio <= 1.3, "{name}: {ratio}");
    }
}

/// Nothing is read before it is written, nothing is written twice, and nobody reads what he writes.
#[test]
fn values_are_written_once_and_then_read() {
    for (name, _, plan) in plans() {
        let mut written = HashSet::from([plan.input]);
        for step in &plan.ops {
            assert!(step.op.reads().iter().all(|r| written.contains(r)), "{name}: {}", step.name);
            assert!(step.op.writes().iter().all(|w| written.insert(*w)), "{name}: {}", step.name);
        }
        assert!(written.contains(&plan.output), "{name}");
        assert_eq!(written.len(), plan.values.len(), "{name}: values that nobody writes");
    }
}

#[test]
fn every_parameter_is_packed_once_and_alike_for_every_shape() {
    for (name, config, plan) in plans() {
        let mut found: Vec<_> = plan.parameters.keys().map(|(k, s)| (k.to_owned(), s)).collect();
        let mut expected = describe(&config, 1, 64, 64).parameters;
        // The frequencies are used before the plan begins.
        expected.retain(|(key, shape)| key != "time_proj.weight" || shape.len() == 2);
        found.sort();
        expected.sort();
        assert_eq!(found, expected, "{name}");
        assert_eq!(Plan::new(&config, 3, 128, 64).unwrap().parameters, plan.parameters, "{name}");
    }
}

/// To accept a change, write the text that this test prints to the file, and read the difference.
#[test]
fn a_plan_reads_as_it_did() {
    let case = cases(golden::UNET).into_iter().find(|c| c.name == "adm").unwrap();
    let text = Plan::new(&case.config, 2, 16, 32).unwrap().to_string();
    assert_eq!(text, include_str!("engine/adm.plan.txt"), "{text}");
}

// ---- Memory ----

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call is passed on.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's promises are passed on, here and below.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn a_step_allocates_nothing() {
    with_threads(1, no_allocations);
}

fn no_allocations() {
    for case in golden::networks() {
        let mut planned = Planned::new(&case, &case.timesteps[..1]);
        let before = ALLOCATIONS.get();
        planned.step(0);
        planned.step(0);
        assert_eq!(ALLOCATIONS.get() - before, 0, "{}", case.name);
    }
    // The counter counts.
    let before = ALLOCATIONS.get();
    drop(vec![1u8; 3]);
    assert_eq!(ALLOCATIONS.get() - before, 1);
}

// ---- Kernels against textbook loops, in f64 ----

fn numbers(name: &str, count: usize) -> Vec<f32> {
    scaled(name, count, 1.5)
}

fn close(found: &[f32], expected: &[f64], tolerance: f64) -> Result<(), TestCaseError> {
    prop_assert_eq!(found.len(), expected.len());
    let largest = expected.iter().fold(1.0f64, |a, b| a.max(b.abs()));
    for (i, (f, e)) in found.iter().zip(expected).enumerate() {
        let error = (f64::from(*f) - e).abs();
        prop_assert!(error <= tolerance * largest, "at {}: {} instead of {}", i, f, e);
    }
    Ok(())
}

/// The activations by their definitions.
fn textbook(activation: Option<Activation>, x: f64) -> f64 {
    // The error function by Taylor's series, which is exact to more than enough digits within ±5.
    let erf = |x: f64| {
        let x = x.clamp(-5.0, 5.0);
        let (mut term, mut sum) = (x, x);
        for n in 1..200 {
            term *= -x * x / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        sum * 2.0 / std::f64::consts::PI.sqrt()
    };
    match activation {
        None => x,
        Some(Activation::Silu) => x / (1.0 + (-x).exp()),
        Some(Activation::Mish) => x * x.exp().ln_1p().tanh(),
        Some(Activation::Gelu) => x * 0.5 * (1.0 + erf(x / 2f64.sqrt())),
        Some(Activation::Relu) => x.max(0.0),
        Some(Activation::GeluTanh) => {
            x * 0.5 * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3))).tanh())
        }
        Some(Activation::QuickGelu) => x / (1.0 + (-1.702 * x).exp()),
        Some(Activation::Tanh) => x.tanh(),
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

#[test]
fn activations_are_accurate_and_pass_on_what_is_not_a_number() {
    let mut xs: Vec<f32> = (-4000..4000).map(|i| i as f32 * 0.005 + 0.0003).collect();
    xs.extend([0.0, -0.0, 1e-30, -1e-30, 88.0, -88.0, 120.0, -120.0, 1e30, -1e4]);
    for activation in ACTIVATIONS {
        let mut found = xs.clone();
        activation::activate(activation, &mut found);
        for (x, f) in xs.iter().zip(&found) {
            let expected = textbook(Some(activation), f64::from(*x));
            let error = (f64::from(*f) - expected).abs();
            // Near 0 the hyperbolic tangent is a difference of numbers near 1.
            let least = if activation == Activation::Tanh { 0.5 } else { 1e-3 };
            assert!(
                error <= 3e-7 * f64::from(x.abs()).max(least),
                "{activation:?}({x}) is {f}, not {expected}"
            );
        }
        let mut special = [f32::NAN, f32::INFINITY];
        activation::activate(activation, &mut special);
        let most = if activation == Activation::Tanh { 1.0 } else { f32::INFINITY };
        assert!(special[0].is_nan() && special[1] == most, "{activation:?} {special:?}");
    }
    for i in -10_300..8_870 {
        let x = i as f32 * 0.01;
        let expected = f64::from(x).exp();
        let error = (f64::from(activation::exp(x)) - expected).abs();
        assert!(error <= 2.4e-7 * expected + 1.5e-45, "exp({x})");
    }
    assert_eq!(activation::exp(f32::INFINITY), f32::INFINITY);
    assert_eq!(activation::exp(f32::NEG_INFINITY), 0.0);
    assert!(activation::exp(f32::NAN).is_nan());
}

/// A convolution with everything that may be fused into it.
#[derive(Clone, Debug)]
struct Shape {
    batch: usize,
    size: (usize, usize),
    channels: (usize, usize),
    out: usize,
    window: Window,
    upsample: bool,
    scaling: usize,
    activation: Option<Activation>,
    shortcut: Option<(usize, usize, bool)>,
    residual: Option<bool>,
    time: bool,
    sample_scale: bool,
    /// All samples read the same row.
    shared: bool,
}

fn shapes() -> impl Strategy<Value = Shape> {
    let windows = prop_oneof![
        Just(Window::Pointwise),
        (
            prop_oneof![2 => Just(3usize), 1 => 1..8usize],
            1..=3usize,
            prop_oneof![Just(Padding::All(1)), Just(Padding::RightBottom), Just(Padding::All(0))]
        )
            .prop_map(|(kernel, stride, padding)| Window::Square { kernel, stride, padding }),
    ];
    let activations = prop::option::of((0..7usize).prop_map(|i| ACTIVATIONS[i]));
    let odd = || prop_oneof![3 => 1..20usize, 1 => 30..40usize];
    (
        (1..4usize, 1..12usize, 1..12usize, odd(), prop_oneof![Just(0), odd()], odd()),
        (windows, any::<bool>(), 0..3usize, activations),
        (
            prop::option::of((1..20usize, 0..9usize, any::<bool>())),
            prop::option::of(any::<bool>()),
            any::<bool>(),
            any::<bool>(),
            any::<bool>(),
        ),
    )
        .prop_map(|((batch, h, w, a, b, out), (window, upsample, scaling, activation), fused)| Shape {
            batch,
            size: (h, w),
            channels: (a, b),
            out,
            window,
            upsample,
            scaling,
            activation,
            shortcut: fused.0,
            residual: fused.1,
            time: fused.2,
            sample_scale: fused.3,
            shared: fused.4,
        })
        .prop_filter("windows fit", |s| match s.window {
            Window::Pointwise => true,
            Window::Square { kernel, padding, .. } => {
                let (h, w) = s.seen();
                let more = match padding {
                    Padding::All(p) => 2 * p,
                    Padding::RightBottom => 1,
                };
                h + more >= kernel && w + more >= kernel
            }
        })
}

impl Shape {
    fn seen(&self) -> (usize, usize) {
        let times = if self.upsample { 2 } else { 1 };
        (self.size.0 * times, self.size.1 * times)
    }

    fn output(&self) -> (usize, usize) {
        let (h, w) = self.seen();
        match self.window {
            Window::Pointwise => (h, w),
            Window::Square { kernel, stride, padding } => {
                let more = match padding {
                    Padding::All(p) => 2 * p,
                    Padding::RightBottom => 1,
                };
                ((h + more - kernel) / stride + 1, (w + more - kernel) / stride + 1)
            }
        }
    }
}

/// An image of the given outer size that its reader sees doubled or not. Doubled images must be of even size.
struct Picture {
    first: Vec<f32>,
    second: Vec<f32>,
    channels: (usize, usize),
    size: (usize, usize),
    upsample: bool,
}

impl Picture {
    fn new(name: &str, batch: usize, size: (usize, usize), channels: (usize, usize), upsample: bool) -> Self {
        let count = |c| batch * size.0 * size.1 * c;
        let (first, second) =
            (numbers(name, count(channels.0)), numbers(&format!("{name}|"), count(channels.1)));
        Self { first, second, channels, size, upsample }
    }

    fn image(&self) -> Image<'_> {
        Image {
            first: &self.first,
            second: &self.second,
            channels: self.channels,
            height: self.size.0,
            width: self.size.1,
            upsample: self.upsample,
        }
    }

    /// The number at a pixel as its reader counts them.
    fn at(&self, b: usize, y: usize, x: usize, c: usize) -> f64 {
        let (y, x) = if self.upsample { (y / 2, x / 2) } else { (y, x) };
        let pixel = (b * self.size.0 + y) * self.size.1 + x;
        let (first, second) = self.channels;
        f64::from(if c < first {
            self.first[pixel * first + c]
        } else {
            self.second[pixel * second + c - first]
        })
    }
}

/// Queries, keys and values side by side in each pixel.
fn merged(qkv: &[f32], pixels: usize, inner: usize, heads: usize) -> AttentionInput<'_> {
    let [q, k, v] =
        [0, inner, 2 * inner].map(|start| ChannelSlice { data: qkv, start, row: 3 * inner, pixels });
    AttentionInput { q, k, v, inner, heads, causal: false }
}

/// How far attention is from the textbook's, relative to the largest number of the values.
fn attention_error(a: &AttentionInput) -> f64 {
    let AttentionInput { q, k, v, inner, heads, causal } = *a;
    let mut scratch = vec![f32::NAN; attention::scratch_len(q.pixels, k.pixels, inner, heads)];
    let mut found = vec![f32::NAN; q.pixels * inner];
    attention(a, &mut scratch, &mut found);
    let at =
        |part: &ChannelSlice, pixel: usize, c: usize| f64::from(part.data[pixel * part.row + part.start + c]);
    let (width, mut worst) = (inner / heads, 0.0f64);
    for (query, channel) in (0..q.pixels).flat_map(|query| (0..inner).step_by(width).map(move |c| (query, c)))
    {
        let channels = channel..channel + width;
        let seen = if causal { query + 1 } else { k.pixels };
        let score = |key| channels.clone().map(|c| at(&q, query, c) * at(&k, key, c)).sum::<f64>();
        let scores: Vec<f64> = (0..seen).map(|key| score(key) / (width as f64).sqrt()).collect();
        let largest = scores.iter().fold(f64::NEG_INFINITY, |a, b| a.max(*b));
        let weights: Vec<f64> = scores.iter().map(|s| (s - largest).exp()).collect();
        let sum: f64 = weights.iter().sum();
        for c in channels {
            let expected: f64 = weights.iter().enumerate().map(|(key, w)| w / sum * at(&v, key, c)).sum();
            let error = (f64::from(found[query * inner + c]) - expected).abs();
            worst = if error.is_finite() { worst.max(error) } else { f64::INFINITY };
        }
    }
    worst
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_convolution_is_the_textbooks(s in shapes()) {
        check_convolution(&s)?;
    }

    #[test]
    fn normalisations_are_the_textbooks(
        batch in 1..4usize, pixels in 1..100usize, a in 1..5usize, b in 0..4usize, in_group in 1..5usize,
        far in any::<bool>(), modulated in any::<bool>(),
    ) {
        // Groups may straddle the seam between the two images.
        let (first, second) = (a * in_group - (in_group - 1).min(a), b * in_group + (in_group - 1).min(a));
        let channels = first + second;
        let x = Picture::new("x", batch, (1, pixels), (first, second), false);
        let far = if far { 300.0 } else { 0.0 };
        let moved = |v: &[f32]| v.iter().map(|x| x + far).collect::<Vec<f32>>();
        let x = Picture { first: moved(&x.first), second: moved(&x.second), ..x };
        let tiles = pixels.div_ceil(TILE_PIXELS);
        let of = |data: &[f32], c: usize| {
            let mut out = vec![0.0; batch * tiles * 2 * c];
            if c > 0 {
                for (x, out) in data.chunks(pixels * c).zip(out.chunks_mut(tiles * 2 * c)) {
                    moments(x, c, out);
                }
            }
            out
        };
        let (m1, m2) = (of(&x.first, first), of(&x.second, second));
        let (weight, bias) = (numbers("weight", channels), numbers("bias", channels));
        let rows = numbers("rows", (batch + 1) * (2 * channels + 3));
        let modulation = PerSample {
            rows: &rows, width: 2 * channels + 3, start: 2, len: 2 * channels, first: 1, stride: 1,
        };
        let groups = channels / in_group;
        let norm = Normalise {
            first: &m1, second: &m2, channels: (first, second), pixels, groups, eps: 1e-5, weight: &weight,
            bias: &bias, modulation: modulated.then_some(modulation),
        };
        let mut found = vec![f32::NAN; batch * 2 * channels];
        normalise(&norm, &mut found);
        for sample in 0..batch {
            for c in 0..channels {
                let group = c / in_group * in_group..(c / in_group + 1) * in_group;
                let all: Vec<f64> =
                    group.flat_map(|c| (0..pixels).map(move |p| (p, c))).map(|(p, c)| x.at(sample, 0, p, c)).collect();
                let mean = all.iter().sum::<f64>() / all.len() as f64;
                let variance = all.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / all.len() as f64;
                // What a pixel becomes, as the shift alone is large where the mean is.
                let pixel = x.at(sample, 0, pixels - 1, c);
                let mut y = (pixel - mean) / (variance + 1e-5).sqrt() * f64::from(weight[c]) + f64::from(bias[c]);
                if modulated {
                    let row = &rows[(1 + sample) * (2 * channels + 3) + 2..];
                    y = y * (1.0 + f64::from(row[c])) + f64::from(row[channels + c]);
                }
                let scale = found[sample * 2 * channels + c];
                let shift = found[sample * 2 * channels + channels + c];
                let error = f64::from(pixel as f32 * scale + shift) - y;
                // Where the mean is far away or the variance is nearly nothing, a difference of two large numbers is left.
                let large = pixel.abs() * f64::from(scale.abs()) + 1.0;
                prop_assert!(error.abs() <= 2e-6 * large, "sample {sample}, channel {c}: {error:e} of {large:e}");
            }
        }
    }

    #[test]
    fn attention_is_the_textbooks(
        pixels in 1..70usize, others in 1..70usize, heads in 1..4usize, width in 1..20usize, sharp in any::<bool>(),
        kind in 0..3,
    ) {
        let inner = heads * width;
        let (mut qkv, text) = (numbers("qkv", pixels * 3 * inner), numbers("text", others * 2 * inner));
        // Scores whose exponentials would overflow.
        let factor = if sharp { 100.0 } else { 1.0 };
        for token in qkv.chunks_mut(3 * inner) {
            token[..inner].iter_mut().for_each(|q| *q *= factor);
        }
        let mut a = merged(&qkv, pixels, inner, heads);
        a.causal = kind == 1;
        if kind == 2 {
            [a.k, a.v] = [0, inner].map(|start| ChannelSlice { data: &text, start, row: 2 * inner, pixels: others });
        }
        let error = attention_error(&a);
        prop_assert!(error <= 2e-6 * f64::from(factor), "{error:e}");
    }

    #[test]
    fn a_pool_is_the_textbooks(h in 1..5usize, w in 1..7usize, a in 1..9usize, b in 0..5usize, norm in any::<bool>()) {
        let x = Picture::new("x", 1, (2 * h, 2 * w), (a, b), false);
        let scales = numbers("scales", 2 * (a + b));
        let (scale, activation) = if norm {
            (Scale::PerChannel(&scales), Some(Activation::Silu))
        } else {
            (Scale::None, None)
        };
        let mut scratch = vec![f32::NAN; pool::scratch_len(2 * w, a + b)];
        let mut found = vec![f32::NAN; h * w * (a + b)];
        pool(&Loaded { image: x.image(), scale, activation }, &mut scratch, &mut found);
        let mut expected = Vec::new();
        for (y, c) in (0..h).flat_map(|y| (0..w).map(move |x| (y, x))).flat_map(|p| (0..a + b).map(move |c| (p, c))) {
            let load = |dy, dx| {
                let x = x.at(0, 2 * y.0 + dy, 2 * y.1 + dx, c);
                let scaled = if norm { x * f64::from(scales[c]) + f64::from(scales[a + b + c]) } else { x };
                textbook(activation, scaled)
            };
            expected.push((load(0, 0) + load(0, 1) + load(1, 0) + load(1, 1)) / 4.0);
        }
        close(&found, &expected, 1e-6)?;
    }
}

fn check_convolution(s: &Shape) -> Result<(), TestCaseError> {
    let (height, width) = s.output();
    let channels = s.channels.0 + s.channels.1;
    let even = height % 2 == 0 && width % 2 == 0;
    let picture = |name: &str, channels, upsample: bool| {
        let upsample = upsample && even;
        let size = if upsample { (height / 2, width / 2) } else { (height, width) };
        Picture::new(name, s.batch, size, channels, upsample)
    };
    let x = Picture::new("x", s.batch, s.size, s.channels, s.upsample);
    let shortcut = s.shortcut.map(|(a, b, up)| picture("shortcut", (a, b), up));
    let residual = s.residual.map(|up| picture("residual", (s.out, 0), up));
    let more = s.shortcut.map_or(0, |(a, b, _)| a + b);
    let taps = s.window.taps();
    let rows = taps * channels + more;
    let matrix = numbers("matrix", rows * s.out);
    let bias = numbers("bias", s.out);
    let scales = numbers("scales", s.batch * 2 * channels);
    let table = numbers("table", (s.batch + 2) * (s.out + 5));
    let stride = usize::from(!s.shared);
    let per_sample =
        |start, len| PerSample { rows: &table, width: s.out + 5, start, len, first: 2 - stride, stride };
    let mut panels = vec![f32::NAN; Panels::len_of(rows, s.out)];
    Panels::fill(rows, s.out, &mut panels, |r, c| matrix[r * s.out + c]);
    let args = GemmInput {
        source: x.image(),
        scale_shift: match s.scaling {
            0 => Scale::None,
            1 => Scale::Constant(2.0, -1.0),
            _ => Scale::PerChannel(&scales),
        },
        activation: s.activation,
        window: s.window,
        shortcut: shortcut.as_ref().map(Picture::image),
        panels: Panels::new(&panels, rows, s.out),
        bias: &bias,
        time: s.time.then(|| per_sample(3, s.out)),
        residual: residual.as_ref().map(Picture::image),
        scale: 0.75,
        sample_scale: s.sample_scale.then(|| per_sample(1, 1)),
        size: (height, width),
    };
    let mut scratch = vec![f32::NAN; gemm::scratch_len(s.window, (height, width), channels, s.batch)];
    let mut found = vec![f32::NAN; s.batch * height * width * s.out];
    gemm(&args, &mut scratch, &mut found, &in_turn);
    let mut by_tiles = None;
    let mut weights = vec![f32::NAN; winograd::weights_len(channels, s.out)];
    if winograd::pays(s.window, args.size, channels, s.out) {
        winograd::fill_weights(args.panels, channels, &mut weights);
        let mut scratch = vec![f32::NAN; winograd::scratch_len(args.size, channels, s.out, s.batch)];
        let mut convolved = |kept| {
            let mut found = vec![f32::NAN; found.len()];
            winograd::convolve(&args, kept, &mut scratch, &mut found, &in_turn);
            found
        };
        let kept = convolved(Some(&weights[..]));
        prop_assert_eq!(&kept, &convolved(None), "whether the matrices are kept changes no number");
        by_tiles = Some(kept);
    }

    let (tall, wide) = s.seen();
    let loaded = |b: usize, y: isize, x_: isize, c: usize| {
        if y < 0 || x_ < 0 || y >= tall as isize || x_ >= wide as isize {
            return 0.0;
        }
        let x = x.at(b, y as usize, x_ as usize, c);
        let scaled = match s.scaling {
            0 => x,
            1 => 2.0 * x - 1.0,
            _ => {
                let both = &scales[b * 2 * channels..];
                x * f64::from(both[c]) + f64::from(both[channels + c])
            }
        };
        textbook(s.activation, scaled)
    };
    let mut expected = Vec::new();
    for b in 0..s.batch {
        let row = &table[(2 - stride + b * stride) * (s.out + 5)..];
        for (y, x) in (0..height).flat_map(|y| (0..width).map(move |x| (y, x))) {
            let mut inputs = Vec::new();
            for tap in 0..taps {
                let (dy, dx) = (tap / s.window.kernel(), tap % s.window.kernel());
                let at =
                    |o: usize, d: usize| (o * s.window.stride() + d) as isize - s.window.before() as isize;
                inputs.extend((0..channels).map(|c| loaded(b, at(y, dy), at(x, dx), c)));
            }
            inputs.extend((0..more).map(|c| shortcut.as_ref().unwrap().at(b, y, x, c)));
            for o in 0..s.out {
                let mut sum = f64::from(bias[o]);
                sum +=
                    inputs.iter().enumerate().map(|(k, i)| i * f64::from(matrix[k * s.out + o])).sum::<f64>();
                sum += if s.time { f64::from(row[3 + o]) } else { 0.0 };
                sum += residual.as_ref().map_or(0.0, |r| r.at(b, y, x, o));
                expected.push(sum * 0.75 * if s.sample_scale { f64::from(row[1]) } else { 1.0 });
            }
        }
    }
    if let Some(found) = by_tiles {
        close(&found, &expected, 5e-6)?;
    }
    close(&found, &expected, 5e-6)
}

/// A convolution of so many channels that it is computed by tiles, some of which reach beyond the image; with more tiles than are taken
/// together, and few.
#[test]
fn a_wide_convolution_is_the_textbooks() {
    for (size, shortcut, residual) in [
        ((13, 6), None, Some(true)),
        ((70, 5), Some((5, 0, false)), None),
        ((2, 70), Some((5, 4, true)), Some(false)),
    ] {
        let window = Window::Square { kernel: 3, stride: 1, padding: Padding::All(1) };
        let shape = Shape {
            batch: 2,
            size,
            channels: (48, 32),
            out: 80,
            window,
            upsample: size.0 == 2,
            scaling: 2,
            activation: Some(Activation::Relu),
            shortcut,
            residual,
            time: size.0 == 2,
            sample_scale: true,
            shared: false,
        };
        assert!(winograd::pays(window, shape.output(), 80, 80));
        check_convolution(&shape).unwrap();
    }
}

/// A convolution whose rows do not fit one band.
#[test]
fn a_large_convolution_is_the_textbooks() {
    for (window, scaling) in [
        (Window::Square { kernel: 3, stride: 1, padding: Padding::All(1) }, 2),
        (Window::Square { kernel: 3, stride: 2, padding: Padding::RightBottom }, 0),
        (Window::Pointwise, 2),
    ] {
        let shape = Shape {
            batch: 2,
            size: (24, 40),
            channels: (70, 60),
            out: 3,
            window,
            upsample: window.stride() == 1,
            scaling,
            activation: Some(Activation::Relu),
            shortcut: Some((5, 4, true)),
            residual: Some(false),
            time: true,
            sample_scale: false,
            shared: false,
        };
        check_convolution(&shape).unwrap();
    }
}

/// More keys than a block has, of heads of every width that networks have.
#[test]
fn attention_over_many_keys_is_the_textbooks() {
    for (queries, keys, heads, width) in [
        (50, 4096, 1, 40),
        (9, 4096, 2, 3),
        (33, 700, 1, 160),
        (7, 600, 1, 512),
        (5, 513, 3, 1),
        (30, 77, 2, 72),
    ] {
        let inner = heads * width;
        let [q, k, v] = [("q", queries), ("k", keys), ("v", keys)].map(|(name, n)| numbers(name, n * inner));
        let part = |data, pixels| ChannelSlice { data, start: 0, row: inner, pixels };
        let a = AttentionInput {
            q: part(&q, queries),
            k: part(&k, keys),
            v: part(&v, keys),
            inner,
            heads,
            causal: false,
        };
        let error = attention_error(&a);
        assert!(error <= 2e-6, "{queries} queries, {keys} keys, {heads} heads of {width}: {error:e}");
    }
    let qkv = numbers("qkv", 700 * 3 * 24);
    let error = attention_error(&AttentionInput { causal: true, ..merged(&qkv, 700, 24, 2) });
    assert!(error <= 2e-6, "causal: {error:e}");
}

/// What is not a number reaches the outputs whose windows hold it, and no others.
#[test]
fn what_is_not_a_number_stays_where_it_is() {
    for poison in [f32::NAN, f32::INFINITY] {
        let (size, channels, out) = (9, 5, 20);
        let mut x = numbers("x", size * size * channels);
        x[(4 * size + 7) * channels + 2] = poison;
        let matrix = numbers("matrix", 9 * channels * out);
        let mut panels = vec![0.0; Panels::len_of(9 * channels, out)];
        Panels::fill(9 * channels, out, &mut panels, |r, c| matrix[r * out + c]);
        let source = Image {
            first: &x,
            second: &[],
            channels: (channels, 0),
            height: size,
            width: size,
            upsample: false,
        };
        let window = Window::Square { kernel: 3, stride: 1, padding: Padding::All(1) };
        let args = GemmInput {
            source,
            scale_shift: Scale::None,
            activation: Some(Activation::Silu),
            window,
            shortcut: None,
            panels: Panels::new(&panels, 9 * channels, out),
            bias: &numbers("bias", out),
            time: None,
            residual: None,
            scale: 1.0,
            sample_scale: None,
            size: (size, size),
        };
        let mut scratch = vec![0.0; gemm::scratch_len(window, (size, size), channels, 1)];
        let mut y = vec![0.0; size * size * out];
        gemm(&args, &mut scratch, &mut y, &in_turn);
        for (i, value) in y.iter().enumerate() {
            let (row, column) = (i / out / size, i / out % size);
            let near = row.abs_diff(4) <= 1 && column.abs_diff(7) <= 1;
            assert_eq!(value.is_finite(), !near, "{poison} at {row}, {column}");
        }

        // A normalisation is lost for the group, attention for all queries that see the key.
        let mut m = vec![0.0; 3 * 2 * channels];
        moments(&x, channels, &mut m);
        let ones = [1.0; 5];
        let norm = Normalise {
            first: &m,
            second: &[],
            channels: (channels, 0),
            pixels: size * size,
            groups: channels,
            eps: 1e-5,
            weight: &ones,
            bias: &ones,
            modulation: None,
        };
        let mut scaling = [0.0; 10];
        normalise(&norm, &mut scaling);
        for (c, value) in scaling.iter().enumerate() {
            assert_eq!(value.is_nan(), c % channels == 2, "{poison} in channel {c}");
        }
        let mut qkv = numbers("qkv", 6 * 3 * 4);
        qkv[2 * 12 + 4] = poison;
        let mut scratch = vec![0.0; attention::scratch_len(6, 6, 4, 2)];
        let mut y = vec![0.0; 6 * 4];
        attention(&merged(&qkv, 6, 4, 2), &mut scratch, &mut y);
        for (i, value) in y.iter().enumerate() {
            let query = qkv[i / 4 * 12];
            let lost = i % 4 < 2 && (poison.is_nan() || query > 0.0);
            assert_eq!(value.is_nan(), lost, "{poison} at {i}");
        }
    }
}
