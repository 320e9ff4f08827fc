"""Trains the 32x32 UNet on the kanji that draw.py drew (see ../recipe.py).

    python train.py --data cache/kanji.safetensors --seconds 200 --out cache/run
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import recipe  # noqa: E402
from kanji import CONFIG, LABELS, load, score  # noqa: E402

if __name__ == "__main__":
    recipe.run(config=CONFIG, labels=LABELS, load=load, score=score, seconds=200, batch=256, rate=0.0015, warmup=300,
               average=0.999, label_dropout=0.1)
