"""ncsnpp.json: UNet2DModels of the shapes of NCSN++ (Skip blocks and FIR resampling) and of consistency models, as unet.json has others."""

import math

import fixture
from unet import case, run

NCSNPP = dict(  # as google/ncsnpp-*, but small
    block_out_channels=[8, 16],
    layers_per_block=1,
    down_block_types=["SkipDownBlock2D"] * 2,
    up_block_types=["SkipUpBlock2D"] * 2,
    norm_num_groups=None,
    attention_head_dim=None,
    time_embedding_type="fourier",
    center_input_sample=True,
    mid_block_scale_factor=math.sqrt(2),
    norm_eps=1e-6,
    size=[4, 4],
)
SKIPS = dict(down_block_types=["SkipDownBlock2D"] * 3, up_block_types=["SkipUpBlock2D"] * 3)
CONSISTENCY = dict(  # as openai/diffusers-cd_*, but small
    block_out_channels=[8, 16],
    layers_per_block=1,
    down_block_types=["ResnetDownsampleBlock2D", "AttnDownBlock2D"],
    up_block_types=["AttnUpBlock2D", "ResnetUpsampleBlock2D"],
    downsample_type="resnet",
    upsample_type="resnet",
    resnet_time_scale_shift="scale_shift",
    attn_norm_num_groups=8,
    attention_head_dim=8,
    norm_num_groups=4,
    size=[4, 4],
)

CASES = [
    case("ncsnpp", timesteps=[0.0125, 300.0], base=NCSNPP),
    case("ncsnpp_levels", timesteps=[1.5], base=NCSNPP, block_out_channels=[4, 8, 16], layers_per_block=2, size=[8, 12], sample_size=[8, 12], **SKIPS),
    case("ncsnpp_attention", timesteps=[12.0], base=NCSNPP, block_out_channels=[32, 64],
         down_block_types=["SkipDownBlock2D", "AttnSkipDownBlock2D"], up_block_types=["AttnSkipUpBlock2D", "SkipUpBlock2D"]),
    case("ncsnpp_attention_finest", timesteps=[12.0, 0.5], base=NCSNPP, block_out_channels=[32, 16], attention_head_dim=8,
         down_block_types=["AttnSkipDownBlock2D", "SkipDownBlock2D"], up_block_types=["SkipUpBlock2D", "AttnSkipUpBlock2D"]),
    case("ncsnpp_odd_groups", timesteps=[2.0], base=NCSNPP, block_out_channels=[12, 20]),
    case("ncsnpp_one_level", timesteps=[2.0], base=NCSNPP, block_out_channels=[8], in_channels=1, out_channels=1,
         down_block_types=["SkipDownBlock2D"], up_block_types=["SkipUpBlock2D"]),
    case("skips_positional", timesteps=[20, 900], base=NCSNPP, time_embedding_type="positional", norm_num_groups=4, center_input_sample=False),
    case("skips_scale_shift", timesteps=[0.7], base=NCSNPP, resnet_time_scale_shift="scale_shift", act_fn="mish"),
    case("skips_classes", timesteps=[0.7, 0.9], labels=[2, 0], num_class_embeds=3, base=NCSNPP, mid_block_type=None),
    case("skips_and_others", timesteps=[3.0], base=NCSNPP, norm_num_groups=4,  # where no image is lost between the two
         down_block_types=["SkipDownBlock2D", "DownBlock2D"], up_block_types=["AttnUpBlock2D", "SkipUpBlock2D"]),
    case("consistency", timesteps=[1577.5, 250.0], labels=[3, 1], num_class_embeds=5, base=CONSISTENCY),
    case("consistency_levels", timesteps=[731.25], base=CONSISTENCY, block_out_channels=[8, 8, 16], layers_per_block=2, attn_norm_num_groups=None,
         down_block_types=["ResnetDownsampleBlock2D", "ResnetDownsampleBlock2D", "AttnDownBlock2D"],
         up_block_types=["AttnUpBlock2D", "ResnetUpsampleBlock2D", "ResnetUpsampleBlock2D"]),
]


def make() -> None:
    assert len({case["name"] for case in CASES}) == len(CASES)
    fixture.write("ncsnpp.json", dict(cases=[run(case) for case in CASES]))
