"""Writes what the benchmark's two sides run into bench/cache/: for each model a folder of diffusers' layout, the same
network as ONNX, and a short DDIM run in PyTorch that both sides must repeat before they are timed.

    python export_onnx.py                # all models
    python export_onnx.py cifar10-32     # one of them

They have random weights, as a network's speed does not depend on them.
"""

import argparse
import json
from pathlib import Path

import torch
from diffusers import DDIMScheduler, UNet2DModel

HERE = Path(__file__).parent
CACHE = HERE / "cache"
SEED = 0
LABEL = 3  # of a network that has classes
STEPS = 2  # of the run to be repeated
BATCHES = [1, 16]


class Denoiser(torch.nn.Module):
    """The network as sessions run it: (x [batch, 3, height, width], timestep [], label [batch]) -> epsilon."""

    def __init__(self, unet):
        super().__init__()
        self.unet = unet

    def forward(self, x, timestep, label=None):
        return self.unet(x, timestep, class_labels=label, return_dict=False)[0]


def network(name):
    """The network, its folder in the cache written on the way, and the label that it is asked for."""
    folder = CACHE / name
    torch.manual_seed(SEED)
    config = json.loads((HERE / "models" / f"{name}.json").read_text())
    unet = UNet2DModel.from_config(config).eval()
    unet.save_pretrained(folder / "unet")
    # A step is linear where nothing is clipped, which spares the other side a sampler of its own.
    DDIMScheduler(clip_sample=False).save_pretrained(folder / "scheduler")
    return unet, LABEL if "num_class_embeds" in config else None


def write_onnx(unet, label, path):
    """The network with a free batch, weights inside."""
    size = unet.config.sample_size
    inputs = [torch.randn(2, unet.config.in_channels, size, size), torch.tensor(500.0)]
    shapes = [{0: torch.export.Dim("batch")}, {}]
    names = ["x", "timestep"]
    if label is not None:
        inputs.append(torch.full((2,), label))
        shapes.append({0: torch.export.Dim("batch")})
        names.append("label")
    torch.onnx.export(
        Denoiser(unet).eval(),
        tuple(inputs),
        path,
        input_names=names,
        output_names=["epsilon"],
        dynamic_shapes=tuple(shapes),
        dynamo=True,
        external_data=False,
    )


@torch.no_grad()
def write_runs(unet, label, folder):
    """run.json: each step's timestep and the factors of x' = a x + b output; start-B.bin and end-B.bin for each batch B,
    float32 in NCHW."""
    scheduler = DDIMScheduler.from_pretrained(folder, subfolder="scheduler")
    scheduler.set_timesteps(STEPS)
    one, none = torch.ones(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    steps = [
        # Two probes of a linear step give its factors.
        dict(
            timestep=t.item(),
            a=scheduler.step(none, t, one).prev_sample.item(),
            b=scheduler.step(one, t, none).prev_sample.item(),
        )
        for t in scheduler.timesteps
    ]
    shape = [unet.config.in_channels, unet.config.sample_size, unet.config.sample_size]
    (folder / "run.json").write_text(json.dumps(dict(seed=SEED, label=label, shape=shape, steps=steps)))
    for batch in BATCHES:
        x = torch.randn(batch, *shape, generator=torch.Generator().manual_seed(SEED))
        (folder / f"start-{batch}.bin").write_bytes(x.numpy().tobytes())
        labels = None if label is None else torch.full((batch,), label)
        for step in steps:
            x = step["a"] * x + step["b"] * unet(x, step["timestep"], class_labels=labels).sample
        (folder / f"end-{batch}.bin").write_bytes(x.numpy().tobytes())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = sorted(p.stem for p in (HERE / "models").glob("*.json"))
    parser.add_argument("models", nargs="*", metavar="MODEL", help=f"any of {', '.join(names)} [default: all]")
    for name in parser.parse_args().models or names:
        folder = CACHE / name
        unet, label = network(name)
        write_onnx(unet, label, folder / "model.onnx")
        write_runs(unet, label, folder)
        print(f"{name}: {sum(p.numel() for p in unet.parameters()):,} parameters")


if __name__ == "__main__":
    main()
