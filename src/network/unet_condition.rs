//! diffusers' `UNet2DConditionModel`, the network of Stable Diffusion and its like: a U-Net whose pixels attend to a text.

use serde_json::{Map, Value, json};

use super::blocks::resnet::{Resnet, TimeScaleShift};
use super::blocks::transformer::{Seen, Transformer, transformer};
use super::fields;
use super::ops::{Activation, Conv, Convolution, Padding, Pass, TransformerOps};
use super::sinusoid::{Sinusoid, check_finite};
use crate::checkpoint::json::Fields;
use crate::error::{Error, Result};

/// One level of the U, on the way down or up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Level {
    /// Channels of its images.
    pub channels: usize,
    /// Residual blocks.
    pub resnets: usize,
    /// What follows each residual block.
    pub attention: Option<TextAttention>,
}

/// Transformers after the residual blocks of a level.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextAttention {
    /// Heads of each attention. The config calls them `attention_head_dim`.
    pub heads: usize,
    /// Transformer blocks after each residual block.
    pub depths: Vec<usize>,
    /// Whether pixels look at the text alone, and never at each other.
    pub only_cross: bool,
}

/// What is between the two halves of the U.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Middle {
    /// Nothing.
    None,
    /// One residual block.
    Resnet,
    /// A transformer between two residual blocks.
    Transformer {
        /// Heads of each attention.
        heads: usize,
        /// Transformer blocks.
        depth: usize,
    },
}

/// What a class is to the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClassEmbedding {
    /// The network knows no classes.
    None,
    /// A row of a learned table with this many rows.
    Table(usize),
    /// A number embedded as the timestep is.
    Timestep,
    /// The embedding itself, a vector as wide as the time embedding.
    Identity,
    /// A vector of this width that goes through two linear maps.
    Projection(usize),
    /// A vector of this width that goes through one linear map.
    SimpleProjection(usize),
}

/// SDXL's conditions beside the text: a pooled text and numbers such as the picture's size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TextTime {
    /// Features of each number.
    pub time_dim: usize,
    /// Width of the pooled text and all features together.
    pub input_dim: usize,
}

/// The fields of diffusers' `UNet2DConditionModel` config that shape the network, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct UNet2DConditionConfig {
    /// Height and width of the latents that the network was trained at; it runs at any size.
    pub sample_size: Option<[usize; 2]>,
    /// Channels of the input: 4, or 9 with a mask and the masked picture.
    pub in_channels: usize,
    /// Channels of the prediction.
    pub out_channels: usize,
    /// Maps the input from [0, 1] to [-1, 1] first.
    pub center_input_sample: bool,
    /// How a timestep becomes a vector.
    pub time: Sinusoid,
    /// Width of the time embedding.
    pub time_embedding_dim: usize,
    /// Width of the guidance scale's features, where the network is told it.
    pub time_cond_proj_dim: Option<usize>,
    /// Applied to the time embedding before anything is added.
    pub timestep_post_act: Option<Activation>,
    /// Applied to the sum of all embeddings.
    pub time_embedding_act_fn: Option<Activation>,
    /// What a class is to the network.
    pub class_embedding: ClassEmbedding,
    /// Whether the class embedding stands beside the time embedding, or is added to it.
    pub class_embeddings_concat: bool,
    /// SDXL's conditions.
    pub text_time: Option<TextTime>,
    /// Width of the text's tokens.
    pub text_width: usize,
    /// Width of the text's tokens after a linear map, where there is one.
    pub text_projection: Option<usize>,
    /// The levels on the way down, finest first.
    pub down: Vec<Level>,
    /// What is between the two halves.
    pub middle: Middle,
    /// The levels on the way up, coarsest first.
    pub up: Vec<Level>,
    /// Whether the transformers' projections are stored as linear maps, or as convolutions.
    pub use_linear_projection: bool,
    /// The middle residual blocks' sums are divided by this.
    pub mid_block_scale_factor: f64,
    /// Zeros of the strided convolutions.
    pub downsample_padding: Padding,
    /// Height and width of the first convolution's kernel.
    pub conv_in_kernel: usize,
    /// Height and width of the last convolution's kernel.
    pub conv_out_kernel: usize,
    /// The nonlinearity of residual blocks, time embedding and last layer.
    pub act_fn: Activation,
    /// Groups of every normalisation.
    pub norm_num_groups: usize,
    /// Added to the variance in residual blocks and the last normalisation.
    pub norm_eps: f64,
    /// How a time embedding enters a residual block.
    pub resnet_time_scale_shift: TimeScaleShift,
}

/// The class in diffusers.
pub const CLASSES: [&str; 1] = ["UNet2DConditionModel"];

