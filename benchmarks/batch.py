"""Where the time of a folder goes: a whole run of `crate segment` against the model alone, and its memory.

    python benchmarks/batch.py DATA --write benchmarks/batch.md

DATA holds `ecssd200` and `coco128` (folders `images`): the first hundred photos of each, in turn, of many sizes. A run
begins with the plan and ends with the last row of the manifest; loading the model is left out. The bare forward is
every batch of that run, fitted and normalised beforehand, through the same layers. The ways take turns in one process,
and what is written are medians of ratios within a turn. For memory, a fresh process segments the photos ten times over.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from itertools import chain
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock, get_ident
from typing import Any, NamedTuple
from unittest.mock import patch

import torch
from measure import BY, Took, ratio_and_range, timed
from models import built_in, untrained
from page import command_line, publish, table_header, table_row

from cratecli import segment as segment_one
from cratecli.emergence import refine
from cratecli.emergence.observe import observe
from cratecli.io import images
from cratecli.io.formats.png import encode_mask
from cratecli.model.config import ARCHITECTURES
from cratecli.model.unroll import WhiteBox
from cratecli.runs import views
from cratecli.runs.desk import Desk
from cratecli.runs.inputs import Inputs
from cratecli.runs.plan import plan
from cratecli.tasks import segment, segment_run
from cratecli.tasks.pictures import PictureChoice
from cratecli.tasks.recipes import choose_recipe

BASE = ARCHITECTURES["crate_base_patch16_224"]
EACH = 100  # photos of either folder
TURNS = 3
TIMES = 10  # how often memory meets every photo
STEP = 200  # photos between two looks at memory

PARTS: dict[str, Sequence[tuple[Any, str]]] = {
    "reading": [(images, "content")],
    "decoding": [(images, "decode")],
    "fitting to the grid": [(views, "model_inputs")],
    "forward": [(views, "observe")],
    "heads and threshold": [(segment_run, "decide")],
    "refining (GrabCut)": [(refine, "grabcut")],
    "cleaning": [(segment, "clean")],
    "RLE": [(segment_run, "annotate")],
    "encoding PNG": [(segment_run, "draw_picture"), (segment_run, "encode")],
    "writing output and manifest": [(Desk, "hand_over")],
}
"""What is timed, by the functions that do it; what one does within another is the inner one's alone."""


def photos_of(data: Path) -> list[Path]:
    """Take photos of both folders in turn."""
    both = (sorted((data / name / "images").iterdir())[:EACH] for name in ("ecssd200", "coco128"))
    return list(chain(*zip(*both, strict=True)))


def whole(
    model: WhiteBox,
    photos: Sequence[Path],
    batch_size: int = 8,
    done: Callable[[int], None] = lambda _: None,
    note: Callable[[str], None] = lambda _: None,
) -> None:
    """Segment photos into a folder, as the command does; `done` gets the number of those that are done.

    `note` gets what the command says on the way, such as that memory ran out.
    """
    with TemporaryDirectory() as place:
        planned = plan(Inputs(tuple(map(str, photos))), f"{place}/", "mask", to_stdout=False)
        recipe = choose_recipe(model)
        outcomes = segment_run.segment_run(
            planned, Desk(model, batch_size, note=note), recipe, picture=PictureChoice("mask")
        )
        for count, outcome in enumerate(outcomes, 1):
            if not isinstance(outcome, segment_run.SegmentedPhoto):
                raise RuntimeError(f"a photo was not segmented: {outcome}")
            done(count)


def one_by_one(model: WhiteBox, photos: Sequence[Path]) -> None:
    """Segment photos in a plain loop, each read, seen, and written before the next."""
    with TemporaryDirectory() as place:
        for number, path in enumerate(photos):
            rgb = images.read(path)
            result = segment_one(rgb, model)
            png = encode_mask(result.mask)
            (Path(place) / f"{number}.png").write_bytes(png)


class Clock:
    """Adds up the seconds of each part, in all threads; `whole` is what the run took."""

    def __init__(self) -> None:
        self.all = dict.fromkeys(PARTS, 0.0)
        self.whole = 0.0
        self._lock = Lock()
        self._open: dict[int, list[str]] = {}

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Time the functions of `PARTS` for the block."""
        before = [(place, name, getattr(place, name)) for each in PARTS.values() for place, name in each]
        try:
            for part, each in PARTS.items():
                for place, name in each:
                    setattr(place, name, self._around(part, getattr(place, name)))
            yield
        finally:
            for place, name, function in before:
                setattr(place, name, function)

    def _around(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def timed(*args: Any, **named: Any) -> Any:
            within = self._open.setdefault(get_ident(), [])
            start = time.perf_counter()
            within.append(part)
            try:
                return function(*args, **named)
            finally:
                took = time.perf_counter() - start
                within.pop()
                self._add(part, took)
                if within:
                    self._add(within[-1], -took)

        return timed

    def _add(self, part: str, seconds: float) -> None:
        with self._lock:
            self.all[part] += seconds


@contextmanager
def recording() -> Iterator[list[Callable[[], object]]]:
    """Keep every forward pass that is made in the block, with its fitted batch, to be made again."""
    calls: list[Callable[[], object]] = []

    def kept(*args: Any, **named: Any) -> Any:
        calls.append(lambda: observe(*args, **named))
        return observe(*args, **named)

    with patch.object(views, "observe", kept):
        yield calls


class Turns(NamedTuple):
    """What the whole run, the bare forward and the plain loop took in each turn; and where a run's time went."""

    run: list[Took]
    forward: list[Took]
    loop: list[Took]
    parts: Clock


