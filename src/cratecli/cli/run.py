"""What every command over photos shares: which photos, on what they run, where outputs go, how it is told."""

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, TypeVar

from cratecli.cli import options
from cratecli.cli.console import stdin_bytes
from cratecli.cli.report import Report
from cratecli.cli.signals import finishing
from cratecli.errors import InputError, OutputError, UsageError

if TYPE_CHECKING:
    from cratecli.io.formats.record import Annotated
    from cratecli.model.unroll import WhiteBox
    from cratecli.runs.batch import Desk, Outcomes
    from cratecli.runs.inputs import Inputs
    from cratecli.runs.jobs import Job
    from cratecli.runs.ledger import Ledger
    from cratecli.runs.plan import Plan
    from cratecli.runs.provenance import Provenance, Setting

Result = TypeVar("Result")

STDIN = "-"


@dataclass(frozen=True)
class Photos:
    """Which photos."""

    PANEL: ClassVar = "Which photos"

    photos: options.Photos = None
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

    @property
    def settings(self) -> "dict[str, Setting]":
        """Say in the command line's words what else than names chose the photos."""
        told = {
            "recursive": self.recursive,
            "include": self.include,
            "exclude": self.exclude,
            "files-from": self.files_from,
            "null": self.null,
        }
        return {name: value for name, value in told.items() if value}

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

    @property
    def settings(self) -> "dict[str, Setting]":
        """Say in the command line's words what else decides the outcome."""
        return {} if self.max_pixels is None else {"max-pixels": str(self.max_pixels)}

    def load(self) -> "WhiteBox":
        """Load the model. Raises what `load_model` raises."""
        from cratecli.weights.checkpoint import load_model

        return load_model(self.model, device=self.device, dtype=self.dtype)


@dataclass(frozen=True)
class Writing:
    """What becomes of outputs that are there."""

    PANEL: ClassVar = "Outputs that are there"

    exists: options.Exists = "overwrite"
    resume: options.Resume = False


class Run:
    """One run of a command, from its plan to its last word."""

    def __init__(
        self, plan: "Plan", running: Running, report: Report, writing: Writing | None = None
    ) -> None:
        """Look at what is there. Raises `UsageError` for outputs that must not be."""
        from cratecli.runs.plan import without_existing

        self.report, self._running, self._writing = report, running, writing or Writing()
        self._found: dict[Job, Annotated] = {}
        self._before: set[Job] = set()
        self._ledger: Ledger | None = None
        self.plan = without_existing(plan, self._writing.exists)
        report.order = {job.name: index for index, job in enumerate(plan.jobs)}
        if self._writing.resume and plan.manifest is None:
            raise UsageError("--resume goes by the manifest in an output folder: give -o FOLDER")
        if len(plan.jobs) > len(self.plan.jobs):
            report.note(f"{len(plan.jobs) - len(self.plan.jobs)} photos have an output already: skipped")

    def over(self) -> bool:
        """Tell whether that was all, with no model needed: --dry-run prints its plan, or no photo is there."""
        return self._rehearsed() or self._missing()

    def _rehearsed(self) -> bool:
        """With --dry-run, print which photo would go where: a tab between, or as records."""
        if not self._running.dry_run:
            return False
        for job in self.plan.jobs:
            target = self.plan.target if job.target is None else job.target
            name = "-" if target is None else str(target)
            record = {"input": "-" if job.source is None else str(job.source), "output": name}
            self.report.done(record, f"{record['input']}\t{name}")
        with self.report:
            return True

    def _missing(self) -> bool:
        """Say of every photo that it is missing, unless one is there."""
        from cratecli.io.images import refuse_missing
        from cratecli.runs.jobs import Failure

        failures = []
        for job in self.plan.jobs:
            if job.source is None:
                return False
            try:
                refuse_missing(job.source, job.name)
            except InputError as error:
                failures.append(Failure(job, error))
            else:
                return False
        if not failures:
            return False
        with self.report, finishing() as stop:
            for _ in self.report.through((each for each in failures), len(failures), stop):
                pass
        return True

    @contextmanager
    def desk(
        self, model: "WhiteBox", made: "Provenance | None" = None, *, shared: bool = True
    ) -> "Iterator[Desk]":
        """Make ready, listen for signals, and with `made` keep a manifest, where there is a place for one.

        Raises `OutputError` where another process is at work on it and photos cannot be `shared`.
        """
        from cratecli.io.opening import MAX_PIXELS
        from cratecli.runs.batch import Desk
        from cratecli.runs.cache import FeatureCache
        from cratecli.runs.ledger import Ledger

        running = self._running
        most = running.max_pixels or MAX_PIXELS
        desk = Desk(
            model,
            running.batch_size,
            FeatureCache(running.features_cache, model) if running.features_cache else None,
            stdin=self._stdin(most),
            max_pixels=most,
            note=self.report.note,
        )
        with self.report, finishing() as self._stop:
            desk.stopping = self._stop
            if self.plan.manifest is None or made is None:
                yield desk
                return
            with Ledger(self.plan.manifest, made) as ledger:
                if ledger.open(self.plan.jobs, resume=self._writing.resume, also=self.plan.also):
                    told = f"another crate is at work on {self.plan.manifest}"
                    if not shared:
                        raise OutputError(f"{told}: wait for it, or give another folder")
                    self.report.note(f"{told}: sharing the photos")
                desk.ledger = self._ledger = ledger
                yield desk

    def keep(self, job: "Job", annotated: "Annotated") -> None:
        """Remember what was found, where one file stands for all."""
        if self.plan.jobs[0].target is None:
            self._found[job] = annotated

    def kept(self) -> "list[Annotated]":
        """Give what was found in all photos, in their order, also by runs before this one."""
        found = []
        for job in dict.fromkeys(self.plan.jobs):
            row = self._ledger.row(job) if self._ledger and job in self._before else None
            if annotated := row.annotated if row else self._found.get(job):
                found.append(replace(annotated, name=job.name))
        return found

    def _stdin(self, max_pixels: int) -> bytes:
        """Read what the photo on standard input, if there is one, can have of bytes, and no more."""
        from cratecli.io.images import BYTES_A_PIXEL

        if all(job.source is not None for job in self.plan.jobs):
            return b""
        return stdin_bytes(BYTES_A_PIXEL * max_pixels)

    def through(self, outcomes: "Outcomes[Result]") -> Iterator[Result]:
        """Follow the run: see `Report.through`."""
        return self.report.through(
            self._noting(outcomes), len(self.plan.jobs), self._stop, resumable=self.plan.manifest is not None
        )

    def _noting(self, outcomes: "Outcomes[Result]") -> "Outcomes[Result]":
        """Note which photos were done before."""
        from cratecli.runs.jobs import Skipped

        with closing(outcomes):
            for outcome in outcomes:
                if isinstance(outcome, Skipped):
                    self._before.add(outcome.job)
                yield outcome
