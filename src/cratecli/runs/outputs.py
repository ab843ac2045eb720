"""What a run should write, and the plan of the whole run: inputs paired with outputs, beside those that are there."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from cratecli.errors import InputError, UsageError
from cratecli.io import images
from cratecli.runs.inputs import Inputs
from cratecli.runs.jobs import Failure, Job
from cratecli.runs.plan import Plan, plan, plan_one, plan_parts


@dataclass(frozen=True)
class Outputs:
    """What a run should write: a file `each`, `one` for all photos, or the folder of `parts`, and where.

    `named` is the path that the user gave; without one, names are made with `kind`, or it is standard output if
    `to_stdout`. With `only_stdout` there is no other place. `exists` and `resume` say what becomes of outputs that are
    there; a vocabulary of parts goes to `save`.
    """

    named: str | None
    kind: str
    form: Literal["each", "one", "parts"] = "each"
    ending: str = "png"
    to_stdout: bool = False
    only_stdout: bool = False
    exists: Literal["overwrite", "skip", "error"] = "overwrite"
    resume: bool = False
    save: Path | None = None


def plan_run(inputs: Inputs, outputs: Outputs) -> Plan:
    """Plan a run: pair inputs with outputs, and settle what becomes of those that are there.

    Raises what `plan`, `plan_one` and `plan_parts` raise, and `UsageError` for outputs that are there and must not be.
    """
    if outputs.form == "parts":
        planned = plan_parts(inputs, outputs.named, outputs.kind, outputs.save, outputs.ending)
    elif outputs.form == "one":
        planned = plan_one(
            inputs, outputs.named, outputs.kind, to_stdout=outputs.to_stdout, ending=outputs.ending
        )
    else:
        planned = plan(
            inputs, outputs.named, outputs.kind, to_stdout=outputs.to_stdout, ending=outputs.ending
        )
    if outputs.only_stdout and any(job.target for job in planned.jobs):
        raise UsageError("a folder's pictures, or several, cannot share stdout: give -o FOLDER")
    settled = _beside_existing(planned, outputs)
    return replace(settled, inputs=inputs, missing=_missing(settled.jobs))


def _beside_existing(plan: Plan, outputs: Outputs) -> Plan:
    """Leave out photos whose output is there, to skip them. Raises `UsageError` where that is an error."""
    if outputs.resume and plan.manifest is None:
        raise UsageError("--resume goes by the manifest in an output folder: give -o FOLDER")
    plan = replace(plan, resume=outputs.resume)
    if outputs.exists == "overwrite":
        return plan
    there = {job for job in plan.jobs if job.target is not None and os.path.lexists(job.target)}
    single = plan.target is not None and os.path.lexists(plan.target)
    if outputs.exists == "error" and (there or single):
        name = plan.target if single else next(job.target for job in plan.jobs if job in there)
        raise UsageError(f"{name} is there already: nothing was written")
    left = () if single else tuple(job for job in plan.jobs if job not in there)
    return replace(plan, jobs=left, skipped=len(plan.jobs) - len(left))


def _missing(jobs: Sequence[Job]) -> tuple[Failure, ...]:
    """Say of every photo that it is missing, unless one is there."""
    failures = []
    for job in jobs:
        if job.source is None:
            return ()
        try:
            images.refuse_missing(job.source, job.name)
        except InputError as error:
            failures.append(Failure(job, error))
        else:
            return ()
    return tuple(failures)
