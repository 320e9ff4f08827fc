//! Where the words of a prompt acted: how much each pixel looked at each of them.
//!
//! The map of a word is the weight that cross-attention gives its tokens, added up over these, and averaged over the heads, over all
//! attentions of the network to the text, each brought to the latents' size by its nearest pixels, and over the evaluations of a step.
//! These are the maps of Hertz et al. (2022, "Prompt-to-Prompt Image Editing with Cross Attention Control") and Tang et al. (2022, "What the
//! DAAM: Interpreting Stable Diffusion Using Cross Attention"), which leave out some sizes and enlarge smoothly.

use std::ops::Range;

use crate::network::array::Array;
use crate::prompt::Word;

/// Where the words of one picture's prompt acted.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WordMaps {
    /// The words, as the first text encoder's tokenizer parts them.
    pub words: Vec<String>,
    /// Height and width of a map: the latents'.
    pub size: [usize; 2],
    /// In the step that was taken, `[words, height, width]`, each from 0 to 1. What a pixel's add up to is less than 1, as it looks at the start
    /// and the end of the text too.
    pub now: Vec<f32>,
    /// The same, averaged over the steps so far.
    pub mean: Vec<f32>,
}

/// Collects maps in the course of a run.
pub(super) struct Watch {
    /// Of each picture, where its words' tokens are.
    tokens: Vec<Vec<Range<usize>>>,
    maps: Vec<WordMaps>,
    evaluations: usize,
    steps: usize,
}

impl Watch {
    /// For pictures with these words.
    pub(super) fn new(words: &[&[Word]]) -> Self {
        let maps = words.iter().map(|words| WordMaps {
            words: words.iter().map(|word| word.text.clone()).collect(),
            ..WordMaps::default()
        });
        Self {
            maps: maps.collect(),
            tokens: words
                .iter()
                .map(|words| words.iter().map(|word| word.tokens.clone()).collect())
                .collect(),
            evaluations: 0,
            steps: 0,
        }
    }

    /// Takes what an evaluation tells, `[rows, tokens, height, width]`, of which the pictures' rows are the first.
    pub(super) fn take(&mut self, map: &Array) {
        let [_, tokens, height, width] = map.shape[..] else { return };
        let plane = height * width;
        for ((maps, words), row) in
            self.maps.iter_mut().zip(&self.tokens).zip(map.values.chunks_exact(tokens * plane))
        {
            maps.size = [height, width];
            if self.evaluations == 0 {
                maps.now.clear();
            }
            maps.now.resize(words.len() * plane, 0.0);
            for (out, word) in maps.now.chunks_exact_mut(plane).zip(words) {
                let of_word = &row[word.start.min(tokens) * plane..word.end.min(tokens) * plane];
                for token in of_word.chunks_exact(plane) {
                    out.iter_mut().zip(token).for_each(|(out, weight)| *out += weight);
                }
            }
        }
        self.evaluations += 1;
    }

    /// The maps after a step.
    pub(super) fn step(&mut self) -> &[WordMaps] {
        let evaluations = self.evaluations.max(1) as f32;
        self.steps += 1;
        let share = 1.0 / self.steps as f32;
        for WordMaps { now, mean, .. } in &mut self.maps {
            now.iter_mut().for_each(|weight| *weight /= evaluations);
            mean.resize(now.len(), 0.0);
            mean.iter_mut().zip(&*now).for_each(|(mean, now)| *mean += (now - *mean) * share);
        }
        self.evaluations = 0;
        &self.maps
    }
}
