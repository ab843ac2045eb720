"""A finished run, as its manifest tells it: its photos, what formats call them, and the photos themselves."""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from cratecli.arrays import RGB
from cratecli.errors import InputError, NothingMatchedError, UsageError
from cratecli.io import images
from cratecli.io.formats.names import bare, plain, safe, stems
from cratecli.io.formats.record import Annotated, check_size, restore
from cratecli.io.formats.table import Info
from cratecli.runs.manifest import MANIFEST, Line, ManifestRow, read_manifest
from cratecli.version import __version__


@dataclass(frozen=True)
class Entry:
    """A photo of a run: where its row stands, its path and hash, and what it and its own file are called.

    Its row is the `number`th, `length` bytes from byte `start` on. `name` is what formats call the photo, `file` its
    file in a folder, without an ending: both stay below it.
    """

    number: int
    start: int
    length: int
    source: Path
    sha256: str
    name: str
    file: str

    @property
    def shown(self) -> str:
        """Name the photo as the user would, without the way through the manifest's folder and out again."""
        return os.path.normpath(self.source)


@dataclass(frozen=True)
class Run:
    """A run as its manifest tells it; going through it reads the manifest anew, so that it is never held at once.

    Photos come in the order of their names, whatever the order they were done in. `protected` are the real paths of
    its photos, outputs and manifest; `info` says how it was made.
    """

    manifest: Path
    entries: tuple[Entry, ...]
    protected: frozenset[str]
    info: Info

    def __iter__(self) -> Iterator[Annotated]:
        """Give the photos, named as formats name them."""
        return (photo for _, photo in self.rows())

    def rows(self) -> Iterator[tuple[Entry, Annotated]]:
        """Give the photos beside their entries. Raises `InputError` if the manifest is another by now."""
        try:
            with self.manifest.open("rb") as stream:
                for entry in self.entries:
                    stream.seek(entry.start)
                    row = ManifestRow.from_json(stream.read(entry.length))
                    if row.input_sha256 != entry.sha256:
                        raise ValueError("another photo")
                    yield entry, replace(_photo(self.manifest, entry.number, row), name=entry.name)
        except OSError as error:
            raise InputError(f"{self.manifest}: {error.strerror}") from None
        except ValueError:
            raise InputError(f"{self.manifest}: has changed meanwhile: export again") from None


def read_run(path: Path) -> Run:
    """Read a run's manifest, from its file or its folder. Where an input was done twice the last row counts.

    Raises `InputError`, as `FILE:LINE: reason`, for what is no manifest, `NothingMatchedError` for an empty one, and
    `UsageError` for photos that formats could not tell apart.
    """
    manifest = path / MANIFEST if path.is_dir() else path
    if path.is_dir() and not manifest.exists():
        raise InputError(f"{manifest}: No such file: the folder is no run; crate segment -o FOLDER makes one")
    if manifest.exists() and not manifest.is_file():
        raise InputError(f"{manifest}: not a file")
    last: dict[str, tuple[int, Line]] = {}
    made: dict[str, dict[str, Any]] = {}  # by the options' digest
    for number, line in enumerate(read_manifest(manifest), 1):
        row = line.row
        _photo(manifest, number, row)
        without = row.model_copy(update={"made": {}, "objects": []})
        last[row.input] = number, replace(line, row=without)
        made.setdefault(row.options, row.made)
    if not last:
        raise NothingMatchedError(f"{manifest}: no photo was done")
    place, rows = manifest.parent, {number: line.row for number, line in last.values()}
    entries = _entries(place, list(last.values()))
    ways = dict.fromkeys(rows[entry.number].options for entry in entries)
    info = {"description": f"crate {__version__}", "made": [made[options] for options in ways]}
    paths = [place / each for row in rows.values() for each in (row.input, row.output) if each is not None]
    protected = frozenset(os.path.realpath(each) for each in (manifest, *paths))
    return Run(manifest, entries, protected, info)


def _photo(manifest: Path, number: int, row: ManifestRow) -> Annotated:
    """Check a row, and measure its objects anew; what has no pixel is none. Raises `InputError`."""
    photo = row.annotated
    try:
        check_size(photo.height, photo.width)
        json.dumps(row.made, allow_nan=False)
        for path in filter(None, (row.input, row.output)):
            if b"\0" in os.fsencode(path):
                raise ValueError(f"{path!r} is no path")
        objects = [restore(each.rle, each.score, plain(each.label)) for each in photo.objects]
        for found in objects:
            if found.rle["size"] != [photo.height, photo.width]:
                raise ValueError("a mask is not of its photo's size")
            if not 0 <= found.score <= 1 or not found.label:
                raise ValueError("an object has no score of 0 to 1, or no label")
    except ValueError as error:
        raise InputError(f"{manifest}:{number}: not a row of a manifest ({error})") from None
    return replace(photo, objects=[each for each in objects if each.area])


def _entries(place: Path, lines: Sequence[tuple[int, Line]]) -> tuple[Entry, ...]:
    """Name photos after the tree of outputs, where each has one of its own, else after their paths; in that order."""
    rows = [line.row for _, line in lines]
    outputs = Counter(row.output for row in rows)
    own = [row.output if outputs[row.output] == 1 else None for row in rows]
    names: dict[str, ManifestRow] = {}
    for row, output in zip(rows, own, strict=True):
        in_tree = PurePosixPath(output or "").parent / PurePosixPath(row.input).name
        name = safe(row.input if output is None else str(in_tree))
        if (first := names.setdefault(name, row)) is not row:
            raise UsageError(f"{first.input} and {row.input} would both be called {name}: run them apart")
    files = [
        stem if output is None else bare(safe(output))
        for stem, output in zip(stems(list(names)), own, strict=True)
    ]
    entries = [
        Entry(number, line.start, line.length, place / line.row.input, line.row.input_sha256, name, file)
        for (number, line), name, file in zip(lines, names, files, strict=True)
    ]
    return tuple(sorted(entries, key=lambda entry: PurePosixPath(entry.name)))


def look(entry: Entry, photo: Annotated) -> RGB:
    """Read a photo anew, upright. Raises `InputError` unless its bytes and its size are those of the run."""
    name = entry.shown
    content = images.content(entry.source, name)
    if hashlib.sha256(content).hexdigest() != entry.sha256:
        raise InputError(f"{name}: not the photo of the run: its bytes have changed")
    rgb = images.read_bytes(content, name)
    if rgb.shape[:2] != (photo.height, photo.width):
        raise InputError(f"{name}: not of the size that the run says")
    return rgb
