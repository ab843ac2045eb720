"""From patches to pixels: edges that follow the photo. No way here adds a place prior: all seeds are the model's."""

import cv2
import numpy as np
from jaxtyping import UInt8

from cratecli.arrays import RGB, Mask, Soft

GRABCUT_SIDE = 256  # px of the longer side at which GrabCut runs: its cost grows with the pixels
SURE_FOREGROUND, SURE_BACKGROUND = 0.2, 0.6  # shares of each side, farthest from the cut, that stay


def guided_filter(rgb: RGB, soft: Soft, radius: int, epsilon: float = 1e-4) -> Soft:
    """Redraw a soft map as a local linear function of the photo's luminance (He et al., 2013).

    `radius` is in pixels, `epsilon` in squared luminance (0–1). The answer is in 0–1.
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
    """Cut the photo by colour (GrabCut, Rother et al., 2004), seeded by a soft map and its threshold `cut`.

    The foreground's strongest pixels and the background's weakest are certain; the rest may change sides. A
    map that keeps nothing, or all, is left as it is. Runs at no more than `GRABCUT_SIDE` px and is brought
    back to the photo's size along its edges. The same input gives the same mask.
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
    found = (labels & 1).astype(np.float32)
    if shrink == 1:
        return found > 0.5
    large = cv2.resize(found, (width, height), interpolation=cv2.INTER_LINEAR)
    return guided_filter(rgb, large, radius=max(1, round(2 / shrink))) > 0.5


def _seeds(soft: Soft, cut: float) -> UInt8[np.ndarray, "height width"]:
    """Label pixels certain or probable, by how far their value is from the cut among their own side."""
    above = soft >= cut
    labels = np.where(above, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    if above.any() and not above.all():
        labels[soft > np.quantile(soft[above], 1 - SURE_FOREGROUND)] = cv2.GC_FGD
        labels[soft < np.quantile(soft[~above], SURE_BACKGROUND)] = cv2.GC_BGD
    return labels
