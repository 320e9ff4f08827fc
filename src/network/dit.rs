//! diffusers' `DiTTransformer2DModel`: a transformer on patches, whose layers are scaled and shifted by time and class
//! (adaLN-Zero).

use serde_json::{Map, Value, json};

use super::fields;
use super::ops::{Activation, Attend, Convolution, Padding, Pass, TransformerOps};
use super::sinusoid::{Sinusoid, check_finite};
use crate::checkpoint::json::Fields;
use crate::error::{Error, Result};
use crate::text::number;

/// What is between the linear maps of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FeedForward {
    /// A nonlinearity.
    Plain(Activation),
    /// Half of the units times the GELU of the other half.
    Gated,
}

/// The fields of diffusers' `DiTTransformer2DModel` config that shape the network, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct DitConfig {
    /// Heads of each attention.
    pub num_attention_heads: usize,
    /// Channels of one head; here the field has the right name.
    pub attention_head_dim: usize,
    /// Channels of the input.
    pub in_channels: usize,
    /// Channels of the prediction; twice `in_channels` where the variance is learned too.
    pub out_channels: usize,
    /// Blocks one after the other.
    pub num_layers: usize,
    /// Height and width that the network was trained at; positions at other sizes are stretched to these.
    pub sample_size: usize,
    /// Height and width of a patch, which is one token.
    pub patch_size: usize,
    /// What is between the linear maps of a block.
    pub feed_forward: FeedForward,
    /// Classes; the table has one row more, which stands for none.
    pub num_embeds_ada_norm: usize,
    /// Whether queries, keys and values have a bias.
    pub attention_bias: bool,
    /// Added to the variance before the linear maps of a block; elsewhere it is 1e-6.
    pub norm_eps: f64,
    /// Whether that normalisation has a weight and a bias of its own.
    pub norm_elementwise_affine: bool,
}

/// The class in diffusers, now and in the files on the hub.
pub const CLASSES: [&str; 2] = ["DiTTransformer2DModel", "Transformer2DModel"];

const EPS: f64 = 1e-6;
const TIME: Sinusoid = Sinusoid { width: 256, freq_shift: 1.0, flip_sin_to_cos: true };

impl DitConfig {
    /// Reads and checks a DiT's config; also returns the keys that mean nothing to it.
    ///
    /// # Errors
    /// [`Error::Config`] on a value that no network can have, [`Error::Unsupported`] on another transformer.
    pub fn parse(file: &str, object: &Map<String, Value>) -> Result<(Self, Vec<String>)> {
        fields::check_class(object, &CLASSES)?;
        let f = Fields::new(file, object);
        let why = "of diffusers' transformers, only DiT's adaLN-Zero is implemented";
        fields::only(&f, "norm_type", &json!("ada_norm_zero"), why)?;
        for (field, default) in [
            ("num_vector_embeds", Value::Null),
            ("cross_attention_dim", Value::Null),
            ("caption_channels", Value::Null),
            ("double_self_attention", json!(false)),
            ("only_cross_attention", json!(false)),
            ("attention_type", json!("default")),
        ] {
            fields::only(&f, field, &default, why)?;
        }
        fields::ignore(
            &f,
            &[
                "dropout",
                "norm_num_groups",
                "upcast_attention",
                "use_linear_projection",
                "interpolation_scale",
            ],
        );
        let in_channels = fields::within(&f, "in_channels", 4, 1, 1024)?;
        let out_channels = f.optional_usize("out_channels", None)?.unwrap_or(in_channels);
        let config = Self {
            num_attention_heads: fields::within(&f, "num_attention_heads", 16, 1, 1024)?,
            attention_head_dim: fields::within(&f, "attention_head_dim", 72, 1, 1024)?,
            in_channels,
            out_channels: fields::check_within(&f, "out_channels", out_channels, 1, 2048)?,
            num_layers: fields::within(&f, "num_layers", 28, 1, 256)?,
            sample_size: fields::within(&f, "sample_size", 32, 1, 1 << 13)?,
            patch_size: fields::within(&f, "patch_size", 2, 1, 64)?,
            feed_forward: feed_forward(&f)?,
            num_embeds_ada_norm: fields::within(&f, "num_embeds_ada_norm", 1000, 1, 1 << 20)?,
            attention_bias: f.bool("attention_bias", true)?,
            norm_eps: fields::epsilon(&f, "norm_eps", 1e-5)?,
            norm_elementwise_affine: f.bool("norm_elementwise_affine", false)?,
        };
        config.check(&f)?;
        Ok((config, f.unknown()))
    }

