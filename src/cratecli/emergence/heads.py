"""Combine class-token attention of all heads into one saliency map, without labels and without a centre prior.

Each head, layer and view contributes one map, the logarithm of its attention on a common grid. Maps of heads that
attend to an object correlate with each other; maps that follow texture correlate with none. So the weight of a map is
a power of its correlation with the weighted mean of all, computed by iteration as a principal component is. The
result is smoothed over the affinity graph of the model's own subspace tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float

from cratecli.emergence.features import View
from cratecli.geometry import Grid

SHARPNESS = 3  # exponent of a map's agreement in its weight
ROUNDS = 3  # of the iteration, which has converged by then
BLUR = 0.8  # patches, standard deviation: no single patch decides
TEMPERATURE = 0.1  # of token affinity, exp((cosine − 1) / temperature)


@dataclass(frozen=True, eq=False)
class Saliency:
    """Holds a saliency map on the patch grid, and how much each layer and head contributed to it.

    `log_attention` is the map, the logarithm of attention. `scores` is one label-free score per layer and head, −1 to
    1: the mean agreement over views. `shares` are their weights in the map, which sum to 1; `chosen` lists the heads
    with at least an even share. `agreement`, 0–1, is the weighted mean agreement of the combined maps.
    """

    log_attention: Float[np.ndarray, "rows cols"]
    scores: Float[np.ndarray, "layers k"]
    shares: Float[np.ndarray, "layers k"]
    chosen: tuple[int, ...]
    agreement: float


def common_grid(views: Sequence[View]) -> Grid:
    """Return the grid with the most patches among the views."""
    return max((view.grid for view in views), key=lambda grid: grid.patches)


def resize(grid_map: Float[np.ndarray, "rows cols"], grid: Grid) -> Float[np.ndarray, "rows2 cols2"]:
    """Resample a map bicubically to another patch grid."""
    if grid_map.shape == tuple(grid):
        return grid_map
    return np.asarray(cv2.resize(grid_map, (grid.cols, grid.rows), interpolation=cv2.INTER_CUBIC))


def mean_attention(views: Sequence[View]) -> Float[np.ndarray, "layers k rows cols"]:
    """Average the attention maps of every layer and head over views, on the finest grid; each map sums to 1."""
    grid = common_grid(views)
    maps = np.stack([[[resize(head, grid) for head in layer] for layer in view.attention] for view in views])
    maps = np.maximum(maps, 1e-12)
    return np.asarray((maps / maps.sum(axis=(-2, -1), keepdims=True)).mean(axis=0))


def log_maps(views: Sequence[View]) -> Float[np.ndarray, "views layers k m"]:
    """Compute the log-attention map of every view, layer and head on the finest grid, blurred, with mean zero."""
    grid = common_grid(views)
    maps = np.stack(
        [
            [[_smooth(resize(np.log(head + 1e-8), grid)) for head in layer] for layer in view.attention]
            for view in views
        ]
    ).reshape(len(views), *views[0].attention.shape[:2], grid.patches)
    return np.asarray(maps - maps.mean(axis=-1, keepdims=True))


def _smooth(grid_map: Float[np.ndarray, "rows cols"]) -> Float[np.ndarray, "rows cols"]:
    return np.asarray(cv2.GaussianBlur(grid_map, (0, 0), BLUR, borderType=cv2.BORDER_REPLICATE))


def agreement(maps: Float[np.ndarray, "maps m"]) -> Float[np.ndarray, " maps"]:
    """Score each zero-mean attention map by its correlation, −1 to 1, with the weighted mean of all."""
    directions = maps / np.maximum(np.linalg.norm(maps, axis=1, keepdims=True), 1e-12)
    consensus = maps.mean(axis=0)
    scores = np.zeros(len(maps))
    for _ in range(ROUNDS):
        scores = directions @ (consensus / max(np.linalg.norm(consensus), 1e-12))
        consensus = agreement_weights(scores) @ maps
    return scores


def agreement_weights(scores: Float[np.ndarray, " maps"]) -> Float[np.ndarray, " maps"]:
    """Weigh maps by a power of their agreement; they sum to 1. Without any agreement all weigh the same."""
    weights = np.maximum(scores, 0) ** SHARPNESS
    total = weights.sum()
    return weights / total if total > 0 else np.full_like(weights, 1 / len(weights))


def finest_tokens(views: Sequence[View]) -> Float[np.ndarray, "layers m d"]:
    """Give the subspace tokens of the view with the most patches, which the other views' maps are brought to."""
    finest = max(views, key=lambda view: view.grid.patches)
    return finest.tokens.reshape(len(finest.tokens), finest.grid.patches, -1)


def token_features(tokens: Float[np.ndarray, "layers m d"]) -> Float[np.ndarray, "m d2"]:
    """Concatenate the layers' tokens, L2-normalised per layer, so that dot products are mean cosines over layers."""
    unit = tokens / np.maximum(np.linalg.norm(tokens, axis=-1, keepdims=True), 1e-12)
    return np.asarray(np.concatenate(unit, axis=-1) / np.sqrt(len(tokens), dtype=tokens.dtype))


