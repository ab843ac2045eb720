"""The ledger of a run: adds manifest rows as photos are done, resumes from them, and shares them among processes."""

import hashlib
import os
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from cratecli.errors import CrateError, InputError, OutputError
from cratecli.files import sweep
from cratecli.io import images
from cratecli.io.formats.record import Annotated
from cratecli.io.opening import MAX_PIXELS
from cratecli.io.urls import is_url
from cratecli.io.whole import is_whole
from cratecli.locks import ByteLocks, byte_of
from cratecli.runs.gone import CHANGED, Missing, find_missing, key_of, remove_outputs
from cratecli.runs.jobs import Job, stdin_stem
from cratecli.runs.manifest import ManifestRow
from cratecli.runs.neighbours import outputs_beside, outputs_of_others
from cratecli.runs.provenance import Provenance
from cratecli.runs.row_file import RowFile, StoredRow

_ALIVE, _WRITING, _CLAIMS = 0, 1, 2
"""Bytes of the lock file: held by who is at work, by who writes, and from there on one a photo in hand."""


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
        self._command = str(self._made["command"])
        self._file = RowFile(manifest)
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
        inputs = {self.key(job): self.input_of(job) for job in jobs}
        keys = set(inputs)
        self._folders = {self.folder, *also, *((self.folder / key).parent for key in keys if not is_url(key))}
        with self._failing():
            self.folder.mkdir(parents=True, exist_ok=True)
            locks = self._locks = ByteLocks(self.folder / f".{self.manifest.name}.lock")
            with locks.turn(_WRITING):
                shared = not locks.take(_ALIVE)
                if not shared:
                    sweep(self._folders)
                    self._file.read_anew()
                    sources = {key: stored.input for key, stored in self._file.rows.items()}
                    others = {key: name for key, name in sources.items() if inputs.get(key, name) != name}
                    self._replaced = {key: n for key, n in others.items() if (self.folder / n).exists()}
                    self.missing = find_missing(sources, self.folder, keys, below)
                    self.beside = outputs_beside(self._file, self.folder, inputs, self._command)
                    below_tops = {key for key in self._file.rows if key.startswith(tuple(tops))}
                    self.foreign = outputs_of_others(
                        self._file, self.folder, keys | below_tops, self._options, self._command
                    )
                    pruned = self._prune() if prune else ()
                    locks.write_note(self._file.close_gaps(pruned))
                locks.share(_ALIVE)
                self._began = locks.read_note()
                self._file.catch_up()
        return shared

    def key(self, job: Job) -> str:
        """Name a job's row: its output, or its input where it has none of its own, from the manifest's folder.

        Outputs in a store are named by their URLs.
        """
        if job.target is None:
            return self.input_of(job)
        return (job.destination and job.output) or key_of(self.manifest, job.target)

    def claim_whole(self, name: str) -> bool:
        """Ask for a source of many photos, and tell whether it is in our hands alone. Raises `OutputError`."""
        with self._threads, self._failing():
            return self._opened.take(byte_of(_CLAIMS, f"all of {name}"))

    def give_back_whole(self, name: str) -> None:
        """Let go of a source of many photos."""
        with self._threads, self._failing():
            if self._locks is not None:
                self._locks.release(byte_of(_CLAIMS, f"all of {name}"))

    def claim(self, job: Job) -> bool:
        """Ask for a photo, and tell whether it is in our hands alone. Raises `OutputError`."""
        key = self.key(job)
        with self._threads, self._failing():
            if key in self._mine or not self._opened.take(byte_of(_CLAIMS, key)):
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
            self._file.catch_up()
            known = self._file.rows.get(key)
        if known is None:
            return False
        ours = known.input == self.input_of(job)
        recent = known.start >= self._began
        if recent and not ours:
            taken = f"its output {key} was just made from {known.input}: give another folder"
            raise InputError(f"{job.name}: {taken}")
        believed = ours and known.input_sha256 == sha256 and self._believes(known)
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
            self._file.catch_up()
            self._file.blank(key)
        return False

    def _believes(self, known: StoredRow) -> bool:
        return known.options == self._options and (known.start >= self._began or self._resume)

    def believed(self) -> dict[str, str]:
        """Give the SHA-256 of photos that are done, if their outputs are as they were; by the names of their rows."""
        rows = self._file.rows.values()
        return {known.input: known.input_sha256 for known in rows if self._believes(known)}

    def replaced(self, job: Job) -> str | None:
        """Name the input, still there, that a run before made this job's output from."""
        return self._replaced.get(self.key(job))

    def give_back(self, job: Job) -> None:
        """Let go of a photo in hand, done or not."""
        key = self.key(job)
        with self._threads, self._failing():
            if key in self._mine:
                self._mine.remove(key)
                self._opened.release(byte_of(_CLAIMS, key))

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
            input=self.input_of(job),
            input_sha256=sha256,
            output=None if job.target is None else self.key(job),
            output_sha256=None if output is None else hashlib.sha256(output).hexdigest(),
            beside=others,
            options=self._options,
            made=self._made | more,
        )
        with self._threads:
            with self._failing(), self._opened.turn(_WRITING):
                self._file.catch_up()
                self._file.blank(row.key)
                self._file.append(row)
            self.give_back(job)

    def row(self, job: Job) -> ManifestRow | None:
        """Read the row of a job that is done; none, if it was taken back. Raises `OutputError`."""
        with self._threads, self._failing():
            known = self._file.rows.get(self.key(job))
            return None if known is None else self._file.row_at(known)

    def _prune(self) -> set[str]:
        """Remove the outputs of rows whose photos are gone; gives the keys of the rows that go with them."""
        pruned = set[str]()
        for key in sorted(self.missing.gone):
            row = self._file.row_at(self._file.rows[key])
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
                    sweep(self._folders)
                    self._file.read_anew()
                    self._file.close_gaps()
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

    def _state(self, job: Job, key: str, known: StoredRow) -> Literal["as written", "edited", "broken"]:
        """Tell what became of a row's output: one that is edited is whole, a broken one may be gone."""
        if known.output_sha256 is None:
            return "as written"
        try:
            with job.reopened(self.folder / key, images.BYTES_A_PIXEL * MAX_PIXELS) as stream:
                if hashlib.file_digest(stream, "sha256").hexdigest() == known.output_sha256:
                    return "as written"
                stream.seek(0)
                content = stream.read()
        except OSError:
            return "broken"
        with self._threads, self._failing():
            row = self._file.row_at(known)
        whole = row is not None and is_whole(content, max(MAX_PIXELS, row.height * row.width))
        return "edited" if whole else "broken"

    def input_of(self, job: Job) -> str:
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
