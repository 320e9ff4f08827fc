"""Scores a trained folder against the faces it learned and draws the two pictures of the model card.

    python score.py --model ../../../www/models/pixel-faces-16

A small convolutional classifier, trained here on the faces and their true attributes, is the judge: its 128 penultimate
activations are the features of the Frechet distance, its answers make the histograms. Prints the card's tables as
Markdown and writes samples.png and nearest.png into the folder.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import DDIMScheduler, UNet2DModel
from PIL import Image
from safetensors import safe_open
from torch import nn

HERE = Path(__file__).parent
HELD_OUT = 6000  # faces at the end of the file that the classifier never trains on
FEWER = 500  # samples where a rough number does: with guidance, and of the untrained network
CLASS_BITS = ["long hair", "bright hair", "glasses", "hat"]  # bit i of the class label
COLUMNS = ["hair", "glasses", "hat", "clothing", "eyes", "mouth", "skinColor", "backgroundColor"]
NONE = 255


def load_faces(path):
    """Returns images f32 [count, 3, 16, 16] in [-1, 1], labels i64 [count], and targets: name -> (i64 [count], values)."""
    with safe_open(path, "pt") as file:
        images = file.get_tensor("images").permute(0, 3, 1, 2).float() / 127.5 - 1
        labels, attributes = file.get_tensor("labels").long(), file.get_tensor("attributes").long()
        vocabulary = json.loads(file.metadata()["attributes"])
    targets = {name: ((labels >> bit) & 1, 2) for bit, name in enumerate(CLASS_BITS)}
    for column, entry in enumerate(vocabulary):
        if entry["name"] in COLUMNS:
            values, known = attributes[:, column], len(entry["values"])
            targets["kind of " + entry["name"]] = (torch.where(values == NONE, known, values), known + 1)
    return images.contiguous(memory_format=torch.channels_last), labels, targets


class Judge(nn.Module):
    """[batch, 3, 16, 16] -> features [batch, 128]; one linear head an attribute on top."""

    def __init__(self, sizes):
        super().__init__()
        widths = [3, 32, 64, 128]
        layers = []
        for before, after in zip(widths, widths[1:]):  # 16 -> 8 -> 4 -> 2 px
            layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.BatchNorm2d(after), nn.ReLU()]
        self.body = nn.Sequential(*layers, nn.Flatten(), nn.Linear(128 * 4, 128), nn.ReLU())
        self.heads = nn.ModuleList(nn.Linear(128, size) for size in sizes)

    def forward(self, images):
        features = self.body(images)
        return features, [head(features) for head in self.heads]


def train_judge(images, answers, sizes, epochs):
    """Trains a judge on images f32 [count, 3, 16, 16] and their attributes i64 [count, attributes]."""
    torch.manual_seed(0)
    judge = Judge(sizes)
    count, batch = len(images), 250
    optimiser = torch.optim.AdamW(judge.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 5e-3, total_steps=epochs * (count // batch))
    for epoch in range(epochs):
        for index in torch.randperm(count).split(batch)[: count // batch]:
            _, logits = judge(images[index])
            loss = sum(F.cross_entropy(head, answers[index, i]) for i, head in enumerate(logits))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
        print(f"classifier, epoch {epoch + 1}: loss {loss.item():.2f}", flush=True)
    return judge


@torch.no_grad()
def judgements(judge, images):
    """Returns features f64 [count, 128] and the found attributes i64 [count, attributes]."""
    parts = [judge(part) for part in images.split(500)]
    features = torch.cat([features for features, _ in parts]).double()
    return features, torch.cat([torch.stack([head.argmax(1) for head in logits], 1) for _, logits in parts])


def frechet(a, b):
    """Frechet distance between Gaussians fitted to features [count, width]: |m_a - m_b|^2 + tr(A + B - 2 (AB)^(1/2))."""
    mean = ((a.mean(0) - b.mean(0)) ** 2).sum()
    cov_a, cov_b = torch.cov(a.T), torch.cov(b.T)
    # tr (AB)^(1/2) from the eigenvalues of the similar, symmetric A^(1/2) B A^(1/2).
    values, vectors = torch.linalg.eigh(cov_a)
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T
    cross = torch.linalg.eigvalsh(root @ cov_b @ root).clamp(min=0).sqrt().sum()
    return (mean + cov_a.trace() + cov_b.trace() - 2 * cross).item()


@torch.no_grad()
def sample_batch(job):
    """DDIM (eta 0) of one batch: labels i64 [batch] -> images f32 [batch, 3, 16, 16] in [-1, 1]."""
    unet, scheduler, labels, steps, seed, guidance = job
    torch.set_num_threads(1)
    x = torch.randn(len(labels), 3, 16, 16, generator=torch.Generator().manual_seed(seed))
    null = torch.full_like(labels, unet.config.num_class_embeds - 1)
    scheduler.set_timesteps(steps)
    for t in scheduler.timesteps:
        v = unet(x, t, labels).sample
        if guidance != 1.0:
            unconditional = unet(x, t, null).sample
            v = unconditional + guidance * (v - unconditional)
        x = scheduler.step(v, t, x).prev_sample
    return x.clamp(-1, 1)


def sample(pool, unet, scheduler, labels, steps, seed, guidance=1.0):
    """The batches of 50 go to the pool's processes; batch i starts from the noise of seed 1000 * seed + i."""
    jobs = [(unet.eval(), scheduler, part, steps, 1000 * seed + i, guidance) for i, part in enumerate(labels.split(50))]
    return torch.cat(pool.map(sample_batch, jobs, chunksize=1))


