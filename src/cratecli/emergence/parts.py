"""Discover parts that photos share, by principal component analysis (PCA) and k-means over the tokens of all.

The first principal component of all tokens separates foreground from background, further ones the parts of the
foreground (2308.16271, B.2; 2112.05814, 4). Each photo's own mean is subtracted first, so that colour and light do
not define parts. Photos pass one at a time and in any order: the covariance is accumulated exactly; the threshold and
k-means use a sample of tokens that depends on the photos' content alone.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import cv2
import numpy as np
from jaxtyping import Bool, Float

from cratecli.arrays import Labels, Mask, Soft
from cratecli.emergence.features import View
from cratecli.emergence.heads import agree
from cratecli.emergence.masks import enlarge, scale, threshold
from cratecli.emergence.pca import Components, Moments
from cratecli.emergence.rules import Foreground, Keep
from cratecli.emergence.sample import Sample, keys_of
from cratecli.geometry import Size
from cratecli.wording import count_of

SAMPLE = 20_000  # patches of all photos together
DIMENSIONS = 16  # principal components of the foreground in which k-means clusters
MOST = 10  # parts that `auto` may choose
WORTH = 0.05  # share of inertia that one more part must save for `auto`
STARTS = 4  # runs of k-means, of which the best is kept
BLUR = 1.0  # patches, standard deviation


def describe(view: View) -> Float[np.ndarray, "rows cols d"]:
    """Compute a descriptor for each patch: its subspace tokens, L2-normalised layer by layer, blurred by one patch."""
    flat = view.unit_tokens()
    blurred = [
        cv2.GaussianBlur(flat[..., start : start + 4], (0, 0), BLUR, borderType=cv2.BORDER_REPLICATE)
        for start in range(0, flat.shape[-1], 4)  # OpenCV blurs up to four channels in one pass
    ]
    return np.concatenate([each.reshape(*flat.shape[:2], -1) for each in blurred], axis=-1)


@dataclass(frozen=True, eq=False)
class Ground:
    """Separates foreground from background in all photos, by a threshold on the first principal component.

    A token is foreground where `side`, ±1, times its first coordinate exceeds `cut`. With the rule `attention` the
    class token's attention decides instead, photo by photo; with `none` every patch is foreground.
    """

    rule: Foreground
    everything: Components
    side: float
    cut: float

    def margins(
        self, tokens: Float[np.ndarray, "rows cols d"], saliency: Float[np.ndarray, "rows2 cols2"]
    ) -> Float[np.ndarray, "rows cols"]:
        """Compute each patch's margin above the foreground threshold: above 0 is foreground, the rest background.

        `saliency` is the result of `figure_of` on the same grid; only the rule `attention` uses it.
        """
        rows, cols, width = tokens.shape
        if self.rule == "attention":
            return saliency
        if self.rule == "none":
            return np.ones((rows, cols))
        first = self.everything.project(centred(tokens).reshape(-1, width))[:, 0]
        return np.asarray((self.side * first - self.cut).reshape(rows, cols))


def figure_of(views: Sequence[View]) -> Float[np.ndarray, "rows cols"]:
    """Compute a photo's foreground from class attention: the saliency map of `heads.agree` minus Otsu's threshold."""
    log_attention = agree(views).log_attention
    return np.asarray(scale(log_attention) - threshold(log_attention, Keep("otsu")), np.float64)


def soft_figure(margins: Float[np.ndarray, "rows cols"]) -> tuple[Float[np.ndarray, "rows cols"], float]:
    """Scale margins to 0–1, and return the threshold, 0 before, on that scale."""
    low, high = min(margins.min(), 0), max(margins.max(), 0)
    span = max(high - low, 1e-12)
    return np.asarray((margins - low) / span, np.float32), float(-low / span)


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """Holds the learned parts, so that the same part gets the same label in other photos.

    `inside` are the principal components of the foreground, in whose coordinates `centroids` are the centres of
    k-means; `low` and `high` are the range of the first three, shown as colours. `colours` are the parts' indices in
    VOC's palette, from 1.
    """

    ground: Ground
    inside: Components
    centroids: Float[np.ndarray, "k c"]
    low: Float[np.ndarray, " 3"]
    high: Float[np.ndarray, " 3"]
    names: tuple[str, ...]
    colours: tuple[int, ...]

    def coordinates(
        self, tokens: Float[np.ndarray, "rows cols d"], inside: Bool[np.ndarray, "rows cols"]
    ) -> Float[np.ndarray, "rows cols c"]:
        """Project a photo's patches onto the foreground's principal components; `inside` is the photo's foreground."""
        flat = centred(tokens, inside).reshape(-1, tokens.shape[-1])
        return self.inside.project(flat).reshape(*inside.shape, -1)

    def nearness(self, coordinates: Float[np.ndarray, "rows cols c"]) -> Float[np.ndarray, "k rows cols"]:
        """Compute the similarity of every patch to each part: 1 at its centroid, falling with squared distance to 0."""
        squares = _squares(coordinates.reshape(-1, coordinates.shape[-1]), self.centroids)
        near = 1 - squares / max(squares.max(), 1e-12)
        return np.asarray(near.T.reshape(-1, *coordinates.shape[:2]))

    def colour(self, coordinates: Float[np.ndarray, "rows cols c"]) -> Float[np.ndarray, "rows cols 3"]:
        """Show the first three principal components as RGB colours, 0–1 (2308.16271, figure 3)."""
        scaled = (coordinates[..., :3] - self.low) / np.maximum(self.high - self.low, 1e-12)
        return np.asarray(np.clip(scaled, 0, 1))


