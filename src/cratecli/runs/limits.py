"""What a run may take of the machine: bytes of decoded photos in memory, threads of libraries, a temporary folder."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Condition

import cv2
from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]

from cratecli.errors import OutputError
from cratecli.files import TEMPORARY


class MemoryBudget:
    """The bytes of decoded photos that may be held at once, among threads.

    Photos are numbered from 0 in the order in which they are wanted. When the budget is spent, a thread waits before
    it decodes another photo, but for the photo that the whole run waits for. What is let in late may go beyond the
    budget by what a few threads decode at once.
    """

    def __init__(self, most: int) -> None:
        """Start with nothing held; `most` is in bytes."""
        self._most, self._held, self._awaited = most, 0, -1
        self._open, self._changed = True, Condition()

    def enter(self, number: int) -> bool:
        """Wait until a photo may be decoded; tell whether the run still goes on."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._held < self._most or number <= self._awaited or not self._open
            )
            return self._open

    def wait_for(self, number: int) -> None:
        """Let this photo in whatever is held, because the run waits for it."""
        with self._changed:
            self._awaited = number
            self._changed.notify_all()

    def take(self, size: int) -> None:
        """Count bytes that are held from now on."""
        with self._changed:
            self._held += size

    def give(self, size: int) -> None:
        """Give bytes back."""
        with self._changed:
            self._held -= size
            self._changed.notify_all()

    @property
    def full(self) -> bool:
        """Tell whether the budget is spent."""
        with self._changed:
            return self._held >= self._most

    def close(self) -> None:
        """End the run: whoever waits is sent away."""
        with self._changed:
            self._open = False
            self._changed.notify_all()


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """Make a folder that is removed when the block ends. Raises `OutputError`, which names the variable to set."""
    try:
        folder = TemporaryDirectory(prefix="crate-")
    except OSError as error:
        fault = f"{error.filename}: cannot be written: " if error.filename else ""
        raise OutputError(f"{fault}{error.strerror or error}: {TEMPORARY}") from None
    with folder as path:
        yield Path(path)


@contextmanager
def one_thread_each() -> Iterator[None]:
    """Keep OpenCV and NumPy's OpenBLAS to the thread that calls them.

    Their own threads would spin on the processors that the model computes on. The model's threads, which are torch's,
    stay as they are. It holds for the whole process, until the block ends.
    """
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        with _libraries(len(sys.modules)).select(internal_api="openblas").limit(limits=1):
            yield
    finally:
        cv2.setNumThreads(before)


@lru_cache(maxsize=1)
def _libraries(_modules: int) -> ThreadpoolController:
    """Find the libraries with threads that this process has loaded: again only when modules have come since."""
    return ThreadpoolController()