/// Depths of the transformers of one level: one for all or one after each residual block.
#[derive(Clone)]
enum Depth {
    Same(usize),
    Each(Vec<usize>),
}

impl Depth {
    fn read(value: &Value) -> Option<Self> {
        let one = fields::up_to(64);
        match value {
            Value::Array(list) => Some(Self::Each(list.iter().map(one).collect::<Option<_>>()?)),
            value => one(value).map(Self::Same),
        }
    }

    /// For so many residual blocks; a longer list's rest means nothing to Python.
    fn of(&self, resnets: usize) -> Option<Vec<usize>> {
        match self {
            Self::Same(depth) => Some(vec![*depth; resnets]),
            Self::Each(list) => list.get(..resnets).map(<[usize]>::to_vec),
        }
    }

    fn first(&self) -> Option<usize> {
        self.of(1).map(|depths| depths[0])
    }
}

/// The lists of a config that have one entry for each level, finest first.
struct PerLevel {
    channels: Vec<usize>,
    layers: Vec<usize>,
    heads: Vec<usize>,
    text: Vec<usize>,
    only_cross: Vec<bool>,
    depths: Vec<Depth>,
    /// As for the levels on the way up, coarsest first.
    depths_up: Vec<Depth>,
}

impl PerLevel {
    fn parse(f: &Fields) -> Result<Self> {
        let channels = fields::channels(f, "block_out_channels", &[320, 640, 1280, 1280])?;
        let n = channels.len();
        let whole = fields::up_to(fields::MAX_CHANNELS);
        let list = |field: &str, default, most: usize| {
            let expected = format!("a whole number of at most {most}");
            fields::per_level(f, field, default, n, &expected, fields::up_to(most))
        };
        let boolean = |v: &Value| if v.is_null() { Some(false) } else { v.as_bool() };
        let depth = "a whole number of at most 64 or a list of such";
        let depths = "transformer_layers_per_block";
        let depths = fields::per_level(f, depths, Depth::Same(1), n, depth, Depth::read)?;
        let up = "reverse_transformer_layers_per_block";
        let depths_up = match f.get(up) {
            // As written: they are in the order of the way up.
            Some(Value::Array(_)) => fields::per_level(f, up, Depth::Same(1), n, depth, Depth::read)?,
            None | Some(Value::Null) if depths.iter().all(|d| matches!(d, Depth::Same(_))) => {
                depths.iter().rev().cloned().collect()
            }
            other => {
                let found = other.map_or("nothing".to_owned(), crate::checkpoint::json::shorten);
                return Err(f.error(up, found, "a list for the way up, as the way down has lists"));
            }
        };
        Ok(Self {
            layers: list("layers_per_block", 2, 64)?,
            heads: list("attention_head_dim", 8, fields::MAX_CHANNELS)?,
            text: fields::per_level(f, "cross_attention_dim", 1280, n, "a width", whole)?,
            only_cross: fields::per_level(f, "only_cross_attention", false, n, "true or false", boolean)?,
            depths,
            depths_up,
            channels,
        })
    }

    /// The levels on the way down, finest first, and those on the way up, coarsest first.
    fn levels(&self, f: &Fields) -> Result<(Vec<Level>, Vec<Level>)> {
        let n = self.channels.len();
        let cross = "CrossAttnDownBlock2D";
        let default = [cross, cross, cross, "DownBlock2D"];
        let down = fields::blocks(f, "down_block_types", &default, n, ["DownBlock2D", cross])?;
        let cross = "CrossAttnUpBlock2D";
        let default = ["UpBlock2D", cross, cross, cross];
        let up = fields::blocks(f, "up_block_types", &default, n, ["UpBlock2D", cross])?;
        let down = (0..n).map(|i| self.level(f, i, down[i], self.layers[i], &self.depths[i]));
        let down = down.collect::<Result<_>>()?;
        let up = (0..n).map(|i| {
            let level = n - 1 - i;
            self.level(f, level, up[i], self.layers[level] + 1, &self.depths_up[i])
        });
        Ok((down, up.collect::<Result<_>>()?))
    }

    /// The level of this number, finest first, with so many residual blocks.
    fn level(&self, f: &Fields, i: usize, attention: bool, resnets: usize, depth: &Depth) -> Result<Level> {
        let attention = if attention {
            self.check_heads(f, i)?;
            let depths = depth.of(resnets).ok_or_else(|| {
                let expected = format!("{resnets} depths for each level of {resnets} residual blocks");
                f.error("transformer_layers_per_block", "a shorter list", expected)
            })?;
            Some(TextAttention { heads: self.heads[i], depths, only_cross: self.only_cross[i] })
        } else {
            None
        };
        Ok(Level { channels: self.channels[i], resnets, attention })
    }

