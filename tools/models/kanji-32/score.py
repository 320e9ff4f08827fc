"""Scores a trained folder and draws samples.png and nearest.png into it.

    python score.py --data cache/kanji.safetensors --guidance 1.5
    python score.py --data cache/kanji.safetensors --samples cache/run/pictures.npz    # what a training kept, not drawn again
"""

import argparse
from pathlib import Path

import numpy as np
import torch

import kanji
from kanji import HERE, diffusion


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="what draw.py wrote")
    parser.add_argument("--model", type=Path, default=HERE / "../../../www/models/kanji-32")
    parser.add_argument("--samples", type=Path, help="pictures.npz of a training; its contact sheet has guidance 2")
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--steps", type=int, default=20, help="of DDIM")
    parser.add_argument("--guidance", type=float, default=1.5, help="of what is drawn here")
    args = parser.parse_args()

    images, labels, held = kanji.read(args.data)
    data = {"images": images, "labels": labels, "held": held}
    if args.samples:
        kept = np.load(args.samples)
        made, sheet = (diffusion.from_bytes(kept[name]) for name in ("samples", "sheet_guided"))
        scores = kanji.scores(kanji.judge(), data, made, kanji.asked_for(data, len(made)))
    else:
        network = diffusion.load_folder(args.model)
        options = {"steps": args.steps, "guidance": args.guidance}
        scores, _ = kanji.score(network, data, args.count, **options)
        hands = torch.arange(64) * (len(kanji.LABELS) - 1) // 64
        sheet = diffusion.sample(network, hands, diffusion.noise_for(64, network, 1), part=16, **options)
    print(diffusion.markdown(["", ""], scores.items()))
    learned = kanji.plain(images[~held])
    distance, index = diffusion.nearest(sheet, learned, 3)
    control, _ = diffusion.nearest(kanji.plain(images[held][:200]), learned, 1)
    print(f"root-mean-square difference (0 to 255) to the nearest training glyph, median: the 64 samples "
          f"{distance[:, 0].median():.1f}, least {distance[:, 0].min():.1f}; 200 glyphs kept out {control.median():.1f}, "
          f"least {control.min():.1f}")
    diffusion.save_grid(sheet, 8, args.model / "samples.png", scale=2)
    some = torch.arange(8) * 8
    diffusion.save_grid(torch.cat([sheet[some], *(learned[index[some, k]] for k in range(3))]), 8, args.model / "nearest.png", scale=2)


if __name__ == "__main__":
    main()
