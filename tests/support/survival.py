"""What every fuzz target must survive: no exception but ours, one line, in time, in bounded memory."""

import math
import os
import resource
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np

from cratecli.cli.console import printable
from cratecli.errors import CrateError
from tests.support.mutate import mutate

LONG = 20  # seconds of the processor for one input, however many processes share it
ROOM = 3 << 30  # bytes of address space beyond what the process has
LONGEST = 2000  # characters of a message


def slow_count() -> int:
    """Tell how many mutated inputs the slow run takes: `$CRATE_FUZZ`, else 50,000."""
    return int(os.environ.get("CRATE_FUZZ", "50000"))


Damage = Callable[[np.random.Generator], bytes]
"""Makes an input from a random state."""


def damages(seeds: dict[str, bytes]) -> dict[str, Damage]:
    """Damage the bytes of seeds."""
    return {name: partial(mutate, seed) for name, seed in seeds.items()}


def survive(damages: dict[str, Damage], attempt: Callable[[bytes], object], count: int) -> dict[str, int]:
    """Attempt `count` inputs, made by each damage in turn; tell how many were taken and how many refused.

    Every input has a random state of its own, so that a failure, which names it, is reproduced alone.
    """
    told = {"taken": 0, "refused": 0}
    names = sorted(damages)
    with _bounded():
        for number in range(count):
            name = names[number % len(names)]
            damaged = damages[name](np.random.default_rng(number))
            signal.setitimer(signal.ITIMER_PROF, LONG)
            try:
                attempt(damaged)
                told["taken"] += 1
            except CrateError as error:
                line = printable(str(error))
                assert line, f"{name}, {number}: says nothing"
                assert len(line) <= LONGEST, f"{name}, {number}: says too much: {line[:200]}…"
                told["refused"] += 1
            except BaseException as error:
                error.add_note(f"{name}, random state {number}")
                raise
            finally:
                signal.setitimer(signal.ITIMER_PROF, 0)
    return told


ODD_VALUES: tuple[object, ...] = (
    *(0, 1, -1, 3, 2**31, 2**63 - 1, -(2**63), 10**400, 0.0, -0.0, 0.5, 1e308, math.inf, -math.inf, math.nan),
    *(
        "",
        "x" * 5000,
        "\x1b[2J\n\u202e",
        "../../etc/passwd",
        "http://[::1",
        "https://a.example/m",
        "c0" * 20,
        "nan",
    ),
    *(True, False, [], [[]], [1, 2, 3], [0.5, math.nan, "x"], ["https://a", 3], {}, {"a": {"b": [{}]}}),
)
"""What a field may hold in place of what belongs there."""


def odd_value(random: np.random.Generator) -> object:
    """Choose one of `ODD_VALUES`."""
    return ODD_VALUES[random.integers(len(ODD_VALUES))]


@contextmanager
def _bounded() -> Iterator[None]:
    """Limit memory, and let an input that takes too long fail."""

    def too_long(*_: object) -> None:
        raise TimeoutError(f"more than {LONG} s")

    before = resource.getrlimit(resource.RLIMIT_AS)
    if (pages := Path("/proc/self/statm")).exists():  # where the system tells
        used = int(pages.read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + ROOM, before[1]))
    handler = signal.signal(signal.SIGPROF, too_long)
    try:
        yield
    finally:
        signal.signal(signal.SIGPROF, handler)
        resource.setrlimit(resource.RLIMIT_AS, before)
