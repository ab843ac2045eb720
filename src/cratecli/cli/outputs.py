"""Where outputs go: a picture a photo, or one file for all; stdout where that is asked for, or is a pipe or a file."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from cratecli.cli.console import stdout_kind
from cratecli.errors import OutputError, UsageError
from cratecli.io.formats import ArrayEnding, array_ending_of

if TYPE_CHECKING:
    from cratecli.runs.outputs import Outputs
    from cratecli.tasks.options import Combined

STDOUT = "-"
_STDOUT_TOO = ("/dev/stdout", "/dev/fd/1", "/proc/self/fd/1")
_STDERR = ("/dev/stderr", "/dev/fd/2", "/proc/self/fd/2")


def one_each(
    output: str | None, kind: str, *, records: bool, piped: bool = False, ending: str = "png"
) -> "Outputs":
    """Ask for a file a photo; stdout takes one picture, or records, if it is a pipe or a file.

    Records of standard input alone, which is `piped`, write no picture: there is no name for it.
    """
    from cratecli.runs.outputs import Outputs

    to_stdout = means_stdout(output)
    if to_stdout:
        _refuse_stdout(records=records)
    unnamed = output is None and (piped if records else stdout_kind() == "data")
    named = None if to_stdout else output
    return Outputs(
        named, kind, ending=ending, to_stdout=unnamed or to_stdout, only_stdout=to_stdout, records=records
    )


def one_for_all(
    output: str | None, kind: str, *, records: bool, ending: str = "png"
) -> "tuple[Outputs, bool]":
    """Ask for one file for all inputs, and tell whether it is made at all.

    Without a name it goes to stdout, if that is a pipe or a file; for records, it is made only if it was given a name.
    """
    from cratecli.runs.outputs import Outputs

    asked = means_stdout(output)
    if asked:
        _refuse_stdout(records=records, picture=ending != "json")
    to_stdout = asked or (output is None and stdout_kind() == "data")
    named = None if asked else output
    return Outputs(named, kind, "one", ending, to_stdout, asked), output is not None or not records


def choose_form(
    output: str | None, asked: Literal["sheet", ArrayEnding] | None, *, resume: bool
) -> Literal["sheet", ArrayEnding]:
    """Settle whether a sheet of all photos is written, or arrays of each, as asked or as the output's name ends.

    Raises `UsageError` for a sheet that is to be resumed.
    """
    kind = asked or (array_ending_of(output or "") or "sheet")
    if resume and kind == "sheet":
        raise UsageError("--resume is of a file a photo, and a sheet is one of all: give --as npz")
    return kind


def sheet_or_arrays(
    output: str | None, name: str, form: Literal["sheet", ArrayEnding], *, records: bool, piped: bool
) -> "tuple[Outputs, bool]":
    """Ask for a sheet of all photos, or arrays of each, called `name`, and tell whether a sheet is made at all."""
    if form == "sheet":
        return one_for_all(output, name, records=records)
    return one_each(output, name, records=records, piped=piped, ending=form), False


def wants_combined(output: str | None) -> "Combined | None":
    """Tell which file for all photos an output's name asks for, if any: a COCO dataset, Parquet or a shard."""
    from cratecli.tasks.options import COMBINED_ENDINGS

    ending = "" if output is None else Path(output).suffix.lower()
    return next((kind for kind, each in COMBINED_ENDINGS.items() if ending == f".{each}"), None)


def means_stdout(output: str | None) -> bool:
    """Tell whether an output is stdout: `-`, or the system's name for it, which would be opened a second time.

    Raises `UsageError` for stderr.
    """
    if output in _STDERR:
        raise UsageError(f"{output}: takes messages, no files: give -o FILE")
    return output == STDOUT or output in _STDOUT_TOO


def _refuse_stdout(*, records: bool, picture: bool = True) -> None:
    if records:
        raise UsageError("stdout takes the picture or the records, not both: give -o FILE")
    if stdout_kind() == "terminal" and picture:
        raise UsageError("no picture goes to a terminal: give -o FILE, or a pipe")
    if stdout_kind() == "closed":
        raise OutputError("standard output: is closed: give -o FILE")
