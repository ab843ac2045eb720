"""MaskCut (2301.11320): several objects of one image, cut one by one out of the affinity of its own tokens.

Patches whose tokens are alike are tied with weight 1, all others with a tiny ε. The normalised cut of that graph
(Shi and Malik, 2000) parts the object that stands out most; its patches are taken out, and the next is cut.

The generalised eigenproblem `(D − A) v = λ D v` is never formed. `A = ε 1 1ᵀ + (1 − ε) B` with `B` of zeros and
ones, so one product with the normalised affinity `D^-½ A D^-½` is one with `B` and a few sums; its leading
eigenvector `D^½ 1` is known and taken out, and Lanczos finds the next in ten to twenty such products.

`objectness` is ours, outside the published protocol: it tells what looks like an object from what merely was cut.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage

from cratecli.emergence.masks import iou

EPSILON = 1e-5  # affinity of patches that are not alike
OVERLAP, SMALLEST = 0.5, 0.01  # a later mask over the one, or not over the other, is rejected
DENSE = 64  # patches up to which the matrix is simply diagonalised
KRYLOV, RESTARTS = 8, 100  # Lanczos vectors, and restarts before more are taken
TOLERANCE = 1e-8
TIE = 1e-6  # entries of an eigenvector nearer than this share of its largest are equal: the first wins


@dataclass(frozen=True, eq=False)
class Cut:
    """One normalised cut: the second generalised eigenvector, and the mask cut by it."""

    vector: Float[np.ndarray, "rows cols"]
    mask: Bool[np.ndarray, "rows cols"]


def maskcut(
    tokens: Float[np.ndarray, "rows cols d"], *, tau: float = 0.15, count: int = 3
) -> list[Bool[np.ndarray, "rows cols"]]:
    """Cut `count` masks out of a grid of subspace tokens, the earlier subtracted from the later.

    `tau` is the cosine, −1 to 1, above which two patches are alike. A mask that `cuts` rejects, or of which
    nothing is left, is empty. The first never is.
    """
    taken = np.zeros(tokens.shape[:2], bool)
    masks = []
    for cut in cuts(tokens, tau=tau, count=count):
        masks.append(cut.mask & ~taken)
        taken |= cut.mask
    return masks


def cuts(tokens: Float[np.ndarray, "rows cols d"], *, tau: float = 0.15, count: int = 3) -> Iterator[Cut]:
    """Yield `count` cuts, each of what the ones before have left; nothing is subtracted yet.

    The first is always accepted. A later one that overlaps the cut before by IoU > 0.5, or covers at most 1 %,
    is rejected: its mask is empty, takes nothing out, and is what the next is compared with. So the next is the
    same cut once more.
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
    """Part a grid of unit tokens in two, and keep what stands out; see `second_eigenvector` and `mask_of`."""
    vector = second_eigenvector(features.reshape(-1, features.shape[-1]), tau)
    grid_vector = vector.reshape(features.shape[:2])
    return Cut(grid_vector, mask_of(grid_vector))


def mask_of(vector: Float[np.ndarray, "rows cols"]) -> Bool[np.ndarray, "rows cols"]:
    """Keep the connected part of a cut's foreground that stands out most.

    Foreground is what lies above the mean; or the other side, if this one holds three image corners or lacks the
    patch of largest `|v|`. Of it the 4-connected component stays that holds the largest entry. Where all entries
    are equal, that is the whole grid.
    """
    foreground = vector > vector.mean()
    corners = foreground[[0, 0, -1, -1], [0, -1, 0, -1]]
    if corners.sum() >= 3 or not foreground.flat[_first_largest(np.abs(vector))]:
        foreground, vector = ~foreground, -vector
    labels = ndimage.label(foreground)[0]
    return np.asarray(labels == labels.flat[_first_largest(vector)])


def ncut(mask: Bool[np.ndarray, "rows cols"], tokens: Float[np.ndarray, "rows cols d"], tau: float) -> float:
    """Give the normalised cut of a mask, the sum of both sides' share of weight that is cut, 0–2.

    Any mask of a constant image has 1, one without ties to the rest 0. All or nothing counts as 1.
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
    """Score without labels how much of an object a mask is, 0–1: the share of attention times `√(1 − Ncut)`.

    The share is what a patch inside gets of the class attention that it and one outside get together, by their
    geometric means: one half where attention does not tell them apart. A mask that parts the patches no better
    than any does on a constant image, with an `ncut` of 1 or more, scores 0.
    """
    from scipy.special import expit

    parted = max(0.0, 1 - ncut(mask, tokens, tau))
    if parted == 0:
        return 0.0
    share = expit(log_attention[mask].mean(dtype=np.float64) - log_attention[~mask].mean(dtype=np.float64))
    return float(share * np.sqrt(parted))


def second_eigenvector(features: Float[np.ndarray, "m d"], tau: float) -> Float[np.ndarray, " m"]:
    """Solve `(D − A) v = λ D v` for the second smallest λ; `A` is 1 where the cosine exceeds `tau`, else ε.

    `features` have unit rows, or rows of zeros, which are like nothing. The result has unit length, and its
    entry of largest magnitude is positive, the first of equals: rules that look at `v` depend on its sign, which
    the equation leaves open. It is all zeros where λ is 1 for every vector: all patches alike, or none.
    Memory is 4 m² bytes.
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
    """Write `B`, in place of the cosines."""
    alike = np.asarray(features @ features.T)
    np.greater(alike, tau, out=alike)
    return alike


def _degrees(alike: Float[np.ndarray, "m m"]) -> Float[np.ndarray, " m"]:
    return np.asarray(EPSILON * len(alike) + (1 - EPSILON) * alike.sum(axis=1, dtype=np.float64))


def _largest(
    alike: Float[np.ndarray, "m m"], degrees: Float[np.ndarray, " m"]
) -> tuple[float, Float[np.ndarray, " m"]]:
    """Find the largest eigenvalue, and its vector, of the normalised affinity without its leading pair."""
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
        for vectors in (KRYLOV, 8 * KRYLOV):
            try:
                values, found = eigsh(
                    operator, k=1, which="LA", v0=start, ncv=vectors, maxiter=RESTARTS, tol=TOLERANCE
                )
            except ArpackError:
                continue
            return float(values[0]), found[:, 0]
    matrix = EPSILON + (1 - EPSILON) * alike.astype(np.float64)
    matrix = matrix / np.outer(half, half) - np.outer(leading, leading)
    values, found = eigh(matrix, subset_by_index=[patches - 1, patches - 1])
    return float(values[0]), found[:, 0]


def _first_largest(values: Float[np.ndarray, "*shape"]) -> int:
    return int(np.argmax(values >= values.max() - TIE * np.abs(values).max()))
