"""Where what a command makes goes: a picture a photo, or one for all; stdout only where that makes sense."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cratecli.cli.options import stdin_bytes, stdout_is_terminal
from cratecli.errors import UsageError

if TYPE_CHECKING:
    from cratecli.tasks.batch import Job

STDOUT = "-"


def one_each(inputs: Sequence[str], output: str | None, kind: str, *, records: bool) -> "list[Job]":
    """Pair inputs with outputs; stdout takes one picture, or records, if it is no terminal.

    Records of standard input alone write no picture: there is no name for it.
    """
    from cratecli.tasks.batch import plan

    _refuse_stdout(output, records=records)
    piped = output is None and (list(inputs) == ["-"] if records else stdout_is_terminal() is False)
    to_stdout = piped or output == STDOUT
    jobs = plan(inputs, None if output == STDOUT else output, kind, to_stdout=to_stdout)
    if output == STDOUT and any(job.target for job in jobs):
        raise UsageError("a folder's pictures, or several, cannot share stdout: give -o FOLDER")
    return jobs


def one_for_all(
    inputs: Sequence[str], output: str | None, kind: str, *, records: bool, ending: str = "png"
) -> "tuple[list[Job], Path | None, bool]":
    """Plan one file for all inputs: the jobs, its path, and whether it is made at all.

    No path is stdout. Where records are asked for, it is made only if it was given a name.
    """
    from cratecli.tasks.batch import plan_one

    _refuse_stdout(output, records=records, picture=ending == "png")
    piped = output is None and stdout_is_terminal() is False
    to_stdout = piped or output == STDOUT
    jobs, target = plan_one(
        inputs, None if output == STDOUT else output, kind, to_stdout=to_stdout, ending=ending
    )
    return jobs, target, output is not None or not records


def stdin_for(jobs: "Sequence[Job]") -> bytes:
    """Read stdin if a job wants it."""
    return stdin_bytes() if any(job.source is None for job in jobs) else b""


def _refuse_stdout(output: str | None, *, records: bool, picture: bool = True) -> None:
    if output == STDOUT and records:
        raise UsageError("stdout takes the picture or the records, not both: give -o FILE")
    if output == STDOUT and stdout_is_terminal() and picture:
        raise UsageError("no picture goes to a terminal: give -o FILE, or a pipe")
