//! Pipelines of several networks: from a prompt, a class or noise to a picture, by way of latents.
//!
//! [`Pipeline`] is what is known of one as far as no network is needed: which parts belong to it, whether they fit together, what is drawn
//! in which order, and how pictures, masks, prompts and latents are prepared. It is diffusers' arithmetic, so that a seed gives Python's
//! picture. [`Description`] has its networks and schedule too, and a [`Runner`] runs it, where a [`Loader`] has its parts.

mod arithmetic;
#[cfg(feature = "text")]
mod attention;
#[cfg(feature = "text")]
mod colours;
#[cfg(feature = "text")]
mod description;
#[cfg(feature = "text")]
mod noise;
#[cfg(all(feature = "burn", feature = "text"))]
mod on_burn;
#[cfg(feature = "text")]
mod on_device;
#[cfg(feature = "text")]
mod options;
#[cfg(feature = "text")]
mod part;
mod picture;
#[cfg(feature = "text")]
mod runner;
#[cfg(feature = "text")]
mod tensors;
#[cfg(feature = "text")]
mod tiles;

use serde_json::{Map, Value};

pub use arithmetic::{Batch, guidance_embedding, inpainting_channels, posterior, time_ids};
#[cfg(feature = "text")]
pub use attention::WordMaps;
#[cfg(feature = "text")]
pub use colours::LatentColours;
#[cfg(feature = "text")]
pub use description::{Description, PartInfo, TextEncoder};
#[cfg(all(feature = "burn", feature = "text"))]
pub use on_burn::OnBurn;
#[cfg(feature = "text")]
pub use options::{Image, Request};
#[cfg(feature = "text")]
pub use part::{Coder, Loader, Loading, Names, Part, Pending, Ready};
pub use picture::{binary_mask, latent_mask, masked, resize, to_signed};
#[cfg(feature = "text")]
pub use tiles::Tiling;

#[cfg(feature = "text")]
pub use runner::{Made, Progress, Runner, Source};

use crate::checkpoint::json::Fields;
use crate::error::{Error, Result};
use crate::text;

/// What a pipeline does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Text to picture (Rombach et al. 2022), picture to picture, and inpainting: SD 1, SD 2, and what is distilled of them.
    StableDiffusion,
    /// The same with two text encoders (Podell et al. 2023).
    StableDiffusionXl,
    /// Text to picture in few steps, the scale of guidance told to the network (Luo et al. 2023).
    LatentConsistency,
    /// Class to picture by a transformer (Peebles and Xie 2022).
    Dit,
    /// Noise to picture: a `UNet2DModel` on the latents of an autoencoder (Rombach et al. 2022).
    LatentDiffusion,
}

/// Which latents the autoencoder has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Autoencoder {
    /// Its encoder gives a normal distribution, of which one is drawn.
    Kl,
    /// Its encoder gives the latents themselves.
    Tiny,
    /// Its decoder puts the nearest code in place of each pixel of the latents.
    Vq,
}

/// The classes of pipelines that can be run, and the kind of each.
const CLASSES: [(&str, Kind); 10] = [
    ("StableDiffusionPipeline", Kind::StableDiffusion),
    ("StableDiffusionImg2ImgPipeline", Kind::StableDiffusion),
    ("StableDiffusionInpaintPipeline", Kind::StableDiffusion),
    ("StableDiffusionXLPipeline", Kind::StableDiffusionXl),
    ("StableDiffusionXLImg2ImgPipeline", Kind::StableDiffusionXl),
    ("StableDiffusionXLInpaintPipeline", Kind::StableDiffusionXl),
    ("LatentConsistencyModelPipeline", Kind::LatentConsistency),
    ("LatentConsistencyModelImg2ImgPipeline", Kind::LatentConsistency),
    ("DiTPipeline", Kind::Dit),
    ("LDMPipeline", Kind::LatentDiffusion),
];

/// The parts of each kind that there must be, and the classes that each may have.
type Needed = &'static [(&'static str, &'static [&'static str])];

