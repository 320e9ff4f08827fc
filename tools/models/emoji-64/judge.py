"""How often a drawn picture is what its caption says, by a small classifier that learnt names from the training pictures."""

import random
import time

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

import pictures


def learn(kitchen, emoji, columns, device, seconds, batch):
    """A network from pictures of one emoji to names, trained for some seconds."""
    names = sorted({about["name"] for about in emoji.about})
    number = {name: i for i, name in enumerate(names)}
    labels = torch.tensor([number[about["name"]] for about in emoji.about], device=device)
    (single,) = torch.where(columns["sprite"][:, 1] < 0)
    layers = []
    for wide, out in ((3, 48), (48, 96), (96, 192), (192, 384)):
        layers += [nn.Conv2d(wide, out, 3, stride=2, padding=1), nn.BatchNorm2d(out), nn.ReLU()]
        layers += [nn.Conv2d(out, out, 3, padding=1), nn.BatchNorm2d(out), nn.ReLU()]
    network = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Dropout(0.2), nn.Linear(384 * 4, len(names))).to(device)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=0.02)
    begin, steps = time.monotonic(), 0
    while (progress := (time.monotonic() - begin) / seconds) < 1:
        for group in optimizer.param_groups:
            group["lr"] = 2e-3 * min(1, progress / 0.05) * (1 - progress) + 1e-6
        rows = single[torch.randint(0, len(single), (batch,), device=device)]
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda"):
            x = kitchen.compose(columns, rows)
            loss = F.cross_entropy(network(x + 0.05 * torch.randn_like(x)), labels[columns["sprite"][rows, 0].long()])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        steps += 1
    return network.eval(), number, f"{steps} steps, loss {loss.item():.3f}"


@torch.no_grad()
def rank(network, number, pixels, names, device):
    """Shares of pictures whose name the network puts first, and among the first five."""
    x = torch.from_numpy(pixels).to(device).permute(0, 3, 1, 2).float() / 127.5 - 1
    best = network(x).topk(5).indices
    right = best == torch.tensor([number[name] for name in names], device=device)[:, None]
    return {"first": right[:, 0].float().mean().item(), "first five": right.any(1).float().mean().item()}


def nearest_ground(picture):
    corners = np.stack([picture[y, x] for y in (1, -2) for x in (1, -2)]).astype(float).mean(0)
    return min(pictures.GROUNDS, key=lambda name: ((corners - pictures.GROUNDS[name]) ** 2).sum())


def nearest_hue(picture):
    there = (np.abs(picture.astype(int) - 255).max(-1, keepdims=True) > 24) * np.uint8(255)
    hue = pictures.dominant_hue(np.concatenate([picture * (there > 0), there], -1).astype(np.uint8))
    return hue and min(pictures.HUES, key=lambda name: abs((pictures.HUES[name] - hue + 180) % 360 - 180))


def score(kitchen, emoji, columns, draw, device, seconds, batch=512, count=256):
    """The table: draw(captions) → pictures; `count` captions of each kind."""
    network, number, how = learn(kitchen, emoji, columns, device, seconds, batch)
    rand = random.Random(7)
    about = [a for a in emoji.about if a["tone"] == 0]
    coloured = [a for a in about if a["hue"] is not None and a["group"] not in (pictures.PEOPLE, pictures.FLAGS)]
    table = {"judge": how}

    fresh = pictures.Cook(emoji, 99).make(4 * count)
    one = np.flatnonzero(fresh.sprite[:, 1] < 0)[:count]
    real = kitchen.compose(kitchen.upload(fresh), torch.from_numpy(one).to(device))
    real = ((real + 1) * 127.5).round().byte().permute(0, 2, 3, 1).cpu().numpy()
    table["training pictures"] = rank(network, number, real, [emoji.about[i]["name"] for i in fresh.sprite[one, 0]], device)

    names = [a["name"] for a in rand.sample(about, min(count, len(about)))]
    table["a NAME"] = rank(network, number, draw([pictures.article(name) for name in names]), names, device)
    names = sorted(name for name in pictures.FAVOURITES if name in emoji.named)
    names = rand.sample(names, min(count, len(names)))
    table["a NAME, common ones"] = rank(network, number, draw([pictures.article(name) for name in names]), names, device)

    for kept in (True, False):
        there = [(a["name"], g) for a in about for g in pictures.GROUNDS if g != "white" and pictures.held_out("ground", a["name"], g) == kept]
        there = rand.sample(there, min(count, len(there)))
        drawn = draw([f"{pictures.article(name)} on {ground}" for name, ground in there])
        right = [nearest_ground(picture) == ground for picture, (_, ground) in zip(drawn, there)]
        table[f"a NAME on COLOUR, {'held out' if kept else 'trained'}"] = {
            **rank(network, number, drawn, [name for name, _ in there], device), "ground": float(np.mean(right))
        }  # fmt: skip
        there = [(a["name"], hue) for a in coloured for hue in pictures.HUES if not pictures.COLOUR.search(a["name"])
                 and pictures.held_out("hue", a["name"], hue) == kept]  # fmt: skip
        there = rand.sample(there, min(count, len(there)))
        drawn = draw([f"a {hue} {name}" for name, hue in there])
        right = [nearest_hue(picture) == hue for picture, (_, hue) in zip(drawn, there)]
        table[f"a COLOUR NAME, {'held out' if kept else 'trained'}"] = {
            **rank(network, number, drawn, [name for name, _ in there], device), "hue": float(np.mean(right))
        }  # fmt: skip
    return table
