"""Let soft masks follow a photo's colours: a dense conditional random field over superpixels, many masks at once."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from cratecli.emergence.superpixels import Superpixels

SURENESS = 2.5  # of the map itself: logits per standard deviation above its cut
COLOUR_WEIGHT, SMOOTHNESS = 1.5, 3.0  # of the colour models, and of neighbours
ROUNDS = 3  # of mean-field updates
TINY = 1e-4  # share of a colour that no mask is denied

Masks = Float[np.ndarray, "maps n"]
"""A value, 0–1, for every mask and superpixel."""
Kernel = Float[np.ndarray, "n n"]


class Kernels(NamedTuple):
    """How alike superpixels are, weighted by pixels, none with itself: `colour` far apart too, `near` only beside.

    `near` sums to 1 over each row.
    """

    colour: Kernel
    near: Kernel


def gaussian(pixels: Superpixels, colour: float, place: float) -> Kernel:
    """Compute `exp(−ΔLab² / 2 colour² − Δposition² / 2 place²) n`, `n` the second's pixels, with diagonal 0.

    Positions are in diagonals of the picture.
    """
    lab, middles = pixels.lab, pixels.middles / np.hypot(*pixels.labels.shape)
    exponent = _squared(lab) / (2 * colour**2) + _squared(middles) / (2 * place**2)
    kernel = np.exp(-exponent) * pixels.sizes
    np.fill_diagonal(kernel, 0)
    return kernel


def _squared(points: Float[np.ndarray, "n c"]) -> Kernel:
    return np.asarray(((points[:, None] - points[None]) ** 2).sum(axis=-1))


def kernels(pixels: Superpixels) -> Kernels:
    """Compute both kernels of the field."""
    near = gaussian(pixels, colour=9.6, place=0.063)
    total = near.sum(axis=1, keepdims=True)
    return Kernels(gaussian(pixels, colour=8.0, place=0.45), near / np.where(total > 0, total, 1))


def density(masks: Masks, kernel: Kernel, sizes: Float[np.ndarray, " n"]) -> Masks:
    """Estimate how dense the colours of each mask are at every superpixel: `K p / Σ n p` (Parzen, 1962)."""
    return np.asarray(masks @ kernel.T / np.maximum(masks @ sizes, 1e-9)[:, None])


def sigmoid(logits: Masks) -> Masks:
    """Compute `1 / (1 + exp(−x))`."""
    return np.asarray(0.5 * (1 + np.tanh(logits / 2)))


def dense_crf(
    maps: Masks, cuts: Float[np.ndarray, " maps"], kernels: Kernels, sizes: Float[np.ndarray, " n"]
) -> Masks:
    """Compute masks, 0–1, from maps and their cuts by mean-field inference (Krähenbühl and Koltun, 2011).

    `U = 2.5 (S − cut) / sd(S)`, `p = σ(U)`, and in each round `p = σ(U + 1.5 log((l_f + ε) / (l_b + ε)) +
    3 (2 K_near p − 1))`, where `l_f` and `l_b` are the densities of the colours of `p` and of `1 − p`.
    """
    spread = maps.std(axis=1, keepdims=True)
    unary = SURENESS * (maps - cuts[:, None]) / np.maximum(spread, 1e-6)
    masks = sigmoid(unary)
    for _ in range(ROUNDS):
        inside, outside = (density(each, kernels.colour, sizes) for each in (masks, 1 - masks))
        colours = COLOUR_WEIGHT * np.log((inside + TINY) / (outside + TINY))
        masks = sigmoid(unary + colours + SMOOTHNESS * (2 * masks @ kernels.near.T - 1))
    return masks
