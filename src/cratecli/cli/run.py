"""What every command over photos shares: which photos, how it runs, and how the run is followed."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, NoReturn, TypeVar

import typer

from cratecli.cli import options
from cratecli.cli.console import stdin_bytes
from cratecli.cli.photos import STDIN, PhotoOptions
from cratecli.cli.report import Report
from cratecli.cli.signals import Stop, finishing
from cratecli.cli.spreading import Spreading
from cratecli.wording import count_of

if TYPE_CHECKING:
    from cratecli.model.engine import Model
    from cratecli.model.unroll import WhiteBox
    from cratecli.runs.batch import Outcomes
    from cratecli.runs.carrier import Carrier
    from cratecli.runs.desk import Desk
    from cratecli.runs.jobs import SeenPhoto
    from cratecli.runs.outputs import Outputs
    from cratecli.runs.planned import Plan
    from cratecli.runs.portions import Written
    from cratecli.weights.loading import EngineChoice

Result = TypeVar("Result")

MOST_TOLD = 20
"""Failures, and notes, of a run on a cluster that are told one by one: of millions of photos, thousands may fail."""


def _piped(most: int) -> list[bytes]:
    """Read the photos on stdin, `most` bytes and one more, past which nothing is decoded. Raises `InputError`."""
    from cratecli.io.stream import split_images

    content = stdin_bytes(most)
    return split_images(content) if len(content) <= most else [content]


@dataclass(frozen=True)
class Running:
    """How a run goes, and what is printed of it."""

    PANEL: ClassVar = "How it runs, and what is printed"

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
        """Choose what goes to stdout and stderr. Raises `UsageError`."""
        return Report(
            json_=self.json_,
            jsonl=self.jsonl,
            quiet=self.quiet,
            progress=not self.no_progress,
            fail_fast=self.fail_fast,
        )

    def load(self) -> "WhiteBox":
        """Load the model for torch. Raises what `load_model` raises."""
        from cratecli.weights.checkpoint import load_model

        return load_model(self.model, device=self.device, dtype=self.dtype)

    def load_either(self, engine: "EngineChoice", plan: "Plan") -> "Model":
        """Load the model for an engine; see `load_for`. Raises what `loading.load` raises."""
        from cratecli.runs.engines import load_for

        return load_for(plan, self.model, engine=engine, device=self.device, dtype=self.dtype)


@dataclass(frozen=True)
class Writing:
    """What becomes of outputs that are there."""

    PANEL: ClassVar = "Outputs that are there"

    exists: options.Exists = None
    resume: options.Resume = False
    prune: options.Prune = False


class Run:
    """One run of a command over photos: its plan, settled before any model is loaded, and its last word."""

    def __init__(
        self,
        photos: PhotoOptions,
        outputs: "Outputs",
        running: Running,
        report: Report,
        writing: Writing | None = None,
        *,
        spreading: Spreading | None = None,
    ) -> None:
        """Plan it. Raises `UsageError` for outputs that must not be, or what makes no sense on a cluster.

        Ends the program for --dry-run, which prints the plan, and where no photo is there.
        """
        from cratecli.io.images import BYTES_A_PIXEL
        from cratecli.io.opening import MAX_PIXELS
        from cratecli.runs.inputs import name_some
        from cratecli.runs.outputs import plan_run

        self._resumable = writing is not None
        writing = writing or Writing()
        self._running, self._report, self._stop = running, report, Stop()
        self._spreading = spreading or Spreading()
        self._carrier: Carrier | None = None
        report.most_told = None if self._spreading.on is None else MOST_TOLD
        report.unasked = outputs.to_stdout and not outputs.only_stdout
        inputs = photos.inputs()
        self._spreading.refuse(running.device, running.features_cache, piped=STDIN in inputs.loose)
        most = BYTES_A_PIXEL * (running.max_pixels or MAX_PIXELS)
        self._stdin = _piped(most) if STDIN in inputs.loose and not running.dry_run else [b""]
        inputs = replace(inputs, piped=len(self._stdin))
        prune = writing.prune or outputs.prune
        outputs = replace(outputs, exists=writing.exists, resume=writing.resume, prune=prune)
        self.plan = plan_run(inputs, outputs)
        if passed := self.plan.passed:
            report.note(f"passed over, as crate made it: {name_some(passed)}; name a file to have it read")
        if self.plan.skipped:
            report.note(f"{count_of(self.plan.skipped, 'photo', ('has', 'have'))} an output already: skipped")
        if len(self._stdin) > 1 and any(job.piped and not job.number for job in self.plan.jobs):
            report.note(
                f"standard input: holds {len(self._stdin)} photos; the first is used: "
                "-o DIR/ or --jsonl takes them all"
            )
        if running.dry_run:
            self._rehearse()
        if self.plan.failed and not self.plan.jobs and not self.plan.streams:
            with report:
                self._tell_failed()
            raise typer.Exit(1)

    def _tell_failed(self) -> None:
        """Tell of the photos that failed before the run began."""
        for failure in self.plan.failed:
            self._report.fail(failure)

    def _rehearse(self) -> NoReturn:
        """Print which photo would go where: a tab between, or as records."""
        from cratecli.runs.records import PlannedRecord

        with self._report:
            for job in self.plan.jobs:
                source, name = "-" if job.piped else job.name, job.output or self._shared
                self._report.done(PlannedRecord(input=source, output=name), f"{source}\t{name}")
            for stream in self.plan.streams:
                name = stream.output or self._shared
                self._report.done(PlannedRecord(input=stream.name, output=name), f"{stream.name}\t{name}")
            self._tell_failed()
            self._tell_gone()
        raise typer.Exit

    @property
    def _shared(self) -> str:
        """Name the one file of all photos: `-` is stdout."""
        plan = self.plan
        if plan.target is None:
            return "-"
        return str(plan.target) if plan.destination is None else plan.destination.at("")

    def _tell_gone(self) -> None:
        """Say which photos are no longer there, and what pruning would remove of them."""
        from cratecli.runs.gone import AWAY, look_for_gone
        from cratecli.runs.inputs import name_some

        plan, note = self.plan, self._report.note
        if plan.resume:
            note("--resume: photos that are done are listed too: which they are is known once they are read")
        if plan.manifest is None or plan.inputs is None:
            return
        written = [path for job in plan.jobs if (path := job.target or job.source) is not None]
        gone = look_for_gone(plan.manifest, written, plan.inputs.folders)
        if gone.photos:
            note(f"no longer there: {name_some(gone.photos)}")
        if gone.away:
            note(AWAY.format(name_some(gone.away)))
        for path in gone.written if plan.prune else ():
            note(f"would be removed: {path}")
        for path, reason in gone.kept if plan.prune else ():
            note(f"would be kept, as it {reason}: {path}")

    @contextmanager
    def model(self, engine: "EngineChoice") -> "Iterator[Model]":
        """Load the model here, or on the cluster that the run is spread over. Raises what `loading.load` raises."""
        from cratecli.runs.engines import engine_for

        running = self._running
        if self._spreading.on is None:
            yield running.load_either(engine, self.plan)
            return
        how = (running.model, running.device, running.dtype)
        chosen = engine_for(self.plan, running.model, engine, running.device, running.dtype)
        with self._spreading.reached(self.plan, chosen, *how, note=self._report.note) as (
            model,
            self._carrier,
        ):
            yield model

    @contextmanager
    def desk(self, model: "Model") -> "Iterator[Desk]":
        """Listen for signals, and give what the engine works with."""
        from cratecli.io.opening import MAX_PIXELS
        from cratecli.runs.cache import FeatureCache
        from cratecli.runs.desk import Desk

        running = self._running
        with self._report, finishing(self._stop):
            self._tell_failed()
            yield Desk(
                model,
                running.batch_size,
                FeatureCache(running.features_cache, model) if running.features_cache else None,
                stdin=self._stdin,
                max_pixels=running.max_pixels or MAX_PIXELS,
                stopping=self._stop,
                note=self._report.note,
                carrier=self._carrier,
            )

    def follow(
        self, outcomes: "Outcomes[Result | SeenPhoto | Written]", *, passes: int = 1
    ) -> "Iterator[Result]":
        """Follow the run: see `Report.through`."""
        return self._report.follow(
            self.plan,
            outcomes,
            self._stop,
            resumable=self._resumable and self.plan.manifest is not None,
            passes=passes,
        )
