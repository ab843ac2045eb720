"""Find several objects of a photo among the connected pieces of its candidate masks, each judged whole.

A head's map may light up several things at once: the pieces of its mask are then objects, and a mask of a higher cut
comes apart where things touch. A piece's score is how sure its cues make an object of it; the best are taken one after
the other, but none that repeats a better one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.sparse.csgraph import connected_components

from cratecli.arrays import RGB
from cratecli.emergence import cues
from cratecli.emergence.chooser import Evidence, describe, gather, standard
from cratecli.emergence.crf import Masks, dense_crf, sigmoid
from cratecli.emergence.features import View
from cratecli.emergence.rules import Keep
from cratecli.emergence.superpixels import Superpixels

HIGHER = 0.0, 0.5  # shares of the way from a map's cut to its largest value, at which it is cut
SMALLEST = 0.002  # share of the photo that a piece has at least
OVERLAP, INSIDE = 0.4, 0.8  # most IoU with a better mask, and most of a mask that lies in it


@dataclass(frozen=True, eq=False)
class Pieces:
    """Holds the pieces of a photo over its superpixels, no two the same, and the cues of each.

    A cue stands there twice: as it is, and, named `…_here`, in standard deviations about the mean of the photo's
    pieces.
    """

    pixels: Superpixels
    masks: Masks
    cues: Mapping[str, cues.Cue]


def find_pieces(views: Sequence[View], photo: RGB, keep: Keep) -> Pieces:
    """Cut the maps of a photo's candidates, and measure the cues of their pieces; `keep` cuts."""
    seen = gather(views, photo, keep)
    masks = connected(_masks(seen), seen.pixels)
    if not len(masks):
        return Pieces(seen.pixels, masks, {})
    found = {**describe(masks, seen), **cues.repeated(masks, seen.pixels.sizes)}
    found["area_squared"] = found["area"] ** 2
    here = {f"{name}_here": standard(each) for name, each in found.items()}
    return Pieces(seen.pixels, masks, found | here)


def _masks(seen: Evidence) -> Masks:
    """Make masks of every map, cut at each of `HIGHER`."""
    cuts = np.concatenate([seen.cuts + share * (1 - seen.cuts) for share in HIGHER])
    maps = np.tile(seen.maps, (len(HIGHER), 1))
    return (dense_crf(maps, cuts, seen.alike, seen.pixels.sizes) > 0.5).astype(float)


def connected(masks: Masks, pixels: Superpixels) -> Float[np.ndarray, "pieces n"]:
    """Give every connected piece of the masks once; none that is everything, or too small."""
    neighbours = pixels.borders > 0
    every = [np.zeros((0, masks.shape[1]))]
    for mask in masks > 0.5:
        inside = np.flatnonzero(mask)
        count, labels = connected_components(neighbours[np.ix_(inside, inside)], directed=False)
        pieces = np.zeros((count, len(mask)))
        pieces[labels, inside] = 1
        every.append(pieces)
    together = np.concatenate(every)
    share = together @ pixels.sizes / pixels.total
    together = together[(share >= SMALLEST) & (together == 0).any(axis=1)]
    first = np.unique(together > 0.5, axis=0, return_index=True)[1]
    return np.asarray(together[np.sort(first)])


def score(pieces: Pieces, ranker: Mapping[str, float]) -> Float[np.ndarray, " c"]:
    """Score every piece, 0–1: `σ(Σ weight · cue + bias)`, learned as the probability of an object (IoU ≥ 0.5).

    Raises `KeyError` for the weight of an unknown cue.
    """
    if not len(pieces.masks):
        return np.zeros(0)
    weighed = sum(weight * (1.0 if name == "bias" else pieces.cues[name]) for name, weight in ranker.items())
    return np.asarray(sigmoid(np.zeros((1, len(pieces.masks))) + weighed)[0])


def pick(
    masks: Masks, scores: Float[np.ndarray, " c"], sizes: Float[np.ndarray, " n"], count: int
) -> list[int]:
    """Take at most `count` masks, the best first, and none that repeats one taken.

    A mask repeats another where their IoU is over `OVERLAP`, or over `INSIDE` of it lies in the other: greedy
    suppression, as detectors do it. Equal scores are taken in the order given.
    """
    shared = (masks * sizes) @ masks.T
    area = np.diag(shared)
    taken: list[int] = []
    for place in np.argsort(-scores, kind="stable"):
        both, others = shared[place, taken], area[taken]
        repeats = (both > OVERLAP * (area[place] + others - both)) | (both > INSIDE * area[place])
        if not repeats.any():
            taken.append(int(place))
        if len(taken) == count:
            break
    return taken