def save_grid(images, columns, path, scale=4, gap=1):
    """Images [count, 3, 16, 16] row by row, `scale` times enlarged without smoothing, in a 256-colour PNG."""
    pixels = ((images / 2 + 0.5) * 255).round().byte().permute(0, 2, 3, 1).numpy()
    rows, size = len(pixels) // columns, 16 + gap
    grid = np.full((rows * size + gap, columns * size + gap, 3), 255, np.uint8)
    for i, face in enumerate(pixels):
        y, x = gap + (i // columns) * size, gap + (i % columns) * size
        grid[y : y + 16, x : x + 16] = face
    picture = Image.fromarray(grid).quantize(256, dither=Image.Dither.NONE)
    picture.resize((picture.width * scale, picture.height * scale), Image.Resampling.NEAREST).save(path, optimize=True)


def nearest(images, faces, count):
    """The `count` faces nearest to each image by root-mean-square pixel difference in 0..255, and those differences."""
    distance = torch.cdist(images.flatten(1), faces.flatten(1)).div((3 * 16 * 16) ** 0.5).mul(127.5)
    return distance.topk(count, largest=False)


def table(head, rows):
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=HERE / "../../../www/models/pixel-faces-16")
    parser.add_argument("--faces", type=Path, default=HERE / "cache/faces.safetensors")
    parser.add_argument("--count", type=int, default=2000, help="samples to judge")
    parser.add_argument("--steps", type=int, default=20, help="DDIM steps")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2, help="processes that sample")
    parser.add_argument("--judge-only", action="store_true", help="stop after the classifier")
    parser.add_argument("--epochs", type=int, default=4, help="of the classifier")
    args = parser.parse_args()

    torch.set_num_threads(1)  # on a busy machine, threads that wait for each other cost more than they give
    faces, face_labels, targets = load_faces(args.faces)
    names, sizes = list(targets), [size for _, size in targets.values()]
    answers = torch.stack([values for values, _ in targets.values()], 1)
    judge_path = args.faces.with_name("judge.pt")
    if not judge_path.exists():
        judge = train_judge(faces[:-HELD_OUT], answers[:-HELD_OUT], sizes, args.epochs)
        torch.save(judge.state_dict(), judge_path)
    judge = Judge(sizes).eval()
    judge.load_state_dict(torch.load(judge_path))
    right = (judgements(judge, faces[-HELD_OUT:])[1] == answers[-HELD_OUT:]).float().mean(0).tolist()
    print(table(["attribute", "held-out accuracy"], [[n, f"{100 * r:.1f} %"] for n, r in zip(names, right)]), flush=True)
    if args.judge_only:
        return

    unet = UNet2DModel.from_pretrained(args.model, subfolder="unet")
    scheduler = DDIMScheduler.from_pretrained(args.model, subfolder="scheduler")
    torch.manual_seed(args.seed)
    untrained = UNet2DModel.from_config(unet.config)

    # The asked labels are those of `count` held-out faces; the next 3,000 held-out faces are the reference.
    asked = face_labels[-HELD_OUT:][: args.count]
    real, reference = faces[-HELD_OUT:][: args.count], faces[-3000:]
    start = time.time()
    with torch.multiprocessing.get_context("spawn").Pool(args.workers) as pool:
        made = sample(pool, unet, scheduler, asked, args.steps, args.seed)
        print(f"{args.count} samples in {time.time() - start:.0f} s\n", flush=True)
        grid = sample(pool, unet, scheduler, torch.arange(16).repeat_interleave(4), args.steps, args.seed + 1)
        guided = sample(pool, unet, scheduler, asked[:FEWER], args.steps, args.seed, guidance=2.0)
        junk = sample(pool, untrained, scheduler, asked[:FEWER], args.steps, args.seed)
    save_grid(grid, 8, args.model / "samples.png")

    reference_features = judgements(judge, reference)[0]
    judged = {"data": judgements(judge, real), "model": judgements(judge, made), "untrained": judgements(judge, junk)}
    print(table(["", "Frechet distance to 3,000 held-out faces"],
                [[name, f"{frechet(features, reference_features):.2f}"] for name, (features, _) in judged.items()]))

    found = judged["model"][1]
    found_guided = judgements(judge, guided)[1]
    rows = []
    for i, name in enumerate(CLASS_BITS):
        share = [f"{100 * judged[which][1][:, i].float().mean():.1f} %" for which in ("data", "model")]
        truth = (asked >> i) & 1
        rows.append([name, *share, f"{100 * (found[:, i] == truth).float().mean():.1f} %",
                     f"{100 * (found_guided[:, i] == truth[:FEWER]).float().mean():.1f} %"])
    print(table(["found by the classifier", "in the data", "in samples", "as asked", "as asked, guidance 2"], rows))

    rows = []
    for i in range(len(CLASS_BITS), len(names)):
        counts = [torch.bincount(judged[which][1][:, i], minlength=sizes[i]) / len(judged[which][1])
                  for which in ("data", "model", "untrained")]
        rows.append([names[i], sizes[i] - 1, f"{int((counts[1] > 0).sum())} / {int((counts[0] > 0).sum())}",
                     *(f"{0.5 * (c - counts[0]).abs().sum():.3f}" for c in counts[1:])])
    print(table(["histogram of", "values", "seen in samples / data", "total variation, model", "untrained"], rows))

    distance, index = nearest(made[:8], faces, 3)
    save_grid(torch.cat([made[:8], *(faces[index[:, k]] for k in range(3))]), 8, args.model / "nearest.png")
    control, _ = nearest(real[:200], faces[:-HELD_OUT], 1)
    print("nearest training face, root-mean-square difference in 0..255:",
          f"eight samples {distance[:, 0].min():.1f} to {distance[:, 0].max():.1f};",
          f"200 samples {nearest(made[:200], faces, 1)[0].median():.1f} (median);",
          f"200 held-out faces {control.median():.1f} (median)")


if __name__ == "__main__":
    main()
