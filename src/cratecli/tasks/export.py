"""Export a run: its manifest to a hand-off format; what was written is decoded again and compared with the run."""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from tempfile import TemporaryFile
from typing import Any, BinaryIO

from cratecli import __version__
from cratecli.errors import InputError, NothingMatchedError, OutputError, UsageError
from cratecli.files import replacing
from cratecli.io import images
from cratecli.io.formats.compare import agreement
from cratecli.io.formats.names import bare, plain, safe, stems
from cratecli.io.formats.record import Annotated, check_size, classes, restore
from cratecli.io.formats.table import Beside, FileEach, Format, Info, OneFile
from cratecli.tasks.batch import Failure, Job, deliver
from cratecli.tasks.manifest import MANIFEST, Row, read_rows


@dataclass(frozen=True)
class Entry:
    """A photo of a run: the line that tells of it, its path and hash, and what it and its own file are called.

    `name` is what formats call the photo, `file` its file in a folder, without an ending: both stay below it.
    """

    line: int
    source: Path
    sha256: str
    name: str
    file: str


@dataclass(frozen=True)
class Run:
    """A run as its manifest tells it; going through it reads the manifest anew, so that it is never held at once."""

    manifest: Path
    entries: tuple[Entry, ...]
    protected: frozenset[str]
    info: Info

    def __iter__(self) -> Iterator[Annotated]:
        """Give the photos in the manifest's order, named as formats name them."""
        return (photo for _, photo in self.rows())

    def rows(self) -> Iterator[tuple[Entry, Annotated]]:
        """Give the photos beside their entries. Raises `InputError` if the manifest is another by now."""
        entries = iter(self.entries)
        entry = next(entries, None)
        for line, row in enumerate(read_rows(self.manifest), 1):
            if entry is None:
                return
            if line == entry.line and row.input_sha256 == entry.sha256:
                yield entry, replace(_photo(self.manifest, line, row), name=entry.name)
                entry = next(entries, None)
        if entry is not None:
            raise InputError(f"{self.manifest}: has changed meanwhile: export again")


@dataclass(frozen=True)
class Exported:
    """A photo that was exported: where to, how many objects, and the mean IoU of what was decoded again with them.

    Without `target` it went to standard output; without `iou` the format is only to look at.
    """

    source: Path
    target: Path | None
    objects: int
    iou: float | None


def read_run(path: Path) -> Run:
    """Read a run's manifest, from its file or its folder. Where an input was done twice the last row counts.

    Raises `InputError`, as `FILE:LINE: reason`, for what is no manifest, and `NothingMatchedError` for an empty one.
    """
    manifest = path / MANIFEST if path.is_dir() else path
    last: dict[str, tuple[int, Row]] = {}
    made: dict[str, dict[str, Any]] = {}  # by the options' digest
    for line, row in enumerate(read_rows(manifest), 1):
        _photo(manifest, line, row)
        last.pop(row.input, None)
        last[row.input] = line, replace(row, made={}, annotated=_blank(row.annotated))
        made.setdefault(row.options, row.made)
    if not last:
        raise NothingMatchedError(f"{manifest}: no photo was done")
    ways = dict.fromkeys(row.options for _, row in last.values())
    info = {"description": f"crate {__version__}", "made": [made[options] for options in ways]}
    place = manifest.parent
    paths = [place / each for _, row in last.values() for each in (row.input, row.output) if each is not None]
    protected = frozenset(os.path.realpath(each) for each in (manifest, *paths))
    return Run(manifest, _entries(place, list(last.values())), protected, info)


def _photo(manifest: Path, line: int, row: Row) -> Annotated:
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
        raise InputError(f"{manifest}:{line}: not a row of a manifest ({error})") from None
    return replace(photo, objects=[each for each in objects if each.area])


def _entries(place: Path, rows: list[tuple[int, Row]]) -> tuple[Entry, ...]:
    """Name photos after the tree of outputs, where each has its own, else after their paths."""
    shared = Counter(row.output for _, row in rows)
    names: dict[str, Row] = {}
    for _, row in rows:
        if row.output is None or shared[row.output] > 1:
            name = safe(row.input)
        else:
            name = safe(str(PurePosixPath(row.output).parent / PurePosixPath(row.input).name))
        if (first := names.setdefault(name, row)) is not row:
            raise UsageError(f"{first.input} and {row.input} would both be called {name}: run them apart")
    return tuple(
        Entry(
            line,
            place / row.input,
            row.input_sha256,
            name,
            stem if row.output is None or shared[row.output] > 1 else bare(safe(row.output)),
        )
        for (line, row), name, stem in zip(rows, names, stems(list(names)), strict=True)
    )


def export(
    run: Run, form: Format, target: Path | None, put: Callable[[bytes], object]
) -> Iterator[Exported | Failure]:
    """Write a run to `target`, a file or a folder as the format has it, or to `put`, and tell of each photo.

    One file appears when all of it was compared, and not at all where something is not as it was meant.
    Raises `UsageError` for what would be overwritten, and `OutputError`.
    """
    if isinstance(form, OneFile):
        yield from _one_file(run, form, target, put)
    elif target is None:
        raise ValueError("a folder needs a path")
    else:
        yield from _file_each(run, form, target)


def beside_path(form: Format, target: Path) -> Path | None:
    """Tell where the file goes that a format has beside its one file, or in its folder."""
    if form.beside is None:
        return None
    if isinstance(form, OneFile):
        return target.with_name(f"{target.stem}.{form.beside.name}")
    return target / form.beside.name


