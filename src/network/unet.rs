//! diffusers' `UNet2DModel`: U-Nets that are told a timestep and perhaps a class, NCSN++ among them.

mod config;
mod features;

use serde_json::{Map, Value};

pub use self::config::{Block, Resampling, TimeEmbedding, UNet2DConfig};
use self::config::{CLASSES, SKIP_ATTENTION_GROUPS, skip_groups};
pub use super::architecture::ClassEmbedding;
use super::architecture::{Architecture, Input, Network, Rate, Shape};
use super::blocks::attention::SelfAttention;
pub use super::blocks::resnet::TimeScaleShift;
use super::blocks::resnet::{Resample, Resnet};
use super::ops::{Activation, Conv, Ops};
use crate::error::{Error, Result};

impl Network for UNet2DConfig {
    fn in_channels(&self) -> usize {
        self.in_channels
    }

    fn out_channels(&self) -> usize {
        self.out_channels
    }

    fn sample_size(&self) -> Option<[usize; 2]> {
        self.sample_size
    }

    /// One pixel at the last level, as each but the last halves the image.
    fn least_size(&self) -> [usize; 2] {
        [1 << (self.block_out_channels.len() - 1); 2]
    }

    fn check_size(&self, height: usize, width: usize) -> Result<()> {
        let [divisor, _] = self.least_size();
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

    fn inputs(&self, height: usize, width: usize) -> Vec<Input> {
        let shape = Shape { height, width, channels: self.in_channels };
        let mut inputs = vec![
            Input { name: "input", rate: Rate::Evaluation, shape },
            Input::vector("time", Rate::Timestep, self.time_width()),
        ];
        inputs.extend(self.class_width().map(|width| Input::vector("class", Rate::Prompt, width)));
        inputs.extend(self.divides_by_time().then(|| Input::vector("inverse time", Rate::Timestep, 1)));
        inputs
    }

    fn frequencies(&self) -> Option<(&'static str, usize)> {
        self.divides_by_time().then(|| ("time_proj.weight", self.block_out_channels[0]))
    }

    fn timestep_rows(&self) -> Option<usize> {
        self.num_train_timesteps.filter(|_| self.time_embedding_type == TimeEmbedding::Learned)
    }

    fn classes(&self) -> ClassEmbedding {
        self.class_embedding
    }

    /// A row of a learned table, or what has a logarithm.
    fn check_timestep(&self, timestep: f32) -> Result<()> {
        self.check_embedded("timestep", timestep)
    }

    fn check_labels(&self, samples: usize, labels: Option<&[f32]>) -> Result<()> {
        self.labels_suit(samples, labels)
    }

    fn features(
        &self,
        timesteps: &[f32],
        labels: Option<&[f32]>,
        frequencies: &[f32],
    ) -> Result<Vec<Vec<f32>>> {
        timesteps.iter().try_for_each(|t| self.check_timestep(*t))?;
        self.check_labels(timesteps.len(), labels)?;
        let features =
            |numbers: &[f32]| numbers.iter().flat_map(|n| self.time_features(*n, frequencies)).collect();
        let mut all = vec![features(timesteps)];
        all.extend(labels.map(|labels| match self.class_embedding {
            ClassEmbedding::Timestep => features(labels),
            _ => labels.to_vec(),
        }));
        all.extend(self.divides_by_time().then(|| timesteps.iter().map(|t| 1.0 / t).collect()));
        Ok(all)
    }
}

impl Architecture for UNet2DConfig {
    const CLASSES: &'static [&'static str] = CLASSES;

    fn parse(file: &str, object: &Map<String, Value>) -> Result<(Self, Vec<String>)> {
        Self::parse(file, object)
    }

    fn forward<O: Ops + ?Sized>(&self, ops: &mut O, inputs: &[O::Tensor]) -> O::Tensor {
        let (x, mut given) = (&inputs[0], inputs[1..].iter());
        let time = given.next();
        let class = self.class_width().and_then(|_| given.next());
        let embedding = self.embed(ops, time.unwrap_or(x), class);
        // Every residual block applies its nonlinearity to the same vector.
        let time = ops.activation(&embedding, self.act_fn);
        let x = if self.center_input_sample { ops.affine(x, 2.0, -1.0) } else { x.clone() };
        let h = ops.conv2d(&x, "conv_in", Conv::same(self.block_out_channels[0]));
        let mut u = Walk { net: self, time, skips: vec![h.clone()], h, image: Some(x) };
        for (level, block) in self.down_blocks.iter().enumerate() {
            u.down(ops, level, block);
        }
        if self.mid_block {
            u.middle(ops);
        }
        u.image = None;
        for (i, block) in self.up_blocks.iter().enumerate() {
            u.up(ops, i, block);
        }
        let Walk { h, image, .. } = u;
        let width = self.block_out_channels[0];
        let mut h = ops.group_norm(&h, "conv_norm_out", self.groups_of(width), self.norm_eps);
        h = ops.activation(&h, Activation::Silu);
        h = ops.conv2d(&h, "conv_out", Conv::same(self.out_channels));
        if let Some(image) = image {
            h = ops.add(&h, &image);
        }
        match given.next() {
            Some(inverse_time) => ops.scale_samples(&h, inverse_time),
            None => h,
        }
    }
}

