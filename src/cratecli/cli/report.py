"""How a command tells what it did: records or paths on stdout, failures on stderr, and the exit code."""

import json
from types import TracebackType
from typing import TYPE_CHECKING, Any

import typer

from cratecli.cli.options import put, tell
from cratecli.errors import UsageError

if TYPE_CHECKING:
    from cratecli.model.unroll import WeightsId, WhiteBox
    from cratecli.tasks.batch import Failure


class Report:
    """A run's words. What was done is on record even where an error ends the run."""

    def __init__(self, *, json_: bool, jsonl: bool, quiet: bool) -> None:
        """Choose what stdout gets. Raises `UsageError` for both kinds of records."""
        if json_ and jsonl:
            raise UsageError("--json and --jsonl exclude each other")
        self._json, self._jsonl, self._quiet = json_, jsonl, quiet
        self._records: list[dict[str, Any]] = []
        self._failed = self._photos = 0

    @property
    def records(self) -> bool:
        """Tell whether stdout gets records."""
        return self._json or self._jsonl

    def note(self, text: str) -> None:
        """Say something on stderr, unless all shall be quiet."""
        if not self._quiet:
            tell(text)

    def fail(self, failure: "Failure") -> None:
        """Say which photo failed, and why."""
        self._photos, self._failed = self._photos + 1, self._failed + 1
        tell(str(failure.error))

    def done(self, record: dict[str, Any], *written: str | bytes) -> None:
        """Tell of one photo: its record, or what was written (paths, or a picture's bytes)."""
        self._photos += 1
        if self._jsonl:
            put([json.dumps(record)])
        elif self._json:
            self._records.append(record)
        else:
            put(written)

    def wrote(self, *written: str | bytes) -> None:
        """Tell of what stands for the whole run."""
        if not self.records:
            put(written)

    def __enter__(self) -> "Report":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Print the array, and end with 1 where a photo failed."""
        if self._json:
            put([json.dumps(self._records, indent=2)])
        if self._failed and self._photos > 1:
            tell(f"{self._failed} of {self._photos} photos failed")
        if self._failed and kind is None:
            raise typer.Exit(1)


def named(weights: "WeightsId | None") -> dict[str, str | None]:
    """Say in a record which weights made it."""
    return {
        "weights": None if weights is None else weights.name,
        "weights_sha256": None if weights is None else weights.sha256,
    }


def what_runs(model: "WhiteBox", *how: str) -> str:
    """Say which model runs, how and where."""
    place = next(model.parameters())
    name = model.weights.name if model.weights else "a model without a name"
    return ", ".join([name, *how, f"{place.device} {str(place.dtype).removeprefix('torch.')}"])
