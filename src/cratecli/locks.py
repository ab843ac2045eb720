"""Locks among processes, on single bytes of a file: the system ends them with their process, however it ends."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

if sys.platform != "win32":
    import fcntl


class ByteLocks:
    """The locks of one file, which stays empty: only the numbers of its bytes count.

    They hold between processes, not between threads. On Windows they hold nothing: there, processes do not know of
    each other.
    """

    def __init__(self, path: Path) -> None:
        """Open the file, making it if need be. Raises `OSError`."""
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o666)

    def take(self, byte: int) -> bool:
        """Take a byte for this process alone, if no other has it."""
        if sys.platform != "win32":
            try:
                fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, byte)
            except OSError:
                return False
        return True

    def share(self, byte: int) -> None:
        """Hold a byte together with others, so that nobody can take it."""
        if sys.platform != "win32":
            fcntl.lockf(self._file, fcntl.LOCK_SH, 1, byte)

    def release(self, byte: int) -> None:
        """Let go of a byte."""
        if sys.platform != "win32":
            fcntl.lockf(self._file, fcntl.LOCK_UN, 1, byte)

    @contextmanager
    def turn(self, byte: int) -> Iterator[None]:
        """Wait for a byte, and have it for the block."""
        if sys.platform != "win32":
            fcntl.lockf(self._file, fcntl.LOCK_EX, 1, byte)
        try:
            yield
        finally:
            self.release(byte)

    def close(self) -> None:
        """Let go of all."""
        os.close(self._file)
