//! diffusers' `UNet2DModel`: its configuration, the features of a timestep, and its forward pass, written once over
//! [`Ops`].

use serde_json::{Map, Value};

use super::ops::{Activation, Conv, Ops, Padding};
use crate::checkpoint::json::Fields;
use crate::error::{Error, Result};
use crate::text::{contains, number};

/// How a timestep becomes a vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeEmbedding {
    /// Sines and cosines of fixed frequencies, as in transformers.
    Positional,
    /// Sines and cosines of random frequencies times ln t; the output is divided by t.
    Fourier,
    /// A row of a learned table.
    Learned,
}

/// How a time embedding enters a residual block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeScaleShift {
    /// Added to every pixel before the second normalisation.
    Default,
    /// Scale and shift after the second normalisation.
    ScaleShift,
}

/// How a block halves or doubles the resolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resampling {
    /// A strided convolution down; nearest neighbour and a convolution up.
    Conv,
    /// A residual block with a mean or nearest-neighbour resampling inside.
    Resnet,
}

/// One level of the U, on the way down or up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// Self-attention after every residual block.
    pub attention: bool,
    /// How the level ends, unless it is the last.
    pub resampling: Resampling,
}

/// What a class label is to the network.
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
}

/// The fields of diffusers' `UNet2DModel` config that shape the network, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct UNet2DConfig {
    /// Height and width the network was trained at; it runs at any size that halves often enough.
    pub sample_size: Option<[usize; 2]>,
    /// Channels of the noisy image.
    pub in_channels: usize,
    /// Channels of the prediction; twice `in_channels` where the variance is learned too.
    pub out_channels: usize,
    /// Maps the input from [0, 1] to [-1, 1] first.
    pub center_input_sample: bool,
    /// How a timestep becomes a vector.
    pub time_embedding_type: TimeEmbedding,
    /// Width of the time embedding.
    pub time_embedding_dim: usize,
    /// Rows of a learned time table.
    pub num_train_timesteps: Option<usize>,
    /// Shifts the spacing of the positional frequencies.
    pub freq_shift: f64,
    /// Cosines before sines.
    pub flip_sin_to_cos: bool,
    /// The levels on the way down.
    pub down_blocks: Vec<Block>,
    /// Whether there is a block in the middle.
    pub mid_block: bool,
    /// The levels on the way up.
    pub up_blocks: Vec<Block>,
    /// Channels of each level, finest first.
    pub block_out_channels: Vec<usize>,
    /// Residual blocks a level on the way down; one more on the way up.
    pub layers_per_block: usize,
    /// The middle block's residual sums are divided by this.
    pub mid_block_scale_factor: f64,
    /// Zeros of the strided convolutions.
    pub downsample_padding: Padding,
    /// The nonlinearity in residual blocks; time and class embeddings and the last layer always use SiLU.
    pub act_fn: Activation,
    /// Channels of one attention head; `None` is a single head as wide as the block.
    pub attention_head_dim: Option<usize>,
    /// Groups of every normalisation but the middle attention's.
    pub norm_num_groups: usize,
    /// Groups of the middle attention's normalisation.
    pub attn_norm_num_groups: Option<usize>,
    /// Added to the variance in every normalisation.
    pub norm_eps: f64,
    /// How a time embedding enters a residual block.
    pub resnet_time_scale_shift: TimeScaleShift,
    /// Self-attention in the middle block.
    pub add_attention: bool,
    /// What a class label is to the network.
    pub class_embedding: ClassEmbedding,
}

/// The class in diffusers, now and in its first versions.
pub(crate) const CLASSES: [&str; 2] = ["UNet2DModel", "UNetUnconditionalModel"];
const MAX_CHANNELS: usize = 1 << 14;
const MAX_SIZE: usize = 1 << 13;

