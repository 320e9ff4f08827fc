//! What autoencoders have in common, and the convolutional halves that [`autoencoder_kl`](super::autoencoder_kl) and
//! [`vq`](super::vq) share: diffusers' `Encoder` and `Decoder`.

use super::blocks::attention::SelfAttention;
use super::blocks::resnet::{Resnet, TimeScaleShift};
use super::fields;
use super::ops::{Activation, Conv, Ops, Padding, Pass, TransformerOps};
use crate::checkpoint::json::Fields;
use crate::error::{Error, Result};

/// A network of two halves, between pictures `[batch, channels, height, width]` in [-1, 1] and smaller latents.
pub trait Autoencoder {
    /// What the encoder makes of a picture.
    fn encode<O: TransformerOps + ?Sized>(&self, ops: &mut O, picture: &O::Tensor) -> O::Tensor;

    /// The picture that latents stand for.
    fn decode<O: TransformerOps + ?Sized>(&self, ops: &mut O, latents: &O::Tensor) -> O::Tensor;
}

/// An autoencoder's first half: a picture in, what the encoder makes of it out.
pub struct Encode<'a, A>(pub &'a A);

/// An autoencoder's second half: latents in, a picture out.
pub struct Decode<'a, A>(pub &'a A);

impl<A: Autoencoder> Pass for Encode<'_, A> {
    fn run<O: TransformerOps + ?Sized>(&self, ops: &mut O, inputs: &[O::Tensor]) -> Vec<O::Tensor> {
        vec![self.0.encode(ops, &inputs[0])]
    }
}

impl<A: Autoencoder> Pass for Decode<'_, A> {
    fn run<O: TransformerOps + ?Sized>(&self, ops: &mut O, inputs: &[O::Tensor]) -> Vec<O::Tensor> {
        vec![self.0.decode(ops, &inputs[0])]
    }
}

/// Every normalisation's.
const EPS: f64 = 1e-6;

/// An encoder and a decoder of residual blocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coder {
    /// Channels of pictures given to the encoder.
    pub in_channels: usize,
    /// Channels of pictures that the decoder makes.
    pub out_channels: usize,
    /// Channels of latents.
    pub latent_channels: usize,
    /// Channels of each level, finest first.
    pub block_out_channels: Vec<usize>,
    /// Residual blocks a level of the encoder; one more in the decoder.
    pub layers_per_block: usize,
    /// Groups of every normalisation.
    pub norm_num_groups: usize,
    /// The nonlinearity of residual blocks; the last layers always use SiLU.
    pub act_fn: Activation,
    /// Whether the encoder's levels attend after each residual block, finest first.
    pub down_attention: Vec<bool>,
    /// Whether the decoder's levels attend after each residual block, coarsest first.
    pub up_attention: Vec<bool>,
    /// Whether the middles attend.
    pub mid_attention: bool,
}

impl Coder {
    pub(super) fn parse(f: &Fields, latent_channels: usize) -> Result<Self> {
        let block_out_channels = fields::channels(f, "block_out_channels", &[64])?;
        let n = block_out_channels.len();
        let down = ["DownEncoderBlock2D", "AttnDownEncoderBlock2D"];
        let up = ["UpDecoderBlock2D", "AttnUpDecoderBlock2D"];
        let norm_num_groups = f.usize("norm_num_groups", 32)?;
        for width in &block_out_channels {
            fields::check_groups(f, "norm_num_groups", norm_num_groups, *width)?;
        }
        Ok(Self {
            in_channels: fields::within(f, "in_channels", 3, 1, 1024)?,
            out_channels: fields::within(f, "out_channels", 3, 1, 1024)?,
            latent_channels: fields::within(f, "latent_channels", latent_channels, 1, 1024)?,
            layers_per_block: fields::within(f, "layers_per_block", 1, 1, 64)?,
            norm_num_groups,
            act_fn: fields::activation(f, "act_fn", "silu")?,
            down_attention: fields::blocks(f, "down_block_types", &down[..1], n, down)?,
            up_attention: fields::blocks(f, "up_block_types", &up[..1], n, up)?,
            mid_attention: f.bool("mid_block_add_attention", true)?,
            block_out_channels,
        })
    }

    /// Pixels of a picture for one of the latents, in both directions.
    #[must_use]
    pub fn scale(&self) -> usize {
        1 << (self.block_out_channels.len() - 1)
    }

