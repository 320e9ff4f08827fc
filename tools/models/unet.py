"""`UNet2DModel` of Python `diffusers` in plain PyTorch: the part of it that the models in these folders use.

The weights have the same names and the forward pass gives the same numbers, so a folder that is saved here opens there.
What it adds: nothing but torch is imported, and no line of the forward pass waits for the GPU, so that a whole training
step can be captured as one CUDA graph.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn


def config(size, channels, classes, widths, attention, layers=1, groups=8, heads_of=16):
    """diffusers' config.json for square pictures of `size` px; `attention[i]` says whether level i attends."""
    return {
        "_class_name": "UNet2DModel", "_diffusers_version": "0.42.1", "act_fn": "silu", "add_attention": True,
        "attention_head_dim": heads_of, "attn_norm_num_groups": groups, "block_out_channels": list(widths),
        "center_input_sample": False, "class_embed_type": None,
        "down_block_types": ["AttnDownBlock2D" if a else "DownBlock2D" for a in attention],
        "downsample_padding": 1, "downsample_type": "conv", "dropout": 0.0, "flip_sin_to_cos": True, "freq_shift": 0,
        "in_channels": channels, "layers_per_block": layers, "mid_block_scale_factor": 1,
        "mid_block_type": "UNetMidBlock2D", "norm_eps": 1e-05, "norm_num_groups": groups, "num_class_embeds": classes,
        "num_train_timesteps": None, "out_channels": channels, "resnet_time_scale_shift": "scale_shift",
        "sample_size": size, "time_embedding_dim": None, "time_embedding_type": "positional",
        "up_block_types": ["AttnUpBlock2D" if a else "UpBlock2D" for a in reversed(attention)], "upsample_type": "conv",
    }


class ResnetBlock(nn.Module):
    def __init__(self, before, after, embedding, groups):
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, before, eps=1e-5)
        self.conv1 = nn.Conv2d(before, after, 3, padding=1)
        self.time_emb_proj = nn.Linear(embedding, 2 * after)
        self.norm2 = nn.GroupNorm(groups, after, eps=1e-5)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1)
        self.conv_shortcut = nn.Conv2d(before, after, 1) if before != after else nn.Identity()

    def forward(self, x, active):
        """`active` is SiLU of the embedding, the same for every block and so worked out once."""
        h = self.conv1(F.silu(self.norm1(x)))
        scale, shift = self.time_emb_proj(active)[:, :, None, None].chunk(2, 1)
        h = torch.addcmul(shift, self.norm2(h), 1 + scale)
        return self.conv_shortcut(x) + self.conv2(F.silu(h))


class Attention(nn.Module):
    def __init__(self, width, groups, head):
        super().__init__()
        self.head = head
        self.group_norm = nn.GroupNorm(groups, width, eps=1e-5)
        self.to_q, self.to_k, self.to_v = (nn.Linear(width, width) for _ in range(3))
        self.to_out = nn.ModuleList([nn.Linear(width, width)])

    def forward(self, x):
        batch, width, rows, columns = x.shape
        h = self.group_norm(x).flatten(2).transpose(1, 2)
        q, k, v = (f(h).unflatten(2, (-1, self.head)).transpose(1, 2) for f in (self.to_q, self.to_k, self.to_v))
        h = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        return x + self.to_out[0](h).transpose(1, 2).reshape(batch, width, rows, columns)


class Resample(nn.Module):
    """Named as diffusers names it: one convolution, with stride 2 on the way down, after doubling on the way up."""

    def __init__(self, width, up):
        super().__init__()
        self.up = up
        self.conv = nn.Conv2d(width, width, 3, stride=1 if up else 2, padding=1)

    def forward(self, x):
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest") if self.up else x)


class Block(nn.Module):
    """One level, down or up, or the middle (two resnets about one attention)."""

    def __init__(self, inputs, width, embedding, groups, head, attends, down=False, up=False):
        super().__init__()
        self.resnets = nn.ModuleList(ResnetBlock(before, width, embedding, groups) for before in inputs)
        if attends:
            self.attentions = nn.ModuleList(Attention(width, groups, head) for _ in range(attends))
        if down:
            self.downsamplers = nn.ModuleList([Resample(width, up=False)])
        if up:
            self.upsamplers = nn.ModuleList([Resample(width, up=True)])

    def attend(self, i, x):
        return self.attentions[i](x) if hasattr(self, "attentions") else x


