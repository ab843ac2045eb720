"""The batch engine: photos decoded ahead of the model and finished behind it; a bad one fails alone."""

import hashlib
import os
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from typing import Generic

from cratecli.arrays import RGB
from cratecli.emergence.features import View
from cratecli.errors import CrateError, InputError, OutputError
from cratecli.geometry import Grid, Size
from cratecli.io import images
from cratecli.model.engine import out_of_memory
from cratecli.runs.cache import fingerprint
from cratecli.runs.desk import DecodedPhoto, Desk, Result, content_of, decoded, finished
from cratecli.runs.jobs import Failure, Job, Skipped
from cratecli.runs.limits import MemoryBudget, one_thread_each
from cratecli.runs.views import Question, views_of

Outcomes = Generator[Result | Failure | Skipped, None, None]
"""What becomes of the jobs of a run, as they are done; to be closed where the run ends early."""

WORKERS = min(4, os.cpu_count() or 1)
AHEAD = 2  # batches of photos that are decoded before the model needs them
HELD = 512_000_000  # bytes of decoded photos beyond which no further one is decoded ahead
PATIENCE = 0.2  # seconds between two looks at a photo that another process has in hand


def as_it_is(_job: Job, rgb: RGB) -> RGB:
    """Leave a photo as it was read."""
    return rgb


def work_through(
    jobs: Iterable[Job],
    desk: Desk,
    question: Question | None,
    finish: Callable[[DecodedPhoto, list[View]], Result],
    prepare: Callable[[Job, RGB], RGB] = as_it_is,
) -> Outcomes[Result]:
    """Show photos to the model, those of a size together, and finish each in a thread behind it.

    Without a question the model is left out, and `finish` gets no views. `finish` makes a photo's outputs, writes
    them, and gives its result; `prepare`, in a thread too, checks or crops a photo that was read. A photo that cannot
    be read or worked on, or whose output alone cannot be written, is a `Failure`, not the end. Out of memory, fewer
    photos go together from then on. Outcomes come as they are done; for the same jobs in the same order. When the desk
    says stop, what the model has in hand is finished.
    Raises `OutputError` when no output can be written any more, after what was finished until then.
    """
    with one_thread_each():
        yield from work(jobs, desk, question, finish, prepare)


def work(
    jobs: Iterable[Job],
    desk: Desk,
    question: Question | None,
    finish: Callable[[DecodedPhoto, list[View]], Result],
    prepare: Callable[[Job, RGB], RGB] = as_it_is,
) -> Outcomes[Result]:
    """Work through photos, and leave other threads of the process as they are."""
    with Pipeline(desk, question, finish, prepare) as line:
        yield from line.run(jobs)
        while line.elsewhere and not desk.stopping():
            waiting, line.elsewhere = line.elsewhere, []
            yield from line.run(waiting)
            if len(line.elsewhere) == len(waiting):
                time.sleep(PATIENCE)


