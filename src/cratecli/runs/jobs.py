"""One input of a run: where its output goes, and what becomes of it."""

from dataclasses import dataclass, field
from io import BufferedReader, BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from cratecli.errors import CrateError, OutputError
from cratecli.files import open_file, replacing, seen_from
from cratecli.io.sources.entry import Entry
from cratecli.io.sources.stores import Destination

if TYPE_CHECKING:
    from cratecli.io.images import PhotoLike


@dataclass(frozen=True)
class Job:
    """One input photo and where its output goes. No source is standard input, no target standard output.

    A photo that is in memory already, a Pillow image or an upright RGB array, is `held`; one that is no file of its
    own is an `entry`. `number` counts the jobs of Python callers, and the photos of standard input, from 1; 0 is a
    stream of one. A photo that was sent as bytes may have been `called` something. With a `destination` the target is
    below it, in a store: a path that begins with its URL.
    """

    source: Path | None
    target: Path | None
    number: int = 0
    held: "PhotoLike | None" = field(default=None, compare=False, repr=False)
    called: str = ""
    entry: Entry | None = None
    destination: Destination | None = field(default=None, compare=False, repr=False)

    @property
    def name(self) -> str:
        """Name the input as the user would."""
        if self.called:
            return self.called
        if self.held is not None:
            return f"photo {self.number}"
        if self.entry is not None:
            return self.entry.name
        if self.source is None:
            return f"standard input, photo {self.number}" if self.number else "standard input"
        return str(self.source)

    @property
    def piped(self) -> bool:
        """Tell whether it is standard input, or one of its photos."""
        return self.source is None and self.entry is None and self.held is None

    @property
    def output(self) -> str | None:
        """Name the output as the user would: a path or a URL; none where it has none of its own."""
        if self.target is None or self.destination is None:
            return None if self.target is None else str(self.target)
        return self.destination.at(self._within_destination(self.destination))

    def seen_from(self, folder: Path) -> str:
        """Name the input from a folder on, as what is written there does: `-` is standard input."""
        if self.entry is not None:
            return self.entry.seen_from(folder)
        return "-" if self.source is None else seen_from(folder, self.source)

    def deliver(self, content: bytes) -> None:
        """Write the output whole or not at all, if it has a place of its own. Raises `OutputError`."""
        if self.target is None or self.destination is None:
            deliver(self.target, content)
        else:
            self.destination.write(self._within_destination(self.destination), content)

    def reopened(self, path: Path, most: int) -> BufferedReader | BytesIO:
        """Open the output to read it back: the file at a path, or of a store the bytes, `most` at most.

        Raises `OSError`, and `OutputError` of a store.
        """
        if self.destination is None:
            return open_file(path)
        content = self.destination.read(self._within_destination(self.destination), most)
        if content is None:
            raise FileNotFoundError(path)
        return BytesIO(content)

    def _within_destination(self, destination: Destination) -> str:
        within = (self.target or Path()).relative_to(Path(destination.url)).as_posix()
        return "" if within == "." else within


def stdin_stem(number: int) -> str:
    """Name the outputs of standard input, or of one of its photos, by their number: files sort as the photos came.

    >>> stdin_stem(0), stdin_stem(12)
    ('stdin', 'stdin-0012')
    """
    return f"stdin-{number:04}" if number else "stdin"


@dataclass(frozen=True)
class Failure:
    """A job that could not be done, and why; it stands for `photos` of them where one line tells of several."""

    job: Job
    error: CrateError
    photos: int = 1


@dataclass(frozen=True)
class Skipped:
    """A job that was done before, as the manifest knows, or by another process."""

    job: Job


@dataclass(frozen=True)
class SeenPhoto:
    """A job whose photo the model has seen, and which is finished when all have been."""

    job: Job


def deliver(target: Path | None, content: bytes) -> None:
    """Write an output whole or not at all, making its folder; standard output is left to the caller.

    Raises `OutputError`; what was there before is then still there.
    """
    if target is None:
        return
    try:
        with replacing(target) as stream:
            stream.write(content)
    except OSError as error:
        raise OutputError.of(target, error) from None
