"""unet.json: small UNet2DModels, one idea each, with the value stream's weights and input."""

import torch
from diffusers import UNet2DModel

import fixture
import stream

BASE = dict(
    block_out_channels=[8, 16],
    layers_per_block=1,
    down_block_types=["DownBlock2D", "AttnDownBlock2D"],
    up_block_types=["AttnUpBlock2D", "UpBlock2D"],
    norm_num_groups=4,
    attention_head_dim=4,
)
SMALL = dict(  # one level, no attention: where only the time, the classes or the activation matter
    block_out_channels=[8],
    layers_per_block=1,
    down_block_types=["DownBlock2D"],
    up_block_types=["UpBlock2D"],
    norm_num_groups=4,
    add_attention=False,
    size=[4, 4],
)
ATTENTION = dict(down_block_types=["AttnDownBlock2D"] * 2, up_block_types=["AttnUpBlock2D"] * 2)
PLAIN = dict(down_block_types=["DownBlock2D"] * 2, up_block_types=["UpBlock2D"] * 2)
RESNET = dict(down_block_types=["ResnetDownsampleBlock2D"] * 2, up_block_types=["ResnetUpsampleBlock2D"] * 2)


def case(name, timesteps=(250,), labels=None, absent=(), base=BASE, **config):
    """A case. `absent` lists keys left out of the stored config, whose defaults must then apply."""
    config = {**base, **config}
    size = config.pop("size", [8, 8])
    return dict(name=name, timesteps=list(timesteps), labels=labels, size=size, absent=absent, config=config)


