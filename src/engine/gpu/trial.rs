//! Which way of multiplying is the fastest on an adapter: tried out for a moment when a plan is put there, because no adapter
//! says what it is good at. What was found is kept by the adapter's name while the program runs.

use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::lowered::Lowered;
use super::replay::Replay;
use super::signal::lock;
use super::weights::Weights;
use crate::engine::lower::{Choice, Dispatch, Shader};
use crate::engine::plan::{Op, Plan};
use crate::engine::prelude::PreludeRows;
use crate::error::{Error, Result};

/// How long may be tried, without the time that kernels take to compile.
const BUDGET: Duration = Duration::from_millis(50);
/// Kinds of product that are tried: those with the most work, and of a plan with little work none, which takes as long as its
/// dispatches take to start.
const KINDS: usize = 12;
const LEAST_FLOPS: u64 = 500_000_000;
/// The share of the plan's work from which a kind is worth it.
const LEAST_SHARE: f64 = 0.01;
/// What a trial should take at least, in seconds, so that starting it weighs little.
const LONG_ENOUGH: f64 = 0.5e-3;
/// The share of its own way's time that another must stay below.
const CLEARLY: f64 = 0.9;

/// The adapter's own way first.
fn candidates(own: Choice) -> [Choice; 5] {
    [
        own,
        Choice { winograd: Some(true), ..own },
        Choice { winograd: Some(true), winograd_tile: Some([8, 2, 8, 128]), ..own },
        Choice { tile: Some([4, 2, 16, 128]), ..own },
        Choice { few: Some(128), wanted: Some(1024), ..own },
    ]
}

/// What products have in common that take the same time: how they are done by the adapter's own way, with operations and bytes.
type Kind = Vec<(Shader, [u32; 3], u64, u64)>;

/// What was found: the adapter's name, a kind of product, and the fastest candidate.
static FOUND: Mutex<Vec<(String, Kind, usize)>> = Mutex::new(Vec::new());

fn found(adapter: &str, kind: &Kind) -> Option<usize> {
    lock(&FOUND).iter().find(|(name, other, _)| name == adapter && other == kind).map(|found| found.2)
}

/// Products of a kind.
struct Group {
    kind: Kind,
    ops: Vec<usize>,
    flops: u64,
    /// Candidates that differ from those before them, the own way first.
    ways: Vec<usize>,
}

fn kind(dispatches: &[Dispatch]) -> Kind {
    dispatches.iter().map(|d| (d.shader.clone(), d.groups, d.costs.flops, d.costs.bytes)).collect()
}

/// The dispatches of each operation.
fn by_op(lowered: &Lowered, ops: usize) -> Vec<&[Dispatch]> {
    let dispatches = lowered.of_evaluation();
    let end = |op: usize| dispatches.partition_point(|d| d.costs.op <= op);
    (0..ops).map(|op| &dispatches[if op == 0 { 0 } else { end(op - 1) }..end(op)]).collect()
}

/// The plan's products by kind, those with the most work first, where there is more than one way to do them.
fn groups(plan: &Plan, weights: &Weights, ways: &[Choice]) -> Result<Vec<Group>> {
    let lower = |way: &Choice| Lowered::new(plan, weights.layout(), weights.gpu().tuning(), *way);
    let own = lower(&ways[0])?;
    let all: u64 = own.of_evaluation().iter().map(|d| d.costs.flops).sum();
    if all < LEAST_FLOPS {
        return Ok(Vec::new());
    }
    let others = ways[1..].iter().map(lower).collect::<Result<Vec<_>>>()?;
    let by_way: Vec<_> = [&own].into_iter().chain(&others).map(|l| by_op(l, plan.ops.len())).collect();
    let mut groups: Vec<Group> = Vec::new();
    for (op, own) in by_way[0].iter().enumerate() {
        if !matches!(plan.ops[op].op, Op::Gemm(_)) {
            continue;
        }
        let kind = kind(own);
        let flops: u64 = kind.iter().map(|k| k.2).sum();
        if let Some(group) = groups.iter_mut().find(|g| g.kind == kind) {
            group.ops.push(op);
            group.flops += flops;
            continue;
        }
        let same = |a: usize, b: usize| {
            let (a, b) = (by_way[a][op], by_way[b][op]);
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.shader == b.shader && a.groups == b.groups)
        };
        let ways = (0..ways.len()).filter(|way| !(0..*way).any(|other| same(*way, other))).collect();
        groups.push(Group { kind, ops: vec![op], flops, ways });
    }
    groups.retain(|g| g.ways.len() > 1 && g.flops as f64 >= LEAST_SHARE * all as f64);
    groups.sort_by_key(|g| std::cmp::Reverse(g.flops));
    groups.truncate(KINDS);
    Ok(groups)
}

