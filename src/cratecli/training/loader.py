"""torch's `DataLoader`, whose processes end with the run that started them; where one is killed, it is said once."""

import os
import signal
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from timm.data.loader import fast_collate
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

from cratecli.errors import InputError

DEAD_WORKER = "DataLoader worker (pid"
"""How torch's error begins, raised anywhere, when a process that reads images was killed."""

KILLED = (
    "a process that reads images was killed, perhaps for want of memory (fewer --workers need less); "
    "--resume goes back to the last state that was kept, and python -X dev -m cratecli shows what libraries say"
)

Batch = tuple[Tensor, Tensor]  # images `b 3 h w`, uint8, and classes `b`


def load_batches(dataset: Any, workers: int, seed: int, **how: Any) -> Iterator[Batch]:
    """Load a data set in so many processes, or in this one for 0; batches without an image are left out.

    Raises `InputError` where the data cannot be read on, or one of the processes was killed.
    """
    with warnings.catch_warnings(action="ignore"):  # of more workers than cores, which somebody asked for
        loader = DataLoader(
            dataset,
            num_workers=workers,
            collate_fn=_collate,
            generator=torch.Generator().manual_seed(seed),
            pin_memory=torch.cuda.is_initialized(),  # type: ignore[no-untyped-call]
            worker_init_fn=_isolate if workers else None,
            **how,
        )
    batches = iter(loader)
    try:
        for batch in batches:
            if batch is not None:
                yield batch
    except (RuntimeError, OSError, EOFError, ValueError) as error:  # also what a worker raised
        if str(error).startswith(DEAD_WORKER) or isinstance(error, ConnectionError | EOFError):
            raise InputError(KILLED) from None
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise InputError(f"the data set cannot be read on: {reason[-1][:200]}") from None
    finally:
        if isinstance(batches, _MultiProcessingDataLoaderIter):
            with _children_unheard():
                batches.__del__()  # which has no other name; where frames of an error hold it, it would come late


@contextmanager
def _children_unheard() -> Iterator[None]:
    """Let no signal tell of children that end: torch's handler raises for one that was killed, wherever it is called.

    Where the readers are being ended, nobody could catch that. Signals are heard by a main thread only.
    """
    if not hasattr(signal, "SIGCHLD") or threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = signal.signal(signal.SIGCHLD, signal.SIG_DFL) or signal.SIG_DFL
    try:
        yield
    finally:
        signal.signal(signal.SIGCHLD, handler)


def _collate(examples: list[tuple[Any, int] | None]) -> Batch | None:
    """Make a batch of the images that could be read, if any could."""
    photos = [each for each in examples if each is not None]
    batch: Batch | None = fast_collate(photos) if photos else None  # type: ignore[no-untyped-call]
    return batch


def _isolate(_number: int) -> None:
    """Move a worker to a process group of its own: signals to the run's group reach only the process that trains."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if hasattr(os, "setsid"):
        os.setsid()
    torch.set_num_threads(1)
