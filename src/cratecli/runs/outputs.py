"""What a run should write, and the plan of the whole run: inputs paired with outputs, beside those that are there."""

import os
from collections.abc import Container, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from cratecli.errors import InputError, NothingMatchedError, OutputError, UsageError
from cratecli.io import images
from cratecli.io.sources.entry import Entry, failing
from cratecli.io.urls import shown
from cratecli.runs.inputs import Inputs
from cratecli.runs.jobs import Failure, Job
from cratecli.runs.obstacles import Disk
from cratecli.runs.parts_plan import plan_parts
from cratecli.runs.plan import plan, plan_one
from cratecli.runs.planned import Plan
from cratecli.runs.streams import Stream


@dataclass(frozen=True)
class Outputs:
    """What a run should write: a file `each`, `one` for all photos, or the folder of `parts`, and where.

    `named` is the path that the user gave; without one, names are made with `kind`, or it is standard output if
    `to_stdout`. With `only_stdout` there is no other place, with `records` photos without a name are not drawn.
    `exists`, `resume` and `prune` say what becomes of outputs that are there; without, they are overwritten, but for
    those that were changed since they were made. A vocabulary of parts goes to `save`. What is `streamed` may come from
    shards and tables, and go to a URL.
    """

    named: str | None
    kind: str
    form: Literal["each", "one", "parts"] = "each"
    ending: str = "png"
    to_stdout: bool = False
    only_stdout: bool = False
    records: bool = False
    exists: Literal["overwrite", "skip", "error"] | None = None
    resume: bool = False
    prune: bool = False
    save: Path | None = None
    streamed: bool = False


def plan_run(inputs: Inputs, outputs: Outputs) -> Plan:
    """Plan a run: pair inputs with outputs, and settle what becomes of those that are there.

    Photos whose output cannot be written as things stand fail before the first is. Raises what `plan`, `plan_one` and
    `plan_parts` raise, `UsageError` for outputs that are there and must not be, and `OutputError` for a file of the
    whole run that cannot be written.
    """
    try:
        planned = _paired(inputs, outputs)
    except NothingMatchedError as error:
        if not outputs.prune:
            raise
        away = "so nothing is pruned: the disk may be away, else delete the outputs yourself"
        raise NothingMatchedError(f"{error}; {away}") from None
    if planned.streams and not outputs.streamed:
        name = planned.streams[0].name
        raise UsageError(
            f"{name}: shards and tables are read by segment, objects and parts: unpack it for other commands"
        )
    if planned.destination is not None and not outputs.streamed:
        raise UsageError(
            f"{shown(outputs.named or '')}: URLs cannot be written yet: give a path, and upload it"
        )
    if outputs.only_stdout and planned.streams:
        raise UsageError("the photos of shards and tables go to a folder, or to one file: give -o")
    if outputs.only_stdout and any(job.target for job in planned.jobs):
        raise UsageError("a folder's pictures, or several, cannot share stdout: give -o FOLDER")
    settled = _beside_existing(_set_apart(replace(planned, inputs=inputs)), outputs)
    if missing := _missing(settled.jobs):
        settled = replace(settled, jobs=(), failed=(*settled.failed, *missing))
    if not settled.jobs and settled.streams and all(each.is_missing for each in settled.streams):
        absent = map(_absent, settled.streams)
        settled = replace(settled, streams=(), failed=(*settled.failed, *absent))
    return replace(settled, inputs=inputs)


def _absent(stream: Stream) -> Failure:
    """Say of a source of many photos that it is missing."""
    reason = InputError(f"{stream.name}: no such file")
    return Failure(Job(None, None, entry=Entry(stream.name, "", failing(reason), title=stream.title)), reason)


