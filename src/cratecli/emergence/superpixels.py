"""Divide a photo into superpixels, small pieces of one colour, and average maps over them."""

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float, Int
from scipy import sparse

from cratecli.arrays import RGB, Soft
from cratecli.geometry import Grid, Size

SIDE = 128  # px of the photo's longer side when it is divided
CELLS = 220  # superpixels, about
COMPACTNESS = 12.0  # CIE Lab units that count as much as one cell's width
ROUNDS = 5  # of assignment and new means

Lab = Float[np.ndarray, "down across 3"]
"""A small picture in CIE Lab: L 0–100."""
Pieces = Int[np.ndarray, "down across"]
"""The superpixel of every pixel, from 0."""


@dataclass(frozen=True, eq=False)
class Superpixels:
    """Holds the superpixels of a photo at `SIDE` px, and what is measured of each.

    `sizes` count pixels; `lab` is the mean colour (L 0–100), `middles` the mean row and column, px; `spreads` the
    variance of position inside, px². `borders` count pixel edges between two superpixels, `frame` those on the
    picture's frame.
    """

    labels: Pieces
    sizes: Float[np.ndarray, " n"]
    lab: Float[np.ndarray, "n 3"]
    middles: Float[np.ndarray, "n 2"]
    spreads: Float[np.ndarray, " n"]
    borders: Float[np.ndarray, "n n"]
    frame: Float[np.ndarray, " n"]

    @property
    def total(self) -> float:
        """Count all pixels."""
        return float(self.labels.size)


def lab_image(rgb: RGB, side: int = SIDE) -> Lab:
    """Resample a photo to `side` px of its longer side, in CIE Lab."""
    height, width = rgb.shape[:2]
    factor = side / max(height, width)
    size = max(1, round(width * factor)), max(1, round(height * factor))
    way = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    small = cv2.resize(rgb, size, interpolation=way).astype(np.float32) / 255
    return np.asarray(cv2.cvtColor(small, cv2.COLOR_RGB2LAB))


def slic(lab: Lab, cells: int = CELLS, compactness: float = COMPACTNESS) -> Pieces:
    """Divide a Lab image into about `cells` superpixels by SLIC (Achanta et al., 2012).

    A pixel belongs to the mean of the least `ΔLab² + (compactness / step)² Δposition²`, `step` the width of a cell,
    among that of its own cell of a regular grid and of the eight around it; means are computed anew, `ROUNDS` times. A
    superpixel may have several pieces: they are not joined to their neighbours. Numbers without a pixel are left out.
    """
    height, width = lab.shape[:2]
    step = max(1.0, np.sqrt(height * width / cells))
    rows, cols = max(1, round(height / step)), max(1, round(width / step))
    row = np.repeat(np.arange(height) * rows // height, width)
    col = np.tile(np.arange(width) * cols // width, height)
    place = np.indices((height, width), np.float32).reshape(2, -1) * (compactness / step)
    channels = np.concatenate([lab.reshape(-1, 3).T, place]).astype(np.float32)
    around = [(down, right) for down in (-1, 0, 1) for right in (-1, 0, 1)]
    near = np.stack(
        [
            np.clip(row + down, 0, rows - 1) * cols + np.clip(col + right, 0, cols - 1)
            for down, right in around
        ]
    )
    labels = row * cols + col
    for _ in range(ROUNDS):
        means = _means(channels, labels, rows * cols).astype(np.float32)
        distance = np.zeros(near.shape, np.float32)
        for channel, mean in zip(channels, means, strict=True):
            step_away = mean[near]
            step_away -= channel
            step_away *= step_away
            distance += step_away
        labels = np.take_along_axis(near, distance.argmin(axis=0)[None], axis=0)[0]
    return np.unique(labels, return_inverse=True)[1].reshape(height, width)


def _means(
    channels: Float[np.ndarray, "c pixels"], labels: Int[np.ndarray, " pixels"], count: int
) -> Float[np.ndarray, "c n"]:
    """Average channels over every label; one without pixels is infinitely far away."""
    sizes = np.bincount(labels, minlength=count)
    sums = np.stack([np.bincount(labels, channel, count) for channel in channels])
    return np.where(sizes > 0, sums / np.maximum(sizes, 1), np.inf)


def divide(rgb: RGB) -> Superpixels:
    """Divide a photo into superpixels, and measure them."""
    lab = lab_image(rgb)
    return measure(lab, slic(lab))


def measure(lab: Lab, labels: Pieces) -> Superpixels:
    """Measure the superpixels of a Lab image."""
    count, flat = int(labels.max()) + 1, labels.reshape(-1)
    place = np.indices(labels.shape, float).reshape(2, -1) + 0.5
    channels = np.concatenate([lab.reshape(-1, 3).T, place, (place**2).sum(axis=0)[None]])
    means = _means(channels, flat, count).T
    sides = [(labels[:, 1:], labels[:, :-1]), (labels[1:], labels[:-1])]
    borders = np.zeros((count, count))
    for one, other in sides:
        borders += np.bincount((one * count + other).reshape(-1), minlength=count**2).reshape(count, count)
    np.fill_diagonal(borders, 0)
    edges = (labels[0], labels[-1], labels[:, 0], labels[:, -1])
    return Superpixels(
        labels=labels,
        sizes=np.bincount(flat, minlength=count).astype(float),
        lab=means[:, :3],
        middles=means[:, 3:5],
        spreads=np.maximum(means[:, 5] - (means[:, 3:5] ** 2).sum(axis=1), 0),
        borders=borders + borders.T,
        frame=np.sum([np.bincount(edge, minlength=count) for edge in edges], axis=0).astype(float),
    )


def paint(values: Float[np.ndarray, " n"], pixels: Superpixels, size: Size) -> Soft:
    """Draw a value of every superpixel at a photo's size, bilinearly enlarged."""
    picture = values[pixels.labels].astype(np.float32)
    return np.asarray(cv2.resize(picture, (size.width, size.height), interpolation=cv2.INTER_LINEAR))


def pooling(labels: Pieces, grid: Grid) -> sparse.csr_array:
    """Make the matrix (superpixels × patches) that averages a map over superpixels, enlarged bilinearly to pixels.

    Its rows sum to 1, and it has at most four entries a pixel, however fine the grid.
    """
    (row, below, down), (col, beside, right) = (
        _between(pixels, patches) for pixels, patches in zip(labels.shape, grid, strict=True)
    )
    ones, patches, weights = [], [], []
    for at_row, row_share in ((row, 1 - down), (below, down)):
        for at_col, col_share in ((col, 1 - right), (beside, right)):
            ones.append(labels.reshape(-1))
            patches.append((at_row[:, None] * grid.cols + at_col).reshape(-1))
            weights.append((row_share[:, None] * col_share).reshape(-1))
    share = np.concatenate(weights) / np.bincount(labels.reshape(-1))[np.concatenate(ones)]
    places = np.concatenate(ones), np.concatenate(patches)
    return sparse.coo_array((share, places), shape=(int(labels.max()) + 1, grid.patches)).tocsr()


def _between(
    pixels: int, patches: int
) -> tuple[Int[np.ndarray, " pixels"], Int[np.ndarray, " pixels"], Float[np.ndarray, " pixels"]]:
    """Give the two patches that each pixel of an axis lies between, and its share of the second."""
    place = np.clip((np.arange(pixels) + 0.5) * patches / pixels - 0.5, 0, patches - 1)
    first = place.astype(int)
    return first, np.minimum(first + 1, patches - 1), place - first
