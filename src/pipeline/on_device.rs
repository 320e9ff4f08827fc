//! Parts on the engine: on the processor, or on a GPU.

#[cfg(feature = "gpu")]
use std::sync::Arc;

use super::part::{Loader, Loading, Part, Pending, Ready};
use crate::device::Device;
use crate::engine::cpu::{Memory, step};
use crate::engine::execute;
use crate::engine::filling::{IncomingPacked, Numbers};
#[cfg(feature = "gpu")]
use crate::engine::gpu::{IncomingWeights, Replay, Weights};
use crate::engine::order::{to_nchw, to_nhwc};
use crate::engine::packed::Packed;
use crate::engine::passes::plan_prompts;
use crate::engine::plan::{Plan, ValueId};
use crate::engine::prelude::{PreludeRows, check_prompts};
use crate::error::Result;
use crate::network::array::Array;
use crate::network::trace::{Graph, Input, Rate, Shape};
use crate::network::unet_condition::WithMap;

/// Plans kept, with their memory.
const KEPT: usize = 3;

impl Loader for Device {
    fn begin(&self, part: Part, exact: bool) -> Result<Box<dyn Loading>> {
        // Parameters are packed the same way for every shape; but one token would be a vector.
        let plan = plan(&part, &part.inputs(part.usual_size(), 2), [1, 1], false)?;
        #[cfg(feature = "gpu")]
        if let Some(gpu) = self.as_gpu() {
            let weights = Arriving::Gpu(IncomingWeights::new(gpu, &plan, exact)?);
            return Ok(Box::new(Incoming { part, weights }));
        }
        let weights = Arriving::Cpu(IncomingPacked::new(&plan, exact)?);
        Ok(Box::new(Incoming { part, weights }))
    }

    #[cfg(feature = "gpu")]
    fn check_activations(&self, part: &Part, batch: usize, size: [usize; 2], tokens: usize) -> Result<()> {
        let Some(gpu) = self.as_gpu() else { return Ok(()) };
        gpu.check_storage(4 * part.plan(batch, size, tokens)?.arena as u64)
    }
}

/// A part whose parameters are arriving.
struct Incoming {
    part: Part,
    weights: Arriving,
}

enum Arriving {
    Cpu(IncomingPacked),
    #[cfg(feature = "gpu")]
    Gpu(IncomingWeights),
}

impl Loading for Incoming {
    fn put(&mut self, key: &str, numbers: Numbers) -> Result<()> {
        match &mut self.weights {
            Arriving::Cpu(weights) => weights.put(key, numbers),
            #[cfg(feature = "gpu")]
            Arriving::Gpu(weights) => weights.put(key, numbers),
        }
    }

    fn finish<'a>(self: Box<Self>) -> Pending<'a, Box<dyn Ready>> {
        Box::pin(async move {
            let Self { part, weights } = *self;
            let weights = match weights {
                Arriving::Cpu(weights) => {
                    let packed = weights.finish()?;
                    Parameters::Cpu { memory: Memory::of(&packed), packed }
                }
                #[cfg(feature = "gpu")]
                Arriving::Gpu(weights) => Parameters::Gpu(Arc::new(weights.finish().await?)),
            };
            Ok(Box::new(OnDevice { part, weights, plans: Vec::new() }) as Box<dyn Ready>)
        })
    }
}

impl Part {
    /// The engine's plan of an evaluation for a batch, each sample with a prompt of its own; sizes are as for [`Self::inputs`].
    ///
    /// # Errors
    /// [`Error::OutOfMemory`](crate::Error::OutOfMemory) where no address space holds one of its activations.
    pub fn plan(&self, batch: usize, size: [usize; 2], tokens: usize) -> Result<Plan> {
        plan(self, &self.inputs(size, tokens), [batch; 2], false)
    }
}

/// Parameters are packed the same way with maps and without.
fn plan(part: &Part, inputs: &[Input], [batch, prompts]: [usize; 2], maps: bool) -> Result<Plan> {
    let graph = match part {
        Part::UNet(net) if maps => Graph::of_pass(&WithMap(net), inputs),
        _ => Graph::of_pass(part, inputs),
    };
    plan_prompts(&graph, batch, prompts, |_| true)
}

/// The inputs of an evaluation in the engine's order.
struct Given {
    inputs: Vec<Input>,
    /// NHWC, for every sample.
    numbers: Vec<Vec<f32>>,
    batch: usize,
    /// A sample of each prompt.
    prompts: Vec<usize>,
    /// The number of each sample's prompt.
    of_sample: Vec<usize>,
}

/// What a plan is for: the batch, its prompts, the sizes of one sample's inputs, and whether it makes maps.
type Key = ([usize; 2], Vec<Shape>, bool);

