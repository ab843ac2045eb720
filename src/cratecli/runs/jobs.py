"""One input of a run: where its output goes, and what becomes of it."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from cratecli.errors import CrateError, OutputError
from cratecli.files import replacing

if TYPE_CHECKING:
    from cratecli.io.images import PhotoLike


@dataclass(frozen=True)
class Job:
    """One input photo and where its output goes. No source is standard input, no target standard output.

    A photo that is in memory already, a Pillow image or an upright RGB array, is `held`; `number` counts the jobs of
    Python callers, and the photos of a stream, from 1; 0 is a stream of one. A photo that was sent as bytes may have
    been `called` something.
    """

    source: Path | None
    target: Path | None
    number: int = 0
    held: "PhotoLike | None" = field(default=None, compare=False, repr=False)
    called: str = ""

    @property
    def name(self) -> str:
        """Name the input as the user would."""
        if self.called:
            return self.called
        if self.held is not None:
            return f"photo {self.number}"
        if self.source is None:
            return f"standard input, photo {self.number}" if self.number else "standard input"
        return str(self.source)


def stdin_stem(number: int) -> str:
    """Name the outputs of standard input, or of one of its photos, by their number: files sort as the photos came.

    >>> stdin_stem(0), stdin_stem(12)
    ('stdin', 'stdin-0012')
    """
    return f"stdin-{number:04}" if number else "stdin"


@dataclass(frozen=True)
class Failure:
    """A job that could not be done, and why."""

    job: Job
    error: CrateError


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