    fn check_heads(&self, f: &Fields, i: usize) -> Result<()> {
        let field = "attention_head_dim";
        fields::check_within(f, field, self.heads[i], 1, self.channels[i]).map(|_| ())
    }

    fn middle(&self, f: &Fields) -> Result<Middle> {
        let last = self.channels.len() - 1;
        match f.optional_string("mid_block_type", Some("UNetMidBlock2DCrossAttn"))?.as_deref() {
            None => Ok(Middle::None),
            Some("UNetMidBlock2D") => Ok(Middle::Resnet),
            Some("UNetMidBlock2DCrossAttn") => {
                self.check_heads(f, last)?;
                let depth = self.depths[last].first().ok_or_else(|| {
                    f.error("transformer_layers_per_block", "[]", "a depth for the middle block")
                })?;
                Ok(Middle::Transformer { heads: self.heads[last], depth })
            }
            Some(other) => Err(Error::Unsupported {
                what: other.to_owned(),
                why: "known here: UNetMidBlock2DCrossAttn, UNetMidBlock2D, null".to_owned(),
            }),
        }
    }

    /// The width of text that all levels with attention agree on.
    fn text_width(&self, f: &Fields, down: &[Level], up: &[Level], middle: Middle) -> Result<usize> {
        let attends = |level: Option<&Level>| level.is_some_and(|level| level.attention.is_some());
        let in_middle = matches!(middle, Middle::Transformer { .. });
        let last = self.channels.len() - 1;
        let attended =
            |i: &usize| attends(down.get(*i)) || attends(up.get(last - i)) || in_middle && *i == last;
        let mut widths: Vec<_> = (0..=last).filter(attended).map(|i| self.text[i]).collect();
        widths.dedup();
        match widths[..] {
            [] => Ok(self.text[0]),
            [width] if width > 0 => Ok(width),
            _ => {
                let expected = "one width above 0 for all levels, as there is one text";
                Err(f.error("cross_attention_dim", format!("{widths:?}"), expected))
            }
        }
    }
}

impl UNet2DConditionConfig {
    /// Reads and checks a `UNet2DConditionModel` config; also returns the keys that mean nothing to it.
    ///
    /// # Errors
    /// [`Error::Config`] on a value that no network can have, [`Error::Unsupported`] on another architecture or a block
    /// that is not implemented, by its name.
    pub fn parse(file: &str, object: &Map<String, Value>) -> Result<(Self, Vec<String>)> {
        fields::check_class(object, &CLASSES)?;
        let f = Fields::new(file, object);
        refuse_variants(&f)?;
        let lists = PerLevel::parse(&f)?;
        let (down, up) = lists.levels(&f)?;
        let middle = lists.middle(&f)?;
        let width = lists.text_width(&f, &down, &up, middle)?;
        let projected = text_projection(&f)?;
        let first = lists.channels[0];
        let config = Self {
            sample_size: fields::sample_size(&f, None)?,
            in_channels: fields::within(&f, "in_channels", 4, 1, 1024)?,
            out_channels: fields::within(&f, "out_channels", 4, 1, 1024)?,
            center_input_sample: f.bool("center_input_sample", false)?,
            time: time(&f, first)?,
            time_embedding_dim: time_embedding_dim(&f, first)?,
            time_cond_proj_dim: f.optional_usize("time_cond_proj_dim", None)?,
            timestep_post_act: fields::optional_activation(&f, "timestep_post_act")?,
            time_embedding_act_fn: fields::optional_activation(&f, "time_embedding_act_fn")?,
            class_embedding: class_embedding(&f)?,
            class_embeddings_concat: f.bool("class_embeddings_concat", false)?,
            text_time: text_time(&f)?,
            text_width: projected.unwrap_or(width),
            text_projection: projected.map(|_| width),
            down,
            middle,
            up,
            use_linear_projection: f.bool("use_linear_projection", false)?,
            mid_block_scale_factor: fields::divisor(&f, "mid_block_scale_factor", 1.0)?,
            downsample_padding: padding(&f)?,
            conv_in_kernel: kernel(&f, "conv_in_kernel")?,
            conv_out_kernel: kernel(&f, "conv_out_kernel")?,
            act_fn: fields::activation(&f, "act_fn", "silu")?,
            norm_num_groups: f
                .optional_usize("norm_num_groups", Some(32))?
                .ok_or_else(|| f.error("norm_num_groups", "null", "a number"))?,
            norm_eps: fields::epsilon(&f, "norm_eps", 1e-5)?,
            resnet_time_scale_shift: f.choice(
                "resnet_time_scale_shift",
                TimeScaleShift::Default,
                &[("default", TimeScaleShift::Default), ("scale_shift", TimeScaleShift::ScaleShift)],
            )?,
        };
        config.check(&f)?;
        Ok((config, f.unknown()))
    }

