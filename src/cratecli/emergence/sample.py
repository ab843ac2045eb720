"""A fair sample of rows that pass once, the same in any order."""

import numpy as np
from jaxtyping import Float


class Sample:
    """As many rows as asked for, drawn evenly from all that pass: those with the smallest keys.

    The order in which rows pass changes nothing. Rows wait until there are as many of them as are kept, so that not
    every photo costs a sort; those whose keys are too large to stay do not wait at all.
    """

    def __init__(self, size: int) -> None:
        """Start an empty sample of at most `size` rows."""
        self._size = size
        self._keys: list[Float[np.ndarray, " m"]] = []
        self._rows: list[Float[np.ndarray, "m c"]] = []
        self._waiting, self._limit = 0, np.inf

    def add(self, keys: Float[np.ndarray, " m"], rows: Float[np.ndarray, "m c"]) -> None:
        """Let rows pass, with a key each."""
        stay = keys <= self._limit
        self._keys.append(keys[stay])
        self._rows.append(rows[stay])
        self._waiting += int(stay.sum())
        if self._waiting > self._size:
            self._sort()

    @property
    def rows(self) -> Float[np.ndarray, "m c"]:
        """Give the rows, by rising key. Raises `ValueError` when none have passed."""
        if not self._rows:
            raise ValueError("a sample of nothing has no rows")
        self._sort()
        return self._rows[0]

    def _sort(self) -> None:
        """Put what waits in its place, and let go what is too many; equal keys are told apart by their rows."""
        keys, rows = np.concatenate(self._keys), np.concatenate(self._rows)
        order = np.lexsort((*rows.T[:2], keys))[: self._size]
        self._keys, self._rows, self._waiting = [keys[order]], [rows[order]], 0
        if len(order) == self._size:
            self._limit = float(self._keys[0][-1])


def keys_of(content: int, count: int) -> Float[np.ndarray, " m"]:
    """Draw a key, 0–1, for each patch of a photo, from nothing but the number its content gives."""
    return np.random.default_rng(content).random(count)
