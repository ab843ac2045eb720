"""Compute bootstrap percentile intervals over photos (Efron, 1979)."""

import numpy as np
from jaxtyping import Float, Int

LEVEL = 0.95  # of confidence


def resamples(photos: int, times: int, seed: int) -> Int[np.ndarray, "times photos"]:
    """Draw bootstrap samples of as many photos, with replacement, and count each photo in each sample."""
    return np.random.default_rng(seed).multinomial(photos, np.full(photos, 1 / photos), size=times)


def interval(values: Float[np.ndarray, " times"]) -> tuple[float, float]:
    """Compute the 95 % percentile interval (low, high) of a statistic's bootstrap values; NaN without any."""
    if not len(values):
        return float("nan"), float("nan")
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