def centred(
    tokens: Float[np.ndarray, "rows cols d"], inside: Bool[np.ndarray, "rows cols"] | None = None
) -> Float[np.ndarray, "rows cols d"]:
    """Subtract from a photo's tokens their mean, over its foreground if it has one."""
    chosen = tokens[inside] if inside is not None and inside.any() else tokens
    return np.asarray(tokens - chosen.reshape(-1, tokens.shape[-1]).mean(axis=0))


def _squares(
    points: Float[np.ndarray, "m c"], centroids: Float[np.ndarray, "k c"]
) -> Float[np.ndarray, "m k"]:
    return np.stack([((points - centroid) ** 2).sum(axis=1) for centroid in centroids], axis=1)


class VocabularyLearner:
    """Learns a part vocabulary from photos that are read twice, in any order, and not kept.

    The first reading (`read`) accumulates the covariance of all tokens, which separates foreground from background;
    the second (`read_inside`) that of the foreground's.
    """

    def __init__(self, rule: Foreground, width: int) -> None:
        """Start without photos; their descriptors will have `width` entries."""
        self._rule: Foreground = rule
        self._all, self._inside = Moments(width), Moments(width)
        self._some, self._some_inside = Sample(SAMPLE), Sample(SAMPLE)

    def read(
        self,
        tokens: Float[np.ndarray, "rows cols d"],
        attention: Float[np.ndarray, "rows cols"],
        content: int,
    ) -> None:
        """Add a photo's descriptors in the first reading; `content`, a hash of its pixels, seeds the sampling."""
        flat = centred(tokens).reshape(-1, tokens.shape[-1])
        self._all.add(flat)
        self._some.add(keys_of(content, len(flat)), np.column_stack([attention.reshape(-1), flat]))

    def ground(self) -> Ground:
        """Compute the foreground rule: Otsu's threshold of the first principal component of all tokens.

        The side with more class attention is the foreground. Raises `ValueError` when no photo was read.
        """
        everything = self._all.components(4)
        attention, tokens = self._some.rows[:, 0], self._some.rows[:, 1:]
        first = everything.project(tokens)[:, 0]
        cut = first.min() + np.ptp(first) * threshold(first[None], Keep("otsu"))
        above = first > cut
        if above.all() or not above.any():  # all tokens are equal
            return (
                Ground("none", everything, 1.0, 0.0)
                if self._rule == "pca"
                else Ground(self._rule, everything, 1.0, 0.0)
            )
        side = 1.0 if attention[above].mean() >= attention[~above].mean() else -1.0
        return Ground(self._rule, everything, side, side * cut)

    def read_inside(
        self,
        tokens: Float[np.ndarray, "rows cols d"],
        inside: Bool[np.ndarray, "rows cols"],
        content: int,
    ) -> None:
        """Add a photo's descriptors in the second reading; `inside` is its foreground."""
        flat, chosen = centred(tokens, inside).reshape(-1, tokens.shape[-1]), inside.reshape(-1)
        self._inside.add(flat[chosen])
        self._some_inside.add(keys_of(content, len(flat))[chosen], flat[chosen])

    def learn(self, ground: Ground, k: int | Literal["auto"], seed: int = 0) -> Vocabulary:
        """Cluster the foreground by k-means, in the coordinates of its own principal components.

        Parts are numbered along the first of these. Raises `ValueError` when there are fewer distinct foreground
        patches than parts.
        """
        if not self._inside.count:
            raise ValueError("there is no foreground to learn parts from")
        inside = self._inside.components(DIMENSIONS)
        points = inside.project(self._some_inside.rows)
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


