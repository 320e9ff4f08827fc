//! The config of diffusers' `UNet2DModel`, read and checked.

use serde_json::{Map, Value};

use crate::checkpoint::json::Fields;
use crate::error::{Error, Result};
use crate::network::architecture::ClassEmbedding;
use crate::network::blocks::resnet::TimeScaleShift;
use crate::network::fields::{self, MAX_CHANNELS};
use crate::network::ops::{Activation, Padding};
use crate::text::contains;

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

/// How a block halves or doubles the resolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resampling {
    /// A strided convolution down; nearest neighbour and a convolution up.
    Conv,
    /// A residual block with a mean or nearest-neighbour resampling inside.
    Resnet,
    /// A residual block with the filter of NCSN++ inside, beside an image that is resampled on its own: the Skip blocks. Their
    /// normalisations have groups of their own, and their sums are divided by √2.
    Skip,
}

/// One level of the U, on the way down or up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// Self-attention after every residual block.
    pub attention: bool,
    /// How the level ends, unless it is the last.
    pub resampling: Resampling,
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
    /// Groups of every normalisation but the middle attention's and those of Skip blocks; `None` where there are no other blocks.
    pub norm_num_groups: Option<usize>,
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
pub(super) const CLASSES: &[&str] = &["UNet2DModel", "UNetUnconditionalModel"];
const MAX_SIZE: usize = 1 << 13;
/// Channels of the image that Skip blocks pass on.
const SKIP_CHANNELS: usize = 3;

impl UNet2DConfig {
    /// Reads and checks a `UNet2DModel` config; also returns the keys that mean nothing to it.
    ///
    /// # Errors
    /// [`Error::Config`] on a value that no network can have, [`Error::Unsupported`] on another architecture or a block
    /// that is not implemented, by its name.
    pub fn parse(file: &str, object: &Map<String, Value>) -> Result<(Self, Vec<String>)> {
        let f = Fields::new(file, object);
        let class_name = object.get("_class_name").and_then(Value::as_str).unwrap_or(CLASSES[0]);
        if !CLASSES.contains(&class_name) {
            return Err(Error::Unsupported {
                what: class_name.to_owned(),
                why: "only the unconditional or class-conditional UNet2DModel can be run".to_owned(),
            });
        }
        let config = Self::read(&f)?;
        // Train-time only: read so that it is not reported as unknown.
        f.f64("dropout", 0.0)?;
        config.check(&f)?;
        Ok((config, f.unknown()))
    }

    fn read(f: &Fields) -> Result<Self> {
        let block_out_channels = block_out_channels(f)?;
        let levels = block_out_channels.len();
        // Python says `time_embedding_dim or …`, to which 0 is nothing.
        let time_embedding_dim = f.optional_usize("time_embedding_dim", None)?.filter(|width| *width > 0);
        let time_embedding_dim = time_embedding_dim.unwrap_or(4 * block_out_channels[0]);
        Ok(Self {
            down_blocks: down_blocks(f, levels)?,
            up_blocks: up_blocks(f, levels)?,
            // Whatever its name, Python builds the one that there is.
            mid_block: f.optional_string("mid_block_type", Some("UNetMidBlock2D"))?.is_some(),
            time_embedding_type: f.choice(
                "time_embedding_type",
                TimeEmbedding::Positional,
                &[
                    ("positional", TimeEmbedding::Positional),
                    ("fourier", TimeEmbedding::Fourier),
                    ("learned", TimeEmbedding::Learned),
                ],
            )?,
            resnet_time_scale_shift: f.choice(
                "resnet_time_scale_shift",
                TimeScaleShift::Default,
                &[("default", TimeScaleShift::Default), ("scale_shift", TimeScaleShift::ScaleShift)],
            )?,
            act_fn: fields::activation(f, "act_fn", "silu")?,
            downsample_padding: downsample_padding(f)?,
            class_embedding: class_embedding(f, time_embedding_dim)?,
            sample_size: sample_size(f, levels)?,
            in_channels: f.usize("in_channels", 3)?,
            out_channels: f.usize("out_channels", 3)?,
            center_input_sample: f.bool("center_input_sample", false)?,
            time_embedding_dim,
            num_train_timesteps: f.optional_usize("num_train_timesteps", None)?,
            freq_shift: f.f64("freq_shift", 0.0)?,
            flip_sin_to_cos: f.bool("flip_sin_to_cos", true)?,
            layers_per_block: f.usize("layers_per_block", 2)?,
            mid_block_scale_factor: fields::divisor(f, "mid_block_scale_factor", 1.0)?,
            attention_head_dim: f.optional_usize("attention_head_dim", Some(8))?,
            norm_num_groups: f.optional_usize("norm_num_groups", Some(32))?,
            attn_norm_num_groups: f.optional_usize("attn_norm_num_groups", None)?,
            norm_eps: fields::epsilon(f, "norm_eps", 1e-5)?,
            add_attention: f.bool("add_attention", true)?,
            block_out_channels,
        })
    }

