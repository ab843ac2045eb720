"""What an export tells of a run that is not as it was: photos that are gone, outputs that were edited, old files."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cratecli.cli.report import Report
from cratecli.io.urls import is_url, shown
from cratecli.wording import count_of

if TYPE_CHECKING:
    from cratecli.handover.finished_run import FinishedRun
    from cratecli.io.formats.table import FileEach
    from cratecli.runs.jobs import Failure


def tell_gone(run: "FinishedRun", report: Report, *, pruned: bool) -> None:
    """Say which photos are no longer there, and what becomes of them."""
    from cratecli.runs.inputs import name_some

    if run.gone:
        names = name_some(run.gone)
        there = f"exported all the same: {names}; --prune leaves them out"
        report.note(f"no longer there, {f'left out: {names}' if pruned else there}")
    if run.away:
        reason = "nor is another photo of their folders, so a disk may be away: exported all the same"
        report.note(f"not there, {reason}: {name_some(run.away)}")


def tell_failed(run: str, failed: int | None, report: Report) -> None:
    """Say how many photos a file of rows has no masks of."""
    if failed:
        report.note(f"{shown(run) if is_url(run) else run}: {count_of(failed, 'photo')} had failed: left out")


def take_edited(run: "FinishedRun", report: Report, *, wanted: bool) -> "tuple[FinishedRun, list[Failure]]":
    """Say which outputs were changed since they were made, and take the masks among them, if that is `wanted`."""
    from cratecli.handover.edited import edited_outputs, with_edited
    from cratecli.runs.inputs import name_some

    masks, others = edited_outputs(run)
    if masks and wanted:
        report.note(f"changed since they were made, and taken as they are now: {name_some(masks)}")
    elif masks:
        made = "and exported as they were made; --edited takes them as they are now"
        report.note(f"changed since they were made: {name_some(masks)}, {made}")
    elif wanted:
        report.note("--edited: no mask was changed since it was made")
    if others:
        names = name_some(others)
        report.note(f"changed since they were made, and of no use, as they are no masks of segment: {names}")
    return with_edited(run, masks) if wanted else (run, [])


def tell_leftovers(
    run: "FinishedRun", form: "FileEach", folder: Path, written: Sequence[Path | None], report: Report
) -> None:
    """Clear what an earlier export left of photos that are left out, and say what is still there of no photo."""
    from cratecli.handover.leftovers import clear_leftovers
    from cratecli.runs.inputs import name_some

    left = clear_leftovers(run, form, folder, {path for path in written if path is not None})
    if left.removed:
        report.note(f"of an earlier export, and removed: {name_some(left.removed)}")
    if left.kept:
        names = name_some(left.kept)
        report.note(
            f"of no photo that was exported, and still there: {names}; delete them, unless they are yours"
        )
