"""What `gpu.py` measures with: the machine, how large everything is, and ways that take turns on it."""

import gc
import os
import statistics
from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass, field, replace

import torch
from measure import ratio, timed
from models import torch_and_threads
from page import table_header, table_row
from speed import CONFIG

from cratecli.model.config import CrateConfig
from cratecli.model.engine import out_of_memory

TURNS = 3
FORMATS = {torch.bfloat16: "bfloat16", torch.float32: "float32"}

Run = Callable[[], object]


@dataclass(frozen=True)
class Sizes:
    """How large everything is."""

    config: CrateConfig = CONFIG
    sides: tuple[int, ...] = (224, 480, 960)  # px
    batches: tuple[int, ...] = (1, 8, 64)
    matrix: int = 8192
    photos: int = 500
    together: int = 32
    step: int | None = None  # images; none is train_speed's
    compiles: bool = True


QUICK = Sizes(
    replace(CONFIG, width=24, heads=3, classes=0, image_size=32), (32, 64), (1, 2), 64, 4, 2, 2, False
)


@dataclass
class Race:
    """Seconds of each way, a turn each, and its peak MB; or the reason why it did not run."""

    times: dict[str, list[float]]
    peaks: dict[str, float | None]
    reasons: dict[str, str]

    def milliseconds(self, name: str) -> str:
        """Write the median time of a way."""
        return f"{1e3 * statistics.median(self.times[name]):.2f}" if name in self.times else "–"

    def memory(self, name: str) -> str:
        """Write the peak of a way, MB."""
        peak = self.peaks.get(name)
        return "–" if peak is None else f"{peak:.0f}"

    def over(self, one: str, other: str) -> str:
        """Write the ratio of two ways' times, or why there is none."""
        if one in self.times and other in self.times:
            return f"{ratio(self.times[one], self.times[other]):.2f}"
        return next((self.reasons[name] for name in (one, other) if name in self.reasons), "–")

    def memory_over(self, one: str, other: str) -> str:
        """Write the ratio of two ways' peaks."""
        mine, theirs = self.peaks.get(one), self.peaks.get(other)
        return f"{mine / theirs:.2f}" if mine and theirs else "–"


@dataclass
class Bench:
    """The machine, and what was found on it."""

    device: torch.device
    sizes: Sizes
    until: float
    failed: list[str] = field(default_factory=list)
    rates: dict[torch.dtype, float] = field(default_factory=dict)  # FLOP a second, of one matrix product

    @property
    def cuda(self) -> bool:
        """Tell whether it is a GPU of CUDA's."""
        return self.device.type == "cuda"

    def check(self, holds: bool, what: str) -> str:
        """Say whether a check holds, and remember those that do not."""
        if not holds:
            self.failed.append(what)
        return "holds" if holds else "**FAILED**"

    def seconds(self, run: Run) -> float:
        """Time a run to its very end on the device."""

        def finished() -> None:
            run()
            if self.cuda:
                torch.cuda.synchronize(self.device)

        return timed(finished).clock

    def peak(self, run: Run) -> float | None:
        """Give the MB that a run takes at most; on the CPU they are not counted."""
        if not self.cuda:
            return None
        torch.cuda.reset_peak_memory_stats(self.device)
        before = torch.cuda.memory_allocated(self.device)
        self.seconds(run)
        return (torch.cuda.max_memory_allocated(self.device) - before) / 2**20

    def tidy(self) -> None:
        """Give back what the last run held."""
        gc.collect()
        if self.cuda:
            torch.cuda.empty_cache()

    def race(self, ways: dict[str, Run], spared: Container[str] = ()) -> "Race":
        """Let ways take turns, after each has warmed up.

        One that fails is left out; this is a failed check, unless memory ran out or it is one of those `spared`.
        """
        peaks, reasons = dict[str, float | None](), dict[str, str]()
        for name, way in ways.items():
            try:
                way()  # warms up
                peaks[name] = self.peak(way)
            except Exception as failure:
                reasons[name] = why(failure)
                self.check(out_of_memory(failure) or name in spared, f"{name}: {reasons[name]}")
            self.tidy()
        turns = [{name: self.seconds(ways[name]) for name in peaks} for _ in range(TURNS)]
        return Race({name: [turn[name] for turn in turns] for name in peaks}, peaks, reasons)


def why(failure: Exception) -> str:
    """Say in a cell why something did not run."""
    if out_of_memory(failure):
        return "out of memory"
    return f"{type(failure).__name__}: {str(failure).strip().partition(chr(10))[0][:120]}".replace("|", "/")


def machine(bench: Bench) -> Iterator[str]:
    """Say what this machine is, and how fast it multiplies matrices."""
    name = f"CPU, {os.cpu_count()} cores"
    if bench.cuda:
        about = torch.cuda.get_device_properties(bench.device)
        name = f"{about.name}, {about.total_memory / 2**30:.0f} GiB, CUDA {torch.version.cuda}"
    yield table_header(f"{name}; {torch_and_threads()}", "TFLOP/s")
    for dtype, word in FORMATS.items():
        side = bench.sizes.matrix
        matrix = torch.randn(side, side, device=bench.device).to(dtype)
        race = bench.race({"product": lambda m=matrix: m @ m})  # type: ignore[misc]
        bench.rates[dtype] = 2 * side**3 / min(race.times["product"])
        yield table_row(f"{side} × {side} matrices, {word}", f"{bench.rates[dtype] / 1e12:.2f}")