    fn check(&self, f: &Fields) -> Result<()> {
        let within = |field, value, min, max| fields::check_within(f, field, value, min, max);
        within("in_channels", self.in_channels, 1, 1024)?;
        within("out_channels", self.out_channels, 1, 1024)?;
        within("layers_per_block", self.layers_per_block, 1, 64)?;
        within("time_embedding_dim", self.time_embedding_dim, 1, 1 << 16)?;
        if let Some(groups) = self.norm_num_groups {
            within("norm_num_groups", groups, 1, MAX_CHANNELS)?;
        }
        if self.time_embedding_type == TimeEmbedding::Positional {
            self.sinusoid().check(f, "block_out_channels[0]")?;
        }
        if self.time_embedding_type == TimeEmbedding::Learned {
            let Some(rows) = self.num_train_timesteps else {
                let expected = "a number where time_embedding_type is learned";
                return Err(f.error("num_train_timesteps", "null", expected));
            };
            within("num_train_timesteps", rows, 1, 1 << 20)?;
        }
        self.check_skips(f)?;
        self.check_groups(f)?;
        self.check_heads(f)
    }

    /// Skip blocks pass an image of three channels on beside the features, which must be of one size where they meet, and the
    /// blocks between two of them would leave it as it is.
    fn check_skips(&self, f: &Fields) -> Result<()> {
        let is_skip = |block: &Block| block.resampling == Resampling::Skip;
        let (down, up) = (&self.down_blocks, &self.up_blocks);
        let last = down.len() - 1;
        let before = down.iter().take_while(|b| is_skip(b)).count();
        if before < last && down[..last].iter().skip(before).any(is_skip) {
            return Err(f.error("down_block_types", "another block before a Skip block", ONLY_SKIPS));
        }
        let first = up.iter().position(is_skip);
        if first.is_some_and(|first| !up[first..].iter().all(is_skip)) {
            return Err(f.error("up_block_types", "another block after a Skip block", ONLY_SKIPS));
        }
        let image = |field: &str, found: usize, used: bool| {
            if !used || found == SKIP_CHANNELS {
                return Ok(());
            }
            Err(f.error(
                field,
                found,
                format!("{SKIP_CHANNELS}, as the convolutions of Skip blocks are made for"),
            ))
        };
        image("in_channels", self.in_channels, last > 0 && before > 0)?;
        image("out_channels", self.out_channels, up[..last].iter().any(is_skip))
    }

    /// Every normalisation's groups must divide its channels.
    fn check_groups(&self, f: &Fields) -> Result<()> {
        let blocks = self.down_blocks.iter().chain(&self.up_blocks);
        if self.norm_num_groups.is_none() && blocks.into_iter().any(|b| b.resampling != Resampling::Skip) {
            return Err(f.error("norm_num_groups", "null", "a number; null suits only Skip blocks"));
        }
        let last = self.block_out_channels.len() - 1;
        for (i, block) in self.down_blocks.iter().enumerate() {
            for [input, out] in self.down_widths(i) {
                self.check_block(f, block, [input, 0, out])?;
            }
        }
        for (i, block) in self.up_blocks.iter().enumerate() {
            for widths in self.up_widths(last - i) {
                self.check_block(f, block, widths)?;
            }
        }
        let [first, last] = [self.block_out_channels[0], self.block_out_channels[last]];
        let field = if self.norm_num_groups.is_some() { "norm_num_groups" } else { "block_out_channels" };
        divides(f, field, self.groups_of(first), first)?;
        if self.mid_block {
            divides(f, field, self.groups_of(last), last)?;
        }
        match self.attn_norm_num_groups {
            Some(groups) if self.mid_block && self.add_attention => {
                divides(f, "attn_norm_num_groups", groups, last)
            }
            _ => Ok(()),
        }
    }

