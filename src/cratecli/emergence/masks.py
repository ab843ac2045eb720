"""From a map to a mask: threshold rules, clean-up, and how far to trust the result."""

from collections.abc import Iterator
from typing import Literal

import cv2
import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage

from cratecli.arrays import Mask
from cratecli.emergence.rules import Keep
from cratecli.geometry import Box, Size


def scale(values: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    """Stretch values to 0–1; a constant becomes 0."""
    low, high = values.min(), values.max()
    if not high - low > 1e-6:
        return np.zeros_like(values, dtype=np.float32)
    return np.asarray((values - low) / (high - low), np.float32)


def threshold(log_attention: Float[np.ndarray, "rows cols"], keep: Keep) -> float:
    """Find the cut on the scaled map (0–1) that keeps what `keep` says: a patch at or above it is kept."""
    scaled = scale(log_attention)
    match keep.rule:
        case "otsu":
            levels = np.round(scaled * 255).astype(np.uint8)
            return float((cv2.threshold(levels, 0, 255, cv2.THRESH_OTSU)[0] + 0.5) / 255)
        case "mean":
            return float(scaled.mean())
        case "value":
            return keep.value
        case "top":
            count = max(1, round(keep.value * scaled.size))
            return float(np.sort(scaled, axis=None)[-count])
        case "mass":
            order = np.argsort(log_attention, axis=None)[::-1]
            attention = np.exp(log_attention - log_attention.max()).reshape(-1)[order]
            share = np.cumsum(attention, dtype=np.float64) / attention.sum(dtype=np.float64)
            last = min(int(np.searchsorted(share, keep.value - 1e-9)), len(order) - 1)
            return float(scaled.reshape(-1)[order[last]])


def contrast(log_attention: Float[np.ndarray, "rows cols"], cut: float) -> float:
    """Tell how much of the attention that a patch of the mask gets one outside does without, 0–1.

    It is `1 − outside / inside`, both geometric means; `cut` is on the scaled map. A mask of all or nothing has none.
    """
    kept = scale(log_attention) >= cut
    if kept.all() or not kept.any():
        return 0.0
    return float(-np.expm1(log_attention[~kept].mean() - log_attention[kept].mean()))


def enlarge(grid_map: Float[np.ndarray, "rows cols"], size: Size) -> Float[np.ndarray, "height width"]:
    """Interpolate a map of patches bilinearly to pixels."""
    return cv2.resize(grid_map, (size.width, size.height), interpolation=cv2.INTER_LINEAR)


def spread(grid_mask: Bool[np.ndarray, "rows cols"], size: Size) -> Mask:
    """Give every pixel what the patch under its middle has: nearest neighbour."""
    rows, cols = (
        ((2 * np.arange(pixels) + 1) * patches) // (2 * pixels)
        for pixels, patches in zip(size, grid_mask.shape, strict=True)
    )
    return np.asarray(grid_mask[rows[:, None], cols])


def components(mask: Mask, connectivity: Literal[4, 8] = 8) -> Iterator[Mask]:
    """Yield the connected components of a mask, the largest first."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(
        mask.astype(np.uint8), connectivity=connectivity
    )
    order = np.argsort(stats[1:, cv2.CC_STAT_AREA])[::-1] + 1
    for label in order[: count - 1]:
        yield labels == label


def clean(mask: Mask, *, smallest: float = 0.0, largest: bool = False, fill_holes: bool = False) -> Mask:
    """Drop components below `smallest` (a share of the image, 0–1), keep only the largest, fill holes."""
    if fill_holes:
        mask = ndimage.binary_fill_holes(mask)
    if largest:
        mask = next(components(mask), mask)
    if smallest > 0 and mask.any():
        labels, count = ndimage.label(mask, structure=np.ones((3, 3)))
        areas = np.bincount(labels.reshape(-1), minlength=count + 1)
        large = areas >= smallest * mask.size
        large[0] = False
        mask = large[labels]
    return mask


def bounding_box(mask: Mask) -> Box | None:
    """Give the half-open box around a mask, in pixels; `None` for an empty one."""
    rows, cols = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return None
    return Box(int(rows[0]), int(cols[0]), int(rows[-1]) + 1, int(cols[-1]) + 1)


def iou(one: Bool[np.ndarray, "*shape"], other: Bool[np.ndarray, "*shape"]) -> float:
    """Give intersection over union, 0–1; two empty masks agree."""
    union = np.count_nonzero(one | other)
    return np.count_nonzero(one & other) / union if union else 1.0
