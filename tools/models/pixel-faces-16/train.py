"""Trains the class-conditional 16x16 UNet on the faces that draw.mjs drew (see ../recipe.py).

    python train.py --seconds 130 --out cache/run          # on a GPU
    python train.py --seconds 10000 --batch 48 --rate 0.0015 --out cache/run    # on a processor, some hours
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import recipe  # noqa: E402
from faces import CONFIG, LABELS, load, score  # noqa: E402

if __name__ == "__main__":
    recipe.run(config=CONFIG, labels=LABELS, load=load, score=score, seconds=130, batch=512, rate=0.002, warmup=300,
               average=0.999, label_dropout=0.1)
