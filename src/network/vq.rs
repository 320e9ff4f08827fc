//! diffusers' `VQModel`, whose latents are rows of a codebook.

use serde_json::{Map, Value, json};

use super::autoencoder::{Autoencoder, Coder};
use super::fields;
use super::ops::{Convolution, TransformerOps};
use crate::checkpoint::json::Fields;
use crate::error::Result;

/// The fields of a `VQModel` config, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct VqConfig {
    /// The two halves.
    pub coder: Coder,
    /// Rows of the codebook.
    pub num_vq_embeddings: usize,
    /// Channels of latents, the width of the codebook.
    pub vq_embed_dim: usize,
    /// What latents are multiplied by before a diffusion model sees them.
    pub scaling_factor: f64,
    /// Height and width that it was trained at.
    pub sample_size: Option<[usize; 2]>,
}

/// The class in diffusers.
pub const CLASSES: [&str; 1] = ["VQModel"];

impl VqConfig {
    /// Reads and checks a `VQModel` config; also returns the keys that mean nothing to it.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) on a value that no network can have,
    /// [`Error::Unsupported`](crate::Error::Unsupported) on another architecture or block.
    pub fn parse(file: &str, object: &Map<String, Value>) -> Result<(Self, Vec<String>)> {
        fields::check_class(object, &CLASSES)?;
        let f = Fields::new(file, object);
        let coder = Coder::parse(&f, 3)?;
        fields::only(&f, "norm_type", &json!("group"), "the normalisations of MoVQ are not implemented")?;
        let why = "decoding from indices is not implemented";
        fields::only(&f, "lookup_from_codebook", &json!(false), why)?;
        fields::ignore(&f, &["force_upcast"]);
        let width = f.optional_usize("vq_embed_dim", None)?.unwrap_or(coder.latent_channels);
        let config = Self {
            num_vq_embeddings: fields::within(&f, "num_vq_embeddings", 256, 1, 1 << 20)?,
            vq_embed_dim: fields::check_within(&f, "vq_embed_dim", width, 1, 1024)?,
            scaling_factor: fields::divisor(&f, "scaling_factor", 0.18215)?,
            sample_size: fields::sample_size(&f, Some(32))?,
            coder,
        };
        Ok((config, f.unknown()))
    }

    /// The picture of latents as they are, without looking for the nearest rows of the codebook.
    pub fn decode_unquantised<O: TransformerOps + ?Sized>(
        &self,
        ops: &mut O,
        latents: &O::Tensor,
    ) -> O::Tensor {
        let convolution = Convolution::same(self.coder.latent_channels, 1);
        let h = ops.conv(latents, "post_quant_conv", convolution);
        self.coder.decoder(ops, &h)
    }
}

/// Latents are `[batch, vq_embed_dim, …]`, before any scaling. The encoder's are not yet rows of the codebook; the decoder
/// takes the nearest row for each pixel.
impl Autoencoder for VqConfig {
    fn encode<O: TransformerOps + ?Sized>(&self, ops: &mut O, picture: &O::Tensor) -> O::Tensor {
        let h = self.coder.encoder(ops, picture, self.coder.latent_channels);
        ops.conv(&h, "quant_conv", Convolution::same(self.vq_embed_dim, 1))
    }

    fn decode<O: TransformerOps + ?Sized>(&self, ops: &mut O, latents: &O::Tensor) -> O::Tensor {
        let rows = ops.nearest_row(latents, "quantize.embedding", self.num_vq_embeddings);
        self.decode_unquantised(ops, &rows)
    }
}
