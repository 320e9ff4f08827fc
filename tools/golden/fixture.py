"""Writes fixtures: JSON with sorted keys, plain lists on one line; tensors to 9 significant digits (exact for f32)."""

import json
from pathlib import Path

import diffusers
import numpy
import torch

FOLDER = Path(__file__).resolve().parents[2] / "tests" / "fixtures"


def numbers(values: torch.Tensor) -> str:
    """A number for a scalar, else a flat list."""
    assert values.isfinite().all(), values
    joined = ",".join(f"{value:.9g}" for value in values.detach().flatten().tolist())
    return f"[{joined}]" if values.ndim else joined


def holds_object(value) -> bool:
    return isinstance(value, dict) or isinstance(value, list) and any(holds_object(item) for item in value)


def text(value, indent: str = "") -> str:
    inner = indent + " "
    if isinstance(value, torch.Tensor):
        return numbers(value)
    if isinstance(value, tuple):
        return text(list(value), indent)
    if isinstance(value, dict) and value:
        items = [f"{inner}{json.dumps(key)}: {text(value[key], inner)}" for key in sorted(value)]
        return "{\n" + ",\n".join(items) + "\n" + indent + "}"
    if isinstance(value, list) and holds_object(value):
        return "[\n" + ",\n".join(inner + text(item, inner) for item in value) + "\n" + indent + "]"
    if isinstance(value, list):
        return "[" + ",".join(text(item) for item in value) + "]"
    return json.dumps(value, allow_nan=False)


def write(name: str, content: dict) -> None:
    """Writes tests/fixtures/<name> and says with what it was made."""
    made_with = {
        "diffusers": diffusers.__version__,
        "numpy": numpy.__version__,
        "torch": torch.__version__.split("+")[0],
    }
    (FOLDER / name).write_text(text({"made_with": made_with, **content}) + "\n")
