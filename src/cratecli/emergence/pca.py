"""Principal components of tokens that are seen once and forgotten: exact, in memory that does not grow."""

from dataclasses import dataclass

import numpy as np
import scipy.linalg
from jaxtyping import Float


@dataclass(frozen=True, eq=False)
class Components:
    """Principal components: the mean, orthonormal directions in falling order of variance, and the variances.

    A direction's sign is open; here its largest entry in magnitude is positive.
    """

    mean: Float[np.ndarray, " d"]
    directions: Float[np.ndarray, "c d"]
    variances: Float[np.ndarray, " c"]

    def project(self, tokens: Float[np.ndarray, "m d"]) -> Float[np.ndarray, "m c"]:
        """Give tokens their coordinates along the directions."""
        return np.asarray((tokens - self.mean) @ self.directions.T)


class Moments:
    """Count, mean and scatter of tokens, added up group by group (Chan et al. 1983), in float64.

    The order of groups changes the result by rounding only.
    """

    def __init__(self, width: int) -> None:
        """Start with no tokens of `width` entries."""
        self.count = 0
        self._mean = np.zeros(width)
        self._scatter = np.zeros((width, width))

    def add(self, tokens: Float[np.ndarray, "m d"]) -> None:
        """Add a group of tokens."""
        if not len(tokens):
            return
        group = tokens.astype(np.float64)
        mean = group.mean(axis=0)
        group -= mean
        shift, total = mean - self._mean, self.count + len(group)
        self._scatter += group.T @ group + np.outer(shift, shift) * (self.count * len(group) / total)
        self._mean = self._mean + shift * (len(group) / total)
        self.count = total

    def components(self, count: int) -> Components:
        """Give the first `count` principal components of all tokens added, or all there are if fewer.

        Raises `ValueError` when none were added.
        """
        if not self.count:
            raise ValueError("no tokens have no principal components")
        width = len(self._mean)
        last = [max(0, width - count), width - 1]
        values, vectors = scipy.linalg.eigh(self._scatter / self.count, subset_by_index=last)
        directions = vectors.T[::-1]
        largest = np.abs(directions).argmax(axis=1)
        signs = np.where(directions[np.arange(len(directions)), largest] < 0, -1.0, 1.0)
        return Components(self._mean.copy(), directions * signs[:, None], np.maximum(values[::-1], 0))


def principal_components(tokens: Float[np.ndarray, "m d"], count: int) -> Components:
    """Give the first `count` principal components of tokens that are all at hand."""
    moments = Moments(tokens.shape[1])
    moments.add(tokens)
    return moments.components(count)
