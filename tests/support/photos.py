"""A photo drawn by code: a bright disc on a dark, grainy ground."""

import numpy as np

from cratecli.arrays import RGB


def photo(height: int = 48, width: int = 64, seed: int = 0) -> RGB:
    """Draw one of a size in px; another seed gives other grain."""
    random = np.random.default_rng(seed)
    rows, cols = np.mgrid[:height, :width]
    disc = (rows - height * 0.5) ** 2 + (cols - width * 0.4) ** 2 <= (min(height, width) * 0.3) ** 2
    flat = np.where(disc[..., None], (220, 180, 60), (40, 70, 50))
    return np.clip(flat + random.normal(0, 6, (height, width, 3)), 0, 255).astype(np.uint8)