def bare(calls: Sequence[Callable[[], object]]) -> None:
    """Make forward passes, and nothing else."""
    for call in calls:
        call()


def in_turn(model: WhiteBox, photos: Sequence[Path]) -> Turns:
    """Time the ways in turn, then the parts of one more run."""
    with recording() as calls:
        whole(model, photos)
    bare(calls)
    turns = Turns([], [], [], Clock())
    ways = lambda: whole(model, photos), lambda: bare(calls), lambda: one_by_one(model, photos)
    for _ in range(TURNS):
        for times, way in zip((turns.run, turns.forward, turns.loop), ways, strict=True):
            times.append(timed(way))
            print(f"{times[-1].clock:.1f} s, of the processors {times[-1].processor:.1f} s", flush=True)
    with turns.parts.watching():
        turns.parts.whole = timed(ways[0]).clock
    return turns


def table(models: dict[str, Turns], count: int) -> Iterator[str]:
    """Write ratios and shares as Markdown."""
    all_turns, clocks = models.values(), [turns.parts for turns in models.values()]
    yield table_header(f"{count} photos, torch {torch.__version__.partition('+')[0]}", *models)
    for by, name in BY.items():
        whole_run = (ratio_and_range(turns.run, turns.forward, by) for turns in all_turns)
        yield table_row(f"whole run / bare forward, {name}", *whole_run)
        loop = (ratio_and_range(turns.loop, turns.run, by) for turns in all_turns)
        yield table_row(f"plain loop / whole run, {name}", *loop)
    for part in PARTS:
        yield table_row(part, *(f"{clock.all[part] / clock.whole:.1%}" for clock in clocks))
    yield table_row("sum of parts", *(f"{sum(clock.all.values()) / clock.whole:.0%}" for clock in clocks))
    idle = (f"{1 - clock.all['forward'] / clock.whole:.1%}" for clock in clocks)
    yield table_row("the model has nothing to do", *idle)


def _sizes(photos: Sequence[Path]) -> list[tuple[int, float, float]]:
    """Segment photos again and again, in this process; give photos, MB now and MB at most."""
    sizes: list[tuple[int, float, float]] = []

    def measure(count: int) -> None:
        if count % STEP == 0:
            status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
            now, peak = (int(status[name].split()[0]) / 1024 for name in ("VmRSS", "VmHWM"))
            sizes.append((count, now, peak))
            print(count, f"{now:.0f} MB, peak {peak:.0f} MB", flush=True)

    with TemporaryDirectory() as place:
        links = []
        for again in range(TIMES):
            for number, path in enumerate(photos):
                links.append(Path(place) / f"{again}-{number:03}{path.suffix}")
                links[-1].symlink_to(path.resolve())
        whole(built_in(), links, done=measure)
    return sizes


def memory(photos: Sequence[Path]) -> Iterator[str]:
    """Write as Markdown what a fresh process held, and how it grew."""
    with get_context("spawn").Pool(1) as pool:
        sizes = pool.apply(_sizes, (photos,))
    yield table_header("photos done, built-in model", *(f"{count:,}" for count, *_ in sizes))
    yield table_row("resident, MB", *(f"{now:.0f}" for _, now, _ in sizes))
    yield table_row("peak, MB", *(f"{peak:.0f}" for *_, peak in sizes))
    (first, before, low), (last, after, high) = sizes[0], sizes[-1]
    thousands = (last - first) / 1000
    yield ""
    yield (
        f"After the first {first} photos, a thousand more add {(after - before) / thousands:+.0f} MB to the resident "
        f"size, {(high - low) / thousands:+.0f} MB to the peak."
    )


def main() -> None:
    """Run the benchmark."""
    arguments = command_line(__doc__).parse_args()
    photos = photos_of(arguments.data)[:: arguments.every]
    models = {
        "base/16, random weights": in_turn(untrained(BASE), photos),
        "crate-nano, built in": in_turn(built_in(), photos),
    }
    publish([*table(models, len(photos)), "", *memory(photos)], arguments.write)


if __name__ == "__main__":
    main()
