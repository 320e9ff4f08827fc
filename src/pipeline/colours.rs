//! What latents look like before they are decoded: a linear map of their channels to red, green and blue.

use serde_json::{Map, Value};

use super::{Autoencoder, Kind, Pipeline};

/// A linear map of latents' channels to colours in [-1, 1].
#[derive(Clone, Debug, PartialEq)]
pub struct LatentColours {
    /// Red, green and blue of each channel.
    pub factors: Vec<[f32; 3]>,
    /// Added to them.
    pub bias: [f32; 3],
}

/// Stable Diffusion 1 and 2's autoencoder, as fitted by Turner (2022).
const SD: [[f32; 3]; 4] =
    [[0.298, 0.207, 0.208], [0.187, 0.286, 0.173], [-0.158, 0.189, 0.264], [-0.184, -0.271, -0.473]];

/// SDXL's, in 255ths of what is seen, and what is added: Vass (2023), "Explaining the SDXL latent space".
const SDXL: [[f32; 3]; 4] =
    [[60.0, 60.0, 60.0], [-60.0, -5.0, 10.0], [25.0, 15.0, -5.0], [-70.0, -50.0, -35.0]];
const SDXL_BIAS: [f32; 3] = [150.0, 140.0, 130.0];

impl Pipeline {
    /// The map that the autoencoder's config has (`latent_rgb_factors` and `latent_rgb_bias`), or that is known of Stable Diffusion's or SDXL's. Of others
    /// the first three channels are the colours.
    #[must_use]
    pub fn latent_colours(&self, config: Option<&Map<String, Value>>) -> LatentColours {
        let row = |value: &Value| -> Option<[f32; 3]> {
            let number = |i: usize| Some(value.get(i)?.as_f64()? as f32);
            Some([number(0)?, number(1)?, number(2)?])
        };
        let field = |name: &str| config.and_then(|config| config.get(name));
        let own = field("latent_rgb_factors").and_then(Value::as_array);
        let own: Option<Vec<[f32; 3]>> = own.and_then(|rows| rows.iter().map(row).collect());
        if let Some(factors) = own.filter(|factors| factors.len() == self.latent_channels) {
            return LatentColours {
                factors,
                bias: field("latent_rgb_bias").and_then(row).unwrap_or_default(),
            };
        }
        let scaled_by =
            |factor: f64| self.autoencoder == Autoencoder::Kl && (self.scaling_factor - factor).abs() < 1e-6;
        // A small autoencoder with Stable Diffusion's latents, or one of its own: both are scaled by 1.
        let is_taesd =
            self.autoencoder == Autoencoder::Tiny && self.scaling_factor == 1.0 && self.scale_factor == 8;
        let is_xl = self.kind == Kind::StableDiffusionXl;
        if self.latent_channels == 4 && (scaled_by(0.13025) || is_taesd && is_xl) {
            return LatentColours {
                factors: SDXL.map(|row| row.map(|n| n / 127.5)).to_vec(),
                bias: SDXL_BIAS.map(|n| n / 127.5 - 1.0),
            };
        }
        let factors = if self.latent_channels == 4 && (scaled_by(0.18215) || is_taesd && !is_xl) {
            SD.to_vec()
        } else {
            (0..self.latent_channels)
                .map(|c| [0, 1, 2].map(|colour| if c == colour { 0.5 } else { 0.0 }))
                .collect()
        };
        LatentColours { factors, bias: [0.0; 3] }
    }
}

impl LatentColours {
    /// The colours of latents `[batch, channels, height, width]`, `[batch, 3, height, width]`.
    #[must_use]
    pub fn rgb(&self, latents: &[f32], [_, channels, height, width]: [usize; 4]) -> Vec<f32> {
        let plane = height * width;
        let mut out = Vec::with_capacity(latents.len() / channels.max(1) * 3);
        for image in latents.chunks_exact((channels * plane).max(1)) {
            for colour in 0..3 {
                let of = |pixel: usize| {
                    let terms = self.factors.iter().zip(image.chunks_exact(plane.max(1)));
                    self.bias[colour]
                        + terms.map(|(factor, channel)| factor[colour] * channel[pixel]).sum::<f32>()
                };
                out.extend((0..plane).map(of));
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_are_mixed_pixel_by_pixel() {
        let colours =
            LatentColours { factors: vec![[1.0, 0.0, 2.0], [0.0, 3.0, -1.0]], bias: [0.5, 0.0, 0.0] };
        // One picture of two channels and two pixels.
        assert_eq!(colours.rgb(&[1.0, 2.0, 10.0, 20.0], [1, 2, 1, 2]), [1.5, 2.5, 30.0, 60.0, -8.0, -16.0]);
    }
}
