"""Near-duplicates: photos that are the same picture in another size, squeeze, compression or mirrored."""

from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Float, Int

from cratecli.arrays import RGB

SIDE = 12  # cells of a thumbnail's side
ALIKE = 0.97  # correlation of thumbnails from which photos are the same
_BLOCK = 4096  # photos compared at once


def thumbprint(photo: RGB) -> Float[np.ndarray, " cells"]:
    """Describe a photo by its thumbnail, 12 × 12 cells in colour, less its mean, of length 1.

    The dot product of two is the correlation of the thumbnails, −1 to 1. The photo is squeezed into a square: its
    aspect does not count. A photo of one colour has zeros, and is like nothing.
    """
    small = cv2.resize(photo, (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(np.float32).reshape(-1)
    small -= small.mean()
    return np.asarray(small / max(float(np.linalg.norm(small)), 1.0), np.float32)


def mirrored(prints: Float[np.ndarray, "photos cells"]) -> Float[np.ndarray, "photos cells"]:
    """Give the thumbprints of the mirrored photos."""
    cells = prints.reshape(-1, SIDE, SIDE, 3)
    return np.ascontiguousarray(cells[:, :, ::-1]).reshape(len(prints), -1)


def likeness(
    prints: Sequence[np.ndarray] | np.ndarray, others: Sequence[np.ndarray] | np.ndarray
) -> tuple[Float[np.ndarray, " photos"], Int[np.ndarray, " photos"]]:
    """Give each photo's greatest correlation with one of the others, as it is or mirrored, and which it is."""
    mine, theirs = np.stack(list(prints)), np.stack(list(others))
    both = np.concatenate([theirs, mirrored(theirs)])
    best, which = np.empty(len(mine), np.float32), np.empty(len(mine), int)
    for start in range(0, len(mine), _BLOCK):
        alike = mine[start : start + _BLOCK] @ both.T
        which[start : start + _BLOCK] = alike.argmax(axis=1) % len(theirs)
        best[start : start + _BLOCK] = alike.max(axis=1)
    return best, which
