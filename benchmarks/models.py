"""The models of the benchmarks: the built-in one, and any with random weights."""

from functools import cache

import cv2
import torch

from cratecli.model.config import CrateConfig
from cratecli.model.crate import Crate
from cratecli.weights.checkpoint import load_model


@cache
def built_in() -> Crate:
    """Load the built-in model, once a process."""
    model = load_model()
    if not isinstance(model, Crate):
        raise TypeError("the built-in model is a CRATE")
    return model


def untrained(config: CrateConfig, seed: int = 0, dtype: torch.dtype = torch.float32) -> Crate:
    """Make a model with random weights, the same for a seed."""
    torch.manual_seed(seed)
    return Crate(config).requires_grad_(False).to(dtype).fold()


def torch_and_threads() -> str:
    """Name torch's version and the threads it has, for a table of times."""
    return f"torch {torch.__version__.partition('+')[0]}, {torch.get_num_threads()} threads"


def one_thread() -> None:
    """Let this process compute in one thread: others have the other cores, and its results do not hang on them."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