impl Given {
    fn of(part: &Part, arrays: &[Array]) -> Self {
        let batch = arrays[0].shape[0];
        let size = |array: &Array| match array.shape[..] {
            [_, _, height, width] => [height, width],
            [_, width] => [width, 1],
            _ => [1, 1],
        };
        let tokens = arrays.get(2).map_or(1, |text| size(text)[0]);
        let inputs = part.inputs(size(&arrays[0]), tokens);
        let numbers = inputs.iter().zip(arrays).map(|(Input { shape, .. }, array)| {
            let mut numbers = vec![0.0; array.values.len()];
            to_nhwc(&array.values, shape.channels, shape.pixels(), &mut numbers);
            numbers
        });
        let numbers: Vec<Vec<f32>> = numbers.collect();
        let is_prompt = |input: &Input| input.rate <= Rate::Prompt && input.shape.pixels() > 1;
        let each = |sample: usize| {
            let prompts = inputs.iter().zip(&numbers).filter(|(input, _)| is_prompt(input));
            prompts.map(move |(_, numbers)| rows(numbers, batch, &[sample])).collect::<Vec<_>>()
        };
        let (mut prompts, mut known, mut of_sample) = (Vec::new(), Vec::new(), Vec::new());
        for sample in 0..batch {
            let told = each(sample);
            let place = known.iter().position(|other| *other == told).unwrap_or_else(|| {
                known.push(told);
                prompts.push(sample);
                known.len() - 1
            });
            of_sample.push(place);
        }
        Self { inputs, numbers, batch, prompts, of_sample }
    }

    fn key(&self, maps: bool) -> Key {
        ([self.batch, self.prompts.len()], self.inputs.iter().map(|input| input.shape).collect(), maps)
    }

    fn named(&self, name: &str) -> &[f32] {
        let at = self.inputs.iter().position(|input| input.name == name).unwrap_or_default();
        &self.numbers[at]
    }

    /// What the prelude is given, how many rows that is, and which of them each sample reads. Where all samples are told the same, as they
    /// mostly are, there is one row.
    fn prelude<'g>(&'g self, plan: &Plan) -> (Vec<&'g [f32]>, usize, PreludeRows) {
        let given = plan.prelude.inputs.iter().map(|(input, _)| self.named(input.name));
        let given: Vec<&[f32]> = given.collect();
        let each = |numbers: &&[f32]| (numbers.len() / self.batch.max(1)).max(1);
        let is_same =
            |numbers: &&[f32]| numbers.chunks_exact(each(numbers)).all(|row| numbers.starts_with(row));
        if given.iter().all(is_same) {
            let first = given.iter().map(|numbers| &numbers[..each(numbers)]);
            return (first.collect(), 1, PreludeRows { first: 0, stride: 0 });
        }
        (given, self.batch, PreludeRows { first: 0, stride: 1 })
    }

    /// Each prompt once.
    fn told(&self, plan: &Plan) -> Told {
        let inputs = plan.prompts.inputs.iter();
        let numbers = inputs.map(|(input, _)| rows(self.named(input.name), self.batch, &self.prompts));
        Told { numbers: numbers.collect(), of_sample: self.of_sample.clone() }
    }
}

/// The prompts that a plan's memory has the results of.
#[derive(PartialEq)]
struct Told {
    numbers: Vec<Vec<f32>>,
    of_sample: Vec<usize>,
}

impl Told {
    fn numbers(&self) -> Vec<&[f32]> {
        self.numbers.iter().map(|numbers| &numbers[..]).collect()
    }
}

/// The numbers of these samples.
fn rows(numbers: &[f32], batch: usize, samples: &[usize]) -> Vec<f32> {
    let each = numbers.len() / batch.max(1);
    samples.iter().flat_map(|sample| &numbers[sample * each..][..each]).copied().collect()
}

/// What was made.
fn results(plan: &Plan) -> impl Iterator<Item = ValueId> {
    [plan.output].into_iter().chain(plan.also.clone())
}

/// The first is an image, and of the others what has one pixel a vector.
fn result(plan: &Plan, at: usize, id: ValueId, numbers: &[f32]) -> Array {
    let [batch, height, width, channels] = plan.value(id).shape;
    let mut values = vec![0.0; numbers.len()];
    to_nchw(numbers, channels, height * width, &mut values);
    let is_vector = at > 0 && height * width == 1;
    let shape = if is_vector { vec![batch, channels] } else { vec![batch, channels, height, width] };
    Array { shape, values }
}

/// A part with its parameters where it runs.
struct OnDevice {
    part: Part,
    weights: Parameters,
    /// The last used is the last.
    plans: Vec<(Key, Kept)>,
}