const UNET: (&str, &[&str]) = ("unet", &["UNet2DConditionModel"]);
const VAE: (&str, &[&str]) = ("vae", &["AutoencoderKL", "AutoencoderTiny"]);
const TEXT: (&str, &[&str]) = ("text_encoder", &["CLIPTextModel", "CLIPTextModelWithProjection"]);
const TEXT_2: (&str, &[&str]) = ("text_encoder_2", &["CLIPTextModelWithProjection"]);
const TOKENIZER: (&str, &[&str]) = ("tokenizer", &["CLIPTokenizer", "CLIPTokenizerFast"]);
const TOKENIZER_2: (&str, &[&str]) = ("tokenizer_2", TOKENIZER.1);

impl Kind {
    /// The kind of pipeline that a `model_index.json` names.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for any other class.
    pub fn of(model_index: &Map<String, Value>) -> Result<Self> {
        let class =
            model_index.get("_class_name").and_then(Value::as_str).unwrap_or("a pipeline without a class");
        let known = CLASSES.iter().find(|(name, _)| *name == class);
        known.map(|(_, kind)| *kind).ok_or_else(|| Error::Unsupported {
            what: class.to_owned(),
            why: format!(
                "of pipelines with several networks {} can be run",
                CLASSES.map(|(name, _)| name).join(", ")
            ),
        })
    }

    fn needed(self) -> Needed {
        match self {
            Self::StableDiffusion | Self::LatentConsistency => &[UNET, VAE, TEXT, TOKENIZER],
            Self::StableDiffusionXl => &[UNET, VAE, TEXT, TEXT_2, TOKENIZER, TOKENIZER_2],
            Self::Dit => &[("transformer", &["DiTTransformer2DModel", "Transformer2DModel"]), VAE],
            Self::LatentDiffusion => &[("unet", &["UNet2DModel"]), ("vqvae", &["VQModel", "AutoencoderKL"])],
        }
    }

    /// The name of the part that is asked at every step.
    #[must_use]
    pub fn network(self) -> &'static str {
        if self == Self::Dit { "transformer" } else { "unet" }
    }

    /// The name of the part between latents and pictures.
    #[must_use]
    pub fn autoencoder(self) -> &'static str {
        if self == Self::LatentDiffusion { "vqvae" } else { "vae" }
    }

    /// How many steps Python makes, and with which scale of guidance, where nobody says.
    #[must_use]
    pub fn defaults(self) -> (usize, f64) {
        match self {
            Self::StableDiffusion => (50, 7.5),
            Self::StableDiffusionXl => (50, 5.0),
            Self::LatentConsistency => (4, 8.5),
            Self::Dit => (50, 4.0),
            Self::LatentDiffusion => (50, 1.0),
        }
    }

    /// What diffusers changes in a scheduler's config when it makes such a pipeline: Stable Diffusion's first step is one further, and
    /// its latents are not clipped.
    pub fn adjust_scheduler(self, config: &mut Map<String, Value>) {
        if matches!(self, Self::StableDiffusion | Self::LatentConsistency) {
            config.insert("steps_offset".to_owned(), 1.into());
            config.insert("clip_sample".to_owned(), false.into());
        }
    }
}

/// What a run is given beside prompts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Task {
    /// Nothing: it begins with noise.
    Noise,
    /// A picture to begin with.
    Picture,
    /// A picture and a mask of what is painted anew.
    Inpaint {
        /// How much of the run is made, above 0 to 1.
        strength: f64,
    },
}

/// Normal noise that is drawn before the first step. With several generators each draws its picture's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Draw {
    /// For the latents of the pictures given, `[pictures, channels, height, width]`: see [`posterior`].
    Picture,
    /// For the run, `[batch, channels, height, width]`.
    Noise,
    /// For the latents of what a mask leaves of the pictures given, `[pictures, channels, height, width]`.
    Masked,
}

