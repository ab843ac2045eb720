"""Many photos in one run: decoded ahead of the model, finished behind it, and never lost to one that is bad."""

import hashlib
import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from cratecli.emergence.features import View
from cratecli.errors import CrateError, InputError, OutputError
from cratecli.geometry import Grid, Size, fit_grid
from cratecli.io import images
from cratecli.io.formats.record import Annotated
from cratecli.io.opening import MAX_PIXELS
from cratecli.model.device import out_of_memory
from cratecli.model.unroll import WhiteBox
from cratecli.tasks.features import FeatureCache, see
from cratecli.tasks.jobs import Failure, Job, Skipped, deliver
from cratecli.tasks.ledger import Ledger
from cratecli.tasks.threads import one_thread_each

Result = TypeVar("Result")

WORKERS = min(4, os.cpu_count() or 1)
AHEAD = 2  # batches of photos that are decoded before the model needs them
HELD = 512_000_000  # bytes of decoded photos beyond which no further one is read ahead
PATIENCE = 0.2  # seconds between two looks at a photo that another process has in hand


@dataclass(frozen=True)
class Question:
    """What the model is asked of every photo: layers, from 0; input short sides, px; whether to trace it.

    A photo whose grid at the first size has more than `most_patches` is refused before the model is asked.
    """

    layers: tuple[int, ...]
    sizes: tuple[int, ...]
    trace: bool = False
    most_patches: int | None = None

    def grids(self, size: Size, patch_size: int) -> tuple[Grid, ...]:
        """Give the grids a photo is shown on. Raises `InputError` for one that is too large."""
        grids = tuple(fit_grid(size, side, patch_size) for side in self.sizes)
        if self.most_patches is not None and grids[0].patches > self.most_patches:
            counts = f"{grids[0].patches:,} patches are more than MaskCut can hold ({self.most_patches:,})"
            raise InputError(f"{counts}: choose a smaller size")
        return grids


@dataclass
class Desk:
    """What a run stands on: the model, and how much it is given at once.

    `stopping` is asked between batches whether to end early; `note` is told what users should know.
    """

    model: WhiteBox
    batch_size: int = 8
    cache: FeatureCache | None = None
    ledger: Ledger | None = None
    stdin: bytes = b""
    max_pixels: int = MAX_PIXELS
    stopping: Callable[[], bool] = field(default=lambda: False)
    note: Callable[[str], None] = field(default=lambda _text: None)

    def hand_over(self, photo: "Photo", content: bytes | None, annotated: Annotated, **facts: Any) -> None:
        """Write a photo's output, if it has one of its own, and then its row. Raises `OutputError`."""
        if content is not None:
            deliver(photo.job.target, content)
        if self.ledger:
            self.ledger.record(photo.job, photo.sha256, content, annotated, **facts)


@dataclass(frozen=True, eq=False)
class Photo:
    """A job's photo, upright RGB, and the SHA-256 of the file's bytes, in hexadecimal."""

    job: Job
    rgb: images.RGB
    sha256: str


def work_through(
    jobs: Sequence[Job], desk: Desk, question: Question | None, finish: Callable[[Photo, list[View]], Result]
) -> Iterator[Result | Failure | Skipped]:
    """Show photos to the model, those of a size together, and finish each in a thread behind it.

    Without a question the model is left out, and `finish` gets no views. `finish` makes a photo's outputs, writes
    them, and gives what is told of it. What cannot be read or worked on is a `Failure`, not the end. Out of memory,
    fewer photos go together from then on. Outcomes come as they are done; for the same jobs in the same order. When
    the desk says stop, what the model has in hand is finished.
    Raises `OutputError` when an output cannot be written.
    """
    with one_thread_each(), _Line(desk, question, finish) as line:
        yield from line.run(jobs)
        while line.elsewhere and not desk.stopping():
            waiting, line.elsewhere = line.elsewhere, []
            yield from line.run(waiting)
            if len(line.elsewhere) == len(waiting):
                time.sleep(PATIENCE)


