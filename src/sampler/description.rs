//! The language samplers are written in: linear expressions over slots, recorded as plain data for any device.

use std::ops::{Add, Div, Mul, Neg, Sub};

use crate::error::{Error, Result};
use crate::prediction::{Level, Prediction};
use crate::schedule::Clip;

/// A place for a batch of images while a run lasts. While a sampler describes itself every result has a slot of its
/// own; in the finished [`Description`] a slot is used again as soon as nothing reads it any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Slot(usize);

impl Slot {
    /// Position in [`Description::slots`].
    #[must_use]
    pub fn index(self) -> usize {
        self.0
    }
}

/// What a slot holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotKind {
    /// Images, `[batch, channels, height, width]`.
    Image,
    /// What the network returned: as many channels, or twice as many where it learned a variance too.
    Output,
}

/// A linear combination of slots, such as `0.5 * x + 0.1 * m`. Of a network's output it sees the first half of the
/// channels if there are twice as many as the image has.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Expr {
    terms: Vec<(Slot, f64)>,
}

impl From<Slot> for Expr {
    fn from(slot: Slot) -> Self {
        Self { terms: vec![(slot, 1.0)] }
    }
}

impl<E: Into<Expr>> Add<E> for Expr {
    type Output = Self;
    fn add(mut self, other: E) -> Self {
        for (slot, coefficient) in other.into().terms {
            match self.terms.iter_mut().find(|(s, _)| *s == slot) {
                Some((_, c)) => *c += coefficient,
                None => self.terms.push((slot, coefficient)),
            }
        }
        self
    }
}

impl<E: Into<Expr>> Sub<E> for Expr {
    type Output = Self;
    fn sub(self, other: E) -> Self {
        self + -other.into()
    }
}

impl Neg for Expr {
    type Output = Self;
    fn neg(self) -> Self {
        -1.0 * self
    }
}

impl Mul<Expr> for f64 {
    type Output = Expr;
    fn mul(self, mut expr: Expr) -> Expr {
        expr.terms.iter_mut().for_each(|(_, c)| *c *= self);
        expr
    }
}

impl Div<f64> for Expr {
    type Output = Self;
    fn div(mut self, divisor: f64) -> Self {
        self.terms.iter_mut().for_each(|(_, c)| *c /= divisor);
        self
    }
}

impl Mul<Slot> for f64 {
    type Output = Expr;
    fn mul(self, slot: Slot) -> Expr {
        self * Expr::from(slot)
    }
}

impl<E: Into<Expr>> Add<E> for Slot {
    type Output = Expr;
    fn add(self, other: E) -> Expr {
        Expr::from(self) + other
    }
}

impl<E: Into<Expr>> Sub<E> for Slot {
    type Output = Expr;
    fn sub(self, other: E) -> Expr {
        Expr::from(self) - other
    }
}

/// The standard deviation of added noise.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum NoiseScale {
    /// The same for every element.
    Constant(f64),
    /// `sqrt(max(v, 0))`, with v the second half of the channels of a network's output.
    Learned {
        /// A slot of [`SlotKind::Output`].
        output: Slot,
    },
    /// `exp((f · log_max + (1 - f) · log_min) / 2)` with `f = (v + 1) / 2`, v as above.
    LearnedRange {
        /// A slot of [`SlotKind::Output`].
        output: Slot,
        /// Logarithm of the variance at v = -1.
        log_min: f64,
        /// Logarithm of the variance at v = 1.
        log_max: f64,
    },
}

impl From<f64> for NoiseScale {
    fn from(scale: f64) -> Self {
        Self::Constant(scale)
    }
}

/// Noise that an instruction adds: `scale · z`, with z the standard normals of draw number `draw` of the run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Noise {
    /// The draw's number; a description uses 0, 1, 2, … once each and in that order.
    pub draw: u32,
    /// Its standard deviation.
    pub scale: NoiseScale,
}