enum Parameters {
    /// All plans share the memory, which has the prompts of the one that was replayed last.
    Cpu { packed: Packed, memory: Memory },
    #[cfg(feature = "gpu")]
    Gpu(Arc<Weights>),
}

/// A plan, and the prompts that its memory has the results of.
struct Kept {
    plan: Planned,
    told: Option<Told>,
}

enum Planned {
    Cpu(Box<Plan>),
    #[cfg(feature = "gpu")]
    Gpu(Box<Replay>),
}

impl Planned {
    fn plan(&self) -> &Plan {
        match self {
            Self::Cpu(plan) => plan,
            #[cfg(feature = "gpu")]
            Self::Gpu(replay) => replay.plan(),
        }
    }
}

impl OnDevice {
    /// Puts the plan for a key last, and makes it where there is none.
    async fn make_plan(&mut self, key: Key, inputs: &[Input]) -> Result<()> {
        let known = self.plans.iter().position(|(known, _)| *known == key);
        let is_last = known.is_some_and(|at| at + 1 == self.plans.len());
        let (key, mut kept) = match known {
            Some(at) => self.plans.remove(at),
            None => {
                let plan = plan(&self.part, inputs, key.0, key.2)?;
                self.plans.drain(..(self.plans.len() + 1).saturating_sub(KEPT));
                let plan = match &mut self.weights {
                    Parameters::Cpu { memory, .. } => {
                        memory.fit(&plan)?;
                        Planned::Cpu(Box::new(plan))
                    }
                    #[cfg(feature = "gpu")]
                    Parameters::Gpu(weights) => {
                        Planned::Gpu(Box::new(Replay::new(plan, Arc::clone(weights)).await?))
                    }
                };
                (key, Kept { plan, told: None })
            }
        };
        // Another plan was replayed in its memory.
        if !is_last && matches!(kept.plan, Planned::Cpu(_)) {
            kept.told = None;
        }
        self.plans.push((key, kept));
        Ok(())
    }

    async fn evaluate(&mut self, arrays: &[Array], maps: bool) -> Result<Vec<Array>> {
        #[cfg(feature = "gpu")]
        if let Parameters::Gpu(weights) = &self.weights {
            weights.gpu().check()?;
        }
        let given = Given::of(&self.part, arrays);
        self.make_plan(given.key(maps), &given.inputs).await?;
        let Some((_, Kept { plan: planned, told })) = self.plans.last_mut() else { return Ok(Vec::new()) };
        let now = given.told(planned.plan());
        let new = told.as_ref() != Some(&now);
        let (rows_given, count, rows) = given.prelude(planned.plan());
        let mut made = Vec::new();
        match (planned, &mut self.weights) {
            (Planned::Cpu(plan), Parameters::Cpu { packed, memory }) => {
                if new {
                    *told = None;
                    check_prompts(plan, &now.numbers(), &now.of_sample)?;
                    execute::prompts(plan, packed, &now.numbers(), &now.of_sample, memory);
                }
                let prelude = execute::prelude(plan, packed, &rows_given)?;
                memory.value_mut(plan, plan.input).copy_from_slice(&given.numbers[0]);
                step(plan, packed, &prelude, count, rows, memory);
                made.extend(
                    results(plan).enumerate().map(|(at, id)| result(plan, at, id, memory.value(plan, id))),
                );
            }
            #[cfg(feature = "gpu")]
            (Planned::Gpu(replay), Parameters::Gpu(weights)) => {
                if new {
                    replay.prompts(&now.numbers(), &now.of_sample)?;
                }
                replay.start(count, &[rows]).await?;
                replay.upload(&execute::prelude(replay.plan(), weights.host(), &rows_given)?);
                replay.write(replay.plan().input, &given.numbers[0]);
                replay.evaluate(0);
                for (at, id) in results(replay.plan()).enumerate() {
                    let numbers = replay.read(id).await?;
                    made.push(result(replay.plan(), at, id, &numbers));
                }
            }
            #[cfg(feature = "gpu")]
            _ => {}
        }
        *told = Some(now);
        Ok(made)
    }
}

impl Ready for OnDevice {
    fn ask<'a>(&'a mut self, inputs: &'a [Array], maps: bool) -> Pending<'a, Vec<Array>> {
        Box::pin(self.evaluate(inputs, maps))
    }

    fn prepare(&mut self, size: [usize; 2]) -> Pending<'_, ()> {
        let inputs = self.part.inputs(size, 1);
        let key = ([1, 1], inputs.iter().map(|input| input.shape).collect(), false);
        Box::pin(async move { self.make_plan(key, &inputs).await })
    }
}
