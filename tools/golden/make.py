"""Makes the fixtures in tests/fixtures/. Names on the command line choose some: `make.py unet schedulers`."""

import importlib
import sys

import torch

import stream

PARTS = [
    "unet", "ncsnpp", "unet_condition", "autoencoders", "clip_text", "dit", "gradients", "training", "schedulers", "solvers", "timesteps", "torch_rng",
    "checkpoints", "torch_files", "pipeline", "pipelines", "tokens", "text_pipelines", "attention", "lora", "tiles",
]

if __name__ == "__main__":
    torch.set_num_threads(1)
    stream.check()
    for part in sys.argv[1:] or PARTS:
        importlib.import_module(part).make()
