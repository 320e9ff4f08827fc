//! What `noiseball sample` is given beside the sampler: prompts, guidance, a picture to begin with, and a mask.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use noiseball::model::Info;
use noiseball::pipeline::Image;
use noiseball::sampler::{Edit, Guidance, Operator};
use noiseball::train::dataset::{Given, read_one};
use noiseball::{Error, Result, text};

use crate::output;

#[derive(clap::Args)]
#[command(next_help_heading = "Guidance and editing")]
pub(crate) struct Arguments {
    /// How strongly to keep to the labels or prompts: 1 is not at all more than without [default: with prompts, what Python's pipeline has]
    #[arg(long, value_name = "G", allow_negative_numbers = true)]
    pub(crate) guidance: Option<f64>,
    /// How far the guided answer's deviation is brought back to that of the unguided, 0 to 1
    #[arg(long, value_name = "R", allow_negative_numbers = true)]
    guidance_rescale: Option<f64>,
    /// The noise levels, sigma/alpha, at which to guide: 0.2:5
    #[arg(long, value_name = "A:B", value_parser = interval, allow_hyphen_values = true)]
    guidance_interval: Option<[f64; 2]>,
    /// The label to keep away from, in place of the one that stands for any class
    #[arg(long, value_name = "L", requires = "guidance", allow_negative_numbers = true)]
    pub(crate) negative_label: Option<f32>,
    /// A picture to begin with or to keep a part of, or an .npy of numbers from 0 to 1. It has the model's size; a pipeline with an
    /// autoencoder makes a picture fit
    #[arg(long, value_name = "FILE")]
    init: Option<PathBuf>,
    /// How much of the run is made of --init, above 0 to 1 [default: 0.8, and 1 with --mask]
    #[arg(long, value_name = "S", requires = "init", allow_negative_numbers = true)]
    pub(crate) strength: Option<f64>,
    /// A picture that is white where to paint anew and black where to keep --init, or an .npy of numbers from 0 to 1
    #[arg(long, value_name = "FILE", requires = "init")]
    mask: Option<PathBuf>,
    /// What --init was measured of, to be restored: grey (colourise), x2 or x4 (a picture of that share of the size), or blur:S
    /// (by a Gaussian of S pixels)
    #[arg(long, value_name = "KIND", requires = "init", conflicts_with_all = ["mask", "invert"], value_parser = operator)]
    restore: Option<Operator>,
    /// How often the steps of each jump are made, as RePaint does, so that what is new fits what is kept [default: 1]
    #[arg(long, value_name = "R", value_parser = output::count::<usize>, allow_negative_numbers = true)]
    resamplings: Option<usize>,
    /// How many steps a jump goes back [default: 10]
    #[arg(long, value_name = "J", requires = "resamplings", value_parser = output::count::<usize>, allow_negative_numbers = true)]
    jump_length: Option<usize>,
    /// Go the other way with ddim, from --init to the noise that makes it, which --npy writes
    #[arg(long, requires = "init", requires = "npy")]
    invert: bool,
    /// An .npy of the noise to start from in place of the seed's, as --invert makes it
    #[arg(long, value_name = "FILE", conflicts_with = "invert")]
    noise: Option<PathBuf>,
}

#[derive(clap::Args)]
#[command(next_help_heading = "Pipelines with an autoencoder")]
pub(crate) struct Text {
    /// What the picture is to show; given several times, one picture each
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub(crate) prompt: Vec<String>,
    /// What the second text encoder is told, where there is one, as often as --prompt [default: the same]
    #[arg(long = "prompt-2", value_name = "TEXT", allow_hyphen_values = true)]
    pub(crate) prompt_2: Vec<String>,
    /// What it is not to show: once for all pictures, or as often as --prompt
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub(crate) negative_prompt: Vec<String>,
    /// Height of the pictures in pixels [default: what the network was trained at]
    #[arg(long, value_name = "PX", value_parser = output::count::<usize>, allow_negative_numbers = true)]
    pub(crate) height: Option<usize>,
    /// Width of the pictures in pixels
    #[arg(long, value_name = "PX", value_parser = output::count::<usize>, allow_negative_numbers = true)]
    pub(crate) width: Option<usize>,
    /// Low-rank updates of the weights, as safetensors
    #[arg(long, value_name = "FILE")]
    pub(crate) lora: Option<PathBuf>,
    /// Where the latents go: float32 [batch, channels, height, width], as the decoder takes them
    #[arg(long, value_name = "FILE")]
    pub(crate) npy_latents: Option<PathBuf>,
}

