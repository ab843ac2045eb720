"""File locks between processes, on single bytes: the system releases them when a process ends, however it ends."""

import errno
import hashlib
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
    """Locks on the bytes of one file by their numbers; its content is one number, the note.

    They hold between processes, not between threads, and end when the process closes the file by any handle: make one
    `ByteLocks` a file and process. On Windows, and on a file system without locks, every lock is granted. Every
    method raises `OSError` when the system fails it.
    """

    def __init__(self, path: Path) -> None:
        """Open the file, making it if need be."""
        flags = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | flags, 0o666)

    def take(self, byte: int) -> bool:
        """Lock a byte for this process alone, unless another has it; tell whether it is locked."""
        if sys.platform == "win32":
            return True
        return self._ask(fcntl.LOCK_EX | fcntl.LOCK_NB, byte)

    def share(self, byte: int) -> None:
        """Share the lock of a byte with other processes, so that none can take it."""
        if sys.platform != "win32":
            self._ask(fcntl.LOCK_SH, byte)

    def release(self, byte: int) -> None:
        """Release a byte."""
        if sys.platform != "win32":
            self._ask(fcntl.LOCK_UN, byte)

    @contextmanager
    def turn(self, byte: int) -> Iterator[None]:
        """Wait for a byte, and lock it for the block."""
        if sys.platform != "win32":
            self._ask(fcntl.LOCK_EX, byte)
        try:
            yield
        finally:
            self.release(byte)

    def write_note(self, number: int) -> None:
        """Write the note for other processes; the caller holds a lock that they respect."""
        os.lseek(self._file, 0, os.SEEK_SET)
        os.write(self._file, b"%020d\n" % number)

    def read_note(self) -> int:
        """Read the note; 0 when there is none."""
        os.lseek(self._file, 0, os.SEEK_SET)
        note = os.read(self._file, 20)
        return int(note) if note.isdigit() else 0

    def close(self) -> None:
        """Release all bytes, and close the file."""
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


def byte_of(first: int, name: str) -> int:
    """Give a name its byte of a lock file, from a `first` on: only the number counts, nothing is there."""
    return first + int.from_bytes(hashlib.sha256(os.fsencode(name)).digest()[:7], "big")
