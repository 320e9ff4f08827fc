//! The language that samplers are written in: linear expressions over slots, recorded as plain data for any device.

use std::ops::{Add, Div, Mul, Neg, Sub};
use std::sync::Arc;

use super::restore::Operator;
use crate::denoiser::{Level, Point, Prediction};
use crate::levels::Sigmas;
use crate::schedule::Clip;

/// A place for a batch of images while a run lasts. While a sampler is recorded, every result has a slot of its
/// own; in the finished [`Program`] a slot is reused once its last reader has run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Slot(pub(super) usize);

impl Slot {
    /// Position in [`Program::slots`].
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
    pub(super) terms: Vec<(Slot, f64)>,
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
    /// The draw's number; a program uses 0, 1, 2, … once each and in that order.
    pub draw: u32,
    /// Its standard deviation.
    pub scale: NoiseScale,
}

/// How a network's answers for what is wanted and for what is not become one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Guided {
    /// The share of the first; that of the second is 1 less it.
    pub scale: f64,
    /// How far the mixture's deviation is brought back to that of the first, picture by picture: 0 to 1.
    pub rescale: f64,
}

/// One thing for a device to do. No output is also an input, so no device needs to copy.
#[derive(Clone, Debug, PartialEq)]
pub enum Instruction {
    /// `output = network(scale · input, timestep)`.
    Evaluate {
        /// Images.
        input: Slot,
        /// Their factor before the network sees them; often 1.
        scale: f64,
        /// The timestep that the network is given.
        timestep: f64,
        /// Whether it is asked twice, for what is wanted and for what is not, and how the answers are mixed.
        guided: Option<Guided>,
        /// A slot of [`SlotKind::Output`].
        output: Slot,
    },
    /// `output` is pictures that the run was given, one after the other and from the first again until there are enough.
    Load {
        /// A slot of [`SlotKind::Image`].
        output: Slot,
        /// `[channels, height, width]` of one picture or more.
        pictures: Arc<[f32]>,
    },
    /// `output = mask · yes + (1 - mask) · no`: exactly one of the two where the mask is 1 or 0.
    Blend {
        /// A slot of [`SlotKind::Image`].
        output: Slot,
        /// Images of shares, 0 to 1.
        mask: Slot,
        /// Images.
        yes: Slot,
        /// Images.
        no: Slot,
    },
    /// `output = yes` with what `operator` measures of it taken from `no`.
    Restore {
        /// A slot of [`SlotKind::Image`].
        output: Slot,
        /// What was measured.
        operator: Operator,
        /// Images.
        yes: Slot,
        /// Images.
        no: Slot,
    },
    /// `output` is `x0` after somebody has looked at it, and may have changed it: [`Evaluate::watch`](super::Evaluate::watch).
    Watch {
        /// Where the network was asked.
        at: Point,
        /// An estimate of the clean images.
        x0: Slot,
        /// A slot of [`SlotKind::Image`].
        output: Slot,
    },
    /// `output = clip(Σ coefficient · slot) + noise`. Every coefficient is finite in f32.
    Combine {
        /// A slot of [`SlotKind::Image`].
        output: Slot,
        /// Slots and their coefficients.
        terms: Vec<(Slot, f64)>,
        /// How the sum is clipped.
        clip: Clip,
        /// The noise that is added after the clip.
        noise: Option<Noise>,
    },
    /// `output = (|over[0]| / |over[1]|)^power · input`, |·| being the Euclidean norm of a picture.
    Rescale {
        /// A slot of [`SlotKind::Image`].
        output: Slot,
        /// Images.
        input: Slot,
        /// The images that are measured.
        over: [Slot; 2],
        /// 1 or 2.
        power: u8,
        /// Whether the norms are the means of those of all pictures of the batch, which are then no longer independent.
        batch: bool,
    },
    /// `output` is where the probability-flow ODE leads from `input`, to a tolerance.
    Integrate {
        /// A slot of [`SlotKind::Image`].
        output: Slot,
        /// Images at the level where the span begins.
        input: Slot,
        /// dx/d ln σ there, which is σ ε̂.
        slope: Slot,
        /// From where to where.
        span: Arc<Span>,
    },
    /// A step of the sampler is done: a place to pause, to show the image or to stop.
    EndStep {
        /// Where the step started from.
        from: Point,
        /// The level that it arrived at, which `x` has.
        to: Level,
        /// The noisy image that the step arrived at; after the last step, the result.
        x: Slot,
        /// The step's estimate of the clean image.
        x0: Slot,
    },
}

