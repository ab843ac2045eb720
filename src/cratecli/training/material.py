"""What composites are made of: the sure objects and object-free grounds of photos that a teacher has seen."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from cratecli.arrays import RGB
from cratecli.errors import InputError, NothingMatchedError
from cratecli.io import images
from cratecli.training.certainty import Sureness, ground_window, is_sure
from cratecli.training.composites import Cutout, TaughtPicture, cut_out
from cratecli.training.taught import TaughtPhoto

SEEN = 256  # px of the longer side, at which a teacher sees photos, and composites take from them
FEWEST = 4  # sure objects and grounds, of which anything can be learned
MOST = 10_000  # objects, as many grounds, and as many photos that are held in memory; of more, every n-th


@dataclass(frozen=True, eq=False)
class Material:
    """Objects and grounds, from so many `photos`, and the photos themselves as the teacher sees them."""

    objects: list[Cutout] = field(default_factory=list)
    grounds: list[RGB] = field(default_factory=list)
    taught: list[TaughtPicture] = field(default_factory=list)
    photos: int = 0


def shrunk(photo: RGB, longest: int = SEEN) -> RGB:
    """Scale a photo down to `longest` px of its longer side, if it is larger."""
    scale = longest / max(photo.shape[:2])
    if scale >= 1:
        return photo
    height, width = (max(1, round(scale * side)) for side in photo.shape[:2])
    return np.asarray(cv2.resize(photo, (width, height), interpolation=cv2.INTER_AREA))


def gather(
    rows: Sequence[TaughtPhoto],
    sure: Sureness,
    longest: int,
    read: Callable[[TaughtPhoto], RGB] | None = None,
    note: Callable[[str], None] = lambda _text: None,
) -> Material:
    """Cut out sure objects, and windows of ground, from photos that were taught; `longest` is the side of a frame, px.

    The photos themselves are kept too, with their masks, where the teacher's opinions have anything in common.
    `read` gives a row's photo, as its file holds it unless said. Raises `InputError` for a photo that is gone or is not
    what it was, `NothingMatchedError` where there is too little to learn from.
    """
    found = [row for row in rows if row.rle]
    with_object, with_ground, with_mask = list[int](), list[int](), list[int]()
    for number, row in enumerate(found):  # masks of thousands of photos would fill memory
        mask = row.mask()
        with_object += [number] * is_sure(row.taught(mask), sure)
        with_ground += [number] * bool(mask.any() and ground_window(mask))
        with_mask += [number] * bool(mask.any() and row.consensus > 0)
    objects, grounds, taught = (set(_some(each)) for each in (with_object, with_ground, with_mask))
    material = Material(photos=len(found))
    for number in sorted(objects | grounds | taught):
        row = found[number]
        photo, mask = (read or read_again)(row), row.mask()
        if photo.shape[:2] != mask.shape:
            raise InputError(f"{row.photo}: is not the photo any more that the teacher saw")
        if number in objects:
            material.objects.append(cut_out(photo, mask, longest))
        if number in grounds and (window := ground_window(mask)):
            material.grounds.append(np.ascontiguousarray(shrunk(photo[window.slices], longest)))
        if number in taught:
            small = shrunk(photo, longest)
            share = cv2.resize(mask.astype(np.float32), small.shape[1::-1], interpolation=cv2.INTER_AREA)
            material.taught.append(TaughtPicture(small, share > 0.5, row.consensus))
    said = f"{len(material.objects):,} sure objects and {len(material.grounds):,} grounds"
    if min(len(material.objects), len(material.grounds)) < FEWEST:
        raise NothingMatchedError(
            f"{said} in {len(found):,} photos: too few to learn from, {FEWEST} of each are the least; give more "
            "photos, or lower --set consensus=…"
        )
    note(f"{said} in {len(found):,} photos")
    return material


def read_again(row: TaughtPhoto) -> RGB:
    """Read a photo as the teacher saw it. Raises `InputError` where it is gone or another."""
    content = images.content(Path(row.photo))
    if hashlib.sha256(content).hexdigest() != row.sha256:
        raise InputError(f"{row.photo}: is not the photo any more that the teacher saw")
    return shrunk(images.decode(content, row.photo).rgb)


def _some(numbers: Sequence[int]) -> Sequence[int]:
    """Take all, or so many of them, evenly spread."""
    if len(numbers) <= MOST:
        return numbers
    return [numbers[place * len(numbers) // MOST] for place in range(MOST)]