    fn check(&self, f: &Fields) -> Result<()> {
        let width = self.width();
        if width > fields::MAX_CHANNELS || !width.is_multiple_of(4) {
            let expected = "such that the heads have a multiple of 4 channels in all, and at most 16384";
            return Err(f.error("attention_head_dim", self.attention_head_dim, expected));
        }
        if self.patch_size > self.sample_size {
            return Err(f.error("patch_size", self.patch_size, "at most sample_size"));
        }
        Ok(())
    }

    /// Width of a token.
    #[must_use]
    pub fn width(&self) -> usize {
        self.num_attention_heads * self.attention_head_dim
    }

    /// Whether the network predicts a variance beside its prediction (twice the channels).
    #[must_use]
    pub fn learns_variance(&self) -> bool {
        self.out_channels == 2 * self.in_channels
    }

    /// Whether an image of this size can be cut into patches. Python takes square ones alone.
    ///
    /// # Errors
    /// [`Error::Option`] on any other.
    pub fn check_size(&self, height: usize, width: usize) -> Result<()> {
        if height == width && height > 0 && height.is_multiple_of(self.patch_size) {
            return Ok(());
        }
        Err(Error::Option {
            option: "size",
            found: format!("{height}×{width}"),
            expected: format!("a square of a multiple of {}", self.patch_size),
        })
    }

    /// Whether classes have rows in the table; the one after the last class stands for none.
    ///
    /// # Errors
    /// [`Error::Option`] on any other number.
    pub fn check_labels(&self, labels: &[f32]) -> Result<()> {
        let row =
            |label: &&f32| label.fract() == 0.0 && (0.0..=self.num_embeds_ada_norm as f32).contains(*label);
        match labels.iter().find(|label| !row(label)) {
            None => Ok(()),
            Some(label) => Err(Error::Option {
                option: "labels",
                found: number(f64::from(*label)),
                expected: format!(
                    "a whole number from 0 to {}, or {} for none",
                    self.num_embeds_ada_norm - 1,
                    self.num_embeds_ada_norm
                ),
            }),
        }
    }

    /// The features of timesteps, 256 for each.
    ///
    /// # Errors
    /// [`Error::Option`] on a timestep that is not finite.
    pub fn time_features(&self, timesteps: &[f32]) -> Result<Vec<f32>> {
        timesteps.iter().try_for_each(|t| check_finite("timestep", *t))?;
        Ok(timesteps.iter().flat_map(|t| TIME.features(*t)).collect())
    }

    /// What is added to the patches of an image of `side` × `side`: `[width, side / patch, side / patch]`. The first half of
    /// the channels tells the column, the second the row; of each half, sines are before cosines.
    #[must_use]
    pub fn positions(&self, side: usize) -> Vec<f32> {
        let (patches, base) = (side / self.patch_size, self.sample_size / self.patch_size);
        let quarter = self.width() / 4;
        let place = |i: usize| f64::from(i as f32 / (patches as f64 / base as f64) as f32);
        let angle = |i: usize, k: usize| place(i) / 10000f64.powf(k as f64 / (self.width() as f64 / 4.0));
        let mut table = Vec::with_capacity(self.width() * patches * patches);
        for channel in 0..self.width() {
            for at in 0..patches * patches {
                let (row, column) = (at / patches, at % patches);
                let i = if channel < 2 * quarter { column } else { row };
                let a = angle(i, channel % quarter);
                table.push(if (channel / quarter).is_multiple_of(2) { a.sin() } else { a.cos() } as f32);
            }
        }
        table
    }
}

fn feed_forward(f: &Fields) -> Result<FeedForward> {
    let name = f.string("activation_fn", "gelu-approximate")?;
    match name.as_str() {
        "gelu" => Ok(FeedForward::Plain(Activation::Gelu)),
        "gelu-approximate" => Ok(FeedForward::Plain(Activation::GeluTanh)),
        "geglu" => Ok(FeedForward::Gated),
        _ => Err(f.error("activation_fn", name, "one of gelu-approximate, gelu, geglu")),
    }
}

/// The inputs are the image `[batch, in_channels, side, side]`, [`DitConfig::time_features`] `[batch, 256]`, labels
/// `[batch, 1]`, and [`DitConfig::positions`] once for each sample, `[batch, width, side / patch, side / patch]`. The
/// result is `[batch, out_channels, side, side]`.
impl Pass for DitConfig {
    fn run<O: TransformerOps + ?Sized>(&self, ops: &mut O, inputs: &[O::Tensor]) -> Vec<O::Tensor> {
        let [x, time, label, positions] = inputs else { unreachable!("a DiT has four inputs") };
        let (width, patch) = (self.width(), self.patch_size);
        let cut = Convolution {
            out_channels: width,
            kernel: patch,
            stride: patch,
            padding: Padding::All(0),
            bias: true,
        };
        let h = ops.conv(x, "pos_embed.proj", cut);
        let mut h = ops.add(&h, positions);
        let mut first = None;
        for i in 0..self.num_layers {
            let path = format!("transformer_blocks.{i}");
            let cond = condition(ops, self, &path, time, label);
            first.get_or_insert_with(|| cond.clone());
            h = block(ops, self, &path, &h, &cond);
        }
        let Some(cond) = first else { return vec![h] };
        let v = ops.linear(&cond, "proj_out_1", 2 * width);
        let h = ops.layer_norm(&h, None, EPS);
        let (shift, scale) = (ops.slice(&v, 0, width), ops.slice(&v, width, width));
        let h = modulate(ops, &h, &shift, &scale);
        let h = ops.pointwise(&h, "proj_out_2", patch * patch * self.out_channels);
        vec![ops.unpatchify(&h, patch)]
    }
}

