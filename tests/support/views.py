"""Views of a model that was never run: some heads attend to a disc, the others to noise."""

import cv2
import numpy as np

from cratecli.arrays import RGB
from cratecli.emergence.features import View
from cratecli.geometry import Size

ROWS, COLS, LAYERS, HEADS, SEEING = 18, 24, 2, 6, (1, 3, 4)

SIZE = Size(8 * ROWS, 8 * COLS)


def blob(row: int, col: int, radius: int = 3) -> np.ndarray:
    """Draw a disc; lengths in patches."""
    rows, cols = np.mgrid[:ROWS, :COLS]
    return np.asarray((rows - row) ** 2 + (cols - col) ** 2 <= radius**2)


def view(truth: np.ndarray, seed: int) -> View:
    """Show a blob to the heads in `SEEING`; the others see clumps, each its own."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, 0.7, (LAYERS, HEADS, *truth.shape))
    noisy = random.normal(0, 1, (LAYERS, HEADS, truth.shape[0] + 2, truth.shape[1] + 2))
    for head in range(HEADS):
        if head in SEEING:
            logits[:, head] += 2.5 * truth
        else:  # patches in clumps, as texture is
            logits[:, head] += 0.3 * sum(
                noisy[:, head, i : i + truth.shape[0], j : j + truth.shape[1]]
                for i in range(3)
                for j in range(3)
            )
    attention = np.exp(logits)
    attention /= attention.sum(axis=(2, 3), keepdims=True)
    sides = random.normal(0, 1, (2, 24))
    tokens = np.where(truth[..., None], *sides) + random.normal(0, 0.3, (LAYERS, *truth.shape, 24))
    return View(attention.astype(np.float32), tokens.astype(np.float32), *np.zeros((2, LAYERS)))


def painted(truth: np.ndarray) -> RGB:
    """Paint a photo in which what is seen has a colour of its own, with grain."""
    large = cv2.resize(truth.astype(np.uint8), (SIZE.width, SIZE.height), interpolation=cv2.INTER_NEAREST)
    grain = np.random.default_rng(0).integers(-6, 7, (*SIZE, 3))
    return np.asarray(np.where(large[..., None] > 0, (190, 60, 40), (70, 110, 150)) + grain, np.uint8)
