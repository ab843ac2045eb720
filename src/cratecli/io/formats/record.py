"""The middle record: what was found in a photo, as every annotation format is written from it and read into it."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Int
from pycocotools import mask as coco_mask

MOST_PIXELS = 1 << 29  # of a photo, 23,000 px square: what a file says of its size is not believed beyond
_LONGEST = 7  # characters a run, of 5 bits each: more than `MOST_PIXELS` asks for


@dataclass(frozen=True)
class Annotation:
    """One object: its mask on its photo's pixels, as COCO's compressed RLE, its score, 0–1, and what it is called.

    `area` is in px, `box` left, top, width, height in px.
    """

    rle: dict[str, Any]
    area: int
    box: tuple[int, int, int, int]
    score: float
    label: str = "object"

    @property
    def mask(self) -> Bool[np.ndarray, "height width"]:
        """Decode the mask. Raises `ValueError` for counts that do not fill the size."""
        return decode_rle(self.rle)


@dataclass(frozen=True)
class Annotated:
    """One photo, by name, with its objects; sizes in px, upright."""

    name: str
    height: int
    width: int
    objects: Sequence[Annotation]

    @property
    def mask(self) -> Bool[np.ndarray, "height width"]:
        """Unite the masks of all objects."""
        mask = np.zeros((self.height, self.width), bool)
        for each in self.objects:
            mask |= each.mask
        return mask


AnnotatedPhotos = Iterable[Annotated]
"""AnnotatedPhotos as encoders take them: gone through more than once, so a list, or what reads them anew each time."""


def annotate(mask: Bool[np.ndarray, "height width"], score: float, label: str = "object") -> Annotation:
    """Encode a mask, run by run."""
    rle = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    return restore({"size": list(mask.shape), "counts": rle["counts"].decode()}, score, label)


def restore(rle: Mapping[str, Any], score: float, label: str = "object") -> Annotation:
    """Check an RLE, as a file has it, and measure it by its runs, undecoded. Raises `ValueError` for what is none."""
    height, width, runs = _checked(rle)
    ends = np.cumsum(runs)
    starts, ends = (ends - runs)[1::2], ends[1::2]
    plain = {"size": [height, width], "counts": rle["counts"]}
    return Annotation(plain, int(runs[1::2].sum()), _box(starts, ends, height), score, label)


def decode_rle(rle: Mapping[str, Any]) -> Bool[np.ndarray, "height width"]:
    """Decode COCO's compressed RLE, `{"size": [height, width], "counts": text}`, by columns.

    Raises `ValueError` for what is no RLE of its size; nothing of a wrong length reaches a decoder in C, and
    nothing is made that is larger than `MOST_PIXELS`.

    >>> decode_rle({"size": [4, 5], "counts": "55103"}).astype(int).tolist()
    [[0, 0, 1, 1, 0], [0, 1, 1, 1, 0], [0, 1, 0, 1, 0], [0, 1, 1, 1, 0]]
    """
    height, width, runs = _checked(rle)
    values = np.arange(len(runs)) % 2 == 1
    return np.repeat(values, runs).reshape(width, height).T


def check_size(height: object, width: object) -> tuple[int, int]:
    """Take a photo's size as a file has it, in px. Raises `ValueError` for what is none, or beyond `MOST_PIXELS`."""
    if type(height) is not int or type(width) is not int or min(height, width) < 1:
        raise ValueError(f"{height!r} × {width!r} is no size in px")
    if height * width > MOST_PIXELS:
        raise ValueError(f"{height} × {width} px are more than {MOST_PIXELS:,}")
    return height, width


def classes(photos: AnnotatedPhotos) -> list[str]:
    """List the labels of all photos, numbers in them by value: the same whatever the order of the photos.

    Where nothing was found at all there is still one class, `object`.
    """
    return sorted({each.label for photo in photos for each in photo.objects}, key=natural) or ["object"]


def natural(label: str) -> tuple[list[tuple[int, str]], str]:
    """Give the key that puts `part 2` before `part 10`: words, and numbers by their digits, then by value."""
    chunks = re.findall(r"[0-9]+|[^0-9]+", label)
    numbers = [chunk.lstrip("0") if chunk[0] in "0123456789" else None for chunk in chunks]
    keys = [
        (-1, chunk) if number is None else (len(number), number)
        for chunk, number in zip(chunks, numbers, strict=True)
    ]
    return keys, label


def _checked(rle: Mapping[str, Any]) -> tuple[int, int, Int[np.ndarray, " runs"]]:
    """Give height, width and run lengths, which fill the size."""
    height, width = check_size(*rle["size"])
    runs = _runs(rle["counts"])
    if runs.min(initial=0) < 0 or runs.sum() != height * width:
        raise ValueError(f"the runs of an RLE fill {runs.sum()} px, not {height} × {width}")
    return height, width, runs


def _runs(counts: object) -> Int[np.ndarray, " runs"]:
    """Read the run lengths out of COCO's text: 5 bits a character, the lowest first, a sixth bit where more follow.

    From the fourth on, a run is told as its difference from the last of its colour.
    """
    text = counts.encode() if isinstance(counts, str) and counts.isascii() else b""
    bits = np.frombuffer(text, np.uint8).astype(np.int64) - 48
    if not len(bits) or bits.min() < 0 or bits.max() > 63 or bits[-1] & 32:
        raise ValueError("an RLE's counts are not COCO's text")
    last = np.flatnonzero(bits & 32 == 0)
    first = np.concatenate([[0], last[:-1] + 1])
    lengths = last - first + 1
    if lengths.max() > _LONGEST:
        raise ValueError("an RLE has a run without measure")
    places = np.arange(len(bits)) - np.repeat(first, lengths)
    runs = np.add.reduceat((bits & 31) << 5 * places, first)
    runs -= np.where(bits[last] & 16, 1 << 5 * lengths, 0)  # two's complement
    for colour in (runs[1::2], runs[2::2]):
        np.cumsum(colour, out=colour)
    return runs


def _box(
    starts: Int[np.ndarray, " runs"], ends: Int[np.ndarray, " runs"], height: int
) -> tuple[int, int, int, int]:
    """Bound runs down the columns: left, top, width, height; a run that goes on in the next column is full height."""
    starts, ends = starts[ends > starts], ends[ends > starts] - 1
    if not len(starts):
        return 0, 0, 0, 0
    left, right = int(starts[0] // height), int(ends[-1] // height)
    over = bool((starts // height != ends // height).any())
    top = 0 if over else int((starts % height).min())
    bottom = height - 1 if over else int((ends % height).max())
    return left, top, right - left + 1, bottom - top + 1
