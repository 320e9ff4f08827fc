"""autoencoders.json: small AutoencoderKLs, AutoencoderTinys and VQModels, one idea each, with the value stream's weights."""

import torch
from diffusers import AutoencoderKL, AutoencoderTiny, VQModel

import fixture
import stream

CLASSES = dict(kl=AutoencoderKL, tiny=AutoencoderTiny, vq=VQModel)
BASE = dict(
    block_out_channels=[8, 16],
    down_block_types=["DownEncoderBlock2D"] * 2,
    up_block_types=["UpDecoderBlock2D"] * 2,
    norm_num_groups=4,
    size=[4, 4],
    latent_size=[2, 2],
)
ATTENTION = dict(down_block_types=["DownEncoderBlock2D", "AttnDownEncoderBlock2D"], up_block_types=["AttnUpDecoderBlock2D", "UpDecoderBlock2D"])
FOUR = dict(
    block_out_channels=[8, 8, 12, 16],
    down_block_types=["DownEncoderBlock2D"] * 4,
    up_block_types=["UpDecoderBlock2D"] * 4,
    layers_per_block=2,
    norm_num_groups=4,
    size=[16, 8],
    latent_size=[2, 1],
)
TINY = dict(
    encoder_block_out_channels=[8] * 2,
    decoder_block_out_channels=[8] * 2,
    num_encoder_blocks=[1, 2],
    num_decoder_blocks=[2, 1],
    size=[4, 4],
    latent_size=[2, 2],
)


def case(name, kind, base=None, batch=1, full=False, scaled=None, latent_scale=1.5, quantised=True, **config):
    """A case. `full` stores every key of the config; else the rest is absent, and Python's defaults must apply."""
    base = base if base is not None else TINY if kind == "tiny" else BASE
    config = {**base, **config}
    own = {key: config.pop(key) for key in ["size", "latent_size"]}
    return dict(name=name, kind=kind, batch=batch, full=full, scaled=scaled, latent_scale=latent_scale, quantised=quantised, config=config, **own)


CASES = [
    case("kl", "kl", full=True, batch=2),
    case("kl_sd", "kl", base=FOUR, scaling_factor=0.18215, sample_size=64),
    case("kl_sdxl", "kl", base=FOUR, scaling_factor=0.13025, latents_mean=[0.1, 0.2, 0.3, 0.4], latents_std=[1.5, 2, 2.5, 3], full=True),
    case("kl_defaults", "kl", base=dict(size=[2, 2], latent_size=[2, 2])),
    case("kl_no_quant", "kl", use_quant_conv=False, use_post_quant_conv=False, latent_channels=6),
    case("kl_no_post_quant", "kl", use_post_quant_conv=False),
    case("kl_no_middle_attention", "kl", mid_block_add_attention=False),
    case("kl_attention", "kl", layers_per_block=2, **ATTENTION),
    case("kl_gelu", "kl", act_fn="gelu", in_channels=1, out_channels=2),
    case("kl_odd", "kl", size=[7, 5], latent_size=[3, 1]),
    case("kl_little_variance", "kl", scaled={"conv_in.": -10, ".conv2.": -10, "conv_shortcut.": -3, "to_out": -10}),
    case("tiny", "tiny", full=True, batch=2),
    case("tiny_taesd", "tiny", base={}, size=[16, 8], latent_size=[2, 1], encoder_block_out_channels=[8] * 4, decoder_block_out_channels=[8] * 4),
    case("tiny_wide_latents", "tiny", latent_scale=9.0, latent_magnitude=5, latent_channels=16),
    case("tiny_silu", "tiny", act_fn="silu", scaling_factor=2.0),
    case("tiny_odd", "tiny", size=[5, 3], num_encoder_blocks=[0, 1, 1], encoder_block_out_channels=[4] * 3, latent_channels=1),
    case("vq", "vq", full=True, num_vq_embeddings=12, batch=2),
    case("vq_width", "vq", num_vq_embeddings=9, vq_embed_dim=5, latent_channels=4, **ATTENTION),
    case("vq_not_quantised", "vq", num_vq_embeddings=7, quantised=False),
    case("vq_no_middle_attention", "vq", num_vq_embeddings=32, mid_block_add_attention=False),
]


def margin(model, latents) -> float:
    """How much farther the second nearest row is than the nearest, relative, at the worst pixel."""
    pixels = latents.permute(0, 2, 3, 1).flatten(0, 2)
    near = torch.cdist(pixels, model.quantize.embedding.weight).topk(2, largest=False).values
    return ((near[:, 1] - near[:, 0]) / pixels.norm(dim=1)).min().item()


def run(case: dict) -> dict:
    model = CLASSES[case["kind"]](**case["config"]).eval()
    stream.fill(model, case["scaled"])
    config, name, batch = case["config"], case["name"], case["batch"]
    if case["full"]:
        config = {k: v for k, v in model.config.items() if not k.startswith("_")}
    channels = getattr(model.config, "vq_embed_dim", None) or model.config.latent_channels
    picture = stream.tensor(f"picture:{name}", [batch, model.config.in_channels, *case["size"]])
    latents = stream.tensor(f"latents:{name}", [batch, channels, *case["latent_size"]], case["latent_scale"])
    options = {}
    if case["kind"] == "vq":
        assert margin(model, latents) > 1e-3, (name, margin(model, latents))
        options["force_not_quantize"] = not case["quantised"]
    with torch.no_grad():
        encoded = model.encode(picture)
        encoded = encoded.latent_dist.parameters if case["kind"] == "kl" else encoded.latents
        decoded = model.decode(latents, **options).sample
    kept = {k: case[k] for k in ["name", "kind", "scaled", "latent_scale", "quantised"] if case[k] is not None}
    return dict(**kept, config=config, keys=stream.digest(model), picture_shape=list(picture.shape), latents_shape=list(latents.shape), encoded=encoded, decoded=decoded)


def make() -> None:
    assert len({case["name"] for case in CASES}) == len(CASES)
    fixture.write("networks/autoencoders.json", dict(cases=[run(case) for case in CASES]))
