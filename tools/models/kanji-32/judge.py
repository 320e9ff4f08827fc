"""Trains the judge of the hand that is committed here, and finds cursive glyphs that are none (see kanji.read).

    python judge.py --data cache/kanji.safetensors        # writes plain.txt and judge.safetensors
"""

import argparse
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file

import kanji
from kanji import HERE, diffusion


def fit(images, labels, steps, batch=256):
    """A judge trained on glyphs u8 [count, 1, 64, 64] with the augmentation of the model."""
    torch.manual_seed(0)
    network = diffusion.Judge(1, 32, [len(kanji.LABELS) - 1]).to(images.device)
    optimiser = torch.optim.AdamW(network.parameters(), weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-3, total_steps=steps)
    draw = kanji.drawer(images, labels)
    for step in range(steps):
        pictures, answers = draw(batch)
        loss = F.cross_entropy(network(pictures)[1][0], answers, label_smoothing=0.02)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    print(f"judge: loss {loss.item():.3f} after {steps} steps", flush=True)
    return network.eval()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=1000)
    args = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    (HERE / "plain.txt").unlink(missing_ok=True)
    images, labels, _ = (value.to(device) for value in kanji.read(args.data))
    codes = load_file(args.data)["characters"].long()
    # Each half of the characters is judged by a judge that learned from the other half only.
    plain = set()
    for half in (0, 1):
        mine = codes // 2 % 2 == half
        network = fit(images[~mine.to(device)], labels[~mine.to(device)], args.steps)
        found = diffusion.judgements(network, kanji.plain(images[mine.to(device)]))[1][:, 0]
        wrong = (found == 0) & (labels.cpu()[mine] == 1)
        plain |= set(codes[mine][wrong].tolist())
    (HERE / "plain.txt").write_text("".join(map(chr, sorted(plain))), encoding="utf-8")
    print(f"{len(plain)} of {int((labels == 1).sum())} cursive glyphs are none", flush=True)

    images, labels, held = (value.to(device) for value in kanji.read(args.data))
    network = fit(images[~held], labels[~held], 2 * args.steps)
    diffusion.save_judge(network, HERE / "judge.safetensors", ["hand"])
    features, found = diffusion.judgements(kanji.judge(device), kanji.plain(images[held]))
    right = found[:, 0] == labels[held].cpu()
    print("kept out, judged right:", {name: round(100 * right[labels[held].cpu() == i].float().mean().item(), 2)
                                      for i, name in enumerate(kanji.LABELS[:-1])}, flush=True)


if __name__ == "__main__":
    main()
