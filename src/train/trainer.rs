//! The training loop's one step, and what there is to read from it.

use std::ops::Range;
use std::sync::Arc;

use burn::tensor::{Device, Tensor, TensorData};

use super::dataset::Dataset;
use super::draws::{Choice, Draws};
use super::network::TrainableNetwork;
use super::objective::{Examples, Objective, binomial};
use super::optimiser::Moments;
use super::parameters::{Layout, upload};
use super::recipe::{Recipe, null_label};
use super::tape::{Matrices, Pass, Spare};
use crate::checkpoint::Checkpoint;
use crate::checkpoint::weights::{Tensor as Stored, Weights};
use crate::denoiser::Level;
use crate::engine::cpu::CpuNetwork;
use crate::engine::kernels::adam::State;
use crate::error::{Error, Result};
use crate::network::Network as _;
use crate::network::on_burn::{Parameter, Parameters};
use crate::network::unet::{ClassEmbedding, UNet2DConfig};
use crate::sampler::Evaluate;
use crate::schedule::Schedule;

/// A network in training on a device.
pub struct Trainer {
    recipe: Recipe,
    network: TrainableNetwork,
    schedule: Schedule,
    data: Arc<Dataset>,
    layout: Layout,
    device: Device,
    draws: Draws,
    order: Option<(u64, Vec<u32>)>,
    frequencies: Vec<f32>,
    weights: Tensor<1>,
    moments: Moments,
    averaged: Tensor<1>,
    step: u64,
    unread: Vec<Unread>,
    /// What the processor's steps compute in.
    spare: Spare,
}

/// Losses of a step that are still on the device.
struct Unread {
    step: u64,
    timesteps: Vec<usize>,
    losses: Vec<Tensor<1>>,
}

/// What a step of training cost.
#[derive(Clone, Debug, PartialEq)]
pub struct Loss {
    /// The step, from 0.
    pub step: u64,
    /// The mean over the batch.
    pub mean: f32,
    /// Each example's timestep and loss.
    pub examples: Vec<(usize, f32)>,
}

/// The examples of one step: images `[batch, channels, height, width]` in [-1, 1], noise of the same shape, and for
/// each example a timestep and, where the network has classes, a label.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    /// The clean images.
    pub images: Vec<f32>,
    /// Standard normal noise.
    pub noise: Vec<f32>,
    /// Timesteps, 0 to T - 1.
    pub timesteps: Vec<usize>,
    /// Labels, or none where the network has no classes.
    pub labels: Option<Vec<f32>>,
}

/// The numbers of a run that change: one each a parameter.
pub(super) struct Numbers {
    pub(super) weights: Vec<f32>,
    pub(super) first: Vec<f32>,
    pub(super) second: Vec<f32>,
    pub(super) averaged: Vec<f32>,
    pub(super) frequencies: Vec<f32>,
    pub(super) step: u64,
}

impl Trainer {
    /// A new run from PyTorch's initial weights. `device` is [`Device::flex`] for the CPU or one of wgpu's.
    ///
    /// # Errors
    /// Those of [`Recipe::check`].
    pub fn new(recipe: Recipe, data: Arc<Dataset>, device: &Device) -> Result<Self> {
        let (network, schedule) = recipe.check(&data)?;
        let layout = layout(&recipe, &network, &schedule, &data);
        let (weights, frequencies) = layout.initial(Draws::new(recipe.seed));
        Self::from_weights(recipe, data, device, weights, frequencies)
    }

    /// A new run from a checkpoint's weights, such as Python's. The recipe's network and schedule are replaced by the
    /// checkpoint's: see [`Recipe::go_on_from`].
    ///
    /// # Errors
    /// Those of [`Recipe::check`], and of weights that do not suit their configuration.
    pub fn fine_tune(
        mut checkpoint: Checkpoint,
        mut recipe: Recipe,
        data: Arc<Dataset>,
        device: &Device,
    ) -> Result<Self> {
        recipe.go_on_from(&checkpoint, &data)?;
        let (network, schedule) = recipe.check(&data)?;
        let [_, height, width] = data.shape;
        let parameters = network.parameters(height, width);
        checkpoint.weights.check(&parameters)?;
        let layout = layout(&recipe, &network, &schedule, &data);
        let (weights, frequencies) = layout.gather(|key, shape| {
            if parameters.iter().all(|(of_network, _)| of_network != key) {
                return Ok(vec![0.0; shape.iter().product()]);
            }
            let missing = || Error::MissingKey { key: key.to_owned(), expected: shape.to_vec(), more: 0 };
            checkpoint.weights.take(key).ok_or_else(missing)?.to_f32(key)
        })?;
        Self::from_weights(recipe, data, device, weights, frequencies)
    }

