"""Draws a contact sheet of recipes, to look at the training data: look.py [sprites] [out.png]"""

import sys

import numpy as np
import torch
from PIL import Image

import pictures

emoji = pictures.Emoji(sys.argv[1] if len(sys.argv) > 1 else "cache/sprites.safetensors")
recipes = pictures.Cook(emoji, seed=1).make(160)
kitchen = pictures.Kitchen(emoji, "cpu")
made = kitchen.compose(kitchen.upload(recipes), torch.arange(160))
pixels = ((made + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()
sheet = np.concatenate([np.concatenate(np.pad(pixels[row : row + 20], ((0, 0), (1, 1), (1, 1), (0, 0))), 1) for row in range(0, 160, 20)], 0)
Image.fromarray(sheet).save(sys.argv[2] if len(sys.argv) > 2 else "cache/look.png")
for caption in recipes.captions[:60]:
    print(caption)