/// A part of the way along the probability-flow ODE in `x = x₀ + σ ε`.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// σ where it begins.
    pub from: f64,
    /// σ where it ends, above 0.
    pub to: f64,
    /// The error that a step may make, absolute and relative.
    pub tolerance: f64,
    /// How often the run may ask the network in all.
    pub most: usize,
    /// What the network says.
    pub prediction: Prediction,
    /// The levels by which it knows its timesteps.
    pub sigmas: Arc<Sigmas>,
}

/// Everything a sampler does in a run, as data: any device replays it, and "where a run is" is an index into it.
#[derive(Clone, Debug, PartialEq)]
pub struct Program {
    pub(super) instructions: Vec<Instruction>,
    pub(super) slots: Vec<SlotKind>,
    pub(super) steps: usize,
    pub(super) every: usize,
}

impl Program {
    /// The same, of which somebody looks at every so-many-eth step and at the last, or for 0 at the last alone.
    #[must_use]
    pub fn shown_every(self, every: usize) -> Self {
        Self { every, ..self }
    }

    /// Whether somebody looks at this step, counted from 0.
    #[must_use]
    pub fn shows(&self, index: usize) -> bool {
        (index + 1).is_multiple_of(self.every) || index + 1 == self.steps
    }

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

    /// Whether an instruction needs a whole image at once (dynamic thresholding, norms, guidance that is rescaled) or somebody to look
    /// at it, which only a host can. All others work number by number.
    #[must_use]
    pub fn needs_host(&self) -> bool {
        self.looks_at_whole_images()
            || self.instructions.iter().any(|i| match i {
                Instruction::Watch { .. } => true,
                Instruction::Restore { .. } => true,
                Instruction::Evaluate { guided: Some(guided), .. } => guided.rescale > 0.0,
                _ => false,
            })
    }

    /// Whether a step makes much of whole images (dynamic thresholding, norms, an integral).
    pub(crate) fn looks_at_whole_images(&self) -> bool {
        self.instructions.iter().any(|i| {
            matches!(
                i,
                Instruction::Combine { clip: Clip::Dynamic { .. }, .. }
                    | Instruction::Rescale { .. }
                    | Instruction::Integrate { .. }
            )
        })
    }

    /// Whether the network is ever asked twice at once.
    #[must_use]
    pub fn is_guided(&self) -> bool {
        self.instructions.iter().any(|i| matches!(i, Instruction::Evaluate { guided: Some(_), .. }))
    }

    /// What the network is told of the noise, evaluation by evaluation.
    pub fn timesteps(&self) -> impl Iterator<Item = f64> {
        self.instructions.iter().filter_map(|instruction| match instruction {
            Instruction::Evaluate { timestep, .. } => Some(*timestep),
            _ => None,
        })
    }

    /// Whether noise is as much as the network says in the second half of its channels.
    #[must_use]
    pub fn needs_learned_variance(&self) -> bool {
        self.instructions.iter().any(|instruction| match instruction {
            Instruction::Combine { noise: Some(Noise { scale, .. }), .. } => {
                !matches!(scale, NoiseScale::Constant(_))
            }
            _ => false,
        })
    }

    /// How many steps end, each with [`Instruction::EndStep`].
    #[must_use]
    pub fn steps(&self) -> usize {
        self.steps
    }
}

/// Visits an instruction's slots, inputs first; the flag says that the slot is its output.
pub(super) fn for_each_slot(instruction: &mut Instruction, mut visit: impl FnMut(&mut Slot, bool)) {
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
        Instruction::Rescale { output, input, over: [a, b], .. } => {
            for slot in [input, a, b] {
                visit(slot, false);
            }
            visit(output, true);
        }
        Instruction::Integrate { output, input, slope, .. } => {
            visit(input, false);
            visit(slope, false);
            visit(output, true);
        }
        Instruction::Load { output, .. } => visit(output, true),
        Instruction::Blend { output, mask, yes, no } => {
            for slot in [mask, yes, no] {
                visit(slot, false);
            }
            visit(output, true);
        }
        Instruction::Restore { output, yes, no, .. } => {
            visit(yes, false);
            visit(no, false);
            visit(output, true);
        }
        Instruction::Watch { x0, output, .. } => {
            visit(x0, false);
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
}