    fn from_weights(
        recipe: Recipe,
        data: Arc<Dataset>,
        device: &Device,
        weights: Vec<f32>,
        frequencies: Vec<f32>,
    ) -> Result<Self> {
        let zeros = vec![0.0; weights.len()];
        let averaged = weights.clone();
        let numbers =
            Numbers { weights, first: zeros.clone(), second: zeros, averaged, frequencies, step: 0 };
        Self::from_numbers(recipe, data, device, numbers)
    }

    /// The run that these numbers were saved from.
    pub(super) fn from_numbers(
        recipe: Recipe,
        data: Arc<Dataset>,
        device: &Device,
        numbers: Numbers,
    ) -> Result<Self> {
        let recipe = recipe.into_saved();
        let (network, schedule) = recipe.check(&data)?;
        let device = device.clone().without_autodiff();
        let layout = layout(&recipe, &network, &schedule, &data);
        Ok(Self {
            draws: Draws::new(recipe.seed),
            recipe,
            network,
            schedule,
            data,
            layout,
            order: None,
            frequencies: numbers.frequencies,
            weights: upload(numbers.weights, &device),
            moments: Moments {
                first: upload(numbers.first, &device),
                second: upload(numbers.second, &device),
            },
            averaged: upload(numbers.averaged, &device),
            device,
            step: numbers.step,
            unread: Vec::new(),
            spare: Spare::default(),
        })
    }

    pub(super) fn network(&self) -> &TrainableNetwork {
        &self.network
    }

    /// The run's recipe.
    #[must_use]
    pub fn recipe(&self) -> &Recipe {
        &self.recipe
    }

    /// The noise levels that it is trained with.
    #[must_use]
    pub fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    /// What it trains on.
    #[must_use]
    pub fn data(&self) -> &Arc<Dataset> {
        &self.data
    }

    /// Number of optimiser steps done.
    #[must_use]
    pub fn step_number(&self) -> u64 {
        self.step
    }

    /// Number of trained numbers.
    #[must_use]
    pub fn parameter_count(&self) -> usize {
        self.layout.len()
    }

    /// Sets the peak learning rate from the next step on.
    ///
    /// # Errors
    /// [`Error::Option`] unless it is above 0 and at most 1.
    pub fn set_learning_rate(&mut self, learning_rate: f64) -> Result<()> {
        let mut recipe = self.recipe.clone();
        recipe.optimiser.learning_rate = learning_rate;
        recipe.check(&self.data)?;
        self.recipe = recipe.into_saved();
        Ok(())
    }

    /// Makes it a run of another length from the next step on, which [`Recipe::stretch`] makes the recipe of: the learning rate
    /// goes on along the cosine of the new length, from where that is at the run's step.
    ///
    /// # Errors
    /// [`Error::Option`] for fewer steps than are done.
    pub fn set_steps(&mut self, steps: u64) -> Result<()> {
        if steps < self.step {
            let expected = format!("at least {}, as so many are done", self.step);
            return Err(Error::Option { option: "steps", found: steps.to_string(), expected });
        }
        let mut recipe = self.recipe.clone();
        recipe.stretch(steps);
        recipe.check(&self.data)?;
        self.recipe = recipe.into_saved();
        Ok(())
    }

    /// Goes on by what the recipe was asked to be: of another length or with another learning rate. The parts of a batch, which
    /// memory decides, stay as they are.
    ///
    /// # Errors
    /// [`Error::Resume`] of `file` where anything else differs, by its name; those of [`Self::set_steps`].
    pub fn go_on_by(&mut self, file: &str, asked: Recipe) -> Result<()> {
        let before = self.recipe.clone();
        let changed = self.take_over(file, Recipe { accumulate: before.accumulate, ..asked }.into_saved());
        if changed.is_err() {
            self.recipe = before;
        }
        changed
    }

