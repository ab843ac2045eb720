"""Annotated photos for the tests of formats: specks, blobs with holes, thin photos, and none at all."""

import cv2
import numpy as np

from cratecli.io.formats.record import Annotated, Annotation, annotate

CHECK = np.array([[int(c) for c in row] for row in ("00110", "01110", "01010", "01110")], bool)
"""The mask that the encoders of every format are checked with."""


def specks(height: int, width: int, share: float, seed: int = 0) -> np.ndarray:
    """Give noise, at least one pixel of it, of about a share of the photo."""
    mask = np.random.default_rng(seed).random((height, width)) < share
    mask[height // 2, width // 2] = True
    return np.asarray(mask)


def blobs(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Give a few round pieces, some with holes."""
    noise = np.random.default_rng(seed).random((height, width))
    return np.asarray(cv2.GaussianBlur(noise, (0, 0), 4) > 0.5)


def split(mask: np.ndarray, labels: tuple[str, ...]) -> list[Annotation]:
    """Deal a mask out, column by column, to as many objects as there are labels: none meets another."""
    columns = np.arange(mask.shape[1])
    pieces = [(mask & (columns % len(labels) == turn)) for turn in range(len(labels))]
    return [
        annotate(piece, round(0.1 + turn / 8, 4), label)
        for turn, (piece, label) in enumerate(zip(pieces, labels, strict=True))
        if piece.any()
    ]


PHOTOS = [
    Annotated("a.jpg", 60, 80, split(blobs(60, 80), ("object",))),
    Annotated("nothing.png", 10, 20, []),
    Annotated("sub/a.jpg", 30, 41, split(specks(30, 41, 0.4), ("part 10", "part 2", "part 2"))),
    Annotated("sub/ä & <b>.png", 1, 300, split(specks(1, 300, 0.9), ("a: 100 % #1", '"ö"'))),
    Annotated("tall.png", 300, 1, split(np.ones((300, 1), bool), ("part 2",))),
    Annotated("check.png", 4, 5, [annotate(CHECK, 1.0)]),
]
"""No two objects of a photo meet."""

MET = Annotated(
    "met.png",
    20,
    30,
    [annotate(specks(20, 30, 0.6, seed), 0.5, f"part {seed % 2}") for seed in range(3)],
)
"""A photo whose objects share pixels."""