impl UNet2DConfig {
    /// The sum of the time and class embeddings, `[batch, time_embedding_dim]`.
    fn embed<O: Ops + ?Sized>(&self, ops: &mut O, time: &O::Tensor, class: Option<&O::Tensor>) -> O::Tensor {
        let time = self.time_vector(ops, time);
        let embedding = self.embedding_mlp(ops, &time, "time_embedding");
        let Some(class) = class else { return embedding };
        let class = match self.class_embedding {
            ClassEmbedding::None => return embedding,
            ClassEmbedding::Identity(_) => class.clone(),
            ClassEmbedding::Table(rows) => {
                ops.embedding(class, "class_embedding", rows, self.time_embedding_dim)
            }
            ClassEmbedding::Timestep => {
                let features = self.time_vector(ops, class);
                self.embedding_mlp(ops, &features, "class_embedding")
            }
        };
        ops.add(&embedding, &class)
    }

    fn time_vector<O: Ops + ?Sized>(&self, ops: &mut O, time: &O::Tensor) -> O::Tensor {
        match (self.time_embedding_type, self.num_train_timesteps) {
            (TimeEmbedding::Learned, Some(rows)) => {
                ops.embedding(time, "time_proj", rows, self.block_out_channels[0])
            }
            _ => time.clone(),
        }
    }

    /// Always SiLU, whatever `act_fn` says, as in diffusers.
    fn embedding_mlp<O: Ops + ?Sized>(&self, ops: &mut O, v: &O::Tensor, path: &str) -> O::Tensor {
        let h = ops.linear(v, &format!("{path}.linear_1"), self.time_embedding_dim);
        let h = ops.activation(&h, Activation::Silu);
        ops.linear(&h, &format!("{path}.linear_2"), self.time_embedding_dim)
    }

    /// A residual block of a level, whose input is `widths[0]` channels and `widths[1]` beside them.
    fn resnet(&self, block: &Block, widths: [usize; 3]) -> Resnet {
        let [below, beside, out_channels] = widths;
        Resnet {
            out_channels,
            groups: self.resnet_groups(block, widths),
            eps: self.norm_eps,
            activation: self.act_fn,
            time_scale_shift: self.resnet_time_scale_shift,
            resample: None,
            shortcut: below + beside != out_channels,
            output_scale: block.output_scale(),
        }
    }

    fn attention(&self, channels: usize) -> SelfAttention {
        SelfAttention {
            channels,
            head_dim: self.attention_head_dim.unwrap_or(channels),
            groups: self.norm_num_groups,
            eps: self.norm_eps,
            output_scale: 1.0,
        }
    }

    fn block_attention(&self, block: &Block, channels: usize) -> SelfAttention {
        let groups = if block.is_skip() { Some(SKIP_ATTENTION_GROUPS) } else { self.norm_num_groups };
        SelfAttention { groups, output_scale: block.output_scale(), ..self.attention(channels) }
    }
}

impl Block {
    fn is_skip(&self) -> bool {
        self.resampling == Resampling::Skip
    }

    fn output_scale(&self) -> f64 {
        if self.is_skip() { std::f64::consts::FRAC_1_SQRT_2 } else { 1.0 }
    }
}

/// A forward pass on its way through the U.
struct Walk<'a, T> {
    net: &'a UNet2DConfig,
    /// The time embedding after the nonlinearity.
    time: T,
    h: T,
    /// What the way up is given of the way down.
    skips: Vec<T>,
    /// The image that Skip blocks pass on beside the features.
    image: Option<T>,
}