    fn check_block(&self, f: &Fields, block: &Block, widths: [usize; 3]) -> Result<()> {
        let is_skip = block.resampling == Resampling::Skip;
        // Those of Skip blocks follow from the channels, which are then what is wrong.
        let field = if is_skip { "block_out_channels" } else { "norm_num_groups" };
        let [below, beside, out] = widths;
        let [first, second] = self.resnet_groups(block, widths);
        divides(f, field, first, below + beside)?;
        divides(f, field, second, out)?;
        if is_skip && block.attention { divides(f, field, SKIP_ATTENTION_GROUPS, out) } else { Ok(()) }
    }

    /// Heads are at least one channel wide, and no wider than the block that they are in.
    fn check_heads(&self, f: &Fields) -> Result<()> {
        let c = &self.block_out_channels;
        let mut attended = (self.down_blocks.iter().zip(c))
            .chain(self.up_blocks.iter().zip(c.iter().rev()))
            .filter(|(b, _)| b.attention)
            .map(|(_, width)| *width)
            .chain((self.mid_block && self.add_attention).then_some(c[c.len() - 1]));
        match (self.attention_head_dim, attended.by_ref().min()) {
            (Some(head), Some(width)) if head == 0 || head > width => Err(f.error(
                "attention_head_dim",
                head,
                format!("1 to {width}, the channels of a block with attention"),
            )),
            _ => Ok(()),
        }
    }

    /// Channels before and after each residual block of level `i` on the way down.
    pub(super) fn down_widths(&self, i: usize) -> impl Iterator<Item = [usize; 2]> {
        let c = &self.block_out_channels;
        (0..self.layers_per_block).map(move |j| [if j == 0 { c[i.saturating_sub(1)] } else { c[i] }, c[i]])
    }

    /// The same on the way up: of the features from below, of what is put beside them, and after.
    pub(super) fn up_widths(&self, i: usize) -> impl Iterator<Item = [usize; 3]> {
        let (c, layers) = (&self.block_out_channels, self.layers_per_block);
        (0..=layers).map(move |j| {
            let below = if j == 0 { c[(i + 1).min(c.len() - 1)] } else { c[i] };
            let skip = if j == layers { c[i.saturating_sub(1)] } else { c[i] };
            [below, skip, c[i]]
        })
    }

    /// Groups of the middle's and the last normalisations.
    pub(super) fn groups_of(&self, channels: usize) -> usize {
        self.norm_num_groups.unwrap_or_else(|| skip_groups(channels))
    }

    /// Groups of the middle attention's normalisation; `None` where there is none.
    pub(super) fn mid_attention_groups(&self) -> Option<usize> {
        let width = self.block_out_channels[self.block_out_channels.len() - 1];
        let default =
            (self.resnet_time_scale_shift == TimeScaleShift::Default).then(|| self.groups_of(width));
        self.attn_norm_num_groups.or(default)
    }

    /// Groups of a residual block's two normalisations, on the way down or up.
    pub(super) fn resnet_groups(&self, block: &Block, [below, skip, out]: [usize; 3]) -> [usize; 2] {
        match self.norm_num_groups {
            Some(groups) if block.resampling != Resampling::Skip => [groups; 2],
            // As Python has it: a quarter of what is put beside alone.
            _ if block.attention && skip > 0 => [(below + skip / 4).min(32), skip_groups(out)],
            _ => [skip_groups(below + skip), skip_groups(out)],
        }
    }
}

/// As [`fields::check_groups`], where groups that follow from the channels are no field's.
fn divides(f: &Fields, field: &str, groups: usize, channels: usize) -> Result<()> {
    let Err(error) = fields::check_groups(f, field, groups, channels) else { return Ok(()) };
    if field != "block_out_channels" {
        return Err(error);
    }
    let expected = format!("widths that {groups} groups divide where Skip blocks normalise, and 4 or more");
    Err(f.error(field, format!("a width of {channels}"), expected))
}

