"""Extract features of images that do not fit into memory from overlapping tiles, and join them."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from cratecli.emergence.features import View
from cratecli.geometry import Grid
from cratecli.model.engine import Model, out_of_memory

TILE = 5 / 8  # of the longer side: two tiles overlap by a quarter of it


Observe = Callable[..., list[View]]
"""What observes images by an engine: `observe`, or `observe_graph`."""


def observe_in_tiles(
    observe: Observe,
    model: Model,
    image: Any,
    layers: Sequence[int],
    *,
    mirrored: bool = False,
    trace: bool = False,
) -> View:
    """Observe one normalised image in two overlapping tiles, each split again if it does not fit into memory.

    `image` is what `observe` takes, `1 3 h w`; each tile is an image to the model. Raises `MemoryError` if even a tile
    of the model's own input size does not fit, and what `observe` raises.
    """
    grid = Grid(*(int(side) // model.patch_size for side in image.shape[-2:]))
    if grid.patches <= (model.image_size // model.patch_size) ** 2 or max(grid) < 4:
        raise MemoryError("a tile of the model's own size is too large")
    axis = int(grid.cols > grid.rows)
    length = math.ceil(grid[axis] * TILE)
    views = []
    for start in (0, grid[axis] - length):
        part = slice(start * model.patch_size, (start + length) * model.patch_size)
        tile = image[..., part] if axis else image[..., part, :]
        views.append(_observe(observe, model, tile, layers, mirrored=mirrored, trace=trace))
    return join(views[0], views[1], grid, axis)


def _observe(
    observe: Observe, model: Model, tile: Any, layers: Sequence[int], *, mirrored: bool, trace: bool
) -> View:
    try:
        return observe(model, tile, layers, mirrored=mirrored, trace=trace)[0]
    except Exception as error:
        if not out_of_memory(error):
            raise
    return observe_in_tiles(observe, model, tile, layers, mirrored=mirrored, trace=trace)


def join(first: View, second: View, grid: Grid, axis: int) -> View:
    """Join two views of one image that overlap along an axis of its grid (0 rows, 1 columns), blended linearly.

    A tile's share of the whole image's attention is unknown. So per layer and head the second tile's attention is
    scaled to agree with the first's where they overlap, in the mean of the logarithm, and the result to the sum of
    one tile's. Coding rate and zero fraction are the mean of both tiles.
    """
    length = first.grid[axis]
    shared = length + second.grid[axis] - grid[axis]
    ramp = np.clip((np.arange(grid[axis]) - (length - shared) + 0.5) / shared, 0, 1)

    def spread(one: np.ndarray, other: np.ndarray, place: int) -> np.ndarray:
        shape = [1] * one.ndim
        shape[place] = -1
        rest = [(0, 0)] * one.ndim
        before, after = rest.copy(), rest.copy()
        after[place] = (0, grid[axis] - one.shape[place])
        before[place] = (grid[axis] - other.shape[place], 0)
        weight = ramp.reshape(shape)
        joined = (1 - weight) * np.pad(one, after) + weight * np.pad(other, before)
        return np.asarray(joined, one.dtype)

    place = 2 + axis
    upper = np.log(np.take(first.attention, np.arange(length - shared, length), place) + 1e-12)
    lower = np.log(np.take(second.attention, np.arange(shared), place) + 1e-12)
    ratio = np.exp((upper - lower).mean(axis=(2, 3), keepdims=True))
    attention = spread(first.attention, second.attention * ratio, place)
    total = (first.attention.sum(axis=(2, 3)) + second.attention.sum(axis=(2, 3))) / 2
    attention *= (total / np.maximum(attention.sum(axis=(2, 3)), 1e-12))[..., None, None]
    return View(
        attention=attention,
        tokens=spread(first.tokens, second.tokens, 1 + axis),
        coding_rate=(first.coding_rate + second.coding_rate) / 2,
        zero_fraction=(first.zero_fraction + second.zero_fraction) / 2,
    )
