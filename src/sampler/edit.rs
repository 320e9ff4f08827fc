//! Runs that begin with a picture, or keep a part of one, whatever the sampler: what it recorded is rewritten.

use std::sync::Arc;

use super::program::{Instruction, Noise, NoiseScale, Slot, SlotKind, for_each_slot};
use super::restore::Operator;
use crate::denoiser::Level;
use crate::error::{Error, Result};
use crate::schedule::Clip;
use crate::text::number;

/// A run that begins with a picture (SDEdit: Meng et al. 2022), or keeps a part of one (the product of distributions of Sohl-Dickstein et
/// al. 2015, and the resampling of RePaint, Lugmayr et al. 2022).
///
/// ```
/// use noiseball::sampler::Edit;
///
/// let [picture, below] = [vec![0.0; 64], [vec![0.0; 32], vec![1.0; 32]].concat()]; // of 8×8 pixels, one channel
/// let anew = Edit::new(picture).mask(below).resamplings(3);
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Edit {
    /// The picture, `[channels, height, width]` in [-1, 1], or one for each of the batch.
    pub init: Arc<[f32]>,
    /// How much of the run is made, above 0 to 1: of N steps the last `min(⌊N · strength⌋, N)`, as diffusers has it. They begin at
    /// `α · init + σ · noise`. Without one it is 0.8, and 1 where there is a mask.
    pub strength: Option<f64>,
    /// 1 where to paint anew and 0 where to keep `init`, of the same shape as that. Where there is one, a run of strength 1 begins
    /// with noise alone, so that what lies under it does not matter.
    pub mask: Option<Arc<[f32]>>,
    /// In place of a mask, what was measured of `init`, the rest of which does not matter: [`Operator::undo`] gives one of a measurement.
    pub restore: Option<Operator>,
    /// How often every `jump_length` steps are made, 1 or more: RePaint's r.
    pub resamplings: usize,
    /// How many steps a resampling goes back: RePaint's j.
    pub jump_length: usize,
    /// Whether the run goes the other way, from the picture to the noise that DDIM makes it of: what [`Options::noise`] takes.
    ///
    /// [`Options::noise`]: super::Options::noise
    pub invert: bool,
    /// Whether it is done as diffusers' pipelines of several networks do it: what is kept has one noise, the run's first, at every step;
    /// of strength 1, nothing is put in its place before the first; and `pndm` begins with what it would have done at its own beginning.
    pub as_pipelines: bool,
}

/// Most rounds of [`Edit::resamplings`].
const MAX_RESAMPLINGS: usize = 100;

impl Edit {
    /// SDEdit's, of a picture.
    #[must_use]
    pub fn new(init: impl Into<Arc<[f32]>>) -> Self {
        Self {
            init: init.into(),
            strength: None,
            mask: None,
            restore: None,
            resamplings: 1,
            jump_length: 10,
            invert: false,
            as_pipelines: false,
        }
    }

    /// [`Self::as_pipelines`], for which the module of pages that sample one network has no room.
    pub(super) fn is_as_pipelines(&self) -> bool {
        cfg!(feature = "text") && self.as_pipelines
    }

    /// With this much of the run, above 0 to 1.
    #[must_use]
    pub fn strength(self, strength: impl Into<Option<f64>>) -> Self {
        Self { strength: strength.into(), ..self }
    }

    /// Painted anew where this is 1, and kept where it is 0.
    #[must_use]
    pub fn mask(self, mask: impl Into<Arc<[f32]>>) -> Self {
        Self { mask: Some(mask.into()), ..self }
    }

    /// Restored of what was measured by this.
    #[must_use]
    pub fn restore(self, operator: impl Into<Option<Operator>>) -> Self {
        Self { restore: operator.into(), ..self }
    }

    /// With every `jump_length` steps made so many times, 1 to 100.
    #[must_use]
    pub fn resamplings(self, resamplings: usize) -> Self {
        Self { resamplings, ..self }
    }

    /// With resamplings that go back so many steps.
    #[must_use]
    pub fn jump_length(self, jump_length: usize) -> Self {
        Self { jump_length, ..self }
    }

    /// The other way, to the noise that DDIM makes the picture of.
    #[must_use]
    pub fn invert(self, invert: bool) -> Self {
        Self { invert, ..self }
    }

    /// As diffusers' pipelines of several networks do it.
    #[must_use]
    pub fn as_pipelines(self, as_pipelines: bool) -> Self {
        Self { as_pipelines, ..self }
    }

    /// Whether a part of the picture is kept.
    fn keeps(&self) -> bool {
        self.mask.is_some() || self.restore.is_some()
    }

    fn share(&self) -> f64 {
        self.strength.unwrap_or(if self.keeps() { 1.0 } else { 0.8 })
    }