/// One thing for a device to do. No output is also an input, so no device needs to copy.
#[derive(Clone, Debug, PartialEq)]
pub enum Instruction {
    /// `output = network(scale · input, timestep)`.
    Evaluate {
        /// Images.
        input: Slot,
        /// What they are multiplied with for the network's eyes; often 1.
        scale: f64,
        /// What the network is told about their noise.
        timestep: f64,
        /// A slot of [`SlotKind::Output`].
        output: Slot,
    },
    /// `output = clip(Σ coefficient · slot) + noise`. Every coefficient is finite in f32.
    Combine {
        /// A slot of [`SlotKind::Image`].
        output: Slot,
        /// Slots and their coefficients.
        terms: Vec<(Slot, f64)>,
        /// What happens to the sum.
        clip: Clip,
        /// What is added then.
        noise: Option<Noise>,
    },
    /// A step of the sampler is done: a place to pause, to show the image or to stop.
    EndStep {
        /// The timestep that the step started from.
        timestep: f64,
        /// The noisy image that the step arrived at; after the last step, the result.
        x: Slot,
        /// The step's estimate of the clean image.
        x0: Slot,
    },
}

/// Everything a sampler does in a run, as data: any device replays it, and "where a run is" is an index into it.
#[derive(Clone, Debug, PartialEq)]
pub struct Description {
    instructions: Vec<Instruction>,
    slots: Vec<SlotKind>,
    steps: usize,
}

impl Description {
    /// What to do, in order. The first instruction that draws noise makes the initial image from draw 0.
    #[must_use]
    pub fn instructions(&self) -> &[Instruction] {
        &self.instructions
    }

    /// What each slot holds: the memory that a run needs.
    #[must_use]
    pub fn slots(&self) -> &[SlotKind] {
        &self.slots
    }

    /// Whether something has to look at all of an image before it can go on (dynamic thresholding); everything else is
    /// worked out number by number.
    #[must_use]
    pub fn looks_at_whole_images(&self) -> bool {
        let dynamic = |i: &Instruction| matches!(i, Instruction::Combine { clip: Clip::Dynamic { .. }, .. });
        self.instructions.iter().any(dynamic)
    }

    /// How many steps end, each with [`Instruction::EndStep`].
    #[must_use]
    pub fn steps(&self) -> usize {
        self.steps
    }
}

/// What a denoiser says of an image.
#[derive(Clone, Debug)]
pub struct Denoised {
    /// Its estimate of the clean image, x̂₀ = D(x; level), unclipped.
    pub x0: Expr,
    /// Its estimate of the noise, ε̂ = (x - alpha x̂₀) / sigma.
    pub epsilon: Expr,
    /// The network's own output, for samplers that use a learned variance.
    pub output: Slot,
}

/// Takes down what a sampler does.
#[derive(Debug)]
pub struct Recorder {
    prediction: Prediction,
    instructions: Vec<Instruction>,
    slots: Vec<SlotKind>,
    draws: u32,
    steps: usize,
}

impl Recorder {
    /// An empty record of a run with a network that predicts `prediction`.
    #[must_use]
    pub fn new(prediction: Prediction) -> Self {
        Self { prediction, instructions: Vec::new(), slots: Vec::new(), draws: 0, steps: 0 }
    }

    /// The initial image: nothing but noise of standard deviation `sigma`.
    pub fn start(&mut self, sigma: f64) -> Slot {
        self.add_noise(Expr::default(), sigma)
    }

    /// Asks the network about `x`, which is at `level`; `timestep` is how the network knows that level.
    pub fn denoise(&mut self, x: Slot, level: Level, timestep: f64) -> Denoised {
        let output = self.slot(SlotKind::Output);
        let scale = self.prediction.input_scale(level);
        self.instructions.push(Instruction::Evaluate { input: x, scale, timestep, output });
        let ((a, b), (c, d)) = (self.prediction.x0(level), self.prediction.epsilon(level));
        Denoised { x0: a * x + b * output, epsilon: c * x + d * output, output }
    }

    /// The value of `expr`.
    pub fn combine(&mut self, expr: Expr) -> Slot {
        self.push(expr, Clip::None, None)
    }

