"""Where outputs go: a picture a photo, or one file for all; stdout only where that makes sense."""

from pathlib import Path
from typing import TYPE_CHECKING

from cratecli.cli.console import stdout_is_terminal
from cratecli.errors import UsageError
from cratecli.tasks.options import COMBINED

if TYPE_CHECKING:
    from cratecli.runs.inputs import Inputs
    from cratecli.runs.plan import Plan

STDOUT = "-"


def one_each(inputs: "Inputs", output: str | None, kind: str, *, records: bool) -> "Plan":
    """Pair inputs with outputs; stdout takes one picture, or records, if it is no terminal.

    Records of standard input alone write no picture: there is no name for it.
    """
    from cratecli.runs.plan import plan

    _refuse_stdout(output, records=records)
    piped = output is None and (inputs.named == ("-",) if records else stdout_is_terminal() is False)
    to_stdout = piped or output == STDOUT
    planned = plan(inputs, None if output == STDOUT else output, kind, to_stdout=to_stdout)
    if output == STDOUT and any(job.target for job in planned.jobs):
        raise UsageError("a folder's pictures, or several, cannot share stdout: give -o FOLDER")
    return planned


def one_for_all(
    inputs: "Inputs", output: str | None, kind: str, *, records: bool, ending: str = "png"
) -> "tuple[Plan, bool]":
    """Plan one file for all inputs, and tell whether it is made at all.

    No path is stdout. Where records are asked for, it is made only if it was given a name.
    """
    from cratecli.runs.plan import plan_one

    _refuse_stdout(output, records=records, picture=ending == "png")
    piped = output is None and stdout_is_terminal() is False
    to_stdout = piped or output == STDOUT
    planned = plan_one(inputs, None if output == STDOUT else output, kind, to_stdout=to_stdout, ending=ending)
    return planned, output is not None or not records


def each_or_combined(
    inputs: "Inputs", output: str | None, kind: str, *, each: str, all_: str, records: bool
) -> "tuple[Plan, bool]":
    """Plan a picture for `each` photo, or where the kind is one file for all photos, one named after `all_`.

    Tells whether anything is made at all: see `one_for_all`.
    """
    if kind in COMBINED:
        return one_for_all(inputs, output, all_, records=records, ending="json")
    return one_each(inputs, output, each, records=records), True


def wants_combined(output: str | None) -> bool:
    """Tell whether an output's name asks for a COCO file."""
    return output is not None and Path(output).suffix.lower() == ".json"


def _refuse_stdout(output: str | None, *, records: bool, picture: bool = True) -> None:
    if output == STDOUT and records:
        raise UsageError("stdout takes the picture or the records, not both: give -o FILE")
    if output == STDOUT and stdout_is_terminal() and picture:
        raise UsageError("no picture goes to a terminal: give -o FILE, or a pipe")
