//! Numbers that a pipeline makes beside its networks' answers.

use crate::error::{Error, Result};

/// A sample of the distribution that an AutoencoderKL's encoder gives: `mean + exp(½ · clamp(log variance, -30, 20)) · noise`.
/// `parameters` are `[pictures, 2 · channels, height, width]`, the means first; `noise` and what is returned have half as many.
#[must_use]
pub fn posterior(parameters: &[f32], noise: &[f32], pictures: usize) -> Vec<f32> {
    let each = noise.len() / pictures.max(1);
    let halves = parameters.chunks_exact((2 * each).max(1)).zip(noise.chunks_exact(each.max(1)));
    let sample = |(parameters, noise): (&[f32], &[f32])| {
        let (means, logarithms) = parameters.split_at(each);
        let values = means.iter().zip(logarithms).zip(noise);
        values.map(|((m, l), n)| m + (0.5 * l.clamp(-30.0, 20.0)).exp() * n).collect::<Vec<f32>>()
    };
    halves.flat_map(sample).collect()
}

/// What SDXL's network is told of a picture of this size that nothing was cut off of: `(height, width, 0, 0, height, width)`.
#[must_use]
pub fn time_ids(height: usize, width: usize) -> [f32; 6] {
    let [height, width] = [height as f32, width as f32];
    [height, width, 0.0, 0.0, height, width]
}

/// The scale of guidance as a latent consistency model is told it (Luo et al. 2023): sines, then cosines, of `1000 · (g - 1)` at falling
/// frequencies, and a zero where the width is odd.
#[must_use]
pub fn guidance_embedding(scale: f64, width: usize) -> Vec<f32> {
    let half = width / 2;
    // In f32, as Python's tensors are.
    let w = (scale as f32 - 1.0) * 1000.0;
    let step = (10_000f64.ln() / (half.max(2) - 1) as f64) as f32;
    let angles: Vec<f32> = (0..half).map(|k| w * (-(k as f32) * step).exp()).collect();
    let sines = angles.iter().map(|angle| angle.sin());
    let mut embedding: Vec<f32> = sines.chain(angles.iter().map(|angle| angle.cos())).collect();
    embedding.resize(width, 0.0);
    embedding
}

/// What a network that inpaints takes beside the latents: the mask and the latents of what it leaves, `[batch, 1 + channels, height, width]`.
/// `mask` is one picture's; the latents are one picture's or the batch's.
#[must_use]
pub fn inpainting_channels(mask: &[f32], latents: &[f32], channels: usize, batch: usize) -> Vec<f32> {
    let each = channels * mask.len();
    let mut joined = Vec::with_capacity(batch * (mask.len() + each));
    for image in latents.chunks_exact(each.max(1)).cycle().take(batch) {
        joined.extend(mask);
        joined.extend(image);
    }
    joined
}

/// Which texts a run encodes, and where each goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// The texts, each once.
    pub texts: Vec<String>,
    /// For each sequence that the network is given, which of them it is, or none for zeros: those that are not wanted first, then as
    /// many that are.
    pub sequences: Vec<Option<usize>>,
    /// How many pictures are made.
    pub pictures: usize,
}

impl Batch {
    /// Orders prompts as Stable Diffusion's pipelines do: each as often as there are pictures of it, one after the other. Negative prompts
    /// are one for all, one for each, or none: then empty, or zeros where the pipeline has it so.
    ///
    /// # Errors
    /// [`Error::Option`] without a prompt, for another number of negative ones, and for no pictures.
    pub fn of(
        prompts: &[String],
        negative: &[String],
        images_per_prompt: usize,
        guided: bool,
        zeros_for_no_prompt: bool,
    ) -> Result<Self> {
        let count = prompts.len();
        let refused =
            |option, found: String, expected: String| Err(Error::Option { option, found, expected });
        if count == 0 {
            return refused("prompt", "left out".to_owned(), "given once or several times".to_owned());
        }
        let pictures = count.checked_mul(images_per_prompt).filter(|n| (1..=MAX_PICTURES).contains(n));
        let Some(pictures) = pictures else {
            let expected = format!("1 or more, and at most {MAX_PICTURES} pictures of all prompts together");
            return refused("batch", images_per_prompt.to_string(), expected);
        };
        if !matches!(negative.len(), 0 | 1) && negative.len() != count {
            let expected = format!("given once, or {count} times as the prompt is");
            return refused("negative_prompt", format!("given {} times", negative.len()), expected);
        }
        let mut texts: Vec<String> = Vec::new();
        let mut place = |text: &str| {
            texts.iter().position(|known| known == text).unwrap_or_else(|| {
                texts.push(text.to_owned());
                texts.len() - 1
            })
        };
        let mut sequences = Vec::new();
        for n in 0..if guided { pictures } else { 0 } {
            let text = match negative {
                [] if zeros_for_no_prompt => None,
                [] => Some(""),
                [one] => Some(one.as_str()),
                each => Some(each[n / images_per_prompt].as_str()),
            };
            sequences.push(text.map(&mut place));
        }
        sequences.extend((0..pictures).map(|n| Some(place(&prompts[n / images_per_prompt]))));
        Ok(Self { texts, sequences, pictures })
    }
}

/// More pictures than one run makes.
const MAX_PICTURES: usize = 4096;
