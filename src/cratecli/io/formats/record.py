"""The middle record: what was found in a photo, as every annotation format is written from it and read into it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool
from pycocotools import mask as coco_mask


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


def annotate(mask: Bool[np.ndarray, "height width"], score: float, label: str = "object") -> Annotation:
    """Encode a mask, run by run."""
    rle = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    left, top, width, height = (int(side) for side in coco_mask.toBbox(rle))
    plain = {"size": [int(side) for side in rle["size"]], "counts": rle["counts"].decode()}
    return Annotation(plain, int(coco_mask.area(rle)), (left, top, width, height), score, label)


def decode_rle(rle: dict[str, Any]) -> Bool[np.ndarray, "height width"]:
    """Decode COCO's compressed RLE, `{"size": [height, width], "counts": text}`, by columns.

    Raises `ValueError` for what is no RLE of its size; nothing of a wrong length reaches the decoder in C.

    >>> decode_rle({"size": [4, 5], "counts": "55103"}).astype(int).tolist()
    [[0, 0, 1, 1, 0], [0, 1, 1, 1, 0], [0, 1, 0, 1, 0], [0, 1, 1, 1, 0]]
    """
    height, width = rle["size"]
    runs = _runs(rle["counts"])
    if min(height, width) < 1 or min(runs, default=0) < 0 or sum(runs) != height * width:
        raise ValueError(f"the runs of an RLE fill {sum(runs)} px, not {height} × {width}")
    values = np.arange(len(runs)) % 2 == 1
    return np.repeat(values, runs).reshape(width, height).T


def _runs(counts: str) -> list[int]:
    """Read the run lengths out of COCO's text: 5 bits a character, a run of the same colour told as a difference."""
    runs: list[int] = []
    value = shift = 0
    for character in counts:
        bits = ord(character) - 48
        if not 0 <= bits < 64:
            raise ValueError(f"an RLE holds {character!r}")
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            if bits & 16:
                value -= 1 << shift
            runs.append(value + runs[-2] if len(runs) > 2 else value)
            value = shift = 0
    return runs
