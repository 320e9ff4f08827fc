"""torch/: files that torch.save wrote, and in safetensors what they hold."""

import shutil

import torch
from safetensors.torch import save_file

import fixture
import stream

FOLDER = fixture.FOLDER / "torch"


def values(name: str, *shape: int) -> torch.Tensor:
    count = torch.Size(shape).numel()
    return torch.tensor(stream.u(name, count), dtype=torch.float64).reshape(shape)


def tensors() -> dict:
    """Every way in which a tensor can lie in its storage, and every format."""
    single = values("torch:single", 4, 3, 2, 2).float()
    shared = values("torch:shared", 6, 5).float()
    return {
        "plain": single,
        "parameter": torch.nn.Parameter(values("torch:parameter", 3, 2).float()),
        "half": values("torch:half", 5).half(),
        "bfloat16": values("torch:bfloat16", 2, 3).bfloat16(),
        "double": values("torch:double", 3).double(),
        "long": torch.tensor(7),
        "empty": torch.zeros(0, 3),
        "transposed": values("torch:transposed", 3, 4).float().t(),
        "channels_last": values("torch:channels_last", 2, 3, 4, 2).float().contiguous(memory_format=torch.channels_last),
        "whole": shared,
        "rows": shared[2:4],
        "column": shared[:, 3],
        "steps": shared[::2, 1::2],
        "expanded": values("torch:expanded", 3, 1).float().expand(3, 4),
    }


def make() -> None:
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir()
    state = tensors()
    plain = {name: tensor.detach().clone(memory_format=torch.contiguous_format) for name, tensor in state.items()}
    save_file(plain, FOLDER / "tensors.safetensors")
    torch.save(state, FOLDER / "tensors.bin")
    torch.save(state, FOLDER / "protocol4.bin", pickle_protocol=4)

    linear = torch.nn.Linear(2, 3)
    stream.fill(linear)
    weights = linear.state_dict()
    save_file(weights, FOLDER / "linear.safetensors")
    optimiser = torch.optim.Adam(linear.parameters())
    linear(torch.ones(1, 2)).sum().backward()
    optimiser.step()
    stream.fill(linear)
    training = {"epoch": 3, "loss": torch.tensor(0.5), "best": 0.25, "losses": [0.75, 0.5], "generator": torch.arange(9, dtype=torch.uint8)}
    torch.save({**training, "state_dict": weights, "optimizer": optimiser.state_dict()}, FOLDER / "nested.bin")
    torch.save({"model": weights, "ema": {"shadow": weights.copy()}}, FOLDER / "two.bin")
    torch.save(weights, FOLDER / "legacy.bin", _use_new_zipfile_serialization=False)
    torch.save(linear, FOLDER / "module.bin")
    torch.jit.save(torch.jit.script(linear), FOLDER / "script.bin")