    /// How many of `steps` are left out at the beginning.
    ///
    /// # Errors
    /// [`Error::Option`] for a strength, a number of resamplings or a length that cannot be.
    pub(super) fn skipped(&self, steps: usize) -> Result<usize> {
        if self.invert {
            let (found, expected) = ("given".to_owned(), "left out where a picture is inverted".to_owned());
            return match (&self.strength, &self.mask) {
                (None, None) => Ok(0),
                (Some(_), _) => Err(Error::Option { option: "strength", found, expected }),
                _ => Err(Error::Option { option: "mask", found, expected }),
            };
        }
        if self.restore.is_some() && self.mask.is_some() {
            let (found, expected) = ("given".to_owned(), "left out where a picture is restored".to_owned());
            return Err(Error::Option { option: "mask", found, expected });
        }
        let strength = self.share();
        let made = (steps as f64 * strength) as usize;
        let most = if self.keeps() { MAX_RESAMPLINGS } else { 1 };
        let longest = if self.resamplings > 1 { made } else { usize::MAX };
        let (option, found, expected) = if !(0.0..=1.0).contains(&strength) || (made < 1 && steps > 0) {
            ("strength", number(strength), format!("up to 1, and large enough for one of {steps} steps"))
        } else if !(1..=most).contains(&self.resamplings) {
            (
                "resamplings",
                self.resamplings.to_string(),
                format!("1 to {MAX_RESAMPLINGS}, and 1 without a mask"),
            )
        } else if !(1..=longest).contains(&self.jump_length) {
            ("jump_length", self.jump_length.to_string(), format!("1 to {made}, the steps that are made"))
        } else {
            return Ok(steps - made);
        };
        Err(Error::Option { option, found, expected })
    }

    /// Whether a run of `steps` comes back to the beginning of this step.
    pub(super) fn comes_back_to(&self, step: usize, steps: usize) -> bool {
        self.resamplings > 1 && (steps - step).is_multiple_of(self.jump_length)
    }
}

/// Writes a sampler's instructions anew. Each slot is still written once.
pub(super) struct Editor {
    kinds: Vec<SlotKind>,
    /// The slot that now stands for what was recorded in a slot.
    current: Vec<Slot>,
    instructions: Vec<Instruction>,
    slots: Vec<SlotKind>,
    draws: u32,
    steps: usize,
    /// The one noise of [`Edit::as_pipelines`].
    noise: Option<Slot>,
}

/// What is kept.
struct Known {
    init: Slot,
    part: Part,
}

/// The part of it that is.
enum Part {
    /// Where a slot is 0.
    Pixels(Slot),
    Measured(Operator),
}

impl Editor {
    pub(super) fn new(kinds: Vec<SlotKind>) -> Self {
        let current = vec![Slot(usize::MAX); kinds.len()];
        Self { kinds, current, instructions: Vec::new(), slots: Vec::new(), draws: 0, steps: 0, noise: None }
    }

    pub(super) fn finish(self) -> (Vec<Instruction>, Vec<SlotKind>, usize) {
        (self.instructions, self.slots, self.steps)
    }

    /// `recorded` begins with the noise that it starts from, and ends with a step.
    pub(super) fn edit(&mut self, recorded: &[Instruction], edit: &Edit) {
        // Noise that was given is loaded before.
        let is_start = |i: &Instruction| matches!(i, Instruction::Combine { .. });
        let begun = recorded.iter().position(is_start).map_or(0, |at| at + 1);
        let (before, rest) = recorded.split_at(begun);
        let Some(Instruction::Combine { output: start, .. }) = before.last() else { return };
        let blocks: Vec<&[Instruction]> =
            rest.split_inclusive(|i| matches!(i, Instruction::EndStep { .. })).collect();
        let begins = |step: usize| match blocks[step].last() {
            Some(Instruction::EndStep { from, .. }) => from.level,
            _ => Level::CLEAN,
        };
        if edit.is_as_pipelines() {
            let noise = Noise { draw: self.draw(), scale: 1.0.into() };
            self.noise = Some(self.combine(Vec::new(), Some(noise)));
        }
        let init = self.load(&edit.init);
        let known = edit.mask.as_ref().map(|mask| Known { init, part: Part::Pixels(self.load(mask)) });
        let known = known.or(edit.restore.map(|operator| Known { init, part: Part::Measured(operator) }));
        if known.is_none() || edit.share() < 1.0 {
            self.current[start.0] = self.noised(init, Level::CLEAN, begins(0));
        } else if let (
            Some(noise),
            Some(Instruction::Combine {
                noise: Some(Noise { scale: NoiseScale::Constant(scale), .. }), ..
            }),
        ) = (self.one_noise(), before.last())
        {
            self.current[start.0] = self.combine(vec![(noise, *scale)], None);
        } else {
            before.iter().for_each(|instruction| self.copy(instruction));
        }
        if let Some(known) = known.as_ref().filter(|_| !edit.is_as_pipelines()) {
            let x = self.current[start.0];
            self.current[start.0] = self.keep(x, known, begins(0));
        }

        let steps = blocks.len();
        let (mut x, mut first) = (*start, 0);
        while first < steps {
            // Turns of so many steps, counted from the end; what is left over comes first, and is made once.
            let left_over = (steps - first) % edit.jump_length;
            let (length, again) =
                if left_over > 0 { (left_over, 1) } else { (edit.jump_length, edit.resamplings) };
            let turn = first..first + length;
            let began = x;
            for round in 0..again {
                if round > 0 {
                    // Back to where the turn began: the forward process from the level that it arrived at.
                    let Some(Instruction::EndStep { to, .. }) = blocks[turn.end - 1].last() else { return };
                    self.current[began.0] = self.noised(self.current[x.0], *to, begins(first));
                }
                for step in turn.clone() {
                    let arrives = match blocks[step].last() {
                        _ if step + 1 == steps => Level::CLEAN,
                        _ if edit.is_as_pipelines() => begins(step + 1),
                        Some(Instruction::EndStep { to, .. }) => *to,
                        _ => return,
                    };
                    x = self.step(blocks[step], known.as_ref(), arrives).unwrap_or(x);
                }
            }
            first = turn.end;
        }
    }