    fn check(&self, f: &Fields) -> Result<()> {
        fields::check_within(f, "time_embedding_dim", self.time_embedding_dim, 1, 1 << 16)?;
        if let Some(width) = self.time_cond_proj_dim {
            fields::check_within(f, "time_cond_proj_dim", width, 4, 1 << 16)?;
        }
        self.time.check(f, "block_out_channels[0]")?;
        if let Some(text) = self.text_time {
            Sinusoid { width: text.time_dim, ..self.time }.check(f, "addition_time_embed_dim")?;
        }
        if self.class_embeddings_concat
            && (self.class_embedding == ClassEmbedding::None || self.text_time.is_some())
        {
            let expected = "false without a class embedding, and beside addition_embed_type";
            return Err(f.error("class_embeddings_concat", "true", expected));
        }
        for layers in self.down.iter().map(|level| level.resnets) {
            fields::check_within(f, "layers_per_block", layers, 1, 64)?;
        }
        let groups = |width| fields::check_groups(f, "norm_num_groups", self.norm_num_groups, width);
        self.down.iter().try_for_each(|level| groups(level.channels))?;
        self.skips().iter().flatten().try_for_each(|(input, skip)| groups(input + skip))
    }

    /// (channels from below, channels of the skip) of every residual block of the way up, level by level.
    fn skips(&self) -> Vec<Vec<(usize, usize)>> {
        let finer = |i: usize| self.up.get(i + 1).unwrap_or(&self.up[i]).channels;
        let coarser = |i: usize| self.up[i.saturating_sub(1)].channels;
        let of = |(i, level): (usize, &Level)| {
            let below = |j| if j == 0 { coarser(i) } else { level.channels };
            let skip = |j| if j + 1 == level.resnets { finer(i) } else { level.channels };
            (0..level.resnets).map(|j| (below(j), skip(j))).collect()
        };
        self.up.iter().enumerate().map(of).collect()
    }

    /// Whether an image of this size can go through the U. All can, but for what would shrink to nothing.
    ///
    /// # Errors
    /// [`Error::Option`] that names the least size.
    pub fn check_size(&self, height: usize, width: usize) -> Result<()> {
        let halvings = self.down.len() - 1;
        let least = if self.downsample_padding == Padding::RightBottom { 1 << halvings } else { 1 };
        if height >= least && width >= least {
            return Ok(());
        }
        let expected = format!("at least {least} in both directions");
        Err(Error::Option { option: "size", found: format!("{height}×{width}"), expected })
    }

    /// Whether it looks at the text at all.
    #[must_use]
    pub fn attends(&self) -> bool {
        matches!(self.middle, Middle::Transformer { .. })
            || self.down.iter().chain(&self.up).any(|level| level.attention.is_some())
    }

    /// Width of a class as it is given to the network.
    #[must_use]
    pub fn class_width(&self) -> Option<usize> {
        match self.class_embedding {
            ClassEmbedding::None => None,
            ClassEmbedding::Table(_) => Some(1),
            ClassEmbedding::Timestep => Some(self.time.width),
            ClassEmbedding::Identity => Some(self.time_embedding_dim),
            ClassEmbedding::Projection(width) | ClassEmbedding::SimpleProjection(width) => Some(width),
        }
    }

    /// The features of timesteps, one after the other.
    ///
    /// # Errors
    /// [`Error::Option`] on a timestep that is not finite.
    pub fn time_features(&self, timesteps: &[f32]) -> Result<Vec<f32>> {
        timesteps.iter().try_for_each(|t| check_finite("timestep", *t))?;
        Ok(timesteps.iter().flat_map(|t| self.time.features(*t)).collect())
    }

    /// What the network is given for classes: `labels` holds a number or, by the config, a vector for each sample.
    ///
    /// # Errors
    /// [`Error::Option`] where a label is missing, out of range, or given to a network without classes.
    pub fn class_features(&self, samples: usize, labels: Option<&[f32]>) -> Result<Option<Vec<f32>>> {
        let wrong = |found: String, expected: String| Error::Option { option: "labels", found, expected };
        let each = match self.class_embedding {
            ClassEmbedding::Timestep => 1,
            _ => self.class_width().unwrap_or(0),
        };
        let Some(labels) = labels else {
            if each == 0 {
                return Ok(None);
            }
            return Err(wrong("missing".to_owned(), format!("{each} numbers for each sample")));
        };
        if each == 0 || samples.checked_mul(each) != Some(labels.len()) {
            let found = format!("{} numbers for {samples} samples", labels.len());
            return Err(wrong(found, format!("{each} for each sample")));
        }
        labels.iter().try_for_each(|label| check_finite("labels", *label))?;
        if let ClassEmbedding::Table(rows) = self.class_embedding {
            let row = |label: &&f32| label.fract() == 0.0 && (0.0..rows as f32).contains(*label);
            if let Some(label) = labels.iter().find(|label| !row(label)) {
                let expected = format!("a whole number from 0 to {}", rows - 1);
                return Err(wrong(crate::text::number(f64::from(*label)), expected));
            }
        }
        Ok(Some(match self.class_embedding {
            ClassEmbedding::Timestep => self.time_features(labels)?,
            _ => labels.to_vec(),
        }))
    }

