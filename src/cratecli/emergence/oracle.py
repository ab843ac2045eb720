"""Rank single attention maps by the ground truth: an upper bound for choosing heads."""

from collections.abc import Sequence
from itertools import product

import cv2
import numpy as np
from jaxtyping import Float

from cratecli.arrays import Mask
from cratecli.emergence.features import View
from cratecli.emergence.heads import common_grid, resize
from cratecli.emergence.masks import enlarge, iou, scale, threshold
from cratecli.emergence.rules import Keep
from cratecli.geometry import Size

RANKED = 96  # px of the longer side at which the many maps are ranked


def best_maps(
    views: Sequence[View], truth: Mask, keep: Keep, count: int
) -> list[Float[np.ndarray, "rows cols"]]:
    """Rank the attention maps of every view, layer and head by IoU with the ground truth, and return the best `count`.

    The result is log attention on the finest grid. The IoU is that of the thresholded map at no more than 96 px, so
    the exact best is to be chosen among those returned.
    """
    height, width = truth.shape
    shrink = min(1.0, RANKED / max(height, width))
    size = Size(max(1, round(height * shrink)), max(1, round(width * shrink)))
    share = cv2.resize(truth.astype(np.float32), (size.width, size.height), interpolation=cv2.INTER_AREA)
    coarse, grid = share >= 0.5, common_grid(views)
    ranked: list[tuple[float, Float[np.ndarray, "rows cols"]]] = []
    for view in views:
        for layer, head in product(*map(range, view.attention.shape[:2])):
            log_map = resize(np.log(view.attention[layer, head] + 1e-8), grid)
            mask = enlarge(scale(log_map), size) >= threshold(log_map, keep)
            ranked.append((iou(mask, coarse), log_map))
    ranked.sort(key=lambda entry: entry[0], reverse=True)
    return [log_map for _, log_map in ranked[:count]]