    /// Writes a step, and puts what is known in its place at that level; what it arrives at, as it was recorded.
    fn step(&mut self, block: &[Instruction], known: Option<&Known>, level: Level) -> Option<Slot> {
        let (end, rest) = block.split_last()?;
        rest.iter().for_each(|instruction| self.copy(instruction));
        let Instruction::EndStep { x, .. } = end else { return None };
        if let Some(known) = known {
            self.current[x.0] = self.keep(self.current[x.0], known, level);
        }
        self.copy(end);
        self.steps += 1;
        Some(*x)
    }

    /// `x` with what is known in its place, at that level.
    fn keep(&mut self, x: Slot, known: &Known, level: Level) -> Slot {
        let no =
            if level == Level::CLEAN { known.init } else { self.noised(known.init, Level::CLEAN, level) };
        let output = self.slot(SlotKind::Image);
        self.instructions.push(match known.part {
            Part::Pixels(mask) => Instruction::Blend { output, mask, yes: x, no },
            Part::Measured(operator) => Instruction::Restore { output, operator, yes: x, no },
        });
        output
    }

    /// The forward process (Ho et al. 2020, equation 4, between any two levels).
    fn noised(&mut self, x: Slot, from: Level, to: Level) -> Slot {
        let kept = to.alpha / from.alpha;
        let deviation = (to.sigma.powi(2) - (kept * from.sigma).powi(2)).max(0.0).sqrt();
        if let Some(noise) = self.one_noise() {
            return self.combine(vec![(x, kept), (noise, deviation)], None);
        }
        let noise = Noise { draw: self.draw(), scale: deviation.into() };
        self.combine(vec![(x, kept)], Some(noise))
    }

    /// None in a module that has no room for it, which a compiler then sees.
    fn one_noise(&self) -> Option<Slot> {
        self.noise.filter(|_| cfg!(feature = "text"))
    }

    fn combine(&mut self, terms: Vec<(Slot, f64)>, noise: Option<Noise>) -> Slot {
        let output = self.slot(SlotKind::Image);
        self.instructions.push(Instruction::Combine { output, terms, clip: Clip::None, noise });
        output
    }

    fn load(&mut self, pictures: &Arc<[f32]>) -> Slot {
        let output = self.slot(SlotKind::Image);
        self.instructions.push(Instruction::Load { output, pictures: Arc::clone(pictures) });
        output
    }

    fn copy(&mut self, instruction: &Instruction) {
        let mut instruction = instruction.clone();
        let (kinds, current, slots) = (&self.kinds, &mut self.current, &mut self.slots);
        for_each_slot(&mut instruction, |slot, is_output| {
            if is_output {
                slots.push(kinds[slot.0]);
                current[slot.0] = Slot(slots.len() - 1);
            }
            *slot = current[slot.0];
        });
        if let Instruction::Combine { noise: Some(noise), .. } = &mut instruction {
            noise.draw = self.draw();
        }
        self.instructions.push(instruction);
    }

    fn slot(&mut self, kind: SlotKind) -> Slot {
        self.slots.push(kind);
        Slot(self.slots.len() - 1)
    }

    fn draw(&mut self) -> u32 {
        self.draws += 1;
        self.draws - 1
    }
}
