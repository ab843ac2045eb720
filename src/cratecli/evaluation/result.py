"""What an evaluation says: numbers, and how sure each is."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float

from cratecli.emergence.bootstrap import interval, resamples
from cratecli.model.unroll import WeightsId

RESAMPLES = 1000
Name = Literal["voc", "coco", "saliency", "parts"]

Sums = Float[np.ndarray, "times ..."]
Statistic = Callable[[Sums], Float[np.ndarray, " times"]]
"""What is made of sums over photos, of several samples at once."""


@dataclass(frozen=True)
class Measure:
    """One number, 0–1, and the middle 95 % of what photos drawn again would give; `paper` is the published one."""

    name: str
    value: float
    low: float
    high: float
    paper: float | None = None


@dataclass(frozen=True)
class Row:
    """One way that was judged, of one layer where it is of one, counted from 0."""

    name: str
    measures: tuple[Measure, ...]
    layer: int | None = None

    def __getitem__(self, name: str) -> float:
        """Give a measure's value by its name."""
        return next(each.value for each in self.measures if each.name == name)


@dataclass(frozen=True)
class Evaluation:
    """How good one model is on one data set: `photos` were judged, `failed` could not be.

    `recipe` and `notes` say in words how it was judged; `settings` are the options that decide it, by name.
    """

    protocol: Name
    data: Path
    photos: int
    failed: int
    rows: tuple[Row, ...]
    recipe: str
    settings: Mapping[str, str | bool]
    notes: tuple[str, ...]
    weights: WeightsId | None

    def __getitem__(self, name: str) -> Row:
        """Give the first row of a name."""
        return next(row for row in self.rows if row.name == name)


@dataclass(frozen=True)
class Resampling:
    """How photos are drawn again for intervals; none, where `times` is 0."""

    times: int = RESAMPLES
    seed: int = 0

    def __str__(self) -> str:
        """Say it in words."""
        if not self.times:
            return "no intervals"
        return f"95 % intervals: percentiles of {self.times:,} resamples of the photos, seed {self.seed}"


@dataclass(frozen=True, eq=False)
class Draws:
    """What was found in photos, and how often each is in every sample."""

    counts: Float[np.ndarray, "times photos"]

    @classmethod
    def of(cls, photos: int, how: Resampling) -> "Draws":
        """Draw photos again."""
        return cls(resamples(photos, how.times, how.seed).astype(np.float64))

    def measure(
        self,
        name: str,
        values: Float[np.ndarray, "photos ..."],
        statistic: Statistic | None = None,
    ) -> Measure:
        """Measure what photos sum up to; without a statistic of such sums, the mean."""
        values = np.asarray(values, np.float64)
        of = statistic or (lambda sums: sums / len(values))
        whole = of(values.sum(axis=0, keepdims=True))
        drawn = np.tensordot(self.counts, values, axes=1)
        return Measure(name, float(whole[0]), *interval(of(drawn) if len(drawn) else np.zeros(0)))
