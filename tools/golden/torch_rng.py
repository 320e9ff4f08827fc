"""torch_rng.json: what a seed gives in PyTorch on the CPU."""

import torch

import fixture

SEEDS = [0, 42, 1234567890123, 2**32 + 5]
SHAPES = [[1], [3], [15], [16], [17], [31], [32], [100], [2, 3, 4, 4]]
SIZES = [5, 20, 3, 1, 16]


def twice(seed: int, shape: list) -> dict:
    generator = torch.Generator().manual_seed(seed)
    calls = [torch.randn(shape, generator=generator) for _ in range(2)]
    return dict(seed=seed, shape=shape, first=calls[0], second=calls[1])


def sequence(seed: int) -> dict:
    generator = torch.Generator().manual_seed(seed)
    return dict(seed=seed, sizes=SIZES, values=torch.cat([torch.randn(size, generator=generator) for size in SIZES]))


def make() -> None:
    fixture.write(
        "torch_rng.json",
        dict(
            twice=[twice(seed, shape) for seed in SEEDS for shape in SHAPES],
            sequences=[sequence(seed) for seed in SEEDS],
        ),
    )
