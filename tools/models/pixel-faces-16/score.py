"""Scores a trained folder, prints the tables of its card as Markdown, and draws samples.png and nearest.png into it.

    python score.py --data cache/faces.safetensors
    python score.py --data cache/faces.safetensors --samples cache/run/pictures.npz    # what a training kept, not drawn again
"""

import argparse
from pathlib import Path

import numpy as np
import torch

import faces
from faces import HERE, HELD_OUT, diffusion


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="what draw.mjs wrote")
    parser.add_argument("--model", type=Path, default=HERE / "../../../www/models/pixel-faces-16")
    parser.add_argument("--samples", type=Path, help="pictures.npz of a training")
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--steps", type=int, default=20, help="of DDIM")
    args = parser.parse_args()

    images, labels, targets = faces.read(args.data)
    data = {"images": images, "labels": labels, "targets": targets}
    sizes = [size for _, size in targets.values()]
    judged_by = faces.judge(sizes)
    asked, real, reference = faces.held_out(data, args.count)
    if args.samples:
        kept = np.load(args.samples)
        made, sheet = (diffusion.from_bytes(kept[name]) for name in ("samples", "sheet"))
        asked, real = asked[: len(made)], real[: len(made)]
    else:
        network = diffusion.load_folder(args.model)
        made = diffusion.sample(network, asked, diffusion.noise_for(args.count, network, 0), args.steps)
        classes = torch.arange(64) * (len(faces.LABELS) - 1) // 64
        sheet = diffusion.sample(network, classes, diffusion.noise_for(64, network, 1), args.steps)
    print(diffusion.markdown(["", ""], faces.scores(judged_by, data, made, asked).items()))

    held = images[-HELD_OUT:].float() / 127.5 - 1
    answers = torch.stack([values for values, _ in targets.values()], 1)[-HELD_OUT:]
    right = (diffusion.judgements(judged_by, held)[1] == answers).float().mean(0).tolist()
    of_reals, of_others, of_made = (diffusion.judgements(judged_by, x)[1] for x in (real, reference[-len(real) :], made))
    rows = []
    for i, name in enumerate(targets):
        share = [torch.bincount(found[:, i], minlength=sizes[i]) / len(found) for found in (of_reals, of_others, of_made)]
        unlike = [f"{0.5 * (x - share[0]).abs().sum():.3f}" for x in (share[2], share[1])]
        rows.append([name, f"{100 * right[i]:.1f} %", f"{int((share[2] > 0).sum())} of {sizes[i]}", *unlike])
    print(diffusion.markdown(["", "judge right", "values found", "unlike data, model", "unlike data, data"], rows))

    learned = images[:-HELD_OUT].float() / 127.5 - 1
    distance, index = diffusion.nearest(made[:200], learned, 3)
    control, _ = diffusion.nearest(real[:200], learned, 1)
    print(f"root-mean-square difference (0 to 255) to the nearest training face, median of 200: samples "
          f"{distance[:, 0].median():.1f}, least {distance[:, 0].min():.1f}; faces kept out {control.median():.1f}, "
          f"least {control.min():.1f}")
    diffusion.save_grid(sheet, 8, args.model / "samples.png")
    diffusion.save_grid(torch.cat([made[:8], *(learned[index[:8, k]] for k in range(3))]), 8, args.model / "nearest.png")


if __name__ == "__main__":
    main()
