"""Choose a photo's mask among many candidates: each is judged whole, and the best vote.

A head's map may mean an object, its part or the ground. So every map becomes a mask that follows the photo's colours,
cues of it are compared with those of the photo's other masks, and a linear score weighs them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from cratecli.arrays import RGB, Soft
from cratecli.emergence import cues
from cratecli.emergence.candidates import Candidates, candidates
from cratecli.emergence.crf import Kernels, Masks, dense_crf, kernels
from cratecli.emergence.features import View
from cratecli.emergence.heads import finest_tokens, token_features
from cratecli.emergence.masks import scale, threshold
from cratecli.emergence.rules import Keep
from cratecli.emergence.superpixels import Superpixels, divide, paint, pooling
from cratecli.geometry import Size

SHARPNESS = 2.5  # of the vote: a mask weighs exp(2.5 score)
CUT = 0.5  # of the vote: what most say is in
FINEST = 60  # of the photo's longer side is as far as its edges may move the vote's, one part

Ranker = Mapping[str, float]
"""The weight of every cue, by its name; a cue without one does not count."""


@dataclass(frozen=True, eq=False)
class Judged:
    """Holds a photo's candidate masks over its superpixels, and their cues.

    `soft` are the masks, 0–1, of which what is above 0.5 is in; `measured` are the cues in their own units, and `cues`
    the same in the photo's own standard deviations about its mean, so that photos and models compare.
    """

    pixels: Superpixels
    listed: Candidates
    soft: Masks
    measured: Mapping[str, cues.Cue]
    cues: Mapping[str, cues.Cue]

    @property
    def masks(self) -> Masks:
        """Give the masks: 1 inside, 0 outside."""
        return (self.soft > 0.5).astype(float)

    @property
    def size(self) -> Size:
        """Give the size at which the photo was divided into superpixels, px."""
        return Size(*self.pixels.labels.shape)


@dataclass(frozen=True, eq=False)
class Evidence:
    """Holds what masks of a photo are made of, and judged by.

    `maps` are those of the candidates, scaled to 0–1 and averaged over superpixels; `cuts` is where each is cut.
    `features` are the superpixels' tokens of all layers, of which dot products are cosines, `tokens` their principal
    components in the last layer.
    """

    pixels: Superpixels
    listed: Candidates
    maps: Masks
    cuts: Float[np.ndarray, " c"]
    alike: Kernels
    features: Float[np.ndarray, "n d"]
    tokens: Float[np.ndarray, "n c2"]


def gather(views: Sequence[View], photo: RGB, keep: Keep) -> Evidence:
    """Divide a photo into superpixels, and bring the candidates' maps and the finest view's tokens to them."""
    tokens = finest_tokens(views)
    features = token_features(tokens)
    listed = candidates(views, features)
    pixels = divide(photo)
    pool = pooling(pixels.labels, listed.grid)
    grids = listed.maps.reshape(-1, *listed.grid)
    last = tokens[-1] / np.maximum(np.linalg.norm(tokens[-1], axis=-1, keepdims=True), 1e-12)
    return Evidence(
        pixels=pixels,
        listed=listed,
        maps=np.stack([scale(each) for each in grids]).reshape(len(grids), -1) @ pool.T,
        cuts=np.array([threshold(each, keep) for each in grids]),
        alike=kernels(pixels),
        features=pool @ features,
        tokens=cues.principal(pool @ last),
    )


def describe(masks: Masks, seen: Evidence) -> cues.Cues:
    """Measure the cues that a mask has by itself, whatever the other masks of its photo are."""
    pixels, features = seen.pixels, seen.features
    return {
        **cues.shape(masks, pixels)._asdict(),
        **cues.contour(masks, pixels),
        **cues.colours(masks, pixels, seen.alike.colour),
        **cues.contrast(masks, seen.maps[-1], pixels),
        **cues.cosines(masks, features @ features.T, pixels),
        "rate_gain": cues.rate_gain(masks, seen.tokens, pixels.sizes),
        "area": np.log(cues.areas(masks, pixels) / pixels.total),
    }


def judge(views: Sequence[View], photo: RGB, keep: Keep) -> Judged:
    """Make the candidates of a photo into masks, and measure their cues; `keep` cuts their maps."""
    seen = gather(views, photo, keep)
    pixels = seen.pixels
    soft = dense_crf(seen.maps, seen.cuts, seen.alike, pixels.sizes)
    masks, raw = (soft > 0.5).astype(float), (seen.maps >= seen.cuts[:, None]).astype(float)
    found = {
        **describe(masks, seen),
        **{f"{name}_raw": each for name, each in cues.shape(raw, pixels)._asdict().items()},
        **cues.alike(masks, raw, pixels.sizes),
        "unsure": np.minimum(soft, 1 - soft) @ pixels.sizes / pixels.total,
        "agreement": seen.listed.agreement,
    }
    return Judged(pixels, seen.listed, soft, found, {name: standard(each) for name, each in found.items()})


def standard(cue: cues.Cue) -> cues.Cue:
    """Subtract the mean of a photo's candidates, and divide by their standard deviation; a constant cue becomes 0."""
    spread = cue.std()
    return (cue - cue.mean()) / spread if spread > 1e-9 else np.zeros_like(cue)


def score(judged: Judged, ranker: Ranker) -> Float[np.ndarray, " c"]:
    """Score every candidate: the weighted sum of its cues; a mask of nothing, or of everything, is out if others are.

    Raises `KeyError` for the weight of an unknown cue.
    """
    scores = np.zeros(len(judged.soft)) + sum(weight * judged.cues[name] for name, weight in ranker.items())
    share = judged.masks.mean(axis=1)
    partial = (share > 0) & (share < 1)
    return np.where(partial, scores, -np.inf) if partial.any() else scores


def votes(scores: Float[np.ndarray, " c"]) -> Float[np.ndarray, " c"]:
    """Give each candidate's share of the vote: `softmax(2.5 score)`."""
    powers = np.exp(SHARPNESS * (scores - scores.max()))
    return np.asarray(powers / powers.sum())


def soft_mask(judged: Judged, shares: Float[np.ndarray, " c"], size: Size) -> Soft:
    """Average the masks by their shares of the vote, at a photo's size, 0–1."""
    return paint(shares @ judged.soft, judged.pixels, size)