class Pipeline(Generic[Result]):
    """Photos in four stages: read ahead, grouped by grid, shown to the model, finished.

    Photos that are decoded already may stand among the jobs.
    Only the main thread moves a photo from one to the next. Readers may wait for room, so finishers, who make it, are
    threads of their own.
    """

    def __init__(
        self,
        desk: Desk,
        question: Question | None,
        finish: Callable[[DecodedPhoto, list[View]], Result],
        prepare: Callable[[Job, RGB], RGB],
    ) -> None:
        self.desk, self.question, self._finish, self._prepare = desk, question, finish, prepare
        self.elsewhere: list[Job] = []
        self._together = desk.batch_size
        self._memory = MemoryBudget(HELD)
        self._read = 0  # photos, so far
        self._reading: deque[Future[DecodedPhoto | Failure | Skipped | Job]] = deque()
        self._waiting: dict[tuple[Grid, ...], list[DecodedPhoto]] = {}
        self._leaving: deque[tuple[int, Future[Result | Failure | Skipped]]] = deque()

    def __enter__(self) -> "Pipeline[Result]":
        self._readers = ThreadPoolExecutor(WORKERS, thread_name_prefix="crate-reader")
        self._finishers = ThreadPoolExecutor(WORKERS, thread_name_prefix="crate-finisher")
        return self

    def __exit__(self, *_error: object) -> None:
        """End without leaving a thread, or an output half written."""
        self._memory.close()
        self._readers.shutdown(cancel_futures=True)
        self._finishers.shutdown(cancel_futures=True)

    def run(self, jobs: Iterable[Job | DecodedPhoto]) -> Iterator[Result | Failure | Skipped]:
        """Work through some photos; what other processes have in hand is left `elsewhere`. Raises `OutputError`."""
        try:
            yield from self._run(jobs)
        except OutputError:  # what is finished is told of before
            self._finishers.shutdown(cancel_futures=True)
            for _, future in self._leaving:
                if not future.cancelled() and future.exception() is None:
                    yield future.result()
            raise

    def _run(self, jobs: Iterable[Job | DecodedPhoto]) -> Iterator[Result | Failure | Skipped]:
        ahead = iter(jobs)
        while not self.desk.stopping():
            self._read_ahead(ahead)
            if not self._reading:
                break
            self._memory.wait_for(self._read - len(self._reading))
            read = self._reading.popleft().result()
            if isinstance(read, Job):
                self.elsewhere.append(read)
            elif not isinstance(read, DecodedPhoto):
                self._leave(read)
            else:
                group = self._wait(read)
                if not self.desk.stopping():
                    self._show(group)
            yield from self._left(most=AHEAD * self.desk.batch_size)
        while self._waiting and not self.desk.stopping():
            self._show(self._waiting.pop(next(iter(self._waiting))))
            yield from self._left(most=AHEAD * self.desk.batch_size)
        yield from self._left(most=0)

    def _read_ahead(self, jobs: Iterator[Job | DecodedPhoto]) -> None:
        """Keep the readers busy."""
        while len(self._reading) < AHEAD * self.desk.batch_size + WORKERS:
            if (job := next(jobs, None)) is None:
                return
            self._reading.append(self._readers.submit(self._read_one, job, self._read))
            self._read += 1

    def _read_one(self, job: Job | DecodedPhoto, number: int) -> DecodedPhoto | Failure | Skipped | Job:
        """Read and decode one photo, in a thread; gives the job back if another process has it in hand."""
        desk = self.desk
        if isinstance(job, DecodedPhoto):
            return self._kept(job)
        if not self._memory.enter(number) or (desk.ledger and not desk.ledger.claim(job)):
            return job
        try:
            if job.held is not None:
                rgb = self._prepare(job, images.as_rgb(job.held, range=desk.range))
                return self._kept(DecodedPhoto(job, rgb, fingerprint(rgb)))
            content = content_of(job, desk.max_pixels, desk.stdin)
            sha256 = hashlib.sha256(content).hexdigest()
            if desk.done_before(job, sha256):
                return Skipped(job)
            photo = decoded(job, content, sha256, desk)
            rgb = self._prepare(job, photo.rgb)
        except OutputError:
            raise
        except CrateError as error:
            return desk.failed(job, error)
        return self._kept(replace(photo, rgb=rgb))

    def _kept(self, photo: DecodedPhoto) -> DecodedPhoto:
        self._memory.take(photo.nbytes)
        return photo

    def _wait(self, photo: DecodedPhoto) -> list[DecodedPhoto]:
        """Let a photo wait for others of its size; give those whose turn it is, if any."""
        key: tuple[Grid, ...] = ()
        if self.question is not None:
            with suppress(InputError):  # it is refused when it is shown
                key = self.question.grids(Size(*photo.rgb.shape[:2]), self.desk.model.patch_size)
        self._waiting.setdefault(key, []).append(photo)
        if not key or len(self._waiting[key]) >= self._together:  # without a grid there is nothing to share
            return self._waiting.pop(key)
        all_waiting = [each for group in self._waiting.values() for each in group]
        held = sum(each.nbytes for each in all_waiting)
        if held >= HELD // 2 or len(all_waiting) > AHEAD * self.desk.batch_size:
            return self._waiting.pop(next(iter(self._waiting)))  # who has waited longest
        return []

    def _show(self, photos: list[DecodedPhoto]) -> None:
        """Show photos to the model, as many together as memory holds, and hand them on."""
        while photos:
            some, photos = photos[: self._together], photos[self._together :]
            self._show_some(some)

    def _show_some(self, photos: list[DecodedPhoto]) -> None:
        reason = None
        try:
            seen = self._see(photos)
        except InputError as error:
            reason = str(error)
        except Exception as error:
            if not out_of_memory(error):
                raise
            reason = "needs more memory than there is"
            if len(photos) > 1:
                self._together = (len(photos) + 1) // 2
                fewer = f"out of memory with {len(photos)} photos together: going on with {self._together}"
                self.desk.note(fewer)
        if reason is None:
            for photo, views in zip(photos, seen, strict=True):
                future = self._finishers.submit(self._finish_one, photo, views)
                self._leaving.append((photo.nbytes, future))
        elif len(photos) == 1:
            self._memory.give(photos[0].nbytes)
            self._leave(self.desk.failed(photos[0].job, InputError(f"{photos[0].job.name}: {reason}")))
        else:  # only the bad ones shall fail; what the error held on to is free again here
            half = (len(photos) + 1) // 2
            self._show(photos[:half])
            self._show(photos[half:])

    def _see(self, photos: list[DecodedPhoto]) -> list[list[View]]:
        """Ask the model the question, of photos that share its grids. Raises `InputError`."""
        desk, question = self.desk, self.question
        if question is None:
            return [[] for _ in photos]
        return views_of(
            [photo.rgb for photo in photos],
            desk.model,
            question,
            cache=desk.cache,
            note=lambda text: desk.note(f"{photos[0].job.name}: {text}"),  # of one that is shown alone
        )

    def _finish_one(self, photo: DecodedPhoto, views: list[View]) -> Result | Failure | Skipped:
        """Finish a photo, in a thread."""
        done = finished(self._finish, photo, views)
        return self.desk.failed(done.job, done.error) if isinstance(done, Failure) else done

    def _leave(self, outcome: Failure | Skipped) -> None:
        """Put what needs no finishing behind what does: outcomes keep their order, whatever the threads do."""
        future: Future[Result | Failure | Skipped] = Future()
        future.set_result(outcome)
        self._leaving.append((0, future))

    def _left(self, *, most: int) -> Iterator[Result | Failure | Skipped]:
        """Give what is finished, in its order; wait until no more than `most` are not, and there is room again."""
        while self._leaving and (
            len(self._leaving) > most or self._memory.full or self._leaving[0][1].done()
        ):
            held, future = self._leaving.popleft()
            self._memory.give(held)
            yield future.result()
