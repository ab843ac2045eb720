"""Confidence intervals of measures, by resampling the photos of a data set (the bootstrap)."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import ArrayLike

from cratecli.emergence.bootstrap import interval, resamples
from cratecli.evaluation.result import Measure
from cratecli.wording import count_of

RESAMPLES = 1000

Sums = Float[np.ndarray, "times ..."]
Statistic = Callable[[Sums], Float[np.ndarray, " times"]]
"""Computes a measure from sums over photos, for several samples at once."""


@dataclass(frozen=True)
class Bootstrap:
    """Samples of a data set of `photos` photos, drawn with replacement; `times` 0 is no sample and no interval."""

    photos: int
    times: int = RESAMPLES
    seed: int = 0

    def __str__(self) -> str:
        """Describe the intervals in one line."""
        if not self.times:
            return "no intervals"
        return f"95 % intervals: percentiles of {count_of(self.times, 'resample')} of the photos, seed {self.seed}"

    @cached_property
    def counts(self) -> Int[np.ndarray, "times photos"]:
        """Count how often each photo is in each sample."""
        return resamples(self.photos, self.times, self.seed)

    def measure(self, name: str, values: ArrayLike, statistic: Statistic | None = None) -> Measure:
        """Compute a measure of the photos' `values`, first axis photos: their mean, or a statistic of their sum."""
        values = np.asarray(values, np.float64)
        of = statistic or (lambda sums: sums / self.photos)
        whole = of(values.sum(axis=0, keepdims=True))
        drawn = np.tensordot(self.counts, values, axes=1)
        return Measure(name, float(whole[0]), *interval(of(drawn) if self.times else np.zeros(0)))
