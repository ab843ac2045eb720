"""Export a finished run to an annotation format; each file is decoded again and compared with the run."""

import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath
from tempfile import TemporaryFile
from typing import BinaryIO

from cratecli.errors import InputError, OutputError, UsageError
from cratecli.files import TEMPORARY, real_place, replacing
from cratecli.handover.finished_run import FinishedPhoto, FinishedRun
from cratecli.handover.photos import photo_content, put_photo, read_photo_again
from cratecli.handover.records import ExportRecord
from cratecli.io.formats import PhotosBeside
from cratecli.io.formats.compare import agreement
from cratecli.io.formats.names import stems
from cratecli.io.formats.png import with_text
from cratecli.io.formats.record import Annotated, classes
from cratecli.io.formats.table import FileEach, Format, OneFile
from cratecli.io.opening import ending_of
from cratecli.runs import provenance
from cratecli.runs.jobs import Failure, Job, deliver
from cratecli.wording import count_of

Put = Callable[[bytes], object]
"""Writes bytes to standard output."""


@dataclass(frozen=True)
class Exported:
    """Describes one exported photo: its file, the number of its objects, and how much the format kept of them.

    `iou` is the mean IoU, 0–1, of the objects with what the written file decodes to; `None` for a picture that
    cannot be decoded to masks. `target` is `None` for standard output; `beside` is a link to the photo, or its copy.
    """

    photo: FinishedPhoto
    target: Path | None
    objects: int
    iou: float | None
    beside: Path | None = None

    @property
    def record(self) -> ExportRecord:
        """Give the JSON record."""
        output = None if self.target is None else str(self.target)
        return ExportRecord(input=self.photo.shown, output=output, objects=self.objects, iou=self.iou)


class _LostError(OutputError):
    """A written file does not decode to the objects that the format could have held."""

    def __init__(self, message: str) -> None:
        """Say which photo's, and how far it is off."""
        super().__init__(message, alone=True)


def export(
    run: FinishedRun, form: Format, target: Path | None, put: Put, *, photos: PhotosBeside = "none"
) -> Iterator[Exported | Failure]:
    """Write a run's objects in one format, and yield an outcome for each photo.

    `target` is a file for a `OneFile` format and a folder for a `FileEach` format; without it the file goes to
    `put`. With `photos`, a format whose tool looks for them beside its files gets links or copies there, if their bytes
    are those that were segmented; of what is no file of its own, copies. A file that does not decode to the objects it
    should hold is not written. Raises `UsageError` where one of the run's own files would be overwritten, and
    `OutputError` where one file for all photos, or any file at all, cannot be written.
    """
    if isinstance(form, OneFile):
        yield from _one_file(run, form, target, put)
    elif target is None:
        raise ValueError("a folder needs a path")
    else:
        yield from _file_each(run, form, target, put, photos)


def beside_path(form: Format, target: Path) -> Path | None:
    """Return the path of the format's companion file, such as a list of classes; `None` for a format without one."""
    if form.beside is None:
        return None
    if isinstance(form, OneFile):
        return target.with_name(f"{target.stem}.{form.beside.name}")
    return target / form.beside.name


def _one_file(run: FinishedRun, form: OneFile, target: Path | None, put: Put) -> Iterator[Exported | Failure]:
    beside = None if target is None else beside_path(form, target)
    _refuse(run, [path for path in (target, beside) if path is not None])
    name, failed = target or "standard output", 0
    run = run.doubtful_first() if form.doubtful_first else run
    with _writing(target, put) as stream:
        form.write(run, run.info, stream)
        with _again(stream) as written:
            try:
                for (photo, annotated), decoded in zip(run.rows(), form.read(written, run), strict=True):
                    try:
                        yield _compared(form, photo, target, annotated, decoded)
                    except _LostError as error:
                        failed += 1
                        yield Failure(Job(photo.source, target), error)
            except ValueError as error:
                raise OutputError(f"{name}: does not read back: {error}") from None
        if failed:
            raise OutputError(f"{name}: not written")
    _deliver_beside(run, form, beside)


def _file_each(
    run: FinishedRun, form: FileEach, folder: Path, put: Put, photos: PhotosBeside
) -> Iterator[Exported | Failure]:
    files = file_names(run.photos, form)
    targets = [folder / form.folder / f"{file}.{form.ending}" for file in files]
    beside = beside_path(form, folder)
    _refuse(run, targets if beside is None else [*targets, beside])
    names = classes(run)
    for number, ((photo, annotated), target) in enumerate(zip(run.rows(), targets, strict=True)):
        place: Path | None = None
        try:
            if photos != "none" and form.photos:
                ending, whole = _readable(form, photo)
                place = folder / form.photos / f"{files[number]}{ending}"
                _refuse_own(run, place)
                put_photo(photo, place, photos, whole)
            content = encoded(run, form, photo, annotated, names=names, folder=folder, target=target)
            with _writing(target, put) as stream:
                stream.write(content)
                with _again(stream) as written:
                    decoded = _decoded(form, target, written.read(), annotated, names)
                exported = _compared(form, photo, target, annotated, decoded)
        except (InputError, OutputError) as error:
            if isinstance(error, OutputError) and not error.alone:
                raise OutputError(
                    f"{error}; {number} of {count_of(len(targets), 'photo')} exported"
                ) from None
            yield Failure(Job(photo.source, target), error)
        else:
            yield replace(exported, beside=place)
    _deliver_beside(run, form, beside)


