"""Score saliency maps, masks and boxes against ground truth: Fβ, MAE, accuracy and IoU."""

import numpy as np
from jaxtyping import Bool, Float

from cratecli.arrays import Labels, Mask, Soft
from cratecli.geometry import Box

BETA_SQUARED = 0.3  # β² of Fβ: precision weighs more than recall
LEVELS = 256  # thresholds of a saliency map
HIT = 0.5  # least IoU of a correct box (CorLoc)
VOID = 255  # label of pixels that are not evaluated


def f_curve(soft: Soft, truth: Mask) -> Float[np.ndarray, "256"]:
    """Compute Fβ (β² = 0.3) of a saliency map, 0–1, at 256 thresholds: entry `i` at `i / 255`.

    `Fβ = (1 + β²) P R / (β² P + R)`, of precision P and recall R; 0 without true positives. The field's maxFβ is the
    largest entry of the mean over photos. Raises `ValueError` for a ground truth without foreground.
    """
    if not truth.any():
        raise ValueError("without foreground there is no recall")
    levels = np.round(np.clip(soft, 0, 1) * (LEVELS - 1)).astype(np.uint8)
    kept, right = (
        np.bincount(each.reshape(-1), minlength=LEVELS)[::-1].cumsum()[::-1]
        for each in (levels, levels[truth])
    )
    return np.asarray((1 + BETA_SQUARED) * right / (BETA_SQUARED * np.count_nonzero(truth) + kept))


def mean_absolute_error(soft: Soft, truth: Mask) -> float:
    """Compute the mean absolute error (MAE, 0–1) of a saliency map, 0–1, over pixels."""
    return float(np.abs(soft - truth.astype(np.float32)).mean(dtype=np.float64))


def accuracy(mask: Mask, truth: Mask) -> float:
    """Compute the pixel accuracy, 0–1: the share of pixels labelled correctly."""
    return float(np.mean(mask == truth))


def box_iou(one: Box | None, other: Box | None) -> float:
    """Compute the intersection over union (IoU, 0–1) of two boxes (px); 0 if one is `None`.

    >>> box_iou(Box(0, 0, 2, 2), Box(0, 1, 2, 3))
    0.3333333333333333
    """
    if one is None or other is None:
        return 0.0
    height = min(one.bottom, other.bottom) - max(one.top, other.top)
    width = min(one.right, other.right) - max(one.left, other.left)
    shared = max(0, height) * max(0, width)
    areas = (each.xywh[2] * each.xywh[3] for each in (one, other))
    return shared / (sum(areas) - shared)


def calibration_error(said: Float[np.ndarray, " n"], found: Float[np.ndarray, " n"], bins: int = 10) -> float:
    """Compute the expected calibration error, 0–1, of what was said, 0–1, of what was found (1706.04599).

    What was said falls into equal bins: the error is `Σ_b n_b |mean said − mean found| / n`.
    """
    place = np.minimum((np.asarray(said) * bins).astype(int), bins - 1)
    gaps = np.bincount(place, np.asarray(said) - np.asarray(found), minlength=bins)
    return float(np.abs(gaps).sum() / len(place))


def class_iou(
    masks: Bool[np.ndarray, "maps height width"], labels: Labels
) -> Float[np.ndarray, "classes maps"]:
    """Compute the IoU, 0–1, of every mask with each class present in a photo's labels, by rising label.

    Label 0 is background and no class; pixels of label 255 (void) are not counted.
    """
    sizes = np.bincount(labels.reshape(-1), minlength=VOID + 1)[:VOID]
    shared = np.stack([np.bincount(labels[mask], minlength=VOID + 1)[:VOID] for mask in masks], axis=1)
    present = 1 + np.flatnonzero(sizes[1:])
    unions = sizes[present, None] + shared.sum(axis=0) - shared[present]
    return np.asarray(shared[present] / unions)
