"""Describe candidate masks of a photo by what makes an object: shape, contour, colours, tokens, attention, agreement.

Masks are given over superpixels, 0 or 1; every cue is one number a mask. Nothing is learned here, and no cue but those
named `frame…` and `covered…` knows of a place in the picture.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from cratecli.emergence.crf import Kernel, Masks, density
from cratecli.emergence.features import PRECISION
from cratecli.emergence.superpixels import Superpixels

Cue = Float[np.ndarray, " maps"]
Cues = dict[str, Cue]

NEAREST = 20  # masks whose IoU is averaged
COMPONENTS = 32  # principal components of the tokens, in which the coding rate is measured


class Shape(NamedTuple):
    """How a mask lies: `spread` about its own middle and contact with the `frame`, both over √area; `covered`, 0–1.

    `covered` is the share of the frame's pixels that it covers.
    """

    spread: Cue
    frame: Cue
    covered: Cue


def areas(masks: Masks, pixels: Superpixels) -> Cue:
    """Count the pixels of every mask, one at least."""
    return np.asarray(np.maximum(masks @ pixels.sizes, 1))


def shape(masks: Masks, pixels: Superpixels) -> Shape:
    """Measure spread, `√(E|x − E x|²)` over √area, and contact with the frame."""
    area = areas(masks, pixels)
    weighted = masks * pixels.sizes / area[:, None]
    second = (pixels.middles**2).sum(axis=1) + pixels.spreads
    variance = weighted @ second - ((weighted @ pixels.middles) ** 2).sum(axis=1)
    touching = masks @ pixels.frame
    root = np.sqrt(area)
    return Shape(np.sqrt(np.maximum(variance, 0)) / root, touching / root, touching / pixels.frame.sum())


def contour(masks: Masks, pixels: Superpixels) -> Cues:
    """Measure the contour: its length over √area, the mean ΔLab across it, and across borders inside the mask."""
    lab = np.sqrt(((pixels.lab[:, None] - pixels.lab[None]) ** 2).sum(axis=-1))
    edges, steps = masks @ pixels.borders, masks @ (pixels.borders * lab)
    across, inside = (edges * (1 - masks)).sum(axis=1), (edges * masks).sum(axis=1)
    return {
        "contour": across / np.sqrt(areas(masks, pixels)),
        "step": _ratio((steps * (1 - masks)).sum(axis=1), across),
        "inner_step": _ratio((steps * masks).sum(axis=1), inside),
    }


def _ratio(
    above: Float[np.ndarray, "*some"], below: Float[np.ndarray, "*some"]
) -> Float[np.ndarray, "*some"]:
    return np.where(below > 0, above / np.where(below > 0, below, 1), 0.0)


def grown(masks: Masks, pixels: Superpixels, hops: int = 2) -> Masks:
    """Add to every mask the superpixels at most `hops` borders away."""
    neighbours = (pixels.borders > 0).astype(float)
    for _ in range(hops):
        masks = np.maximum(masks, (masks @ neighbours > 0).astype(float))
    return masks


def colours(masks: Masks, pixels: Superpixels, kernel: Kernel) -> Cues:
    """Measure how far colours tell a mask from what is around it, by posteriors of two densities, 0–1.

    `l_a / (l_a + l_b)`, averaged: over the mask against its ring of two hops and against all outside, over the mask's
    outermost two hops against all outside, and over the ring for the rest of the picture against the mask.
    """
    outside = 1 - masks
    ring = grown(masks, pixels) - masks
    rim = masks * grown(outside, pixels)
    of_mask, of_ring, of_outside, of_rest = (
        density(each, kernel, pixels.sizes) + 1e-6 for each in (masks, ring, outside, outside - ring)
    )

    def mean(over: Masks, one: Masks, other: Masks) -> Cue:
        weight = over * pixels.sizes
        return _ratio((weight * one / (one + other)).sum(axis=1), weight.sum(axis=1))

    return {
        "colour_ring": mean(masks, of_mask, of_ring),
        "colour_outside": mean(masks, of_mask, of_outside),
        "colour_rim": mean(rim, of_mask, of_outside),
        "ring_rest": mean(ring, of_rest, of_mask),
    }


def contrast(masks: Masks, attention: Float[np.ndarray, " n"], pixels: Superpixels) -> Cues:
    """Measure how much more attention (in its own standard deviations) is inside than outside, and than in the ring."""
    values = (attention - attention.mean()) / max(float(attention.std()), 1e-6)

    def mean(over: Masks) -> Cue:
        return _ratio(over @ (pixels.sizes * values), over @ pixels.sizes)

    return {
        "attention_outside": mean(masks) - mean(1 - masks),
        "attention_ring": mean(masks) - mean(grown(masks, pixels) - masks),
    }


def cosines(masks: Masks, likeness: Kernel, pixels: Superpixels) -> Cues:
    """Average the cosine of tokens in and out of the mask, of two inside, and of two outside.

    `likeness` holds the cosines of superpixels' mean tokens.
    """
    inside, outside = (each * pixels.sizes / areas(each, pixels)[:, None] for each in (masks, 1 - masks))
    towards = inside @ likeness
    return {
        "cosine_across": (towards * outside).sum(axis=1),
        "cosine_inside": (towards * inside).sum(axis=1),
        "cosine_outside": (outside @ likeness * outside).sum(axis=1),
    }


def principal(tokens: Float[np.ndarray, "n d"], count: int = COMPONENTS) -> Float[np.ndarray, "n c"]:
    """Rotate tokens onto their `count` largest singular directions: `Z ≈ U Σ`, computed from `Z Zᵀ`.

    No mean is taken off. The cost depends on how many there are, not on their width.
    """
    values, vectors = np.linalg.eigh(tokens @ tokens.T)
    kept = slice(max(0, len(values) - min(count, tokens.shape[1])), None)
    return np.asarray(vectors[:, kept] * np.sqrt(np.maximum(values[kept], 0)))


def rate_gain(masks: Masks, tokens: Float[np.ndarray, "n c"], sizes: Float[np.ndarray, " n"]) -> Cue:
    """Compute the gain in coding rate that a partition brings, `(R − s_in R_in − s_out R_out) / R`, at most 1.

    `R = ½ logdet(I + c / (n ε) Zᵀ Z)` of the tokens of a side, `s` its share of the pixels: the rate reduction that the
    layers of CRATE maximise (2306.01129, eq. 4), of mask and ground. Each superpixel counts as often as it has pixels.
    """
    width = tokens.shape[1]
    outer = (sizes[:, None, None] * tokens[:, :, None] * tokens[:, None, :]).reshape(len(tokens), -1)
    inside = masks @ outer
    total = outer.sum(axis=0)
    counts = masks @ sizes

    def rate(gram: Float[np.ndarray, "some c2"], count: Cue) -> Cue:
        scale = width / (np.maximum(count, 1) * PRECISION)
        squares = np.eye(width) + scale[:, None, None] * gram.reshape(-1, width, width)
        return np.asarray(np.linalg.slogdet(squares)[1] / 2)

    everything = sizes.sum()
    whole = float(rate(total[None], np.array([everything]))[0])
    share = counts / everything
    parts = share * rate(inside, counts) + (1 - share) * rate(total - inside, everything - counts)
    return np.asarray((whole - parts) / max(whole, 1e-9))


def overlaps(masks: Masks, others: Masks, sizes: Float[np.ndarray, " n"]) -> Float[np.ndarray, "maps others"]:
    """Compute the IoU, 0–1, of every mask with every other; 0 where both are empty."""
    shared = (masks * sizes) @ others.T
    union = (masks @ sizes)[:, None] + others @ sizes - shared
    return _ratio(shared, union)


def alike(masks: Masks, raw: Masks, sizes: Float[np.ndarray, " n"]) -> Cues:
    """Average the IoU of each mask with the nearest of the others, with all, and with all before the random field.

    `kept` is the IoU with itself before the field.
    """
    among, before = overlaps(masks, masks, sizes), overlaps(masks, raw, sizes)
    count = max(len(masks) - 1, 1)
    own = np.diag(before)
    np.fill_diagonal(among, 0)
    nearest = np.sort(among, axis=1)[:, ::-1][:, : min(NEAREST, count)]
    return {
        "near": nearest.mean(axis=1),
        "alike": among.sum(axis=1) / count,
        "alike_raw": (before.sum(axis=1) - own) / count,
        "kept": own.copy(),
    }


def repeated(masks: Masks, sizes: Float[np.ndarray, " n"]) -> Cues:
    """Average the IoU of each mask with the nearest of the others, and with all: what many maps show is no chance."""
    among = overlaps(masks, masks, sizes)
    np.fill_diagonal(among, 0)
    nearest = np.sort(among, axis=1)[:, ::-1][:, : max(1, min(NEAREST, len(masks) - 1))]
    return {"near": nearest.mean(axis=1), "alike": among.sum(axis=1) / max(len(masks) - 1, 1)}
