"""A photo that is no file of its own: an object in a store, on the web, a member of a shard, a row of a table."""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NoReturn

from cratecli.errors import InputError
from cratecli.files import seen_from
from cratecli.io.urls import is_url

Read = Callable[[int], bytes]
"""Gives a photo's bytes, `most` at most. Raises `InputError`, for more bytes too."""

_INSIDE = re.compile(r"\.(?:tar|tar\.gz|tgz)::|::\d{8,}$", re.I)


@dataclass(frozen=True, eq=False)
class Entry:
    """A photo by its name, without credentials, and the path that its output is named by.

    Where it lies inside something, as in a shard, its name is that one's, `::` and its own; `archive` is the path of
    one on this machine, `title` what annotation files call it, and `url` tells it from others, credentials and all.
    An entry of a stream holds its `nbytes` bytes until it is asked for them, which it is once.
    """

    name: str
    member: str
    read: Read = field(repr=False)
    archive: Path | None = None
    title: str = ""
    url: str = field(default="", repr=False)
    nbytes: int = 0

    def seen_from(self, folder: Path) -> str:
        """Name it as a manifest in a folder does: files are relative to that."""
        if self.archive is None:
            return self.name
        return f"{seen_from(folder, self.archive)}::{self.member}"


def entry_here(name: str, place: Path) -> str | None:
    """Name a photo that is no file of its own from the working folder on; nothing for one that is a file.

    A manifest in the folder `place` calls it by `name`.
    """
    if not is_entry(name):
        return None
    return name if is_url(name) else os.path.normpath(place / name)


def title_of(name: str) -> str:
    """Give the path that an entry's name stands for, in a tree of photos.

    >>> title_of("../a.tar::x/1.jpg"), title_of("s3://bucket/a.parquet::00000012"), title_of("s3://bucket/b.jpg")
    ('../a/x/1.jpg', 'bucket/a/00000012', 'bucket/b.jpg')
    """
    inside = re.sub(r"(?i)(?:\.(?:tar|tar\.gz|tgz|parquet|arrow))?::", "/", name, count=1)
    return inside.partition("://")[2] if "://" in inside else inside


@dataclass(frozen=True)
class Reading:
    """How a source of many photos is read: its name, its path if it is on this machine, and the fields of photos.

    Photos have `most` bytes at most; `note` gets lines that users should read.
    """

    name: str
    archive: Path | None
    column: str | None
    most: int
    note: Callable[[str], None]


def is_entry(name: str) -> bool:
    """Tell whether a manifest's name is of an entry, not of a file: a URL, or inside something.

    >>> is_entry("../a.tar::x/1.jpg"), is_entry("s3://bucket/a.jpg"), is_entry("../a.jpg"), is_entry("../a::b.jpg")
    (True, True, False, False)
    """
    return is_inside(name) or is_url(name)


def is_inside(name: str) -> bool:
    """Tell whether a name is of a photo inside a shard or a table."""
    return _INSIDE.search(name) is not None


def refuse_large(size: int, name: str, most: int) -> None:
    """Raise `InputError` for more bytes than a photo of the allowed pixels needs in any format."""
    if size > most:
        raise InputError(f"{name}: {size:,} bytes are more than a photo needs; --max-pixels raises the limit")


def failing(error: InputError) -> Read:
    """Give a photo that cannot be read, for a reason that is known already."""
    return partial(_fail, error)


def _fail(error: InputError, _most: int) -> NoReturn:
    raise error


def held(content: bytes) -> Read:
    """Hold a photo's bytes until they are asked for, once."""
    cell = [content]
    return lambda _most: cell.pop()
