//! What a run of a pipeline is asked for.

use super::{Kind, Task, binary_mask, masked, resize, to_signed};
use crate::error::{Error, Result};
use crate::model::Rng;
use crate::sampler::{Guidance, SamplerKind, Settings};

/// A picture or a mask that a run is given.
#[derive(Clone, Debug, PartialEq)]
pub enum Image {
    /// Bytes of red, green and blue, `[height, width, 3]`, which are resized to what the pipeline takes.
    Picture {
        /// The bytes.
        rgb: Vec<u8>,
        /// Height and width.
        size: [usize; 2],
    },
    /// Numbers from 0 to 1 of the size that the pipeline takes, `[batch, channels, height, width]`; or from -1 where one of them is below 0.
    Numbers {
        /// The numbers.
        values: Vec<f32>,
        /// Their shape.
        shape: [usize; 4],
    },
}

/// What to make. What a pipeline has no use for is left at its default.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// What is wanted, one text for each picture or group of pictures.
    pub prompts: Vec<String>,
    /// What the second text encoder is told, as many; the same where there are none.
    pub prompts_2: Vec<String>,
    /// What is not wanted: one for all, one for each, or none.
    pub negative_prompts: Vec<String>,
    /// The scale of guidance; None takes what Python's pipeline does. At 1 and below there is none.
    pub guidance: Option<f64>,
    /// How far the guided answer's deviation is brought back, and where it is guided. The scale does not count.
    pub guided: Guidance,
    /// Classes, one for all pictures or one each.
    pub labels: Vec<u32>,
    /// The sampler; None takes the one that the pipeline's scheduler stands for.
    pub sampler: Option<SamplerKind>,
    /// The sampler's options, by name.
    pub settings: Settings,
    /// Number of steps; None takes what Python's pipeline does.
    pub steps: Option<usize>,
    /// Height and width of the pictures in pixels; None takes those that the network was trained at.
    pub size: [Option<usize>; 2],
    /// Pictures of each prompt; None is 1.
    pub batch: Option<usize>,
    /// A picture to begin with.
    pub init: Option<Image>,
    /// How much of the run is made of `init`, above 0 to 1; None is 0.8, and 1 with a mask.
    pub strength: Option<f64>,
    /// What is painted anew: from a half on, of one channel.
    pub mask: Option<Image>,
    /// One seed for the whole batch, or one for each picture. None is 0.
    pub seeds: Vec<u64>,
    /// Whose random numbers.
    pub rng: Rng,
    /// Whether to tell where the words act: see [`WordMaps`](super::WordMaps).
    pub attention: bool,
}

/// A picture as an encoder takes it, and what of it is painted anew.
pub(super) struct Given {
    /// `[pictures, 3, height, width]` in [-1, 1].
    pub(super) values: Vec<f32>,
    pub(super) pictures: usize,
    pub(super) size: [usize; 2],
    /// `[height, width]`, 0 or 1.
    pub(super) mask: Option<Vec<f32>>,
}

impl Given {
    /// What a mask leaves of the pictures.
    pub(super) fn masked(&self) -> Option<Vec<f32>> {
        let mask = self.mask.as_ref()?;
        Some(masked(&self.values, mask))
    }
}

pub(super) fn refuse<T>(option: &'static str, found: impl ToString, expected: impl ToString) -> Result<T> {
    Err(Error::Option { option, found: found.to_string(), expected: expected.to_string() })
}

impl Request {
    /// What it does.
    pub(super) fn task(&self) -> Task {
        match (&self.init, &self.mask) {
            (None, _) => Task::Noise,
            (_, None) => Task::Picture,
            _ => Task::Inpaint { strength: self.strength.unwrap_or(1.0) },
        }
    }

