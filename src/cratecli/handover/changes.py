"""Change what an export says of a finished run: labels, the names of photos, and the frame of coordinates."""

import os
from collections.abc import Callable, Container, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from cratecli.errors import CrateError, InputError, UsageError
from cratecli.files import real_place
from cratecli.handover.finished_run import FinishedPhoto, FinishedRun
from cratecli.handover.photos import photo_content
from cratecli.io import colour, images
from cratecli.io.formats.names import plain, safe
from cratecli.io.formats.record import Annotated, Annotation, annotate
from cratecli.runs.jobs import Failure, Job

Orientation = Literal["upright", "raw"]

Note = Callable[[str], None]
"""Tells the user a line."""


@dataclass(frozen=True, kw_only=True)
class Changes:
    """What is asked to be changed.

    `label` is given to all objects, or `label_from` the folder of each photo, or the class that the run's model sees in
    each object. Names become relative to `root`. In the
    `orientation` "raw", masks are on the pixels as the file holds them, before EXIF turns it upright.
    """

    label: str | None = None
    label_from: Literal["folder", "class"] | None = None
    root: str | None = None
    orientation: Orientation = "upright"

    def __post_init__(self) -> None:
        """Raise `UsageError` for what makes no sense."""
        if self.label is not None and self.label_from is not None:
            raise UsageError("--label and --label-from exclude each other")
        if self.label is not None and not plain(self.label).strip():
            raise UsageError("--label is empty")

    @property
    def options(self) -> dict[str, Any]:
        """Give what is asked for, as provenance has it."""
        usual = {each.name: each.default for each in fields(self)}
        return {name: value for name, value in asdict(self).items() if value != usual[name]}


def changed(
    run: FinishedRun, asked: Changes, *, device: str = "auto", note: Note = lambda _: None
) -> tuple[FinishedRun, list[Failure]]:
    """Change a run, and tell of the photos that must be left out: those that must be read again, and cannot be.

    The model, where objects are named by class, runs on the `device`. Raises `UsageError` for a photo outside the root,
    and what `name_objects` raises.
    """
    failed: list[Failure] = []
    run = replace(run, options=asked.options)
    if asked.label_from == "class":
        from cratecli.handover.classes import name_objects  # and torch

        names, unread = name_objects(run, device=device, note=note)
        failed += unread
        run = _only(run, names, "--label-from class")
        run = _with(run, lambda photo, found: _labelled(found, names[photo.number]))
    if asked.orientation == "raw":
        turns: dict[int, int] = {}
        for photo in run.photos:
            try:
                turns[photo.number] = _orientation(photo)
            except CrateError as error:
                failed.append(Failure(Job(photo.source, None), error))
        run = _with(
            _only(run, turns, "--orientation raw"),
            lambda photo, found: _as_stored(found, turns.get(photo.number, 1)),
        )
    if asked.label is not None:
        label = plain(asked.label)
        run = _with(run, lambda _, found: _labelled_all(found, label))
    if asked.label_from == "folder":
        run = _with(run, lambda photo, found: _labelled_all(found, plain(photo.source.parent.resolve().name)))
    if asked.root is not None:
        place = os.path.realpath(asked.root)
        photos, before = (_renamed(each, place, asked.root) for each in (run.photos, run.before))
        run = replace(run, photos=photos, before=before)
    return run, failed


def _with(run: FinishedRun, change: Callable[[FinishedPhoto, Annotated], Annotated]) -> FinishedRun:
    return replace(run, changes=(*run.changes, change))


def _only(run: FinishedRun, read: Container[int], option: str) -> FinishedRun:
    """Leave out the photos that could not be read again, by their numbers. Raises `InputError` where none is left."""
    left = tuple(photo for photo in run.photos if photo.number in read)
    if not left:
        raise InputError(f"{run.manifest}: {option} reads the photos, and none is as it was")
    return replace(run, photos=left)


def _labelled(photo: Annotated, labels: Sequence[str]) -> Annotated:
    each = zip(photo.objects, labels, strict=True)
    return replace(photo, objects=[replace(found, label=label or "object") for found, label in each])


def _labelled_all(photo: Annotated, label: str) -> Annotated:
    return _labelled(photo, [label] * len(photo.objects))


def _renamed(photos: tuple[FinishedPhoto, ...], place: str, root: str) -> tuple[FinishedPhoto, ...]:
    named = [replace(photo, name=_below(photo, place, root)) for photo in photos]
    return tuple(sorted(named, key=lambda photo: PurePosixPath(photo.name)))


def _below(photo: FinishedPhoto, place: str, root: str) -> str:
    """Name a photo from the root on, or where a link leads. Raises `UsageError` for one that is not below it."""
    stands = Path(real_place(photo.source))
    for each in (stands, Path(os.path.realpath(photo.source))):
        if each.is_relative_to(place):
            return safe(str(each.relative_to(place)))
    raise UsageError(f"{photo.shown} is not below --root {root}")


def _orientation(photo: FinishedPhoto) -> int:
    return images.orientation(photo_content(photo), photo.shown)


def _as_stored(photo: Annotated, orientation: int) -> Annotated:
    """Turn masks back to the frame of the file."""
    if orientation == 1:
        return photo
    height, width = (photo.width, photo.height) if orientation > 4 else (photo.height, photo.width)

    def turned(each: Annotation) -> Annotation:
        return annotate(colour.as_stored(each.mask, orientation), each.score, each.label)

    return replace(photo, height=height, width=width, objects=[turned(each) for each in photo.objects])
