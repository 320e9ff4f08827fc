//! Records what a sampler does as a [`Program`].

use std::sync::Arc;

use super::edit::{Edit, Editor};
use super::guidance::Guidance;
use super::program::{Expr, Instruction, Noise, NoiseScale, Program, Slot, SlotKind, Span, for_each_slot};
use crate::denoiser::{Denoiser, Level, Point};
use crate::error::{Error, Result};
use crate::schedule::Clip;

/// A denoiser's answer for an image.
#[derive(Clone, Debug)]
pub struct Denoised {
    /// Its estimate of the clean image, x̂₀ = D(x; level), unclipped.
    pub x0: Expr,
    /// Its estimate of the noise, ε̂ = (x - alpha x̂₀) / sigma.
    pub epsilon: Expr,
    /// The network's own output.
    pub output: Slot,
    /// The slot that holds a learned variance: the same one, unless somebody watches, who may have changed what the network said of the
    /// image.
    pub variance: Slot,
}

/// Records what a sampler does.
pub struct Recorder<'a> {
    denoiser: &'a dyn Denoiser,
    /// What samplers take the answers for, where that is another network's.
    network: Option<&'a dyn Denoiser>,
    instructions: Vec<Instruction>,
    slots: Vec<SlotKind>,
    draws: u32,
    steps: usize,
    guidance: Guidance,
    watched: bool,
    noise: Option<Arc<[f32]>>,
}

impl<'a> Recorder<'a> {
    /// An empty record of a run with a network that answers what `denoiser` asks.
    #[must_use]
    pub fn new(denoiser: &'a dyn Denoiser) -> Self {
        Self {
            denoiser,
            network: None,
            instructions: Vec::new(),
            slots: Vec::new(),
            draws: 0,
            steps: 0,
            guidance: Guidance::default(),
            watched: false,
            noise: None,
        }
    }

    /// The same for a run that is guided.
    #[must_use]
    pub fn guided(self, guidance: Guidance) -> Self {
        Self { guidance, ..self }
    }

    /// The same for a run in which somebody looks at each x̂₀ and may change it: [`Evaluate::watch`](super::Evaluate::watch).
    #[must_use]
    pub fn watched(self, watched: bool) -> Self {
        Self { watched, ..self }
    }

    /// The same for a run whose sampler sees, in the place of each answer, what this network would have said.
    #[must_use]
    pub fn in_place_of(self, network: &'a dyn Denoiser) -> Self {
        Self { network: Some(network), ..self }
    }

    /// The same for a run that starts from this noise, of deviation 1.
    #[must_use]
    pub fn from(self, noise: Option<Arc<[f32]>>) -> Self {
        Self { noise, ..self }
    }

    /// The initial image: nothing but noise of standard deviation `sigma`.
    pub fn start(&mut self, sigma: f64) -> Slot {
        match self.noise.take() {
            None => self.add_noise(Expr::default(), sigma),
            // The generator makes its own all the same, so that what comes after is the same.
            Some(noise) => {
                let noise = self.load(noise);
                self.add_noise(sigma * noise, 0.0)
            }
        }
    }

    /// Pictures that the run was given.
    pub(super) fn load(&mut self, pictures: Arc<[f32]>) -> Slot {
        let output = self.slot(SlotKind::Image);
        self.instructions.push(Instruction::Load { output, pictures });
        output
    }

    /// Asks the network about `x`, which is at the level of that point.
    pub fn denoise(&mut self, x: Slot, at: Point) -> Denoised {
        let output = self.slot(SlotKind::Output);
        let question = self.denoiser.ask(at);
        let (scale, timestep) = (question.input, question.c_noise);
        let guided = self.guidance.at(at.level);
        self.instructions.push(Instruction::Evaluate { input: x, scale, timestep, guided, output });
        let ((a, b), (c, d)) = (question.x0(at.level), question.epsilon(at.level));
        let mut denoised =
            Denoised { x0: a * x + b * output, epsilon: c * x + d * output, output, variance: output };
        if let Some(network) = self.network {
            denoised.output = self.said_by(network, at, denoised.x0.clone(), denoised.epsilon.clone());
        }
        if self.watched { self.watch(x, at, denoised) } else { denoised }
    }

