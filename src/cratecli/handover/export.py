"""Export a run: its manifest to a hand-off format; what was written is decoded again and compared with the run."""

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryFile
from typing import BinaryIO

from cratecli.errors import InputError, OutputError, UsageError
from cratecli.files import replacing
from cratecli.handover.finished_run import Entry, Run, look
from cratecli.io.formats.compare import agreement
from cratecli.io.formats.names import stems
from cratecli.io.formats.record import Annotated, classes
from cratecli.io.formats.table import FileEach, Format, OneFile
from cratecli.runs.jobs import Failure, Job, deliver

Put = Callable[[bytes], object]
"""Takes the bytes of a file that has no path, as standard output does."""


@dataclass(frozen=True)
class Exported:
    """A photo that was exported: where to, how many objects, and the mean IoU of what was decoded again with them.

    Without `target` it went to standard output; without `iou` the format is only to look at.
    """

    entry: Entry
    target: Path | None
    objects: int
    iou: float | None


class _LostError(OutputError):
    """What was written does not come back as it was meant."""


def export(run: Run, form: Format, target: Path | None, put: Put) -> Iterator[Exported | Failure]:
    """Write a run to `target`, a file or a folder as the format has it, or to `put`, and tell of each photo.

    No file appears that does not come back as it was meant. Raises `UsageError` for what would be overwritten, and
    `OutputError`.
    """
    if isinstance(form, OneFile):
        yield from _one_file(run, form, target, put)
    elif target is None:
        raise ValueError("a folder needs a path")
    else:
        yield from _file_each(run, form, target, put)


def beside_path(form: Format, target: Path) -> Path | None:
    """Tell where the file goes that a format has beside its one file, or in its folder."""
    if form.beside is None:
        return None
    if isinstance(form, OneFile):
        return target.with_name(f"{target.stem}.{form.beside.name}")
    return target / form.beside.name


def _one_file(run: Run, form: OneFile, target: Path | None, put: Put) -> Iterator[Exported | Failure]:
    beside = None if target is None else beside_path(form, target)
    _refuse(run, [path for path in (target, beside) if path is not None])
    name, failed = target or "standard output", 0
    with _writing(target, put) as stream:
        form.write(run, run.info, stream)
        with _again(stream) as written:
            try:
                for (entry, photo), decoded in zip(run.rows(), form.read(written, run), strict=True):
                    try:
                        yield _compared(form, entry, target, photo, decoded)
                    except _LostError as error:
                        failed += 1
                        yield Failure(Job(entry.source, target), error)
            except ValueError as error:
                raise OutputError(f"{name}: does not read back: {error}") from None
        if failed:
            raise OutputError(f"{name}: not written")
    _deliver_beside(run, form, beside)


def _file_each(run: Run, form: FileEach, folder: Path, put: Put) -> Iterator[Exported | Failure]:
    targets = [folder / form.folder / f"{file}.{form.ending}" for file in _files(run, form)]
    beside = beside_path(form, folder)
    _refuse(run, targets if beside is None else [*targets, beside])
    names = classes(run)
    for (entry, photo), target in zip(run.rows(), targets, strict=True):
        try:
            content = form.encode(photo, names, partial(look, entry, photo))
            with _writing(target, put) as stream:
                stream.write(content)
                with _again(stream) as written:
                    decoded = _decoded(form, target, written.read(), photo, names)
                exported = _compared(form, entry, target, photo, decoded)
        except (InputError, _LostError) as error:
            yield Failure(Job(entry.source, target), error)
        else:
            yield exported
    _deliver_beside(run, form, beside)


def _files(run: Run, form: FileEach) -> list[str]:
    """Name the files of a format, without their ending."""
    return stems([each.name for each in run.entries]) if form.by_photo else [e.file for e in run.entries]


def _decoded(
    form: FileEach, target: Path, content: bytes, photo: Annotated, names: Sequence[str]
) -> Annotated | None:
    try:
        return None if form.decode is None else form.decode(content, replace(photo, objects=()), names)
    except ValueError as error:
        raise _LostError(f"{target}: does not read back: {error}") from None


@contextmanager
def _writing(target: Path | None, put: Put) -> Iterator[BinaryIO]:
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
    """Read what was written from its beginning, from the file it is in."""
    stream.flush()
    if stream.readable():
        stream.seek(0)
        yield stream
    else:
        with Path(stream.name).open("rb") as written:
            yield written


def _compared(
    form: Format, entry: Entry, target: Path | None, photo: Annotated, decoded: Annotated | None
) -> Exported:
    """Compare a photo with what came back of it. Raises `_LostError` where the format could have held what is lost."""
    if decoded is None:
        return Exported(entry, target, len(photo.objects), None)
    alike = (decoded.height, decoded.width) == (photo.height, photo.width)
    iou = agreement(form.seen(photo), decoded) if alike else 0.0
    if form.held is not None and (not alike or agreement(form.held(photo), decoded) != 1):
        raise _LostError(f"{entry.shown}: what was written is not what was meant: IoU {iou:.4f}")
    return Exported(entry, target, len(photo.objects), iou)


def _refuse(run: Run, targets: Sequence[Path]) -> None:
    """Refuse to write over the run's own photos, outputs or manifest, or twice to one place."""
    places = [os.path.realpath(target) for target in targets]
    counts = Counter(map(os.path.normcase, places))
    for target, place in zip(targets, places, strict=True):
        if place in run.protected:
            raise UsageError(f"{target} is of the run itself: choose another output")
        if counts[os.path.normcase(place)] > 1:
            raise UsageError(f"two photos would both be written to {target}: run them apart")


def _deliver_beside(run: Run, form: Format, path: Path | None) -> None:
    if form.beside is not None and path is not None:
        deliver(path, form.beside.encode(classes(run)))