    /// The value of `expr`, clipped.
    pub fn clip(&mut self, expr: Expr, clip: Clip) -> Slot {
        self.push(expr, clip, None)
    }

    /// `expr` plus fresh noise of standard deviation `scale`.
    pub fn add_noise(&mut self, expr: Expr, scale: impl Into<NoiseScale>) -> Slot {
        let noise = Noise { draw: self.draws, scale: scale.into() };
        self.draws += 1;
        self.push(expr, Clip::None, Some(noise))
    }

    /// Ends a step that started from `timestep`, with `x` as the noisy image and `x0` as the estimate of the clean one.
    pub fn end_step(&mut self, timestep: f64, x: Slot, x0: Slot) {
        self.instructions.push(Instruction::EndStep { timestep, x, x0 });
        self.steps += 1;
    }

    fn slot(&mut self, kind: SlotKind) -> Slot {
        self.slots.push(kind);
        Slot(self.slots.len() - 1)
    }

    fn push(&mut self, expr: Expr, clip: Clip, noise: Option<Noise>) -> Slot {
        let output = self.slot(SlotKind::Image);
        // What has no effect needs no reading: ε̂ = 0 · x + 1 · m.
        let terms = expr.terms.into_iter().filter(|(_, c)| *c != 0.0).collect();
        self.instructions.push(Instruction::Combine { output, terms, clip, noise });
        output
    }

    /// The finished description, on as few slots as it can do with.
    ///
    /// # Errors
    /// [`Error::Unsupported`] if the image is not determined: a network that predicts ε at zero terminal SNR says
    /// nothing about x₀ there, and only a clip makes x̂₀ finite.
    ///
    /// # Panics
    /// If an expression uses a slot of another recorder.
    pub fn finish(mut self) -> Result<Description> {
        for instruction in &self.instructions {
            let Instruction::Combine { terms, clip, .. } = instruction else { continue };
            let limit = if *clip == Clip::None { 1e12 } else { f64::from(f32::MAX) };
            if terms.iter().any(|(_, c)| c.is_nan() || c.abs() > limit) {
                return Err(Error::Unsupported {
                    what: "predicting the noise where no signal is left (zero terminal SNR) without clipping".to_owned(),
                    why: "the image would be infinite there. Set `clip_sample` to true, or use a network that predicts v"
                        .to_owned(),
                });
            }
        }
        self.reuse_slots();
        Ok(Description { instructions: self.instructions, slots: self.slots, steps: self.steps })
    }

    /// Renames the slots so that each place is taken again once its value has been read for the last time.
    fn reuse_slots(&mut self) {
        let mut last_read = vec![0; self.slots.len()];
        for (i, instruction) in self.instructions.iter_mut().enumerate() {
            for_each_slot(instruction, |slot, _| last_read[slot.0] = i);
        }
        let kinds = std::mem::take(&mut self.slots);
        let mut places: Vec<Option<Slot>> = vec![None; kinds.len()];
        let mut free: Vec<Slot> = Vec::new();
        for (i, instruction) in self.instructions.iter_mut().enumerate() {
            let mut read_for_the_last_time = Vec::new();
            for_each_slot(instruction, |slot, is_output| {
                let old = *slot;
                let place = *places[old.0].get_or_insert_with(|| {
                    debug_assert!(is_output, "a slot is read before it is written");
                    let fits = |place: &Slot| self.slots[place.0] == kinds[old.0];
                    if let Some(position) = free.iter().position(fits) {
                        free.swap_remove(position)
                    } else {
                        self.slots.push(kinds[old.0]);
                        Slot(self.slots.len() - 1)
                    }
                });
                *slot = place;
                // Freed only after the whole instruction, so that its output is none of its inputs.
                if last_read[old.0] == i && !read_for_the_last_time.contains(&place) {
                    read_for_the_last_time.push(place);
                }
            });
            free.append(&mut read_for_the_last_time);
        }
    }
}