class _Line(Generic[Result]):
    """The assembly line: reading ahead, waiting for company, being shown to the model, being finished."""

    def __init__(
        self, desk: Desk, question: Question | None, finish: Callable[[Photo, list[View]], Result]
    ) -> None:
        self.desk, self.question, self._finish = desk, question, finish
        self.elsewhere: list[Job] = []
        self._together = desk.batch_size
        self._reading: deque[Future[Photo | Failure | Skipped | None]] = deque()
        self._waiting: dict[tuple[Grid, ...], list[Photo]] = {}
        self._finishing: deque[tuple[int, Future[Result | Failure]]] = deque()
        self._held = 0  # bytes of decoded photos

    def __enter__(self) -> "_Line[Result]":
        self._pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="crate")
        return self

    def __exit__(self, *_error: object) -> None:
        """End without leaving a thread, or an output half written."""
        self._pool.shutdown(cancel_futures=True)

    def run(self, jobs: Sequence[Job]) -> Iterator[Result | Failure | Skipped]:
        ahead = iter(jobs)
        while not self.desk.stopping():
            self._read_ahead(ahead)
            if not self._reading:
                break
            read = self._reading.popleft().result()
            if isinstance(read, Photo):
                group = self._wait(read)
                yield from self._show(group)
                yield from self._finished(leave=AHEAD * self.desk.batch_size)
            elif read is not None:
                yield read
        while self._waiting and not self.desk.stopping():
            yield from self._show(self._waiting.pop(next(iter(self._waiting))))
        yield from self._finished(leave=0)

    def _read_ahead(self, jobs: Iterator[Job]) -> None:
        """Keep the readers busy, as far as memory goes."""
        most = AHEAD * self.desk.batch_size + WORKERS
        while len(self._reading) < most and (self._held < HELD or not self._reading):
            if (job := next(jobs, None)) is None:
                return
            self._reading.append(self._pool.submit(self._read, job))

    def _read(self, job: Job) -> Photo | Failure | Skipped | None:
        """Read and decode one photo, in a thread; nothing, if another process has it in hand."""
        taken = False
        try:
            most = self.desk.max_pixels
            if job.source is None:
                content = self.desk.stdin
                images.refuse_large(len(content), job.name, most)
            else:
                content = images.content(job.source, max_pixels=most)
            sha256 = hashlib.sha256(content).hexdigest()
            if self.desk.ledger:
                match self.desk.ledger.take(job, sha256):
                    case "done":
                        return Skipped(job)
                    case "elsewhere":
                        self.elsewhere.append(job)
                        return None
                taken = True
            decoded = images.decode(content, job.name, max_pixels=most)
            if decoded.note:
                self.desk.note(decoded.note)
            return Photo(job, decoded.rgb, sha256)
        except OutputError:
            raise
        except CrateError as error:
            return self._failed(job, error, taken=taken)

    def _failed(self, job: Job, error: CrateError, *, taken: bool = True) -> Failure:
        if self.desk.ledger and taken:
            self.desk.ledger.give_back(job)
        return Failure(job, error)

    def _wait(self, photo: Photo) -> list[Photo]:
        """Let a photo wait for others of its size; give those whose turn it is, if any."""
        self._held += photo.rgb.nbytes
        key: tuple[Grid, ...] = ()
        if self.question is not None:
            with suppress(InputError):  # it is refused when it is shown
                key = self.question.grids(Size(*photo.rgb.shape[:2]), self.desk.model.patch_size)
        self._waiting.setdefault(key, []).append(photo)
        if not key or len(self._waiting[key]) >= self._together:  # without a grid there is nothing to share
            return self._waiting.pop(key)
        if self._held >= HELD or sum(map(len, self._waiting.values())) > AHEAD * self.desk.batch_size:
            return self._waiting.pop(next(iter(self._waiting)))  # who has waited longest
        return []

    def _show(self, group: list[Photo]) -> Iterator[Failure]:
        """Show photos to the model together, or where that fails in smaller company, and hand them on."""
        while group:
            some, group = group[: self._together], group[self._together :]
            yield from self._show_some(some)

    def _show_some(self, photos: list[Photo]) -> Iterator[Failure]:
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
                told = f"out of memory with {len(photos)} photos together: going on with {self._together}"
                self.desk.note(told)
        if reason is None:
            for photo, views in zip(photos, seen, strict=True):
                self._finishing.append((photo.rgb.nbytes, self._pool.submit(self._finish_one, photo, views)))
        elif len(photos) == 1:
            self._held -= photos[0].rgb.nbytes
            yield self._failed(photos[0].job, InputError(f"{photos[0].job.name}: {reason}"))
        else:  # only the bad ones shall fail; what the error held on to is free again here
            half = (len(photos) + 1) // 2
            yield from self._show_some(photos[:half])
            yield from self._show_some(photos[half:])

    def _see(self, photos: list[Photo]) -> list[list[View]]:
        """Ask the model the question, of photos that share its grids. Raises `InputError`."""
        desk, question = self.desk, self.question
        if question is None:
            return [[] for _ in photos]
        for photo in photos:
            question.grids(Size(*photo.rgb.shape[:2]), desk.model.patch_size)
        return see(
            [photo.rgb for photo in photos],
            desk.model,
            question.layers,
            question.sizes,
            cache=desk.cache,
            trace=question.trace,
            note=desk.note,
        )

    def _finish_one(self, photo: Photo, views: list[View]) -> Result | Failure:
        """Finish a photo, in a thread."""
        try:
            return self._finish(photo, views)
        except OutputError:
            raise
        except CrateError as error:
            return self._failed(photo.job, error)
        except Exception as error:
            if not out_of_memory(error):
                raise
            return self._failed(photo.job, InputError(f"{photo.job.name}: needs more memory than there is"))

    def _finished(self, *, leave: int) -> Iterator[Result | Failure]:
        """Give what is finished, in its order; wait until no more than `leave` are not."""
        while self._finishing and (len(self._finishing) > leave or self._finishing[0][1].done()):
            held, future = self._finishing.popleft()
            self._held -= held
            yield future.result()
