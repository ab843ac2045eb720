"""What a teacher is sure of: objects that may be cut out of a photo, and grounds without one."""

from dataclasses import dataclass

import numpy as np

from cratecli.arrays import Mask
from cratecli.geometry import Box

SHARES = (1.0, 0.8, 0.65, 0.5, 0.4)  # of a photo's sides, that a window of ground may have
STEPS = 8  # places of a window along each side


@dataclass(frozen=True, eq=False)
class Taught:
    """What a teacher says of a photo: its mask, and how certain it is.

    `confidence`, 0–1, is the expected IoU of the candidates' vote; `consensus`, 0–1, the IoU of masks that were found
    by different ways; `kept`, 0–1, the IoU of the mask with the one before refinement.
    """

    mask: Mask
    confidence: float
    consensus: float
    kept: float

    @property
    def weight(self) -> float:
        """Give how much the photo counts, 0–1: the square of all three together, nothing for an empty mask."""
        together = self.confidence * self.consensus * self.kept
        return float(together) ** 2 if self.mask.any() else 0.0


@dataclass(frozen=True)
class Sureness:
    """What makes an object sure: least `confidence`, `consensus` and `kept` of what is taught, 0–1.

    `area` is the range of the object's share of the photo, `contact` the most of the frame's pixels that it covers:
    what the frame cuts has a straight edge of its own, wherever it is pasted.
    """

    confidence: float = 0.6
    consensus: float = 0.8
    kept: float = 0.55
    area: tuple[float, float] = (0.04, 0.6)
    contact: float = 0.08


SURE = Sureness()


def is_sure(taught: Taught, least: Sureness = SURE) -> bool:
    """Tell whether a photo's object is sure enough to be cut out."""
    return bool(
        taught.confidence > least.confidence
        and taught.consensus > least.consensus
        and taught.kept > least.kept
        and least.area[0] < taught.mask.mean() < least.area[1]
        and frame_contact(taught.mask) < least.contact
    )


def frame_contact(mask: Mask) -> float:
    """Give the share, 0–1, of the frame's pixels that a mask covers: the outermost rows and columns.

    >>> frame_contact(np.eye(3, dtype=bool))
    0.25
    """
    frame = np.ones(mask.shape, bool)
    frame[1:-1, 1:-1] = False
    return float(mask[frame].mean())


def ground_window(mask: Mask, most: float = 0.04) -> Box | None:
    """Find the largest window, of the photo's aspect, of which at most a share `most` is foreground.

    Of windows of one size the one with the least foreground is taken. `None` where there is no window of 40 % of the
    sides.
    """
    height, width = mask.shape
    summed = np.pad(mask, ((1, 0), (1, 0))).cumsum(axis=0).cumsum(axis=1)
    for share in SHARES:
        tall, wide = max(1, round(share * height)), max(1, round(share * width))
        tops = np.unique(np.linspace(0, height - tall, STEPS).round().astype(int))
        lefts = np.unique(np.linspace(0, width - wide, STEPS).round().astype(int))
        above, below = summed[tops], summed[tops + tall]
        held = below[:, lefts + wide] - below[:, lefts] - above[:, lefts + wide] + above[:, lefts]
        row, col = np.unravel_index(held.argmin(), held.shape)
        if held[row, col] <= most * tall * wide:
            top, left = int(tops[row]), int(lefts[col])
            return Box(top, left, top + tall, left + wide)
    return None
