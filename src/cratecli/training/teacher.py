"""The teacher of self-training: what the model's attention, refined by colour, says of a photo, and how surely.

Training photos mostly show their object in the middle, so the teacher may use a centre prior; where its mask does not
depend on the prior, it is sure. Composites do not hand the prior on, as objects are pasted anywhere.
"""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float

from cratecli.arrays import RGB, Mask, Soft
from cratecli.emergence import chooser, heads, refine
from cratecli.emergence.chooser import Judged, Ranker
from cratecli.emergence.features import View
from cratecli.emergence.mask_head import head_inputs
from cratecli.emergence.masks import clean, contrast, enlarge, iou, scale, threshold
from cratecli.emergence.rules import Keep
from cratecli.geometry import Size
from cratecli.model.head_inputs import HeadInputs
from cratecli.training.certainty import Taught
from cratecli.weights.mask_heads import LoadedHead

CENTRE = 8.0  # strength of the centre prior, in standard deviations of the map at distance 1
ALIKE = 0.7  # IoU of masks with and without the prior, before refinement, under which nothing is sure
SMALLEST = 0.01  # share of the photo under which pieces of a mask are dropped
_OTSU = Keep("otsu")

Teacher = Callable[[RGB, Sequence[View], Judged], Taught]
"""Says of a photo, the views that the model has of it and its judged candidates what is object, and how surely."""


def judge(photo: RGB, views: Sequence[View]) -> Judged:
    """Judge a photo's candidates, as every teacher has them."""
    return chooser.judge(views, photo, _OTSU)


def centred(log_attention: Float[np.ndarray, "rows cols"]) -> Float[np.ndarray, "rows cols"]:
    """Add a centre prior to a map: its z-scores less 8 r², r the distance from the middle in sides of the photo.

    A constant map becomes the prior alone.
    """
    rows, cols = ((np.arange(side) + 0.5) / side - 0.5 for side in log_attention.shape)
    distance = rows[:, None] ** 2 + cols**2
    scores = (log_attention - log_attention.mean()) / max(float(log_attention.std()), 1e-12)
    return np.asarray(scores - CENTRE * distance, np.float32)


def teach_by_agreement(photo: RGB, views: Sequence[View], _judged: Judged) -> Taught:
    """Teach by what heads agree on, with a centre prior, refined by GrabCut; the consensus is with and without it.

    Where the unrefined masks with and without the prior have an IoU under `ALIKE`, none is refined, which takes most of
    the time: their IoU is the consensus then.
    """
    saliency = heads.agree(views)
    plain, prior = saliency.log_attention, centred(saliency.log_attention)
    confidence = saliency.agreement * contrast(plain, threshold(plain, _OTSU))
    (rough, soft, cut), (rough_plain, soft_plain, cut_plain) = (
        _rough(photo, each) for each in (prior, plain)
    )
    if (alike := iou(rough, rough_plain)) < ALIKE:
        return Taught(rough, confidence, alike, 1.0)
    mask, mask_plain = _refined(photo, soft, cut), _refined(photo, soft_plain, cut_plain)
    return Taught(mask, confidence, iou(mask, mask_plain) if mask.any() else 0.0, iou(rough, mask))


def teach_by_choice(
    with_frame: Ranker, without_frame: Ranker, photo: RGB, _views: Sequence[View], judged: Judged
) -> Taught:
    """Teach by the mask that candidates vote for, its edges refined by the guided filter.

    The consensus is with the vote of a ranker that does not look at the frame; `kept` is the IoU of the vote with the
    candidate that has the largest share of it.
    """
    size, saliency = Size(*photo.shape[:2]), judged.listed.saliency
    confidence = saliency.agreement * contrast(
        saliency.log_attention, threshold(saliency.log_attention, _OTSU)
    )
    shares = chooser.votes(chooser.score(judged, with_frame))
    other = chooser.votes(chooser.score(judged, without_frame))
    mask, mask_other = (_voted(photo, judged, each) for each in (shares, other))
    best = chooser.soft_mask(judged, np.eye(len(shares))[shares.argmax()], size) > chooser.CUT
    voted = chooser.soft_mask(judged, shares, size) > chooser.CUT
    return Taught(mask, confidence, iou(mask, mask_other) if mask.any() else 0.0, iou(voted, best))


def _voted(photo: RGB, judged: chooser.Judged, shares: Float[np.ndarray, " c"]) -> Mask:
    soft = chooser.soft_mask(judged, shares, Size(*photo.shape[:2]))
    edged = refine.guided_filter(photo, soft, radius=max(1, round(max(soft.shape) / chooser.FINEST)))
    return clean(edged >= chooser.CUT, smallest=SMALLEST, fill_holes=True)


def teach_by_head(
    head: LoadedHead, ranker: Ranker, photo: RGB, views: Sequence[View], judged: Judged
) -> Taught:
    """Teach by a mask head, refined by GrabCut; the consensus is with what it draws of the mirrored photo.

    The confidence is how far its soft map is from undecided: `Σ p m / Σ max(p, m)`, m the mask.
    """
    vote = chooser.soft_mask(judged, chooser.votes(chooser.score(judged, ranker)), judged.size)
    inputs = head_inputs(photo, views, vote, head.config)
    mirrored = HeadInputs(*(np.ascontiguousarray(each[..., ::-1]) for each in inputs))
    soft, soft_other = (
        enlarge(np.ascontiguousarray(each), Size(*photo.shape[:2]))
        for each in (head.draw(inputs), head.draw(mirrored)[:, ::-1])
    )
    rough = soft >= 0.5
    confidence = float(soft[rough].sum() / max(float(np.maximum(soft, rough).sum()), 1e-12))
    if (alike := iou(rough, soft_other >= 0.5)) < ALIKE or not rough.any():
        return Taught(rough, confidence, alike if rough.any() else 0.0, 1.0)
    mask, mask_other = (_refined(photo, each, 0.5) for each in (soft, soft_other))
    return Taught(mask, confidence, iou(mask, mask_other) if mask.any() else 0.0, iou(rough, mask))


def _rough(photo: RGB, log_map: Float[np.ndarray, "rows cols"]) -> tuple[Mask, Soft, float]:
    """Give a map's mask at the photo's size, the map itself there, 0–1, and its threshold."""
    soft, cut = enlarge(scale(log_map), Size(*photo.shape[:2])), threshold(log_map, _OTSU)
    return soft >= cut, soft, cut


def _refined(photo: RGB, soft: Soft, cut: float) -> Mask:
    return clean(refine.grabcut(photo, soft, cut), smallest=SMALLEST, fill_holes=True)
