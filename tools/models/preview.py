"""Fits the linear map that shows an autoencoder's latents before they are decoded, and writes it into the autoencoder's config.

    python preview.py FOLDER SHEET SIDE GAP SCALE

SHEET is a picture of pictures of SIDE pixels, GAP pixels between them, the whole enlarged SCALE times. They are encoded; the
mean colour of what each cell of the latents stands for is regressed on the cell's numbers, scaled as the network has them.
"""

import json
import pathlib
import sys

import numpy as np
import torch
from diffusers import AutoencoderKL, AutoencoderTiny
from PIL import Image

folder, sheet, *numbers = sys.argv[1:]
side, gap, scale = map(int, numbers)
path = pathlib.Path(folder) / "vae" / "config.json"
config = json.loads(path.read_text())
tiny = config["_class_name"] == "AutoencoderTiny"
vae = (AutoencoderTiny if tiny else AutoencoderKL).from_pretrained(path.parent, torch_dtype=torch.float32)

image = Image.open(sheet).convert("RGB")
image = image.resize((image.width // scale, image.height // scale), Image.Resampling.BOX)
pixels = torch.tensor(np.array(image)).permute(2, 0, 1).float() / 127.5 - 1
starts = [range(0, length - side + 1, side + gap) for length in pixels.shape[1:]]
pictures = torch.stack([pixels[:, y : y + side, x : x + side] for y in starts[0] for x in starts[1]])
with torch.no_grad():
    encoded = vae.encode(pictures)
    latents = (encoded.latents if tiny else encoded.latent_dist.mean) * config["scaling_factor"]
cells = torch.nn.functional.adaptive_avg_pool2d(pictures, latents.shape[2:])
flat = lambda t: t.permute(0, 2, 3, 1).reshape(-1, t.shape[1]).double()  # noqa: E731
inputs = torch.cat([flat(latents), torch.ones(latents[:, 0].numel(), 1, dtype=torch.double)], 1)
found = torch.linalg.lstsq(inputs, flat(cells)).solution
left = (inputs @ found - flat(cells)).pow(2).mean().sqrt().item()
spread = (flat(cells) - flat(cells).mean(0)).pow(2).mean().sqrt().item()
print(f"{len(pictures)} pictures; colours are off by {left:.3f} of a deviation of {spread:.3f}, in [-1, 1]")
rounded = [[round(value, 4) for value in row] for row in found.tolist()]
config["latent_rgb_factors"], config["latent_rgb_bias"] = rounded[:-1], rounded[-1]
path.write_text(json.dumps(config, indent=2) + "\n")