impl Text {
    /// Refuses these for a folder of one network.
    pub(crate) fn refuse(&self) -> Result<()> {
        let given = [
            ("prompt", !self.prompt.is_empty()),
            ("prompt_2", !self.prompt_2.is_empty()),
            ("negative_prompt", !self.negative_prompt.is_empty()),
            ("height", self.height.is_some()),
            ("width", self.width.is_some()),
            ("lora", self.lora.is_some()),
            ("npy_latents", self.npy_latents.is_some()),
        ];
        match first(&given) {
            Some(option) => {
                Err(refuse(option, "left out: this checkpoint is one network, without text and latents"))
            }
            None => Ok(()),
        }
    }
}

/// The first option of these that was given.
fn first(given: &[(&'static str, bool)]) -> Option<&'static str> {
    given.iter().find(|(_, given)| *given).map(|(option, _)| *option)
}

pub(crate) fn refuse(option: &'static str, expected: &str) -> Error {
    Error::Option { option, found: "given".to_owned(), expected: expected.to_owned() }
}

fn operator(text: &str) -> std::result::Result<Operator, String> {
    match (text, text.split_once(':')) {
        ("grey", _) => Ok(Operator::Grey),
        ("x2", _) => Ok(Operator::Mean(2)),
        ("x4", _) => Ok(Operator::Mean(4)),
        (_, Some(("blur", sigma))) if sigma.parse::<f64>().is_ok() => {
            Ok(Operator::Blur(sigma.parse().unwrap_or_default()))
        }
        _ => Err("it must be grey, x2, x4, or a blur such as blur:1.5".to_owned()),
    }
}

/// Two levels, `A:B`.
fn interval(text: &str) -> std::result::Result<[f64; 2], String> {
    let two = text.split_once(':').and_then(|(a, b)| Some([a.trim().parse().ok()?, b.trim().parse().ok()?]));
    two.ok_or_else(|| "it must be two levels sigma/alpha such as 0.2:5".to_owned())
}

impl Arguments {
    /// Refuses what says how to guide where nothing is guided.
    pub(crate) fn check_guided(&self) -> Result<()> {
        let given = [
            ("guidance_rescale", self.guidance_rescale.is_some()),
            ("guidance_interval", self.guidance_interval.is_some()),
        ];
        match first(&given).filter(|_| self.guidance.is_none()) {
            Some(option) => Err(refuse(option, "left out, or be given with --guidance")),
            None => Ok(()),
        }
    }

    /// What was given that a pipeline of several networks has no use for.
    pub(crate) fn only_of_one_network(&self) -> Option<&'static str> {
        let given = [
            ("negative_label", self.negative_label.is_some()),
            ("restore", self.restore.is_some()),
            ("resamplings", self.resamplings.is_some()),
            ("jump_length", self.jump_length.is_some()),
            ("invert", self.invert),
            ("noise", self.noise.is_some()),
        ];
        first(&given)
    }

    /// The picture to begin with and the mask, as a pipeline of several networks takes them.
    pub(crate) fn images(&self) -> Result<[Option<Image>; 2]> {
        let init = self.init.as_deref().map(|path| image("init", path, 3)).transpose()?;
        Ok([init, self.mask.as_deref().map(|path| image("mask", path, 1)).transpose()?])
    }

    pub(crate) fn guidance(&self) -> Guidance {
        let none = Guidance::default();
        none.scale(self.guidance.unwrap_or(none.scale))
            .rescale(self.guidance_rescale.unwrap_or(none.rescale))
            .interval(self.guidance_interval.unwrap_or(none.interval))
    }

    pub(crate) fn edit(&self, model: &Info) -> Result<Option<Edit>> {
        let Some(path) = &self.init else { return Ok(None) };
        let shape = [model.channels, model.height, model.width];
        let k = if let Some(Operator::Mean(k)) = self.restore { k } else { 1 };
        let small = [shape[0], shape[1] / k, shape[2] / k];
        let mut init: Vec<f32> =
            pictures("init", path, 0.0..=1.0, small)?.into_iter().map(|v| 2.0 * v - 1.0).collect();
        if let Some(operator) = self.restore {
            operator.check(shape)?;
            init = match operator {
                Operator::Mean(k) => enlarged(&init, small, k),
                _ => {
                    init.chunks_exact(shape.iter().product()).flat_map(|y| operator.undo(y, shape)).collect()
                }
            };
        }
        let mut edit = Edit::new(init).strength(self.strength).restore(self.restore).invert(self.invert);
        edit.mask = self.mask.as_deref().map(|path| mask(path, model)).transpose()?.map(Into::into);
        edit.resamplings = self.resamplings.unwrap_or(edit.resamplings);
        edit.jump_length = self.jump_length.unwrap_or(edit.jump_length);
        Ok(Some(edit))
    }

    pub(crate) fn noise(&self, model: &Info) -> Result<Option<Arc<[f32]>>> {
        let Some(path) = &self.noise else { return Ok(None) };
        pictures("noise", path, -100.0..=100.0, [model.channels, model.height, model.width])
            .map(|noise| Some(noise.into()))
    }

    /// Adds what was given to the command that does the same again.
    pub(crate) fn report(&self, add: &mut dyn FnMut(&str, &dyn Display)) {
        let mut given = |name: &str, value: Option<&dyn Display>| {
            if let Some(value) = value {
                add(name, value);
            }
        };
        fn shown<T: Display>(value: Option<&T>) -> Option<&dyn Display> {
            value.map(|value| value as &dyn Display)
        }
        let file =
            |path: &Option<PathBuf>| path.as_ref().map(|p| text::prose(&p.to_string_lossy()).to_string());
        given("guidance", shown(self.guidance.as_ref()));
        given("guidance-rescale", shown(self.guidance_rescale.as_ref()));
        given("guidance-interval", shown(self.guidance_interval.map(|[a, b]| format!("{a}:{b}")).as_ref()));
        given("negative-label", shown(self.negative_label.as_ref()));
        given("init", shown(file(&self.init).as_ref()));
        given("strength", shown(self.strength.as_ref()));
        given("mask", shown(file(&self.mask).as_ref()));
        given("restore", shown(self.restore.as_ref()));
        given("resamplings", shown(self.resamplings.as_ref()));
        given("jump-length", shown(self.jump_length.as_ref()));
        given("noise", shown(file(&self.noise).as_ref()));
        given("invert", self.invert.then_some(&"" as &dyn Display));
    }
}

/// A picture of any size, or numbers of pictures or masks of so many channels.
fn image(option: &'static str, path: &Path, channels: usize) -> Result<Image> {
    let given = read_one(path, 0.0..=1.0)?;
    let shape = match given.shape[..] {
        [_, height, width] if given.is_picture => {
            let pixels = height * width;
            let byte = |at: usize| (given.values[at % 3 * pixels + at / 3] * 255.0).round() as u8;
            let rgb = (0..3 * pixels).map(byte).collect();
            return Ok(Image::Picture { rgb, size: [height, width] });
        }
        [batch, c, height, width] if c == channels => [batch, channels, height, width],
        [c, height, width] if c == channels => [1, channels, height, width],
        [height, width] if channels == 1 => [1, 1, height, width],
        _ => return Err(wrong_size(option, path, &given, format!("pictures × {channels} × height × width"))),
    };
    Ok(Image::Numbers { values: given.values, shape })
}

/// The pictures of a file, `[channels, height, width]` each.
pub(crate) fn pictures(
    option: &'static str,
    path: &Path,
    range: RangeInclusive<f32>,
    [channels, height, width]: [usize; 3],
) -> Result<Vec<f32>> {
    let given = read_one(path, range)?;
    match given.shape[..] {
        [c, h, w] | [_, c, h, w] if [c, h, w] == [channels, height, width] => Ok(given.values),
        [h, w] if [1, h, w] == [channels, height, width] => Ok(given.values),
        [3, h, w] if [1, h, w] == [channels, height, width] => Ok(grey(&given.values)),
        _ => Err(wrong_size(option, path, &given, format!("{channels} × {height} × {width}"))),
    }
}

/// The mask of a file, `[height, width]` or one for each picture, from 0 to 1.
fn mask(path: &Path, model: &Info) -> Result<Vec<f32>> {
    let given = read_one(path, 0.0..=1.0)?;
    let size = [model.height, model.width];
    match given.shape[..] {
        [3, h, w] if [h, w] == size => Ok(grey(&given.values)),
        [h, w] | [_, h, w] | [_, 1, h, w] if [h, w] == size => Ok(given.values),
        _ => Err(wrong_size("mask", path, &given, format!("{} × {}", size[0], size[1]))),
    }
}

/// Pictures with each pixel `k` times across and down.
fn enlarged(x: &[f32], [_, height, width]: [usize; 3], k: usize) -> Vec<f32> {
    let row =
        |row: &[f32]| row.iter().flat_map(|v| std::iter::repeat_n(*v, k)).collect::<Vec<f32>>().repeat(k);
    x.chunks_exact(height * width)
        .flat_map(|plane| plane.chunks_exact(width).flat_map(row).collect::<Vec<f32>>())
        .collect()
}

/// One channel of three, by the luma of Rec. 601.
fn grey(values: &[f32]) -> Vec<f32> {
    let plane = values.len() / 3;
    // Exactly 1 where all three are.
    let luma = |p: usize| {
        values[p] + 0.587 * (values[plane + p] - values[p]) + 0.114 * (values[2 * plane + p] - values[p])
    };
    (0..plane).map(luma).collect()
}

fn wrong_size(option: &'static str, path: &Path, given: &Given, expected: String) -> Error {
    let sizes: Vec<String> = given.shape.iter().map(usize::to_string).collect();
    Error::Option { option, found: format!("{}, which is {}", path.display(), sizes.join(" × ")), expected }
}
