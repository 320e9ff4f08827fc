//! diffusers' `AutoencoderTiny`: small stand-ins for other autoencoders, such as TAESD for Stable Diffusion's.

use serde_json::{Map, Value, json};

use super::autoencoder::{Autoencoder, latent_size};
use super::fields;
use super::ops::{Activation, Conv, Convolution, Padding, TransformerOps};
use crate::checkpoint::json::Fields;
use crate::error::Result;

/// The fields of an `AutoencoderTiny` config, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct AutoencoderTinyConfig {
    /// Channels of pictures given to the encoder.
    pub in_channels: usize,
    /// Channels of pictures that the decoder makes.
    pub out_channels: usize,
    /// Channels of latents.
    pub latent_channels: usize,
    /// Channels inside the encoder.
    pub encoder_channels: usize,
    /// Channels inside the decoder.
    pub decoder_channels: usize,
    /// Blocks of each of the encoder's stages, finest first.
    pub num_encoder_blocks: Vec<usize>,
    /// Blocks of each of the decoder's stages, coarsest first.
    pub num_decoder_blocks: Vec<usize>,
    /// The nonlinearity inside blocks; each block's last is a ReLU.
    pub act_fn: Activation,
    /// What latents are multiplied by before a diffusion model sees them.
    pub scaling_factor: f64,
    /// Latents from `-latent_magnitude` to it are stored as bytes, where somebody stores them.
    pub latent_magnitude: f64,
    /// What a latent of 0 is stored as, where 0 to 1 become bytes.
    pub latent_shift: f64,
}

/// The class in diffusers.
pub const CLASSES: [&str; 1] = ["AutoencoderTiny"];

impl AutoencoderTinyConfig {
    /// Reads and checks an `AutoencoderTiny` config; also returns the keys that mean nothing to it.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) on a value that no network can have,
    /// [`Error::Unsupported`](crate::Error::Unsupported) on another architecture or way to enlarge.
    pub fn parse(file: &str, object: &Map<String, Value>) -> Result<(Self, Vec<String>)> {
        fields::check_class(object, &CLASSES)?;
        let f = Fields::new(file, object);
        let why = "only doubling by the nearest pixel is implemented";
        fields::only(&f, "upsampling_scaling_factor", &json!(2), why)?;
        fields::only(&f, "upsample_fn", &json!("nearest"), why)?;
        fields::ignore(&f, &["block_out_channels", "force_upcast", "shift_factor"]);
        let encoder = ["encoder_block_out_channels", "num_encoder_blocks"];
        let decoder = ["decoder_block_out_channels", "num_decoder_blocks"];
        let (encoder_channels, num_encoder_blocks) = stages(&f, encoder, &[1, 3, 3, 3])?;
        let (decoder_channels, num_decoder_blocks) = stages(&f, decoder, &[3, 3, 3, 1])?;
        let config = Self {
            in_channels: fields::within(&f, "in_channels", 3, 1, 1024)?,
            out_channels: fields::within(&f, "out_channels", 3, 1, 1024)?,
            latent_channels: fields::within(&f, "latent_channels", 4, 1, 1024)?,
            encoder_channels,
            decoder_channels,
            num_encoder_blocks,
            num_decoder_blocks,
            act_fn: fields::activation(&f, "act_fn", "relu")?,
            scaling_factor: fields::divisor(&f, "scaling_factor", 1.0)?,
            latent_magnitude: fields::divisor(&f, "latent_magnitude", 3.0)?,
            latent_shift: f.f64("latent_shift", 0.5)?,
        };
        Ok((config, f.unknown()))
    }

    /// Height and width of the latents of a picture: each halving rounds up.
    ///
    /// # Errors
    /// [`Error::Option`](crate::Error::Option) on a picture without pixels.
    pub fn latent_size(&self, height: usize, width: usize) -> Result<[usize; 2]> {
        latent_size(1, height, width)?;
        let halve = |size: usize| (1..self.num_encoder_blocks.len()).fold(size, |n, _| n.div_ceil(2));
        Ok([halve(height), halve(width)])
    }
}