impl UNet2DConfig {
    /// Reads and checks a `UNet2DModel` config; also returns the keys that mean nothing to it.
    ///
    /// # Errors
    /// [`Error::Config`] on a value that no network can have, [`Error::Unsupported`] on another architecture or a block
    /// that is not implemented, by its name.
    pub fn parse(file: &str, object: &Map<String, Value>) -> Result<(Self, Vec<String>)> {
        let f = Fields::new(file, object);
        let class_name = object.get("_class_name").and_then(Value::as_str).unwrap_or("UNet2DModel");
        if !CLASSES.contains(&class_name) {
            return Err(Error::Unsupported {
                what: class_name.to_owned(),
                why: "only the unconditional or class-conditional UNet2DModel can be run".to_owned(),
            });
        }
        let channels = f.usizes("block_out_channels", &[224, 448, 672, 896])?;
        let levels = channels.len();
        if !(1..=12).contains(&levels) || channels.iter().any(|c| !(2..=MAX_CHANNELS).contains(c)) {
            return Err(f.error(
                "block_out_channels",
                format!("{channels:?}"),
                format!("1 to 12 numbers from 2 to {MAX_CHANNELS}"),
            ));
        }
        let down = f.strings(
            "down_block_types",
            &["DownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"],
        )?;
        let up =
            f.strings("up_block_types", &["AttnUpBlock2D", "AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D"])?;
        let down_blocks =
            blocks(&f, "down_block_types", &down, levels, "Down", resampling(&f, "downsample_type")?)?;
        let up_blocks = blocks(&f, "up_block_types", &up, levels, "Up", resampling(&f, "upsample_type")?)?;
        // Whatever its name, Python builds the one that there is.
        let mid_block = f.optional_string("mid_block_type", Some("UNetMidBlock2D"))?.is_some();
        let time_embedding_type = f.choice(
            "time_embedding_type",
            TimeEmbedding::Positional,
            &[
                ("positional", TimeEmbedding::Positional),
                ("fourier", TimeEmbedding::Fourier),
                ("learned", TimeEmbedding::Learned),
            ],
        )?;
        let resnet_time_scale_shift = f.choice(
            "resnet_time_scale_shift",
            TimeScaleShift::Default,
            &[("default", TimeScaleShift::Default), ("scale_shift", TimeScaleShift::ScaleShift)],
        )?;
        let act = f.string("act_fn", "silu")?;
        let act_fn = match act.to_ascii_lowercase().as_str() {
            "silu" | "swish" => Activation::Silu,
            "mish" => Activation::Mish,
            "gelu" => Activation::Gelu,
            "relu" => Activation::Relu,
            _ => return Err(f.error("act_fn", act, "one of silu, swish, mish, gelu, relu")),
        };
        let downsample_padding = match f.usize("downsample_padding", 1)? {
            0 => Padding::RightBottom,
            1 => Padding::All(1),
            other => {
                return Err(f.error(
                    "downsample_padding",
                    other,
                    "0 or 1, or the two halves of the U do not meet",
                ));
            }
        };
        let classes = f.optional_usize("num_class_embeds", None)?;
        let class_embedding = match (f.optional_string("class_embed_type", None)?.as_deref(), classes) {
            (None, None) => ClassEmbedding::None,
            (None, Some(rows)) if (1..=1 << 20).contains(&rows) => ClassEmbedding::Table(rows),
            (None, Some(rows)) => return Err(f.error("num_class_embeds", rows, "1 to 1048576")),
            (Some("timestep"), _) => ClassEmbedding::Timestep,
            (Some("identity"), _) => ClassEmbedding::Identity,
            (Some(other), _) => return Err(f.error("class_embed_type", other, "null, timestep or identity")),
        };
        let config = Self {
            sample_size: sample_size(&f, levels)?,
            in_channels: f.usize("in_channels", 3)?,
            out_channels: f.usize("out_channels", 3)?,
            center_input_sample: f.bool("center_input_sample", false)?,
            time_embedding_type,
            // Python says `time_embedding_dim or …`, to which 0 is nothing.
            time_embedding_dim: f
                .optional_usize("time_embedding_dim", None)?
                .filter(|width| *width > 0)
                .unwrap_or(4 * channels[0]),
            num_train_timesteps: f.optional_usize("num_train_timesteps", None)?,
            freq_shift: f.f64("freq_shift", 0.0)?,
            flip_sin_to_cos: f.bool("flip_sin_to_cos", true)?,
            down_blocks,
            mid_block,
            up_blocks,
            layers_per_block: f.usize("layers_per_block", 2)?,
            mid_block_scale_factor: f.f64("mid_block_scale_factor", 1.0)?,
            downsample_padding,
            act_fn,
            attention_head_dim: f.optional_usize("attention_head_dim", Some(8))?,
            norm_num_groups: f
                .optional_usize("norm_num_groups", Some(32))?
                .ok_or_else(|| f.error("norm_num_groups", "null", "a number; null suits only Skip blocks"))?,
            attn_norm_num_groups: f.optional_usize("attn_norm_num_groups", None)?,
            norm_eps: f.f64("norm_eps", 1e-5)?,
            resnet_time_scale_shift,
            add_attention: f.bool("add_attention", true)?,
            class_embedding,
            block_out_channels: channels,
        };
        // Train-time only: read so that it is not reported as unknown.
        f.f64("dropout", 0.0)?;
        config.check(&f)?;
        Ok((config, f.unknown()))
    }

