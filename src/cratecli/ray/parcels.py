"""What is sent to a cluster, and what comes back: parcels, and photos as far as they have come. Imports no Ray."""

import pickle
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from cratecli.emergence.features import View
from cratecli.errors import CrateError
from cratecli.model.engine import DistantModel
from cratecli.runs.batch import AHEAD
from cratecli.runs.desk import DecodedPhoto, Finished
from cratecli.runs.jobs import Job
from cratecli.runs.streams import Stream
from cratecli.runs.views import Question
from cratecli.weights.loading import EngineChoice

MOST = 1 << 26  # bytes of photos that travel together,
LEAST = 16  # and how many do at least: each row has its price


@dataclass(frozen=True)
class ModelChoice:
    """Which model workers load, and how: see `load`. A path is seen from the run's working folder."""

    name_or_file: str | None
    engine: EngineChoice
    device: str
    dtype: str
    threads: int | None = None


@dataclass(frozen=True, eq=False)
class Order:
    """What a cluster is asked of every photo of a run; `root` is the working folder that paths are seen from."""

    choice: ModelChoice
    model: DistantModel
    question: Question
    finish: Callable[[DecodedPhoto, list[View]], Finished[Any]]
    batch_size: int
    max_pixels: int
    range: str
    root: Path

    @property
    def together(self) -> int:
        """Count the photos that travel together: whole batches, so that those of one size are grouped as at home."""
        return self.batch_size * max(AHEAD, -(-LEAST // self.batch_size))


@lru_cache(maxsize=2)
def order_of(packed: bytes) -> Order:
    """Unpack an order, once a process."""
    order = pickle.loads(packed)
    if not isinstance(order, Order):
        raise TypeError(f"an order is a {type(order).__name__}")
    return order


@dataclass(frozen=True)
class Parcel:
    """What one reading task is given, of the run's source number `source`: photos by their numbers, or a stream.

    Photos `known` by their SHA-256, as paths or members of the stream, are read, and no more if they have it still;
    those of a stream that are `settled` already are left out. So many go on `together`.
    """

    source: int
    together: int
    jobs: Sequence[tuple[int, Job]] = ()
    stream: Stream | None = None
    known: Mapping[int | str, str] = field(default_factory=dict)
    settled: frozenset[int] = frozenset()


@dataclass
class Carried:
    """One photo on its way, and how far it has come: read, decoded, seen, finished.

    One that failed holds its error; one that is known, and was read only to see that it is as it was, holds nothing.
    """

    source: int
    number: int
    job: Job
    sha256: str = ""
    state: bytes | DecodedPhoto | tuple[DecodedPhoto, list[View]] | Finished[Any] | CrateError | None = None

    @property
    def nbytes(self) -> int:
        """Count the bytes of the photo, as far as it has come."""
        if isinstance(self.state, bytes):
            return len(self.state)
        return self.state.nbytes if isinstance(self.state, DecodedPhoto) else 0


@dataclass(frozen=True)
class Ended:
    """A source was read to its end, and had so many photos."""

    source: int
    count: int


@dataclass(frozen=True)
class Noted:
    """A line that users should read."""

    text: str


@dataclass(frozen=True)
class Fault:
    """An error of the program itself, with where it was."""

    trace: str


Item = Carried | Ended | Noted | Fault


def pack(items: Sequence[Item]) -> dict[str, bytes]:
    """Make a row of Ray Data of some items."""
    return {"items": pickle.dumps(items, protocol=5)}


def unpack(row: Mapping[str, Any]) -> list[Item]:
    """Give the items of a row; rows come from our own tasks."""
    items: list[Item] = pickle.loads(row["items"])
    return items


def grouped(items: Iterable[Item], together: int) -> Iterator[dict[str, bytes]]:
    """Make rows of so many photos each, or of fewer where they are large."""
    waiting: list[Item] = []
    count = nbytes = 0
    for each in items:
        waiting.append(each)
        if isinstance(each, Carried):
            count, nbytes = count + 1, nbytes + each.nbytes
        if count >= together or nbytes >= MOST:
            yield pack(waiting)
            waiting, count, nbytes = [], 0, 0
    if waiting:
        yield pack(waiting)
