//! The one training loop, without input or output: the page and the command line pump it, keep what it gives, and say when it
//! may go on.

use std::collections::VecDeque;
use std::sync::Arc;

use burn::tensor;

use super::dataset::Dataset;
use super::film::{Frame, frame_every};
use super::held_out::HeldOut;
use super::recipe::{Recipe, usual_memory};
use super::state::SavedRun;
use super::trainer::{Loss, Trainer};
use crate::checkpoint::Checkpoint;
use crate::device::Device;
use crate::error::{Error, Result};

/// Steps between two readings of the losses, at most: each reading empties a GPU's queue.
const BURST: u64 = 10;

/// Where a run is computed.
#[derive(Clone, Debug)]
pub struct Places {
    /// Where it is trained: [`Device::flex`](tensor::Device::flex), or one of wgpu's.
    pub training: tensor::Device,
    /// Where its film is sampled.
    pub engine: Device,
    /// The most bytes that a new run should take: see [`Recipe::fit`].
    pub memory: u64,
}

impl Places {
    /// With the memory that is usual for the engine's device.
    #[must_use]
    pub fn new(training: tensor::Device, engine: Device) -> Self {
        let memory = usual_memory(engine.kind());
        Self { training, engine, memory }
    }
}

/// Work that a loop asks about before it does more of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Another step, before the losses of those that were taken are read. Where that may not be, they are read now.
    Step,
    /// Another part of a frame or of a held-out loss. Where that may not be, it is given up, and done after a later step.
    Part,
}

/// What happened in a run.
#[derive(Debug)]
pub enum Event {
    /// Steps were taken; these are their losses.
    Steps(Vec<Loss>),
    /// The film's next frame.
    Frame(Frame),
    /// The frame of this step could not be sampled. The run goes on all the same.
    FrameFailed {
        /// Optimiser steps done.
        step: u64,
        /// Why.
        error: Error,
    },
    /// The loss on data held out, which follows a frame.
    HeldOut(HeldOut),
    /// The run should be saved now, by [`Loop::save`] or [`Loop::save_with_checkpoint`].
    SaveDue,
    /// A frame or a held-out loss was given up, as [`Work::Part`] says.
    GivenUp,
}

/// A run of training.
///
/// [`Self::next`] does some of its work and says what happened: a burst of steps, a frame of its film with the held-out loss, or
/// that a save is due. What is trained depends on the recipe and the data alone, whenever it was saved, paused or resumed; and so
/// do the steps of the frames, unless one is given up.
pub struct Loop {
    trainer: Trainer,
    held_out: Option<Arc<Dataset>>,
    places: Places,
    /// Steps between two saves, where steps decide that and not the caller's clock.
    save_every: Option<u64>,
    /// What happened beside what was told.
    queue: VecDeque<Event>,
    /// The step of the newest frame, also of one that failed.
    framed: Option<u64>,
    /// The step after which a frame was given up.
    given_up: Option<u64>,
    stopped: bool,
    saved: Option<Saved>,
    /// The step at which a save was last said to be due.
    told: Option<u64>,
}

/// What was saved last, to go back to.
struct Saved {
    step: u64,
    state: Arc<Vec<u8>>,
    /// Whether the recipe is still the one that was saved.
    current: bool,
}

impl Loop {
    /// A new run from random weights. Some of the data are held out where `hold_out` says so (see [`Dataset::hold_out`]), and a
    /// batch is worked through in parts where it would not fit the memory (see [`Recipe::fit`]).
    ///
    /// # Errors
    /// Those of [`Recipe::check`] and [`Recipe::fit`].
    pub fn new(recipe: Recipe, data: &Arc<Dataset>, hold_out: bool, places: Places) -> Result<Self> {
        let start = |recipe, data| Trainer::new(recipe, data, &places.training);
        let (trainer, held_out) = begin(recipe, data, hold_out, &places, start)?;
        Ok(Self::of(trainer, held_out, places))
    }

    /// A new run from a checkpoint's weights: see [`Trainer::fine_tune`].
    ///
    /// # Errors
    /// As [`Self::new`], and those of [`Trainer::fine_tune`].
    pub fn fine_tune(
        checkpoint: Checkpoint,
        mut recipe: Recipe,
        data: &Arc<Dataset>,
        hold_out: bool,
        places: Places,
    ) -> Result<Self> {
        // What the memory has to hold is the checkpoint's network.
        recipe.go_on_from(&checkpoint, data)?;
        let start = |recipe, data| Trainer::fine_tune(checkpoint, recipe, data, &places.training);
        let (trainer, held_out) = begin(recipe, data, hold_out, &places, start)?;
        Ok(Self::of(trainer, held_out, places))
    }