    fn check(&self, f: &Fields) -> Result<()> {
        let within = |field: &str, value: usize, min: usize, max: usize| {
            if (min..=max).contains(&value) {
                Ok(())
            } else {
                Err(f.error(field, value, format!("{min} to {max}")))
            }
        };
        within("in_channels", self.in_channels, 1, 1024)?;
        within("out_channels", self.out_channels, 1, 1024)?;
        within("layers_per_block", self.layers_per_block, 1, 64)?;
        within("time_embedding_dim", self.time_embedding_dim, 1, 1 << 16)?;
        within("norm_num_groups", self.norm_num_groups, 1, MAX_CHANNELS)?;
        if !(0.0..=f64::from(f32::MAX)).contains(&self.norm_eps) {
            return Err(f.error("norm_eps", number(self.norm_eps), "0 or more, and a number in f32"));
        }
        let scale = 1.0 / self.mid_block_scale_factor;
        if !(scale as f32).is_normal() {
            let expected = "other than 0, and such that it can be divided by in f32";
            return Err(f.error("mid_block_scale_factor", number(self.mid_block_scale_factor), expected));
        }
        let c = &self.block_out_channels;
        self.check_frequencies(f)?;
        if self.time_embedding_type == TimeEmbedding::Learned {
            match self.num_train_timesteps {
                Some(rows) => within("num_train_timesteps", rows, 1, 1 << 20)?,
                None => {
                    return Err(f.error(
                        "num_train_timesteps",
                        "null",
                        "a number where time_embedding_type is learned",
                    ));
                }
            }
        }
        let divides = |field: &str, groups: usize, channels: usize| {
            if groups > 0 && channels.is_multiple_of(groups) {
                Ok(())
            } else {
                Err(f.error(
                    field,
                    groups,
                    format!("a divisor of every normalised width, here {channels} channels"),
                ))
            }
        };
        for (input, output, _) in self.resnet_widths() {
            divides("norm_num_groups", self.norm_num_groups, input)?;
            divides("norm_num_groups", self.norm_num_groups, output)?;
        }
        let last = c[c.len() - 1];
        let attended = (self.down_blocks.iter().zip(c))
            .chain(self.up_blocks.iter().zip(c.iter().rev()))
            .filter(|(b, _)| b.attention)
            .map(|(_, width)| *width)
            .chain((self.mid_block && self.add_attention).then_some(last));
        if let Some(head) = self.attention_head_dim {
            for width in attended {
                if head == 0 || head > width {
                    return Err(f.error(
                        "attention_head_dim",
                        head,
                        format!("1 to {width}, the channels of a block with attention"),
                    ));
                }
            }
        }
        if let (true, Some(groups)) = (self.mid_block && self.add_attention, self.attn_norm_num_groups) {
            divides("attn_norm_num_groups", groups, last)?;
        }
        Ok(())
    }

    /// Frequencies are `10000^(-k / (half - freq_shift))`: none at a shift of `half`, and rising with k beyond it, where
    /// they may leave f32.
    fn check_frequencies(&self, f: &Fields) -> Result<()> {
        let half = self.block_out_channels[0] / 2;
        let denominator = (half as f64 - self.freq_shift) as f32;
        let highest = -(half.saturating_sub(1) as f32) / denominator * 10000f32.ln();
        // Timesteps have five digits at most.
        if self.time_embedding_type == TimeEmbedding::Positional
            && (denominator == 0.0 || highest > (f32::MAX / 1e6).ln())
        {
            let expected = format!("not half of block_out_channels[0], {half}, nor just above it");
            return Err(f.error("freq_shift", number(self.freq_shift), expected));
        }
        Ok(())
    }

