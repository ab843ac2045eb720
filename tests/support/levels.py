"""Photos of known levels as numbers of any depth, and the comparison of what is read with those levels."""

import io
from typing import Any

import numpy as np

from cratecli.io import images

LEVELS = np.arange(0, 252, 21).reshape(3, 4)
"""Levels of 0–255, four columns and three rows, the last 231."""
COLOURS = np.dstack([LEVELS, LEVELS[::-1], LEVELS[:, ::-1]])


def tiff(values: np.ndarray, **options: Any) -> bytes:
    """Write a TIFF of any layout."""
    import tifffile

    stream = io.BytesIO()
    tifffile.imwrite(stream, values, **options)
    return stream.getvalue()


def of(levels: np.ndarray, largest: float) -> np.ndarray:
    """Give levels as whole numbers, so that 255 would be `largest`."""
    return np.asarray(np.round(levels / 255 * largest))


def read(content: bytes, expected: np.ndarray = LEVELS, range: str = "auto") -> str:
    """Read a photo, compare its levels, and give what was noted, without the name."""
    got = images.decode(content, "photo", range=range)
    shown = np.repeat(expected[..., None], 3, axis=2) if expected.ndim == 2 else expected
    np.testing.assert_allclose(got.rgb.astype(int), shown, atol=1)
    assert all(note.startswith("photo: ") for note in got.notes)
    return "; ".join(note.removeprefix("photo: ") for note in got.notes)