    fn take_over(&mut self, file: &str, asked: Recipe) -> Result<()> {
        self.set_steps(asked.steps)?;
        self.set_learning_rate(asked.optimiser.learning_rate)?;
        let Some(difference) = self.recipe.difference(&asked) else { return Ok(()) };
        let problem = format!(
            "{difference}. Only the steps and the learning rate of a run may change: leave the rest out to go on with it, \
             or train into another folder"
        );
        Err(Error::Resume { file: file.to_owned(), problem })
    }

    /// Works a step's batch through in twice as many parts from the next step on, to take half the memory for activations.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] where that would divide an example.
    pub fn split_batch(&mut self) -> Result<()> {
        let parts = 2 * self.recipe.accumulate;
        if !self.recipe.batch.is_multiple_of(parts) {
            let problem = format!("a batch of {} in {parts} parts", self.recipe.batch);
            return Err(Error::OutOfMemory { problem });
        }
        self.recipe.accumulate = parts;
        self.spare = Spare::default();
        Ok(())
    }

    /// The examples of a step: a function of the recipe's seed, the data and the step's number alone.
    #[must_use]
    pub fn batch(&mut self, step: u64) -> Batch {
        let len = self.data.image_len();
        let size = self.recipe.batch;
        let null = null_label(&self.network, &self.data);
        let timesteps = self.recipe.objective.timesteps(&self.schedule);
        let mut batch = Batch {
            images: vec![0.0; size * len],
            noise: vec![0.0; size * len],
            timesteps: Vec::with_capacity(size),
            labels: (self.network.class_embedding() != ClassEmbedding::None)
                .then(|| Vec::with_capacity(size)),
        };
        for index in 0..size {
            let example = self.example(step * size as u64 + index as u64);
            let chance = |choice| self.draws.uniform(step, index, choice);
            let flip = self.recipe.flip && chance(Choice::Flip) < 0.5;
            let range = index * len..(index + 1) * len;
            self.data.image(example, flip, &mut batch.images[range.clone()]);
            self.draws.noise(step, index, &mut batch.noise[range]);
            // One from each of equal slices of them: the law of independent draws, with less noise in the loss.
            let level = (index as f64 + chance(Choice::Level)) / size as f64;
            let timestep = timesteps.start + (level * timesteps.len() as f64) as usize;
            batch.timesteps.push(timestep.min(timesteps.end - 1));
            if let (Some(labels), Some(all)) = (&mut batch.labels, &self.data.labels) {
                let dropped = null.filter(|_| chance(Choice::Label) < self.recipe.label_dropout);
                labels.push(dropped.unwrap_or(all[example] as usize) as f32);
            }
        }
        batch
    }

    /// The image that comes as number `at` of all that a run sees, epoch after epoch.
    fn example(&mut self, at: u64) -> usize {
        let len = self.data.len();
        let (epoch, position) = (at / len as u64, (at % len as u64) as usize);
        if self.order.as_ref().is_none_or(|(of, _)| *of != epoch) {
            self.order = Some((epoch, self.draws.order(epoch, len)));
        }
        self.order.as_ref().map_or(0, |(_, order)| order[position] as usize)
    }

    /// Trains on the next batch. On a GPU this only queues the work: [`Self::losses`] waits for it.
    ///
    /// # Errors
    /// As [`Self::step_on`].
    pub fn step(&mut self) -> Result<()> {
        let batch = self.batch(self.step);
        self.step_on(&batch)
    }

