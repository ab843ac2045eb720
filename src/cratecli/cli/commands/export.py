"""`crate export`: a finished run in the annotation formats of other tools. Imports no torch."""

import math
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cratecli.cli import options
from cratecli.cli.console import printable, put, stdout_is_terminal
from cratecli.cli.outputs import STDOUT
from cratecli.cli.report import Report
from cratecli.errors import UsageError
from cratecli.io.formats import FormatName, PhotosBeside

if TYPE_CHECKING:
    from cratecli.handover.export import Exported
    from cratecli.io.formats.table import Format

WORST = 10  # photos in the table of lowest IoU


def export(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="A run's output folder, or the manifest.jsonl in it.")
    ],
    *,
    as_: Annotated[FormatName, typer.Option("--as", help="The format of the files.")],
    output: Annotated[
        str | None,
        typer.Option(
            "-o",
            "--output",
            metavar="PATH",
            help="The file, or the folder for formats with one file for each photo; `-` is stdout.",
        ),
    ] = None,
    photos: Annotated[
        PhotosBeside | None,
        typer.Option(
            help="For `yolo`: photos beside the labels, as links, as copies, or not; link unless said."
        ),
    ] = None,
    json_: options.Json = False,
    jsonl: options.JsonLines = False,
    quiet: options.Quiet = False,
) -> None:
    """Export a finished run to an annotation format, decode the files again, and report their IoU with the run.

    One file for all photos goes to -o FILE, to a pipe, or to ./RUN-FORMAT.ENDING; one file for each photo goes to
    -o FOLDER or ./RUN-FORMAT/, in the tree of the run's outputs. `cutout` and `overlay` read the photos again, which
    must be unchanged.
    """
    report = Report(json_=json_, jsonl=jsonl, quiet=quiet)

    from cratecli.handover import export as task
    from cratecli.handover.finished_run import read_run
    from cratecli.io.formats.table import FORMATS, OneFile
    from cratecli.runs.jobs import Failure
    from cratecli.runs.provenance import exported

    form = FORMATS[as_]
    together = isinstance(form, OneFile)
    if photos is not None and (isinstance(form, OneFile) or not form.photos):
        raise UsageError(f"--photos is for yolo, whose labels lie beside the photos; {as_} needs none")
    target = _target(form, run, as_, output, records=report.records)
    done: list[Exported] = []
    with report:
        finished = read_run(run)
        finished = replace(
            finished, info={**finished.info, "crate": exported(as_, finished.manifest, target)}
        )
        for outcome in task.export(
            finished, form, target, lambda chunk: put([chunk]), photos=photos or "link"
        ):
            if isinstance(outcome, Failure):
                report.fail(outcome)
                continue
            done.append(outcome)
            record = outcome.record
            own = [] if together else [outcome.target, outcome.beside]
            report.done(record, *(str(path) for path in own if path is not None))
        if target is not None:
            beside = task.beside_path(form, target)
            report.wrote(*([str(target)] if together else []), *([] if beside is None else [str(beside)]))
        if not quiet:
            _sum_up([(each.photo.shown, each.iou) for each in done], report)


def _target(form: "Format", run: Path, kind: str, output: str | None, *, records: bool) -> Path | None:
    """Choose the output path; `None` is standard output. Raises `UsageError`."""
    from cratecli.io.formats.table import OneFile

    home = (run if run.is_dir() else run.parent).resolve()
    name = f"{home.name or 'run'}-{kind}"
    if output == "":
        raise UsageError("a path is empty")
    if not isinstance(form, OneFile):
        if output == STDOUT:
            raise UsageError(
                f"{kind} writes one file for each photo, which cannot share stdout: give -o FOLDER"
            )
        folder = Path(name if output is None else output)
        if folder.exists() and not folder.is_dir():
            raise UsageError(f"{folder} is a file, and {kind} writes one file for each photo: give a folder")
        return folder
    file = f"{name}.{form.ending}"
    if output is None:
        return None if stdout_is_terminal() is False and not records else Path(file)
    if output == STDOUT:
        if records:
            raise UsageError("stdout takes the file or the records, not both: give -o FILE")
        if form.ending == "zip" and stdout_is_terminal():
            raise UsageError("no zip goes to a terminal: give -o FILE, or a pipe")
        return None
    if output.endswith(("/", os.sep)) or Path(output).is_dir():
        return Path(output) / file
    target = Path(output)
    if target.suffix.lower() != f".{form.ending}":
        raise UsageError(f"{target}: {kind} is {form.ending.upper()}: let the name end with .{form.ending}")
    if target.exists() and not target.is_file():
        raise UsageError(f"{target}: not a file, so it cannot be read again")
    return target


def _sum_up(outcomes: list[tuple[str, float | None]], report: Report) -> None:
    """Print the photos with the lowest IoU, its mean and its minimum."""
    measured = sorted((iou, name) for name, iou in outcomes if iou is not None)
    photos = f"{len(outcomes)} photo{'s' if len(outcomes) > 1 else ''} exported"
    if not measured:
        if outcomes:
            report.note(f"{photos}; pictures to look at have no IoU")
        return
    lowest, name = measured[0]
    if lowest == 1:
        report.note(f"{photos} and read again: nothing is lost, IoU 1")
        return
    _show([each for each in measured if each[0] < 1][:WORST])
    mean = _short(sum(iou for iou, _ in measured) / len(measured))
    report.note(f"{photos} and read again: IoU mean {mean}, lowest {_short(lowest)} ({name})")


def _short(iou: float) -> str:
    """Write four digits, rounded down, so that only a perfect IoU reads 1."""
    return f"{math.floor(iou * 10_000) / 10_000:.4f}"


def _show(rows: list[tuple[float, str]]) -> None:
    """Print the table of IoU on stderr; a closed stderr is no error."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("IoU", justify="right")
    table.add_column("photo", overflow="fold")
    for iou, name in rows:
        table.add_row(_short(iou), Text(printable(name)))
    try:
        Console(file=sys.stderr).print(table)
    except (OSError, ValueError, AttributeError):
        return
