"""Times a U-Net in PyTorch on the processor: `pytorch.py CONFIG BATCH THREADS RUNS SECONDS`.

Prints a line of JSON: for each memory layout the processor time and the time by the clock of an evaluation, in
milliseconds: how many, quartiles and median.
"""

import json
import sys
import time

import torch
from diffusers import UNet2DModel


def summary(times):
    times = sorted(times)
    lower, median, upper = (1e3 * times[(len(times) - 1) * quarter // 4] for quarter in (1, 2, 3))
    return {"runs": len(times), "lower": lower, "median": median, "upper": upper}


def main():
    path, batch, threads, runs, seconds = sys.argv[1], *map(int, sys.argv[2:5]), float(sys.argv[5])
    torch.set_num_threads(threads)
    model = UNet2DModel.from_config(json.load(open(path))).eval()
    config = model.config
    size = config.sample_size if isinstance(config.sample_size, (list, tuple)) else [config.sample_size] * 2
    labels = torch.zeros(batch, dtype=torch.long) if config.num_class_embeds else None
    found = {}
    with torch.inference_mode():
        for name, layout in (("contiguous", torch.contiguous_format), ("channels last", torch.channels_last)):
            model = model.to(memory_format=layout)
            x = torch.randn(batch, config.in_channels, *size).to(memory_format=layout)
            model(x, 500, labels)
            processor, clock, start = [], [], time.monotonic()
            while len(clock) < runs and (len(clock) < 1 or time.monotonic() - start < seconds):
                used, begin = time.process_time(), time.perf_counter()
                model(x, 500, labels)
                processor.append(time.process_time() - used)
                clock.append(time.perf_counter() - begin)
            found[name] = {"processor": summary(processor), "clock": summary(clock)}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