def file_names(photos: Sequence[FinishedPhoto], form: FileEach) -> list[str]:
    """Name the files of a format, without their extension."""
    if not form.photos:
        return [each.file for each in photos]
    return [_apart(each, form.photos) for each in stems([each.name for each in photos])]


def encoded(
    run: FinishedRun,
    form: FileEach,
    photo: FinishedPhoto,
    annotated: Annotated,
    *,
    names: Sequence[str],
    folder: Path,
    target: Path,
) -> bytes:
    """Encode the file of one photo; PNGs say how. Raises `InputError` where it takes the photo, which has changed."""
    content = form.encode(annotated, names, partial(read_photo_again, photo, annotated))
    if form.ending == "png" and "crate" in run.info:
        asked = run.info["crate"].get("recipe")  # without paths: no PNG takes an option that is one
        made = provenance.exported(run.info["crate"]["as"], run.manifest, target, asked, folder=folder)
        return with_text(content, json.dumps(made))
    return content


def _apart(file: str, folder: str) -> str:
    """Rename the folders of a file that are called like `folder`: a tool would take the last one for it."""
    *folders, name = file.split("/")
    return "/".join([*(f"{each}-" if each == folder else each for each in folders), name])


def _readable(form: FileEach, photo: FinishedPhoto) -> tuple[str, bytes]:
    """Give a photo's extension, or where it has none, as a row of a table, that of its format; and its bytes.

    Raises `InputError` for an extension that the format's tool does not read, and as `photo_content`.
    """
    named = PurePosixPath(photo.name).suffix
    content = b"" if named and named.lower() not in form.endings else photo_content(photo)
    if (ending := named or ending_of(content)).lower() not in form.endings:
        known = ", ".join(sorted(form.endings))
        raise InputError(
            f"{photo.shown}: the tool reads {known}, not {ending!r}: convert it, or --photos none"
        )
    return ending, content


def _refuse_own(run: FinishedRun, place: Path) -> None:
    """Raise `UsageError` for a place that is a photo of the run; a link to one, of an earlier export, is none."""
    if real_place(place) in run.protected:
        raise UsageError(f"{place} belongs to the run itself: choose another output")


def _decoded(
    form: FileEach, target: Path, content: bytes, annotated: Annotated, names: Sequence[str]
) -> Annotated | None:
    try:
        return None if form.decode is None else form.decode(content, replace(annotated, objects=()), names)
    except ValueError as error:
        raise _LostError(f"{target}: does not read back: {error}") from None


@contextmanager
def _writing(target: Path | None, put: Put) -> Iterator[BinaryIO]:
    """Open a temporary file that replaces the target, or goes to `put`, if the block succeeds.

    Raises `OutputError` where it cannot be written.
    """
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
        if target is None:
            raise OutputError(
                f"a temporary file: cannot be written: {error.strerror or error}; {TEMPORARY}, or give -o FILE"
            ) from None
        raise OutputError.of(target, error) from None


@contextmanager
def _again(stream: BinaryIO) -> Iterator[BinaryIO]:
    """Open the file just written for reading, from its beginning."""
    stream.flush()
    if stream.readable():
        stream.seek(0)
        yield stream
    else:
        with Path(stream.name).open("rb") as written:
            yield written


def _compared(
    form: Format, photo: FinishedPhoto, target: Path | None, annotated: Annotated, decoded: Annotated | None
) -> Exported:
    """Compare objects with those decoded. Raises `_LostError` where the format could have held what is missing."""
    if decoded is None:
        return Exported(photo, target, len(annotated.objects), None)
    alike = (decoded.height, decoded.width) == (annotated.height, annotated.width)
    iou = agreement(form.seen(annotated), decoded) if alike else 0.0
    if form.held is not None and (not alike or agreement(form.held(annotated), decoded) != 1):
        raise _LostError(
            f"{photo.shown}: the written file decodes to other masks than the run's: IoU {iou:.4f}"
        )
    return Exported(photo, target, len(annotated.objects), iou)


def _refuse(run: FinishedRun, targets: Sequence[Path]) -> None:
    """Raise `UsageError` for a target that is a file of the run itself, and for two targets that are one file."""
    places = [os.path.realpath(target) for target in targets]
    counts = Counter(map(os.path.normcase, places))
    for target, place in zip(targets, places, strict=True):
        if place in run.protected:
            raise UsageError(f"{target} belongs to the run itself: choose another output")
        if counts[os.path.normcase(place)] > 1:
            raise UsageError(f"two photos would both be written to {target}: run them apart")


def _deliver_beside(run: FinishedRun, form: Format, path: Path | None) -> None:
    if form.beside is not None and path is not None:
        deliver(path, form.beside.encode(classes(run)))
