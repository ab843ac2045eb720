"""accelerate's view of where a run trains: the device, number format and processes."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import InitProcessGroupKwargs

from cratecli.errors import UsageError
from cratecli.model.device import choose_device

_PATIENCE = timedelta(hours=6)  # of processes that wait while the first measures and keeps


@contextmanager
def accelerated(device: str, dtype: str) -> Iterator[Accelerator]:
    """Give an accelerator for a device and number format by our names, for the block."""
    if ":" in device and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UsageError(
            f"device {device}: of several processes each takes a GPU of its own; leave the number out"
        )
    place, number = choose_device(device, dtype)
    before = os.environ.get("ACCELERATE_TORCH_DEVICE")
    if place.index is not None:
        os.environ["ACCELERATE_TORCH_DEVICE"] = str(place)
    try:
        precision = "bf16" if number is torch.bfloat16 else "no"
        patience = InitProcessGroupKwargs(timeout=_PATIENCE)
        accelerator = Accelerator(
            cpu=place.type == "cpu", mixed_precision=precision, kwargs_handlers=[patience]
        )
        yield accelerator
        accelerator.end_training()
    finally:
        # The next run in this process may name another device or number format, which accelerate refuses while its
        # state, global to the process, stands; it has no public way to clear it (transformers clears it the same way).
        AcceleratorState._reset_state(reset_partial_state=True)
        os.environ.pop("ACCELERATE_TORCH_DEVICE", None)
        if before is not None:
            os.environ["ACCELERATE_TORCH_DEVICE"] = before
