"""Photos of sources that hold many each, as jobs: named as they come, read ahead within bounds, shard by shard."""

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from os.path import commonpath
from pathlib import Path, PurePath, PurePosixPath

from cratecli.errors import CrateError, InputError
from cratecli.io.sources.entry import Entry, failing
from cratecli.io.sources.packed import Packed
from cratecli.io.sources.stores import Destination
from cratecli.io.sources.tars import leads_out
from cratecli.runs.jobs import Job
from cratecli.runs.ledger import Ledger

PATIENCE = 0.2  # seconds between two looks
AHEAD = 64  # photos that are read ahead of the engine,
HELD = 64_000_000  # or as many as have these bytes


@dataclass(frozen=True)
class Stream:
    """A source of many photos in a run: the folder that their outputs fill, if each has one, and their `ending`.

    Else one file may stand for all of them: the `whole`.
    """

    packed: Packed
    title: str
    folder: Path | None = None
    ending: str = "png"
    destination: Destination | None = None
    whole: Path | None = None

    @property
    def name(self) -> str:
        """Name it as the user would."""
        return self.packed.name

    @property
    def is_missing(self) -> bool:
        """Tell whether it is a file of this machine that is not there."""
        return self.packed.path is not None and not self.packed.path.exists()

    @property
    def output(self) -> str | None:
        """Name the folder of its outputs, or their file, as the user would."""
        place, slash = (self.folder, "/") if self.whole is None else (self.whole, "")
        if place is None:
            return None
        if self.destination is None:
            return f"{place}{slash}"
        return self.destination.at(f"{place.relative_to(Path(self.destination.url)).as_posix()}{slash}")

    def jobs(self, most: int, note: Callable[[str], None]) -> Iterator[Job]:
        """Read its photos, of `most` bytes at most each, as jobs; what ends it early is a job that fails."""
        taken = set[str]()
        try:
            for number, entry in enumerate(self.packed.entries(most, note)):
                named = replace(entry, title=f"{self.title}/{entry.member}")
                if self.folder is None or leads_out(entry.member):
                    yield Job(None, None, number, entry=named)
                elif (target := self._target(self.folder, entry.member, taken)) is None:
                    twice = InputError(f"{entry.name}: another photo of this name came before")
                    yield Job(None, None, number, entry=replace(named, read=failing(twice)))
                else:
                    yield Job(None, target, number, entry=named, destination=self.destination)
        except CrateError as error:
            whole = InputError(str(error))
            yield Job(None, None, entry=Entry(self.name, "", failing(whole), title=self.title))

    def _target(self, folder: Path, member: str, taken: set[str]) -> Path | None:
        """Name an output `STEM.ENDING`, or if that is taken, whatever the case, with the photo's extension."""
        path = PurePosixPath(member)
        for name in (path.stem, path.name):
            target = folder / path.parent / f"{name}.{self.ending}"
            if (key := str(target).casefold()) not in taken:
                taken.add(key)
                return target
        return None


def streams_of(
    packed: Sequence[Packed],
    into: Path | None,
    ending: str = "png",
    destination: Destination | None = None,
    *,
    whole: bool = False,
) -> tuple[Stream, ...]:
    """Give each source a folder for its outputs, named after it below the place that all share; none without `into`.

    Or give it a file for the `whole`, named so.
    Sources that differ in their endings only, or in the case of letters, keep their endings.
    """
    packed = list({each.source: each for each in packed}.values())
    titles = _titles([each.place for each in packed])
    alike = Counter(title.casefold() for title in titles)
    ends = [PurePath(each.name).name for each in packed]
    titles = [
        title if alike[title.casefold()] == 1 else (PurePosixPath(title).parent / end).as_posix()
        for title, end in zip(titles, ends, strict=True)
    ]
    return tuple(
        Stream(each, title, None, ending, destination, into / f"{title}.{ending}")
        if whole and into is not None
        else Stream(each, title, None if into is None else into / title, ending, destination)
        for each, title in zip(packed, titles, strict=True)
    )


def _titles(places: Sequence[PurePath]) -> list[str]:
    """Name sources by their paths below what those of their kind, on this machine or not, share.

    >>> _titles([PurePath("/d/a/1"), PurePath("/d/b/1"), PurePath("bucket/2")])
    ['a/1', 'b/1', '2']
    """
    shared = {
        absolute: commonpath([each.parent for each in places if each.is_absolute() == absolute])
        for absolute in {each.is_absolute() for each in places}
    }
    within = [each.relative_to(shared[each.is_absolute()]) for each in places]
    return [PurePosixPath(*(part for part in each.parts if part != "..")).as_posix() for each in within]


def streamed(
    streams: Iterable[Stream],
    ledger: Ledger | None,
    most: int,
    note: Callable[[str], None],
    stopping: Callable[[], bool],
) -> Iterator[Job]:
    """Read the photos of sources one after another; processes that share a ledger deal out whole sources.

    A source that another process has in hand comes last: what that did is then known, and passed over.
    """
    waiting = list(streams)
    while waiting and not stopping():
        elsewhere = []
        for stream in waiting:
            if ledger and not ledger.claim_whole(stream.name):
                elsewhere.append(stream)
                continue
            try:
                yield from stream.jobs(most, note)
            finally:
                if ledger:
                    ledger.give_back_whole(stream.name)
        if len(elsewhere) == len(waiting):
            time.sleep(PATIENCE)
        waiting = elsewhere


class _Shelf:
    """Jobs between the thread that reads them and the one that takes them: so many at most, of so many bytes."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._jobs: deque[Job] = deque()
        self._held = 0
        self._closed = False
        self._ended = False
        self._error: BaseException | None = None

    def fill(self, jobs: Iterator[Job]) -> None:
        """Put jobs on it, until there is none, or nobody wants more."""
        try:
            for job in jobs:
                nbytes = job.entry.nbytes if job.entry else 0
                with self._changed:
                    self._changed.wait_for(
                        lambda: self._closed or (len(self._jobs) < AHEAD and self._held < HELD)
                    )
                    if self._closed:
                        return
                    self._jobs.append(job)
                    self._held += nbytes
                    self._changed.notify_all()
        except BaseException as error:
            self._error = error
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def take(self) -> Job | None:
        """Take one, if there is one within a moment."""
        with self._changed:
            self._changed.wait_for(lambda: self._jobs or self._ended, PATIENCE)
            if not self._jobs:
                return None
            job = self._jobs.popleft()
            self._held -= job.entry.nbytes if job.entry else 0
            self._changed.notify_all()
            return job

    @property
    def over(self) -> bool:
        """Tell whether nothing more comes. Raises what ended the reading."""
        with self._changed:
            if self._jobs or not self._ended:
                return False
            if self._error is not None:
                raise self._error
            return True

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()


def ahead(jobs: Iterator[Job], stopping: Callable[[], bool]) -> Generator[Job, None, None]:
    """Read jobs ahead in a thread, and give them in their order; when stopping, give no more."""
    shelf = _Shelf()
    thread = threading.Thread(target=shelf.fill, args=(jobs,), name="crate-stream", daemon=True)
    thread.start()
    try:
        while not stopping():
            if (job := shelf.take()) is not None:
                yield job
            elif shelf.over:
                return
    finally:
        shelf.close()
        thread.join(PATIENCE)  # it may wait for the network; it does not keep the program from ending