    /// SDXL's conditions as the network is given them, for one sample: the pooled text, then the features of each number.
    ///
    /// # Errors
    /// [`Error::Option`] where the widths do not suit the network, or it has no such conditions.
    pub fn added_features(&self, pooled: &[f32], time_ids: &[f32]) -> Result<Vec<f32>> {
        let input = self.text_time.map_or(0, |t| t.input_dim);
        let time_dim = self.text_time.map_or(0, |t| t.time_dim);
        if input == 0 || pooled.len() + time_ids.len() * time_dim != input {
            let found = format!("{} numbers and {} for the picture's size", pooled.len(), time_ids.len());
            let expected = format!("{input} in all, where each of the latter becomes {time_dim}");
            return Err(Error::Option { option: "pooled text", found, expected });
        }
        time_ids.iter().try_for_each(|id| check_finite("time_ids", *id))?;
        let sinusoid = Sinusoid { width: time_dim, ..self.time };
        let features = time_ids.iter().flat_map(|id| sinusoid.features(*id));
        Ok(pooled.iter().copied().chain(features).collect())
    }

    /// The features of a guidance scale, for one sample, where the network is told it: of `1000 (scale - 1)`, sines first,
    /// frequencies down to 1/10000. In PyTorch's order of operations, as for timesteps; it is another there.
    #[must_use]
    pub fn guidance_features(&self, scale: f64) -> Option<Vec<f32>> {
        let width = self.time_cond_proj_dim?;
        let half = width / 2;
        let step = -(10000f64.ln() / (half - 1) as f64) as f32;
        let scaled = (scale - 1.0) as f32 * 1000.0;
        let angles: Vec<f32> = (0..half).map(|k| scaled * (k as f32 * step).exp()).collect();
        let sines = angles.iter().map(|a| a.sin());
        let mut features: Vec<f32> = sines.chain(angles.iter().map(|a| a.cos())).collect();
        features.resize(width, 0.0);
        Some(features)
    }
}

/// Refuses what no model of Stable Diffusion's kind has; marks as known what changes nothing here.
fn refuse_variants(f: &Fields) -> Result<()> {
    let why = "of the models with it, none is implemented";
    fields::only(f, "dual_cross_attention", &json!(false), why)?;
    fields::only(f, "attention_type", &json!("default"), why)?;
    fields::only(f, "cross_attention_norm", &Value::Null, why)?;
    fields::only(f, "resnet_skip_time_act", &json!(false), why)?;
    fields::only(f, "resnet_out_scale_factor", &json!(1.0), why)?;
    fields::only(f, "time_embedding_type", &json!("positional"), "only positional time embeddings are")?;
    // Python refuses it too: what is called attention_head_dim is the number of heads.
    fields::only(f, "num_attention_heads", &Value::Null, "the heads are told by attention_head_dim")?;
    fields::ignore(
        f,
        &["dropout", "upcast_attention", "mid_block_only_cross_attention", "addition_embed_type_num_heads"],
    );
    Ok(())
}

fn time(f: &Fields, width: usize) -> Result<Sinusoid> {
    let (freq_shift, flip_sin_to_cos) = (f.f64("freq_shift", 0.0)?, f.bool("flip_sin_to_cos", true)?);
    Ok(Sinusoid { width, freq_shift, flip_sin_to_cos })
}

/// Python says `time_embedding_dim or …`, to which 0 is nothing.
fn time_embedding_dim(f: &Fields, width: usize) -> Result<usize> {
    Ok(f.optional_usize("time_embedding_dim", None)?.filter(|width| *width > 0).unwrap_or(4 * width))
}

fn padding(f: &Fields) -> Result<Padding> {
    match f.usize("downsample_padding", 1)? {
        0 => Ok(Padding::RightBottom),
        1 => Ok(Padding::All(1)),
        other => Err(f.error("downsample_padding", other, "0 or 1, or the halves of the U do not meet")),
    }
}

fn kernel(f: &Fields, field: &str) -> Result<usize> {
    let kernel = fields::within(f, field, 3, 1, 31)?;
    if kernel.is_multiple_of(2) { Err(f.error(field, kernel, "an odd number")) } else { Ok(kernel) }
}

