"""Compute principal components of tokens that pass once: exact, in constant memory."""

from dataclasses import dataclass

import numpy as np
import scipy.linalg
from jaxtyping import Float


@dataclass(frozen=True, eq=False)
class Components:
    """Holds principal components: the mean, orthonormal directions by falling variance, and the variances.

    The sign of each direction is fixed so that its entry of largest magnitude is positive.
    """

    mean: Float[np.ndarray, " d"]
    directions: Float[np.ndarray, "c d"]
    variances: Float[np.ndarray, " c"]

    def project(self, tokens: Float[np.ndarray, "m d"]) -> Float[np.ndarray, "m c"]:
        """Project tokens onto the principal components."""
        return np.asarray((tokens - self.mean) @ self.directions.T)


class Moments:
    """Accumulates count, mean and scatter matrix of tokens group by group (Chan et al., 1983), in float64.

    The order of groups changes the result by rounding only.
    """

    def __init__(self, width: int) -> None:
        """Start without tokens; each will have `width` entries."""
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
        """Compute the first `count` principal components of all tokens added, or all if there are fewer.

        Raises `ValueError` if no tokens were added.
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
    """Compute the first `count` principal components of tokens. Raises `ValueError` if there are none."""
    moments = Moments(tokens.shape[1])
    moments.add(tokens)
    return moments.components(count)
