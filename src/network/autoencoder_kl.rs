//! diffusers' `AutoencoderKL`, the autoencoder of Stable Diffusion and its like.

use serde_json::{Map, Value};

use super::autoencoder::{Autoencoder, Coder};
use super::fields;
use super::ops::{Convolution, TransformerOps};
use crate::checkpoint::json::Fields;
use crate::error::Result;
use crate::text;

/// The fields of an `AutoencoderKL` config, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct AutoencoderKlConfig {
    /// The two halves.
    pub coder: Coder,
    /// What latents are multiplied by before a diffusion model sees them.
    pub scaling_factor: f64,
    /// What is subtracted from latents first. The pipelines of Stable Diffusion and SDXL take no notice of it.
    pub shift_factor: Option<f64>,
    /// Means and standard deviations of the latents' channels, where SDXL's pipeline normalises by them: Python's does where
    /// the file has both.
    pub latents_mean_std: Option<(Vec<f64>, Vec<f64>)>,
    /// Whether half precision overflows in it.
    pub force_upcast: bool,
    /// Height and width that it was trained at; only tiled decoding asks.
    pub sample_size: Option<[usize; 2]>,
    /// Whether a linear map follows the encoder.
    pub use_quant_conv: bool,
    /// Whether a linear map is before the decoder.
    pub use_post_quant_conv: bool,
}

/// The class in diffusers.
pub const CLASSES: [&str; 1] = ["AutoencoderKL"];

impl AutoencoderKlConfig {
    /// Reads and checks an `AutoencoderKL` config; also returns the keys that mean nothing to it.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) on a value that no network can have,
    /// [`Error::Unsupported`](crate::Error::Unsupported) on another architecture or block.
    pub fn parse(file: &str, object: &Map<String, Value>) -> Result<(Self, Vec<String>)> {
        fields::check_class(object, &CLASSES)?;
        let f = Fields::new(file, object);
        let coder = Coder::parse(&f, 4)?;
        let each = |field: &str| -> Result<Option<Vec<f64>>> {
            let values = f.optional_f64s(field)?;
            match &values {
                Some(values) if values.len() != coder.latent_channels => {
                    let expected = format!("{}, one for each channel of latents", coder.latent_channels);
                    Err(f.error(field, format!("{} numbers", values.len()), expected))
                }
                _ => Ok(values),
            }
        };
        let (mean, std) = (each("latents_mean")?, each("latents_std")?);
        let shift_factor = match f.get("shift_factor") {
            None | Some(Value::Null) => None,
            Some(_) => Some(f.f64("shift_factor", 0.0)?),
        };
        let config = Self {
            scaling_factor: fields::divisor(&f, "scaling_factor", 0.18215)?,
            shift_factor,
            latents_mean_std: mean.zip(std),
            force_upcast: f.bool("force_upcast", true)?,
            sample_size: fields::sample_size(&f, Some(32))?,
            use_quant_conv: f.bool("use_quant_conv", true)?,
            use_post_quant_conv: f.bool("use_post_quant_conv", true)?,
            coder,
        };
        Ok((config, f.unknown()))
    }
}

/// The encoder's result is `[batch, 2 · latent_channels, …]`: the parameters of a normal distribution, for [`posterior`].
/// Latents here are as that distribution's, before any scaling.
impl Autoencoder for AutoencoderKlConfig {
    fn encode<O: TransformerOps + ?Sized>(&self, ops: &mut O, picture: &O::Tensor) -> O::Tensor {
        let width = 2 * self.coder.latent_channels;
        let h = self.coder.encoder(ops, picture, width);
        if self.use_quant_conv { ops.conv(&h, "quant_conv", Convolution::same(width, 1)) } else { h }
    }

    fn decode<O: TransformerOps + ?Sized>(&self, ops: &mut O, latents: &O::Tensor) -> O::Tensor {
        let convolution = Convolution::same(self.coder.latent_channels, 1);
        if self.use_post_quant_conv {
            let h = ops.conv(latents, "post_quant_conv", convolution);
            self.coder.decoder(ops, &h)
        } else {
            self.coder.decoder(ops, latents)
        }
    }
}

/// Means and standard deviations of `samples` latents, each in one list, from what the encoder made: means and logarithms
/// of variances, the latter kept within ±30 and 20.
#[must_use]
pub fn posterior(moments: &[f32], samples: usize) -> (Vec<f32>, Vec<f32>) {
    let (mut mean, mut std) = (Vec::new(), Vec::new());
    for sample in moments.chunks_exact((moments.len() / samples.max(1)).max(1)) {
        let (means, variances) = sample.split_at(sample.len() / 2);
        mean.extend_from_slice(means);
        std.extend(variances.iter().map(|v| (0.5 * v.clamp(-30.0, 20.0)).exp()));
    }
    (mean, std)
}

/// The name that a parameter of the first Stable Diffusion autoencoders has today.
#[must_use]
pub fn todays_key(key: &str) -> Option<String> {
    const RENAMED: [[&str; 2]; 4] =
        [["query", "to_q"], ["key", "to_k"], ["value", "to_v"], ["proj_attn", "to_out.0"]];
    let (path, part) = key.rsplit_once('.')?;
    let (path, module) = path.rsplit_once('.')?;
    let [_, name] = RENAMED.iter().find(|[old, _]| *old == module)?;
    text::contains(path, ".attentions.").then(|| format!("{path}.{name}.{part}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_names_are_understood() {
        let key = "decoder.mid_block.attentions.0.proj_attn.weight";
        assert_eq!(todays_key(key).unwrap(), "decoder.mid_block.attentions.0.to_out.0.weight");
        assert_eq!(todays_key("decoder.mid_block.attentions.0.key.bias").unwrap().matches("to_k").count(), 1);
        assert_eq!(todays_key("decoder.mid_block.attentions.0.to_q.weight"), None);
        assert_eq!(todays_key("decoder.key.weight"), None);
    }

    #[test]
    fn a_posterior_is_of_halves_of_each_sample() {
        let (mean, std) = posterior(&[1.0, 2.0, 0.0, 100.0, 3.0, 4.0, -100.0, 2.0f32.ln()], 2);
        assert_eq!(mean, [1.0, 2.0, 3.0, 4.0]);
        let expected = [1.0, 10f32.exp(), (-15f32).exp(), 2f32.sqrt()];
        assert!(std.iter().zip(expected).all(|(a, b)| (a / b - 1.0).abs() < 1e-6), "{std:?}");
    }
}