    /// (input channels, output channels, level) of every residual block of the way down and up.
    fn resnet_widths(&self) -> Vec<(usize, usize, usize)> {
        let (c, n, layers) = (&self.block_out_channels, self.block_out_channels.len(), self.layers_per_block);
        let mut widths = Vec::new();
        for i in 0..n {
            for j in 0..layers {
                widths.push((if j == 0 { c[i.saturating_sub(1)] } else { c[i] }, c[i], i));
            }
        }
        for i in (0..n).rev() {
            for j in 0..=layers {
                let below = if j == 0 { c[(i + 1).min(n - 1)] } else { c[i] };
                let skip = if j == layers { c[i.saturating_sub(1)] } else { c[i] };
                widths.push((below + skip, c[i], i));
            }
        }
        widths
    }

    /// Whether an image of this size can go through the U: each level but the last halves it.
    ///
    /// # Errors
    /// [`Error::Option`] that names the divisor.
    pub fn check_size(&self, height: usize, width: usize) -> Result<()> {
        let divisor = 1usize << (self.block_out_channels.len() - 1);
        if [height, width].iter().any(|n| *n == 0 || !n.is_multiple_of(divisor)) {
            return Err(Error::Option {
                option: "size",
                found: format!("{height}×{width}"),
                expected: format!(
                    "a multiple of {divisor} in both directions, for {} levels",
                    self.block_out_channels.len()
                ),
            });
        }
        Ok(())
    }

    /// Whether the network predicts a variance beside its prediction (twice the channels).
    #[must_use]
    pub fn learns_variance(&self) -> bool {
        self.out_channels == 2 * self.in_channels
    }

    pub(crate) fn time_width(&self) -> usize {
        match self.time_embedding_type {
            TimeEmbedding::Positional => self.block_out_channels[0],
            TimeEmbedding::Fourier => 2 * self.block_out_channels[0],
            TimeEmbedding::Learned => 1,
        }
    }

    pub(crate) fn class_width(&self) -> Option<usize> {
        match self.class_embedding {
            ClassEmbedding::None => None,
            ClassEmbedding::Table(_) => Some(1),
            ClassEmbedding::Timestep => Some(self.time_width()),
            ClassEmbedding::Identity => Some(self.time_embedding_dim),
        }
    }

    pub(crate) fn divides_by_time(&self) -> bool {
        self.time_embedding_type == TimeEmbedding::Fourier
    }

    /// Whether the network can be told this timestep.
    ///
    /// # Errors
    /// [`Error::Option`] where it is no row of a learned table or has no logarithm.
    pub fn check_timestep(&self, timestep: f32) -> Result<()> {
        self.check_embedded("timestep", timestep)
    }

    /// Whether the network can be given these labels, for as many samples: one number each, or one vector of
    /// `time_embedding_dim` each where the class embedding is the identity.
    ///
    /// # Errors
    /// [`Error::Option`] where a label is missing, out of range, or given to a network without classes.
    pub fn check_labels(&self, samples: usize, labels: Option<&[f32]>) -> Result<()> {
        let wrong =
            |found: String| Error::Option { option: "labels", found, expected: self.expected_labels() };
        let labels = match (self.class_embedding, labels) {
            (ClassEmbedding::None, None) => return Ok(()),
            (ClassEmbedding::None, Some(_)) => return Err(wrong("given".to_owned())),
            (_, None) => return Err(wrong("missing".to_owned())),
            (_, Some(labels)) => labels,
        };
        let each = if self.class_embedding == ClassEmbedding::Identity { self.time_embedding_dim } else { 1 };
        if samples.checked_mul(each) != Some(labels.len()) {
            return Err(wrong(format!("{} numbers for {samples} samples", labels.len())));
        }
        for label in labels {
            match self.class_embedding {
                ClassEmbedding::Table(rows) if !is_row(*label, rows) => {
                    return Err(wrong(number(f64::from(*label))));
                }
                ClassEmbedding::Timestep => self.check_embedded("labels", *label)?,
                _ if !label.is_finite() => return Err(wrong(number(f64::from(*label)))),
                _ => {}
            }
        }
        Ok(())
    }

