"""The rows of a manifest as they stand in its file: read on, added, blanked, and moved together."""

import os
import sys
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

from cratecli.errors import InputError, OutputError
from cratecli.files import open_file, replacing
from cratecli.runs.manifest import Line, ManifestRow, read_lines


class StoredRow(NamedTuple):
    """What is kept in memory of a row, and where it stands."""

    input: str
    input_sha256: str
    output_sha256: str | None
    options: str
    start: int
    length: int

    @classmethod
    def of(cls, line: Line) -> "StoredRow":
        """Keep what decides of a line."""
        row = line.row
        options = sys.intern(row.options)
        return cls(row.input, row.input_sha256, row.output_sha256, options, line.start, line.length)


class RowFile:
    """A manifest that grows while others write to it: of each key the last row counts.

    It knows of no locks: who calls holds them. Errors of the system are left to the caller.
    """

    def __init__(self, path: Path) -> None:
        """Prepare for a manifest; nothing is read before it is asked for."""
        self.path = path
        self.rows: dict[str, StoredRow] = {}
        self._read = self._inode = 0  # bytes that are known, and of which file

    def read_anew(self) -> None:
        """Read all rows. Raises `InputError` for a file that is no manifest."""
        self.rows, self._read = {}, 0
        try:
            self._read_on()
        except ValueError as error:
            raise InputError(f"{self.path}:{error}") from None

    def catch_up(self) -> None:
        """Read the rows that were added since, by whomever. Raises `OutputError` where something else was."""
        try:
            self._read_on()
        except ValueError as error:
            raise OutputError(f"{self.path}: is not as it was left: line {error} from there") from None

    def row_at(self, stored: StoredRow) -> ManifestRow | None:
        """Read a whole row; none, if it was taken back."""
        with open_file(self.path) as stream:
            stream.seek(stored.start)
            content = stream.read(stored.length)
        return None if content.isspace() else ManifestRow.from_json(content)

    def command_of(self, key: str) -> str | None:
        """Name the command that made a row's output; none, where it made none or the row was taken back."""
        row = self.row_at(self.rows[key])
        return None if row is None or row.output is None else row.made.get("command")

    def append(self, row: ManifestRow) -> None:
        """Write a row, durably, behind those that are known, over what a killed process began, or not at all."""
        content = row.to_json().encode() + b"\n"
        start = self._read
        stream = os.open(self.path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666)
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
        self.rows[row.key] = StoredRow.of(Line(start, len(content), row))

    def blank(self, key: str) -> None:
        """Take a row back where it stands, durably, before its output is replaced; the line stays, of spaces."""
        if stored := self.rows.pop(key, None):
            with self.path.open("r+b", buffering=0) as stream:
                stream.seek(stored.start)
                stream.write(b" " * (stored.length - 1))
                os.fsync(stream.fileno())

    def close_gaps(self, without: Collection[str] = ()) -> int:
        """Leave only the rows that were just read, but for some; gives the file's bytes.

        None may know where rows stand: who goes on catches up.
        """
        if not self.path.exists():
            return 0
        kept = sorted(
            (stored.start, stored.length) for key, stored in self.rows.items() if key not in without
        )
        after = sum(length for _, length in kept)
        if after != self.path.stat().st_size:
            with replacing(self.path) as new, open_file(self.path) as old:
                for start, length in kept:
                    old.seek(start)
                    new.write(old.read(length))
        return after

    def _read_on(self) -> None:
        """Read from where we stand, or another file from its start. Raises `ValueError` for what is no row."""
        try:
            with open_file(self.path) as stream:
                status = os.fstat(stream.fileno())
                if status.st_ino != self._inode or status.st_size < self._read:
                    self.rows, self._read, self._inode = {}, 0, status.st_ino
                for line in read_lines(stream, self._read):
                    self.rows[line.row.key] = StoredRow.of(line)
                    self._read = line.start + line.length
        except FileNotFoundError:
            self.rows, self._read, self._inode = {}, 0, 0
