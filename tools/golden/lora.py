"""lora.json: files of low-rank updates in the names that trainers give them, and what diffusers makes of the weights they are fused into.

The networks are U-Nets of text_pipelines.json: with transformers 5 this diffusers finds no place in text encoders. The tensors of a file are streams: the value of KEY is that of `lora.KEY`.
"""

import json
import re
import tempfile

import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline, StableDiffusionXLPipeline
from diffusers.utils import logging
from safetensors.torch import save_file

import fixture
import stream
from text_pipelines import sd, xl

RANK = 3


def linears(model: torch.nn.Module, pattern: str) -> list[str]:
    return [name for name, module in model.named_modules() if re.search(pattern, name) and hasattr(module, "weight")]


def pair(model: torch.nn.Module, name: str, rank: int) -> list[list[int]]:
    """The shapes of both factors of an update."""
    shape = list(model.get_submodule(name).weight.shape)
    return [[rank, *shape[1:]], [shape[0], rank, *([1, 1] if len(shape) == 4 else [])]]


def peft(part: str, model, names: list[str]) -> dict:
    found = {}
    for name in names:
        down, up = pair(model, name, RANK)
        found[f"{part}.{name}.lora_A.weight"], found[f"{part}.{name}.lora_B.weight"] = down, up
    return found


def processors(model, names: list[str]) -> dict:
    """As diffusers wrote them at first."""
    found = {}
    for name in names:
        down, up = pair(model, name, RANK)
        block, leaf = name.removesuffix(".0").rsplit(".", 1)
        found[f"unet.{block}.processor.{leaf}_lora.down.weight"], found[f"unet.{block}.processor.{leaf}_lora.up.weight"] = down, up
    return found


def kohya(start: str, model, names: list[str], rename=lambda name: name) -> dict:
    found = {}
    for n, name in enumerate(names):
        # Ranks differ from one to the next, as trainers can have it. Where alphas do, diffusers gives attention's the commonest.
        down, up = pair(model, name, RANK + n % 2)
        flat = start + rename(name).replace(".", "_")
        found[f"{flat}.lora_down.weight"], found[f"{flat}.lora_up.weight"] = down, up
        found[f"{flat}.alpha"] = 2.0
    return found


def sgm(name: str) -> str:
    """The name that SDXL's own code has for a part of the U-Net of two levels and one layer each."""
    found = re.match(r"(down|up)_blocks\.(\d+)\.(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.(.*)", name)
    inner = dict(conv1="in_layers.2", conv2="out_layers.3", time_emb_proj="emb_layers.1", conv_shortcut="skip_connection")
    if found:
        way, block, kind, layer, rest = found.groups()
        rest = inner.get(rest, rest)
        if kind == "downsamplers":
            return f"input_blocks.{2 * (int(block) + 1)}.0.op"
        place = int(block) * 2 + int(layer) + (1 if way == "down" else 0)
        return f"{'input' if way == 'down' else 'output'}_blocks.{place}.{int(kind == 'attentions')}.{rest}"
    found = re.match(r"mid_block\.(resnets|attentions)\.(\d+)\.(.*)", name)
    if found:
        kind, layer, rest = found.groups()
        return f"middle_block.{1 if kind == 'attentions' else 2 * int(layer)}.{inner.get(rest, rest)}"
    outer = {
        "conv_in": "input_blocks.0.0",
        "conv_out": "out.2",
        "time_embedding.linear_1": "time_embed.0",
        "time_embedding.linear_2": "time_embed.2",
        "add_embedding.linear_1": "label_emb.0.0",
        "add_embedding.linear_2": "label_emb.0.2",
    }
    return outer[name]


ATTENTION = r"attn\d\.(to_[qkv]|to_out\.0)$"
LAYERS = ATTENTION + r"|ff\.net\.(0\.proj|2)$|proj_(in|out)$"
ALL = LAYERS + r"|resnets\.\d\.(conv1|conv2|time_emb_proj|conv_shortcut)$"


def cases():
    scheduler = lambda: DDIMScheduler(clip_sample=False)
    make = lambda: sd(StableDiffusionPipeline, scheduler())
    unet = make().unet
    yield "peft", make, peft("unet", unet, linears(unet, LAYERS)), {}
    alpha = {"unet.r": RANK, "unet.lora_alpha": 6, "unet.target_modules": sorted({name.rsplit(".", 1)[-1] for name in linears(unet, r"to_[qkv]$")})}
    yield "peft_alpha", make, peft("unet", unet, linears(unet, r"attn\d\.to_[qkv]$")), alpha
    yield "processors", make, processors(unet, linears(unet, ATTENTION)), {}
    yield "kohya", make, kohya("lora_unet_", unet, linears(unet, ALL)), {}
    large = xl(scheduler()).unet
    yield "kohya_xl", lambda: xl(scheduler()), kohya("lora_unet_", large, linears(large, LAYERS + r"|resnets\.\d\.(conv1|conv2)$"), sgm), {}


def tensors(shapes: dict) -> dict:
    made = {}
    for key, shape in shapes.items():
        made[key] = torch.tensor(shape) if isinstance(shape, float) else stream.tensor(f"lora.{key}", shape, 0.3)
    return made


def changed(before: dict, module: torch.nn.Module) -> dict:
    """Of each weight that is another: its ends."""
    found = {}
    for key, value in module.state_dict().items():
        if not torch.equal(before[key], value):
            found[key] = dict(first=value.flatten()[:4], last=value.flatten()[-4:])
    return found


def run(name, make, shapes, metadata) -> dict:
    pipeline = make()
    before = {key: value.clone() for key, value in pipeline.unet.state_dict().items()}
    with tempfile.TemporaryDirectory() as folder:
        header = {"format": "pt", **({"lora_adapter_metadata": json.dumps(metadata)} if metadata else {})}
        save_file(tensors(shapes), f"{folder}/lora.safetensors", header)
        pipeline.load_lora_weights(folder, weight_name="lora.safetensors")
    pipeline.fuse_lora(lora_scale=0.8)
    pipeline.unload_lora_weights()
    fused = changed(before, pipeline.unet)
    assert len(fused) == sum(key.endswith(("lora_A.weight", "down.weight")) for key in shapes), name
    weights = {key: list(value.shape) for key, value in before.items() if key in fused or key == "conv_norm_out.weight"}
    return dict(name=name, scale=0.8, tensors=shapes, metadata=metadata, weights=weights, fused=fused)


def make() -> None:
    logging.set_verbosity_error()
    with torch.no_grad():
        fixture.write("lora.json", dict(cases=[run(*case) for case in cases()]))
