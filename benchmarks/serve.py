"""How many photos a second `crate serve` answers, and how long each takes, beside the bare model.

    python benchmarks/serve.py --write benchmarks/serve.md

In one run, in turns: the bare model in this process (`segment` photo by photo, and `segment_many` with 8 together), and
a server as users start it, asked over HTTP by 1, 8 and 32 clients, each of which sends its next photo when it has the
answer to the last. All have the photos of `examples/`, asked by default for the record with its mask. Latency is what
a client waits.
"""

import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import cycle, islice
from pathlib import Path

import httpx2
from models import torch_and_threads
from page import command_line, publish, table_header, table_row

import cratecli
from cratecli.runs.limits import one_thread_each
from cratecli.wording import count_of

EXAMPLES = Path(__file__).parents[1] / "examples"
CLIENTS = (1, 8, 32)
EACH = 8  # photos of a turn, or two for each client
TURNS = 3
TOGETHER = 8  # as the server shows the model at most


@contextmanager
def served() -> Iterator[str]:
    """Start a server on a free port, and give its address; it is stopped in the end."""
    command = [sys.executable, "-m", "cratecli", "serve", "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        try:
            if server.stderr is not None:
                yield server.stderr.readline().split()[-1]
        finally:
            server.terminate()


@dataclass
class Row:
    """What was measured of one way to ask: seconds that each photo was waited for, and that all took."""

    waited: list[float] = field(default_factory=list)
    took: float = 0.0

    @property
    def speed(self) -> float:
        """Give photos a second."""
        return len(self.waited) / self.took

    def cells(self, bare: float) -> list[str]:
        """Write photos a second, also as a share of the `bare` model's, and what half and 95 % waited, ms."""
        ordered = sorted(self.waited)
        tail = ordered[min(len(ordered) - 1, round(0.95 * len(ordered)))]
        waits = [f"{1000 * statistics.median(ordered):.0f}", f"{1000 * tail:.0f}"]
        return [f"{self.speed:.2f}", f"{self.speed / bare:.2f}", *waits]

    def measure(self, ask: Callable[[Path], object], photos: Iterable[Path], clients: int = 1) -> None:
        """Ask about photos, as many at a time as there are clients."""

        def timed(photo: Path) -> None:
            start = time.perf_counter()
            ask(photo)
            self.waited.append(time.perf_counter() - start)

        with ThreadPoolExecutor(clients) as pool:
            start = time.perf_counter()
            list(pool.map(timed, photos))
            self.took += time.perf_counter() - start

    def measure_all(self, ask: Callable[[list[Path]], Iterable[object]], photos: list[Path]) -> None:
        """Ask about all photos at once; none is waited for by itself."""
        with ThreadPoolExecutor(
            1
        ) as pool:  # a thread like the others: torch's threads spin less than in the first
            start = time.perf_counter()
            self.waited += pool.submit(lambda: [0.0 for _ in ask(photos)]).result()
            self.took += time.perf_counter() - start


def tables() -> Iterator[str]:
    """Measure all, in turns."""
    photos = sorted(EXAMPLES.glob("*.jpg"))
    contents = {photo: photo.read_bytes() for photo in photos}
    model = cratecli.load_model()
    alone, together = Row(), Row()
    asked = {clients: Row() for clients in CLIENTS}
    with served() as address, httpx2.Client(timeout=600) as client:

        def ask(photo: Path) -> None:
            client.post(f"{address}v1/segment", content=contents[photo]).raise_for_status()

        cratecli.segment(photos[0], model)
        ask(photos[0])
        for _ in range(TURNS):
            some = list(islice(cycle(photos), EACH))
            with one_thread_each():  # as commands and server run: OpenCV's threads are in the way of torch's
                alone.measure(lambda photo: cratecli.segment(photo, model), some)
                together.measure_all(lambda few: cratecli.segment_many(few, model, batch_size=TOGETHER), some)
            for clients, row in asked.items():
                row.measure(ask, islice(cycle(photos), max(EACH, 2 * clients)), clients)
    yield table_header("", "photos/s", "of the first", "p50, ms", "p95, ms")
    yield table_row("bare model, photo by photo", *alone.cells(alone.speed))
    yield table_row(f"bare model, {TOGETHER} together, read ahead", *together.cells(alone.speed)[:2], "", "")
    for clients, row in asked.items():
        yield table_row(f"server, {count_of(clients, 'client')}", *row.cells(alone.speed))
    yield f"\n{torch_and_threads()}, {count_of(TURNS, 'turn')}"


def main() -> None:
    """Run the benchmark."""
    arguments = command_line(__doc__, data=False, every=False).parse_args()
    publish(tables(), arguments.write)


if __name__ == "__main__":
    main()
