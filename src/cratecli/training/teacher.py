"""The teacher of self-training: what candidates vote for, or a head draws, of a photo, and how surely.

Both are as sure as the signs of the vote say that its mask is right, and as another way finds the same mask.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from cratecli.arrays import RGB, Mask
from cratecli.emergence import chooser, refine
from cratecli.emergence.chooser import Judged, Ranker
from cratecli.emergence.confidence import Signs, expected_iou, signs
from cratecli.emergence.features import View
from cratecli.emergence.mask_head import head_inputs
from cratecli.emergence.masks import clean, enlarge, iou
from cratecli.emergence.rules import Keep
from cratecli.geometry import Size
from cratecli.training.certainty import Taught
from cratecli.weights.head_files import Drawer, drawn

SMALLEST = 0.01  # share of the photo under which pieces of a mask are dropped
_OTSU = Keep("otsu")

Teacher = Callable[[RGB, Sequence[View], Judged], Taught]
"""Says of a photo, the views that the model has of it and its judged candidates what is object, and how surely."""


@dataclass(frozen=True)
class Voting:
    """How candidates are ranked, with and without the frame, and what the signs of a good vote weigh."""

    with_frame: Ranker
    without_frame: Ranker
    weights: Signs


def judge(photo: RGB, views: Sequence[View]) -> Judged:
    """Judge a photo's candidates, as every teacher has them."""
    return chooser.judge(views, photo, _OTSU)


def teach_by_choice(voting: Voting, photo: RGB, _views: Sequence[View], judged: Judged) -> Taught:
    """Teach by the mask that candidates vote for, its edges refined by the guided filter.

    The consensus is with the vote of a ranker that does not look at the frame; `kept` is the IoU of the vote with the
    candidate that has the largest share of it.
    """
    size, scores = Size(*photo.shape[:2]), chooser.score(judged, voting.with_frame)
    shares = chooser.votes(scores)
    other = chooser.votes(chooser.score(judged, voting.without_frame))
    mask, mask_other = (_voted(photo, judged, each) for each in (shares, other))
    best = chooser.soft_mask(judged, np.eye(len(shares))[shares.argmax()], size) > chooser.CUT
    voted = chooser.soft_mask(judged, shares, size) > chooser.CUT
    confidence = expected_iou(signs(judged, scores), voting.weights)
    return Taught(mask, confidence, iou(mask, mask_other), iou(voted, best))


def teach_by_head(head: Drawer, voting: Voting, photo: RGB, views: Sequence[View], judged: Judged) -> Taught:
    """Teach by a mask head, refined by GrabCut; the consensus is with the mask that candidates vote for without it."""
    scores, size = chooser.score(judged, voting.with_frame), Size(*photo.shape[:2])
    shares = chooser.votes(scores)
    vote = chooser.soft_mask(judged, shares, judged.size)
    soft = enlarge(drawn(head, head_inputs(photo, views, vote, head.config), "the teacher"), size)
    mask = clean(refine.grabcut(photo, soft, chooser.CUT), smallest=SMALLEST, fill_holes=True)
    consensus = iou(mask, _voted(photo, judged, shares))
    confidence = expected_iou(signs(judged, scores), voting.weights)
    return Taught(mask, confidence, consensus, iou(soft >= chooser.CUT, mask))


def _voted(photo: RGB, judged: chooser.Judged, shares: Float[np.ndarray, " c"]) -> Mask:
    soft = chooser.soft_mask(judged, shares, Size(*photo.shape[:2]))
    edged = refine.guided_filter(photo, soft, radius=max(1, round(max(soft.shape) / chooser.FINEST)))
    return clean(edged >= chooser.CUT, smallest=SMALLEST, fill_holes=True)