impl<T: Clone> Walk<'_, T> {
    fn resnet<O: Ops<Tensor = T> + ?Sized>(&mut self, ops: &mut O, path: &str, resnet: &Resnet) {
        self.h = resnet.forward(ops, path, &self.h, Some(&self.time));
    }

    fn down<O: Ops<Tensor = T> + ?Sized>(&mut self, ops: &mut O, level: usize, block: &Block) {
        let net = self.net;
        let (path, out) = (format!("down_blocks.{level}"), net.block_out_channels[level]);
        for (j, [input, out]) in net.down_widths(level).enumerate() {
            self.resnet(ops, &format!("{path}.resnets.{j}"), &net.resnet(block, [input, 0, out]));
            if block.attention {
                let attention = net.block_attention(block, out);
                self.h = attention.forward(ops, &format!("{path}.attentions.{j}"), &self.h);
            }
            self.skips.push(self.h.clone());
        }
        if level + 1 == net.block_out_channels.len() {
            return;
        }
        match block.resampling {
            Resampling::Conv => {
                let conv = Conv { out_channels: out, stride: 2, padding: net.downsample_padding };
                self.h = ops.conv2d(&self.h, &format!("{path}.downsamplers.0.conv"), conv);
            }
            Resampling::Resnet => {
                let resample = Some(Resample::DownMean);
                let resnet = Resnet { resample, ..net.resnet(block, [out, 0, out]) };
                self.resnet(ops, &format!("{path}.downsamplers.0"), &resnet);
            }
            Resampling::Skip => {
                let resample = Some(Resample::DownFir);
                let resnet = Resnet { resample, shortcut: true, ..net.resnet(block, [out, 0, out]) };
                self.resnet(ops, &format!("{path}.resnet_down"), &resnet);
                if let Some(image) = &self.image {
                    let image = ops.downsample_fir(image);
                    let features = ops.pointwise(&image, &format!("{path}.skip_conv"), out);
                    self.h = ops.add(&features, &self.h);
                    self.image = Some(image);
                }
            }
        }
        self.skips.push(self.h.clone());
    }

    fn middle<O: Ops<Tensor = T> + ?Sized>(&mut self, ops: &mut O) {
        let net = self.net;
        let width = net.block_out_channels[net.block_out_channels.len() - 1];
        let output_scale = 1.0 / net.mid_block_scale_factor;
        let plain = Block { attention: false, resampling: Resampling::Conv };
        let resnet = Resnet { output_scale, ..net.resnet(&plain, [width, 0, width]) };
        self.resnet(ops, "mid_block.resnets.0", &resnet);
        if net.add_attention {
            let attention =
                SelfAttention { groups: net.mid_attention_groups(), output_scale, ..net.attention(width) };
            self.h = attention.forward(ops, "mid_block.attentions.0", &self.h);
        }
        self.resnet(ops, "mid_block.resnets.1", &resnet);
    }

    /// `i` counts from the coarsest level.
    fn up<O: Ops<Tensor = T> + ?Sized>(&mut self, ops: &mut O, i: usize, block: &Block) {
        let net = self.net;
        let level = net.block_out_channels.len() - 1 - i;
        let (path, out) = (format!("up_blocks.{i}"), net.block_out_channels[level]);
        for (j, widths) in net.up_widths(level).enumerate() {
            if let Some(skip) = self.skips.pop() {
                self.h = ops.concat(&self.h, &skip);
            }
            self.resnet(ops, &format!("{path}.resnets.{j}"), &net.resnet(block, widths));
            // Skip blocks have one, at the end.
            if block.attention && (!block.is_skip() || j == net.layers_per_block) {
                let name = format!("{path}.attentions.{}", if block.is_skip() { 0 } else { j });
                self.h = net.block_attention(block, out).forward(ops, &name, &self.h);
            }
        }
        if block.is_skip() {
            self.image = self.image.take().map(|image| ops.upsample_fir(&image));
        }
        if level == 0 {
            return;
        }
        match block.resampling {
            Resampling::Conv => {
                self.h = ops.upsample_nearest(&self.h);
                self.h = ops.conv2d(&self.h, &format!("{path}.upsamplers.0.conv"), Conv::same(out));
            }
            Resampling::Resnet => {
                let resample = Some(Resample::UpNearest);
                let resnet = Resnet { resample, ..net.resnet(block, [out, 0, out]) };
                self.resnet(ops, &format!("{path}.upsamplers.0"), &resnet);
            }
            Resampling::Skip => {
                self.add_to_image(ops, &path, out);
                let resample = Some(Resample::UpFir);
                let resnet = Resnet { resample, shortcut: true, ..net.resnet(block, [out, 0, out]) };
                self.resnet(ops, &format!("{path}.resnet_up"), &resnet);
            }
        }
    }

    /// What the features say of the image is added to it.
    fn add_to_image<O: Ops<Tensor = T> + ?Sized>(&mut self, ops: &mut O, path: &str, channels: usize) {
        let norm = format!("{path}.skip_norm");
        let mut more = ops.group_norm(&self.h, &norm, skip_groups(channels), self.net.norm_eps);
        more = ops.activation(&more, Activation::Silu);
        more = ops.conv2d(&more, &format!("{path}.skip_conv"), Conv::same(self.net.out_channels));
        self.image = Some(match &self.image {
            Some(image) => ops.add(image, &more),
            None => more,
        });
    }
}
