//! A sampler's program in the words that `combine.wgsl` reads.

use std::sync::Arc;

use super::combine::{
    NO_NOISE, NOISE_CONSTANT, NOISE_DRAWN, NOISE_LEARNED, NOISE_LEARNED_RANGE, OP_BLEND, OP_COMBINE,
    OP_END_STEP, OP_GIVE_INPUT, OP_TAKE_OUTPUT,
};
use crate::denoiser::{Level, Point};
use crate::error::{Error, Result};
use crate::rng::Generator;
use crate::sampler::{Guided, Instruction, Noise, NoiseScale, Program, Slot, SlotKind};
use crate::schedule::Clip;

/// What is done between two evaluations of the network: one dispatch, and what comes before it.
#[derive(Clone, Debug, Default)]
pub(super) struct Segment {
    /// Which of the run's networks it is for.
    pub(super) side: usize,
    /// The evaluation that this network makes first.
    pub(super) evaluation: Option<usize>,
    pub(super) words: Vec<u32>,
    /// Pictures that are uploaded before it, and where they go among the slots.
    pub(super) uploads: Vec<(Arc<[f32]>, usize)>,
    /// Draws of noise that the host makes for it: their numbers, and where they go among the slots.
    pub(super) draws: Vec<(u32, usize)>,
    /// The step that ends with it.
    pub(super) end: Option<End>,
}

/// The end of a step.
#[derive(Clone, Copy, Debug)]
pub(super) struct End {
    /// Where the step started from.
    pub(super) from: Point,
    /// The level that it arrived at, which `x` has.
    pub(super) to: Level,
    /// The slots of x and x̂₀.
    pub(super) images: [Slot; 2],
    /// Whether somebody looks at them.
    pub(super) is_shown: bool,
}

/// What a run works with: images, pixels of one, and its and the network's output's channels.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    pub(super) batch: usize,
    pub(super) pixels: usize,
    pub(super) channels: usize,
    pub(super) out_channels: usize,
}

/// A program, translated.
#[derive(Debug)]
pub(super) struct Compiled {
    pub(super) segments: Vec<Segment>,
    /// Of evaluations of the pictures once, and twice.
    pub(super) timesteps: [Vec<f64>; 2],
    /// The timestep of each check that numbers are finite, by the check's number.
    pub(super) checks: Vec<f64>,
    /// Where each slot starts in the buffer of all slots, and that buffer's floats.
    pub(super) offsets: Vec<usize>,
    pub(super) floats: usize,
}

/// A program that is being translated, instruction by instruction.
struct Compiler<'a> {
    program: &'a Program,
    sizes: Sizes,
    /// Whether the host draws the noise.
    drawn: bool,
    /// Where drawn noise goes, and how many of the places the step has used. What a step uploads is there before the step
    /// begins, so each of its draws needs a place of its own.
    places: Vec<usize>,
    used: usize,
    floats: u64,
    offsets: Vec<usize>,
    segments: Vec<Segment>,
    timesteps: [Vec<f64>; 2],
    checks: Vec<f64>,
    steps: usize,
}

impl Compiled {
    /// # Errors
    /// [`Error::Unsupported`] for programs that need the host, [`Error::WrongShape`] where the network has not learned the variance
    /// that is asked of it, [`Error::OutOfMemory`] where the images are more than can be counted.
    pub(super) fn of(program: &Program, noise: &Generator, sizes: Sizes) -> Result<Self> {
        let mut compiler = Compiler {
            program,
            sizes,
            drawn: matches!(noise, Generator::Torch(_)),
            places: Vec::new(),
            used: 0,
            floats: 0,
            offsets: Vec::new(),
            segments: vec![Segment::default()],
            timesteps: [const { Vec::new() }; 2],
            checks: Vec::new(),
            steps: 0,
        };
        for kind in program.slots() {
            let start = compiler.place(kind);
            compiler.offsets.push(start);
        }
        let first = |i: &Instruction| match i {
            Instruction::Evaluate { guided, .. } => Some(usize::from(guided.is_some())),
            _ => None,
        };
        compiler.segments[0].side = program.instructions().iter().find_map(first).unwrap_or(0);
        for instruction in program.instructions() {
            compiler.instruction(instruction)?;
        }
        let Compiler { floats, segments, timesteps, checks, offsets, .. } = compiler;
        // Kernels count in 32 bits, and a page's machine counts bytes in as many.
        if u32::try_from(floats).is_err() || usize::try_from(4 * floats).is_err() {
            return Err(Error::OutOfMemory { problem: format!("{} bytes of images", 4 * floats) });
        }
        Ok(Self { segments, timesteps, checks, offsets, floats: floats as usize })
    }
}

