"""Sources that hold many photos each and are read as streams: shards, tables, data sets; by path or by URL."""

import os
import re
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePath
from typing import BinaryIO, Literal

from cratecli.errors import InputError, UsageError
from cratecli.files import open_file
from cratecli.io.images import EXTENSIONS
from cratecli.io.opening import told_apart
from cratecli.io.sources import tables, tars
from cratecli.io.sources.entry import Entry, Reading, failing
from cratecli.io.sources.stores import open_object, photo_at, version_of
from cratecli.io.urls import is_url, kept_inside, path_of, shown

Kind = Literal["tar", "parquet", "arrow", "dataset"]

_KINDS: dict[str, Kind] = {**dict.fromkeys(tars.ENDINGS, "tar"), ".parquet": "parquet", ".arrow": "arrow"}
_READERS: dict[Kind, Callable[[BinaryIO, Reading], Iterator[Entry]]] = {
    "tar": tars.tar_entries,
    "parquet": tables.parquet_entries,
    "arrow": tables.arrow_entries,
}
_PHOTOS = tuple(EXTENSIONS)
MOST_SHARDS = 100_000
_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")


@dataclass(frozen=True)
class Packed:
    """One source of many photos, a path or a URL; `column` is where photos are, if that was said."""

    source: str = field(repr=False)
    kind: Kind
    column: str | None = None

    @property
    def name(self) -> str:
        """Name it without credentials."""
        return shown(self.source) if is_url(self.source) else self.source

    @property
    def path(self) -> Path | None:
        """Give its path, if it is on this machine."""
        return None if is_url(self.source) else Path(self.source)

    @property
    def place(self) -> PurePath:
        """Give the path that outputs are named by, without its ending."""
        path = path_of(self.source) if is_url(self.source) else PurePath(os.path.abspath(self.source))  # noqa: PTH100
        ending = next((each for each in _KINDS if path.name.lower().endswith(each)), "")
        return path.with_name(path.name[: len(path.name) - len(ending)] or path.name)

    def count(self) -> int | None:
        """Count its photos, if that can be told without reading them."""
        return tables.count_rows(self.path) if self.path and self.kind == "parquet" else None

    def version(self) -> str | None:
        """Tell its state from others: by size and date, or as its store does; nothing where that cannot be told."""
        try:
            if self.path is None:
                return version_of(self.source)
            path = self.path / "state.json" if self.kind == "dataset" else self.path
            status = path.stat()
            return f"{status.st_size}-{status.st_mtime_ns}"
        except (OSError, InputError):
            return None

    def entries(self, most: int, note: Callable[[str], None]) -> Generator[Entry, None, None]:
        """Read its photos as they come, of `most` bytes at most each.

        Raises `InputError` for a source that is broken, after the photos before that, and `UsageError` for what it
        cannot be asked for.
        """
        reading = Reading(self.name, self.path, self.column, most, note)
        if self.kind == "dataset":
            yield from tables.dataset_entries(Path(self.source), reading)
            return
        with self._open() as stream:
            try:
                yield from _READERS[self.kind](stream, reading)
            except InputError:
                endings = [ending for ending, kind in _KINDS.items() if kind == self.kind]
                if self.path is None or (what := told_apart(self.path, endings)) is None:
                    raise
                raise InputError(f"{self.name}: {what}") from None

    @contextmanager
    def _open(self) -> Iterator[BinaryIO]:
        if self.path is None:
            with open_object(self.source) as stream:
                yield stream
            return
        try:
            stream = open_file(self.path)
        except (OSError, ValueError) as error:  # Python's, of a NUL in a name
            raise InputError(f"{self.name}: {getattr(error, 'strerror', None) or error}") from None
        with stream:
            yield stream


def packed_kind(name: str) -> Kind | None:
    """Tell by its name what a source of many photos is; a folder is one if `datasets` saved it."""
    url = is_url(name)
    path = (shown(name) if url else name).lower()
    if path.endswith(_PHOTOS):  # the most names of long lists
        return None
    if not url and os.path.isdir(name):  # noqa: PTH112
        return "dataset" if tables.is_saved_dataset(Path(name)) else None
    return next((kind for ending, kind in _KINDS.items() if path.endswith(ending)), None)


def unpacked(name: str, column: str | None) -> list[Packed]:
    """List what a name of a source of many photos stands for: itself, or the splits of a data set."""
    if (kind := packed_kind(name)) is None:
        return []
    if kind == "dataset":
        return [Packed(str(each), kind, column) for each in tables.saved_splits(Path(name))]
    return [Packed(name, kind, column)]


def expand(name: str) -> list[str]:
    """Write out the ranges in a name of shards, or in a URL, unless it is a path that is there.

    Raises `UsageError` for more than can be meant.

    >>> expand("s3://b/{08..10}.tar"), expand("{1..2}.jpg")
    (['s3://b/08.tar', 's3://b/09.tar', 's3://b/10.tar'], ['{1..2}.jpg'])
    """
    if not (is_url(name) or packed_kind(name)) or os.path.lexists(name) or not _RANGE.search(name):
        return [name]
    names = [name]
    while found := _RANGE.search(names[0]):
        first, last = int(found[1]), int(found[2])
        width = len(found[1]) if found[1].startswith("0") or len(found[1]) == len(found[2]) else 0
        if last < first or len(names) * (last - first + 1) > MOST_SHARDS:
            raise UsageError(
                f"{shown(name)}: {{{found[1]}..{found[2]}}} is no range of up to {MOST_SHARDS:,} shards"
            )
        names = [
            _RANGE.sub(f"{number:0{width}}", each, count=1)
            for each in names
            for number in range(first, last + 1)
        ]
    return names


def entry_at(name: str) -> Entry:
    """Take a manifest's name of a photo that is no file of its own, or a user's, for the photo.

    One inside something is found by reading from the beginning on. Raises `UsageError` for a URL of a protocol that is
    not known, or whose package is missing; a path that leads into no shard or table cannot be read.
    """
    splits = ((name[: each.start()], name[each.end() :]) for each in re.finditer("::", name))
    found = next(((kind, *split) for split in splits if (kind := packed_kind(split[0]))), None)
    if found is None:
        if not is_url(name):
            absent = InputError(f"{name}: no such file")
            return Entry(name, name, failing(absent), title=kept_inside(name).as_posix(), url=name)
        return photo_at(name)
    kind, source, member = found
    packed = Packed(source, kind)
    title = f"{packed.place.name}/{kept_inside(member)}"
    label = f"{packed.name}::{member}"
    return Entry(label, member, partial(_found, packed, member), packed.path, title=title, url=name)


def _found(packed: Packed, member: str, most: int) -> bytes:
    """Read a source on until one of its photos comes. Raises `InputError`."""
    with closing(packed.entries(most, lambda _note: None)) as entries:
        for entry in entries:
            if entry.member == member:
                return entry.read(most)
    raise InputError(f"{packed.name}::{member}: not in there")