impl Replay {
    /// The same as [`Self::new`], each product done the way that is fastest on the adapter, if this is to be found out.
    pub(super) async fn measured(plan: Plan, weights: Arc<Weights>) -> Result<Self> {
        if weights.gpu().choice().measure != Some(true) {
            return Self::new(plan, weights).await;
        }
        match Self::fastest(plan.clone(), Arc::clone(&weights)).await {
            // Transformed filters and what is tried out take memory that the plan's own way does without.
            Err(Error::Limit { .. } | Error::OutOfMemory { .. }) => Self::new(plan, weights).await,
            done => done,
        }
    }

    async fn fastest(plan: Plan, weights: Arc<Weights>) -> Result<Self> {
        let gpu = weights.gpu().clone();
        let own = gpu.choice();
        let ways = candidates(own);
        let groups = groups(&plan, &weights, &ways)?;
        try_out(&plan, &weights, &ways, &groups).await?;
        let mut choices = vec![own; plan.ops.len()];
        // What there was no time for is done as what weighs most, where it can be.
        let most = groups.first().and_then(|g| found(gpu.name(), &g.kind)).unwrap_or(0);
        for group in &groups {
            let way = found(gpu.name(), &group.kind).or(group.ways.contains(&most).then_some(most));
            for op in &group.ops {
                choices[*op] = ways[way.unwrap_or(0)];
            }
        }
        let work: Vec<_> = choices.into_iter().enumerate().collect();
        let lowered = Lowered::of(&plan, weights.layout(), gpu.tuning(), Some(own), &work)?;
        Self::made(plan, weights, lowered).await
    }

    /// Seconds of some dispatches in a row, so many times.
    async fn seconds(&self, range: &Range<usize>, times: usize) -> Result<f64> {
        let gpu = self.gpu();
        let mut encoder = gpu.device().create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
        for _ in 0..times {
            range.clone().for_each(|at| self.record_one(&mut pass, 0, at));
        }
        drop(pass);
        let start = Instant::now();
        let submission = gpu.submit(encoder, times * range.len());
        gpu.wait(&gpu.when_done(submission)).await?;
        Ok(start.elapsed().as_secs_f64() / times as f64)
    }
}

/// Tries the ways of each group that is not known yet, while there is time.
async fn try_out(plan: &Plan, weights: &Arc<Weights>, ways: &[Choice], groups: &[Group]) -> Result<()> {
    let gpu = weights.gpu();
    let unknown: Vec<_> = groups.iter().filter(|g| found(gpu.name(), &g.kind).is_none()).collect();
    if unknown.is_empty() {
        return Ok(());
    }
    let work: Vec<_> = unknown.iter().flat_map(|g| g.ways.iter().map(|way| (g.ops[0], ways[*way]))).collect();
    let lowered = Lowered::of(plan, weights.layout(), gpu.tuning(), None, &work)?;
    // Where the dispatches of each way end follows from lowering it alone.
    let mut ends = vec![0];
    for way in &work {
        let alone = Lowered::of(plan, weights.layout(), gpu.tuning(), None, &[*way])?;
        ends.push(ends[ends.len() - 1] + alone.dispatches.len());
    }
    if ends.last() != Some(&lowered.dispatches.len()) {
        // Together they would keep too much.
        return Ok(());
    }
    let mut trial = Replay::made(plan.clone(), Arc::clone(weights), lowered).await?;
    trial.start(1, &[PreludeRows { first: 0, stride: 0 }]).await?;
    let all = 0..trial.dispatches();
    trial.seconds(&all, 1).await?;
    let start = Instant::now();
    let mut at = 0;
    for group in unknown {
        let ranges: Vec<_> = (at..at + group.ways.len()).map(|way| ends[way]..ends[way + 1]).collect();
        at += group.ways.len();
        if start.elapsed() > BUDGET {
            break;
        }
        let mut best = Vec::new();
        for range in &ranges {
            best.push(trial.seconds(range, 1).await?);
        }
        let least = best.iter().copied().fold(f64::INFINITY, f64::min);
        let times = (LONG_ENOUGH / least).ceil().clamp(1.0, 8.0) as usize;
        for _ in 0..2 {
            for (range, best) in ranges.iter().zip(&mut best) {
                // Of what is twice as slow, once is enough.
                if *best <= 2.0 * least {
                    *best = best.min(trial.seconds(range, times).await?);
                }
            }
        }
        let fastest = (0..best.len()).min_by(|a, b| best[*a].total_cmp(&best[*b])).unwrap_or(0);
        let fastest = if best[fastest] < CLEARLY * best[0] { fastest } else { 0 };
        lock(&FOUND).push((gpu.name().to_owned(), group.kind.clone(), group.ways[fastest]));
    }
    Ok(())
}
