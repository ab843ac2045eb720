"""Which heads see the object: chosen and combined per image, without labels and without a place prior.

Class-token attention of every head, layer and view votes, as the logarithm of attention on a common grid. Maps
that see an object agree with each other; maps that see texture agree with nobody. So a map's weight is its
correlation with the weighted mean of all (found by iteration, as a principal component is), and the winner is
smoothed over the affinity graph of the model's own subspace tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float

from cratecli.emergence.features import View
from cratecli.geometry import Grid

SHARPNESS = 3  # power of a map's agreement in its weight
ROUNDS = 3  # of the iteration: it has settled by then
BLUR = 0.8  # patches: what no single patch may decide
TEMPERATURE = 0.1  # of token affinity, exp((cosine − 1) / temperature)


@dataclass(frozen=True, eq=False)
class Saliency:
    """Where the model looks, as the logarithm of attention on a grid, and whose attention it was.

    `scores` holds one label-free score per layer and head, −1 to 1: the mean agreement over views. `shares` is what
    each carries of the result; they sum to 1. `chosen` lists the heads that carry at least an even share.
    `agreement`, 0–1, tells how far the maps that were combined, over sizes, mirroring and layers, agree.
    """

    log_attention: Float[np.ndarray, "rows cols"]
    scores: Float[np.ndarray, "layers k"]
    shares: Float[np.ndarray, "layers k"]
    chosen: tuple[int, ...]
    agreement: float


def common_grid(views: Sequence[View]) -> Grid:
    """Give the finest grid among views."""
    return max((view.grid for view in views), key=lambda grid: grid.patches)


def resize(grid_map: Float[np.ndarray, "rows cols"], grid: Grid) -> Float[np.ndarray, "rows2 cols2"]:
    """Interpolate a map bicubically onto another grid."""
    if grid_map.shape == tuple(grid):
        return grid_map
    return np.asarray(cv2.resize(grid_map, (grid.cols, grid.rows), interpolation=cv2.INTER_CUBIC))


def mean_attention(views: Sequence[View]) -> Float[np.ndarray, "layers k rows cols"]:
    """Average every head's attention over views, on the finest grid; each map sums to 1."""
    grid = common_grid(views)
    maps = np.stack([[[resize(head, grid) for head in layer] for layer in view.attention] for view in views])
    maps = np.maximum(maps, 1e-12)
    return np.asarray((maps / maps.sum(axis=(-2, -1), keepdims=True)).mean(axis=0))


def log_maps(views: Sequence[View]) -> Float[np.ndarray, "views layers k m"]:
    """Bring every map to the finest grid: log attention, lightly blurred, with mean zero."""
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
    """Score each zero-mean map by its correlation with the consensus of all, −1 to 1."""
    directions = maps / np.maximum(np.linalg.norm(maps, axis=1, keepdims=True), 1e-12)
    consensus = maps.mean(axis=0)
    scores = np.zeros(len(maps))
    for _ in range(ROUNDS):
        scores = directions @ (consensus / max(np.linalg.norm(consensus), 1e-12))
        consensus = _weights(scores) @ maps
    return scores


def _weights(scores: Float[np.ndarray, " maps"]) -> Float[np.ndarray, " maps"]:
    weights = np.maximum(scores, 0) ** SHARPNESS
    total = weights.sum()
    return weights / total if total > 0 else np.full_like(weights, 1 / len(weights))


def diffuse(
    grid_map: Float[np.ndarray, " m"], tokens: Float[np.ndarray, "layers m d"]
) -> Float[np.ndarray, " m"]:
    """Average a map over patches whose subspace tokens are alike: one step of a random walk on their affinity.

    Tokens are L2-normalised per layer; affinity is `exp((c − 1) / T)`, `c` the mean cosine over layers. It is
    taken in blocks of rows, so that memory stays linear in the patches.
    """
    unit = tokens / np.maximum(np.linalg.norm(tokens, axis=-1, keepdims=True), 1e-12)
    features = np.concatenate(unit, axis=-1) / np.sqrt(len(tokens))
    spread = np.empty_like(grid_map)
    block = max(1, 4_000_000 // len(features))
    for start in range(0, len(features), block):
        rows = slice(start, start + block)
        affinity = np.exp((features[rows] @ features.T - 1) / TEMPERATURE)
        spread[rows] = affinity @ grid_map / affinity.sum(axis=1)
    return spread


def auto(views: Sequence[View]) -> Saliency:
    """Choose and combine heads by agreement, then diffuse the result over the finest view's tokens."""
    maps, grid = log_maps(views), common_grid(views)
    flat = maps.reshape(-1, grid.patches)
    scores = agreement(flat)
    weights = _weights(scores).reshape(maps.shape[:3])
    finest = max(views, key=lambda view: view.grid.patches)
    tokens = finest.tokens.reshape(len(finest.tokens), grid.patches, -1)
    combined = diffuse(np.einsum("vlk,vlkm->m", weights, maps), tokens)
    shares = weights.sum(axis=0)
    heads = shares.sum(axis=0)
    return Saliency(
        log_attention=_smooth(combined.reshape(grid)),
        scores=scores.reshape(maps.shape[:3]).mean(axis=0),
        shares=shares,
        chosen=tuple(int(head) for head in np.flatnonzero(even_share(heads))),
        agreement=_mean_agreement(scores, weights.reshape(-1)),
    )


def even_share(shares: Float[np.ndarray, "*heads"]) -> Bool[np.ndarray, "*heads"]:
    """Tell which carry at least an even share of the whole, rounding aside.

    >>> even_share(np.array([0.5, 0.1, 0.4])).tolist()
    [True, False, True]
    """
    return np.asarray(shares >= shares.mean() * (1 - 1e-9))


def fixed(views: Sequence[View], heads: Sequence[int]) -> Saliency:
    """Average the attention of the heads named, over layers and views, as DINO and the paper do.

    Raises `ValueError` for a head that is not there.
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
    """Name each head once, in the order given. Raises `ValueError` for one that a model with `count` heads lacks.

    >>> known_heads([2, 0, 2], count=3)
    [2, 0]
    """
    if absent := [head for head in heads if not 0 <= head < count]:
        raise ValueError(f"head {absent[0]} of a model with {count} heads, 0 to {count - 1}")
    return list(dict.fromkeys(heads))


def _mean_agreement(scores: Float[np.ndarray, " maps"], weights: Float[np.ndarray, " maps"]) -> float:
    return float(np.clip(scores @ weights, 0, 1))
