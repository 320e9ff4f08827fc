"""The value stream: the same numbers in Python and Rust without storing them.

u(key, i), i = 0, 1, ...: FNV-1a-64 of the key's UTF-8 bytes is the seed; the (i+1)-th output of splitmix64 from that
seed, its upper 24 bits scaled to [-1, 1). Every value is exact in f32 and f64.
"""

import numpy as np
import torch


def u(key: str, count: int) -> np.ndarray:
    """The first `count` values of the stream `key`, f64 in [-1, 1)."""
    seed = fnv(key)
    with np.errstate(over="ignore"):
        z = np.uint64(seed) + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z ^= z >> np.uint64(31)
    return (z >> np.uint64(40)).astype(np.float64) / 2**23 - 1


def tensor(key: str, shape, scale: float = 1.0) -> torch.Tensor:
    """scale * u(key), row-major, computed in f64 and rounded to f32 once."""
    shape = tuple(shape)
    return torch.from_numpy((scale * u(key, int(np.prod(shape)))).astype(np.float32)).reshape(shape)


def parameter(key: str, shape) -> torch.Tensor:
    """The value of the parameter `key`: fan-in scaled matrices, norms near 1, small biases, broad Fourier frequencies."""
    values = u(key, int(np.prod(shape)))
    if len(shape) >= 2:
        values = values * np.sqrt(3 / np.prod(shape[1:]))
    elif key == "time_proj.weight":
        values = 4 * values
    elif key.endswith(".weight"):
        values = 1 + 0.25 * values
    else:
        values = 0.25 * values
    return torch.from_numpy(values.astype(np.float32)).reshape(tuple(shape))


def fill(model: torch.nn.Module, scaled=None, name=lambda key: key) -> None:
    """Gives every parameter of `model` its stream value, times 2**power where its key contains a part of `scaled`, a
    dictionary of parts and powers. `name` tells a key's name in the stream, where it is another."""

    def value(key, shape):
        power = sum(power for part, power in (scaled or {}).items() if part in key)
        return parameter(name(key), shape) * 2.0**power

    state = model.state_dict()
    model.load_state_dict({key: value(key, v.shape) for key, v in state.items()})


def digest(model: torch.nn.Module, name=lambda key: key) -> dict:
    """How many parameters a model has, and FNV-1a-64 of their names and shapes, sorted: `conv_in.bias [8]`, a line each."""
    lines = sorted(f"{name(key)} {list(value.shape)}" for key, value in model.state_dict().items())
    return dict(count=len(lines), fnv=f"{fnv(chr(10).join(lines)):016x}")


def fnv(text: str) -> int:
    value = 0xCBF29CE484222325
    for byte in text.encode():
        value = (value ^ byte) * 0x100000001B3 % 2**64
    return value


def check() -> None:
    expected = [0.14250004, 0.76652908, -0.81994200, -0.39537549]
    assert np.abs(u("conv_in.weight", 4) - expected).max() < 5e-9, u("conv_in.weight", 4)
