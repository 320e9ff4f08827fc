"""tiles.json: an AutoencoderKL's halves with enable_tiling, for images that are no whole number of tiles."""

import torch
from diffusers import AutoencoderKL

import fixture
import stream

CONFIG = dict(
    block_out_channels=(8, 16),
    down_block_types=("DownEncoderBlock2D",) * 2,
    up_block_types=("UpDecoderBlock2D",) * 2,
    norm_num_groups=4,
    latent_channels=4,
    sample_size=16,
)


def make() -> None:
    model = AutoencoderKL(**CONFIG)
    state = model.state_dict()
    model.load_state_dict({key: stream.parameter(f"vae.{key}", value.shape) for key, value in state.items()})
    model.eval().enable_tiling()
    latents = stream.tensor("tiles:latents", (1, 4, 13, 20), 1.0)
    picture = stream.tensor("tiles:picture", (1, 3, 26, 12), 1.0)
    with torch.no_grad():
        decoded = model.decode(latents).sample
        encoded = model.encode(picture).latent_dist.parameters
    case = lambda values: dict(shape=list(values.shape), values=(values.double() * 1e6).round() / 1e6)
    fixture.write("tiles.json", dict(config={**CONFIG, "_class_name": "AutoencoderKL"}, decoded=case(decoded), encoded=case(encoded)))
