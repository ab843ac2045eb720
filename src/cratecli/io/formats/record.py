"""Represent the annotated objects of a photo; every annotation format is written from and read into these records."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

import numpy as np
from jaxtyping import Int
from pycocotools import mask as coco_mask

from cratecli.arrays import Mask

MOST_PIXELS = 1 << 29  # of a photo, 23,000 px square: a file that declares more is refused
_LONGEST = 7  # characters of a run length, 5 bits each: enough for more than `MOST_PIXELS`


@dataclass(frozen=True)
class Annotation:
    """Holds one object of a photo: its mask as COCO's compressed run-length encoding (RLE), score and label.

    `rle` is on the pixels of the upright photo; `area` is its number of pixels, `box` its left, top, width and height
    in px; `score` is 0–1.
    """

    rle: dict[str, Any]
    area: int
    box: tuple[int, int, int, int]
    score: float
    label: str = "object"

    @property
    def mask(self) -> Mask:
        """Decode the mask. Raises `ValueError` for run lengths that do not sum to its size."""
        return decode_rle(self.rle)


@dataclass(frozen=True)
class Annotated:
    """Holds a photo's name, its upright size in px, and its annotated objects; and what else a run says of it.

    One that failed has an `error`, and 0 px. `confidence`, 0–1, is of its mask; `source` and `sha256` are of its bytes.
    """

    name: str
    height: int
    width: int
    objects: Sequence[Annotation]
    confidence: float | None = field(default=None, compare=False)
    source: str | None = field(default=None, compare=False)
    sha256: str | None = field(default=None, compare=False)
    error: str | None = field(default=None, compare=False)

    @property
    def score(self) -> float:
        """Compute the mean score of the objects; of a photo without any, it is its confidence, or 0."""
        return fmean([each.score for each in self.objects] or [self.confidence or 0.0])

    @property
    def mask(self) -> Mask:
        """Compute the union of all objects' masks."""
        mask = np.zeros((self.height, self.width), bool)
        for each in self.objects:
            mask |= each.mask
        return mask


AnnotatedPhotos = Iterable[Annotated]
"""Photos as encoders take them. They are iterated more than once: a list, or an object that reads them again."""


def annotate(mask: Mask, score: float, label: str = "object") -> Annotation:
    """Encode a binary mask as an annotation with a score (0–1) and a label."""
    rle = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    return restore({"size": list(mask.shape), "counts": rle["counts"].decode()}, score, label)


def restore(rle: Mapping[str, Any], score: float, label: str = "object") -> Annotation:
    """Validate an RLE from a file, and measure area and box without decoding it. Raises `ValueError` if invalid."""
    height, width, runs = _checked(rle)
    ends = np.cumsum(runs)
    starts, ends = (ends - runs)[1::2], ends[1::2]
    plain = {"size": [height, width], "counts": rle["counts"]}
    return Annotation(plain, int(runs[1::2].sum()), _box(starts, ends, height), score, label)


def decode_rle(rle: Mapping[str, Any]) -> Mask:
    """Decode COCO's compressed RLE, `{"size": [height, width], "counts": text}`, whose runs go down the columns.

    Raises `ValueError` for run lengths that do not sum to the size, and for more than `MOST_PIXELS`, before memory is
    allocated or a decoder in C sees them.

    >>> decode_rle({"size": [4, 5], "counts": "55103"}).astype(int).tolist()
    [[0, 0, 1, 1, 0], [0, 1, 1, 1, 0], [0, 1, 0, 1, 0], [0, 1, 1, 1, 0]]
    """
    height, width, runs = _checked(rle)
    values = np.arange(len(runs)) % 2 == 1
    return np.repeat(values, runs).reshape(width, height).T


def check_size(height: object, width: object) -> tuple[int, int]:
    """Validate the size of a photo (px) from a file. Raises `ValueError` if it is invalid or beyond `MOST_PIXELS`."""
    if type(height) is not int or type(width) is not int or min(height, width) < 1:
        raise ValueError(f"{height!r} × {width!r} is no size in px")
    if height * width > MOST_PIXELS:
        raise ValueError(f"{height} × {width} px are more than {MOST_PIXELS:,}")
    return height, width


def classes(photos: AnnotatedPhotos) -> list[str]:
    """List the labels of all photos, sorted with the numbers in them by value; photos without objects give `object`."""
    return sorted({each.label for photo in photos for each in photo.objects}, key=natural) or ["object"]


def natural(label: str) -> tuple[list[tuple[int, str]], str]:
    """Compute a sort key that puts `part 2` before `part 10`: numbers in a label compare by value."""
    chunks = re.findall(r"[0-9]+|[^0-9]+", label)
    numbers = [chunk.lstrip("0") if chunk[0] in "0123456789" else None for chunk in chunks]
    keys = [
        (-1, chunk) if number is None else (len(number), number)
        for chunk, number in zip(chunks, numbers, strict=True)
    ]
    return keys, label


def _checked(rle: Mapping[str, Any]) -> tuple[int, int, Int[np.ndarray, " runs"]]:
    """Return height, width and run lengths. Raises `ValueError` unless the runs fill the size."""
    height, width = check_size(*rle["size"])
    runs = _runs(rle["counts"])
    if runs.min(initial=0) < 0 or runs.sum() != height * width:
        raise ValueError(f"the runs of an RLE fill {runs.sum()} px, not {height} × {width}")
    return height, width, runs


def _runs(counts: object) -> Int[np.ndarray, " runs"]:
    """Decode run lengths from COCO's text: 5 bits a character, the lowest first; a sixth bit says that more follow.

    From the fourth on, a run is stored as the difference from the previous run of the same value.
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
    """Compute the box (left, top, width, height) of runs down the columns; one across two columns has full height."""
    starts, ends = starts[ends > starts], ends[ends > starts] - 1
    if not len(starts):
        return 0, 0, 0, 0
    left, right = int(starts[0] // height), int(ends[-1] // height)
    over = bool((starts // height != ends // height).any())
    top = 0 if over else int((starts % height).min())
    bottom = height - 1 if over else int((ends % height).max())
    return left, top, right - left + 1, bottom - top + 1
