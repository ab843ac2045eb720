"""Turn saliency maps into binary masks: thresholds, clean-up of components, contrast, boxes and IoU."""

from collections.abc import Iterator
from typing import Literal

import cv2
import numpy as np
from jaxtyping import Bool, Float

from cratecli.arrays import Mask
from cratecli.emergence.rules import Keep
from cratecli.geometry import Box, Size


def scale(values: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    """Scale a map linearly to 0–1; a constant map becomes 0."""
    low, high = values.min(), values.max()
    if not high - low > 1e-6:
        return np.zeros_like(values, dtype=np.float32)
    return np.asarray((values - low) / (high - low), np.float32)


def threshold(log_attention: Float[np.ndarray, "rows cols"], keep: Keep) -> float:
    """Compute the threshold of a rule on the map scaled to 0–1: patches at or above it are the mask.

    Otsu's threshold is that of 256 levels of the scaled map (Otsu, 1979); the rules are those of `Keep`.
    """
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
    """Compute the contrast of attention, 0–1, between the patches of the mask and those of the background.

    It is `1 − outside / inside`, the geometric means of attention per patch; `cut` is the threshold on the map scaled
    to 0–1. A mask of all patches, or of none, has contrast 0.
    """
    kept = scale(log_attention) >= cut
    if kept.all() or not kept.any():
        return 0.0
    return float(-np.expm1(log_attention[~kept].mean() - log_attention[kept].mean()))


def enlarge(grid_map: Float[np.ndarray, "rows cols"], size: Size) -> Float[np.ndarray, "height width"]:
    """Resample a map from patches to pixels bilinearly."""
    return cv2.resize(grid_map, (size.width, size.height), interpolation=cv2.INTER_LINEAR)


def spread(grid_mask: Bool[np.ndarray, "rows cols"], size: Size) -> Mask:
    """Resample a mask from patches to pixels by nearest neighbour."""
    rows, cols = (
        ((2 * np.arange(pixels) + 1) * patches) // (2 * pixels)
        for pixels, patches in zip(size, grid_mask.shape, strict=True)
    )
    return np.asarray(grid_mask[rows[:, None], cols])


def components(mask: Mask, connectivity: Literal[4, 8] = 8) -> Iterator[Mask]:
    """Yield the connected components of a mask, the largest first; a 4- or 8-neighbourhood connects pixels."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(
        mask.astype(np.uint8), connectivity=connectivity
    )
    order = np.argsort(stats[1:, cv2.CC_STAT_AREA])[::-1] + 1
    for label in order[: count - 1]:
        yield labels == label


def clean(mask: Mask, *, smallest: float = 0.0, largest: bool = False, fill_holes: bool = False) -> Mask:
    """Clean a mask: fill holes, keep only the largest component, drop 8-connected components below a size.

    `smallest` is a share of the image, 0–1: smaller components are dropped. The three steps run in that order.
    """
    if fill_holes:
        mask = filled(mask)
    if largest:
        mask = next(components(mask), mask)
    if smallest > 0 and mask.any():
        _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
        large = stats[:, cv2.CC_STAT_AREA] >= smallest * mask.size
        large[0] = False
        mask = large[labels]
    return mask


def filled(mask: Mask) -> Mask:
    """Fill the holes of a mask: what is outside it, and 4-connected to no pixel on the frame."""
    count, labels = cv2.connectedComponents((~mask).astype(np.uint8), connectivity=4)
    open_ = np.zeros(count, bool)
    for edge in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
        open_[edge] = True
    open_[0] = False  # the mask itself
    return np.asarray(~open_[labels])


def bounding_box(mask: Mask) -> Box | None:
    """Compute the bounding box of a mask (px, half-open); `None` for an empty mask."""
    rows, cols = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return None
    return Box(int(rows[0]), int(cols[0]), int(rows[-1]) + 1, int(cols[-1]) + 1)


def iou(one: Bool[np.ndarray, "*shape"], other: Bool[np.ndarray, "*shape"]) -> float:
    """Compute the intersection over union (IoU, 0–1) of two masks; 1 for two empty masks."""
    union = np.count_nonzero(one | other)
    return np.count_nonzero(one & other) / union if union else 1.0
