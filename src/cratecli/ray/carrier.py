"""A run on a cluster: dealt out in parcels, followed photo by photo, and recorded here, as on one machine."""

import pickle
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from cratecli.emergence.features import View
from cratecli.errors import CrateError, DeviceError, OutputError
from cratecli.model.engine import DistantModel
from cratecli.ray.book import Book
from cratecli.ray.cluster import Cluster, in_one_line
from cratecli.ray.parcels import Carried, Ended, Fault, Item, ModelChoice, Noted, Order, unpack
from cratecli.runs.batch import PATIENCE, WORKERS
from cratecli.runs.desk import DecodedPhoto, Finished, Result
from cratecli.runs.jobs import Failure, Skipped
from cratecli.runs.portions import Portion
from cratecli.runs.session import Session
from cratecli.runs.views import Question

BROKEN = 2  # pipelines that end early, one after the other, and bring nothing


@dataclass(frozen=True)
class RayCarrier:
    """Carries runs to a cluster, where workers load the model of a choice."""

    cluster: Cluster
    choice: ModelChoice

    def work(
        self,
        session: Session,
        portions: Iterable[Portion],
        question: Question,
        finish: Callable[[DecodedPhoto, list[View]], Finished[Result]],
    ) -> Generator[tuple[Portion, Result | Failure | Skipped | None], None, None]:
        """Work through a run; see `Carrier`.

        What the cluster loses, with a worker or a node, it makes again itself. What is lost for good, after some tries,
        is dealt out again in another round, photo by photo; what is lost there too is given up.
        """
        desk = session.desk
        if not isinstance(desk.model, DistantModel):
            raise TypeError("the model is not elsewhere")
        order = Order(
            choice=self.choice,
            model=desk.model,
            question=question,
            finish=finish,
            batch_size=desk.batch_size,
            max_pixels=desk.max_pixels,
            range=desk.range,
            root=Path.cwd(),
        )
        book = Book(session, order.together)
        for portion in portions:
            yield from book.enter(portion)
        alone, broken = False, 0
        with ThreadPoolExecutor(WORKERS, thread_name_prefix="crate-recorder") as recorders:
            while (parcels := book.parcels(alone=alone)) and not desk.stopping():
                before = book.settled
                try:
                    with closing(self._rows(pickle.dumps(order), parcels, desk.stopping)) as rows:
                        for row in rows:
                            yield from self._settled(row, book, session, recorders.map)
                            if desk.stopping():
                                return
                except _LostError as lost:
                    broken = broken + 1 if book.settled == before else 0
                    if broken == BROKEN:
                        raise DeviceError(f"{self.cluster.on}: {lost}") from None
                    continue
                if alone and book.settled == before and not desk.stopping():
                    yield from book.give_up()
                alone = book.lost

    def _rows(
        self, order: bytes, parcels: list[bytes], stopping: Callable[[], bool]
    ) -> Generator[bytes, None, None]:
        """Give rows of finished photos as they come. Raises `_LostError` where the pipeline ends early."""
        ray = self.cluster.ray
        conductor = None
        try:
            conductor = self.cluster.conduct(order, parcels)
            coming = conductor.take.remote()
            while not stopping():
                if not ray.wait([coming], timeout=PATIENCE)[0]:
                    continue
                rows = ray.get(coming)
                if rows is None:
                    return
                coming = conductor.take.remote()
                yield from rows
        except (ray.exceptions.RayError, ConnectionError) as error:
            raise _LostError(in_one_line(error)) from None
        finally:
            if conductor is not None:
                with suppress(Exception):
                    ray.kill(conductor)

    def _settled(
        self, row: bytes, book: Book, session: Session, each_in_a_thread: Callable[..., Iterator[Any]]
    ) -> Iterator[tuple[Portion, Any]]:
        """Record the photos of a row, and give what became of them, and which portions are done with that."""
        items: list[Item] = unpack({"items": row})
        photos = []
        for item in items:
            match item:
                case Noted():
                    session.desk.note(item.text)
                case Fault():
                    raise RuntimeError(f"on {self.cluster.on}:\n{item.trace}")
                case Ended():
                    book.sources[item.source].total = item.count
                case Carried():
                    if item.number not in book.sources[item.source].settled:
                        photos.append(item)
        for item, outcome in zip(
            photos, each_in_a_thread(partial(_record, book=book, session=session), photos), strict=True
        ):
            source = book.sources[item.source]
            if outcome is None:
                source.forget(item)
                continue
            session.settle(outcome, source.portion)
            book.settle(source, item.number)
            yield source.portion, outcome
        for place in dict.fromkeys(item.source for item in items if isinstance(item, Carried | Ended)):
            yield from book.done_with(book.sources[place])


class _LostError(Exception):
    """The pipeline ended early, and why."""


def _record(item: Carried, *, book: Book, session: Session) -> Any:
    """Record a photo, and give what became of it; nothing for one that is to be made again.

    Raises `OutputError` when no output can be written any more.
    """
    job, desk, done = item.job, session.desk, item.state
    while desk.ledger and not desk.ledger.claim(job):  # another process, which joined in, has it in hand
        if desk.stopping():
            return None
        time.sleep(PATIENCE)
    try:
        if isinstance(done, CrateError):
            return desk.failed(job, done)
        if desk.done_before(job, item.sha256):
            return Skipped(job)
        if isinstance(done, Finished):
            return session.record(job, item.sha256, done, book.sources[item.source].portion)
    except CrateError as error:
        if isinstance(error, OutputError) and not error.alone:
            raise
        return desk.failed(job, error)
    if desk.ledger:
        desk.ledger.give_back(job)
    return None