/// Visits an instruction's slots, inputs first; the flag says that the slot is its output.
fn for_each_slot(instruction: &mut Instruction, mut visit: impl FnMut(&mut Slot, bool)) {
    match instruction {
        Instruction::Evaluate { input, output, .. } => {
            visit(input, false);
            visit(output, true);
        }
        Instruction::Combine { output, terms, noise, .. } => {
            terms.iter_mut().for_each(|(slot, _)| visit(slot, false));
            if let Some(Noise { scale, .. }) = noise {
                match scale {
                    NoiseScale::Constant(_) => {}
                    NoiseScale::Learned { output } | NoiseScale::LearnedRange { output, .. } => {
                        visit(output, false)
                    }
                }
            }
            visit(output, true);
        }
        Instruction::EndStep { x, x0, .. } => {
            visit(x, false);
            visit(x0, false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_linear_algebra() {
        let (x, y) = (Slot(0), Slot(1));
        let expr = 2.0 * (x - 0.5 * y) + (3.0 * y - x) / 2.0;
        assert_eq!(expr.terms, [(x, 1.5), (y, 0.5)]);
        assert_eq!((-(x + y)).terms, [(x, -1.0), (y, -1.0)]);
    }

    #[test]
    fn slots_are_taken_again_and_no_output_is_an_input() {
        let mut run = Recorder::new(Prediction::Epsilon);
        let mut x = run.start(1.0);
        for t in (0..50).rev() {
            let d = run.denoise(x, Level { alpha: 0.6, sigma: 0.8 }, f64::from(t));
            let x0 = run.clip(d.x0, Clip::Range(1.0));
            x = run.add_noise(0.5 * x + 0.5 * x0, NoiseScale::Learned { output: d.output });
            run.end_step(f64::from(t), x, x0);
        }
        let description = run.finish().unwrap();
        assert_eq!(description.steps(), 50);
        assert_eq!(description.slots().iter().filter(|k| **k == SlotKind::Image).count(), 3);
        assert_eq!(description.slots().len(), 4);
        for mut instruction in description.instructions().to_vec() {
            let (mut inputs, mut outputs) = (Vec::new(), Vec::new());
            for_each_slot(
                &mut instruction,
                |s, is_output| if is_output { outputs.push(*s) } else { inputs.push(*s) },
            );
            assert!(outputs.iter().all(|o| !inputs.contains(o)), "{instruction:?}");
        }
    }

    #[test]
    fn what_has_no_effect_is_not_read() {
        let mut run = Recorder::new(Prediction::Sample);
        let x = run.start(1.0);
        let d = run.denoise(x, Level { alpha: 0.6, sigma: 0.8 }, 9.0);
        let x0 = run.combine(d.x0);
        run.end_step(9.0, x, x0);
        let description = run.finish().unwrap();
        let Instruction::Combine { terms, .. } = &description.instructions()[2] else { panic!() };
        assert_eq!(terms[..], [(d.output, 1.0)]);
    }

    #[test]
    fn what_nothing_reads_does_not_take_the_place_of_what_something_reads() {
        let mut run = Recorder::new(Prediction::Epsilon);
        let x = run.start(1.0);
        let unread = run.combine(2.0 * x);
        let y = run.combine(3.0 * x);
        run.end_step(0.0, y, x);
        let description = run.finish().unwrap();
        assert_ne!(unread, x);
        let Some(Instruction::EndStep { x, x0, .. }) = description.instructions().last() else { panic!() };
        assert_ne!(x, x0);
    }

    #[test]
    fn infinite_images_are_refused_unless_clipped() {
        let record = |clip| {
            let mut run = Recorder::new(Prediction::Epsilon);
            let x = run.start(1.0);
            let d = run.denoise(x, Level { alpha: 0.0, sigma: 1.0 }, 9.0);
            let x0 = run.clip(d.x0, clip);
            run.end_step(9.0, x, x0);
            run.finish()
        };
        assert!(record(Clip::Range(1.0)).is_ok());
        assert_eq!(record(Clip::None).unwrap_err().kind(), "unsupported-architecture");
    }
}
