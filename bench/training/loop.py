"""Times steps of a training script that `noiseball train --to-accelerate` wrote: `loop.py FOLDER THREADS STEPS`.

Prints a line of JSON: for each memory layout the processor time and the time by the clock of a step, in milliseconds: how many, quartiles
and median. What is timed is the script's own loop, from one of its optimiser's steps to the next.
"""

import contextlib
import importlib.util
import json
import sys
import tempfile
import time
from pathlib import Path

import torch
from diffusers import UNet2DModel

sys.path.insert(0, str(Path(__file__).parent.parent))
from pytorch import summary  # noqa: E402

WARM = 2


def main():
    folder, threads, steps = Path(sys.argv[1]), *map(int, sys.argv[2:4])
    torch.set_num_threads(threads)
    recipe = json.loads((folder / "recipe.json").read_text())
    (folder / "recipe.json").write_text(json.dumps(recipe | {"steps": steps + WARM + 1}))
    spec = importlib.util.spec_from_file_location("train", folder / "train.py")
    train = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(train)
    times = []
    one, load = torch.optim.AdamW.step, UNet2DModel.from_pretrained

    def step(self, *arguments, **named):
        result = one(self, *arguments, **named)
        times.append((time.process_time(), time.perf_counter()))
        return result

    torch.optim.AdamW.step = step
    found = {}
    for name, layout in (("contiguous", torch.contiguous_format), ("channels last", torch.channels_last)):
        UNet2DModel.from_pretrained = lambda *a, layout=layout, **n: load(*a, **n).to(memory_format=layout)
        times.clear()
        with tempfile.TemporaryDirectory() as out, contextlib.redirect_stdout(sys.stderr):
            sys.argv = ["train.py", "--out", f"{out}/trained", "--save-every", "1000000"]
            train.main()
        processor, clock = ([b[i] - a[i] for a, b in zip(times[WARM:], times[WARM + 1 :])] for i in (0, 1))
        found[name] = {"processor": summary(processor), "clock": summary(clock)}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