    /// Trains on a batch of any size that [`Recipe::accumulate`] divides.
    ///
    /// # Errors
    /// [`Error::Option`] where the batch is none of this network's.
    pub fn step_on(&mut self, batch: &Batch) -> Result<()> {
        let (gradient, losses) = self.gradients(batch, self.recipe.accumulate)?;
        let Some(gradient) = gradient else { return Ok(()) };
        let (step, steps) = (self.step, self.recipe.steps);
        self.step += 1;
        let decay = self.recipe.average.decay(self.step);
        let optimiser = &self.recipe.optimiser;
        if self.device == Device::flex() {
            let Moments { first, second } = &mut self.moments;
            let mut tensors = [&mut self.weights, first, second, &mut self.averaged];
            let mut numbers = tensors.iter_mut().map(|tensor| taken(tensor)).collect::<Result<Vec<_>>>()?;
            if let [weights, first, second, averaged] = &mut numbers[..] {
                let state = State { weights, first, second, averaged };
                optimiser.step_here(state, &here(gradient)?, (step, steps), decay);
            }
            for (tensor, values) in tensors.into_iter().zip(numbers) {
                *tensor = upload(values, &self.device);
            }
        } else {
            let weights = self.weights.clone();
            self.weights = optimiser.step(weights, gradient, &mut self.moments, step, steps);
            self.averaged = self.averaged.clone() * decay + self.weights.clone() * (1.0 - decay);
        }
        self.unread.push(Unread { step, timesteps: batch.timesteps.clone(), losses });
        Ok(())
    }

    /// The gradient of the mean loss over a batch, worked out in so many parts, and the losses of each part's examples.
    fn gradients(&self, batch: &Batch, parts: usize) -> Result<(Option<Tensor<1>>, Vec<Tensor<1>>)> {
        let size = batch.timesteps.len();
        let config = self.on_tape();
        // The weights are packed once for all parts.
        let weights = if config.is_some() { here(self.weights.clone())? } else { Vec::new() };
        let on_tape = config.map(|config| (config, Matrices::new(&self.layout, &weights, &self.spare)));
        let mut gradient: Option<Tensor<1>> = None;
        let mut losses = Vec::with_capacity(parts);
        for part in 0..parts {
            let part = part * size / parts..(part + 1) * size / parts;
            let (part_gradient, loss) = match &on_tape {
                Some((config, matrices)) => self.gradient_on_tape(config, matrices, batch, part)?,
                None => self.gradient(batch, part)?,
            };
            losses.push(loss);
            gradient = Some(match gradient {
                Some(sum) => sum + part_gradient,
                None => part_gradient,
            });
        }
        Ok((gradient.map(|sum| if parts > 1 { sum / parts as f64 } else { sum }), losses))
    }

    /// The gradient of the mean loss over some of a batch's examples, and the losses of each.
    fn gradient(&self, batch: &Batch, part: Range<usize>) -> Result<(Tensor<1>, Tensor<1>)> {
        let leaves = self.layout.leaves(&self.weights);
        let losses = self.losses_of(&leaves, batch, part)?;
        let gradients = losses.clone().mean().backward();
        Ok((self.layout.gradient(&leaves, gradients, &self.device), losses.without_autodiff()))
    }

    /// The network whose gradients the engine's kernels compute: a U-Net on the processor. The 2015 bound learns the noise levels
    /// through the network's input, whose gradient a tape does not keep.
    fn on_tape(&self) -> Option<&UNet2DConfig> {
        match &self.network {
            TrainableNetwork::UNet(config)
                if self.device == Device::flex() && self.recipe.objective != Objective::Bound =>
            {
                Some(config)
            }
            _ => None,
        }
    }

    /// [`Self::gradient`] with the network's part by the engine's kernels: burn has the loss's gradient with respect to the
    /// prediction, and the tape that of the parameters from it.
    fn gradient_on_tape(
        &self,
        config: &UNet2DConfig,
        matrices: &Matrices,
        batch: &Batch,
        part: Range<usize>,
    ) -> Result<(Tensor<1>, Tensor<1>)> {
        let mut kept = None;
        let losses = self.losses_with(&Parameters::new(), batch, part, |x, c_noise, labels| {
            let features = config.features(c_noise, labels, &self.frequencies)?;
            let shape = x.dims();
            let (prediction, pass) =
                Pass::forward(config, matrices, &self.spare, (&here(x.flatten(0, 3))?, shape), &features)?;
            let shape = [shape[0], config.out_channels, shape[2], shape[3]];
            let prediction = Tensor::<4>::from_data(TensorData::new(prediction, shape), &self.device)
                .autodiff()
                .require_grad();
            kept = Some((pass, prediction.clone()));
            Ok(prediction)
        })?;
        let mut gradients = losses.clone().mean().backward();
        let gradient = match kept.and_then(|(pass, p)| Some((pass, p.grad_remove(&mut gradients)?))) {
            Some((pass, of_prediction)) => pass.backward(&self.layout, &here(of_prediction.flatten(0, 3))?),
            None => vec![0.0; self.layout.len()],
        };
        Ok((upload(gradient, &self.device), losses.without_autodiff()))
    }

