"""Draw a uniform random sample from rows that pass once; the result does not depend on their order."""

import numpy as np
from jaxtyping import Float


class Sample:
    """Keeps a uniform sample of the rows added: those with the smallest keys.

    The order of rows does not matter. Rows are buffered until there are as many as the sample holds, so that not
    every photo costs a sort; rows whose keys are too large are dropped at once.
    """

    def __init__(self, size: int) -> None:
        """Start an empty sample of at most `size` rows."""
        self._size = size
        self._keys: list[Float[np.ndarray, " m"]] = []
        self._rows: list[Float[np.ndarray, "m c"]] = []
        self._waiting, self._limit = 0, np.inf

    def add(self, keys: Float[np.ndarray, " m"], rows: Float[np.ndarray, "m c"]) -> None:
        """Add rows, each with its random key."""
        stay = keys <= self._limit
        self._keys.append(keys[stay])
        self._rows.append(rows[stay])
        self._waiting += int(stay.sum())
        if self._waiting > self._size:
            self._sort()

    def merge(self, other: "Sample") -> None:
        """Add the rows of another sample: together they are the sample of all that were added to either."""
        for keys, rows in zip(other._keys, other._rows, strict=True):
            self.add(keys, rows)

    @property
    def rows(self) -> Float[np.ndarray, "m c"]:
        """Return the sampled rows, by rising key. Raises `ValueError` if none were added."""
        if not self._rows:
            raise ValueError("a sample of nothing has no rows")
        self._sort()
        return self._rows[0]

    def _sort(self) -> None:
        """Merge buffered rows into the sample and drop the surplus; equal keys are ordered by their rows."""
        keys, rows = np.concatenate(self._keys), np.concatenate(self._rows)
        order = np.lexsort((*rows.T[:2], keys))[: self._size]
        self._keys, self._rows, self._waiting = [keys[order]], [rows[order]], 0
        if len(order) == self._size:
            self._limit = float(self._keys[0][-1])


def keys_of(content: int, count: int) -> Float[np.ndarray, " m"]:
    """Draw a random key, 0–1, for each of a photo's `count` patches, seeded by a hash of its content."""
    return np.random.default_rng(content).random(count)
