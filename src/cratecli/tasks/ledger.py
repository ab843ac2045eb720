"""The keeping of a manifest: rows added as photos are done, believed when a run is taken up, shared among processes."""

import hashlib
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from cratecli.errors import InputError, OutputError
from cratecli.files import ORPHAN, replacing
from cratecli.io.formats.record import Annotated
from cratecli.locks import ByteLocks
from cratecli.tasks.jobs import Job
from cratecli.tasks.manifest import Row, read_rows
from cratecli.tasks.provenance import Provenance

Taken = Literal["mine", "done", "elsewhere"]

_ALIVE, _MUTEX, _CLAIMS = (
    0,
    1,
    2,
)  # bytes of the lock file: a process at work, one that writes, photos in hand


class Ledger:
    """One run's hold on a manifest.

    What decides whether a photo is done is its row: the same input path, the same bytes, the same options, and an
    output that is still what was written. Locks are the system's, on bytes of a hidden file beside the manifest: they
    end with their process, however it ends.
    """

    def __init__(self, manifest: Path, made: Provenance) -> None:
        """Prepare for one way of making outputs; nothing is read or written before `open`."""
        self.manifest, self.folder = manifest, manifest.parent.absolute()
        self._made, self._options = made.to_dict(), made.options
        self._rows: dict[str, Row] = {}
        self._read = self._inode = 0  # bytes of the manifest that are known, and of which file
        self._earlier: frozenset[str] = frozenset()  # rows of runs that have ended
        self._stale = False
        self._threads = threading.RLock()
        self._locks: ByteLocks | None = None

    def open(self, jobs: Iterable[Job], *, resume: bool) -> bool:
        """Take up the manifest for some jobs, and tell whether another process is at work on it.

        To `resume`, or beside another process, rows are believed; else those of `jobs` are forgotten, as they will be
        made again. What a killed process left behind is swept. Raises `OutputError`, and `InputError` for a manifest
        that is none.
        """
        keys = {self.key(job) for job in jobs}
        with self._failing():
            self.folder.mkdir(parents=True, exist_ok=True)
            locks = self._locks = ByteLocks(self.folder / f".{self.manifest.name}.lock")
        with locks.turn(_MUTEX):
            shared = not locks.take(_ALIVE)
            if not shared:
                self._sweep(keys)
                self._keep(lambda row: self._sound(row) if resume else row.key not in keys)
            locks.share(_ALIVE)
            self._catch_up()
            self._earlier = frozenset() if shared else frozenset(self._rows)
        return shared

    def key(self, job: Job) -> str:
        """Name a job's row: its output, or its input where it has none of its own, from the manifest's folder."""
        return self._within(job.source if job.target is None else job.target)

    def take(self, job: Job, sha256: str) -> Taken:
        """Ask for a photo, known by its bytes: to be made by us, done already, or in another process's hands.

        Raises `InputError` when another process made that output from another input.
        """
        key = self.key(job)
        with self._threads:
            if self._done(key, job, sha256):
                return "done"
            if not self._opened.take(_place(key)):
                return "elsewhere"
            self._catch_up()  # it may have been done between the two looks
            if self._done(key, job, sha256):
                self._opened.release(_place(key))
                return "done"
            return "mine"

    def give_back(self, job: Job) -> None:
        """Let go of a photo that was not done."""
        with self._threads:
            self._opened.release(_place(self.key(job)))

    def record(self, job: Job, sha256: str, output: bytes | None, annotated: Annotated, **more: Any) -> None:
        """Add a photo's row, durably, after its output was written. Raises `OutputError`."""
        key = self.key(job)
        row = Row(
            input=self._within(job.source),
            input_sha256=sha256,
            output=None if job.target is None else self._within(job.target),
            output_sha256=None if output is None else hashlib.sha256(output).hexdigest(),
            options=self._options,
            made=self._made | more,
            annotated=annotated,
        )
        line = row.to_json().encode() + b"\n"
        with self._threads, self._opened.turn(_MUTEX):
            self._catch_up()
            self._stale |= key in self._rows
            with self._failing(), self.manifest.open("ab") as stream:
                before = self._read
                stream.truncate(before)  # a line that a killed process began goes
                try:
                    stream.write(line)
                    stream.flush()
                    os.fsync(stream.fileno())
                except OSError:
                    os.truncate(self.manifest, before)
                    raise
                self._read, self._inode = before + len(line), os.fstat(stream.fileno()).st_ino
            self._rows[key] = row
            self._earlier -= {key}
            self._opened.release(_place(key))

    def row(self, job: Job) -> Row | None:
        """Give the row of a job that is done."""
        with self._threads:
            return self._rows.get(self.key(job))

    def close(self) -> None:
        """Let go of everything; a row that was replaced is dropped for good."""
        if self._locks is None:
            return
        try:
            if self._stale:
                with self._locks.turn(_MUTEX):
                    self._keep(lambda _row: True)
        finally:
            self._locks.close()
            self._locks = None

    def __enter__(self) -> "Ledger":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()

    def _done(self, key: str, job: Job, sha256: str) -> bool:
        row = self._rows.get(key)
        if row is None:
            return False
        if row.input != self._within(job.source):
            if key in self._earlier:
                return False
            raise InputError(
                f"{job.name}: its output {key} was just made from {row.input}: give another folder"
            )
        return row.input_sha256 == sha256 and row.options == self._options

    def _sound(self, row: Row) -> bool:
        """Tell whether a row's output is still what was written."""
        if row.output is None:
            return True
        try:
            with (self.folder / row.output).open("rb") as stream:
                return hashlib.file_digest(stream, "sha256").hexdigest() == row.output_sha256
        except OSError:
            return False

    def _keep(self, wanted: Callable[[Row], bool]) -> None:
        """Write the manifest again with the rows that are wanted, the last of each key; nothing, if that is all."""
        if not self.manifest.exists():
            return
        rows = list(read_rows(self.manifest))
        kept = {row.key: row for row in rows if wanted(row)}
        lines = b"".join(row.to_json().encode() + b"\n" for row in kept.values())
        if len(lines) != self.manifest.stat().st_size:
            with self._failing(), replacing(self.manifest) as stream:
                stream.write(lines)
        self._stale = False

    def _catch_up(self) -> None:
        """Read the rows that were added since, by whomever."""
        try:
            with self.manifest.open("rb") as stream:
                status = os.fstat(stream.fileno())
                if status.st_ino != self._inode:  # another process wrote it again
                    self._rows, self._read, self._inode = {}, 0, status.st_ino
                if status.st_size == self._read:
                    return
                stream.seek(self._read)
                for line in stream:
                    if not line.endswith(b"\n"):
                        break
                    row = Row.from_json(line)
                    self._rows[row.key] = row
                    self._read += len(line)
        except FileNotFoundError:
            return
        except OSError as error:
            raise OutputError(f"{self.manifest}: {error.strerror}") from None
        except ValueError as error:
            raise InputError(f"{self.manifest}: {error}") from None

    def _sweep(self, keys: Iterable[str]) -> None:
        """Remove what killed processes left half written where outputs go."""
        for folder in {(self.folder / key).parent for key in keys} | {self.folder}:
            with self._failing():
                for path in folder.glob(ORPHAN) if folder.is_dir() else ():
                    path.unlink(missing_ok=True)

    def _within(self, path: Path | None) -> str:
        return "-" if path is None else Path(os.path.relpath(path, self.folder)).as_posix()

    @property
    def _opened(self) -> ByteLocks:
        if self._locks is None:
            raise ValueError("the ledger is not open")
        return self._locks

    @contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise OutputError(f"{self.manifest}: cannot be written: {error.strerror or error}") from None


def _place(key: str) -> int:
    """Give a photo its byte of the lock file: the file stays empty, only the number counts."""
    return _CLAIMS + int.from_bytes(hashlib.sha256(os.fsencode(key)).digest()[:7], "big")
