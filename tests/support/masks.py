"""Masks written as text, for tests that compare pixel by pixel."""

import numpy as np


def drawn(picture: str) -> np.ndarray:
    """Read a mask drawn with `#`."""
    return np.array([[c == "#" for c in line.strip()] for line in picture.strip().splitlines()])