/// A pipeline whose parts fit together.
#[derive(Clone, Debug, PartialEq)]
pub struct Pipeline {
    /// What it does.
    pub kind: Kind,
    /// Which latents it has.
    pub autoencoder: Autoencoder,
    /// The latents' channels.
    pub latent_channels: usize,
    /// Pixels of a picture to one of the latents, along each side.
    pub scale_factor: usize,
    /// What the encoder's latents are multiplied by for the network.
    pub scaling_factor: f64,
    /// SDXL's mean and deviation of the latents, channel by channel, where its autoencoder has them.
    pub statistics: Option<[Vec<f64>; 2]>,
    /// The latents' side where nobody says.
    pub sample_size: usize,
    /// Whether the network takes a mask and what it leaves of a picture beside the latents.
    pub inpaints: bool,
    /// The width of the scale of guidance's embedding, where the network takes one: [`guidance_embedding`].
    pub guidance_width: Option<usize>,
    /// Whether a negative prompt that is not given is zeros rather than the empty prompt.
    pub zeros_for_no_prompt: bool,
}

impl Pipeline {
    /// Reads a `model_index.json` and the configs of the parts: `config` finds one by the part's name.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for a pipeline or a part of a class that cannot be run; [`Error::Config`] where a part is missing,
    /// or does not fit another: the width of the text, the channels of the latents.
    pub fn read<'c>(
        model_index: &Map<String, Value>,
        config: &dyn Fn(&str) -> Option<&'c Map<String, Value>>,
    ) -> Result<Self> {
        let kind = Kind::of(model_index)?;
        let index = Fields::new("model_index.json", model_index);
        for (name, classes) in kind.needed() {
            let class = index.get(name).and_then(|part| part.get(1)?.as_str());
            let expected = || format!("[\"library\", class], the class being {}", classes.join(" or "));
            let class = class.ok_or_else(|| index.error(name, "left out", expected()))?;
            if !classes.contains(&class) {
                let why = format!("the `{name}` of this pipeline is a {}", classes.join(" or a "));
                return Err(Error::Unsupported { what: class.to_owned(), why });
            }
        }
        let part = |name: &str| {
            config(name).ok_or_else(|| Error::MissingFile {
                wanted: format!("{name}/config.json"),
                found: "nothing".to_owned(),
            })
        };
        let files = [kind.network(), kind.autoencoder()].map(|name| format!("{name}/config.json"));
        let network = Fields::new(&files[0], part(kind.network())?);
        let vae = Fields::new(&files[1], part(kind.autoencoder())?);
        let class = index.get(kind.autoencoder()).and_then(|part| part.get(1)?.as_str());
        let autoencoder = match class {
            Some("AutoencoderTiny") => Autoencoder::Tiny,
            Some("VQModel") => Autoencoder::Vq,
            _ => Autoencoder::Kl,
        };

        // An AutoencoderTiny's levels are those of its decoder.
        let (levels, default) = match autoencoder {
            Autoencoder::Tiny => ("decoder_block_out_channels", &[64; 4][..]),
            _ => ("block_out_channels", &[64][..]),
        };
        let levels = vae.usizes(levels, default)?.len();
        if !(1..=8).contains(&levels) {
            return Err(vae.error("block_out_channels", format!("{levels} levels"), "1 to 8 levels"));
        }
        let default = match autoencoder {
            Autoencoder::Tiny => (4, 1.0),
            Autoencoder::Kl => (4, 0.18215),
            Autoencoder::Vq => (3, 0.18215),
        };
        let latent_channels = vae.usize("latent_channels", default.0)?;
        let scaling_factor = vae.f64("scaling_factor", default.1)?;
        if scaling_factor <= 0.0 {
            return Err(vae.error("scaling_factor", text::number(scaling_factor), "greater than 0"));
        }
        let statistics = match (vae.optional_f64s("latents_mean")?, vae.optional_f64s("latents_std")?) {
            (Some(mean), Some(deviation)) if kind == Kind::StableDiffusionXl => {
                for (field, values) in [("latents_mean", &mean), ("latents_std", &deviation)] {
                    if values.len() != latent_channels {
                        let expected = format!("{latent_channels}, one for each of the latents' channels");
                        return Err(vae.error(field, format!("{} numbers", values.len()), expected));
                    }
                }
                Some([mean, deviation])
            }
            _ => None,
        };

        let in_channels = network.usize("in_channels", if kind == Kind::LatentDiffusion { 3 } else { 4 })?;
        let inpaints =
            in_channels == 2 * latent_channels + 1 && kind != Kind::Dit && kind != Kind::LatentDiffusion;
        if in_channels != latent_channels && !inpaints {
            let expected = format!("{latent_channels}, the channels of the latents that {} has", files[1]);
            return Err(network.error("in_channels", in_channels, expected));
        }
        if matches!(kind, Kind::StableDiffusion | Kind::StableDiffusionXl | Kind::LatentConsistency) {
            check_text(kind, &network, &part)?;
        }
        let refused = index.bool("requires_aesthetics_score", false)?;
        if refused {
            let why = "a refiner is told a score of beauty in place of a size".to_owned();
            return Err(Error::Unsupported { what: "requires_aesthetics_score".to_owned(), why });
        }
        let sample_size = network.optional_usize("sample_size", None)?;
        let sample_size = sample_size
            .filter(|size| *size > 0)
            .ok_or_else(|| network.error("sample_size", "left out", "the side of the latents, 1 or more"))?;
        // Older files of Stable Diffusion have a side that is no picture's.
        let old = network
            .optional_string("_diffusers_version", None)?
            .is_some_and(|version| is_before_0_9(&version));
        let raised = old && matches!(kind, Kind::StableDiffusion | Kind::LatentConsistency);
        let guidance_width = network.optional_usize("time_cond_proj_dim", None)?;
        Ok(Self {
            kind,
            autoencoder,
            latent_channels,
            scale_factor: 1 << (levels - 1),
            scaling_factor,
            statistics,
            sample_size: if raised { sample_size.max(64) } else { sample_size },
            inpaints,
            guidance_width,
            zeros_for_no_prompt: kind == Kind::StableDiffusionXl
                && index.bool("force_zeros_for_empty_prompt", true)?,
        })
    }

    /// The latents' height and width for a picture's, or where nobody says, for the size that the network was trained at.
    ///
    /// # Errors
    /// [`Error::Option`] for a size that Python refuses too, and for any where there is but one.
    pub fn latent_size(&self, height: Option<usize>, width: Option<usize>) -> Result<[usize; 2]> {
        let latents = |option: &'static str, side: Option<usize>| {
            let Some(side) = side else { return Ok(self.sample_size) };
            let usual = self.sample_size * self.scale_factor;
            let expected = match self.kind {
                Kind::Dit | Kind::LatentDiffusion if side == usual => return Ok(self.sample_size),
                Kind::Dit | Kind::LatentDiffusion => format!("{usual}, the only size of this network"),
                _ => {
                    // Python asks for eights whatever the autoencoder's factor is.
                    let unit = self.scale_factor.max(8);
                    if side > 0 && side.is_multiple_of(unit) && side <= MAX_SIDE {
                        return Ok(side / self.scale_factor);
                    }
                    format!("a multiple of {unit}, at most {MAX_SIDE}")
                }
            };
            Err(Error::Option { option, found: side.to_string(), expected })
        };
        Ok([latents("height", height)?, latents("width", width)?])
    }

    /// What is drawn before the first step, in order.
    ///
    /// # Errors
    /// [`Error::Option`] for a picture or a mask where the pipeline takes none.
    pub fn draws(&self, task: Task) -> Result<Vec<Draw>> {
        let mut draws = self.stages(task)?;
        if self.autoencoder != Autoencoder::Kl {
            draws.retain(|draw| *draw == Draw::Noise);
        }
        Ok(draws)
    }

    /// What is made ready before the first step, in order, whether or not the autoencoder draws.
    fn stages(&self, task: Task) -> Result<Vec<Draw>> {
        let takes_pictures =
            matches!(self.kind, Kind::StableDiffusion | Kind::StableDiffusionXl | Kind::LatentConsistency);
        if task != Task::Noise && !takes_pictures {
            let expected = "left out: this pipeline begins with noise alone".to_owned();
            return Err(Error::Option { option: "init", found: "given".to_owned(), expected });
        }
        Ok(match task {
            Task::Noise => vec![Draw::Noise],
            Task::Picture => vec![Draw::Picture, Draw::Noise],
            // What a network without a mask keeps, or a run begins with.
            Task::Inpaint { strength } if !self.inpaints || strength < 1.0 => {
                vec![Draw::Picture, Draw::Noise, Draw::Masked]
            }
            Task::Inpaint { .. } => vec![Draw::Noise, Draw::Masked],
        })
    }

    /// Whether the network is asked twice, for what is wanted and for what is not.
    #[must_use]
    pub fn is_guided(&self, scale: f64) -> bool {
        scale > 1.0 && self.guidance_width.is_none() && self.kind != Kind::LatentDiffusion
    }

    /// The encoder's latents as the network takes them, in place.
    pub fn scale_latents(&self, latents: &mut [f32]) {
        // In f32, as Python's tensors of f32 are multiplied.
        let factor = self.scaling_factor as f32;
        latents.iter_mut().for_each(|value| *value *= factor);
    }

    /// Latents `[batch, channels, height, width]` as the decoder takes them, in place; `pixels` are those of one channel.
    pub fn unscale_latents(&self, latents: &mut [f32], pixels: usize) {
        let factor = self.scaling_factor as f32;
        for (at, channel) in latents.chunks_mut(pixels.max(1)).enumerate() {
            match &self.statistics {
                None => channel.iter_mut().for_each(|value| *value /= factor),
                Some([mean, deviation]) => {
                    let at = at % self.latent_channels;
                    let (mean, deviation) = (mean[at] as f32, deviation[at] as f32);
                    channel.iter_mut().for_each(|value| *value = *value * deviation / factor + mean);
                }
            }
        }
    }
}