    /// The run that was saved, on the same data; whether some of them are held out shows in what was trained on. `film` is the
    /// step of its newest frame, where there is one.
    ///
    /// # Errors
    /// [`Error::Resume`] for other data.
    pub fn resume(
        saved: SavedRun,
        state: Vec<u8>,
        data: &Arc<Dataset>,
        film: Option<u64>,
        places: Places,
    ) -> Result<Self> {
        let (trained, held_out) = data.hold_out();
        let (trained, held_out) = if held_out.is_some() && saved.is_of(&trained) {
            (trained, held_out)
        } else {
            (data.clone(), None)
        };
        let trainer = saved.resume(trained, &places.training)?;
        let step = trainer.step_number();
        let saved = Some(Saved { step, state: Arc::new(state), current: true });
        Ok(Self { saved, framed: film, ..Self::of(trainer, held_out, places) })
    }

    fn of(trainer: Trainer, held_out: Option<Arc<Dataset>>, places: Places) -> Self {
        Self {
            trainer,
            held_out,
            places,
            save_every: None,
            queue: VecDeque::new(),
            framed: None,
            given_up: None,
            stopped: false,
            saved: None,
            told: None,
        }
    }

    /// Has saves be due every so many steps too, and not only at the start, at the end and after a change.
    #[must_use]
    pub fn saving_every(self, steps: u64) -> Self {
        Self { save_every: Some(steps.max(1)), ..self }
    }

    /// What is trained.
    #[must_use]
    pub fn trainer(&self) -> &Trainer {
        &self.trainer
    }

    /// The same, for steps that are taken for their own sake. What they do is not told.
    pub fn trainer_mut(&mut self) -> &mut Trainer {
        &mut self.trainer
    }

    /// How many of the data are held out.
    #[must_use]
    pub fn held_out_count(&self) -> usize {
        self.held_out.as_ref().map_or(0, |data| data.len())
    }

    /// Does some of the work, and says what happened; nothing where the run has ended. `go_on` is asked before each part of it:
    /// there messages can be let in.
    ///
    /// # Errors
    /// [`Error::Diverged`], after which [`Self::go_back`] helps, and [`Error::DeviceLost`].
    pub async fn next(&mut self, mut go_on: impl AsyncFnMut(Work) -> bool) -> Result<Option<Event>> {
        if let Some(event) = self.queue.pop_front() {
            return Ok(Some(event));
        }
        let step = self.trainer.step_number();
        let ending = self.stopped || step >= self.trainer.recipe().steps;
        if self.is_frame_due(step, ending) {
            return self.film(step, &mut go_on).await.map(Some);
        }
        if self.is_save_due(step, ending) {
            self.told = Some(step);
            return Ok(Some(Event::SaveDue));
        }
        if ending {
            return Ok(None);
        }
        self.burst(&mut go_on).await.map(|losses| Some(Event::Steps(losses)))
    }

    fn is_frame_due(&self, step: u64, ending: bool) -> bool {
        let every = frame_every(self.trainer.recipe().steps);
        let is_next = self.framed.is_none_or(|framed| step / every > framed / every);
        if ending || step == 0 {
            return self.framed != Some(step);
        }
        is_next && self.given_up != Some(step)
    }

    fn is_save_due(&self, step: u64, ending: bool) -> bool {
        let Some(saved) = &self.saved else { return self.told != Some(step) };
        if saved.step == step && saved.current {
            return false;
        }
        self.told != Some(step) && (ending || !saved.current || self.is_save_step(step))
    }

    fn is_save_step(&self, step: u64) -> bool {
        self.save_every.is_some_and(|every| step.is_multiple_of(every))
    }

    async fn film(&mut self, step: u64, go_on: &mut impl AsyncFnMut(Work) -> bool) -> Result<Event> {
        let frame = self.trainer.frame(&self.places.engine, async || go_on(Work::Part).await).await;
        let measured = match (&frame, &self.held_out) {
            (Err(Error::Aborted), _) => Err(Error::Aborted),
            (_, Some(data)) if step > 0 => {
                let measured = self.trainer.held_out_while(data, async || go_on(Work::Part).await);
                measured.await.map(Some)
            }
            _ => Ok(None),
        };
        match measured {
            Err(Error::Aborted) => {
                self.given_up = Some(step);
                return Ok(Event::GivenUp);
            }
            measured => self.queue.extend(measured?.map(Event::HeldOut)),
        }
        self.framed = Some(step);
        Ok(match frame {
            Ok(frame) => Event::Frame(frame),
            Err(error) => Event::FrameFailed { step, error },
        })
    }

