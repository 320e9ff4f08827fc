//! The noise of a run, in Python's order: some of it is drawn before the sampler begins.

use crate::error::Result;
use crate::model::Rng;
use crate::rng::{Generator, Normals};

/// One generator for the whole batch, or one for each picture.
#[derive(Clone, Debug)]
pub(super) struct Noises {
    generators: Vec<Generator>,
    /// What the sampler is given for its first draw, as something else was drawn since.
    first: Option<Vec<f32>>,
}

/// Draws that no sampler has numbers for, from the end.
pub(super) const PICTURE: u32 = u32::MAX;
pub(super) const MASKED: u32 = u32::MAX - 1;

impl Noises {
    /// # Errors
    /// [`Error::Option`](crate::Error::Option) for a seed that is too large.
    pub(super) fn new(rng: Rng, seeds: &[u64]) -> Result<Self> {
        let one = |seed: &u64| match rng {
            Rng::Philox => Generator::philox(*seed),
            Rng::Torch => Generator::torch(*seed),
        };
        let seeds = if seeds.is_empty() { &[0] } else { seeds };
        Ok(Self { generators: seeds.iter().map(one).collect::<Result<_>>()?, first: None })
    }

    /// For how many of the pictures given something is drawn: for each that is made, where each has a generator.
    pub(super) fn count(&self, given: usize, made: usize) -> usize {
        if self.generators.len() > 1 { made } else { given }
    }

    /// Draws normal noise for so many pictures of a length.
    pub(super) fn draw(&mut self, draw: u32, pictures: usize, each: usize) -> Vec<f32> {
        let mut noise = vec![0.0; pictures * each];
        self.fill(draw, pictures, &mut noise);
        noise
    }

    /// Draws what the sampler begins with before it asks.
    pub(super) fn draw_first(&mut self, pictures: usize, each: usize) {
        self.first = Some(self.draw(0, pictures, each));
    }

    fn fill(&mut self, draw: u32, pictures: usize, out: &mut [f32]) {
        if let [one] = &mut self.generators[..] {
            return one.normals(draw, pictures, out);
        }
        let each = (out.len() / self.generators.len()).max(1);
        for (generator, out) in self.generators.iter_mut().zip(out.chunks_exact_mut(each)) {
            generator.normals(draw, 1, out);
        }
    }
}

impl Normals for Noises {
    fn normals(&mut self, draw: u32, batch: usize, out: &mut [f32]) {
        match self.first.take() {
            Some(first) => out.copy_from_slice(&first),
            None => self.fill(draw, batch, out),
        }
    }
}
