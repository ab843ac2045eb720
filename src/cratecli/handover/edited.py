"""Outputs of a finished run that somebody edited since: told by their hash, and read as masks."""

import hashlib
from dataclasses import replace
from pathlib import Path

from cratecli.errors import CrateError, InputError
from cratecli.files import open_file
from cratecli.handover.finished_run import FinishedPhoto, FinishedRun
from cratecli.io import images
from cratecli.io.formats.record import Annotated, Annotation, annotate
from cratecli.io.opening import MAX_PIXELS
from cratecli.io.truth import read_edited_mask
from cratecli.runs.jobs import Failure, Job


def edited_outputs(run: FinishedRun) -> tuple[list[Path], list[Path]]:
    """List the outputs that were changed since they were made: those that are masks, and others."""
    changed = [
        photo for photo in run.photos if photo.output and _was_changed(photo.output, photo.output_sha256)
    ]
    masks = [photo.output for photo in changed if photo.output and photo.is_mask]
    return masks, [photo.output for photo in changed if photo.output and not photo.is_mask]


def with_edited(run: FinishedRun, masks: list[Path]) -> tuple[FinishedRun, list[Failure]]:
    """Take the objects of photos from their `masks`, with the label and score of the row.

    An object that the row has not is called `object`, and sure. Photos whose mask cannot be taken are left out, and
    told of. Raises the first one's error where none is left.
    """
    wanted, drawn, failed = set(masks), dict[int, list[Annotation]](), list[Failure]()
    for photo, annotated in run.rows() if masks else ():
        if photo.output in wanted:
            try:
                drawn[photo.number] = _objects(photo.output, annotated)
            except CrateError as error:
                failed.append(Failure(Job(photo.source, None), error))
                wanted.discard(photo.output)
    left = tuple(each for each in run.photos if each.number in drawn or each.output not in masks)
    if failed and not left:
        raise failed[0].error

    def taken(photo: FinishedPhoto, found: Annotated) -> Annotated:
        return replace(found, objects=drawn.get(photo.number, found.objects))

    return replace(run, photos=left, changes=(taken, *run.changes)), failed


def _was_changed(path: Path, sha256: str | None) -> bool:
    """Tell whether a file is there, and another than the run wrote."""
    try:
        with open_file(path) as stream:
            return sha256 is not None and hashlib.file_digest(stream, "sha256").hexdigest() != sha256
    except OSError:
        return False


def _objects(path: Path, annotated: Annotated) -> list[Annotation]:
    """Read an edited mask. Raises `InputError` for one that is broken, or not of its photo's size."""
    most = max(MAX_PIXELS, annotated.width * annotated.height)
    mask = read_edited_mask(images.content(path, max_pixels=most), str(path), most)
    if mask.shape != (annotated.height, annotated.width):
        sizes = f"{mask.shape[1]} × {mask.shape[0]} px, and its photo {annotated.width} × {annotated.height}"
        raise InputError(f"{path}: is {sizes}: a mask keeps the photo's size")
    if not mask.any():
        return []
    first = next(iter(annotated.objects), None)
    return [annotate(mask, first.score, first.label) if first else annotate(mask, 1.0)]