    /// Height and width of the latents of a picture: rounded down.
    ///
    /// # Errors
    /// [`Error::Option`] where nothing would be left.
    pub fn latent_size(&self, height: usize, width: usize) -> Result<[usize; 2]> {
        latent_size(self.scale(), height, width)
    }

    fn resnet(&self, in_channels: usize, out_channels: usize) -> Resnet {
        Resnet {
            out_channels,
            groups: [self.norm_num_groups; 2],
            eps: EPS,
            activation: self.act_fn,
            time_scale_shift: TimeScaleShift::Default,
            resample: None,
            shortcut: in_channels != out_channels,
            output_scale: 1.0,
        }
    }

    fn attention(&self, channels: usize) -> SelfAttention {
        let groups = Some(self.norm_num_groups);
        SelfAttention { channels, head_dim: channels, groups, eps: EPS, output_scale: 1.0 }
    }

    fn middle<O: Ops + ?Sized>(&self, ops: &mut O, path: &str, x: &O::Tensor) -> O::Tensor {
        let width = self.block_out_channels[self.block_out_channels.len() - 1];
        let spec = self.resnet(width, width);
        let mut h = spec.forward(ops, &format!("{path}.resnets.0"), x, None);
        if self.mid_attention {
            h = self.attention(width).forward(ops, &format!("{path}.attentions.0"), &h);
        }
        spec.forward(ops, &format!("{path}.resnets.1"), &h, None)
    }

    fn last<O: Ops + ?Sized>(&self, ops: &mut O, half: &str, x: &O::Tensor, out: usize) -> O::Tensor {
        let h = ops.group_norm(x, &format!("{half}.conv_norm_out"), self.norm_num_groups, EPS);
        let h = ops.activation(&h, Activation::Silu);
        ops.conv2d(&h, &format!("{half}.conv_out"), Conv::same(out))
    }

    /// `out` channels for a picture, `scale` times smaller.
    pub(super) fn encoder<O: Ops + ?Sized>(&self, ops: &mut O, picture: &O::Tensor, out: usize) -> O::Tensor {
        let c = &self.block_out_channels;
        let mut h = ops.conv2d(picture, "encoder.conv_in", Conv::same(c[0]));
        let mut input = c[0];
        for (i, attends) in self.down_attention.iter().enumerate() {
            let path = format!("encoder.down_blocks.{i}");
            for j in 0..self.layers_per_block {
                let spec = self.resnet(input, c[i]);
                h = spec.forward(ops, &format!("{path}.resnets.{j}"), &h, None);
                if *attends {
                    h = self.attention(c[i]).forward(ops, &format!("{path}.attentions.{j}"), &h);
                }
                input = c[i];
            }
            if i + 1 < c.len() {
                let conv = Conv { out_channels: c[i], stride: 2, padding: Padding::RightBottom };
                h = ops.conv2d(&h, &format!("{path}.downsamplers.0.conv"), conv);
            }
        }
        h = self.middle(ops, "encoder.mid_block", &h);
        self.last(ops, "encoder", &h, out)
    }

    /// The picture of latents.
    pub(super) fn decoder<O: Ops + ?Sized>(&self, ops: &mut O, latents: &O::Tensor) -> O::Tensor {
        let (c, n) = (&self.block_out_channels, self.block_out_channels.len());
        let mut input = c[n - 1];
        let mut h = ops.conv2d(latents, "decoder.conv_in", Conv::same(input));
        h = self.middle(ops, "decoder.mid_block", &h);
        for (i, attends) in self.up_attention.iter().enumerate() {
            let path = format!("decoder.up_blocks.{i}");
            let width = c[n - 1 - i];
            for j in 0..=self.layers_per_block {
                let spec = self.resnet(input, width);
                h = spec.forward(ops, &format!("{path}.resnets.{j}"), &h, None);
                if *attends {
                    h = self.attention(width).forward(ops, &format!("{path}.attentions.{j}"), &h);
                }
                input = width;
            }
            if i + 1 < n {
                h = ops.upsample_nearest(&h);
                h = ops.conv2d(&h, &format!("{path}.upsamplers.0.conv"), Conv::same(width));
            }
        }
        self.last(ops, "decoder", &h, self.out_channels)
    }
}

pub(super) fn latent_size(scale: usize, height: usize, width: usize) -> Result<[usize; 2]> {
    if height >= scale && width >= scale {
        return Ok([height / scale, width / scale]);
    }
    let expected = format!("at least {scale} pixels in both directions");
    Err(Error::Option { option: "size", found: format!("{height}×{width}"), expected })
}