def rename(learned: Vocabulary, before: Vocabulary) -> Vocabulary:
    """Rename parts after the most similar parts of an earlier vocabulary, by Hungarian matching.

    Parts are compared by their centroids as descriptors. Names and colours are taken over; a part without partner
    gets a free colour. Raises `ValueError` when the descriptors differ in width.
    """
    from scipy.optimize import linear_sum_assignment

    new, old = _descriptors(learned), _descriptors(before)
    if new.shape[1] != old.shape[1]:
        raise ValueError(f"descriptors of width {new.shape[1]} and {old.shape[1]}")
    rows, cols = linear_sum_assignment(_squares(new, old))
    pairs = dict(zip(rows.tolist(), cols.tolist(), strict=True))
    free = iter(sorted(set(range(1, 255)) - set(before.colours)))
    names, colours = [], []
    for part in range(len(new)):
        colours.append(before.colours[pairs[part]] if part in pairs else next(free))
        names.append(before.names[pairs[part]] if part in pairs else f"part {colours[-1]}")
    return replace(learned, names=tuple(names), colours=tuple(colours))


def in_order(words: Vocabulary) -> Vocabulary:
    """Sort parts by their colours, which are the labels that users see."""
    order = np.argsort(words.colours)
    return replace(
        words,
        centroids=words.centroids[order],
        names=tuple(words.names[part] for part in order),
        colours=tuple(words.colours[part] for part in order),
    )


def _descriptors(words: Vocabulary) -> Float[np.ndarray, "k d"]:
    return np.asarray(
        words.inside.mean + words.centroids @ words.inside.directions[: words.centroids.shape[1]]
    )


def paint(
    margins: Float[np.ndarray, "rows cols"],
    nearness: Float[np.ndarray, "k rows cols"],
    colours: Sequence[int],
    size: Size,
    *,
    smooth: Callable[[Soft], Soft] | None = None,
    figure: Mask | None = None,
) -> Labels:
    """Label every pixel with the colour of the most similar part, 0 for background; maps are resampled bilinearly.

    `margins` and `nearness` are those of `Ground` and `Vocabulary`. `smooth` refines each resampled map (0–1), as the
    guided filter does; `figure` is a foreground mask that replaces the threshold on `margins`.
    """
    if figure is None:
        soft, cut = soft_figure(margins)
        grown = enlarge(soft, size)
        figure = (smooth(grown) if smooth else grown) > cut
    labels, most = np.zeros(size, np.uint8), np.full(size, -1, np.float32)
    for colour, near in zip(colours, nearness, strict=True):
        soft = enlarge(near.astype(np.float32), size)
        soft = smooth(soft) if smooth else soft
        wins = soft > most
        labels[wins], most[wins] = colour, soft[wins]
    return np.where(figure, labels, 0).astype(np.uint8)
