//! The networks of pipelines, and what whoever runs them is asked for.

use std::borrow::Cow;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use crate::engine::filling::Numbers;
use crate::error::Result;
use crate::network::Architecture;
use crate::network::architecture::{Input, Network as _, Rate, Shape};
use crate::network::array::Array;
use crate::network::autoencoder::Autoencoder;
use crate::network::autoencoder_kl::AutoencoderKlConfig;
use crate::network::autoencoder_tiny::AutoencoderTinyConfig;
use crate::network::clip_text::{ClipText, ClipTextConfig};
use crate::network::describe::{Inventory, describe_pass};
use crate::network::dit::DitConfig;
use crate::network::ops::{Pass, TransformerOps};
use crate::network::unet::UNet2DConfig;
use crate::network::unet_condition::UNet2DConditionConfig;
use crate::network::vq::VqConfig;

/// A network and what is wanted of it. Its inputs and results are those of its [`Pass`].
#[derive(Clone, Debug)]
pub enum Part {
    /// A text encoder: tokens' vectors, and with `pooled` one for the whole text. See [`ClipText`].
    Text {
        /// The network.
        config: Arc<ClipTextConfig>,
        /// How many of the last layers the tokens' vectors miss.
        skip: usize,
        /// Whether the last normalisation is applied to them.
        normalise: bool,
        /// Whether the pooled vector is wanted too.
        pooled: bool,
    },
    /// The network of Stable Diffusion.
    UNet(Arc<UNet2DConditionConfig>),
    /// A transformer told a class.
    Dit(Arc<DitConfig>),
    /// A network told nothing but the timestep.
    UNet2D(Arc<UNet2DConfig>),
    /// From pictures to what the encoder makes of them.
    Encoder(Coder),
    /// From latents to pictures.
    Decoder(Coder),
}

/// An autoencoder.
#[derive(Clone, Debug)]
pub enum Coder {
    /// `AutoencoderKL`.
    Kl(Arc<AutoencoderKlConfig>),
    /// `AutoencoderTiny`.
    Tiny(Arc<AutoencoderTinyConfig>),
    /// `VQModel`.
    Vq(Arc<VqConfig>),
}

impl Pass for Part {
    fn run<O: TransformerOps + ?Sized>(&self, ops: &mut O, inputs: &[O::Tensor]) -> Vec<O::Tensor> {
        match self {
            Self::Text { config, skip, normalise, pooled } => {
                let (skip, normalise, pooled) = (*skip, *normalise, *pooled);
                ClipText { config, skip, normalise, pooled }.run(ops, inputs)
            }
            Self::UNet(config) => config.run(ops, inputs),
            Self::Dit(config) => config.run(ops, inputs),
            Self::UNet2D(config) => vec![config.forward(ops, inputs)],
            Self::Encoder(Coder::Kl(config)) => vec![config.encode(ops, &inputs[0])],
            Self::Encoder(Coder::Tiny(config)) => vec![config.encode(ops, &inputs[0])],
            Self::Encoder(Coder::Vq(config)) => vec![config.encode(ops, &inputs[0])],
            Self::Decoder(Coder::Kl(config)) => vec![config.decode(ops, &inputs[0])],
            Self::Decoder(Coder::Tiny(config)) => vec![config.decode(ops, &inputs[0])],
            Self::Decoder(Coder::Vq(config)) => vec![config.decode(ops, &inputs[0])],
        }
    }
}

impl Part {
    /// What one sample is given: `size` is the height and width of the image, and for a text encoder the tokens and 1. Texts beside an image
    /// have `tokens`.
    #[must_use]
    pub fn inputs(&self, [height, width]: [usize; 2], tokens: usize) -> Vec<Input> {
        let image = |name, rate, channels, [height, width]: [usize; 2]| Input {
            name,
            rate,
            shape: Shape { height, width, channels },
        };
        let x = |channels| image("x", Rate::Evaluation, channels, [height, width]);
        match self {
            Self::Text { pooled, .. } => {
                let mut inputs = vec![Input::vector("ids", Rate::Evaluation, height)];
                inputs.extend(pooled.then(|| Input::vector("pooled at", Rate::Prompt, 1)));
                inputs
            }
            Self::UNet(net) => {
                let mut inputs = vec![
                    x(net.in_channels),
                    Input::vector("timestep", Rate::Timestep, net.time.width),
                    image("text", Rate::Prompt, net.text_width, [tokens, 1]),
                ];
                let vector = |name, width: usize| Input::vector(name, Rate::Prompt, width);
                inputs.extend(net.class_width().map(|width| vector("class", width)));
                inputs.extend(net.text_time.map(|text| vector("added", text.input_dim)));
                inputs.extend(net.time_cond_proj_dim.map(|width| vector("guidance", width)));
                inputs
            }
            Self::Dit(net) => {
                let patches = [height / net.patch_size, width / net.patch_size];
                vec![
                    x(net.in_channels),
                    Input::vector("timestep", Rate::Timestep, 256),
                    Input::vector("label", Rate::Prompt, 1),
                    image("positions", Rate::Prompt, net.width(), patches),
                ]
            }
            Self::UNet2D(net) => net.inputs(height, width),
            Self::Encoder(coder) => vec![x(coder.picture_channels())],
            Self::Decoder(coder) => vec![x(coder.latent_channels())],
        }
    }