def _one_file(
    run: Run, form: OneFile, target: Path | None, put: Callable[[bytes], object]
) -> Iterator[Exported | Failure]:
    beside = None if target is None else beside_path(form, target)
    _refuse(run, [path for path in (target, beside) if path is not None])
    failed = 0
    with _writing(target, put) as stream:
        form.write(run, run.info, stream)
        stream.flush()
        with _again(stream) as written:
            try:
                for (entry, photo), decoded in zip(run.rows(), form.read(written, run), strict=True):
                    outcome = _compared(form, entry, target, photo, decoded)
                    failed += isinstance(outcome, Failure)
                    yield outcome
            except ValueError as error:
                raise OutputError(f"{target or 'standard output'}: does not read back: {error}") from None
        if failed:
            raise OutputError(f"{target or 'standard output'}: not written")
    _deliver_beside(run, form.beside, beside)


@contextmanager
def _writing(target: Path | None, put: Callable[[bytes], object]) -> Iterator[BinaryIO]:
    """Open what takes the target's place, or what is put out, when the block ends well. Raises `OutputError`."""
    try:
        if target is not None:
            with replacing(target) as stream:
                yield stream
            return
        with TemporaryFile() as spooled:
            yield spooled
            spooled.seek(0)
            while chunk := spooled.read(1 << 20):
                put(chunk)
    except OSError as error:
        place = target or "standard output"
        raise OutputError(f"{place}: cannot be written: {error.strerror or error}") from None


@contextmanager
def _again(stream: BinaryIO) -> Iterator[BinaryIO]:
    """Read what was written from its beginning, from the disk."""
    if stream.readable():
        stream.seek(0)
        yield stream
    else:
        with Path(stream.name).open("rb") as written:
            yield written


def _file_each(run: Run, form: FileEach, folder: Path) -> Iterator[Exported | Failure]:
    files = stems([each.name for each in run.entries]) if form.by_photo else [e.file for e in run.entries]
    targets = [folder / form.folder / f"{file}.{form.ending}" for file in files]
    beside = beside_path(form, folder)
    _refuse(run, targets if beside is None else [*targets, beside])
    names = classes(run)
    for (entry, photo), target in zip(run.rows(), targets, strict=True):
        try:
            look = _Look(entry, photo)
            deliver(target, form.encode(photo, names, look))
        except InputError as error:
            yield Failure(Job(entry.source, target), error)
            continue
        try:
            decoded = None if form.decode is None else form.decode(target.read_bytes(), _blank(photo), names)
        except (OSError, ValueError) as error:
            unread = OutputError(f"{target}: does not read back: {error}")
            yield Failure(Job(entry.source, target), unread)
            continue
        yield _compared(form, entry, target, photo, decoded)
    _deliver_beside(run, form.beside, beside)


@dataclass(frozen=True)
class _Look:
    """Reads a photo, if its bytes are those of the run. Raises `InputError`."""

    entry: Entry
    photo: Annotated

    def __call__(self) -> images.RGB:
        name = shown(self.entry.source)
        try:
            if not self.entry.source.is_file():
                raise InputError(f"{name}: {'not a file' if self.entry.source.exists() else 'no such file'}")
            content = self.entry.source.read_bytes()
        except OSError as error:
            raise InputError(f"{name}: {error.strerror or error}") from None
        if hashlib.sha256(content).hexdigest() != self.entry.sha256:
            raise InputError(f"{name}: not the photo of the run: its bytes have changed")
        rgb = images.read_bytes(content, name)
        if rgb.shape[:2] != (self.photo.height, self.photo.width):
            raise InputError(f"{name}: not of the size that the run says")
        return rgb


def shown(path: Path) -> str:
    """Name a path as the user would, without the way through the manifest's folder and out again."""
    return os.path.normpath(path)


def _blank(photo: Annotated) -> Annotated:
    return replace(photo, objects=())


def _compared(
    form: Format, entry: Entry, target: Path | None, photo: Annotated, decoded: Annotated | None
) -> Exported | Failure:
    """Compare a photo with what came back of it; it fails where something is lost that the format can hold."""
    if decoded is None:
        return Exported(entry.source, target, len(photo.objects), None)
    alike = (decoded.height, decoded.width) == (photo.height, photo.width)
    iou = agreement(form.seen(photo), decoded) if alike else 0.0
    if form.held is not None and (not alike or agreement(form.held(photo), decoded) != 1):
        reason = f"{shown(entry.source)}: what was written is not what was meant: IoU {iou:.4f}"
        return Failure(Job(entry.source, target), OutputError(reason))
    return Exported(entry.source, target, len(photo.objects), iou)


def _refuse(run: Run, targets: list[Path]) -> None:
    """Refuse to write over the run's own photos, outputs or manifest, or twice to one place."""
    places = [os.path.realpath(target) for target in targets]
    for target, place in zip(targets, places, strict=True):
        if place in run.protected:
            raise UsageError(f"{target} is of the run itself: choose another output")
    twice = [place for place, count in Counter(map(str.casefold, places)).items() if count > 1]
    if twice:
        clashing = next(t for t, place in zip(targets, places, strict=True) if place.casefold() == twice[0])
        raise UsageError(f"two photos would both be written to {clashing}: run them apart")


def _deliver_beside(run: Run, beside: Beside | None, path: Path | None) -> None:
    if beside is not None and path is not None:
        deliver(path, beside.encode(classes(run)))
