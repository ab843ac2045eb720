"""List the masks that a photo's attention may mean: one a head, layer and view, and one of all together."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from cratecli.emergence.features import View
from cratecli.emergence.heads import (
    Saliency,
    agreement,
    agreement_weights,
    as_saliency,
    common_grid,
    diffuse_many,
    log_maps,
)
from cratecli.geometry import Grid

MOST = 96  # single maps that are weighed; of more those that differ most are kept


@dataclass(frozen=True, eq=False)
class Candidates:
    """Holds the candidates' log-attention maps on the finest grid; the last is the agreement-weighted mean of all.

    `sources` are the layer and head of each of the others. `agreement` is every map's correlation, −1 to 1, with the
    weighted mean; of the last it is the weighted mean of them. `saliency` is the last map as `heads.agree` gives it.
    """

    maps: Float[np.ndarray, "c m"]
    grid: Grid
    sources: Int[np.ndarray, "single 2"]
    agreement: Float[np.ndarray, " c"]
    saliency: Saliency

    def shares(self, votes: Float[np.ndarray, " c"]) -> Float[np.ndarray, "layers k"]:
        """Give each layer's and head's share of a vote among the candidates; they sum to 1 as the votes do."""
        shares = votes[-1] * self.saliency.shares
        np.add.at(shares, tuple(self.sources.T), votes[:-1])
        return shares


def candidates(views: Sequence[View], features: Float[np.ndarray, "m d"], most: int = MOST) -> Candidates:
    """Make every head's, layer's and view's map a candidate, diffused over the token affinity, and their mean.

    `features` are the finest view's (`token_features`). Of more than `most` maps those are kept that differ most: see
    `most_different`.
    """
    grid = common_grid(views)
    every = log_maps(views)
    flat = every.reshape(-1, grid.patches)
    scores = agreement(flat)
    weights = agreement_weights(scores)
    kept = most_different(flat, scores, most)
    maps = diffuse_many(np.concatenate([flat[kept], (weights @ flat)[None]]), features)
    return Candidates(
        maps=maps,
        grid=grid,
        sources=np.stack(np.unravel_index(kept, every.shape[:3])[1:], axis=1),
        agreement=np.append(scores[kept], scores @ weights),
        saliency=as_saliency(maps[-1].reshape(grid), scores.reshape(every.shape[:3])),
    )


def most_different(
    maps: Float[np.ndarray, "maps m"], scores: Float[np.ndarray, " maps"], most: int
) -> Int[np.ndarray, " kept"]:
    """Choose at most `most` maps that stand for all: farthest-point sampling (Gonzalez, 1985) by correlation.

    The first is the map of the highest score; each further one is that whose highest correlation with those chosen is
    least. Their places are given in rising order.
    """
    if len(maps) <= most:
        return np.arange(len(maps))
    centred = maps - maps.mean(axis=1, keepdims=True)
    directions = centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-12)
    chosen = [int(scores.argmax())]
    nearest = directions @ directions[chosen[0]]
    for _ in range(most - 1):
        nearest[chosen[-1]] = np.inf
        chosen.append(int(nearest.argmin()))
        nearest = np.maximum(nearest, directions @ directions[chosen[-1]])
    return np.sort(chosen)
