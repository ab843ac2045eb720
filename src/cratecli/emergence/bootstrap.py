"""How sure a number is that was measured on some photos: percentile intervals over photos drawn again."""

import numpy as np
from jaxtyping import Float, Int

LEVEL = 0.95


def resamples(photos: int, times: int, seed: int) -> Int[np.ndarray, "times photos"]:
    """Draw as many photos as there are, with replacement, again and again: how often each is in each sample."""
    return np.random.default_rng(seed).multinomial(photos, np.full(photos, 1 / photos), size=times)


def interval(values: Float[np.ndarray, " times"]) -> tuple[float, float]:
    """Give the middle 95 % of what the samples gave; NaN where there are none."""
    if not len(values):
        return float("nan"), float("nan")
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
