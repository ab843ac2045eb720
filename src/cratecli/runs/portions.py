"""Some photos of a run, and the file that stands for them, written bit by bit."""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, cast

from cratecli.errors import OutputError
from cratecli.files import TEMPORARY, replacing
from cratecli.io.formats.record import Annotated
from cratecli.io.sources.stores import Destination
from cratecli.runs.jobs import Job
from cratecli.runs.streams import Stream


@dataclass(frozen=True)
class Written:
    """A file that stands for the whole run: its path or URL, or, without a target, what standard output gets."""

    target: Path | str | None
    content: bytes


@dataclass(frozen=True)
class Portion:
    """Some photos of a run, and the file that stands for them, if one does; if it is `finished`, so many photos are.

    `done` are the photos that one file stands for, so far, each with its objects, or none where the manifest has them.
    """

    jobs: Sequence[Job]
    streams: Sequence[Stream]
    target: Path | None = None
    destination: Destination | None = None
    finished: int | None = None
    done: dict[Job, Annotated | None] = field(default_factory=dict, compare=False, repr=False)

    @property
    def apart(self) -> bool:
        """Tell whether its file is of one shard alone, and names photos as that does."""
        return any(each.whole is not None for each in self.streams)

    @property
    def came_to_nothing(self) -> bool:
        """Tell whether it is a source that could not be read at all: nothing shall stand for it."""
        only = next(iter(self.done), None)
        return len(self.done) == 1 and only is not None and only.entry is not None and not only.entry.member

    @property
    def counts(self) -> tuple[int, int]:
        """Count the photos that one file stands for, and those among them that failed."""
        return len(self.done), sum(each is not None and each.error is not None for each in self.done.values())


def write_portion(portion: Portion, write: Callable[[BinaryIO], object]) -> Written:
    """Write what stands for a portion bit by bit; it appears whole or not at all. Raises `OutputError`."""
    target, destination = portion.target, portion.destination
    if target is not None and destination is None:
        try:
            with replacing(target) as stream:
                write(stream)
        except OSError as error:
            raise OutputError.of(target, error) from None
        return Written(target, b"")
    try:
        with tempfile.NamedTemporaryFile(prefix="crate-") as spooled:
            write(cast(BinaryIO, spooled))
            spooled.flush()
            if target is None or destination is None:
                spooled.seek(0)
                return Written(None, spooled.read())
            within = target.relative_to(Path(destination.url)).as_posix()
            destination.upload("" if within == "." else within, Path(spooled.name))
            return Written(destination.at("" if within == "." else within), b"")
    except OSError as error:
        raise OutputError(
            f"a temporary file: cannot be written: {error.strerror or error}; {TEMPORARY}"
        ) from None
