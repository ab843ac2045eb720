"""The scores of single photos, written as they come, so that an evaluation that was killed can be resumed."""

import json
import os
import threading
from pathlib import Path
from types import TracebackType
from typing import Generic, TypeVar

from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from cratecli.errors import OutputError

DIGITS = 6  # of a score that is written


class PhotoScores(BaseModel):
    """One photo's scores under one protocol: all that the measures need of it."""

    model_config = ConfigDict(extra="forbid", frozen=True)


Scores = TypeVar("Scores", bound=PhotoScores)


class ScoresLine(BaseModel):
    """One line of a scores file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    key: str = Field(description="SHA-256 of what the scores depend on: the photo, and its ground truth.")
    photo: str = Field(description="The photo's name in the data set.")
    scores: dict[str, JsonValue] = Field(description="The photo's scores, as the protocol defines them.")


class ScoreStore(Generic[Scores]):
    """The scores of a data set's photos by key, in memory and, given a path, in a file: a JSON line a photo.

    A last line that a killed process left unfinished is cut off. One process at a time holds a file.
    """

    def __init__(self, kind: type[Scores], path: Path | None = None, *, resume: bool = False) -> None:
        """Name the file; to `resume`, the scores in it are known, else it is emptied."""
        self._kind, self.path, self._resume = kind, path, resume
        self._known: dict[str, Scores] = {}
        self._file = -1
        self._threads = threading.Lock()
        self._lock: FileLock | None = None

    def __enter__(self) -> "ScoreStore[Scores]":
        """Open the file. Raises `OutputError` where it cannot be, or another process holds it."""
        if self.path is None:
            return self
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._lock = FileLock(self.path.with_name(f".{self.path.name}.lock"), timeout=0)
            self._lock.acquire()
            self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666)
            os.ftruncate(self._file, self._read() if self._resume else 0)
            os.lseek(self._file, 0, os.SEEK_END)
        except Timeout:
            raise OutputError(
                f"{self.path}: another crate is at work on it: wait for it, or name --scores"
            ) from None
        except (OSError, NotImplementedError) as error:  # the latter where a file system has no locks
            self._close()
            raise self._failed(error) from None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file, and let another process have it; the lock's own file stays, or two could hold it."""
        self._close()

    def _close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
        if self._lock is not None:
            self._lock.release()

    def __len__(self) -> int:
        """Count the photos whose scores are known."""
        return len(self._known)

    def find(self, key: str) -> Scores | None:
        """Give a photo's scores, if they are known."""
        return self._known.get(key)

    def add(self, key: str, photo: str, scores: Scores) -> None:
        """Keep a photo's scores, from any thread. Raises `OutputError` when they cannot be written."""
        line = ScoresLine(key=key, photo=photo, scores=scores.model_dump(mode="json"))
        content = json.dumps(line.model_dump()).encode() + b"\n"  # by json: a name may be no Unicode
        with self._threads:
            self._known[key] = scores
            try:
                while content and self._file >= 0:
                    content = content[os.write(self._file, content) :]
            except OSError as error:
                raise self._failed(error) from None

    def _read(self) -> int:
        """Read whole lines, up to the first broken one; gives their bytes."""
        end = 0
        with open(self._file, "rb", closefd=False) as stream:
            for content in stream:
                try:
                    line = ScoresLine.model_validate(json.loads(content))
                    scores = self._kind.model_validate(line.scores)
                except (ValueError, RecursionError):
                    break
                if not content.endswith(b"\n"):
                    break
                self._known[line.key], end = scores, end + len(content)
        return end

    def _failed(self, error: Exception) -> OutputError:
        return OutputError(
            f"{self.path}: scores cannot be written: {getattr(error, 'strerror', '') or error}"
        )