    /// The losses of some of a batch's examples.
    fn losses_of(&self, parameters: &Parameters, batch: &Batch, part: Range<usize>) -> Result<Tensor<1>> {
        self.losses_with(parameters, batch, part, |x, c_noise, labels| {
            // Where the parameters collect gradients, all of the forward pass is on the device that does.
            let x = if parameters.values().any(Parameter::is_autodiff) { x.autodiff() } else { x };
            self.network.forward(parameters, &self.frequencies, x, c_noise, labels)
        })
    }

    /// The same for what `network` says of noisy images, the noise that it is told and the labels. An objective's own parameters
    /// are among `parameters`.
    fn losses_with(
        &self,
        parameters: &Parameters,
        batch: &Batch,
        part: Range<usize>,
        network: impl FnOnce(Tensor<4>, &[f32], Option<&[f32]>) -> Result<Tensor<4>>,
    ) -> Result<Tensor<1>> {
        let [channels, height, width] = self.data.shape;
        let len = self.data.image_len();
        let shape = [part.len(), channels, height, width];
        let wrong = |found: String, expected: String| Error::Option { option: "batch", found, expected };
        let image = |values: &[f32]| -> Result<Tensor<4>> {
            let found = format!("{} numbers for {} timesteps", values.len(), batch.timesteps.len());
            let values = values
                .get(part.start * len..part.end * len)
                .ok_or_else(|| wrong(found, format!("{len} for each")))?;
            Ok(Tensor::<4>::from_data(TensorData::new(values.to_vec(), shape), &self.device))
        };
        let timesteps = batch.timesteps[part.clone()].to_vec();
        let all = self.recipe.objective.timesteps(&self.schedule);
        if let Some(t) = timesteps.iter().find(|t| !all.contains(t)) {
            return Err(wrong(format!("at timestep {t}"), format!("{} to {}", all.start, all.end - 1)));
        }
        let examples = Examples { x0: image(&batch.images)?, epsilon: image(&batch.noise)?, timesteps };
        let labels = batch.labels.as_ref().map(|l| &l[part.start.min(l.len())..part.end.min(l.len())]);
        let network = |x: Tensor<4>, c_noise: &[f32]| network(x, c_noise, labels);
        self.recipe.objective.losses(&self.schedule, parameters, &examples, network)
    }

    /// The losses of a batch under the averaged weights, without training on it.
    ///
    /// # Errors
    /// As [`Self::step_on`], and [`Error::DeviceLost`].
    pub async fn held_out(&self, batch: &Batch) -> Result<Vec<f32>> {
        let parameters = self.layout.parameters(&self.averaged);
        read(self.losses_of(&parameters, batch, 0..batch.timesteps.len())?).await
    }

    /// The network with the averaged weights as they are now, to sample with.
    ///
    /// # Errors
    /// [`Error::DeviceLost`].
    pub async fn averaged(&self) -> Result<Averaged> {
        let values = read(self.averaged.clone()).await?;
        let engine = match &self.network {
            TrainableNetwork::UNet(_) => None,
            TrainableNetwork::Mlp(config) => {
                let take = |key: &str, shape: &[usize]| {
                    let found =
                        self.layout.pieces(&values, &self.frequencies).find(|(other, ..)| *other == key);
                    let missing =
                        || Error::MissingKey { key: key.to_owned(), expected: shape.to_vec(), more: 0 };
                    Ok(found.ok_or_else(missing)?.2.to_vec())
                };
                Some(CpuNetwork::new(Arc::new(config.clone()), take)?)
            }
        };
        Ok(Averaged {
            engine,
            objective: self.recipe.objective,
            network: self.network.clone(),
            schedule: self.schedule.clone(),
            parameters: self.layout.parameters(&self.averaged),
            learned: self.layout.learned(&values).to_vec(),
            frequencies: self.frequencies.clone(),
            device: self.device.clone(),
        })
    }

