"""What every command over photos shares: which photos, how it runs, and how the run is followed."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, TypeVar

import typer

from cratecli.cli import options
from cratecli.cli.console import stdin_bytes
from cratecli.cli.report import Report
from cratecli.cli.signals import Stop, finishing
from cratecli.errors import InputError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cratecli.model.unroll import WhiteBox
    from cratecli.runs.batch import Desk, Outcomes
    from cratecli.runs.inputs import Inputs
    from cratecli.runs.jobs import SeenPhoto
    from cratecli.runs.plan import Plan
    from cratecli.runs.provenance import Command, Provenance, Selection
    from cratecli.runs.session import Written

Result = TypeVar("Result")

STDIN = "-"


@dataclass(frozen=True)
class PhotoOptions:
    """Which photos."""

    PANEL: ClassVar = "Which photos"

    photos: options.PhotoArguments = None
    recursive: options.Recursive = False
    include: options.Include = None
    exclude: options.Exclude = None
    files_from: options.FilesFrom = None
    null: options.Null = False

    def inputs(self) -> "Inputs":
        """Put together what was named and what the list says. Raises `UsageError`, and `InputError` for the list."""
        from cratecli.runs.inputs import Inputs

        named = self.given
        if self.null and self.files_from is None:
            raise UsageError("-0 says how a list is written: give --files-from too")
        if not named and self.files_from is None:
            raise UsageError("missing argument 'PHOTO...': give photos, folders, `-`, or --files-from")
        listed = self._listed()
        if self.files_from == STDIN and STDIN in (*named, *listed):
            raise UsageError("standard input can be read only once")
        return Inputs(named, listed, self.recursive, tuple(self.include or ()), tuple(self.exclude or ()))

    @property
    def given(self) -> tuple[str, ...]:
        """Give what was named; a list is no part of it."""
        return tuple(self.photos or ())

    def selection(self) -> "Selection":
        """Say what else than names chose the photos, as outputs record it."""
        from cratecli.runs.provenance import Selection

        return Selection(
            recursive=self.recursive,
            include=self.include or [],
            exclude=self.exclude or [],
            files_from=self.files_from,
            null=self.null,
        )

    def _listed(self) -> tuple[str, ...]:
        if self.files_from is None:
            return ()
        if self.files_from == STDIN:
            content = stdin_bytes()
        else:
            try:
                content = Path(self.files_from).read_bytes()
            except (OSError, ValueError) as error:
                reason = error.strerror if isinstance(error, OSError) else "no path"
                raise InputError(f"{self.files_from}: cannot be read: {reason}") from None
        lines = content.split(b"\0") if self.null else content.splitlines()
        if not self.null and b"\0" in content:
            raise UsageError(f"{self.files_from}: its paths end with NUL: give -0")
        return tuple(os.fsdecode(line) for line in lines if line)


@dataclass(frozen=True)
class Running:
    """On what it runs, and what is told of it."""

    PANEL: ClassVar = "How it runs, and what is told"

    model: options.Model = None
    device: options.Device = "auto"
    dtype: options.Dtype = "auto"
    batch_size: options.BatchSize = 8
    features_cache: options.FeaturesCache = None
    max_pixels: options.MaxPixels = None
    fail_fast: options.FailFast = False
    dry_run: options.DryRun = False
    no_progress: options.NoProgress = False
    json_: options.Json = False
    jsonl: options.JsonLines = False
    quiet: options.Quiet = False

    def report(self) -> Report:
        """Choose who is told what. Raises `UsageError`."""
        return Report(
            json_=self.json_,
            jsonl=self.jsonl,
            quiet=self.quiet,
            progress=not self.no_progress,
            fail_fast=self.fail_fast,
        )

    def load(self) -> "WhiteBox":
        """Load the model. Raises what `load_model` raises."""
        from cratecli.weights.checkpoint import load_model

        return load_model(self.model, device=self.device, dtype=self.dtype)

    def provenance(
        self,
        command: "Command",
        recipe: "Mapping[str, Any]",
        model: "WhiteBox",
        photos: PhotoOptions | None = None,
        **more: Any,
    ) -> "Provenance":
        """Say how outputs are made; how photos were chosen is a part of that where an output is of several."""
        from cratecli.runs.provenance import provenance

        chosen: dict[str, Any] = {"photos": photos.selection(), "inputs": photos.given} if photos else {}
        return provenance(
            command, recipe, model, self.batch_size, max_pixels=self.max_pixels, **chosen, **more
        )


@dataclass(frozen=True)
class Writing:
    """What becomes of outputs that are there."""

    PANEL: ClassVar = "Outputs that are there"

    exists: options.Exists = "overwrite"
    resume: options.Resume = False


class Run:
    """One run of a command over photos: its plan, settled before any model is loaded, and its last word."""

    def __init__(
        self, plan: "Plan", running: Running, report: Report, writing: Writing | None = None
    ) -> None:
        """Settle what becomes of outputs that are there.

        Ends the program for --dry-run, which prints the plan, and where no photo is there. Raises `UsageError` for
        outputs that must not be.
        """
        from cratecli.runs.plan import beside_existing

        writing = writing or Writing()
        self.plan = beside_existing(plan, writing.exists, resume=writing.resume)
        self._running, self._report, self._stop = running, report, Stop()
        if self.plan.skipped:
            report.note(f"{self.plan.skipped} photos have an output already: skipped")
        if running.dry_run:
            self._rehearse()
        self._refuse_missing()

    def _rehearse(self) -> NoReturn:
        """Print which photo would go where: a tab between, or as records."""
        from cratecli.runs.records import PlannedRecord

        with self._report:
            for job in self.plan.jobs:
                target = self.plan.target if job.target is None else job.target
                source, name = ("-" if path is None else str(path) for path in (job.source, target))
                self._report.done(PlannedRecord(input=source, output=name), f"{source}\t{name}")
        raise typer.Exit

    def _refuse_missing(self) -> None:
        """Say of every photo that it is missing, unless one is there."""
        from cratecli.io.images import refuse_missing
        from cratecli.runs.jobs import Failure

        failures = []
        for job in self.plan.jobs:
            if job.source is None:
                return
            try:
                refuse_missing(job.source, job.name)
            except InputError as error:
                failures.append(Failure(job, error))
            else:
                return
        if failures:
            with self._report, finishing(self._stop):
                for _ in self._report.follow(self.plan, (each for each in failures), self._stop):
                    pass
            raise typer.Exit(1)

    @contextmanager
    def desk(self, model: "WhiteBox") -> "Iterator[Desk]":
        """Listen for signals, and give what the engine works with."""
        from cratecli.io.images import BYTES_A_PIXEL
        from cratecli.io.opening import MAX_PIXELS
        from cratecli.runs.batch import Desk
        from cratecli.runs.cache import FeatureCache

        running = self._running
        most = running.max_pixels or MAX_PIXELS
        piped = any(job.source is None for job in self.plan.jobs)
        with self._report, finishing(self._stop):
            yield Desk(
                model,
                running.batch_size,
                FeatureCache(running.features_cache, model) if running.features_cache else None,
                stdin=stdin_bytes(BYTES_A_PIXEL * most) if piped else b"",
                max_pixels=most,
                stopping=self._stop,
                note=self._report.note,
            )

    def follow(
        self, outcomes: "Outcomes[Result | SeenPhoto | Written]", *, passes: int = 1
    ) -> "Iterator[Result]":
        """Follow the run: see `Report.through`."""
        return self._report.follow(self.plan, outcomes, self._stop, passes=passes)
