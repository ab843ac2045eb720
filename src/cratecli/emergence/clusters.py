"""Compare predicted part labels with true ones: mutual information (NMI), Rand index (ARI), matched part IoU.

All are computed from contingency tables: how many pixels have a predicted label (rows) and a true one (columns).
Tables of photos add up, so all bootstrap samples are evaluated at once.
"""

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import linear_sum_assignment
from scipy.special import xlogy

from cratecli.arrays import Labels

Tables = Float[np.ndarray, "times predicted true"]
Values = Float[np.ndarray, " times"]


def contingency(predicted: Labels, true: Labels) -> Int[np.ndarray, "predicted true"]:
    """Count the pixels of each pair of predicted and true label, from 0 to the largest label of each."""
    rows, cols = int(predicted.max()) + 1, int(true.max()) + 1
    pairs = predicted.astype(np.int64) * cols + true
    return np.bincount(pairs.reshape(-1), minlength=rows * cols).reshape(rows, cols)


def mutual_information(tables: Tables) -> Values:
    """Compute the normalised mutual information (NMI, 0–1) of each table: mutual information over mean entropy.

    It is 1 where both labellings have only one label.
    """
    total = tables.sum(axis=(1, 2), keepdims=True)
    predicted, true = tables.sum(axis=2) / total[..., 0], tables.sum(axis=1) / total[..., 0]
    joint = tables / total
    entropies = -xlogy(predicted, predicted).sum(axis=1), -xlogy(true, true).sum(axis=1)
    shared = sum(entropies) + xlogy(joint, joint).sum(axis=(1, 2))
    mean = sum(entropies) / 2
    return np.asarray(np.where(mean > 1e-12, np.maximum(shared, 0) / np.maximum(mean, 1e-12), 1.0))


def rand_index(tables: Tables) -> Values:
    """Compute the adjusted Rand index (ARI, −0.5 to 1): agreement on pairs of pixels, adjusted for chance."""

    def pairs(counts: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
        return np.asarray(counts * (counts - 1) / 2)

    both = pairs(tables).sum(axis=(1, 2))
    predicted, true = (pairs(tables.sum(axis=axis)).sum(axis=1) for axis in (2, 1))
    expected = predicted * true / np.maximum(pairs(tables.sum(axis=(1, 2))), 1)
    most = (predicted + true) / 2
    trivial = most - expected <= 0  # one cluster on both sides, or only clusters of one pixel
    return np.asarray(np.where(trivial, 1.0, (both - expected) / np.where(trivial, 1.0, most - expected)))


def part_iou(tables: Tables) -> Values:
    """Compute the mean IoU, 0–1, of the true parts under the best one-to-one matching with predicted parts.

    Label 0 is background: no part, but its pixels count in unions. A true part without a partner counts 0. A table
    without true parts gives NaN.
    """
    unions = tables.sum(axis=2, keepdims=True) + tables.sum(axis=1, keepdims=True) - tables
    shares = (tables / np.maximum(unions, 1))[:, 1:, 1:]
    parts = np.count_nonzero(tables.sum(axis=1)[:, 1:], axis=1)
    matched = np.array([each[linear_sum_assignment(each, maximize=True)].sum() for each in shares])
    return np.asarray(np.where(parts > 0, matched / np.maximum(parts, 1), np.nan))
