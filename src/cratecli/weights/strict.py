"""Strict loading: a model gets all its tensors, of their shapes and finite, and no others; or none."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from cratecli.errors import WeightsError

_LISTED = 6  # how many tensor names an error spells out
_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def list_names(names: Iterable[str]) -> str:
    """List the names of tensors in an error: the first few of them, none at length."""
    ordered = sorted(name if len(name) < 100 else f"{name[:99]}…" for name in names)
    more = f" and {len(ordered) - _LISTED} more" if len(ordered) > _LISTED else ""
    return ", ".join(ordered[:_LISTED]) + more


def load_strictly(model: torch.nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Put tensors, as float32, into a model on the meta device.

    Raises `WeightsError`, loading nothing, with the tensors that are missing, unexpected, misshapen or not finite.
    """
    expected = model.state_dict()
    wrong = {
        "missing": expected.keys() - tensors.keys(),
        "unexpected": tensors.keys() - expected.keys(),
        "misshapen": [
            f"{name} {tuple(tensors[name].shape)} for {tuple(expected[name].shape)}"
            for name in expected.keys() & tensors.keys()
            if tensors[name].shape != expected[name].shape
        ],
        "not finite": [
            name
            for name, tensor in tensors.items()
            if tensor.dtype not in _FLOATS or not tensor.float().isfinite().all()
        ],
    }
    if any(wrong.values()):
        faults = "; ".join(f"{kind}: {list_names(names)}" for kind, names in wrong.items() if names)
        raise WeightsError(f"{path}: does not fit its architecture; {faults}")
    plain = {name: tensor.float().contiguous() for name, tensor in tensors.items()}
    model.load_state_dict(plain, assign=True)