/// Width of the text before a linear map, where there is one.
fn text_projection(f: &Fields) -> Result<Option<usize>> {
    let width = f.optional_usize("encoder_hid_dim", None)?;
    match (f.optional_string("encoder_hid_dim_type", None)?.as_deref(), width) {
        (None, None) => Ok(None),
        (None | Some("text_proj"), Some(width)) => {
            fields::check_within(f, "encoder_hid_dim", width, 1, fields::MAX_CHANNELS)?;
            match f.get("cross_attention_dim") {
                Some(Value::Array(list)) => {
                    let found = format!("{} widths", list.len());
                    Err(f.error("cross_attention_dim", found, "one number beside encoder_hid_dim"))
                }
                _ => Ok(Some(width)),
            }
        }
        (Some("text_proj"), None) => Err(f.error("encoder_hid_dim", "null", "a width")),
        (Some(other), _) => Err(Error::Unsupported {
            what: format!("encoder_hid_dim_type {other}"),
            why: "only text_proj is implemented".to_owned(),
        }),
    }
}

fn class_embedding(f: &Fields) -> Result<ClassEmbedding> {
    let rows = f.optional_usize("num_class_embeds", None)?;
    let width = f.optional_usize("projection_class_embeddings_input_dim", None)?;
    let width = |kind: fn(usize) -> ClassEmbedding| match width {
        Some(width) => {
            let field = "projection_class_embeddings_input_dim";
            fields::check_within(f, field, width, 1, 1 << 16).map(kind)
        }
        None => Err(f.error("projection_class_embeddings_input_dim", "null", "a width")),
    };
    match (f.optional_string("class_embed_type", None)?.as_deref(), rows) {
        (None, None) => Ok(ClassEmbedding::None),
        (None, Some(rows)) => {
            fields::check_within(f, "num_class_embeds", rows, 1, 1 << 20).map(ClassEmbedding::Table)
        }
        (Some("timestep"), _) => Ok(ClassEmbedding::Timestep),
        (Some("identity"), _) => Ok(ClassEmbedding::Identity),
        (Some("projection"), _) => width(ClassEmbedding::Projection),
        (Some("simple_projection"), _) => width(ClassEmbedding::SimpleProjection),
        (Some(other), _) => {
            let expected = "null, timestep, identity, projection or simple_projection";
            Err(f.error("class_embed_type", other, expected))
        }
    }
}

fn text_time(f: &Fields) -> Result<Option<TextTime>> {
    let time_dim = f.optional_usize("addition_time_embed_dim", None)?;
    let input_dim = f.optional_usize("projection_class_embeddings_input_dim", None)?;
    match f.optional_string("addition_embed_type", None)?.as_deref() {
        None => Ok(None),
        Some("text_time") => match (time_dim, input_dim) {
            (Some(time_dim), Some(input_dim)) => Ok(Some(TextTime {
                time_dim: fields::check_within(f, "addition_time_embed_dim", time_dim, 2, 1 << 14)?,
                input_dim: fields::check_within(
                    f,
                    "projection_class_embeddings_input_dim",
                    input_dim,
                    1,
                    1 << 16,
                )?,
            })),
            (None, _) => Err(f.error("addition_time_embed_dim", "null", "a width beside text_time")),
            _ => Err(f.error("projection_class_embeddings_input_dim", "null", "a width beside text_time")),
        },
        Some(other) => Err(Error::Unsupported {
            what: format!("addition_embed_type {other}"),
            why: "only text_time is implemented".to_owned(),
        }),
    }
}

/// What a forward pass is given beside the noisy image.
pub struct Conditions<T> {
    /// `[batch, width]` features of the timestep.
    pub time: T,
    /// The text's tokens, `[batch, width, tokens, 1]`.
    pub text: T,
    /// `[batch, width]` by [`UNet2DConditionConfig::class_width`].
    pub class: Option<T>,
    /// `[batch, input_dim]`: the pooled text and features of numbers.
    pub added: Option<T>,
    /// `[batch, time_cond_proj_dim]` features of the guidance scale.
    pub guidance: Option<T>,
}

/// The inputs are the noisy image and then [`Conditions`], in its order and without those that the config has not.
impl Pass for UNet2DConditionConfig {
    fn run<O: TransformerOps + ?Sized>(&self, ops: &mut O, inputs: &[O::Tensor]) -> Vec<O::Tensor> {
        vec![forward(ops, self, &inputs[0], &self.conditions(inputs), &mut Seen::new(None))]
    }
}

/// The network, and beside its prediction where it looked at the text, `[batch, tokens, height, width]`: the weights of every attention
/// to it, averaged over the heads, brought to the image's size by their nearest pixels, and averaged. At each pixel those of all tokens
/// add up to 1.
#[derive(Clone, Copy, Debug)]
pub struct WithMap<'a>(pub &'a UNet2DConditionConfig);