    /// The gradient of the mean loss over a batch with respect to each parameter, by its key, and nothing else done.
    ///
    /// # Errors
    /// As [`Self::step_on`], and [`Error::DeviceLost`].
    pub async fn gradient_of(&self, batch: &Batch) -> Result<Vec<(String, Vec<f32>)>> {
        let Some(gradient) = self.gradients(batch, 1)?.0 else { return Ok(Vec::new()) };
        let values = read(gradient).await?;
        let pieces = self.layout.pieces(&values, &[]).filter(|(_, _, piece)| !piece.is_empty());
        Ok(pieces.map(|(key, _, piece)| (key.to_owned(), piece.to_vec())).collect())
    }

    /// The losses of the steps since the last call, waiting for them. Once in ten steps is often enough: each call
    /// empties a GPU's queue.
    ///
    /// # Errors
    /// [`Error::Diverged`] where one is not finite; the weights are then of no more use. [`Error::DeviceLost`].
    pub async fn losses(&mut self) -> Result<Vec<Loss>> {
        let unread = std::mem::take(&mut self.unread);
        if unread.is_empty() {
            return Ok(Vec::new());
        }
        let all = Tensor::cat(unread.iter().flat_map(|u| u.losses.iter().cloned()).collect(), 0);
        let mut values = read(all).await?.into_iter();
        let mut losses = Vec::with_capacity(unread.len());
        for Unread { step, timesteps, .. } in unread {
            let examples: Vec<(usize, f32)> = timesteps.into_iter().zip(&mut values).collect();
            let mean = examples.iter().map(|(_, loss)| loss).sum::<f32>() / examples.len() as f32;
            if !mean.is_finite() {
                let learning_rate = self.recipe.optimiser.rate(step, self.recipe.steps);
                return Err(Error::Diverged { step, loss: mean, learning_rate });
            }
            losses.push(Loss { step, mean, examples });
        }
        Ok(losses)
    }

    /// The run as a checkpoint of its averaged weights.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for a network or an objective that is none of diffusers'; [`Error::DeviceLost`].
    pub async fn checkpoint(&self) -> Result<Checkpoint> {
        self.checkpoint_of(&read(self.averaged.clone()).await?)
    }

    pub(super) fn checkpoint_of(&self, values: &[f32]) -> Result<Checkpoint> {
        self.recipe.check_export()?;
        Ok(Checkpoint {
            model_index: None,
            unet_config: self.recipe.unet.clone(),
            scheduler_config: Some(self.recipe.scheduler.clone()),
            labels: self.recipe.labels(&self.data, &self.network),
            weights: self.weights_of(values),
        })
    }

    /// The averaged weights by their keys, what the objective learned among them: for networks that are no checkpoint of
    /// diffusers.
    ///
    /// # Errors
    /// [`Error::DeviceLost`].
    pub async fn weights(&self) -> Result<Weights> {
        Ok(self.weights_of(&read(self.averaged.clone()).await?))
    }

    fn weights_of(&self, values: &[f32]) -> Weights {
        let mut weights = Weights::default();
        for (key, shape, piece) in self.layout.pieces(values, &self.frequencies) {
            weights.insert(key, Stored::from_f32(&shape, piece));
        }
        weights
    }

    /// All numbers of the run, read back.
    pub(super) async fn numbers(&self) -> Result<Numbers> {
        Ok(Numbers {
            weights: read(self.weights.clone()).await?,
            first: read(self.moments.first.clone()).await?,
            second: read(self.moments.second.clone()).await?,
            averaged: read(self.averaged.clone()).await?,
            frequencies: self.frequencies.clone(),
            step: self.step,
        })
    }
}

/// A trained network at work: `D(x; level)` of what its objective trained it for.
pub struct Averaged {
    /// Samplers ask networks of points here, on the processor.
    engine: Option<CpuNetwork>,
    objective: Objective,
    network: TrainableNetwork,
    schedule: Schedule,
    parameters: Parameters,
    learned: Vec<f32>,
    frequencies: Vec<f32>,
    device: Device,
}