    /// What the network would have said for the x̂₀ that whoever watches gives.
    fn watch(&mut self, x: Slot, at: Point, denoised: Denoised) -> Denoised {
        let found = self.combine(denoised.x0);
        let x0 = self.slot(SlotKind::Image);
        self.instructions.push(Instruction::Watch { at, x0: found, output: x0 });
        let epsilon = (x - at.level.alpha * x0) / at.level.sigma.max(1e-12);
        let network = self.network.unwrap_or(self.denoiser);
        let output = self.said_by(network, at, x0.into(), epsilon.clone());
        Denoised { x0: x0.into(), epsilon, output, variance: denoised.variance }
    }

    /// What a network says that finds these.
    fn said_by(&mut self, network: &dyn Denoiser, at: Point, x0: Expr, epsilon: Expr) -> Slot {
        let question = network.ask(at);
        self.combine(question.of_x0 * x0 + question.of_epsilon * epsilon)
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

    /// `(|over[0]| / |over[1]|)^power · x`, by the norms of each picture, or by their means over the `batch`.
    pub fn rescale(&mut self, x: Slot, over: [Slot; 2], power: u8, batch: bool) -> Slot {
        let output = self.slot(SlotKind::Image);
        self.instructions.push(Instruction::Rescale { output, input: x, over, power, batch });
        output
    }

    /// Where the probability-flow ODE leads from `x`, which is at the level where the span begins, with dx/d ln σ = `slope`.
    pub fn integrate(&mut self, x: Slot, slope: Slot, span: Span) -> Slot {
        let output = self.slot(SlotKind::Image);
        self.instructions.push(Instruction::Integrate { output, input: x, slope, span: Arc::new(span) });
        output
    }

    /// Ends a step that started at `from`, with `x` as the noisy image, which is at the level `to`, and `x0` as the estimate of
    /// the clean one.
    pub fn end_step(&mut self, from: Point, to: Level, x: Slot, x0: Slot) {
        self.instructions.push(Instruction::EndStep { from, to, x, x0 });
        self.steps += 1;
    }

    /// Makes of what was recorded so far a run that begins with a picture, or keeps a part of one.
    pub(super) fn edit(&mut self, edit: &Edit) {
        let recorded = std::mem::take(&mut self.instructions);
        let mut editor = Editor::new(std::mem::take(&mut self.slots));
        editor.edit(&recorded, edit);
        (self.instructions, self.slots, self.steps) = editor.finish();
    }

    fn slot(&mut self, kind: SlotKind) -> Slot {
        self.slots.push(kind);
        Slot(self.slots.len() - 1)
    }

    fn push(&mut self, expr: Expr, clip: Clip, noise: Option<Noise>) -> Slot {
        let output = self.slot(SlotKind::Image);
        // Drop zero terms: for an ε network, ε̂ = 0·x + 1·m needs no read of x.
        let terms = expr.terms.into_iter().filter(|(_, c)| *c != 0.0).collect();
        self.instructions.push(Instruction::Combine { output, terms, clip, noise });
        output
    }

    /// The finished program, with slots reused once their last reader has run.
    ///
    /// # Errors
    /// [`Error::Unsupported`] if the image is not determined: a network that predicts ε at zero terminal SNR says
    /// nothing about x₀ there, and only a clip makes x̂₀ finite.
    ///
    /// # Panics
    /// If an expression uses a slot of another recorder.
    pub fn finish(mut self) -> Result<Program> {
        let integrates = self.instructions.iter().any(|i| matches!(i, Instruction::Integrate { .. }));
        let asked = [(self.guidance.scale != 1.0, "guidance"), (self.watched, "on_prediction")];
        if let Some((_, option)) = asked.into_iter().find(|(is, _)| integrates && *is) {
            return Err(Error::Option {
                option,
                found: "chosen".to_owned(),
                expected: "left out, as this sampler chooses its evaluations while it runs".to_owned(),
            });
        }
        for instruction in &self.instructions {
            let Instruction::Combine { terms, clip, .. } = instruction else { continue };
            let limit = if *clip == Clip::None { 1e12 } else { f64::from(f32::MAX) };
            if terms.iter().any(|(_, c)| c.is_nan()) {
                return Err(Error::Option {
                    option: "steps",
                    found: self.steps.to_string(),
                    expected: "fewer, as two of the run's levels cannot be told apart".to_owned(),
                });
            }
            if terms.iter().any(|(_, c)| c.abs() > limit) {
                return Err(Error::Unsupported {
                    what: "predicting the noise where no signal is left (zero terminal SNR) without clipping".to_owned(),
                    why: "the image would be infinite there. Set `clip_sample` to true, or use a network that predicts v"
                        .to_owned(),
                });
            }
        }
        self.reuse_slots();
        Ok(Program { instructions: self.instructions, slots: self.slots, steps: self.steps, every: 1 })
    }

    /// Renames the slots so that each is reused once its value has been read for the last time.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::denoiser::Prediction;

    fn at(alpha: f64, sigma: f64, timestep: f64) -> Point {
        Point { level: Level { alpha, sigma }, timestep }
    }

    #[test]
    fn slots_are_taken_again_and_no_output_is_an_input() {
        let mut run = Recorder::new(&Prediction::Epsilon);
        let mut x = run.start(1.0);
        for t in (0..50).rev() {
            let d = run.denoise(x, at(0.6, 0.8, f64::from(t)));
            let x0 = run.clip(d.x0, Clip::Range(1.0));
            x = run.add_noise(0.5 * x + 0.5 * x0, NoiseScale::Learned { output: d.output });
            run.end_step(at(0.6, 0.8, f64::from(t)), Level::CLEAN, x, x0);
        }
        let program = run.finish().unwrap();
        assert_eq!(program.steps(), 50);
        assert_eq!(program.slots().iter().filter(|k| **k == SlotKind::Image).count(), 3);
        assert_eq!(program.slots().len(), 4);
        for mut instruction in program.instructions().to_vec() {
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
        let mut run = Recorder::new(&Prediction::Sample);
        let x = run.start(1.0);
        let d = run.denoise(x, at(0.6, 0.8, 9.0));
        let x0 = run.combine(d.x0);
        run.end_step(at(0.6, 0.8, 9.0), Level::CLEAN, x, x0);
        let program = run.finish().unwrap();
        let Instruction::Combine { terms, .. } = &program.instructions()[2] else { panic!() };
        assert_eq!(terms[..], [(d.output, 1.0)]);
    }

    #[test]
    fn what_nothing_reads_does_not_take_the_place_of_what_something_reads() {
        let mut run = Recorder::new(&Prediction::Epsilon);
        let x = run.start(1.0);
        let unread = run.combine(2.0 * x);
        let y = run.combine(3.0 * x);
        run.end_step(at(0.6, 0.8, 0.0), Level::CLEAN, y, x);
        let program = run.finish().unwrap();
        assert_ne!(unread, x);
        let Some(Instruction::EndStep { x, x0, .. }) = program.instructions().last() else { panic!() };
        assert_ne!(x, x0);
    }

    #[test]
    fn infinite_images_are_refused_unless_clipped() {
        let record = |clip| {
            let mut run = Recorder::new(&Prediction::Epsilon);
            let x = run.start(1.0);
            let d = run.denoise(x, at(0.0, 1.0, 9.0));
            let x0 = run.clip(d.x0, clip);
            run.end_step(at(0.6, 0.8, 9.0), Level::CLEAN, x, x0);
            run.finish()
        };
        assert!(record(Clip::Range(1.0)).is_ok());
        assert_eq!(record(Clip::None).unwrap_err().kind(), "unsupported-architecture");
    }
}