impl Pass for WithMap<'_> {
    fn run<O: TransformerOps + ?Sized>(&self, ops: &mut O, inputs: &[O::Tensor]) -> Vec<O::Tensor> {
        let mut seen = Seen::new(Some(inputs[0].clone()));
        let predicted = forward(ops, self.0, &inputs[0], &self.0.conditions(inputs), &mut seen);
        [predicted].into_iter().chain(seen.mean(ops)).collect()
    }
}

impl UNet2DConditionConfig {
    fn conditions<T: Clone>(&self, inputs: &[T]) -> Conditions<T> {
        let mut rest = inputs[3..].iter().cloned();
        let mut next = |there: bool| if there { rest.next() } else { None };
        Conditions {
            time: inputs[1].clone(),
            text: inputs[2].clone(),
            class: next(self.class_embedding != ClassEmbedding::None),
            added: next(self.text_time.is_some()),
            guidance: next(self.time_cond_proj_dim.is_some()),
        }
    }
}

/// The network: noisy images `[batch, in_channels, height, width]` to raw predictions of `out_channels`.
///
/// `cond` must hold what the config asks for; height and width must pass [`UNet2DConditionConfig::check_size`].
fn forward<O: TransformerOps + ?Sized>(
    ops: &mut O,
    net: &UNet2DConditionConfig,
    x: &O::Tensor,
    cond: &Conditions<O::Tensor>,
    seen: &mut Seen<O::Tensor>,
) -> O::Tensor {
    let embedding = embed(ops, net, cond);
    // Every residual block applies its nonlinearity to the same vector.
    let time = ops.activation(&embedding, net.act_fn);
    let text = match net.text_projection {
        Some(width) => ops.pointwise(&cond.text, "encoder_hid_proj", width),
        None => cond.text.clone(),
    };
    let x = if net.center_input_sample { ops.affine(x, 2.0, -1.0) } else { x.clone() };
    let first = Convolution::same(net.down[0].channels, net.conv_in_kernel);
    let h = ops.conv(&x, "conv_in", first);
    let mut u = Walk { net, time, text, seen };
    let (mut h, mut skips) = u.down(ops, h);
    h = u.middle(ops, h);
    h = u.up(ops, h, &mut skips);
    h = ops.group_norm(&h, "conv_norm_out", net.norm_num_groups, net.norm_eps);
    h = ops.activation(&h, net.act_fn);
    ops.conv(&h, "conv_out", Convolution::same(net.out_channels, net.conv_out_kernel))
}

/// The sum of all embeddings, `[batch, time_embedding_dim]`, or twice as wide where the class stands beside the time.
fn embed<O: TransformerOps + ?Sized>(
    ops: &mut O,
    net: &UNet2DConditionConfig,
    cond: &Conditions<O::Tensor>,
) -> O::Tensor {
    let mut time = cond.time.clone();
    if let Some(guidance) = &cond.guidance {
        let projected = ops.unbiased(guidance, "time_embedding.cond_proj", net.time.width);
        time = ops.add(&time, &projected);
    }
    let width = net.time_embedding_dim;
    let mut embedding = mlp(ops, "time_embedding", &time, width, net.act_fn);
    if let Some(f) = net.timestep_post_act {
        embedding = ops.activation(&embedding, f);
    }
    if let Some(class) = embed_class(ops, net, cond.class.as_ref()) {
        embedding = if net.class_embeddings_concat {
            ops.concat(&embedding, &class)
        } else {
            ops.add(&embedding, &class)
        };
    }
    if let Some(added) = &cond.added {
        let added = mlp(ops, "add_embedding", added, width, Activation::Silu);
        embedding = ops.add(&embedding, &added);
    }
    match net.time_embedding_act_fn {
        Some(f) => ops.activation(&embedding, f),
        None => embedding,
    }
}

fn embed_class<O: TransformerOps + ?Sized>(
    ops: &mut O,
    net: &UNet2DConditionConfig,
    class: Option<&O::Tensor>,
) -> Option<O::Tensor> {
    let (class, name, width) = (class?, "class_embedding", net.time_embedding_dim);
    match net.class_embedding {
        ClassEmbedding::None => None,
        ClassEmbedding::Identity => Some(class.clone()),
        ClassEmbedding::Table(rows) => Some(ops.embedding(class, name, rows, width)),
        ClassEmbedding::Timestep => Some(mlp(ops, name, class, width, net.act_fn)),
        // Not `act_fn`, which its twin for timesteps has.
        ClassEmbedding::Projection(_) => Some(mlp(ops, name, class, width, Activation::Silu)),
        ClassEmbedding::SimpleProjection(_) => Some(ops.linear(class, name, width)),
    }
}

