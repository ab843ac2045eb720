"""Find in a photo the parts that photos share, which `parts_learner` learns from the tokens of all.

The first principal component of all tokens separates foreground from background, further ones the parts of the
foreground (2308.16271, B.2; 2112.05814, 4). Each photo's own mean is subtracted first, so that colour and light do
not define parts.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from jaxtyping import Bool, Float

from cratecli.arrays import Labels, Mask, Soft
from cratecli.emergence.features import View
from cratecli.emergence.heads import agree
from cratecli.emergence.masks import enlarge, scale, threshold
from cratecli.emergence.pca import Components
from cratecli.emergence.rules import Foreground, Keep
from cratecli.geometry import Size

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
        if (alone := margins_alone(self.rule, (rows, cols), saliency)) is not None:
            return alone
        first = self.everything.project(centred(tokens).reshape(-1, width))[:, 0]
        return np.asarray((self.side * first - self.cut).reshape(rows, cols))


def margins_alone(
    rule: Foreground, grid: tuple[int, int], saliency: Float[np.ndarray, "rows2 cols2"]
) -> Float[np.ndarray, "rows cols"] | None:
    """Give the margins of a photo that a rule needs no other photo for; nothing where it does: see `Ground`."""
    if rule == "attention":
        return saliency
    return np.ones(grid) if rule == "none" else None


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
