"""Draws the training set: every brush kanji of the three fonts in Debian's `fonts-kouzan-mouhitsu`, in one file.

    python draw.py [folder of the fonts]

Tensors in cache/kanji.safetensors, characters in the order of their code points and, within one, fonts in FONTS' order:
  images      U8  [count, 64, 64]   ink, 0 (paper) to 255; twice the model's size, so that it can be turned and shifted
  labels      U8  [count]           font, an index into FONTS
  characters  I32 [count]           Unicode code point
"""

import sys
from functools import cache
from pathlib import Path

import numpy as np
from fontTools.ttLib import TTFont
from PIL import Image, ImageDraw, ImageFont
from safetensors.numpy import save_file

HERE = Path(__file__).parent
FONTS = ["kouzan-mouhitsu.ttf", "kouzan-mouhitsu-gyosho.ttf", "KouzanBrushFontSousyo.ttf"]
SIZE, OVER = 64, 4  # px, and how many times larger a glyph is drawn before it is averaged down
INK = 58  # px that the longer side of a glyph's ink takes ...
ENLARGE = 1.35  # ... but nothing is drawn larger than this many times its size in the font (marks of one stroke)


def drawer(path):
    """Returns a function: character -> u8 [64, 64], its ink centred, or None where the font has a blank."""
    font = cache(lambda size: ImageFont.truetype(path, size))

    def draw(character):
        box = font(OVER * SIZE).getmask(character).getbbox()
        if box is None:
            return None
        enlarge = min(INK * OVER / max(box[2] - box[0], box[3] - box[1]), ENLARGE)
        size = round(OVER * SIZE * enlarge)
        canvas = Image.new("L", (2 * size, 2 * size))
        ImageDraw.Draw(canvas).text((size // 2, size // 2), character, font=font(size), fill=255)
        left, top, right, bottom = canvas.getbbox()
        x, y = (left + right - OVER * SIZE) // 2, (top + bottom - OVER * SIZE) // 2
        return np.asarray(canvas.crop((x, y, x + OVER * SIZE, y + OVER * SIZE)).reduce(OVER))

    return draw


def main():
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "/usr/share/fonts/truetype/kouzan-mouhitsu")
    drawers = [drawer(folder / name) for name in FONTS]
    known = set.intersection(*(set(TTFont(folder / name).getBestCmap()) for name in FONTS))
    images, labels, characters = [], [], []
    for code in sorted(code for code in known if 0x4E00 <= code <= 0x9FFF):
        for label, draw in enumerate(drawers):
            image = draw(chr(code))
            if image is not None:
                images.append(image)
                labels.append(label)
                characters.append(code)
    out = HERE / "cache/kanji.safetensors"
    out.parent.mkdir(exist_ok=True)
    save_file({"images": np.stack(images), "labels": np.array(labels, np.uint8),
               "characters": np.array(characters, np.int32)}, out)
    print(f"{len(images)} kanji in {out}: " + ", ".join(f"{n} of {f}" for f, n in zip(FONTS, np.bincount(labels))))


if __name__ == "__main__":
    main()
