"""Where outputs go: a picture a photo, or one file for all; stdout only where that makes sense."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from cratecli.cli.console import stdout_is_terminal
from cratecli.errors import UsageError
from cratecli.io.formats import ArrayEnding, array_ending_of

if TYPE_CHECKING:
    from cratecli.runs.outputs import Outputs

STDOUT = "-"


def one_each(
    output: str | None, kind: str, *, records: bool, piped: bool = False, ending: str = "png"
) -> "Outputs":
    """Ask for a file a photo; stdout takes one picture, or records, if it is no terminal.

    Records of standard input alone, which is `piped`, write no picture: there is no name for it.
    """
    from cratecli.runs.outputs import Outputs

    _refuse_stdout(output, records=records)
    unnamed = output is None and (piped if records else stdout_is_terminal() is False)
    to_stdout = output == STDOUT
    named = None if to_stdout else output
    return Outputs(named, kind, ending=ending, to_stdout=unnamed or to_stdout, only_stdout=to_stdout)


def one_for_all(
    output: str | None, kind: str, *, records: bool, ending: str = "png"
) -> "tuple[Outputs, bool]":
    """Ask for one file for all inputs, and tell whether it is made at all.

    No path is stdout. Where records are asked for, it is made only if it was given a name.
    """
    from cratecli.runs.outputs import Outputs

    _refuse_stdout(output, records=records, picture=ending != "json")
    to_stdout = output == STDOUT or (output is None and stdout_is_terminal() is False)
    named = None if output == STDOUT else output
    return Outputs(named, kind, "one", ending, to_stdout), output is not None or not records


def sheet_or_arrays(
    output: str | None, asked: Literal["sheet", ArrayEnding] | None, *, resume: bool
) -> Literal["sheet", ArrayEnding]:
    """Settle whether a sheet of all photos is written, or arrays of each, as asked or as the output's name ends.

    Raises `UsageError` for a sheet that is to be resumed.
    """
    kind = asked or (array_ending_of(output or "") or "sheet")
    if resume and kind == "sheet":
        raise UsageError("--resume is of a file a photo, and a sheet is one of all: give --as npz")
    return kind


def wants_combined(output: str | None) -> bool:
    """Tell whether an output's name asks for a COCO file."""
    return output is not None and Path(output).suffix.lower() == ".json"


def _refuse_stdout(output: str | None, *, records: bool, picture: bool = True) -> None:
    if output == STDOUT and records:
        raise UsageError("stdout takes the picture or the records, not both: give -o FILE")
    if output == STDOUT and stdout_is_terminal() and picture:
        raise UsageError("no picture goes to a terminal: give -o FILE, or a pipe")
