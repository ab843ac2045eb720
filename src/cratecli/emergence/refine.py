"""Refine masks from patches to pixels, so that their edges follow the photo; no step adds a centre prior."""

import cv2
import numpy as np
from jaxtyping import UInt8

from cratecli.arrays import RGB, Mask, Soft

GRABCUT_SIDE = 256  # px of the longer side at which GrabCut runs, to bound its cost
SURE_FOREGROUND, SURE_BACKGROUND = 0.2, 0.6  # shares of foreground and background that GrabCut may not change


def refined(rgb: RGB, soft: Soft, cut: float, cell: float, how: str) -> Mask:
    """Cut a soft mask, its edges brought to the photo's: `guided`, `grabcut`, or as they are.

    `cell` is as far as the guided filter may move them, px.
    """
    if how == "grabcut":
        return grabcut(rgb, soft, cut)
    if how == "guided":
        return guided_filter(rgb, soft, radius=max(1, round(cell))) >= cut
    return np.asarray(soft >= cut)


def guided_filter(rgb: RGB, soft: Soft, radius: int, epsilon: float = 1e-4) -> Soft:
    """Refine a saliency map with the guided filter, locally linear in the photo's luminance (He et al., 2013).

    `rgb` is 0–255, `soft` and the result 0–1; `radius` is in px, `epsilon` in squared luminance (0–1).
    """
    guide = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
    window = (2 * radius + 1, 2 * radius + 1)

    def mean(values: np.ndarray) -> np.ndarray:
        return cv2.blur(values, window, borderType=cv2.BORDER_REFLECT)

    guide_mean, soft_mean = mean(guide), mean(soft)
    variance = np.maximum(mean(guide * guide) - guide_mean**2, 0)
    slope = (mean(guide * soft) - guide_mean * soft_mean) / (variance + epsilon)
    offset = soft_mean - slope * guide_mean
    return np.asarray(np.clip(mean(slope) * guide + mean(offset), 0, 1))


def grabcut(rgb: RGB, soft: Soft, cut: float, rounds: int = 3) -> Mask:
    """Segment a photo (RGB, 0–255) by colour with GrabCut (Rother et al., 2004), seeded by a saliency map, 0–1.

    Pixels at or above the threshold `cut` are foreground. The strongest of them, and the weakest of the background,
    are certain; the others may change. A map whose mask is empty or full is only thresholded. GrabCut runs at no more
    than `GRABCUT_SIDE` px; the guided filter brings its mask to the photo's size. The result is deterministic.
    """
    rough = soft >= cut
    if rough.all() or not rough.any():
        return rough
    height, width = soft.shape
    shrink = min(1.0, GRABCUT_SIDE / max(height, width))
    size = max(1, round(width * shrink)), max(1, round(height * shrink))
    small = cv2.cvtColor(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2BGR)
    coarse = cv2.resize(soft, size, interpolation=cv2.INTER_AREA)
    labels = _seeds(coarse, cut)
    if len(np.unique(labels & 1)) < 2:
        return rough
    cv2.setRNGSeed(0)
    background, foreground = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.grabCut(small, labels, (0, 0, 1, 1), background, foreground, rounds, cv2.GC_INIT_WITH_MASK)
    mask = (labels & 1).astype(np.float32)
    if shrink == 1:
        return mask > 0.5
    large = cv2.resize(mask, (width, height), interpolation=cv2.INTER_LINEAR)
    return guided_filter(rgb, large, radius=max(1, round(2 / shrink))) > 0.5


def _seeds(soft: Soft, cut: float) -> UInt8[np.ndarray, "height width"]:
    """Label pixels as certain or probable for GrabCut, by the rank of their saliency in foreground or background."""
    above = soft >= cut
    labels = np.where(above, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    if above.any() and not above.all():
        labels[soft > np.quantile(soft[above], 1 - SURE_FOREGROUND)] = cv2.GC_FGD
        labels[soft < np.quantile(soft[~above], SURE_BACKGROUND)] = cv2.GC_BGD
    return labels