def diffuse(
    grid_map: Float[np.ndarray, " m"], tokens: Float[np.ndarray, "layers m d"]
) -> Float[np.ndarray, " m"]:
    """Smooth a saliency map over patches with similar subspace tokens; see `diffuse_many`."""
    return diffuse_many(grid_map[None], token_features(tokens))[0]


def diffuse_many(
    maps: Float[np.ndarray, "maps m"], features: Float[np.ndarray, "m d"]
) -> Float[np.ndarray, "maps m"]:
    """Smooth maps over patches with similar tokens: one step of a random walk on the affinity of their features.

    `features` are those of `token_features`; the affinity is `exp((c − 1) / T)`, `c` the mean cosine over layers. It is
    computed in blocks of rows, so that memory is linear in the number of patches.
    """
    spread = np.empty_like(maps)
    block = max(1, 4_000_000 // len(features))
    for start in range(0, len(features), block):
        rows = slice(start, start + block)
        affinity = np.exp((features[rows] @ features.T - 1) / TEMPERATURE)
        spread[:, rows] = maps @ affinity.T / affinity.sum(axis=1)
    return spread


def agree(views: Sequence[View]) -> Saliency:
    """Combine the attention of all heads by agreement, and diffuse the saliency map over the finest view's tokens."""
    maps, grid = log_maps(views), common_grid(views)
    flat = maps.reshape(-1, grid.patches)
    scores = agreement(flat)
    combined = diffuse(agreement_weights(scores) @ flat, finest_tokens(views))
    return as_saliency(combined.reshape(grid), scores.reshape(maps.shape[:3]))


def as_saliency(
    combined: Float[np.ndarray, "rows cols"], scores: Float[np.ndarray, "views layers k"]
) -> Saliency:
    """Blur the map that heads combine to by their agreement, and say how much each layer and head contributed."""
    weights = agreement_weights(scores.reshape(-1))
    shares = weights.reshape(scores.shape).sum(axis=0)
    return Saliency(
        log_attention=_smooth(combined),
        scores=scores.mean(axis=0),
        shares=shares,
        chosen=trusted_heads(shares),
        agreement=_mean_agreement(scores.reshape(-1), weights),
    )


def trusted_heads(shares: Float[np.ndarray, "layers k"]) -> tuple[int, ...]:
    """List the heads that have at least an even share, over all layers.

    >>> trusted_heads(np.array([[0.3, 0.0, 0.2], [0.4, 0.1, 0.0]]))
    (0,)
    """
    return tuple(int(head) for head in np.flatnonzero(even_share(shares.sum(axis=0))))


def even_share(shares: Float[np.ndarray, "*heads"]) -> Bool[np.ndarray, "*heads"]:
    """Return which weights are at least the mean of all, up to rounding.

    >>> even_share(np.array([0.5, 0.1, 0.4])).tolist()
    [True, False, True]
    """
    return np.asarray(shares >= shares.mean() * (1 - 1e-9))


def fixed(views: Sequence[View], heads: Sequence[int]) -> Saliency:
    """Average the attention of the given heads over layers and views, as DINO (2104.14294) and CRATE (2308.16271) do.

    Raises `ValueError` for a head that the model lacks.
    """
    named_heads, grid = known_heads(heads, views[0].attention.shape[1]), common_grid(views)
    alone = []
    for view in views:
        mean = view.attention[:, named_heads].mean(axis=(0, 1))
        alone.append(np.maximum(resize(mean / mean.sum(), grid), 1e-8))
    maps = log_maps(views)
    scores = agreement(maps.reshape(-1, grid.patches)).reshape(maps.shape[:3])
    named = scores[:, :, named_heads].reshape(-1)
    shares = np.zeros(scores.shape[1:])
    shares[:, named_heads] = 1 / (len(shares) * len(named_heads))
    return Saliency(
        log_attention=np.log(np.mean(alone, axis=0)),
        scores=scores.mean(axis=0),
        shares=shares,
        chosen=tuple(named_heads),
        agreement=_mean_agreement(named, np.full_like(named, 1 / len(named))),
    )


def known_heads(heads: Sequence[int], count: int) -> list[int]:
    """List each head once, in the given order. Raises `ValueError` for one that a model with `count` heads lacks.

    >>> known_heads([2, 0, 2], count=3)
    [2, 0]
    """
    if absent := [head for head in heads if not 0 <= head < count]:
        raise ValueError(f"head {absent[0]} of a model with {count} heads, 0 to {count - 1}")
    return list(dict.fromkeys(heads))


def _mean_agreement(scores: Float[np.ndarray, " maps"], weights: Float[np.ndarray, " maps"]) -> float:
    return float(np.clip(scores @ weights, 0, 1))