const ONLY_SKIPS: &str =
    "Skip blocks from the finest level on, so that their image and the features are of one size";
/// Groups of attention's normalisation in Skip blocks.
pub(super) const SKIP_ATTENTION_GROUPS: usize = 32;

/// Groups of a normalisation in Skip blocks, and elsewhere where the config says none.
pub(super) fn skip_groups(channels: usize) -> usize {
    (channels / 4).min(32)
}

fn block_out_channels(f: &Fields) -> Result<Vec<usize>> {
    let channels = f.usizes("block_out_channels", &[224, 448, 672, 896])?;
    if (1..=12).contains(&channels.len()) && channels.iter().all(|c| (2..=MAX_CHANNELS).contains(c)) {
        return Ok(channels);
    }
    let expected = format!("1 to 12 numbers from 2 to {MAX_CHANNELS}");
    Err(f.error("block_out_channels", format!("{channels:?}"), expected))
}

fn downsample_padding(f: &Fields) -> Result<Padding> {
    match f.usize("downsample_padding", 1)? {
        0 => Ok(Padding::RightBottom),
        1 => Ok(Padding::All(1)),
        other => Err(f.error("downsample_padding", other, "0 or 1, or the two halves of the U do not meet")),
    }
}

fn class_embedding(f: &Fields, time_embedding_dim: usize) -> Result<ClassEmbedding> {
    let classes = f.optional_usize("num_class_embeds", None)?;
    match (f.optional_string("class_embed_type", None)?.as_deref(), classes) {
        (None, None) => Ok(ClassEmbedding::None),
        (None, Some(rows)) if (1..=1 << 20).contains(&rows) => Ok(ClassEmbedding::Table(rows)),
        (None, Some(rows)) => Err(f.error("num_class_embeds", rows, "1 to 1048576")),
        (Some("timestep"), _) => Ok(ClassEmbedding::Timestep),
        (Some("identity"), _) => Ok(ClassEmbedding::Identity(time_embedding_dim)),
        (Some(other), _) => Err(f.error("class_embed_type", other, "null, timestep or identity")),
    }
}

fn down_blocks(f: &Fields, levels: usize) -> Result<Vec<Block>> {
    let default = ["DownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"];
    blocks(f, "down_block_types", &default, levels, "Down", resampling(f, "downsample_type")?)
}

fn up_blocks(f: &Fields, levels: usize) -> Result<Vec<Block>> {
    let default = ["AttnUpBlock2D", "AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D"];
    blocks(f, "up_block_types", &default, levels, "Up", resampling(f, "upsample_type")?)
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
    default: &[&str],
    levels: usize,
    direction: &str,
    by_field: Resampling,
) -> Result<Vec<Block>> {
    let names = f.strings(field, default)?;
    if names.len() != levels {
        return Err(f.error(
            field,
            format!("{} blocks", names.len()),
            format!("as long as block_out_channels, {levels}"),
        ));
    }
    let block = |name: &String| {
        let plain = name.strip_prefix("UNetRes").unwrap_or(name);
        let is = |before: &str, after: &str| *plain == [before, direction, after].concat();
        let (attention, resampling) = if is("", "Block2D") {
            (false, Resampling::Conv)
        } else if is("Attn", "Block2D") {
            (true, by_field)
        } else if is("Resnet", "sampleBlock2D") {
            (false, Resampling::Resnet)
        } else if is("Skip", "Block2D") {
            (false, Resampling::Skip)
        } else if is("AttnSkip", "Block2D") {
            (true, Resampling::Skip)
        } else {
            let why = if contains(plain, "CrossAttn") {
                "text-conditional networks are not implemented".to_owned()
            } else {
                let d = direction;
                format!(
                    "known here: {d}Block2D, Attn{d}Block2D, Resnet{d}sampleBlock2D, Skip{d}Block2D, AttnSkip{d}Block2D"
                )
            };
            return Err(Error::Unsupported { what: name.clone(), why });
        };
        Ok(Block { attention, resampling })
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