impl Compiler<'_> {
    /// A place behind all others.
    fn place(&mut self, kind: &SlotKind) -> usize {
        let Sizes { batch, pixels, channels, out_channels } = self.sizes;
        let channels = if *kind == SlotKind::Image { channels } else { out_channels };
        let start = self.floats as usize;
        self.floats += (batch * pixels * channels).next_multiple_of(64) as u64;
        start
    }

    fn offset(&self, slot: Slot) -> u32 {
        self.offsets[slot.index()] as u32
    }

    /// The segment that an instruction belongs to, other than an evaluation.
    fn segment(&mut self) -> &mut Segment {
        let last = self.segments.len() - 1;
        // What comes before the next evaluation must leave alone what the step that ended shows.
        if self.segments[last].end.is_some() {
            let side = self.segments[last].side;
            self.segments.push(Segment { side, ..Segment::default() });
        }
        let last = self.segments.len() - 1;
        &mut self.segments[last]
    }

    fn instruction(&mut self, instruction: &Instruction) -> Result<()> {
        match instruction {
            Instruction::Evaluate { input, scale, timestep, guided, output } => {
                self.evaluate([*input, *output], *scale as f32, *timestep, guided.as_ref());
            }
            Instruction::Load { output, pictures } => {
                let to = self.offsets[output.index()];
                self.segment().uploads.push((Arc::clone(pictures), to));
            }
            Instruction::Blend { output, mask, yes, no } => {
                let [output, mask, yes, no] = [output, mask, yes, no].map(|slot| self.offset(*slot));
                self.segment().words.extend([OP_BLEND, output, mask, yes, no]);
            }
            Instruction::Combine { output, terms, clip, noise } => {
                self.combine(*output, terms, *clip, noise.as_ref())?;
            }
            Instruction::EndStep { from, to, x, x0 } => {
                let words = [OP_END_STEP, self.offset(*x), self.checks.len() as u32];
                self.checks.push(from.timestep);
                self.used = 0;
                let is_shown = self.program.shows(self.steps);
                self.steps += 1;
                let segment = self.segment();
                segment.words.extend(words);
                segment.end = Some(End { from: *from, to: *to, images: [*x, *x0], is_shown });
            }
            Instruction::Restore { .. }
            | Instruction::Watch { .. }
            | Instruction::Rescale { .. }
            | Instruction::Integrate { .. } => return Err(needs_host()),
        }
        Ok(())
    }

    /// Ends the segment before with what the network is given, and begins one with what it answers.
    fn evaluate(&mut self, [input, output]: [Slot; 2], scale: f32, timestep: f64, guided: Option<&Guided>) {
        let Sizes { batch, pixels, channels, out_channels } = self.sizes;
        let side = usize::from(guided.is_some());
        let beyond = side * batch * pixels;
        let [again, others] = [channels, out_channels].map(|c| (beyond * c) as u32);
        let give = [OP_GIVE_INPUT, self.offset(input), scale.to_bits(), again];
        let last = self.segments.len() - 1;
        if self.segments[last].side == side {
            self.segments[last].words.extend(give);
        } else {
            // The other network's input lies in another buffer.
            self.segments.push(Segment { side, words: give.to_vec(), ..Segment::default() });
        }
        let share = guided.map_or(1.0, |guided| guided.scale as f32);
        let (to, check) = (self.offset(output), self.checks.len() as u32);
        let words = vec![OP_TAKE_OUTPUT, to, check, others, share.to_bits()];
        let evaluation = Some(self.timesteps[side].len());
        self.segments.push(Segment { side, evaluation, words, ..Segment::default() });
        self.timesteps[side].push(timestep);
        self.checks.push(timestep);
    }

    fn combine(
        &mut self,
        output: Slot,
        terms: &[(Slot, f64)],
        clip: Clip,
        noise: Option<&Noise>,
    ) -> Result<()> {
        let range = match clip {
            Clip::None => 0.0,
            Clip::Range(range) => range as f32,
            Clip::Dynamic { .. } => return Err(needs_host()),
        };
        let mut words = vec![OP_COMBINE, self.offset(output), range.to_bits()];
        match noise {
            None => words.extend([NO_NOISE, 0, 0, 0, 0]),
            Some(noise) => words.extend(self.noise(noise)?),
        }
        words.push(terms.len() as u32);
        for (slot, coefficient) in terms {
            let channels = match self.program.slots()[slot.index()] {
                SlotKind::Image => self.sizes.channels,
                SlotKind::Output => self.sizes.out_channels,
            };
            words.extend([self.offset(*slot), channels as u32, (*coefficient as f32).to_bits()]);
        }
        self.segment().words.extend(words);
        Ok(())
    }

    /// Kind, draw, two numbers and the slot of the variance.
    fn noise(&mut self, noise: &Noise) -> Result<[u32; 5]> {
        let (mut kind, numbers, variance) = match noise.scale {
            NoiseScale::Constant(scale) => (NOISE_CONSTANT, [scale as f32, 0.0], 0),
            NoiseScale::Learned { output } => (NOISE_LEARNED, [0.0; 2], self.learned(output)?),
            NoiseScale::LearnedRange { output, log_min, log_max } => {
                (NOISE_LEARNED_RANGE, [log_min as f32, log_max as f32], self.learned(output)?)
            }
        };
        let mut draw = noise.draw;
        if self.drawn {
            if self.used == self.places.len() {
                let place = self.place(&SlotKind::Image);
                self.places.push(place);
            }
            let place = self.places[self.used];
            self.used += 1;
            self.segment().draws.push((draw, place));
            (kind, draw) = (kind | NOISE_DRAWN, place as u32);
        }
        let [a, b] = numbers.map(f32::to_bits);
        Ok([kind, draw, a, b, variance])
    }

    /// Where the output lies, whose second half is a variance.
    fn learned(&self, output: Slot) -> Result<u32> {
        let Sizes { batch, pixels, channels, out_channels } = self.sizes;
        if out_channels == 2 * channels {
            return Ok(self.offset(output));
        }
        let key = "the network's output".to_owned();
        let expected = vec![batch, 2 * channels, pixels];
        Err(Error::WrongShape { key, expected, found: vec![batch, out_channels, pixels] })
    }
}

/// For what looks at a whole image at once, or shows it to somebody.
fn needs_host() -> Error {
    Error::Unsupported {
        what: "such a sampler on the GPU".to_owned(),
        why: "it looks at whole images; replay it on the host".to_owned(),
    }
}