fn mlp<O: TransformerOps + ?Sized>(
    ops: &mut O,
    path: &str,
    v: &O::Tensor,
    width: usize,
    f: Activation,
) -> O::Tensor {
    let h = ops.linear(v, &format!("{path}.linear_1"), width);
    let h = ops.activation(&h, f);
    ops.linear(&h, &format!("{path}.linear_2"), width)
}

/// The way through the U with what every block is told.
struct Walk<'a, T> {
    net: &'a UNet2DConditionConfig,
    time: T,
    text: T,
    seen: &'a mut Seen<T>,
}

impl<T: Clone> Walk<'_, T> {
    /// The coarsest image, and what the way up is given of each block, the last first.
    fn down<O: TransformerOps<Tensor = T> + ?Sized>(&mut self, ops: &mut O, x: T) -> (T, Vec<T>) {
        let (mut h, mut skips) = (x.clone(), vec![x]);
        let mut input = self.net.down[0].channels;
        for (i, level) in self.net.down.iter().enumerate() {
            let path = format!("down_blocks.{i}");
            for j in 0..level.resnets {
                h = self.block(ops, &path, level, j, input, &h);
                input = level.channels;
                skips.push(h.clone());
            }
            if i + 1 < self.net.down.len() {
                let padding = self.net.downsample_padding;
                let conv = Conv { out_channels: level.channels, stride: 2, padding };
                h = ops.conv2d(&h, &format!("{path}.downsamplers.0.conv"), conv);
                skips.push(h.clone());
            }
        }
        (h, skips)
    }

    fn middle<O: TransformerOps<Tensor = T> + ?Sized>(&mut self, ops: &mut O, x: T) -> T {
        let channels = self.net.up[0].channels;
        let output_scale = 1.0 / self.net.mid_block_scale_factor;
        let spec = Resnet { output_scale, ..self.resnet(channels, channels) };
        match self.net.middle {
            Middle::None => x,
            Middle::Resnet => spec.forward(ops, "mid_block.resnets.0", &x, Some(&self.time)),
            Middle::Transformer { heads, depth } => {
                let h = spec.forward(ops, "mid_block.resnets.0", &x, Some(&self.time));
                // It looks at the pixels too, whatever `only_cross_attention` says.
                let t = self.transformer(channels, heads, depth, false);
                let h = transformer(ops, "mid_block.attentions.0", &h, &self.text, &t, self.seen);
                spec.forward(ops, "mid_block.resnets.1", &h, Some(&self.time))
            }
        }
    }

    fn up<O: TransformerOps<Tensor = T> + ?Sized>(&mut self, ops: &mut O, x: T, skips: &mut Vec<T>) -> T {
        let mut h = x;
        for ((i, level), widths) in self.net.up.iter().enumerate().zip(self.net.skips()) {
            let path = format!("up_blocks.{i}");
            for (j, (below, skip)) in widths.into_iter().enumerate() {
                if let Some(s) = skips.pop() {
                    h = ops.concat(&h, &s);
                }
                h = self.block(ops, &path, level, j, below + skip, &h);
            }
            if let (true, Some(next)) = (i + 1 < self.net.up.len(), skips.last()) {
                h = ops.upsample_to(&h, next);
                h = ops.conv2d(&h, &format!("{path}.upsamplers.0.conv"), Conv::same(level.channels));
            }
        }
        h
    }

    /// Residual block `j` of a level, and the transformer after it.
    fn block<O: TransformerOps<Tensor = T> + ?Sized>(
        &mut self,
        ops: &mut O,
        path: &str,
        level: &Level,
        j: usize,
        input: usize,
        x: &T,
    ) -> T {
        let spec = self.resnet(input, level.channels);
        let h = spec.forward(ops, &format!("{path}.resnets.{j}"), x, Some(&self.time));
        let Some(attention) = &level.attention else { return h };
        let (heads, depth) = (attention.heads, attention.depths[j]);
        let t = self.transformer(level.channels, heads, depth, attention.only_cross);
        transformer(ops, &format!("{path}.attentions.{j}"), &h, &self.text, &t, self.seen)
    }

    fn resnet(&self, in_channels: usize, out_channels: usize) -> Resnet {
        Resnet {
            out_channels,
            groups: [self.net.norm_num_groups; 2],
            eps: self.net.norm_eps,
            activation: self.net.act_fn,
            time_scale_shift: self.net.resnet_time_scale_shift,
            resample: None,
            shortcut: in_channels != out_channels,
            output_scale: 1.0,
        }
    }

    fn transformer(&self, channels: usize, heads: usize, depth: usize, only_cross: bool) -> Transformer {
        let (groups, linear) = (self.net.norm_num_groups, self.net.use_linear_projection);
        Transformer { channels, heads, depth, groups, linear, only_cross }
    }
}
