"""Say how good a chosen mask is likely to be: its expected IoU with the truth, from how the candidates vote.

Every sign is one number of a photo, compared with nothing of the same photo, and none knows of a place in it. What a
sign weighs is learned from composites, whose true masks are known; no human mask is needed.
"""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

from cratecli.emergence.chooser import CUT, Judged, votes

Signs = Mapping[str, float]
"""What tells how good a mask is, by name."""

BIAS = "bias"  # the sign that is always 1


def soft_iou(
    soft: Float[np.ndarray, " n"], mask: Float[np.ndarray, " n"], sizes: Float[np.ndarray, " n"]
) -> float:
    """Compute the IoU, 0–1, of a soft mask with one of zeros and ones: `Σ n min(p, m) / Σ n max(p, m)`.

    Were `p` the chance of every superpixel, apart from the others, to be in the object, it would be about the expected
    IoU of the mask. It is 0 where both are empty.
    """
    union = float(np.maximum(soft, mask) @ sizes)
    return float(np.minimum(soft, mask) @ sizes) / union if union > 0 else 0.0


def signs(judged: Judged, scores: Float[np.ndarray, " c"]) -> dict[str, float]:
    """Gather what tells how good the vote of a photo's candidates is; `scores` are those of `chooser.score`.

    `decided` is the soft IoU of the vote with its mask: whether candidates with a vote mean one thing. `apart` is the
    standard deviation of the scores: whether some candidates are far better than the others. `unsure` and
    `cosine_across` are these cues of the candidates, averaged by their votes: how undecided pixels are, 0–0.5, and how
    alike the model's tokens are in and out of the mask, −1 to 1.
    """
    shares = votes(scores)
    soft = shares @ judged.soft
    counted = scores[np.isfinite(scores)]
    return {
        "decided": soft_iou(soft, (soft > CUT).astype(float), judged.pixels.sizes),
        "apart": float(counted.std()),
        **{name: float(shares @ judged.measured[name]) for name in ("unsure", "cosine_across")},
    }


def expected_iou(found: Signs, weights: Signs) -> float:
    """Compute the expected IoU, 0–1, by logistic regression: `1 / (1 + exp(−Σ w s))`, with the sign `bias` of 1.

    Raises `KeyError` for the weight of an unknown sign.
    """
    known = {BIAS: 1.0, **found}
    return float(1 / (1 + np.exp(-sum(weight * known[name] for name, weight in weights.items()))))
