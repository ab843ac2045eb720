"""Locks among processes, on single bytes of a file: the system ends them with their process, however it ends."""

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

if sys.platform != "win32":
    import fcntl

_TAKEN = (errno.EACCES, errno.EAGAIN)
_UNKNOWN = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)


class ByteLocks:
    """The locks of one file, of which only the numbers of its bytes count; what it holds is a note beside them.

    They hold between processes, not between threads, and end when the process closes the file, by whatever handle: one
    `ByteLocks` a file and process. On Windows, and where a file system knows no locks, they hold nothing: there,
    processes do not know of each other. Every method raises `OSError` when the system fails it.
    """

    def __init__(self, path: Path) -> None:
        """Open the file, making it if need be."""
        flags = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | flags, 0o666)

    def take(self, byte: int) -> bool:
        """Take a byte for this process alone, if no other has it."""
        if sys.platform == "win32":
            return True
        return self._ask(fcntl.LOCK_EX | fcntl.LOCK_NB, byte)

    def share(self, byte: int) -> None:
        """Hold a byte together with others, so that nobody can take it."""
        if sys.platform != "win32":
            self._ask(fcntl.LOCK_SH, byte)

    def release(self, byte: int) -> None:
        """Let go of a byte."""
        if sys.platform != "win32":
            self._ask(fcntl.LOCK_UN, byte)

    @contextmanager
    def turn(self, byte: int) -> Iterator[None]:
        """Wait for a byte, and have it for the block."""
        if sys.platform != "win32":
            self._ask(fcntl.LOCK_EX, byte)
        try:
            yield
        finally:
            self.release(byte)

    def write_note(self, number: int) -> None:
        """Leave a number for others to read; whoever writes has agreed with them on a lock."""
        os.lseek(self._file, 0, os.SEEK_SET)
        os.write(self._file, b"%020d\n" % number)

    def read_note(self) -> int:
        """Read the number that was left; 0, if there is none."""
        os.lseek(self._file, 0, os.SEEK_SET)
        note = os.read(self._file, 20)
        return int(note) if note.isdigit() else 0

    def close(self) -> None:
        """Let go of all."""
        os.close(self._file)

    def _ask(self, how: int, byte: int) -> bool:
        if sys.platform != "win32":
            try:
                fcntl.lockf(self._file, how, 1, byte)
            except OSError as error:
                if error.errno in _TAKEN:
                    return False
                if error.errno not in _UNKNOWN:
                    raise
        return True