    /// Whether a timestep, or a label that is embedded as one, is one.
    fn check_embedded(&self, option: &'static str, number: f32) -> Result<()> {
        let expected = match (self.time_embedding_type, self.num_train_timesteps) {
            (TimeEmbedding::Learned, Some(rows)) if !is_row(number, rows) => {
                format!("a row of the learned table, 0 to {}", rows - 1)
            }
            (TimeEmbedding::Fourier, _) if !(number > 0.0 && number.is_finite()) => {
                "above 0, as its logarithm is taken".to_owned()
            }
            _ if !number.is_finite() => "a finite number".to_owned(),
            _ => return Ok(()),
        };
        Err(Error::Option { option, found: crate::text::number(number.into()), expected })
    }

    /// What a forward pass is given beside the image, worked out on the CPU: `timesteps` holds one number a sample, and
    /// `labels` are as for [`Self::check_labels`]. `frequencies` is the checkpoint's `time_proj.weight` where time
    /// embeddings are of the Fourier kind.
    ///
    /// # Errors
    /// Those of [`Self::check_timestep`] and [`Self::check_labels`].
    pub fn conditioning(
        &self,
        timesteps: &[f32],
        labels: Option<&[f32]>,
        frequencies: &[f32],
    ) -> Result<Conditioning<Vec<f32>>> {
        timesteps.iter().try_for_each(|t| self.check_timestep(*t))?;
        self.check_labels(timesteps.len(), labels)?;
        let features =
            |numbers: &[f32]| numbers.iter().flat_map(|n| self.time_features(*n, frequencies)).collect();
        let class = labels.map(|labels| match self.class_embedding {
            ClassEmbedding::Timestep => features(labels),
            _ => labels.to_vec(),
        });
        let inverse_time = self.divides_by_time().then(|| timesteps.iter().map(|t| 1.0 / t).collect());
        Ok(Conditioning { time: features(timesteps), class, inverse_time })
    }

    fn expected_labels(&self) -> String {
        match self.class_embedding {
            ClassEmbedding::None => "left out: this network knows no classes".to_owned(),
            ClassEmbedding::Table(rows) => format!("a whole number from 0 to {} for each sample", rows - 1),
            ClassEmbedding::Timestep => "a number for each sample".to_owned(),
            ClassEmbedding::Identity => {
                format!("a vector of {} numbers for each sample", self.time_embedding_dim)
            }
        }
    }

    /// The vector that stands for `timestep` at the network's input: [`Self::time_width`] numbers. `frequencies` are
    /// the checkpoint's `time_proj.weight` where the embedding is of the Fourier kind, and unused otherwise.
    ///
    /// Worked out on the CPU in f32, in PyTorch's order of operations: the arguments reach thousands, where a GPU's
    /// sine is not accurate and another order rounds differently.
    fn time_features(&self, timestep: f32, frequencies: &[f32]) -> Vec<f32> {
        match self.time_embedding_type {
            TimeEmbedding::Learned => vec![timestep],
            TimeEmbedding::Positional => {
                let width = self.block_out_channels[0];
                let half = width / 2;
                let denominator = (half as f64 - self.freq_shift) as f32;
                let angles: Vec<f32> = (0..half)
                    .map(|k| timestep * (-(10000f64.ln() as f32) * k as f32 / denominator).exp())
                    .collect();
                let sines = angles.iter().map(|a| a.sin());
                let cosines = angles.iter().map(|a| a.cos());
                let mut features: Vec<f32> = if self.flip_sin_to_cos {
                    cosines.chain(sines).collect()
                } else {
                    sines.chain(cosines).collect()
                };
                features.resize(width, 0.0);
                features
            }
            TimeEmbedding::Fourier => {
                let angles: Vec<f32> =
                    frequencies.iter().map(|w| timestep.ln() * w * 2.0 * std::f32::consts::PI).collect();
                angles.iter().map(|a| a.sin()).chain(angles.iter().map(|a| a.cos())).collect()
            }
        }
    }
}

/// Whether a number names a row of a table.
fn is_row(number: f32, rows: usize) -> bool {
    number.fract() == 0.0 && (0.0..rows as f32).contains(&number)
}

fn resampling(f: &Fields, field: &str) -> Result<Resampling> {
    if f.get(field).is_some_and(Value::is_null) {
        return Ok(Resampling::Conv);
    }
    f.choice(field, Resampling::Conv, &[("conv", Resampling::Conv), ("resnet", Resampling::Resnet)])
}

