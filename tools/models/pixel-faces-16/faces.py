"""The faces: what the model is, what it learns from, and how it is judged. Used by train.py and score.py."""

import json
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import safe_open

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
import diffusion  # noqa: E402
import unet  # noqa: E402

JUDGED = 50_000  # faces from the start of the file that the judge learned from
HELD_OUT = 6000  # faces at its end that neither the judge nor the model has seen
CLASS_BITS = ["long hair", "bright hair", "glasses", "hat"]  # bit i of the class label
COLUMNS = ["hair", "glasses", "hat", "clothing", "eyes", "mouth", "skinColor", "backgroundColor"]
NONE = 255  # in the file: the face has no such thing

LABELS = ["any"]
for extra in range(15, -1, -1):
    words = [("long" if extra & 1 else "short") + (" bright" if extra & 2 else "") + " hair"]
    LABELS.insert(0, ", ".join(words + ["glasses"] * bool(extra & 4) + ["hat"] * bool(extra & 8)))

# Three levels (16, 8 and 4 px), attention at 8 px and in the middle.
CONFIG = unet.config(16, 3, len(LABELS), (32, 64, 96), attention=(False, True, False))


def read(path):
    """Images u8 [count, 3, 16, 16], labels i64 [count], targets: name -> (i64 [count], number of values)."""
    with safe_open(path, "pt") as file:
        images = file.get_tensor("images").permute(0, 3, 1, 2).contiguous()
        labels, attributes = file.get_tensor("labels").long(), file.get_tensor("attributes").long()
        vocabulary = json.loads(file.metadata()["attributes"])
    targets = {name: ((labels >> bit) & 1, 2) for bit, name in enumerate(CLASS_BITS)}
    for column, entry in enumerate(vocabulary):
        if entry["name"] in COLUMNS:
            values, known = attributes[:, column], len(entry["values"])
            targets["kind of " + entry["name"]] = (torch.where(values == NONE, known, values), known + 1)
    return images, labels, targets


def load(path, device):
    """For recipe.run: a function that draws a batch, and the data."""
    images, labels, targets = read(path)
    images, labels = images.to(device), labels.to(device)
    count = len(images) - HELD_OUT

    def draw(batch):
        index = torch.randint(count, (batch,), device=device)
        return images[index].float() / 127.5 - 1, labels[index]

    return draw, {"images": images, "labels": labels, "targets": targets}


def judge(sizes, device="cpu"):
    return diffusion.load_judge(HERE / "judge.safetensors", 3, 16, sizes, device)


def held_out(data, count):
    """Of the last faces: the labels to ask for and their faces, and the 3,000 faces of reference."""
    images, labels = data["images"][-HELD_OUT:].float() / 127.5 - 1, data["labels"][-HELD_OUT:]
    return labels[:count], images[:count], images[-3000:]


def scores(judged_by, data, made, asked):
    """Frechet distance of samples to held-out faces, and the share of them that have each thing as asked, in per cent."""
    _, real, reference = held_out(data, len(made))
    reference = diffusion.judgements(judged_by, reference)[0]
    features, found = diffusion.judgements(judged_by, made)
    result = {"frechet": round(diffusion.frechet(features, reference), 2),
              "frechet of real faces": round(diffusion.frechet(diffusion.judgements(judged_by, real)[0], reference), 2)}
    for bit, name in enumerate(CLASS_BITS):
        right = found[:, bit] == ((asked.cpu() >> bit) & 1)
        result[name] = round(100 * right.float().mean().item(), 2)
    return result


def score(network, data, count, seed=0, **options):
    """For recipe.run: the scores of `count` samples, and the samples."""
    device = data["images"].device
    asked = held_out(data, count)[0]
    made = diffusion.sample(network, asked, diffusion.noise_for(count, network, seed, device), **options)
    return scores(judge([size for _, size in data["targets"].values()], device), data, made, asked), made


def train_judge(path, epochs=4, batch=250):
    """Trains the judge that is committed here and writes judge.safetensors."""
    torch.manual_seed(0)
    images, _, targets = read(path)
    names, sizes = list(targets), [size for _, size in targets.values()]
    answers = torch.stack([values for values, _ in targets.values()], 1)
    network = diffusion.Judge(3, 16, sizes)
    optimiser = torch.optim.AdamW(network.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 5e-3, total_steps=epochs * (JUDGED // batch))
    for epoch in range(epochs):
        for index in torch.randperm(JUDGED).split(batch):
            _, heads = network(images[index].float() / 127.5 - 1)
            loss = sum(F.cross_entropy(head, answers[index, i]) for i, head in enumerate(heads))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
        print(f"judge, epoch {epoch + 1}: loss {loss.item():.2f}", flush=True)
    diffusion.save_judge(network, HERE / "judge.safetensors", names)
