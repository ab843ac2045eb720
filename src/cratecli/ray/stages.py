"""What workers of a cluster do with photos: read, decode, show to the model, finish. Imports no Ray.

Each stage takes rows of items and gives rows of items. A photo that fails goes on as its error; only an error of the
program itself ends a run.
"""

import hashlib
import os
import pickle
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, chdir, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

from cratecli.emergence.features import View
from cratecli.errors import CrateError
from cratecli.io.images import BYTES_A_PIXEL
from cratecli.ray.parcels import (
    Carried,
    Ended,
    Fault,
    Item,
    ModelChoice,
    Noted,
    Order,
    Parcel,
    grouped,
    order_of,
    pack,
    unpack,
)
from cratecli.runs.batch import Pipeline, as_it_is
from cratecli.runs.desk import DecodedPhoto, Desk, content_of, decoded, finished
from cratecli.runs.jobs import Failure, Job, Skipped
from cratecli.runs.limits import one_thread_each
from cratecli.weights.loading import load

Row = dict[str, bytes]


def read(row: Mapping[str, Any], *, order: bytes) -> Iterator[Row]:
    """Read the photos of a parcel, and hash them; those that are known, and are as they were, go on without content."""
    asked = order_of(order)
    parcel: Parcel = pickle.loads(row["parcel"])
    with at_home(asked.root):
        yield from grouped(_caught(_read(parcel, asked)), parcel.together)


def _read(parcel: Parcel, order: Order) -> Iterator[Item]:
    if parcel.stream is None:
        for number, job in parcel.jobs:
            yield _read_one(parcel, number, job, parcel.known.get(number), order)
        return
    notes: list[str] = []
    count = 0
    for job in parcel.stream.jobs(BYTES_A_PIXEL * order.max_pixels, notes.append):
        if count not in parcel.settled:
            member = job.entry.member if job.entry else ""
            yield _read_one(parcel, count, job, parcel.known.get(member), order)
        count += 1
    yield from map(Noted, notes)
    yield Ended(parcel.source, count)


def _read_one(parcel: Parcel, number: int, job: Job, known: str | None, order: Order) -> Carried:
    bare = job if job.entry is None else replace(job, entry=replace(job.entry, read=_read_already))
    try:
        content = content_of(job, order.max_pixels)
    except CrateError as error:
        return Carried(parcel.source, number, bare, state=error)
    sha256 = hashlib.sha256(content).hexdigest()
    return Carried(parcel.source, number, bare, sha256, None if sha256 == known else content)


def _read_already(_most: int) -> NoReturn:
    raise ValueError("a photo is read once, where its source is")


def decode(row: Mapping[str, Any], *, order: bytes) -> Iterator[Row]:
    """Decode photos that were read."""
    asked = order_of(order)
    with one_thread_each():
        yield from grouped(_caught(_decode(unpack(row), asked)), asked.together)


def _decode(items: list[Item], order: Order) -> Iterator[Item]:
    desk = Desk(order.model, order.batch_size, max_pixels=order.max_pixels, range=order.range)
    for each in items:
        if isinstance(each, Carried) and isinstance(each.state, bytes):
            try:
                each.state = decoded(each.job, each.state, each.sha256, desk)
                yield from map(Noted, each.state.notes)
            except CrateError as error:
                each.state = error
        yield each


class Look:
    """Shows photos to the model, as the engine of one machine does: it stays loaded for as long as the worker lives."""

    def __init__(self, order: bytes) -> None:
        """Load the model. Raises what `load` raises."""
        self._order = order_of(order)
        with at_home(self._order.root):
            self._model = load_here(self._order.choice)
        self._notes: list[str] = []
        self._stack = ExitStack()
        self._line = self._opened()

    def _opened(self) -> "Pipeline[tuple[DecodedPhoto, list[View]]]":
        self._stack.close()
        self._stack.enter_context(one_thread_each())
        order = self._order
        limits: Any = {"max_pixels": order.max_pixels, "range": order.range}
        desk = Desk(self._model, order.batch_size, note=self._notes.append, **limits)
        line = Pipeline(desk, order.question, lambda photo, views: (photo, views), as_it_is)
        return self._stack.enter_context(line)

    def __call__(self, row: Mapping[str, Any]) -> Row:
        """Show the photos of a row to the model; out of memory, fewer go together from then on."""
        items = unpack(row)
        waiting = {each.job: each for each in items if isinstance(each, Carried)}
        photos = [each.state for each in waiting.values() if isinstance(each.state, DecodedPhoto)]
        try:
            for outcome in self._line.run(photos):
                match outcome:
                    case Failure():
                        waiting[outcome.job].state = outcome.error
                    case Skipped():
                        raise ValueError("nothing is skipped without a ledger")
                    case (photo, views):
                        waiting[photo.job].state = (photo, views)
        except Exception:
            items.append(Fault(traceback.format_exc()))
            self._line = self._opened()
        items += [Noted(each) for each in self._notes]
        self._notes.clear()
        return pack(items)


def finish(row: Mapping[str, Any], *, order: bytes) -> Row:
    """Make what is written of photos that the model has seen."""
    asked = order_of(order)
    with at_home(asked.root), one_thread_each():
        return pack(list(_caught(_finish(unpack(row), asked))))


def _finish(items: list[Item], order: Order) -> Iterator[Item]:
    for each in items:
        if isinstance(each, Carried) and isinstance(each.state, tuple):
            done = finished(order.finish, *each.state)
            each.state = done.error if isinstance(done, Failure) else done
        yield each


def _caught(items: Iterator[Item]) -> Iterator[Item]:
    """Let an error of the program itself go on as an item, after what came before it."""
    try:
        yield from items
    except Exception:
        yield Fault(traceback.format_exc())


@contextmanager
def at_home(root: Path) -> Iterator[None]:
    """See paths as the user does; where there is no such folder, only absolute ones and URLs are found."""
    with ExitStack() as stack:
        with suppress(OSError):
            stack.enter_context(chdir(root))
        yield


def load_here(choice: ModelChoice) -> Any:
    """Load a model in this process, for as many threads as it is given. Raises what `load` raises."""
    if choice.threads:
        os.environ["OMP_NUM_THREADS"] = str(choice.threads)  # which onnxruntime's session is made by
    model = load(choice.name_or_file, engine=choice.engine, device=choice.device, dtype=choice.dtype)
    if choice.threads and (torch := sys.modules.get("torch")):
        torch.set_num_threads(choice.threads)
    return model