/// `direction` is "Down" or "Up"; `by_field` is what blocks with attention do at their end.
fn blocks(
    f: &Fields,
    field: &str,
    names: &[String],
    levels: usize,
    direction: &str,
    by_field: Resampling,
) -> Result<Vec<Block>> {
    if names.len() != levels {
        return Err(f.error(
            field,
            format!("{} blocks", names.len()),
            format!("as long as block_out_channels, {levels}"),
        ));
    }
    let block = |name: &String| {
        let plain = name.strip_prefix("UNetRes").unwrap_or(name);
        if plain == format!("{direction}Block2D") {
            Ok(Block { attention: false, resampling: Resampling::Conv })
        } else if plain == format!("Attn{direction}Block2D") {
            Ok(Block { attention: true, resampling: by_field })
        } else if plain == format!("Resnet{direction}sampleBlock2D") {
            Ok(Block { attention: false, resampling: Resampling::Resnet })
        } else {
            let why = if contains(plain, "Skip") {
                "the Skip blocks of NCSN++ are not implemented".to_owned()
            } else if contains(plain, "CrossAttn") {
                "text-conditional networks are not implemented".to_owned()
            } else {
                format!(
                    "known here: {direction}Block2D, Attn{direction}Block2D, Resnet{direction}sampleBlock2D"
                )
            };
            Err(Error::Unsupported { what: name.clone(), why })
        }
    };
    names.iter().map(block).collect()
}

fn sample_size(f: &Fields, levels: usize) -> Result<Option<[usize; 2]>> {
    let size = match f.get("sample_size") {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Array(_)) => f.usizes("sample_size", &[])?,
        Some(_) => vec![f.usize("sample_size", 0)?; 2],
    };
    let divisor = 1usize << (levels - 1);
    match size[..] {
        [h, w] if [h, w].iter().all(|n| (1..=MAX_SIZE).contains(n) && n.is_multiple_of(divisor)) => {
            Ok(Some([h, w]))
        }
        _ => Err(f.error(
            "sample_size",
            format!("{size:?}"),
            format!("one or two multiples of {divisor} up to {MAX_SIZE}, for {levels} levels"),
        )),
    }
}

/// What a forward pass is given beside the noisy image.
pub struct Conditioning<T> {
    /// `[batch, width]` features of the timestep, or `[batch, 1]` table rows where the time embedding is learned.
    pub time: T,
    /// `[batch, 1]` table rows, `[batch, width]` features or `[batch, time_embedding_dim]` vectors, by the config.
    pub class: Option<T>,
    /// `[batch, 1]`, 1/t where the output is divided by t.
    pub inverse_time: Option<T>,
}

