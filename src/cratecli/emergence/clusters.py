"""How near clusters come to true parts: information, pairs, and overlap under the best matching.

All is counted from contingency tables: how many pixels have a found label (rows) and a true one (columns). Tables of
photos add up, so those of many samples of photos are judged at once.
"""

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import linear_sum_assignment
from scipy.special import xlogy

from cratecli.arrays import Labels

Tables = Float[np.ndarray, "times found true"]
Values = Float[np.ndarray, " times"]


def contingency(found: Labels, true: Labels) -> Int[np.ndarray, "found true"]:
    """Count the pixels of each pair of labels, up to the largest labels there are."""
    rows, cols = int(found.max()) + 1, int(true.max()) + 1
    pairs = found.astype(np.int64) * cols + true
    return np.bincount(pairs.reshape(-1), minlength=rows * cols).reshape(rows, cols)


def mutual_information(tables: Tables) -> Values:
    """Give the mutual information of both labellings over the mean of their entropies, 0–1 (NMI).

    It is 1 where neither labelling tells anything apart.
    """
    total = tables.sum(axis=(1, 2), keepdims=True)
    found, true = tables.sum(axis=2) / total[..., 0], tables.sum(axis=1) / total[..., 0]
    joint = tables / total
    entropies = -xlogy(found, found).sum(axis=1), -xlogy(true, true).sum(axis=1)
    shared = sum(entropies) + xlogy(joint, joint).sum(axis=(1, 2))
    mean = sum(entropies) / 2
    return np.asarray(np.where(mean > 1e-12, np.maximum(shared, 0) / np.maximum(mean, 1e-12), 1.0))


def rand_index(tables: Tables) -> Values:
    """Give the share of pairs of pixels on which both labellings agree, adjusted for chance (ARI, −0.5 to 1)."""

    def pairs(counts: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
        return np.asarray(counts * (counts - 1) / 2)

    both = pairs(tables).sum(axis=(1, 2))
    found, true = pairs(tables.sum(axis=2)).sum(axis=1), pairs(tables.sum(axis=1)).sum(axis=1)
    expected = found * true / np.maximum(pairs(tables.sum(axis=(1, 2))), 1)
    most = (found + true) / 2
    trivial = most - expected <= 0  # one cluster on both sides, or nothing but singles
    return np.asarray(np.where(trivial, 1.0, (both - expected) / np.where(trivial, 1.0, most - expected)))


def part_iou(tables: Tables) -> Values:
    """Match clusters and true parts one to one for the largest sum of IoU, and average over the true parts, 0–1.

    Label 0 is ground and no part; its pixels count in unions. A true part that no cluster is left for counts 0. It is
    NaN where there is no true part.
    """
    unions = tables.sum(axis=2, keepdims=True) + tables.sum(axis=1, keepdims=True) - tables
    shares = (tables / np.maximum(unions, 1))[:, 1:, 1:]
    parts = np.count_nonzero(tables.sum(axis=1)[:, 1:], axis=1)
    matched = np.array([each[linear_sum_assignment(each, maximize=True)].sum() for each in shares])
    return np.asarray(np.where(parts > 0, matched / np.maximum(parts, 1), np.nan))