def _paired(inputs: Inputs, outputs: Outputs) -> Plan:
    """Pair inputs with outputs. Raises what `plan`, `plan_one` and `plan_parts` raise."""
    if outputs.form == "parts":
        return plan_parts(inputs, outputs.named, outputs.kind, outputs.save, outputs.ending)
    to_stdout, ending = outputs.to_stdout, outputs.ending
    if outputs.form == "one":
        return plan_one(inputs, outputs.named, outputs.kind, to_stdout=to_stdout, ending=ending)
    records = outputs.records
    return plan(inputs, outputs.named, outputs.kind, to_stdout=to_stdout, records=records, ending=ending)


def _set_apart(plan: Plan) -> Plan:
    """Set apart the photos whose output cannot be written. Raises `OutputError` for a file of the whole run."""
    if plan.destination is not None:
        return plan
    disk, jobs, failed = Disk(), list[Job](), list[Failure]()
    disk.refuse(plan.whole, regular=False)
    folders = {file.parent for job in plan.jobs for file in plan.files(job)}
    folders |= {above for folder in folders for above in folder.parents}
    for job in plan.jobs:
        files = plan.files(job)
        try:
            disk.refuse(files, regular=plan.place is not None)
            _refuse_within(files, plan.manifest, folders)
        except OutputError as error:
            failed.append(next(iter(_missing([job])), Failure(job, error)))
        else:
            jobs.append(job)
    return replace(plan, jobs=tuple(jobs), failed=tuple(failed))


def _refuse_within(files: Sequence[Path], manifest: Path | None, folders: Container[Path]) -> None:
    """Raise `OutputError` for an output that other outputs, or the manifest, leave no place for."""
    for file in files:
        if file in folders:
            raise OutputError(
                f"{file}: cannot be written: a folder of other outputs has this name", alone=True
            )
        if manifest in (file, *file.parents):
            raise OutputError(f"{file}: cannot be written: the run's manifest has this name", alone=True)


def _beside_existing(plan: Plan, outputs: Outputs) -> Plan:
    """Leave out photos whose output is there, to skip them. Raises `UsageError` where that is an error."""
    overwrite = outputs.exists == "overwrite"
    plan = replace(plan, resume=outputs.resume, prune=outputs.prune, overwrite=overwrite)
    if plan.manifest is None and (outputs.resume or outputs.prune):
        flag = "--resume" if outputs.resume else "--prune"
        raise UsageError(f"{flag} goes by the manifest in an output folder: give -o FOLDER")
    if outputs.exists in (None, "overwrite"):
        return plan
    if plan.streams:
        raise UsageError(
            f"--exists {outputs.exists} looks for outputs beforehand, and what is in {plan.streams[0].name} is known "
            "once it is read: give --resume"
        )
    place = plan.place if plan.destination else None
    stored = {job.output for job in plan.jobs} & _stored(plan) if place else set[str | None]()
    there = {
        job
        for job in plan.jobs
        if job.target is not None and (job.output in stored if place else os.path.lexists(job.target))
    }
    single = plan.target is not None and os.path.lexists(plan.target)
    if outputs.exists == "error" and (there or single):
        name = plan.target if single else next(job.target for job in plan.jobs if job in there)
        raise UsageError(f"{name} is there already: nothing was written")
    left = () if single else tuple(job for job in plan.jobs if job not in there)
    return replace(plan, jobs=left, skipped=len(plan.jobs) - len(left))


def _stored(plan: Plan) -> set[str | None]:
    """List the outputs that are at a plan's destination. Raises `InputError`."""
    destination = plan.destination
    return set() if destination is None else {destination.at(each) for each in destination.there()}


def _missing(jobs: Sequence[Job]) -> tuple[Failure, ...]:
    """Say of every photo that it is missing, unless one is there."""
    failures = []
    for job in jobs:
        if job.source is None:  # stdin is there; of others it is known once they are read
            return ()
        try:
            images.refuse_missing(job.source, job.name)
        except InputError as error:
            failures.append(Failure(job, error))
        else:
            return ()
    return tuple(failures)
