"""One input of a run: where its output goes, and what becomes of it."""

from dataclasses import dataclass
from pathlib import Path

from cratecli.errors import CrateError, OutputError
from cratecli.files import replacing


@dataclass(frozen=True)
class Job:
    """One input and where its output goes. No source is standard input, no target standard output."""

    source: Path | None
    target: Path | None

    @property
    def name(self) -> str:
        """Name the input as the user would."""
        return "standard input" if self.source is None else str(self.source)


@dataclass(frozen=True)
class Failure:
    """A job that could not be done, and why."""

    job: Job
    error: CrateError


@dataclass(frozen=True)
class Skipped:
    """A job that was done before, as the manifest knows, or by another process."""

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
        raise OutputError(f"{target}: cannot be written: {error.strerror or error}") from None
