"""Learn the parts that photos share, by principal component analysis (PCA) and k-means over the tokens of all.

What is kept of photos adds up: sums, which are exact, and a sample of tokens that depends on the photos' content
alone, from which the threshold and k-means are computed. What becomes of a vocabulary is in `parts`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from cratecli.emergence.masks import threshold
from cratecli.emergence.parts import Ground, Vocabulary, centred
from cratecli.emergence.pca import Moments
from cratecli.emergence.rules import Foreground, Keep
from cratecli.emergence.sample import Sample, keys_of
from cratecli.wording import count_of

SAMPLE = 20_000  # patches of all photos together
DIMENSIONS = 16  # principal components of the foreground in which k-means clusters
MOST = 10  # parts that `auto` may choose
WORTH = 0.05  # share of inertia that one more part must save for `auto`
STARTS = 4  # runs of k-means, of which the best is kept


@contextmanager
def _one_thread() -> Iterator[None]:
    """Compute in one thread: several add up in the order in which they are done, and so to other bits each time."""
    import sklearn.cluster  # noqa: F401 - only libraries that are there can be held back

    with threadpool_limits(1):
        yield


class _Gathered:
    """What is kept of tokens that pass: their moments, and a sample of those with their photos' class attention."""

    def __init__(self, width: int) -> None:
        self.moments, self.sample = Moments(width), Sample(SAMPLE)

    def merge(self, other: "_Gathered") -> None:
        self.moments.merge(other.moments)
        self.sample.merge(other.sample)


class VocabularyLearner:
    """Learns a part vocabulary from photos that pass, in any order and in any portions, and are not kept.

    `read` adds up all tokens, whose first component may separate foreground from background; `read_inside` those of
    the foreground: at once where the foreground of a photo is known without others (`margins_alone`), else when all
    are read and `ground` is known. Learners of portions, in other processes or on other machines, `merge` into one.
    The vocabulary is the same to the bit, however photos were dealt out.
    """

    def __init__(self, rule: Foreground, width: int) -> None:
        """Start without photos; their descriptors will have `width` entries."""
        self._rule: Foreground = rule
        self._all, self._inside = _Gathered(width), _Gathered(width)

    def merge(self, other: "VocabularyLearner") -> None:
        """Add the photos that another has read, by the same rule."""
        self._all.merge(other._all)
        self._inside.merge(other._inside)

    def read(
        self,
        tokens: Float[np.ndarray, "rows cols d"],
        attention: Float[np.ndarray, "rows cols"],
        content: int,
    ) -> None:
        """Add a photo's descriptors; `content`, a hash of its pixels, seeds the sampling."""
        flat = centred(tokens).reshape(-1, tokens.shape[-1])
        self._all.moments.add(flat)
        self._all.sample.add(keys_of(content, len(flat)), np.column_stack([attention.reshape(-1), flat]))

    @_one_thread()
    def ground(self) -> Ground:
        """Compute the foreground rule: Otsu's threshold of the first principal component of all tokens.

        The side with more class attention is the foreground. Raises `ValueError` when no photo was read.
        """
        everything = self._all.moments.components(4)
        attention, tokens = (some := self._all.sample.rows)[:, 0], some[:, 1:]
        first = everything.project(tokens)[:, 0]
        cut = first.min() + np.ptp(first) * threshold(first[None], Keep("otsu"))
        above = first > cut
        if above.all() or not above.any():  # all tokens are equal
            return Ground("none" if self._rule == "pca" else self._rule, everything, 1.0, 0.0)
        side = 1.0 if attention[above].mean() >= attention[~above].mean() else -1.0
        return Ground(self._rule, everything, side, side * cut)

    def read_inside(
        self,
        tokens: Float[np.ndarray, "rows cols d"],
        inside: Bool[np.ndarray, "rows cols"],
        content: int,
    ) -> None:
        """Add the descriptors of a photo's foreground, which is `inside`."""
        flat, chosen = centred(tokens, inside).reshape(-1, tokens.shape[-1]), inside.reshape(-1)
        self._inside.moments.add(flat[chosen])
        self._inside.sample.add(keys_of(content, len(flat))[chosen], flat[chosen])

    @_one_thread()
    def learn(self, ground: Ground, k: int | Literal["auto"], seed: int = 0) -> Vocabulary:
        """Cluster the foreground by k-means, in the coordinates of its own principal components.

        Parts are numbered along the first of these. Raises `ValueError` when there are fewer distinct foreground
        patches than parts.
        """
        if not self._inside.moments.count:
            raise ValueError("there is no foreground to learn parts from")
        inside = self._inside.moments.components(DIMENSIONS)
        points = inside.project(self._inside.sample.rows)
        count = choose_k(points, seed) if k == "auto" else k
        if (different := _different(points)) < count:
            patches = count_of(different, "different patch")
            few = "is" if different == 1 else "are"
            raise ValueError(f"{patches} of foreground {few} too few for {count} parts")
        centroids = _centroids(points, count, seed)
        centroids = centroids[np.lexsort(centroids.T[::-1])]
        low, high = np.quantile(points[:, :3], (0.02, 0.98), axis=0)
        return Vocabulary(
            ground=ground,
            inside=inside,
            centroids=centroids,
            low=low,
            high=high,
            names=tuple(f"part {number}" for number in range(1, len(centroids) + 1)),
            colours=tuple(range(1, len(centroids) + 1)),
        )


def _centroids(points: Float[np.ndarray, "m c"], k: int, seed: int) -> Float[np.ndarray, "k c"]:
    from sklearn.cluster import KMeans

    return np.asarray(KMeans(k, n_init=STARTS, random_state=seed).fit(points).cluster_centers_)


def choose_k(points: Float[np.ndarray, "m c"], seed: int = 0) -> int:
    """Choose the number of clusters, 1 to `MOST`: add some while each lowers the inertia of k-means by at least 5 %.

    Inertia is the sum of squared distances to the nearest centroid.
    """
    from sklearn.cluster import KMeans

    before, most = np.inf, min(MOST, _different(points))
    for k in range(1, most + 1):
        inertia = float(KMeans(k, n_init=STARTS, random_state=seed).fit(points).inertia_)
        if inertia > (1 - WORTH) * before:
            return k - 1
        before = inertia
    return most


def _different(points: Float[np.ndarray, "m c"]) -> int:
    """Count the points that differ by more than rounding."""
    grain = 1e-9 * max(float(np.abs(points).max()), 1e-12)
    return len(np.unique(np.round(points / grain), axis=0))