    async fn burst(&mut self, go_on: &mut impl AsyncFnMut(Work) -> bool) -> Result<Vec<Loss>> {
        let steps = self.trainer.recipe().steps;
        for taken in 1..=BURST {
            self.trainer.step()?;
            let step = self.trainer.step_number();
            let ends = step >= steps || step.is_multiple_of(frame_every(steps)) || self.is_save_step(step);
            if taken == BURST || ends || !go_on(Work::Step).await {
                break;
            }
        }
        self.trainer.losses().await
    }

    /// The run's state, from which it goes on exactly.
    ///
    /// # Errors
    /// As [`Trainer::save`].
    pub async fn save(&mut self) -> Result<Arc<Vec<u8>>> {
        let state = self.trainer.save().await?;
        Ok(self.keep(state))
    }

    /// The state, and the checkpoint of the averaged weights.
    ///
    /// # Errors
    /// As [`Trainer::save_with_checkpoint`].
    pub async fn save_with_checkpoint(&mut self) -> Result<(Arc<Vec<u8>>, Checkpoint)> {
        let (state, checkpoint) = self.trainer.save_with_checkpoint().await?;
        Ok((self.keep(state), checkpoint))
    }

    fn keep(&mut self, state: Vec<u8>) -> Arc<Vec<u8>> {
        let state = Arc::new(state);
        self.saved = Some(Saved { step: self.trainer.step_number(), state: state.clone(), current: true });
        state
    }

    /// Whether nothing has happened since the last save.
    #[must_use]
    pub fn is_saved(&self) -> bool {
        self.saved.as_ref().is_some_and(|s| s.current && s.step == self.trainer.step_number())
    }

    /// Goes back to the last save, after a loss that is no number; whether there is one.
    ///
    /// # Errors
    /// [`Error::DeviceLost`].
    pub fn go_back(&mut self) -> Result<bool> {
        let Some(saved) = &mut self.saved else { return Ok(false) };
        let data = self.trainer.data().clone();
        self.trainer = Trainer::resume("the last saved state", &saved.state, data, &self.places.training)?;
        saved.current = true;
        let step = self.trainer.step_number();
        self.framed = self.framed.map(|framed| framed.min(step));
        self.queue.clear();
        self.stopped = false;
        Ok(true)
    }

    /// Ends the run where it is, with a last frame and save.
    pub fn stop(&mut self) {
        self.stopped = true;
    }

    /// Sets the peak learning rate from the next step on. The run should then be saved, so that the rate is not forgotten.
    ///
    /// # Errors
    /// As [`Trainer::set_learning_rate`].
    pub fn set_learning_rate(&mut self, learning_rate: f64) -> Result<()> {
        self.change(|trainer| trainer.set_learning_rate(learning_rate))
    }

    /// Makes it a run of another length: see [`Trainer::set_steps`]. One that has ended goes on.
    ///
    /// # Errors
    /// As [`Trainer::set_steps`].
    pub fn set_steps(&mut self, steps: u64) -> Result<()> {
        self.change(|trainer| trainer.set_steps(steps))?;
        self.stopped = false;
        Ok(())
    }

    /// Goes on by what the recipe was asked to be: see [`Trainer::go_on_by`].
    ///
    /// # Errors
    /// As [`Trainer::go_on_by`].
    pub fn go_on_by(&mut self, file: &str, asked: Recipe) -> Result<()> {
        self.change(|trainer| trainer.go_on_by(file, asked))
    }

    /// Works a batch through in twice as many parts: see [`Trainer::split_batch`].
    ///
    /// # Errors
    /// As [`Trainer::split_batch`].
    pub fn split_batch(&mut self) -> Result<()> {
        self.change(Trainer::split_batch)
    }

    fn change(&mut self, change: impl FnOnce(&mut Trainer) -> Result<()>) -> Result<()> {
        let before = self.trainer.recipe().clone();
        change(&mut self.trainer)?;
        if *self.trainer.recipe() != before {
            self.told = None;
            if let Some(saved) = &mut self.saved {
                saved.current = false;
            }
        }
        Ok(())
    }
}

fn begin(
    mut recipe: Recipe,
    data: &Arc<Dataset>,
    hold_out: bool,
    places: &Places,
    start: impl FnOnce(Recipe, Arc<Dataset>) -> Result<Trainer>,
) -> Result<(Trainer, Option<Arc<Dataset>>)> {
    let (trained, held_out) = if hold_out { data.hold_out() } else { (data.clone(), None) };
    recipe.fit(&trained, places.memory)?;
    Ok((start(recipe, trained)?, held_out))
}
