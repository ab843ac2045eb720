"""Where to cut a photo so that its object lies off-centre: a guess that objects are in the middle then fails."""

import numpy as np

from cratecli.arrays import Mask
from cratecli.geometry import Box

SIDE = 0.7  # of the photo's
KEPT, FOREGROUND = 0.7, 0.6  # least share of the object, greatest share of the window


def off_centre(truth: Mask) -> Box | None:
    """Choose the 70 % window in the corner farthest from the object's middle.

    Of the four corners' windows only those count that keep at least 70 % of the object and are at most 60 %
    foreground: there may be none.
    """
    height, width = truth.shape
    tall, wide = round(SIDE * height), round(SIDE * width)
    rows, cols = np.nonzero(truth)
    best: tuple[float, Box] | None = None
    for top, corner_row in ((0, 0), (height - tall, height)):
        for left, corner_col in ((0, 0), (width - wide, width)):
            inside = truth[top : top + tall, left : left + wide]
            if not rows.size or inside.sum() < KEPT * rows.size or inside.mean() > FOREGROUND:
                continue
            distance = (rows.mean() - corner_row) ** 2 + (cols.mean() - corner_col) ** 2
            if best is None or distance > best[0]:
                best = float(distance), Box(top, left, top + tall, left + wide)
    return None if best is None else best[1]
