"""What of a run is dealt out, and what is settled: sources, their photos by number, and the portions they make up."""

import pickle
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from cratecli.errors import InputError
from cratecli.files import seen_from
from cratecli.io.sources.entry import Entry, failing
from cratecli.ray.parcels import Carried, Parcel
from cratecli.runs.jobs import Failure, Job, Skipped
from cratecli.runs.ledger import Ledger
from cratecli.runs.portions import Portion
from cratecli.runs.session import Session
from cratecli.runs.streams import Stream

MOST_PARCELS = 4_000  # that photos named one by one are dealt out in: the pipeline holds them all


@dataclass(eq=False)
class Source:
    """Some photos of a portion: those named one by one, or those of a stream, whose `total` is known when it ends.

    `known` are the SHA-256 of photos that are done, as the manifest has it, by their numbers, or members of the stream;
    `settled` are the numbers of photos whose outcome is known, `again` of those whose output turned out to be gone.
    """

    place: int
    portion: Portion
    stream: Stream | None
    total: int | None
    known: dict[int | str, str]
    settled: set[int] = field(default_factory=set)
    again: set[int] = field(default_factory=set)
    told: bool = False

    @property
    def done(self) -> bool:
        """Tell whether all of its photos are settled."""
        return self.total == len(self.settled)

    @property
    def lost(self) -> bool:
        """Tell whether something was dealt out, and did not come back."""
        return self.total is None or self.total > len(self.settled) + len(self.again)

    def forget(self, photo: Carried) -> None:
        """Have a photo made again, whatever the manifest has of it."""
        self.again.add(photo.number)
        entry = photo.job.entry
        self.known.pop(photo.number if self.stream is None or entry is None else entry.member, None)


class Book:
    """Keeps the books of a run on a cluster: every photo is settled once, whatever comes twice, or not at all."""

    def __init__(self, session: Session, together: int) -> None:
        """Begin with nothing dealt out; so many photos travel together."""
        self._session, self._together = session, together
        self._ledger = session.desk.ledger
        self._believed = self._ledger.believed() if self._ledger else {}
        self._within = _by_source(self._believed)
        self._open: dict[int, int] = {}  # sources of a portion that are not done
        self.sources: list[Source] = []
        self.settled = 0

    def enter(self, portion: Portion) -> Iterator[tuple[Portion, Any]]:
        """Take a portion in; one that is finished is told of at once."""
        if portion.finished is not None:
            yield from [(portion, Skipped(Job(None, None)))] * portion.finished
            yield portion, None
            return
        streams = [*([None] if portion.jobs or not portion.streams else []), *portion.streams]
        self._open[id(portion)] = len(streams)
        for stream in streams:
            total = len(portion.jobs) if stream is None else None
            source = Source(len(self.sources), portion, stream, total, self._known(portion, stream))
            self.sources.append(source)
            yield from self.done_with(source)

    def _known(self, portion: Portion, stream: Stream | None) -> dict[int | str, str]:
        """Give what the manifest has of a source."""
        if self._ledger is None:
            return {}
        if stream is not None:
            return dict(self._within.get(_prefix(stream, self._ledger), {}))
        named = ((number, self._ledger.input_of(job)) for number, job in enumerate(portion.jobs))
        return {number: self._believed[name] for number, name in named if name in self._believed}

    def settle(self, source: Source, number: int) -> None:
        """Note that a photo is settled."""
        source.settled.add(number)
        self.settled += 1

    def done_with(self, source: Source) -> Iterator[tuple[Portion, None]]:
        """Tell of the portion of a source, if that was the last of it."""
        if not source.done or source.told:
            return
        source.told = True
        self._open[id(source.portion)] -= 1
        if not self._open[id(source.portion)]:
            yield source.portion, None

    @property
    def lost(self) -> bool:
        """Tell whether something was dealt out, and did not come back."""
        return any(source.lost for source in self.sources)

    def parcels(self, *, alone: bool) -> list[bytes]:
        """Deal out what is not settled; photos `alone`, each by itself, where something ended their workers."""
        together = 1 if alone else self._together
        parcels: list[Parcel] = []
        for source in self.sources:
            if source.done:
                continue
            source.again.clear()
            if source.stream is not None:
                settled = frozenset(source.settled)
                parcels.append(Parcel(source.place, together, (), source.stream, source.known, settled))
                continue
            left = [each for each in enumerate(source.portion.jobs) if each[0] not in source.settled]
            step = max(together, -(-len(left) // MOST_PARCELS // together) * together)
            for start in range(0, len(left), step):
                some = left[start : start + step]
                known: dict[int | str, str] = {
                    number: source.known[number] for number, _ in some if number in source.known
                }
                parcels.append(Parcel(source.place, together, some, None, known))
        return [pickle.dumps(each) for each in parcels]

    def give_up(self) -> Iterator[tuple[Portion, Any]]:
        """Fail what is left: whatever has it in hand ends."""
        for source in self.sources:
            for number, job in self._left(source):
                why = "the workers that had it in hand ended each time: they were killed, or out of memory"
                failure = Failure(job, InputError(f"{job.name}: {why}"))
                self._session.settle(failure, source.portion)
                self.settle(source, number)
                yield source.portion, failure
            yield from self.done_with(source)

    def _left(self, source: Source) -> list[tuple[int, Job]]:
        """List the photos of a source that are not settled; of a stream that nobody could read to its end, itself."""
        stream = source.stream
        if stream is None:
            return [each for each in enumerate(source.portion.jobs) if each[0] not in source.settled]
        if source.total is None:
            source.total = len(source.settled) + 1
            entry = Entry(stream.name, "", failing(InputError(stream.name)), title=stream.title)
            return [(-1, Job(None, None, entry=entry))]
        left = []
        for number in set(range(source.total)) - source.settled:
            name = f"{stream.name}: photo {number + 1}"
            entry = Entry(name, str(number), failing(InputError(name)), title=f"{stream.title}/{number}")
            left.append((number, Job(None, None, number, entry=entry)))
        return sorted(left, key=lambda each: each[0])


def _prefix(stream: Stream, ledger: Ledger) -> str:
    """Name a stream as the rows of its photos do."""
    path = stream.packed.path
    return stream.name if path is None else seen_from(ledger.folder, path)


def _by_source(believed: Mapping[str, str]) -> dict[str, dict[int | str, str]]:
    """Sort what is believed of photos in streams by all that may be the names of those.

    >>> _by_source({"a.tar::b::c.jpg": "ff", "d.jpg": "00"})
    {'a.tar': {'b::c.jpg': 'ff'}, 'a.tar::b': {'c.jpg': 'ff'}}
    """
    within: dict[str, dict[int | str, str]] = {}
    for name, sha256 in believed.items():
        place = name.find("::")
        while place >= 0:
            within.setdefault(name[:place], {})[name[place + 2 :]] = sha256
            place = name.find("::", place + 2)
    return within
