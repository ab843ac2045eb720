"""Compute principal components of tokens that pass once: exact, in constant memory, and in any portions."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import scipy.linalg
from jaxtyping import Float

GRAIN = 1 << 20  # tokens are rounded to multiples of 1 / GRAIN
LARGEST = 64  # what an entry of a token may be; descriptors are of unit length
_EXACT = 1 << 53  # float64 holds whole numbers up to this


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
    """Adds up count, sum and scatter matrix of tokens, exactly: in whatever groups and order, with the same result.

    Sums of floats depend on their order. So tokens are rounded to multiples of 2⁻²⁰, about as fine as a model computes
    them in float32, and taken as whole numbers. Their products are summed by the matrix product of float64, of so few
    rows at a time that no sum exceeds 2⁵³: then every one is a whole number that float64 holds, however it is
    computed. Sums of those are kept in two int64 each, beyond all that can come. What is rounded again, once and
    correctly, is the covariance.
    """

    def __init__(self, width: int) -> None:
        """Start without tokens; each will have `width` entries."""
        self.count = 0
        self._sum, self._scatter = _Whole((width,)), _Whole((width, width))

    def add(self, tokens: Float[np.ndarray, "m d"]) -> None:
        """Add a group of tokens. Raises `ValueError` for numbers that are not within ±`LARGEST`."""
        if not len(tokens):
            return
        whole = np.rint(tokens.astype(np.float64) * GRAIN)
        largest = float(np.abs(whole).max())
        if not largest <= LARGEST * GRAIN:  # nor if it is no number
            raise ValueError(f"tokens are not within ±{LARGEST}")
        self.count += len(whole)
        rows = int(_EXACT // max(largest, 1) ** 2)
        for start in range(0, len(whole), rows):
            some = whole[start : start + rows]
            self._sum.add(some.sum(axis=0))
            self._scatter.add(some.T @ some)

    def merge(self, other: "Moments") -> None:
        """Add the tokens of other moments."""
        self.count += other.count
        self._sum.merge(other._sum)
        self._scatter.merge(other._scatter)

    def components(self, count: int) -> Components:
        """Compute the first `count` principal components of all tokens added, or all if there are fewer.

        Raises `ValueError` if no tokens were added.
        """
        if not self.count:
            raise ValueError("no tokens have no principal components")
        n, total, scatter = self.count, self._sum.exact(), self._scatter
        mean = np.array([each / (n * GRAIN) for each in total])
        covariance = np.array(
            [
                [
                    (n * square - ours * theirs) / (n * GRAIN) ** 2
                    for square, theirs in zip(row, total, strict=True)
                ]
                for row, ours in zip(scatter.rows(), total, strict=True)
            ]
        )
        return _components(mean, covariance, count)


class _Whole:
    """Sums of whole numbers of up to 2⁵³, exact: the lower 32 bits, and the rest."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._low, self._high = np.zeros(shape, np.int64), np.zeros(shape, np.int64)

    def add(self, numbers: Float[np.ndarray, "..."]) -> None:
        self._low += numbers.astype(np.int64)
        self._carry()

    def merge(self, other: "_Whole") -> None:
        self._low += other._low
        self._high += other._high
        self._carry()

    def _carry(self) -> None:
        self._high += self._low >> 32
        self._low &= (1 << 32) - 1

    def exact(self) -> list[int]:
        """Give sums as Python's numbers, which have no end."""
        pairs = zip(self._low.tolist(), self._high.tolist(), strict=True)
        return [(high << 32) + low for low, high in pairs]

    def rows(self) -> Iterator[list[int]]:
        """Give the sums of a matrix, row by row."""
        for low, high in zip(self._low, self._high, strict=True):
            row = _Whole(low.shape)
            row._low, row._high = low, high
            yield row.exact()


def principal_components(tokens: Float[np.ndarray, "m d"], count: int) -> Components:
    """Compute the first `count` principal components of tokens at hand. Raises `ValueError` if there are none."""
    if not len(tokens):
        raise ValueError("no tokens have no principal components")
    group = tokens.astype(np.float64)
    mean = group.mean(axis=0)
    group -= mean
    return _components(mean, group.T @ group / len(group), count)


def _components(
    mean: Float[np.ndarray, " d"], covariance: Float[np.ndarray, "d d"], count: int
) -> Components:
    width = len(mean)
    last = [max(0, width - count), width - 1]
    values, vectors = scipy.linalg.eigh(covariance, subset_by_index=last)
    directions = vectors.T[::-1]
    largest = np.abs(directions).argmax(axis=1)
    signs = np.where(directions[np.arange(len(directions)), largest] < 0, -1.0, 1.0)
    return Components(mean, directions * signs[:, None], np.maximum(values[::-1], 0))