    /// What one evaluation for a batch needs.
    #[must_use]
    pub fn describe(&self, batch: usize, size: [usize; 2], tokens: usize) -> Inventory {
        describe_pass(self, &self.inputs(size, tokens), batch)
    }

    /// Names and shapes of its parameters, which are the same at any size.
    #[must_use]
    pub fn parameters(&self) -> Vec<(String, Vec<usize>)> {
        self.describe(1, self.usual_size(), 1).parameters
    }

    /// A size that any of these networks takes.
    pub(super) fn usual_size(&self) -> [usize; 2] {
        match self {
            Self::Text { config, .. } => [config.max_position_embeddings, 1],
            Self::Dit(config) => [config.sample_size / config.patch_size * config.patch_size; 2],
            // As often as any of them halves an image.
            _ => [64, 64],
        }
    }

    /// The name that the weights' file has for a parameter. transformers writes text encoders with a projection below `text_model`, and others
    /// since version 5 not.
    #[must_use]
    pub fn key_in_file<'k>(&self, key: &'k str) -> Cow<'k, str> {
        match self {
            Self::Text { config, .. }
                if config.projection_dim.is_some() && !key.starts_with("text_projection") =>
            {
                format!("text_model.{key}").into()
            }
            _ => key.into(),
        }
    }

    /// The parameter that a name in the weights' file stands for.
    #[must_use]
    pub fn key_of<'k>(&self, name: &'k str) -> &'k str {
        let key = name.strip_prefix("text_model.").unwrap_or(name);
        if self.key_in_file(key) == name { key } else { name }
    }
}

impl Coder {
    /// Channels of the pictures that are encoded.
    #[must_use]
    pub fn picture_channels(&self) -> usize {
        match self {
            Self::Kl(net) => net.coder.in_channels,
            Self::Tiny(net) => net.in_channels,
            Self::Vq(net) => net.coder.in_channels,
        }
    }

    /// Channels of the latents that are decoded.
    #[must_use]
    pub fn latent_channels(&self) -> usize {
        match self {
            Self::Kl(net) => net.coder.latent_channels,
            Self::Tiny(net) => net.latent_channels,
            Self::Vq(net) => net.vq_embed_dim,
        }
    }
}

/// Names and shapes of tensors.
pub type Names = Vec<(String, Vec<usize>)>;

/// What comes later: on a GPU, or in a page.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = Result<T>> + 'a>>;

/// Where parts run: it loads them.
pub trait Loader {
    /// Begins to load a part. Where it is to be `exact`, all its parameters are kept in f32, whatever the precision is that they come in.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`](crate::Error::OutOfMemory).
    fn begin(&self, part: Part, exact: bool) -> Result<Box<dyn Loading>>;

    /// Makes sure, before there are weights, that a batch's activations are no more than the device may have; sizes are as for
    /// [`Part::inputs`].
    ///
    /// # Errors
    /// [`Error::Limit`](crate::Error::Limit).
    fn check_activations(
        &self,
        _part: &Part,
        _batch: usize,
        _size: [usize; 2],
        _tokens: usize,
    ) -> Result<()> {
        Ok(())
    }
}

/// A part whose parameters are arriving.
pub trait Loading {
    /// Takes one of [`Part::parameters`], in any order, and packs or uploads it, so that no more than a few are held. One that is there already
    /// is passed over.
    ///
    /// # Errors
    /// By what is wrong: [`Error::WrongShape`](crate::Error::WrongShape), [`Error::OutOfMemory`](crate::Error::OutOfMemory); a device's.
    fn put(&mut self, key: &str, numbers: Numbers) -> Result<()>;

    /// The part, once all are there.
    fn finish<'a>(self: Box<Self>) -> Pending<'a, Box<dyn Ready>>;
}

/// A part that is loaded.
pub trait Ready {
    /// Its results for these inputs, of any batch and size that suit it. With `maps`, a [`Part::UNet`] also says where it looked at the
    /// text: the results are those of [`WithMap`](crate::network::unet_condition::WithMap).
    fn ask<'a>(&'a mut self, inputs: &'a [Array], maps: bool) -> Pending<'a, Vec<Array>>;

    /// Does what can be done before it is asked about one picture of this size: its plan, and a GPU's memory and pipelines for that.
    ///
    /// # Errors
    /// Those that [`Self::ask`] would meet, too.
    fn prepare(&mut self, _size: [usize; 2]) -> Pending<'_, ()> {
        Box::pin(std::future::ready(Ok(())))
    }
}
