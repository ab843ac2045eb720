"""Discover several objects of one image with MaskCut (2301.11320): repeated normalised cuts of its tokens' affinity.

Patches with similar tokens are connected with weight 1, all others with a tiny ε. The normalised cut of that graph
(Shi and Malik, 2000) separates the most salient object; its patches are removed, and the graph is cut again.

The generalised eigenproblem `(D − A) v = λ D v` is never formed. `A = ε 1 1ᵀ + (1 − ε) B` with `B` of zeros and
ones, so one product with the normalised affinity `D^-½ A D^-½` is one with `B` and a few sums; its leading
eigenvector `D^½ 1` is known and deflated, and Lanczos computes the next in ten to twenty such products.

`objectness` is ours, outside the published protocol: it ranks cuts by how much they look like objects.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float

from cratecli.emergence.masks import iou

EPSILON = 1e-5  # affinity of dissimilar patches
OVERLAP, SMALLEST = 0.5, 0.01  # most IoU with the previous mask, least share of the grid: others are rejected
DENSE = 64  # patches up to which the dense matrix is diagonalised
KRYLOV, RESTARTS = 8, 100  # Lanczos vectors, and restarts before more are taken
TOLERANCE = 1e-8
TIE = 1e-6  # entries of an eigenvector that differ less, relative to its largest, are equal: the first counts


@dataclass(frozen=True, eq=False)
class Cut:
    """Holds one normalised cut: the second generalised eigenvector on the grid, and its mask."""

    vector: Float[np.ndarray, "rows cols"]
    mask: Bool[np.ndarray, "rows cols"]


def maskcut(
    tokens: Float[np.ndarray, "rows cols d"], *, tau: float = 0.15, count: int = 3
) -> list[Bool[np.ndarray, "rows cols"]]:
    """Segment `count` disjoint masks from a grid of subspace tokens; earlier masks are subtracted from later ones.

    `tau` is the cosine, −1 to 1, above which two patches are connected. A mask that `cuts` rejects, or that is covered
    by earlier ones, is empty; the first never is.
    """
    taken = np.zeros(tokens.shape[:2], bool)
    masks = []
    for cut in cuts(tokens, tau=tau, count=count):
        masks.append(cut.mask & ~taken)
        taken |= cut.mask
    return masks


def cuts(tokens: Float[np.ndarray, "rows cols d"], *, tau: float = 0.15, count: int = 3) -> Iterator[Cut]:
    """Yield `count` normalised cuts, each of the patches outside earlier masks; masks may still overlap.

    The first is always accepted. A later mask that overlaps the previous one with IoU > 0.5, or covers at most 1 % of
    the grid, is rejected: it becomes empty, removes nothing, and the next is compared with it. So the next cut is the
    same again.
    """
    features = _unit(tokens)
    before: Bool[np.ndarray, "rows cols"] | None = None
    for _ in range(count):
        if before is None or before.any():
            cut = normalised_cut(features, tau)
        mask = cut.mask
        if before is not None and (iou(mask, before) > OVERLAP or mask.mean() <= SMALLEST):
            mask = np.zeros_like(mask)
        yield Cut(cut.vector, mask)
        features = np.where(mask[..., None], 0, features)
        before = mask


def normalised_cut(features: Float[np.ndarray, "rows cols d"], tau: float) -> Cut:
    """Cut a grid of L2-normalised tokens in two; see `second_eigenvector` and `mask_of`."""
    vector = second_eigenvector(features.reshape(-1, features.shape[-1]), tau)
    grid_vector = vector.reshape(features.shape[:2])
    return Cut(grid_vector, mask_of(grid_vector))


def mask_of(vector: Float[np.ndarray, "rows cols"]) -> Bool[np.ndarray, "rows cols"]:
    """Threshold an eigenvector at its mean, and return the most salient 4-connected component of the foreground.

    The foreground is the side above the mean; or the other side, if this one holds three image corners or lacks the
    patch of largest `|v|`. The component is the one with the foreground's largest entry; it is the whole grid where
    all entries are equal.
    """
    foreground = vector > vector.mean()
    corners = foreground[[0, 0, -1, -1], [0, -1, 0, -1]]
    if corners.sum() >= 3 or not foreground.flat[_first_largest(np.abs(vector))]:
        foreground, vector = ~foreground, -vector
    _, labels = cv2.connectedComponents(foreground.astype(np.uint8), connectivity=4)
    return np.asarray(labels == labels.flat[_first_largest(vector)])


def ncut(mask: Bool[np.ndarray, "rows cols"], tokens: Float[np.ndarray, "rows cols d"], tau: float) -> float:
    """Compute the normalised cut of a mask, 0–2: the weight that is cut, over each side's total weight, summed.

    Any mask of a constant image has 1, one without connections to the rest 0. A full or an empty mask counts as 1.
    """
    inside = mask.reshape(-1)
    if inside.all() or not inside.any():
        return 1.0
    alike = _alike(_unit(tokens).reshape(inside.size, -1), tau)
    degrees = _degrees(alike)
    within, rest = int(inside.sum()), int((~inside).sum())
    tied = alike[inside].sum(axis=0, dtype=np.float64)[~inside].sum()
    across = EPSILON * within * rest + (1 - EPSILON) * tied
    return float(across / degrees[inside].sum() + across / degrees[~inside].sum())


def objectness(
    mask: Bool[np.ndarray, "rows cols"],
    tokens: Float[np.ndarray, "rows cols d"],
    log_attention: Float[np.ndarray, "rows cols"],
    tau: float,
) -> float:
    """Score a mask's objectness, 0–1, without labels: its share of class attention times `√(1 − Ncut)`.

    The share is `a / (a + b)` of the geometric means of attention per patch inside (a) and outside (b): one half where
    attention does not distinguish them. A mask with an `ncut` of 1 or more, as any has on a constant image, scores 0.
    """
    from scipy.special import expit

    parted = max(0.0, 1 - ncut(mask, tokens, tau))
    if parted == 0:
        return 0.0
    share = expit(log_attention[mask].mean(dtype=np.float64) - log_attention[~mask].mean(dtype=np.float64))
    return float(share * np.sqrt(parted))


def second_eigenvector(features: Float[np.ndarray, "m d"], tau: float) -> Float[np.ndarray, " m"]:
    """Solve `(D − A) v = λ D v` for the second smallest λ; `A` is 1 where the cosine exceeds `tau`, else ε.

    `features` have rows of unit length, or of zeros, which are similar to none. The result has unit length; its entry
    of largest magnitude, the first of equals, is positive, because `mask_of` depends on the sign, which the equation
    leaves open. It is all zeros where λ is 1 for every vector: all patches are similar, or none. Memory is 4 m² bytes.
    """
    alike = _alike(features, tau)
    degrees = _degrees(alike)
    value, vector = _largest(alike, degrees)
    if value < TIE:
        return np.zeros(len(alike))
    vector /= np.sqrt(degrees)
    vector /= np.linalg.norm(vector)
    return np.asarray(vector * np.sign(vector[_first_largest(np.abs(vector))]))


def _unit(tokens: Float[np.ndarray, "rows cols d"]) -> Float[np.ndarray, "rows cols d"]:
    return np.asarray(tokens / np.maximum(np.linalg.norm(tokens, axis=-1, keepdims=True), 1e-12))


def _alike(features: Float[np.ndarray, "m d"], tau: float) -> Float[np.ndarray, "m m"]:
    """Compute the 0/1 affinity `B`, in place of the cosines."""
    alike = np.asarray(features @ features.T)
    np.greater(alike, tau, out=alike)
    return alike


def _degrees(alike: Float[np.ndarray, "m m"]) -> Float[np.ndarray, " m"]:
    return np.asarray(EPSILON * len(alike) + (1 - EPSILON) * alike.sum(axis=1, dtype=np.float64))


def _largest(
    alike: Float[np.ndarray, "m m"], degrees: Float[np.ndarray, " m"]
) -> tuple[float, Float[np.ndarray, " m"]]:
    """Compute the largest eigenvalue and eigenvector of the normalised affinity without its leading pair."""
    from scipy.linalg import eigh
    from scipy.sparse.linalg import ArpackError, LinearOperator, eigsh

    patches, half = len(degrees), np.sqrt(degrees)
    leading = half / np.linalg.norm(half)

    def product(x: Float[np.ndarray, " m"]) -> Float[np.ndarray, " m"]:
        y = x / half
        spread = EPSILON * y.sum() + (1 - EPSILON) * (alike @ y.astype(alike.dtype))
        return np.asarray(spread / half - leading * (leading @ x))

    if patches > DENSE:
        operator = LinearOperator((patches, patches), matvec=product, dtype=np.float64)
        start = np.random.default_rng(0).standard_normal(patches)
        for krylov in (KRYLOV, 8 * KRYLOV):
            try:
                values, vectors = eigsh(
                    operator, k=1, which="LA", v0=start, ncv=krylov, maxiter=RESTARTS, tol=TOLERANCE
                )
            except ArpackError:
                continue
            return float(values[0]), vectors[:, 0]
    matrix = EPSILON + (1 - EPSILON) * alike.astype(np.float64)
    matrix = matrix / np.outer(half, half) - np.outer(leading, leading)
    values, vectors = eigh(matrix, subset_by_index=[patches - 1, patches - 1])
    return float(values[0]), vectors[:, 0]


def _first_largest(values: Float[np.ndarray, "*shape"]) -> int:
    return int(np.argmax(values >= values.max() - TIE * np.abs(values).max()))