/// The network: noisy images `[batch, in_channels, height, width]` to raw predictions of `out_channels`.
///
/// `cond` must hold a class exactly when the config has a class embedding, and an inverse time exactly when the time
/// embedding is of the Fourier kind; height and width must pass [`UNet2DConfig::check_size`].
pub fn forward<O: Ops>(
    ops: &mut O,
    net: &UNet2DConfig,
    x: &O::Tensor,
    cond: &Conditioning<O::Tensor>,
) -> O::Tensor {
    let embedding = embed(ops, net, cond);
    // Every residual block applies its nonlinearity to the same vector.
    let time = &ops.activation(&embedding, net.act_fn);
    let c = &net.block_out_channels;
    let levels = c.len();

    let mut h = if net.center_input_sample {
        let centred = ops.affine(x, 2.0, -1.0);
        ops.conv2d(&centred, "conv_in", Conv::same(c[0]))
    } else {
        ops.conv2d(x, "conv_in", Conv::same(c[0]))
    };
    let mut skips = vec![h.clone()];

    for (i, block) in net.down_blocks.iter().enumerate() {
        let path = format!("down_blocks.{i}");
        for j in 0..net.layers_per_block {
            let input = if j == 0 { c[i.saturating_sub(1)] } else { c[i] };
            h = resnet(ops, net, &format!("{path}.resnets.{j}"), h, time, &Resnet::new(input, c[i]));
            if block.attention {
                h = attention(
                    ops,
                    net,
                    &format!("{path}.attentions.{j}"),
                    h,
                    &Attention::in_block(net, c[i]),
                );
            }
            skips.push(h.clone());
        }
        if i + 1 < levels {
            h = match block.resampling {
                Resampling::Conv => {
                    let conv = Conv { out_channels: c[i], stride: 2, padding: net.downsample_padding };
                    ops.conv2d(&h, &format!("{path}.downsamplers.0.conv"), conv)
                }
                Resampling::Resnet => {
                    let spec = Resnet { resample: Some(Direction::Down), ..Resnet::new(c[i], c[i]) };
                    resnet(ops, net, &format!("{path}.downsamplers.0"), h, time, &spec)
                }
            };
            skips.push(h.clone());
        }
    }

    if net.mid_block {
        let width = c[levels - 1];
        let spec = Resnet { output_scale: 1.0 / net.mid_block_scale_factor, ..Resnet::new(width, width) };
        h = resnet(ops, net, "mid_block.resnets.0", h, time, &spec);
        if net.add_attention {
            h = attention(ops, net, "mid_block.attentions.0", h, &Attention::in_middle(net, width));
        }
        h = resnet(ops, net, "mid_block.resnets.1", h, time, &spec);
    }

    for (i, block) in net.up_blocks.iter().enumerate() {
        let path = format!("up_blocks.{i}");
        let level = levels - 1 - i;
        for j in 0..=net.layers_per_block {
            let below = if j == 0 { c[(level + 1).min(levels - 1)] } else { c[level] };
            let skip = if j == net.layers_per_block { c[level.saturating_sub(1)] } else { c[level] };
            if let Some(s) = skips.pop() {
                h = ops.concat(&h, &s);
            }
            h = resnet(
                ops,
                net,
                &format!("{path}.resnets.{j}"),
                h,
                time,
                &Resnet::new(below + skip, c[level]),
            );
            if block.attention {
                h = attention(
                    ops,
                    net,
                    &format!("{path}.attentions.{j}"),
                    h,
                    &Attention::in_block(net, c[level]),
                );
            }
        }
        if level > 0 {
            h = match block.resampling {
                Resampling::Conv => {
                    h = ops.upsample_nearest(&h);
                    ops.conv2d(&h, &format!("{path}.upsamplers.0.conv"), Conv::same(c[level]))
                }
                Resampling::Resnet => {
                    let spec = Resnet { resample: Some(Direction::Up), ..Resnet::new(c[level], c[level]) };
                    resnet(ops, net, &format!("{path}.upsamplers.0"), h, time, &spec)
                }
            };
        }
    }

    h = ops.group_norm(&h, "conv_norm_out", net.norm_num_groups, net.norm_eps);
    h = ops.activation(&h, Activation::Silu);
    h = ops.conv2d(&h, "conv_out", Conv::same(net.out_channels));
    match &cond.inverse_time {
        Some(inverse) => ops.scale_samples(&h, inverse),
        None => h,
    }
}

/// The sum of the time and class embeddings, `[batch, time_embedding_dim]`.
fn embed<O: Ops>(ops: &mut O, net: &UNet2DConfig, cond: &Conditioning<O::Tensor>) -> O::Tensor {
    let time = time_vector(ops, net, &cond.time);
    let embedding = embedding_mlp(ops, net, &time, "time_embedding");
    let Some(class) = &cond.class else { return embedding };
    let class = match net.class_embedding {
        ClassEmbedding::None => return embedding,
        ClassEmbedding::Identity => class.clone(),
        ClassEmbedding::Table(rows) => ops.embedding(class, "class_embedding", rows, net.time_embedding_dim),
        ClassEmbedding::Timestep => {
            let features = time_vector(ops, net, class);
            embedding_mlp(ops, net, &features, "class_embedding")
        }
    };
    ops.add(&embedding, &class)
}

fn time_vector<O: Ops>(ops: &mut O, net: &UNet2DConfig, time: &O::Tensor) -> O::Tensor {
    match (net.time_embedding_type, net.num_train_timesteps) {
        (TimeEmbedding::Learned, Some(rows)) => {
            ops.embedding(time, "time_proj", rows, net.block_out_channels[0])
        }
        _ => time.clone(),
    }
}

/// Always SiLU, whatever `act_fn` says, as in diffusers.
fn embedding_mlp<O: Ops>(ops: &mut O, net: &UNet2DConfig, v: &O::Tensor, path: &str) -> O::Tensor {
    let h = ops.linear(v, &format!("{path}.linear_1"), net.time_embedding_dim);
    let h = ops.activation(&h, Activation::Silu);
    ops.linear(&h, &format!("{path}.linear_2"), net.time_embedding_dim)
}

#[derive(Clone, Copy)]
enum Direction {
    Down,
    Up,
}

