"""What composites are made of: the sure objects and object-free grounds of photos that a teacher has seen."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from cratecli.arrays import RGB
from cratecli.emergence.mask_head import resampled
from cratecli.errors import InputError, NothingMatchedError
from cratecli.geometry import Grid
from cratecli.io import images
from cratecli.training.certainty import Sureness, ground_window, is_sure
from cratecli.training.composites import Cutout, cut_out
from cratecli.training.pool import SEEN, frame_size
from cratecli.training.taught import TaughtPhoto

FEWEST = 4  # sure objects and grounds, of which anything can be learned
MOST = 10_000  # objects, and as many grounds, that are held in memory; of more, every n-th


@dataclass(frozen=True, eq=False)
class Material:
    """Objects and grounds, from so many `photos`."""

    objects: list[Cutout] = field(default_factory=list)
    grounds: list[RGB] = field(default_factory=list)
    photos: int = 0


def gather(
    rows: Sequence[TaughtPhoto],
    sure: Sureness,
    *,
    longest: int = SEEN,
    note: Callable[[str], None] = lambda _text: None,
) -> Material:
    """Cut out sure objects, and windows of ground, from photos that were taught, as the teacher saw them.

    Objects are scaled down to `longest` px. Raises `InputError` for a photo that is gone or is not what it was,
    `NothingMatchedError` where there is too little to learn from.
    """
    found = [row for row in rows if row.rle]
    with_object, with_ground = list[int](), list[int]()
    for number, row in enumerate(found):  # masks of thousands of photos would fill memory
        mask = row.mask()
        with_object += [number] * is_sure(row.taught(mask), sure)
        with_ground += [number] * bool(mask.any() and ground_window(mask))
    objects, grounds = (set(_some(each)) for each in (with_object, with_ground))
    material = Material(photos=len(found))
    for number in sorted(objects | grounds):
        row = found[number]
        photo, mask = read_again(row), row.mask()
        if photo.shape[:2] != mask.shape:
            raise InputError(f"{row.photo}: is not the photo any more that the teacher saw")
        if number in objects:
            material.objects.append(cut_out(photo, mask, longest))
        if number in grounds and (window := ground_window(mask)):
            material.grounds.append(np.ascontiguousarray(photo[window.slices]))
    said = f"{len(material.objects):,} sure objects and {len(material.grounds):,} grounds"
    if min(len(material.objects), len(material.grounds)) < FEWEST:
        raise NothingMatchedError(
            f"{said} in {len(found):,} photos: too few to learn from, {FEWEST} of each are the least; give more "
            "photos, or lower --set confidence=… or consensus=…"
        )
    note(f"{said} in {len(found):,} photos")
    return material


def read_again(row: TaughtPhoto) -> RGB:
    """Read a photo as the teacher saw it. Raises `InputError` where it is gone or another."""
    content = images.content(Path(row.photo))
    if hashlib.sha256(content).hexdigest() != row.sha256:
        raise InputError(f"{row.photo}: is not the photo any more that the teacher saw")
    photo = images.decode(content, row.photo).rgb
    return resampled(photo, frame_size(Grid(*row.grid))) if row.grid else photo


def _some(numbers: Sequence[int]) -> Sequence[int]:
    """Take all, or so many of them, evenly spread."""
    if len(numbers) <= MOST:
        return numbers
    return [numbers[place * len(numbers) // MOST] for place in range(MOST)]