/// Longer sides than any of these networks was trained for.
const MAX_SIDE: usize = 4096;

/// The text's width is what the network's attention takes, and each prompt's ids are the encoder's.
fn check_text<'c>(
    kind: Kind,
    network: &Fields<'_>,
    part: &dyn Fn(&str) -> Result<&'c Map<String, Value>>,
) -> Result<()> {
    let width = |name: &str, field: &str, default: usize| -> Result<usize> {
        let file = format!("{name}/config.json");
        Fields::new(&file, part(name)?).usize(field, default)
    };
    let (mut text, mut of) = (width("text_encoder", "hidden_size", 512)?, "text_encoder".to_owned());
    if kind == Kind::StableDiffusionXl {
        text += width("text_encoder_2", "hidden_size", 512)?;
        of += " and text_encoder_2";
        let pooled = width("text_encoder_2", "projection_dim", 512)?;
        let sizes = 6 * network.optional_usize("addition_time_embed_dim", None)?.unwrap_or(0);
        let taken = network.optional_usize("projection_class_embeddings_input_dim", None)?.unwrap_or(0);
        if taken != pooled + sizes {
            let expected = format!(
                "{}, of which {pooled} are text_encoder_2's and {sizes} those of the size",
                pooled + sizes
            );
            return Err(network.error("projection_class_embeddings_input_dim", taken, expected));
        }
    }
    // A list has one for each level, all of them alike here.
    let taken = match network.get("cross_attention_dim") {
        Some(Value::Array(_)) => network.usizes("cross_attention_dim", &[])?,
        _ => vec![network.usize("cross_attention_dim", 1280)?],
    };
    // Where the states are projected first, that is what must fit.
    let projected = network.optional_usize("encoder_hid_dim", None)?;
    let (field, taken) =
        projected.map_or(("cross_attention_dim", taken), |width| ("encoder_hid_dim", vec![width]));
    if let Some(other) = taken.iter().find(|width| **width != text) {
        return Err(network.error(field, other, format!("{text}, the width of {of}")));
    }
    Ok(())
}

fn is_before_0_9(version: &str) -> bool {
    let mut numbers = version.split('.').map(|part| part.parse::<u32>().ok());
    matches!((numbers.next().flatten(), numbers.next().flatten()), (Some(0), Some(minor)) if minor < 9)
}
