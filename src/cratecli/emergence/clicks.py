"""Answer clicks on a photo: what the attention of the patches there is together, and the mask that it votes for.

Each head's, layer's and view's map of it becomes a mask over superpixels that follows the photo's colours, and its
pieces that hold a clicked pixel are what it may mean. Were a piece meant, the chance of a click on just that pixel
would be one over its area: so small pieces weigh more, and the click itself says how small.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float, Int

from cratecli.arrays import RGB, Mask, Soft
from cratecli.emergence.candidates import Candidates
from cratecli.emergence.chooser import CUT, FINEST, gather
from cratecli.emergence.confidence import soft_iou
from cratecli.emergence.crf import Masks, dense_crf
from cratecli.emergence.features import View
from cratecli.emergence.refine import refined
from cratecli.emergence.rules import Keep
from cratecli.emergence.superpixels import Superpixels, paint
from cratecli.geometry import Clicks, Pixel, Size

SMALLNESS = 1.5  # a piece weighs 1 / area^1.5: the chance of the click, and a little more


@dataclass(frozen=True, eq=False)
class Answer:
    """Holds the pieces that attention may mean, 0 or 1 over a photo's superpixels, and their shares of the vote."""

    pixels: Superpixels
    listed: Candidates
    pieces: Masks
    shares: Float[np.ndarray, " c"]

    @property
    def vote(self) -> Float[np.ndarray, " n"]:
        """Average the pieces by their shares, 0–1."""
        return np.asarray(self.shares @ self.pieces)

    @property
    def confidence(self) -> float:
        """Tell whether those that have a vote mean one thing, 0–1: the soft IoU of the vote with its mask."""
        return soft_iou(self.vote, (self.vote >= CUT).astype(float), self.pixels.sizes)

    def soft_mask(self, size: Size) -> Soft:
        """Give the vote at a photo's size, 0–1."""
        return paint(self.vote, self.pixels, size)


def answer(views: Sequence[View], photo: RGB, clicks: Clicks, keep: Keep) -> Answer:
    """Let the attention of clicked patches vote; `keep` cuts its maps.

    `views` hold that attention in the class token's place: see `View.as_clicked`. Only those masks have a vote that are
    right about the most clicks, in those `on` and out of those `off`.
    """
    seen = gather(views, photo, keep)
    pixels = seen.pixels
    masks = dense_crf(seen.maps, seen.cuts, seen.alike, pixels.sizes) > CUT
    size = Size(*photo.shape[:2])
    on, off = (superpixels_at(each, pixels, size) for each in clicks)
    off = np.setdiff1d(off, on)
    found = pieces(masks, pixels.borders > 0, on, off)
    right = masks[:, on].sum(axis=1) + (~masks[:, off]).sum(axis=1)
    weights = (found @ pixels.sizes) ** -SMALLNESS * (right == right.max())
    return Answer(pixels, seen.listed, found, weights / weights.sum())


def superpixels_at(at: Sequence[Pixel], pixels: Superpixels, size: Size) -> Int[np.ndarray, " clicked"]:
    """List the superpixels, each once, that pixels of a photo of some size lie in."""
    down, across = pixels.labels.shape
    places = [pixels.labels[y * down // size.height, x * across // size.width] for x, y in at]
    return np.unique(np.array(places, int))


def pieces(
    masks: Bool[np.ndarray, "c n"],
    beside: Bool[np.ndarray, "n n"],
    on: Int[np.ndarray, " on"],
    off: Int[np.ndarray, " off"],
) -> Masks:
    """Take of every mask, 0 or 1, what is connected with a superpixel of `on`; those of `off` are left out.

    `beside` tells which superpixels are neighbours. What is `on` is in, whether the mask has it or not.
    """
    inside = masks.copy()
    inside[:, off], inside[:, on] = False, True
    reached = np.zeros(masks.shape, np.float32)
    reached[:, on] = 1
    neighbours = (beside | np.eye(len(beside), dtype=bool)).astype(np.float32)
    while True:
        further = ((reached @ neighbours > 0) & inside).astype(np.float32)
        if (further == reached).all():
            return reached.astype(float)
        reached = further


def with_clicks(mask: Mask, clicks: Clicks) -> Mask:
    """Put the pixels of `clicks.on` into a mask, and take those of `clicks.off` out, whatever it says of them."""
    changed = mask.copy()
    for inside, pixels in ((False, clicks.off), (True, clicks.on)):
        for x, y in pixels:
            changed[y, x] = inside
    return changed


def held(mask: Mask, clicks: Clicks) -> Mask:
    """Take the pieces of a mask, 4-connected, that hold a pixel of `clicks.on`; none where it has none of them."""
    labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=4)[1]
    kept = [label for x, y in clicks.on if (label := labels[y, x])]
    return np.asarray(np.isin(labels, kept))


def answered_mask(photo: RGB, soft: Soft, clicks: Clicks, how: str) -> Mask:
    """Cut the vote of what was clicked on, and refine it: pieces with the clicks; refinement can lose none of those.

    What was clicked off is in none of them.
    """
    rough = held(with_clicks(soft >= CUT, clicks), clicks)
    inside = np.where(rough, np.maximum(soft, CUT), np.minimum(soft, CUT / 2))
    mask = refined(photo, inside, CUT, max(soft.shape) / FINEST, how)
    mask = held(mask & ~with_clicks(np.zeros_like(mask), Clicks(clicks.off)), clicks)
    return mask if mask.any() else rough
