"""The kanji: what the model is, what it learns from, and how it is judged. Used by train.py and score.py."""

import math
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
import diffusion  # noqa: E402
import unet  # noqa: E402

LABELS = ["gyosho (running hand)", "sousho (cursive)", "any"]
# The first two fonts differ in weight more than in hand: one class.
CLASS_OF_FONT = torch.tensor([0, 0, 1])
TURN, SCALE, SHIFT = math.radians(1.5), 0.03, 0.02  # of the augmentation, each either way; 0.02 is 0.3 px

# Three levels (32, 16 and 8 px) of two resnets, attention at 8 px and in the middle.
CONFIG = unet.config(32, 1, len(LABELS), (32, 64, 112), attention=(False, False, True), layers=2)


def read(path):
    """Images u8 [count, 1, 64, 64] of ink, labels i64 [count], and held bool [count]: the characters that are kept out.

    Every twentieth character is kept out in all its hands. The cursive font has the running hand's glyph for many a rare
    character: those, listed in plain.txt by judge.py, are left out altogether.
    """
    file = load_file(path)
    labels, codes = CLASS_OF_FONT[file["labels"].long()], file["characters"].long()
    listed = HERE / "plain.txt"
    listed = torch.tensor([ord(c) for c in listed.read_text()] if listed.exists() else [])
    keep = ~((labels == 1) & torch.isin(codes, listed))
    return file["images"][keep][:, None], labels[keep], codes[keep] % 20 == 0


def drawer(images, labels):
    """A function that draws a batch, each glyph a little turned, scaled and shifted, and halved to 32 px."""
    device = images.device
    side = (torch.arange(64, device=device) + 0.5) / 32 - 1
    places = torch.stack([side[None, :].expand(64, 64), side[:, None].expand(64, 64)], -1).reshape(1, -1, 2)

    def draw(batch):
        index = torch.randint(len(images), (batch,), device=device)
        angle, scale, x, y = (torch.rand(4, batch, device=device) * 2 - 1).unbind()
        scale = 1 + SCALE * scale
        cosine, sine = torch.cos(TURN * angle) * scale, torch.sin(TURN * angle) * scale
        matrix = torch.stack([cosine, -sine, sine, cosine], 1).view(batch, 2, 2)
        grid = places @ matrix + SHIFT * torch.stack([x, y], 1)[:, None]
        ink = images[index].float() / 255
        ink = F.grid_sample(ink, grid.view(batch, 64, 64, 2), mode="bicubic", align_corners=False)
        return 1 - 2 * F.avg_pool2d(ink, 2).clamp(0, 1), labels[index]

    return draw


def plain(images):
    """The glyphs as they are, at 32 px: f32 [count, 1, 32, 32] in [-1, 1], ink dark."""
    return 1 - 2 * F.avg_pool2d(images.float() / 255, 2)


def load(path, device):
    """For recipe.run: a function that draws a batch, and the data."""
    images, labels, held = (value.to(device) for value in read(path))
    return drawer(images[~held], labels[~held]), {"images": images, "labels": labels, "held": held}


def judge(device="cpu"):
    return diffusion.load_judge(HERE / "judge.safetensors", 1, 32, [2], device)


def asked_for(data, count, seed=0):
    """Indices of `count` of the glyphs that were learned from: their hands are asked for."""
    others = torch.nonzero(~data["held"].cpu())[:, 0]
    return others[torch.randperm(len(others), generator=torch.Generator().manual_seed(seed))[:count]]


def scores(judged_by, data, made, glyphs):
    """Frechet distance of samples to the glyphs kept out, and the share in the hand that was asked for, in per cent."""
    held, asked = data["held"], data["labels"][glyphs].cpu()
    reference, right = diffusion.judgements(judged_by, plain(data["images"][held]))
    features, found = diffusion.judgements(judged_by, made)
    trained, _ = diffusion.judgements(judged_by, plain(data["images"][glyphs]))
    obeyed = (found[:, 0] == asked).float()
    result = {"frechet": round(diffusion.frechet(features, reference), 2),
              "frechet of glyphs it learned from": round(diffusion.frechet(trained, reference), 2),
              "style": round(100 * obeyed.mean().item(), 2)}
    for i, name in enumerate(LABELS[:-1]):
        result[name] = round(100 * obeyed[asked == i].mean().item(), 2)
    result["glyphs kept out, judged right"] = round(100 * (right[:, 0] == data["labels"][held].cpu()).float().mean().item(), 2)
    return result


def score(network, data, count, seed=0, **options):
    """For recipe.run: the scores of `count` samples, and the samples."""
    device = data["images"].device
    glyphs = asked_for(data, count, seed).to(device)
    noise = diffusion.noise_for(count, network, seed, device)
    made = diffusion.sample(network, data["labels"][glyphs], noise, part=250, **options)
    return scores(judge(device), data, made, glyphs), made
