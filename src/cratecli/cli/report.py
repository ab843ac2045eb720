"""How a command tells what it did: records or paths on stdout, failures on stderr, and the exit code."""

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

import typer

from cratecli.cli.console import put, shown, tell
from cratecli.cli.progress import Bar
from cratecli.cli.signals import Stop
from cratecli.errors import DeviceError, OutputError, UsageError
from cratecli.geometry import Size, fit_grid
from cratecli.wording import count_of

if TYPE_CHECKING:
    from cratecli.model.engine import Model
    from cratecli.records import Record
    from cratecli.runs.batch import Outcomes
    from cratecli.runs.jobs import Failure, SeenPhoto
    from cratecli.runs.planned import Plan
    from cratecli.runs.portions import Written

Result = TypeVar("Result")


@contextmanager
def _counting(counted: Callable[[], str]) -> Iterator[None]:
    """Let an error that ends the run say how many photos are done."""
    try:
        yield
    except (DeviceError, OutputError) as error:
        raise type(error)("; ".join(filter(None, (str(error), counted())))) from None


class Report:
    """What a command says of its outcomes. What is done is on record even where an error ends the run."""

    def __init__(
        self, *, json_: bool, jsonl: bool, quiet: bool, progress: bool = True, fail_fast: bool = False
    ) -> None:
        """Choose what stdout gets. Raises `UsageError` for both kinds of records."""
        if json_ and jsonl:
            raise UsageError("--json and --jsonl exclude each other")
        self._json, self._jsonl, self._quiet = json_, jsonl, quiet
        self._progress, self._fail_fast = progress and not quiet, fail_fast
        self.unasked = False  # whether pictures go to stdout though nobody asked for that
        self.most_told: int | None = None  # failures, and notes, that are told one by one, if not all are
        self._noted = 0
        self._bar = Bar(0, wanted=False)
        self._records: list[dict[str, Any]] = []  # in the order they are done
        self._order: dict[str, int] = {}
        self._failed = self._photos = self._skipped = 0

    @property
    def records(self) -> bool:
        """Tell whether stdout gets records."""
        return self._json or self._jsonl

    def note(self, text: str) -> None:
        """Say something on stderr, unless all shall be quiet."""
        self._noted += 1
        if not self._quiet:
            self._tell_some(text, self._noted, "notes")

    def _tell_some(self, text: str, number: int, what: str) -> None:
        """Say something of which there may be very much; `number` counts it."""
        if self.most_told is None or number <= self.most_told:
            tell(text)
        elif number == self.most_told + 1:
            tell(f"more {what} are not printed one by one: --jsonl has a record for each photo")

    def starts(self, model: "Model", how: str, sizes: Iterable[int]) -> None:
        """Say which model runs, how and where, and which short sides (px) are not whole patches."""
        from cratecli.runs.views import describe

        self.note(describe(model, how))
        patch = model.patch_size
        for size in dict.fromkeys(sizes):
            used = fit_grid(Size(size, size), size, patch).pixels(patch).height
            if used != size:
                self.note(f"size {size} is rounded to {used}: whole patches of {patch} px")

    def follow(
        self,
        plan: "Plan",
        outcomes: "Outcomes[Result | SeenPhoto | Written]",
        stop: Stop,
        *,
        resumable: bool = False,
        passes: int = 1,
    ) -> "Iterator[Result]":
        """Follow a run over the photos of a plan, in one pass or several; see `through`."""
        self._order = {job.name: place for place, job in enumerate(plan.jobs)}
        return self.through(outcomes, plan.total, stop, resumable=resumable, passes=passes)

    def through(
        self,
        outcomes: "Outcomes[Result | SeenPhoto | Written]",
        total: int | None,
        stop: Stop,
        *,
        resumable: bool = False,
        passes: int = 1,
    ) -> "Iterator[Result]":
        """Give what is done, tell of what failed and of files of the whole run, and draw how far it is.

        Without a `total` nobody knows how many there are. Ends the program where the run was asked to end, or with
        `--fail-fast` at the first failure. Raises the `OutputError` that ends the run; where photos are left, it says
        how many.
        """
        from cratecli.runs.jobs import Failure, SeenPhoto, Skipped
        from cratecli.runs.portions import Written

        before, bad = self._photos + self._skipped, self._failed

        def counted() -> str:
            told, failed = self._photos + self._skipped - before, self._failed - bad
            if total is None:
                also = f", {failed} failed" if failed else ""
                return (
                    f"{told - failed} photos done{also}{'; --resume goes on from here' if resumable else ''}"
                )
            left = total - told
            way = "; --resume goes on from here" if resumable and left else ""
            also = f", {failed} failed" if failed else ""
            return f"{total - left - failed} of {total} photos done{also}, {left} left{way}"

        with (
            _counting(counted if total is None or total > 1 else str),
            closing(outcomes),
            Bar(None if total is None else total * passes, wanted=self._progress) as self._bar,
        ):
            for outcome in outcomes:
                if isinstance(outcome, Failure):
                    self.fail(outcome)
                elif isinstance(outcome, Skipped):
                    self._skipped += 1
                    self._bar.step(skipped=True)
                elif isinstance(outcome, Written):
                    self.wrote(outcome.content if outcome.target is None else str(outcome.target))
                elif isinstance(outcome, SeenPhoto):
                    self._photos += passes == 1  # of one pass alone it is all that is done
                    self._bar.step()
                else:
                    yield outcome
                    self._bar.step()
        if stop():
            tell(f"interrupted: {counted()}")
            raise SystemExit(stop.exit_code)

    def fail(self, failure: "Failure") -> None:
        """Say which photo failed, or which photos, and why. Ends the program with `--fail-fast`."""
        self._photos, self._failed = self._photos + failure.photos, self._failed + failure.photos
        for _ in range(failure.photos):
            self._bar.step(failed=True)
        self._tell_some(str(failure.error), self._failed, "failures")
        if self._jsonl:
            from cratecli.runs.records import FailureRecord

            record = FailureRecord(input=failure.job.name, error=str(failure.error))
            self._print(json.dumps(record.as_data()))
        if self._fail_fast:
            raise typer.Exit(1)

    def done(self, record: "Record", *written: str | bytes) -> None:
        """Tell of one photo: its record, or what was written (paths, or a picture's bytes)."""
        self._photos += 1
        if self._jsonl:
            self._print(json.dumps(record.as_data()))
        elif self._json:
            self._records.append(record.as_data())
        else:
            self._print(*written)

    def wrote(self, *written: str | bytes) -> None:
        """Tell of what stands for the whole run."""
        if not self.records:
            self._print(*written)

    def _print(self, *lines: str | bytes) -> None:
        """Write to stdout; where a bar is drawn on the same terminal, above it."""
        put(shown([each for each in lines if isinstance(each, bytes) or not self._bar.show(each)]))
        if self.unasked and any(isinstance(each, bytes) for each in lines):
            self.went_to_stdout()

    def went_to_stdout(self) -> None:
        """Say that stdout has the output: who finds bytes in a log, and no file, should know why."""
        self.note("the output went to standard output; -o FILE writes it into a file")

    def __enter__(self) -> "Report":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Print the array, and end with 1 where a photo failed."""
        if self._json:
            last = len(self._order)
            ordered = sorted(self._records, key=lambda record: self._order.get(record["input"], last))
            put([json.dumps(ordered, indent=2)])
        if self._skipped:
            self.note(f"{count_of(self._skipped, 'photo', ('was', 'were'))} done before")
        if self._failed and self._photos > 1:
            tell(f"{self._failed} of {self._photos} photos failed")
        if self._failed and kind is None:
            raise typer.Exit(1)