/// The width of all stages and the blocks of each. Python makes networks of several widths too, which cannot be run.
fn stages(f: &Fields, [widths, blocks]: [&str; 2], default: &[usize]) -> Result<(usize, Vec<usize>)> {
    let channels = fields::channels(f, widths, &[64; 4])?;
    let counts = f.usizes(blocks, default)?;
    if counts.len() != channels.len() || counts.iter().any(|n| *n > 64) {
        let expected = format!("{} numbers up to 64, one for each of {widths}", channels.len());
        return Err(f.error(blocks, format!("{counts:?}"), expected));
    }
    if channels.iter().any(|width| *width != channels[0]) {
        return Err(f.error(widths, format!("{channels:?}"), "one width for all, as nothing changes it"));
    }
    Ok((channels[0], counts))
}

/// Numbers the layers as Python's `Sequential` does: those without parameters count too.
struct Layers {
    half: &'static str,
    next: usize,
}

impl Layers {
    fn name(&mut self) -> String {
        self.next += 1;
        format!("{}.layers.{}", self.half, self.next - 1)
    }
}

impl AutoencoderTinyConfig {
    fn blocks<O: TransformerOps + ?Sized>(
        &self,
        ops: &mut O,
        layers: &mut Layers,
        x: O::Tensor,
        channels: usize,
        count: usize,
    ) -> O::Tensor {
        let mut h = x;
        for _ in 0..count {
            let path = layers.name();
            let mut y = ops.conv2d(&h, &format!("{path}.conv.0"), Conv::same(channels));
            for i in [2, 4] {
                y = ops.activation(&y, self.act_fn);
                y = ops.conv2d(&y, &format!("{path}.conv.{i}"), Conv::same(channels));
            }
            let sum = ops.add(&y, &h);
            h = ops.activation(&sum, Activation::Relu);
        }
        h
    }
}

/// Latents here are before any scaling. The encoder's are what it makes, without a draw.
impl Autoencoder for AutoencoderTinyConfig {
    fn encode<O: TransformerOps + ?Sized>(&self, ops: &mut O, picture: &O::Tensor) -> O::Tensor {
        let channels = self.encoder_channels;
        let mut layers = Layers { half: "encoder", next: 0 };
        let mut h = ops.affine(picture, 0.5, 0.5);
        for (i, blocks) in self.num_encoder_blocks.iter().enumerate() {
            let name = layers.name();
            h = if i == 0 {
                ops.conv2d(&h, &name, Conv::same(channels))
            } else {
                let padding = Padding::All(1);
                let conv = Convolution { out_channels: channels, kernel: 3, stride: 2, padding, bias: false };
                ops.conv(&h, &name, conv)
            };
            h = self.blocks(ops, &mut layers, h, channels, *blocks);
        }
        ops.conv2d(&h, &layers.name(), Conv::same(self.latent_channels))
    }

    fn decode<O: TransformerOps + ?Sized>(&self, ops: &mut O, latents: &O::Tensor) -> O::Tensor {
        let channels = self.decoder_channels;
        let mut layers = Layers { half: "decoder", next: 0 };
        // Three whatever `latent_magnitude` says.
        let mut h = ops.affine(latents, 1.0 / 3.0, 0.0);
        h = ops.activation(&h, Activation::Tanh);
        h = ops.affine(&h, 3.0, 0.0);
        h = ops.conv2d(&h, &layers.name(), Conv::same(channels));
        layers.next += 1;
        h = ops.activation(&h, self.act_fn);
        let last = self.num_decoder_blocks.len() - 1;
        for (i, blocks) in self.num_decoder_blocks.iter().enumerate() {
            h = self.blocks(ops, &mut layers, h, channels, *blocks);
            if i < last {
                layers.next += 1;
                h = ops.upsample_nearest(&h);
                let conv = Convolution { bias: false, ..Convolution::same(channels, 3) };
                h = ops.conv(&h, &layers.name(), conv);
            }
        }
        h = ops.conv2d(&h, &layers.name(), Conv::same(self.out_channels));
        ops.affine(&h, 2.0, -1.0)
    }
}
