"""The ledger of a run: adds manifest rows as photos are done, resumes from them, and shares them among processes."""

import hashlib
import os
import sys
import threading
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, NamedTuple

from cratecli.errors import CrateError, InputError, OutputError
from cratecli.files import ORPHAN, open_file, replacing
from cratecli.io import images
from cratecli.io.formats.record import Annotated
from cratecli.io.opening import MAX_PIXELS
from cratecli.io.urls import is_url
from cratecli.io.whole import is_whole
from cratecli.locks import ByteLocks
from cratecli.runs.gone import CHANGED, Missing, find_missing, key_of, remove_outputs
from cratecli.runs.jobs import Job, stdin_stem
from cratecli.runs.manifest import Line, ManifestRow, read_lines
from cratecli.runs.provenance import Provenance

_ALIVE, _WRITING, _CLAIMS = 0, 1, 2
"""Bytes of the lock file: held by who is at work, by who writes, and from there on one a photo in hand."""


class _Known(NamedTuple):
    """What is kept in memory of a row, and where it stands."""

    input: str
    input_sha256: str
    output_sha256: str | None
    options: str
    start: int
    length: int

    @classmethod
    def of(cls, line: Line) -> "_Known":
        row = line.row
        options = sys.intern(row.options)
        return cls(row.input, row.input_sha256, row.output_sha256, options, line.start, line.length)