struct Resnet {
    in_channels: usize,
    out_channels: usize,
    resample: Option<Direction>,
    output_scale: f64,
}

impl Resnet {
    fn new(in_channels: usize, out_channels: usize) -> Self {
        Self { in_channels, out_channels, resample: None, output_scale: 1.0 }
    }
}

/// `ResnetBlock2D`; `time` is the embedding after the nonlinearity.
fn resnet<O: Ops>(
    ops: &mut O,
    net: &UNet2DConfig,
    path: &str,
    x: O::Tensor,
    time: &O::Tensor,
    r: &Resnet,
) -> O::Tensor {
    let out = r.out_channels;
    let mut h = ops.group_norm(&x, &format!("{path}.norm1"), net.norm_num_groups, net.norm_eps);
    h = ops.activation(&h, net.act_fn);
    let mut x = x;
    if let Some(direction) = r.resample {
        h = resample(ops, direction, &h);
        x = resample(ops, direction, &x);
    }
    h = ops.conv2d(&h, &format!("{path}.conv1"), Conv::same(out));
    let norm2 = format!("{path}.norm2");
    match net.resnet_time_scale_shift {
        TimeScaleShift::Default => {
            let u = ops.linear(time, &format!("{path}.time_emb_proj"), out);
            h = ops.add_per_channel(&h, &u);
            h = ops.group_norm(&h, &norm2, net.norm_num_groups, net.norm_eps);
        }
        TimeScaleShift::ScaleShift => {
            let u = ops.linear(time, &format!("{path}.time_emb_proj"), 2 * out);
            h = ops.group_norm(&h, &norm2, net.norm_num_groups, net.norm_eps);
            h = ops.scale_shift(&h, &u);
        }
    }
    h = ops.activation(&h, net.act_fn);
    h = ops.conv2d(&h, &format!("{path}.conv2"), Conv::same(out));
    if r.in_channels != out {
        x = ops.pointwise(&x, &format!("{path}.conv_shortcut"), out);
    }
    residual(ops, &x, &h, r.output_scale)
}

fn resample<O: Ops>(ops: &mut O, direction: Direction, x: &O::Tensor) -> O::Tensor {
    match direction {
        Direction::Down => ops.downsample_mean(x),
        Direction::Up => ops.upsample_nearest(x),
    }
}

fn residual<O: Ops>(ops: &mut O, x: &O::Tensor, h: &O::Tensor, scale: f64) -> O::Tensor {
    let sum = ops.add(x, h);
    if scale == 1.0 { sum } else { ops.affine(&sum, scale, 0.0) }
}

struct Attention {
    channels: usize,
    heads: usize,
    head_dim: usize,
    /// `None`: no normalisation before the projections.
    groups: Option<usize>,
    output_scale: f64,
}

impl Attention {
    fn in_block(net: &UNet2DConfig, channels: usize) -> Self {
        let head_dim = net.attention_head_dim.unwrap_or(channels);
        Self {
            channels,
            heads: channels / head_dim,
            head_dim,
            groups: Some(net.norm_num_groups),
            output_scale: 1.0,
        }
    }

    fn in_middle(net: &UNet2DConfig, channels: usize) -> Self {
        let default = (net.resnet_time_scale_shift == TimeScaleShift::Default).then_some(net.norm_num_groups);
        Self {
            groups: net.attn_norm_num_groups.or(default),
            output_scale: 1.0 / net.mid_block_scale_factor,
            ..Self::in_block(net, channels)
        }
    }
}

fn attention<O: Ops>(ops: &mut O, net: &UNet2DConfig, path: &str, x: O::Tensor, a: &Attention) -> O::Tensor {
    let h = match a.groups {
        Some(groups) => ops.group_norm(&x, &format!("{path}.group_norm"), groups, net.norm_eps),
        None => x.clone(),
    };
    // Narrower than the block where the head width does not divide it.
    let inner = a.heads * a.head_dim;
    let q = ops.pointwise(&h, &format!("{path}.to_q"), inner);
    let k = ops.pointwise(&h, &format!("{path}.to_k"), inner);
    let v = ops.pointwise(&h, &format!("{path}.to_v"), inner);
    let y = ops.attention(&q, &k, &v, a.heads);
    let y = ops.pointwise(&y, &format!("{path}.to_out.0"), a.channels);
    residual(ops, &x, &y, a.output_scale)
}
