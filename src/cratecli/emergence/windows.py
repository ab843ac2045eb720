"""Choose crops in which the object is off-centre, so that a centre prior does not help."""

import numpy as np

from cratecli.arrays import Mask
from cratecli.geometry import Box

SIDE = 0.7  # of the window, as a share of the photo's
KEPT, FOREGROUND = 0.7, 0.6  # least share of the object inside, greatest share of foreground in the window


def off_centre(truth: Mask) -> Box | None:
    """Choose the window (70 % of each side; px) in the image corner farthest from the object's centre.

    Windows must keep at least 70 % of the object and be at most 60 % foreground; `None` if no corner has one.
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