/// A nonlinearity of the sum of what the block makes of time and class. Each block has its own linear maps and table,
/// which are copies of one in the published files.
fn condition<O: TransformerOps + ?Sized>(
    ops: &mut O,
    net: &DitConfig,
    path: &str,
    time: &O::Tensor,
    label: &O::Tensor,
) -> O::Tensor {
    let (width, path) = (net.width(), format!("{path}.norm1.emb"));
    let t = ops.linear(time, &format!("{path}.timestep_embedder.linear_1"), width);
    let t = ops.activation(&t, Activation::Silu);
    let t = ops.linear(&t, &format!("{path}.timestep_embedder.linear_2"), width);
    let table = format!("{path}.class_embedder.embedding_table");
    let class = ops.embedding(label, &table, net.num_embeds_ada_norm + 1, width);
    let sum = ops.add(&t, &class);
    ops.activation(&sum, Activation::Silu)
}

fn block<O: TransformerOps + ?Sized>(
    ops: &mut O,
    net: &DitConfig,
    path: &str,
    x: &O::Tensor,
    cond: &O::Tensor,
) -> O::Tensor {
    let width = net.width();
    let v = ops.linear(cond, &format!("{path}.norm1.linear"), 6 * width);
    let sixth = |ops: &mut O, i: usize| ops.slice(&v, i * width, width);

    let h = ops.layer_norm(x, None, EPS);
    let (shift, scale, gate) = (sixth(ops, 0), sixth(ops, 1), sixth(ops, 2));
    let h = modulate(ops, &h, &shift, &scale);
    let y = attention(ops, net, &format!("{path}.attn1"), &h);
    let y = ops.scale_per_channel(&y, &gate);
    let x = ops.add(x, &y);

    let norm3 = format!("{path}.norm3");
    let h = ops.layer_norm(&x, net.norm_elementwise_affine.then_some(norm3.as_str()), net.norm_eps);
    let (shift, scale, gate) = (sixth(ops, 3), sixth(ops, 4), sixth(ops, 5));
    let h = modulate(ops, &h, &shift, &scale);
    let y = feed(ops, net, &format!("{path}.ff.net"), &h);
    let y = ops.scale_per_channel(&y, &gate);
    ops.add(&x, &y)
}

/// `x (1 + scale) + shift`, per channel.
fn modulate<O: TransformerOps + ?Sized>(
    ops: &mut O,
    x: &O::Tensor,
    shift: &O::Tensor,
    scale: &O::Tensor,
) -> O::Tensor {
    let factor = ops.affine(scale, 1.0, 1.0);
    let h = ops.scale_per_channel(x, &factor);
    ops.add_per_channel(&h, shift)
}

fn attention<O: TransformerOps + ?Sized>(
    ops: &mut O,
    net: &DitConfig,
    path: &str,
    x: &O::Tensor,
) -> O::Tensor {
    let width = net.width();
    let project = |ops: &mut O, name: &str| {
        let name = format!("{path}.{name}");
        if net.attention_bias { ops.pointwise(x, &name, width) } else { ops.unbiased(x, &name, width) }
    };
    let (q, k, v) = (project(ops, "to_q"), project(ops, "to_k"), project(ops, "to_v"));
    let y = ops.attend(&q, &k, &v, Attend { heads: net.num_attention_heads, causal: false });
    ops.pointwise(&y, &format!("{path}.to_out.0"), width)
}

fn feed<O: TransformerOps + ?Sized>(ops: &mut O, net: &DitConfig, path: &str, x: &O::Tensor) -> O::Tensor {
    let width = net.width();
    let h = match net.feed_forward {
        FeedForward::Plain(f) => {
            let h = ops.pointwise(x, &format!("{path}.0.proj"), 4 * width);
            ops.activation(&h, f)
        }
        FeedForward::Gated => {
            let h = ops.pointwise(x, &format!("{path}.0.proj"), 8 * width);
            ops.gated_gelu(&h)
        }
    };
    ops.pointwise(&h, &format!("{path}.2"), width)
}
