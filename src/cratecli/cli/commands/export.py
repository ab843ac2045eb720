"""`crate export`: a finished run in the annotation formats of other tools. Imports no torch."""

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from cratecli.cli import options
from cratecli.cli.changed_since import take_edited, tell_failed, tell_gone, tell_leftovers
from cratecli.cli.console import printable, put, stdout_kind
from cratecli.cli.export_summary import sum_up
from cratecli.cli.outputs import means_stdout
from cratecli.cli.report import Report
from cratecli.errors import InputError, UsageError
from cratecli.files import read_text_bytes
from cratecli.io.formats import FORMATS_WITH, FormatName, PhotosBeside
from cratecli.io.urls import is_url, path_of

if TYPE_CHECKING:
    from cratecli.handover.export import Exported
    from cratecli.handover.finished_run import FinishedRun
    from cratecli.io.formats.coco import Ids
    from cratecli.io.formats.table import Format


def export(
    run: Annotated[
        str,
        typer.Argument(
            metavar="RUN",
            help="A run's output folder, the manifest in it, or a .parquet or .tar of it, by URL too.",
        ),
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
    label: Annotated[
        str | None, typer.Option(metavar="NAME", help="The class of all objects, in place of `object`.")
    ] = None,
    label_from: Annotated[
        Literal["folder", "class"] | None,
        typer.Option(
            help="The class of objects is the name of their photo's folder, or what the run's model sees in each."
        ),
    ] = None,
    root: Annotated[
        str | None,
        typer.Option(
            metavar="DIR",
            help="The folder that the names of photos are relative to; the one that was segmented unless said.",
        ),
    ] = None,
    orientation: Annotated[
        Literal["raw"] | None,
        typer.Option(
            help="Coordinates in the frame of the file, for tools that ignore EXIF, not of the upright photo."
        ),
    ] = None,
    ids_from: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="For COCO: ids of images and categories from this instances.json, by file name and class name.",
        ),
    ] = None,
    polygons: Annotated[
        bool, typer.Option("--polygons", help="For `coco`: polygons in place of RLE; they have no holes.")
    ] = False,
    prefix: Annotated[
        str | None,
        typer.Option(
            metavar="PATH",
            help="For `label-studio`: from its document root to the photos; the folder's name unless said.",
        ),
    ] = None,
    edited: Annotated[
        bool,
        typer.Option(
            "--edited",
            help="Take masks from the outputs of `segment` that were changed since they were made: "
            "the upper half of the range is foreground.",
        ),
    ] = False,
    prune: Annotated[
        bool,
        typer.Option(
            "--prune",
            help="Leave out photos that are no longer there, and remove what an earlier export made of them.",
        ),
    ] = False,
    device: options.Device = "auto",
    json_: options.Json = False,
    jsonl: options.JsonLines = False,
    quiet: options.Quiet = False,
) -> None:
    """Export a finished run to an annotation format, decode the files again, and report their IoU with the run.

    One file for all photos goes to -o FILE, to a pipe, or to ./RUN-FORMAT.ENDING; one file for each photo goes to
    -o FOLDER or ./RUN-FORMAT/, in the tree of the run's outputs. `cutout`, `overlay` and `--label-from class` read the
    photos again, which must be unchanged; the last shows them to the model, on --device.
    """
    report = Report(json_=json_, jsonl=jsonl, quiet=quiet)

    from cratecli.handover import export as task
    from cratecli.handover.changes import Changes, changed
    from cratecli.handover.finished_run import read_run
    from cratecli.handover.packed_run import manifest_of
    from cratecli.io.formats.table import FORMATS, OneFile
    from cratecli.runs.jobs import Failure
    from cratecli.runs.provenance import exported

    form = FORMATS[as_]
    _refuse_others(
        as_,
        **{"label": label, "label_from": label_from, "root": root, "orientation": orientation},
        **{"ids_from": ids_from, "polygons": polygons, "prefix": prefix},
    )
    asked = Changes(label=label, label_from=label_from, root=root, orientation=orientation or "upright")
    together = isinstance(form, OneFile)
    if photos is not None and (isinstance(form, OneFile) or not form.photos):
        raise UsageError(f"--photos is for yolo, whose labels lie beside the photos; {as_} needs none")
    target = _target(
        form, Path(path_of(run).name if is_url(run) else run), as_, output, records=report.records
    )
    done: list[Exported] = []
    with report, manifest_of(run) as (manifest, failed):
        finished = read_run(manifest, prune=prune)
        finished = replace(finished, protected=finished.protected | {os.path.realpath(run)})
        tell_failed(run, failed, report)
        tell_gone(finished, report, pruned=prune)
        finished, spoilt = take_edited(finished, report, wanted=edited)
        finished, left_out = changed(finished, asked, device=device, note=report.note)
        for failure in [*spoilt, *left_out]:
            report.fail(failure)
        given: dict[str, Any] = dict(finished.options) | ({"edited": True} if edited else {})
        given |= ({} if ids_from is None else {"ids_from": ids_from}) | (
            {"polygons": True} if polygons else {}
        )
        made = exported(as_, run if failed is not None else finished.manifest, target, given)
        finished = finished.naming_sources(target)
        finished = replace(finished, info={**finished.info, "crate": made, **finished.root_seen_from(target)})
        form = _settled(as_, finished, report, ids_from, prefix, polygons=polygons)
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
        if target is not None and not isinstance(form, OneFile):
            tell_leftovers(finished, form, target, [each.target for each in done], report)
        if target is None and output is None:
            report.went_to_stdout()
        if target is not None:
            beside = task.beside_path(form, target)
            report.wrote(*([str(target)] if together else []), *([] if beside is None else [str(beside)]))
        if not quiet:
            sum_up([(each.photo.shown, each.iou) for each in done], report)