/// A trained network's answer about noisy images, each `[batch, channels, height, width]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Estimate {
    /// x̂₀; for bits, the mean of those that are -1 or 1.
    pub x0: Vec<f32>,
    /// ln of the variance of the step to the timestep before, where the objective is the 2015 paper's bound.
    pub log_variance: Option<Vec<f32>>,
}

impl Averaged {
    pub(super) fn objective(&self) -> Objective {
        self.objective
    }

    /// The chances that a step of the binomial bound changes a bit that is x₀'s, and one that is not.
    pub(super) fn changes(&self, timestep: usize) -> [f64; 2] {
        binomial::changes(self.schedule.train_timesteps(), timestep)
    }

    /// The noise schedule that it was trained with.
    #[must_use]
    pub fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    /// The noise level of a timestep, 0 (least noise) to T - 1.
    #[must_use]
    pub fn level(&self, timestep: usize) -> Level {
        self.objective.level(&self.schedule, &self.learned, timestep)
    }

    /// What it says about images `x` of `shape`, `[batch, channels, height, width]`, all at the level of `timestep`.
    /// Labels are as for [`Batch`].
    ///
    /// # Errors
    /// [`Error::Option`] where a size or label does not suit the network; [`Error::DeviceLost`].
    pub async fn denoise(
        &self,
        x: &[f32],
        shape: [usize; 4],
        timestep: usize,
        labels: Option<&[f32]>,
    ) -> Result<Estimate> {
        let x = self.upload(x, shape);
        let network = |x: Tensor<4>, c_noise: f32| {
            self.network.forward(&self.parameters, &self.frequencies, x, &vec![c_noise; shape[0]], labels)
        };
        let found = self.objective.denoise(&self.schedule, &self.parameters, x, timestep, network)?;
        Ok(Estimate {
            x0: read(found.x0.flatten(0, 3)).await?,
            log_variance: match found.log_variance {
                Some(log_variance) => Some(read(log_variance.flatten(0, 3)).await?),
                None => None,
            },
        })
    }

    fn upload(&self, x: &[f32], shape: [usize; 4]) -> Tensor<4> {
        Tensor::from_data(TensorData::new(x.to_vec(), shape), &self.device)
    }
}

/// For the samplers of diffusers' schedules, which ask for the network's own answer.
impl Evaluate for Averaged {
    async fn evaluate(&mut self, x: &[f32], shape: [usize; 4], timestep: f64) -> Result<Vec<f32>> {
        let c_noise = vec![timestep as f32; shape[0]];
        if let Some(engine) = &mut self.engine {
            return engine.evaluate(x, shape, &c_noise, None).await;
        }
        let x = self.upload(x, shape);
        let output = self.network.forward(&self.parameters, &self.frequencies, x, &c_noise, None)?;
        read(output.flatten(0, 3)).await
    }
}

fn layout(recipe: &Recipe, network: &TrainableNetwork, schedule: &Schedule, data: &Dataset) -> Layout {
    let [_, height, width] = data.shape;
    let learned = recipe.objective.parameters(schedule);
    Layout::new(network.parameters(height, width), network.frequencies(), learned)
}

async fn read(tensor: Tensor<1>) -> Result<Vec<f32>> {
    let lost = |problem: String| Error::DeviceLost { problem };
    let data = tensor.into_data_async().await.map_err(|e| lost(e.to_string()))?;
    data.try_into_vec::<f32>().map_err(|e| lost(e.to_string()))
}

/// The numbers of a tensor of the processor's, without a copy, which leaves none.
fn taken(tensor: &mut Tensor<1>) -> Result<Vec<f32>> {
    let device = tensor.device();
    here(std::mem::replace(tensor, upload(Vec::new(), &device)))
}

/// A tensor of the processor's, which is there without waiting.
fn here(tensor: Tensor<1>) -> Result<Vec<f32>> {
    tensor.into_data().try_into_vec::<f32>().map_err(|e| Error::DeviceLost { problem: e.to_string() })
}