CASES = [
    # Whole configurations
    case("base", timesteps=[10, 750]),
    case(
        "defaults",  # every key that has a usable default is absent
        base={},
        absent="all",
        block_out_channels=[32, 32],
        down_block_types=["DownBlock2D", "AttnDownBlock2D"],
        up_block_types=["AttnUpBlock2D", "UpBlock2D"],
        size=[4, 4],
    ),
    case(
        "google",  # as google/ddpm-*: TF padding, sin first, frequencies to the end, one head
        block_out_channels=[8, 8, 16],
        down_block_types=["DownBlock2D", "AttnDownBlock2D", "DownBlock2D"],
        up_block_types=["UpBlock2D", "AttnUpBlock2D", "UpBlock2D"],
        layers_per_block=2,
        downsample_padding=0,
        flip_sin_to_cos=False,
        freq_shift=1,
        norm_eps=1e-6,
        attention_head_dim=None,
    ),
    case(
        "adm",  # as OpenAI's: resnet sampling everywhere, scale and shift, classes
        timesteps=[3, 980],
        labels=[0, 4],
        down_block_types=["ResnetDownsampleBlock2D", "AttnDownBlock2D"],
        up_block_types=["AttnUpBlock2D", "ResnetUpsampleBlock2D"],
        downsample_type="resnet",
        upsample_type="resnet",
        resnet_time_scale_shift="scale_shift",
        attn_norm_num_groups=8,
        attention_head_dim=8,
        num_class_embeds=5,
    ),
    # Shapes
    case("one_level", timesteps=[999, 0], block_out_channels=[8], down_block_types=["AttnDownBlock2D"], up_block_types=["AttnUpBlock2D"]),
    case("four_levels", block_out_channels=[4, 8, 8, 12], size=[16, 8], sample_size=[16, 8],
         down_block_types=["DownBlock2D", "AttnDownBlock2D", "ResnetDownsampleBlock2D", "DownBlock2D"],
         up_block_types=["AttnUpBlock2D", "UpBlock2D", "ResnetUpsampleBlock2D", "AttnUpBlock2D"]),
    case("not_square", timesteps=[33, 500, 501], size=[4, 12], sample_size=[4, 12]),
    case("gray", in_channels=1, out_channels=1, timesteps=[1, 2], base=SMALL),
    case("four_channels", in_channels=4, out_channels=4, base=SMALL),
    case("learned_variance", out_channels=6, base=SMALL),
    case("three_layers", layers_per_block=3, size=[4, 4]),
    # Time
    case("sin_first", flip_sin_to_cos=False, base=SMALL),
    case("freq_shift_1", freq_shift=1, base=SMALL),
    case("sin_first_shift_1", flip_sin_to_cos=False, freq_shift=1, timesteps=[999, 17], base=SMALL),
    case("odd_width", block_out_channels=[9], norm_num_groups=3, base=SMALL),
    case("odd_width_sin_first", block_out_channels=[9], norm_num_groups=3, flip_sin_to_cos=False, freq_shift=1, base=SMALL),
    case("time_embedding_dim", time_embedding_dim=20, base=SMALL),
    case("freq_shift_fraction", freq_shift=0.5, base=SMALL),
    case("freq_shift_negative", freq_shift=-2, base=SMALL),
    case("freq_shift_beyond", freq_shift=40, base=SMALL),
    case("time_embedding_dim_0", time_embedding_dim=0, base=SMALL),  # to Python, 0 is nothing
    case("float_timesteps", timesteps=[124.875, 888.0], base=SMALL),
    case("fourier", time_embedding_type="fourier", timesteps=[0.5, 37.25], base=SMALL),
    case("fourier_center", time_embedding_type="fourier", timesteps=[0.0125], center_input_sample=True, base=SMALL),
    case("learned", time_embedding_type="learned", num_train_timesteps=50, timesteps=[0, 49], base=SMALL),
    case("learned_one_row", time_embedding_type="learned", num_train_timesteps=1, timesteps=[0], base=SMALL),
    # Classes
    case("class_table", timesteps=[400, 400], labels=[2, 0], num_class_embeds=3, base=SMALL),
    case("class_timestep", timesteps=[400, 7], labels=[2, 900], class_embed_type="timestep", base=SMALL),
    case("class_timestep_learned", timesteps=[49, 7], labels=[2, 0], class_embed_type="timestep",  # one table for both
         time_embedding_type="learned", num_train_timesteps=50, base=SMALL),
    case("class_timestep_fourier", timesteps=[49.5, 7.0], labels=[2.5, 900.0], class_embed_type="timestep",
         time_embedding_type="fourier", base=SMALL),
    case("class_identity", timesteps=[400, 7], labels="labels:class_identity", class_embed_type="identity", base=SMALL),
    # Attention
    case("head_dim_absent", absent=["attention_head_dim"], attention_head_dim=8, block_out_channels=[8, 24]),
    case("head_dim_null", attention_head_dim=None, **ATTENTION),
    case("head_dim_non_dividing", attention_head_dim=3, **ATTENTION),
    case("attention_everywhere", attention_head_dim=8, block_out_channels=[8, 32], size=[4, 4], **ATTENTION),
    case("attn_norm_num_groups", attn_norm_num_groups=2, **PLAIN),
    case("no_attention", add_attention=False, **PLAIN),
    case("no_mid_attention", add_attention=False),
    case("no_mid_block", mid_block_type=None),
    case("mid_scale", mid_block_scale_factor=1.4142135623730951),
    # Resnets
    case("swish", act_fn="swish", base=SMALL),
    case("mish", act_fn="mish", timesteps=[20, 900], base=SMALL),
    case("gelu", act_fn="gelu", timesteps=[20, 900], base=SMALL),
    case("relu", act_fn="ReLU", base=SMALL),
    case("eps_big", norm_eps=0.25, size=[4, 4]),
    case("scale_shift", resnet_time_scale_shift="scale_shift", timesteps=[20, 900]),  # no group_norm in the mid attention
    case("dropout", dropout=0.3, base=SMALL),  # does nothing at evaluation
    # Resampling
    case("pad_0", downsample_padding=0, add_attention=False, **PLAIN),
    case("pad_0_attention", downsample_padding=0, attention_head_dim=8, **ATTENTION),
    case("resnet_sampling", downsample_type="resnet", upsample_type="resnet", **ATTENTION),
    case("resampling_null", downsample_type=None, upsample_type=None, **ATTENTION),
    case("resnet_down_only", downsample_type="resnet", **ATTENTION),
    case("resnet_sampling_ignored", downsample_type="resnet", upsample_type="resnet", add_attention=False, **PLAIN),
    case("resnet_blocks", timesteps=[5, 600], **RESNET),
    case("resnet_blocks_scale_shift", resnet_time_scale_shift="scale_shift", attn_norm_num_groups=4, layers_per_block=2, **RESNET),
    case("old_block_names",
         down_block_types=["UNetResDownBlock2D", "UNetResAttnDownBlock2D"],
         up_block_types=["UNetResAttnUpBlock2D", "UNetResUpBlock2D"]),
    case("center_input", center_input_sample=True, base=SMALL),
]


def build(case: dict):
    """The model with stream weights, its stored config, and the arguments of its forward pass."""
    model = UNet2DModel(**case["config"])
    stream.fill(model)
    if case["absent"] == "all":
        config = dict(case["config"])
    else:
        config = {k: v for k, v in model.config.items() if not k.startswith("_") and k not in case["absent"]}
    shape = [len(case["timesteps"]), model.config.in_channels, *case["size"]]
    x = stream.tensor(f"input:{case['name']}", shape, 1.5)
    whole = all(isinstance(t, int) for t in case["timesteps"])
    t = torch.tensor(case["timesteps"], dtype=torch.int64 if whole else torch.float32)
    labels = case["labels"]
    if isinstance(labels, str):
        labels = stream.tensor(labels, [shape[0], model.time_embedding.linear_2.out_features])
    elif labels is not None:
        labels = torch.tensor(labels)
    return model, config, (x, t, labels)


def run(case: dict) -> dict:
    model, config, inputs = build(case)
    with torch.no_grad():
        output = model.eval()(*inputs).sample
    return dict(
        name=case["name"],
        config=config,
        sample_shape=list(inputs[0].shape),
        timesteps=case["timesteps"],
        labels=case["labels"],
        keys=[[key, list(value.shape)] for key, value in model.state_dict().items()],
        output_shape=list(output.shape),
        output=output,
    )


def make() -> None:
    assert len({case["name"] for case in CASES}) == len(CASES)
    fixture.write("unet.json", dict(cases=[run(case) for case in CASES]))