def _settled(
    kind: FormatName,
    run: "FinishedRun",
    report: Report,
    ids_from: str | None,
    prefix: str | None,
    *,
    polygons: bool,
) -> "Format":
    """Give the format as it is for this run, and say what its tool would get wrong. Raises `InputError`."""
    from cratecli.io.formats.table import FORMATS, coco_format, label_studio_format
    from cratecli.runs.inputs import name_some

    if kind in (FormatName.COCO, FormatName.COCO_RESULTS):
        return coco_format(kind, _ids(ids_from, run), polygons=polygons)
    if kind is FormatName.LABEL_STUDIO:
        return label_studio_format(_prefix(prefix, run, report))
    if kind in (FormatName.CVAT_IMAGES, FormatName.CVAT_MASKS) and (alike := _alike(run)):
        report.note(
            f"CVAT knows photos by their names without extension, and would mix up {name_some(alike)}: "
            "give them tasks of their own"
        )
    return FORMATS[kind]


def _refuse_others(kind: FormatName, **given: str | bool | None) -> None:
    """Raise `UsageError` for an option that the format has no use for."""
    for name, value in given.items():
        if value not in (None, False) and kind not in FORMATS_WITH[name]:
            raise UsageError(f"--{name.replace('_', '-')} is of no use to {kind}")


def _ids(file: str | None, run: "FinishedRun") -> "Ids | None":
    """Read the ids of a COCO data set. Raises `InputError`."""
    from cratecli.io.formats.coco import Ids

    if file is None:
        return None
    try:
        return Ids.matched(read_text_bytes(Path(file)), run)
    except OSError as error:
        raise InputError(f"{file}: {error.strerror or error}") from None
    except ValueError as error:
        raise InputError(f"{file}: {error}") from None


def _alike(run: "FinishedRun") -> list[str]:
    """List the photos whose names differ in the extension only."""
    from collections import Counter

    from cratecli.io.formats.names import bare

    counts = Counter(bare(photo.name) for photo in run.photos)
    return [photo.name for photo in run.photos if counts[bare(photo.name)] > 1]


def _prefix(given: str | None, run: "FinishedRun", report: Report) -> str:
    """Choose the path from Label Studio's document root to the photos, and say which root that means."""
    if given is not None or run.root is None:
        return given or ""
    report.note(f"Label Studio's document root is {printable(str(run.root.parent))}; --prefix is for another")
    return run.root.name


def _target(form: "Format", run: Path, kind: str, output: str | None, *, records: bool) -> Path | None:
    """Choose the output path; `None` is standard output. Raises `UsageError`."""
    from cratecli.io.formats.table import OneFile

    home = (run if run.is_dir() else run.parent).resolve()
    name = f"{home.name or 'run'}-{kind}"
    if output == "":
        raise UsageError("a path is empty")
    if not isinstance(form, OneFile):
        if means_stdout(output):
            raise UsageError(
                f"{kind} writes one file for each photo, which cannot share stdout: give -o FOLDER"
            )
        folder = Path(name if output is None else output)
        if folder.exists() and not folder.is_dir():
            raise UsageError(f"{folder} is a file, and {kind} writes one file for each photo: give a folder")
        if folder.suffix.lower() == f".{form.ending}" and not folder.exists():
            raise UsageError(f"{folder} is one file, and {kind} writes one for each photo: give a folder")
        return folder
    file = f"{name}.{form.ending}"
    if output is None:
        return None if stdout_kind() == "data" and not records else Path(file)
    if means_stdout(output):
        if records:
            raise UsageError("stdout takes the file or the records, not both: give -o FILE")
        if form.ending == "zip" and stdout_kind() == "terminal":
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
