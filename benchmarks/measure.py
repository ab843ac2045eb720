"""Time and memory: what a run takes, and ratios of runs that take turns."""

import resource
import statistics
import time
from collections.abc import Callable, Iterable
from typing import Literal, NamedTuple

By = Literal["clock", "processor"]
BY: dict[By, str] = {"clock": "time", "processor": "processor time"}
"""What a run is measured by, and its name in tables."""

_PROCESSES = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)


class Took(NamedTuple):
    """Seconds of one run: by the clock, and of the processors, in this process and those it waited for."""

    clock: float
    processor: float


def timed(run: Callable[[], object]) -> Took:
    """Time one run."""
    clock, processor = time.perf_counter(), _processor_seconds()
    run()
    return Took(time.perf_counter() - clock, _processor_seconds() - processor)


def _processor_seconds() -> float:
    return sum(usage.ru_utime + usage.ru_stime for usage in map(resource.getrusage, _PROCESSES))


def peak_memory() -> float:
    """Give this process's peak resident size so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def ratio(ones: Iterable[float], others: Iterable[float]) -> float:
    """Give the median of the ratios within a turn."""
    return statistics.median(_ratios(ones, others))


def ratio_and_range(ones: Iterable[Took], others: Iterable[Took], by: By) -> str:
    """Write the median of the ratios within a turn, and their range."""
    ratios = _ratios(*([getattr(took, by) for took in each] for each in (ones, others)))
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def _ratios(ones: Iterable[float], others: Iterable[float]) -> list[float]:
    return [one / other for one, other in zip(ones, others, strict=True)]
