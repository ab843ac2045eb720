"""Which photos a command is asked about: names, folders and lists."""

import codecs
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from cratecli.cli import options
from cratecli.cli.console import stdin_bytes
from cratecli.errors import InputError, UsageError
from cratecli.files import MOST_TEXT, bounded, read_text_bytes

if TYPE_CHECKING:
    from cratecli.runs.inputs import Inputs

STDIN = "-"
_STDIN_TOO = ("/dev/stdin", "/dev/fd/0", "/proc/self/fd/0")
_MARKS = {
    codecs.BOM_UTF32_LE: "UTF-32",  # before UTF-16, whose mark is its beginning
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}
"""What PowerShell and editors put before a text in these encodings."""


@dataclass(frozen=True)
class PhotoOptions:
    """Which photos."""

    PANEL: ClassVar = "Which photos"

    photos: options.PhotoArguments = None
    recursive: options.Recursive = False
    include: options.Include = None
    exclude: options.Exclude = None
    files_from: options.FilesFrom = None
    null: options.Null = False

    def inputs(self) -> "Inputs":
        """Put together what was named and what the list says. Raises `UsageError`, and `InputError` for the list."""
        from cratecli.runs.inputs import Inputs

        named = self.given
        if self.null and self.files_from is None:
            raise UsageError("-0 says how a list is written: give --files-from too")
        if not named and self.files_from is None:
            raise UsageError("missing argument 'PHOTO...': give photos, folders, `-`, or --files-from")
        listed = self._listed()
        if self.list_name == STDIN and STDIN in (*named, *listed):
            raise UsageError("standard input can be read only once")
        patterns = (tuple(self.include or ()), tuple(self.exclude or ()))
        return Inputs(named, listed, self.recursive, *patterns, self.list_name, self.null)

    @property
    def piped(self) -> bool:
        """Tell whether standard input is the one photo."""
        return self.given == (STDIN,) and self.files_from is None

    @property
    def given(self) -> tuple[str, ...]:
        """Give what was named, stdin as `-`; a list is no part of it."""
        return tuple(map(_or_stdin, self.photos or ()))

    @property
    def list_name(self) -> str | None:
        """Give the list's name, stdin as `-`."""
        return None if self.files_from is None else _or_stdin(self.files_from)

    def _listed(self) -> tuple[str, ...]:
        from cratecli.io.urls import refuse_url

        if (name := self.list_name) is None:
            return ()
        refuse_url(name, piped="crate segment --files-from -")
        try:
            content = bounded(stdin_bytes(MOST_TEXT), name) if name == STDIN else read_text_bytes(Path(name))
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "no path"
            what = "standard input" if name == STDIN else name
            raise InputError(f"{what}: cannot be read: {reason}") from None
        lines = content.split(b"\0") if self.null else _lines(content, name)
        return tuple(os.fsdecode(line) for line in lines if line)


@dataclass(frozen=True)
class StreamOptions(PhotoOptions):
    """Which photos, of shards and tables too."""

    column: options.Column = None

    def inputs(self) -> "Inputs":
        """Put together what was named; see `PhotoOptions`."""
        return replace(super().inputs(), column=self.column)


def _or_stdin(name: str) -> str:
    return STDIN if name in _STDIN_TOO else name


def _lines(content: bytes, name: str) -> list[bytes]:
    """Split a list into its lines; a mark of UTF-8, UTF-16 or UTF-32 at its start is obeyed, and left out."""
    content = content.removeprefix(codecs.BOM_UTF8)
    if encoding := next((each for mark, each in _MARKS.items() if content.startswith(mark)), None):
        try:
            content = content.decode(encoding).encode()
        except UnicodeError:
            raise InputError(f"{name}: begins as {encoding}, and is none: write it as UTF-8") from None
    if b"\0" in content:
        raise UsageError(f"{name}: its paths end with NUL: give -0; or it is UTF-16: write it as UTF-8")
    return content.splitlines()
