"""What was found out about each photo of an evaluation, kept as it comes: a run that is killed can be taken up."""

import json
import os
import threading
from pathlib import Path
from types import TracebackType
from typing import Any

from cratecli.errors import OutputError
from cratecli.locks import ByteLocks

Found = dict[str, Any]
"""What was found out about one photo, as JSON holds it."""


class Scores:
    """One evaluation's scores by key, in memory and, given a file, there too: a JSON line a photo.

    A last line that a killed process left unfinished is cut off. One process at a time holds a file.
    """

    def __init__(self, path: Path | None = None, *, resume: bool = False) -> None:
        """Name the file; to `resume`, what it holds is believed, else it is begun anew."""
        self.path, self._resume = path, resume
        self._known: dict[str, Found] = {}
        self._file = -1
        self._threads = threading.Lock()
        self._locks: ByteLocks | None = None

    def __enter__(self) -> "Scores":
        """Open the file. Raises `OutputError` where it cannot be, or another process is at work on it."""
        if self.path is None:
            return self
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._locks = ByteLocks(self.path.with_name(f".{self.path.name}.lock"))
            if not self._locks.take(0):
                self._close()
                raise OutputError(
                    f"{self.path}: another crate is at work on it: wait for it, or name --scores"
                )
            self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666)
            os.ftruncate(self._file, self._read() if self._resume else 0)
            os.lseek(self._file, 0, os.SEEK_END)
        except OSError as error:
            self._close()
            raise self._failed(error) from None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file."""
        self._close()

    def _close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
        if self._locks is not None:
            self._locks.close()

    def __len__(self) -> int:
        """Count the photos whose scores are known."""
        return len(self._known)

    def find(self, key: str) -> Found | None:
        """Give a photo's scores, if they are known."""
        return self._known.get(key)

    def add(self, key: str, name: str, found: Found) -> None:
        """Keep a photo's scores. Raises `OutputError` when they cannot be written."""
        line = json.dumps({"key": key, "photo": name, "found": found}).encode() + b"\n"
        with self._threads:
            self._known[key] = found
            try:
                while line and self._file >= 0:
                    line = line[os.write(self._file, line) :]
            except OSError as error:
                raise self._failed(error) from None

    def _read(self) -> int:
        """Read whole lines, up to the first that is none; gives their bytes."""
        end = 0
        with open(self._file, "rb", closefd=False) as stream:
            for line in stream:
                try:
                    row = json.loads(line)
                    key, found = row["key"], dict(row["found"])
                except (ValueError, KeyError, TypeError, RecursionError):
                    break
                if not line.endswith(b"\n"):
                    break
                self._known[key], end = found, end + len(line)
        return end

    def _failed(self, error: OSError) -> OutputError:
        return OutputError(f"{self.path}: scores cannot be kept: {error.strerror or error}")