class UNet(nn.Module):
    """x [batch, channels, size, size], t i64 [batch] in 0..999, labels i64 [batch] -> prediction, shaped as x."""

    def __init__(self, config):
        super().__init__()
        self.config = config
        widths, layers = config["block_out_channels"], config["layers_per_block"]
        groups, head, embedding = config["norm_num_groups"], config["attention_head_dim"], 4 * widths[0]
        last = len(widths) - 1

        def block(inputs, width, attends, **resample):
            return Block(inputs, width, embedding, groups, head, attends, **resample)

        self.conv_in = nn.Conv2d(config["in_channels"], widths[0], 3, padding=1)
        self.time_embedding = nn.ModuleDict(
            {"linear_1": nn.Linear(widths[0], embedding), "linear_2": nn.Linear(embedding, embedding)}
        )
        self.class_embedding = nn.Embedding(config["num_class_embeds"], embedding)
        self.down_blocks, self.up_blocks = nn.ModuleList(), nn.ModuleList()
        skips, before = [widths[0]], widths[0]
        for i, width in enumerate(widths):
            inputs = [before] + [width] * (layers - 1)
            attends = layers * config["down_block_types"][i].startswith("Attn")
            self.down_blocks.append(block(inputs, width, attends, down=i < last))
            skips += [width] * (layers + (i < last))
            before = width
        self.mid_block = block([before, before], before, 1)
        for i, width in enumerate(reversed(widths)):
            inputs = []
            for _ in range(layers + 1):
                inputs.append(before + skips.pop())
                before = width
            attends = (layers + 1) * config["up_block_types"][i].startswith("Attn")
            self.up_blocks.append(block(inputs, width, attends, up=i < last))
        self.conv_norm_out = nn.GroupNorm(groups, widths[0], eps=1e-5)
        self.conv_out = nn.Conv2d(widths[0], config["out_channels"], 3, padding=1)
        # Residual branches and the output start at zero (Ho et al. 2020): the first steps are spent learning.
        for name, module in self.named_modules():
            if name.endswith(("conv2", "to_out.0")) or name == "conv_out":
                nn.init.zeros_(module.weight)
                nn.init.zeros_(module.bias)
        nn.init.normal_(self.class_embedding.weight, std=0.02)

    def embed(self, t, labels):
        width = self.config["block_out_channels"][0]
        rates = torch.exp(torch.arange(width // 2, device=t.device) * (-math.log(10000) / (width // 2)))
        angles = t[:, None] * rates
        table = self.class_embedding.weight
        e = torch.cat([angles.cos(), angles.sin()], 1).to(table.dtype)
        e = self.time_embedding["linear_2"](F.silu(self.time_embedding["linear_1"](e)))
        # A product with one-hot rows instead of a look-up: its gradient is a product too, with nothing to sort.
        return e + (labels[:, None] == torch.arange(len(table), device=t.device)).to(table.dtype) @ table

    def forward(self, x, t, labels):
        active = F.silu(self.embed(t, labels))
        x = self.conv_in(x)
        skips = [x]
        for block in self.down_blocks:
            for i, resnet in enumerate(block.resnets):
                x = block.attend(i, resnet(x, active))
                skips.append(x)
            if hasattr(block, "downsamplers"):
                x = block.downsamplers[0](x)
                skips.append(x)
        x = self.mid_block.resnets[0](x, active)
        x = self.mid_block.resnets[1](self.mid_block.attentions[0](x), active)
        for block in self.up_blocks:
            for i, resnet in enumerate(block.resnets):
                x = block.attend(i, resnet(torch.cat([x, skips.pop()], 1), active))
            if hasattr(block, "upsamplers"):
                x = block.upsamplers[0](x)
        return self.conv_out(F.silu(self.conv_norm_out(x)))