    /// Refuses what this kind of pipeline has no use for.
    pub(super) fn check(&self, kind: Kind, inpaints: bool) -> Result<()> {
        let has_text = !matches!(kind, Kind::Dit | Kind::LatentDiffusion);
        let unwanted = "left out: this pipeline ";
        let given: [(&'static str, bool, bool, &str); 9] = [
            ("prompt", !self.prompts.is_empty(), has_text, "knows no text"),
            ("prompt_2", !self.prompts_2.is_empty(), kind == Kind::StableDiffusionXl, "has one text encoder"),
            (
                "negative_prompt",
                !self.negative_prompts.is_empty(),
                has_text && kind != Kind::LatentConsistency,
                "knows nothing to keep away from",
            ),
            ("guidance", self.guidance.is_some(), kind != Kind::LatentDiffusion, "is not guided"),
            (
                "guidance_rescale",
                self.guided.rescale != 0.0,
                !matches!(kind, Kind::LatentDiffusion | Kind::LatentConsistency),
                "is not guided by two answers",
            ),
            ("labels", !self.labels.is_empty(), kind == Kind::Dit, "knows no classes"),
            ("mask", self.mask.is_some(), self.init.is_some(), "needs a picture, `init`, to paint in"),
            ("strength", self.strength.is_some(), self.init.is_some(), "begins with noise"),
            ("attention", self.attention, has_text, "knows no text"),
        ];
        if let Some((option, .., why)) = given.iter().find(|(_, given, used, _)| *given && !used) {
            return refuse(option, "given", format!("{unwanted}{why}"));
        }
        if inpaints && self.mask.is_none() {
            return refuse(
                "mask",
                "left out",
                "given with a picture, `init`: this network paints in pictures",
            );
        }
        if kind == Kind::Dit && self.labels.is_empty() {
            return refuse("labels", "left out", "the classes of the pictures, from 0 to 999");
        }
        let sized = self.size.iter().any(Option::is_some);
        if sized && self.task() == Task::Picture {
            return refuse("height", "given", "left out: the picture, `init`, says the size");
        }
        if let Some(strength) = self.strength.filter(|s| !(*s > 0.0 && *s <= 1.0)) {
            return refuse("strength", crate::text::number(strength), "above 0, up to 1");
        }
        Ok(())
    }

    /// The pictures that it begins with, at a size of whole latents; at `size` where they are painted in.
    pub(super) fn given(&self, size: [usize; 2], factor: usize) -> Result<Option<Given>> {
        let Some(init) = &self.init else { return Ok(None) };
        let wanted = if self.mask.is_some() { size } else { whole(init.size(), factor) };
        if wanted.contains(&0) {
            let [height, width] = init.size();
            return refuse(
                "init",
                format!("{height} × {width}"),
                format!("{factor} pixels or more on each side"),
            );
        }
        let (mut values, pictures) = init.planes("init", 3, wanted)?;
        to_signed(&mut values);
        let mask = self.mask.as_ref().map(|mask| {
            let (mut mask, masks) = mask.planes("mask", 1, wanted)?;
            if masks != 1 {
                return refuse("mask", format!("{masks} masks"), "one for all pictures");
            }
            binary_mask(&mut mask);
            Ok(mask)
        });
        Ok(Some(Given { values, pictures, size: wanted, mask: mask.transpose()? }))
    }
}

/// A size rounded down to whole latents.
fn whole(size: [usize; 2], factor: usize) -> [usize; 2] {
    size.map(|side| side - side % factor)
}

impl Image {
    fn size(&self) -> [usize; 2] {
        match self {
            Self::Picture { size, .. } => *size,
            Self::Numbers { shape: [_, _, height, width], .. } => [*height, *width],
        }
    }

    /// Numbers from 0 to 1, `[pictures, channels, height, width]`, and how many pictures there are.
    fn planes(
        &self,
        option: &'static str,
        channels: usize,
        [height, width]: [usize; 2],
    ) -> Result<(Vec<f32>, usize)> {
        match self {
            Self::Picture { rgb, size } => {
                if rgb.len() != 3 * size[0] * size[1] || rgb.is_empty() {
                    let expected = format!("3 for each pixel of {} × {}", size[0], size[1]);
                    return refuse(option, format!("{} bytes", rgb.len()), expected);
                }
                let small = resize(rgb, *size, 3, [height, width]);
                let number = |byte: u8| f32::from(byte) / 255.0;
                let planes = if channels == 1 {
                    small.as_chunks::<3>().0.iter().map(|pixel| number(luma(*pixel))).collect()
                } else {
                    (0..3).flat_map(|c| small[c..].iter().step_by(3).map(|byte| number(*byte))).collect()
                };
                Ok((planes, 1))
            }
            Self::Numbers { values, shape } => {
                let [pictures, ..] = *shape;
                if shape[1..] != [channels, height, width]
                    || pictures == 0
                    || values.len() != shape.iter().product::<usize>()
                {
                    let expected = format!("[pictures, {channels}, {height}, {width}]");
                    return refuse(option, format!("of shape {shape:?}"), expected);
                }
                if let Some(value) = values.iter().find(|value| !(-1.0..=1.0).contains(*value)) {
                    let found = format!("of numbers such as {}", crate::text::number(f64::from(*value)));
                    return refuse(option, found, "of numbers from 0 to 1");
                }
                Ok((values.clone(), pictures))
            }
        }
    }
}

/// The brightness of a pixel as Pillow has it.
fn luma([red, green, blue]: [u8; 3]) -> u8 {
    let [red, green, blue] = [red, green, blue].map(u32::from);
    ((red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16) as u8
}
