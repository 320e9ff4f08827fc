"""checkpoints/: small checkpoints as Python leaves them on disk. Their weights are the value stream's."""

import json
import math
import re
import shutil

import torch
from diffusers import (
    CMStochasticIterativeScheduler,
    ConsistencyModelPipeline,
    DDPMPipeline,
    DDPMScheduler,
    ScoreSdeVeScheduler,
    UNet2DModel,
)
from diffusers.pipelines.deprecated.score_sde_ve.pipeline_score_sde_ve import ScoreSdeVePipeline
from safetensors.torch import save_file

import fixture
import stream

FOLDER = fixture.FOLDER / "checkpoints"
NETWORK = dict(
    sample_size=8,
    block_out_channels=[8, 8],
    attention_head_dim=4,
    layers_per_block=1,
    down_block_types=["DownBlock2D", "AttnDownBlock2D"],
    up_block_types=["UpBlock2D", "UpBlock2D"],
    norm_num_groups=4,
)
CLASSES = ["zero", "one", "two", "three", "four", "any"]

# What diffusers 0.1 wrote: no key that came later, and attention under its first names.
OLD_NETWORK = {
    "_class_name": "UNet2DModel",
    "_diffusers_version": "0.1.1",
    "act_fn": "silu",
    "attention_head_dim": None,
    "block_out_channels": [4, 8],
    "center_input_sample": False,
    "down_block_types": ["DownBlock2D", "AttnDownBlock2D"],
    "downsample_padding": 0,
    "flip_sin_to_cos": False,
    "freq_shift": 1,
    "in_channels": 3,
    "layers_per_block": 1,
    "mid_block_scale_factor": 1,
    "norm_eps": 1e-06,
    "norm_num_groups": 2,
    "out_channels": 3,
    "sample_size": 8,
    "time_embedding_type": "positional",
    "up_block_types": ["UpBlock2D", "UpBlock2D"],
}
OLD_SCHEDULER = {
    "_class_name": "DDPMScheduler",
    "_diffusers_version": "0.1.1",
    "beta_end": 0.02,
    "beta_schedule": "linear",
    "beta_start": 0.0001,
    "clip_sample": True,
    "num_train_timesteps": 1000,
    "trained_betas": None,
    "variance_type": "fixed_large",
}
OLD_INDEX = {
    "_class_name": "DDPMPipeline",
    "_module": "pipeline_ddpm",
    "scheduler": ["diffusers", "DDPMScheduler"],
    "unet": ["diffusers", "UNet2DModel"],
}
OLD_NAMES = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}


def network(**config) -> UNet2DModel:
    model = UNet2DModel(**{**NETWORK, **config})
    stream.fill(model)
    return model


def write_json(path, content) -> None:
    path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")


def old_name(key: str) -> str:
    return re.sub(r"(\.attentions\.\d+\.)(to_q|to_k|to_v|to_out\.0)\.", lambda m: f"{m[1]}{OLD_NAMES[m[2]]}.", key)


def make_old(folder) -> None:
    folder.mkdir()
    write_json(folder / "model_index.json", OLD_INDEX)
    write_json(folder / "config.json", OLD_NETWORK)
    write_json(folder / "scheduler_config.json", OLD_SCHEDULER)
    model = network(**{key: value for key, value in OLD_NETWORK.items() if not key.startswith("_")})
    state = {old_name(key): value for key, value in model.state_dict().items()}
    save_file(state, folder / "diffusion_pytorch_model.safetensors")  # no __metadata__


def make_continuous() -> None:
    """Of the shape of diffusers-cd_imagenet64 and of the score SDE's, but small."""
    consistency = network(
        block_out_channels=[4, 8],
        norm_num_groups=2,
        attn_norm_num_groups=2,
        num_class_embeds=1000,
        resnet_time_scale_shift="scale_shift",
        downsample_type="resnet",
        upsample_type="resnet",
        down_block_types=["ResnetDownsampleBlock2D", "AttnDownBlock2D"],
        up_block_types=["AttnUpBlock2D", "ResnetUpsampleBlock2D"],
    )
    ConsistencyModelPipeline(consistency, CMStochasticIterativeScheduler()).save_pretrained(FOLDER / "consistency")
    score = network(block_out_channels=[4, 8], norm_num_groups=2, time_embedding_type="fourier")
    ScoreSdeVePipeline(score, ScoreSdeVeScheduler(sigma_max=50.0)).save_pretrained(FOLDER / "score-sde")
    ncsnpp = network(
        block_out_channels=[4, 8],
        norm_num_groups=None,
        attention_head_dim=None,
        time_embedding_type="fourier",
        center_input_sample=True,
        mid_block_scale_factor=math.sqrt(2),
        norm_eps=1e-6,
        down_block_types=["SkipDownBlock2D"] * 2,
        up_block_types=["SkipUpBlock2D"] * 2,
    )
    ScoreSdeVePipeline(ncsnpp, ScoreSdeVeScheduler(sigma_max=50.0)).save_pretrained(FOLDER / "ncsnpp")


def make() -> None:
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir()
    DDPMPipeline(network(), DDPMScheduler()).save_pretrained(FOLDER / "layout-a")
    make_old(FOLDER / "layout-b")
    DDPMPipeline(network().half(), DDPMScheduler()).save_pretrained(FOLDER / "f16-variant", variant="fp16")
    DDPMPipeline(network().to(torch.bfloat16), DDPMScheduler()).save_pretrained(FOLDER / "bf16")
    conditional = network(num_class_embeds=len(CLASSES), block_out_channels=[4, 8], norm_num_groups=2)
    schedule = DDPMScheduler(beta_schedule="squaredcos_cap_v2")
    DDPMPipeline(conditional, schedule).save_pretrained(FOLDER / "class-conditional")
    labels = dict(labels=CLASSES, null_label=CLASSES.index("any"))
    write_json(FOLDER / "class-conditional" / "labels.json", labels)
    make_continuous()
    # The same networks in PyTorch's own format.
    DDPMPipeline(network(), DDPMScheduler()).save_pretrained(FOLDER / "pickle", safe_serialization=False)
    pipeline = DDPMPipeline(conditional, schedule)
    pipeline.save_pretrained(FOLDER / "pickle-shards", safe_serialization=False, max_shard_size="40KB")
    write_json(FOLDER / "pickle-shards" / "labels.json", labels)