class Ledger:
    """One run's hold on a manifest.

    What decides whether a photo is done is its row: the same input path, the same bytes, the same options, and an
    output that is still what was written. An output that was changed since, and is whole, is somebody's work: it is
    `edited`, and stays. Locks are the system's, on bytes of a hidden file beside the manifest: they end with their
    process, however it ends. That file notes how long the manifest was when the first of the processes at work began.
    While any is, rows stay where they are: one that no longer holds is blanked, and the last to leave, or the next to
    come, closes the gaps.
    """

    def __init__(self, manifest: Path, made: Provenance) -> None:
        """Prepare for one way of making outputs; nothing is read or written before `open`."""
        self.manifest, self.folder = manifest, Path(os.path.realpath(manifest.parent))
        self._made, self._options = made.as_data(), made.digest
        self._rows: dict[str, _Known] = {}
        self._read = self._inode = 0  # bytes of the manifest that are known, and of which file
        self._began = 0  # bytes that it had before anybody now at work began
        self._resume = self._overwrite = False
        self._mine: set[str] = set()
        self._replaced: dict[str, str] = {}
        self._folders: set[Path] = set()  # where outputs go
        self.missing = Missing()
        self.kept: dict[str, str] = {}
        self.edited: list[str] = []
        self.beside: list[str] = []
        self.foreign: dict[str, list[str]] = {}
        self._threads = threading.RLock()
        self._locks: ByteLocks | None = None

    def open(
        self,
        jobs: Iterable[Job],
        *,
        resume: bool,
        also: Iterable[Path] = (),
        below: Iterable[Path] = (),
        prune: bool = False,
        overwrite: bool = False,
        tops: Sequence[str] = (),
    ) -> bool:
        """Take up the manifest for some jobs, and tell whether another process is at work on it.

        To `resume`, rows of earlier runs are believed; else only those of processes now at work. Outputs that were
        `edited` stay, unless to `overwrite`. What a killed process left behind is swept, where outputs go and in the
        folders `also`. Photos `below` some folders that have a row and are not there are `missing`; to `prune`, rows
        and outputs of those that are gone are removed, but for outputs that are `kept`, each for a reason: one that was
        changed since loses its row, one that cannot be removed does not. Outputs of the same photos under other names
        stay `beside`; `foreign` are those of other commands, whose places this run's take, by command. Outputs that
        are not known yet go below `tops`, the beginnings of their keys. While others are at work, none is looked for.
        Raises `OutputError`, and `InputError` for a manifest that is none.
        """
        self._resume, self._overwrite = resume, overwrite
        inputs = {self.key(job): self._input(job) for job in jobs}
        keys = set(inputs)
        self._folders = {self.folder, *also, *((self.folder / key).parent for key in keys if not is_url(key))}
        with self._failing():
            self.folder.mkdir(parents=True, exist_ok=True)
            locks = self._locks = ByteLocks(self.folder / f".{self.manifest.name}.lock")
            with locks.turn(_WRITING):
                shared = not locks.take(_ALIVE)
                if not shared:
                    self._sweep()
                    self._read_anew()
                    self._replaced = {
                        key: known.input
                        for key, known in self._rows.items()
                        if inputs.get(key, known.input) != known.input
                        and (self.folder / known.input).exists()
                    }
                    sources = {key: known.input for key, known in self._rows.items()}
                    self.missing = find_missing(sources, self.folder, keys, below)
                    self.beside = self._beside(inputs)
                    below_tops = {key for key in self._rows if key.startswith(tuple(tops))}
                    self.foreign = self._foreign(keys | below_tops)
                    pruned = self._prune() if prune else ()
                    locks.write_note(self._close_gaps(pruned))
                locks.share(_ALIVE)
                self._began = locks.read_note()
                self._catch_up()
        return shared

    def key(self, job: Job) -> str:
        """Name a job's row: its output, or its input where it has none of its own, from the manifest's folder.

        Outputs in a store are named by their URLs.
        """
        if job.target is None:
            return self._input(job)
        return (job.destination and job.output) or key_of(self.manifest, job.target)

    def claim_whole(self, name: str) -> bool:
        """Ask for a source of many photos, and tell whether it is in our hands alone. Raises `OutputError`."""
        with self._threads, self._failing():
            return self._opened.take(_place(f"all of {name}"))

    def give_back_whole(self, name: str) -> None:
        """Let go of a source of many photos."""
        with self._threads, self._failing():
            if self._locks is not None:
                self._locks.release(_place(f"all of {name}"))

    def claim(self, job: Job) -> bool:
        """Ask for a photo, and tell whether it is in our hands alone. Raises `OutputError`."""
        key = self.key(job)
        with self._threads, self._failing():
            if key in self._mine or not self._opened.take(_place(key)):
                return False
            self._mine.add(key)
            return True

    def done(self, job: Job, sha256: str) -> bool:
        """Tell whether a photo in hand, known by its bytes, is done already; a row that does not hold is forgotten.

        So is one whose output was edited, whatever its options: it stays, with its row. Raises `InputError` when
        another process made that output from another input, or it was made from another and edited, and `OutputError`.
        """
        key = self.key(job)
        with self._threads, self._failing():
            self._catch_up()
            known = self._rows.get(key)
        if known is None:
            return False
        ours = known.input == self._input(job)
        recent = known.start >= self._began
        if recent and not ours:
            taken = f"its output {key} was just made from {known.input}: give another folder"
            raise InputError(f"{job.name}: {taken}")
        same = ours and (known.input_sha256, known.options) == (sha256, self._options)
        believed = same and (recent or self._resume)
        state = self._state(job, key, known) if believed or not self._overwrite else "broken"
        if state == "as written" and believed and self.row(job):
            return True
        if state == "edited" and not self._overwrite:
            if not ours and known.input_sha256 != sha256:
                taken = f"its output {key} was made from {known.input}, and changed since"
                raise InputError(f"{job.name}: {taken}: move it, or give --exists overwrite")
            self.edited.append(key)
            return True
        with self._threads, self._failing(), self._opened.turn(_WRITING):
            self._catch_up()
            self._blank(key)
        return False

    def replaced(self, job: Job) -> str | None:
        """Name the input, still there, that a run before made this job's output from."""
        return self._replaced.get(self.key(job))

    def give_back(self, job: Job) -> None:
        """Let go of a photo in hand, done or not."""
        key = self.key(job)
        with self._threads, self._failing():
            if key in self._mine:
                self._mine.remove(key)
                self._opened.release(_place(key))

    def record(
        self,
        job: Job,
        sha256: str,
        output: bytes | None,
        annotated: Annotated,
        beside: Mapping[Path, bytes] | None = None,
        **more: Any,
    ) -> None:
        """Add a photo's row, durably, after its output and those `beside` were written, and let go of it.

        Raises `OutputError`.
        """
        others = {
            key_of(self.manifest, path): hashlib.sha256(content).hexdigest()
            for path, content in (beside or {}).items()
        }
        row = ManifestRow.of(
            annotated,
            input=self._input(job),
            input_sha256=sha256,
            output=None if job.target is None else self.key(job),
            output_sha256=None if output is None else hashlib.sha256(output).hexdigest(),
            beside=others,
            options=self._options,
            made=self._made | more,
        )
        with self._threads:
            with self._failing(), self._opened.turn(_WRITING):
                self._catch_up()
                self._blank(row.key)
                self._rows[row.key] = _Known.of(self._append(row))
            self.give_back(job)

    def row(self, job: Job) -> ManifestRow | None:
        """Read the row of a job that is done; none, if it was taken back. Raises `OutputError`."""
        with self._threads, self._failing():
            known = self._rows.get(self.key(job))
            return None if known is None else self._row_at(known)

    def _row_at(self, known: _Known) -> ManifestRow | None:
        with open_file(self.manifest) as stream:
            stream.seek(known.start)
            content = stream.read(known.length)
        return None if content.isspace() else ManifestRow.from_json(content)

    def _beside(self, inputs: Mapping[str, str]) -> list[str]:
        """List what was made of this run's photos under other names, and is still there; `inputs` by their keys."""
        ours = set(inputs.values()) - {"-"}
        others = [key for key, known in self._rows.items() if key not in inputs and known.input in ours]
        return sorted(key for key in others if self._is_alike(key) and os.path.lexists(self.folder / key))

    def _foreign(self, keys: Set[str]) -> dict[str, list[str]]:
        """List, by command, the outputs of other commands in whose places outputs of this run go."""
        theirs: dict[str, list[str]] = {}
        for key in sorted(keys & self._rows.keys()):
            if (options := self._rows[key].options) != self._options:
                theirs.setdefault(options, []).append(key)
        foreign: dict[str, list[str]] = {}
        for places in theirs.values():  # rows of the same options are of one command
            row = self._row_at(self._rows[places[0]])
            if row is not None and (command := row.made.get("command")) != self._made["command"]:
                there = [key for key in places if os.path.lexists(self.folder / key)]
                foreign.setdefault(str(command), []).extend(there)
        return {command: sorted(places) for command, places in foreign.items() if places}

    def _is_alike(self, key: str) -> bool:
        """Tell whether a row's output was made by this run's command."""
        row = self._row_at(self._rows[key])
        return row is not None and row.output is not None and row.made.get("command") == self._made["command"]

    def _prune(self) -> set[str]:
        """Remove the outputs of rows whose photos are gone; gives the keys of the rows that go with them."""
        pruned = set[str]()
        for key in sorted(self.missing.gone):
            row = self._row_at(self._rows[key])
            kept = remove_outputs(self.folder, row) if row else {}
            self.kept |= kept
            if set(kept.values()) <= {CHANGED}:
                pruned.add(key)
        return pruned

    def close(self) -> None:
        """Let go of everything; the last to leave tidies up, if it can: the next run would."""
        if self._locks is None:
            return
        try:
            with suppress(OSError, CrateError), self._locks.turn(_WRITING):
                if self._locks.take(_ALIVE):
                    self._sweep()
                    self._read_anew()
                    self._close_gaps()
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

    def _state(self, job: Job, key: str, known: _Known) -> Literal["as written", "edited", "broken"]:
        """Tell what became of a row's output: one that is edited is whole, a broken one may be gone."""
        if known.output_sha256 is None:
            return "as written"
        if job.destination is not None:
            return self._compared(known, job.written(images.BYTES_A_PIXEL * MAX_PIXELS))
        try:
            with open_file(self.folder / key) as stream:
                if hashlib.file_digest(stream, "sha256").hexdigest() == known.output_sha256:
                    return "as written"
                stream.seek(0)
                content = stream.read()
        except OSError:
            return "broken"
        return self._compared(known, content)

    def _compared(self, known: _Known, content: bytes | None) -> Literal["as written", "edited", "broken"]:
        """Compare an output's bytes, if it is there, with those that were written."""
        if content is None:
            return "broken"
        if hashlib.sha256(content).hexdigest() == known.output_sha256:
            return "as written"
        with self._threads, self._failing():
            row = self._row_at(known)
        whole = row is not None and is_whole(content, max(MAX_PIXELS, row.height * row.width))
        return "edited" if whole else "broken"

    def _append(self, row: ManifestRow) -> Line:
        """Write a row behind those that are known, over what a killed process began, or nothing."""
        content = row.to_json().encode() + b"\n"
        start = self._read
        stream = os.open(self.manifest, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666)
        try:
            os.ftruncate(stream, start)
            os.lseek(stream, start, os.SEEK_SET)
            try:
                written = 0
                while written < len(content):
                    written += os.write(stream, content[written:])
                os.fsync(stream)
            except OSError:
                os.ftruncate(stream, start)
                raise
            self._read, self._inode = start + len(content), os.fstat(stream).st_ino
        finally:
            os.close(stream)
        return Line(start, len(content), row)

    def _blank(self, key: str) -> None:
        """Take a row back where it stands, durably, before its output is replaced; the line stays, of spaces."""
        if known := self._rows.pop(key, None):
            with self.manifest.open("r+b", buffering=0) as stream:
                stream.seek(known.start)
                stream.write(b" " * (known.length - 1))
                os.fsync(stream.fileno())

    def _close_gaps(self, without: Collection[str] = ()) -> int:
        """Leave only the rows that were just read, but for some; gives the manifest's bytes.

        None may know where rows stand: who goes on catches up.
        """
        if not self.manifest.exists():
            return 0
        kept = sorted((known.start, known.length) for key, known in self._rows.items() if key not in without)
        after = sum(length for _, length in kept)
        if after != self.manifest.stat().st_size:
            with replacing(self.manifest) as new, open_file(self.manifest) as old:
                for start, length in kept:
                    old.seek(start)
                    new.write(old.read(length))
        return after

    def _read_anew(self) -> None:
        """Read all rows, of each key the last. Raises `InputError` for a manifest that is none."""
        self._rows, self._read = {}, 0
        try:
            self._read_on()
        except ValueError as error:
            raise InputError(f"{self.manifest}:{error}") from None

    def _catch_up(self) -> None:
        """Read the rows that were added since, by whomever. Raises `OutputError` where something else was."""
        try:
            self._read_on()
        except ValueError as error:
            raise OutputError(f"{self.manifest}: is not as it was left: line {error} from there") from None

    def _read_on(self) -> None:
        """Read from where we stand, or another file from its start. Raises `ValueError` for what is no row."""
        try:
            with open_file(self.manifest) as stream:
                status = os.fstat(stream.fileno())
                if status.st_ino != self._inode or status.st_size < self._read:
                    self._rows, self._read, self._inode = {}, 0, status.st_ino
                for line in read_lines(stream, self._read):
                    self._rows[line.row.key] = _Known.of(line)
                    self._read = line.start + line.length
        except FileNotFoundError:
            self._rows, self._read, self._inode = {}, 0, 0

    def _sweep(self) -> None:
        """Remove what killed processes left half written."""
        for folder in self._folders:
            with suppress(OSError):  # where nothing can be removed, its photos fail alone
                for path in folder.glob(ORPHAN) if folder.is_dir() else ():
                    path.unlink(missing_ok=True)

    def _input(self, job: Job) -> str:
        """Name a job's input; of several photos in standard input each has a name of its own."""
        return f"-/{stdin_stem(job.number)}" if job.piped and job.number else job.seen_from(self.folder)

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
    """Give a photo its byte of the lock file: only the number counts."""
    return _CLAIMS + int.from_bytes(hashlib.sha256(os.fsencode(key)).digest()[:7], "big")
